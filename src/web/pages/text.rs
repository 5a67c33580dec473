//! Times, lengths and shares as people read them, in the zone of the host.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::core::digits::grouped;
use crate::core::event::Timestamp;

/// RFC 3339, UTC: what machines read.
pub(in crate::web) fn rfc3339(at: Timestamp) -> String {
    at.utc().unwrap_or_default().to_string()
}

/// The time of day, with the date where it is another day than today, and the year where it is another one.
pub(super) fn clock(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (Some(then), Some(today)) = (at.in_zone(zone), now.in_zone(zone)) else {
        return "unknown".to_owned();
    };
    let form = match (then.date() == today.date(), then.year() == today.year()) {
        (true, _) => "%H:%M:%S",
        (false, true) => "%b %-d, %H:%M",
        (false, false) => "%b %-d %Y, %H:%M",
    };
    then.strftime(form).to_string()
}

/// A moment as an element: for people in their zone, for machines in UTC.
pub(super) fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> Markup {
    html! { time.nowrap datetime=(rfc3339(at)) { (clock(at, now, zone)) } }
}

/// How long ago, coarsely.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        ms if ms < 1_500 => "now".to_owned(),
        ms => format!("{} ago", length(ms)),
    }
}

/// A length of time in its two largest units.
pub(super) fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0 => format!("{} ms", ms.max(0)),
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 => match s % 60 {
            0 => format!("{} min", s / 60),
            rest => format!("{} min {rest} s", s / 60),
        },
        s if s < 86_400 => match s / 60 % 60 {
            0 => format!("{} h", s / 3_600),
            rest => format!("{} h {rest} min", s / 3_600),
        },
        s => match s / 3_600 % 24 {
            0 => format!("{} d", s / 86_400),
            rest => format!("{} d {rest} h", s / 86_400),
        },
    }
}

/// Seconds with one digit behind the point, as times to ready are compared.
pub(super) fn seconds(ms: u32) -> String {
    match ms {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

/// A share in percent, never rounded to all or none while it is neither.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let shown = format!("{percent:.1}");
    match shown.as_str() {
        "100.0" if share < 1.0 => "> 99.9 %".to_owned(),
        "0.0" | "-0.0" if share > 0.0 => "< 0.1 %".to_owned(),
        "-0.0" => "0 %".to_owned(),
        _ => format!("{} %", shown.trim_end_matches(".0")),
    }
}

/// `1 boot`, `2 boots`.
pub(super) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{} {one}s", grouped(number)),
    }
}

/// One line for people: control characters and those that turn the direction are shown as replaced.
pub(in crate::web) fn line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() || is_direction(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_says_the_day_and_the_year_that_are_not_todays() {
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let now = at("2026-01-05T12:00:00Z");
        for (then, told) in [
            ("2026-01-05T11:22:33Z", "11:22:33"),
            ("2026-01-04T11:22:33Z", "Jan 4, 11:22"),
            ("2025-12-31T23:22:33Z", "Dec 31 2025, 23:22"),
            ("2024-01-05T12:00:00Z", "Jan 5 2024, 12:00"),
        ] {
            assert_eq!(clock(at(then), now, &TimeZone::UTC), told);
        }
    }

    #[test]
    fn lengths_and_shares_are_short_and_never_say_more_than_is_so() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(length(ms), text);
        }
        for (share, text) in [
            (1.0, "100 %"),
            (0.99999, "> 99.9 %"),
            (0.9, "90 %"),
            (0.123, "12.3 %"),
            (0.000_01, "< 0.1 %"),
            (0.0, "0 %"),
            (-0.5, "-50 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn a_line_of_the_log_stays_one_line_in_reading_order() {
        assert_eq!(
            line("a\u{1b}[31m\u{202e}b\tc\n"),
            "a\u{fffd}[31m\u{fffd}b c\u{fffd}"
        );
    }
}
