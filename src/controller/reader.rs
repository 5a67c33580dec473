//! One source's bytes into events: framing, time and decoding in one place, with what could not be read counted.
//!
//! A record stamped far ahead of the time of reading is a glitch: it is taken to be as old as the newest one before it.
//! Where many in a row are ahead, the log's clock is wrong and is believed, since its differences still hold.

mod keep;
mod last_second;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::controller::clock::{LocalClock, Zone};
use crate::controller::decode::{self, Decoded};
use crate::controller::framing::{Framer, FramingCounts, Record};
use crate::controller::shapes::Shapes;
use crate::core::event::{Event, Provenance, Timestamp};
use crate::core::log_time::LogTime;
use last_second::LastSecond;

/// A record's stamp may be ahead of the time of reading by an unknown zone, and no more.
const AHEAD_MS: i64 = 24 * 3_600_000;
/// So many records in a row may be glitches.
const MAX_GLITCHES: u32 = 20;

/// What was read, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadCounts {
    pub events: u64,
    /// Records that matter but are torn, lack a field, or bear an impossible date.
    pub unparsed: u64,
    /// Records of no known message; `Shapes` says which.
    pub unknown: u64,
    /// Records of a known message that says nothing of boots.
    #[serde(default)]
    pub noise: u64,
    /// Torn lines in which the next record was found.
    pub glued: u64,
    /// Records that another file had told before: see `Reader::skip_repeated`.
    pub repeated: u64,
    /// Records stamped more than a day after they were read.
    pub ahead: u64,
}

impl ReadCounts {
    pub fn add(&mut self, other: ReadCounts) {
        self.events += other.events;
        self.unparsed += other.unparsed;
        self.unknown += other.unknown;
        self.noise += other.noise;
        self.glued += other.glued;
        self.repeated += other.repeated;
        self.ahead += other.ahead;
    }
}

/// The reader of one source. Feed it bytes in order.
#[derive(Debug)]
pub struct Reader {
    framer: Framer,
    inner: Inner,
    /// Something was read since it was last saved.
    moved: bool,
}

#[derive(Debug)]
struct Inner {
    clock: LocalClock,
    shapes: Shapes,
    counts: ReadCounts,
    provenance: Provenance,
    /// A file was begun.
    begun: bool,
    /// By all records, whatever they said.
    time: LogTime,
    /// The stamp of a record that says nothing of boots, whose time nobody asked for yet.
    passed: Option<[u8; 19]>,
    /// When the last bytes ended with such a record: its time.
    passed_at: Option<Timestamp>,
    /// The latest time read of a record that says something, and its stamp as text: local time, like all stamps of one
    /// controller.
    furthest: Option<Timestamp>,
    last_stamp: [u8; 19],
    /// Records up to this stamp are not wanted.
    skip_to: Option<[u8; 19]>,
    /// What was read of that second; `None` where nobody asks.
    last_second: Option<LastSecond>,
    /// When it is read; not known of logs of the past.
    now: Option<Timestamp>,
    /// So many records in a row were ahead of it.
    glitches: u32,
}

impl Reader {
    #[must_use]
    pub fn new(source: u16, zone: Zone) -> Reader {
        Reader {
            framer: Framer::default(),
            inner: Inner {
                clock: LocalClock::new(zone),
                shapes: Shapes::default(),
                counts: ReadCounts::default(),
                provenance: Provenance {
                    source,
                    ..Provenance::default()
                },
                begun: false,
                time: LogTime::default(),
                passed: None,
                passed_at: None,
                furthest: None,
                last_stamp: [0; 19],
                skip_to: None,
                last_second: None,
                now: None,
                glitches: 0,
            },
            moved: true,
        }
    }

    /// What is read from here on is read at `now`.
    pub fn reads_at(&mut self, now: Timestamp) {
        self.inner.now = Some(now);
    }

    /// The next bytes come from another file of the family; what the last one left unfinished is over.
    pub fn begin_file(&mut self, generation: u32, offset: u64, sink: &mut impl FnMut(&Event<'_>)) {
        self.moved = true;
        self.finish(sink);
        self.framer.continue_at(offset);
        self.inner.provenance.generation = generation;
        self.inner.begun = true;
        self.inner.skip_to = None;
    }

    /// Another file may tell again what is read from here on: then its last second is told apart by what was said.
    pub fn may_be_repeated(&mut self) {
        self.inner.last_second = Some(LastSecond::default());
    }

    /// The file that was just begun tells again what has been read: its records up to the newest one read so far are
    /// counted and not taken.
    pub fn skip_repeated(&mut self) {
        self.moved = true;
        self.inner.skip_to = Some(self.inner.last_stamp);
        if let Some(second) = &mut self.inner.last_second {
            second.is_told_again();
        }
    }

    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&Event<'_>)) {
        self.moved = true;
        let inner = &mut self.inner;
        self.framer
            .push(bytes, &mut |record| inner.take(&record, sink));
        inner.pass();
    }

