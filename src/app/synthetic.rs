//! Synthetic boots in the sidecar: the one task that owns the canary, and what the owner shows it.
//!
//! ```text
//!   owner ──(watch: traces of the account, room)──► synthetic ──(bounded: waits)──► keeper (journal, answered)
//!     ▲                                              │   └── the controller's interface, one call of a kind at a time
//!     └──(bounded: waits)── runs that ended ─────────┘
//! ```
//!
//! Nothing is sent before what is to be done is on the disk. An orderly end in the midst of a run cancels it first, if
//! that takes no more than two seconds; whatever it leaves, the next start finds in the journal. A journal that was lost
//! with its file is written again from memory, and what a file held that could only be opened late is taken over then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::keeper::{JournalAnew, JournalOrder};
use crate::clock::{self, SteadyClock};
use crate::config;
use crate::controller::api;
use crate::core::boot::Observation;
use crate::core::event::{Event, SessionId, Timestamp, UserKey};
use crate::core::probe::{Answerer, Check, ProbeResult, VmAddress};
use crate::core::row::Row;
use crate::core::synthetic::{
    CallError, Canary, CanaryEffect, Effect, Limits, Looked, Room, Schedule, SessionAnswer,
    Settings, Shown, SkipReason, StartAnswer, SyntheticResult, SyntheticRun, Told, Trace, Traces,
    Trial, TrialSettings,
};
use crate::export::Recorder;
use crate::probe::synthetic::{Ask, Controller, Patience};
use crate::probe::{Footing, Prober};
use crate::store::{SKIPPED, TrialRow};
use crate::web;

/// An orderly end gives a cancellation this long.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Between two looks at what is due.
const BREATH: Duration = Duration::from_millis(20);
/// Runs that are shown.
const SHOWN: usize = 20;
/// What is shown is brought up to date at least this often.
const REFRESH: Duration = Duration::from_secs(5);

/// What the owner shows of the account's requests, and of the place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sight {
    pub(super) traces: Vec<Trace>,
    pub(super) room: Room,
}

/// The owner's part: it watches for the account in log, boots and rows.
pub(super) struct Own {
    traces: Traces,
    /// They are behind what is saved, and what is shown.
    unsaved: bool,
    unshown: bool,
    sight: watch::Sender<Arc<Sight>>,
}

impl Own {
    pub(super) fn new(user: UserKey, saved: Option<&str>, sight: watch::Sender<Arc<Sight>>) -> Own {
        Own {
            traces: Traces::restore(user, saved),
            unsaved: true,
            unshown: true,
            sight,
        }
    }

    pub(super) fn event(&mut self, event: &Event<'_>) {
        let changed = self.traces.observe(event);
        self.changed(changed);
    }

    pub(super) fn observation(&mut self, observation: &Observation) {
        if let Observation::BootEnded(boot) | Observation::BootSettled(boot) = observation {
            let changed = self.traces.boot(boot);
            self.changed(changed);
        }
    }

    pub(super) fn rows<'a>(&mut self, rows: impl IntoIterator<Item = &'a Row>) {
        for row in rows {
            let changed = self.traces.row(row);
            self.changed(changed);
        }
    }

    fn changed(&mut self, changed: bool) {
        self.unsaved |= changed;
        self.unshown |= changed;
    }

    /// Whether there is something new to show, room aside.
    pub(super) fn is_behind(&self) -> bool {
        self.unshown
    }

    pub(super) fn show(&mut self, room: Room) {
        let unshown = std::mem::take(&mut self.unshown);
        self.sight.send_if_modified(|sight| {
            if !unshown && sight.room == room {
                return false;
            }
            *sight = Arc::new(Sight {
                traces: self.traces.all().to_vec(),
                room,
            });
            true
        });
    }

    pub(super) fn save_everything(&mut self) {
        self.unsaved = true;
    }

    /// What is to be saved, if anything is.
    pub(super) fn unsaved(&mut self) -> Option<String> {
        std::mem::take(&mut self.unsaved).then(|| serde_json::to_string(&self.traces).ok())?
    }
}

