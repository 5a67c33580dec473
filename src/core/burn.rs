//! How fast the error budget of the boot success objective is being used up.
//!
//! The objective tolerates a share of failed boots over 30 days: the budget. A burn of 1 uses it up in just that time. An
//! alert fires where the burn is above its factor over a long window, so that it matters, and over a short one of a
//! twelfth, so that it is still going on and ends soon after the failures do (Google, *The Site Reliability Workbook*,
//! 2018, chapter 5: multiwindow, multi-burn-rate alerts). Shares are ratios of sums, never means of ratios, and a window
//! without boots has none: it is no data, and not 100 %.
//!
//! A share of few boots says little, so the failures must also be improbable if each boot failed with the tolerated
//! probability. Where the long window holds few boots, the last ones of a day are judged instead.
//!
//! Counts are kept by the minute for three days and by the hour for thirty, sparse, in event time. A window is
//! half-open: its buckets are those that begin within it and not after the newest boot.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::core::binomial;
use crate::core::event::Timestamp;
use crate::core::rule::Severity;
use crate::core::window::Count;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Minutes of an hour.
const MINUTES: i64 = HOUR / MINUTE;
const DAY: i64 = 24 * HOUR;
/// What the budget is for.
pub const PERIOD_MS: i64 = 30 * DAY;
/// The longest of the windows.
const MINUTES_SPAN: i64 = 3 * DAY;
/// A window as short as this is counted finer than by the minute, elsewhere (`Window`).
pub const FINE_MS: i64 = HOUR;
const LEAST_BAD: u32 = 3;
/// A share must fall so far below the one that fires before a window alone ends an alert.
const HYSTERESIS: f64 = 0.8;

/// Two windows and the burn that is too fast for both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub severity: Severity,
    pub long_ms: i64,
    pub short_ms: i64,
    pub factor: f64,
}

/// The windows in their order, with the usual factors for a period of 30 days: those use 2 %, 5 %, 10 % and 10 % of the
/// budget before they fire.
pub const PAIRS: [Pair; 4] = [
    pair(Severity::Page, HOUR, 14.4),
    pair(Severity::Page, 6 * HOUR, 6.0),
    pair(Severity::Ticket, DAY, 3.0),
    pair(Severity::Ticket, 3 * DAY, 1.0),
];

const fn pair(severity: Severity, long_ms: i64, factor: f64) -> Pair {
    Pair {
        severity,
        long_ms,
        short_ms: long_ms / 12,
        factor,
    }
}

/// Boots of one kind by time, for as long as the budget's period.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    minutes: Ring,
    hours: Ring,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            minutes: Ring::new(MINUTE, MINUTES_SPAN),
            hours: Ring::new(HOUR, PERIOD_MS),
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) enum Grain {
    Minute,
    Hour,
}

impl Grain {
    pub(in crate::core) const ALL: [Grain; 2] = [Grain::Minute, Grain::Hour];

    pub(in crate::core) fn as_str(self) -> &'static str {
        match self {
            Grain::Minute => "minute",
            Grain::Hour => "hour",
        }
    }
}

/// Boots of one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct Cell {
    /// Which stretch since the epoch.
    number: i64,
    bad: u32,
    of: u32,
}

impl Cell {
    fn count(&self) -> Count {
        Count {
            bad: self.bad,
            of: self.of,
        }
    }
}

/// Sparse: only stretches with a boot have a cell. By place, which comes round again after `places`.
#[derive(Clone, Debug, PartialEq)]
struct Ring {
    width_ms: i64,
    places: i64,
    cells: BTreeMap<usize, Cell>,
}

impl Ring {
    fn new(width_ms: i64, span_ms: i64) -> Ring {
        Ring {
            width_ms,
            places: span_ms / width_ms,
            cells: BTreeMap::new(),
        }
    }

    fn place_of(&self, number: i64) -> usize {
        usize::try_from(number.rem_euclid(self.places)).unwrap_or(0)
    }

