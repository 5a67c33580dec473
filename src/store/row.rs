//! Boots and incidents as rows.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::core::alert::Incident;
use crate::core::boot::{Boot, StageSpan};
use crate::core::console::ConsoleEvidence;
use crate::core::event::{
    AttemptResult, Failure, Origin, Outcome, Provenance, SessionId, Stage, StageOutcome, Timestamp,
    VmId, VmType, WaitLimits,
};
use crate::core::failure::Rung;
use crate::core::probe::Answerer;

/// One boot of history. Who asked for it is not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct BootRow {
    pub boot_id: String,
    pub host: String,
    pub vm: Option<VmId>,
    pub session: Option<SessionId>,
    pub vm_type: VmType,
    pub origin: Origin,
    /// `None`: it has not ended.
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub failed_stage: Option<Stage>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ready_ms: Option<u32>,
    /// The golden image it was cloned from, where that is known.
    pub image: Option<String>,
    /// The controller's build, where that is known.
    pub build: Option<String>,
    pub detail: BootDetail,
}

/// What nothing is filtered or counted by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BootDetail {
    pub ip: Option<Ipv4Addr>,
    pub first: Provenance,
    pub stages: Vec<(Stage, StageSpan)>,
    pub attempts: Vec<(AttemptResult, u32)>,
    pub ladder: Vec<Rung>,
    pub limits: Option<WaitLimits>,
    pub injected: bool,
    pub error: Option<String>,
    pub evidence: Vec<String>,
    pub late_marks: u32,
    /// Who answered with 200, and how far its clock was ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerer: Option<Answerer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_ahead_ms: Option<i64>,
    /// What the guest's console said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Box<ConsoleEvidence>>,
    /// It touched a maintenance: it counted neither for nor against.
    #[serde(default, skip_serializing_if = "is_false")]
    pub maintenance: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A column of `boot` and its type in PostgreSQL.
pub(super) type Column = (String, &'static str);

/// Every column of `boot` that a row fills: the one list that reading, writing and copying are made from.
pub(super) static BOOT_COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let plain = [
        ("boot_id", "text"),
        ("host", "text"),
        ("vm_id", "text"),
        ("session_id", "text"),
        ("vm_type", "text"),
        ("origin", "text"),
        ("outcome", "text"),
        ("failure", "text"),
        ("failed_stage", "text"),
        ("started_at", "timestamptz"),
        ("ended_at", "timestamptz"),
        ("ready_ms", "bigint"),
        ("image", "text"),
        ("build", "text"),
    ];
    let stages = Stage::ALL
        .iter()
        .map(|stage| (stage_column(*stage), "bigint"));
    let plain = plain.map(|(name, kind)| (name.to_owned(), kind));
    plain.into_iter().chain(stages).collect()
});

pub(super) const INCIDENT_COLUMNS: &[(&str, &str)] = &[
    ("key", "text"),
    ("host", "text"),
    ("vm_type", "text"),
    ("family", "text"),
    ("cause", "text"),
    ("first_bad_at", "timestamptz"),
    ("fired_at", "timestamptz"),
    ("resolved_at", "timestamptz"),
];

fn stage_column(stage: Stage) -> String {
    format!("{stage}_ms")
}

/// A boot's columns by name, `changed` with them; one that is left out is NULL.
pub(super) struct Columns<'a> {
    pub(super) row: &'a BootRow,
    pub(super) changed: i64,
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Columns { row, changed } = self;
        let mut columns = serializer.serialize_map(None)?;
        columns.serialize_entry("boot_id", &row.boot_id)?;
        columns.serialize_entry("host", &row.host)?;
        columns.serialize_entry("vm_id", &row.vm)?;
        columns.serialize_entry("session_id", &row.session)?;
        columns.serialize_entry("vm_type", &row.vm_type)?;
        columns.serialize_entry("origin", &row.origin)?;
        columns.serialize_entry("outcome", &row.outcome)?;
        columns.serialize_entry("failure", &row.failure)?;
        columns.serialize_entry("failed_stage", &row.failed_stage)?;
        columns.serialize_entry("started_at", &row.started_at)?;
        columns.serialize_entry("ended_at", &row.ended_at)?;
        columns.serialize_entry("ready_ms", &row.ready_ms)?;
        columns.serialize_entry("image", &row.image)?;
        columns.serialize_entry("build", &row.build)?;
        columns.serialize_entry("changed", changed)?;
        for (stage, span) in &row.detail.stages {
            if span.outcome == StageOutcome::Completed {
                columns.serialize_entry(&stage_column(*stage), &span.ms)?;
            }
        }
        columns.end()
    }
}

impl BootRow {
    #[must_use]
    pub fn of(boot: &Boot, host: &str) -> BootRow {
        BootRow {
            boot_id: boot.id(host),
            host: host.to_owned(),
            vm: boot.vm,
            session: boot.session,
            vm_type: boot.kind(),
            origin: boot.origin,
            outcome: boot.outcome,
            failure: boot.failure,
            failed_stage: boot.failed_stage,
            started_at: boot.started_at,
            ended_at: boot.ended_at,
            ready_ms: boot.ready_ms,
            image: boot.image.clone(),
            build: None,
            detail: BootDetail {
                ip: boot.ip,
                first: boot.first,
                stages: boot.stages().collect(),
                attempts: boot.attempts.clone(),
                ladder: boot.ladder.clone(),
                limits: boot.limits,
                injected: boot.injected,
                error: boot.error.clone(),
                evidence: boot.evidence.to_vec(),
                late_marks: boot.late_marks,
                answerer: boot.answerer,
                guest_ahead_ms: boot.guest_ahead_ms,
                console: boot.console.clone(),
                maintenance: false,
            },
        }
    }

