//! Durations and sizes as people write them: `"90s"`, `"1h30m"`, `"10MiB"`. A number without its unit is refused.

use std::time::Duration;

/// Largest first, as they are written.
const DURATIONS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const SIZES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

const WRITE_DURATION: &str = "write \"5s\", \"500ms\" or \"2m\"";
const WRITE_SIZE: &str = "write \"512KiB\", \"10MiB\" or \"1GiB\"";

/// Why a text is none: what is wrong, and what to write instead.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    sum(
        text,
        "duration",
        DURATIONS,
        "ms, s, m, h and d",
        WRITE_DURATION,
    )
    .map(Duration::from_millis)
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    sum(
        text,
        "size",
        SIZES,
        "B, kB, KiB, MB, MiB, GB and GiB",
        WRITE_SIZE,
    )
}

fn sum(
    text: &str,
    what: &str,
    units: &[(&str, u64)],
    known: &str,
    write: &str,
) -> Result<u64, String> {
    let not_one = || format!("{text:?} is not a {what}; {write}");
    let mut rest = text.trim();
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(not_one());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| not_one())?;
        if unit.is_empty() {
            return Err(if next.is_empty() {
                format!("{text:?} has no unit; {write}")
            } else {
                not_one()
            });
        }
        let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
            return Err(format!(
                "{text:?} has the unknown unit {unit:?}; units are {known}"
            ));
        };
        total = number
            .checked_mul(*factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(not_one)?;
        rest = next.trim_start();
    }
    Ok(total)
}

/// The shortest way to write it: `90s` is `1m30s`, `86400s` is `1d`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATIONS {
        if rest >= *factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

pub(super) fn show_size(bytes: u64) -> String {
    SIZES
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || "0B".to_owned(),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_may_be_compound() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("7 d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_to_write() {
        for (text, message) in [
            ("5", "\"5\" has no unit; write \"5s\", \"500ms\" or \"2m\""),
            (
                "1h30",
                "\"1h30\" has no unit; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "",
                "\"\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "soon",
                "\"soon\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "-5s",
                "\"-5s\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "1.5h",
                "\"1.5h\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "99999999999999999d",
                "\"99999999999999999d\" is not a duration; write \"5s\", \"500ms\" or \"2m\"",
            ),
            (
                "5 minutes",
                "\"5 minutes\" has the unknown unit \"minutes\"; units are ms, s, m, h and d",
            ),
        ] {
            assert_eq!(duration(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("1 kB"), Ok(1_000));
        assert_eq!(
            size("10").unwrap_err(),
            "\"10\" has no unit; write \"512KiB\", \"10MiB\" or \"1GiB\""
        );
        assert_eq!(
            size("1Mb").unwrap_err(),
            "\"1Mb\" has the unknown unit \"Mb\"; units are B, kB, KiB, MB, MiB, GB and GiB"
        );
    }

    #[test]
    fn shown_values_read_back() {
        for ms in [0, 1, 999, 1_000, 61_000, 5_400_000, 86_400_000, 90_061_001] {
            let shown = show_duration(Duration::from_millis(ms));
            assert_eq!(duration(&shown), Ok(Duration::from_millis(ms)), "{shown}");
        }
        for bytes in [0, 1, 1_000, 1_024, 10 << 20, 3 << 30] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
