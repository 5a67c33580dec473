//! Maintenance windows that come again: days, hours and a time zone.
//!
//! `Sun 02:00-04:00 Europe/Berlin rebuild of the golden image`: days, local times, an IANA zone, and why. An end that is
//! not after the beginning is on the next day. Where the clocks are set forward over a window's edge it moves with them,
//! and an hour that comes twice is in it twice.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use crate::core::event::Timestamp;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
/// So far ahead the next window is looked for.
const AHEAD_DAYS: i64 = 8;

#[derive(Clone, Debug, PartialEq)]
pub struct Recurring {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
    zone: TimeZone,
    pub reason: String,
    written: String,
}

/// One occurrence: from, and up to but without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Span {
    #[must_use]
    pub fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

impl Recurring {
    /// The occurrence that holds `at`.
    #[must_use]
    pub fn around(&self, at: Timestamp) -> Option<Span> {
        self.spans(at, -1, 0).find(|span| span.holds(at))
    }

    /// When it next begins or ends after `at`.
    #[must_use]
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at, -1, AHEAD_DAYS)
            .flat_map(|span| [span.from, span.to])
            .filter(|edge| *edge > at)
            .min()
    }

    /// The occurrences that begin on the local days around `at`.
    fn spans(&self, at: Timestamp, first: i64, last: i64) -> impl Iterator<Item = Span> + '_ {
        let today = at.in_zone(&self.zone).map(|at| at.date());
        (first..=last).filter_map(move |days| {
            let date = today?.checked_add(jiff::Span::new().days(days)).ok()?;
            self.days
                .contains(&date.weekday())
                .then(|| self.span_of(date))?
        })
    }

    fn span_of(&self, date: Date) -> Option<Span> {
        let end = match self.to > self.from {
            true => date,
            false => date.tomorrow().ok()?,
        };
        let moment =
            |date: Date, time: Time| self.zone.to_ambiguous_timestamp(date.to_datetime(time));
        let (from, to) = (moment(date, self.from), moment(end, self.to));
        // Of an edge that comes twice the outer one.
        Some(Span {
            from: Timestamp(from.compatible().ok()?.as_millisecond()),
            to: Timestamp(to.later().ok()?.as_millisecond()),
        })
    }
}

impl fmt::Display for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Why a text is no window; the remedy is the caller's example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWindow {
    #[error("it lacks its parts")]
    Parts,
    #[error("{0:?} are no days; write daily, Mon, Mon-Fri or Sat,Sun")]
    Days(String),
    #[error("{0:?} are no hours; write 02:00-04:00")]
    Hours(String),
    #[error("it has no IANA time zone after its hours, where {0:?} stands")]
    Zone(String),
    #[error("it does not say why")]
    Reason,
}

impl FromStr for Recurring {
    type Err = NoWindow;

