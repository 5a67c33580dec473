//! All that is known of one boot: a value, kept by the tracker while it grows and handed out when it is settled.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Lines, MAX_ATTEMPTS, MAX_RUNGS};
use crate::core::console::ConsoleEvidence;
use crate::core::event::{
    AttemptResult, Failure, Origin, Outcome, Provenance, SessionId, Stage, StageOutcome, Timestamp,
    UserKey, VmId, VmType, WaitLimits,
};
use crate::core::failure::Rung;
use crate::core::probe::Answerer;

/// A stage of one boot: when it began and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSpan {
    pub started_at: Timestamp,
    pub ms: u32,
    pub outcome: StageOutcome,
    /// Known only from the lines' clock: ±1 s.
    pub coarse: bool,
    /// Its end is the guest's own word on its console, which the controller's checks confirm; without one, it is the
    /// first check that saw it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_console: bool,
}

/// All that is known of one boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// `None`: no VM was ever begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    /// Where its first record stands.
    pub first: Provenance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_type: Option<VmType>,
    pub origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// When the controller began to create the VM; of a boot without a VM, when the request came.
    pub started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The stage that did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_stage: Option<Stage>,
    pub(in crate::core) stages: [Option<StageSpan>; 10],
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<(AttemptResult, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// When the health wait began, as best known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_from: Option<Timestamp>,
    /// When each attempt of the ladder ended, in milliseconds after the wait's start; the first `MAX_ATTEMPTS`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempt_ms: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<WaitLimits>,
    /// The log's clock was set before its end and nothing says how far: `ended_at` is the last that is known of it, and
    /// how long it took is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untimed: bool,
    /// From `started_at` to ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u32>,
    /// Whether the agent was put into the image when it was cloned.
    pub injected: bool,
    /// Who answered with 200, by the shape of the body, and how far its clock is ahead of the log's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerer: Option<Answerer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_ahead_ms: Option<i64>,
    /// The first error text, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the guest's console said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Box<ConsoleEvidence>>,
    /// Which golden image it was copied from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A few records, redacted: the first of each kind of trouble.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub evidence: Lines,
    pub late_marks: u32,
}

impl Boot {
    pub(crate) fn new(vm: Option<VmId>, first: Provenance, started_at: Timestamp) -> Boot {
        Boot {
            vm,
            first,
            vm_type: None,
            origin: Origin::User,
            user: None,
            session: None,
            ip: None,
            started_at,
            ended_at: None,
            outcome: None,
            failure: None,
            failed_stage: None,
            stages: [None; 10],
            attempts: Vec::new(),
            ladder: Vec::new(),
            waited_from: None,
            attempt_ms: Vec::new(),
            limits: None,
            untimed: false,
            ready_ms: None,
            injected: false,
            answerer: None,
            guest_ahead_ms: None,
            error: None,
            console: None,
            image: None,
            evidence: Lines::default(),
            late_marks: 0,
        }
    }

    /// A completed stage, for tests.
    #[cfg(test)]
    pub(crate) fn set_stage(&mut self, stage: Stage, started_at: Timestamp, ms: u32) {
        self.stages[stage as usize] = Some(StageSpan {
            started_at,
            ms,
            outcome: StageOutcome::Completed,
            coarse: false,
            by_console: false,
        });
    }

    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<StageSpan> {
        self.stages[stage as usize]
    }

    pub fn stages(&self) -> impl Iterator<Item = (Stage, StageSpan)> + '_ {
        Stage::ALL
            .iter()
            .filter_map(|stage| self.stage(*stage).map(|span| (*stage, span)))
    }

    pub fn completed_stages(&self) -> impl Iterator<Item = (Stage, StageSpan)> + '_ {
        self.stages()
            .filter(|(_, span)| span.outcome == StageOutcome::Completed)
    }

    /// The boot's key: 32 hex digits, the VM's own where there is one, else made of the host and the first record's
    /// time and position.
    #[must_use]
    pub fn id(&self, host: &str) -> String {
        format!("{:032x}", self.number(host))
    }

    /// The key's 128 bits.
    #[must_use]
    pub fn number(&self, host: &str) -> u128 {
        self.vm.map_or_else(
            || {
                let place = format!(
                    "{host}\0{}\0{}\0{}",
                    self.started_at.0, self.first.generation, self.first.offset
                );
                UserKey::from_text(place.as_bytes()).0
            },
            |vm| vm.0,
        )
    }

    /// The attempts in order, each with its result and the time at which it ended: as many of them as were kept.
    pub fn attempts_in_order(&self) -> impl Iterator<Item = (Timestamp, AttemptResult)> + '_ {
        let results = self
            .ladder
            .iter()
            .flat_map(|rung| std::iter::repeat_n(rung.result, rung.count as usize));
        let from = self.waited_from.into_iter();
        from.flat_map(move |from| {
            let ended = self.attempt_ms.iter();
            ended
                .map(move |ms| from.plus_ms(i64::from(*ms)))
                .zip(results.clone())
        })
    }

    /// How long a ready boot's health wait lasted: `elapsed` of its last attempt.
    #[must_use]
    pub fn waited_ms(&self) -> Option<u32> {
        let last = self.ladder.last()?;
        (self.outcome == Some(Outcome::Ready) && last.result == AttemptResult::Ok)
            .then_some(last.last_ms)
    }

    /// The VM's kind; a VM whose kind no line told is a browser VM, as nearly all are.
    #[must_use]
    pub fn kind(&self) -> VmType {
        self.vm_type.unwrap_or(VmType::Browser)
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    pub(super) fn tally(&mut self, result: AttemptResult, at_ms: u32) {
        let known = self.attempts.iter().position(|(known, _)| *known == result);
        match known {
            Some(index) => self.attempts[index].1 += 1,
            None if self.attempts.len() < MAX_RUNGS => self.attempts.push((result, 1)),
            None => {}
        }
        let same = self.ladder.last().is_some_and(|rung| rung.result == result);
        if !same && self.ladder.len() < MAX_RUNGS {
            self.ladder.push(Rung {
                result,
                count: 0,
                first_ms: at_ms,
                last_ms: at_ms,
            });
        }
        if let Some(rung) = self.ladder.last_mut().filter(|rung| rung.result == result) {
            rung.count += 1;
            rung.last_ms = at_ms;
            if self.attempt_ms.len() < MAX_ATTEMPTS {
                self.attempt_ms.push(at_ms);
            }
        }
    }
}
