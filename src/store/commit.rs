//! One batch into the tables: one statement, whatever the batch holds.
//!
//! The connection's thread answers each statement by itself, and whoever waits for it is woken each time: on the way of a
//! page that was half of what the commit took beside the disk. So a batch is one row that is put into a view
//! ([`view`]), whose trigger writes it to the tables. A table's rows travel as one JSON text that SQLite takes apart
//! (`json_each`; of NULL it makes no row). A long text of a row that is alone in its batch travels beside it as it is:
//! to wrap it in JSON and unwrap it again would cost more than to write it.
//!
//! The same row may lie ahead of the tables (`ahead`): a batch whose messages wait for the disk is put there, which is a
//! few pages instead of the dozens that tables and indexes take, and written to the tables when they have left. Its
//! removal is what writes it ([`SETTLE`]), so that it is in the one place or in the other. So the names in these texts
//! are part of the file's format, like the columns: a change of them is a step of the schema.
//!
//! A large batch, such as the first look at a database makes, is the same transaction in several trips: one text of all
//! of it, with the copies that the library and SQLite make of a text, would be most of what the program ever holds in
//! memory. Only one slice of it is a text at a time; a larger one where somebody waits, as each trip wakes two threads.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::operation::{self, OperationRow};
use super::outbox;
use super::row::{BOOT_COLUMNS, Columns, INCIDENT_COLUMNS, one_text, text_of, text_of_pairs};
use super::trial::{self, TrialRow};
use super::{Batch, BootRow, StateChange};

/// What one text holds; what is beyond goes ahead in texts like it.
#[derive(Clone, Copy)]
struct Slice {
    /// The length of state's keys and values.
    state: usize,
    /// Boots: each is some 2 KB of text.
    boots: usize,
}

/// Of a batch that is more than [`ROW`].
const SLICE: Slice = Slice {
    state: 32 << 10,
    boots: 16,
};
/// So much is one row.
const ROW: Slice = Slice {
    state: 128 << 10,
    boots: 64,
};
/// So much is one row where somebody waits for it, which may lie ahead of the tables: what a busy log leaves between two
/// commits. What is more goes so much at a time.
const AWAITED: Slice = Slice {
    state: 512 << 10,
    boots: 512,
};

/// A key is its kind, a space, and the rest: no kind holds a space. Plain texts of an object are taken as they are.
const SET_STATE: &str = "INSERT INTO state (kind, key, value)
    SELECT substr(key, 1, instr(key, ' ') - 1), substr(key, instr(key, ' ') + 1), value FROM json_each({state})
    WHERE true ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value";
const CLEAR_STATE: &str = "DELETE FROM state WHERE (kind, key) IN
    (SELECT value ->> 0, value ->> 1 FROM json_each({cleared}))";
const FORGET_STATE: &str =
    "DELETE FROM state WHERE kind IN (SELECT value FROM json_each({forgotten}))";
const SET_SEQUENCE: &str = "UPDATE meta SET sequence = {sequence} WHERE sequence <> {sequence}";
const SET_DETAIL: &str = "INSERT INTO boot_detail (boot_id, detail)
    SELECT key, value FROM json_each({details}) WHERE true
    ON CONFLICT (boot_id) DO UPDATE SET detail = excluded.detail";

/// What a batch is as one row, in the order in which it is bound: the columns of the view, and of `ahead` behind its id.
const COLUMNS: [&str; 12] = [
    "forgotten",
    "state",
    "cleared",
    "boots",
    "details",
    "incidents",
    "value",
    "outbox",
    "payload",
    "operations",
    "trials",
    "sequence",
];

fn set_boots() -> String {
    let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
    upsert("boot", "boot_id", &names, "boots", None)
}

fn set_incidents() -> String {
    let names: Vec<&str> = INCIDENT_COLUMNS.iter().map(|(name, _)| *name).collect();
    upsert("incident", "key", &names, "incidents", Some("value"))
}

