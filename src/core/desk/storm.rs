//! The storm valve: of many incidents at once the first are paged one by one, and the rest in one digest.
//!
//! A page that comes with four hundred others is read by nobody, and providers refuse them. Above [`MOST`] messages
//! within [`SPAN_MS`], an incident's first page joins the open digest, which is one incident to whoever is told: one key,
//! at most one message in [`INTERVAL_MS`], and an end when the last of its members has ended. Pages and tickets have a
//! digest each, since what began as a ticket wakes nobody. Ends are never held back, and repeats count as the messages
//! they are.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::core::alert::{Cause, Digest, Incident, Subject};
use crate::core::event::Timestamp;
use crate::core::rule::Severity;

pub(super) const MOST: usize = 10;
pub(super) const SPAN_MS: i64 = 10 * 60_000;
/// Between two messages of one digest.
pub(super) const INTERVAL_MS: i64 = 5 * 60_000;
/// Causes that a digest names.
const NAMED: usize = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Storm {
    /// When messages left lately, at most `MOST` of them.
    sent: VecDeque<Timestamp>,
    #[serde(default)]
    pub(super) digests: BTreeMap<Severity, Open>,
    /// The one digest of a state that an earlier version saved.
    #[serde(default, skip_serializing)]
    open: Option<Open>,
}

/// A digest that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// What a digest has of its first member, under a key of its own.
    pub(super) incident: Incident,
    members: BTreeMap<String, Held>,
    /// When it is told next; `None`: nothing is new.
    pub(super) due: Option<Timestamp>,
    pub(super) told_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    subject: Subject,
    cause: Cause,
    resolved: bool,
}

impl Storm {
    /// Whether another message may leave by itself.
    pub(super) fn is_calm(&mut self, now: Timestamp) -> bool {
        self.forget(now);
        self.sent.len() < MOST
    }

    pub(super) fn sent(&mut self, now: Timestamp) {
        self.forget(now);
        if self.sent.len() == MOST {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    fn forget(&mut self, now: Timestamp) {
        while self
            .sent
            .front()
            .is_some_and(|at| now.since(*at) >= SPAN_MS || *at > now)
        {
            self.sent.pop_front();
        }
    }

    /// Takes an incident into the digest, or tells it what is new of one.
    pub(super) fn join(&mut self, incident: &Incident, now: Timestamp, wait_ms: i64) {
        let open = self.digests.entry(incident.severity());
        let open = open.or_insert_with(|| Open {
            incident: incident.for_many(format!("storm-{}", incident.key)),
            members: BTreeMap::new(),
            due: None,
            told_at: None,
        });
        let held = Held {
            subject: incident.subject,
            cause: incident.cause,
            resolved: false,
        };
        let before = open.members.insert(incident.key.clone(), held.clone());
        if before.as_ref() != Some(&held) {
            open.is_new(now, wait_ms);
        }
    }

    /// A member has ended; the digests that have ended with it: one whose severity rose is in both.
    pub(super) fn resolved(&mut self, key: &str, now: Timestamp, wait_ms: i64) -> Vec<Severity> {
        let mut ended = Vec::new();
        for (severity, open) in &mut self.digests {
            let Some(held) = open.members.get_mut(key) else {
                continue;
            };
            held.resolved = true;
            match open.members.values().all(|held| held.resolved) {
                true => ended.push(*severity),
                false => open.is_new(now, wait_ms),
            }
        }
        ended
    }

    /// After a start: what is not open is over, and so is a digest of nothing else.
    pub(super) fn agrees_with(&mut self, is_open: impl Fn(&str) -> bool) {
        for open in self.digests.values_mut() {
            for (key, held) in &mut open.members {
                held.resolved |= !is_open(key);
            }
        }
        self.digests
            .retain(|_, open| open.firing().next().is_some());
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        let mut digests = self.digests.values();
        digests.any(|open| open.members.contains_key(key))
    }

    /// A digest has told of it.
    pub(super) fn has_told(&self, key: &str) -> bool {
        let mut told = self.digests.values().filter(|open| open.told_at.is_some());
        told.any(|open| open.members.contains_key(key))
    }

    /// The digest that is told under a key.
    pub(super) fn digest(&self, key: &str) -> Option<&Open> {
        self.digests.values().find(|open| open.incident.key == key)
    }

    /// The digest of that key is told as soon as it may be.
    pub(super) fn is_due(&mut self, key: &str, now: Timestamp) {
        let mut digests = self.digests.values_mut();
        if let Some(open) = digests.find(|open| open.incident.key == key) {
            open.due = Some(open.soonest().max(now));
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.digests.values().filter_map(|open| open.due).min()
    }

    pub(super) fn not_after(&mut self, now: Timestamp) {
        if let Some(open) = self.open.take() {
            self.digests.insert(open.incident.severity(), open);
        }
        self.sent.retain(|at| *at <= now);
        for open in self.digests.values_mut() {
            open.told_at = open.told_at.map(|at| at.min(now));
            let latest = now.plus_ms(INTERVAL_MS);
            open.due = open.due.map(|due| due.min(latest));
        }
    }
}

impl Open {
    fn is_new(&mut self, now: Timestamp, wait_ms: i64) {
        let soonest = self.soonest();
        self.due
            .get_or_insert_with(|| now.plus_ms(wait_ms).max(soonest));
    }

    fn soonest(&self) -> Timestamp {
        self.told_at
            .map_or(Timestamp::MIN, |at| at.plus_ms(INTERVAL_MS))
    }

    /// The incidents of it that are not over.
    pub(super) fn firing(&self) -> impl Iterator<Item = &String> {
        let members = self.members.iter();
        members
            .filter(|(_, held)| !held.resolved)
            .map(|(key, _)| key)
    }

    pub(super) fn counted(&self) -> Digest {
        let mut counts: BTreeMap<(Subject, Cause), u32> = BTreeMap::new();
        let mut digest = Digest::default();
        for held in self.members.values() {
            if held.resolved {
                digest.resolved += 1;
            } else {
                digest.firing += 1;
                *counts.entry((held.subject, held.cause)).or_default() += 1;
            }
        }
        let mut causes: Vec<(Subject, Cause, u32)> = counts
            .into_iter()
            .map(|((subject, cause), count)| (subject, cause, count))
            .collect();
        causes.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        digest.others = causes.iter().skip(NAMED).map(|(_, _, count)| count).sum();
        causes.truncate(NAMED);
        digest.causes = causes;
        digest
    }
}
