//! Which file is which, when names and inodes are both reused.
//!
//! While a handle is open the answer is simple: its inode cannot be given to another file, so (device, inode) is exact.
//! The reasoning below is for files of which only a [`Mark`] is left, after a restart.
//!
//! - **The inode alone proves nothing.** winston keeps five files, and ext4 gives a new file the inode just freed, so
//!   after five rotations every name has the inode it had before.
//! - **The head alone proves nothing.** Several pieces may begin with the same banner.
//! - **A guard** (hash of the 64 bytes before the offset) tells a file that was truncated and has regrown past the
//!   offset from one that only grew. In a log whose lines carry times, an equal guard at an equal offset is strong.
//! - **The time of birth**, where the file system has one, decides: an inode that came back has another.
//! - **Order** decides the rest. Rotation never changes the order of the files, so the marks, newest first, must be
//!   found in the family in the same order. A mark whose file seems to be there, while most of its elders, which should
//!   lie behind it, are not, is a coincidence of inode, head and guard ([`align`]).
//!
//! A file of another inode is taken for the marked one only if head and guard agree and the guard lies wholly behind the
//! head: so it is after a copy-and-truncate rotation or a restore.
//!
//! In doubt a file counts as new: reading again is visible and harmless beside skipping.

use std::io;

use serde::{Deserialize, Serialize};

use super::checkpoint::Mark;
use super::disk::{Handle, Stat, read_full};
use super::walk::Found;

/// Which file of the file system; reused once the file is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// Hash of a file's first line, or of its first 1 KiB if that is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub length: u16,
    pub hash: u64,
}

pub(super) const HEAD_LIMIT: usize = 1024;

impl Head {
    /// Of a file that begins with `bytes`, which hold a whole line or are all there will be.
    pub(super) fn of(bytes: &[u8]) -> Head {
        let line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let length = line.min(HEAD_LIMIT);
        Head {
            length: u16::try_from(length).unwrap_or(u16::MAX),
            hash: hash(bytes.get(..length).unwrap_or_default()),
        }
    }
}

/// FNV-1a: the same in every version, as checkpoints outlive us. Nobody gains by a collision: the worst is a log that
/// is read from another place than we would have chosen, and whoever writes the log can have that for less.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) const GUARD: usize = 64;

/// The last up to 64 bytes before a place in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    bytes: [u8; GUARD],
    length: usize,
}

impl Guard {
    pub(super) const EMPTY: Guard = Guard {
        bytes: [0; GUARD],
        length: 0,
    };

    /// The guard of the place after `more`, which follow this one.
    pub(super) fn followed_by(mut self, more: &[u8]) -> Guard {
        let new = more
            .get(more.len().saturating_sub(GUARD)..)
            .unwrap_or_default();
        let kept = self.length.min(GUARD - new.len());
        self.bytes.copy_within(self.length - kept..self.length, 0);
        if let Some(place) = self.bytes.get_mut(kept..kept + new.len()) {
            place.copy_from_slice(new);
        }
        self.length = kept + new.len();
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> u64 {
        hash(self.as_bytes())
    }

    pub(super) fn read(handle: &dyn Handle, offset: u64) -> io::Result<Guard> {
        let mut guard = Guard::EMPTY;
        let length = usize::try_from(offset).map_or(GUARD, |offset| offset.min(GUARD));
        if let Some(place) = guard.bytes.get_mut(..length) {
            guard.length = read_full(handle, place, offset - length as u64)?;
        }
        Ok(guard)
    }
}

/// Whether a file is the one that a mark was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    No,
    /// The same content under another inode.
    Copy,
    /// Inode, head and guard agree.
    Likely,
    /// So does the time of birth.
    Certain,
}

pub(super) fn fit(handle: &dyn Handle, stat: &Stat, mark: &Mark) -> io::Result<Fit> {
    let same_file = stat.id == mark.file;
    let born_alike = match (stat.born, mark.born) {
        (Some(a), Some(b)) => Some(a == b),
        _ => None,
    };
    if (same_file && born_alike == Some(false)) || stat.size < mark.offset {
        return Ok(Fit::No);
    }
    let head_length = usize::from(mark.head.length);
    let guard_is_apart = mark.offset >= (head_length + GUARD) as u64;
    if !same_file && !guard_is_apart {
        return Ok(Fit::No);
    }
    let mut head = [0; HEAD_LIMIT];
    let head = head.get_mut(..head_length).unwrap_or_default();
    let agrees = read_full(handle, head, 0)? == head_length
        && hash(head) == mark.head.hash
        && Guard::read(handle, mark.offset)?.hash() == mark.guard;
    Ok(match (agrees, same_file) {
        (false, _) => Fit::No,
        (true, false) => Fit::Copy,
        (true, true) if born_alike == Some(true) => Fit::Certain,
        (true, true) => Fit::Likely,
    })
}

