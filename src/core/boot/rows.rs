//! Boots that only the database tells of.
//!
//! ```text
//!   first row ──► waiting ──► open ──► told: ended by its rows, or lost; only that is remembered
//!                    │          │
//!                    └──────────┴────► heard: the log speaks of it, and decides
//! ```
//!
//! A row waits for the log's first word: nothing is opened before the log was read past the row's creation by a grace,
//! or cannot be read at all. What the log has ever spoken of is remembered for as long as rows are read, so that no VM
//! becomes two boots, whatever comes first and however often rows are read again. The rows of a boot that the log knows
//! fill the fields that it lacks, when the boot is handed out, and nothing else.
//!
//! Rows tell states. `cancelled` and `destroyed` decide nothing; a VM without a process after a minute never started;
//! what nothing decides is lost. Should the log speak of a boot after its rows ended it, then the boot is the log's
//! again: its end was told once and is not told twice, but what is settled, and so kept, is the log's verdict.
//!
//! Nothing is judged by single rows: `judge_rows` follows a whole poll, so that the rows' order makes no difference.

mod keep;
mod verdict;

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use self::verdict::ended_at;
use super::{Boot, Observation, Tracker};
use crate::core::event::{
    Origin, Outcome, Provenance, SessionId, Timestamp, UserKey, VmId, VmType,
};
use crate::core::row::{Row, RowKey, SessionRow, Verdict, VmRow};
use crate::core::saved::{Changes, RestoreError, Touched};

/// `Provenance::source` of a boot that only rows told of.
pub const ROWS: u16 = u16::MAX;
/// The log has this long, by its own time, to speak of a VM whose row exists.
const GRACE_MS: i64 = 30_000;
/// Rows older than this are not read again, unless they are open.
const WINDOW_MS: i64 = 48 * 3_600_000;
/// What is remembered outlives the window.
const KEEP_MS: i64 = WINDOW_MS + 2 * 3_600_000;
/// Longer than any wait with its creation; the session's own end comes within it, or nobody will know.
const LOST_MS: i64 = 15 * 60_000;
/// The request that provisioned a CLI VM was made at most this long before the VM's record.
const REQUEST_MS: i64 = 3 * 60_000;
/// A row's creation may follow the log's first word of its VM by a whole creation.
const FORGOTTEN_MARGIN_MS: i64 = 10 * 60_000;
const MAX_WATCHED: usize = 16_384;
const MAX_KNOWN: usize = 32_768;
const VERSION: u32 = 1;
const KNOWN: &str = "known/";
const WATCHED: &str = "row/";

/// How far the log was read when rows are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSight {
    /// It cannot be read, or is not there: rows alone must do.
    Blind,
    /// Up to here, by the controller's clock; when it was read to its end, now.
    ReadTo(Timestamp),
}

/// What followed from rows: of rows that the first window ever brought, and of those since.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RowsSaid {
    pub(super) past: Vec<Observation>,
    pub(super) live: Vec<Observation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Waiting,
    Open,
    Heard,
}

/// What is remembered of a VM or session: no row of it opens a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    at: Timestamp,
    /// Rows ended its boot; otherwise the log has spoken of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    told: bool,
}

/// The rows of one boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Watched {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vm: Option<VmRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionRow>,
    phase: Phase,
    /// Something of it was seen after the first window.
    live: bool,
}

impl Watched {
    /// The VM's, which is later than its session's. Rows that come later never make it earlier: what was told must not
    /// be forgotten for its age.
    fn created_at(&self) -> Timestamp {
        let vm = self.vm.as_ref().map(|vm| vm.created_at);
        let session = self.session.as_ref().map(|session| session.created_at);
        vm.max(session).unwrap_or(Timestamp::MIN)
    }

    fn user(&self) -> Option<UserKey> {
        let vm = self.vm.as_ref().and_then(|vm| vm.user);
        vm.or(self.session.as_ref().and_then(|session| session.user))
    }

    fn vm_type(&self) -> Option<VmType> {
        let told = self.vm.as_ref().and_then(|vm| vm.vm_type);
        // Only browser VMs have sessions.
        told.or(self.session.as_ref().map(|_| VmType::Browser))
    }

    fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Open)
    }

    /// Gives a boot the fields that it lacks.
    fn fill(&self, boot: &mut Boot) {
        let session = self.session.as_ref();
        boot.user = boot.user.or(self.user());
        boot.session = boot.session.or(session.map(|session| session.session));
        boot.vm_type = boot.vm_type.or(self.vm_type());
        let ip = self.vm.as_ref().and_then(|vm| vm.ip);
        boot.ip = boot.ip.or(ip).or(session.and_then(|session| session.ip));
    }

    fn boot(&self, key: RowKey) -> Boot {
        let (vm, offset) = match key {
            RowKey::Vm(vm) => (Some(vm), 0),
            // Part of the boot's id: the same whichever version of the row is seen.
            #[expect(clippy::cast_possible_truncation, reason = "its random half is enough")]
            RowKey::Session(session) => (None, session.0 as u64),
        };
        let first = Provenance {
            source: ROWS,
            generation: 0,
            offset,
        };
        let mut boot = Boot::new(vm, first, self.created_at());
        self.fill(&mut boot);
        boot
    }

    /// What the rows were, for a boot that ended badly.
    fn evidence(&self) -> Vec<String> {
        let vm = self.vm.as_ref().map(|vm| {
            let process = if vm.has_process { "a" } else { "no" };
            format!("row of vms: status {}, {process} process", vm.status)
        });
        let session = self.session.as_ref().map(|session| {
            let error = session.error.as_deref().unwrap_or("none");
            format!(
                "row of auth_sessions: status {}, error: {error}",
                session.status
            )
        });
        vm.into_iter().chain(session).collect()
    }
}

/// Rows without a boot of the log's, and what the log has spoken of.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    on: bool,
    watched: HashMap<RowKey, Watched>,
    /// By age, to forget the oldest.
    by_age: BTreeSet<(Timestamp, RowKey)>,
    /// Those that may still open a boot.
    pending: BTreeSet<(Timestamp, RowKey)>,
    /// Under which key a session's rows are.
    sessions: HashMap<SessionId, RowKey>,
    known: HashMap<RowKey, Known>,
    /// Oldest first.
    known_order: VecDeque<RowKey>,
    /// Rows created before this open no boot: what was known of their time had to be forgotten.
    floor: Timestamp,
    /// Rows created before this are beyond the window.
    horizon: Timestamp,
    touched: Touched<RowKey>,
    touched_known: Touched<RowKey>,
    saved_rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Rest {
    version: u32,
    floor: Timestamp,
    parts: usize,
}

impl Rows {
    /// The log has spoken of this VM or session.
    pub(super) fn hear(&mut self, key: RowKey, at: Timestamp) {
        if !self.on {
            return;
        }
        self.remember(key, Known { at, told: false });
        let of_session = match key {
            RowKey::Session(session) => self.sessions.get(&session).copied(),
            RowKey::Vm(_) => None,
        };
        for key in [Some(key), of_session].into_iter().flatten() {
            self.set_phase(key, Phase::Heard);
        }
    }

    fn remember(&mut self, key: RowKey, known: Known) {
        if self.known.contains_key(&key) {
            return;
        }
        self.known.insert(key, known);
        self.known_order.push_back(key);
        self.touched_known.mark(key);
        while self.known.len() > MAX_KNOWN {
            self.forget_known();
        }
    }

    /// Forgets what was known first; rows of that time open nothing any more.
    fn forget_known(&mut self) {
        if let Some(key) = self.known_order.pop_front()
            && let Some(known) = self.known.remove(&key)
        {
            self.touched_known.mark(key);
            self.floor = self.floor.max(known.at.plus_ms(FORGOTTEN_MARGIN_MS));
        }
    }

    /// Whether this very row is known.
    fn has(&self, key: RowKey, row: &Row) -> bool {
        self.watched.get(&key).is_some_and(|watched| match row {
            Row::Vm(row) => watched.vm.as_ref() == Some(row),
            Row::Session(row) => watched.session.as_ref() == Some(row),
        })
    }

    fn is_known(&self, key: RowKey, session: Option<SessionId>) -> bool {
        let session = session.map(RowKey::Session);
        self.known.contains_key(&key) || session.is_some_and(|key| self.known.contains_key(&key))
    }

    fn set_phase(&mut self, key: RowKey, phase: Phase) {
        let Some(watched) = self.watched.get_mut(&key) else {
            return;
        };
        if watched.phase == phase {
            return;
        }
        watched.phase = phase;
        self.touched.mark(key);
        let place = (watched.created_at(), key);
        if watched.is_pending() {
            self.pending.insert(place);
        } else {
            self.pending.remove(&place);
        }
    }

    /// Puts rows under a key, in place of what was there.
    fn put(&mut self, key: RowKey, watched: Watched) {
        self.take(key);
        let place = (watched.created_at(), key);
        self.by_age.insert(place);
        if watched.is_pending() {
            self.pending.insert(place);
        }
        if let Some(session) = &watched.session {
            self.sessions.insert(session.session, key);
        }
        self.watched.insert(key, watched);
        self.touched.mark(key);
    }