    fn from_str(text: &str) -> Result<Recurring, NoWindow> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().ok_or(NoWindow::Parts);
        let (days, hours, zone) = (next()?, next()?, next()?);
        let (from, to) = hours_of(hours).ok_or_else(|| NoWindow::Hours(hours.to_owned()))?;
        let days = days_of(days).ok_or_else(|| NoWindow::Days(days.to_owned()))?;
        let zone = TimeZone::get(zone).map_err(|_| NoWindow::Zone(zone.to_owned()))?;
        let reason = words.collect::<Vec<_>>().join(" ");
        if reason.is_empty() {
            return Err(NoWindow::Reason);
        }
        Ok(Recurring {
            days,
            from,
            to,
            zone,
            reason,
            written: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

fn days_of(text: &str) -> Option<Vec<Weekday>> {
    let text = text.to_ascii_lowercase();
    if text == "daily" {
        return Some(DAYS.iter().map(|(_, day)| *day).collect());
    }
    let place = |word: &str| DAYS.iter().position(|(name, _)| *name == word);
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (place(first)?, place(last)?);
        // `Sat-Mon` goes over the week's end.
        let count = (last + DAYS.len() - first) % DAYS.len();
        for step in 0..=count {
            let day = DAYS[(first + step) % DAYS.len()].1;
            if !days.contains(&day) {
                days.push(day);
            }
        }
    }
    Some(days)
}

fn hours_of(text: &str) -> Option<(Time, Time)> {
    let (from, to) = text.split_once('-')?;
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let two = |text: &str| (text.len() == 2).then(|| text.parse::<i8>().ok()).flatten();
        Time::new(two(hour)?, two(minute)?, 0, 0).ok()
    };
    let (from, to) = (time(from)?, time(to)?);
    (from != to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp(at.as_millisecond())
    }

    fn window(text: &str) -> Recurring {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_in_its_own_zone() {
        let sunday = window("Sun 02:00-04:00 Europe/Berlin rebuild");
        // Sunday, 19 October 2025, is summer time there: UTC+2.
        for (time, inside) in [
            ("2025-10-18T23:59:59Z", false),
            ("2025-10-19T00:00:00Z", true),
            ("2025-10-19T01:59:59Z", true),
            ("2025-10-19T02:00:00Z", false),
            ("2025-10-20T00:30:00Z", false),
        ] {
            assert_eq!(sunday.around(at(time)).is_some(), inside, "{time}");
        }
        let next = sunday.next_change(at("2025-10-13T12:00:00Z"));
        assert_eq!(next, Some(at("2025-10-19T00:00:00Z")));
        let end = sunday.next_change(at("2025-10-19T00:00:00Z"));
        assert_eq!(end, Some(at("2025-10-19T02:00:00Z")));
    }

    #[test]
    fn an_hour_that_comes_twice_is_in_it_twice_and_one_that_does_not_come_moves() {
        let sunday = window("Sun 02:00-03:00 Europe/Berlin rebuild");
        // 26 October 2025: 02:00 to 03:00 comes twice. The window goes from the first 02:00 to 03:00.
        let autumn = sunday.around(at("2025-10-26T00:30:00Z")).unwrap();
        assert_eq!(
            (autumn.from, autumn.to),
            (at("2025-10-26T00:00:00Z"), at("2025-10-26T02:00:00Z"))
        );
        // An end within it is the second one: whoever works until half past two still does when it is so again.
        let within = window("Sun 01:00-02:30 Europe/Berlin rebuild");
        let autumn = within.around(at("2025-10-26T01:15:00Z")).unwrap();
        assert_eq!(
            (autumn.from, autumn.to),
            (at("2025-10-25T23:00:00Z"), at("2025-10-26T01:30:00Z"))
        );
        // 30 March 2025: 02:00 to 03:00 does not exist; 02:00 becomes 03:00, and nothing is left.
        assert_eq!(sunday.around(at("2025-03-30T01:00:00Z")), None);
        let longer = window("Sun 01:30-02:30 Europe/Berlin rebuild");
        let spring = longer.around(at("2025-03-30T00:45:00Z")).unwrap();
        assert_eq!(
            (spring.from, spring.to),
            (at("2025-03-30T00:30:00Z"), at("2025-03-30T01:30:00Z"))
        );
    }

    #[test]
    fn a_window_may_go_over_midnight_and_the_weeks_end() {
        let nights = window("Sat-Mon 23:00-01:00 UTC nights");
        for (time, inside) in [
            ("2025-10-18T22:59:00Z", false), // Saturday
            ("2025-10-18T23:30:00Z", true),
            ("2025-10-19T00:30:00Z", true),
            ("2025-10-21T00:59:00Z", true), // Tuesday, of Monday's
            ("2025-10-21T23:30:00Z", false),
            ("2025-10-18T00:30:00Z", false),
        ] {
            assert_eq!(nights.around(at(time)).is_some(), inside, "{time}");
        }
    }

    #[test]
    fn what_is_no_window_says_why() {
        for (text, message) in [
            ("", "it lacks its parts"),
            ("Sun 02:00-04:00", "it lacks its parts"),
            ("Sun 02:00-04:00 Europe/Berlin", "it does not say why"),
            (
                "Sunday 02:00-04:00 Europe/Berlin x",
                "\"Sunday\" are no days; write daily, Mon, Mon-Fri or Sat,Sun",
            ),
            (
                "Sun 2-4 Europe/Berlin x",
                "\"2-4\" are no hours; write 02:00-04:00",
            ),
            (
                "Sun 02:00-24:00 Europe/Berlin x",
                "\"02:00-24:00\" are no hours; write 02:00-04:00",
            ),
            (
                "Sun 02:00-02:00 Europe/Berlin x",
                "\"02:00-02:00\" are no hours; write 02:00-04:00",
            ),
            (
                "Sun 02:00-04:00 Berlin x",
                "it has no IANA time zone after its hours, where \"Berlin\" stands",
            ),
        ] {
            assert_eq!(
                text.parse::<Recurring>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }
}