/// Finds which of the files `found` (newest first) the marks (newest first) were made of (see [`align`]).
pub(super) fn pairs<'a>(
    marks: impl Iterator<Item = &'a Mark>,
    found: &[Found],
) -> io::Result<Vec<(usize, usize)>> {
    let row = |mark| {
        let fits = found
            .iter()
            .map(|file| fit(&*file.handle, &file.stat, mark));
        fits.collect::<io::Result<Vec<Fit>>>()
    };
    let fits: Vec<Vec<Fit>> = marks.map(row).collect::<io::Result<_>>()?;
    Ok(align(&fits, found.len()))
}

/// Finds which of `files` (newest first) the marks (newest first) were made of, as pairs (mark, file), newest first.
/// Files before the first pair's are new; those behind it were read before it was begun.
fn align(fits: &[Vec<Fit>], files: usize) -> Vec<(usize, usize)> {
    let best = |mark: usize, from: usize| -> Option<(usize, Fit)> {
        let row = fits.get(mark)?;
        let find = |wanted: &[Fit]| {
            (from..files).find_map(|file| {
                let fit = *row.get(file)?;
                wanted.contains(&fit).then_some((file, fit))
            })
        };
        find(&[Fit::Likely, Fit::Certain]).or_else(|| find(&[Fit::Copy]))
    };
    for newest in 0..fits.len() {
        let Some((file, fit)) = best(newest, 0) else {
            continue;
        };
        let mut pairs = vec![(newest, file)];
        let mut missing = 0;
        let mut behind = file + 1;
        for elder in newest + 1..fits.len() {
            match best(elder, behind) {
                Some((file, _)) => {
                    pairs.push((elder, file));
                    behind = file + 1;
                }
                None if behind < files => missing += 1,
                // The family ends here: the elder was rotated away, as elders are.
                None => {}
            }
        }
        if fit == Fit::Certain || missing < pairs.len() {
            return pairs;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::Fit::{Certain, Copy, Likely, No};
    use super::*;

    #[test]
    fn marks_are_found_where_rotation_moved_them() {
        // Two rotations: what was the base is number 2 now.
        let fits = [vec![No, No, Likely, No], vec![No, No, No, Likely]];
        assert_eq!(align(&fits, 4), [(0, 2), (1, 3)]);
    }

    #[test]
    fn a_vanished_newest_mark_leaves_its_elders_to_say_what_is_new() {
        let fits = [vec![No, No, No], vec![No, Likely, No], vec![No, No, Likely]];
        assert_eq!(align(&fits, 3), [(1, 1), (2, 2)]);
    }

    #[test]
    fn a_coincidence_is_refused_when_the_elders_are_not_behind_it() {
        // Same banner, same inode after five rotations: only the newest mark seems to be there.
        let fits = [vec![Likely, No, No], vec![No, No, No], vec![No, No, No]];
        assert_eq!(align(&fits, 3), []);
    }

    #[test]
    fn a_time_of_birth_outweighs_missing_elders() {
        let fits = [vec![Certain, No, No], vec![No, No, No], vec![No, No, No]];
        assert_eq!(align(&fits, 3), [(0, 0)]);
    }

    #[test]
    fn elders_rotated_away_are_not_held_against_a_mark() {
        let fits = [vec![No, Likely], vec![No, No], vec![No, No]];
        assert_eq!(align(&fits, 2), [(0, 1)]);
    }

    #[test]
    fn a_copy_counts_where_nothing_better_is_there() {
        assert_eq!(align(&[vec![No, Copy]], 2), [(0, 1)]);
        assert_eq!(align(&[vec![Copy, Likely]], 2), [(0, 1)]);
    }

    #[test]
    fn the_guard_keeps_the_last_64_bytes() {
        let text: Vec<u8> = (0..=255).collect();
        for cut in [0, 1, 63, 64, 65, 200] {
            let (a, b) = text.split_at(cut);
            for (x, y) in [(a, b), (b, a)] {
                let whole = [x, y].concat();
                let guard = Guard::EMPTY.followed_by(x).followed_by(y);
                assert_eq!(guard.as_bytes(), &whole[whole.len() - 64..]);
            }
        }
        let short = Guard::EMPTY.followed_by(b"ab").followed_by(b"c");
        assert_eq!(short.as_bytes(), b"abc");
    }

    #[test]
    fn the_hash_is_the_published_fnv_1a() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
