//! Where the log, the database and the processes do not fit together: findings.
//!
//! ```text
//!   process  row   log      finding
//!   no       yes   any      ghost: the row holds an address, and nobody is there
//!   yes      no    any      orphan: nobody will ever end it (but not while the log has the boot in flight)
//!   yes      yes   failed   db_disagrees: the log says that the boot failed, and yet its VM lives
//!   else                    none of these
//! ```
//!
//! Besides, of the host (`census`): TAP devices that belong to no VM, two VMs with one device's name, and no room for
//! one more copy of the golden image. And: a session whose row tells another outcome than the log (`db_disagrees`, told for an hour: both are kept,
//! the log decides), a session past its deadline whose VM's columns are empty, a VM whose process the controller lost
//! (the row says `failed`), and an address that two living VMs have.
//!
//! `tick` compares once a minute. The three are read at different moments, so what is missing must be missing twice
//! before it is told. What cannot be seen is no evidence, neither for a finding nor for its end: while the database is
//! down, was not yet read in full, or is a replica that lags, nothing changes; without a view of all processes, a row's
//! own empty `firecracker_pid` and the log's exit lines are all that tells a ghost. A hibernated VM has no process and
//! is no ghost.
//!
//! Bounded: `MAX_OPEN` open findings and `MAX_CLOSED` closed ones are kept; what is beyond is counted.

mod census;
mod look;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use crate::core::boot::{Boot, ROWS};
use crate::core::event::{Failure, Outcome, SessionId, Timestamp, VmId, words};
use crate::core::inventory::{Inventory, Poll};
use crate::core::row::{SessionRow, VmRow, VmStatus};
use crate::core::saved::{Changes, REST, RestoreError, Saved, Touched};
use census::Counted;
pub use census::{Census, Room, TAP, tap_of};
use look::{
    failed_but_lives, finding, ghost, incomplete, orphan, process_lost, shared_addresses, spoken,
};

/// Findings are looked for this often.
pub const TICK_MS: i64 = 60_000;
pub const MAX_OPEN: usize = 1_000;
pub const MAX_CLOSED: usize = 256;
/// Missing at two looks, which a late one may bring nearer together.
const CONFIRM_MS: i64 = 30_000;
/// A row and its process come and go within this of each other.
const GRACE_MS: i64 = 60_000;
/// A failed boot's VM is kept for up to half a minute, and then destroyed.
const FAILED_GRACE_MS: i64 = 120_000;
/// A look at the processes tells of now for this long.
const PROCESSES_MS: i64 = 3 * TICK_MS;
/// What the log said last of a VM is compared for this long.
const WORD_MS: i64 = 3_600_000;
const MAX_WORDS: usize = 4_096;
const MAX_EXITS: usize = 4_096;
const VERSION: u32 = 1;
const FINDING: &str = "open/";

words! {
    /// In what way the sources do not fit together.
    FindingKind {
        Ghost = "ghost",
        Orphan = "orphan",
        DbDisagrees = "db_disagrees",
        SessionIncomplete = "session_incomplete",
        ProcessLost = "process_lost",
        AddressShared = "address_shared",
        TapLeaked = "tap_leaked",
        TapShared = "tap_shared",
        RoomLow = "room_low",
    }
}

/// A Firecracker process of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub vm: VmId,
    pub pid: u32,
    pub started_at: Timestamp,
}

/// One look at the processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    pub at: Timestamp,
    /// Every process of the host can be seen, so that one that is not there does not run.
    pub whole: bool,
    pub list: Vec<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: FindingKind,
    vm: Option<VmId>,
    session: Option<SessionId>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(vm) = self.vm {
            write!(f, "/{vm}")?;
        }
        match self.session {
            Some(session) => write!(f, "/{session}"),
            None => Ok(()),
        }
    }
}

/// What showed that something is missing: when that cannot be seen any more, nothing is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Basis {
    /// All processes were seen, and it was not among them.
    Processes,
    /// The log said that the process exited.
    Exit,
    /// Rows, alone or with the log.
    Rows,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: FindingKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    /// Since when it is so, as nearly as can be told.
    pub since: Timestamp,
    pub opened_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// What does not fit, as a sentence.
    pub text: String,
    basis: Basis,
}

