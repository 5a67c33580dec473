//! From the end of the checks to the proof that nothing is left: which session is ours to cancel, and whether its VM is gone.

use super::super::SyntheticResult;
use super::super::trace::{APART_MS, Trace};
use super::{
    AGAIN_MS, CLASS_MS, CREATED_MS, CallError, Effect, FLOW_MS, JOIN_MS, REVIVE_MS, Running,
    TURNED_AWAY_MS, TrialState, short,
};
use crate::core::event::{Failure, Outcome, Timestamp};
use crate::core::row::SessionStatus;

impl Running {
    /// Only the log knows what became of the request.
    pub(super) fn join(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let waited = now.since(self.since);
        if self.trial.ended_at.is_none() {
            let Some((result, failure)) = self.refused_as(waited) else {
                return;
            };
            if result == SyntheticResult::Errored {
                let said = self.trial.reason.take().unwrap_or_default();
                let reason = format!("{said}; the controller went on with it all the same");
                self.trial.reason = Some(short(&reason));
            }
            self.end(result, failure, now, out);
        }
        let Some(trace) = &self.trace else {
            // A request that was sent may still lie with a controller that does not read.
            if self.sighted && waited >= self.join_ms() {
                self.finish(true, now, out);
            }
            return;
        };
        if trace.is_doubtful() {
            // None is touched; the controller's own limit ends them all.
            if !self.left_alone {
                self.left_alone = true;
                let said = "another request of the account came so close to ours, or what was accepted came so long after it, that they \
                            cannot be told apart: neither is touched";
                self.trial.reason = Some(match self.trial.reason.take() {
                    Some(reason) => short(&format!("{reason}; {said}")),
                    None => said.to_owned(),
                });
                out.push(Effect::Journal(Box::new(self.trial.clone())));
                out.push(Effect::LeftAlone);
            }
            if waited >= FLOW_MS {
                let clean = trace.is_gone() || trace.vm.is_none();
                self.finish(clean, now, out);
            }
            return;
        }
        if let Some(session) = trace.session {
            // What makes it ambiguous may be the next line of the log.
            if !self.sighted || !trace.settled && waited < APART_MS {
                return;
            }
            self.trial.session = Some(session);
            self.enter(TrialState::Cancelling, now, out);
            self.cancel(now, out);
            return;
        }
        let over = trace.rejected || trace.outcome == Some(Outcome::Failed) || trace.flow_ended;
        if over && trace.vm.is_none() || waited >= FLOW_MS {
            let clean = trace.vm.is_none() || trace.is_gone();
            self.finish(clean, now, out);
        }
    }

    /// After so long without a word of it in the log it never arrived.
    pub(super) fn join_ms(&self) -> i64 {
        match self.turned_away {
            true => TURNED_AWAY_MS,
            false => JOIN_MS,
        }
    }

    /// What an error in answer to the request means, by what the log tells of it; `None` as long as it may tell more.
    fn refused_as(&self, waited: i64) -> Option<(SyntheticResult, Option<Failure>)> {
        let failed = |failure| Some((SyntheticResult::Failed, Some(failure)));
        if let Some(failure) = self.failure() {
            return failed(failure);
        }
        let trace = self.trace.as_ref().filter(|trace| !trace.is_doubtful());
        match trace {
            _ if waited < CLASS_MS => None,
            // It came from between us and the controller, and says nothing about VMs.
            Some(trace) if trace.went_on() => Some((SyntheticResult::Errored, None)),
            Some(trace) if trace.is_under_way() && waited < CREATED_MS => None,
            Some(trace) if trace.vm.is_some() => failed(Failure::Unknown),
            _ => failed(Failure::NotStarted),
        }
    }

    /// A VM of it is known, and not known to be gone.
    pub(super) fn stands(&self) -> bool {
        match &self.trace {
            Some(trace) => (trace.vm.is_some() || trace.created) && !trace.is_gone(),
            None => self.trial.vm.is_some(),
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.trial.state != TrialState::Cancelling {
            return;
        }
        let Some(session) = self.trial.session else {
            self.enter(TrialState::Joining, now, out);
            return;
        };
        // The controller itself has ended it, VM and all.
        if self.is_over() || (self.again >= 3 && self.is_gone()) {
            self.finish(true, now, out);
            return;
        }
        if self.cancelling || now < self.call_at {
            return;
        }
        if self.again >= 30 {
            self.finish(false, now, out);
            return;
        }
        self.cancelling = true;
        self.call_at = now.plus_ms(AGAIN_MS);
        out.push(Effect::Cancel(session));
    }

    pub(super) fn cancelled(
        &mut self,
        answer: &Result<(), CallError>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match answer {
            Ok(()) => {
                if self.trial.state == TrialState::Cancelling {
                    self.trial.cancelled_at = Some(now);
                    self.enter(TrialState::Verifying, now, out);
                }
                self.call_at = now.plus_ms(REVIVE_MS);
            }
            Err(CallError::Limited { retry_ms }) => {
                self.call_at = now.plus_ms((*retry_ms).max(AGAIN_MS));
            }
            // A controller that forgot the session has also ended its flow; the rows and the log tell.
            Err(_) => {
                self.call_at = now.plus_ms(AGAIN_MS);
                self.again += 1;
            }
        }
    }

    pub(super) fn verify(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.is_over() {
            self.finish(true, now, out);
            return;
        }
        let Some(cancelled_at) = self.trial.cancelled_at else {
            self.enter(TrialState::Cancelling, now, out);
            return;
        };
        let waited = now.since(cancelled_at);
        if waited >= FLOW_MS {
            if !self.stands() {
                // Who does not see cannot tell: sight is waited for, as long again.
                if self.sighted || waited >= 2 * FLOW_MS {
                    self.finish(self.sighted, now, out);
                }
            } else if self.again < 3 {
                self.again += 1;
                self.enter(TrialState::Cancelling, now, out);
                self.cancel(now, out);
            } else {
                self.finish(false, now, out);
            }
            return;
        }
        // It was created after the cancellation, or survived it.
        if self.stands()
            && !self.cancelling
            && now >= self.call_at
            && let Some(session) = self.trial.session
        {
            self.cancelling = true;
            self.call_at = now.plus_ms(REVIVE_MS);
            out.push(Effect::Cancel(session));
        }
    }

    /// The flow has ended, and the VM, if there ever was one, is gone.
    pub(super) fn is_over(&self) -> bool {
        let Some(trace) = &self.trace else {
            return false;
        };
        let ended = trace.flow_ended
            || trace.destroyed >= 2
            || matches!(
                trace.session_row,
                Some(SessionStatus::Failed | SessionStatus::Timeout | SessionStatus::Completed)
            );
        let settled = trace.destroying <= trace.destroyed;
        ended && settled && (trace.is_gone() || trace.vm.is_none() && !trace.created)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.trace.as_ref().is_some_and(Trace::is_gone)
    }
}
