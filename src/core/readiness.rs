//! The time that boots take to become ready, learnt; and from when a boot in flight is hopeless.

use crate::core::sketch::Sketch;

/// Learnt from the waits of ready boots, in milliseconds after the wait's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub(in crate::core) recent: Sketch,
    /// The generation before, so that old boots fade: at `GENERATION` ready boots the sketches change places.
    pub(in crate::core) before: Sketch,
    /// The longer of the two generations' p99, as of a few boots ago.
    pub(in crate::core) p99_ms: Option<u32>,
}

const GENERATION: u64 = 500;
/// The quantile is worked out anew after so many boots; it is asked for with every health check.
const REFRESH: u64 = 10;

impl Readiness {
    /// True if a new generation has begun with this boot.
    pub fn learn(&mut self, waited_ms: u32) -> bool {
        let full = self.recent.count() >= GENERATION;
        if full {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.add(waited_ms);
        if self.boots().is_multiple_of(REFRESH) {
            self.p99_ms = self
                .recent
                .quantile_ms(990)
                .max(self.before.quantile_ms(990));
        }
        full
    }

    #[must_use]
    pub fn boots(&self) -> u64 {
        self.recent.count() + self.before.count()
    }

    /// The 99th percentile; of two generations the longer one, so that a change for the faster is trusted slowly.
    #[must_use]
    pub fn p99_ms(&self) -> Option<u32> {
        self.p99_ms
    }

    /// A boot that has waited longer than this is overdue: the larger of `factor` times the learnt p99 and half the
    /// controller's own deadline. `None` until `min_boots` ready boots have taught it.
    #[must_use]
    pub fn overdue_after_ms(
        &self,
        min_boots: u64,
        factor: f64,
        deadline_ms: Option<u32>,
    ) -> Option<f64> {
        if self.boots() < min_boots {
            return None;
        }
        let learnt = f64::from(self.p99_ms()?) * factor;
        Some(learnt.max(f64::from(deadline_ms.unwrap_or(0)) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overdue_before_enough_boots_taught_it() {
        let mut readiness = Readiness::default();
        for _ in 0..19 {
            readiness.learn(45_000);
        }
        assert_eq!(readiness.overdue_after_ms(20, 1.5, Some(120_000)), None);
        readiness.learn(45_000);
        assert_eq!(
            readiness.overdue_after_ms(20, 1.5, Some(120_000)),
            Some(67_500.0)
        );
        assert_eq!(
            readiness.overdue_after_ms(20, 1.5, Some(180_000)),
            Some(90_000.0)
        );
    }

    #[test]
    fn old_boots_fade() {
        let mut readiness = Readiness::default();
        for ms in [90_000, 30_000, 30_000] {
            for _ in 0..500 {
                readiness.learn(ms);
            }
        }
        assert_eq!(readiness.p99_ms(), Some(30_000));
    }
}
