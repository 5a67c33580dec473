//! One batch into the tables: one text of statements, whatever the batch holds.
//!
//! A table's rows travel as one JSON text that SQLite takes apart (`json_each`; of NULL it makes no row), and the whole
//! transaction goes to the connection's thread in one trip. A trip a statement, or worse a row, would be most of what a
//! small write costs: on the way of a page it was three quarters.
//!
//! A large batch, such as the first look at a database makes, is the same transaction in several trips: one text of all
//! of it, with the copies that the library and SQLite make of a text, would be most of what the program ever holds in
//! memory. Only one slice of it is a text at a time.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::operation::{self, OperationRow};
use super::outbox;
use super::row::{BOOT_COLUMNS, INCIDENT_COLUMNS, text_of, text_of_pieces};
use super::trial::{self, TrialRow};
use super::{Batch, BootRow, StateChange};

/// As much state as one text holds, by the length of its keys and values: what is beyond goes ahead in texts like it.
const SLICE: usize = 128 << 10;
/// The same of boots, by number: a boot is some 2 KB of text.
const SLICE_BOOTS: usize = 64;

const SET_STATE: &str = "INSERT INTO state (kind, key, value)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value";
const CLEAR_STATE: &str = "DELETE FROM state WHERE (kind, key) IN
    (SELECT value ->> 0, value ->> 1 FROM json_each(?))";
const FORGET_STATE: &str = "DELETE FROM state WHERE kind IN (SELECT value FROM json_each(?))";
const SET_SEQUENCE: &str = "UPDATE meta SET sequence = ? WHERE sequence <> ?";
const SET_DETAIL: &str = "INSERT INTO boot_detail (boot_id, detail)
    SELECT value ->> 'boot_id', value -> 'detail' FROM json_each(?) WHERE true
    ON CONFLICT (boot_id) DO UPDATE SET detail = excluded.detail";

static SET_BOOTS: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
    upsert("boot", "boot_id", &names, None)
});
static SET_INCIDENTS: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = INCIDENT_COLUMNS.iter().map(|(name, _)| *name).collect();
    upsert("incident", "key", &names, Some("value"))
});

/// What [`Written::into_arguments`] is bound to, in its order.
static STATEMENTS: LazyLock<String> = LazyLock::new(|| {
    [
        FORGET_STATE,
        SET_STATE,
        CLEAR_STATE,
        &SET_BOOTS,
        SET_DETAIL,
        &SET_INCIDENTS,
        outbox::QUEUE,
        operation::RECORD,
        trial::NOTE,
        SET_SEQUENCE,
    ]
    .join(";\n")
});
/// A slice of boots that goes ahead.
static BOOTS_AHEAD: LazyLock<String> =
    LazyLock::new(|| [SET_BOOTS.as_str(), SET_DETAIL].join(";\n"));

/// Writes rows given as JSON objects; the column `whole` takes JSON as it is.
fn upsert(table: &str, key: &str, names: &[&str], whole: Option<&str>) -> String {
    let names = || names.iter().copied().chain(["changed"]);
    let list = |each: &dyn Fn(&str) -> String| {
        let plain: Vec<String> = names().chain(whole).map(each).collect();
        plain.join(", ")
    };
    let taken = |name: &str| match whole == Some(name) {
        true => format!("value -> '{name}'"),
        false => format!("value ->> '{name}'"),
    };
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM json_each(?) WHERE true ON CONFLICT ({key}) DO UPDATE SET {}",
        list(&str::to_owned),
        list(&taken),
        list(&|name| format!("{name} = excluded.{name}")),
    )
}