/// What the task begins with.
pub(super) struct Begin {
    pub(super) config: config::Synthetic,
    pub(super) prober: Prober,
    /// What the journal holds, oldest first.
    pub(super) saved: Vec<Trial>,
    pub(super) host: String,
    pub(super) sight: watch::Receiver<Arc<Sight>>,
    pub(super) journal: mpsc::Sender<JournalOrder>,
    pub(super) journal_anew: watch::Receiver<JournalAnew>,
    pub(super) ended: mpsc::Sender<SyntheticRun>,
    pub(super) asks: mpsc::Receiver<web::RunAsk>,
    pub(super) view: watch::Sender<Arc<Value>>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) stop: CancellationToken,
}

type Slot<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

struct Task {
    canary: Canary,
    config: config::Synthetic,
    controller: Controller,
    prober: Prober,
    journal: mpsc::Sender<JournalOrder>,
    ended: mpsc::Sender<SyntheticRun>,
    view: watch::Sender<Arc<Value>>,
    recorder: Arc<Recorder>,
    clock: SteadyClock,
    /// One of each kind at a time.
    starting: Slot<Result<StartAnswer, CallError>>,
    asking: Slot<Result<SessionAnswer, CallError>>,
    cancelling: Slot<Result<(), CallError>>,
    health: Slot<Result<Option<u32>, CallError>>,
    looking: Slot<Looked>,
    /// The entry that something waits for.
    writing: Slot<bool>,
}

/// The trials that a journal's rows hold; one that cannot be read is told, and nothing is done about it.
pub(super) fn trials(rows: &[TrialRow]) -> Vec<Trial> {
    rows.iter()
        .filter(|row| row.state != SKIPPED)
        .filter_map(|row| {
            serde_json::from_str(&row.intent)
                .inspect_err(|error| {
                    tracing::error!(id = row.id, %error, "an entry of the synthetic journal cannot be read");
                })
                .ok()
        })
        .collect()
}

/// What an earlier run began and did not clean up, where no synthetic boots are configured any more: nobody does.
pub(super) fn tell_of_left(trials: &[Trial]) {
    for trial in trials.iter().filter(|trial| trial.done_at.is_none()) {
        tracing::warn!(
            session = trial.session.map(tracing::field::display),
            vm = trial.vm.map(tracing::field::display),
            "a synthetic boot was left by an earlier run, and [synthetic] is gone: the controller ends it after five minutes; \
             start with the section to have it cleaned up"
        );
    }
}