    /// Nothing came for a while: a record that waits for more is whole.
    pub fn flush(&mut self, sink: &mut impl FnMut(&Event<'_>)) {
        self.moved = true;
        let inner = &mut self.inner;
        self.framer.flush(&mut |record| inner.take(&record, sink));
        inner.pass();
    }

    pub fn finish(&mut self, sink: &mut impl FnMut(&Event<'_>)) {
        self.moved = true;
        let inner = &mut self.inner;
        self.framer.finish(&mut |record| inner.take(&record, sink));
        inner.pass();
    }

    /// The file that is being read, and up to where: a restored reader goes on there, without `begin_file`.
    #[must_use]
    pub fn place(&self) -> Option<(u32, u64)> {
        self.inner
            .begun
            .then(|| (self.inner.provenance.generation, self.framer.offset()))
    }

    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.framer.has_pending()
    }

    #[must_use]
    pub fn framing(&self) -> FramingCounts {
        self.framer.counts()
    }

    #[must_use]
    pub fn counts(&self) -> ReadCounts {
        self.inner.counts
    }

    #[must_use]
    pub fn shapes(&self) -> &Shapes {
        &self.inner.shapes
    }

    #[must_use]
    pub fn clock(&self) -> &LocalClock {
        &self.inner.clock
    }

    /// The time by the log; `None` before its first record.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.inner.newest()
    }

    /// The time of the last record read, where it said nothing of boots and so was no event.
    #[must_use]
    pub fn passed_at(&self) -> Option<Timestamp> {
        self.inner.passed_at
    }
}

