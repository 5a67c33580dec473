//! One batch into the tables: one text of statements, whatever the batch holds.
//!
//! A table's rows travel as one JSON text that SQLite takes apart (`json_each`; of NULL it makes no row), and the whole
//! transaction goes to the connection's thread in one trip. A trip a statement, or worse a row, would be most of what a
//! small write costs: on the way of a page it was three quarters.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::Batch;
use super::operation::{self, OperationRow};
use super::outbox;
use super::row::{BOOT_COLUMNS, INCIDENT_COLUMNS, text_of, text_of_pieces};
use super::trial::{self, TrialRow};

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

/// A batch as it is written.
#[derive(Debug)]
pub(super) struct Written {
    forgotten: Option<String>,
    set: Option<String>,
    cleared: Option<String>,
    boots: Option<String>,
    incidents: Option<String>,
    messages: Option<String>,
    operations: Option<String>,
    trials: Option<String>,
    /// The last number that a row of it has.
    pub(super) sequence: i64,
}

impl Written {
    /// `sequence` is the last number given so far, `message` the last message's.
    pub(super) fn of(batch: &Batch, sequence: i64, message: i64) -> Written {
        let mut next = sequence;
        let mut number = || {
            next += 1;
            next
        };
        let text = |rows: Vec<Value>| (!rows.is_empty()).then(|| text_of(rows));
        // By far the most there ever is: what is written of it is not copied piece by piece before.
        let (mut set, mut cleared) = (Vec::new(), Vec::new());
        for change in &batch.state {
            let key = (change.kind, change.key.as_str());
            match &change.value {
                Some(value) => set.push((key.0, key.1, value.as_str())),
                None => cleared.push(key),
            }
        }
        let boots = batch.boots.iter().map(|boot| boot.to_json(number()));
        let boots = text(boots.collect());
        let incidents = batch.incidents.iter().map(|row| row.to_json(number()));
        let incidents = text(incidents.collect());
        let messages = (message + 1..).zip(&batch.outbox);
        Written {
            forgotten: text(batch.forgotten.iter().map(|kind| json!(kind)).collect()),
            set: (!set.is_empty()).then(|| text_of_pieces(&set)),
            cleared: (!cleared.is_empty()).then(|| text_of_pieces(&cleared)),
            boots,
            incidents,
            messages: text(messages.map(|(id, new)| new.to_json(id)).collect()),
            trials: text(batch.trials.iter().map(TrialRow::to_json).collect()),
            operations: text(batch.operations.iter().map(OperationRow::to_json).collect()),
            sequence: next,
        }
    }

    /// Its statements, without a beginning and an end.
    pub(super) fn statements() -> &'static str {
        &STATEMENTS
    }

    /// What they are bound to.
    pub(super) fn into_arguments(self) -> SqliteArguments {
        let mut arguments = SqliteArguments::default();
        for rows in [
            self.forgotten,
            self.set,
            self.cleared,
            self.boots.clone(),
            self.boots,
            self.incidents,
            self.messages,
            self.operations,
            self.trials,
        ] {
            // Text and numbers can always be given to SQLite.
            arguments.add(rows).ok();
        }
        arguments.add(self.sequence).ok();
        arguments.add(self.sequence).ok();
        arguments
    }
}