impl Finding {
    fn key(&self) -> Key {
        Key {
            kind: self.kind,
            vm: self.vm,
            session: self.session,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum FindingChange {
    Opened(Finding),
    Closed(Finding),
}

/// What the log said of a boot in the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Word {
    outcome: Outcome,
    failure: Option<Failure>,
    ended_at: Timestamp,
    vm: Option<VmId>,
    session: Option<SessionId>,
}

/// What `tick` looks at.
#[derive(Clone, Copy)]
struct View<'a> {
    inventory: &'a Inventory,
    poll: Poll,
    now: Timestamp,
    in_flight: &'a dyn Fn(VmId) -> bool,
}

/// The findings of one host.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    open: BTreeMap<Key, Finding>,
    closed: VecDeque<Finding>,
    /// Seen at the last looks, and not yet told.
    suspects: HashMap<Key, Timestamp>,
    /// Beyond `MAX_OPEN` at the last look, by kind.
    beyond: [usize; FindingKind::ALL.len()],
    words: VecDeque<Word>,
    exits: VecDeque<(Timestamp, VmId)>,
    processes: Option<Processes>,
    counted: Counted,
    last_tick: Option<Timestamp>,
    touched: Touched<Key>,
    words_touched: bool,
    saved_rest: Option<Rest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rest {
    version: u32,
    parts: usize,
}

impl Findings {
    /// Takes a boot that ended or was settled. Only what the log says is compared with rows.
    pub fn boot(&mut self, boot: &Boot) {
        let (Some(outcome), Some(ended_at)) = (boot.outcome, boot.ended_at) else {
            return;
        };
        if boot.first.source == ROWS {
            return;
        }
        let word = Word {
            outcome,
            failure: boot.failure,
            ended_at,
            vm: boot.vm,
            session: boot.session,
        };
        let same = |known: &&mut Word| {
            known.vm == word.vm && (word.vm.is_some() || known.session == word.session)
        };
        self.words_touched = true;
        if let Some(known) = self.words.iter_mut().rev().take(64).find(same) {
            *known = word;
            return;
        }
        self.words.push_back(word);
        if self.words.len() > MAX_WORDS {
            self.words.pop_front();
        }
    }

    /// The log says that a VM's process exited.
    pub fn process_exited(&mut self, vm: VmId, at: Timestamp) {
        self.exits.push_back((at, vm));
        if self.exits.len() > MAX_EXITS {
            self.exits.pop_front();
        }
    }

    /// Takes a look at the processes.
    pub fn processes(&mut self, processes: Processes) {
        self.processes = Some(processes);
    }

    /// Takes a look at the host's devices and its room.
    pub fn census(&mut self, census: Census, at: Timestamp) {
        self.counted.census = census;
        self.counted.at = Some(at);
    }

    /// When `tick` next has work to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.last_tick.map(|at| at.plus_ms(TICK_MS))
    }

    /// Compares what is known; `in_flight` says whether the log has a boot of this VM in flight.
    pub fn tick(
        &mut self,
        now: Timestamp,
        inventory: &Inventory,
        in_flight: &dyn Fn(VmId) -> bool,
    ) -> Vec<FindingChange> {
        self.last_tick = Some(now);
        let Some(poll) = inventory.sight() else {
            return Vec::new();
        };
        self.forget_words(now);
        let view = View {
            inventory,
            poll,
            now,
            in_flight,
        };
        let seen = self.look(view);
        let mut changes = self.close(view, &seen);
        self.open(now, seen, &mut changes);
        changes
    }

    fn forget_words(&mut self, now: Timestamp) {
        let (words, exits) = (self.words.len(), self.exits.len());
        self.words.retain(|word| now.since(word.ended_at) < WORD_MS);
        self.exits.retain(|(at, _)| now.since(*at) < WORD_MS);
        self.words_touched |= (words, exits) != (self.words.len(), self.exits.len());
    }

    /// Everything that does not fit now.
    fn look(&mut self, view: View<'_>) -> BTreeMap<Key, Finding> {
        let counted = self.of_host(view);

        let processes = self.processes.as_ref();
        let processes = processes.filter(|look| view.now.since(look.at) < PROCESSES_MS);
        let running: HashMap<VmId, Process> = processes
            .into_iter()
            .flat_map(|look| &look.list)
            .map(|process| (process.vm, *process))
            .collect();
        let whole = processes.is_some_and(|look| look.whole);
        let mut seen = BTreeMap::new();
        let mut take = |finding: Finding| {
            seen.insert(finding.key(), finding);
        };
        let words: HashMap<VmId, &Word> = self
            .words
            .iter()
            .filter_map(|word| Some((word.vm?, word)))
            .collect();
        let exits: HashSet<VmId> = self.exits.iter().map(|(_, vm)| *vm).collect();
        let mut ghosts = HashSet::new();
        for row in view.inventory.vms() {
            let process = running.get(&row.vm);
            let word = words.get(&row.vm).copied();
            let exited = exits.contains(&row.vm);
            if process.is_none()
                && let Some(finding) = ghost(view, row, whole, exited, word)
            {
                ghosts.insert(row.vm);
                take(finding);
            } else if let Some(finding) =
                failed_but_lives(view, row, process.is_some(), whole, word)
            {
                take(finding);
            }
            if row.stands() && row.status == VmStatus::Failed {
                take(process_lost(view, row, process.is_some()));
            }
        }
        for process in running.values() {
            if let Some(finding) = orphan(view, process, words.get(&process.vm).copied()) {
                take(finding);
            }
        }
        for finding in shared_addresses(view, &ghosts) {
            take(finding);
        }
        for row in view.inventory.incomplete() {
            take(incomplete(view, row));
        }
        for finding in self.disagreements(view) {
            take(finding);
        }
        for finding in counted {
            take(finding);
        }
        seen
    }

