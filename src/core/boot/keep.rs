//! The tracker over a restart: its parts, one a boot, address and user, and what they must agree in to be taken back.

use serde::{Deserialize, Serialize};

use super::request::Entrance;
use super::{
    Entry, Evidence, Excerpt, MAX_ENDED, MAX_ENDED_WITHOUT_VM, MAX_OPEN, Tracker, TrackerCounts,
};
use crate::core::event::Timestamp;
use crate::core::lease::Slot;
use crate::core::log_time::LogTime;
use crate::core::saved::{Changes, MAX_NUMBER, REST, RestoreError, Saved, Touched};

/// Of what is saved; a newer one is refused.
const VERSION: u32 = 1;
const BOOT: &str = "boot/";
/// More boots are never held at once.
#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const MAX_SLOTS: Slot = (MAX_OPEN + MAX_ENDED + MAX_ENDED_WITHOUT_VM + 8) as Slot;

/// What belongs to no single boot, address or user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rest {
    version: u32,
    newest: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    in_doubt: bool,
    next_sweep: Timestamp,
    next_expire: Timestamp,
    next_place: u64,
    next_request: u64,
    counts: TrackerCounts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jumped_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starting_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Entrance::is_empty")]
    entrance: Entrance,
    held: Held,
}

/// How much is held, so that a lost part is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    boots: usize,
    addresses: usize,
    /// Users with a request, and users with a CLI boot.
    users: usize,
    clis: usize,
}

/// A boot as it is written.
#[derive(Serialize)]
struct Kept<'a> {
    entry: &'a Entry,
    /// The session's lines are this boot's: a session may be joined to a second one.
    holds_session: bool,
}

/// A boot as it is read.
#[derive(Deserialize)]
struct KeptBoot {
    entry: Entry,
    holds_session: bool,
}

impl Tracker {
    /// What has changed since the last call, all of it at the first one.
    pub fn changes(&mut self) -> Changes {
        let whole = self.touched.is_everything()
            || self.addresses.all_touched()
            || self.requests.all_touched();
        if whole {
            self.touched = Touched::default();
            self.addresses.touch_all();
            self.requests.touch_all();
            self.saved_rest = None;
        }
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        let live = if whole { self.live_slots() } else { Vec::new() };
        for slot in self.touched.take(live) {
            self.redact(slot);
            let kept = self.entry(slot).map(|entry| Kept {
                entry,
                holds_session: entry
                    .boot
                    .session
                    .is_some_and(|session| self.by_session.get(&session) == Some(&slot)),
            });
            changes.put_or_remove(format!("{BOOT}{slot}"), kept.as_ref());
        }
        self.addresses.save(&mut changes);
        self.requests.save(&mut changes);
        let rest = self.rest();
        if self.saved_rest.as_ref() != Some(&rest) {
            changes.put(REST, &rest);
            self.saved_rest = Some(rest);
        }
        changes
    }

    /// The next `changes` hands out everything: what the last ones told was not kept.
    pub fn save_everything(&mut self) {
        self.touched = Touched::default();
        self.rows.save_everything();
    }

