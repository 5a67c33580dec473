//! Consoles between the source and the owner: bytes into marks and tails, which boots they are wanted of.
//!
//! Both run on the follower's thread; the owner takes news when it has read the log to its end, as it would not know the
//! boots before. What the channel cannot take waits on that thread: open files keep what the controller removes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config;
use crate::controller::console::{ConsoleReader, Line};
use crate::core::boot::Observation;
use crate::core::console::{
    ConsoleEnd, ConsoleEvidence, ConsoleNews, ConsoleSource, ConsoleTail, Seen, TAIL_LINE,
    TAIL_LINES,
};
use crate::core::event::{EventKind, Outcome, Timestamp, VmId};
use crate::core::redact;
use crate::export::Recorder;
use crate::source::console::{ABSENT, Ask, ConsoleOptions, Follower, Listener, Stream};

/// News on their way to the owner. When it is full the follower waits.
const NEWS: usize = 64;
/// Asks on their way to the follower. When it is full an ask is dropped: that boot has no tail.
const ASKS: usize = 1_024;
/// Marks of one console in one look: a guest may repeat itself as it likes.
const MAX_SEEN: usize = 256;

/// The owner's end.
pub(super) struct Consoles {
    asks: mpsc::Sender<Ask>,
    news: mpsc::Receiver<ConsoleNews>,
}

impl Consoles {
    /// What the follower must know of.
    pub(super) fn observe(&self, observation: &Observation) {
        if let Observation::BootEnded(boot) = observation
            && let Some(vm) = boot.vm
        {
            let failed = matches!(boot.outcome, Some(Outcome::Failed | Outcome::Lost));
            self.ask(Ask::Ended { vm, failed });
        }
    }

    /// The controller says where it kept a console.
    pub(super) fn log_says(&self, kind: &EventKind<'_>) {
        if let EventKind::ConsoleArchived { vm, path } = kind
            && let Ok(path) = std::str::from_utf8(path)
            && let Some(name) = path.rsplit('/').next()
        {
            let (vm, name) = (*vm, name.to_owned());
            self.ask(Ask::Archived { vm, name });
        }
    }

    fn ask(&self, ask: Ask) {
        if self.asks.try_send(ask).is_err() {
            tracing::debug!("the console follower is behind; one boot has no console's end");
        }
    }

    pub(super) async fn next(&mut self) -> ConsoleNews {
        match self.news.recv().await {
            Some(news) => news,
            // It has ended: there is no more news.
            None => std::future::pending().await,
        }
    }
}

/// Both ends: the owner's, and what is to run until `stop`.
pub(super) fn start(
    settings: &config::Console,
    recorder: &Arc<Recorder>,
    stop: &CancellationToken,
) -> (Consoles, impl Future<Output = ()> + Send + 'static) {
    let (asks, mut asked) = mpsc::channel(ASKS);
    let (news_tx, news) = mpsc::channel(NEWS);
    let options = ConsoleOptions {
        users: settings.users_dir.clone(),
        archive: settings.archive_dir.clone(),
        inotify: true,
    };
    let (stop, recorder) = (stop.clone(), Arc::clone(recorder));
    let mut desk = Desk {
        news: news_tx,
        vms: BTreeMap::new(),
        recorder,
    };
    let work = async move {
        let mut follower = Follower::new(options);
        while !stop.is_cancelled() {
            let until = stop.clone();
            let follow = move || {
                follower.run(&mut asked, &until, &mut desk);
                (follower, asked, desk)
            };
            match tokio::task::spawn_blocking(follow).await {
                Ok(rests) => (follower, asked, desk) = rests,
                Err(error) => {
                    tracing::error!(%error, "the consoles' follower failed: boots have no console evidence");
                    return stop.cancelled().await;
                }
            }
            // There is no folder. What is asked meanwhile waits.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(ABSENT) => {}
            }
        }
    };
    (Consoles { asks, news }, work)
}

/// One VM's consoles as they are read.
struct Read {
    console: ConsoleReader,
    errors: ConsoleReader,
    tail: VecDeque<String>,
    error_tail: VecDeque<String>,
    /// Not told yet.
    seen: Vec<Seen>,
    /// All that was ever seen.
    all: ConsoleEvidence,
    clock_ahead_ms: Option<i64>,
}

impl Default for Read {
    fn default() -> Read {
        Read {
            console: ConsoleReader::default(),
            errors: ConsoleReader::default(),
            tail: VecDeque::new(),
            error_tail: VecDeque::new(),
            seen: Vec::new(),
            all: ConsoleEvidence::new(ConsoleSource::Live),
            clock_ahead_ms: None,
        }
    }
}