/// The view that takes batches, and what writes one that lies ahead: they are the connection's alone, and not in the file.
pub(super) fn view() -> String {
    let statements = [
        FORGET_STATE.to_owned(),
        SET_STATE.to_owned(),
        CLEAR_STATE.to_owned(),
        set_boots(),
        SET_DETAIL.to_owned(),
        set_incidents(),
        outbox::QUEUE.replace("{messages}", &objects("outbox")),
        operation::RECORD.to_owned(),
        trial::NOTE.to_owned(),
        SET_SEQUENCE.to_owned(),
    ];
    let body = |row: &str| {
        let mut body = statements.join(";\n");
        for column in COLUMNS {
            body = body.replace(&format!("{{{column}}}"), &format!("{row}.{column}"));
        }
        body
    };
    format!(
        "CREATE TEMP VIEW IF NOT EXISTS batch ({}) AS SELECT {};
         CREATE TEMP TRIGGER IF NOT EXISTS batch_written INSTEAD OF INSERT ON batch BEGIN {}; END;
         CREATE TEMP TRIGGER IF NOT EXISTS batch_settled AFTER DELETE ON ahead BEGIN {}; END;",
        COLUMNS.join(", "),
        COLUMNS.map(|_| "NULL").join(", "),
        body("NEW"),
        body("OLD"),
    )
}

/// Writes what lies ahead to the tables. Of nothing it is nothing.
pub(super) const SETTLE: &str = "DELETE FROM ahead";

/// What [`Written::last`] is bound to.
const WRITE: &str = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// The same, ahead of the tables.
const LAY: &str = "INSERT INTO ahead VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// What is forgotten, a slice of state, and one of boots, that go ahead.
static FORGET_AHEAD: LazyLock<String> = LazyLock::new(|| FORGET_STATE.replace("{forgotten}", "?"));
static STATE_AHEAD: LazyLock<String> = LazyLock::new(|| SET_STATE.replace("{state}", "?"));
static CLEAR_AHEAD: LazyLock<String> = LazyLock::new(|| CLEAR_STATE.replace("{cleared}", "?"));
static BOOTS_AHEAD: LazyLock<String> = LazyLock::new(|| {
    [set_boots(), SET_DETAIL.to_owned()]
        .join(";\n")
        .replace("{boots}", "?")
        .replace("{details}", "?")
});

/// The objects of an array as rows, each under the name of `value`. SQLite would write an object out again for each of
/// the columns that are taken of it; behind a limit it does so once, where what selects of it has a WHERE: else the two
/// are made one again.
fn objects(array: &str) -> String {
    format!("(SELECT value FROM json_each({{{array}}}) LIMIT -1)")
}

