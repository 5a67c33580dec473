//! The controller's local time stamps into UTC.
//!
//! Lines carry `YYYY-MM-DD HH:MM:SS` of the host's zone and no zone. The zone is given by name, or learnt from the log
//! itself: some records carry a UTC instant beside the local stamp, and the offset between them, rounded to 15 minutes,
//! is the zone's offset at that moment. A stamp that occurs twice (the hour after summer time ends) takes the reading
//! that its record's own instant tells, or else the one nearest to the record before it that does not step back; one that
//! never occurs is shifted forward and counted.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::core::event::Timestamp;

const QUARTER_MS: i64 = 15 * 60 * 1000;
/// A record may be written a little out of order; only a larger step back makes a reading wrong.
const SLACK_MS: i64 = 5_000;
/// No zone is further from UTC.
const MAX_OFFSET_MS: i64 = 15 * 3_600_000;
/// So many records must contradict a named zone before it is called wrong.
const SUSTAINED: u32 = 3;

#[derive(Clone, Debug)]
pub enum Zone {
    Named(TimeZone),
    /// Learnt from the log; the offset in force, and whether any record has told it yet.
    Learnt {
        offset_ms: i64,
        told: bool,
    },
}

/// What the stamps told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockCounts {
    /// Stamps that the zone never shows (the hour that summer time skips).
    pub nonexistent: u64,
    /// Records whose own UTC instant contradicts the zone, in a row.
    pub contradictions: u32,
    /// The offset that those records tell, in milliseconds east of UTC.
    pub told_offset_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct LocalClock {
    zone: Zone,
    last: Timestamp,
    last_stamp: [u8; 19],
    /// The quarter of an hour whose offset is known, so that most stamps cost no look-up.
    quarter: i64,
    quarter_offset_ms: i64,
    counts: ClockCounts,
}

impl LocalClock {
    #[must_use]
    pub fn new(zone: Zone) -> LocalClock {
        LocalClock {
            zone,
            last: Timestamp::MIN,
            last_stamp: [0; 19],
            quarter: i64::MIN,
            quarter_offset_ms: 0,
            counts: ClockCounts::default(),
        }
    }

    #[must_use]
    pub fn counts(&self) -> ClockCounts {
        self.counts
    }

    /// The offset that the log's own instants contradict the named zone with, once that is sustained.
    #[must_use]
    pub fn wrong_by(&self) -> Option<i64> {
        (self.counts.contradictions >= SUSTAINED)
            .then_some(self.counts.told_offset_ms)
            .flatten()
    }

    /// The instant of a stamp; digits that make no date are `None`.
    pub fn read(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let stamp: &[u8; 19] = stamp.first_chunk()?;
        if *stamp == self.last_stamp {
            return Some(self.last);
        }
        let naive = naive_ms(stamp)?;
        let at = match &self.zone {
            Zone::Learnt { offset_ms, .. } => Timestamp(naive - offset_ms),
            Zone::Named(_) if naive.div_euclid(QUARTER_MS) == self.quarter => {
                Timestamp(naive - self.quarter_offset_ms)
            }
            Zone::Named(zone) => match zone.to_ambiguous_timestamp(civil(stamp)?).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    self.quarter = naive.div_euclid(QUARTER_MS);
                    self.quarter_offset_ms = i64::from(offset.seconds()) * 1000;
                    Timestamp(naive - self.quarter_offset_ms)
                }
                AmbiguousOffset::Gap { before, .. } => {
                    self.counts.nonexistent += 1;
                    Timestamp(naive - i64::from(before.seconds()) * 1000)
                }
                AmbiguousOffset::Fold { before, after } => {
                    let early = Timestamp(naive - i64::from(before.seconds()) * 1000);
                    let late = Timestamp(naive - i64::from(after.seconds()) * 1000);
                    if early.plus_ms(SLACK_MS) < self.last {
                        late
                    } else {
                        early
                    }
                }
            },
        };
        self.last = at;
        self.last_stamp = *stamp;
        Some(at)
    }

    /// A record that carried `utc` beside its local `stamp`: teaches a learnt zone, tests a named one.
    pub fn learn(&mut self, stamp: &[u8], utc: Timestamp) {
        let Some(naive) = naive_ms(stamp) else { return };
        // The line is written up to a second, and under load a little more, after the instant it carries.
        let offset = (naive - utc.0 + QUARTER_MS / 2).div_euclid(QUARTER_MS) * QUARTER_MS;
        if offset.abs() > MAX_OFFSET_MS {
            return;
        }
        match &mut self.zone {
            Zone::Learnt { offset_ms, told } => {
                if !*told || *offset_ms != offset {
                    self.last_stamp = [0; 19];
                }
                *offset_ms = offset;
                *told = true;
            }
            Zone::Named(_) => {
                let Some(read) = self.read(stamp) else { return };
                if naive - read.0 == offset {
                    self.counts.contradictions = 0;
                } else if self.is_either_reading(stamp, offset) {
                    self.counts.contradictions = 0;
                    self.last = Timestamp(naive - offset);
                } else {
                    self.counts.contradictions = self.counts.contradictions.saturating_add(1);
                    self.counts.told_offset_ms = Some(offset);
                }
            }
        }
    }
}

