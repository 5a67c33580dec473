//! In which zone the stamps of past logs are.

use std::io::Write;

use jiff::tz::TimeZone;

use super::peek::{Peek, peek};
use crate::controller::clock::{LocalClock, Zone};
use crate::core::event::Timestamp;

/// A zone given by name, or the complaint about it.
pub(in crate::cli) fn zone_of(
    name: Option<&str>,
    err: &mut dyn Write,
) -> anyhow::Result<Result<Option<TimeZone>, ()>> {
    match name.map(TimeZone::get).transpose() {
        Ok(zone) => Ok(Ok(zone)),
        Err(error) => {
            writeln!(
                err,
                "bootwatch: --timezone: {error}; use an IANA name such as UTC or Europe/Berlin"
            )?;
            Ok(Err(()))
        }
    }
}

/// In which zone the stamps are read, and in which times are shown. A zone that was `named` holds, unless the log itself
/// tells of another.
pub(super) fn zones(
    named: Option<TimeZone>,
    peeks: &[Peek],
    notes: &mut Vec<String>,
) -> (Zone, TimeZone) {
    let learnt = peeks.iter().find_map(|peek| peek.offset_ms);
    let named = named.filter(|zone| {
        let wrong = learnt.is_some() && is_contradicted(zone, peeks);
        if wrong {
            let offset_ms = learnt.unwrap_or_default();
            let said = contradiction(zone, offset_ms);
            notes.push(format!("{said}: read as {}", offset_name(offset_ms)));
        }
        !wrong
    });
    let system = TimeZone::system();
    match (named, learnt) {
        (Some(zone), _) => (Zone::Named(zone.clone()), zone),
        (None, Some(offset_ms)) => (
            Zone::Learnt {
                offset_ms,
                told: true,
            },
            fixed_zone(offset_ms).unwrap_or(system),
        ),
        (None, None) => (Zone::Named(system.clone()), system),
    }
}

/// So many lines of creations are looked at for one that tells.
const CREATIONS: usize = 50;

/// What a log's end says against the zone that its stamps are said to be in, if it does.
pub(in crate::cli) fn against(zone: &TimeZone, end: &[u8]) -> Option<String> {
    // The last that tells counts: before it the controller may have run under another zone.
    let told = memchr::memmem::rfind_iter(end, b"[VM-CREATE]")
        .take(CREATIONS)
        .filter_map(|at| {
            let begins = memchr::memrchr(b'\n', end.get(..at)?).map_or(0, |at| at + 1);
            Some(peek(&[], end.get(begins..)?))
        })
        .find(|peek| peek.offset_ms.is_some())?;
    let offset_ms = told.offset_ms?;
    is_contradicted(zone, &[told]).then(|| contradiction(zone, offset_ms))
}

fn contradiction(zone: &TimeZone, offset_ms: i64) -> String {
    format!(
        "the log's own UTC instants say that its stamps are {}, not {}",
        offset_name(offset_ms),
        zone.iana_name().unwrap_or("the zone given")
    )
}

/// Whether every file's own instants say that its stamps are not this zone's.
fn is_contradicted(zone: &TimeZone, peeks: &[Peek]) -> bool {
    let mut told = peeks.iter().filter_map(|peek| peek.told.as_ref());
    let contradicts = |(local, utc): &(Vec<u8>, Timestamp)| {
        let mut clock = LocalClock::new(Zone::Named(zone.clone()));
        clock.learn(local, *utc);
        clock.counts().contradictions > 0
    };
    told.clone().next().is_some() && told.all(contradicts)
}

fn fixed_zone(offset_ms: i64) -> Option<TimeZone> {
    let seconds = i32::try_from(offset_ms / 1000).ok()?;
    if seconds == 0 {
        return Some(TimeZone::UTC);
    }
    Some(TimeZone::fixed(
        jiff::tz::Offset::from_seconds(seconds).ok()?,
    ))
}

pub(super) fn offset_name(offset_ms: i64) -> String {
    let minutes = offset_ms / 60_000;
    if minutes == 0 {
        return "UTC".to_owned();
    }
    let sign = if minutes < 0 { '-' } else { '+' };
    format!(
        "UTC{sign}{:02}:{:02}",
        minutes.abs() / 60,
        minutes.abs() % 60
    )
}

/// A moment as the log would stamp it.
pub(in crate::cli) fn long_moment(at: Timestamp, zone: &TimeZone) -> String {
    at.in_zone(zone)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

pub(in crate::cli) fn zone_name(zone: &TimeZone, at: Timestamp) -> String {
    zone.iana_name().map_or_else(
        || {
            at.in_zone(zone)
                .map(|at| format!("UTC{}", at.strftime("%:z")))
                .unwrap_or_default()
        },
        str::to_owned,
    )
}
