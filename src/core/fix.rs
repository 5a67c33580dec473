//! Whether a fix has helped: the boots since, against those before.
//!
//! A fix is what an operator marks (`bootwatch fix mark`), or a golden image that takes another's place. From then on
//! boots that began after it are counted, and after each of them two hypotheses are weighed by Wald's sequential
//! probability ratio test (A. Wald, *Sequential Tests of Statistical Hypotheses*, 1945): that boots fail as they did
//! before it, with probability `p_before`, and that they fail as is usual, with `p_usual`:
//!
//! ```text
//!   L = k ln(p_before / p_usual) + (n - k) ln((1 - p_before) / (1 - p_usual)),   k of n boots failed
//!   L <= ln(b / (1 - a)): confirmed     L >= ln((1 - b) / a): not confirmed     a = b = 0.01
//! ```
//!
//! Sequential, because it is looked at after every boot: a test made for one look errs more often the more often it is
//! made. `p_before` is estimated by Laplace's rule, (bad + 1) / (all + 2), and is kept between 0.15 and 0.65. Nothing is confirmed before [`LEAST`] boots, however bad it was before.
//!
//! What is said beside it is the one-sided Clopper-Pearson bound of 95 %: the largest share of failures under which so
//! few of so many would still be seen one time in twenty. It is wide while boots are few (0 of 5: 45 %, 0 of 20: 14 %),
//! and it is said, because "confirmed" alone would promise more.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::binomial;
use crate::core::digits::grouped;
use crate::core::event::{Timestamp, words};
use crate::core::window::Count;

/// Clean boots before a fix is called confirmed.
pub const LEAST: u32 = 5;
/// Either error of the test.
const ERROR: f64 = 0.01;
/// One in twenty.
const BOUND: f64 = 0.05;
/// Failures before it are taken for no rarer, and no surer, than this: what fails three times of five is not fixed,
/// even where every boot failed before.
const RAREST: f64 = 0.15;
const SUREST: f64 = 0.65;

words! {
    /// How a fix stands.
    Standing { Undecided = "undecided", Confirmed = "confirmed", NotConfirmed = "not_confirmed", }
}

/// What is thought to have helped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// An operator says so.
    Marked { author: String, note: String },
    /// The golden image is another one.
    Image,
}

/// A fix and the boots of one kind since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    pub what: What,
    pub at: Timestamp,
    /// Of the boots before it, since the first bad one.
    pub before: Count,
    pub since: Count,
    pub standing: Standing,
    /// When the test decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Boots are well, and it was waited long enough for more of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

impl Fix {
    #[must_use]
    pub fn new(what: What, at: Timestamp, before: Count) -> Fix {
        Fix {
            what,
            at,
            before,
            since: Count::default(),
            standing: Standing::Undecided,
            decided_at: None,
            given_up: false,
        }
    }

    /// Takes how boots went that began since. What was decided stays so: whoever is told once must be able to rely on it.
    /// Says whether it was decided just now.
    pub fn take(&mut self, since: Count, usual: f64, now: Timestamp) -> bool {
        self.since = since;
        if self.standing != Standing::Undecided {
            return false;
        }
        self.standing = judge(self.before, since, usual);
        if self.standing == Standing::Undecided {
            return false;
        }
        self.decided_at = Some(now);
        true
    }

    /// `confirmed: 0 of 20 failed since, upper bound 14 %`: for a list of what is over.
    #[must_use]
    pub fn confirmation(&self) -> String {
        let none = self.since.of == 0;
        let (bad, of) = (
            grouped(self.since.bad.into()),
            grouped(self.since.of.into()),
        );
        let bound = (self.upper_bound() * 100.0).round();
        match self.standing {
            _ if none => "not confirmed: no boot has ended since".to_owned(),
            Standing::Confirmed => {
                format!("confirmed: {bad} of {of} failed since, upper bound {bound} %")
            }
            Standing::NotConfirmed => format!("not confirmed: {bad} of {of} failed since"),
            Standing::Undecided => {
                format!("not confirmed: {bad} of {of} failed since, too few to tell")
            }
        }
    }

    /// The share of failures that the boots since do not rule out.
    #[must_use]
    pub fn upper_bound(&self) -> f64 {
        upper_bound(self.since)
    }
}

/// What the boots since say of a fix.
#[must_use]
pub fn judge(before: Count, since: Count, usual: f64) -> Standing {
    let bad = f64::from(before.bad) + 1.0;
    let before = (bad / (f64::from(before.of) + 2.0)).clamp(RAREST, SUREST);
    let usual = usual.clamp(0.001, before / 2.0);
    let failed = f64::from(since.bad);
    let well = f64::from(since.of.saturating_sub(since.bad));
    let ratio = failed * (before / usual).ln() + well * ((1.0 - before) / (1.0 - usual)).ln();
    if ratio >= ((1.0 - ERROR) / ERROR).ln() {
        Standing::NotConfirmed
    } else if ratio <= (ERROR / (1.0 - ERROR)).ln() && since.of >= LEAST {
        Standing::Confirmed
    } else {
        Standing::Undecided
    }
}

