//! A copy of the log in its place, which is read on from where the log was.
//!
//! Whoever copies a log and puts the copy in its place, by hand or from one disk to another, gives it another inode. As
//! with marks, head and guard decide, and must lie apart. What comes from another disk bears the log's name before it is
//! whole; so it is waited for while it grows.

use std::io;
use std::time::Duration;

use super::Generation;
use crate::source::tail::disk::{Handle, Stat, read_full};
use crate::source::tail::identity::{GUARD, Guard, HEAD_LIMIT};

/// A copy of a log that has not grown for so long is all that there will be of it.
const COPIED_WITHIN: Duration = Duration::from_secs(5);

/// A file that begins like the one before it, as it was looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copying {
    size: u64,
    /// Since when it has had that size.
    since: Duration,
    /// All of it was in the other.
    is_part: bool,
}

/// What a file holds of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::tail) enum Copied {
    Nothing,
    /// Too little to tell: it is empty, or begins like the other.
    Perhaps,
    /// Its beginning: a copy that is still being made, or will not be whole.
    Part,
    /// All that was delivered of the other.
    Whole,
}

/// What `file` holds of `elder`.
pub(in crate::source::tail) fn copied(file: &dyn Handle, elder: &Generation) -> io::Result<Copied> {
    let (Some(head), size) = (elder.head, file.stat()?.size) else {
        return Ok(Copied::Nothing);
    };
    let common = elder.offset.min(size);
    let length = usize::try_from(common).map_or(HEAD_LIMIT, |common| common.min(HEAD_LIMIT));
    let mut heads = [[0; HEAD_LIMIT]; 2];
    for (head, file) in heads.iter_mut().zip([file, &*elder.handle]) {
        read_full(file, head.get_mut(..length).unwrap_or_default(), 0)?;
    }
    let lie_apart = common >= u64::from(head.length) + GUARD as u64;
    let guards_fit = || -> io::Result<bool> {
        let own = Guard::read(file, common)?;
        Ok(own.as_bytes() == Guard::read(&*elder.handle, common)?.as_bytes())
    };
    Ok(
        match heads[0] == heads[1] && (!lie_apart || guards_fit()?) {
            true if lie_apart && size < elder.offset => Copied::Part,
            true if lie_apart => Copied::Whole,
            true if size < elder.offset => Copied::Perhaps,
            _ => Copied::Nothing,
        },
    )
}

impl Generation {
    /// Whether it may be a copy of `elder` that is still being made. One that has not grown for a while is all there will
    /// be of it.
    pub(in crate::source::tail) fn is_being_copied(
        &mut self,
        elder: &Generation,
        now: Duration,
    ) -> bool {
        let is_part = match self.copied_of(elder) {
            Ok(Copied::Perhaps) => false,
            Ok(Copied::Part) => true,
            Ok(Copied::Nothing | Copied::Whole) | Err(_) => return false,
        };
        let Ok(Stat { size, .. }) = self.handle.stat() else {
            return false;
        };
        let since = match self.copying {
            Some(seen) if seen.size == size => seen.since,
            _ => now,
        };
        self.copying = Some(Copying {
            size,
            since,
            is_part,
        });
        now.saturating_sub(since) < COPIED_WITHIN
    }

    /// A copy of `elder`, which was read to its end, is read on from there; one that somebody wrote on before it was whole,
    /// from where that was. What was held of a half line is in the copy.
    pub(in crate::source::tail) fn goes_on_from(
        &mut self,
        elder: &mut Generation,
    ) -> io::Result<()> {
        let size = self.handle.stat()?.size;
        let offset = match (self.copied_of(elder)?, self.copying) {
            (Copied::Part | Copied::Whole, _) => elder.offset.min(size),
            (_, Some(seen)) if seen.is_part && seen.size <= size => seen.size,
            _ => return Ok(()),
        };
        let guard = Guard::read(&*self.handle, offset)?;
        if guard.as_bytes() != Guard::read(&*elder.handle, offset)?.as_bytes() {
            // It was begun anew meanwhile.
            return Ok(());
        }
        let mut half = vec![0; elder.held.len()];
        let length = read_full(&*self.handle, &mut half, elder.offset)?;
        if half.get(..length) == Some(&*elder.held) {
            elder.take_half_line();
        }
        (self.head, self.offset, self.guard) = (elder.head, offset, guard);
        Ok(())
    }

    fn copied_of(&self, elder: &Generation) -> io::Result<Copied> {
        match self.offset {
            0 => copied(&*self.handle, elder),
            _ => Ok(Copied::Nothing),
        }
    }
}
