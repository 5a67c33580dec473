//! How long something usually takes: the 95th percentile of the last boots, and the chances of later ones to lie beyond it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Boots of one generation.
const GENERATION: u32 = 500;
/// Buckets a doubling, which makes each about 5 % wide.
const BUCKETS_A_DOUBLING: f64 = 14.0;
/// Longer durations are nonsense.
const MAX_MS: u32 = 3_600_000;

/// How durations were, in buckets: few numbers, and a percentile that is at most 5 % too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<u16, u32>", into = "BTreeMap<u16, u32>")]
struct Durations {
    buckets: BTreeMap<u16, u32>,
    /// The sum of the counts.
    of: u32,
}

impl Durations {
    fn add(&mut self, ms: u32) {
        *self.buckets.entry(bucket(ms)).or_insert(0) += 1;
        self.of += 1;
    }
}

impl From<BTreeMap<u16, u32>> for Durations {
    fn from(buckets: BTreeMap<u16, u32>) -> Durations {
        let of = buckets
            .values()
            .fold(0, |sum: u32, count| sum.saturating_add(*count));
        Durations { buckets, of }
    }
}

impl From<Durations> for BTreeMap<u16, u32> {
    fn from(durations: Durations) -> BTreeMap<u16, u32> {
        durations.buckets
    }
}

fn bucket(ms: u32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 14 times 22 doublings"
    )]
    let bucket = (f64::from(ms.clamp(1, MAX_MS)).log2() * BUCKETS_A_DOUBLING).ceil() as u16;
    bucket
}

/// The longest duration of a bucket.
fn longest(bucket: u16) -> f64 {
    (f64::from(bucket) / BUCKETS_A_DOUBLING).exp2()
}

/// What was learnt of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    recent: Durations,
    /// The generation before.
    before: Durations,
}

/// A percentile, and the order statistic that it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile {
    pub ms: f64,
    /// It is the `rank`-th smallest of `of`.
    pub rank: u32,
    pub of: u32,
}

impl Learnt {
    pub fn add(&mut self, ms: u32) {
        if self.recent.of >= GENERATION {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.add(ms);
    }

    #[must_use]
    pub fn boots(&self) -> u32 {
        self.recent.of.saturating_add(self.before.of)
    }

    /// The 95th percentile by nearest rank, rounded up to its bucket's end.
    #[must_use]
    pub fn p95(&self) -> Option<Percentile> {
        let of = self.boots();
        let rank = (of - of / 20).max(1);
        // Both from the longest on, side by side: the 20th part of the boots lies there.
        let [mut recent, mut before] =
            [&self.recent, &self.before].map(|both| both.buckets.iter().rev().peekable());
        // Those up to the end of the bucket that is looked at.
        let mut up_to = of;
        loop {
            let next = [recent.peek(), before.peek()].into_iter().flatten();
            let bucket = *next.map(|(bucket, _)| *bucket).max()?;
            let mut below = up_to;
            for durations in [&mut recent, &mut before] {
                if let Some((_, count)) = durations.next_if(|(at, _)| **at == bucket) {
                    below = below.saturating_sub(*count);
                }
            }
            if below < rank {
                let ms = longest(bucket);
                return Some(Percentile {
                    ms,
                    rank: up_to,
                    of,
                });
            }
            up_to = below;
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        let fits = |durations: &Durations| {
            durations
                .buckets
                .iter()
                .all(|(at, count)| *at <= bucket(MAX_MS) && *count > 0)
                && durations.of <= GENERATION
        };
        fits(&self.recent) && fits(&self.before)
    }
}

/// The chance that `k` or more of `n` later boots lie beyond the percentile, if nothing has changed.
#[must_use]
pub fn exceedances(k: u32, n: u32, percentile: Percentile) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    let beyond = f64::from(percentile.of - percentile.rank + 1);
    let within = f64::from(percentile.rank);
    let mut term: f64 = (0..n)
        .map(|i| (within + f64::from(i)) / (beyond + within + f64::from(i)))
        .product();
    let mut below = 0.0;
    for j in 0..k {
        below += term;
        let (done, rest) = (f64::from(j), f64::from(n.saturating_sub(j)));
        term *=
            rest / (done + 1.0) * (done + beyond) / (rest - 1.0 + within).max(f64::MIN_POSITIVE);
    }
    (1.0 - below).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::binomial;

    fn learnt(durations: impl IntoIterator<Item = u32>) -> Learnt {
        let mut learnt = Learnt::default();
        durations.into_iter().for_each(|ms| learnt.add(ms));
        learnt
    }

    #[test]
    fn a_percentile_is_at_most_a_bucket_too_long() {
        for ms in [1, 7, 100, 3_200, 45_000, 3_600_000] {
            let p95 = learnt([ms; 100]).p95().expect("a hundred boots");
            let (found, exact) = (p95.ms, f64::from(ms));
            assert!(
                found >= exact * 0.999 && found <= exact * 1.06,
                "{found} for {exact}"
            );
            assert_eq!((p95.rank, p95.of), (100, 100));
        }
        let p95 = learnt(1..=1_000).p95().expect("boots");
        assert!(
            (950.0..=1_000.0).contains(&p95.ms) && p95.rank >= 950,
            "{p95:?}"
        );
        assert_eq!(Learnt::default().p95(), None);
    }

    #[test]
    fn old_boots_fade_and_memory_is_bounded() {
        let learnt = learnt((0..50_000u32).map(|n| if n < 49_000 { 9_000 } else { 100 }));
        assert_eq!(learnt.boots(), 1_000);
        assert!(learnt.p95().expect("boots").ms < 110.0);
        assert!(learnt.recent.buckets.len() + learnt.before.buckets.len() < 10);
    }

    #[test]
    fn the_number_of_exceedances_has_the_chances_of_its_distribution() {
        // The greatest of m is exceeded by one later value with the chance 1 / (m + 1).
        let greatest = Percentile {
            ms: 0.0,
            rank: 9,
            of: 9,
        };
        assert!((exceedances(1, 1, greatest) - 0.1).abs() < 1e-12);
        // By two of two with 1 / (m + 1) times 2 / (m + 2).
        assert!((exceedances(2, 2, greatest) - 0.1 * 2.0 / 11.0).abs() < 1e-12);
        // Of very many boots, the binomial distribution's.
        let many = Percentile {
            ms: 0.0,
            rank: 9_500_000,
            of: 10_000_000,
        };
        let binomial = binomial::tail(6, 20, 0.05);
        assert!((exceedances(6, 20, many) / binomial - 1.0).abs() < 1e-4);
        assert!(
            exceedances(
                6,
                20,
                Percentile {
                    ms: 0.0,
                    rank: 95,
                    of: 100
                }
            ) > 2.0 * binomial,
            "few teach less"
        );
        assert_eq!(exceedances(0, 20, many), 1.0);
        assert_eq!(exceedances(21, 20, many), 0.0);
    }
}
