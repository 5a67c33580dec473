//! Messages that are owed to receivers.
//!
//! ```text
//!   queued ──► sending ──► sent
//!     ▲  │        │  └───► dead     (no further try could help)
//!     │  │        ▼
//!     │  │     queued again, due later
//!     │  └──► dropped              (a newer message says more)
//!     └── a start: what was being sent may have arrived, and is sent again under the same dedup key
//! ```
//!
//! What is `sent`, `dead` or `dropped` stays so. Order is by id within one receiver and dedup key; who replaces what is
//! the caller's decision.

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use crate::core::event::Timestamp;

pub type MessageId = i64;

/// A message to one receiver about one transition of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub incident: String,
    /// `firing`, `update` or `resolved`.
    pub transition: String,
    pub receiver: String,
    pub dedup_key: String,
    /// All that is needed to send it, as of now.
    pub payload: String,
    pub created_at: Timestamp,
    pub due: Timestamp,
    /// `Queued`; another where it left before it could be committed.
    pub state: MessageState,
    /// Of one that has ended; `None`: at once.
    pub ended_at: Option<Timestamp>,
    /// What became of it before it could be committed.
    pub tried: Tried,
}

/// How often a message was tried, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    pub attempts: u32,
    pub last_status: Option<String>,
    /// The receiver's own word for it, or who of several has it.
    pub provider_ref: Option<String>,
}

impl Tried {
    /// Adds what was tried since.
    pub fn add(&mut self, later: Tried) {
        self.attempts = self.attempts.saturating_add(later.attempts);
        self.last_status = later.last_status.or(self.last_status.take());
        self.provider_ref = later.provider_ref.or(self.provider_ref.take());
    }
}

/// The payload of a message that was no message of ours: a receiver that is shown the present state (`alertmanager`) has
/// taken the incident for the first time. There is one such of an incident and a receiver.
pub const SHOWN: &str = "";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    Queued,
    Sending,
    Sent,
    Dead,
    Dropped,
}

impl MessageState {
    pub const ALL: &'static [MessageState] = &[
        MessageState::Queued,
        MessageState::Sending,
        MessageState::Sent,
        MessageState::Dead,
        MessageState::Dropped,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Queued => "queued",
            MessageState::Sending => "sending",
            MessageState::Sent => "sent",
            MessageState::Dead => "dead",
            MessageState::Dropped => "dropped",
        }
    }

    fn from_word(word: &str) -> Option<MessageState> {
        let all = MessageState::ALL.iter().copied();
        all.into_iter().find(|state| state.as_str() == word)
    }

    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, MessageState::Queued | MessageState::Sending)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub id: MessageId,
    pub incident: String,
    pub transition: String,
    pub receiver: String,
    pub dedup_key: String,
    pub payload: String,
    pub created_at: Timestamp,
    pub due: Timestamp,
    /// Tries that have ended.
    pub attempts: u32,
    pub state: MessageState,
    pub last_status: Option<String>,
    pub provider_ref: Option<String>,
    pub ended_at: Option<Timestamp>,
    /// Of one that is not sent yet: its receiver has taken another of its incident, or is to before it.
    pub heard: bool,
}

/// What a receiver said of an incident of which it took a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub receiver: String,
    pub incident: String,
    pub provider_ref: String,
}

/// What became of a message, or of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was tried so often more, the last time with this outcome.
    Tried {
        id: MessageId,
        /// Since the last mark; what it does not say stays as it is known.
        tried: Tried,
    },
    Sent {
        id: MessageId,
        status: String,
        provider_ref: Option<String>,
        at: Timestamp,
    },
    Dead {
        id: MessageId,
        status: String,
        at: Timestamp,
    },
    /// A newer message says more; why, in a word.
    Dropped {
        id: MessageId,
        status: String,
        at: Timestamp,
    },
}

pub(super) const QUEUE: &str = "INSERT INTO outbox
    (id, incident, transition, receiver, dedup_key, payload, created_at, due, state, ended_at, attempts, last_status,
     provider_ref)
    SELECT value ->> 'id', value ->> 'incident', value ->> 'transition', value ->> 'receiver', value ->> 'dedup_key',
           coalesce(value ->> 'payload', {payload}), value ->> 'created_at', value ->> 'due', value ->> 'state', value ->> 'ended_at',
           value ->> 'attempts', value ->> 'last_status', value ->> 'provider_ref'
    FROM {messages} WHERE coalesce(value ->> 'payload', {payload}) <> '' OR NOT EXISTS (
        SELECT 1 FROM outbox WHERE incident = value ->> 'incident' AND receiver = value ->> 'receiver')";

/// The payload of them all, where they have but one: a page to several receivers is written as a text once.
pub(super) fn one_payload(messages: &[NewMessage]) -> Option<&str> {
    let (first, others) = messages.split_first()?;
    let same = |other: &NewMessage| other.payload == first.payload;
    let plain = !first.payload.contains('\0');
    (plain && others.iter().all(same)).then_some(first.payload.as_str())
}

