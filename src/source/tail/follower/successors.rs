//! The files of the family that came after the newest one followed.

use std::io;
use std::time::Duration;

use super::Follower;
use crate::source::tail::checkpoint::Mark;
use crate::source::tail::generation::{Copied, Generation, copied};
use crate::source::tail::identity::{FileId, pairs};
use crate::source::tail::walk::{Failure, Found, Walk, walk};
use crate::source::tail::{LossReason, TailEvent};

impl Follower {
    pub(super) fn look_for_successors(&mut self, now: Duration) -> Result<(), Failure> {
        let base = self.family.member(0);
        match self.files.stat(&base) {
            Ok(stat) => {
                self.comes_back();
                if self.newest_is(stat.id) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stays_away(&base, &error, now);
            }
            Err(error) => return Err(Failure { path: base, error }),
        }
        if self.room() == 0 {
            self.finish_early();
        }
        if self.room() == 0 {
            return Ok(());
        }
        let is_open = |id| self.generations.iter().any(|file| file.id == id);
        let Walk {
            mut found,
            met_known,
            unreadable,
        } = walk(&*self.files, &self.family, is_open, self.unreadable(now))?;
        if found.is_empty() {
            return Ok(());
        }
        let folder = self.files.folder(self.family.directory());
        let mut returned = None;
        let is_copy = match (self.generations.last(), found.first()) {
            (Some(newest), Some(file)) if !met_known && !self.has_a_name_here(newest) => {
                let copied = copied(&*file.handle, newest);
                matches!(copied, Ok(Copied::Part | Copied::Whole))
            }
            _ => false,
        };
        if is_copy {
            // Whatever else it may be a copy of, too, is older.
            found.truncate(1);
        } else if !met_known && let Some(newest) = self.newest_number() {
            // The file followed last is not in the family any more. If one that was finished before it is, then it was
            // removed or moved elsewhere by hand, and where that one has the log's own name, it is the log again; if none
            // is, but rotated files are, it was rotated out of the family, and nobody knows how many after it.
            match self.first_known(&found) {
                Ok(Some((mark, known))) => {
                    let is_log = found.get(known).is_some_and(|file| file.number == 0);
                    found.truncate(known + usize::from(is_log));
                    returned = is_log.then_some(mark);
                }
                // In another folder (a link that was switched to the next deploy's) all but the log itself is the past of
                // another one.
                Ok(None) if folder != self.folder => found.retain(|file| file.number == 0),
                Ok(None) if found.iter().any(|file| file.number > 0) => {
                    self.lost(Some(newest), LossReason::RotatedAway);
                }
                Ok(None) => {}
                Err(error) => return Err(Failure { path: base, error }),
            }
        }
        self.note_unreadable(unreadable);
        if self.generations.is_empty() {
            // The log has come.
            self.caught_up_told = false;
        }
        let room = self.room();
        for file in found.into_iter().rev().take(room) {
            let number = self.next_generation;
            let generation = match &returned {
                Some(mark) => {
                    let resumed = Generation::resumed(file.handle, &file.stat, mark);
                    let mut resumed = resumed.map_err(|error| Failure {
                        path: base.clone(),
                        error,
                    })?;
                    resumed.number = number;
                    resumed
                }
                None => Generation::new(number, file.handle, &file.stat),
            };
            self.next_generation += 1;
            if number > 1 {
                self.stats.rotations += 1;
                self.ready
                    .push_back(TailEvent::Rotated { generation: number });
            }
            self.generations.push(generation);
            self.folder = folder;
        }
        self.forget_reused_marks();
        Ok(())
    }

    /// The newest of `found` (newest first) that was finished before, and what is known of it.
    fn first_known(&self, found: &[Found]) -> io::Result<Option<(Mark, usize)>> {
        let pairs = pairs(self.finished.iter().rev(), found)?;
        Ok(pairs.first().and_then(|&(mark, file)| {
            let mark = self.finished.iter().rev().nth(mark)?;
            Some((mark.clone(), file))
        }))
    }

    fn newest_is(&self, id: FileId) -> bool {
        self.generations.last().is_some_and(|file| file.id == id)
    }

    fn newest_number(&self) -> Option<u32> {
        let open = self.generations.last().map(|file| file.number);
        open.or_else(|| self.finished.last().map(|mark| mark.generation))
    }

    fn room(&self) -> usize {
        self.options
            .max_open_files
            .max(2)
            .saturating_sub(self.generations.len())
    }

    /// Gives up waiting for late writes where handles run out.
    fn finish_early(&mut self) {
        while self.current > 0 && self.room() == 0 {
            self.finish(0);
        }
    }

    pub(super) fn note_unreadable(&mut self, unreadable: bool) {
        if unreadable {
            self.lost(None, LossReason::Unreadable);
        }
    }
}
