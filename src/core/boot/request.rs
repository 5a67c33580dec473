//! Requests: what a user asked for before any VM of theirs was begun.
//!
//! A request line carries the user and nothing else, so requests are kept by user, in order. A request is bound to the
//! first VM that its user's creation begins, and gives it its session. One that fails without a VM is a failed boot of
//! its own, `not_started`; one whose caller was at fault (no such user) is none.

mod cli;
mod entrance;
mod keep;

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::creation::error_hash;
use super::{Boot, CLI_WAIT_MS, MAX_OPEN, Observation, Orphaned, Phase, Tracker};
use crate::core::event::{
    Event, EventKind, Failure, Outcome, Provenance, SessionId, Timestamp, UserKey, VmType,
};
use crate::core::failure;
use crate::core::lease::Slot;
use crate::core::row::RowKey;
use crate::core::saved::Touched;
pub(super) use entrance::Entrance;

/// A request first provisions the user's CLI VM, which may copy an image and wait a minute.
const SILENCE_MS: i64 = 15 * 60_000;
/// One account may ask for many boots at once: whoever tries the host under load has one. Those answered since stay until
/// the next is asked for.
const MAX_PER_USER: usize = 128;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Request {
    number: u64,
    at: Timestamp,
    first: Provenance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// The session that it will have: it was named before the browser VM was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promised: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    cancelled: bool,
    /// It went on with a CLI VM that was there, and so asks for its browser VM before an older one that made one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reuses: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    orphaned: Option<Orphaned>,
}

impl Request {
    fn new(number: u64, at: Timestamp, first: Provenance, session: Option<SessionId>) -> Request {
        Request {
            number,
            at,
            first,
            session,
            promised: None,
            slot: None,
            cancelled: false,
            reuses: false,
            orphaned: None,
        }
    }

    /// It has neither a session nor a VM yet, and the controller that it asked is there.
    fn waits(&self) -> bool {
        self.session.is_none() && self.slot.is_none() && self.orphaned.is_none()
    }

    /// The session that it has, or will have.
    fn known_session(&self) -> Option<SessionId> {
        self.session.or(self.promised)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    by_user: HashMap<UserKey, Vec<Request>>,
    /// Whose request has this session.
    by_session: HashMap<SessionId, UserKey>,
    /// Every request by number, oldest first, to give up the oldest when there are too many.
    order: BTreeMap<u64, UserKey>,
    next: u64,
    /// The newest CLI boot of each user.
    cli: HashMap<UserKey, Slot>,
    pub(super) entrance: Entrance,
    /// Users of whom something changed since they were last saved.
    touched: Touched<UserKey>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_user.values().map(Vec::len).sum()
    }

    fn remove(&mut self, user: UserKey, number: u64) -> Option<Request> {
        let list = self.of_mut(user)?;
        let index = list.iter().position(|request| request.number == number)?;
        let request = list.remove(index);
        if list.is_empty() {
            self.by_user.remove(&user);
        }
        self.order.remove(&number);
        if let Some(session) = request.known_session()
            && let Some(whose) = self.by_session.remove(&session)
        {
            self.touched.mark(whose);
        }
        Some(request)
    }

    /// A user's requests, about to be changed.
    fn of_mut(&mut self, user: UserKey) -> Option<&mut Vec<Request>> {
        let list = self.by_user.get_mut(&user)?;
        self.touched.mark(user);
        Some(list)
    }

    fn has_session(&mut self, user: UserKey, session: SessionId) {
        if let Some(other) = self.by_session.insert(session, user) {
            self.touched.mark(other);
        }
    }

    /// The log's clock was set back: nothing was asked later.
    pub(super) fn not_after(&mut self, at: Timestamp) {
        self.entrance.not_after(at);
        for (user, list) in &mut self.by_user {
            let later = |request: &&mut Request| {
                let gone = request.orphaned.map(|orphaned| orphaned.at);
                request.at > at || gone.is_some_and(|gone| gone > at)
            };
            for request in list.iter_mut().filter(later) {
                request.at = request.at.min(at);
                request.orphaned = request.orphaned.map(|orphaned| orphaned.not_after(at));
                self.touched.mark(*user);
            }
        }
    }

    fn of(&self, user: UserKey) -> &[Request] {
        self.by_user.get(&user).map_or(&[], Vec::as_slice)
    }
}

impl Tracker {
    pub(super) fn request_accepted(
        &mut self,
        event: &Event<'_>,
        user: UserKey,
        out: &mut Vec<Observation>,
    ) {
        self.requests.entrance.taken_over(user);
        self.prune_requests_of(user);
        self.add_request(event, user, None, out);
    }