    fn take(&mut self, key: RowKey) -> Option<Watched> {
        let watched = self.watched.remove(&key)?;
        let place = (watched.created_at(), key);
        self.by_age.remove(&place);
        self.pending.remove(&place);
        if let Some(session) = &watched.session
            && self.sessions.get(&session.session) == Some(&key)
        {
            self.sessions.remove(&session.session);
        }
        self.touched.mark(key);
        Some(watched)
    }

    /// The rows of this boot.
    fn of(&self, vm: Option<VmId>, session: Option<SessionId>) -> Option<&Watched> {
        if self.watched.is_empty() {
            return None;
        }
        let by_vm = vm.and_then(|vm| self.watched.get(&RowKey::Vm(vm)));
        by_vm.or_else(|| self.watched.get(self.sessions.get(&session?)?))
    }

    /// Whether the end of this boot was told from its rows.
    pub(super) fn was_told(&self, boot: &Boot) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let keys = [boot.vm.map(RowKey::Vm), boot.session.map(RowKey::Session)];
        let told = |key| self.known.get(&key).is_some_and(|known| known.told);
        keys.into_iter().flatten().any(told)
    }

    /// Whether the boot was handed out under a session's name, of which the log makes another.
    pub(super) fn was_settled(&self, boot: &Boot) -> bool {
        boot.vm.is_none() && self.was_told(boot)
    }

    /// Gives a boot of the log's the fields that it lacks and its rows have.
    pub(super) fn fill(&self, boot: &mut Boot) {
        if let Some(watched) = self.of(boot.vm, boot.session) {
            watched.fill(boot);
        }
    }

    /// The log is done with the boot: its rows are of no more use.
    pub(super) fn settled(&mut self, boot: &Boot) {
        let by_vm = boot.vm.map(RowKey::Vm);
        let by_session = boot
            .session
            .and_then(|session| self.sessions.get(&session).copied());
        for key in [by_vm, by_session].into_iter().flatten() {
            let heard = |watched: &Watched| watched.phase == Phase::Heard;
            if self.watched.get(&key).is_some_and(heard) {
                self.take(key);
            }
        }
    }

    fn open(&self) -> impl Iterator<Item = (VmType, Option<UserKey>)> + '_ {
        self.pending.iter().filter_map(|(_, key)| {
            let watched = self.watched.get(key)?;
            let open = watched.phase == Phase::Open;
            let vm_type = watched.vm_type().unwrap_or(VmType::Browser);
            open.then(|| (vm_type, watched.user()))
        })
    }

    fn expire(&mut self, as_of: Timestamp) {
        while let Some((created_at, key)) = self.by_age.first().copied() {
            let old = as_of.since(created_at) >= KEEP_MS;
            if !old && self.watched.len() <= MAX_WATCHED {
                break;
            }
            if !old {
                self.floor = self.floor.max(created_at);
            }
            self.take(key);
        }
        // A log whose clock was far ahead must not shut out every row.
        self.floor = self.floor.min(as_of);
        while let Some(key) = self.known_order.front() {
            let fresh = |known: &Known| as_of.since(known.at) < KEEP_MS;
            if self.known.get(key).is_some_and(fresh) {
                break;
            }
            self.forget_known();
        }
    }
}

impl Tracker {
    /// From now on the log's words are remembered, so that rows can be told from them. What it said up to `heard_to` was
    /// not remembered: rows of that time open no boot. To be called before the first event.
    pub fn watch_rows(&mut self, heard_to: Option<Timestamp>) {
        self.rows.on = true;
        if let Some(at) = heard_to {
            self.rows.floor = self.rows.floor.max(at.plus_ms(FORGOTTEN_MARGIN_MS));
        }
    }

    /// Takes one row; `first` if it is of the first window ever read. What follows is said by `judge_rows`.
    pub fn row(&mut self, row: &Row, first: bool) {
        let (key, session) = match row {
            Row::Vm(row) => (RowKey::Vm(row.vm), None),
            Row::Session(row) => {
                let vm = row.vm.or_else(|| row.failed_vm());
                (
                    vm.map_or(RowKey::Session(row.session), RowKey::Vm),
                    Some(row.session),
                )
            }
        };
        let known = self.rows.is_known(key, session);
        if self.rows.has(key, row) || known && !self.is_held(key, session) {
            return;
        }
        let forgotten = row.created_at() <= self.rows.floor.max(self.rows.horizon);
        if forgotten && !self.rows.watched.contains_key(&key) {
            return;
        }
        let before = self.rows.take(key);
        // A session that has its VM now.
        let moved = session
            .map(RowKey::Session)
            .filter(|old| *old != key)
            .and_then(|old| self.rows.take(old));
        let (opened, live) =
            moved.map_or((Phase::Waiting, false), |moved| (moved.phase, moved.live));
        let mut watched = before.unwrap_or(Watched {
            vm: None,
            session: None,
            phase: opened,
            live,
        });
        if known {
            watched.phase = Phase::Heard;
        }
        let changed = match row {
            Row::Vm(row) => watched.vm.replace(row.clone()).as_ref() != Some(row),
            Row::Session(row) => watched.session.replace(row.clone()).as_ref() != Some(row),
        };
        watched.live |= live || changed && !first;
        self.rows.put(key, watched);
    }

