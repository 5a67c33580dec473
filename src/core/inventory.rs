//! What exists, as the database tells: the rows of `vms` and `auth_sessions` that matter, and what is counted of them.
//!
//! Held are rows that are open, and those of the last 48 hours. Rows come late, again and in any order; a row read
//! twice changes nothing. That a session reached a status is counted once: what each session has reached is part of
//! what is kept over a restart, and a session that was let go of is not taken again. What the first window ever brought
//! is the past and not counted.
//!
//! Memory is bounded: beyond `MAX_ROWS` the oldest closed rows are let go of, then the oldest, and counted.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::core::event::{SessionId, Timestamp, UserKey, VmId, VmType, words};
use crate::core::row::{Provider, Row, RowKey, SessionRow, SessionStatus, VmRow, VmStatus};
use crate::core::saved::{Changes, REST, RestoreError, Saved, Touched};

/// Of both tables together.
pub const MAX_ROWS: usize = 20_000;
/// The hourly window, and an hour more: no row is let go of that the window still brings.
const KEEP_MS: i64 = 49 * 3_600_000;
/// The controller's pool: 192.168.100.2 to .254.
pub const POOL: usize = 253;
const VERSION: u32 = 1;
const VM: &str = "vm/";
const SESSION: &str = "session/";

words! {
    /// What became of an address of the controller's pool. `Ghost`: held by a row without a VM.
    AddressState { Used = "used", Ghost = "ghost", Free = "free", }
}

/// How many of the pool's addresses are in which state: by name, since three numbers in a row are soon read in another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub used: usize,
    /// Held by rows whose VM is not there.
    pub ghost: usize,
    pub free: usize,
}

impl Addresses {
    #[must_use]
    pub fn of(self, state: AddressState) -> usize {
        match state {
            AddressState::Used => self.used,
            AddressState::Ghost => self.ghost,
            AddressState::Free => self.free,
        }
    }
}

/// One poll, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// By the database's clock.
    pub as_of: Timestamp,
    /// Everything created since then was read, and every open row.
    pub full_since: Option<Timestamp>,
    /// How far a replica lags behind; `None` for a primary.
    pub lag_ms: Option<i64>,
    /// By how much the database's clock is ahead of this host's, which is the controller's: sessions' deadlines are by that.
    pub ahead_ms: i64,
}

impl Poll {
    /// A replica showed rows of so long ago that they tell nothing of now.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        /// More than one that follows a busy primary is behind by.
        const MAX_LAG_MS: i64 = 30_000;
        self.lag_ms.is_some_and(|lag| lag >= MAX_LAG_MS)
    }
}

/// How often sessions reached each status: by provider, then by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTotals(pub [[u64; SessionStatus::ALL.len()]; Provider::ALL.len()]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    row: SessionRow,
    /// A bit for each status it was seen in.
    reached: u16,
}

/// The rows, and what is counted of them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    vms: HashMap<VmId, VmRow>,
    sessions: HashMap<SessionId, Held>,
    by_age: BTreeSet<(Timestamp, RowKey)>,
    totals: SessionTotals,
    overflow: u64,
    /// Rows created before this that are not held were let go of.
    floor: Timestamp,
    last_poll: Option<Poll>,
    full: bool,
    up: bool,
    /// Whose rows are held and looked up, and count for nothing: synthetic boots'.
    synthetic: BTreeSet<UserKey>,
    touched: Touched<RowKey>,
    saved_rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Rest {
    version: u32,
    totals: SessionTotals,
    overflow: u64,
    floor: Timestamp,
    parts: usize,
}

impl Inventory {
    #[must_use]
    pub fn new() -> Inventory {
        Inventory {
            floor: Timestamp::MIN,
            ..Inventory::default()
        }
    }

    /// Whose rows count for nothing. It is configured, and not saved: to be told again after a restore.
    pub fn set_synthetic(&mut self, users: BTreeSet<UserKey>) {
        self.synthetic = users;
    }

    fn is_synthetic(&self, user: Option<UserKey>) -> bool {
        user.is_some_and(|user| self.synthetic.contains(&user))
    }

    /// Takes one row; `first` if it is of the first window ever read. Says whether anything changed.
    pub fn row(&mut self, row: &Row, first: bool) -> bool {
        let key = row.key();
        let changed = match row {
            Row::Vm(row) => self.vm_row(row),
            Row::Session(row) => self.session_row(row, first),
        };
        if changed {
            self.touched.mark(key);
        }
        changed
    }

    fn vm_row(&mut self, row: &VmRow) -> bool {
        let before = self.vms.get(&row.vm);
        if before == Some(row)
            || before.is_none() && self.is_forgotten(row.created_at, row.stands())
        {
            return false;
        }
        let before = self.vms.insert(row.vm, row.clone());
        self.place(
            RowKey::Vm(row.vm),
            before.map(|row| row.created_at),
            row.created_at,
        );
        true
    }

