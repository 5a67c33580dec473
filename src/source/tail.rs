//! One path name is one endless stream, whatever happens to the files underneath.
//!
//! [`run`] follows `x.log` through winston's rotation (`x.log` becomes `x1.log`, `x1.log` becomes `x2.log` …), through
//! truncation, absence, late files and remounts, and sends what it reads as [`TailEvent`]s. It is one future, with a thread
//! that reads a busy log and ends with it; it starts no task and keeps nothing on disk.
//!
//! # What is promised
//!
//! - **Order**: the generations of a file (one between two rotations) come oldest to newest, and the bytes of one
//!   generation in order and without a gap. Only bytes that were written to a file *after* its rotation come between
//!   those of its successor, under their own generation number.
//! - **Delivery**: every whole line that exists in a file of the family is delivered once. A [`Chunk`](TailEvent::Chunk)
//!   carries the [`Checkpoint`] that is valid once it was processed: resumed from there, nothing that still exists is
//!   skipped and nothing is read twice, although inodes come back (see `identity.rs`). A chunk that was delivered but
//!   whose checkpoint was not kept comes again, with the same generation and offset.
//! - **Loss**: a piece that vanished unread is reported as [`Lost`](TailEvent::Lost), its size unknown and never assumed
//!   to be zero. [`Truncated`](TailEvent::Truncated) implies such a loss. Such reports are repeated if the follower is
//!   restarted from a checkpoint older than they are.
//! - **Half lines** are held until their newline comes, or until the file is finished for good: two ends of file at
//!   least 5 s apart after its rotation. A line beyond 1 MiB comes in pieces. NUL bytes are passed on.
//! - **Back-pressure**: a full channel stops the reading, never the watching: new generations are still opened in time,
//!   so that their bytes outlive their names. Nothing is dropped.
//! - **Speed**: on an idle log a wake is served at once, and so is a burst of a busy one, where a write comes within two
//!   `batch_window`s of the last read. Writes that come within half a window wake nobody: they are read at its end.
//!   What was read of a busy log is delivered at once if more lines of it are `urgent` than may wait; else lines are gathered
//!   for up to `gather_for`, because to wake everything that follows costs ten times what the reading does. While they are, no
//!   write wakes the runtime (see `beat.rs`).
//!
//! inotify only shortens the sleep; polling alone gives the same stream, later.

mod away;
mod beat;
mod checkpoint;
mod disk;
mod family;
mod follower;
mod generation;
mod identity;
mod options;
mod pace;
mod resume;
mod wake;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use beat::{Stretch, Thread};
pub use checkpoint::{Checkpoint, Mark, Position};
use disk::Disk;
pub use disk::mounted_alone;
use follower::Follower;
pub use identity::{FileId, Head};
pub use options::{StartAt, TailError, TailOptions, Urgent};
use pace::Rhythm;
use wake::Wakes;

/// What the follower has to say, in the order in which it happened to the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailEvent<C = Checkpoint> {
    /// Bytes of one file: whole lines, except that a line beyond 1 MiB comes in pieces (a chunk that does not end at a
    /// newline is continued by the next one of its generation) and that the last line of a finished file may lack its
    /// newline.
    Chunk {
        generation: u32,
        /// Where in the generation the first of `bytes` stood.
        offset: u64,
        bytes: Vec<u8>,
        /// Valid once these bytes are processed.
        after: C,
        /// The bytes were there before the first start: they fill reports and page nobody.
        history: bool,
    },
    /// The generation's bytes so far are all delivered and a successor exists: what is pending of it can be flushed.
    /// Sent again should late bytes of this generation follow.
    EndOfFile { generation: u32 },
    /// Everything that was there is delivered. Sent once per transition to idle.
    CaughtUp {
        /// Where there was nothing to deliver yet, in a log that is there: what is written from now on is no history.
        after: Option<C>,
    },
    /// A successor of the followed file was found and opened.
    Rotated { generation: u32 },
    /// The file shrank, or was rewritten in place. What it holds now is read from its start, under a new generation
    /// number; what it held beyond `read_to` is lost, how much is unknown.
    Truncated {
        generation: u32,
        becomes: u32,
        read_to: u64,
    },
    /// Bytes vanished unread; how many is unknown. `after` is the last generation before the gap.
    Lost {
        after: Option<u32>,
        reason: LossReason,
    },
    /// The file or its folder cannot be read, or its name has no file any more and nothing comes of the one that had it;
    /// sent once per change. The follower goes on trying.
    Trouble { path: PathBuf, error: String },
    /// The trouble is over.
    Recovered,
}

impl TailEvent {
    /// The same, for a receiver that keeps other checkpoints beside these.
    fn with<C: From<Checkpoint>>(self) -> TailEvent<C> {
        match self {
            TailEvent::Chunk {
                generation,
                offset,
                bytes,
                after,
                history,
            } => TailEvent::Chunk {
                generation,
                offset,
                bytes,
                after: after.into(),
                history,
            },
            TailEvent::EndOfFile { generation } => TailEvent::EndOfFile { generation },
            TailEvent::CaughtUp { after } => TailEvent::CaughtUp {
                after: after.map(C::from),
            },
            TailEvent::Rotated { generation } => TailEvent::Rotated { generation },
            TailEvent::Truncated {
                generation,
                becomes,
                read_to,
            } => TailEvent::Truncated {
                generation,
                becomes,
                read_to,
            },
            TailEvent::Lost { after, reason } => TailEvent::Lost { after, reason },
            TailEvent::Trouble { path, error } => TailEvent::Trouble { path, error },
            TailEvent::Recovered => TailEvent::Recovered,
        }
    }
}

