//! What the route says of requests: that it let one in, and that one ended in an error.
//!
//! The service behind it says both with the user's name, right after the one and right before the other. Where it says
//! nothing, as when it fails before its first line, only the route's words are left: such a request is a failed boot,
//! too. The route's error names nobody: it is of the request that the service has just given up, else of the newest
//! one that could have failed so.

use serde::{Deserialize, Serialize};

use super::{Request, Requests, error_hash};
use crate::core::boot::{Observation, Tracker};
use crate::core::event::{Event, Provenance, Timestamp, UserKey};
use crate::core::lease::Slot;

/// The service speaks within milliseconds; a controller that is frozen by a copy, within a minute.
const WITHIN_MS: i64 = 60_000;
/// Of each kind; the oldest is forgotten.
const MOST: usize = 128;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::core::boot) struct Entrance {
    /// Let in, and not heard of by the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inside: Vec<Inside>,
    /// Given up by the service: the route says so, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    given_up: Vec<GivenUp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inside {
    user: UserKey,
    at: Timestamp,
    first: Provenance,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct GivenUp {
    at: Timestamp,
    error: u64,
}

impl Entrance {
    pub(in crate::core::boot) fn is_empty(&self) -> bool {
        self.inside.is_empty() && self.given_up.is_empty()
    }

    pub(in crate::core::boot) fn is_bounded(&self) -> bool {
        self.inside.len() <= MOST && self.given_up.len() <= MOST
    }

    /// The service has this user's oldest.
    pub(super) fn taken_over(&mut self, user: UserKey) {
        if let Some(index) = self.inside.iter().position(|one| one.user == user) {
            self.inside.remove(index);
        }
    }

    /// The service gave one up.
    pub(super) fn give_up(&mut self, at: Timestamp, error: &[u8]) {
        self.forget(at);
        if self.given_up.len() == MOST {
            self.given_up.remove(0);
        }
        let error = error_hash(error);
        self.given_up.push(GivenUp { at, error });
    }

    /// Whether the route repeats what the service said: of several, with the same words.
    fn repeats(&mut self, at: Timestamp, error: &[u8]) -> bool {
        self.forget(at);
        let hash = error_hash(error);
        let alike = self.given_up.iter().position(|one| one.error == hash);
        let Some(index) = alike.or(self.given_up.first().map(|_| 0)) else {
            return false;
        };
        self.given_up.remove(index);
        true
    }

    /// The request that the service never heard of.
    fn never_taken_over(&mut self, at: Timestamp) -> Option<Inside> {
        self.forget(at);
        self.inside.pop()
    }

    fn forget(&mut self, now: Timestamp) {
        self.inside.retain(|one| now.since(one.at) <= WITHIN_MS);
        self.given_up.retain(|one| now.since(one.at) <= WITHIN_MS);
    }

    pub(super) fn not_after(&mut self, at: Timestamp) {
        let inside = self.inside.iter_mut().map(|one| &mut one.at);
        let given_up = self.given_up.iter_mut().map(|one| &mut one.at);
        for known in inside.chain(given_up).filter(|known| **known > at) {
            *known = at;
        }
    }

    /// Nothing of a controller that is gone is heard again.
    pub(super) fn close(&mut self) {
        self.inside.clear();
        self.given_up.clear();
    }
}

impl Tracker {
    pub(in crate::core::boot) fn request_let_in(&mut self, event: &Event<'_>, user: UserKey) {
        let entrance = &mut self.requests.entrance;
        entrance.forget(event.at);
        if entrance.inside.len() == MOST {
            entrance.inside.remove(0);
        }
        entrance.inside.push(Inside {
            user,
            at: event.at,
            first: event.provenance,
        });
    }

    pub(in crate::core::boot) fn start_failed(
        &mut self,
        event: &Event<'_>,
        error: &[u8],
        rejected: bool,
        out: &mut Vec<Observation>,
    ) {
        if self.requests.entrance.repeats(event.at, error) {
            return;
        }
        let hash = error_hash(error);
        let told_by_its_vm = |slot: &Slot| {
            let entry = self.entry(*slot);
            entry.is_some_and(|entry| !error.is_empty() && entry.error_hash == hash)
        };
        if self.last_ended().any(|slot| told_by_its_vm(&slot)) {
            return;
        }
        let found = match self.requests.entrance.never_taken_over(event.at) {
            Some(Inside { user, at, first }) => Some((user, self.requests.number(at, first))),
            None => self.requests.newest_without_vm(),
        };
        let Some((user, request)) = found else {
            return;
        };
        if rejected {
            self.counts.rejected_requests += 1;
        } else {
            self.request_without_vm_failed(user, &request, event, error, out);
        }
    }
}

impl Requests {
    /// A request of which no list knows.
    fn number(&mut self, at: Timestamp, first: Provenance) -> Request {
        let number = self.next;
        self.next += 1;
        Request::new(number, at, first, None)
    }

    /// Takes out the newest one that has neither a VM nor a session.
    fn newest_without_vm(&mut self) -> Option<(UserKey, Request)> {
        let newest = self.order.iter().rev().find(|(number, user)| {
            let of_user = self.of(**user).iter();
            of_user
                .filter(|one| one.number == **number)
                .any(|one| one.slot.is_none() && one.session.is_none() && one.orphaned.is_none())
        });
        let (number, user) = newest.map(|(number, user)| (*number, *user))?;
        Some((user, self.remove(user, number)?))
    }
}
