//! Why boots fail: ranked verdicts, each with what speaks for it, what against, and what would refute it.
//!
//! Evidence goes in as [`Signs`]: of each bad boot, and of what surrounds them. Nothing is fetched, nothing is waited
//! for: what is not known yet weighs nothing, and a later call with more knows better.
//!
//! # How a verdict gets its chance
//!
//! By weights of evidence (I. J. Good, *Probability and the Weighing of Evidence*, 1950): each verdict begins with its
//! prior odds, and each sign that was looked for adds the logarithm of its likelihood ratio, the one of the sign seen or
//! the one of the sign missing (`table`). That treats signs as independent given the cause (naive Bayes), which they are
//! only roughly: what matters is the order and the distance, and a chance is shown in whole percents for that reason.
//! Verdicts exclude one another, and "none of these" is one of them with odds of 1, so that the chances are
//!
//! ```text
//!   chance(v) = odds(v) / (1 + sum of odds(u) over all u considered),   odds(v) = prior(v) * product of ratios
//! ```
//!
//! A verdict is considered only where one of the signs that it needs was seen: that is the contract's order of decision
//! (which creation step failed; did the VM die; what did the wait meet; what did it answer) as data.
//!
//! A sign of boots counts as seen where more than half of the bad boots that were looked at show it, and as missing where
//! none does; in between it says nothing. Boots of one trouble are not independent, so the number of boots multiplies
//! nothing. Below [`FLOOR`] the answer is that there is not enough evidence, which is an answer. From [`SURE`] on a page
//! names the verdict in its title.

mod boots;
mod probes;
mod rows;
mod sign;
mod surroundings;
mod table;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::core::digits::grouped;
use crate::core::event::{Outcome, Timestamp};
use crate::core::window::Count;

pub use boots::{Record, in_flight, of_boot, of_record};
pub use probes::{Looks, of_look};
pub use rows::Homes;
pub use sign::{Sign, Signs};
pub use surroundings::{Span, Surroundings, of_clone};
pub use table::{Row, TABLE, Verdict, Weight};

/// Below this many thousandths the answer is "not enough evidence".
pub const FLOOR: u16 = 500;
/// From this many thousandths on a verdict is said without "probably".
pub const SURE: u16 = 800;
/// Verdicts that are kept.
const KEPT: usize = 3;
/// What speaks for or against one, at most so many.
const POINTS: usize = 6;
/// The place among the points of what a verdict is considered for.
const CONSIDERED: f64 = 2.5;
/// Ratios nearer to 1 are not worth a line.
const WORTH: f64 = 1.4;

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Of each bad boot.
    pub boots: Vec<Signs>,
    /// Of everything else.
    pub around: Signs,
    /// More about a sign of the surroundings, in words.
    pub details: Vec<(Sign, String)>,
}

/// One observation as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub sign: Sign,
    pub seen: bool,
    /// Of the bad boots, where it is a sign of boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A verdict with its reasons, the weightiest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    pub verdict: Verdict,
    /// In thousandths.
    pub chance: u16,
    pub speaks_for: Vec<Point>,
    pub against: Vec<Point>,
}

/// What is thought to be wrong, as of a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The likeliest first.
    pub ranked: Vec<Ranked>,
    pub at: Timestamp,
}

impl Diagnosis {
    /// The verdict, if there is enough evidence for one.
    #[must_use]
    pub fn verdict(&self) -> Option<&Ranked> {
        self.ranked.first().filter(|first| first.chance >= FLOOR)
    }

    /// The verdict, if it can be said without "probably".
    #[must_use]
    pub fn sure(&self) -> Option<&Ranked> {
        self.ranked.first().filter(|first| first.chance >= SURE)
    }

    /// The verdict in a sentence, where there is enough evidence for one.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let first = self.verdict()?;
        let probably = match self.sure() {
            Some(_) => "",
            None => "probably ",
        };
        let meaning = first.verdict.meaning();
        Some(format!("{probably}{meaning} ({})", first.percent()))
    }

    /// The other verdicts that are worth a thought.
    pub fn others(&self) -> impl Iterator<Item = &Ranked> {
        let skipped = usize::from(self.verdict().is_some());
        self.ranked
            .iter()
            .skip(skipped)
            .filter(|other| other.chance >= 20)
    }
}

impl Ranked {
    /// `97 %`; nothing is certain here.
    #[must_use]
    pub fn percent(&self) -> String {
        let percent = (u32::from(self.chance) + 5) / 10;
        format!("{} %", percent.clamp(1, 99))
    }

    /// Whether it says more than the class of the failures does.
    #[must_use]
    pub fn adds(&self) -> bool {
        let mut signs = self.speaks_for.iter().map(|point| point.sign);
        signs.any(|sign| !boots::is_class(sign) && sign != Sign::AllFail)
    }
}

