//! Which rows were seen, and in which version: what has not changed is not delivered again, what vanished is noticed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::core::query::{Cells, Layout, Place, Table};
use crate::core::row::{Row, RowKey};

/// Rows of one table that are remembered, and of those that may still change. Beyond it a row is delivered again whenever
/// it is read, which costs work and loses nothing.
const MOST: usize = 50_000;

#[derive(Debug)]
pub(super) struct Known {
    rows: [HashMap<RowKey, Entry>; 2],
    round: u64,
}

#[derive(Debug)]
struct Entry {
    /// Unknown after a restart or a change of servers.
    version: Option<u64>,
    created_us: i64,
    /// The look that saw it last.
    round: u64,
    /// The key as the table holds it, of a row that may still change.
    open: Option<Box<str>>,
}

impl Known {
    pub(super) fn new(open: &[RowKey]) -> Known {
        let mut known = Known {
            rows: [HashMap::new(), HashMap::new()],
            round: 0,
        };
        for key in open {
            let entry = Entry {
                version: None,
                // Never forgotten for its age before it was asked for.
                created_us: i64::MAX,
                round: 0,
                open: Some(key.to_string().into()),
            };
            known.rows[key.table() as usize].insert(*key, entry);
        }
        known
    }

    /// Writes the keys of rows that may still change as the tables write them now: an earlier run told them in a form of
    /// its own, and a column's type may have changed since.
    pub(super) fn spell(&mut self, layout: &dyn Layout) {
        for (key, entry) in self.rows.iter_mut().flatten() {
            if entry.open.is_some()
                && let Some(text) = layout.spelled(*key)
            {
                entry.open = Some(text.into());
            }
        }
    }

    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Notes a row, and says whether it is new or has changed. A session created before `forget_us` is not asked for
    /// by key any more.
    pub(super) fn see(&mut self, row: &Row, place: &Place, forget_us: i64) -> bool {
        let key = row.key();
        let rows = &mut self.rows[key.table() as usize];
        let version = Some(row.version());
        let old = key.table() == Table::Sessions && place.created_us < forget_us;
        let entry = Entry {
            version,
            created_us: place.created_us,
            round: self.round,
            open: (!row.is_final() && !old).then(|| place.key.as_str().into()),
        };
        if let Some(known) = rows.get_mut(&key) {
            let changed = known.version != version;
            *known = entry;
            return changed;
        }
        if rows.len() < MOST {
            rows.insert(key, entry);
        }
        true
    }

    /// Keys of rows that may still change and were not seen in this look.
    pub(super) fn unseen(&self, table: Table) -> Vec<String> {
        let rows = self.rows[table as usize].values();
        rows.filter(|entry| entry.round != self.round)
            .filter_map(|entry| entry.open.as_deref().map(str::to_owned))
            .collect()
    }

    /// Notes rows that are in the version that is known, of those that may still change, as seen in this look; their
    /// keys.
    pub(super) fn unchanged<'a>(
        &mut self,
        table: Table,
        versions: &HashMap<&'a str, u64>,
    ) -> HashSet<&'a str> {
        let mut unchanged = HashSet::new();
        for entry in self.rows[table as usize].values_mut() {
            let found = entry
                .open
                .as_deref()
                .and_then(|key| versions.get_key_value(key));
            if let Some((key, version)) = found
                && entry.version == Some(*version)
            {
                entry.round = self.round;
                unchanged.insert(*key);
            }
        }
        unchanged
    }

    /// Rows of a full window that were not seen in this look, though they are not asked for by key.
    pub(super) fn unseen_since(&self, table: Table, since_us: i64) -> Vec<RowKey> {
        let rows = self.rows[table as usize].iter();
        rows.filter(|(_, entry)| {
            entry.round != self.round && entry.open.is_none() && entry.created_us >= since_us
        })
        .map(|(key, _)| *key)
        .collect()
    }

    /// The rows that these keys, asked for in vain, belong to.
    pub(super) fn named(&self, table: Table, keys: &HashSet<String>) -> Vec<RowKey> {
        let rows = self.rows[table as usize].iter();
        rows.filter(|(_, entry)| entry.open.as_deref().is_some_and(|key| keys.contains(key)))
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn forget(&mut self, gone: &[RowKey]) {
        for key in gone {
            self.rows[key.table() as usize].remove(key);
        }
    }

    /// Versions of one server mean nothing on another, which may have lost the last of them.
    pub(super) fn forget_versions(&mut self) {
        for entry in self.rows.iter_mut().flat_map(HashMap::values_mut) {
            entry.version = None;
        }
    }

    /// What is over and older than the window will not be read again.
    pub(super) fn prune(&mut self, before_us: i64) {
        for rows in &mut self.rows {
            rows.retain(|_, entry| entry.open.is_some() || entry.created_us >= before_us);
            rows.shrink_to(rows.len() * 2);
        }
    }

    pub(super) fn open(&self) -> usize {
        let rows = self.rows.iter().flat_map(HashMap::values);
        rows.filter(|entry| entry.open.is_some()).count()
    }
}

/// Rows without an id or a time: each once, however many questions bring it and however often it changes.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// By key, or what there is where the key itself is missing.
    met: HashSet<u64>,
    words: RandomState,
}

impl Unreadable {
    pub(super) fn meet(&mut self, table: Table, cells: &Cells) {
        let met = match cells.first() {
            Some(Some(key)) => self.words.hash_one((table.as_str(), key)),
            _ => self.words.hash_one((table.as_str(), cells)),
        };
        self.met.insert(met);
    }

    /// It can be read by now.
    pub(super) fn was_read(&mut self, table: Table, key: &String) {
        if !self.met.is_empty() {
            self.met.remove(&self.words.hash_one((table.as_str(), key)));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.met.len()
    }

    /// All of them are about to be met anew.
    pub(super) fn forget(&mut self) {
        self.met.clear();
    }
}

/// In the database's unit.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
