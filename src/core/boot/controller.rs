//! The controller comes and goes: what that says of the boots in flight, which `ending` gives up where they say no more.

use super::{Entry, Observation, Orphaned, Tracker};
use crate::core::event::{Failure, Timestamp};
use crate::core::lease::Slot;

/// It ends three seconds after a promise was rejected, and by force half a minute after the signal.
const CRASHING_MS: i64 = 5_000;
const STOPPING_MS: i64 = 35_000;
/// It listens so soon after it said that it starts, however long its database takes.
const STARTING_MS: i64 = 10 * 60_000;
/// What one signal ends is told within so long.
const SAME_MS: i64 = 1_000;

impl Tracker {
    /// No open boot's flow can be taken for granted: the processes that the last controller began ended with it.
    pub(super) fn controller_starts(&mut self, at: Timestamp, out: &mut Vec<Observation>) {
        self.starting_since = Some(at);
        self.counts.controller_starts += 1;
        out.push(Observation::ControllerStarted { at });
        self.orphan(Orphaned {
            at,
            restarted: true,
            until: at,
        });
        self.addresses.orphan();
    }

    /// Where a kill tore the last line of the controller before it, the line that says that this one starts is its end.
    pub(super) fn controller_started(&mut self, at: Timestamp, out: &mut Vec<Observation>) {
        let starting = self.starting_since.take();
        if starting.is_none_or(|since| at.since(since).abs() > STARTING_MS) {
            self.controller_starts(at, out);
            self.starting_since = None;
        }
    }

    /// One that was still starting found its port taken: the other goes on.
    pub(super) fn controller_crashes(&mut self, at: Timestamp, out: &mut Vec<Observation>) {
        if self.starting_since.take().is_none() {
            out.push(Observation::ControllerCrashed { at });
            self.controller_ends(at, CRASHING_MS);
        }
    }

    /// It was told to end by a signal, which may have reached its guests first.
    pub(super) fn controller_stops(&mut self, at: Timestamp, out: &mut Vec<Observation>) {
        let with_it = |entry: &Entry| entry.died_at.is_some_and(|died| at.since(died) <= SAME_MS);
        let in_flight: Vec<Slot> = self.open.values().copied().collect();
        for slot in in_flight {
            if self.entry(slot).is_some_and(with_it) {
                self.lose(slot, Failure::ControllerRestarted, at, out);
            }
        }
        self.controller_ends(at, STOPPING_MS);
    }

    /// The controller has said that it ends, which may take it so long.
    fn controller_ends(&mut self, at: Timestamp, takes_ms: i64) {
        self.orphan(Orphaned {
            at,
            restarted: false,
            until: at.plus_ms(takes_ms),
        });
    }

    fn orphan(&mut self, orphaned: Orphaned) {
        let in_flight: Vec<Slot> = self.open.values().copied().collect();
        for slot in in_flight {
            if let Some(entry) = self.entry_mut(slot)
                && (orphaned.restarted || entry.orphaned.is_none())
            {
                entry.orphaned = Some(orphaned);
            }
        }
        self.orphan_requests(orphaned);
    }
}
