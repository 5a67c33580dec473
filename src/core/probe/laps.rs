//! How long each phase of a check took.
//!
//! Phases follow one another without a gap, each measured from where the one before ended: their sum is the whole, to
//! the clock's own grain, by construction and not by luck.

use std::time::Duration;

use super::Phase;

/// The phases that were begun. One that does not apply is absent, which is not the same as one that took no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases([Option<Duration>; Phase::ALL.len()]);

impl Phases {
    #[must_use]
    pub fn of(&self, phase: Phase) -> Option<Duration> {
        self.0[phase as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> + '_ {
        Phase::ALL
            .iter()
            .filter_map(|phase| self.of(*phase).map(|took| (*phase, took)))
    }

    #[must_use]
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, took)| took).sum()
    }
}

/// A stop-watch's laps: told what it shows whenever a phase ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Laps {
    at: Duration,
    phases: Phases,
}

impl Laps {
    /// The phase ended when the watch showed `now`. A watch that shows less than before ends it at once.
    pub fn end(&mut self, phase: Phase, now: Duration) {
        let took = now.saturating_sub(self.at);
        let slot = &mut self.phases.0[phase as usize];
        *slot = Some(slot.unwrap_or_default() + took);
        self.at = self.at.max(now);
    }

    #[must_use]
    pub fn phases(&self) -> Phases {
        self.phases
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_phases_sum_to_the_whole_whatever_the_watch_showed(
            shown in prop::collection::vec((0usize..4, 0u64..30_000_000_000), 0..40),
        ) {
            let mut laps = Laps::default();
            for (phase, nanos) in &shown {
                laps.end(Phase::ALL[*phase], Duration::from_nanos(*nanos));
            }
            let last = shown.iter().map(|(_, nanos)| *nanos).max().unwrap_or(0);
            prop_assert_eq!(laps.phases().total(), Duration::from_nanos(last));
        }
    }

    #[test]
    fn a_phase_that_does_not_apply_is_absent_and_one_without_length_is_not() {
        let mut laps = Laps::default();
        laps.end(Phase::Connect, Duration::ZERO);
        assert_eq!(laps.phases().of(Phase::Connect), Some(Duration::ZERO));
        assert_eq!(laps.phases().of(Phase::Resolve), None);
        assert_eq!(laps.phases().iter().count(), 1);
    }
}
