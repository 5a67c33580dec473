//! A random writer and a model that knows which bytes exist, against the follower on real files: driven by hand, by
//! `run` with polling on a paused clock, and by `run` with inotify.
//!
//! In the model every file has contents of its own, whose lines name it. What is delivered under one generation number
//! must be exactly the contents of one file, in order, without a gap and without a repeat (a chunk's offset is where
//! the generation's last one ended), across stops. A file may fall short only if it was removed, or truncated, before
//! the follower had it open; then a loss or a truncation must have been reported.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::faults::Faulty;
use super::*;
use crate::source::tail::run;

/// SplitMix64: the same run for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn length(&mut self, n: u64) -> usize {
        usize::try_from(self.below(n)).unwrap()
    }
}

/// What was written between a file's making, or truncation, and its end.
#[derive(Default)]
struct Contents {
    text: String,
    lines: u32,
    /// The follower holds the file open.
    open: bool,
    /// It may never be delivered whole.
    doomed: bool,
    /// When it was rotated.
    rotated: Option<Duration>,
}

/// How the follower is driven.
trait Driver {
    fn start(&mut self, log: &Log, checkpoint: Option<Checkpoint>);
    /// Lets the follower do all that it can do now, and returns what it said. `expected` is how many bytes the model
    /// thinks will come.
    fn settle(&mut self, expected: usize) -> Vec<TailEvent>;
    fn pass(&mut self, time: Duration) -> Vec<TailEvent>;
    /// A beat of a busy log; what it said comes with the next `settle`.
    fn beat(&mut self) {}
    /// How far the follower's clock moves in `settle`.
    fn settling_takes(&self) -> Duration;
    fn stop(&mut self);
}

struct World<'a> {
    log: Log,
    random: Random,
    driver: &'a mut dyn Driver,
    running: bool,
    now: Duration,
    /// All contents ever; `names` are the indices of those on disk, newest first.
    contents: Vec<Contents>,
    names: Vec<usize>,
    /// What was delivered under each generation.
    delivered: BTreeMap<u32, Vec<u8>>,
    checkpoint: Option<Checkpoint>,
    rotations_since_look: u32,
    losses: u32,
    truncations: u32,
    expected_breaks: u32,
}

