//! What befalls the log and the program, in order: made of a seed, played with the deaths or without them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootwatch::clock::Stopwatch;

use super::desk::Desk;
use super::dice::Dice;
use super::program::{Program, pause, signal};
use super::stream::{Stream, Writer, place};
use super::told::{Told, told};

pub(super) const KILLS: usize = 200;
const ROTATIONS: usize = 30;
/// Rotations that happen while the program is dead: so many times so many.
const ABSENT: [usize; 6] = [3, 3, 3, 2, 2, 2];
const TRUNCATIONS: usize = 4;

/// When the program is killed, from the moment at which what was to be written so far is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    After(Duration),
    /// So long after the store was written next.
    Commit(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Kill(Moment),
    Start,
    Rotate,
    /// Everything is read, and the store has it.
    CatchUp,
    Truncate,
    /// So many incidents are over.
    Over(usize),
}

/// The steps before each record.
pub(super) struct Script {
    steps: BTreeMap<usize, Vec<Step>>,
    dice: Dice,
}

impl Script {
    pub(super) fn new(stream: &Stream, seed: u64) -> Script {
        let mut dice = Dice::new(seed);
        let mut steps: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
        let slot = (stream.records.len() - stream.live) / KILLS;
        assert!(slot >= 12, "{slot} records a life");
        let begin = |slot_number: usize| stream.live + slot_number * slot;
        let mut absences = pick(&mut dice, KILLS, ABSENT.len() + 1);
        let truncated_while_dead = absences.pop().unwrap();
        let running = pick(&mut dice, KILLS, TRUNCATIONS - 1);
        for number in 0..KILLS {
            let from = begin(number);
            if running.contains(&number) {
                steps
                    .entry(from)
                    .or_default()
                    .extend([Step::CatchUp, Step::Truncate]);
            }
            let killed = from + 2 + dice.below(slot / 2 - 2);
            let away = 1 + dice.below(slot / 2 - 1);
            let of_kill = steps.entry(killed).or_default();
            if number == truncated_while_dead {
                of_kill.extend([Step::CatchUp, Step::Kill(moment(&mut dice)), Step::Truncate]);
            } else {
                of_kill.push(Step::Kill(moment(&mut dice)));
            }
            if let Some(times) = absences.iter().position(|absent| *absent == number) {
                for time in 0..ABSENT[times] {
                    let at = killed + away * time / ABSENT[times];
                    steps.entry(at).or_default().push(Step::Rotate);
                }
            }
            steps.entry(killed + away).or_default().push(Step::Start);
        }
        let others = ROTATIONS - ABSENT.iter().sum::<usize>();
        for part in 0..others {
            let span = (stream.records.len() - stream.live) / others;
            let at = stream.live + part * span + dice.below(span);
            steps.entry(at).or_default().push(Step::Rotate);
        }
        for (number, at) in stream.over.iter().enumerate() {
            steps.entry(*at).or_default().push(Step::Over(number + 1));
        }
        Script { steps, dice }
    }
}

/// So many different numbers below `limit`.
fn pick(dice: &mut Dice, limit: usize, count: usize) -> Vec<usize> {
    let mut picked = Vec::new();
    while picked.len() < count {
        let number = dice.below(limit);
        if !picked.contains(&number) {
            picked.push(number);
        }
    }
    picked
}

/// Some lives end before they have begun, most within a second, and some around a commit.
fn moment(dice: &mut Dice) -> Moment {
    let mut micros = |limit: usize| Duration::from_micros(dice.below(limit) as u64);
    match micros(10).as_micros() {
        0 | 1 => Moment::After(Duration::ZERO),
        2..=5 => Moment::After(micros(200_000)),
        6 | 7 => Moment::After(micros(1_000_000)),
        _ => Moment::Commit(micros(5_000)),
    }
}

/// What a run leaves behind.
pub(super) struct Ended {
    pub(super) told: Told,
    pub(super) desk: Desk,
    pub(super) deaths: usize,
    pub(super) rotations: usize,
    pub(super) truncations: usize,
}

struct Run<'a> {
    stream: &'a Stream,
    program: Program,
    writer: Writer,
    desk: Desk,
    /// Nobody starts the program until it is time.
    dead: bool,
    rotations: usize,
    truncations: usize,
}