    /// Whether the boot is still in the tracker's hands.
    fn is_held(&self, key: RowKey, session: Option<SessionId>) -> bool {
        let by_vm = match key {
            RowKey::Vm(vm) => self.by_vm.contains_key(&vm),
            RowKey::Session(_) => false,
        };
        by_vm || session.is_some_and(|session| self.by_session.contains_key(&session))
    }

    /// The row is gone from its table, and with it what only it told. What was told stays told.
    pub fn row_vanished(&mut self, key: RowKey) {
        let key = match key {
            RowKey::Session(session) => self.rows.sessions.get(&session).copied(),
            RowKey::Vm(_) => Some(key),
        };
        let Some(key) = key else { return };
        let waits = |watched: &Watched| watched.phase == Phase::Waiting;
        if self.rows.watched.get(&key).is_some_and(waits) {
            self.rows.take(key);
        }
    }

    /// The kinds of all boots in flight and who asked for them, those that only rows tell of among them.
    pub fn in_flight(&self) -> impl Iterator<Item = (VmType, Origin)> + '_ {
        self.open_iter()
            .map(|boot| (boot.kind(), boot.user))
            .chain(self.rows.open())
            .map(|(vm_type, user)| (vm_type, self.origin_of(user)))
    }

    /// The kinds of those that users asked for: whatever is a figure of users' boots counts these.
    pub fn users_in_flight(&self) -> impl Iterator<Item = VmType> + '_ {
        self.in_flight()
            .filter(|(_, origin)| *origin == Origin::User)
            .map(|(vm_type, _)| vm_type)
    }

    /// Whether the log has a boot of this VM in flight.
    #[must_use]
    pub fn is_in_flight(&self, vm: VmId) -> bool {
        let slot = self.by_vm.get(&vm).copied();
        slot.and_then(|slot| self.entry(slot))
            .is_some_and(|entry| entry.boot.is_open())
    }

    /// A poll is complete, as of this time by the database's clock: opens and ends the boots that only rows tell of.
    ///
    /// What follows is told one by one, so that a first look at thousands of boots holds one of them at a time: of rows
    /// that the first window ever brought (`false`), and after them of those since (`true`).
    pub fn judge_rows(
        &mut self,
        as_of: Timestamp,
        log: LogSight,
        tell: &mut dyn FnMut(Observation, bool),
    ) {
        self.rows.horizon = as_of.plus_ms(-WINDOW_MS);
        self.rows.expire(as_of);
        let due = self.rows.due(as_of, log);
        for key in &due {
            self.rows.join_by_user(*key);
        }
        // CLI VMs first: what became of their requests' sessions tells how they were, and is let go of once told.
        let of_cli = |key: &RowKey| {
            let watched = self.rows.watched.get(key);
            watched.and_then(Watched::vm_type) == Some(VmType::Cli)
        };
        let (cli, others): (Vec<RowKey>, Vec<RowKey>) = due.into_iter().partition(of_cli);
        let mut said = RowsSaid::default();
        for key in cli.into_iter().chain(others) {
            self.rows.judge(key, as_of, &mut said);
            for mut observation in said.past.drain(..) {
                self.name_origin(&mut observation);
                tell(observation, false);
            }
        }
        for mut observation in said.live {
            self.name_origin(&mut observation);
            tell(observation, true);
        }
    }

    fn name_origin(&self, observation: &mut Observation) {
        if let Observation::BootEnded(boot) | Observation::BootSettled(boot) = observation {
            boot.origin = self.origin_of(boot.user);
        }
    }

    /// What has changed of the rows since the last call, all of it at the first one.
    pub fn row_changes(&mut self) -> Changes {
        self.rows.changes()
    }

    /// Takes back what `row_changes` told, after the tracker itself was restored.
    pub fn restore_rows<K: Into<String>, V: Into<String>>(
        &mut self,
        parts: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), RestoreError> {
        self.rows = Rows {
            on: self.rows.on,
            ..Rows::restore(parts)?
        };
        Ok(())
    }
}