impl LocalClock {
    /// Whether this stamp occurs twice, once at this offset.
    fn is_either_reading(&self, stamp: &[u8], offset_ms: i64) -> bool {
        let Zone::Named(zone) = &self.zone else {
            return false;
        };
        let civil = stamp.first_chunk().and_then(civil);
        let offset = civil.map(|civil| zone.to_ambiguous_timestamp(civil).offset());
        let is = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * 1_000 == offset_ms;
        matches!(offset, Some(AmbiguousOffset::Fold { before, after }) if is(before) || is(after))
    }
}

/// A clock over a restart.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptClock {
    /// The configured zone; `None`: it is learnt.
    zone: Option<String>,
    /// The offset that the log has told.
    told_offset_ms: Option<i64>,
    last: Timestamp,
    counts: ClockCounts,
}

impl LocalClock {
    pub(super) fn keep(&self) -> KeptClock {
        KeptClock {
            zone: name(&self.zone),
            told_offset_ms: match self.zone {
                Zone::Learnt {
                    offset_ms,
                    told: true,
                } => Some(offset_ms),
                Zone::Learnt { .. } | Zone::Named(_) => None,
            },
            last: self.last,
            counts: self.counts,
        }
    }

    /// The clock as it was; one of another zone than the configured one starts anew. What the log told of its zone is
    /// better than any guess. `None`: no zone has such an offset.
    pub(super) fn restore(kept: &KeptClock, configured: Zone) -> Option<LocalClock> {
        if !kept.is_of(&configured) {
            return Some(LocalClock::new(configured));
        }
        let zone = match kept.told_offset_ms {
            Some(offset_ms) if kept.zone.is_none() => Zone::Learnt {
                offset_ms,
                told: true,
            },
            _ => configured,
        };
        let possible = kept
            .told_offset_ms
            .is_none_or(|offset| offset.unsigned_abs() <= MAX_OFFSET_MS.unsigned_abs());
        possible.then(|| LocalClock {
            last: kept.last,
            counts: kept.counts,
            ..LocalClock::new(zone)
        })
    }
}

impl KeptClock {
    pub(super) fn is_of(&self, zone: &Zone) -> bool {
        self.zone == name(zone)
    }
}

/// What tells one configured zone from another.
fn name(zone: &Zone) -> Option<String> {
    let Zone::Named(zone) = zone else { return None };
    let fixed = || zone.to_fixed_offset().ok().map(|offset| offset.to_string());
    let name = zone.iana_name().map(str::to_owned).or_else(fixed);
    Some(name.unwrap_or_default())
}

fn digits(stamp: &[u8], from: usize, to: usize) -> i64 {
    stamp[from..to].iter().fold(0, |number, byte| {
        number * 10 + i64::from(byte.wrapping_sub(b'0'))
    })
}