impl Inner {
    fn take(&mut self, record: &Record<'_>, sink: &mut impl FnMut(&Event<'_>)) {
        if self.is_repeated(record) {
            self.counts.repeated += 1;
            return;
        }
        let glued = match decode::decode(record) {
            Decoded::Event(kind) => return self.event(record, kind, sink),
            Decoded::Ignored => {
                self.counts.noise += 1;
                self.passed = record.stamp().first_chunk().copied();
                decode::glued_to_noise(record)
            }
            Decoded::Unknown(text) => {
                self.counts.unknown += 1;
                self.passed = record.stamp().first_chunk().copied();
                self.shapes.count(text);
                decode::glued_to_noise(record)
            }
            Decoded::Unparsed => {
                self.counts.unparsed += 1;
                decode::glued(record)
            }
        };
        if let Some(inner) = glued
            && let Decoded::Event(kind) = decode::decode(&inner)
        {
            self.counts.glued += 1;
            self.event(&inner, kind, sink);
        }
    }

    fn event(
        &mut self,
        record: &Record<'_>,
        kind: crate::core::event::EventKind<'_>,
        sink: &mut impl FnMut(&Event<'_>),
    ) {
        if let Some(utc) = decode::own_instant(&kind, record) {
            self.clock.learn(record.stamp(), utc);
        }
        let Some(at) = self.clock.read(record.stamp()) else {
            self.counts.unparsed += 1;
            return;
        };
        let at = self.believable(at);
        self.counts.events += 1;
        self.passed = None;
        self.time.take(at);
        if Some(at) > self.furthest {
            self.furthest = Some(at);
            if let Some(stamp) = record.stamp().first_chunk() {
                self.last_stamp = *stamp;
            }
            if let Some(second) = &mut self.last_second {
                second.is_over();
            }
        }
        if let Some(second) = &mut self.last_second
            && record.stamp() == self.last_stamp
        {
            second.keep(record.text);
        }
        self.provenance.offset = record.offset;
        sink(&Event {
            at,
            provenance: self.provenance,
            kind,
            record: record.text,
        });
    }

    fn is_repeated(&mut self, record: &Record<'_>) -> bool {
        let Some(last) = &self.skip_to else {
            return false;
        };
        match (record.stamp().cmp(last.as_slice()), &mut self.last_second) {
            (Ordering::Greater, _) => false,
            // The file before may have ended within that second.
            (Ordering::Equal, Some(second)) => second.holds(record),
            (Ordering::Equal, None) | (Ordering::Less, _) => true,
        }
    }

    /// What says nothing of boots tells the time all the same; it is read once for many.
    fn pass(&mut self) {
        let stamp = self.passed.take();
        self.passed_at = stamp.and_then(|stamp| {
            let at = self.clock.read(&stamp)?;
            let at = self.believable(at);
            self.time.take(at);
            Some(at)
        });
    }

    fn newest(&self) -> Option<Timestamp> {
        Some(self.time.newest).filter(|newest| *newest > Timestamp::MIN)
    }

    /// The record's time, unless it cannot be.
    fn believable(&mut self, at: Timestamp) -> Timestamp {
        let Some(now) = self.now.filter(|now| at.since(*now) > AHEAD_MS) else {
            self.glitches = 0;
            return at;
        };
        self.counts.ahead += 1;
        self.glitches = self.glitches.saturating_add(1);
        if self.glitches > MAX_GLITCHES {
            return at;
        }
        self.newest().unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::core::event::EventKind;

    fn newest_of(lines: &[&str]) -> Option<i64> {
        let mut reader = Reader::new(0, Zone::Named(TimeZone::UTC));
        for line in lines {
            let line = format!("2025-10-18 {line} {{}}\n");
            reader.push(line.as_bytes(), &mut |_| {});
            reader.flush(&mut |_| {});
        }
        // Seconds of the day.
        reader.newest().map(|at| at.0 / 1_000 % 86_400)
    }

    const NOISE: &str = "00:01:00 [INFO]: Running VM hibernation check...";
    const START: &str = "00:00:10 [INFO]: Starting Master Controller...";

    #[test]
    fn the_newest_record_is_the_last_whatever_it_says() {
        assert_eq!(newest_of(&[]), None);
        assert_eq!(newest_of(&[NOISE]), Some(60));
        assert_eq!(newest_of(&[START, NOISE]), Some(60));
        assert_eq!(newest_of(&[NOISE, START]), Some(60), "a little late");
        assert_eq!(
            newest_of(&[NOISE, "00:02:00 [INFO]: Never heard of"]),
            Some(120)
        );
        let set_back = ["01:00:10 [INFO]: Never heard of", NOISE, NOISE];
        assert_eq!(newest_of(&set_back[..2]), Some(3_610), "it may be late");
        assert_eq!(newest_of(&set_back), Some(60));
    }

    #[test]
    fn an_event_behind_torn_noise_is_told_with_its_own_time() {
        let start = format!("2025-10-18 {START} {{}}\n");
        for torn in [
            "GET /health 200 {\"dur",
            "Running VM hibernation check... {\"",
            "Never heard of {\"a\":[1,{\"b\":\"",
        ] {
            let log = format!("2025-10-18 00:00:05 [INFO]: {torn}{start}");
            let mut reader = Reader::new(0, Zone::Named(TimeZone::UTC));
            let mut told = Vec::new();
            reader.push(log.as_bytes(), &mut |event| {
                let starting = matches!(event.kind, EventKind::ControllerStarting);
                told.push((event.at.0 / 1_000 % 86_400, starting));
            });
            assert_eq!(told, [(10, true)], "{torn}");
            let counts = reader.counts();
            assert_eq!((counts.glued, counts.unparsed), (1, 0), "{torn}");
        }
    }

    #[test]
    fn of_the_last_second_only_what_was_told_is_told_again() {
        let line = |second: u32, vm: u32| {
            format!(
                "2025-10-18 00:00:{second:02} [INFO]: [VM-CREATE] Starting VM creation {{\"vmId\":\"vm-00000000-0000-4000-8000-{vm:012x}\",\"userId\":\"u\",\"vmType\":\"browser\"}}\n"
            )
        };
        let first = [line(1, 1), line(2, 2), line(2, 3)].concat();
        // The same event twice in a second is told twice.
        let second = [
            line(1, 1),
            line(2, 2),
            line(2, 3),
            line(2, 3),
            line(2, 4),
            line(2, 4),
            line(3, 5),
        ]
        .concat();
        let mut reader = Reader::new(0, Zone::Named(TimeZone::UTC));
        reader.may_be_repeated();
        let mut told = 0;
        reader.push(first.as_bytes(), &mut |_| told += 1);
        reader.begin_file(1, 0, &mut |_| told += 1);
        reader.skip_repeated();
        reader.push(second.as_bytes(), &mut |_| told += 1);
        reader.finish(&mut |_| told += 1);
        assert_eq!((told, reader.counts().repeated), (7, 3));
    }
}