    /// What the host's devices and its room say. Whose a device is can be told only where all processes are seen.
    fn of_host(&mut self, view: View<'_>) -> Vec<Finding> {
        if !self.is_counted(view) {
            return Vec::new();
        }
        let room = self.counted.census.room.as_ref();
        let mut findings: Vec<Finding> = room
            .and_then(|room| census::room(view, room))
            .into_iter()
            .collect();
        let processes = self.processes.as_ref().filter(|look| look.whole);
        if let (Some(taps), Some(processes)) = (&self.counted.census.taps, processes) {
            let rows = view.inventory.vms().filter(|row| row.stands());
            let mut owners: BTreeSet<VmId> = rows.map(|row| row.vm).collect();
            owners.extend(processes.list.iter().map(|process| process.vm));
            let (of_taps, unowned) = census::taps(view, taps, &owners, &self.counted.unowned);
            findings.extend(of_taps);
            self.counted.unowned = unowned;
        }
        findings
    }

    /// Whether the last census tells of now.
    fn is_counted(&self, view: View<'_>) -> bool {
        let at = self.counted.at;
        at.is_some_and(|at| view.now.since(at) < PROCESSES_MS)
    }

    /// Sessions whose rows tell another outcome than the log.
    fn disagreements(&self, view: View<'_>) -> Vec<Finding> {
        let by_session: HashMap<SessionId, &Word> = self
            .words
            .iter()
            .filter_map(|word| Some((word.session?, word)))
            .collect();
        let compare = |row: &SessionRow| {
            let word = by_session.get(&row.session)?;
            let verdict = row.verdict().filter(|verdict| verdict.sure)?;
            let judged = |outcome| matches!(outcome, Outcome::Ready | Outcome::Failed);
            let differ = word.outcome != verdict.outcome;
            (differ && judged(word.outcome) && judged(verdict.outcome)).then(|| {
                let text = format!(
                    "the log says that the boot was {}, the session's row (status {}) that it was {}",
                    spoken(word),
                    row.status,
                    verdict.outcome
                );
                Finding {
                    session: Some(row.session),
                    ip: row.ip,
                    ..finding(view, FindingKind::DbDisagrees, word.vm, word.ended_at, text)
                }
            })
        };
        view.inventory.sessions().filter_map(compare).collect()
    }

    /// Closes what is over.
    fn close(&mut self, view: View<'_>, seen: &BTreeMap<Key, Finding>) -> Vec<FindingChange> {
        let over: Vec<Key> = self
            .open
            .iter()
            .filter(|(key, finding)| !seen.contains_key(*key) && self.is_over(view, finding))
            .map(|(key, _)| *key)
            .collect();
        let mut changes = Vec::with_capacity(over.len());
        for key in over {
            let Some(mut finding) = self.open.remove(&key) else {
                continue;
            };
            self.touched.mark(key);
            finding.closed_at = Some(view.now);
            if self.closed.len() == MAX_CLOSED {
                self.closed.pop_front();
            }
            self.closed.push_back(finding.clone());
            changes.push(FindingChange::Closed(finding));
        }
        changes
    }

