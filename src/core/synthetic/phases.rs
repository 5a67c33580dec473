//! How long each part of a synthetic boot took.
//!
//! Parts follow one another without a gap, each from where the last one that was measured ended: they sum to the whole
//! by construction. One that could not be seen is absent, and the next one takes its time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::event::words;

words! {
    /// The parts of a synthetic boot, in order.
    TrialPhase {
        /// From the request to its answer.
        Request = "request",
        /// To the VM, as log, row or answer names it.
        Created = "created",
        GuestNetwork = "guest_network",
        Agent = "agent",
        Vnc = "vnc",
        /// To the controller's word that it is ready, with VM and address in the session.
        SessionFields = "session_fields",
        /// From the end of the checks to the proof that nothing is left.
        Cleanup = "cleanup",
    }
}

/// Milliseconds, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    took: [Option<i64>; TrialPhase::ALL.len()],
    /// The end of the last one, from the start.
    at: i64,
    stopped: Option<TrialPhase>,
}

impl Phases {
    /// The phase ended so long after the start.
    pub fn end(&mut self, phase: TrialPhase, elapsed_ms: i64) {
        let took = elapsed_ms.saturating_sub(self.at).max(0);
        let slot = &mut self.took[phase as usize];
        *slot = Some(slot.unwrap_or(0).saturating_add(took));
        self.at = self.at.max(elapsed_ms);
    }

    /// It went no further than this one.
    pub fn stopped_in(&mut self, phase: TrialPhase) {
        self.stopped.get_or_insert(phase);
    }

    #[must_use]
    pub fn stopped(&self) -> Option<TrialPhase> {
        self.stopped
    }

    #[must_use]
    pub fn of(&self, phase: TrialPhase) -> Option<i64> {
        self.took[phase as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (TrialPhase, i64)> + '_ {
        TrialPhase::ALL
            .iter()
            .filter_map(|phase| self.of(*phase).map(|took| (*phase, took)))
    }

    #[must_use]
    pub fn total_ms(&self) -> i64 {
        self.iter().map(|(_, took)| took).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_phases_sum_to_the_whole_whatever_the_clock_showed(
            shown in prop::collection::vec((0usize..7, 0i64..900_000), 0..40),
        ) {
            let mut phases = Phases::default();
            for (phase, elapsed) in &shown {
                phases.end(TrialPhase::ALL[*phase], *elapsed);
            }
            let last = shown.iter().map(|(_, elapsed)| *elapsed).max().unwrap_or(0);
            prop_assert_eq!(phases.total_ms(), last);
        }
    }
}