    fn add_request(
        &mut self,
        event: &Event<'_>,
        user: UserKey,
        session: Option<SessionId>,
        out: &mut Vec<Observation>,
    ) {
        let number = self.requests.next;
        self.requests.next += 1;
        self.requests.touched.mark(user);
        let list = self.requests.by_user.entry(user).or_default();
        let oldest = if list.len() == MAX_PER_USER {
            list.first().map(|request| request.number)
        } else {
            None
        };
        list.push(Request::new(number, event.at, event.provenance, session));
        self.requests.order.insert(number, user);
        if let Some(session) = session {
            self.requests.has_session(user, session);
        }
        if let Some(oldest) = oldest {
            self.give_up_request(user, oldest, Failure::Unknown, event.at, out);
        }
        while self.requests.order.len() > MAX_OPEN {
            let Some((number, user)) = self.requests.order.pop_first() else {
                break;
            };
            self.give_up_request(user, number, Failure::Unknown, event.at, out);
        }
    }

    /// A request nobody will hear of again; without a VM it is a lost boot.
    fn give_up_request(
        &mut self,
        user: UserKey,
        number: u64,
        failure: Failure,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let Some(request) = self.requests.remove(user, number) else {
            return;
        };
        if request.slot.is_none() {
            if failure == Failure::Unknown {
                self.counts.evicted += 1;
            }
            let slot = self.boot_without_vm(user, &request, out);
            match request.cancelled {
                true => self.end(slot, Outcome::Cancelled, None, None, at, out),
                false => self.lose(slot, failure, at, out),
            }
        }
    }

    fn boot_without_vm(
        &mut self,
        user: UserKey,
        request: &Request,
        out: &mut Vec<Observation>,
    ) -> Slot {
        let mut boot = Boot::new(None, request.first, request.at);
        boot.vm_type = Some(VmType::Browser);
        boot.user = Some(user);
        let slot = self.insert(boot, request.at, out);
        if let Some(session) = request.known_session() {
            self.join_session(slot, session);
        }
        slot
    }

    pub(super) fn session_opened(
        &mut self,
        event: &Event<'_>,
        user: UserKey,
        session: SessionId,
        out: &mut Vec<Observation>,
    ) {
        self.requests.entrance.taken_over(user);
        self.rows.hear(RowKey::Session(session), event.at);
        if self.by_session.contains_key(&session) {
            return;
        }
        let list = self.requests.of(user);
        if list.iter().any(|request| request.session == Some(session)) {
            return;
        }
        self.cli_was_ready(user, event.at, out);
        match self.requests.of_mut(user).and_then(|list| {
            list.iter_mut()
                .filter(|r| r.session.is_none() && r.slot.is_none())
                .min_by_key(|r| {
                    let other = r.promised.map(|promised| promised != session);
                    (
                        other.unwrap_or_default(),
                        other.is_none(),
                        r.orphaned.is_some(),
                        !r.reuses,
                    )
                })
        }) {
            Some(request) => {
                let other = request
                    .promised
                    .take()
                    .filter(|promised| *promised != session);
                request.session = Some(session);
                if let Some(other) = other {
                    self.requests.by_session.remove(&other);
                }
                self.requests.has_session(user, session);
            }
            None => self.add_request(event, user, Some(session), out),
        }
    }

    /// A request of this user has its session before its CLI VM is there: the oldest that has none.
    pub(super) fn session_named(&mut self, user: UserKey, session: SessionId) {
        self.requests.entrance.taken_over(user);
        let is_known = self.by_session.contains_key(&session)
            || self.requests.by_session.contains_key(&session);
        let list = self.requests.of_mut(user).filter(|_| !is_known);
        let mut list = list.into_iter().flatten();
        let first = list.find(|request| request.waits() && request.promised.is_none());
        if let Some(request) = first {
            request.promised = Some(session);
            self.requests.has_session(user, session);
        }
    }

