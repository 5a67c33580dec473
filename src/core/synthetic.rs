//! Synthetic boots: how the latest of them ended, and how many have failed in a row.
//!
//! Two tell of one synthetic boot. The log does: the tracker's browser boot whose origin is `synthetic`. And whoever
//! asked for it does, with a [`SyntheticRun`], and sees what no log tells: that VNC does not answer, that the session's
//! fields stay NULL. Either may be first and either may be missing; a boot has failed if one of them says so, so that the
//! row grows as soon as the controller gives a boot up, and once. They are joined by VM or session, else by time, since
//! synthetic boots are made one at a time; what comes late finds its place by when it began.
//!
//! A run that was skipped, or went wrong by our own fault, says nothing about VMs: while it is the newest, nothing is
//! known.

mod canary;
mod looked;
mod phases;
mod plan;
#[cfg(test)]
mod runs;
mod trace;
mod trial;

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::boot::Boot;
use crate::core::condition::{Condition, Fact};
use crate::core::event::{Failure, Outcome, SessionId, Timestamp, VmId, VmType, words};

pub use canary::{Canary, CanaryEffect, Settings, Shown};
pub use looked::{AgentSeen, Looked};
pub use phases::{Phases, TrialPhase};
pub use plan::{Limits, Room, RowsSeen, Schedule, SkipReason};
pub use trace::{Trace, Traces};
pub use trial::{
    CallError, Effect, FLOW_MS, Running, SessionAnswer, StartAnswer, Told, Trial, TrialSettings,
    TrialState, VncMatters,
};

/// Synthetic boots that are remembered.
const KEPT: usize = 16;
/// So many passed in a row end the alert: the first may have been luck.
const LEAST_PASSED: usize = 2;
/// The log's clock tells whole seconds, and may differ from ours.
const SLACK_MS: i64 = 2_000;
/// Lines kept of one boot, and their length.
const LINES: usize = 2;
const LINE: usize = 300;
/// Boots named in a page.
const NAMED: usize = 3;

words! {
    /// How a synthetic boot ended, to whoever asked for it.
    SyntheticResult {
        Passed = "passed",
        Failed = "failed",
        /// It was not begun: no room, a maintenance, the day's budget.
        Skipped = "skipped",
        /// Our own fault, or nothing at all could be reached: it says nothing about VMs.
        Errored = "errored",
    }
}

/// One synthetic boot, as whoever asked for it saw it end.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticRun {
    pub vm: Option<VmId>,
    pub session: Option<SessionId>,
    /// From the request to the end of its checks; clean-up is not part of it.
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub result: SyntheticResult,
    pub failure: Option<Failure>,
    /// What failed, in a line or two: the phase, the answer, how long it took. Redacted.
    pub evidence: Vec<String>,
}

/// A synthetic boot as all who told of it see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm: Option<VmId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    started_at: Timestamp,
    ended_at: Timestamp,
    failed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

/// The latest synthetic boots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct SyntheticBoots {
    /// By when they began.
    boots: VecDeque<Seen>,
    /// When a run last said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsaid_at: Option<Timestamp>,
}

