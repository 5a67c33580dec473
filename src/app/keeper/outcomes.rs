//! What became of messages, from the workers to the keeper.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::event::Timestamp;
use crate::notify::Outcome;
use crate::store::{self, MessageState, NewMessage, Tried};

/// How often each message was tried, and its newest outcome: at most one for each that a worker holds, so this is bounded
/// as they are, and nothing of it is ever dropped.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    newest: Mutex<BTreeMap<u64, Newest>>,
    shown: Mutex<Vec<Shown>>,
    changed: Notify,
}

/// What became of one message since it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(super) tries: u32,
    pub(super) outcome: Outcome,
    /// The last that there was.
    pub(super) receipt: Option<String>,
}

/// A receiver that is no worker's, but is shown the present state, took an incident: each of its instances for the first
/// time since it is shown any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) channel: String,
    pub(crate) incident: String,
    pub(crate) fired_at: Timestamp,
    pub(crate) at: Timestamp,
}

impl Shown {
    /// It stands among the messages that others were sent.
    pub(super) fn message(self) -> NewMessage {
        NewMessage {
            transition: "firing".to_owned(),
            dedup_key: self.incident.clone(),
            incident: self.incident,
            receiver: self.channel,
            payload: store::SHOWN.to_owned(),
            created_at: self.fired_at,
            due: self.fired_at,
            state: MessageState::Sent,
            ended_at: Some(self.at),
            tried: Tried::default(),
        }
    }
}

impl Outcomes {
    pub(crate) fn note(&self, ticket: u64, outcome: Outcome, receipt: Option<String>) {
        let tried = match outcome {
            Outcome::Replaced | Outcome::Overflow | Outcome::Unsent => 0,
            Outcome::Sent
            | Outcome::Partly
            | Outcome::Retrying(_)
            | Outcome::Failed(_)
            | Outcome::Expired => 1,
        };
        let mut newest = locked(&self.newest);
        let known = newest.entry(ticket).or_insert(Newest {
            tries: 0,
            outcome,
            receipt: None,
        });
        known.tries = known.tries.saturating_add(tried);
        known.outcome = outcome;
        known.receipt = receipt.or(known.receipt.take());
        drop(newest);
        self.changed.notify_one();
    }

    pub(crate) fn note_shown(&self, shown: Shown) {
        locked(&self.shown).push(shown);
        self.changed.notify_one();
    }

    /// Completes once after one or more were noted.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn take(&self) -> BTreeMap<u64, Newest> {
        std::mem::take(&mut locked(&self.newest))
    }

    pub(crate) fn shown(&self) -> Vec<Shown> {
        std::mem::take(&mut locked(&self.shown))
    }
}

/// How a message ends by this outcome; `None`: it goes on.
pub(super) fn ended(outcome: Outcome) -> Option<MessageState> {
    match outcome {
        Outcome::Sent => Some(MessageState::Sent),
        Outcome::Replaced => Some(MessageState::Dropped),
        Outcome::Failed(_) | Outcome::Expired | Outcome::Overflow => Some(MessageState::Dead),
        // The next run sends it.
        Outcome::Retrying(_) | Outcome::Partly | Outcome::Unsent => None,
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing can be half done in it.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
