//! Our own looks at a VM into the signs that they give.

use std::collections::VecDeque;

use super::sign::{Sign, Signs};
use crate::core::event::{Timestamp, VmId};
use crate::core::probe::{Answerer, Check, Look, NeighbourState, ProbeResult, Verdict};

/// VMs in flight whose last look is remembered.
const MOST: usize = 64;
/// A look longer before the end of a boot says nothing of its end.
const FRESH_MS: i64 = 15_000;
/// A VM that answered us for so long has had a health check of the controller meanwhile.
const ANSWERED_MS: i64 = 8_000;

/// The last looks at boots in flight, which are evidence once a boot has failed.
#[derive(Debug, Default)]
pub struct Looks(VecDeque<Seen>);

#[derive(Debug)]
struct Seen {
    vm: VmId,
    at: Timestamp,
    signs: Signs,
    /// It has answered in every look since.
    answered: Option<Timestamp>,
}

impl Looks {
    pub fn saw(&mut self, vm: VmId, look: &Look) {
        let known = self.0.iter().position(|seen| seen.vm == vm);
        let known = known.and_then(|place| self.0.remove(place));
        let before = known.and_then(|seen| seen.answered);
        let answered = look.is_healthy().then(|| before.unwrap_or(look.at));
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Seen {
            vm,
            at: look.at,
            signs: of_look(look),
            answered,
        });
    }

    /// What the looks at a VM say whose boot has ended just now.
    pub fn ended(&mut self, vm: VmId, now: Timestamp) -> Option<Signs> {
        let place = self.0.iter().position(|seen| seen.vm == vm)?;
        let seen = self.0.remove(place)?;
        if now.since(seen.at) > FRESH_MS {
            return None;
        }
        let mut signs = seen.signs;
        if seen
            .answered
            .is_some_and(|since| seen.at.since(since) >= ANSWERED_MS)
        {
            signs.set(Sign::ProbeAnswered, true);
        }
        (!signs.is_empty()).then_some(signs)
    }
}

