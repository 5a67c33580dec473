//! Durations and their quantiles.
//!
//! Every duration counts as it is; a quantile is of nearest rank (the smallest sample that at least that share of all
//! do not exceed), and never a mean of quantiles. A quantile of few samples is a story about one boot, so p95 needs 20
//! of them and p99 100; otherwise it says how few there are.
//!
//! Few durations are kept one by one. Of many it is counted how often each millisecond is among them, which is as exact,
//! takes the memory of the stretch that they lie in instead of that of their number, and leaves nothing to sort.

use serde::{Serialize, Serializer};

/// Samples that a p95 needs.
pub const P95: u64 = 20;
/// Samples that a p99 needs.
pub const P99: u64 = 100;

/// So many are kept one by one.
const FEW: usize = 1 << 16;
/// Milliseconds that are counted together.
const PAGE: usize = 1 << 10;
/// Of many, those within 70 minutes are counted; longer ones are rare and kept one by one.
const PAGES: usize = 1 << 12;

/// Milliseconds, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Where there are pages: only those beyond them.
    single: Vec<u32>,
    /// How often there is each millisecond, page by page; empty as long as there are few.
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    counted: u64,
}

/// A quantile in milliseconds, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    Ms(u32),
    /// Of too few samples.
    TooFew,
    /// It lies among those that had not ended when they were given up: it is longer than this.
    Above(u32),
}

impl Quantile {
    #[must_use]
    pub fn ms(self) -> Option<u32> {
        match self {
            Quantile::Ms(ms) => Some(ms),
            Quantile::TooFew | Quantile::Above(_) => None,
        }
    }
}

impl Serialize for Quantile {
    /// Seconds; a text where there is no figure.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Quantile::Ms(ms) => serializer.serialize_f64(f64::from(*ms) / 1000.0),
            Quantile::TooFew => serializer.serialize_str("n too small"),
            Quantile::Above(ms) => {
                serializer.collect_str(&format_args!("> {}", f64::from(*ms) / 1000.0))
            }
        }
    }
}

/// The usual three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    pub n: u64,
    #[serde(rename = "p50_seconds")]
    pub p50: Quantile,
    #[serde(rename = "p95_seconds")]
    pub p95: Quantile,
    #[serde(rename = "p99_seconds")]
    pub p99: Quantile,
}

impl Sample {
    pub fn add(&mut self, ms: u32) {
        if !self.count(ms) {
            self.single.push(ms);
            if self.pages.is_empty() && self.single.len() >= FEW {
                self.pages = vec![None; PAGES];
                let all = std::mem::take(&mut self.single);
                all.into_iter().for_each(|ms| self.add(ms));
            }
        }
    }