pub(super) async fn run(begin: Begin) {
    let Begin {
        config,
        prober,
        saved,
        host,
        mut sight,
        journal,
        mut journal_anew,
        ended,
        mut asks,
        view,
        recorder,
        stop,
    } = begin;
    let controller = match Controller::new(&config.controller.to_string()) {
        Ok(controller) => controller,
        Err(error) => {
            tracing::error!(
                error,
                "no synthetic boots: the controller's URL cannot be used"
            );
            stop.cancelled().await;
            return;
        }
    };
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
    let seed = UserKey::from_text(host.as_bytes()).0 >> 64;
    let settings = Settings {
        trial: TrialSettings {
            networks: Some(prober.settings().networks.clone()),
            vnc: config.vnc,
        },
        limits: Limits {
            budget: config.budget,
            busy: config.busy,
            reserve: config.reserve,
        },
        schedule: Schedule::new(
            millis(config.interval),
            u64::try_from(seed).unwrap_or_default(),
        ),
    };
    let clock = SteadyClock::start();
    let last = saved
        .iter()
        .filter(|trial| trial.result == Some(SyntheticResult::Passed))
        .filter_map(|trial| trial.ended_at)
        .max();
    recorder.synthetic_succeeded(last);
    let mut task = Task {
        canary: Canary::new(settings, saved, clock.now()),
        config,
        controller,
        prober,
        journal,
        ended,
        view,
        recorder,
        clock,
        starting: None,
        asking: None,
        cancelling: None,
        health: None,
        looking: None,
        writing: None,
    };
    loop {
        let mut out = Vec::new();
        let mut refusal = None;
        task.clock.follow();
        let due = task.canary.next_due().map(|due| task.clock.instant_of(due));
        let refresh = clock::monotonic() + REFRESH;
        // What is due and waits for somebody else is looked at again soon, not at once.
        let soonest = clock::monotonic() + BREATH;
        let wake = due.map_or(refresh, |due| due.min(refresh)).max(soonest);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            written = finished(&mut task.writing) => {
                task.canary.told(Told::Journalled(written), task.clock.now(), &mut out);
            }
            Ok(()) = journal_anew.changed() => {
                let found = trials(&journal_anew.borrow_and_update().found);
                task.canary.found(found, task.clock.now());
                task.write_all().await;
            }
            changed = sight.changed() => {
                if changed.is_err() {
                    break;
                }
                let seen = Arc::clone(&sight.borrow_and_update());
                task.canary.sees(&seen.traces, seen.room, task.clock.now(), &mut out);
            }
            answer = finished(&mut task.starting) => {
                task.canary.told(Told::Started(answer), task.clock.now(), &mut out);
            }
            answer = finished(&mut task.asking) => {
                task.canary.told(Told::Session(answer), task.clock.now(), &mut out);
            }
            answer = finished(&mut task.cancelling) => {
                if let Err(error) = &answer {
                    tracing::warn!(?error, "a synthetic boot could not be cancelled; trying again");
                }
                task.canary.told(Told::Cancelled(answer), task.clock.now(), &mut out);
            }
            looked = finished(&mut task.looking) => {
                task.canary.told(Told::Looked(Box::new(looked)), task.clock.now(), &mut out);
            }
            answer = finished(&mut task.health) => {
                task.canary.health(answer, mark(), task.clock.now(), &mut out);
            }
            Some(ask) = asks.recv() => {
                refusal = Some((task.canary.wanted(task.clock.now(), &mut out), ask));
            }
            () = tokio::time::sleep_until(wake) => task.canary.tick(task.clock.now(), &mut out),
        }
        for effect in out {
            task.take(effect).await;
        }
        task.show();
        if let Some((refused, ask)) = refusal {
            // Who has gone away wants no answer.
            ask.answer.send(refused).ok();
        }
    }
    task.last_word().await;
}