/// Writes rows given as JSON objects; the column `whole` takes JSON as it is.
fn upsert(table: &str, key: &str, names: &[&str], rows: &str, whole: Option<&str>) -> String {
    let names = || names.iter().copied().chain(["changed"]);
    let list = |each: &dyn Fn(&str) -> String| {
        let plain: Vec<String> = names().chain(whole).map(each).collect();
        plain.join(", ")
    };
    let taken = |name: &str| match whole == Some(name) {
        true => format!("coalesce(value -> '{name}', {{{name}}})"),
        false => format!("value ->> '{name}'"),
    };
    format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {} WHERE true ON CONFLICT ({key}) DO UPDATE SET {}",
        list(&str::to_owned),
        list(&taken),
        objects(rows),
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
        let is_one = batch.boots.len() <= ROW.boots && slices(&batch.state, ROW.state).len() <= 1;
        let slice = match (batch.outbox.is_empty(), is_one) {
            (false, _) => AWAITED,
            (true, true) => ROW,
            (true, false) => SLICE,
        };
        let mut set = slices(&batch.state, slice.state);
        if set.len() == 1 {
            set.clear();
        }
        let mut boots = Vec::new();
        if batch.boots.len() > slice.boots {
            let firsts = (sequence + 1..).step_by(slice.boots);
            boots.extend(firsts.zip(batch.boots.chunks(slice.boots)));
        }
        Written {
            batch,
            sequence,
            message,
            set,
            boots,
        }
    }

    /// Somebody waits for it, and it is one row: it may lie ahead of the tables for a moment.
    pub(super) fn may_lie_ahead(&self) -> bool {
        let small = self.set.is_empty() && self.boots.is_empty();
        small && !self.batch.outbox.is_empty() && self.batch.marks.is_empty()
    }

    /// The last number that a row of it has.
    pub(super) fn sequence(&self) -> i64 {
        let rows = self.batch.boots.len() + self.batch.incidents.len();
        self.sequence + i64::try_from(rows).unwrap_or(0)
    }

    /// What goes ahead of [`Written::last`] in the same transaction: each is made when it is asked for.
    pub(super) fn ahead(&self) -> impl Iterator<Item = Trip> + '_ {
        // What is forgotten is forgotten before anything of it is set anew, and nothing is removed before all is set.
        let forgotten =
            (!self.set.is_empty()).then(|| (FORGET_AHEAD.as_str(), bound([self.forgotten()])));
        let set = self
            .set
            .iter()
            .map(|slice| (STATE_AHEAD.as_str(), bound([set(slice)])));
        let cleared = self.set.iter();
        let cleared = cleared.filter_map(|slice| {
            let text = cleared_of(slice)?;
            Some((CLEAR_AHEAD.as_str(), bound([Some(text)])))
        });
        let boots = self.boots.iter().map(|(first, slice)| {
            let texts = [boots(slice, *first), details(slice)];
            (BOOTS_AHEAD.as_str(), bound(texts))
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
        let [boots, details] = match self.boots.is_empty() {
            true => [
                boots(&batch.boots, self.sequence + 1),
                details(&batch.boots),
            ],
            false => [None, None],
        };
        let first = self.sequence + 1 + i64::try_from(batch.boots.len()).unwrap_or(0);
        let value = match batch.incidents.as_slice() {
            [one] => Some(one.value()),
            _ => None,
        };
        let incidents = (first..).zip(&batch.incidents);
        let incidents = incidents.map(|(number, row)| row.to_json(number, value.is_none()));
        let payload = outbox::one_payload(&batch.outbox);
        let messages = (self.message + 1..).zip(&batch.outbox);
        let messages = messages.map(|(id, new)| new.to_json(id, payload.is_none()));
        let [forgotten, set, cleared] = state;
        let mut arguments = bound([
            forgotten,
            set,
            cleared,
            boots,
            details,
            text(incidents.collect()),
            value,
            text(messages.collect()),
            payload.map(str::to_owned),
            text(batch.operations.iter().map(OperationRow::to_json).collect()),
            text(batch.trials.iter().map(TrialRow::to_json).collect()),
        ]);
        arguments.add(self.sequence()).ok();
        let statement = match self.may_lie_ahead() {
            true => LAY,
            false => WRITE,
        };
        (statement, arguments)
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

/// State in slices of about `most`; none of none.
fn slices(state: &[StateChange], most: usize) -> Vec<&[StateChange]> {
    let mut slices = Vec::new();
    let mut rest = state;
    while !rest.is_empty() {
        let mut room = most;
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
        Some((format!("{} {}", change.kind, change.key), value))
    });
    text_of_pairs(pieces)
}

fn cleared_of(state: &[StateChange]) -> Option<String> {
    let gone = state.iter().filter(|change| change.value.is_none());
    let pieces: Vec<_> = gone
        .map(|change| (change.kind, change.key.as_str()))
        .collect();
    (!pieces.is_empty()).then(|| one_text(&pieces))
}

/// Numbered from `first` on.
fn boots(rows: &[BootRow], first: i64) -> Option<String> {
    let rows: Vec<Columns<'_>> = (first..)
        .zip(rows)
        .map(|(changed, row)| Columns { row, changed })
        .collect();
    (!rows.is_empty()).then(|| one_text(&rows))
}

/// What belongs to them, by their ids.
fn details(rows: &[BootRow]) -> Option<String> {
    text_of_pairs(rows.iter().map(|row| (row.boot_id.as_str(), row.detail())))
}

fn bound<const N: usize>(texts: [Option<String>; N]) -> SqliteArguments {
    let mut arguments = SqliteArguments::default();
    for text in texts {
        // Text and numbers can always be given to SQLite.
        arguments.add(text).ok();
    }
    arguments
}
