//! When to try again: a pure answer to a failed try.
//!
//! Full jitter, so that many sidecars whose receiver came back do not all call at once: a wait anywhere between nothing
//! and a bound that doubles from one second to five minutes. What the receiver asks for (`Retry-After`) is obeyed, within
//! reason. A message older than its kind's age says nothing that its reader does not know; it is given up, and said so.

use std::time::Duration;

use super::error::NotifyError;
use crate::core::event::Timestamp;

/// The first bound of the wait; each further try doubles it.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// Chance may say zero, and a receiver that fails at once must not be called in a loop.
const SHORTEST: Duration = Duration::from_millis(50);
/// Within these a receiver's own wish is obeyed.
const WISH_LEAST: Duration = Duration::from_secs(1);
const WISH_MOST: Duration = Duration::from_secs(15 * 60);

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Again {
        after: Duration,
        /// The receiver asked for this wait; shutting down does not shorten it.
        asked: bool,
    },
    /// Once more without the evidence: the receiver refused this very payload.
    Reduced,
    /// No further try could help.
    GiveUp,
    /// It was tried for as long as it is worth.
    Expired,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Failed tries in a row, at least this one.
    pub(crate) tries: u32,
    pub(crate) age: Duration,
    /// At this age it is given up.
    pub(crate) max_age: Duration,
    /// It has no evidence any more.
    pub(crate) reduced: bool,
}

/// Decides, with a random number of [0, 1).
pub(crate) fn next(error: &NotifyError, progress: Progress, random: f64) -> Next {
    let Progress {
        tries,
        age,
        max_age,
        reduced,
    } = progress;
    let wish = match error {
        NotifyError::Permanent { .. } if error.refuses_payload() && !reduced => {
            return Next::Reduced;
        }
        NotifyError::Permanent { .. } => return Next::GiveUp,
        NotifyError::Transient { retry_after, .. } => *retry_after,
    };
    let after = wish.unwrap_or_else(|| jittered(tries, random));
    if age.saturating_add(after) > max_age {
        return Next::Expired;
    }
    Next::Again {
        after,
        asked: wish.is_some(),
    }
}

pub(super) fn jittered(tries: u32, random: f64) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    bound.mul_f64(random.clamp(0.0, 1.0)).max(SHORTEST)
}

/// Reads `Retry-After`: seconds, or a date of HTTP. Anything else is no wish.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wish = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too large for a number is more than the most anyway.
        value.parse().map_or(WISH_MOST, Duration::from_secs)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(value)
            .ok()?;
        let ms = at.as_millisecond().saturating_sub(now.0).max(0);
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    };
    Some(wish.clamp(WISH_LEAST, WISH_MOST))
}

/// Chance for the waits: `SplitMix64` with a seed of the process. Nothing secret depends on it.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new() -> Jitter {
        use std::hash::{BuildHasher, RandomState};
        Jitter(RandomState::new().hash_one(0u8))
    }

    /// A number of [0, 1).
    pub(crate) fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 32 bits fit a double exactly.
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::error::Fault;

    const MAX_AGE: Duration = Duration::from_secs(6 * 3600);

    fn after(error: &NotifyError, tries: u32, age: Duration, reduced: bool) -> Next {
        let progress = Progress {
            tries,
            age,
            max_age: MAX_AGE,
            reduced,
        };
        next(error, progress, 0.5)
    }

    fn transient(retry_after: Option<u64>) -> NotifyError {
        NotifyError::Transient {
            fault: Fault::Answered(503),
            retry_after: retry_after.map(Duration::from_secs),
            source: None,
        }
    }

    fn permanent(status: u16) -> NotifyError {
        NotifyError::Permanent {
            fault: Fault::Answered(status),
            source: None,
        }
    }

    #[test]
    fn the_wait_is_anywhere_below_a_bound_that_doubles_up_to_five_minutes() {
        let most = |tries| jittered(tries, 0.999_999_999);
        for (tries, seconds) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 300),
            (u32::MAX, 300),
        ] {
            let bound = Duration::from_secs(seconds);
            assert!(
                most(tries) <= bound && most(tries) > bound.mul_f64(0.99),
                "{tries}"
            );
            assert_eq!(jittered(tries, 0.5), bound.mul_f64(0.5));
            assert_eq!(jittered(tries, 0.0), SHORTEST);
        }
    }

    #[test]
    fn a_receivers_wish_is_obeyed_within_reason() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp(784_111_777_000);
        for (value, wish) in [
            ("0", Some(1)),
            ("30", Some(30)),
            (" 30 ", Some(30)),
            ("86400", Some(900)),
            ("99999999999999999999999", Some(900)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(1)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(900)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(
                retry_after(value, now),
                wish.map(Duration::from_secs),
                "{value:?}"
            );
        }
        let asked = after(&transient(Some(30)), 1, Duration::ZERO, false);
        let wish = Duration::from_secs(30);
        assert_eq!(
            asked,
            Next::Again {
                after: wish,
                asked: true
            }
        );
    }

    #[test]
    fn a_refused_payload_is_tried_once_more_in_short_and_then_given_up() {
        let age = Duration::ZERO;
        for status in [400, 413] {
            assert_eq!(after(&permanent(status), 1, age, false), Next::Reduced);
            assert_eq!(after(&permanent(status), 2, age, true), Next::GiveUp);
        }
        for status in [401, 403, 404, 410, 422, 302] {
            assert_eq!(after(&permanent(status), 1, age, false), Next::GiveUp);
        }
    }

    #[test]
    fn a_page_of_six_hours_is_given_up() {
        let young = MAX_AGE - Duration::from_secs(301);
        assert!(matches!(
            after(&transient(None), 99, young, false),
            Next::Again { .. }
        ));
        assert_eq!(after(&transient(None), 99, MAX_AGE, false), Next::Expired);
    }

    #[test]
    fn chance_stays_below_one_and_differs() {
        let mut jitter = Jitter::new();
        let drawn: Vec<f64> = (0..1000).map(|_| jitter.draw()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