/// Why bytes were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The file was rotated away before all of it was read: while stopped, or between two looks.
    RotatedAway,
    /// A rotated file stayed unreadable for longer than the follower waits for one.
    Unreadable,
}

impl LossReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LossReason::RotatedAway => "rotated_away",
            LossReason::Unreadable => "unreadable",
        }
    }
}

/// Figures of one followed log, for metrics and the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailStats {
    pub bytes: u64,
    pub lines: u64,
    pub rotations: u64,
    pub truncations: u64,
    pub losses: u64,
    pub troubles: u64,
    /// Bytes that exist and are not delivered yet, as of the last look.
    pub lag_bytes: u64,
    /// Files held open: the live one, those not read yet, and rotated ones that may still get late writes.
    pub open_files: usize,
    /// The generation being read.
    pub generation: Option<u32>,
    /// The file being read.
    pub file: Option<FileId>,
    /// No file has the log's name, for longer than a rotation takes; what is written to the one that had it is read.
    pub away: bool,
    /// Whether the kernel wakes the follower; without it, polling does.
    pub inotify: bool,
    /// When the log was last found to hold nothing more.
    pub looked_at: Option<Instant>,
}

/// Follows the log until `stop` is cancelled or the receiver is gone.
///
/// `stats` is brought up to date at the start, when the follower becomes idle, at every poll, and where the log is busy
/// whenever something of it was delivered; lines that are gathered since are not in it.
pub async fn run<C: From<Checkpoint>>(
    options: TailOptions,
    checkpoint: Option<Checkpoint>,
    events: mpsc::Sender<TailEvent<C>>,
    stats: watch::Sender<TailStats>,
    stop: CancellationToken,
) {
    let epoch = clock::monotonic();
    let now = || clock::monotonic().duration_since(epoch);
    let mut wakes = Wakes::new(options.inotify);
    let mut thread = Thread::new(&wakes, epoch);
    // A log without a thread that could beat is read at every write.
    let window = thread
        .as_ref()
        .map_or(Duration::ZERO, |_| options.batch_window);
    let mut rhythm = Rhythm::new(window, options.gather_for);
    let directory = options.directory().to_owned();
    let mut follower = Follower::new(options, checkpoint, Box::new(Disk));
    // The watch on the folder comes first: what happens after it wakes us, what happened before it the look finds.
    wakes.watch_directory(&directory);
    follower.look(now());
    publish(&stats, &follower, &wakes, false);

    // The busy log was read since it was last asked whether anything came.
    let mut beaten = false;
    loop {
        wakes.watch_file(follower.newest());
        let mut sent = 0_u32;
        let mut came = false;
        while let Some(event) = follower.next(now()) {
            // The event waits here for a free place. Meanwhile the folder stays watched, so that a piece is opened
            // before rotation removes its name, however slow the consumer is.
            let permit = loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    permit = events.reserve() => match permit {
                        Ok(permit) => break permit,
                        Err(_) => return,
                    },
                    () = wakes.directory() => follower.look(now()),
                    () = sleep_until(epoch + follower.next_look()) => {
                        follower.look(now());
                        publish(&stats, &follower, &wakes, false);
                    }
                }
            };
            came |= matches!(event, TailEvent::Chunk { .. });
            permit.send(event.with());
            // Under a flood this loop does not sleep, so it asks for rotations itself; not on the short way of a single
            // line, which ends with the word that all was read.
            sent = sent.saturating_add(1);
            if sent > 2 && (wakes.take_directory() || now() >= follower.next_look()) {
                follower.look(now());
            }
        }
        if wakes.watch_file(follower.newest()) {
            // A successor was found meanwhile. What was written to it before it was watched is read now.
            follower.read_again();
            continue;
        }
        if let Some(thread) = thread.as_mut().filter(|_| rhythm.is_beating()) {
            if came {
                rhythm.delivered(now());
            } else if std::mem::take(&mut beaten) {
                // Busy no more. What was written until now is read once again.
                rhythm.rest();
                wakes.return_to_file();
                follower.read_again();
                continue;
            }
            wakes.leave_file();
            publish(&stats, &follower, &wakes, follower.is_at_rest());
            let stretch = Stretch::new(follower, rhythm);
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = events.closed() => return,
                ended = thread.beat(stretch) => ended,
            };
            let looks = ended.looks;
            if looks || ended.looked {
                wakes.watch_directory(&directory);
            }
            beaten |= ended.beaten;
            (follower, rhythm) = (ended.follower, ended.rhythm);
            if looks {
                follower.look(now());
            }
            continue;
        }
        publish(&stats, &follower, &wakes, follower.is_at_rest());

        wakes.insist_on_file();
        // Idle: a write is read at once if the last read is long enough ago, else the log is busy; rotations are looked
        // at immediately in any case.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = events.closed() => return,
            () = wakes.directory() => {
                wakes.watch_directory(&directory);
                follower.look(now());
            }
            () = wakes.written() => {
                beaten = rhythm.written(now());
                if beaten {
                    wakes.take_file();
                    follower.wake(now());
                }
            }
            () = sleep_until(epoch + follower.next_look()) => {
                wakes.watch_directory(&directory);
                follower.look(now());
            }
        }
    }
}

/// `at_rest`: all that there is was delivered just now.
fn publish(stats: &watch::Sender<TailStats>, follower: &Follower, wakes: &Wakes, at_rest: bool) {
    let mut figures = follower.stats();
    figures.inotify = wakes.active();
    stats.send_if_modified(|old| {
        figures.looked_at = match at_rest {
            true => Some(clock::monotonic()),
            false => old.looked_at,
        };
        let changed = *old != figures;
        *old = figures;
        changed
    });
}

#[cfg(test)]
mod tests;
