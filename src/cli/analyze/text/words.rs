//! Counts, sizes and times as people read them.

use jiff::tz::TimeZone;

pub(in crate::cli::analyze) use crate::cli::past::long_moment;
pub(super) use crate::cli::past::zone_name;
use crate::core::digits::grouped;
use crate::core::event::Timestamp;

pub(super) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Never rounded to none or all while it is neither.
pub(in crate::cli::analyze) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let per_mille = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    match per_mille {
        0 if part > 0 => "< 0.1 %".to_owned(),
        1000 if part < whole => "> 99.9 %".to_owned(),
        _ => format!("{}.{} %", per_mille / 10, per_mille % 10),
    }
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{} bytes", grouped(bytes)),
        10_000..=9_999_999 => format!("{} kB", grouped(bytes / 1000)),
        _ => format!("{} MB", grouped(bytes / 1_000_000)),
    }
}

pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

pub(in crate::cli::analyze) fn span(ms: i64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => format!("{} s", ms / 1000),
        1..=119 => format!("{minutes} min"),
        120..=2_879 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// The time of day, with the date only where it is another than `day`'s.
pub(super) fn moment(at: Timestamp, day: Timestamp, zone: &TimeZone) -> String {
    match (at.in_zone(zone), day.in_zone(zone)) {
        (Some(at), Some(day)) if at.date() == day.date() => at.strftime("%H:%M:%S").to_string(),
        _ => long_moment(at, zone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_told_as_none_or_all_while_it_is_neither() {
        for (part, whole, told) in [
            (0, 0, "-"),
            (0, 10_000, "0.0 %"),
            (1, 10_000, "< 0.1 %"),
            (1, 1_000, "0.1 %"),
            (9_999, 10_000, "> 99.9 %"),
            (10_000, 10_000, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole), told, "{part} of {whole}");
        }
    }
}