    /// Whether a finding that is not seen any more is over, or only cannot be seen.
    fn is_over(&self, view: View<'_>, finding: &Finding) -> bool {
        let processes = self.processes.as_ref();
        let processes = processes.filter(|look| view.now.since(look.at) < PROCESSES_MS);
        let whole = processes.is_some_and(|look| look.whole);
        let of_host = matches!(
            finding.kind,
            FindingKind::TapLeaked | FindingKind::TapShared | FindingKind::RoomLow
        );
        if of_host {
            return self.is_counted(view) && (whole || finding.kind == FindingKind::RoomLow);
        }
        let Some(vm) = finding.vm else { return true };
        let runs = processes.is_some_and(|look| look.list.iter().any(|process| process.vm == vm));
        let row = view.inventory.vm(vm);
        match finding.kind {
            FindingKind::Ghost => {
                let claims = row.is_some_and(VmRow::claims_process);
                let unseen =
                    finding.basis == Basis::Processes && !whole || finding.basis == Basis::Exit;
                runs || !claims || !unseen
            }
            FindingKind::Orphan => processes.is_some() || row.is_some_and(VmRow::stands),
            // That its VM lives stays true although the log's word is long ago.
            FindingKind::DbDisagrees if finding.session.is_none() => {
                !row.is_some_and(VmRow::claims_process) || whole && !runs
            }
            FindingKind::DbDisagrees
            | FindingKind::SessionIncomplete
            | FindingKind::ProcessLost
            | FindingKind::AddressShared
            | FindingKind::TapLeaked
            | FindingKind::TapShared
            | FindingKind::RoomLow => true,
        }
    }

    /// Opens what was seen twice, or needs no second look.
    fn open(
        &mut self,
        now: Timestamp,
        seen: BTreeMap<Key, Finding>,
        changes: &mut Vec<FindingChange>,
    ) {
        self.suspects.retain(|key, _| seen.contains_key(key));
        self.beyond = Default::default();
        for (key, mut finding) in seen {
            if self.open.contains_key(&key) {
                continue;
            }
            let first = *self.suspects.entry(key).or_insert(now);
            let reads_once = matches!(
                key.kind,
                FindingKind::SessionIncomplete
                    | FindingKind::ProcessLost
                    | FindingKind::TapLeaked
                    | FindingKind::RoomLow
            );
            if !reads_once && now.since(first) < CONFIRM_MS {
                continue;
            }
            self.suspects.remove(&key);
            if self.open.len() == MAX_OPEN {
                self.beyond[key.kind as usize] += 1;
                // It was confirmed, and is to open as soon as there is room.
                self.suspects.insert(key, first);
                continue;
            }
            finding.opened_at = now;
            self.touched.mark(key);
            self.open.insert(key, finding.clone());
            changes.push(FindingChange::Opened(finding));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.open.values()
    }

    /// Oldest first; bounded, and not kept over a restart.
    pub fn closed(&self) -> impl Iterator<Item = &Finding> {
        self.closed.iter()
    }

    /// Open findings of each kind, those beyond the bound among them.
    #[must_use]
    pub fn counts(&self) -> [usize; FindingKind::ALL.len()] {
        let mut counts = self.beyond;
        for key in self.open.keys() {
            counts[key.kind as usize] += 1;
        }
        counts
    }

    /// Open findings that are only counted.
    #[must_use]
    pub fn overflow(&self) -> usize {
        self.beyond.iter().sum()
    }

    #[must_use]
    pub fn is_ghost(&self, vm: VmId) -> bool {
        self.open.contains_key(&Key {
            kind: FindingKind::Ghost,
            vm: Some(vm),
            session: None,
        })
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
        for key in self.touched.take(self.open.keys().copied()) {
            changes.put_or_remove(format!("{FINDING}{key}"), self.open.get(&key));
        }
        if whole || self.words_touched {
            self.words_touched = false;
            changes.put("words", &self.words);
        }
        let rest = Rest {
            version: VERSION,
            parts: self.open.len() + 1,
        };
        if self.saved_rest.as_ref() != Some(&rest) {
            changes.put(REST, &rest);
            self.saved_rest = Some(rest);
        }
        changes
    }

    /// The next `changes` hands out everything.
    pub fn save_everything(&mut self) {
        self.touched = Touched::default();
    }

    /// The open findings as they were when these parts were the last of `changes`; suspicions begin anew.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Findings, RestoreError> {
        let mut findings = Findings::default();
        let mut saved = Saved::new("findings", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(findings);
        };
        saved.counts(rest.parts)?;
        saved.ensure(rest.parts <= MAX_OPEN + 1, REST, "it has too many findings")?;
        for (name, text) in saved.iter() {
            if name == "words" {
                findings.words = saved.read(name, text)?;
                findings.words.truncate(MAX_WORDS);
                continue;
            }
            let finding: Finding = saved.read(name, text)?;
            let key = finding.key();
            let named = name.strip_prefix(FINDING) == Some(key.to_string().as_str());
            saved.ensure(named, name, "it is another finding")?;
            findings.open.insert(key, finding);
        }
        findings.touched = Touched::nothing();
        findings.saved_rest = Some(rest);
        Ok(findings)
    }
}

#[cfg(test)]
mod tests;