    /// A VM's creation has begun for this user: the request that asked for it is the one whose session was opened last.
    pub(super) fn bind_request(
        &mut self,
        slot: Slot,
        user: UserKey,
        vm_type: VmType,
        event: &Event<'_>,
        out: &mut Vec<Observation>,
    ) {
        self.requests.entrance.taken_over(user);
        if vm_type == VmType::Cli {
            if self.requests.cli.len() < MAX_OPEN {
                self.requests.cli.insert(user, slot);
                self.requests.touched.mark(user);
            }
            return;
        }
        let asked_for = |one: &Request| one.slot.is_none() && one.session.is_some();
        if !self.requests.of(user).iter().any(asked_for) {
            // That it was asked for was lost, and with it perhaps what came just before.
            let began = self.entry(slot).map(|entry| entry.boot.started_at);
            self.cli_was_ready(user, began.map_or(event.at, |at| at.min(event.at)), out);
        }
        if !self.requests.of(user).iter().any(|one| one.slot.is_none()) {
            // Its line was lost or is before the log. If it fails, its failure is told of it and of no other one.
            self.prune_requests_of(user);
            self.add_request(event, user, None, out);
        }
        let Some(list) = self.requests.of_mut(user) else {
            return;
        };
        let with_session = list
            .iter()
            .rposition(|request| request.slot.is_none() && request.session.is_some());
        let without = || {
            (0..list.len())
                .filter(|at| list[*at].slot.is_none())
                .min_by_key(|at| (list[*at].orphaned.is_some(), list[*at].cancelled))
        };
        let Some(index) = with_session.or_else(without) else {
            return;
        };
        let request = &mut list[index];
        request.slot = Some(slot);
        let (session, cancelled) = (request.session, request.cancelled);
        if let Some(session) = session {
            self.join_session(slot, session);
        }
        if cancelled && session.is_some() {
            self.end(slot, Outcome::Cancelled, None, None, event.at, out);
        }
    }

    /// The request of this session has its VM, even if the line that began the VM's creation was lost. Whether it was
    /// cancelled.
    pub(super) fn answer_request(&mut self, user: UserKey, session: SessionId, slot: Slot) -> bool {
        let mut cancelled = false;
        let list = self.requests.of_mut(user);
        for request in list.into_iter().flatten() {
            if request.known_session() == Some(session) {
                request.slot.get_or_insert(slot);
                cancelled |= request.cancelled;
            }
        }
        cancelled
    }

    /// Each of two VMs is the other one's request's.
    pub(super) fn exchange_requests(&mut self, user: UserKey, one: Slot, other: Slot) {
        let list = self.requests.of_mut(user);
        for request in list.into_iter().flatten() {
            request.slot = match request.slot {
                Some(slot) if slot == one => Some(other),
                Some(slot) if slot == other => Some(one),
                known => known,
            };
        }
    }

    pub(super) fn request_failed(&mut self, event: &Event<'_>, out: &mut Vec<Observation>) {
        let EventKind::RequestFailed {
            user,
            session,
            error,
            rejected,
        } = event.kind
        else {
            return;
        };
        if session.is_none() {
            self.requests.entrance.give_up(event.at, error);
        }
        let by_session = session.and_then(|session| self.by_session.get(&session).copied());
        if let Some(slot) = by_session {
            if self.entry(slot).is_some_and(|entry| entry.boot.is_open()) {
                self.flow_error(slot, event, error, out);
            }
            self.close_requests_of_slot(user, slot);
            return;
        }
        let hash = error_hash(error);
        let failed_alike = |tracker: &Tracker, request: &Request| {
            request
                .slot
                .and_then(|slot| tracker.entry(slot))
                .is_some_and(|entry| entry.error_hash == hash)
        };
        let of_phase = |tracker: &Tracker, request: &Request, phase: Phase| {
            request
                .slot
                .and_then(|slot| tracker.entry(slot))
                .is_some_and(|e| e.boot.is_open() && e.phase == phase)
        };
        let list = self.requests.of(user);
        if let Some(request) = list.iter().find(|request| failed_alike(self, request)) {
            let number = request.number;
            self.requests.remove(user, number);
            return;
        }
        // An error may name its VM, and a request another session: then it is not that one's. That of a CLI VM is of a
        // request that has no VM of its own yet, and no session.
        let named = failure::named_vm(error).map(|vm| self.by_vm.get(&vm).copied());
        let of_cli = match named {
            Some(named) => named
                .and_then(|slot| self.entry(slot))
                .is_some_and(|entry| entry.boot.vm_type == Some(VmType::Cli)),
            None => self.cli_failed(user, event, error, hash, out),
        };
        let may_be = |request: &&Request| {
            let of_session = match session {
                None => !of_cli || request.session.is_none(),
                Some(_) => request
                    .known_session()
                    .is_none_or(|own| Some(own) == session),
            };
            let of_vm = match named {
                _ if of_cli => request.slot.is_none(),
                None => true,
                Some(slot) => slot.is_some() && request.slot == slot,
            };
            of_session && of_vm
        };
        let list = || self.requests.of(user).iter().filter(may_be);
        let chosen = list()
            .find(|request| session.is_some() && request.known_session() == session)
            .or_else(|| list().find(|request| of_phase(self, request, Phase::Created)))
            .or_else(|| {
                list()
                    .filter(|request| request.slot.is_none())
                    .min_by_key(|request| (request.orphaned.is_some(), of_cli && request.reuses))
            })
            .or_else(|| list().find(|request| of_phase(self, request, Phase::Creating)))
            .map(|request| (request.number, request.slot));
        let Some((number, slot)) = chosen else { return };
        let Some(mut request) = self.requests.remove(user, number) else {
            return;
        };
        request.session = request.session.or(session);
        match slot {
            Some(slot) => self.flow_error(slot, event, error, out),
            None if rejected => self.counts.rejected_requests += 1,
            None => self.request_without_vm_failed(user, &request, event, error, out),
        }
    }

