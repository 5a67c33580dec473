//! What an alert that fires is about: its cause, the boots that were bad, and the lines that show it.

use super::incident::NamedBoot;
use super::{Cause, Engine, Family};
use crate::core::condition::Fact;
use crate::core::diagnosis;
use crate::core::event::{AttemptResult, Failure, Timestamp, VmType};
use crate::core::rule::{Reading, RuleName};
use crate::core::window::Judged;

/// Lines of evidence in a page.
pub(super) const EVIDENCE: usize = 3;
const NAMED_BOOTS: usize = 5;

/// What an alert that fires is about.
pub(super) struct Trouble {
    pub(super) cause: Cause,
    pub(super) family: Family,
    pub(super) first_bad_at: Timestamp,
    pub(super) boots: Vec<NamedBoot>,
    pub(super) evidence: Vec<String>,
}

impl Trouble {
    pub(super) fn of_boots(rule: RuleName, bad: &[Judged], now: Timestamp) -> Trouble {
        let cause = cause_of(rule, bad.iter());
        Trouble {
            cause: cause.into(),
            family: Family::under(rule, cause),
            first_bad_at: bad.iter().map(|boot| boot.started_at).min().unwrap_or(now),
            boots: named(bad),
            evidence: lines(bad),
        }
    }

    pub(super) fn of_condition(fact: &Fact, first_bad_at: Timestamp) -> Trouble {
        Trouble {
            cause: fact.condition.into(),
            family: Family::of_condition(fact.condition),
            first_bad_at,
            boots: Vec::new(),
            evidence: shown(fact),
        }
    }
}

impl Engine {
    /// The bad boots that a reading counted, newest first; boots in flight have no failure yet.
    pub(super) fn bad_boots(
        &self,
        rule: RuleName,
        vm_type: VmType,
        reading: Reading,
    ) -> Vec<Judged> {
        let Some(of_type) = self.types.get(&vm_type) else {
            return Vec::new();
        };
        let mut flying: Vec<Judged> = of_type
            .overdue
            .iter()
            .filter(|(_, overdue)| rule.counts_overdue(overdue.result))
            .map(|(vm, overdue)| Judged {
                vm: Some(*vm),
                session: None,
                started_at: overdue.began,
                ended_at: overdue.began,
                failure: Some(overdue.failure()),
                evidence: vec![match overdue.died {
                    true => format!("{vm} in flight: its process has ended"),
                    false => format!("{vm} in flight: {} since its wait began", overdue.result),
                }]
                .into(),
                signs: diagnosis::in_flight(overdue.failure()),
            })
            .collect();
        flying.sort_by_key(|boot| (std::cmp::Reverse(boot.started_at), boot.vm));
        let ended = of_type
            .window
            .last(Timestamp::MIN)
            .filter(|boot| boot.failure.is_some_and(|failure| rule.counts(failure)))
            .take((reading.count.bad.saturating_sub(reading.overdue)) as usize)
            .cloned();
        flying.into_iter().chain(ended).collect()
    }
}

/// The latest bad boots by name.
pub(super) fn named(bad: &[Judged]) -> Vec<NamedBoot> {
    bad.iter()
        .take(NAMED_BOOTS)
        .map(|boot| NamedBoot {
            vm: boot.vm,
            session: boot.session,
            started_at: boot.started_at,
            failure: boot.failure,
        })
        .collect()
}

/// What the newest boot met and how it ended, then what the boots before it met; then more of the newest. How a boot
/// ended is mostly that it was given up, which the page says already; what it met before that says why.
pub(super) fn lines(bad: &[Judged]) -> Vec<String> {
    let Some((newest, others)) = bad.split_first() else {
        return Vec::new();
    };
    let before = |boot: &'_ Judged| {
        let mut back = boot.evidence.iter().rev();
        let last = back.next();
        back.next().or(last).cloned()
    };
    let ends = newest.evidence.len().saturating_sub(2);
    let (earlier, ends) = newest.evidence.split_at(ends);
    let mut lines: Vec<String> = ends.to_vec();
    let more = others
        .iter()
        .filter_map(before)
        .chain(earlier.iter().rev().cloned());
    for line in more {
        if lines.len() >= EVIDENCE {
            break;
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// What most of the boots died of; a rule about one class counts only that.
pub(super) fn cause_of<'a>(rule: RuleName, bad: impl Iterator<Item = &'a Judged>) -> Failure {
    let mut counts = [0u32; Failure::ALL.len()];
    for failure in bad.filter_map(|boot| boot.failure) {
        counts[failure as usize] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let found = Failure::ALL
        .iter()
        .find(|failure| most > 0 && counts[**failure as usize] == most);
    match (found, rule) {
        (Some(failure), _) => *failure,
        (None, RuleName::ConnectionRefusedSpike) => Failure::AgentRefused,
        (None, _) => Failure::Unknown,
    }
}

/// The class that a boot in flight would fail with.
pub(super) fn class_of(result: AttemptResult) -> Failure {
    let rung = crate::core::failure::Rung {
        result,
        count: 1,
        first_ms: 0,
        last_ms: 0,
    };
    crate::core::failure::of_wait(&[rung])
}

/// What shows that a condition holds.
pub(super) fn shown(fact: &Fact) -> Vec<String> {
    fact.evidence.iter().take(EVIDENCE).cloned().collect()
}
