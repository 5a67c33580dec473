//! Silences: who keeps which alerts quiet, why and until when. There is none without an end.

use serde::{Deserialize, Serialize};

use super::matcher::{Labels, Matcher};
use crate::core::alert::SilenceEnds;
use crate::core::event::Timestamp;

/// Shorter ones would end before their notice.
pub const SHORTEST_MS: i64 = 60_000;
pub const LONGEST_MS: i64 = 30 * 86_400_000;
/// What ended is remembered for so long.
pub(super) const REMEMBERED_MS: i64 = 7 * 86_400_000;
/// At this share of its time it is said that it will end, where it still silences something.
const NOTICE_TENTHS: i64 = 8;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    pub id: u64,
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    pub author: String,
    pub reason: String,
    pub created_at: Timestamp,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    /// Who ended it before its time.
    #[serde(default)]
    pub expired_by: Option<String>,
    /// That it will end was said, or there was nothing to say.
    #[serde(default)]
    pub(super) noticed: bool,
}

impl Silence {
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// `pending`, `active` or `expired`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> &'static str {
        match (self.has_ended(now), self.is_active(now)) {
            (true, _) => "expired",
            (_, true) => "active",
            _ => "pending",
        }
    }

    #[must_use]
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// When its end is announced.
    pub(super) fn notice_at(&self) -> Timestamp {
        let length = self.ends_at.since(self.starts_at);
        self.starts_at.plus_ms(length / 10 * NOTICE_TENTHS)
    }

    /// When something about it changes next, while it has not ended.
    pub(super) fn next_change(&self, now: Timestamp) -> Timestamp {
        if self.starts_at > now {
            self.starts_at
        } else if self.noticed || self.notice_at() <= now {
            self.ends_at
        } else {
            self.notice_at()
        }
    }

    pub(super) fn ends(&self) -> SilenceEnds {
        SilenceEnds {
            id: self.id,
            author: self.author.clone(),
            reason: self.reason.clone(),
            ends_at: self.ends_at,
        }
    }

    /// The clock was set back while nobody ran: no silence becomes longer than one may be.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.created_at = self.created_at.min(now);
        self.ends_at = self.ends_at.min(now.plus_ms(2 * LONGEST_MS));
    }
}
