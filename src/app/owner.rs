//! The one task that owns the core: what is read goes in, what follows goes out; it never waits for the network.
//!
//! The log's own time drives the tracker. While the log is being caught up with, only its records move that time on;
//! once it is read to its end, real time passes for the boots in flight too, counted from the newest record, so that a
//! controller whose clock or zone is wrong ends no boot.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Receivers, alertmanager, engine_settings};
use crate::clock::{self, SteadyClock};
use crate::config::{Config, Zone};
use crate::controller::clock::Zone as LogZone;
use crate::controller::excerpt::excerpt;
use crate::controller::reader::Reader;
use crate::core::alert::{Effect, Engine};
use crate::core::boot::{Boot, Observation, Tracker};
use crate::core::event::{Event, Timestamp};
use crate::export::{ReadFigures, Recorder, SourceFigures};
use crate::source::tail::{Checkpoint, TailEvent, TailStats};
use crate::web::Readiness;

/// Gauges are brought up to date at most this often.
const GAUGES: Duration = Duration::from_secs(1);
/// The source's name in metrics.
pub(super) const SOURCE: &str = "log";
/// A record that waits for more is whole after this long without a byte.
const SILENCE: Duration = Duration::from_millis(250);

/// What a run leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Where the next run goes on.
    pub checkpoint: Option<Checkpoint>,
    pub records: u64,
    pub boots_ended: u64,
    pub notifications: u64,
    /// Notifications that no receiver had taken when the time was over.
    pub unsent: u64,
}

/// Whether the sidecar is ready, as told to the web; nothing is any more once it is stopping.
pub(super) struct Reach {
    pub(super) ready: watch::Sender<Readiness>,
    pub(super) stopping: CancellationToken,
}

impl Reach {
    fn ready(&self) {
        self.ready.send_if_modified(|ready| {
            // What was read before the end may still say that all is well.
            if ready.is_ready() || self.stopping.is_cancelled() {
                return false;
            }
            *ready = Readiness::ready();
            true
        });
    }
}

pub(super) struct Owner {
    reader: Reader,
    generation: Option<u32>,
    tracker: Tracker,
    engine: Engine,
    recorder: Arc<Recorder>,
    receivers: Receivers,
    reach: Reach,
    stats: watch::Receiver<TailStats>,
    clock: SteadyClock,
    /// Records are being read that were there before the first start.
    history: bool,
    /// Read to the log's end: since when, on the runtime's clock.
    caught_up: Option<Instant>,
    flush_at: Option<Instant>,
    up: bool,
    /// Gauges that are behind, and when they were last brought up to date.
    gauges_due: Option<Instant>,
    gauges_at: Option<Instant>,
    observations: Vec<Observation>,
    effects: Vec<Effect>,
    ended: Ended,
}

impl Owner {
    pub(super) fn new(
        config: &Config,
        recorder: Arc<Recorder>,
        receivers: Receivers,
        reach: Reach,
        stats: watch::Receiver<TailStats>,
    ) -> Owner {
        Owner {
            reader: Reader::new(0, zone(&config.log.timezone)),
            generation: None,
            tracker: Tracker::new(excerpt),
            engine: Engine::new(engine_settings(config)),
            recorder,
            receivers,
            reach,
            stats,
            clock: SteadyClock::start(),
            history: false,
            caught_up: None,
            flush_at: None,
            up: false,
            gauges_due: None,
            gauges_at: None,
            observations: Vec::new(),
            effects: Vec::new(),
            ended: Ended::default(),
        }
    }

