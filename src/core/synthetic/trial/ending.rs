//! How a run's checks end, and the run itself: passed, failed, saying nothing of VMs, or not begun after all.

use super::{Effect, Running, TrialState, short};
use crate::core::event::{Failure, Timestamp};
use crate::core::synthetic::phases::TrialPhase;
use crate::core::synthetic::plan::SkipReason;
use crate::core::synthetic::{SyntheticResult, SyntheticRun};

impl Running {
    /// Nothing of it is with the controller. Its entry may reach the disk, and must not be one that is left.
    pub(super) fn leave_off(&mut self, reason: SkipReason, now: Timestamp, out: &mut Vec<Effect>) {
        self.trial.result = Some(SyntheticResult::Skipped);
        self.trial.ended_at = Some(now);
        self.trial.done_at = Some(now);
        self.trial.clean = Some(true);
        self.not_begun = Some(reason);
        self.enter(TrialState::Done, now, out);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.trace.as_ref().and_then(|trace| trace.failure)
    }

    pub(super) fn fail(&mut self, reason: &str, now: Timestamp, out: &mut Vec<Effect>) {
        self.trial.reason.get_or_insert_with(|| reason.to_owned());
        let failure = self.failure().or(Some(Failure::Unknown));
        self.end(SyntheticResult::Failed, failure, now, out);
        self.enter(TrialState::Cancelling, now, out);
    }

    /// It says nothing about VMs.
    pub(super) fn leave(&mut self, reason: &str, now: Timestamp, out: &mut Vec<Effect>) {
        self.trial.reason = Some(short(reason));
        self.end(SyntheticResult::Errored, None, now, out);
        self.enter(TrialState::Cancelling, now, out);
    }

    /// Its checks are over.
    pub(super) fn end(
        &mut self,
        result: SyntheticResult,
        failure: Option<Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.end_in(None, result, failure, now, out);
    }

    /// The same, where the phase is known in which it stopped.
    pub(super) fn end_in(
        &mut self,
        stopped: Option<TrialPhase>,
        result: SyntheticResult,
        failure: Option<Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.trial.ended_at.is_some() {
            return;
        }
        // Nobody knows where one stopped that was left.
        if result != SyntheticResult::Passed && !self.trial.resumed {
            self.stop_phase(stopped, now);
        }
        self.trial.result = Some(result);
        self.trial.failure = failure;
        self.trial.ended_at = Some(now);
        let trial = &self.trial;
        let mut evidence: Vec<String> = trial.reason.iter().cloned().collect();
        if let Some(phase) = trial.phases.stopped() {
            let took = trial.phases.of(phase).unwrap_or(0);
            let seconds = took as f64 / 1_000.0;
            evidence.push(format!("stopped in {phase} after {seconds:.1} s"));
        }
        out.push(Effect::Ended(Box::new(SyntheticRun {
            vm: trial.vm,
            session: trial.session,
            started_at: trial.started_at,
            ended_at: now,
            result,
            failure,
            evidence,
        })));
    }

    pub(super) fn finish(&mut self, clean: bool, now: Timestamp, out: &mut Vec<Effect>) {
        self.trial.clean = Some(clean);
        self.trial.done_at = Some(now);
        if self.trial.session.is_some() && !self.trial.resumed {
            let elapsed = now.since(self.trial.started_at);
            self.trial.phases.end(TrialPhase::Cleanup, elapsed);
        }
        self.enter(TrialState::Done, now, out);
        out.push(Effect::Done { clean });
    }
}
