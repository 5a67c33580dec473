//! The one task that owns the core: what is read goes in, what follows goes out; it never waits for the network.
//!
//! The log's own time drives the tracker. While the log is being caught up with, only its records move that time on;
//! once it is read to its end, real time passes for the boots in flight too, counted from the newest record, so that a
//! controller whose clock or zone is wrong ends no boot.

mod beside;
mod hearing;
mod log;
mod looking;
mod operators;
mod reading;
mod showing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::Consoles;
use super::database::Existing;
use super::facts::{Sight, Sighted, Watch};
use super::gather::{Gather, Machines};
use super::health::Health;
use super::image::{Audited, ImageSeen};
use super::keeper::Feedback;
use super::live;
use super::or_never;
use super::place::SourceEvent;
use super::probe::Probing;
use super::restart::Restored;
use super::sight::Seen;
use super::synthetic::Own;
use log::Log;

use crate::clock::{self, SteadyClock, millis};
use crate::config::Zone;
use crate::controller::clock::Zone as LogZone;
use crate::controller::haste::MayPage;
use crate::controller::reader::{ReadCounts, Reader};
use crate::core::alert::{AlertChanged, BootsSoFar, Effect, Engine, NEAR};
use crate::core::boot::{Observation, Tracker};
use crate::core::desk::{self, Desk};
use crate::core::diagnosis::{Homes, Looks};
use crate::core::event::{AttemptError, VmId};
use crate::core::stall::Stalls;
use crate::core::synthetic::SyntheticRun;
use crate::core::window::bucket;
use crate::export::Recorder;
use crate::notify;
use crate::source::tail::TailStats;
use crate::web::{Ask, Live, Readiness};

/// What holds now is judged this often, and gauges brought up to date.
const LOOKS: Duration = Duration::from_secs(1);
/// Between two times at which time alone changes boots.
const LEAST_PASS: Duration = Duration::from_millis(500);
/// The source's name in metrics.
pub(super) const SOURCE: &str = "log";
/// After a start, alerts are judged by time when the log is read to its end, or after this long.
const CATCH_UP: Duration = Duration::from_secs(120);
/// A record that waits for more is whole after this long without a byte.
const SILENCE: Duration = Duration::from_millis(250);

/// What a run leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    pub records: u64,
    pub boots_ended: u64,
    pub notifications: u64,
    /// Notifications that no receiver had taken when the time was over; the next run sends them.
    pub unsent: u64,
}

/// What the owner tells others, and hears from them.
pub(super) struct Reach {
    /// Whether the sidecar is ready; nothing is any more once it is stopping.
    pub(super) ready: watch::Sender<Readiness>,
    pub(super) stopping: CancellationToken,
    pub(super) health: Arc<Health>,
    /// What holds now, for those that are shown it; `None`: nobody is.
    pub(super) shown: Option<watch::Sender<Arc<notify::State>>>,
    /// At which waits a boot in flight may page, and how many bad boots more page nobody.
    pub(super) may_page: Arc<MayPage>,
    /// What operators want.
    pub(super) asks: mpsc::Receiver<Ask>,
    /// What became of messages.
    pub(super) feedback: mpsc::Receiver<Feedback>,
    /// The log is looked at more often than this.
    pub(super) looks_within: Duration,
    /// Where VMs are looked at.
    pub(super) probing: Option<Probing>,
    /// What operators see.
    pub(super) view: watch::Sender<Arc<desk::View>>,
    /// Synthetic boots whose checks are over.
    pub(super) trials: mpsc::Receiver<SyntheticRun>,
    /// How things stand, for the web, and what of it does not change.
    pub(super) live: watch::Sender<Arc<Live>>,
    pub(super) known: live::Known,
    /// Where copies of the golden image are told as they are made; `None`: nobody looks into them.
    pub(super) made: Option<mpsc::Sender<VmId>>,
    /// Where VMs live.
    pub(super) homes: Homes,
}

impl Reach {
    /// Tells what is in the way of the work, if anything is.
    fn ready_unless(&self, reasons: Vec<String>) {
        let now = Readiness::unless(reasons);
        self.ready.send_if_modified(|ready| {
            // What was read before the end may still say that all is well.
            if *ready == now || self.stopping.is_cancelled() {
                return false;
            }
            *ready = now;
            true
        });
    }
}

/// Whether a page is near, as of so many boots, and of a time by which windows move.
#[derive(Clone, Copy, Debug)]
struct Distance {
    is_near: bool,
    boots: BootsSoFar,
    bucket: i64,
}

