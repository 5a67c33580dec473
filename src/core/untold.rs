//! Boots whose end nobody told: among the last ones, how many there are.
//!
//! A boot that is never heard of again is `lost`, and counts neither for nor against: nobody knows how it went. A few are
//! so after a crash. Many are a way to be green and wrong: the controller's messages have changed so that its ends are not
//! understood any more, or the log is losing lines. So users' boots are counted here, of whatever kind;
//! bootwatch's own are judged by themselves. Those that a restart of the controller took are no riddle, and count as told.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::core::boot::{Boot, ROWS};
use crate::core::condition::{Condition, Fact};
use crate::core::event::{Failure, Outcome, Timestamp, VmId};

/// The boots that are looked at.
const LAST: usize = 20;
/// Untold ones that a page names.
const NAMED: usize = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    told: bool,
    started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm: Option<VmId>,
    /// Only rows told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unmentioned: bool,
}

impl Ended {
    fn evidence(&self) -> String {
        let what = self
            .vm
            .map_or_else(|| "a request".to_owned(), |vm| vm.to_string());
        match self.unmentioned {
            true => format!("{what}: the log never mentions it; only the database knows of it"),
            false => format!("{what}: the log has no more word of it"),
        }
    }
}

/// The last boots that ended, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::core) struct Untold(VecDeque<Ended>);

impl Untold {
    /// Whether there is nothing to keep. A window of told ends is kept: those that a restart forgot would be missing in
    /// "3 of the last 20".
    pub(in crate::core) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_well(&self) -> bool {
        self.0.iter().all(|ended| ended.told)
    }

    /// What was saved can be gone on from.
    pub(in crate::core) fn is_sound(&self) -> bool {
        self.0.len() <= LAST
    }

    /// Takes a boot's end. Says whether there is anything to judge.
    pub(in crate::core) fn boot(&mut self, boot: &Boot) -> bool {
        let told = match boot.outcome {
            Some(Outcome::Lost) => boot.failure == Some(Failure::ControllerRestarted),
            Some(Outcome::Ready | Outcome::Failed | Outcome::Cancelled) => true,
            None => return false,
        };
        let news = !told || !self.is_well();
        self.0.push_back(Ended {
            told,
            started_at: boot.started_at,
            // Only of untold ones is it ever asked.
            vm: boot.vm.filter(|_| !told),
            unmentioned: !told && boot.first.source == ROWS,
        });
        if self.0.len() > LAST {
            self.0.pop_front();
        }
        news
    }

    /// `None` before any boot has ended.
    pub(in crate::core) fn fact(&self) -> Option<Fact> {
        let of = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let untold: Vec<&Ended> = self.0.iter().rev().filter(|ended| !ended.told).collect();
        (of > 0).then(|| Fact {
            condition: Condition::BootsUntold,
            value: untold.len() as u64,
            of: Some(of),
            since: untold.iter().map(|ended| ended.started_at).min(),
            settles: true,
            evidence: untold
                .iter()
                .take(NAMED)
                .map(|ended| ended.evidence())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Provenance;

    fn boot(outcome: Outcome, failure: Option<Failure>) -> Boot {
        let mut boot = Boot::new(Some(VmId(7)), Provenance::default(), Timestamp(0));
        boot.outcome = Some(outcome);
        boot.failure = failure;
        boot
    }

    #[test]
    fn what_nobody_told_is_counted_and_a_restart_of_the_controller_is_no_riddle() {
        let mut untold = Untold::default();
        assert!(untold.fact().is_none() && untold.is_empty());
        assert!(!untold.boot(&boot(Outcome::Ready, None)));
        let restarted = Some(Failure::ControllerRestarted);
        assert!(!untold.boot(&boot(Outcome::Lost, restarted)));
        assert!(untold.is_well() && !untold.is_empty());
        let silent = || boot(Outcome::Lost, Some(Failure::Unknown));
        assert!(untold.boot(&silent()));
        let fact = untold.fact().expect("boots have ended");
        assert_eq!((fact.value, fact.of), (1, Some(3)));
        for _ in 0..LAST {
            assert!(untold.boot(&boot(Outcome::Failed, Some(Failure::AgentRefused))));
        }
        assert!(untold.is_well(), "it is too long ago");
        for _ in 0..2 * LAST {
            untold.boot(&silent());
        }
        let fact = untold.fact().expect("boots have ended");
        assert_eq!((fact.value, fact.of), (20, Some(20)));
        assert_eq!(fact.evidence.len(), NAMED);
        let fell_silent = format!("{}: the log has no more word of it", VmId(7));
        assert_eq!(fact.evidence[0], fell_silent);
        let mut of_rows = silent();
        of_rows.first.source = ROWS;
        untold.boot(&of_rows);
        let fact = untold.fact().expect("boots have ended");
        let never = format!(
            "{}: the log never mentions it; only the database knows of it",
            VmId(7)
        );
        assert_eq!(fact.evidence[..2], [never, fell_silent]);
        let text = serde_json::to_string(&untold).unwrap();
        let again: Untold = serde_json::from_str(&text).unwrap();
        assert!(again == untold && again.is_sound());
    }
}
