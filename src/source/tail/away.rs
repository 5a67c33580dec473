//! The log's name has no file: for a moment at each rotation, or since somebody took the log away.
//!
//! The file that had the name is still held, and its writer may hold it, too: what still comes of it is read. Only where
//! nothing does is the log gone, as nobody knows where its next line will be.

use std::time::Duration;

/// A rotation leaves the log's name without a file for milliseconds. One that has none for so long is gone.
const AWAY_FOR: Duration = Duration::from_secs(5);

pub(super) struct Away {
    since: Duration,
    /// For longer than a rotation takes.
    lasts: bool,
    word: Word,
}

/// What came of the file since its name went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing is known: what was there is still being read.
    Unknown,
    None,
    /// Nothing, and so it was told.
    Told,
    /// Something: its writer goes on writing to it.
    Some,
}

impl Away {
    pub(super) fn since(now: Duration) -> Away {
        Away {
            since: now,
            lasts: false,
            word: Word::Unknown,
        }
    }

    /// The name is still missed. Whether that is now to be told as a trouble.
    pub(super) fn is_to_be_told(&mut self, now: Duration) -> bool {
        self.lasts |= now.saturating_sub(self.since) >= AWAY_FOR;
        let is_due = self.lasts && self.word == Word::None;
        if is_due {
            self.word = Word::Told;
        }
        is_due
    }

    /// All that the file held was read.
    pub(super) fn nothing_came(&mut self) {
        if self.word == Word::Unknown {
            self.word = Word::None;
        }
    }

    /// A read gave something. Whether that ends what was told.
    pub(super) fn something_came(&mut self) -> bool {
        // What was there when the name went is no sign that anybody still writes.
        self.word != Word::Unknown && std::mem::replace(&mut self.word, Word::Some) == Word::Told
    }

    /// Another trouble has ended that was told. Whether this one stands in its place, as told.
    pub(super) fn takes_over(&mut self) -> bool {
        let is_heard = self.word == Word::Some;
        if !is_heard {
            self.word = Word::Told;
        }
        !is_heard
    }

    pub(super) fn is_told(&self) -> bool {
        self.word == Word::Told
    }

    pub(super) fn lasts(&self) -> bool {
        self.lasts
    }
}
