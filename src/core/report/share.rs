//! Shares of counts, with how sure they are.
//!
//! A share is always shown as k of n with its 95 % interval by Wilson (*Probable inference*, J. Am. Stat. Assoc. 22, 1927),
//! which stays inside 0 to 1 and is right for small n:
//!
//! ```text
//! (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)      z = 1.959964
//! ```
//!
//! Two shares are said to differ where the 95 % interval of their difference leaves out zero; that interval is Newcombe's
//! (*Interval estimation for the difference between independent proportions*, Statistics in Medicine 17, 1998, method
//! 10), made of the two Wilson intervals. Below [`COMPARED`] on either side nothing is compared.

use serde::Serialize;

/// The quantile of the normal distribution for 95 %, two-sided.
const Z: f64 = 1.959_963_984_540_054;
/// Fewer than so many say nothing beside others.
pub const COMPARED: u64 = 20;

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub k: u64,
    pub n: u64,
}

/// From, to; both between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// How a share changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    pub before: Share,
    /// Now less before, as a share: -0.1 is ten points less.
    pub points: f64,
    pub interval: Interval,
    /// Whether chance alone hardly explains it.
    pub differs: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of boots stay far below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

impl Share {
    #[must_use]
    pub fn new(k: u64, n: u64) -> Share {
        Share { k: k.min(n), n }
    }

    /// `None` of nothing: no data is neither 0 nor 1.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        (self.n > 0).then(|| float(self.k) / float(self.n))
    }

    /// The 95 % interval by Wilson.
    #[must_use]
    pub fn interval(self) -> Option<Interval> {
        let p = self.value()?;
        let n = float(self.n);
        let zz = Z * Z;
        let middle = p + zz / (2.0 * n);
        let width = Z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
        let scale = 1.0 + zz / n;
        // At the ends rounding must not leave a trace of doubt where there is none.
        Some(Interval {
            low: if self.k == 0 {
                0.0
            } else {
                ((middle - width) / scale).max(0.0)
            },
            high: if self.k == self.n {
                1.0
            } else {
                ((middle + width) / scale).min(1.0)
            },
        })
    }

    /// Against an earlier share; `None` where either is of too few.
    #[must_use]
    pub fn since(self, before: Share) -> Option<Change> {
        if self.n < COMPARED || before.n < COMPARED {
            return None;
        }
        let (now, then) = (self.value()?, before.value()?);
        let (at, was) = (self.interval()?, before.interval()?);
        let points = now - then;
        let down = ((now - at.low).powi(2) + (was.high - then).powi(2)).sqrt();
        let up = ((at.high - now).powi(2) + (then - was.low).powi(2)).sqrt();
        let interval = Interval {
            low: points - down,
            high: points + up,
        };
        Some(Change {
            before,
            points,
            interval,
            differs: interval.low > 0.0 || interval.high < 0.0,
        })
    }

    /// What is left of it.
    #[must_use]
    pub fn rest(self) -> Share {
        Share::new(self.n - self.k, self.n)
    }
}

impl std::ops::AddAssign for Share {
    /// A ratio of sums, never a mean of ratios.
    fn add_assign(&mut self, other: Share) {
        self.k += other.k;
        self.n += other.n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(share: Share) -> (f64, f64, f64) {
        let interval = share.interval().unwrap();
        let round = |x: f64| (x * 1000.0).round() / 10.0;
        (
            round(share.value().unwrap()),
            round(interval.low),
            round(interval.high),
        )
    }

    #[test]
    fn intervals_are_those_of_the_incident() {
        assert_eq!(percent(Share::new(30, 246)), (12.2, 8.7, 16.9));
        assert_eq!(percent(Share::new(40, 246)), (16.3, 12.2, 21.4));
    }

    #[test]
    fn the_ends_are_exact_and_nothing_has_no_share() {
        assert_eq!(percent(Share::new(0, 10)), (0.0, 0.0, 27.8));
        assert_eq!(percent(Share::new(10, 10)), (100.0, 72.2, 100.0));
        assert_eq!(percent(Share::new(1, 1)), (100.0, 20.7, 100.0));
        assert_eq!(Share::new(0, 0).value(), None);
        assert_eq!(Share::new(0, 0).interval(), None);
    }

    #[test]
    fn a_difference_is_newcombe_s_and_needs_enough_on_both_sides() {
        // Newcombe 1998, table II, (a): 56 of 70 and 48 of 80: 0.0524 to 0.3339.
        let change = Share::new(56, 70).since(Share::new(48, 80)).unwrap();
        assert!((change.interval.low - 0.0524).abs() < 1e-4, "{change:?}");
        assert!((change.interval.high - 0.3339).abs() < 1e-4, "{change:?}");
        assert!(change.differs);
        // (b): 9 of 10 and 3 of 10 are too few here, whatever the method says.
        assert_eq!(Share::new(9, 10).since(Share::new(3, 10)), None);
        assert_eq!(Share::new(1, 3).since(Share::new(0, 3)), None);
        assert!(
            !Share::new(20, 21)
                .since(Share::new(19, 20))
                .unwrap()
                .differs
        );
    }
}
