//! One open file between two rotations: what of it was delivered, what is held back.

mod copy;

use std::io;
use std::time::Duration;

pub(super) use copy::{Copied, copied};

use super::checkpoint::Mark;
use super::disk::{Handle, Stat, read_full};
use super::identity::{FileId, GUARD, Guard, Head};
use super::options::Urgent;

/// Bytes asked for at once. Small enough that no source starves another.
pub(super) const READ: usize = 64 * 1024;
/// So much waits for more at most; with what one read adds to it, the largest chunk of a busy log.
pub(super) const MOST_GATHERED: usize = 256 * 1024;
/// A line longer than this is delivered in pieces.
pub(super) const MAX_LINE: usize = 1024 * 1024;

/// What one look into a file gave.
pub(super) enum Step {
    /// Whole lines, or a piece of a very long one, which began at `offset`.
    Bytes {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Nothing that could be delivered, but there may be more to read.
    More,
    End,
    /// What was read is not there any more.
    Truncated,
    Failed(io::Error),
}

/// What a read of lines that may wait gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// Something, and it waits.
    Kept,
    Nothing,
    /// The next step has something to say.
    Speaks,
}

/// What one read gave.
enum Fill {
    New,
    Nothing,
    Truncated,
    Failed(io::Error),
}

pub(super) struct Generation {
    pub(super) number: u32,
    handle: Box<dyn Handle>,
    pub(super) id: FileId,
    born: Option<i64>,
    /// Known from the first delivery on; until then the identity is provisional, and no mark is made of it.
    head: Option<Head>,
    /// Everything before was delivered.
    offset: u64,
    guard: Guard,
    /// Read, but not delivered: the beginning of a line, and before it lines that may wait.
    held: Vec<u8>,
    /// Whole lines among those that wait, and are urgent.
    urgent: usize,
    /// Lines that begin before this offset were there before the first start. No chunk holds lines of both sides.
    pub(super) history_end: u64,
    /// The last read met the end.
    pub(super) at_end: bool,
    /// Since when a rotated file has had nothing new.
    pub(super) idle_since: Option<Duration>,
    /// It was waited for, as it may be a copy that is being made.
    copying: Option<copy::Copying>,
    /// Bytes were delivered since the last word that the file has ended.
    pub(super) end_untold: bool,
    pub(super) retry: Option<Retry>,
}

/// When to try again to read a file that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) since: Duration,
    pub(super) at: Duration,
    pub(super) delay: Duration,
}

impl Generation {
    /// A file that is read from its start.
    pub(super) fn new(number: u32, handle: Box<dyn Handle>, stat: &Stat) -> Generation {
        Generation {
            number,
            handle,
            id: stat.id,
            born: stat.born,
            head: None,
            offset: 0,
            guard: Guard::EMPTY,
            held: Vec::new(),
            urgent: 0,
            history_end: 0,
            at_end: false,
            idle_since: None,
            copying: None,
            end_untold: false,
            retry: None,
        }
    }

    /// The file that `mark` was made of (see [`super::identity::fit`]), read on from there.
    pub(super) fn resumed(handle: Box<dyn Handle>, stat: &Stat, mark: &Mark) -> io::Result<Self> {
        let guard = Guard::read(&*handle, mark.offset)?;
        Ok(Generation {
            head: Some(mark.head),
            offset: mark.offset,
            guard,
            ..Generation::new(mark.generation, handle, stat)
        })
    }

    /// Skips what is there; where the file is still `growing`, only up to the end of the last whole line.
    pub(super) fn skip(&mut self, growing: bool) -> io::Result<()> {
        let mut end = self.handle.stat()?.size;
        let mut block = vec![0; READ];
        while growing && end > 0 {
            let length = usize::try_from(end).map_or(READ, |end| end.min(READ));
            let start = end - length as u64;
            let n = read_full(
                &*self.handle,
                block.get_mut(..length).unwrap_or_default(),
                start,
            )?;
            if let Some(at) = memchr::memrchr(b'\n', block.get(..n).unwrap_or_default()) {
                end = start + at as u64 + 1;
                break;
            }
            end = start;
        }
        if end > 0 {
            let n = read_full(&*self.handle, &mut block, 0)?;
            self.head = Some(Head::of(block.get(..n).unwrap_or_default()));
            self.guard = Guard::read(&*self.handle, end)?;
            self.offset = end;
        }
        Ok(())
    }

    /// Delivers what is held, or reads once.
    pub(super) fn step(&mut self, scratch: &mut Vec<u8>) -> Step {
        if let Some(ready) = self.deliver() {
            return ready;
        }
        match self.fill(scratch) {
            Fill::New => {}
            Fill::Nothing => return Step::End,
            Fill::Truncated => return Step::Truncated,
            Fill::Failed(error) => return Step::Failed(error),
        }
        match self.deliver() {
            Some(ready) => ready,
            None if self.at_end => Step::End,
            None => Step::More,
        }
    }

