//! How bootwatch itself does: each part notes its own state when it changes, the owner looks at all of them once a
//! second, and the sign of life asks whether anybody still looks.
//!
//! Held for a moment at a time, never across a wait; bounded by the configured channels.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::notify::{Outcome, Trouble};

/// The owner looks every second; one that has not for so long hangs.
const HANGS: Duration = Duration::from_secs(15);
/// So long after a message was given up its channel is in trouble, whatever it delivers since: somebody was not told.
const GIVEN_UP: Duration = Duration::from_secs(600);
/// A log that cannot be read for so long is no passing trouble.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Whatever must not hang, in words of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Follower,
    Owner,
    Keeper,
}

impl Part {
    #[cfg(test)]
    pub(super) const ALL: [Part; 3] = [Part::Follower, Part::Owner, Part::Keeper];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Part::Follower => "following the log",
            Part::Owner => "judging boots",
            Part::Keeper => "keeping the outbox",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    unreadable: Option<Instant>,
    store: Option<Instant>,
    channels: BTreeMap<String, Channel>,
    /// When each part last said that it lives; one that has not begun, or says nothing by its nature, is not there.
    ticks: BTreeMap<Part, Instant>,
    /// Who may be silent for longer than others.
    patience: BTreeMap<Part, Duration>,
}

/// What is known of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Channel {
    /// A message was tried in this run.
    pub(super) tried: bool,
    /// Since when no try has succeeded, and how the last one ended.
    pub(super) failing: Option<(Instant, &'static str)>,
    /// When a message was last given up, and how.
    given_up: Option<(Instant, &'static str)>,
}

impl Channel {
    /// How the last try ended, or a message that was given up lately.
    pub(super) fn trouble(&self, now: Instant) -> Option<&'static str> {
        let lately = |at: Instant| now.saturating_duration_since(at) < GIVEN_UP;
        let given_up = self.given_up.filter(|(at, _)| lately(*at));
        self.failing.or(given_up).map(|(_, how)| how)
    }
}

impl Health {
    /// There is a channel of this name.
    pub(super) fn expect(&self, name: &str) {
        let channels = &mut self.state().channels;
        channels.insert(name.to_owned(), Channel::default());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner has looked; the log has been unreadable since then.
    pub(super) fn looked(&self, unreadable: Option<Instant>) {
        let mut state = self.state();
        state.looked = Some(clock::monotonic());
        state.unreadable = unreadable;
        state.ticks.insert(Part::Owner, clock::monotonic());
    }

    pub(super) fn store(&self, well: bool) {
        let store = &mut self.state().store;
        match well {
            true => *store = None,
            false => *store = Some(store.unwrap_or_else(clock::monotonic)),
        }
    }

    /// Since when the store cannot be written.
    pub(super) fn store_failing(&self) -> Option<Instant> {
        self.state().store
    }

    /// What became of a message, or of one try.
    pub(super) fn channel(&self, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Sent | Outcome::Partly => self.note(name, None),
            // Who refuses us is in trouble until somebody mends it, and then is well.
            Outcome::Retrying(_) | Outcome::Failed(Trouble::Auth) => {
                self.note(name, Some(outcome.as_str()));
            }
            Outcome::Failed(_) | Outcome::Expired | Outcome::Overflow => {
                self.note(name, Some(outcome.as_str()));
                self.gave_up(name, outcome.as_str());
            }
            // Nothing was tried.
            Outcome::Replaced | Outcome::Unsent => {}
        }
    }

    /// A message could not even be handed to its channel.
    pub(super) fn dropped(&self, name: &str) {
        self.note(name, Some("dropped"));
        self.gave_up(name, "dropped");
    }

    fn gave_up(&self, name: &str, how: &'static str) {
        if let Some(channel) = self.state().channels.get_mut(name) {
            channel.given_up = Some((clock::monotonic(), how));
        }
    }

    fn note(&self, name: &str, failed: Option<&'static str>) {
        let mut state = self.state();
        let Some(channel) = state.channels.get_mut(name) else {
            return;
        };
        channel.tried = true;
        channel.failing = failed.map(|how| {
            let since = channel.failing.map(|(since, _)| since);
            (since.unwrap_or_else(clock::monotonic), how)
        });
    }