    fn session_row(&mut self, row: &SessionRow, first: bool) -> bool {
        let bit = 1u16 << row.status as u16;
        let before = self.sessions.get_mut(&row.session);
        let Some(held) = before else {
            if self.is_forgotten(row.created_at, !row.status.is_final()) {
                return false;
            }
            let held = Held {
                row: row.clone(),
                reached: bit,
            };
            self.sessions.insert(row.session, held);
            self.place(RowKey::Session(row.session), None, row.created_at);
            if !first {
                self.count(row);
            }
            return true;
        };
        if held.row == *row {
            return false;
        }
        let (known, created_at) = (held.reached & bit != 0, held.row.created_at);
        held.reached |= bit;
        held.row = row.clone();
        self.place(
            RowKey::Session(row.session),
            Some(created_at),
            row.created_at,
        );
        if !known && !first {
            self.count(row);
        }
        true
    }

    fn count(&mut self, row: &SessionRow) {
        if self.is_synthetic(row.user) {
            return;
        }
        self.totals.0[row.provider as usize][row.status as usize] += 1;
    }

    /// Whether a row that is not held was held, or would be let go of at once.
    fn is_forgotten(&self, created_at: Timestamp, open: bool) -> bool {
        let as_of = self.last_poll.map_or(Timestamp::MIN, |poll| poll.as_of);
        created_at <= self.floor || !open && as_of.since(created_at) >= KEEP_MS
    }

    fn place(&mut self, key: RowKey, before: Option<Timestamp>, now: Timestamp) {
        if before == Some(now) {
            return;
        }
        if let Some(before) = before {
            self.by_age.remove(&(before, key));
        }
        self.by_age.insert((now, key));
        if self.by_age.len() > MAX_ROWS {
            self.let_go_of_oldest();
        }
    }

    fn let_go_of_oldest(&mut self) {
        let closed = self
            .by_age
            .iter()
            .take(1_024)
            .find(|(_, key)| !self.is_open(*key));
        let oldest = closed.or_else(|| self.by_age.first()).copied();
        if let Some((created_at, key)) = oldest {
            self.floor = self.floor.max(created_at);
            self.overflow += 1;
            self.forget(key);
        }
    }

    fn is_open(&self, key: RowKey) -> bool {
        match key {
            RowKey::Vm(vm) => self.vms.get(&vm).is_some_and(VmRow::stands),
            RowKey::Session(session) => self
                .sessions
                .get(&session)
                .is_some_and(|held| !held.row.status.is_final()),
        }
    }

    fn forget(&mut self, key: RowKey) {
        let created_at = match key {
            RowKey::Vm(vm) => self.vms.remove(&vm).map(|row| row.created_at),
            RowKey::Session(session) => {
                let held = self.sessions.remove(&session);
                held.map(|held| held.row.created_at)
            }
        };
        if let Some(created_at) = created_at {
            self.by_age.remove(&(created_at, key));
            self.touched.mark(key);
        }
    }

    /// The row is gone from its table: an administrator can delete them.
    pub fn vanished(&mut self, key: RowKey) {
        self.forget(key);
    }

    /// A poll is complete; lets go of closed rows that are too old.
    pub fn polled(&mut self, poll: Poll) {
        self.last_poll = Some(poll);
        self.full |= poll.full_since.is_some();
        self.up = true;
        let old: Vec<RowKey> = self
            .by_age
            .iter()
            .take_while(|(created_at, _)| poll.as_of.since(*created_at) >= KEEP_MS)
            .map(|(_, key)| *key)
            .filter(|key| !self.is_open(*key))
            .collect();
        for key in old {
            self.forget(key);
        }
    }

    /// The database cannot be asked: what is held stays, and says nothing of now.
    pub fn down(&mut self) {
        self.up = false;
    }

    /// The last poll, if the database answers, was read in full since the start, and is no replica that lags: only then
    /// is the absence of a row evidence.
    #[must_use]
    pub fn sight(&self) -> Option<Poll> {
        self.last_poll
            .filter(|poll| self.up && self.full && !poll.is_behind())
    }

    /// By the database's clock.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        self.last_poll.map(|poll| poll.as_of)
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<&VmRow> {
        self.vms.get(&vm)
    }

    pub fn vms(&self) -> impl Iterator<Item = &VmRow> {
        self.vms.values()
    }

    pub fn sessions(&self) -> impl Iterator<Item = &SessionRow> {
        self.sessions.values().map(|held| &held.row)
    }

    /// Rows held, and rows that were let go of because they were too many.
    #[must_use]
    pub fn sizes(&self) -> (usize, u64) {
        (self.by_age.len(), self.overflow)
    }

