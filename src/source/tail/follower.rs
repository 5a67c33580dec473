//! The follower's state, without tasks, timers or channels: it is told the time and asked for the next event.
//!
//! ```text
//!   generations:   late … late | current | waiting … waiting(newest)
//! ```
//!
//! A file begins as *waiting*, held open so that it survives the loss of its name. It becomes *current* once its
//! predecessor is read to the end, and *late* once it is itself read to the end and has a successor: a writer may still
//! flush into it. After two ends of file at least [`LATE_FOR`] apart it is finished: its half line, if any, is
//! released, its handle closed, and only its mark remains. The handle is kept for as long as its successors are empty: a writer
//! that does not open its log anew (logrotate's `create`, and nobody tells winston) goes on in there.

mod successors;
mod trouble;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::time::Duration;

use super::away::Away;
use super::checkpoint::{Checkpoint, Mark, Position};
use super::disk::{Files, folder_of};
use super::family::Family;
use super::generation::{Gathered, Generation, Step};
use super::identity::FileId;
use super::options::TailOptions;
use super::resume::{Start, first_start, is_that_empty_log, resume};
use super::walk::{Failure, walk};
use super::{LossReason, TailEvent, TailStats};
use trouble::Trouble;

/// A rotated file that stayed unchanged for this long gets no more writes.
const LATE_FOR: Duration = Duration::from_secs(5);
/// A log that was silent for this long is polled at the idle pace.
const ACTIVE_FOR: Duration = Duration::from_secs(10);
/// Marks kept of finished files: a few more than a family has members, as they also tell where in it we are.
const FINISHED: usize = 8;

pub(super) struct Follower {
    options: TailOptions,
    family: Family,
    files: Box<dyn Files>,
    /// The checkpoint to resume from, until the family could be read for the first time.
    starting: Option<Option<Checkpoint>>,
    /// Oldest first.
    generations: Vec<Generation>,
    current: usize,
    finished: Vec<Mark>,
    next_generation: u32,
    history_end: Option<Position>,
    ready: VecDeque<TailEvent>,
    caught_up_told: bool,
    /// It began without a checkpoint.
    is_first: bool,
    late_pending: bool,
    trouble: Option<Trouble>,
    away: Option<Away>,
    /// The folder in which the newest file was found.
    folder: Option<FileId>,
    scratch: Vec<u8>,
    next_look: Duration,
    last_read: Duration,
    last_bytes: Option<Duration>,
    stats: TailStats,
}

impl Follower {
    pub(super) fn new(
        options: TailOptions,
        checkpoint: Option<Checkpoint>,
        files: Box<dyn Files>,
    ) -> Follower {
        Follower {
            family: Family::new(options.directory(), options.path()),
            options,
            files,
            is_first: checkpoint.is_none(),
            starting: Some(checkpoint),
            generations: Vec::new(),
            current: 0,
            finished: Vec::new(),
            next_generation: 0,
            history_end: None,
            ready: VecDeque::new(),
            caught_up_told: false,
            late_pending: false,
            trouble: None,
            away: None,
            folder: None,
            scratch: Vec::new(),
            next_look: Duration::ZERO,
            last_read: Duration::ZERO,
            last_bytes: None,
            stats: TailStats::default(),
        }
    }

    /// The live file may have grown.
    pub(super) fn wake(&mut self, now: Duration) {
        self.last_read = now;
        self.read_again();
    }

    /// The same, where nobody was woken: lines are not gathered for longer because of it.
    pub(super) fn read_again(&mut self) {
        if let Some(current) = self.generations.get_mut(self.current) {
            current.at_end = false;
        }
    }

    /// The same, where what came may wait. Lines wait only at the end of the newest file, for at most `gather_for`, and
    /// no more urgent ones than may. While a rotated file may still get late writes, they wait for the next look at most.
    pub(super) fn gather(&mut self, now: Duration) -> Gathered {
        let newest = self.current + 1 == self.generations.len();
        let late = now.saturating_sub(self.last_read) >= self.options.gather_for;
        let quiet = newest && !late && !self.late_pending && self.ready.is_empty();
        match self.generations.get_mut(self.current) {
            Some(file) if quiet && file.retry.is_none() => {
                file.gather(&mut self.scratch, &self.options.urgent)
            }
            _ => {
                self.read_again();
                Gathered::Speaks
            }
        }
    }