    pub(super) async fn run(mut self, mut chunks: mpsc::Receiver<TailEvent>) -> Ended {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                event = chunks.recv() => match event {
                    Some(event) => self.source_event(event),
                    // The source has stopped, so everything that was read is already in.
                    None => break,
                },
                () = sleep_until(wake) => self.time_passed(),
            }
            self.dispatch();
        }
        self.read(|reader, mut sink| reader.finish(&mut sink));
        self.dispatch();
        self.ended.records = self.reader.framing().records;
        self.ended
    }

    fn source_event(&mut self, event: TailEvent) {
        match event {
            TailEvent::Chunk {
                generation,
                offset,
                bytes,
                after,
                history,
            } => {
                self.history = history;
                self.up = true;
                self.caught_up = None;
                if self.generation != Some(generation) {
                    self.generation = Some(generation);
                    self.read(|reader, mut sink| reader.begin_file(generation, offset, &mut sink));
                }
                self.read(|reader, mut sink| reader.push(&bytes, &mut sink));
                self.flush_at = self
                    .reader
                    .has_pending()
                    .then(|| clock::monotonic() + SILENCE);
                self.ended.checkpoint = Some(after);
            }
            TailEvent::EndOfFile { generation } if self.generation == Some(generation) => {
                self.read(|reader, mut sink| reader.finish(&mut sink));
            }
            TailEvent::EndOfFile { .. } | TailEvent::Rotated { .. } => {}
            TailEvent::CaughtUp => {
                self.caught_up = Some(clock::monotonic());
                self.history = false;
                // Caught up with a log that is not there: it may come, or its name is wrong.
                let exists = self.generation.is_some() || self.stats.borrow().generation.is_some();
                if !exists {
                    tracing::warn!("the log does not exist yet; waiting for it (check log.file)");
                }
                self.up = exists;
                self.reach.ready();
            }
            TailEvent::Truncated {
                generation,
                becomes,
                read_to,
            } => {
                tracing::warn!(
                    generation,
                    becomes,
                    read_to,
                    "the log was truncated; what it held unread is lost"
                );
            }
            TailEvent::Lost { after, reason } => {
                tracing::warn!(
                    ?after,
                    reason = reason.as_str(),
                    "part of the log vanished unread"
                );
            }
            TailEvent::Trouble { path, error } => {
                tracing::error!(path = %path.display(), error, "the log cannot be read; retrying");
                self.up = false;
                self.engine
                    .set_blind(true, self.clock.now(), &mut self.effects);
            }
            TailEvent::Recovered => {
                tracing::info!("the log can be read again");
                self.up = true;
                self.engine
                    .set_blind(false, self.clock.now(), &mut self.effects);
            }
        }
    }

    /// Lets the reader work and takes every event through the core at once.
    fn read(&mut self, work: impl FnOnce(&mut Reader, &mut dyn FnMut(&Event<'_>))) {
        let Owner {
            reader,
            tracker,
            engine,
            recorder,
            observations,
            effects,
            history,
            clock,
            ended,
            ..
        } = self;
        let now = clock.now();
        let live = !*history;
        work(reader, &mut |event| {
            tracker.observe(event, observations);
            for observation in observations.drain(..) {
                take(&observation, live, now, engine, recorder, effects, ended);
            }
        });
    }

    /// When time alone has something to change.
    fn next_wake(&self) -> Option<Instant> {
        let engine = self.engine.next_due().map(|due| self.clock.instant_of(due));
        let tracker = self.caught_up.and_then(|since| {
            let due = self.tracker.next_due()?.since(self.reader.newest()?);
            Some(since + Duration::from_millis(u64::try_from(due).unwrap_or(0).max(1_000)))
        });
        [engine, tracker, self.flush_at, self.gauges_due]
            .into_iter()
            .flatten()
            .min()
    }

    fn time_passed(&mut self) {
        let now = clock::monotonic();
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.read(|reader, mut sink| reader.flush(&mut sink));
        }
        if let (Some(since), Some(newest)) = (self.caught_up, self.reader.newest()) {
            let silent = i64::try_from((now - since).as_millis()).unwrap_or(i64::MAX);
            self.tracker
                .advance(newest.plus_ms(silent), &mut self.observations);
            let Owner {
                engine,
                recorder,
                observations,
                effects,
                history,
                clock,
                ended,
                ..
            } = self;
            for observation in observations.drain(..) {
                take(
                    &observation,
                    !*history,
                    clock.now(),
                    engine,
                    recorder,
                    effects,
                    ended,
                );
            }
        }
        self.engine.tick(self.clock.now(), &mut self.effects);
    }

    /// Sends what the core wants sent. Never waits.
    fn dispatch(&mut self) {
        if let (Some(shown), false) = (&self.receivers.shown, self.effects.is_empty()) {
            shown.send_replace(alertmanager::state(&self.engine, self.clock.now()));
        }
        for effect in self.effects.drain(..) {
            self.recorder.effect(&effect);
            match effect {
                Effect::Notify(notification) => {
                    self.ended.notifications += 1;
                    let notification = Arc::new(*notification);
                    for (name, receiver) in &self.receivers.told {
                        if receiver.try_send(Arc::clone(&notification)).is_err() {
                            tracing::error!(
                                receiver = name,
                                "too many notifications wait; one was dropped"
                            );
                            self.recorder.notification(name, "dropped", None);
                        }
                    }
                }
                Effect::AlertChanged(change) => {
                    tracing::info!(
                        rule = change.rule.as_str(),
                        vm_type = change.vm_type.as_str(),
                        state = change.to,
                        "alert changed"
                    );
                }
            }
        }
        let now = clock::monotonic();
        match self.gauges_at {
            Some(at) if now < at + GAUGES => self.gauges_due = Some(at + GAUGES),
            _ => self.show_gauges(now),
        }
    }

    fn show_gauges(&mut self, now: Instant) {
        self.gauges_due = None;
        self.gauges_at = Some(now);
        let Owner {
            recorder,
            tracker,
            engine,
            reader,
            stats,
            up,
            history,
            ..
        } = self;
        recorder.tracker(&tracker.counts(), !*history);
        recorder.in_flight(tracker.open_iter().map(Boot::kind), engine.overdue());
        recorder.alerts(engine.alerts());
        let reads = reader.counts();
        recorder.reads(
            SOURCE,
            &ReadFigures {
                unparsed: reads.unparsed,
                unknown: reads.unknown,
                newest: reader.newest(),
            },
        );
        let tail = stats.borrow().clone();
        recorder.source(
            SOURCE,
            &SourceFigures {
                up: *up,
                lines: tail.lines,
                bytes: tail.bytes,
                rotations: tail.rotations,
                truncations: tail.truncations,
                losses: tail.losses,
                lag_bytes: tail.lag_bytes,
            },
        );
    }
}

fn take(
    observation: &Observation,
    live: bool,
    now: Timestamp,
    engine: &mut Engine,
    recorder: &Recorder,
    effects: &mut Vec<Effect>,
    ended: &mut Ended,
) {
    recorder.observe(observation, live);
    if matches!(observation, Observation::BootEnded(_)) {
        ended.boots_ended += 1;
    }
    if live {
        engine.observe(observation, now, effects);
    } else {
        engine.observe_history(observation);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A named zone is trusted; otherwise this machine's offset is the first guess and the log corrects it.
fn zone(configured: &Zone) -> LogZone {
    match configured {
        Zone::Named(zone) => LogZone::Named(zone.clone()),
        Zone::Auto => {
            let now = jiff::Timestamp::from_millisecond(clock::now().0)
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let offset = jiff::tz::TimeZone::system().to_offset(now);
            LogZone::Learnt {
                offset_ms: i64::from(offset.seconds()) * 1000,
                told: false,
            }
        }
    }
}