/// A look that cannot be believed, since even a closed port answered, gives none. One answer may have come between two
/// checks of the controller, or after its last one, so it is no sign that the controller failed to get it: only
/// [`Looks`] can say that.
#[must_use]
pub fn of_look(look: &Look) -> Signs {
    let mut signs = Signs::default();
    if !look.is_credible() {
        return signs;
    }
    let result = |check: Check| look.of(check).map(|checked| checked.result);
    let known = |result: Option<ProbeResult>| {
        result.filter(|result| matches!(result.verdict(), Verdict::Passed | Verdict::Failed))
    };
    if let Some(connect) = known(result(Check::Connect)) {
        signs.set(Sign::ProbeRefused, connect == ProbeResult::Refused);
        if let Some(health) = known(result(Check::Health)) {
            if health != ProbeResult::Ok {
                signs.set(Sign::ProbeAnswered, false);
            }
            let hung = connect == ProbeResult::Ok && health == ProbeResult::Timeout;
            signs.set(Sign::ProbeHung, hung);
        }
    }
    if let Some(vnc) = known(result(Check::Vnc)) {
        signs.set(Sign::VncAnswered, vnc == ProbeResult::Ok);
    }
    if let Some(health) = look.of(Check::Health) {
        match health.answerer {
            Some(Answerer::Agent) => signs.set(Sign::Placeholder, false),
            Some(Answerer::Placeholder | Answerer::Stub) => signs.set(Sign::Placeholder, true),
            Some(Answerer::Unknown) | None => {}
        }
        if let Some(skew) = health.skew {
            signs.set(Sign::ClockOff, skew.is_off());
        }
    }
    match look.neighbour.as_ref().map(|neighbour| neighbour.state) {
        Some(NeighbourState::Resolved) => signs.set(Sign::NeighbourAbsent, false),
        Some(NeighbourState::Unanswered) => signs.set(Sign::NeighbourAbsent, true),
        _ => {}
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::probe::{Checked, Neighbour, Skew};

    fn look(checks: &[(Check, ProbeResult)]) -> Look {
        Look {
            ip: [127, 0, 0, 9].into(),
            at: Timestamp(0),
            checks: checks
                .iter()
                .map(|(check, result)| Checked::without_contact(*check, 8080, *result))
                .collect(),
            neighbour: Some(Neighbour {
                state: NeighbourState::Resolved,
                mac: None,
            }),
            resolved_in: None,
        }
    }

    #[test]
    fn a_port_that_connects_and_is_silent_hangs() {
        let signs = of_look(&look(&[
            (Check::Connect, ProbeResult::Ok),
            (Check::Health, ProbeResult::Timeout),
            (Check::Vnc, ProbeResult::Skipped),
        ]));
        assert_eq!(signs.of(Sign::ProbeHung), Some(true));
        assert_eq!(signs.of(Sign::ProbeAnswered), Some(false));
        assert_eq!(signs.of(Sign::NeighbourAbsent), Some(false));
        assert_eq!(signs.of(Sign::VncAnswered), None, "it was not looked at");
    }

    #[test]
    fn a_look_tells_who_answered_and_what_time_it_thinks_it_is() {
        let mut seen = look(&[
            (Check::Connect, ProbeResult::Ok),
            (Check::Health, ProbeResult::Ok),
        ]);
        let signs = of_look(&seen);
        assert_eq!(
            (signs.of(Sign::Placeholder), signs.of(Sign::ClockOff)),
            (None, None)
        );
        seen.checks[1].answerer = Some(Answerer::Stub);
        seen.checks[1].skew = Some(Skew {
            ms: -9_000,
            within_ms: 40,
        });
        let signs = of_look(&seen);
        assert_eq!(
            (signs.of(Sign::Placeholder), signs.of(Sign::ClockOff)),
            (Some(true), Some(true))
        );
        seen.checks[1].answerer = Some(Answerer::Agent);
        assert_eq!(of_look(&seen).of(Sign::Placeholder), Some(false));
    }

    #[test]
    fn who_answers_for_everyone_says_nothing() {
        let signs = of_look(&look(&[
            (Check::Connect, ProbeResult::Refused),
            (Check::Negative, ProbeResult::Open),
        ]));
        assert!(signs.is_empty());
    }

    fn healthy(at: i64) -> Look {
        Look {
            at: Timestamp(at),
            ..look(&[
                (Check::Connect, ProbeResult::Ok),
                (Check::Health, ProbeResult::Ok),
                (Check::Negative, ProbeResult::Refused),
            ])
        }
    }

    #[test]
    fn only_who_answers_for_long_answers_while_the_controller_fails() {
        let vm = VmId(1);
        assert!(healthy(0).is_healthy());
        let one = of_look(&healthy(0));
        assert_eq!(one.of(Sign::ProbeAnswered), None);
        assert_eq!(one.of(Sign::ProbeRefused), Some(false));
        let mut looks = Looks::default();
        looks.saw(vm, &healthy(1_000));
        looks.saw(vm, &healthy(6_000));
        let signs = looks.ended(vm, Timestamp(7_000)).unwrap();
        assert_eq!(signs.of(Sign::ProbeAnswered), None, "five seconds");
        assert_eq!(looks.ended(vm, Timestamp(7_000)), None, "told once");
        for at in [1_000, 5_000, 9_000] {
            looks.saw(vm, &healthy(at));
        }
        let signs = looks.ended(vm, Timestamp(10_000)).unwrap();
        assert_eq!(signs.of(Sign::ProbeAnswered), Some(true));
    }

    #[test]
    fn old_looks_say_nothing_and_no_more_are_kept_than_a_bound() {
        let mut looks = Looks::default();
        for vm in 0..1_000 {
            looks.saw(VmId(vm), &healthy(1_000));
        }
        assert_eq!(looks.0.len(), MOST);
        assert_eq!(looks.ended(VmId(1), Timestamp(1_000)), None);
        assert_eq!(looks.ended(VmId(999), Timestamp(60_000)), None);
        assert!(looks.ended(VmId(998), Timestamp(2_000)).is_some());
    }
}
