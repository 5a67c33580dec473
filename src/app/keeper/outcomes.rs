//! What became of messages, from the workers to the keeper.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::notify::Outcome;

/// How often each message was tried, and its newest outcome: at most one for each that a worker holds, so this is bounded
/// as they are, and nothing of it is ever dropped.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    newest: Mutex<BTreeMap<u64, (u32, Outcome)>>,
    changed: Notify,
}

impl Outcomes {
    pub(crate) fn note(&self, ticket: u64, outcome: Outcome) {
        let tried = match outcome {
            Outcome::Replaced | Outcome::Overflow | Outcome::Unsent => 0,
            Outcome::Sent
            | Outcome::Partly
            | Outcome::Retrying(_)
            | Outcome::Failed(_)
            | Outcome::Expired => 1,
        };
        let mut newest = self.locked();
        let known = newest.entry(ticket).or_insert((0, outcome));
        *known = (known.0.saturating_add(tried), outcome);
        drop(newest);
        self.changed.notify_one();
    }

    /// Completes once after one or more were noted.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn take(&self) -> BTreeMap<u64, (u32, Outcome)> {
        std::mem::take(&mut self.locked())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (u32, Outcome)>> {
        // Nothing can be half done in it.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
