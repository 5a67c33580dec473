//! How much of a stretch was seen.
//!
//! A week in which nothing was read looks perfect, so every report says what share of it all sources were fresh. What is
//! not known to have been seen was not seen: stretches of sight are what is given, and gaps are what they leave.

use std::ops::Range;

use serde::Serialize;

use super::share::Share;
use crate::core::event::Timestamp;

/// Below this share a report says that it is partial.
pub const WHOLE: f64 = 0.95;
/// Shorter gaps are restarts and looks that came a little late.
const SHORTEST_MS: i64 = 120_000;

/// A stretch in which some source was not fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub from: Timestamp,
    pub to: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Seconds that were seen, of the seconds there are.
    pub seconds: Share,
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// Of `range`, by the stretches in which everything was fresh; they may be in any order and overlap.
    #[must_use]
    pub fn of(range: &Range<Timestamp>, mut seen: Vec<Range<Timestamp>>) -> Coverage {
        seen.sort_by_key(|stretch| stretch.start);
        let mut gaps = Vec::new();
        let mut at = range.start;
        for stretch in seen {
            let from = stretch.start.min(range.end);
            note(&mut gaps, at, from);
            at = at.max(stretch.end.min(range.end));
        }
        note(&mut gaps, at, range.end);
        let blind: i64 = gaps.iter().map(|gap| gap.to.since(gap.from)).sum();
        let whole = range.end.since(range.start);
        let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
        Coverage {
            seconds: Share::new(seconds(whole - blind), seconds(whole)),
            gaps,
        }
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.seconds.value().is_some_and(|share| share >= WHOLE)
    }

    /// The seconds of a part of it that were seen.
    #[must_use]
    pub fn within(&self, part: &Range<Timestamp>) -> Share {
        let blind: i64 = self
            .gaps
            .iter()
            .map(|gap| gap.to.min(part.end).since(gap.from.max(part.start)).max(0))
            .sum();
        let whole = part.end.since(part.start);
        let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
        Share::new(seconds(whole - blind), seconds(whole))
    }
}

/// The stretches in which everybody saw everything, of those in which each did; nobody at all sees nothing.
#[must_use]
pub fn together<'a>(
    each: impl IntoIterator<Item = &'a Vec<Range<Timestamp>>>,
) -> Vec<Range<Timestamp>> {
    let mut each = each.into_iter().map(|stretches| joined(stretches));
    let Some(mut all) = each.next() else {
        return Vec::new();
    };
    for one in each {
        let (mut both, mut a, mut b) = (Vec::new(), 0, 0);
        while let (Some(here), Some(there)) = (all.get(a), one.get(b)) {
            let from = here.start.max(there.start);
            let to = here.end.min(there.end);
            if from < to {
                both.push(from..to);
            }
            match here.end < there.end {
                true => a += 1,
                false => b += 1,
            }
        }
        all = both;
    }
    all
}

/// What is left of some stretches outside others.
#[must_use]
pub fn without(all: &[Range<Timestamp>], holes: &[Range<Timestamp>]) -> Vec<Range<Timestamp>> {
    let holes = joined(holes);
    let mut left = Vec::new();
    for stretch in joined(all) {
        let mut at = stretch.start;
        for hole in &holes {
            if hole.start > at && hole.start < stretch.end {
                left.push(at..hole.start);
            }
            if hole.start < stretch.end {
                at = at.max(hole.end);
            }
        }
        if at < stretch.end {
            left.push(at..stretch.end);
        }
    }
    left
}

/// In order, and without overlaps.
#[must_use]
pub fn joined(stretches: &[Range<Timestamp>]) -> Vec<Range<Timestamp>> {
    let mut sorted = stretches.to_vec();
    sorted.sort_by_key(|stretch| stretch.start);
    let mut joined: Vec<Range<Timestamp>> = Vec::with_capacity(sorted.len());
    for stretch in sorted {
        match joined.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
            _ => joined.push(stretch),
        }
    }
    joined
}

fn note(gaps: &mut Vec<Gap>, from: Timestamp, to: Timestamp) {
    if to.since(from) >= SHORTEST_MS {
        gaps.push(Gap { from, to });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn stretch(from: i64, to: i64) -> Range<Timestamp> {
        Timestamp(from * HOUR)..Timestamp(to * HOUR)
    }

    #[test]
    fn twelve_hours_unseen_are_a_gap_and_make_a_week_partial() {
        let coverage = Coverage::of(&stretch(0, 168), vec![stretch(60, 168), stretch(0, 48)]);
        assert_eq!(coverage.seconds, Share::new(156 * 3600, 168 * 3600));
        assert_eq!(coverage.gaps.len(), 1);
        assert_eq!(coverage.gaps[0].from, Timestamp(48 * HOUR));
        assert!(!coverage.is_whole(), "92.9 %");
        assert_eq!(
            coverage.within(&stretch(48, 72)),
            Share::new(12 * 3600, 24 * 3600)
        );
    }

    #[test]
    fn overlaps_count_once_and_a_restart_is_no_gap() {
        let mut seen = vec![stretch(0, 10), stretch(5, 8)];
        seen.push(Timestamp(10 * HOUR + 90_000)..Timestamp(24 * HOUR));
        let coverage = Coverage::of(&stretch(0, 24), seen);
        assert!(coverage.gaps.is_empty() && coverage.is_whole());
        assert_eq!(coverage.seconds.value(), Some(1.0));
    }

    #[test]
    fn a_fleet_saw_what_each_of_its_hosts_saw() {
        let one = vec![stretch(0, 10), stretch(5, 12), stretch(20, 30)];
        let other = vec![stretch(8, 22), stretch(24, 40)];
        assert_eq!(
            together([&one, &other]),
            [stretch(8, 12), stretch(20, 22), stretch(24, 30)]
        );
        assert_eq!(together([&other, &one]), together([&one, &other]));
        assert!(together([&one, &Vec::new()]).is_empty(), "one was blind");
        assert!(together([]).is_empty());
    }

    #[test]
    fn what_lies_in_a_hole_is_not_left() {
        let all = [stretch(0, 10), stretch(20, 30)];
        let holes = [stretch(8, 22), stretch(2, 3), stretch(25, 26)];
        let left = [
            stretch(0, 2),
            stretch(3, 8),
            stretch(22, 25),
            stretch(26, 30),
        ];
        assert_eq!(without(&all, &holes), left);
        assert_eq!(without(&all, &[]), all);
        assert!(without(&all, &[stretch(0, 40)]).is_empty());
    }

    #[test]
    fn what_nobody_saw_is_one_gap() {
        let coverage = Coverage::of(&stretch(0, 24), Vec::new());
        assert_eq!(coverage.seconds, Share::new(0, 24 * 3600));
        assert_eq!(coverage.gaps.len(), 1);
        let outside = Coverage::of(&stretch(10, 24), vec![stretch(0, 5), stretch(30, 40)]);
        assert_eq!(outside.seconds.k, 0);
    }
}