    /// Looks at the folder for rotations and new files. Two system calls when nothing changed.
    pub(super) fn look(&mut self, now: Duration) {
        let active = self
            .last_bytes
            .is_some_and(|at| now.saturating_sub(at) < ACTIVE_FOR);
        self.next_look = now
            + match active {
                true => self.options.poll_active,
                false => self.options.poll_idle,
            };
        self.late_pending = self.current > 0;
        let looked = match self.starting {
            Some(_) => self.try_start(now),
            None => self.look_for_successors(now),
        };
        match looked {
            Ok(()) if self.generations.iter().any(|file| file.retry.is_some()) => {}
            Ok(()) => match &mut self.away {
                // Of the two troubles the one that goes on is left.
                Some(away) => {
                    if self.trouble.take().is_some() && !away.takes_over() {
                        self.ready.push_back(TailEvent::Recovered);
                    }
                }
                None => self.recovered(),
            },
            Err(Failure { path, error }) => self.troubled(path, &error, now),
        }
        // Whatever was there before this look shall be read before a successor found by it.
        self.read_again();
    }

    pub(super) fn next_look(&self) -> Duration {
        self.next_look
    }

    /// The newest generation's number and descriptor.
    pub(super) fn newest(&self) -> Option<(u32, RawFd)> {
        let newest = self.generations.last()?;
        Some((newest.number, newest.descriptor()?))
    }