/// The stamp's milliseconds as if it were UTC.
fn naive_ms(stamp: &[u8]) -> Option<i64> {
    let stamp: &[u8; 19] = stamp.first_chunk()?;
    let (month, day) = (digits(stamp, 5, 7), digits(stamp, 8, 10));
    let (hour, minute, second) = (
        digits(stamp, 11, 13),
        digits(stamp, 14, 16),
        digits(stamp, 17, 19),
    );
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since 1970-01-01 of the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
    // algorithms", days_from_civil).
    let year = digits(stamp, 0, 4) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn civil(stamp: &[u8; 19]) -> Option<jiff::civil::DateTime> {
    let part = |from, to| i8::try_from(digits(stamp, from, to)).ok();
    let year = i16::try_from(digits(stamp, 0, 4)).ok()?;
    let date = Date::new(year, part(5, 7)?, part(8, 10)?).ok()?;
    let second = part(17, 19)?.min(59);
    Some(date.to_datetime(jiff::civil::Time::new(part(11, 13)?, part(14, 16)?, second, 0).ok()?))
}

/// `2025-10-18T01:52:07.123Z` into an instant: the only form that JavaScript's `toISOString` writes.
#[must_use]
pub fn iso_utc(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; 24] = text.try_into().ok()?;
    if text[10] != b'T'
        || text[19] != b'.'
        || text[23] != b'Z'
        || !text[20..23].iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let fixed =
        [4, 7].iter().all(|at: &usize| text[*at] == b'-') && text[13] == b':' && text[16] == b':';
    let numbers = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]
        .iter()
        .all(|at: &usize| text[*at].is_ascii_digit());
    (fixed && numbers).then_some(())?;
    naive_ms(text).map(|ms| Timestamp(ms + digits(text, 20, 23)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> LocalClock {
        LocalClock::new(Zone::Named(TimeZone::get("Europe/Berlin").unwrap()))
    }

    fn utc(text: &str) -> Timestamp {
        iso_utc(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_named_zone_reads_summer_and_winter() {
        let mut clock = berlin();
        assert_eq!(
            clock.read(b"2025-10-18 03:52:07"),
            Some(utc("2025-10-18T01:52:07.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-11-07 09:14:38"),
            Some(utc("2025-11-07T08:14:38.000Z"))
        );
    }

    #[test]
    fn the_hour_that_occurs_twice_does_not_step_back() {
        let mut clock = berlin();
        assert_eq!(
            clock.read(b"2025-10-26 02:30:00"),
            Some(utc("2025-10-26T00:30:00.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-10-26 02:59:59"),
            Some(utc("2025-10-26T00:59:59.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-10-26 02:00:01"),
            Some(utc("2025-10-26T01:00:01.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-10-26 02:30:00"),
            Some(utc("2025-10-26T01:30:00.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-10-26 03:00:00"),
            Some(utc("2025-10-26T02:00:00.000Z"))
        );
    }

    #[test]
    fn the_hour_that_occurs_twice_is_the_second_where_a_record_tells_so() {
        let mut clock = berlin();
        clock.read(b"2025-10-26 01:40:00");
        clock.learn(b"2025-10-26 02:10:00", utc("2025-10-26T01:09:59.900Z"));
        assert_eq!(
            clock.read(b"2025-10-26 02:10:00"),
            Some(utc("2025-10-26T01:10:00.000Z"))
        );
        assert_eq!(
            clock.read(b"2025-10-26 02:10:05"),
            Some(utc("2025-10-26T01:10:05.000Z"))
        );
        assert_eq!(clock.counts().contradictions, 0);
    }

    #[test]
    fn the_hour_that_never_was_is_shifted_and_counted() {
        let mut clock = berlin();
        assert_eq!(
            clock.read(b"2026-03-29 01:59:59"),
            Some(utc("2026-03-29T00:59:59.000Z"))
        );
        assert_eq!(
            clock.read(b"2026-03-29 02:30:00"),
            Some(utc("2026-03-29T01:30:00.000Z"))
        );
        assert_eq!(clock.counts().nonexistent, 1);
        assert_eq!(
            clock.read(b"2026-03-29 03:30:00"),
            Some(utc("2026-03-29T01:30:00.000Z"))
        );
    }

    #[test]
    fn a_learnt_zone_follows_the_logs_own_instants() {
        let mut clock = LocalClock::new(Zone::Learnt {
            offset_ms: 0,
            told: false,
        });
        clock.learn(b"2025-10-18 03:52:08", utc("2025-10-18T01:52:07.950Z"));
        assert_eq!(
            clock.read(b"2025-10-18 03:52:08"),
            Some(utc("2025-10-18T01:52:08.000Z"))
        );
        clock.learn(b"2025-10-26 02:10:00", utc("2025-10-26T01:10:00.000Z"));
        assert_eq!(
            clock.read(b"2025-10-26 02:10:00"),
            Some(utc("2025-10-26T01:10:00.000Z"))
        );
    }

    #[test]
    fn a_wrong_zone_is_noticed_when_sustained() {
        let mut clock = berlin();
        for second in 0..3 {
            assert_eq!(clock.wrong_by(), None);
            let stamp = format!("2025-10-18 01:52:0{second}");
            clock.learn(
                stamp.as_bytes(),
                utc(&format!("2025-10-18T01:52:0{second}.100Z")),
            );
        }
        assert_eq!(clock.wrong_by(), Some(0));
    }

    #[test]
    fn digits_that_are_no_date_are_refused() {
        let mut clock = berlin();
        assert_eq!(clock.read(b"2025-13-01 00:00:00"), None);
        assert_eq!(clock.read(b"2025-02-31 00:00:00"), None);
        assert_eq!(iso_utc(b"2025-10-18T01:52:07Z"), None);
    }

    #[test]
    fn naive_time_equals_the_librarys_for_every_month() {
        for year in [1970, 1999, 2000, 2024, 2025, 2100] {
            for month in 1..=12 {
                let text = format!("{year}-{month:02}-28T23:59:59.999Z");
                let wanted: jiff::Timestamp = text.parse().unwrap();
                assert_eq!(
                    iso_utc(text.as_bytes()),
                    Some(Timestamp(wanted.as_millisecond())),
                    "{text}"
                );
            }
        }
    }
}