/// Plays a script in a folder; `deadly`: with its deaths, and one more for each message that comes for the first time.
pub(super) fn play(folder: &Path, stream: &Stream, mut script: Script, deadly: bool) -> Ended {
    fs::create_dir_all(folder).unwrap();
    let mut program = Program::new(folder);
    let process = Arc::clone(&program.process);
    let desk = Desk::start(move |_, again| {
        let running = process.load(std::sync::atomic::Ordering::SeqCst);
        if deadly && !again && running != 0 {
            // It has said it and does not know whether it was heard.
            signal("KILL", running);
        }
    });
    program.configure(desk.address);
    let mut run = Run {
        writer: Writer::new(&program.log()),
        stream,
        program,
        desk,
        dead: false,
        rotations: 0,
        truncations: 0,
    };
    run.begin();
    let mut at = stream.live;
    while at < stream.records.len() {
        for step in script.steps.remove(&at).unwrap_or_default() {
            run.step(step, deadly);
        }
        let until = script.steps.keys().next().copied();
        let until = until.unwrap_or(stream.records.len());
        run.write(at, until, &mut script.dice);
        at = until;
    }
    run.finish()
}

impl Run<'_> {
    /// A first start on a log that is there: it is history, and was rotated before.
    fn begin(&mut self) {
        for (number, record) in self.stream.records[..self.stream.live].iter().enumerate() {
            if number == self.stream.live / 3 || number == self.stream.live / 2 {
                self.writer.rotate();
            }
            self.writer.write(&record.bytes);
        }
        self.program.start();
        self.catch_up();
    }

    /// Some records at a time, some in two pieces.
    fn write(&mut self, from: usize, until: usize, dice: &mut Dice) {
        let mut at = from;
        while at < until {
            let next = (at + 1 + dice.below(30)).min(until);
            let bytes: Vec<u8> = self.stream.records[at..next]
                .iter()
                .flat_map(|record| record.bytes.iter().copied())
                .collect();
            let (first, second) = bytes.split_at(dice.below(bytes.len()));
            self.writer.write(first);
            self.writer.write(second);
            at = next;
        }
    }

    fn step(&mut self, step: Step, deadly: bool) {
        if !self.dead {
            self.program.ensure_running();
        }
        match step {
            Step::Kill(_) | Step::Start if !deadly => {}
            Step::Kill(moment) => {
                self.wait(moment);
                self.program.kill();
                self.dead = true;
            }
            Step::Start => {
                self.dead = false;
                self.program.ensure_running();
            }
            Step::Rotate => {
                self.make_room();
                self.writer.rotate();
                self.rotations += 1;
            }
            Step::CatchUp => self.catch_up(),
            Step::Truncate => {
                self.writer.truncate();
                self.truncations += 1;
            }
            Step::Over(incidents) => {
                self.dead = false;
                let Run { program, desk, .. } = self;
                program.until("the incident is over", |_| desk.resolved() >= incidents);
            }
        }
    }

    fn wait(&mut self, moment: Moment) {
        let wal = self.program.store().with_extension("db-wal");
        let written = || {
            let facts = fs::metadata(&wal).ok()?;
            Some((facts.len(), facts.modified().ok()?))
        };
        let rest = match moment {
            Moment::After(rest) => rest,
            Moment::Commit(rest) => {
                let before = written();
                let began = Stopwatch::start();
                while written() == before && began.elapsed() < Duration::from_secs(3) {
                    pause();
                }
                rest
            }
        };
        let began = Stopwatch::start();
        while began.elapsed() < rest {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// Nothing is lost here: what the rotation removes was read, and the store has it.
    fn make_room(&mut self) {
        let Some(oldest) = self.writer.oldest() else {
            return;
        };
        let read = |program: &Program| {
            place(&program.store()).is_some_and(|(generation, _)| generation > oldest)
        };
        // Whoever asks is a reader beside the program.
        if self.program.runs() && read(&self.program) {
            return;
        }
        self.dead = false;
        let what = "what the rotation removes is read";
        self.program.until(what, |program| read(program));
    }

    fn catch_up(&mut self) {
        let wanted = self.writer.place();
        self.dead = false;
        let waited = self.program.wait_for(|program| {
            let found = place(&program.store());
            (found == Some(wanted)).then_some(()).ok_or(found)
        });
        if let Err(found) = waited {
            let errors = self.program.errors();
            panic!("not in time: the log is read to {wanted:?}, not to {found:?}: {errors}");
        }
    }

    fn finish(mut self) -> Ended {
        self.catch_up();
        let incidents = self.stream.over.len();
        let Run { program, desk, .. } = &mut self;
        program.until("every incident is over", |_| desk.resolved() >= incidents);
        // The receiver may have killed it with its last message; whoever takes a second one does not.
        program.until("it is ready", |program| {
            let address = program.address();
            crate::sidecar::get(address, "/-/ready").is_ok_and(|(status, _)| status == 200)
        });
        assert_eq!(self.program.end(), Some(0), "{}", self.program.errors());
        Ended {
            told: told(&self.program.store()),
            desk: self.desk,
            deaths: self
                .program
                .deaths
                .load(std::sync::atomic::Ordering::SeqCst),
            rotations: self.rotations,
            truncations: self.truncations,
        }
    }
}
