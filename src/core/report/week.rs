//! ISO weeks in a named zone.
//!
//! A week is half-open, from Monday 00:00 to the next Monday 00:00 of its zone, and so 167, 168 or 169 hours long. The
//! first week of a year is the one that holds its first Thursday (ISO 8601): 2027-01-01 lies in 2026-W53.

use std::fmt;
use std::ops::Range;

use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::core::event::Timestamp;

/// One ISO week. A value that exists is a week that exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Week {
    monday: Date,
}

impl Week {
    /// Reads `2025-W42`.
    ///
    /// # Errors
    /// What is wrong with the text, and how to write it.
    pub fn parse(text: &str) -> Result<Week, String> {
        let wrong =
            || format!("\"{text}\" is not a week; write a year and an ISO week, such as 2025-W42");
        let (year, week) = text.split_once("-W").ok_or_else(wrong)?;
        if year.len() != 4 || week.len() != 2 {
            return Err(wrong());
        }
        let year: i16 = year.parse().map_err(|_| wrong())?;
        let week: i8 = week.parse().map_err(|_| wrong())?;
        let date = ISOWeekDate::new(year, week, Weekday::Monday).map_err(|_| {
            format!(
                "{year} has no week {week}; write one from 01 to {}",
                weeks_of(year)
            )
        })?;
        Ok(Week {
            monday: date.date(),
        })
    }

    /// The week that holds `at`.
    #[must_use]
    pub fn of(at: Timestamp, zone: &TimeZone) -> Week {
        let date = zone.to_datetime(at.utc().unwrap_or_default()).date();
        Week {
            monday: monday_of(date),
        }
    }

    #[must_use]
    pub fn previous(self) -> Week {
        Week {
            monday: plus_days(self.monday, -7),
        }
    }

    #[must_use]
    pub fn next(self) -> Week {
        Week {
            monday: plus_days(self.monday, 7),
        }
    }

    /// From its Monday 00:00 to the next.
    #[must_use]
    pub fn range(self, zone: &TimeZone) -> Range<Timestamp> {
        start_of(self.monday, zone)..start_of(plus_days(self.monday, 7), zone)
    }

    /// Its seven days, each from midnight to midnight: 23, 24 or 25 hours.
    #[must_use]
    pub fn days(self, zone: &TimeZone) -> [(Date, Range<Timestamp>); 7] {
        std::array::from_fn(|day| {
            let date = plus_days(self.monday, i64::try_from(day).unwrap_or(0));
            (
                date,
                start_of(date, zone)..start_of(plus_days(date, 1), zone),
            )
        })
    }

    #[must_use]
    pub fn monday(self) -> Date {
        self.monday
    }

    #[must_use]
    pub fn sunday(self) -> Date {
        plus_days(self.monday, 6)
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iso = self.monday.iso_week_date();
        f.pad(&format!("{:04}-W{:02}", iso.year(), iso.week()))
    }
}

impl fmt::Debug for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Week {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn weeks_of(year: i16) -> i8 {
    match ISOWeekDate::new(year, 53, Weekday::Monday) {
        Ok(_) => 53,
        Err(_) => 52,
    }
}

fn monday_of(date: Date) -> Date {
    plus_days(date, -i64::from(date.weekday().to_monday_zero_offset()))
}

/// Stays where it is at the ends of the calendar, thousands of years away.
fn plus_days(date: Date, days: i64) -> Date {
    date.checked_add(jiff::Span::new().days(days))
        .unwrap_or(date)
}

/// The first moment of a day: where its midnight does not exist, the first moment after it.
fn start_of(date: Date, zone: &TimeZone) -> Timestamp {
    let start = zone
        .to_ambiguous_timestamp(date.at(0, 0, 0, 0))
        .compatible();
    Timestamp(start.map_or(0, jiff::Timestamp::as_millisecond))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn hours(week: &str, zone: &TimeZone) -> i64 {
        let range = Week::parse(week).unwrap().range(zone);
        range.end.since(range.start) / 3_600_000
    }

    #[test]
    fn a_week_has_as_many_hours_as_its_zone_gives_it() {
        let berlin = zone("Europe/Berlin");
        for (week, expected) in [("2025-W43", 169), ("2026-W13", 167), ("2025-W42", 168)] {
            assert_eq!(hours(week, &berlin), expected, "{week}");
            assert_eq!(hours(week, &TimeZone::UTC), 168, "{week} in UTC");
        }
    }

    #[test]
    fn a_year_s_ends_lie_in_the_weeks_of_iso_8601() {
        let utc = TimeZone::UTC;
        for (date, week) in [
            ("2027-01-01T12:00:00Z", "2026-W53"),
            ("2026-01-01T00:00:00Z", "2026-W01"),
            ("2025-12-29T00:00:00Z", "2026-W01"),
            ("2025-12-28T23:59:59Z", "2025-W52"),
            ("2025-10-18T01:52:07Z", "2025-W42"),
        ] {
            assert_eq!(Week::of(at(date), &utc).to_string(), week, "{date}");
        }
        assert_eq!(
            Week::parse("2026-W53").unwrap().next().to_string(),
            "2027-W01"
        );
        assert_eq!(
            Week::parse("2026-W01").unwrap().previous().to_string(),
            "2025-W52"
        );
    }

    #[test]
    fn a_week_begins_at_its_zone_s_midnight() {
        let berlin = zone("Europe/Berlin");
        let week = Week::parse("2025-W43").unwrap();
        let range = week.range(&berlin);
        assert_eq!(range.start, at("2025-10-19T22:00:00Z"));
        assert_eq!(range.end, at("2025-10-26T23:00:00Z"));
        assert_eq!(Week::of(range.start, &berlin), week);
        assert_eq!(Week::of(range.end.plus_ms(-1), &berlin), week);
        assert_eq!(Week::of(range.end, &berlin), week.next());
    }

    #[test]
    fn days_fill_the_week_without_a_gap() {
        let berlin = zone("Europe/Berlin");
        let week = Week::parse("2025-W43").unwrap();
        let days = week.days(&berlin);
        assert_eq!(days[0].1.start, week.range(&berlin).start);
        assert_eq!(days[6].1.end, week.range(&berlin).end);
        for pair in days.windows(2) {
            assert_eq!(pair[0].1.end, pair[1].1.start);
        }
        let sunday = &days[6].1;
        assert_eq!(sunday.end.since(sunday.start), 25 * 3_600_000);
    }

    #[test]
    fn what_is_no_week_is_refused_with_what_to_write() {
        for (text, said) in [
            ("2025-42", "such as 2025-W42"),
            ("2025-W4", "such as 2025-W42"),
            ("2025-Wxx", "such as 2025-W42"),
            ("25-W42", "such as 2025-W42"),
            ("2025-W53", "2025 has no week 53; write one from 01 to 52"),
            ("2026-W54", "2026 has no week 54; write one from 01 to 53"),
            ("2026-W00", "2026 has no week 0"),
        ] {
            let error = Week::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
