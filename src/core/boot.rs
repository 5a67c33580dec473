//! The boot tracker: events into boots.
//!
//! ```text
//!   request ──► creating ──► created ──► waiting ──► ready
//!      │            │           │           ├──────► failed     (the wait timed out: class by its ladder)
//!      │            │           │           ├──────► cancelled  (the user, or someone else, destroyed the VM)
//!      │            │           │           └──────► lost       (controller gone, or the log says no more)
//!      │            │           └──────────────────► failed     (a database write between creation and wait)
//!      │            └──────────────────────────────► failed     (class by error text, else by the open step)
//!      └───────────────────────────────────────────► failed     (`not_started`: no VM was ever begun)
//! ```
//!
//! Events may be missing, late, repeated or out of order; whatever comes, a boot ends once. What arrives after its end
//! is counted (`late_marks`) and changes nothing but the tally of its wait's attempts, because a cancelled boot's wait
//! goes on; a second creation of a VM that differs from the first is counted so too. A restart of the controller only
//! marks open boots: one whose wait still speaks afterwards was not lost (a second instance that finds its port taken
//! writes the same banner). Time is event time: `advance` is given the time up to which the log has been read, so a
//! reader that stalls ends nothing.
//!
//! Memory is bounded: `MAX_OPEN` boots in flight and `MAX_ENDED` ended ones kept for late marks. The oldest in flight
//! beyond that is given up as lost and counted.
//!
//! What the tracker knows survives a restart (`keep`): every change marks the boot, address or user that it touches.

mod account;
mod controller;
mod creation;
mod ending;
mod entry;
mod guest;
mod keep;
mod lines;
mod probed;
mod request;
mod rows;
mod time;
mod wait;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::ops::Range;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::core::event::{
    AttemptResult, Event, EventKind, Failure, Origin, SessionId, Stage, StageOutcome, Timestamp,
    UserKey, VmId, VmType,
};
use crate::core::image::Sighting;
use crate::core::lease::{Addresses, FROZEN_MS, GRAIN_MS, Slot};
use crate::core::log_time::LogTime;
use crate::core::row::RowKey;
use crate::core::saved::Touched;

pub use account::{Boot, StageSpan};
use entry::{Entry, Evidence, Orphaned, Phase};
pub use lines::Lines;
pub use rows::{LogSight, ROWS};

pub const MAX_OPEN: usize = 10_000;
const MAX_ENDED: usize = 4_096;
const MAX_ENDED_WITHOUT_VM: usize = 512;
/// An ended boot is kept this long for late marks: longer than a cancelled boot's flow goes on (300 s and its waits).
const KEEP_ENDED_MS: i64 = 15 * 60_000;
/// A health check speaks at least every seven seconds.
const SPEAKS_WITHIN_MS: i64 = 10_000;
/// The controller waits 60 seconds for a CLI VM, and says nothing meanwhile; some time more, and it will say no more.
const CLI_WAIT_MS: i64 = 75_000;
/// A wait for a CLI VM is over no sooner, by stamps of whole seconds.
const CLI_DUE_MS: i64 = 58_000;
/// And no later, however long copies hold the controller up.
const CLI_FROZEN_MS: i64 = CLI_DUE_MS + FROZEN_MS;
const MAX_RUNGS: usize = 64;
/// At one attempt each 2 s: more than eight minutes.
const MAX_ATTEMPTS: usize = 256;
const MAX_EVIDENCE: usize = 6;
const EXCERPT: usize = 400;
/// A torn record is still shown, without the metadata that was cut.
const MAX_RAW_EVIDENCE: usize = 2 << 10;

