//! The last second of a file that another one tells again: what of it was told is known by what it says.

use crate::controller::decode::{self, Decoded};
use crate::controller::framing::{self, Record};

/// So many events of one second are remembered.
const MAX_LAST_SECOND: usize = 1_000;

/// The events of one second, as they were written.
#[derive(Debug, Default)]
pub(super) struct LastSecond {
    records: Vec<Box<[u8]>>,
    /// Those of the files before the one that is being read.
    told_before: Vec<Box<[u8]>>,
}

impl LastSecond {
    /// Another one has begun.
    pub(super) fn is_over(&mut self) {
        self.records.clear();
    }

    /// The file that begins tells again what was kept.
    pub(super) fn is_told_again(&mut self) {
        self.told_before.clone_from(&self.records);
    }

    pub(super) fn keep(&mut self, text: &[u8]) {
        // A second with more is taken to be told again whole.
        if self.records.len() <= MAX_LAST_SECOND {
            self.records.push(text.into());
        }
    }

    /// Whether it was told, in this form or another; each telling counts once. What says nothing of boots was.
    pub(super) fn holds(&mut self, record: &Record<'_>) -> bool {
        let Decoded::Event(kind) = decode::decode(record) else {
            return true;
        };
        if self.told_before.len() > MAX_LAST_SECOND {
            return true;
        }
        let same = |text: &[u8]| {
            let header = framing::header(text);
            let known = header.map(|header| Record {
                offset: 0,
                text,
                header,
            });
            known.is_some_and(
                |known| matches!(decode::decode(&known), Decoded::Event(told) if told == kind),
            )
        };
        let known = self.told_before.iter().position(|text| same(text));
        known.map(|at| self.told_before.swap_remove(at)).is_some()
    }
}
