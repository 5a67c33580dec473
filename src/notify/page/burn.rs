//! The words for the budget of failures.

use super::figures::{bad_of, length, share};
use crate::core::burn::{Left, PERIOD_MS};
use crate::core::digits::{grouped, rounded};
use crate::core::rule::{Burn, Detail, Reading};

fn burn(reading: &Reading) -> Option<Burn> {
    match reading.detail {
        Some(Detail::Burn(burn)) => Some(burn),
        Some(Detail::Slow(_)) | None => None,
    }
}

/// How fast it burns, and how long it lasts.
pub(super) fn sentence(reading: &Reading) -> Option<String> {
    let Burn {
        burn, short, left, ..
    } = burn(reading)?;
    let Left {
        allowed,
        spent,
        lasts_ms,
    } = left;
    let days = PERIOD_MS / 86_400_000;
    let lasts = match lasts_ms {
        Some(0) => "it is used up".to_owned(),
        Some(ms) => format!("at this pace the rest lasts {}", length(ms)),
        None => "at this pace it lasts".to_owned(),
    };
    // Where so few boots are made that the objective leaves room for none, `of 0` says nothing.
    let spent = match allowed < 1.0 {
        true => format!(
            "{days} days tolerate less than one failed boot, {} failed, and {lasts}",
            grouped(u64::from(spent.bad))
        ),
        false => format!(
            "of {} that {days} days tolerate {} are spent, and {lasts}",
            rounded(allowed),
            grouped(u64::from(spent.bad))
        ),
    };
    Some(format!(
        "The budget of failures burns {burn:.1} times too fast ({} of them lately, {}): {spent}.",
        share(short.share()),
        bad_of(short)
    ))
}

/// The end of an alert's figure.
pub(super) fn figure(reading: &Reading) -> Option<String> {
    let burn = burn(reading)?;
    Some(format!(
        ", {:.1} times what the objective allows (limit {})",
        burn.burn, burn.factor
    ))
}