impl Rows {
    /// The rows that the log had its time to speak of, oldest first. Those beyond the window, or older than what is
    /// remembered, are let go of.
    fn due(&mut self, as_of: Timestamp, log: LogSight) -> Vec<RowKey> {
        let heard_to = match log {
            LogSight::Blind => as_of,
            LogSight::ReadTo(at) => at.min(as_of),
        };
        let waited: Vec<(Timestamp, RowKey)> = self
            .pending
            .iter()
            .take_while(|(created_at, _)| heard_to.since(*created_at) >= GRACE_MS)
            .copied()
            .collect();
        let mut due = Vec::with_capacity(waited.len());
        for (created_at, key) in waited {
            if created_at <= self.floor.max(self.horizon) {
                self.take(key);
            } else {
                due.push(key);
            }
        }
        due
    }

    /// A session that failed without naming its VM, and a VM of the same user's that was begun then and never got a
    /// process, are one boot.
    fn join_by_user(&mut self, key: RowKey) {
        let Some(watched) = self.watched.get(&key) else {
            return;
        };
        let (RowKey::Session(_), Some(session)) = (key, watched.session.clone()) else {
            return;
        };
        let failed = session
            .verdict()
            .is_some_and(|v| v.outcome == Outcome::Failed);
        let (Some(user), true) = (session.user, failed && watched.is_pending()) else {
            return;
        };
        let last = session.created_at.plus_ms(REQUEST_MS);
        let range = (session.created_at, RowKey::Vm(VmId(0)))..(last, RowKey::Vm(VmId(0)));
        let begun_for_it = |watched: &Watched| {
            let vm = watched.vm.as_ref();
            vm.is_some_and(|vm| !vm.has_process && vm.vm_type != Some(VmType::Cli))
                && watched.session.is_none()
                && watched.user() == Some(user)
        };
        let found = self
            .by_age
            .range(range)
            .map(|(_, key)| *key)
            .find(|key| self.watched.get(key).is_some_and(begun_for_it));
        let Some((found, mut vm)) = found.and_then(|key| Some((key, self.take(key)?))) else {
            return;
        };
        if let Some(without_vm) = self.take(key) {
            vm.live |= without_vm.live;
        }
        vm.session = Some(session);
        self.put(found, vm);
    }

    fn judge(&mut self, key: RowKey, as_of: Timestamp, said: &mut RowsSaid) {
        let Some(watched) = self.watched.get(&key).filter(|w| w.is_pending()) else {
            return;
        };
        let ended = self.verdict(watched, as_of);
        // Begun before anybody watched, and nothing tells how it went: a VM that was there, and no boot that was lost.
        if !watched.live && watched.phase == Phase::Waiting && ended == Some(Verdict::LOST) {
            self.tell(key);
            return;
        }
        // Of a session without a VM nothing is said until it has ended: its VM may come, and give the boot its name.
        let opens = matches!(key, RowKey::Vm(_)) || ended.is_some();
        if !opens {
            return;
        }
        let out = match watched.live {
            true => &mut said.live,
            false => &mut said.past,
        };
        let mut boot = watched.boot(key);
        if watched.phase == Phase::Waiting {
            let vm_type = boot.vm_type;
            out.push(Observation::BootStarted { vm_type });
        }
        let Some(verdict) = ended else {
            self.set_phase(key, Phase::Open);
            return;
        };
        boot.outcome = Some(verdict.outcome);
        boot.failure = verdict.failure;
        boot.failed_stage = verdict.stage;
        boot.ended_at = Some(ended_at(watched, verdict.outcome, as_of));
        if verdict.outcome != Outcome::Ready {
            boot.evidence = watched.evidence().into();
        }
        if verdict.outcome == Outcome::Failed {
            boot.error = watched
                .session
                .as_ref()
                .and_then(|session| session.error.clone());
        }
        let boot = Box::new(boot);
        out.push(Observation::BootEnded(boot.clone()));
        out.push(Observation::BootSettled(boot));
        self.tell(key);
    }

    /// Rows have ended the boot: what is left of them is that no other row opens it again.
    fn tell(&mut self, key: RowKey) {
        let Some(watched) = self.take(key) else {
            return;
        };
        let known = Known {
            at: watched.created_at(),
            told: true,
        };
        self.remember(key, known);
        if let Some(session) = &watched.session {
            self.remember(RowKey::Session(session.session), known);
        }
    }
}