    fn add(&mut self, at: Timestamp, bad: bool) -> usize {
        let number = at.0.div_euclid(self.width_ms);
        let place = self.place_of(number);
        let empty = Cell {
            number,
            bad: 0,
            of: 0,
        };
        let cell = self.cells.entry(place).or_insert(empty);
        if cell.number < number {
            *cell = empty;
        }
        // A boot that ended a whole round before the newest one has no cell any more.
        if cell.number == number {
            cell.of = cell.of.saturating_add(1);
            cell.bad = cell.bad.saturating_add(u32::from(bad));
        }
        place
    }

    /// The first and the last of the stretches that begin within `span_ms` before `now`.
    fn stretches(&self, now: Timestamp, span_ms: i64) -> RangeInclusive<i64> {
        let oldest = now.0 - span_ms;
        oldest.div_euclid(self.width_ms) + 1..=now.0.div_euclid(self.width_ms)
    }

    fn sum(&self, numbers: RangeInclusive<i64>) -> Count {
        // Their cells lie in a row, which may go round the ring's end.
        let stretches = numbers.end().saturating_sub(*numbers.start());
        let (first, last) = (
            self.place_of(*numbers.start()),
            self.place_of(*numbers.end()),
        );
        let (row, round) = match stretches {
            ..0 => return Count::default(),
            _ if stretches >= self.places => (0..=usize::MAX, None),
            _ if first <= last => (first..=last, None),
            _ => (first..=usize::MAX, Some(0..=last)),
        };
        [Some(row), round]
            .into_iter()
            .flatten()
            .flat_map(|row| self.cells.range(row))
            .filter(|(_, cell)| numbers.contains(&cell.number))
            .map(|(_, cell)| cell.count())
            .fold(Count::default(), Count::and)
    }
}

impl Budget {
    /// The cells that it changed.
    pub(in crate::core) fn add(&mut self, at: Timestamp, bad: bool) -> [(Grain, usize); 2] {
        [
            (Grain::Minute, self.minutes.add(at, bad)),
            (Grain::Hour, self.hours.add(at, bad)),
        ]
    }

    /// Boots that ended within `span_ms` before `now`, by the minute up to three days, beyond by the hour.
    #[must_use]
    pub fn within(&self, now: Timestamp, span_ms: i64) -> Count {
        if span_ms > MINUTES_SPAN {
            let span_ms = span_ms.min(PERIOD_MS);
            return self.hours.sum(self.hours.stretches(now, span_ms));
        }
        // The hours that lie wholly in it are counted already: some two hundred cells are summed up instead of 4,320.
        let (first, last) = self.minutes.stretches(now, span_ms).into_inner();
        let hours = first.div_euclid(MINUTES) + 1..=last.div_euclid(MINUTES) - 1;
        if hours.is_empty() {
            return self.minutes.sum(first..=last);
        }
        let before = self.minutes.sum(first..=hours.start() * MINUTES - 1);
        let after = self.minutes.sum((hours.end() + 1) * MINUTES..=last);
        let between = self.hours.sum(hours);
        before.and(between).and(after)
    }

    fn ring(&self, grain: Grain) -> &Ring {
        match grain {
            Grain::Minute => &self.minutes,
            Grain::Hour => &self.hours,
        }
    }

    pub(in crate::core) fn cell(&self, grain: Grain, place: usize) -> Option<&Cell> {
        self.ring(grain).cells.get(&place)
    }

    pub(in crate::core) fn places(&self, grain: Grain) -> impl Iterator<Item = usize> + '_ {
        self.ring(grain).cells.keys().copied()
    }

    /// Takes back a saved cell; false if it cannot be one.
    pub(in crate::core) fn restore(&mut self, grain: Grain, place: usize, cell: Cell) -> bool {
        let ring = match grain {
            Grain::Minute => &mut self.minutes,
            Grain::Hour => &mut self.hours,
        };
        let fits = ring.place_of(cell.number) == place && cell.bad <= cell.of && cell.of > 0;
        if fits {
            ring.cells.insert(place, cell);
        }
        fits
    }
}

/// What one pair of windows shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    pub pair: Pair,
    pub long: Count,
    /// The long window held too few boots: these are the last ones.
    pub widened: bool,
    pub short: Count,
}

