//! The only file that reads a clock. Everything else is told what time it is.

use std::time::{Duration, Instant};

use crate::core::event::Timestamp;

/// The wall clock, in whole milliseconds of UTC.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the door to the clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The clock for lengths of time: it never steps, and stands still in a test whose runtime is paused.
#[must_use]
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// How long something took: does not step back when the time of day does.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door to the clock"
    )]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A wall clock that is further off than this was set, or the machine slept: it does not merely run unevenly.
const STEP_MS: i64 = 5_000;
/// A step is followed by one millisecond in so many.
const SLEW: i64 = 8;

/// The wall clock without its steps: the time of day at the start, moved on by the monotonic clock.
///
/// Timers run on it, so that setting the clock neither fires them all at once nor holds them back. A step of more than
/// five seconds is followed slowly, by an eighth of the time that passes: two hours take sixteen. A forward step thus
/// shortens no wait by more than a ninth, a backward step shortens none, and this clock itself never goes back. To be
/// told of a step it must be asked to [`follow`](SteadyClock::follow) now and then.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    since: tokio::time::Instant,
    at: Timestamp,
    /// By how much the wall clock was ahead then; negative: behind.
    off_ms: i64,
}

impl SteadyClock {
    #[must_use]
    pub fn start() -> SteadyClock {
        SteadyClock::set(monotonic(), now(), 0)
    }

    fn set(since: tokio::time::Instant, at: Timestamp, off_ms: i64) -> SteadyClock {
        SteadyClock { since, at, off_ms }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shows(monotonic())
    }

    /// Takes note of a step of the wall clock; says how far off this clock is when there was one.
    pub fn follow(&mut self) -> Option<i64> {
        self.compare(monotonic(), now())
    }

    fn compare(&mut self, instant: tokio::time::Instant, wall: Timestamp) -> Option<i64> {
        let passed = millis(instant.duration_since(self.since));
        let heads_for = self.at.plus_ms(passed).plus_ms(self.off_ms);
        if wall.since(heads_for).saturating_abs() <= STEP_MS {
            return None;
        }
        let shown = self.shows(instant);
        let off_ms = wall.since(shown);
        *self = SteadyClock::set(instant, shown, off_ms);
        Some(off_ms)
    }

    fn shows(&self, instant: tokio::time::Instant) -> Timestamp {
        let passed = millis(instant.duration_since(self.since));
        let made_up = (passed / SLEW).min(self.off_ms.saturating_abs());
        self.at
            .plus_ms(passed)
            .plus_ms(made_up * self.off_ms.signum())
    }

    /// The moment on the runtime's clock at which `at` is reached.
    #[must_use]
    pub fn instant_of(&self, at: Timestamp) -> tokio::time::Instant {
        let wanted = at.since(self.at).max(0);
        // Of eight milliseconds that pass it shows nine or seven, until it has made up what the wall clock was off.
        let shown = SLEW + self.off_ms.signum();
        let following = wanted.saturating_mul(SLEW).saturating_add(shown - 1) / shown;
        let followed = wanted.saturating_sub(self.off_ms);
        let passed = match self.off_ms > 0 {
            true => following.max(followed),
            false => following.min(followed),
        };
        self.since + Duration::from_millis(u64::try_from(passed).unwrap_or(0))
    }
}

/// Whole milliseconds, as moments have them.
#[must_use]
pub fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_760_000_000_000);
    const HOUR: i64 = 3_600_000;

    /// A clock that was started at `START`, and the moments after that in milliseconds.
    fn started() -> (SteadyClock, impl Fn(i64) -> tokio::time::Instant) {
        let began = monotonic();
        let after = move |ms: i64| began + Duration::from_millis(ms.unsigned_abs());
        (SteadyClock::set(began, START, 0), after)
    }

    #[test]
    fn small_differences_are_not_followed() {
        let (mut clock, after) = started();
        for off in [-STEP_MS, -1, 0, 1, STEP_MS] {
            let wall = START.plus_ms(HOUR + off);
            assert_eq!(clock.compare(after(HOUR), wall), None);
        }
        assert_eq!(clock.shows(after(2 * HOUR)), START.plus_ms(2 * HOUR));
    }

    #[test]
    fn a_step_moves_the_clock_not_at_once_and_is_made_up_by_an_eighth() {
        for off in [HOUR, -HOUR] {
            let (mut clock, after) = started();
            let wall = |passed: i64| START.plus_ms(passed + off);
            assert_eq!(clock.compare(after(1_000), wall(1_000)), Some(off));
            assert_eq!(clock.shows(after(1_000)), START.plus_ms(1_000));
            let later = 1_000 + 4 * HOUR;
            assert_eq!(clock.compare(after(later), wall(later)), None, "told once");
            assert_eq!(clock.shows(after(later)), START.plus_ms(later + off / 2));
            for later in [1_000 + 8 * HOUR, 24 * HOUR] {
                assert_eq!(clock.shows(after(later)), wall(later));
            }
        }
    }

    #[test]
    fn a_wait_is_cut_by_a_ninth_at_most_and_by_no_backward_step() {
        for (off, least, most) in [(HOUR, 106_666, 106_667), (-HOUR, 120_000, 137_143)] {
            let (mut clock, after) = started();
            let due = clock.shows(after(0)).plus_ms(120_000);
            clock.compare(after(0), START.plus_ms(off));
            let waited = millis(clock.instant_of(due).duration_since(after(0)));
            assert!((least..=most).contains(&waited), "{off}: {waited}");
        }
    }

    #[test]
    fn a_step_back_again_is_followed_from_where_the_clock_is() {
        let (mut clock, after) = started();
        clock.compare(after(0), START.plus_ms(HOUR));
        let shown = START.plus_ms(HOUR + HOUR / 8);
        let right = START.plus_ms(HOUR);
        assert_eq!(clock.compare(after(HOUR), right), Some(-HOUR / 8));
        assert_eq!(clock.shows(after(HOUR)), shown);
        assert_eq!(clock.shows(after(2 * HOUR)), right.plus_ms(HOUR));
    }

    #[test]
    fn what_is_due_is_reached_at_its_instant_to_a_millisecond() {
        for off in [0, 7_001, -7_001] {
            let (mut clock, after) = started();
            clock.compare(after(0), START.plus_ms(off));
            for wait in (0..200).chain(48_900..49_100).chain(55_900..63_100) {
                let at = START.plus_ms(wait);
                let instant = clock.instant_of(at);
                assert!(clock.shows(instant) >= at, "{off}: {wait}");
                let passed = millis(instant.duration_since(after(0)));
                let early = passed > 1 && clock.shows(after(passed - 2)) >= at;
                assert!(!early, "{off}: {wait} is reached before {passed}");
            }
        }
    }
}
