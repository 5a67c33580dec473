//! Durations of unbounded number in bounded memory, with quantiles.
//!
//! Exact while there are few samples; beyond `EXACT`, counts in log-linear buckets whose width is at most 1/1024 of
//! the value (the layout of HdrHistogram, G. Tene), so a quantile is then off by at most 0.1 %. Quantiles are nearest
//! rank: the smallest sample that at least `q` of all samples do not exceed.

use serde::{Deserialize, Serialize};

const EXACT: usize = 4096;
/// Buckets an octave, as a power of two.
const SUB_BITS: u32 = 10;
/// Longer durations are nonsense; the caller counts them.
pub const MAX_MS: u32 = 3_600_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    exact: Vec<u32>,
    buckets: Vec<u32>,
    count: u64,
    sum: u64,
}

impl Sketch {
    /// Adds a duration in milliseconds. False, and nothing is added, if it is longer than an hour.
    pub fn add(&mut self, ms: u32) -> bool {
        if ms > MAX_MS {
            return false;
        }
        self.count += 1;
        self.sum += u64::from(ms);
        if self.buckets.is_empty() && self.exact.len() < EXACT {
            self.exact.push(ms);
            return true;
        }
        if self.buckets.is_empty() {
            self.buckets = vec![0; bucket(MAX_MS) + 1];
            for ms in std::mem::take(&mut self.exact) {
                self.buckets[bucket(ms)] += 1;
            }
        }
        self.buckets[bucket(ms)] = self.buckets[bucket(ms)].saturating_add(1);
        true
    }

    /// Whether it can have come from samples: one that was read back may have come from anywhere.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let exact = self.exact.len() <= EXACT && self.exact.iter().all(|ms| *ms <= MAX_MS);
        let counted = self.buckets.is_empty() || self.buckets.len() == bucket(MAX_MS) + 1;
        let in_buckets: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        exact && counted && self.count == in_buckets + self.exact.len() as u64
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn sum_ms(&self) -> u64 {
        self.sum
    }

    /// The nearest-rank quantile in milliseconds; `None` without samples. `per_mille` is 1 to 1000.
    #[must_use]
    pub fn quantile_ms(&self, per_mille: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let rank = (u128::from(self.count) * u128::from(per_mille))
            .div_ceil(1000)
            .max(1);
        if self.buckets.is_empty() {
            let mut sorted = self.exact.clone();
            let at = usize::try_from(rank - 1).ok()?.min(sorted.len() - 1);
            let (_, value, _) = sorted.select_nth_unstable(at);
            return Some(*value);
        }
        let mut seen = 0u128;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(middle(at));
            }
        }
        None
    }
}

fn bucket(ms: u32) -> usize {
    if ms < 1 << SUB_BITS {
        return ms as usize;
    }
    let octave = ms.ilog2() - SUB_BITS;
    ((octave << SUB_BITS) + (ms >> octave)) as usize
}

/// The middle of a bucket's range.
fn middle(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).unwrap_or(u32::MAX);
    if bucket < 2 << SUB_BITS {
        return bucket;
    }
    let octave = (bucket >> SUB_BITS) - 1;
    let low = (bucket - (octave << SUB_BITS)) << octave;
    low + (1 << octave) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_are_exact_and_nearest_rank() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile_ms(500), None);
        for ms in [40, 10, 30, 20] {
            sketch.add(ms);
        }
        assert_eq!(sketch.quantile_ms(500), Some(20));
        assert_eq!(sketch.quantile_ms(950), Some(40));
        assert_eq!(sketch.quantile_ms(1), Some(10));
    }

    #[test]
    fn many_samples_stay_within_a_thousandth_in_fixed_memory() {
        let mut sketch = Sketch::default();
        let mut all = Vec::new();
        let mut seed = 1u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ms = u32::try_from((seed >> 33) % 180_000).unwrap();
            sketch.add(ms);
            all.push(ms);
        }
        all.sort_unstable();
        for per_mille in [1, 10, 500, 950, 990, 1000] {
            let exact = f64::from(all[(all.len() * per_mille as usize).div_ceil(1000) - 1]);
            let got = f64::from(sketch.quantile_ms(per_mille).unwrap());
            assert!(
                (got - exact).abs() <= exact / 1000.0 + 1.0,
                "{per_mille}: {got} against {exact}"
            );
        }
        assert!(sketch.buckets.len() < 16_000 && sketch.exact.is_empty());
    }

    #[test]
    fn every_value_falls_into_a_bucket_whose_middle_is_near() {
        for ms in (0..=MAX_MS).step_by(7) {
            let near = i64::from(middle(bucket(ms)));
            assert!(
                (near - i64::from(ms)).abs() <= i64::from(ms) / 1024 + 1,
                "{ms} {near}"
            );
        }
    }

    #[test]
    fn more_than_an_hour_is_refused() {
        let mut sketch = Sketch::default();
        assert!(!sketch.add(MAX_MS + 1));
        assert_eq!(sketch.count(), 0);
    }
}
