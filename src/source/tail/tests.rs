//! A log in a temporary folder, a writer that rotates as winston does, and a follower on an invented clock. No test
//! here sleeps: the follower is asked when the test wants it to look.

mod copies;
mod faults;
mod follow;
mod gather;
mod gone;
mod live;
mod matrix;
mod model;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Disk, Files};
use super::follower::Follower;
use super::generation::Gathered;
use super::{Checkpoint, StartAt, TailEvent, TailOptions, TailStats, Urgent};

/// `x.log` and its family.
pub(super) struct Log {
    directory: tempfile::TempDir,
}

impl Log {
    const FILES: u32 = 5;

    pub(super) fn new() -> Log {
        Log {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        let name = match number {
            0 => "x.log".to_owned(),
            n => format!("x{n}.log"),
        };
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, text: impl AsRef<[u8]>) {
        append(&self.path(0), text);
    }

    /// Rename 3 to 4, 2 to 3, 1 to 2, base to 1; the new base is not there yet.
    pub(super) fn rotate_without_new_base(&self) {
        for number in (0..Log::FILES - 1).rev() {
            if self.path(number).exists() {
                fs::rename(self.path(number), self.path(number + 1)).unwrap();
            }
        }
    }

    fn rotate(&self) {
        self.rotate_without_new_base();
        File::create(self.path(0)).unwrap();
    }

    fn truncate(&self) {
        File::options()
            .write(true)
            .open(self.path(0))
            .unwrap()
            .set_len(0)
            .unwrap();
    }

    pub(super) fn options(&self) -> TailOptions {
        TailOptions::new(self.path(0)).unwrap()
    }
}

fn append(path: &Path, text: impl AsRef<[u8]>) {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
        .write_all(text.as_ref())
        .unwrap();
}

/// A follower that is driven by hand, and everything that it said.
struct Tail {
    follower: Follower,
    now: Duration,
    events: Vec<TailEvent>,
    checkpoint: Option<Checkpoint>,
}

impl Tail {
    fn start(log: &Log, checkpoint: Option<Checkpoint>) -> Tail {
        Tail::with(log.options(), checkpoint, Box::new(Disk))
    }

    fn with(options: TailOptions, checkpoint: Option<Checkpoint>, files: Box<dyn Files>) -> Tail {
        let mut tail = Tail {
            follower: Follower::new(options, checkpoint.clone(), files),
            now: Duration::ZERO,
            events: Vec::new(),
            checkpoint,
        };
        tail.look();
        tail
    }

    /// As after a stop: only the checkpoint of the last chunk is left.
    fn restart(self, log: &Log) -> Tail {
        Tail::start(log, self.kept())
    }

    /// The checkpoint, as a store would give it back.
    fn kept(&self) -> Option<Checkpoint> {
        let json = serde_json::to_string(&self.checkpoint).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    /// A poll.
    fn look(&mut self) -> &mut Self {
        self.follower.look(self.now);
        self.drain()
    }

    /// A wake by a write, without a look at the folder.
    fn wake(&mut self) -> &mut Self {
        self.follower.wake(self.now);
        self.drain()
    }

    /// A beat of a busy log. What it says is heard.
    fn beat(&mut self) -> Gathered {
        let gathered = self.follower.gather(self.now);
        if gathered == Gathered::Speaks {
            self.drain();
        }
        gathered
    }

    fn drain(&mut self) -> &mut Self {
        while let Some(event) = self.follower.next(self.now) {
            if let TailEvent::Chunk { after, .. } = &event {
                self.checkpoint = Some(after.clone());
            }
            self.events.push(event);
        }
        self
    }

    /// Lets time pass, with the polls that it brings.
    fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while self.follower.next_look() <= end {
            self.now = self.follower.next_look();
            self.look();
        }
        self.now = end;
        self
    }

    /// What was delivered since the last call, as text.
    fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        for event in self.events.drain(..) {
            if let TailEvent::Chunk { bytes: more, .. } = event {
                bytes.extend_from_slice(&more);
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The chunks since the last call: their generations and texts.
    fn chunks(&mut self) -> Vec<(u32, String)> {
        let mut chunks = Vec::new();
        for event in self.events.drain(..) {
            if let TailEvent::Chunk {
                generation, bytes, ..
            } = event
            {
                chunks.push((generation, String::from_utf8(bytes).unwrap()));
            }
        }
        chunks
    }

    /// What was said beside chunks since the last call.
    fn words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        for event in self.events.drain(..) {
            words.push(match event {
                TailEvent::Chunk { .. } => continue,
                TailEvent::EndOfFile { generation } => format!("end of {generation}"),
                TailEvent::CaughtUp { .. } => "caught up".to_owned(),
                TailEvent::Rotated { generation } => format!("rotated to {generation}"),
                TailEvent::Truncated {
                    generation,
                    becomes,
                    read_to,
                } => format!("truncated {generation} at {read_to} to {becomes}"),
                TailEvent::Lost { after, reason } => format!("lost {after:?} {}", reason.as_str()),
                TailEvent::Trouble { path, .. } => {
                    format!("trouble {}", path.file_name().unwrap().display())
                }
                TailEvent::Recovered => "recovered".to_owned(),
            });
        }
        words
    }

    fn forget(&mut self) -> &mut Self {
        self.events.clear();
        self
    }

    fn stats(&self) -> TailStats {
        self.follower.stats()
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