impl<'a> World<'a> {
    fn new(seed: u64, driver: &'a mut dyn Driver) -> World<'a> {
        World {
            log: Log::new(),
            random: Random(seed),
            driver,
            running: false,
            now: Duration::ZERO,
            contents: Vec::new(),
            names: Vec::new(),
            delivered: BTreeMap::new(),
            checkpoint: None,
            rotations_since_look: 0,
            losses: 0,
            truncations: 0,
            expected_breaks: 0,
        }
    }

    fn base(&mut self) -> &mut Contents {
        let index = self.names[0];
        &mut self.contents[index]
    }

    fn write(&mut self, number: usize, text: &str) {
        let index = self.names[number];
        self.contents[index].text.push_str(text);
        append(&self.log.path(u32::try_from(number).unwrap()), text);
    }

    fn line(&mut self, whole: bool) {
        let index = self.names[0];
        let half_open = !self.base().text.is_empty() && !self.base().text.ends_with('\n');
        if half_open {
            self.write(0, "; and the rest\n");
            return;
        }
        let contents = &mut self.contents[index];
        contents.lines += 1;
        // Files begin alike as often as not.
        let text = match contents.lines {
            1 => "the banner that all files share, longer than a guard is, by a few bytes\n"
                .to_owned(),
            n => format!(
                "file {index} line {n} {}\n",
                "-".repeat(self.random.length(200))
            ),
        };
        self.write(0, if whole { &text } else { text.trim_end() });
    }

    fn rotate(&mut self) {
        self.log.rotate();
        self.base().rotated = Some(self.now);
        self.contents.push(Contents::default());
        self.names.insert(0, self.contents.len() - 1);
        while self.names.len() > Log::FILES as usize {
            self.remove_oldest_from_model();
        }
        // Name the file at once: an empty one leaves the model in doubt about what the follower knows.
        self.contents.last_mut().unwrap().lines = 1;
        let index = self.contents.len() - 1;
        let banner = match self.random.below(2) {
            0 => "the banner that all files share, longer than a guard is, by a few bytes\n",
            _ => "",
        };
        self.write(0, &format!("{banner}file {index} line 1\n"));
        self.rotations_since_look += 1;
    }

    fn remove_oldest_from_model(&mut self) {
        let index = self.names.pop().unwrap();
        let contents = &mut self.contents[index];
        contents.doomed = !contents.open;
    }

    fn truncate(&mut self) {
        self.log.truncate();
        self.base().doomed = true;
        self.contents.push(Contents {
            open: self.running,
            lines: 1,
            ..Contents::default()
        });
        self.names[0] = self.contents.len() - 1;
        let index = self.names[0];
        let padding = "t".repeat(self.random.length(400));
        self.write(
            0,
            &format!("file {index} line 1, after truncation {padding}\n"),
        );
    }

    /// Bytes that should be delivered by now.
    fn due(&self) -> usize {
        let due = |contents: &Contents| match contents.text.rfind('\n') {
            Some(last) => last + 1,
            None => 0,
        };
        let open = self
            .contents
            .iter()
            .filter(|contents| contents.open && !contents.doomed);
        open.map(due).sum()
    }

    fn settle(&mut self) {
        if !self.running {
            return;
        }
        for &index in &self.names {
            self.contents[index].open = true;
        }
        self.rotations_since_look = 0;
        let done: usize = self
            .contents
            .iter()
            .enumerate()
            .filter(|(_, contents)| contents.open && !contents.doomed)
            .map(|(index, _)| self.delivered_of(index))
            .sum();
        let expected = self.due().saturating_sub(done);
        let events = self.driver.settle(expected);
        self.now += self.driver.settling_takes();
        self.process(events);
    }

    fn process(&mut self, events: Vec<TailEvent>) {
        for event in events {
            match event {
                TailEvent::Chunk {
                    generation,
                    offset,
                    bytes,
                    after,
                    ..
                } => {
                    let text = self.delivered.entry(generation).or_default();
                    assert_eq!(
                        text.len() as u64,
                        offset,
                        "generation {generation} has a gap or a repeat"
                    );
                    text.extend_from_slice(&bytes);
                    self.checkpoint = Some(after);
                }
                TailEvent::Lost { .. } => self.losses += 1,
                TailEvent::Truncated { .. } => self.truncations += 1,
                TailEvent::Trouble { error, .. } => panic!("trouble: {error}"),
                _ => {}
            }
        }
    }

    /// The contents that a generation delivered, by the name in its lines.
    fn contents_of(text: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(text).unwrap();
        let name = text.split("file ").nth(1)?;
        name.split(' ').next()?.parse().ok()
    }

    fn delivered_of(&self, index: usize) -> usize {
        let mut lengths = self
            .delivered
            .values()
            .filter(|text| World::contents_of(text) == Some(index));
        lengths.next().map_or(0, Vec::len)
    }

    fn stop(&mut self) {
        self.settle();
        self.end();
    }

    /// The consumer dies between two events; what it had not processed is delivered again.
    fn crash(&mut self) {
        let mut events = self.driver.settle(0);
        events.truncate(self.random.length(events.len() as u64 + 1));
        self.process(events);
        self.end();
    }

    fn end(&mut self) {
        self.driver.stop();
        self.running = false;
        for contents in &mut self.contents {
            // A half line that was never released goes with the handle, if its file goes.
            if contents.open {
                contents.open = false;
            }
        }
        // What is gone from disk was delivered, but for a half line.
        let names = &self.names;
        for (index, contents) in self.contents.iter_mut().enumerate() {
            if !names.contains(&index) {
                contents.doomed = true;
            }
        }
    }

    fn start(&mut self) {
        let checkpoint = serde_json::to_string(&self.checkpoint).unwrap();
        self.checkpoint = serde_json::from_str(&checkpoint).unwrap();
        // If the file that was read last is not there any more, the follower owes a word.
        if let Some(newest) = self
            .checkpoint
            .as_ref()
            .and_then(|checkpoint| checkpoint.files.last())
        {
            let index = self
                .delivered
                .get(&newest.generation)
                .and_then(|text| World::contents_of(text));
            if let Some(index) = index
                && !self.names.contains(&index)
            {
                self.expected_breaks += 1;
            }
        }
        self.driver.start(&self.log, self.checkpoint.clone());
        self.running = true;
        self.settle();
    }

    fn step(&mut self) {
        let running = self.running;
        match self.random.below(20) {
            at @ 0..=8 => {
                self.line(at <= 6);
                if running {
                    self.driver.beat();
                }
            }
            // A running follower is given the time to open each piece; a stopped one is not.
            9..=10 if !running || self.rotations_since_look < 4 => self.rotate(),
            11 => {
                let late = self.names.get(1).copied().filter(|&index| {
                    let contents = &self.contents[index];
                    running
                        && contents.open
                        && contents
                            .rotated
                            .is_some_and(|at| self.now - at < seconds(4))
                });
                if let Some(index) = late {
                    let text = match self.contents[index].text.ends_with('\n') {
                        true => format!("file {index} late\n"),
                        false => " finished late\n".to_owned(),
                    };
                    self.write(1, &text);
                }
            }
            12 if !self.base().text.is_empty() => {
                self.settle();
                let noticed = running && self.base().text.contains('\n');
                self.truncate();
                if noticed {
                    self.expected_breaks += 1;
                }
                self.settle();
            }
            13 if !running && self.names.len() > 1 => {
                fs::remove_file(self.log.path(u32::try_from(self.names.len() - 1).unwrap()))
                    .unwrap();
                self.remove_oldest_from_model();
            }
            14 => match running {
                true => self.stop(),
                false => self.start(),
            },
            15 if !running => self.start(),
            17 if running => self.crash(),
            16 if running => {
                let time = Duration::from_millis(self.random.below(1500));
                self.settle();
                let events = self.driver.pass(time);
                self.now += time;
                self.process(events);
            }
            _ => self.settle(),
        }
    }

    fn check(mut self, patience: bool) {
        if !self.running {
            self.start();
        }
        self.settle();
        if patience {
            // Half lines of rotated files come after their five seconds.
            let events = self.driver.pass(seconds(20));
            self.process(events);
        }
        self.driver.stop();
        let mut order = Vec::new();
        for text in self.delivered.values() {
            let index = World::contents_of(text).unwrap();
            order.push(index);
            let text = std::str::from_utf8(text).unwrap();
            let contents = &self.contents[index];
            assert!(
                contents.text.starts_with(text),
                "file {index}: delivered {text:?} of {:?}",
                contents.text
            );
            let whole = contents.text.len() == text.len()
                || (!contents.text.split_at(text.len()).1.contains('\n')
                    && (index == self.names[0] || !patience));
            assert!(
                whole || contents.doomed,
                "file {index} is not whole: {} of {}",
                text.len(),
                contents.text.len()
            );
        }
        for &index in &self.names {
            assert!(
                order.contains(&index) || !self.contents[index].text.contains('\n'),
                "file {index} was skipped"
            );
        }
        let sorted = order.is_sorted();
        assert!(sorted, "files came in the order {order:?}");
        let reported = self.losses + self.truncations;
        assert!(
            reported >= self.expected_breaks,
            "{reported} breaks reported, {} happened",
            self.expected_breaks
        );
        if self.contents.iter().all(|contents| !contents.doomed) {
            assert_eq!(reported, 0, "a loss was reported where none was");
        }
    }
}

fn play(seed: u64, steps: u32, patience: bool, driver: &mut dyn Driver) {
    let mut world = World::new(seed, driver);
    world.contents.push(Contents::default());
    world.names.push(0);
    world.line(true);
    world.write(0, "file 0 line 1\n");
    world.start();
    for _ in 0..steps {
        world.step();
    }
    world.check(patience);
}

/// Names the seed if a run fails.
fn play_seeds(
    seeds: std::ops::Range<u64>,
    steps: u32,
    patience: bool,
    mut driver: impl FnMut() -> Box<dyn Driver>,
) {
    for seed in seeds {
        let mut driver = driver();
        let run = std::panic::AssertUnwindSafe(|| play(seed, steps, patience, &mut *driver));
        if let Err(panic) = std::panic::catch_unwind(run) {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

struct ByHand {
    tail: Option<Tail>,
    births: bool,
    gathers: bool,
}

impl ByHand {
    fn new(births: bool, gathers: bool) -> Box<ByHand> {
        Box::new(ByHand {
            tail: None,
            births,
            gathers,
        })
    }
}

impl Driver for ByHand {
    fn start(&mut self, log: &Log, checkpoint: Option<Checkpoint>) {
        let (faulty, faults) = Faulty::new();
        faults.lock().unwrap().hide_births = !self.births;
        let mut options = log.options();
        options.gather_for = seconds(2);
        options.urgent = Urgent::new(
            |lines| usize::from(memchr::memmem::find(lines, b"3").is_some()),
            || 0,
        );
        let mut tail = Tail::with(options, checkpoint, Box::new(faulty));
        tail.now = Duration::ZERO;
        self.tail = Some(tail);
    }

    fn settle(&mut self, _expected: usize) -> Vec<TailEvent> {
        let tail = self.tail.as_mut().unwrap();
        tail.look();
        std::mem::take(&mut tail.events)
    }

    fn pass(&mut self, time: Duration) -> Vec<TailEvent> {
        let tail = self.tail.as_mut().unwrap();
        tail.pass(time);
        std::mem::take(&mut tail.events)
    }

    fn beat(&mut self) {
        if self.gathers {
            self.tail.as_mut().unwrap().beat();
        }
    }

    fn settling_takes(&self) -> Duration {
        Duration::ZERO
    }

    fn stop(&mut self) {
        self.tail = None;
    }
}

/// On the paused clock: long enough for an idle poll.
const SETTLING: Duration = Duration::from_millis(1100);

/// `run` on a runtime of its own, which stands still between two calls.
struct Running {
    runtime: tokio::runtime::Runtime,
    inotify: bool,
    events: Option<mpsc::Receiver<TailEvent>>,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Running {
    fn new(inotify: bool) -> Box<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(!inotify)
            .build()
            .unwrap();
        Box::new(Running {
            runtime,
            inotify,
            events: None,
            stop: CancellationToken::new(),
            task: None,
        })
    }

    fn receive(&mut self, time: Duration, mut expected: usize) -> Vec<TailEvent> {
        let events = self.events.as_mut().unwrap();
        let inotify = self.inotify;
        self.runtime.block_on(async {
            let mut heard = Vec::new();
            // Even if nothing is due, the follower shall notice what happened.
            for _ in 0..if inotify { 8 } else { 0 } {
                tokio::task::yield_now().await;
            }
            let end = tokio::time::Instant::now() + time;
            // On the paused clock: until nothing comes any more. On the real one: until what is due has come.
            while !inotify || expected > 0 {
                let Ok(event) = tokio::time::timeout_at(end, events.recv()).await else {
                    assert!(!inotify, "{expected} bytes did not come");
                    break;
                };
                let event = event.expect("the follower runs");
                if let TailEvent::Chunk { bytes, .. } = &event {
                    expected = expected.saturating_sub(bytes.len());
                }
                heard.push(event);
            }
            heard
        })
    }
}

impl Driver for Running {
    fn start(&mut self, log: &Log, checkpoint: Option<Checkpoint>) {
        let mut options = log.options();
        options.inotify = self.inotify;
        options.batch_window = Duration::ZERO;
        let (sender, receiver) = mpsc::channel(2);
        let (stats, _) = watch::channel(TailStats::default());
        self.events = Some(receiver);
        self.stop = CancellationToken::new();
        let following = run(options, checkpoint, sender, stats, self.stop.clone());
        self.task = Some(self.runtime.spawn(following));
    }

    fn settle(&mut self, expected: usize) -> Vec<TailEvent> {
        let time = if self.inotify { seconds(20) } else { SETTLING };
        self.receive(time, expected)
    }

    fn pass(&mut self, time: Duration) -> Vec<TailEvent> {
        match self.inotify {
            true => Vec::new(),
            false => self.receive(time, 0),
        }
    }

    fn settling_takes(&self) -> Duration {
        if self.inotify {
            Duration::ZERO
        } else {
            SETTLING
        }
    }

    fn stop(&mut self) {
        self.stop.cancel();
        self.runtime.block_on(self.task.take().unwrap()).unwrap();
        self.events = None;
    }
}

#[test]
fn a_random_writer_is_followed_exactly_by_hand() {
    play_seeds(0..200, 150, true, || ByHand::new(true, false));
}

#[test]
fn a_random_writer_is_followed_exactly_while_lines_are_gathered() {
    play_seeds(4000..4200, 150, true, || ByHand::new(true, true));
}

#[test]
fn a_random_writer_is_followed_exactly_where_nobody_knows_when_a_file_was_made() {
    play_seeds(1000..1200, 150, true, || ByHand::new(false, false));
}

#[test]
fn a_random_writer_is_followed_exactly_with_inotify_off() {
    play_seeds(2000..2100, 150, true, || Running::new(false));
}

#[test]
fn a_random_writer_is_followed_exactly_with_inotify_on() {
    play_seeds(3000..3012, 100, false, || Running::new(true));
}