pub(super) struct Owner {
    reader: Reader,
    generation: Option<u32>,
    tracker: Tracker,
    engine: Engine,
    desk: Desk,
    /// What exists, where a database is watched.
    existing: Option<Existing>,
    /// What the guests say, where their consoles are followed.
    consoles: Option<Consoles>,
    /// Our own account, where it makes boots.
    own: Option<Own>,
    recorder: Arc<Recorder>,
    gather: Gather,
    reach: Reach,
    log: Log,
    clock: SteadyClock,
    /// What was written while nothing ran is still being read; no alert resolves before that is over, or before then.
    catching_up: Option<Instant>,
    /// When time alone last changed something, or might have.
    passed_at: Instant,
    flush_at: Option<Instant>,
    /// The web is behind.
    live_due: bool,
    /// So are the operators' lists.
    operators_due: bool,
    /// What holds now was judged, and is to be shown.
    has_looked: bool,
    watch: Watch,
    seen: Seen,
    look_at: Instant,
    /// When VMs to look at were last told.
    targets_at: Option<Instant>,
    image: Audited,
    /// The last looks at boots in flight.
    looks: Looks,
    stalls: Stalls,
    /// What operators see is of that much that was known of incidents.
    shown_as_of: u64,
    /// `None`: it is to be judged anew.
    distance: Option<Distance>,
    observations: Vec<Observation>,
    effects: Vec<Effect>,
    /// Changes of alerts that are still to be said in the log.
    changed: Vec<AlertChanged>,
    /// What earlier runs had read.
    before: (u64, ReadCounts),
    ended: Ended,
}