impl SyntheticBoots {
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.boots.is_empty() && self.unsaid_at.is_none()
    }

    /// What was saved can be gone on from.
    pub(in crate::core) fn is_sound(&self) -> bool {
        self.boots.len() <= KEPT
    }

    /// Takes what whoever asked for it tells.
    pub(in crate::core) fn run(&mut self, run: &SyntheticRun) {
        let failed = match run.result {
            SyntheticResult::Passed => false,
            SyntheticResult::Failed => true,
            SyntheticResult::Skipped | SyntheticResult::Errored => {
                self.unsaid_at = self.unsaid_at.max(Some(run.ended_at));
                return;
            }
        };
        self.add(Seen {
            vm: run.vm,
            session: run.session,
            started_at: run.started_at,
            ended_at: run.ended_at.max(run.started_at),
            failed,
            failure: run.failure.filter(|_| failed),
            lines: short(run.evidence.iter().filter(|_| failed)),
        });
    }

    /// Takes what the log or the rows tell. The CLI VM that a browser VM's session needs first is no trial of its own.
    /// Says whether anything was taken.
    pub(in crate::core) fn boot(&mut self, boot: &Boot) -> bool {
        let failed = match boot.outcome {
            Some(Outcome::Ready) => false,
            Some(Outcome::Failed) => true,
            Some(Outcome::Cancelled | Outcome::Lost) | None => return false,
        };
        let Some(ended_at) = boot.ended_at.filter(|_| boot.kind() == VmType::Browser) else {
            return false;
        };
        self.add(Seen {
            vm: boot.vm,
            session: boot.session,
            started_at: boot.started_at,
            ended_at,
            failed,
            failure: boot.failure.filter(|_| failed),
            lines: short(boot.evidence.iter().rev().filter(|_| failed)),
        });
        true
    }

    /// Nothing was seen later than now: the wall clock was set back while nobody ran.
    pub(in crate::core) fn not_after(&mut self, now: Timestamp) {
        self.unsaid_at = self.unsaid_at.map(|at| at.min(now));
    }

    fn add(&mut self, mut seen: Seen) {
        while let Some(at) = self.boots.iter().position(|known| known.is_same(&seen)) {
            if let Some(known) = self.boots.remove(at) {
                seen = known.and(seen);
            }
        }
        let at = self
            .boots
            .partition_point(|known| known.started_at <= seen.started_at);
        self.boots.insert(at, seen);
        if self.boots.len() > KEPT {
            self.boots.pop_front();
        }
    }

    /// How many of the newest failed in a row; `None` while nothing is known.
    pub(in crate::core) fn fact(&self) -> Option<Fact> {
        let newest = self.boots.back()?;
        if self.unsaid_at.is_some_and(|at| at > newest.ended_at) {
            return None;
        }
        let failed: Vec<&Seen> = self
            .boots
            .iter()
            .rev()
            .take_while(|boot| boot.failed)
            .collect();
        let passed = self.boots.iter().rev().take_while(|boot| !boot.failed);
        Some(Fact {
            condition: Condition::SyntheticFailing,
            value: failed.len() as u64,
            of: None,
            since: failed.last().map(|first| first.started_at),
            settles: passed.count() >= LEAST_PASSED,
            evidence: failed.iter().take(NAMED).map(|boot| boot.said()).collect(),
        })
    }
}

impl Seen {
    fn is_same(&self, other: &Seen) -> bool {
        if let (Some(one), Some(another)) = (self.vm, other.vm) {
            return one == another;
        }
        if let (Some(one), Some(another)) = (self.session, other.session) {
            return one == another;
        }
        self.started_at <= other.ended_at.plus_ms(SLACK_MS)
            && other.started_at <= self.ended_at.plus_ms(SLACK_MS)
    }

    /// Both are one boot. What was told last is shown first: who asked for it sees most, and is done last.
    fn and(self, later: Seen) -> Seen {
        Seen {
            vm: self.vm.or(later.vm),
            session: self.session.or(later.session),
            started_at: self.started_at.min(later.started_at),
            ended_at: self.ended_at.max(later.ended_at),
            failed: self.failed || later.failed,
            failure: self.failure.or(later.failure),
            lines: short(later.lines.iter().chain(&self.lines)),
        }
    }

    fn said(&self) -> String {
        let who = match (self.vm, self.session) {
            (Some(vm), _) => vm.to_string(),
            (None, Some(session)) => format!("session {session}"),
            (None, None) => "no VM was begun".to_owned(),
        };
        let words = self.failure.map(|failure| failure.as_str().to_owned());
        let words = words.into_iter().chain(self.lines.first().cloned());
        let words: Vec<String> = words.collect();
        match words.is_empty() {
            true => who,
            false => format!("{who}: {}", words.join(": ")),
        }
    }
}