/// What the pairs are held against.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The share of boots that may fail.
    pub tolerated: f64,
    /// How improbable the failures must be.
    pub alpha: f64,
}

impl Look {
    /// The share of failures at which the burn is the pair's factor.
    fn threshold(&self, terms: Terms) -> f64 {
        self.pair.factor * terms.tolerated
    }

    /// Both windows burn too fast, and not by chance.
    #[must_use]
    pub fn exceeds(&self, terms: Terms) -> bool {
        let threshold = self.threshold(terms);
        let over = |count: Count| count.of > 0 && count.share() > threshold;
        over(self.long)
            && over(self.short)
            && self.long.bad >= LEAST_BAD
            && self.chance(terms) <= terms.alpha
    }

    /// It has stopped: the short window holds boots, and clearly fewer bad ones than fire.
    #[must_use]
    pub fn is_calm(&self, terms: Terms) -> bool {
        self.short.of > 0 && self.short.share() < self.threshold(terms) * HYSTERESIS
    }

    /// The chance of so many failures if each boot failed with the tolerated probability.
    #[must_use]
    pub fn chance(&self, terms: Terms) -> f64 {
        binomial::tail(self.long.bad, self.long.of, terms.tolerated)
    }

    /// How fast the budget burns: 1 uses it up in its period.
    #[must_use]
    pub fn burn(&self, terms: Terms) -> f64 {
        self.long.share() / terms.tolerated.max(f64::MIN_POSITIVE)
    }
}

/// The budget of the last 30 days, by the boots there really were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// Failures that the objective tolerates among them.
    pub allowed: f64,
    pub spent: Count,
    /// When it is used up if failures go on as in the long window; 0 where it is already, `None` where they do not
    /// exceed what each further boot adds to it.
    pub lasts_ms: Option<i64>,
}

