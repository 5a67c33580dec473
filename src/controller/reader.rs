//! One source's bytes into events: framing, time and decoding in one place, with what could not be read counted.

use crate::controller::clock::{LocalClock, Zone};
use crate::controller::decode::{self, Decoded};
use crate::controller::framing::{Framer, FramingCounts, Record};
use crate::controller::shapes::Shapes;
use crate::core::event::{Event, Provenance, Timestamp};

/// What was read, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    pub events: u64,
    /// Records that matter but are torn, lack a field, or bear an impossible date.
    pub unparsed: u64,
    /// Records of no known message; `Shapes` says which.
    pub unknown: u64,
    /// Torn lines in which the next record was found.
    pub glued: u64,
    /// Records that another file had told before: see `Reader::skip_repeated`.
    pub repeated: u64,
}

impl ReadCounts {
    pub fn add(&mut self, other: ReadCounts) {
        self.events += other.events;
        self.unparsed += other.unparsed;
        self.unknown += other.unknown;
        self.glued += other.glued;
        self.repeated += other.repeated;
    }
}

/// The reader of one source. Feed it bytes in order.
#[derive(Debug)]
pub struct Reader {
    framer: Framer,
    inner: Inner,
}

#[derive(Debug)]
struct Inner {
    clock: LocalClock,
    shapes: Shapes,
    counts: ReadCounts,
    provenance: Provenance,
    /// The newest record's time, whatever it said.
    newest: Option<Timestamp>,
    /// The greatest stamp read, as text: local time, like all stamps of one controller.
    last_stamp: [u8; 19],
    /// Records up to this stamp are not wanted.
    skip_to: Option<[u8; 19]>,
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
                newest: None,
                last_stamp: [0; 19],
                skip_to: None,
            },
        }
    }

    /// The next bytes come from another file of the family; what the last one left unfinished is over.
    pub fn begin_file(&mut self, generation: u32, offset: u64, sink: &mut impl FnMut(&Event<'_>)) {
        self.finish(sink);
        self.framer.continue_at(offset);
        self.inner.provenance.generation = generation;
        self.inner.skip_to = None;
    }

    /// The file that was just begun tells again what has been read: its records up to the newest one read so far are
    /// counted and not taken.
    pub fn skip_repeated(&mut self) {
        self.inner.skip_to = Some(self.inner.last_stamp);
    }

    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&Event<'_>)) {
        let inner = &mut self.inner;
        self.framer
            .push(bytes, &mut |record| inner.take(&record, sink));
    }

    /// Nothing came for a while: a record that waits for more is whole.
    pub fn flush(&mut self, sink: &mut impl FnMut(&Event<'_>)) {
        let inner = &mut self.inner;
        self.framer.flush(&mut |record| inner.take(&record, sink));
    }

    pub fn finish(&mut self, sink: &mut impl FnMut(&Event<'_>)) {
        let inner = &mut self.inner;
        self.framer.finish(&mut |record| inner.take(&record, sink));
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

    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.inner.newest
    }
}

impl Inner {
    fn take(&mut self, record: &Record<'_>, sink: &mut impl FnMut(&Event<'_>)) {
        if let Some(last) = &self.skip_to
            && record.stamp() <= last.as_slice()
        {
            self.counts.repeated += 1;
            return;
        }
        match decode::decode(record) {
            Decoded::Ignored => {}
            Decoded::Event(kind) => self.event(record, kind, sink),
            Decoded::Unknown(text) => {
                self.counts.unknown += 1;
                self.shapes.count(text);
            }
            Decoded::Unparsed => {
                self.counts.unparsed += 1;
                if let Some(inner) = decode::glued(record)
                    && let Decoded::Event(kind) = decode::decode(&inner)
                {
                    self.counts.glued += 1;
                    self.event(&inner, kind, sink);
                }
            }
        }
    }

    fn event(
        &mut self,
        record: &Record<'_>,
        kind: crate::core::event::EventKind<'_>,
        sink: &mut impl FnMut(&Event<'_>),
    ) {
        if let Some(utc) = decode::own_instant(&kind) {
            self.clock.learn(record.stamp(), utc);
        }
        let Some(at) = self.clock.read(record.stamp()) else {
            self.counts.unparsed += 1;
            return;
        };
        self.counts.events += 1;
        if Some(at) > self.newest {
            self.newest = Some(at);
            if let Some(stamp) = record.stamp().first_chunk() {
                self.last_stamp = *stamp;
            }
        }
        self.provenance.offset = record.offset;
        sink(&Event {
            at,
            provenance: self.provenance,
            kind,
            record: record.text,
        });
    }
}