/// What the tracker says after an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    StageEnded {
        vm_type: VmType,
        origin: Origin,
        stage: Stage,
        outcome: StageOutcome,
        ms: u32,
    },
    /// One health check ended. `boot` is the VM's number where it could be told.
    AttemptEnded(AttemptEnded),
    BootStarted {
        vm_type: Option<VmType>,
    },
    /// The boot's outcome is decided.
    BootEnded(Box<Boot>),
    /// The outcome stands; why it failed is known better.
    BootAmended(Box<Boot>),
    /// An ended boot's evidence grew; nothing of its outcome changed.
    BootEvidence(Box<Boot>),
    /// An ended boot's last stage became known: its session was ready.
    BootCompleted(Box<Boot>),
    /// An ended boot was copied from another golden image than the one it was credited to until now.
    BootCredited {
        boot: Box<Boot>,
        from: Option<String>,
    },
    /// The tracker is done with the boot; nothing of it changes any more.
    BootSettled(Box<Boot>),
    /// It wrote that it ends by an error that nobody caught.
    ControllerCrashed {
        at: Timestamp,
    },
    ControllerStarted {
        at: Timestamp,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttemptEnded {
    pub vm: Option<VmId>,
    pub result: AttemptResult,
    pub at: Timestamp,
    /// Of a failed attempt; a success line carries no time.
    pub ms: Option<u32>,
    /// How long the boot's wait has lasted, if it is still in flight.
    pub waited_ms: Option<u32>,
    pub deadline_ms: Option<u32>,
    /// The VM's process has ended: whatever the attempt met, that is why.
    pub died: bool,
    /// Who asked for the boot.
    pub origin: Origin,
}

/// What could not be told, and what was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerCounts {
    /// Health lines on an address that no known boot held.
    pub unattributed: u64,
    /// Records about boots that had ended, and second creations of a VM that differ from the first.
    pub late_marks: u64,
    /// Durations that were negative or longer than an hour.
    pub absurd_durations: u64,
    /// Boots given up because too many were in flight.
    pub evicted: u64,
    /// Requests that failed for a mistake of their caller.
    pub rejected_requests: u64,
    pub controller_starts: u64,
}

/// What the tracker holds: all of it bounded, whatever the log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Boots with a VM, in flight or ended and kept for late marks.
    pub boots: usize,
    pub sessions: usize,
    pub addresses: usize,
    pub requests: usize,
    /// Places in the queues, by which the oldest is found.
    pub queued: usize,
}

/// Redacts one raw record for evidence.
pub type Excerpt = fn(&[u8], usize) -> String;

/// The tracker of one controller.
#[derive(Clone, Debug)]
pub struct Tracker {
    excerpt: Excerpt,
    entries: Vec<Option<Entry>>,
    /// Empty slots below the last; the lowest is taken first.
    free: BTreeSet<Slot>,
    by_vm: HashMap<VmId, Slot>,
    by_session: HashMap<SessionId, Slot>,
    addresses: Addresses,
    requests: request::Requests,
    /// Boots in flight by place, oldest first.
    open: BTreeMap<u64, Slot>,
    ended: BTreeMap<u64, (Timestamp, Slot)>,
    /// Apart, so that a flood of requests drives out no boot whose wait goes on.
    ended_without_vm: BTreeMap<u64, (Timestamp, Slot)>,
    next_place: u64,
    /// Event time: the newest record's.
    time: LogTime,
    next_sweep: Timestamp,
    next_expire: Timestamp,
    counts: TrackerCounts,
    /// The newest record's time: unlike `newest` not moved on by time alone.
    heard: Timestamp,
    /// When the log last went on after a gap, or under a clock that was set forward.
    jumped_at: Timestamp,
    /// A controller has said that it starts, and not yet that it listens.
    starting_since: Option<Timestamp>,
    rows: rows::Rows,
    /// The golden image, oldest first; bounded. It is told anew after a start.
    sightings: VecDeque<Sighting>,
    /// Users whose boots are synthetic.
    synthetic: BTreeSet<UserKey>,
    /// Boots that changed since they were last saved.
    touched: Touched<Slot>,
    saved_rest: Option<keep::Rest>,
}