    /// What belongs to it as one text.
    pub(super) fn detail(&self) -> String {
        one_text(&self.detail)
    }

    pub(super) fn read(row: &SqliteRow) -> Result<BootRow, sqlx::Error> {
        let detail: &str = row.try_get("detail")?;
        Ok(BootRow {
            boot_id: row.try_get("boot_id")?,
            host: row.try_get("host")?,
            vm: word(row, "vm_id", |text| VmId::parse(text.as_bytes()))?,
            session: word(row, "session_id", |text| SessionId::parse(text.as_bytes()))?,
            vm_type: needed(row, "vm_type", VmType::from_word)?,
            origin: needed(row, "origin", Origin::from_word)?,
            outcome: word(row, "outcome", Outcome::from_word)?,
            failure: word(row, "failure", Failure::from_word)?,
            failed_stage: word(row, "failed_stage", Stage::from_word)?,
            started_at: Timestamp(row.try_get("started_at")?),
            ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
            ready_ms: row.try_get("ready_ms")?,
            image: row.try_get("image")?,
            build: row.try_get("build")?,
            detail: serde_json::from_str(detail)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        })
    }
}

/// A word of a closed vocabulary, or none; anything else was not written by this program.
fn word<T>(
    row: &SqliteRow,
    column: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, sqlx::Error> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(|text| read(text).ok_or_else(|| unknown(column)))
        .transpose()
}

fn needed<T>(
    row: &SqliteRow,
    column: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, sqlx::Error> {
    word(row, column, read)?.ok_or_else(|| unknown(column))
}

fn unknown(column: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} holds no word that is known").into())
}

/// One incident of history, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow(pub Incident);

impl IncidentRow {
    /// All of it as one text.
    pub(super) fn value(&self) -> String {
        one_text(&self.0)
    }

    /// Its columns by name, `changed` with them; `whole`: all of it, too.
    pub(super) fn to_json(&self, changed: i64, whole: bool) -> Value {
        let incident = &self.0;
        let mut columns = json!({
            "key": incident.key,
            "host": incident.host,
            "vm_type": incident.subject,
            "family": incident.family.as_str(),
            "cause": incident.cause,
            "first_bad_at": incident.first_bad_at,
            "fired_at": incident.fired_at,
            "resolved_at": incident.resolved_at,
            "changed": changed,
        });
        if whole {
            columns["value"] = json!(incident);
        }
        columns
    }

    pub(super) fn read(row: &SqliteRow) -> Result<IncidentRow, sqlx::Error> {
        let value: &str = row.try_get("value")?;
        serde_json::from_str(value)
            .map(IncidentRow)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
}

/// Rows as one JSON text. No text in it holds NUL, which neither SQLite's functions nor PostgreSQL take.
pub(super) fn text_of(rows: Vec<Value>) -> String {
    storable(Value::Array(rows).to_string())
}

/// Texts by their names as one JSON object; none of none. What is there twice is there twice, in order.
pub(super) fn text_of_pairs(
    pairs: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> Option<String> {
    let mut text = Vec::new();
    let mut put = |sign: &str, piece: &str| {
        text.extend_from_slice(sign.as_bytes());
        serde_json::to_writer(&mut text, piece).expect("text is JSON");
    };
    let mut sign = "{";
    for (name, value) in pairs {
        put(sign, name.as_ref());
        put(":", value.as_ref());
        sign = ",";
    }
    if text.is_empty() {
        return None;
    }
    text.push(b'}');
    let text = String::from_utf8(text).expect("JSON is text");
    Some(storable(text))
}

/// The same of what is not made into values first.
pub(super) fn one_text(value: &impl Serialize) -> String {
    storable(serde_json::to_string(value).expect("a row is JSON"))
}

/// SQLite's JSON ends a text at a NUL.
fn storable(text: String) -> String {
    match text.contains(NUL) {
        true => without_nul(&text),
        false => text,
    }
}

const NUL: &str = "\\u0000";

/// A backslash that is itself escaped begins no escape.
fn without_nul(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        clean.push_str(before);
        if let Some(after) = after.strip_prefix("u0000") {
            clean.push_str("\\ufffd");
            rest = after;
        } else {
            let mut after = after.chars();
            clean.push('\\');
            clean.extend(after.next());
            rest = after.as_str();
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_what_only_looks_like_it_is_not() {
        let text = text_of(vec![json!([
            "a\0b",
            "\\u0000",
            "\\\0",
            "{\"x\":\"\\u0000\"}"
        ])]);
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            back,
            json!([["a\u{fffd}b", "\\u0000", "\\\u{fffd}", "{\"x\":\"\\u0000\"}"]])
        );
    }
}