    pub(super) fn channels(&self) -> Vec<(String, Channel)> {
        let state = self.state();
        let channels = state.channels.iter();
        channels.map(|(name, one)| (name.clone(), *one)).collect()
    }

    /// The part goes on.
    pub(super) fn ticked(&self, part: Part) {
        self.state().ticks.insert(part, clock::monotonic());
    }

    /// The part may be silent for so long and not hang.
    pub(super) fn patient(&self, part: Part, patience: Duration) {
        self.state().patience.insert(part, patience);
    }

    /// The part that has not gone on for too long, if there is one.
    pub(super) fn hangs(&self) -> Option<&'static str> {
        let now = clock::monotonic();
        let state = self.state();
        let silent = |part: &Part, at: Instant| {
            let patience = state.patience.get(part).copied().unwrap_or_default();
            now.duration_since(at) >= HANGS.max(patience)
        };
        let hung = state.ticks.iter().find(|(part, at)| silent(part, **at));
        hung.map(|(part, _)| part.as_str())
    }

    /// Why bootwatch must not say that all is well; `None`: it is.
    pub(super) fn unwell(&self) -> Option<&'static str> {
        let now = clock::monotonic();
        let state = self.state();
        let longer = |since: Option<Instant>, than| {
            since.is_some_and(|since| now.duration_since(since) >= than)
        };
        if state.looked.is_none() {
            return Some("nothing has been judged yet");
        }
        if longer(state.looked, HANGS) {
            return Some("nothing is judged any more");
        }
        if longer(state.unreadable, UNREADABLE) {
            return Some("the controller's log cannot be read");
        }
        let failing = |channel: &Channel| channel.failing.is_some();
        if !state.channels.is_empty() && state.channels.values().all(failing) {
            return Some("no channel delivers");
        }
        None
    }
}

/// The same task, which says that it lives whenever it is woken.
pub(super) fn ticking<T>(
    health: Arc<Health>,
    part: Part,
    task: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let mut task = Box::pin(task);
    std::future::poll_fn(move |context| {
        health.ticked(part);
        task.as_mut().poll(context)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_well_only_while_somebody_looks_the_log_is_read_and_a_channel_delivers() {
        let health = Health::default();
        health.expect("a");
        health.expect("b");
        assert!(health.unwell().is_some(), "nobody has looked yet");
        health.looked(None);
        assert_eq!(health.unwell(), None);
        tokio::time::advance(HANGS).await;
        assert_eq!(health.unwell(), Some("nothing is judged any more"));
        let since = clock::monotonic();
        health.looked(Some(since));
        assert_eq!(health.unwell(), None, "a passing trouble");
        tokio::time::advance(UNREADABLE).await;
        health.looked(Some(since));
        assert!(health.unwell().is_some());
        health.looked(None);
        health.channel("a", Outcome::Failed(Trouble::Auth));
        assert_eq!(health.unwell(), None, "the other may deliver");
        health.channel("b", Outcome::Retrying(Trouble::Timeout));
        assert_eq!(health.unwell(), Some("no channel delivers"));
        health.channel("a", Outcome::Sent);
        assert_eq!(health.unwell(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_fails_from_its_first_failed_try_to_the_next_that_succeeds() {
        let health = Health::default();
        health.expect("a");
        let first = clock::monotonic();
        health.channel("a", Outcome::Retrying(Trouble::Server));
        tokio::time::advance(Duration::from_secs(9)).await;
        health.channel("a", Outcome::Replaced);
        health.channel("a", Outcome::Expired);
        let one = health.channels()[0].1;
        assert_eq!(one.failing, Some((first, "expired")));
        health.channel("a", Outcome::Sent);
        let one = health.channels()[0].1;
        assert!(one.tried && one.failing.is_none());
        let now = clock::monotonic();
        assert_eq!(one.trouble(now), Some("expired"), "somebody was not told");
        assert_eq!(one.trouble(now + GIVEN_UP), None);
        health.channel("nobody", Outcome::Expired);
        assert_eq!(health.channels().len(), 1);
    }
}
