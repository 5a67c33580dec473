//! The controller's database in the owner's hands: what exists, and where that does not fit what the log says.
//!
//! ```text
//!   watch ──(bounded: looking waits)──► Existing ──► inventory, findings
//!   /proc, /sys ──(a look a minute)───►          └─► the tracker's rows: boots that the log never spoke of
//! ```
//!
//! All of it is kept over a restart, in the same batch as everything else. What a first look brings is history, until
//! one look was complete: a start that was killed in the middle of it reads history again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::facts::Sighted;
use super::supervisor::Supervisor;
use crate::clock;
use crate::config::Database;
use crate::controller::tables::{ControllerTables, Dialect};
use crate::core::boot::{Boot, LogSight, Observation, Tracker};
use crate::core::condition::{Condition, Facts, of_rows};
use crate::core::event::{Event, EventKind, Timestamp};
use crate::core::finding::{Census, FindingChange, Findings, Processes, TICK_MS};
use crate::core::inventory::{Addresses, Inventory, Poll};
use crate::core::query::Table;
use crate::export::Recorder;
use crate::source::database::{self, DatabaseEvent, DatabaseOptions, Polled, Resume};
use crate::source::{host, process};

/// Rows on their way from the watch, thousands an event. When it is full, looking waits.
const EVENTS: usize = 4;
const LOOKS: usize = 1;
/// Clocks that are kept by NTP are never so far apart.
const CLOCK_OFF_MS: i64 = 5_000;

/// What comes in beside the log.
pub(super) enum Told {
    Database(DatabaseEvent),
    /// The host's processes, where they can be listed, and what else boots need of it.
    Host(Look),
}

pub(super) type Look = (Option<Processes>, Census);

/// What an earlier run knew of the database.
#[derive(Default)]
pub(super) struct Remembered {
    pub(super) inventory: Inventory,
    pub(super) findings: Findings,
    /// A look was complete.
    pub(super) looked: bool,
}

/// What exists, and what does not fit.
pub(super) struct Existing {
    pub(super) inventory: Inventory,
    pub(super) findings: Findings,
    pub(super) looked: bool,
    events: mpsc::Receiver<DatabaseEvent>,
    hosts: mpsc::Receiver<Look>,
    /// Tables of which this role sees nothing, or not what there is.
    blind: BTreeSet<Table>,
    /// A replica answered last, and it is behind.
    behind: bool,
    recorder: Arc<Recorder>,
    sighted: Sighted,
    /// Why the rows cannot be read, safe to show: the newest trouble.
    trouble: Option<String>,
    /// When a look was last complete, by this machine's clock.
    seen_at: Option<Timestamp>,
    /// Whether it was told that rows cannot be read.
    unreadable_told: bool,
    /// Whether it was told that the database's clock is another one.
    clock_told: bool,
    facts: Facts,
}

impl Existing {
    /// Starts the watch.
    pub(super) fn start(
        config: &Database,
        places: host::Places,
        remembered: Remembered,
        recorder: &Arc<Recorder>,
        stop: &CancellationToken,
        tasks: &mut Supervisor,
    ) -> anyhow::Result<Existing> {
        let options = DatabaseOptions::new(config).context("database.url")?;
        let dialect = match options.is_sqlite() {
            true => Dialect::Sqlite,
            false => Dialect::Postgres,
        };
        let tables = Arc::new(ControllerTables::new(dialect, &config.schema));
        let Remembered {
            inventory,
            findings,
            looked,
        } = remembered;
        let resume = looked.then(|| Resume {
            open: inventory.open_keys().collect(),
        });
        let (events_tx, events) = mpsc::channel(EVENTS);
        tasks.start(
            "database",
            database::run(options, tables, resume, events_tx, stop.clone()),
        );
        let (looks_tx, hosts) = mpsc::channel(LOOKS);
        tasks.start("host", look_at_host(places, looks_tx, stop.clone()));
        // Totals of earlier runs: counters begin at zero with the process.
        recorder.sessions(&inventory.session_totals(), false);
        let existing = Existing {
            inventory,
            findings,
            looked,
            events,
            hosts,
            blind: BTreeSet::new(),
            behind: false,
            recorder: Arc::clone(recorder),
            sighted: Sighted::Unknown,
            trouble: None,
            seen_at: None,
            unreadable_told: false,
            clock_told: false,
            facts: Facts::new(),
        };
        existing.show();
        Ok(existing)
    }

    /// Waits for what comes next; for ever, once the watch has stopped.
    pub(super) async fn next(&mut self) -> Told {
        let Existing { events, hosts, .. } = self;
        tokio::select! {
            Some(event) = events.recv() => Told::Database(event),
            Some(look) = hosts.recv() => Told::Host(look),
            else => std::future::pending().await,
        }
    }

