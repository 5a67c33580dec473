//! The last resort: whether any channel can be reached at all, and what nobody was told.
//!
//! Pure: times come in, and what is to be shouted goes out. Every channel gets every page, so one that works is enough.
//! When all of them have failed for five minutes without one success between, a page that has waited as long is handed
//! out, once; so is its end, if it comes before a channel works again. Where no channel is configured there is nothing to
//! wait for: each page and each end is handed out at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::alert::{Kind, Notification, Reason};

/// So long must every channel have failed.
const SILENT: Duration = Duration::from_secs(300);
/// Incidents of which it is remembered that they were shouted, and pages that wait.
const MOST: usize = 1_000;

#[derive(Debug)]
pub struct Resort {
    /// Of each channel: since when it has done nothing but fail.
    failing: BTreeMap<String, Option<Instant>>,
    waiting: BTreeMap<String, (Arc<Notification>, Instant)>,
    shouted: BTreeSet<String>,
}

impl Resort {
    /// Whether there is a channel at all.
    #[must_use]
    pub fn has_channels(&self) -> bool {
        !self.failing.is_empty()
    }

    #[must_use]
    pub fn new(channels: impl IntoIterator<Item = String>) -> Resort {
        Resort {
            failing: channels.into_iter().map(|name| (name, None)).collect(),
            waiting: BTreeMap::new(),
            shouted: BTreeSet::new(),
        }
    }

    /// A notification is on its way to every channel.
    pub fn leaves(&mut self, notification: &Arc<Notification>, now: Instant) {
        if notification.reason.is_notice() {
            return;
        }
        let key = &notification.incident.key;
        let is_new = !self.shouted.contains(key);
        if self.has_channels() && notification.kind == Kind::Resolved && is_new {
            // What is over before anybody had to shout need not be shouted.
            self.waiting.remove(key);
            return;
        }
        if self.waiting.len() >= MOST && !self.waiting.contains_key(key) {
            return;
        }
        let since = self.waiting.get(key).map_or(now, |(_, since)| *since);
        let entry = (Arc::clone(notification), since);
        self.waiting.insert(key.clone(), entry);
    }

    /// A try of a channel's ended.
    pub fn tried(&mut self, channel: &str, arrived: bool, now: Instant) {
        let Some(failing) = self.failing.get_mut(channel) else {
            return;
        };
        if arrived {
            *failing = None;
            // What waits goes by it.
            self.waiting.clear();
            self.shouted.clear();
        } else {
            failing.get_or_insert(now);
        }
    }

    /// Since when no channel has done anything but fail; `None`: one works, or there is none.
    fn silent_since(&self) -> Option<Instant> {
        let since: Option<Vec<Instant>> = self.failing.values().copied().collect();
        since?.into_iter().max()
    }

