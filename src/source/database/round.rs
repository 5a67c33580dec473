//! One look at the tables.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;

use super::connection::Connection;
use super::known::micros;
use super::options::DatabaseOptions;
use super::state::{self, State};
use super::{DatabaseEvent, Ended, Memory, Polled, Query, Replica};
use crate::clock::{self, Stopwatch};
use crate::core::event::Timestamp;
use crate::core::query::{Cells, Layout, Place, Read, Table, place};
use crate::core::row::{Row, RowKey};

/// Keys of one question.
const KEYS: usize = 500;
/// Rows that are held back until the transaction ends: no transaction waits for the receiver. A look that finds more is
/// several transactions.
const HELD: usize = 2_000;
/// No transaction is waited for longer than this: who leaves one open for days must not make every look a full one.
const LONGEST: i64 = 24 * 3_600 * 1_000_000;

pub(super) struct Round<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) layout: &'a dyn Layout,
    pub(super) options: &'a DatabaseOptions,
    pub(super) memory: &'a mut Memory,
    pub(super) events: &'a mpsc::Sender<DatabaseEvent>,
}

/// What the look has gathered so far.
#[derive(Default)]
struct Gathered {
    rows: Vec<Row>,
    /// Rows that were asked for in vain.
    gone: Vec<RowKey>,
    took: Vec<(Query, Duration)>,
}

