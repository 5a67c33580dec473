//! When the weekly report is due.
//!
//! A moment of the week in a named zone. What is due is the report of the last week that ended before that moment; one
//! that was missed is made up for as long as no later one is due, so that a long absence ends with one mail and not with
//! many.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::week::Week;
use crate::core::event::Timestamp;

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// `Mon 08:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    day: Weekday,
    time: Time,
}

/// What is due and since when, and when the next one will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub week: Week,
    pub since: Timestamp,
    pub next: Timestamp,
}

impl Schedule {
    /// Reads `Mon 08:00`.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let wrong =
            || format!("\"{text}\" is no time of the week; write one such as \"Mon 08:00\"");
        let (day, time) = text.split_once(' ').ok_or_else(wrong)?;
        let (_, day) = DAYS
            .iter()
            .find(|(name, _)| *name == day)
            .ok_or_else(wrong)?;
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        if hour.len() != 2 || minute.len() != 2 {
            return Err(wrong());
        }
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let time = Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong())?;
        Ok(Schedule { day: *day, time })
    }

    /// The moment that lies in a week: in a repeated hour its first run, in one that does not exist what comes after.
    fn moment(self, week: Week, zone: &TimeZone) -> Timestamp {
        let offset = i64::from(self.day.to_monday_zero_offset());
        let monday = week.monday();
        let date = monday
            .checked_add(jiff::Span::new().days(offset))
            .unwrap_or(monday);
        let at = zone.to_ambiguous_timestamp(date.to_datetime(self.time));
        Timestamp(at.compatible().map_or(0, jiff::Timestamp::as_millisecond))
    }

    #[must_use]
    pub fn due(self, now: Timestamp, zone: &TimeZone) -> Due {
        let this = Week::of(now, zone);
        let (began, next) = match self.moment(this, zone) {
            at if at <= now => (this, this.next()),
            _ => (this.previous(), this),
        };
        Due {
            week: began.previous(),
            since: self.moment(began, zone),
            next: self.moment(next, zone),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = DAYS
            .iter()
            .find(|(_, day)| *day == self.day)
            .map_or("", |(name, _)| *name);
        write!(
            f,
            "{name} {:02}:{:02}",
            self.time.hour(),
            self.time.minute()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn what_is_due_is_the_last_week_that_has_ended() {
        let schedule = Schedule::parse("Mon 08:00").unwrap();
        // Monday 2025-10-20 08:00 in Berlin is 06:00Z.
        let due = schedule.due(at("2025-10-20T06:00:00Z"), &berlin());
        assert_eq!(due.week.to_string(), "2025-W42");
        assert_eq!(due.since, at("2025-10-20T06:00:00Z"));
        // A second earlier the week before is still the one.
        let due = schedule.due(at("2025-10-20T05:59:59Z"), &berlin());
        assert_eq!(due.week.to_string(), "2025-W41");
        assert_eq!(due.next, at("2025-10-20T06:00:00Z"));
        // Off for three weeks: one report, the newest.
        let due = schedule.due(at("2025-11-12T12:00:00Z"), &berlin());
        assert_eq!(due.week.to_string(), "2025-W45");
    }

    #[test]
    fn a_change_of_the_clocks_moves_no_report() {
        let schedule = Schedule::parse("Mon 08:00").unwrap();
        let due = schedule.due(at("2025-10-27T06:30:00Z"), &berlin());
        assert_eq!(
            due.week.to_string(),
            "2025-W42",
            "08:00 is 07:00Z in winter"
        );
        assert_eq!(due.next, at("2025-10-27T07:00:00Z"));
        // 02:30 does not exist on 2026-03-29, and exists twice on 2025-10-26.
        let night = Schedule::parse("Sun 02:30").unwrap();
        let due = night.due(at("2026-03-29T12:00:00Z"), &berlin());
        assert_eq!(due.since, at("2026-03-29T01:30:00Z"));
        let due = night.due(at("2025-10-26T12:00:00Z"), &berlin());
        assert_eq!(due.since, at("2025-10-26T00:30:00Z"));
    }

    #[test]
    fn what_is_no_time_of_the_week_is_refused() {
        for text in [
            "Monday 08:00",
            "Mon",
            "Mon 8:00",
            "Mon 24:00",
            "Mon 08:60",
            "mon 08:00",
            "",
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains("write one such as \"Mon 08:00\""), "{text}");
        }
        assert_eq!(
            Schedule::parse("Fri 17:05").unwrap().to_string(),
            "Fri 17:05"
        );
    }
}