    /// Whether it has a page.
    fn count(&mut self, ms: u32) -> bool {
        let (page, at) = (ms as usize / PAGE, ms as usize % PAGE);
        let Some(page) = self.pages.get_mut(page) else {
            return false;
        };
        page.get_or_insert_with(|| Box::new([0; PAGE]))[at] += 1;
        self.counted += 1;
        true
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        self.counted + self.single.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that are counted, ascending, with how often there is each.
    fn counts(&self) -> impl Iterator<Item = (u32, u32)> {
        let pages = (0u32..).step_by(PAGE).zip(&self.pages);
        pages
            .filter_map(|(from, page)| Some((from, page.as_deref()?)))
            .flat_map(|(from, page)| (from..).zip(page.iter().copied()))
            .filter(|(_, count)| *count > 0)
    }

    #[must_use]
    pub fn shortest(&self) -> Option<u32> {
        let counted = self.counts().next().map(|(ms, _)| ms);
        counted.or_else(|| self.single.iter().min().copied())
    }

    #[must_use]
    pub fn longest(&self) -> Option<u32> {
        let single = self.single.iter().max().copied();
        single.or_else(|| self.counts().last().map(|(ms, _)| ms))
    }

    /// How many there are in each stretch that ends at one of `edges` (ascending), and beyond the last.
    #[must_use]
    pub fn histogram(&self, edges: &[u32]) -> Vec<u64> {
        let mut counts = vec![0; edges.len() + 1];
        let single = self.single.iter().map(|ms| (*ms, 1));
        for (ms, count) in self.counts().chain(single) {
            counts[edges.partition_point(|edge| *edge < ms)] += u64::from(count);
        }
        counts
    }

    /// What is kept one by one is left in another order.
    #[must_use]
    pub fn quantiles(&mut self) -> Quantiles {
        let n = self.len();
        let mut of = |share: f64, least: u64| match n >= least {
            true => self
                .ranked(rank(n, share))
                .map_or(Quantile::TooFew, Quantile::Ms),
            false => Quantile::TooFew,
        };
        Quantiles {
            n,
            p50: of(0.5, 1),
            p95: of(0.95, P95),
            p99: of(0.99, P99),
        }
    }

    /// The smallest but `rank - 1`. What is kept one by one is longer than what is counted, and selected, which is
    /// cheaper than to put it in order.
    fn ranked(&mut self, rank: u64) -> Option<u32> {
        if let Some(rank) = rank.checked_sub(self.counted + 1) {
            let at = usize::try_from(rank).ok();
            let at = at.filter(|at| *at < self.single.len())?;
            return Some(*self.single.select_nth_unstable(at).1);
        }
        let mut below = 0;
        self.counts()
            .find(|(_, count)| {
                below += u64::from(*count);
                below >= rank
            })
            .map(|(ms, _)| ms)
    }
}

/// Times to an end that not all of them reached: `given_up` holds how long those took that never did. What was given up
/// is longer than anything that ended, however soon that was, and longer than it took until then. So a quantile among
/// those that ended is known (Kaplan and Meier without its steps: nearest rank over all); of one among the others it is
/// known what it is above: the time of its rank among them.
#[must_use]
pub fn censored(ended: &mut Sample, given_up: &mut Sample) -> Quantiles {
    let n = ended.len() + given_up.len();
    let longest = ended.longest().unwrap_or(0);
    let mut of = |share: f64, least: u64| {
        if n < least || n == 0 {
            return Quantile::TooFew;
        }
        let rank = rank(n, share);
        match rank.checked_sub(ended.len() + 1) {
            None => ended.ranked(rank).map_or(Quantile::TooFew, Quantile::Ms),
            Some(before) => {
                let waited = given_up.ranked(before + 1).unwrap_or(0);
                Quantile::Above(waited.max(longest))
            }
        }
    };
    Quantiles {
        n,
        p50: of(0.5, 1),
        p95: of(0.95, P95),
        p99: of(0.99, P99),
    }
}

/// 1 to n.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of boots times a share lies between 0 and that count"
)]
fn rank(n: u64, share: f64) -> u64 {
    ((n as f64 * share).ceil() as u64).clamp(1, n.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: impl IntoIterator<Item = u32>) -> Sample {
        let mut sample = Sample::default();
        values.into_iter().for_each(|ms| sample.add(ms));
        sample
    }

    #[test]
    fn a_quantile_is_of_nearest_rank_and_needs_its_number_of_samples() {
        let none = sample([]).quantiles();
        assert_eq!((none.p50, none.p95), (Quantile::TooFew, Quantile::TooFew));
        let one = sample([7]).quantiles();
        assert_eq!((one.p50, one.p95), (Quantile::Ms(7), Quantile::TooFew));
        let nineteen = sample(1..=19).quantiles();
        assert_eq!(
            (nineteen.p50, nineteen.p95),
            (Quantile::Ms(10), Quantile::TooFew)
        );
        let twenty = sample((1..=20).rev()).quantiles();
        assert_eq!(
            (twenty.p50, twenty.p95),
            (Quantile::Ms(10), Quantile::Ms(19))
        );
        assert_eq!(sample(1..=99).quantiles().p99, Quantile::TooFew);
        assert_eq!(sample(1..=100).quantiles().p99, Quantile::Ms(99));
    }

    #[test]
    fn what_was_given_up_is_longer_than_anything() {
        let quantiles = censored(&mut sample(1..=18), &mut sample([180_000, 180_000]));
        assert_eq!(quantiles.n, 20);
        assert_eq!(quantiles.p50, Quantile::Ms(10));
        assert_eq!(quantiles.p95, Quantile::Above(180_000));
        let at_once = censored(&mut sample(1..=18), &mut sample([2, 2]));
        assert_eq!(
            at_once.p95,
            Quantile::Above(18),
            "however soon it was given up"
        );
        // One that failed at once says nothing of how long the others waited.
        let given_up = (0..17).map(|number| if number == 0 { 3_000 } else { 124_000 });
        let mut given_up = sample(given_up);
        let outage = censored(&mut sample([36_000, 40_000, 64_000]), &mut given_up);
        assert_eq!(outage.p95, Quantile::Above(124_000));
        let quick = censored(&mut sample([64_000]), &mut sample([3_000, 4_000, 124_000]));
        assert_eq!(quick.p50, Quantile::Above(64_000), "longer than any ready");
        let all = censored(&mut sample([]), &mut sample([15_000]));
        assert_eq!(all.p50, Quantile::Above(15_000));
        assert_eq!(
            censored(&mut sample([]), &mut sample([])).p50,
            Quantile::TooFew
        );
    }

    /// Against the same kept and put in order, around the number from which they are counted.
    #[test]
    fn many_are_as_exact_as_few() {
        for n in [FEW - 1, FEW, FEW + 1, 3 * FEW] {
            let mut seed: u32 = 7;
            let mut all: Vec<u32> = (0..n)
                .map(|number| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    match number % 37 {
                        // Far beyond what is counted, and at its end.
                        0 => u32::MAX - seed % 50_000,
                        1 => 4_194_300 + seed % 8,
                        _ => seed % 300_000,
                    }
                })
                .collect();
            let mut sample = sample(all.iter().copied());
            let counts = sample.histogram(&super::super::EDGES);
            all.sort_unstable();
            let nth = |share| all[usize::try_from(rank(n as u64, share)).unwrap() - 1];
            let quantiles = sample.quantiles();
            assert_eq!(quantiles.n, n as u64);
            assert_eq!(quantiles.p50, Quantile::Ms(nth(0.5)));
            assert_eq!(quantiles.p95, Quantile::Ms(nth(0.95)));
            assert_eq!(quantiles.p99, Quantile::Ms(nth(0.99)));
            for at in [1, n / 3, n - n / 37, n - 1, n] {
                assert_eq!(sample.ranked(at as u64), Some(all[at - 1]), "{at} of {n}");
            }
            assert_eq!(sample.ranked(n as u64 + 1), None);
            assert_eq!(sample.shortest(), all.first().copied());
            assert_eq!(counts.iter().sum::<u64>(), n as u64);
            let within = all.iter().filter(|ms| **ms <= 5_000).count();
            assert_eq!(counts[0], within as u64);
        }
    }

    #[test]
    fn a_histogram_counts_each_sample_once_and_an_edge_belongs_to_its_stretch() {
        let counts = sample([0, 10, 11, 20, 21, 1_000]).histogram(&[10, 20]);
        assert_eq!(counts, [2, 2, 2]);
    }
}