/// What is left of the budget, and for how long at this pace.
#[must_use]
pub fn left(spent: Count, look: &Look, terms: Terms) -> Left {
    let allowed = f64::from(spent.of) * terms.tolerated;
    let remaining = allowed - f64::from(spent.bad);
    let excess = f64::from(look.long.bad) - f64::from(look.long.of) * terms.tolerated;
    let lasts_ms = if remaining <= 0.0 {
        Some(0)
    } else if excess > 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "milliseconds of a window, and a cast to i64 saturates"
        )]
        let ms = (remaining / excess * look.pair.long_ms as f64) as i64;
        Some(ms)
    } else {
        None
    };
    Left {
        allowed,
        spent,
        lasts_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        tolerated: 0.01,
        alpha: 0.001,
    };

    fn look(budget: &Budget, pair: Pair, now: Timestamp) -> Look {
        Look {
            pair,
            long: budget.within(now, pair.long_ms),
            widened: false,
            short: budget.within(now, pair.short_ms),
        }
    }

    /// A boot each ten seconds, `bad` in a hundred of them, until `until`.
    fn run(budget: &mut Budget, from: i64, until: i64, bad: i64) {
        for tick in from / 10_000..until / 10_000 {
            budget.add(Timestamp(tick * 10_000), tick * bad % 100 < bad);
        }
    }

    /// Minutes from the step to the pair's firing, and from the step's end, some time later, to its reset.
    fn fires_and_resets(pair: Pair, share: i64) -> (i64, i64) {
        let start = 4 * DAY;
        let mut budget = Budget::default();
        run(&mut budget, 0, start, 0);
        // Whether it may be chance is another question.
        let terms = Terms {
            alpha: 1.0,
            ..TERMS
        };
        let exceeds =
            |budget: &Budget, at: i64| look(budget, pair, Timestamp(at - 1)).exceeds(terms);
        let mut at = start;
        while !exceeds(&budget, at) {
            assert!(at < start + pair.long_ms, "{pair:?} never fires");
            run(&mut budget, at, at + MINUTE, share);
            at += MINUTE;
        }
        let fired = at - start;
        // So that the long window does not reset of itself.
        let over = at + fired / 5;
        run(&mut budget, at, over, share);
        at = over;
        while exceeds(&budget, at) {
            run(&mut budget, at, at + MINUTE, 0);
            at += MINUTE;
        }
        (fired / MINUTE, (at - over) / MINUTE)
    }

    /// *The Site Reliability Workbook*, table 5-8, and the share of the budget that each uses before it fires.
    #[test]
    fn the_pairs_are_those_of_the_book() {
        let expected = [
            (Severity::Page, 60, 5, 14.4, 0.02),
            (Severity::Page, 360, 30, 6.0, 0.05),
            (Severity::Ticket, 1_440, 120, 3.0, 0.1),
            (Severity::Ticket, 4_320, 360, 1.0, 0.1),
        ];
        for (pair, (severity, long, short, factor, spent)) in PAIRS.iter().zip(expected) {
            assert_eq!(
                (pair.severity, pair.long_ms, pair.short_ms, pair.factor),
                (severity, long * MINUTE, short * MINUTE, factor)
            );
            let uses = pair.factor * pair.long_ms as f64 / PERIOD_MS as f64;
            assert!((uses - spent).abs() < 1e-9, "{pair:?}");
        }
    }

    #[test]
    fn a_step_fires_and_resets_when_the_closed_form_says() {
        for (pair, share) in [
            (PAIRS[0], 100),
            (PAIRS[0], 20),
            (PAIRS[1], 100),
            (PAIRS[1], 50),
            (PAIRS[2], 100),
            (PAIRS[2], 10),
            (PAIRS[3], 20),
            (PAIRS[3], 4),
        ] {
            // It fires once so much of the long window is the step, and resets once so little of the short one is.
            let part = pair.factor * TERMS.tolerated / (share as f64 / 100.0);
            let minutes = |ms: i64| (ms / MINUTE) as f64;
            let fires = minutes(pair.long_ms) * part;
            let resets = minutes(pair.short_ms) * (1.0 - part);
            let (fired, reset) = fires_and_resets(pair, share);
            for (found, wanted) in [(fired, fires), (reset, resets)] {
                let near = (found as f64 - wanted).abs() <= 2.0 + wanted / 100.0;
                assert!(near, "{pair:?} {share} %: {found} min for {wanted}");
            }
        }
    }

    #[test]
    fn few_boots_fire_only_where_they_cannot_be_chance() {
        let fires = |bad, of, tolerated| {
            let count = Count { bad, of };
            let look = Look {
                pair: PAIRS[3],
                long: count,
                widened: false,
                short: count,
            };
            look.exceeds(Terms {
                tolerated,
                alpha: 0.001,
            })
        };
        // The least counts of the published tables, for budgets of 5 % and 1 %.
        for (of, bad) in [
            (3, 3),
            (5, 4),
            (8, 4),
            (10, 5),
            (20, 6),
            (30, 7),
            (50, 9),
            (100, 14),
        ] {
            assert!(
                fires(bad, of, 0.05) && !fires(bad - 1, of, 0.05),
                "{bad} of {of}"
            );
        }
        for (of, bad) in [(3, 3), (10, 3), (20, 4), (50, 5), (100, 6)] {
            assert!(
                fires(bad, of, 0.01) && !fires(bad - 1, of, 0.01),
                "{bad} of {of}"
            );
        }
    }

    #[test]
    fn a_window_is_all_its_cells_wherever_in_the_ring_they_lie() {
        let mut ring = Ring::new(MINUTE, 100 * MINUTE);
        for minute in (0..250).filter(|minute| minute % 7 != 3) {
            ring.add(Timestamp(minute * MINUTE), minute % 5 == 0);
        }
        for now in (0..400).map(|minute| Timestamp(minute * MINUTE + 1)) {
            for minutes in [-1, 0, 1, 2, 50, 99, 100, 101, 1_000] {
                let begins = now.0 / MINUTE - minutes + 1..=now.0 / MINUTE;
                let inside = |cell: &&Cell| begins.contains(&cell.number);
                let wanted = ring.cells.values().filter(inside).map(|cell| cell.of);
                let found = ring.sum(ring.stretches(now, minutes * MINUTE)).of;
                assert_eq!(found, wanted.sum::<u32>(), "{now:?}, {minutes} minutes");
            }
        }
    }

    /// However much of it is told by the hour.
    #[test]
    fn a_budgets_window_holds_the_boots_of_its_minutes() {
        let mut budget = Budget::default();
        let ends: Vec<i64> = (0..2_000).map(|n| n * n % 4_001 * MINUTE + 7).collect();
        for (at, bad) in ends.iter().zip([true, false, false].into_iter().cycle()) {
            budget.add(Timestamp(*at), bad);
        }
        for now in (4_001..4_130).chain([4_200, 4_319]) {
            for span in [
                1, 29, 30, 59, 60, 61, 119, 120, 121, 360, 1_440, 4_319, 4_320,
            ] {
                let begins = now - span + 1..=now;
                let inside = |at: &&i64| begins.contains(&(**at / MINUTE));
                let wanted = ends.iter().filter(inside).count();
                let found = budget.within(Timestamp(now * MINUTE + 9), span * MINUTE);
                assert_eq!(found.of as usize, wanted, "{now}, {span} minutes");
            }
        }
    }

    #[test]
    fn no_boots_are_no_data_and_not_all_well() {
        let nothing = look(&Budget::default(), PAIRS[0], Timestamp(DAY));
        assert!(!nothing.exceeds(TERMS) && !nothing.is_calm(TERMS));
    }

    #[test]
    fn shares_are_ratios_of_sums() {
        let mut budget = Budget::default();
        // 1 of 2 in one minute and 0 of 98 in the next: 1 %, not the mean of 50 % and 0 %.
        budget.add(Timestamp(0), true);
        budget.add(Timestamp(1), false);
        for n in 0..98 {
            budget.add(Timestamp(MINUTE + n), false);
        }
        let count = budget.within(Timestamp(MINUTE + 99), 2 * HOUR);
        assert_eq!((count, count.share()), (Count { bad: 1, of: 100 }, 0.01));
    }

    #[test]
    fn windows_are_half_open_and_both_rings_forget() {
        let mut budget = Budget::default();
        budget.add(Timestamp(0), true);
        let count = |now: i64, span: i64| budget.within(Timestamp(now), span).of;
        assert_eq!(
            (count(2 * HOUR - 1, 2 * HOUR), count(2 * HOUR, 2 * HOUR)),
            (1, 0)
        );
        assert_eq!(
            (count(PERIOD_MS - 1, PERIOD_MS), count(PERIOD_MS, PERIOD_MS)),
            (1, 0)
        );
        budget.add(Timestamp(MINUTES_SPAN), false);
        budget.add(Timestamp(5), true);
        let newest = Timestamp(MINUTES_SPAN);
        assert_eq!(
            budget.within(newest, 3 * DAY),
            Count { bad: 0, of: 1 },
            "its place is taken"
        );
        assert_eq!(budget.within(newest, PERIOD_MS), Count { bad: 2, of: 3 });
    }

    #[test]
    fn what_is_left_of_the_budget_is_by_the_boots_there_were() {
        let terms = Terms {
            tolerated: 0.05,
            alpha: 0.001,
        };
        let look = Look {
            pair: PAIRS[1],
            long: Count { bad: 40, of: 100 },
            widened: false,
            short: Count::default(),
        };
        // 1,000 boots may have 50 failures; 15 are left. Six hours cost 40 - 5 of them.
        let spent = Count { bad: 35, of: 1_000 };
        let budget = left(spent, &look, terms);
        assert!((budget.allowed - 50.0).abs() < 1e-9);
        assert_eq!(budget.lasts_ms, Some(6 * HOUR * 15 / 35));
        assert!((look.burn(terms) - 8.0).abs() < 1e-9);
        let over = left(Count { bad: 51, of: 1_000 }, &look, terms);
        assert_eq!(over.lasts_ms, Some(0));
        let quiet = Look {
            long: Count { bad: 1, of: 100 },
            ..look
        };
        assert_eq!(left(spent, &quiet, terms).lasts_ms, None);
    }
}