    fn request_without_vm_failed(
        &mut self,
        user: UserKey,
        request: &Request,
        event: &Event<'_>,
        error: &[u8],
        out: &mut Vec<Observation>,
    ) {
        let slot = self.boot_without_vm(user, request, out);
        self.keep_error(slot, error);
        self.keep_evidence(slot, event.record);
        match request.cancelled {
            true => self.end(slot, Outcome::Cancelled, None, None, event.at, out),
            false => self.fail(slot, Failure::NotStarted, None, event.at, out),
        }
    }

    pub(super) fn cancel_request(&mut self, session: SessionId) {
        let user = self.requests.by_session.get(&session).copied();
        let list = user.and_then(|user| self.requests.of_mut(user));
        for request in list.into_iter().flatten() {
            if request.known_session() == Some(session) {
                request.cancelled = true;
            }
        }
    }

    /// Those that have their VM, too: whoever waits for the oldest to be over must not wait for one of them.
    pub(super) fn orphan_requests(&mut self, orphaned: Orphaned) {
        if orphaned.restarted {
            self.requests.entrance.close();
        }
        let Requests {
            by_user, touched, ..
        } = &mut self.requests;
        for (user, list) in by_user {
            for request in list {
                if orphaned.restarted || request.orphaned.is_none() {
                    request.orphaned = Some(orphaned);
                    touched.mark(*user);
                }
            }
        }
    }

    pub(super) fn sweep_requests(&mut self, now: Timestamp, out: &mut Vec<Observation>) {
        let oldest = |requests: &Requests| requests.order.first_key_value().map(|(n, u)| (*n, *u));
        while let Some((number, user)) = oldest(&self.requests) {
            let list = self.requests.of(user);
            let Some(request) = list.iter().find(|request| request.number == number) else {
                self.requests.order.remove(&number);
                continue;
            };
            let gone = request
                .orphaned
                .filter(|orphaned| now.since(orphaned.at) >= CLI_WAIT_MS);
            let (failure, due) = match gone {
                Some(orphaned) => (
                    Failure::ControllerRestarted,
                    orphaned.at.plus_ms(CLI_WAIT_MS),
                ),
                None if now.since(request.at) >= SILENCE_MS && !self.may_yet_speak(now, 0) => {
                    (Failure::Unknown, request.at.plus_ms(SILENCE_MS))
                }
                None => break,
            };
            self.give_up_request(user, number, failure, due.min(now), out);
        }
    }

    /// At the log's end: requests that a restart cut are lost; the others are boots in flight.
    pub(super) fn finish_requests(&mut self, out: &mut Vec<Observation>) {
        let order = std::mem::take(&mut self.requests.order);
        for (number, user) in order {
            let Some(request) = self.requests.remove(user, number) else {
                continue;
            };
            if request.slot.is_some() {
                continue;
            }
            let slot = self.boot_without_vm(user, &request, out);
            if request.orphaned.is_some() {
                self.lose(slot, Failure::ControllerRestarted, self.time.newest, out);
            }
        }
    }

    /// Requests whose boot has begun its wait or has ended are answered; no failure line of theirs will come.
    fn prune_requests_of(&mut self, user: UserKey) {
        let answered: Vec<u64> = self
            .requests
            .of(user)
            .iter()
            .filter(|request| {
                request.slot.is_some_and(|slot| {
                    self.entry(slot)
                        .is_none_or(|entry| entry.phase == Phase::Waiting || !entry.boot.is_open())
                })
            })
            .map(|request| request.number)
            .collect();
        for number in answered {
            self.requests.remove(user, number);
        }
    }

    fn close_requests_of_slot(&mut self, user: UserKey, slot: Slot) {
        let of_slot = |request: &&Request| request.slot == Some(slot);
        let numbers: Vec<u64> = self
            .requests
            .of(user)
            .iter()
            .filter(of_slot)
            .map(|request| request.number)
            .collect();
        for number in numbers {
            self.requests.remove(user, number);
        }
    }

    pub(super) fn forget_in_requests(&mut self, slot: Slot, user: Option<UserKey>) {
        let Some(user) = user else { return };
        self.close_requests_of_slot(user, slot);
        if self.requests.cli.get(&user) == Some(&slot) {
            self.requests.cli.remove(&user);
            self.requests.touched.mark(user);
        }
    }
}
