//! What a file's ends tell without reading it all.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashSet;

use super::form::Form;
use crate::controller::clock::{LocalClock, Zone};
use crate::controller::framing;
use crate::controller::reader::Reader;
use crate::core::event::{Event, EventKind, Timestamp, VmId};
use crate::source::archive;

/// So much of what a file says first is compared with what others said.
const SAYS: usize = 32;
/// So much of that is no chance.
const ENOUGH: usize = 4;
/// A clock that is set back oftener than this within so few lines runs backwards.
const MAX_SET_BACK: u32 = 3;

/// What a file's ends tell without reading it all.
pub(super) struct Peek {
    pub(super) first: Option<[u8; 19]>,
    pub(super) offset_ms: Option<i64>,
    /// A local stamp, and the UTC instant that the same record carries.
    pub(super) told: Option<(Vec<u8>, Timestamp)>,
    /// VMs whose creation begins there.
    pub(super) created: Vec<VmId>,
    /// What it says first, each by its `mark`.
    pub(super) says: Vec<u64>,
    /// The first and the last record's time, as if their stamps were UTC.
    pub(super) began: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// There are records, and all of them are errors.
    pub(super) only_errors: bool,
    /// It is written backwards: what was said last stands first.
    pub(super) newest_first: bool,
}

impl Peek {
    /// Whether others have said what it begins with. Something in one second may be alike in two logs, most of it never.
    pub(super) fn is_told_again(&self, said: &HashSet<u64>) -> bool {
        let again = self.says.iter().filter(|mark| said.contains(*mark)).count();
        again >= ENOUGH && 2 * again >= self.says.len()
    }

    /// Whether this is an error log, by whatever name, beside a log of all levels that tells of the same time.
    pub(super) fn is_errors_of(&self, other: &Peek) -> bool {
        let meet = || {
            // Pieces of one log meet in a second at most.
            let before = self.began? < other.last?;
            let after = other.began? < self.last?;
            Some(before && after)
        };
        self.only_errors && !other.only_errors && meet() == Some(true)
    }
}

/// What an event says and when, whatever the form in which it is written; nothing where it names nobody and no VM, as two
/// hosts may say it in the same second.
pub(super) fn mark(event: &Event<'_>) -> Option<u64> {
    let names = !matches!(
        event.kind,
        EventKind::ControllerStarting
            | EventKind::ControllerStarted
            | EventKind::ControllerStopping
            | EventKind::ControllerCrashed
            | EventKind::RequestUnmarked
            | EventKind::StartFailed { .. }
    );
    names.then(|| {
        let mut hasher = DefaultHasher::new();
        (event.record.get(..19), event.kind).hash(&mut hasher);
        hasher.finish()
    })
}

pub(super) fn peek(head: &[u8], tail: &[u8]) -> Peek {
    let mut text = Vec::new();
    let mut decoder = Form::of(head).decoder();
    decoder.push(head, &mut |bytes| text.extend_from_slice(bytes));
    decoder.finish(&mut |bytes| text.extend_from_slice(bytes));
    let stamp = |line: &[u8]| framing::header(line).and_then(|_| line.first_chunk::<19>().copied());
    let stamps = || text.split(|byte| *byte == b'\n').filter_map(stamp);
    let first = stamps().next();
    let mut levels = [text.as_slice(), tail]
        .into_iter()
        .flat_map(|text| text.split(|byte| *byte == b'\n'))
        .filter_map(|line| line.get(framing::header(line)?.level));
    let only_errors = first.is_some() && levels.all(|level| level == b"ERROR");
    let mut created = Vec::new();
    let mut says = Vec::new();
    let mut told = None;
    let mut look = |bytes: &[u8]| {
        let mut reader = Reader::new(
            0,
            Zone::Learnt {
                offset_ms: 0,
                told: false,
            },
        );
        let mut take = |event: &Event<'_>| {
            if says.len() < SAYS {
                says.extend(mark(event));
            }
            if let EventKind::CreateStarted { vm, started_at, .. } = event.kind {
                created.push(vm);
                if let (Some(utc), Some(local)) = (started_at, event.record.get(..19)) {
                    told.get_or_insert((local.to_vec(), utc));
                }
            }
        };
        reader.push(bytes, &mut take);
        reader.finish(&mut take);
    };
    look(&text);
    look(tail);
    let mut utc = LocalClock::new(Zone::Learnt {
        offset_ms: 0,
        told: false,
    });
    // Only the file's end tells; what is shorter than a head is all of it.
    let end = match tail.is_empty() && head.len() < archive::HEAD {
        true => &text,
        false => tail,
    };
    let last = end.rsplit(|byte| *byte == b'\n').find_map(stamp);
    let offset_ms = told
        .as_ref()
        .and_then(|(local, utc)| offset_between(local, *utc));
    Peek {
        first,
        offset_ms,
        told,
        created,
        says,
        began: first.and_then(|stamp| utc.read(&stamp)),
        last: last.and_then(|stamp| utc.read(&stamp)),
        only_errors,
        newest_first: run_backwards(stamps()),
    }
}

/// Whether time runs backwards from stamp to stamp. A clock that is set back, or an hour that comes twice, is one step.
fn run_backwards(stamps: impl Iterator<Item = [u8; 19]>) -> bool {
    let (mut forth, mut back) = (0u32, 0u32);
    let mut before: Option<[u8; 19]> = None;
    for stamp in stamps {
        match before.map(|before| stamp.cmp(&before)) {
            Some(Ordering::Greater) => forth += 1,
            Some(Ordering::Less) => back += 1,
            Some(Ordering::Equal) | None => {}
        }
        before = Some(stamp);
    }
    back > MAX_SET_BACK && back / MAX_SET_BACK > forth
}

/// The zone's offset that a record with both a local stamp and a UTC instant tells.
fn offset_between(local: &[u8], utc: Timestamp) -> Option<i64> {
    let mut clock = LocalClock::new(Zone::Learnt {
        offset_ms: 0,
        told: false,
    });
    let naive = clock.read(local)?;
    clock.learn(local, utc);
    Some(naive.since(clock.read(local)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_runs_backwards_only_where_its_stamps_do_so_again_and_again() {
        let backwards = |seconds: &[u32]| {
            run_backwards(seconds.iter().map(|second| {
                let stamp = format!("2025-10-26 02:{:02}:{:02}", second / 60, second % 60);
                *stamp.as_bytes().first_chunk().unwrap()
            }))
        };
        assert!(backwards(&[9, 9, 8, 5, 5, 3, 2, 1]));
        assert!(backwards(&[
            600, 500, 400, 300, 200, 100, 3_599, 3_500, 3_400
        ]));
        assert!(!backwards(&[1, 1, 2, 3, 5]));
        assert!(!backwards(&[]));
        // The clock is set back, or stamps of one second are mixed with those of the next.
        assert!(!backwards(&[300, 200, 100]));
        assert!(!backwards(&[9, 8, 9, 8, 9, 8, 9, 8, 9, 8]));
    }
}