fn short<'a>(lines: impl Iterator<Item = &'a String>) -> Vec<String> {
    lines
        .take(LINES)
        .map(|line| line.chars().take(LINE).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Provenance;

    const NOON: Timestamp = Timestamp(1_760_788_800_000);
    const INTERVAL_MS: i64 = 300_000;

    fn run(number: i64, result: SyntheticResult) -> SyntheticRun {
        let started_at = NOON.plus_ms(number * INTERVAL_MS);
        SyntheticRun {
            vm: None,
            session: None,
            started_at,
            ended_at: started_at.plus_ms(60_000),
            result,
            failure: None,
            evidence: vec![format!("run {number}: no answer on 6080")],
        }
    }

    /// The log's word on the same boot.
    fn boot(number: i64, failure: Option<Failure>) -> Boot {
        let started_at = NOON.plus_ms(number * INTERVAL_MS + 1_500);
        let vm = VmId(u128::try_from(number).unwrap());
        let mut boot = Boot::new(Some(vm), Provenance::default(), started_at);
        boot.vm_type = Some(VmType::Browser);
        boot.ended_at = Some(started_at.plus_ms(40_000));
        boot.outcome = Some(match failure {
            Some(_) => Outcome::Failed,
            None => Outcome::Ready,
        });
        boot.failure = failure;
        boot.evidence = vec!["refused".to_owned()].into();
        boot
    }

    fn failed(boots: &SyntheticBoots) -> Option<u64> {
        boots.fact().map(|fact| fact.value)
    }

    #[test]
    fn a_row_is_of_boots_however_many_tell_of_each() {
        let mut boots = SyntheticBoots::default();
        assert_eq!(failed(&boots), None, "nothing is known of none");
        boots.run(&run(0, SyntheticResult::Passed));
        assert_eq!(failed(&boots), Some(0));
        boots.boot(&boot(1, Some(Failure::AgentRefused)));
        boots.run(&run(1, SyntheticResult::Failed));
        assert_eq!(failed(&boots), Some(1), "the log and the asker saw one");
        // Ready by the log; who asked for it knows better.
        boots.boot(&boot(2, None));
        assert_eq!(failed(&boots), Some(0));
        boots.run(&run(2, SyntheticResult::Failed));
        let fact = boots.fact().expect("it is known");
        assert_eq!(fact.value, 2);
        assert_eq!(fact.since, Some(NOON.plus_ms(INTERVAL_MS)));
        assert_eq!(
            fact.evidence,
            [
                format!("{}: run 2: no answer on 6080", VmId(2)),
                format!("{}: agent_refused: run 1: no answer on 6080", VmId(1)),
            ]
        );
    }

    #[test]
    fn one_that_passes_ends_the_row_and_two_end_the_alert() {
        let mut boots = SyntheticBoots::default();
        boots.run(&run(0, SyntheticResult::Failed));
        boots.run(&run(1, SyntheticResult::Failed));
        boots.run(&run(2, SyntheticResult::Passed));
        let fact = boots.fact().expect("it is known");
        assert!(fact.value == 0 && !fact.settles);
        boots.run(&run(3, SyntheticResult::Passed));
        assert!(boots.fact().is_some_and(|fact| fact.settles));
    }

    #[test]
    fn a_run_that_says_nothing_neither_counts_nor_ends_a_row() {
        let mut boots = SyntheticBoots::default();
        boots.run(&run(0, SyntheticResult::Failed));
        for result in [SyntheticResult::Skipped, SyntheticResult::Errored] {
            boots.run(&run(1, result));
            assert_eq!(failed(&boots), None, "{result}");
        }
        boots.run(&run(2, SyntheticResult::Failed));
        assert_eq!(failed(&boots), Some(2));
    }

    #[test]
    fn what_comes_late_finds_its_place_and_a_cli_vm_is_no_trial() {
        let mut boots = SyntheticBoots::default();
        boots.run(&run(2, SyntheticResult::Failed));
        boots.run(&run(0, SyntheticResult::Failed));
        boots.run(&run(1, SyntheticResult::Passed));
        assert_eq!(failed(&boots), Some(1));
        let mut cli = boot(3, None);
        cli.vm_type = Some(VmType::Cli);
        assert!(!boots.boot(&cli));
        let mut cancelled = boot(3, None);
        cancelled.outcome = Some(Outcome::Cancelled);
        assert!(!boots.boot(&cancelled));
        assert_eq!(failed(&boots), Some(1));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut boots = SyntheticBoots::default();
        for number in 0..100 {
            boots.run(&run(number, SyntheticResult::Failed));
        }
        assert_eq!(failed(&boots), Some(KEPT as u64));
        let text = serde_json::to_string(&boots).unwrap();
        assert!(text.len() < 8 << 10, "{}", text.len());
        let again: SyntheticBoots = serde_json::from_str(&text).unwrap();
        assert!(again == boots && again.is_sound());
    }
}