    /// What the log says that rows and processes are compared with.
    pub(super) fn log_says(&mut self, event: &Event<'_>) {
        if let EventKind::ProcessExited { vm, .. } = event.kind {
            self.findings.process_exited(vm, event.at);
        }
    }

    /// A boot as the log tells its end.
    pub(super) fn boot(&mut self, boot: &Boot) {
        self.findings.boot(boot);
    }

    /// Takes what came in; `observe` is given what follows for boots, and whether it is live.
    pub(super) fn take(
        &mut self,
        told: Told,
        tracker: &mut Tracker,
        log: LogSight,
        mut observe: impl FnMut(&Observation, bool),
    ) {
        match told {
            Told::Database(DatabaseEvent::Rows { rows, first }) => {
                for row in &rows {
                    self.inventory.row(row, first);
                    tracker.row(row, first);
                }
            }
            Told::Database(DatabaseEvent::Polled(polled)) => {
                self.polled(&polled, tracker);
                tracker.judge_rows(polled.as_of, log, &mut |observation, live| {
                    observe(&observation, live);
                });
            }
            Told::Database(DatabaseEvent::Up) => {
                tracing::info!("the controller's database answers");
                self.recorder.database_up(self.is_seen());
                self.judge();
            }
            Told::Database(DatabaseEvent::Down {
                kind,
                answered,
                error,
            }) => {
                tracing::error!(
                    kind,
                    error,
                    "the controller's database cannot be read; retrying"
                );
                self.inventory.down();
                self.recorder.database_up(false);
                self.judge();
                self.sighted = Sighted::Not(match answered {
                    true => Condition::DatabaseRefuses,
                    false => Condition::DatabaseUnreachable,
                });
                self.trouble = Some(error);
            }
            Told::Database(DatabaseEvent::Blind { table, estimate }) => {
                tracing::error!(
                    table = table.as_str(),
                    estimate,
                    "the role sees none of this table's rows, or few of them: row-level security hides them; \
                     `bootwatch db grants` prints a role that sees what is needed"
                );
                self.blind.insert(table);
                self.inventory.down();
                self.recorder.database_up(false);
                self.judge();
            }
            Told::Database(DatabaseEvent::Sighted { table }) => {
                tracing::info!(table = table.as_str(), "the table's rows can be seen again");
                self.blind.remove(&table);
                self.recorder.database_up(self.is_seen());
            }
            Told::Database(DatabaseEvent::ServerChanged) => {
                tracing::info!(
                    "the database server was restarted, or another one answers: everything is read again"
                );
            }
            Told::Host(look) => self.compare(look, tracker),
        }
    }

    fn polled(&mut self, polled: &Polled, tracker: &mut Tracker) {
        for key in &polled.gone {
            self.inventory.vanished(*key);
            tracker.row_vanished(*key);
        }
        let poll = Poll {
            as_of: polled.as_of,
            full_since: polled.full_window,
            lag_ms: polled
                .replica
                .map(|replica| replica.lag.map_or(i64::MAX, clock::millis)),
            ahead_ms: polled.ahead_ms,
        };
        self.inventory.polled(poll);
        self.note_lag(&poll);
        self.note_unreadable(polled.unreadable);
        self.note_clock(polled.ahead_ms);
        // Rows that are hidden are not absent.
        if !self.blind.is_empty() {
            self.inventory.down();
        }
        // What was hidden is history, too, when it is seen.
        self.looked |= self.blind.is_empty();
        self.seen_at = Some(clock::now());
        for (query, took) in &polled.took {
            self.recorder.database_asked(query.as_str(), *took);
        }
        self.judge();
        self.show();
    }

    /// A replica that is behind answers, and tells nothing of now.
    fn note_lag(&mut self, poll: &Poll) {
        let behind = poll.is_behind();
        if std::mem::replace(&mut self.behind, behind) == behind {
            return;
        }
        self.recorder.database_up(self.is_seen());
        if behind {
            let seconds = poll.lag_ms.filter(|lag| *lag < i64::MAX);
            tracing::warn!(
                seconds = seconds.map(|lag| lag / 1_000),
                "the controller's database is a replica that is behind, or is cut off from its primary: what its rows say \
                 is not of now"
            );
        } else {
            tracing::info!("the replica of the controller's database has caught up");
        }
    }

    /// What is there now, of each table.
    fn is_seen(&self) -> bool {
        self.blind.is_empty() && !self.behind
    }