async fn finished<T>(slot: &mut Slot<T>) -> T {
    match slot {
        Some(running) => {
            let done = running.await;
            *slot = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// A number that nobody can guess: the hasher's keys come from the system.
fn mark() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::now().0)
}

impl Task {
    async fn take(&mut self, effect: CanaryEffect) {
        match effect {
            CanaryEffect::AskHealth => {
                self.health = Some(Box::pin(health(self.controller.clone())))
            }
            CanaryEffect::Skipped(reason, run) => {
                tracing::info!(reason = reason.as_str(), "a synthetic boot is skipped");
                self.recorder.synthetic_skipped(reason);
                self.recorder.synthetic_run(run.result);
                self.order(vec![skip_row(reason, run.started_at)]).await;
                self.tell(*run).await;
            }
            CanaryEffect::Trial(effect) => self.act(effect).await,
        }
    }

    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(trial) => self.write(&trial).await,
            Effect::Start { mark } => {
                tracing::info!("a synthetic boot begins");
                let ask = Ask {
                    path: api::start_path(mark),
                    body: Some(api::start_body(
                        self.config.user.expose(),
                        &self.config.provider,
                    )),
                    patience: Patience::Long,
                };
                let controller = self.controller.clone();
                self.starting = Some(Box::pin(async move {
                    let answer = controller.ask(ask, api::started).await;
                    answer.map(|(answer, _)| answer)
                }));
            }
            Effect::AskSession(session) => {
                let controller = self.controller.clone();
                self.asking = Some(Box::pin(async move {
                    let ask = Ask {
                        path: api::session_path(session),
                        body: None,
                        patience: Patience::Usual,
                    };
                    let (mut answer, head) = controller.ask(ask, api::session).await?;
                    answer.left = head.left;
                    Ok(answer)
                }));
            }
            Effect::Cancel(session) => {
                let controller = self.controller.clone();
                self.cancelling = Some(Box::pin(cancel(controller, session)));
            }
            Effect::Look(address, checks) => {
                self.looking = Some(Box::pin(look(self.prober.clone(), address, checks)));
            }
            Effect::Refused(address) => {
                tracing::error!(
                    address,
                    "the controller names an address outside the VM networks (probe.networks); it is not contacted"
                );
                self.recorder.synthetic_address_refused();
            }
            Effect::Redirected(to) => {
                tracing::error!(
                    to,
                    "what answers at synthetic.controller redirects; no redirect is followed"
                );
                self.recorder.synthetic_address_refused();
            }
            Effect::LeftAlone => {
                tracing::error!(
                    "two requests of the account cannot be told apart: no session is cancelled; use an account that nobody \
                     else does (synthetic.user_id)"
                );
            }
            Effect::Ended(run) => {
                tracing::info!(
                    result = run.result.as_str(),
                    failure = run.failure.map(|failure| failure.as_str()),
                    evidence = ?run.evidence,
                    "a synthetic boot's checks are over"
                );
                self.recorder.synthetic_run(run.result);
                if run.result == SyntheticResult::Passed {
                    self.recorder.synthetic_succeeded(Some(run.ended_at));
                }
                self.tell(*run).await;
            }
            Effect::Done { clean } => {
                if clean {
                    tracing::info!("a synthetic boot is cleaned up");
                } else {
                    tracing::error!(
                        "a synthetic boot cannot be cleaned up; no other begins before its VM is gone"
                    );
                }
                self.recorder.synthetic_cleaned(clean);
                if let Some(Shown::Trial(trial)) = self.canary.past().next() {
                    let phases = trial.phases.iter();
                    phases.for_each(|(phase, ms)| self.recorder.synthetic_phase(phase, ms));
                }
            }
        }
    }

    /// The owner may be gone when everything ends; then nobody judges any more.
    async fn tell(&mut self, run: SyntheticRun) {
        drop(self.ended.send(run).await);
    }

    async fn write(&mut self, trial: &Trial) {
        self.order(row(trial).into_iter().collect()).await;
    }

    /// The file that held them is another.
    async fn write_all(&mut self) {
        let skips = self.canary.past().filter_map(|shown| match shown {
            Shown::Skipped { at, reason } => Some(skip_row(*reason, *at)),
            Shown::Trial(_) => None,
        });
        let begun = self.canary.trials().filter_map(row);
        let rows: Vec<TrialRow> = begun.chain(skips).collect();
        if !rows.is_empty() {
            self.order(rows).await;
        }
    }

    async fn order(&mut self, rows: Vec<TrialRow>) {
        let (answer, written) = oneshot::channel();
        let sent = !rows.is_empty()
            && self
                .journal
                .send(JournalOrder { rows, answer })
                .await
                .is_ok();
        // What follows waits for the newest entry: those before it are written in their order.
        self.writing = Some(Box::pin(
            async move { sent && written.await.unwrap_or(false) },
        ));
    }

    /// Cancels what runs, if that is quickly done; what cannot be is the next start's.
    async fn last_word(self) {
        let Some(session) = self.canary.running().and_then(|trial| {
            let cancelled = trial.cancelled_at.is_some();
            trial.session.filter(|_| !cancelled)
        }) else {
            return;
        };
        match tokio::time::timeout(LAST_WORD, cancel(self.controller, session)).await {
            Ok(Ok(())) => tracing::info!("the synthetic boot that ran is cancelled"),
            _ => tracing::warn!("a synthetic boot runs on; the next start cleans up"),
        }
    }

    fn show(&self) {
        let now = self.clock.now();
        let canary = &self.canary;
        let running = canary.running().map(shown);
        let past: Vec<Value> = canary
            .past()
            .take(SHOWN)
            .map(|past| match past {
                Shown::Trial(trial) => shown(trial),
                Shown::Skipped { at, reason } => skipped(*at, Some(reason.as_str())),
            })
            .collect();
        let view = json!({
            "enabled": true,
            "next_run_at": rfc3339(canary.next_run()),
            "blocked_by": canary.forbidden(now).map(SkipReason::as_str),
            "running": running,
            "runs": past,
        });
        self.view.send_if_modified(|known| {
            let changed = **known != view;
            if changed {
                *known = Arc::new(view);
            }
            changed
        });
    }
}

/// One that was not begun, for history alone.
fn skip_row(reason: SkipReason, at: Timestamp) -> TrialRow {
    TrialRow {
        id: at.0,
        state: SKIPPED.to_owned(),
        intent: json!({ "reason": reason.as_str() }).to_string(),
        vm_id: None,
        session_id: None,
        started_at: at,
        ended_at: Some(at),
    }
}

