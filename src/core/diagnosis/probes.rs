//! Our own look at a VM into the signs that it gives.

use super::sign::{Sign, Signs};
use crate::core::probe::{Check, Look, NeighbourState, ProbeResult, Verdict};

/// A look that cannot be believed, since even a closed port answered, gives none.
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
            signs.set(Sign::ProbeAnswered, health == ProbeResult::Ok);
            let hung = connect == ProbeResult::Ok && health == ProbeResult::Timeout;
            signs.set(Sign::ProbeHung, hung);
        }
    }
    if let Some(vnc) = known(result(Check::Vnc)) {
        signs.set(Sign::VncAnswered, vnc == ProbeResult::Ok);
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
    use crate::core::event::Timestamp;
    use crate::core::probe::{Checked, Neighbour};

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
    fn who_answers_for_everyone_says_nothing() {
        let signs = of_look(&look(&[
            (Check::Connect, ProbeResult::Refused),
            (Check::Negative, ProbeResult::Open),
        ]));
        assert!(signs.is_empty());
    }
}
