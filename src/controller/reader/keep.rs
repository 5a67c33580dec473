//! The reader over a restart: it goes on in the middle of a line, a record, a zone.

use serde::{Deserialize, Serialize};

use super::{Inner, ReadCounts, Reader};
use crate::controller::clock::{KeptClock, LocalClock, Zone};
use crate::controller::framing::{Framer, KeptFramer};
use crate::controller::shapes::Shapes;
use crate::core::event::{Provenance, Timestamp};
use crate::core::log_time::LogTime;
use crate::core::saved::{Changes, REST, RestoreError, Saved};

/// Of what is saved; a newer one is refused.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    version: u32,
    framer: KeptFramer,
    clock: KeptClock,
    counts: ReadCounts,
    provenance: Provenance,
    begun: bool,
    newest: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_doubt: bool,
    /// `None` of those written before it was told apart from `newest`.
    #[serde(default)]
    furthest: Option<Timestamp>,
    last_stamp: Option<String>,
    skip_to: Option<String>,
    glitches: u32,
    /// Unknown messages whose shape had no place.
    beyond: u64,
    /// How many shapes there are.
    parts: usize,
}

impl Reader {
    /// What has changed since the last call, all of it at the first one.
    pub fn changes(&mut self) -> Changes {
        let whole = self.inner.shapes.all_touched();
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        self.inner.shapes.save(&mut changes);
        if whole || self.moved {
            self.moved = false;
            changes.put(REST, &self.rest());
        }
        changes
    }

    /// The next `changes` hands out everything: what the last ones told was not kept.
    pub fn save_everything(&mut self) {
        self.inner.shapes.touch_all();
    }

    /// The reader of `source` as it was when these parts, keys and texts, were the last of `changes`; no part at all
    /// makes a new one. The configured zone is followed even if it is another one than before.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
        source: u16,
        zone: Zone,
    ) -> Result<Reader, RestoreError> {
        let mut saved = Saved::new("reader", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(Reader::new(source, zone));
        };
        saved.counts(rest.parts)?;
        let shapes = Shapes::restore(&saved, rest.beyond)?;
        let same_zone = rest.clock.is_of(&zone);
        let Some(clock) = LocalClock::restore(&rest.clock, zone) else {
            return Err(saved.contradiction(REST, "no zone has such an offset"));
        };
        let Some(framer) = Framer::restore(rest.framer) else {
            return Err(saved.contradiction(REST, "its pending text is no record's"));
        };
        let (last_stamp, skip_to) = (stamp(rest.last_stamp), stamp(rest.skip_to));
        let (Ok(last_stamp), Ok(skip_to)) = (last_stamp, skip_to) else {
            return Err(saved.contradiction(REST, "a stamp has not 19 characters"));
        };
        Ok(Reader {
            framer,
            inner: Inner {
                clock,
                shapes,
                counts: rest.counts,
                provenance: Provenance {
                    source,
                    ..rest.provenance
                },
                begun: rest.begun,
                // Times of another zone say nothing in this one.
                time: rest
                    .newest
                    .filter(|_| same_zone)
                    .map_or_else(LogTime::default, |newest| LogTime {
                        newest,
                        in_doubt: rest.in_doubt,
                    }),
                passed: None,
                passed_at: None,
                furthest: rest.furthest.or(rest.newest).filter(|_| same_zone),
                last_stamp: last_stamp.unwrap_or_default(),
                skip_to,
                last_second: None,
                now: None,
                glitches: rest.glitches,
            },
            moved: !same_zone,
        })
    }

    fn rest(&self) -> Rest {
        let inner = &self.inner;
        let text = |stamp: &[u8; 19]| {
            (*stamp != [0; 19]).then(|| String::from_utf8_lossy(stamp).into_owned())
        };
        Rest {
            version: VERSION,
            framer: self.framer.keep(),
            clock: inner.clock.keep(),
            counts: inner.counts,
            provenance: inner.provenance,
            begun: inner.begun,
            newest: inner.newest(),
            in_doubt: inner.time.in_doubt,
            furthest: inner.furthest,
            last_stamp: text(&inner.last_stamp),
            skip_to: inner.skip_to.as_ref().and_then(text),
            glitches: inner.glitches,
            beyond: inner.shapes.beyond(),
            parts: inner.shapes.distinct(),
        }
    }
}

fn stamp(text: Option<String>) -> Result<Option<[u8; 19]>, ()> {
    text.map(|text| <[u8; 19]>::try_from(text.as_bytes()).map_err(|_| ()))
        .transpose()
}

#[cfg(test)]
mod tests;
