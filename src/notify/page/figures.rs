//! Figures as people say them.

use crate::core::digits::{grouped, rounded};
use crate::core::window::Count;

/// A share as people say it: `5 %`, `0.5 %`.
pub(super) fn share(share: f64) -> String {
    let percent = (share * 1000.0).round() / 10.0;
    format!("{percent} %")
}

/// The bad ones of a count: `3 of 1,200`.
pub(super) fn bad_of(count: Count) -> String {
    let (bad, of) = (u64::from(count.bad), u64::from(count.of));
    format!("{} of {}", grouped(bad), grouped(of))
}

/// A chance as people say it: `1 in 8,000`.
pub(super) fn odds(chance: f64) -> String {
    if chance < 1e-9 {
        return "less than 1 in 1,000,000,000".to_owned();
    }
    let times = 1.0 / chance.min(1.0);
    let unit = 10f64.powf(times.log10().floor() - 1.0).max(1.0);
    format!("1 in {}", rounded((times / unit).round() * unit))
}

/// A length of time, in its two largest units.
pub(super) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=7_199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..=172_799 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
