//! Opening what is new in the family, without missing a file that moves while we look.
//!
//! A rotation renames from the oldest on: 3 to 4, 2 to 3, 1 to 2, base to 1, and then makes a new base. Files only move
//! to higher numbers, and keep their order. So the walk goes the same way, from the base up: a file that moves before
//! we reach it is met again further on. Walking against the stream would miss it. The same file may be met twice, which
//! its inode shows, as every file met is held open. What is *not* there any more when we come to it fell off the end,
//! and shows as a family in which the file known to be newest is missing.

use std::io;
use std::path::PathBuf;

use super::disk::{Files, Handle, Stat};
use super::family::Family;
use super::identity::FileId;

/// A file of the family that was not known before, held open.
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) handle: Box<dyn Handle>,
    pub(super) stat: Stat,
}

#[derive(Default)]
pub(super) struct Walk {
    /// Newest first.
    pub(super) found: Vec<Found>,
    /// The walk ended at a file that is open already: everything older is known, and nothing is missing in between.
    pub(super) met_known: bool,
    /// Rotated files that could not be read, and were passed over.
    pub(super) unreadable: bool,
}

pub(super) struct Failure {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// What to do about a rotated file that exists and cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    Fail,
    PassOver,
}

pub(super) fn walk(
    files: &dyn Files,
    family: &Family,
    is_open: impl Fn(FileId) -> bool,
    unreadable: Unreadable,
) -> Result<Walk, Failure> {
    let mut walk = Walk::default();
    let mut last = 1;
    let mut number = 0;
    while number <= last {
        let path = family.member(number);
        match visit(files, &path, &is_open) {
            Ok(Visit::Open) => {
                walk.met_known = true;
                break;
            }
            Ok(Visit::New(handle, stat)) => {
                if walk.found.iter().all(|found| found.stat.id != stat.id) {
                    walk.found.push(Found {
                        number,
                        handle,
                        stat,
                    });
                }
            }
            Err(error) if is_absent(&error, number) => {}
            Err(_) if number > 0 && unreadable == Unreadable::PassOver => walk.unreadable = true,
            Err(error) => return Err(Failure { path, error }),
        }
        if number == 1 {
            // Usually the walk is over by now, without a listing. One more than there are: a file may move meanwhile.
            let members = match files.members(family) {
                Ok(members) => members,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    let path = family.directory().to_owned();
                    return Err(Failure { path, error });
                }
            };
            last = members.into_iter().max().map_or(1, |oldest| oldest + 1);
        }
        number += 1;
    }
    Ok(walk)
}

enum Visit {
    Open,
    New(Box<dyn Handle>, Stat),
}

fn visit(
    files: &dyn Files,
    path: &std::path::Path,
    is_open: &impl Fn(FileId) -> bool,
) -> io::Result<Visit> {
    if is_open(files.stat(path)?.id) {
        return Ok(Visit::Open);
    }
    let handle = files.open(path)?;
    let stat = handle.stat()?;
    // Another file may have come to this name between the two calls.
    match is_open(stat.id) {
        true => Ok(Visit::Open),
        false => Ok(Visit::New(handle, stat)),
    }
}

/// A name without a file is normal: before the controller's first line, between rename and open, in a short family.
/// A folder in the place of a rotated file is none of ours; in the place of the log it is worth a word.
fn is_absent(error: &io::Error, number: u32) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
        io::ErrorKind::IsADirectory => number > 0,
        _ => false,
    }
}
