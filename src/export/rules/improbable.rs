//! "So many cannot be chance" as PromQL can say it.
//!
//! The engine sums the binomial tail. PromQL cannot, but it can compare with the tail's quantile, by its expansion of
//! Cornish and Fisher to the third moment: of `n` boots, each bad with probability `p`, more than
//!
//! ```text
//! n p + z sqrt(n p (1 - p)) + (1 - 2 p) (z² - 1) / 6 + 1/2
//! ```
//!
//! are bad with a probability of less than alpha, `z` being alpha's quantile of the normal distribution. The test beside
//! it holds this against the exact tail: it never asks for fewer bad boots, and seldom for one more.

/// The bound as `p * n + root * sqrt(n) + constant`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) p: f64,
    pub(super) root: f64,
    pub(super) constant: f64,
}

impl Bound {
    pub(super) fn new(p: f64, alpha: f64) -> Bound {
        let z = upper_quantile(alpha);
        Bound {
            p,
            root: z * (p * (1.0 - p)).sqrt(),
            constant: (1.0 - 2.0 * p) * (z * z - 1.0) / 6.0 + 0.5,
        }
    }

    /// `bad` of `of` are too many, in PromQL.
    pub(super) fn promql(&self, bad: &str, of: &str) -> String {
        let Bound { p, root, constant } = self;
        format!("{bad} >= 3 and {bad} >= {p:.4} * {of} + {root:.4} * sqrt({of}) + {constant:.4}")
    }
}

/// The point beyond which a normal variable lies with probability `alpha`, at most one half: the rational approximation
/// 26.2.23 of Abramowitz and Stegun, right to 0.00045.
fn upper_quantile(alpha: f64) -> f64 {
    let t = (-2.0 * alpha.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::binomial;

    #[test]
    fn the_bound_never_asks_for_fewer_than_the_exact_tail_and_for_at_most_one_more() {
        for (p, alpha) in [
            (0.05, 0.001),
            (0.01, 0.001),
            (0.1, 0.001),
            (0.05, 0.01),
            (0.3, 0.001),
        ] {
            let bound = Bound::new(p, alpha);
            let mut exact = 3;
            let mut same = 0;
            for n in 3..=2_000u32 {
                while exact <= n && binomial::tail(exact, n, p) > alpha {
                    exact += 1;
                }
                let count = f64::from(n);
                let asked = (bound.p * count + bound.root * count.sqrt() + bound.constant)
                    .max(3.0)
                    .ceil();
                let more = asked - f64::from(exact);
                assert!(
                    (0.0..=1.0).contains(&more),
                    "{asked} instead of {exact} of {n} at {p}, {alpha}"
                );
                same += u32::from(more == 0.0);
            }
            assert!(same > 1_400, "{same} of 1998 at {p}, {alpha}");
        }
    }
}
