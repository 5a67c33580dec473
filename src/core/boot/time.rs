//! Event time as the log tells it: it goes on, jumps over a silence, or is set back.
//!
//! Where it is set back, nothing that was heard before was heard later. Where that is in doubt, nothing is given up. A
//! clock that is set forward looks like a silence: what either leaves is given up, but only after it had time to speak.

use super::{KEEP_ENDED_MS, Observation, Orphaned, SPEAKS_WITHIN_MS, Tracker};
use crate::core::event::Timestamp;
use crate::core::lease::FROZEN_MS;
use crate::core::log_time::Step;

/// A longer gap between two records is a silence of the whole log, or a step of its clock.
const JUMP_MS: i64 = 60_000;
/// Addresses are looked over this often.
pub(super) const EXPIRE_MS: i64 = 60_000;

impl Tracker {
    /// A record of this time was read that concerns no boot.
    pub fn goes_on(&mut self, at: Timestamp, out: &mut Vec<Observation>) {
        let jumped = self.moves(at);
        self.sweep_after(at, jumped, out);
    }

    /// The log has been read up to `now` in event time; boots that time alone ends are ended.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Observation>) {
        self.time.newest = self.time.newest.max(now);
        // Of a log that says no more nobody learns which time it is.
        if self.time.in_doubt && now.since(self.heard) < KEEP_ENDED_MS {
            return;
        }
        self.sweep(out);
    }

    /// When `advance` next has work to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        (!self.open.is_empty()
            || !self.requests.is_empty()
            || !self.ended.is_empty()
            || !self.ended_without_vm.is_empty())
        .then_some(self.next_sweep)
    }

    /// Takes a record's time; says whether it stands apart from those before it.
    pub(super) fn moves(&mut self, at: Timestamp) -> bool {
        let before = self.time.newest;
        match self.time.take(at) {
            Step::On => {
                let gap = at.since(before) > JUMP_MS;
                if gap {
                    self.jumped_at = at;
                }
                let jumped = gap || (at.since(self.heard) > SPEAKS_WITHIN_MS && self.has_orphans());
                self.heard = self.heard.max(at);
                jumped
            }
            Step::Behind => false,
            Step::Back => {
                self.set_back(at);
                true
            }
        }
    }

    pub(super) fn sweep_after(&mut self, at: Timestamp, jumped: bool, out: &mut Vec<Observation>) {
        if jumped {
            // After a gap, or where a copy of the image may have frozen everything, the boots in flight, or a restart's
            // banner, are heard before anything is given up.
            self.next_sweep = at.plus_ms(SPEAKS_WITHIN_MS);
        } else if at >= self.next_sweep && !self.time.in_doubt {
            // A boot that was silent until now has been heard.
            self.sweep(out);
        }
    }

    /// Whether a boot that was silent before a gap may yet speak: a set clock looks like one. What says nothing longest
    /// is a copy of an image; a CLI VM's wait is shorter. `delay_ms` is how long it is silent besides.
    pub(super) fn may_yet_speak(&self, now: Timestamp, delay_ms: i64) -> bool {
        now.since(self.jumped_at) < FROZEN_MS + delay_ms
    }

    fn has_orphans(&self) -> bool {
        let mut entries = self.open.values().filter_map(|slot| self.entry(*slot));
        entries.any(|entry| entry.orphaned.is_some())
    }

    fn set_back(&mut self, at: Timestamp) {
        self.heard = self.heard.min(at);
        self.jumped_at = self.jumped_at.min(at);
        self.next_expire = self.next_expire.min(at.plus_ms(EXPIRE_MS));
        self.starting_since = self.starting_since.map(|since| since.min(at));
        for slot in self.live_slots() {
            let Some(entry) = self.entry_mut(slot) else {
                continue;
            };
            entry.last_seen = entry.last_seen.min(at);
            entry.kept_since = entry.kept_since.map(|since| since.min(at));
            entry.orphaned = entry.orphaned.map(|orphaned| orphaned.not_after(at));
        }
        let kept = self
            .ended
            .values_mut()
            .chain(self.ended_without_vm.values_mut());
        for (since, _) in kept {
            *since = (*since).min(at);
        }
        self.requests.not_after(at);
    }
}

impl Orphaned {
    /// The same, had the controller gone no later.
    pub(super) fn not_after(self, at: Timestamp) -> Orphaned {
        let gone = self.at.min(at);
        Orphaned {
            until: gone.plus_ms(self.until.since(self.at)),
            at: gone,
            ..self
        }
    }
}
