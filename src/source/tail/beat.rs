//! A busy log is read on a thread of its own, outside the runtime.
//!
//! A beat is short: the kernel tells of a write, the log is read, and mostly what came may wait. Through the runtime
//! that costs twice what it does itself, since the scheduler and everything around a task have left the caches between
//! two bursts. So the follower's state is lent to a thread that does nothing but wait and read, and comes back when there
//! is something to hand on: about twice a second, and at once for an urgent line that may not wait or a change in the folder.
//!
//! A log at rest is not read here: for a single line the way through a thread would be the longer one.

use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::follower::Follower;
use super::generation::Gathered;
use super::pace::Rhythm;
use super::wake::{Wakes, take};
use crate::clock;

/// A look at the folder may wait so long for a read of the log.
const LOOK_LATE: Duration = Duration::from_millis(100);

/// The thread that waits for work, or works. It ends when this is dropped.
pub(super) struct Thread {
    work: SyncSender<Work>,
    end: Arc<OwnedFd>,
    /// `None` once it panicked.
    running: Option<JoinHandle<()>>,
}

/// A stretch, and where it goes back to.
type Work = (Stretch, oneshot::Sender<Stretch>);

/// What is waited for.
struct Signals {
    /// Readable for good once nobody waits for the stretch.
    end: Arc<OwnedFd>,
    folder: Arc<OwnedFd>,
    file: Arc<OwnedFd>,
}

/// What a busy log's thread works on, from one delivery to the next.
pub(super) struct Stretch {
    pub(super) follower: Follower,
    pub(super) rhythm: Rhythm,
    /// The log was read.
    pub(super) beaten: bool,
    /// It ended because something happened in the folder.
    pub(super) looks: bool,
    /// The folder was looked at on the way.
    pub(super) looked: bool,
}

impl Thread {
    /// `None` where the kernel does not tell of writes, or has no thread to give. Times are counted from `epoch`.
    pub(super) fn new(wakes: &Wakes, epoch: Instant) -> Option<Thread> {
        let (folder, file) = wakes.descriptors()?;
        let end = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let end = Arc::new(end);
        let signals = Signals {
            end: Arc::clone(&end),
            folder,
            file,
        };
        let (work, given) = sync_channel::<Work>(1);
        let working = move || {
            for (mut stretch, back) in given {
                stretch.run(&signals, || clock::monotonic().duration_since(epoch));
                // Nobody waits for it any more: then it ends here.
                back.send(stretch).ok();
            }
        };
        let running = thread::Builder::new()
            .name("tail".to_owned())
            .spawn(working);
        Some(Thread {
            work,
            end,
            running: Some(running.ok()?),
        })
    }

    /// Beats until there is something to hand on. To be dropped halfway loses the stretch. A panic of the thread is one
    /// of the caller.
    pub(super) async fn beat(&mut self, stretch: Stretch) -> Stretch {
        let (back, ended) = oneshot::channel();
        // There is place: a stretch is given once the last one is back.
        self.work.try_send((stretch, back)).ok();
        if let Ok(stretch) = ended.await {
            return stretch;
        }
        // It is on its way out, so that joining it does not wait.
        match self.running.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => panic!("the thread ends only when it is let go"),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Only a counter that is full refuses, and that one is readable.
        rustix::io::write(&*self.end, &1_u64.to_ne_bytes()).ok();
    }
}

impl Stretch {
    pub(super) fn new(follower: Follower, rhythm: Rhythm) -> Stretch {
        Stretch {
            follower,
            rhythm,
            beaten: false,
            looks: false,
            looked: false,
        }
    }

    /// It blocks, for no longer than lines are gathered. Looks at the folder that are due are made on the way.
    fn run(&mut self, signals: &Signals, clock: impl Fn() -> Duration) {
        let mut now = clock();
        loop {
            let woken = signals.wait(self.left(now), self.rhythm.waits_for_writes());
            now = clock();
            match woken {
                Woken::End => return,
                Woken::Folder => {
                    self.looks = true;
                    return;
                }
                Woken::Written if !self.rhythm.written(now) => continue,
                Woken::Written => {}
                Woken::Late => self.rhythm.over(now),
            }
            self.beaten = true;
            if self.rhythm.waits_for_writes() {
                // Before the read, so that what is written after it is told of.
                take(&signals.file);
            }
            if now >= self.follower.next_look() {
                self.follower.look(now);
                self.looked = true;
            }
            match self.follower.gather(now) {
                Gathered::Kept => {}
                Gathered::Nothing if self.rhythm.is_patient(now) => {}
                Gathered::Nothing => {
                    // What was gathered until now is said; the log is at rest only where there is nothing.
                    self.follower.read_again();
                    return;
                }
                Gathered::Speaks => return,
            }
        }
    }