    /// Whether every channel has failed for long enough.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        self.silent_since()
            .is_some_and(|since| now.duration_since(since) >= SILENT)
    }

    /// When something must be shouted, if nothing changes.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        if !self.has_channels() {
            return self.waiting.values().map(|(_, since)| *since).min();
        }
        let silent = self.silent_since()? + SILENT;
        let first = self.waiting.values().map(|(_, since)| *since + SILENT);
        Some(first.min()?.max(silent))
    }

    /// What must be shouted now.
    pub fn take(&mut self, now: Instant) -> Vec<Arc<Notification>> {
        let wait = match self.has_channels() {
            true if !self.is_silent(now) => return Vec::new(),
            true => SILENT,
            false => Duration::ZERO,
        };
        let due = |since: &Instant| now.duration_since(*since) >= wait;
        let keys: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| due(since))
            .map(|(key, _)| key.clone())
            .collect();
        let mut all = Vec::new();
        for key in keys {
            let Some((notification, _)) = self.waiting.remove(&key) else {
                continue;
            };
            match notification.kind {
                Kind::Resolved => {
                    self.shouted.remove(&key);
                }
                // It was shouted already; a repeat is a new page.
                Kind::Update
                    if self.shouted.contains(&key) && notification.reason != Reason::Repeat =>
                {
                    continue;
                }
                Kind::Firing | Kind::Update if self.shouted.len() < MOST => {
                    self.shouted.insert(key);
                }
                Kind::Firing | Kind::Update => {}
            }
            all.push(notification);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Failure, VmType};
    use crate::notify::fixture;

    const MINUTE: Duration = Duration::from_secs(60);

    fn story() -> Vec<Arc<Notification>> {
        let told = fixture::incident(VmType::Browser, Failure::AgentRefused);
        told.into_iter().map(Arc::new).collect()
    }

    fn kinds(taken: &[Arc<Notification>]) -> Vec<Kind> {
        taken.iter().map(|one| one.kind).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_shouted_once_when_every_channel_has_failed_for_five_minutes() {
        let start = Instant::now();
        let mut resort = Resort::new(["a".to_owned(), "b".to_owned()]);
        let told = story();
        resort.leaves(&told[0], start);
        resort.tried("a", false, start);
        assert_eq!(resort.next_due(), None, "nobody knows of the other yet");
        resort.tried("b", false, start + MINUTE);
        resort.tried("a", false, start + 2 * MINUTE);
        resort.tried("stranger", false, start);
        assert_eq!(resort.next_due(), Some(start + 6 * MINUTE));
        assert!(resort.take(start + 5 * MINUTE).is_empty());
        assert_eq!(kinds(&resort.take(start + 6 * MINUTE)), [Kind::Firing]);
        assert!(resort.take(start + 7 * MINUTE).is_empty());
        // Its update is nothing new; its end is, once it has waited as long.
        resort.leaves(&told[1], start + 8 * MINUTE);
        assert!(resort.take(start + 13 * MINUTE).is_empty());
        resort.leaves(told.last().unwrap(), start + 14 * MINUTE);
        assert_eq!(kinds(&resort.take(start + 19 * MINUTE)), [Kind::Resolved]);
        assert_eq!(resort.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_channel_that_works_is_enough() {
        let start = Instant::now();
        let mut resort = Resort::new(["a".to_owned(), "b".to_owned()]);
        resort.leaves(&story()[0], start);
        resort.tried("a", false, start);
        resort.tried("b", false, start);
        resort.tried("b", true, start + 4 * MINUTE);
        resort.tried("b", false, start + 5 * MINUTE);
        assert_eq!(resort.next_due(), None, "the page has arrived");
        assert!(resort.take(start + 20 * MINUTE).is_empty());
        assert!(resort.is_silent(start + 10 * MINUTE));
        // A page of later waits its own time.
        resort.leaves(&story()[0], start + 20 * MINUTE);
        assert_eq!(resort.next_due(), Some(start + 25 * MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_in_time_is_not_shouted() {
        let start = Instant::now();
        let mut resort = Resort::new(["a".to_owned()]);
        let told = story();
        resort.leaves(&told[0], start);
        resort.tried("a", false, start);
        resort.leaves(told.last().unwrap(), start + MINUTE);
        assert_eq!(resort.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_channels_each_page_and_each_end_is_shouted_at_once() {
        let start = Instant::now();
        let mut none = Resort::new([]);
        let told = story();
        none.leaves(&told[0], start);
        assert_eq!(none.next_due(), Some(start));
        assert_eq!(kinds(&none.take(start)), [Kind::Firing]);
        // What joins it is nothing new.
        none.leaves(&told[1], start + MINUTE);
        assert!(none.take(start + MINUTE).is_empty());
        none.leaves(told.last().unwrap(), start + 2 * MINUTE);
        assert_eq!(kinds(&none.take(start + 2 * MINUTE)), [Kind::Resolved]);
        assert_eq!(none.next_due(), None);
        // The end of what an earlier run shouted.
        let mut later = Resort::new([]);
        later.leaves(told.last().unwrap(), start);
        assert_eq!(kinds(&later.take(start)), [Kind::Resolved]);
    }
}