    /// A tracker as it was when these parts, keys and texts, were the last of `changes`. No part at all makes a new
    /// one.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
        excerpt: Excerpt,
    ) -> Result<Tracker, RestoreError> {
        let mut tracker = Tracker::new(excerpt);
        let mut saved = Saved::new("tracker", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(tracker);
        };
        let numbers = rest.next_place < MAX_NUMBER && rest.next_request < MAX_NUMBER;
        saved.ensure(numbers, REST, "it has counted too far")?;
        saved.ensure(
            rest.entrance.is_bounded(),
            REST,
            "more requests were let in than are ever kept",
        )?;
        tracker.requests.entrance = rest.entrance.clone();
        tracker.next_place = rest.next_place;
        for (key, text) in saved.iter() {
            let taken = tracker.restore_boot(&saved, key, text)?
                || tracker.addresses.restore(&saved, key, text, MAX_SLOTS)?
                || tracker
                    .requests
                    .restore(&saved, key, text, MAX_SLOTS, rest.next_request)?;
            saved.ensure(taken, key, "it names no part of a tracker")?;
        }
        tracker.fill_free(&saved)?;
        if tracker.held() != rest.held {
            let sum = |held: Held| held.boots + held.addresses + held.users + held.clis;
            return Err(saved.incomplete(sum(tracker.held()), sum(rest.held)));
        }
        tracker.requests.restored(rest.next_request);
        tracker.addresses.restored();
        tracker.touched = Touched::nothing();
        tracker.time = LogTime {
            newest: rest.newest,
            in_doubt: rest.in_doubt,
        };
        tracker.next_sweep = rest.next_sweep;
        tracker.next_expire = rest.next_expire;
        tracker.counts = rest.counts;
        tracker.heard = rest.heard.unwrap_or(rest.newest);
        tracker.jumped_at = rest.jumped_at.unwrap_or(Timestamp::MIN);
        tracker.starting_since = rest.starting_since;
        tracker.saved_rest = Some(rest);
        Ok(tracker)
    }

    fn rest(&self) -> Rest {
        Rest {
            version: VERSION,
            newest: self.time.newest,
            in_doubt: self.time.in_doubt,
            next_sweep: self.next_sweep,
            next_expire: self.next_expire,
            next_place: self.next_place,
            next_request: self.requests.next(),
            counts: self.counts,
            heard: Some(self.heard),
            jumped_at: Some(self.jumped_at),
            starting_since: self.starting_since,
            entrance: self.requests.entrance.clone(),
            held: self.held(),
        }
    }

    fn held(&self) -> Held {
        let (users, clis) = self.requests.users();
        Held {
            boots: self.open.len() + self.ended.len() + self.ended_without_vm.len(),
            addresses: self.addresses.len(),
            users,
            clis,
        }
    }

    /// No raw record is written: what was kept of the boot's is redacted now, as it would be at its end.
    fn redact(&mut self, slot: Slot) {
        let excerpt = self.excerpt;
        let Some(Some(entry)) = self.entries.get_mut(slot as usize) else {
            return;
        };
        for record in &mut entry.evidence {
            if let Evidence::Raw(raw) = record {
                *record = Evidence::Redacted(Evidence::Raw(std::mem::take(raw)).redacted(excerpt));
            }
        }
    }

    /// Takes back one saved boot; false if the key is not one's.
    fn restore_boot(&mut self, saved: &Saved, key: &str, text: &str) -> Result<bool, RestoreError> {
        let Some(slot) = key.strip_prefix(BOOT) else {
            return Ok(false);
        };
        let slot = slot.parse().ok().filter(|slot| *slot < MAX_SLOTS);
        let Some(slot): Option<Slot> = slot else {
            return Err(saved.contradiction(key, "there is no such place for a boot"));
        };
        let KeptBoot {
            entry,
            holds_session,
        } = saved.read(key, text)?;
        let (place, kept_since) = (entry.place, entry.kept_since);
        saved.ensure(place < self.next_place, key, "its place was never given")?;
        let agrees = entry.boot.is_open() == kept_since.is_none()
            && entry.boot.is_open() == entry.boot.ended_at.is_none();
        saved.ensure(agrees, key, "it has ended and has not")?;
        let other = match (kept_since, entry.boot.vm) {
            (None, _) => self.open.insert(place, slot).is_some(),
            (Some(at), Some(_)) => self.ended.insert(place, (at, slot)).is_some(),
            (Some(at), None) => self.ended_without_vm.insert(place, (at, slot)).is_some(),
        };
        saved.ensure(!other, key, "another boot has its place")?;
        if let Some(vm) = entry.boot.vm {
            let other = self.by_vm.insert(vm, slot).is_some();
            saved.ensure(!other, key, "another boot has its VM")?;
        }
        if holds_session {
            let Some(session) = entry.boot.session else {
                return Err(saved.contradiction(key, "it holds a session and has none"));
            };
            let other = self.by_session.insert(session, slot).is_some();
            saved.ensure(!other, key, "another boot holds its session")?;
        }
        let index = slot as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        let other = self.entries[index].replace(entry).is_some();
        saved.ensure(!other, key, "it is there twice")?;
        Ok(true)
    }

    /// Empty slots below the last are free; the bounds hold.
    fn fill_free(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        let bounded = self.open.len() <= MAX_OPEN
            && self.ended.len() <= MAX_ENDED
            && self.ended_without_vm.len() <= MAX_ENDED_WITHOUT_VM;
        saved.ensure(bounded, REST, "there are more boots than are ever kept")?;
        self.free = (0..)
            .zip(&self.entries)
            .filter_map(|(slot, entry)| entry.is_none().then_some(slot))
            .collect();
        Ok(())
    }
}