impl Point {
    /// `12 of 12 failed boots: port 8080 was refused to the end`.
    #[must_use]
    pub fn spoken(&self) -> String {
        let what = self.sign.spoken(self.seen);
        let detail = self.detail.as_ref();
        let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
        match self.count {
            Some(Count { bad, of }) => {
                let (bad, of) = (grouped(bad.into()), grouped(of.into()));
                format!("{what} in {bad} of {of} failed boots{detail}")
            }
            None => format!("{what}{detail}"),
        }
    }
}

impl Evidence {
    /// Whether a sign was seen, and in how many of the bad boots.
    fn of(&self, sign: Sign) -> Option<(bool, Option<Count>)> {
        if let Some(is_seen) = self.around.of(sign) {
            return Some((is_seen, None));
        }
        let mut count = Count::default();
        for is_seen in self.boots.iter().filter_map(|signs| signs.of(sign)) {
            count.of += 1;
            count.bad += u32::from(is_seen);
        }
        match count {
            Count { of: 0, .. } => None,
            Count { bad: 0, of } => Some((false, Some(Count { bad: of, of }))),
            Count { bad, of } if bad * 2 > of => Some((true, Some(count))),
            Count { .. } => None,
        }
    }

    fn point(&self, sign: Sign, seen: bool, count: Option<Count>) -> Point {
        let known = self.details.iter();
        let mut known = known.filter(|(about, _)| *about == sign && seen);
        Point {
            sign,
            seen,
            count,
            detail: known.next().map(|(_, detail)| detail.clone()),
        }
    }
}

/// What one boot alone says of its failure; `None`: it did not fail.
#[must_use]
pub fn alone(boot: &Record<'_>, at: Timestamp) -> Option<Diagnosis> {
    (boot.outcome == Some(Outcome::Failed)).then(|| {
        let evidence = Evidence {
            boots: vec![of_record(boot)],
            ..Evidence::default()
        };
        diagnose(&evidence, at)
    })
}

/// Weighs what is known. The same evidence gives the same diagnosis.
#[must_use]
pub fn diagnose(evidence: &Evidence, at: Timestamp) -> Diagnosis {
    let mut odds: Vec<(f64, &Row)> = TABLE
        .iter()
        .filter_map(|row| Some((odds_of(row, evidence)?, row)))
        .collect();
    odds.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.verdict.cmp(&other.verdict)));
    let total: f64 = 1.0 + odds.iter().map(|(odds, _)| odds).sum::<f64>();
    let ranked = odds
        .iter()
        .take(KEPT)
        .map(|(odds, row)| rank(row, thousandths(odds / total), evidence))
        .collect();
    Diagnosis { ranked, at }
}

/// The odds of one verdict; `None`: nothing that it needs was seen.
fn odds_of(row: &Row, evidence: &Evidence) -> Option<f64> {
    let needed = row
        .needs
        .iter()
        .any(|sign| evidence.of(*sign).is_some_and(|(is_seen, _)| is_seen));
    needed.then(|| {
        let logs = row.weights.iter().filter_map(|weight| {
            let (is_seen, _) = evidence.of(weight.sign)?;
            Some(weight.of(is_seen).ln())
        });
        (row.prior.ln() + logs.sum::<f64>()).exp()
    })
}

impl Weight {
    #[must_use]
    pub fn of(&self, is_seen: bool) -> f64 {
        if is_seen { self.seen } else { self.unseen }
    }
}

fn rank(row: &Row, chance: u16, evidence: &Evidence) -> Ranked {
    let mut weighed: Vec<(f64, Point)> = Vec::new();
    for sign in row.needs {
        let is_weighed = row.weights.iter().any(|weight| weight.sign == *sign);
        if let (false, Some((true, count))) = (is_weighed, evidence.of(*sign)) {
            // What it is considered for is told as well, after what tells it from the others.
            weighed.push((CONSIDERED, evidence.point(*sign, true, count)));
        }
    }
    for weight in row.weights {
        if let Some((is_seen, count)) = evidence.of(weight.sign) {
            let point = evidence.point(weight.sign, is_seen, count);
            weighed.push((weight.of(is_seen), point));
        }
    }
    let (mut speaks_for, mut against): (Vec<_>, Vec<_>) = weighed
        .into_iter()
        .filter(|(ratio, _)| *ratio >= WORTH || *ratio <= 1.0 / WORTH)
        .partition(|(ratio, _)| *ratio > 1.0);
    speaks_for.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    against.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let points = |weighed: Vec<(f64, Point)>| {
        let points = weighed.into_iter().map(|(_, point)| point);
        points.take(POINTS).collect()
    };
    Ranked {
        verdict: row.verdict,
        chance,
        speaks_for: points(speaks_for),
        against: points(against),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share times a thousand"
)]
fn thousandths(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u16
}