/// An entry of the journal; without one nothing is done.
fn row(trial: &Trial) -> Option<TrialRow> {
    let intent = serde_json::to_string(trial)
        .inspect_err(|error| tracing::error!(%error, "a synthetic boot cannot be written down"))
        .ok()?;
    Some(TrialRow {
        id: i64::try_from(trial.mark >> 1).unwrap_or(i64::MAX),
        state: trial.state.as_str().to_owned(),
        intent,
        vm_id: trial.vm.map(|vm| vm.to_string()),
        session_id: trial.session.map(|session| session.to_string()),
        started_at: trial.started_at,
        ended_at: trial.done_at,
    })
}

fn rfc3339(at: Timestamp) -> Option<String> {
    Some(at.utc()?.to_string())
}

/// One that was not begun, as it is shown.
fn skipped(at: Timestamp, reason: Option<&str>) -> Value {
    json!({ "started_at": rfc3339(at), "result": "skipped", "reason": reason })
}

/// An entry of the journal as it is shown. Of one that this version cannot read its time is.
pub(super) fn shown_row(row: &TrialRow) -> Value {
    if row.state == SKIPPED {
        let intent: Value = serde_json::from_str(&row.intent).unwrap_or_default();
        return skipped(row.started_at, intent["reason"].as_str());
    }
    match serde_json::from_str(&row.intent) {
        Ok(trial) => shown(&trial),
        Err(_) => {
            json!({ "started_at": rfc3339(row.started_at), "state": row.state, "result": null })
        }
    }
}

/// A run as it is shown: without its mark, which proves to us alone that a request was ours.
fn shown(trial: &Trial) -> Value {
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let phases: serde_json::Map<String, Value> = trial
        .phases
        .iter()
        .map(|(phase, ms)| (phase.as_str().to_owned(), json!(seconds(ms))))
        .collect();
    json!({
        "started_at": rfc3339(trial.started_at),
        "state": trial.state.as_str(),
        "result": trial.result.map(SyntheticResult::as_str),
        "failure": trial.failure.map(|failure| failure.as_str()),
        "reason": trial.reason,
        "session_id": trial.session.map(|session| session.to_string()),
        "vm_id": trial.vm.map(|vm| vm.to_string()),
        "vm_ip": trial.ip.map(|ip| ip.to_string()),
        "phases": phases,
        "stopped_in": trial.phases.stopped().map(|phase| phase.as_str()),
        "total_seconds": seconds(trial.phases.total_ms()),
        "checks_ended_at": trial.ended_at.and_then(rfc3339),
        "cleaned_up": trial.clean,
        "cleaned_up_at": trial.done_at.and_then(rfc3339),
        "answerer": trial.answerer.map(Answerer::as_str),
        "clock_skew_seconds": trial.skew.map(|skew| seconds(skew.ms)),
        "addresses_refused": trial.refused,
        "taken_over": trial.resumed,
    })
}

async fn cancel(controller: Controller, session: SessionId) -> Result<(), CallError> {
    let ask = Ask {
        path: api::cancel_path(session),
        body: Some("{}".to_owned()),
        patience: Patience::Usual,
    };
    controller.ask(ask, api::cancelled).await.map(|_| ())
}

/// Whether it is well, and how many requests its limiter leaves.
async fn health(controller: Controller) -> Result<Option<u32>, CallError> {
    let ask = |path: &str| Ask {
        path: path.to_owned(),
        body: None,
        patience: Patience::Usual,
    };
    controller.ask(ask(api::HEALTH), api::healthy).await?;
    match controller.ask(ask(api::PING), api::pinged).await {
        Ok(((), head)) => Ok(head.left),
        Err(error @ CallError::Limited { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A prober that stands on nothing sees nothing, and says so.
async fn look(prober: Prober, address: VmAddress, checks: Vec<Check>) -> Looked {
    let look = match prober.footing().await {
        Footing::None => prober.unseen(address.ip(), &checks, ProbeResult::Skipped),
        Footing::Bridge | Footing::Controller => prober.look(address, &checks).await,
    };
    Looked::from(&look)
}