    /// Rows that may still change: to be read again by key.
    pub fn open_keys(&self) -> impl Iterator<Item = RowKey> + '_ {
        let keys = self.by_age.iter().map(|(_, key)| *key);
        keys.filter(|key| self.is_open(*key))
    }

    /// How many rows of `vms` are held, by kind and status.
    #[must_use]
    pub fn vm_counts(&self) -> Vec<(Option<VmType>, VmStatus, usize)> {
        let mut counts = HashMap::new();
        let users = self.vms.values().filter(|row| !self.is_synthetic(row.user));
        for row in users {
            *counts.entry((row.vm_type, row.status)).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts
            .into_iter()
            .map(|((vm_type, status), count)| (vm_type, status, count))
            .collect();
        counts.sort_unstable();
        counts
    }

    #[must_use]
    pub fn session_totals(&self) -> SessionTotals {
        self.totals
    }

    /// Sessions past their deadline whose VM's columns are still empty.
    pub fn incomplete(&self) -> impl Iterator<Item = &SessionRow> {
        let told = self.last_poll.map(|poll| (poll.as_of, poll.ahead_ms));
        let (as_of, ahead_ms) = told.unwrap_or((Timestamp::MIN, 0));
        let of = move |row: &SessionRow| match row.timeout_at {
            Some(_) => as_of.plus_ms(ahead_ms.saturating_neg()),
            None => as_of,
        };
        self.sessions()
            .filter(move |row| row.is_incomplete(of(row)) && !self.is_synthetic(row.user))
    }

    /// The pool's addresses by state; `None` before anything was read, or where no row tells its VM's address. An address
    /// that a ghost shares with a VM is used.
    #[must_use]
    pub fn addresses(&self, is_ghost: impl Fn(VmId) -> bool) -> Option<Addresses> {
        self.last_poll?;
        let mut ghosts: HashMap<Ipv4Addr, bool> = HashMap::new();
        let mut untold = false;
        for row in self.vms.values().filter(|row| row.stands()) {
            match row.ip {
                Some(ip) => *ghosts.entry(ip).or_insert(true) &= is_ghost(row.vm),
                None => untold = true,
            }
        }
        if untold && ghosts.is_empty() {
            return None;
        }
        let ghost = ghosts.values().filter(|ghost| **ghost).count();
        let used = ghosts.len() - ghost;
        Some(Addresses {
            used,
            ghost,
            free: POOL.saturating_sub(ghosts.len()),
        })
    }

    /// Browser VMs that run, by their rows; those of `is_ghost` do not.
    pub fn running_browsers(&self, is_ghost: impl Fn(VmId) -> bool) -> usize {
        let running = |row: &&VmRow| {
            row.vm_type == Some(VmType::Browser)
                && row.status == VmStatus::Running
                && row.stands()
                && !is_ghost(row.vm)
        };
        self.vms.values().filter(running).count()
    }

    /// What has changed since the last call, all of it at the first one.
    pub fn changes(&mut self) -> Changes {
        let whole = self.touched.is_everything();
        if whole {
            self.saved_rest = None;
        }
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        for key in self.touched.take(self.by_age.iter().map(|(_, key)| *key)) {
            match key {
                RowKey::Vm(vm) => changes.put_or_remove(format!("{VM}{vm}"), self.vms.get(&vm)),
                RowKey::Session(session) => {
                    changes
                        .put_or_remove(format!("{SESSION}{session}"), self.sessions.get(&session));
                }
            }
        }
        let rest = Rest {
            version: VERSION,
            totals: self.totals,
            overflow: self.overflow,
            floor: self.floor,
            parts: self.by_age.len(),
        };
        if self.saved_rest != Some(rest) {
            changes.put(REST, &rest);
            self.saved_rest = Some(rest);
        }
        changes
    }

    /// The next `changes` hands out everything.
    pub fn save_everything(&mut self) {
        self.touched = Touched::default();
    }

    /// An inventory as it was when these parts were the last of `changes`. Whether the database answers, and what it
    /// says by now, is not known.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Inventory, RestoreError> {
        let mut inventory = Inventory::new();
        let mut saved = Saved::new("inventory", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(inventory);
        };
        saved.counts(rest.parts)?;
        saved.ensure(rest.parts <= MAX_ROWS, REST, "it has too many rows")?;
        for (name, text) in saved.iter() {
            if let Some(id) = name.strip_prefix(VM) {
                let row: VmRow = saved.read(name, text)?;
                saved.ensure(row.vm.to_string() == id, name, "it is another VM's")?;
                inventory
                    .by_age
                    .insert((row.created_at, RowKey::Vm(row.vm)));
                inventory.vms.insert(row.vm, row);
            } else if let Some(id) = name.strip_prefix(SESSION) {
                let held: Held = saved.read(name, text)?;
                let session = held.row.session;
                saved.ensure(session.to_string() == id, name, "it is another session's")?;
                inventory
                    .by_age
                    .insert((held.row.created_at, RowKey::Session(session)));
                inventory.sessions.insert(session, held);
            } else {
                saved.ensure(false, name, "it names no row")?;
            }
        }
        inventory.totals = rest.totals;
        inventory.overflow = rest.overflow;
        inventory.floor = rest.floor;
        inventory.touched = Touched::nothing();
        inventory.saved_rest = Some(rest);
        Ok(inventory)
    }
}

#[cfg(test)]
mod tests;