impl NewMessage {
    /// `whole`: with its payload.
    pub(super) fn to_json(&self, id: MessageId, whole: bool) -> Value {
        json!({
            "id": id,
            "incident": self.incident,
            "transition": self.transition,
            "receiver": self.receiver,
            "dedup_key": self.dedup_key,
            "payload": whole.then_some(&self.payload),
            "created_at": self.created_at,
            "due": self.due,
            "state": self.state.as_str(),
            "attempts": self.tried.attempts,
            "last_status": self.tried.last_status,
            "provider_ref": self.tried.provider_ref,
            "ended_at": (!self.state.is_open()).then_some(self.ended_at.unwrap_or(self.created_at)),
        })
    }
}

impl Mark {
    pub(super) async fn write(&self, raw: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let open = match self {
            Mark::Tried { id, tried } => sqlx::query(
                "UPDATE outbox SET attempts = attempts + ?, last_status = coalesce(?, last_status),
                     provider_ref = coalesce(?, provider_ref)
                     WHERE id = ? AND state IN ('queued', 'sending')",
            )
            .bind(tried.attempts)
            .bind(&tried.last_status)
            .bind(&tried.provider_ref)
            .bind(id),
            Mark::Sent {
                id,
                status,
                provider_ref,
                at,
            } => ending(
                MessageState::Sent,
                *id,
                status,
                provider_ref.as_deref(),
                *at,
            ),
            Mark::Dead { id, status, at } => ending(MessageState::Dead, *id, status, None, *at),
            Mark::Dropped { id, status, at } => {
                ending(MessageState::Dropped, *id, status, None, *at)
            }
        };
        open.execute(raw).await.map(|_| ())
    }
}

type Update<'a> = sqlx::query::Query<'a, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn ending<'a>(
    state: MessageState,
    id: MessageId,
    status: &'a str,
    provider_ref: Option<&'a str>,
    at: Timestamp,
) -> Update<'a> {
    sqlx::query(
        "UPDATE outbox SET state = ?, last_status = ?, provider_ref = ?, ended_at = ?
         WHERE id = ? AND state IN ('queued', 'sending')",
    )
    .bind(state.as_str())
    .bind(status)
    .bind(provider_ref)
    .bind(at.0)
    .bind(id)
}

pub(super) async fn unsent(raw: &mut SqliteConnection) -> Result<Vec<StoredMessage>, sqlx::Error> {
    sqlx::query_as(
        "SELECT *, EXISTS (SELECT 1 FROM outbox AS other
             WHERE other.incident = outbox.incident AND other.receiver = outbox.receiver
                 AND (other.state = 'sent' OR other.state IN ('queued', 'sending') AND other.id < outbox.id)) AS heard
         FROM outbox WHERE state IN ('queued', 'sending') ORDER BY id",
    )
    .fetch_all(raw)
    .await
}

/// The latest alone: older ones tell of what is over.
pub(super) async fn receipts(raw: &mut SqliteConnection) -> Result<Vec<Receipt>, sqlx::Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT receiver, incident, provider_ref FROM
             (SELECT * FROM outbox WHERE ended_at IS NOT NULL AND state = 'sent' AND provider_ref IS NOT NULL
              ORDER BY ended_at DESC LIMIT 200)
         ORDER BY ended_at, id",
    )
    .fetch_all(raw)
    .await?;
    let receipt = |(receiver, incident, provider_ref)| Receipt {
        receiver,
        incident,
        provider_ref,
    };
    Ok(rows.into_iter().map(receipt).collect())
}

/// The last id ever given: ids are not used twice.
pub(super) async fn last_id(raw: &mut SqliteConnection) -> Result<MessageId, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
            .fetch_optional(raw)
            .await?;
    Ok(last.unwrap_or(0))
}

impl<'r> FromRow<'r, SqliteRow> for StoredMessage {
    fn from_row(row: &'r SqliteRow) -> Result<StoredMessage, sqlx::Error> {
        let state = MessageState::from_word(row.try_get("state")?)
            .ok_or_else(|| sqlx::Error::Decode("a message is in no state that is known".into()))?;
        Ok(StoredMessage {
            id: row.try_get("id")?,
            incident: row.try_get("incident")?,
            transition: row.try_get("transition")?,
            receiver: row.try_get("receiver")?,
            dedup_key: row.try_get("dedup_key")?,
            payload: row.try_get("payload")?,
            created_at: Timestamp(row.try_get("created_at")?),
            due: Timestamp(row.try_get("due")?),
            attempts: row.try_get("attempts")?,
            state,
            last_status: row.try_get("last_status")?,
            provider_ref: row.try_get("provider_ref")?,
            ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
            // The past is not asked for it.
            heard: row.try_get("heard").unwrap_or(false),
        })
    }
}