/// Statements, and what they are bound to.
pub(super) type Trip = (&'static str, SqliteArguments);

/// A batch as it is written.
#[derive(Debug)]
pub(super) struct Written<'a> {
    batch: &'a Batch,
    /// The last numbers given so far: a row's, and a message's.
    sequence: i64,
    message: i64,
    /// What goes ahead of all others: empty of a batch that is small.
    set: Vec<&'a [StateChange]>,
    boots: Vec<(i64, &'a [BootRow])>,
}

impl<'a> Written<'a> {
    /// `sequence` is the last number given so far, `message` the last message's.
    pub(super) fn of(batch: &'a Batch, sequence: i64, message: i64) -> Written<'a> {
        let mut set = slices(&batch.state);
        if set.len() == 1 {
            set.clear();
        }
        let mut boots = Vec::new();
        if batch.boots.len() > SLICE_BOOTS {
            let firsts = (sequence + 1..).step_by(SLICE_BOOTS);
            boots.extend(firsts.zip(batch.boots.chunks(SLICE_BOOTS)));
        }
        Written {
            batch,
            sequence,
            message,
            set,
            boots,
        }
    }

    /// The last number that a row of it has.
    pub(super) fn sequence(&self) -> i64 {
        let rows = self.batch.boots.len() + self.batch.incidents.len();
        self.sequence + i64::try_from(rows).unwrap_or(0)
    }

    /// What goes ahead of [`Written::last`] in the same transaction: each is made when it is asked for.
    pub(super) fn ahead(&self) -> impl Iterator<Item = Trip> + '_ {
        // What is forgotten is forgotten before anything of it is set anew, and nothing is removed before all is set.
        let forgotten = (!self.set.is_empty()).then(|| (FORGET_STATE, bound([self.forgotten()])));
        let set = self
            .set
            .iter()
            .map(|slice| (SET_STATE, bound([set(slice)])));
        let cleared = self.set.iter();
        let cleared =
            cleared.filter_map(|slice| Some((CLEAR_STATE, bound([Some(cleared_of(slice)?)]))));
        let boots = self.boots.iter().map(|(first, slice)| {
            let text = boots(slice, *first);
            (BOOTS_AHEAD.as_str(), bound([text.clone(), text]))
        });
        forgotten.into_iter().chain(set).chain(cleared).chain(boots)
    }

    /// The rest: all of a batch that is small.
    pub(super) fn last(&self) -> Trip {
        let batch = self.batch;
        let text = |rows: Vec<Value>| (!rows.is_empty()).then(|| text_of(rows));
        let state = match self.set.is_empty() {
            true => [
                self.forgotten(),
                set(&batch.state),
                cleared_of(&batch.state),
            ],
            false => [None, None, None],
        };
        let boots = match self.boots.is_empty() {
            true => boots(&batch.boots, self.sequence + 1),
            false => None,
        };
        let first = self.sequence + 1 + i64::try_from(batch.boots.len()).unwrap_or(0);
        let incidents = (first..).zip(&batch.incidents);
        let messages = (self.message + 1..).zip(&batch.outbox);
        let [forgotten, set, cleared] = state;
        let mut arguments = bound([
            forgotten,
            set,
            cleared,
            boots.clone(),
            boots,
            text(incidents.map(|(number, row)| row.to_json(number)).collect()),
            text(messages.map(|(id, new)| new.to_json(id)).collect()),
            text(batch.operations.iter().map(OperationRow::to_json).collect()),
            text(batch.trials.iter().map(TrialRow::to_json).collect()),
        ]);
        arguments.add(self.sequence()).ok();
        arguments.add(self.sequence()).ok();
        (&STATEMENTS, arguments)
    }

    fn forgotten(&self) -> Option<String> {
        let kinds: Vec<Value> = self
            .batch
            .forgotten
            .iter()
            .map(|kind| json!(kind))
            .collect();
        (!kinds.is_empty()).then(|| text_of(kinds))
    }
}

/// State in slices of about [`SLICE`]; none of none.
fn slices(state: &[StateChange]) -> Vec<&[StateChange]> {
    let mut slices = Vec::new();
    let mut rest = state;
    while !rest.is_empty() {
        let mut room = SLICE;
        let fits = |change: &&StateChange| {
            let length = change.key.len() + change.value.as_ref().map_or(0, String::len);
            let fits = room > 0;
            room = room.saturating_sub(length);
            fits
        };
        let (slice, others) = rest.split_at(rest.iter().take_while(fits).count());
        slices.push(slice);
        rest = others;
    }
    slices
}

/// By far the most there ever is: what is written of it is not copied piece by piece before.
fn set(state: &[StateChange]) -> Option<String> {
    let pieces = state.iter().filter_map(|change| {
        let value = change.value.as_deref()?;
        Some((change.kind, change.key.as_str(), value))
    });
    let pieces: Vec<_> = pieces.collect();
    (!pieces.is_empty()).then(|| text_of_pieces(&pieces))
}

fn cleared_of(state: &[StateChange]) -> Option<String> {
    let gone = state.iter().filter(|change| change.value.is_none());
    let pieces: Vec<_> = gone
        .map(|change| (change.kind, change.key.as_str()))
        .collect();
    (!pieces.is_empty()).then(|| text_of_pieces(&pieces))
}

/// Numbered from `first` on.
fn boots(rows: &[BootRow], first: i64) -> Option<String> {
    let rows: Vec<Value> = (first..)
        .zip(rows)
        .map(|(number, row)| row.to_json(number))
        .collect();
    (!rows.is_empty()).then(|| text_of(rows))
}

fn bound<const N: usize>(texts: [Option<String>; N]) -> SqliteArguments {
    let mut arguments = SqliteArguments::default();
    for text in texts {
        // Text and numbers can always be given to SQLite.
        arguments.add(text).ok();
    }
    arguments
}
