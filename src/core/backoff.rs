//! How long to wait before another try: by chance below a bound that grows, or as the other side wishes.
//!
//! Full jitter, so that many sidecars whose receiver came back do not all call at once: a wait anywhere between nothing
//! and a bound that doubles from one second to five minutes. What the receiver asks for (`Retry-After`) is obeyed, within
//! reason.

use std::time::Duration;

use crate::core::event::Timestamp;

/// The first bound of the wait; each further try doubles it.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// Chance may say zero, and a receiver that fails at once must not be called in a loop.
const SHORTEST: Duration = Duration::from_millis(50);
/// Within these a receiver's own wish is obeyed.
const WISH_LEAST: Duration = Duration::from_secs(1);
const WISH_MOST: Duration = Duration::from_secs(15 * 60);

#[must_use]
pub fn jittered(tries: u32, random: f64) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    bound.mul_f64(random.clamp(0.0, 1.0)).max(SHORTEST)
}

/// Reads `Retry-After`: seconds, or a date of HTTP. Anything else is no wish.
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
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
    Some(within_reason(wish))
}

/// How long is waited on a receiver's own wish.
#[must_use]
pub fn within_reason(wish: Duration) -> Duration {
    wish.clamp(WISH_LEAST, WISH_MOST)
}

/// Chance for the waits: `SplitMix64` with a seed of the process. Nothing secret depends on it.
#[derive(Debug)]
pub struct Jitter(u64);

impl Default for Jitter {
    fn default() -> Jitter {
        Jitter::new()
    }
}

impl Jitter {
    #[must_use]
    pub fn new() -> Jitter {
        use std::hash::{BuildHasher, RandomState};
        Jitter(RandomState::new().hash_one(0u8))
    }

    /// A number of [0, 1).
    pub fn draw(&mut self) -> f64 {
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

    #[test]
    fn a_wish_is_obeyed_within_reason() {
        for (wish, waited) in [(0, 1), (7, 7), (100_000, 900)] {
            let waited = Duration::from_secs(waited);
            assert_eq!(within_reason(Duration::from_secs(wish)), waited);
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
