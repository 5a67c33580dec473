//! The whole way from what the simulator does to incidents, without files, tasks or a clock.

use std::collections::{BTreeMap, VecDeque};

use bootwatch::controller::clock::Zone;
use bootwatch::controller::console::{ConsoleReader, Line};
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{Effect, Engine, Incident, Notification, Settings};
use bootwatch::core::boot::Tracker;
use bootwatch::core::console::{ConsoleEnd, ConsoleNews, ConsoleSource, Seen};
use bootwatch::core::event::{Timestamp, VmId};
use bootwatch::core::image::GoldenImage;
use bootwatch::core::stall::Stalls;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::{Happened, Moment, Plan, Player, Simulation, Speed};

/// bootwatch without its shell: what the simulation does goes in, incidents come out.
pub(super) struct Watched {
    reader: Reader,
    tracker: Tracker,
    pub(super) engine: Engine,
    stalls: Stalls,
    effects: Vec<Effect>,
    consoles: BTreeMap<VmId, ConsoleReader>,
    /// Audits that are to come, by their time.
    audits: VecDeque<(Timestamp, GoldenImage)>,
    line: Vec<u8>,
}

impl Watched {
    pub(super) fn new(audits: VecDeque<(Timestamp, GoldenImage)>) -> Watched {
        Watched {
            reader: Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC)),
            tracker: Tracker::new(excerpt),
            engine: Engine::new(Settings::default()),
            stalls: Stalls::default(),
            effects: Vec::new(),
            consoles: BTreeMap::new(),
            audits,
            line: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, log: &[u8]) {
        let mut observations = Vec::new();
        let Watched {
            reader,
            tracker,
            engine,
            stalls,
            effects,
            ..
        } = self;
        reader.push(log, &mut |event| {
            // What time alone changes.
            while let Some(due) = engine.next_due().filter(|due| *due <= event.at) {
                engine.tick(due, effects);
                if engine.next_due() == Some(due) {
                    break;
                }
            }
            if let Some(stall) = stalls.observe(event) {
                engine.stalled(stall.from, stall.until, event.at);
            }
            tracker.observe(event, &mut observations);
            for observation in observations.drain(..) {
                engine.observe(&observation, event.at, effects);
            }
        });
    }

    fn said(&mut self, vm: VmId, at: Timestamp, text: &[u8], is_end: bool) {
        let mut seen = Vec::new();
        let mut sink = |line: Line<'_>| {
            seen.extend(line.marks.iter().map(|mark| Seen {
                mark,
                at,
                uptime_ms: line.uptime_ms,
            }));
        };
        let reader = self.consoles.entry(vm).or_default();
        reader.push(text, &mut sink);
        if is_end {
            reader.finish(&mut sink);
        }
        let news = ConsoleNews {
            vm,
            source: ConsoleSource::Live,
            seen,
            clock_ahead_ms: None,
            end: is_end.then(|| ConsoleEnd {
                whole: true,
                ..ConsoleEnd::default()
            }),
        };
        let mut observations = Vec::new();
        self.tracker.console(&news, &mut observations);
        for observation in observations {
            self.engine.observe(&observation, at, &mut self.effects);
        }
    }

    pub(super) fn incidents(&self) -> Vec<Incident> {
        let mut found: Vec<Incident> = self.engine.closed_incidents().cloned().collect();
        found.extend(self.engine.incidents().cloned());
        found.retain(|incident| incident.cause.failure().is_some());
        found
    }

    pub(super) fn sent(&self) -> Vec<&Notification> {
        let sent = self.effects.iter().filter_map(|effect| match effect {
            Effect::Notify(notification) => Some(&**notification),
            Effect::AlertChanged(_) => None,
        });
        sent.collect()
    }
}

impl Face for Watched {
    fn show(&mut self, moment: &Moment) -> std::io::Result<()> {
        while self.audits.front().is_some_and(|(at, _)| *at <= moment.at) {
            let (at, image) = self.audits.pop_front().unwrap();
            self.engine.image(&image, at, &mut self.effects);
        }
        match &moment.what {
            Happened::Line(record) => {
                let stamp = jiff::Timestamp::from_millisecond(moment.at.0).unwrap();
                let stamp = stamp.strftime("%Y-%m-%d %H:%M:%S").to_string();
                let mut line = std::mem::take(&mut self.line);
                line.clear();
                record.write_plain(&mut line, stamp.as_bytes());
                self.read(&line);
                self.line = line;
            }
            Happened::Said { vm, text, .. } => self.said(*vm, moment.at, text.as_bytes(), false),
            Happened::DirectoryRemoved { vm, .. } if self.consoles.contains_key(vm) => {
                self.said(*vm, moment.at, b"", true);
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn watch(plan: Plan, audits: VecDeque<(Timestamp, GoldenImage)>) -> Watched {
    let mut simulation = Simulation::new(plan);
    let mut watched = Watched::new(audits);
    Player::new(Speed::Max)
        .play(&mut simulation, &mut [&mut watched], &mut |_| Ok(()))
        .unwrap();
    watched
}
