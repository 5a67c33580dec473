//! What the route says of requests: that it let one in, and that one ended in an error.
//!
//! The service behind it says both with the user's name: right after the one, and before the other, as long as it takes
//! to destroy what was made. Where it says nothing, as when it fails before its first line, only the route's words are
//! left: such a request is a failed boot, too. The route's error names nobody: it is of one that the service has given
//! up, else of the newest, which was let in a moment before.

use serde::{Deserialize, Serialize};

use super::{Request, Requests, error_hash};
use crate::core::boot::{Observation, Tracker};
use crate::core::event::{Event, Provenance, Timestamp, UserKey};
use crate::core::failure;
use crate::core::lease::Slot;

/// The service speaks within milliseconds; a controller that is frozen by a copy, within a minute.
const WITHIN_MS: i64 = 60_000;
/// What it destroys may take this long, with copies in between.
const DESTROYED_MS: i64 = 10 * WITHIN_MS;
/// Of several that wait, one that fails by the route's words alone was let in so lately.
const JUST_NOW_MS: i64 = 5_000;
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
        let error = error_hash(error);
        add(&mut self.given_up, GivenUp { at, error });
    }

    /// Whether the route repeats what the service said: of several with the same words, and of old ones only so.
    fn repeats(&mut self, at: Timestamp, error: &[u8]) -> bool {
        self.forget(at);
        let hash = error_hash(error);
        let alike = self.given_up.iter().position(|one| one.error == hash);
        let lately = |one: &GivenUp| at.since(one.at) <= WITHIN_MS;
        let Some(index) = alike.or_else(|| self.given_up.iter().position(lately)) else {
            return false;
        };
        self.given_up.remove(index);
        true
    }

    /// The newest that the service has not heard of, if it came after that moment.
    fn take_newest(&mut self, since: Timestamp) -> Option<Inside> {
        self.inside.pop_if(|one| one.at >= since)
    }

    fn forget(&mut self, now: Timestamp) {
        self.inside.retain(|one| now.since(one.at) <= WITHIN_MS);
        self.given_up
            .retain(|one| now.since(one.at) <= DESTROYED_MS);
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

fn add<T>(list: &mut Vec<T>, one: T) {
    if list.len() == MOST {
        list.remove(0);
    }
    list.push(one);
}

impl Tracker {
    pub(in crate::core::boot) fn request_let_in(&mut self, event: &Event<'_>, user: UserKey) {
        let entrance = &mut self.requests.entrance;
        entrance.forget(event.at);
        let inside = Inside {
            user,
            at: event.at,
            first: event.provenance,
        };
        add(&mut entrance.inside, inside);
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
        if let Some(vm) = failure::named_vm(error) {
            let open = self.by_vm.get(&vm).copied().filter(|slot| {
                let entry = self.entry(*slot);
                entry.is_some_and(|entry| entry.boot.is_open())
            });
            if let Some(slot) = open {
                self.flow_error(slot, event, error, out);
            }
            return;
        }
        let hash = error_hash(error);
        let is_told = |slot: &Slot| {
            let entry = self.entry(*slot);
            entry.is_some_and(|entry| !error.is_empty() && entry.error_hash == hash)
        };
        // Whose wait is over is known by its time, and by nobody's request.
        if failure::is_wait_over(error) || self.last_ended().any(|slot| is_told(&slot)) {
            return;
        }
        let accepted = self
            .requests
            .newest_accepted(event.at)
            .filter(|_| !rejected);
        let since = accepted.map_or(Timestamp::MIN, |(_, _, at)| at);
        let found = match (self.requests.entrance.take_newest(since), accepted) {
            (Some(Inside { user, at, first }), _) => {
                Some((user, self.requests.unlisted(at, first)))
            }
            (None, Some((user, number, _))) => {
                let request = self.requests.remove(user, number);
                request.map(|request| (user, request))
            }
            (None, None) => None,
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
    fn unlisted(&mut self, at: Timestamp, first: Provenance) -> Request {
        let number = self.next;
        self.next += 1;
        Request::new(number, at, first, None)
    }

    /// The newest request that has come no further, by user and number: one of several only where it was just accepted.
    fn newest_accepted(&self, now: Timestamp) -> Option<(UserKey, u64, Timestamp)> {
        let newest = self.order.iter().rev();
        let mut waiting = newest.filter_map(|(number, user)| {
            let mut of_user = self.of(*user).iter();
            let one = of_user.find(|one| one.number == *number)?;
            let may_be = one.waits()
                && one.promised.is_none()
                && !one.reuses
                && now.since(one.at) <= WITHIN_MS;
            may_be.then_some((*user, *number, one.at))
        });
        let newest = waiting.next()?;
        let is_alone = waiting.next().is_none();
        (is_alone || now.since(newest.2) <= JUST_NOW_MS).then_some(newest)
    }
}