    /// How long is waited at most. A look that is due is made at the next read, if there is one soon: of its own it would
    /// be a wake more.
    fn left(&self, now: Duration) -> Duration {
        let look = self.follower.next_look();
        let until = self.rhythm.until();
        let at = until.map_or(look, |until| until.min(look + LOOK_LATE));
        at.saturating_sub(now)
    }
}

/// What ended the waiting.
enum Woken {
    End,
    Folder,
    Written,
    /// Nothing did for so long. So says a wait that was interrupted: to read too early costs a read.
    Late,
}

impl Signals {
    /// What was told of the folder is taken; what was told of the file is not.
    fn wait(&self, longest: Duration, for_writes: bool) -> Woken {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        let mut all =
            [&self.end, &self.folder, &self.file].map(|one| PollFd::new(one, PollFlags::IN));
        let waited = if for_writes { 3 } else { 2 };
        let some = all.get_mut(..waited).unwrap_or_default();
        if poll(some, Some(&timeout)).is_err() {
            return Woken::Late;
        }
        let [end, folder, file] = all.map(|one| !one.revents().is_empty());
        match () {
            () if end => Woken::End,
            () if folder => {
                take(&self.folder);
                Woken::Folder
            }
            () if file => Woken::Written,
            () => Woken::Late,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::source::tail::disk::Disk;
    use crate::source::tail::tests::Log;
    use crate::source::tail::{TailEvent, Urgent};

    const WINDOW: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Of a log that holds `0`, which was read; looks are due every 10 ms.
    fn stretch(log: &Log, rhythm: Rhythm) -> Stretch {
        log.write("0\n");
        let mut options = log.options();
        options.poll_active = at(10);
        options.poll_idle = at(10);
        options.gather_for = PATIENCE;
        options.urgent = Urgent::new(|_| 0, || 0);
        let mut follower = Follower::new(options, None, Box::new(Disk));
        follower.look(at(0));
        let mut stretch = Stretch::new(follower, rhythm);
        assert_eq!(said(&mut stretch), "0\n");
        stretch
    }

    fn said(stretch: &mut Stretch) -> String {
        let mut text = Vec::new();
        while let Some(event) = stretch.follower.next(at(100)) {
            if let TailEvent::Chunk { bytes, .. } = event {
                text.extend_from_slice(&bytes);
            }
        }
        String::from_utf8(text).unwrap()
    }

    /// Runs it where nobody is told of anything, on a clock that moves 10 ms each time it is read; how often it was.
    fn run(stretch: &mut Stretch) -> u64 {
        let silent =
            || Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap());
        let signals = Signals {
            end: silent(),
            folder: silent(),
            file: silent(),
        };
        let read = Cell::new(0);
        stretch.run(&signals, || {
            read.set(read.get() + 1);
            at(100 + 10 * read.get())
        });
        read.get()
    }

    #[test]
    fn a_look_that_is_due_is_made_while_lines_are_gathered() {
        let log = Log::new();
        let mut rhythm = Rhythm::new(WINDOW, PATIENCE);
        assert!(rhythm.written(at(80)) && rhythm.written(at(100)));
        assert!(rhythm.waits_for_writes());
        let mut stretch = stretch(&log, rhythm);
        log.write("1\n");
        log.rotate_without_new_base();
        log.write("2\n");
        let times = run(&mut stretch);
        assert!(times < 10, "it was not found at the first look: {times}");
        assert!(stretch.looked && !stretch.looks);
        assert_eq!(said(&mut stretch), "1\n2\n");
    }

    #[test]
    fn what_was_gathered_of_a_stream_is_said_when_nothing_follows() {
        let log = Log::new();
        let mut rhythm = Rhythm::new(WINDOW, PATIENCE);
        for ms in 0..100 {
            if rhythm.until() == Some(at(ms)) {
                rhythm.over(at(ms));
            } else if rhythm.waits_for_writes() || !rhythm.is_beating() {
                rhythm.written(at(ms));
            }
        }
        assert!(rhythm.is_beating() && !rhythm.waits_for_writes());
        let mut stretch = stretch(&log, rhythm);
        log.write("1\n");
        let times = run(&mut stretch);
        assert!(times < 20, "{times}");
        assert!(stretch.beaten);
        assert_eq!(said(&mut stretch), "1\n");
    }
}
