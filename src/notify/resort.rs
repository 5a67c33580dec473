//! The last resort: whether any channel can be reached at all, and what nobody was told.
//!
//! Pure: times come in, and what is to be shouted goes out. Every channel gets every page, so one that works is enough.
//! When all of them have failed for five minutes without one success between, a page that has waited as long is handed
//! out, once; so is its end, if it comes before a channel works again. Where no channel is configured there is nothing to
//! wait for: each page and each end is handed out at once.
//!
//! A restart begins nothing anew: a page that an earlier run could not get rid of has waited since it was made, and one
//! that was shouted is not shouted again. What is new is whether the channels work, and that is not taken for answered
//! before they have failed for a moment in this run, too: a machine's network may come up after us.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::alert::{Kind, Notification, Reason};

/// So long must every channel have failed.
const SILENT: Duration = Duration::from_secs(300);
/// And so long in this run, for a page that an earlier run had tried to send for as long.
const AWAKE: Duration = Duration::from_secs(30);
/// Incidents of which it is remembered that they were shouted, and pages that wait.
const MOST: usize = 1_000;

#[derive(Debug)]
pub struct Resort {
    /// Of each channel: since when it has done nothing but fail.
    failing: BTreeMap<String, Option<Instant>>,
    waiting: BTreeMap<String, Waiting>,
    shouted: BTreeSet<String>,
}

/// A page of which nobody has heard.
#[derive(Debug)]
struct Waiting {
    notification: Arc<Notification>,
    since: Instant,
    /// So long must every channel have failed in this run.
    silence: Duration,
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
        self.wait(notification, now, SILENT);
    }

    /// An earlier run could not tell anybody of it, and tried for so long.
    pub fn owed_still(&mut self, notification: &Arc<Notification>, age: Duration, now: Instant) {
        let is_end = notification.kind == Kind::Resolved;
        if notification.reason.is_notice() || is_end != self.was_shouted(notification) {
            return;
        }
        self.wait(notification, now.checked_sub(age).unwrap_or(now), AWAKE);
    }

    /// An earlier run shouted it, and nothing of it has ended since.
    pub fn shouted_before(&mut self, incident: String) {
        if self.shouted.len() < MOST {
            self.shouted.insert(incident);
        }
    }

    fn was_shouted(&self, notification: &Notification) -> bool {
        self.shouted.contains(&notification.incident.key)
    }

    fn wait(&mut self, notification: &Arc<Notification>, since: Instant, silence: Duration) {
        let key = &notification.incident.key;
        if let Some(waiting) = self.waiting.get_mut(key) {
            // A newer state of what waits already.
            waiting.notification = Arc::clone(notification);
        } else if self.waiting.len() < MOST {
            let waiting = Waiting {
                notification: Arc::clone(notification),
                since,
                silence,
            };
            self.waiting.insert(key.clone(), waiting);
        }
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

    /// When a page must be shouted, if nothing changes; `None`: a channel works.
    fn due(&self, waiting: &Waiting) -> Option<Instant> {
        if !self.has_channels() {
            return Some(waiting.since);
        }
        let silent = self.silent_since()? + waiting.silence;
        Some(silent.max(waiting.since + SILENT))
    }

    /// When something must be shouted, if nothing changes.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.values();
        waiting.filter_map(|waiting| self.due(waiting)).min()
    }

    /// What must be shouted now.
    pub fn take(&mut self, now: Instant) -> Vec<Arc<Notification>> {
        let keys: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| self.due(waiting).is_some_and(|due| due <= now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut all = Vec::new();
        for key in keys {
            let Some(Waiting { notification, .. }) = self.waiting.remove(&key) else {
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
        // A page of later waits its own time.
        resort.leaves(&story()[0], start + 20 * MINUTE);
        assert_eq!(resort.next_due(), Some(start + 25 * MINUTE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_an_earlier_run_has_waited_since_it_was_made() {
        let start = Instant::now() + Duration::from_secs(3_600);
        let told = story();
        for (age, due) in [
            (Duration::from_secs(60), Duration::from_secs(240)),
            (Duration::from_secs(290), Duration::from_secs(31)),
            // However old it is: the network may come up after us.
            (Duration::from_secs(1_800), Duration::from_secs(31)),
        ] {
            let mut resort = Resort::new(["a".to_owned()]);
            resort.owed_still(&told[0], age, start);
            resort.leaves(&told[1], start);
            assert_eq!(resort.next_due(), None, "nobody knows of the channel yet");
            resort.tried("a", false, start + Duration::from_secs(1));
            assert_eq!(resort.next_due(), Some(start + due), "{age:?}");
            assert_eq!(kinds(&resort.take(start + due)), [Kind::Update]);
            assert!(resort.take(start + 2 * due).is_empty());
        }
        let mut resort = Resort::new(["a".to_owned()]);
        resort.owed_still(&told[0], 10 * MINUTE, start);
        resort.tried("a", true, start + Duration::from_secs(1));
        assert_eq!(resort.next_due(), None, "it has arrived");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_run_shouted_is_not_shouted_again_but_its_end_is() {
        let start = Instant::now() + Duration::from_secs(3_600);
        let told = story();
        let end = told.last().unwrap();
        let mut resort = Resort::new(["a".to_owned()]);
        resort.shouted_before(told[0].incident.key.clone());
        resort.owed_still(&told[0], 10 * MINUTE, start);
        resort.tried("a", false, start);
        assert_eq!(resort.next_due(), None);
        resort.owed_still(end, 10 * MINUTE, start);
        assert_eq!(
            kinds(&resort.take(start + MINUTE)),
            [Kind::Resolved],
            "whoever heard of it hears that it is over"
        );
        // The end of what nobody was told by anybody.
        resort.owed_still(end, 10 * MINUTE, start);
        assert_eq!(resort.next_due(), None);
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