    fn note_unreadable(&mut self, rows: usize) {
        let told = std::mem::replace(&mut self.unreadable_told, rows > 0);
        if rows > 0 && !told {
            tracing::warn!(
                rows,
                "rows of the controller's tables bear an id or a time of another form than is known: they are counted as \
                 bootwatch_database_rows_unreadable, and are in no other figure"
            );
        }
        self.recorder.rows_unreadable(rows);
    }

    /// Rows are read by the database's own clock; but whoever compares its times with the log's must know.
    fn note_clock(&mut self, ahead_ms: i64) {
        let is_off = ahead_ms.abs() > CLOCK_OFF_MS;
        if is_off && !self.clock_told {
            tracing::warn!(
                seconds = ahead_ms / 1_000,
                "the controller's database has another time than this machine (ahead of it, if positive): rows are read \
                 by the database's clock, bootwatch_database_clock_skew_seconds tells the difference"
            );
        }
        self.clock_told = is_off;
        self.recorder.database_clock(ahead_ms);
    }

    fn compare(&mut self, (processes, census): Look, tracker: &Tracker) {
        if let Some(look) = processes {
            self.findings.processes(look);
        }
        self.findings.census(census, clock::now());
        let in_flight = |vm| tracker.is_in_flight(vm);
        for change in self
            .findings
            .tick(clock::now(), &self.inventory, &in_flight)
        {
            let (change, finding) = match &change {
                FindingChange::Opened(finding) => ("opened", finding),
                FindingChange::Closed(finding) => ("closed", finding),
            };
            tracing::info!(
                kind = finding.kind.as_str(),
                vm = finding.vm.map(tracing::field::display),
                session = finding.session.map(tracing::field::display),
                text = finding.text,
                "finding {change}"
            );
        }
        self.facts.clear();
        of_rows(&self.inventory, &self.findings, &mut self.facts);
        self.show();
    }

    /// Browser VMs that run; ghosts are none.
    pub(super) fn running(&self) -> usize {
        self.inventory
            .running_browsers(|vm| self.findings.is_ghost(vm))
    }

    /// The controller's pool, once rows were seen.
    pub(super) fn addresses(&self) -> Option<Addresses> {
        self.inventory.addresses(|vm| self.findings.is_ghost(vm))
    }

    /// Free addresses of the controller's pool, once rows were seen.
    pub(super) fn free(&self) -> Option<u64> {
        Some(self.addresses()?.free as u64)
    }

    /// What the rows say now, and whether they can be seen.
    fn judge(&mut self) {
        self.facts.clear();
        of_rows(&self.inventory, &self.findings, &mut self.facts);
        self.trouble = None;
        self.sighted = match (self.blind.is_empty(), self.behind) {
            (false, _) => Sighted::Not(Condition::DatabaseBlind),
            (true, true) => Sighted::Not(Condition::DatabaseBehind),
            (true, false) => Sighted::Fully,
        };
    }

    pub(super) fn seen_at(&self) -> Option<Timestamp> {
        self.seen_at
    }

    /// How it is, in a few words.
    pub(super) fn note(&self) -> &'static str {
        match self.sighted {
            Sighted::Unknown => "nothing was asked yet",
            Sighted::Fully => "all rows that matter can be seen",
            Sighted::Not(condition) => condition.meaning(),
        }
    }

    pub(super) fn sighted(&self) -> Sighted {
        self.sighted
    }

    /// Why the rows cannot be read, where it was told.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What the rows say, as of the last look.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    fn show(&self) {
        let Existing {
            inventory,
            findings,
            recorder,
            ..
        } = self;
        recorder.vms(&inventory.vm_counts());
        recorder.sessions(&inventory.session_totals(), true);
        recorder.sessions_incomplete(inventory.incomplete().count());
        recorder.findings(&findings.counts());
        recorder.addresses(self.addresses());
    }

    /// The store was begun anew.
    pub(super) fn save_everything(&mut self) {
        self.inventory.save_everything();
        self.findings.save_everything();
    }
}

/// Looks once a minute, on a thread that may wait for the kernel.
async fn look_at_host(places: host::Places, looks: mpsc::Sender<Look>, stop: CancellationToken) {
    let mut minute = tokio::time::interval(Duration::from_millis(TICK_MS.unsigned_abs()));
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = minute.tick() => {}
        }
        let at = clock::now();
        let places = places.clone();
        let look = tokio::task::spawn_blocking(move || {
            let processes = places
                .processes
                .as_deref()
                .map(|root| process::scan(root, at));
            (processes.transpose(), host::census(&places))
        });
        let look = match look.await {
            Ok((Ok(processes), census)) => (processes, census),
            Ok((Err(error), census)) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, "without the processes, ghosts are told by rows and log alone");
                }
                (None, census)
            }
            Err(_) => (None, Census::default()),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            sent = looks.send(look) => if sent.is_err() { return },
        }
    }
}
