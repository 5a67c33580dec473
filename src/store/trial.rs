//! The journal of synthetic boots: what each set out to do and how far it has come, one row a boot. What was not begun has
//! a row as well, in the state `skipped`: it is history, and nothing a start goes on with.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use crate::core::event::Timestamp;

/// Rows that a start reads, beside all that are open: enough for the day's budget.
const READ: i64 = 200;

/// One entry; a later one of the same id stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRow {
    pub id: i64,
    pub state: String,
    /// All of it, as JSON.
    pub intent: String,
    pub vm_id: Option<String>,
    pub session_id: Option<String>,
    pub started_at: Timestamp,
    /// Nothing remains to be done about it.
    pub ended_at: Option<Timestamp>,
}

/// The state of a boot that was not begun.
pub const SKIPPED: &str = "skipped";

/// How the runs that began in a range ended, and how many; what is not judged yet is none of them. A request that was
/// turned away has a row of its own as a skip.
///
/// [`NEWEST`] says the same of each by itself.
pub(super) const TALLY: &str = "SELECT word, count(*) FROM (
        SELECT CASE WHEN state = 'skipped' THEN 'skipped_' || (intent ->> '$.reason') ELSE intent ->> '$.result' END AS word
        FROM synthetic WHERE started_at >= ? AND started_at < ?)
    WHERE word IS NOT NULL AND word <> 'skipped' GROUP BY word ORDER BY word";

/// How the newest runs ended, a few weeks of them, as a JSON array.
pub(super) const NEWEST: &str = "SELECT json_group_array(json_object('id', id, 'started_at', started_at, 'word', word))
    FROM (SELECT id, started_at,
            CASE WHEN state = 'skipped' THEN 'skipped_' || (intent ->> '$.reason') ELSE intent ->> '$.result' END AS word
        FROM (SELECT * FROM synthetic ORDER BY id DESC LIMIT 4000) ORDER BY id)
    WHERE word IS NOT NULL AND word <> 'skipped'";

pub(super) const NOTE: &str = "INSERT INTO synthetic (id, state, intent, vm_id, session_id, started_at, ended_at)
    SELECT value ->> 'id', value ->> 'state', value ->> 'intent', value ->> 'vm_id', value ->> 'session_id',
           value ->> 'started_at', value ->> 'ended_at'
    FROM json_each({trials}) WHERE true
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, intent = excluded.intent, vm_id = excluded.vm_id,
        session_id = excluded.session_id, ended_at = excluded.ended_at";

impl TrialRow {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "state": self.state,
            "intent": self.intent,
            "vm_id": self.vm_id,
            "session_id": self.session_id,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        })
    }
}

/// The runs behind a place, newest first. Of a request that was turned away its skip is told.
pub(super) const BEHIND: &str =
    "SELECT id, state, intent, vm_id, session_id, started_at, ended_at FROM synthetic
    WHERE started_at <= ? AND (state = 'skipped' OR intent ->> '$.result' IS NOT 'skipped')
    ORDER BY started_at DESC, id DESC LIMIT ? OFFSET ?";

/// A place in the list of runs: that moment, behind so many that began at it. An entry's id is no part of it, for it is
/// made of the mark that proves that a request was ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialPlace {
    pub at: Timestamp,
    pub behind: u32,
}

pub(super) type Columns = (
    i64,
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    Option<i64>,
);

/// All that are open and the newest that are not, oldest first.
pub(super) async fn read(raw: &mut SqliteConnection) -> Result<Vec<TrialRow>, sqlx::Error> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, state, intent, vm_id, session_id, started_at, ended_at FROM synthetic
         WHERE ended_at IS NULL
             OR id IN (SELECT id FROM synthetic WHERE state <> 'skipped' ORDER BY started_at DESC LIMIT ?)
         ORDER BY started_at",
    )
    .bind(READ)
    .fetch_all(raw)
    .await?;
    Ok(rows.into_iter().map(row).collect())
}

pub(super) fn row(
    (id, state, intent, vm_id, session_id, started_at, ended_at): Columns,
) -> TrialRow {
    TrialRow {
        id,
        state,
        intent,
        vm_id,
        session_id,
        started_at: Timestamp(started_at),
        ended_at: ended_at.map(Timestamp),
    }
}
