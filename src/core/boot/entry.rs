//! What the tracker keeps of one boot beside its account.

use serde::{Deserialize, Serialize};

use super::{Boot, EXCERPT, Excerpt, Lines, MAX_EVIDENCE};
use crate::core::event::{Timestamp, WaitLimits};

/// So many bytes of an ended boot are kept as they were read: as many as its lines may take once they are made.
const MAX_UNREDACTED: usize = MAX_EVIDENCE * EXCERPT;

/// How far an open boot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    Creating,
    Created,
    Waiting,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) boot: Boot,
    pub(super) phase: Phase,
    /// Its creation's first line was read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) marked: bool,
    /// `elapsed` of each ended step, by number.
    pub(super) steps: [Option<u32>; 7],
    /// The highest step that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) injecting_since: Option<Timestamp>,
    pub(super) injection_failed: bool,
    pub(super) error_hash: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) evidence: Vec<Evidence>,
    pub(super) destroyed: bool,
    /// Something was said of it after that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) goes_on: bool,
    /// A health check of its has begun.
    pub(super) attempted: bool,
    /// Its process ended and nobody had destroyed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) died_at: Option<Timestamp>,
    /// Its user's next request went on with it, ready or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) reused: bool,
    /// The controller went away, or said that it would; a later word of this boot takes it back, unless a controller
    /// that is ending says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) orphaned: Option<Orphaned>,
    pub(super) last_seen: Timestamp,
    /// How far the log's clock was set since the boot began, as its wait's `elapsed` tells. The boot's own times are by
    /// the clock that it began with, so that their differences are lengths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock_set_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_up: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent_up: Option<Timestamp>,
    /// When the copy of the golden image began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copied_at: Option<Timestamp>,
    /// Its place among the boots in flight, or among the ended ones: both count upwards from the oldest.
    pub(super) place: u64,
    /// Since when the ended boot is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept_since: Option<Timestamp>,
}

/// A record kept while its boot is in flight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Evidence {
    /// Not yet redacted, as most boots need none: it never leaves the tracker, and is not saved either.
    #[serde(skip)]
    Raw(Box<[u8]>),
    #[serde(rename = "text")]
    Redacted(String),
}

impl Evidence {
    pub(super) fn redacted(self, excerpt: Excerpt) -> String {
        match self {
            Evidence::Raw(record) => excerpt(&record, EXCERPT),
            Evidence::Redacted(text) => text,
        }
    }

    fn len(&self) -> usize {
        match self {
            Evidence::Raw(record) => record.len(),
            Evidence::Redacted(text) => text.len(),
        }
    }
}

/// What was kept of a boot, to be redacted once it is looked at; at once where that makes it much shorter, since
/// thousands of ended boots are held.
pub(super) fn lines(kept: Vec<Evidence>, excerpt: Excerpt) -> Lines {
    let bytes: usize = kept.iter().map(Evidence::len).sum();
    let make = move || {
        kept.into_iter()
            .map(|kept| kept.redacted(excerpt))
            .collect()
    };
    match bytes {
        0 => Lines::default(),
        1..=MAX_UNREDACTED => Lines::later(make),
        _ => Lines::from(make()),
    }
}

impl Entry {
    /// The log says something of the boot.
    pub(super) fn speaks(&mut self, at: Timestamp) {
        self.last_seen = self.last_seen.max(at);
        self.goes_on |= self.destroyed;
        self.orphaned = self.orphaned.filter(|orphaned| at < orphaned.until);
    }

    /// A time of the log's, by the clock that the boot began with.
    pub(super) fn by_own_clock(&self, at: Timestamp) -> Timestamp {
        at.plus_ms(-self.clock_set_ms.unwrap_or(0))
    }

    /// Until when the boot lasted at least, as the `elapsed` of its lines tell.
    pub(super) fn lasted_until(&self) -> Timestamp {
        let start = self.boot.started_at;
        let created = self.steps.iter().copied().max().flatten();
        let created = created.max(self.created_ms).unwrap_or(0);
        let waited = self.boot.ladder.last().map_or(0, |rung| rung.last_ms);
        let from = self.boot.waited_from.unwrap_or(start);
        let waited = from.plus_ms(i64::from(waited));
        waited.max(start.plus_ms(i64::from(created)))
    }

    /// Whether the log shows the wait's beginning, or that it had no limit and so no attempt.
    pub(super) fn waited(&self) -> bool {
        let unlimited = |limits: WaitLimits| limits.deadline_ms.is_none();
        self.phase == Phase::Waiting || self.boot.limits.is_some_and(unlimited)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orphaned {
    pub(super) at: Timestamp,
    pub(super) restarted: bool,
    /// A controller that ends may speak of its boots until then.
    #[serde(default)]
    pub(super) until: Timestamp,
}