impl Round<'_> {
    pub(super) async fn look(mut self) -> Result<Polled, Ended> {
        let mut gathered = Gathered::default();
        let watch = Stopwatch::start();
        let mut state = state::begin(self.connection).await?;
        state.follow(self.memory.last.as_ref());
        gathered.took.push((Query::State, watch.elapsed()));
        let changed = self
            .memory
            .last
            .as_ref()
            .is_some_and(|last| last.identity != state.identity);
        if changed {
            self.memory.known.forget_versions();
            self.tell(DatabaseEvent::ServerChanged).await?;
        }
        let mut full = self.is_full_due(changed, &state);
        let blind = self.memory.blind;
        for table in Table::ALL {
            if full || blind[table as usize] {
                self.look_for_sight(table, &mut gathered).await?;
            }
            // What was hidden is older than what is read otherwise. Should this look fail, the next one has still to read it.
            if blind[table as usize] && !self.memory.blind[table as usize] {
                full = true;
                self.memory.full_due = None;
            }
        }
        if full {
            self.memory.unreadable.forget();
        }
        self.memory.known.begin_round();
        let since_us = self.since(&state, full);
        for table in Table::ALL {
            self.read_table(table, full, since_us, &state, &mut gathered)
                .await?;
        }
        if !state.replica {
            self.believe(&mut gathered).await?;
        } else {
            gathered.gone.clear();
        }
        self.connection.commit().await?;
        self.deliver(&mut gathered).await?;
        Ok(self.finish(state, full.then_some(since_us), gathered))
    }

    fn is_full_due(&self, changed: bool, state: &State) -> bool {
        let known = self
            .memory
            .last
            .as_ref()
            .is_some_and(|last| last.as_of_us.is_some());
        changed || self.memory.is_window_due() || !known || state.as_of_us.is_none()
    }

    /// From when on rows are read: what was not committed at the last look was begun no earlier than this.
    fn since(&self, state: &State, full: bool) -> i64 {
        let last = self.memory.last.as_ref();
        match last.and_then(|last| Some((last.as_of_us?, last.longest_us))) {
            Some((as_of_us, longest)) if !full => {
                let longest = longest.max(state.longest_us).min(LONGEST);
                as_of_us - micros(self.options.overlap).max(longest.saturating_mul(2))
            }
            _ => state.as_of_us.unwrap_or(state.now_us) - micros(self.options.window),
        }
    }

    async fn read_table(
        &mut self,
        table: Table,
        full: bool,
        since_us: i64,
        state: &State,
        gathered: &mut Gathered,
    ) -> Result<(), Ended> {
        let forget_us = state.now_us - micros(self.options.forget);
        let query = if full { Query::Window } else { Query::Recent };
        let watch = Stopwatch::start();
        if full {
            // However old a VM is, its address is taken; a session that old is a wreck.
            let since_us = if table == Table::Vms { 0 } else { forget_us };
            self.read_pages(table, (since_us, true), forget_us, gathered)
                .await?;
        }
        self.read_pages(table, (since_us, false), forget_us, gathered)
            .await?;
        gathered.took.push((query, watch.elapsed()));

        let watch = Stopwatch::start();
        let open = self.memory.known.unseen(table);
        for keys in open.chunks(KEYS) {
            self.read_open(table, keys, forget_us, gathered).await?;
        }
        if !open.is_empty() {
            gathered.took.push((Query::Open, watch.elapsed()));
        }
        if full {
            // What began while the last look read may lie on the window's edge.
            let certain_us = since_us.saturating_add(micros(self.options.overlap));
            gathered
                .gone
                .extend(self.memory.known.unseen_since(table, certain_us));
            self.memory.known.prune(since_us);
        }
        Ok(())
    }

    /// Reads rows that may still change: all of them in short, those that have changed whole.
    async fn read_open(
        &mut self,
        table: Table,
        keys: &[String],
        forget_us: i64,
        gathered: &mut Gathered,
    ) -> Result<(), Ended> {
        const ACTION: &str = "read the open rows";
        let mut found: HashSet<String> = HashSet::new();
        let mut changed = keys.to_vec();
        if let Some(statement) = self.layout.versions(table, keys) {
            let answer = self.connection.rows(ACTION, &statement).await?;
            let version = |cells: &Cells| cells.get(1)?.as_ref()?.parse().ok();
            let versions: HashMap<&str, u64> = answer
                .iter()
                .filter_map(|cells| Some((cells.first()?.as_deref()?, version(cells)?)))
                .collect();
            let unchanged = self.memory.known.unchanged(table, &versions);
            found.extend(keys_of(&answer));
            changed.retain(|key| found.contains(key) && !unchanged.contains(key.as_str()));
        }
        if !changed.is_empty() {
            let statement = self.layout.read(table, &Read::Keys(&changed));
            let answer = self.connection.rows(ACTION, &statement).await?;
            found.extend(keys_of(&answer));
            self.take(table, answer, forget_us, gathered).await?;
        }
        let missed = keys.iter().filter(|key| !found.contains(*key));
        let missed: HashSet<String> = missed.cloned().collect();
        if !missed.is_empty() {
            let gone = self.memory.known.named(table, &missed);
            gathered.gone.extend(gone);
        }
        Ok(())
    }

    /// Reads page by page, by (time of creation, key): many rows may bear one time.
    async fn read_pages(
        &mut self,
        table: Table,
        (since_us, open): (i64, bool),
        forget_us: i64,
        gathered: &mut Gathered,
    ) -> Result<(), Ended> {
        let limit = self.options.page;
        let mut behind: Option<Place> = None;
        loop {
            let after = behind.as_ref();
            let read = match open {
                true => Read::Open {
                    since_us,
                    after,
                    limit,
                },
                false => Read::Created {
                    since_us,
                    after,
                    limit,
                },
            };
            let statement = self.layout.read(table, &read);
            let answer = self
                .connection
                .rows("read what was created", &statement)
                .await?;
            let is_last = u32::try_from(answer.len()).unwrap_or(u32::MAX) < limit;
            // Rows without a time stand last; a page of nothing else leads nowhere.
            let next = answer.iter().rev().find_map(|cells| place(cells));
            self.take(table, answer, forget_us, gathered).await?;
            match next {
                Some(next) if !is_last => behind = Some(next),
                _ => return Ok(()),
            }
        }
    }

    async fn take(
        &mut self,
        table: Table,
        answer: Vec<Cells>,
        forget_us: i64,
        gathered: &mut Gathered,
    ) -> Result<(), Ended> {
        for cells in answer {
            let decoded = self.layout.decode(table, &cells);
            let (Ok(decoded), Some(place)) = (decoded, place(&cells)) else {
                self.memory.unreadable.meet(table, &cells);
                continue;
            };
            self.memory.unreadable.was_read(table, &place.key);
            if self.memory.known.see(&decoded.row, &place, forget_us) {
                self.memory.odd += u64::from(decoded.odd);
                gathered.rows.push(decoded.row);
            }
        }
        if gathered.rows.len() >= HELD {
            self.connection.commit().await?;
            self.deliver(gathered).await?;
            self.connection.begin().await?;
        }
        Ok(())
    }

    /// Absence is told only if this role still sees anything of the table.
    async fn believe(&mut self, gathered: &mut Gathered) -> Result<(), Ended> {
        for table in Table::ALL {
            if !gathered.gone.iter().any(|key| key.table() == table) {
                continue;
            }
            self.look_for_sight(table, gathered).await?;
            if self.memory.blind[table as usize] {
                gathered.gone.retain(|key| key.table() != table);
            }
        }
        self.memory.known.forget(&gathered.gone);
        Ok(())
    }

    async fn look_for_sight(&mut self, table: Table, gathered: &mut Gathered) -> Result<(), Ended> {
        let watch = Stopwatch::start();
        let sight = state::sight(self.connection, self.layout, table).await?;
        gathered.took.push((Query::Visibility, watch.elapsed()));
        let blind = sight.is_blind();
        if std::mem::replace(&mut self.memory.blind[table as usize], blind) == blind {
            return Ok(());
        }
        let event = match blind {
            true => DatabaseEvent::Blind {
                table,
                estimate: sight.estimate,
            },
            false => DatabaseEvent::Sighted { table },
        };
        self.tell(event).await
    }

    async fn deliver(&self, gathered: &mut Gathered) -> Result<(), Ended> {
        let is_first = |row: &Row| self.memory.first[row.key().table() as usize];
        while let Some(first) = gathered.rows.first().map(is_first) {
            let rows = gathered.rows.iter();
            let same = rows.take_while(|row| is_first(row) == first).count();
            let others = gathered.rows.split_off(same);
            let rows = std::mem::replace(&mut gathered.rows, others);
            self.tell(DatabaseEvent::Rows { rows, first }).await?;
        }
        Ok(())
    }

    fn finish(self, state: State, full: Option<i64>, gathered: Gathered) -> Polled {
        let memory = self.memory;
        for (first, blind) in memory.first.iter_mut().zip(memory.blind) {
            *first &= blind;
        }
        if full.is_some() {
            memory.full_due = Some(clock::monotonic() + self.options.full_every);
        }
        let polled = Polled {
            as_of: milliseconds(state.as_of_us.unwrap_or(state.now_us)),
            full_window: full.map(milliseconds),
            gone: gathered.gone,
            open: memory.known.open(),
            ahead_ms: state.ahead_ms,
            replica: state.replica.then_some(Replica { lag: state.lag }),
            unreadable: memory.unreadable.len(),
            odd: memory.odd,
            took: gathered.took,
        };
        memory.last = Some(state);
        polled
    }

    async fn tell(&self, event: DatabaseEvent) -> Result<(), Ended> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Ended::Unheard)
    }
}

fn keys_of(answer: &[Cells]) -> impl Iterator<Item = String> + '_ {
    answer.iter().filter_map(|cells| cells.first()?.clone())
}

fn milliseconds(micros: i64) -> Timestamp {
    Timestamp(micros.div_euclid(1_000))
}