impl Tracker {
    #[must_use]
    pub fn new(excerpt: Excerpt) -> Tracker {
        Tracker {
            excerpt,
            entries: Vec::new(),
            free: BTreeSet::new(),
            by_vm: HashMap::new(),
            by_session: HashMap::new(),
            addresses: Addresses::default(),
            requests: request::Requests::default(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_without_vm: BTreeMap::new(),
            next_place: 0,
            time: LogTime::default(),
            next_sweep: Timestamp::MIN,
            next_expire: Timestamp::MIN,
            counts: TrackerCounts::default(),
            heard: Timestamp::MIN,
            jumped_at: Timestamp::MIN,
            starting_since: None,
            rows: rows::Rows::default(),
            sightings: VecDeque::new(),
            synthetic: BTreeSet::new(),
            touched: Touched::default(),
            saved_rest: None,
        }
    }

    /// Whose boots are synthetic. It is configured, and not saved: to be told again after a restore, before anything
    /// is observed.
    pub fn set_synthetic(&mut self, users: BTreeSet<UserKey>) {
        self.synthetic = users;
    }

    /// Who asked for a boot: what a boot says of it itself is certain only once it has ended.
    #[must_use]
    pub fn origin_of(&self, user: Option<UserKey>) -> Origin {
        match user.is_some_and(|user| self.synthetic.contains(&user)) {
            true => Origin::Synthetic,
            false => Origin::User,
        }
    }

    /// A boot as it is told of: with what rows know of it, and who asked for it.
    fn handed_out(&self, mut boot: Boot) -> Box<Boot> {
        self.rows.fill(&mut boot);
        boot.origin = self.origin_of(boot.user);
        Box::new(boot)
    }

    #[must_use]
    pub fn counts(&self) -> TrackerCounts {
        self.counts
    }

    /// Boots in flight.
    #[must_use]
    pub fn open_boots(&self) -> usize {
        self.open.len()
    }

    /// How much is held in memory.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            boots: self.by_vm.len(),
            sessions: self.by_session.len(),
            addresses: self.addresses.len(),
            requests: self.requests.len(),
            queued: self.open.len() + self.ended.len() + self.ended_without_vm.len(),
        }
    }

    pub fn open_iter(&self) -> impl Iterator<Item = &Boot> {
        self.entries
            .iter()
            .flatten()
            .map(|entry| &entry.boot)
            .filter(|boot| boot.is_open())
    }

    /// Takes one event; what follows from it is added to `out`.
    pub fn observe(&mut self, event: &Event<'_>, out: &mut Vec<Observation>) {
        let jumped = self.moves(event.at);
        self.hear(event, out);
        self.sweep_after(event.at, jumped, out);
    }

    fn hear(&mut self, event: &Event<'_>, out: &mut Vec<Observation>) {
        match event.kind {
            EventKind::StepDone {
                vm,
                step,
                elapsed_ms,
                ip,
            } => self.step_done(event, vm, step, elapsed_ms, ip, out),
            EventKind::StepStarted { vm, step } => self.step_started(event, vm, step, out),
            EventKind::AttemptStarted { ip, elapsed_ms } => {
                self.attempt_started(event, ip, elapsed_ms)
            }
            EventKind::AttemptFailed {
                ip,
                error,
                elapsed_ms,
            } => {
                self.attempt_failed(event, ip, AttemptResult::Error(error), elapsed_ms, out);
            }
            EventKind::AttemptAnswered { ip, status } => {
                self.attempt_answered(event, ip, status, out)
            }
            EventKind::AgentSaid {
                ip,
                answerer,
                guest_at,
            } => self.agent_said(event, ip, answerer, guest_at),
            EventKind::AttemptRejected { ip, status } => {
                self.attempt_rejected(event, ip, status, out)
            }
            EventKind::VncNotReady { ip } => self.vnc_not_ready(event, ip, out),
            EventKind::WaitStarted { ip, limits } => self.wait_started(event, ip, limits),
            EventKind::WaitReady { ip } => self.wait_ready(event, ip, out),
            EventKind::WaitTimedOut { ip, deadline_ms } => {
                self.wait_timed_out(event, ip, deadline_ms, out)
            }
            EventKind::CreateStarted {
                vm,
                user,
                vm_type,
                started_at,
            } => {
                self.create_started(event, vm, user, vm_type, started_at, out);
            }
            EventKind::InjectStarted { vm } => self.inject_started(event, vm, out),
            EventKind::InjectDone { vm } => self.inject_done(event, vm, out),
            EventKind::InjectFailed { vm } => self.inject_failed(event, vm, out),
            EventKind::Created {
                vm,
                ip,
                vm_type,
                total_ms,
            } => self.created(event, vm, ip, vm_type, total_ms, out),
            EventKind::CreateFailed { .. } => self.create_failed(event, out),
            EventKind::HandedOver {
                vm,
                user,
                session,
                ip,
            } => self.handed_over(event, vm, user, session, ip, out),
            EventKind::HandOverFailed {
                user,
                session,
                error,
            } => self.hand_over_failed(user, session, error),
            EventKind::CliReady { ip } => self.cli_ready(event, ip, out),
            EventKind::CliReused { user, vm } => self.cli_reused(user, vm),
            EventKind::RequestLetIn { user } => self.request_let_in(event, user),
            EventKind::StartFailed { error, rejected } => {
                self.start_failed(event, error, rejected, out)
            }
            EventKind::RequestAccepted { user } => self.request_accepted(event, user, out),
            EventKind::SessionNamed { user, session } => self.session_named(user, session),
            EventKind::SessionOpened { user, session } => {
                self.session_opened(event, user, session, out)
            }
            EventKind::RequestFailed { .. } => self.request_failed(event, out),
            EventKind::OauthStarted { session, ip } => self.oauth_started(event, session, ip, out),
            EventKind::OauthGoesOn { session } => self.oauth_goes_on(event, session, out),
            EventKind::FlowOver { session, vm, end } => {
                self.flow_over(event, session, vm, end, out)
            }
            EventKind::FlowFailed {
                session,
                user: _,
                error,
            } => self.flow_failed(event, session, error, out),
            EventKind::SessionCancelled { session } => self.session_cancelled(event, session, out),
            // Whoever marks requests and asks what is left of them knows what to make of it.
            EventKind::RequestMarked { .. }
            | EventKind::RequestUnmarked
            | EventKind::Destroyed { .. } => {}
            EventKind::Destroying { vm } => self.destroying(event, vm, out),
            EventKind::ProcessExited {
                vm,
                code: _,
                signalled,
            } => self.process_exited(event, vm, signalled, out),
            // Who reads it tells of it.
            EventKind::ConsoleArchived { .. } => {}
            EventKind::ConsoleQuoted { vm, said } => self.quoted(vm, said, event.at, out),
            EventKind::ControllerStarting => self.controller_starts(event.at, out),
            EventKind::ControllerStarted => self.controller_started(event.at, out),
            EventKind::ControllerStopping => self.controller_stops(event.at, out),
            EventKind::ControllerCrashed => self.controller_crashes(event.at, out),
        }
    }

    /// The log has ended and nothing will follow: what the controller left behind is lost, the rest stays in flight.
    /// Every boot is handed out.
    pub fn finish(&mut self, out: &mut Vec<Observation>) {
        self.jumped_at = Timestamp::MIN;
        self.sweep(out);
        for slot in self.live_slots() {
            if self
                .entry(slot)
                .is_some_and(|entry| entry.boot.is_open() && entry.orphaned.is_some())
            {
                self.lose(slot, Failure::ControllerRestarted, self.time.newest, out);
            }
        }
        self.finish_requests(out);
        for slot in self.live_slots() {
            self.settle(slot, out);
        }
        self.addresses = Addresses::default();
        self.requests = request::Requests::default();
    }

    fn live_slots(&self) -> Vec<Slot> {
        (0..)
            .zip(&self.entries)
            .filter_map(|(slot, entry)| entry.as_ref().map(|_| slot))
            .collect()
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// The entry, about to be changed.
    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        self.touched.mark(slot);
        Some(entry)
    }

    /// The boot of `vm`, opened if this is the first word of it.
    fn slot_of(&mut self, vm: VmId, event: &Event<'_>, out: &mut Vec<Observation>) -> Slot {
        if let Some(slot) = self.by_vm.get(&vm) {
            return *slot;
        }
        self.rows.hear(RowKey::Vm(vm), event.at);
        let boot = Boot::new(Some(vm), event.provenance, event.at);
        let slot = self.insert(boot, event.at, out);
        self.by_vm.insert(vm, slot);
        slot
    }

    fn insert(&mut self, boot: Boot, at: Timestamp, out: &mut Vec<Observation>) -> Slot {
        while self.open.len() >= MAX_OPEN {
            let Some(oldest) = self.open.first_key_value().map(|(_, slot)| *slot) else {
                break;
            };
            self.counts.evicted += 1;
            self.lose(oldest, Failure::Unknown, at, out);
            self.settle(oldest, out);
        }
        let entry = Entry {
            boot,
            phase: Phase::Creating,
            marked: false,
            steps: [None; 7],
            begun: None,
            created_ms: None,
            injecting_since: None,
            injection_failed: false,
            error_hash: 0,
            evidence: Vec::new(),
            destroyed: false,
            goes_on: false,
            attempted: false,
            died_at: None,
            reused: false,
            orphaned: None,
            last_seen: at,
            clock_set_ms: None,
            network_up: None,
            agent_up: None,
            copied_at: None,
            place: self.take_place(),
            kept_since: None,
        };
        let place = entry.place;
        let slot = match self.free.pop_first() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                Slot::try_from(self.entries.len() - 1).unwrap_or(Slot::MAX)
            }
        };
        self.open.insert(place, slot);
        self.touched.mark(slot);
        slot
    }

    /// A place behind all others in the queues.
    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }

    /// Notes that the boot was spoken of; false if it has ended already.
    fn touch(&mut self, slot: Slot, at: Timestamp) -> bool {
        let Some(entry) = self.entry_mut(slot) else {
            return false;
        };
        if entry.boot.is_open() {
            entry.speaks(at);
            return true;
        }
        self.mark_is_late(slot);
        false
    }

    fn mark_is_late(&mut self, slot: Slot) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.boot.late_marks = entry.boot.late_marks.saturating_add(1);
            self.counts.late_marks += 1;
        }
    }

    /// Keeps a record as evidence. It is redacted only where its boot ends badly and somebody looks: most never are.
    fn keep_evidence(&mut self, slot: Slot, record: &[u8]) {
        if let Some(entry) = self.entry_mut(slot)
            && entry.evidence.len() < MAX_EVIDENCE
        {
            let kept = &record[..record.len().min(MAX_RAW_EVIDENCE)];
            entry.evidence.push(Evidence::Raw(kept.into()));
        }
    }

    fn render_evidence(&mut self, slot: Slot) {
        let excerpt = self.excerpt;
        if let Some(entry) = self.entry_mut(slot) {
            let kept = std::mem::take(&mut entry.evidence);
            entry.boot.evidence = entry::lines(kept, excerpt);
        }
    }

    /// Records a stage by the stamps between which it ran, if they make a sane duration.
    fn stage_took(
        &mut self,
        slot: Slot,
        stage: Stage,
        took: Range<Timestamp>,
        outcome: StageOutcome,
        out: &mut Vec<Observation>,
    ) {
        if let Some(ms) = self.coarse_duration(took.start, took.end) {
            let started_at = took.start;
            self.stage_ended(
                slot,
                stage,
                StageSpan {
                    started_at,
                    ms,
                    outcome,
                    coarse: true,
                    by_console: false,
                },
                out,
            );
        }
    }

    /// Records a stage once and says so.
    fn stage_ended(
        &mut self,
        slot: Slot,
        stage: Stage,
        span: StageSpan,
        out: &mut Vec<Observation>,
    ) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let boot = &mut entry.boot;
        if boot.stages[stage as usize].is_some() {
            return;
        }
        boot.stages[stage as usize] = Some(span);
        let (vm_type, user) = (boot.kind(), boot.user);
        out.push(Observation::StageEnded {
            vm_type,
            origin: self.origin_of(user),
            stage,
            outcome: span.outcome,
            ms: span.ms,
        });
    }

    /// Milliseconds from one time to another, if that is a sane duration.
    fn duration(&mut self, from: Timestamp, to: Timestamp) -> Option<u32> {
        match u32::try_from(to.since(from)) {
            Ok(ms) if ms <= crate::core::sketch::MAX_MS => Some(ms),
            _ => {
                self.counts.absurd_durations += 1;
                None
            }
        }
    }

    /// The same by the clock, of whose whole seconds one and the same may seem to end before it begins. More than that
    /// is a clock that was set, and no length.
    fn coarse_duration(&mut self, from: Timestamp, to: Timestamp) -> Option<u32> {
        match from.since(to) {
            1..=GRAIN_MS => Some(0),
            _ => self.duration(from, to),
        }
    }

    fn join_session(&mut self, slot: Slot, session: SessionId) {
        self.rows.hear(RowKey::Session(session), self.time.newest);
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let before = entry.boot.session.replace(session);
        if before == Some(session) {
            return;
        }
        if let Some(before) = before
            && self.by_session.get(&before) == Some(&slot)
        {
            self.by_session.remove(&before);
        }
        if let Some(other) = self.by_session.insert(session, slot) {
            self.touched.mark(other);
        }
    }

    fn join_address(&mut self, slot: Slot, ip: Ipv4Addr) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let before = entry.boot.ip.replace(ip);
        if let Some(before) = before.filter(|before| *before != ip) {
            self.addresses.forget(before, slot);
        }
        self.addresses.lease(ip, slot);
    }
}