    /// Reads once and delivers nothing. What is held may wait for more if the end was met, it is not much, and no more lines
    /// of it are `urgent` than may wait.
    pub(super) fn gather(&mut self, scratch: &mut Vec<u8>, urgent: &Urgent) -> Gathered {
        let from = match memchr::memrchr(b'\n', &self.held) {
            Some(at) => at + 1,
            None => 0,
        };
        let filled = self.fill(scratch);
        let waits =
            self.at_end && self.held.len() < MOST_GATHERED && self.offset >= self.history_end;
        self.urgent += match filled {
            Fill::New if waits => urgent.count(self.whole_lines(from)),
            _ => 0,
        };
        // How many may wait can have changed though nothing came.
        let waits = waits && urgent.may_wait(self.urgent);
        match filled {
            Fill::Nothing if waits => Gathered::Nothing,
            Fill::New if waits => Gathered::Kept,
            _ => {
                self.at_end = false;
                Gathered::Speaks
            }
        }
    }

    /// Those that are held from there on.
    fn whole_lines(&self, from: usize) -> &[u8] {
        let new = self.held.get(from..).unwrap_or_default();
        let end = memchr::memrchr(b'\n', new).map_or(0, |at| at + 1);
        new.get(..end).unwrap_or_default()
    }

    /// Reads once into what is held. The read begins at the up to 64 bytes before the place reached, so that one call
    /// both fetches what is new and proves that what was read is still what the file holds: truncation, also with
    /// regrowth past the place reached, shows without a single `stat`.
    fn fill(&mut self, scratch: &mut Vec<u8>) -> Fill {
        let guard = self.guard.followed_by(&self.held);
        let known = guard.as_bytes();
        let position = self.offset + self.held.len() as u64;
        let wanted = match self.history_end.saturating_sub(position) {
            0 => READ,
            history => usize::try_from(history).map_or(READ, |history| history.min(READ)),
        };
        scratch.resize(GUARD + READ, 0);
        let buffer = scratch.get_mut(..known.len() + wanted).unwrap_or_default();
        let n = loop {
            match self.handle.read_at(buffer, position - known.len() as u64) {
                Ok(n) => break n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Fill::Failed(error),
            }
        };
        let (before, new) = buffer
            .get(..n)
            .unwrap_or_default()
            .split_at(known.len().min(n));
        if before != known {
            return Fill::Truncated;
        }
        // A short read is the end for now: what is written after it wakes us again.
        self.at_end = new.len() < wanted;
        if new.is_empty() {
            return Fill::Nothing;
        }
        self.idle_since = None;
        self.held.extend_from_slice(new);
        Fill::New
    }

    /// Takes what can be delivered of the held bytes.
    fn deliver(&mut self) -> Option<Step> {
        let held = &self.held;
        let crosses =
            self.offset < self.history_end && self.offset + held.len() as u64 > self.history_end;
        // No newline stands before the end of history, else that line would have been delivered already.
        let newline = match crosses {
            true => memchr::memchr(b'\n', held),
            false => memchr::memrchr(b'\n', held),
        };
        if crosses {
            // More whole lines may stand behind it.
            self.at_end = false;
        }
        let end = match newline {
            Some(at) => at + 1,
            None if held.len() >= MAX_LINE => held.len(),
            None => return None,
        };
        Some(self.take(end))
    }

    fn take(&mut self, length: usize) -> Step {
        let offset = self.offset;
        let rest = self.held.split_off(length);
        let bytes = std::mem::replace(&mut self.held, rest);
        self.urgent = 0;
        if offset == 0 {
            self.head = Some(Head::of(&bytes));
        }
        self.guard = self.guard.followed_by(&bytes);
        self.offset += bytes.len() as u64;
        self.end_untold = true;
        Step::Bytes { offset, bytes }
    }

    /// The half line of a file that is finished for good.
    pub(super) fn take_half_line(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.held.is_empty() {
            return None;
        }
        match self.take(self.held.len()) {
            Step::Bytes { offset, bytes } => Some((offset, bytes)),
            _ => None,
        }
    }

    /// The file begins anew under another number.
    pub(super) fn restart(&mut self, number: u32) {
        self.number = number;
        self.head = None;
        self.offset = 0;
        self.guard = Guard::EMPTY;
        self.held = Vec::new();
        self.urgent = 0;
        self.history_end = 0;
        self.at_end = false;
        self.idle_since = None;
        self.end_untold = false;
    }

    /// Goes on with another handle on the same file.
    pub(super) fn reopened(&mut self, handle: Box<dyn Handle>, stat: &Stat) {
        self.handle = handle;
        self.id = stat.id;
        self.born = stat.born;
        self.held = Vec::new();
        self.urgent = 0;
        self.at_end = false;
    }

    /// What a checkpoint keeps of it; nothing as long as nothing was delivered.
    pub(super) fn mark(&self) -> Option<Mark> {
        Some(Mark {
            generation: self.number,
            file: self.id,
            born: self.born,
            head: self.head?,
            offset: self.offset,
            guard: self.guard.hash(),
        })
    }

    pub(super) fn born(&self) -> Option<i64> {
        self.born
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that exist and are not delivered. No system call once the end was met.
    pub(super) fn lag(&self) -> u64 {
        if self.at_end {
            return self.held.len() as u64;
        }
        let size = self.handle.stat().map_or(0, |stat| stat.size);
        size.saturating_sub(self.offset)
    }

    pub(super) fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.handle.descriptor()
    }
}
