//! Series by place: each is made when first used and found again without comparing a label.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ::prometheus::core::{MetricVec, MetricVecBuilder};
use ::prometheus::{IntCounter, IntGauge};

/// The values of one label; a place is an index into it.
pub(super) type Axis = Vec<String>;

pub(super) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Axis {
    words.into_iter().map(str::to_owned).collect()
}

/// What a family of series makes one series of.
pub(super) trait Family {
    type Series;

    fn series(&self, labels: &[&str]) -> Self::Series;
}

impl<B: MetricVecBuilder> Family for MetricVec<B> {
    type Series = B::M;

    fn series(&self, labels: &[&str]) -> B::M {
        self.with_label_values(labels)
    }
}

/// All series that a family can have.
pub(super) struct Table<F: Family, const N: usize> {
    family: F,
    axes: [Axis; N],
    series: Box<[OnceLock<F::Series>]>,
}

impl<F: Family, const N: usize> Table<F, N> {
    pub(super) fn new(family: F, axes: [Axis; N]) -> Table<F, N> {
        let size = axes.iter().map(Vec::len).product();
        Table {
            family,
            axes,
            series: std::iter::repeat_with(OnceLock::new).take(size).collect(),
        }
    }

    /// The series at a place of each axis.
    #[inline]
    pub(super) fn at(&self, place: [usize; N]) -> &F::Series {
        self.series[self.index(place)].get_or_init(|| {
            let labels: Vec<&str> = self
                .axes
                .iter()
                .zip(place)
                .map(|(axis, at)| axis[at].as_str())
                .collect();
            self.family.series(&labels)
        })
    }

    /// Has the series there from now on.
    pub(super) fn make(&self, place: [usize; N]) {
        let _series = self.at(place);
    }

    #[inline]
    fn index(&self, place: [usize; N]) -> usize {
        let mut index = 0;
        for (axis, at) in self.axes.iter().zip(place) {
            index = index * axis.len() + at;
        }
        index
    }
}

impl<F: Family<Series = IntGauge>, const N: usize> Table<F, N> {
    /// Counts what is at each place, and sets the series: those that exist and were not met go to zero.
    pub(super) fn set(&self, places: impl Iterator<Item = [usize; N]>) {
        self.set_counts(places.map(|place| (place, 1)));
    }

    /// Sets each series to the sum of the counts at its place, those that exist and were not met to zero.
    pub(super) fn set_counts(&self, counted: impl Iterator<Item = ([usize; N], usize)>) {
        let mut counts = vec![0i64; self.series.len()];
        for (place, count) in counted {
            self.make(place);
            counts[self.index(place)] += i64::try_from(count).unwrap_or(i64::MAX);
        }
        for (series, count) in self.series.iter().zip(counts) {
            if let Some(series) = series.get() {
                series.set(count);
            }
        }
    }
}

impl<F: Family, const N: usize> fmt::Debug for Table<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("axes", &self.axes)
            .finish_non_exhaustive()
    }
}

/// A counter that follows a total kept elsewhere. It never goes down: a total that did began anew.
#[derive(Debug)]
pub(super) struct Followed {
    counter: IntCounter,
    seen: AtomicU64,
}

impl Followed {
    pub(super) fn new(counter: IntCounter) -> Followed {
        Followed {
            counter,
            seen: AtomicU64::new(0),
        }
    }

    pub(super) fn follow(&self, total: u64) {
        let seen = self.seen.swap(total, Ordering::Relaxed);
        let more = if total >= seen { total - seen } else { total };
        if more > 0 {
            self.counter.inc_by(more);
        }
    }

    pub(super) fn inc(&self) {
        self.counter.inc();
    }

    /// What the total rose by since is not counted.
    pub(super) fn skip(&self, total: u64) {
        self.seen.store(total, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_followed_counter_never_goes_down() {
        let counter = IntCounter::new("c", "c").unwrap();
        let followed = Followed::new(counter.clone());
        followed.follow(5);
        followed.follow(5);
        followed.follow(7);
        assert_eq!(counter.get(), 7);
        followed.follow(2);
        assert_eq!(counter.get(), 9);
        followed.skip(100);
        followed.follow(101);
        assert_eq!(counter.get(), 10);
    }
}