    /// What there is to say now, one event at a time.
    pub(super) fn next(&mut self, now: Duration) -> Option<TailEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if let TailEvent::Chunk { bytes, .. } = &event {
                    self.stats.bytes += bytes.len() as u64;
                    self.stats.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
                    self.last_read = now;
                    self.last_bytes = Some(now);
                    self.caught_up_told = false;
                }
                return Some(event);
            }
            // One read of each late file, then one of the current file: neither starves the other.
            self.late_pending = self.late_pending && self.read_late(now);
            let progress = self.read_current(now);
            if !progress && !self.late_pending && self.ready.is_empty() {
                return self.idle();
            }
        }
    }

    /// Nothing keeps it from reading, so that what `next` did not give is not there.
    pub(super) fn is_at_rest(&self) -> bool {
        self.trouble.is_none() && self.starting.is_none() && !self.is_gone()
    }

    fn idle(&mut self) -> Option<TailEvent> {
        if let Some(away) = &mut self.away {
            away.nothing_came();
        }
        let told = std::mem::replace(&mut self.caught_up_told, true);
        if self.trouble.is_some() || self.is_gone() {
            self.caught_up_told = told;
            return None;
        }
        // A place that is known stays as it is until something is read.
        let nothing = self.is_first && self.last_bytes.is_none() && !self.generations.is_empty();
        (!told).then(|| TailEvent::CaughtUp {
            after: nothing.then(|| self.checkpoint()),
        })
    }

    // Starting.

    fn try_start(&mut self, now: Duration) -> Result<(), Failure> {
        let walk = walk(&*self.files, &self.family, |_| false, self.unreadable(now))?;
        let Some(checkpoint) = self.starting.take() else {
            return Ok(());
        };
        if let Some(known) = checkpoint.as_ref().filter(|known| !known.files.is_empty())
            && walk.found.is_empty()
        {
            // Not there yet, or not mounted yet. That says nothing about what was read of it.
            self.starting = Some(Some(known.clone()));
            return Ok(());
        }
        let begun = match &checkpoint {
            None => first_start(walk.found, self.options.start),
            // Another log has taken its name: it was never begun with.
            Some(checkpoint)
                if checkpoint.files.is_empty() && !is_that_empty_log(checkpoint, &walk.found) =>
            {
                first_start(walk.found, self.options.start)
            }
            Some(checkpoint) => resume(walk.found, checkpoint.clone()),
        };
        match begun {
            Ok(start) => {
                self.begin(start);
                self.note_unreadable(walk.unreadable);
                Ok(())
            }
            Err(error) => {
                self.starting = Some(checkpoint);
                let path = self.options.path().to_owned();
                Err(Failure { path, error })
            }
        }
    }

    fn begin(&mut self, start: Start) {
        // It may have come only now: up to its end it was not read before.
        self.caught_up_told = false;
        self.folder = self.files.folder(self.family.directory());
        self.generations = start.generations;
        self.finished = start.finished;
        self.next_generation = start.next_generation;
        self.history_end = start.history_end;
        if let Some(after) = start.lost_after {
            self.lost(Some(after), LossReason::RotatedAway);
        }
        for rewritten in start.rewritten {
            self.stats.truncations += 1;
            self.ready.push_back(TailEvent::Truncated {
                generation: rewritten.generation,
                becomes: rewritten.becomes,
                read_to: rewritten.read_to,
            });
        }
        self.forget_reused_marks();
    }

    // Reading.

    /// Reads once from the current file. False if there is nothing to do there.
    fn read_current(&mut self, now: Duration) -> bool {
        let has_successor = self.current + 1 < self.generations.len();
        let Some(file) = self.generations.get_mut(self.current) else {
            return false;
        };
        if let Some(retry) = file.retry {
            return now >= retry.at && self.try_again(now);
        }
        if file.at_end {
            return has_successor && self.move_on(now);
        }
        let step = file.step(&mut self.scratch);
        self.take(self.current, step, now)
    }

    /// Reads once from each late file. True if one may have more.
    fn read_late(&mut self, now: Duration) -> bool {
        let mut more = false;
        let mut index = 0;
        while index < self.current {
            let Some(file) = self.generations.get_mut(index) else {
                break;
            };
            match file.step(&mut self.scratch) {
                Step::End => {
                    let since = *file.idle_since.get_or_insert(now);
                    self.tell_end(index);
                    if now.saturating_sub(since) >= LATE_FOR {
                        if !self.is_the_last_written(index) {
                            self.finish(index);
                            continue;
                        }
                        self.release_half_line(index);
                    }
                }
                // It was read to its end before; what cannot be reached any more is finished.
                Step::Failed(_) => {
                    self.finish(index);
                    continue;
                }
                step => {
                    self.take(index, step, now);
                    more = true;
                }
            }
            index += 1;
        }
        more
    }

    /// Nothing was written to what came after it: a writer that was not told of the rotation goes on in there.
    fn is_the_last_written(&self, index: usize) -> bool {
        let written = |file: &Generation| file.offset() > 0;
        let after = self.generations.get(index + 1..).unwrap_or_default();
        self.generations.get(index).is_some_and(written) && !after.iter().any(written)
    }

    /// Turns what a read gave into events. False if there is nothing more to read for now.
    fn take(&mut self, index: usize, step: Step, now: Duration) -> bool {
        match step {
            Step::Bytes { offset, bytes } => self.chunk(index, offset, bytes),
            Step::More => {}
            Step::End => {
                if let Some(file) = self.generations.get_mut(index) {
                    file.at_end = true;
                }
            }
            Step::Truncated => self.truncated(index),
            Step::Failed(error) => {
                self.failed(index, &error, now);
                return false;
            }
        }
        true
    }

    fn chunk(&mut self, index: usize, offset: u64, bytes: Vec<u8>) {
        let Some(file) = self.generations.get(index) else {
            return;
        };
        let (generation, history) = (file.number, offset < file.history_end);
        // With another trouble, the end of that one is told.
        if self.away.as_mut().is_some_and(Away::something_came) && self.trouble.is_none() {
            self.ready.push_back(TailEvent::Recovered);
        }
        let event = TailEvent::Chunk {
            generation,
            offset,
            bytes,
            history,
            after: self.checkpoint(),
        };
        self.ready.push_back(event);
    }

    /// The current file is read to its end, and has a successor. False if that may be a copy of it that is still being made:
    /// the log may be on its way to another disk.
    fn move_on(&mut self, now: Duration) -> bool {
        let is_newest = self.current + 2 == self.generations.len();
        if !self.is_rotated()
            && let Some((read, next)) = self.seam()
        {
            if is_newest && next.is_being_copied(read, now) {
                return false;
            }
            // What cannot be compared is another file.
            next.goes_on_from(read).ok();
        }
        if let Some(file) = self.generations.get_mut(self.current) {
            file.idle_since = Some(now);
        }
        self.tell_end(self.current);
        self.current += 1;
        true
    }

    /// What is read now was rotated.
    fn is_rotated(&self) -> bool {
        let current = self.generations.get(self.current);
        current.is_some_and(|file| self.has_a_name_here(file))
    }

    /// The file has a name in the log's folder: what takes the log's name then follows it in a rotation, and is no copy of
    /// it, however alike they are.
    fn has_a_name_here(&self, file: &Generation) -> bool {
        let own = file.descriptor().and_then(folder_of);
        let own = own.and_then(|path| self.files.folder(&path));
        own.is_some() && own == self.files.folder(self.family.directory())
    }

    /// The current file and the one after it.
    fn seam(&mut self) -> Option<(&mut Generation, &mut Generation)> {
        let (read, waiting) = self.generations.split_at_mut(self.current + 1);
        read.last_mut().zip(waiting.first_mut())
    }

    fn tell_end(&mut self, index: usize) {
        if let Some(file) = self.generations.get_mut(index)
            && std::mem::take(&mut file.end_untold)
        {
            let generation = file.number;
            self.ready.push_back(TailEvent::EndOfFile { generation });
        }
    }

    /// Releases the half line, closes the file and keeps its mark.
    fn finish(&mut self, index: usize) {
        self.release_half_line(index);
        self.tell_end(index);
        let file = self.generations.remove(index);
        if index < self.current {
            self.current -= 1;
        }
        self.remember(&file);
    }

    fn remember(&mut self, file: &Generation) {
        self.finished.extend(self.mark(file));
        self.finished.sort_by_key(|mark| mark.generation);
        let surplus = self.finished.len().saturating_sub(FINISHED);
        self.finished.drain(..surplus);
    }

    fn release_half_line(&mut self, index: usize) {
        let half = self
            .generations
            .get_mut(index)
            .and_then(Generation::take_half_line);
        if let Some((offset, bytes)) = half {
            self.chunk(index, offset, bytes);
        }
    }

    fn truncated(&mut self, index: usize) {
        let becomes = self.next_number_behind(index);
        self.stats.truncations += 1;
        self.release_half_line(index);
        self.tell_end(index);
        if let Some(file) = self.generations.get_mut(index) {
            self.ready.push_back(TailEvent::Truncated {
                generation: file.number,
                becomes,
                read_to: file.offset(),
            });
            file.restart(becomes);
        }
    }

    /// The number of what follows a file under its own name. Where the current file has successors of which nothing was
    /// read, they make room: what was rotated away later has the greater number.
    fn next_number_behind(&mut self, index: usize) -> u32 {
        let last = self.next_generation;
        self.next_generation += 1;
        let waiting = match index < self.current {
            true => &mut [],
            false => self.generations.get_mut(index + 1..).unwrap_or_default(),
        };
        match waiting.first().map(|first| first.number) {
            Some(becomes) if waiting.iter().all(|file| file.offset() == 0) => {
                waiting.iter_mut().for_each(|file| file.number += 1);
                if let Some(end) = self
                    .history_end
                    .as_mut()
                    .filter(|end| end.generation >= becomes)
                {
                    end.generation += 1;
                }
                becomes
            }
            _ => last,
        }
    }

    fn lost(&mut self, after: Option<u32>, reason: LossReason) {
        self.stats.losses += 1;
        self.ready.push_back(TailEvent::Lost { after, reason });
    }

    // What is known.

    fn checkpoint(&self) -> Checkpoint {
        let reached = self.generations.iter().take(self.current + 1);
        let mut files = self.finished.clone();
        files.extend(reached.filter_map(|file| self.mark(file)));
        files.sort_by_key(|mark| mark.generation);
        // Files that wait, and those that are empty, are found again, and shall get the same numbers again.
        let newest = files.last().map_or(0, |mark| mark.generation);
        let numbers = self.generations.iter().map(|file| file.number);
        let next_generation = numbers
            .filter(|number| *number > newest)
            .min()
            .unwrap_or(self.next_generation);
        let current = self.generations.get(self.current);
        let empty = current
            .filter(|_| files.is_empty())
            .map(|file| (file.id, file.born()));
        Checkpoint {
            files,
            empty,
            next_generation,
            history_end: self.history_end,
        }
    }

    /// What is kept of a file. Marks are in the order of the files as in that of the numbers, so one that was truncated
    /// after its rotation has none: it is behind the newest known file, and was read.
    fn mark(&self, file: &Generation) -> Option<Mark> {
        let current = self.generations.get(self.current);
        let is_in_order = current.is_none_or(|current| file.number <= current.number);
        file.mark().filter(|_| is_in_order)
    }

    /// An inode that an open file has cannot be that of a finished one.
    fn forget_reused_marks(&mut self) {
        let open = &self.generations;
        self.finished
            .retain(|mark| open.iter().all(|file| file.id != mark.file));
    }

    pub(super) fn stats(&self) -> TailStats {
        let current = self.generations.get(self.current);
        TailStats {
            lag_bytes: self.generations.iter().map(Generation::lag).sum(),
            open_files: self.generations.len(),
            generation: current.map(|file| file.number),
            file: current.map(|file| file.id),
            away: self.away.as_ref().is_some_and(Away::lasts),
            ..self.stats.clone()
        }
    }
}