/// The one-sided 95 % bound of Clopper and Pearson (1934): `p` at which `bad` or fewer of `of` have a chance of 0.05.
#[must_use]
pub fn upper_bound(count: Count) -> f64 {
    if count.bad >= count.of {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if 1.0 - binomial::tail(count.bad + 1, count.of, middle) > BOUND {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: f64 = 0.05;

    fn of(bad: u32, of: u32) -> Count {
        Count { bad, of }
    }

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        // 1 - 0.05^(1/n) where none failed; the others from R: binom.test(k, n, alternative = "less").
        for (bad, all, bound) in [
            (0, 5, 0.450_7),
            (0, 20, 0.139_1),
            (0, 3, 0.631_6),
            (1, 20, 0.216_1),
            (3, 5, 0.923_6),
            (5, 5, 1.0),
            (0, 0, 1.0),
        ] {
            let found = upper_bound(of(bad, all));
            assert!((found - bound).abs() < 5e-5, "{bad} of {all}: {found}");
        }
    }

    #[test]
    fn a_fix_is_confirmed_by_clean_boots_and_refuted_by_failures() {
        for (before, since, standing) in [
            (of(12, 12), of(0, 4), Standing::Undecided),
            (of(12, 12), of(0, 5), Standing::Confirmed),
            (of(3, 3), of(0, 5), Standing::Confirmed),
            (of(12, 12), of(3, 5), Standing::NotConfirmed),
            (of(3, 3), of(3, 5), Standing::NotConfirmed),
            (of(3, 3), of(1, 1), Standing::Undecided),
            (of(12, 12), of(2, 2), Standing::NotConfirmed),
            // What fails now and then needs more boots to be seen gone.
            (of(5, 20), of(0, 5), Standing::Undecided),
            (of(5, 20), of(0, 20), Standing::Confirmed),
            (of(0, 0), of(0, 8), Standing::Confirmed),
        ] {
            assert_eq!(
                judge(before, since, USUAL),
                standing,
                "{before:?} {since:?}"
            );
        }
    }

    #[test]
    fn what_was_decided_stays_decided_and_is_told_once() {
        let mut fix = Fix::new(What::Image, Timestamp(0), of(12, 12));
        assert!(!fix.take(of(0, 4), USUAL, Timestamp(4)));
        assert!(fix.take(of(0, 5), USUAL, Timestamp(5)));
        assert!(!fix.take(of(5, 10), USUAL, Timestamp(10)));
        assert_eq!(fix.standing, Standing::Confirmed);
        assert_eq!((fix.since, fix.decided_at), (of(5, 10), Some(Timestamp(5))));
    }

    #[test]
    fn a_confirmation_is_said_with_its_numbers() {
        let said = |since, times: u32| {
            let mut fix = Fix::new(What::Image, Timestamp(0), of(12, 12));
            for _ in 0..times {
                fix.take(since, USUAL, Timestamp(1));
            }
            fix.confirmation()
        };
        assert_eq!(
            said(of(0, 20), 1),
            "confirmed: 0 of 20 failed since, upper bound 14 %"
        );
        assert_eq!(said(of(9, 9), 1), "not confirmed: 9 of 9 failed since");
        assert_eq!(
            said(of(0, 2), 1),
            "not confirmed: 0 of 2 failed since, too few to tell"
        );
        assert_eq!(said(of(0, 0), 0), "not confirmed: no boot has ended since");
    }

    /// The errors that the test promises, counted: a fix that helped nothing is confirmed at most one time in a hundred,
    /// one that helped is refuted as rarely; Wald's bound is a / (1 - b).
    #[test]
    fn the_test_errs_no_more_often_than_it_says() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut chance = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
        };
        let before = of(9, 18);
        let mut wrong = [0u32; 2];
        const RUNS: u32 = 5_000;
        for _ in 0..RUNS {
            for (which, share, wanted) in [
                (0, 0.5, Standing::NotConfirmed),
                (1, USUAL, Standing::Confirmed),
            ] {
                let mut fix = Fix::new(What::Image, Timestamp(0), before);
                let mut since = Count::default();
                while fix.standing == Standing::Undecided {
                    since.of += 1;
                    since.bad += u32::from(chance() < share);
                    fix.take(since, USUAL, Timestamp(0));
                }
                wrong[which] += u32::from(fix.standing != wanted);
            }
        }
        assert!(wrong.iter().all(|wrong| *wrong <= RUNS / 99), "{wrong:?}");
    }
}