struct Desk {
    news: mpsc::Sender<ConsoleNews>,
    vms: BTreeMap<VmId, Read>,
    recorder: Arc<Recorder>,
}

impl Read {
    fn take(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let Read {
            console,
            errors,
            tail,
            error_tail,
            seen,
            all,
            clock_ahead_ms,
        } = self;
        let told = seen.len();
        let (reader, tail) = match stream {
            Stream::Console => (console, tail),
            Stream::Errors => (errors, error_tail),
        };
        reader.push(bytes, &mut |line| {
            note(&line, now, tail, seen, clock_ahead_ms);
        });
        for new in seen.iter().skip(told) {
            all.take(*new);
        }
    }

    /// What is pending belongs to the end, and may go on.
    fn end(&self, now: Timestamp) -> ConsoleTail {
        let end_of = |reader: &ConsoleReader, tail: &VecDeque<String>| {
            let mut tail = tail.clone();
            let (mut seen, mut ahead) = (Vec::new(), None);
            reader
                .clone()
                .finish(&mut |line| note(&line, now, &mut tail, &mut seen, &mut ahead));
            tail.into_iter().collect()
        };
        ConsoleTail {
            console: end_of(&self.console, &self.tail),
            errors: end_of(&self.errors, &self.error_tail),
        }
    }
}

fn note(
    line: &Line<'_>,
    now: Timestamp,
    tail: &mut VecDeque<String>,
    seen: &mut Vec<Seen>,
    clock_ahead_ms: &mut Option<i64>,
) {
    for mark in line.marks.iter() {
        if seen.len() < MAX_SEEN {
            seen.push(Seen {
                mark,
                at: now,
                uptime_ms: line.uptime_ms,
            });
        }
    }
    if let Some(clock) = line.clock {
        *clock_ahead_ms = Some(clock.since(now));
    }
    if !line.pending {
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(redact::text(line.text, TAIL_LINE));
    }
}

impl Desk {
    fn send(&self, news: ConsoleNews) {
        // Closed: the owner has ended, and so will the follower.
        if self.news.blocking_send(news).is_err() {
            tracing::debug!("nobody takes news of consoles any more");
        }
    }

    /// What was seen and not told yet.
    fn news(&mut self, vm: VmId, source: ConsoleSource) -> ConsoleNews {
        let (seen, clock_ahead_ms) = match self.vms.get_mut(&vm) {
            Some(read) => (std::mem::take(&mut read.seen), read.clock_ahead_ms),
            None => (Vec::new(), None),
        };
        ConsoleNews {
            vm,
            source,
            seen,
            clock_ahead_ms,
            end: None,
        }
    }
}

impl Listener for Desk {
    fn heard(&mut self, vm: VmId, stream: Stream, bytes: &[u8], gap: bool) {
        let read = self.vms.entry(vm).or_default();
        if gap {
            // What is pending has lost its rest.
            match stream {
                Stream::Console => read.console = ConsoleReader::default(),
                Stream::Errors => read.errors = ConsoleReader::default(),
            }
        }
        read.take(stream, bytes, clock::now());
    }

    fn wanted(&mut self, vm: VmId, whole: bool) {
        let tail = self
            .vms
            .get(&vm)
            .map(|read| (read.end(clock::now()), read.all.marks.clone()));
        let (tail, marks) = tail.unwrap_or_default();
        let result = match (tail.is_empty(), whole) {
            (true, _) => "none",
            (false, true) => "whole",
            (false, false) => "partial",
        };
        self.recorder.console_evidence(result);
        if tail.is_empty() {
            return;
        }
        let mut news = self.news(vm, ConsoleSource::Live);
        news.end = Some(ConsoleEnd { marks, tail, whole });
        self.send(news);
    }

    fn closed(&mut self, vm: VmId) {
        self.vms.remove(&vm);
    }

    fn archived(&mut self, vm: VmId, bytes: &[u8]) {
        let now = clock::now();
        let mut read = Read::default();
        read.take(Stream::Console, bytes, now);
        let tail = read.end(now);
        self.recorder.console_evidence("archived");
        self.send(ConsoleNews {
            vm,
            source: ConsoleSource::Archive,
            seen: read.seen,
            clock_ahead_ms: None,
            end: Some(ConsoleEnd {
                marks: read.all.marks,
                tail,
                whole: false,
            }),
        });
    }

    fn told(&mut self) {
        let spoken: Vec<VmId> = self
            .vms
            .iter()
            .filter(|(_, read)| !read.seen.is_empty())
            .map(|(vm, _)| *vm)
            .collect();
        for vm in spoken {
            let news = self.news(vm, ConsoleSource::Live);
            self.send(news);
        }
    }
}
