//! A simulated controller's log through the whole core, on the log's own time.

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{Effect, Engine, Notification, Settings};
use bootwatch::core::boot::{Observation, Tracker};
use bootwatch::core::event::{Event, Timestamp};
use bootwatch::simulator::{Happened, Plan, Simulation, Truth};
use jiff::tz::TimeZone;

const AFTERWARDS_MS: i64 = 15 * 60_000;

/// What was told, and what was true.
pub(super) struct Watched {
    pub(super) sent: Vec<Notification>,
    pub(super) truths: Vec<Truth>,
}

pub(super) fn watch(plan: Plan) -> Watched {
    let mut simulation = Simulation::new(plan);
    let mut watcher = Watcher::new();
    let mut truths = Vec::new();
    let mut line = Vec::new();
    let (mut second, mut stamp) = (i64::MIN, String::new());
    while let Some(moment) = simulation.next() {
        let Happened::Line(record) = &moment.what else {
            continue;
        };
        if second != moment.at.0.div_euclid(1000) {
            second = moment.at.0.div_euclid(1000);
            stamp = jiff::Timestamp::from_second(second)
                .unwrap_or_default()
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string();
            truths.extend(simulation.take_truths());
        }
        line.clear();
        record.write_plain(&mut line, stamp.as_bytes());
        watcher.read(&line);
    }
    truths.extend(simulation.take_truths());
    Watched {
        sent: watcher.finish(),
        truths,
    }
}

/// A log that exists.
pub(super) fn watch_log(log: &[u8]) -> Vec<Notification> {
    let mut watcher = Watcher::new();
    watcher.read(log);
    watcher.finish()
}

struct Watcher {
    reader: Reader,
    judge: Judge,
}

struct Judge {
    tracker: Tracker,
    engine: Engine,
    observations: Vec<Observation>,
    effects: Vec<Effect>,
    sent: Vec<Notification>,
    now: Timestamp,
}

impl Watcher {
    fn new() -> Watcher {
        Watcher {
            reader: Reader::new(0, Zone::Named(TimeZone::UTC)),
            judge: Judge {
                tracker: Tracker::new(excerpt),
                engine: Engine::new(Settings {
                    host: "controller-1".to_owned(),
                    ..Settings::default()
                }),
                observations: Vec::new(),
                effects: Vec::new(),
                sent: Vec::new(),
                now: Timestamp::MIN,
            },
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let judge = &mut self.judge;
        self.reader.push(bytes, &mut |event| judge.event(event));
    }

    fn finish(mut self) -> Vec<Notification> {
        let judge = &mut self.judge;
        self.reader.finish(&mut |event| judge.event(event));
        judge.tracker.finish(&mut judge.observations);
        judge.observed();
        // Nothing more is written, and what waits for time alone comes to its end.
        judge.pass(judge.now.plus_ms(AFTERWARDS_MS));
        assert_eq!(self.reader.counts().unparsed, 0);
        std::mem::take(&mut judge.sent)
    }
}

impl Judge {
    fn event(&mut self, event: &Event<'_>) {
        self.pass(event.at);
        self.tracker.observe(event, &mut self.observations);
        self.observed();
    }

    /// What time alone changes, at its time.
    fn pass(&mut self, until: Timestamp) {
        self.now = self.now.max(until);
        while let Some(due) = self.engine.next_due().filter(|due| *due <= self.now) {
            self.engine.tick(due, &mut self.effects);
            self.dispatch();
            if self.engine.next_due() == Some(due) {
                break;
            }
        }
    }

    fn observed(&mut self) {
        for observation in self.observations.drain(..) {
            self.engine
                .observe(&observation, self.now, &mut self.effects);
        }
        self.dispatch();
    }

    fn dispatch(&mut self) {
        for effect in self.effects.drain(..) {
            if let Effect::Notify(notification) = effect {
                self.sent.push(*notification);
            }
        }
    }
}