impl Owner {
    pub(super) fn new(
        restored: Restored,
        (existing, own): (Option<Existing>, Option<Own>),
        consoles: Option<Consoles>,
        recorder: Arc<Recorder>,
        gather: Gather,
        reach: Reach,
        stats: watch::Receiver<TailStats>,
    ) -> Owner {
        let mut restored = restored;
        let clock = SteadyClock::start();
        let catching_up = restored.place.is_some().then(|| {
            let Restored {
                engine, effects, ..
            } = &mut restored;
            engine.set_catching_up(true, clock.now(), effects);
            clock::monotonic() + CATCH_UP
        });
        let mut reach = reach;
        let image = Audited::telling(reach.made.take());
        // Counters begin at zero with the process.
        recorder.tracker(&restored.tracker.counts(), false);
        Owner {
            before: (restored.reader.framing().records, restored.reader.counts()),
            generation: restored.reader.place().map(|(generation, _)| generation),
            catching_up,
            reader: restored.reader,
            tracker: restored.tracker,
            engine: restored.engine,
            desk: restored.desk,
            existing,
            consoles,
            own,
            recorder,
            gather,
            reach,
            log: Log::new(stats),
            clock,
            passed_at: clock::monotonic(),
            flush_at: None,
            live_due: true,
            operators_due: true,
            has_looked: false,
            watch: Watch::default(),
            seen: restored.seen,
            look_at: clock::monotonic(),
            targets_at: None,
            image,
            looks: Looks::default(),
            stalls: Stalls::default(),
            shown_as_of: 0,
            distance: None,
            observations: Vec::new(),
            effects: restored.effects,
            changed: Vec::new(),
            ended: Ended::default(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut chunks: mpsc::Receiver<SourceEvent>,
        mut images: mpsc::Receiver<ImageSeen>,
    ) -> Ended {
        self.dispatch();
        self.show();
        // One timer for the whole life: setting it to the time it has costs nothing.
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            let wake = self.next_wake();
            if let Some(at) = wake
                && timer.deadline() != at
            {
                timer.as_mut().reset(at);
            }
            let hold = self.waits_for_store();
            let mut read = false;
            tokio::select! {
                biased;
                event = chunks.recv(), if hold.is_none() => match event {
                    Some(event) => {
                        self.source_event(event);
                        read = true;
                    }
                    // The source has stopped, so everything that was read is already in.
                    None => break,
                },
                () = or_never(hold) => {}
                told = or_never(self.existing.as_mut().map(Existing::next)) => self.told(told),
                looked = or_never(self.reach.probing.as_mut().map(Probing::next)) => self.looked(&looked),
                Some(seen) = images.recv() => self.image_seen(seen),
                news = or_never(self.consoles.as_mut().map(Consoles::next)), if self.log.caught_up.is_some() => {
                    self.console_says(&news);
                }
                () = self.gather.room() => {}
                () = self.gather.wanted_anew() => self.save_everything(),
                Some(ask) = self.reach.asks.recv() => self.asked(ask),
                Some(run) = self.reach.trials.recv() => {
                    let now = self.clock.now();
                    self.engine.synthetic(&run, now, &mut self.effects);
                }
                Some(feedback) = self.reach.feedback.recv() => self.heard(feedback),
                () = &mut timer, if wake.is_some() => self.time_passed(),
            }
            // Before anything else is done: meanwhile the log's reader reads on.
            self.show_distance();
            if self.dispatch() || read && !chunks.is_empty() {
                // A page is on its way: what is shown can wait until the keeper has it. And while a long log is read,
                // whoever writes, sends and waits for the end has a turn after each chunk: all share one thread.
                tokio::task::yield_now().await;
            }
            self.show();
        }
        self.ended.records = self.reader.framing().records - self.before.0;
        let Owner {
            mut reader,
            mut tracker,
            mut engine,
            mut desk,
            mut existing,
            mut own,
            gather,
            ended,
            ..
        } = self;
        // A record that is not whole yet stays so: the next run goes on in the middle of it.
        let machines = Machines {
            reader: &mut reader,
            tracker: &mut tracker,
            engine: &mut engine,
            desk: &mut desk,
            existing: existing.as_mut(),
            own: own.as_mut(),
        };
        gather.finish(machines).await;
        ended
    }

    /// What the log's next chunk waits for, if it does. Whoever stops has read what there is, and waits for nothing.
    fn waits_for_store(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        // History pages nobody.
        let hold = self.gather.hold(!self.log.history)?;
        let stopping = self.reach.stopping.clone();
        (!stopping.is_cancelled()).then_some(async move {
            tokio::select! {
                () = hold => {}
                () = stopping.cancelled() => {}
            }
        })
    }

    fn caught_up_with_downtime(&mut self) {
        if self.catching_up.take().is_some() {
            self.engine
                .set_catching_up(false, self.clock.now(), &mut self.effects);
        }
    }

    /// The store was begun anew.
    fn save_everything(&mut self) {
        self.reader.save_everything();
        self.tracker.save_everything();
        self.engine.save_everything();
        self.desk.save_everything();
        self.seen.save_everything();
        if let Some(existing) = &mut self.existing {
            existing.save_everything();
        }
        if let Some(own) = &mut self.own {
            own.save_everything();
        }
        self.gather.incidents_changed();
    }

    /// When time alone has something to change.
    fn next_wake(&self) -> Option<Instant> {
        let engine = self.engine.next_due().map(|due| self.clock.instant_of(due));
        // What a silence holds back since a run before may be over by what is still to be read.
        let desk = self.desk.next_due().filter(|_| self.catching_up.is_none());
        let desk = desk.map(|due| self.clock.instant_of(due));
        let tracker = self.log.caught_up.and_then(|since| {
            let due = self.tracker.next_due()?.since(self.reader.newest()?);
            let due = Duration::from_millis(u64::try_from(due).unwrap_or(0).max(1_000));
            // Where nobody has looked for so long, the next look wakes us.
            let looked = self.log.silent_for().is_some_and(|silent| silent >= due);
            // What could not be judged yet is no reason to ask without end.
            let at = (since + due).max(self.passed_at + LEAST_PASS);
            (looked || at > clock::monotonic()).then_some(at)
        });
        let claims = self.reach.probing.as_ref().and_then(Probing::next_due);
        let claims = claims
            .filter(|_| self.log.is_seen())
            .map(|due| self.clock.instant_of(due));
        let store = self.gather.next_due();
        [
            engine,
            desk,
            tracker,
            store,
            claims,
            self.catching_up,
            Some(self.look_at),
            self.flush_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn time_passed(&mut self) {
        let now = clock::monotonic();
        self.passed_at = now;
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            self.read(|reader, mut sink| reader.flush(&mut sink));
        }
        if let (Some(silent), Some(newest)) = (self.log.silent_for(), self.reader.newest()) {
            self.tracker
                .advance(newest.plus_ms(millis(silent)), &mut self.observations);
            self.observed();
        }
        self.believe();
        if self.catching_up.is_some_and(|until| until <= now) {
            self.caught_up_with_downtime();
        }
        let now = self.clock.now();
        self.engine.tick(now, &mut self.effects);
        if self.catching_up.is_none() && self.desk.next_due().is_some_and(|due| due <= now) {
            self.at_desk(|desk, out| desk.tick(now, out));
        }
    }

    /// Judges what holds now.
    fn look(&mut self, now: Instant) {
        self.look_at = now + LOOKS;
        if let Some(off_ms) = self.clock.follow() {
            tracing::warn!(
                seconds = off_ms / 1_000,
                "the time of day was set, or this machine slept; timers follow by an eighth of the time that passes"
            );
        }
        self.show_readiness();
        let sight = Sight {
            now,
            at: self.clock.now(),
            history: self.log.history,
            looked_at: self.log.looked_at(),
            looks_within: self.reach.looks_within,
            up: self.log.up,
            reads: self.reader.counts(),
            stray_lines: self.reader.framing().orphan_lines,
            database: self.existing.as_ref().map(Existing::sighted),
            database_trouble: self.existing.as_ref().and_then(Existing::trouble),
            health: &self.reach.health,
        };
        let mut facts = self.watch.look(&sight);
        if let Some(existing) = &self.existing {
            facts.extend(existing.facts().clone());
        }
        self.image.facts(&mut facts);
        let sight_at = sight.at;
        self.engine.facts(&facts, sight_at, &mut self.effects);
        let hidden = matches!(sight.database, Some(Sighted::Not(_)));
        let whole = self.log.is_seen();
        let silent_ms = self.log.silent_for().map_or(0, millis);
        let changes = self.seen.look(sight_at, whole, hidden, silent_ms);
        self.gather.state(changes);
        self.reach.health.looked(self.watch.unreadable());
        // A log that rests stays read to its end for as long as it can be read.
        if whole {
            self.log.seen_at = Some(sight_at);
        }
        self.live_due = true;
        self.has_looked = true;
        self.distance = None;
    }

    /// Sends what the core wants sent, never waiting; whether a notification left.
    fn dispatch(&mut self) -> bool {
        let ticks = clock::monotonic();
        if self.look_at <= ticks {
            self.look(ticks);
        }
        let now = self.clock.now();
        for effect in std::mem::take(&mut self.effects) {
            self.recorder.effect(&effect);
            match effect {
                Effect::Notify(notification) => {
                    if !notification.incident.is_firing() {
                        self.gather.ended(notification.incident.clone());
                    }
                    self.at_desk(|desk, out| desk.take(*notification, now, out));
                }
                Effect::AlertChanged(change) => {
                    self.gather.incidents_changed();
                    self.live_due = true;
                    self.changed.push(change);
                }
            }
        }
        let machines = Machines {
            reader: &mut self.reader,
            tracker: &mut self.tracker,
            engine: &mut self.engine,
            desk: &mut self.desk,
            existing: self.existing.as_mut(),
            own: self.own.as_mut(),
        };
        let away = self.reach.health.store_failing().is_some();
        self.gather.hand_over(machines, away)
    }

    /// Tells who reads the log how many bad boots more page nobody: a bad boot brings a page near, a good one may take it
    /// away. Second thoughts change it, too: after each look it is judged anew.
    fn show_distance(&mut self) {
        let silent = self.log.silent_for().map_or(0, millis);
        let now = self.reader.newest().map(|newest| newest.plus_ms(silent));
        let now = now.unwrap_or(self.clock.now());
        let (boots, bucket) = (self.engine.boots_so_far(), bucket(now));
        let holds = self.distance.is_some_and(|known| {
            let as_bad = (known.boots.bad, known.boots.overdue) == (boots.bad, boots.overdue);
            as_bad && known.bucket == bucket && (!known.is_near || known.boots.ended == boots.ended)
        });
        if !holds {
            let is_near = self.engine.is_near_a_page(now);
            let may_wait = if is_near { 0 } else { NEAR as usize };
            self.reach.may_page.set_may_wait(may_wait);
            self.distance = Some(Distance {
                is_near,
                boots,
                bucket,
            });
        }
    }

    /// Shows others how things stand, where they are behind.
    fn show(&mut self) {
        for change in self.changed.drain(..) {
            tracing::info!(
                rule = change.rule.as_str(),
                subject = change.subject.as_str(),
                state = change.to,
                "alert changed"
            );
        }
        let ticks = clock::monotonic();
        self.show_targets(ticks);
        let looked = std::mem::take(&mut self.has_looked);
        let behind = |own: &Own| looked || own.is_behind();
        if self.own.as_ref().is_some_and(behind) {
            self.show_own();
        }
        self.image.show(&self.recorder);
        if self.operators_due || self.shown_as_of != self.engine.learned() {
            self.show_operators();
        }
        self.reach.may_page.set(
            self.engine.may_fire_at_ms(AttemptError::Refused),
            // No rule tells the others apart.
            self.engine.may_fire_at_ms(AttemptError::Timeout),
        );
        if self.live_due {
            self.show_live();
        }
        if looked {
            self.show_gauges();
        }
    }
}

/// A named zone is trusted; otherwise this machine's offset is the first guess and the log corrects it.
pub(super) fn zone(configured: &Zone) -> LogZone {
    match configured {
        Zone::Named(zone) => LogZone::Named(zone.clone()),
        Zone::Auto => {
            let now = clock::now().utc().unwrap_or_default();
            let offset = jiff::tz::TimeZone::system().to_offset(now);
            LogZone::Learnt {
                offset_ms: i64::from(offset.seconds()) * 1000,
                told: false,
            }
        }
    }
}
