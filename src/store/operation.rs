//! What operators did, kept as a record: nobody changes a row of it.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use crate::core::desk::Operation;
use crate::core::event::Timestamp;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRow {
    pub at: Timestamp,
    /// `silence`, `expire`, `acknowledge`, `maintenance`, `maintenance_end` or `fix`.
    pub action: String,
    /// A number, or an incident's key.
    pub subject: String,
    pub author: String,
    pub reason: String,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
}

pub(super) const RECORD: &str = "INSERT INTO operation
    (at, action, subject, author, reason, starts_at, ends_at)
    SELECT value ->> 'at', value ->> 'action', value ->> 'subject', value ->> 'author', value ->> 'reason',
           value ->> 'starts_at', value ->> 'ends_at'
    FROM json_each({operations})";

impl OperationRow {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "at": self.at,
            "action": self.action,
            "subject": self.subject,
            "author": self.author,
            "reason": self.reason,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
        })
    }
}

impl From<Operation> for OperationRow {
    fn from(operation: Operation) -> OperationRow {
        OperationRow {
            at: operation.at,
            action: operation.action.to_owned(),
            subject: operation.subject,
            author: operation.author,
            reason: operation.reason,
            starts_at: operation.starts_at,
            ends_at: operation.ends_at,
        }
    }
}

impl<'r> FromRow<'r, SqliteRow> for OperationRow {
    fn from_row(row: &'r SqliteRow) -> Result<OperationRow, sqlx::Error> {
        let moment = |column| -> Result<Option<Timestamp>, sqlx::Error> {
            Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp))
        };
        Ok(OperationRow {
            at: Timestamp(row.try_get("at")?),
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            author: row.try_get("author")?,
            reason: row.try_get("reason")?,
            starts_at: moment("starts_at")?,
            ends_at: moment("ends_at")?,
        })
    }
}
