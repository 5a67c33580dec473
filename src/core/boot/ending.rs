//! How boots end: ready, failed, cancelled, lost; and how they leave the tracker.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::time::EXPIRE_MS;
use super::{
    CLI_WAIT_MS, KEEP_ENDED_MS, MAX_ENDED, MAX_ENDED_WITHOUT_VM, Observation, Orphaned, Phase,
    Tracker,
};
use crate::core::event::{
    Event, Failure, FlowEnd, Outcome, SessionId, Stage, StageOutcome, Timestamp, VmId, VmType,
};
use crate::core::failure;
use crate::core::lease::{FROZEN_MS, GRAIN_MS, Slot};

/// Boots in flight are looked over this often, in event time.
const SWEEP_MS: i64 = 10_000;
/// A wait speaks at least every seven seconds; one that lives on after a restart's banner has spoken by then.
const RESTART_GRACE_MS: i64 = 30_000;
/// A controller that announced its end may take this long, and its boots' last words with it.
const STOPPING_GRACE_MS: i64 = 60_000;
/// A wait that goes on says something at least every seven seconds.
const BETWEEN_ATTEMPTS_MS: i64 = 8_000;
/// After an attempt the wait pauses for two seconds, and makes no other one beyond its deadline.
const PAUSE_MS: i64 = 2_500;
/// VNC is asked for up to five seconds, and the desktop then given as long.
const DESKTOP_MS: i64 = 13_000;
/// Copying an image may take minutes, during which nothing is logged.
const CREATING_SILENCE_MS: i64 = 15 * 60_000;
const WAITING_SILENCE_MS: i64 = 5 * 60_000;
/// Health lines of waits whose end was lost.
const WAIT_SILENCE_MS: i64 = 20 * 60_000;

impl Tracker {
    pub(super) fn ready(&mut self, slot: Slot, at: Timestamp, out: &mut Vec<Observation>) {
        self.end(slot, Outcome::Ready, None, None, at, out);
    }

    pub(super) fn fail(
        &mut self,
        slot: Slot,
        failure: Failure,
        stage: Option<Stage>,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        self.end(slot, Outcome::Failed, Some(failure), stage, at, out);
    }

    pub(super) fn lose(
        &mut self,
        slot: Slot,
        failure: Failure,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        self.end(slot, Outcome::Lost, Some(failure), None, at, out);
    }

    /// The one place where a boot gets its outcome.
    pub(super) fn end(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        failure: Option<Failure>,
        failed_stage: Option<Stage>,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let newest = self.time.newest;
        let Some(entry) = self.entry(slot).filter(|entry| entry.boot.is_open()) else {
            return;
        };
        let (start, at) = (entry.boot.started_at, entry.by_own_clock(at));
        match outcome {
            Outcome::Ready => {}
            Outcome::Failed => self.close_stage(slot, StageOutcome::TimedOut, at, out),
            Outcome::Cancelled | Outcome::Lost => {
                self.close_stage(slot, StageOutcome::Abandoned, at, out)
            }
        }
        let took = self.coarse_duration(start, at);
        if matches!(outcome, Outcome::Failed | Outcome::Lost) {
            self.render_evidence(slot);
        }
        let place = self.take_place();
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.evidence = Vec::new();
        entry.boot.outcome = Some(outcome);
        entry.boot.failure = failure;
        entry.boot.failed_stage = failed_stage;
        entry.boot.ready_ms = took.filter(|_| outcome == Outcome::Ready);
        entry.boot.untimed = took.is_none();
        entry.boot.ended_at = Some(match start.since(at) {
            ..=GRAIN_MS => at.max(start),
            _ => entry.lasted_until().max(start),
        });
        entry.kept_since = Some(newest);
        let before = std::mem::replace(&mut entry.place, place);
        let boot = entry.boot.clone();
        let vm = boot.vm;
        // Counted once, whoever told its end first.
        if !self.rows.was_told(&boot) {
            out.push(Observation::BootEnded(self.handed_out(boot)));
        }
        self.open.remove(&before);
        let (queue, most) = match vm {
            Some(_) => (&mut self.ended, MAX_ENDED),
            None => (&mut self.ended_without_vm, MAX_ENDED_WITHOUT_VM),
        };
        queue.insert(place, (newest, slot));
        if queue.len() > most
            && let Some((_, (_, oldest))) = queue.first_key_value()
        {
            let oldest = *oldest;
            self.settle(oldest, out);
        }
    }

    /// The guest stage that was under way when the boot ended. Creation steps are closed by their own error line.
    fn close_stage(
        &mut self,
        slot: Slot,
        outcome: StageOutcome,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.phase != Phase::Waiting
            || entry.boot.kind() != VmType::Browser
            || entry.boot.outcome.is_some()
        {
            return;
        }
        let created = entry.steps[6]
            .or(entry.created_ms)
            .map(|ms| entry.boot.started_at.plus_ms(i64::from(ms)));
        let (stage, since) = match (entry.network_up, entry.agent_up) {
            (_, Some(_)) => return,
            (Some(network), None) => (Stage::AgentStart, Some(network)),
            (None, None) => (Stage::GuestNetwork, created),
        };
        let Some(since) = since else { return };
        self.stage_took(slot, stage, since..at, outcome, out);
    }

    /// The class of a wait that ended without success, and the stage that it stopped in.
    pub(super) fn verdict_of_wait(&self, slot: Slot) -> (Failure, Option<Stage>) {
        let Some(entry) = self.entry(slot) else {
            return (Failure::Unknown, None);
        };
        let guest_stage = match (entry.network_up, entry.agent_up) {
            (None, _) => Stage::GuestNetwork,
            (Some(_), None) => Stage::AgentStart,
            (Some(_), Some(_)) => Stage::SessionReady,
        };
        if entry.died_at.is_some() {
            return (Failure::GuestDied, Some(guest_stage));
        }
        match failure::of_wait(&entry.boot.ladder) {
            // Attempts that the log lost are not attempts that were never made.
            Failure::NoAttempt if entry.attempted || !entry.waited() => {
                (Failure::Unknown, Some(guest_stage))
            }
            Failure::NoAttempt => (Failure::NoAttempt, None),
            Failure::VncNotReady => (Failure::VncNotReady, Some(Stage::SessionReady)),
            failure => (failure, Some(guest_stage)),
        }
    }

    pub(super) fn oauth_started(
        &mut self,
        event: &Event<'_>,
        session: SessionId,
        ip: Option<Ipv4Addr>,
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = self.by_session.get(&session).copied() else {
            return;
        };
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.boot.is_open() {
            // The ready line was lost; the flow goes on only after it.
            if let Some(ip) = ip {
                self.addresses.take_wait_of(ip, slot);
            }
            self.ready(slot, event.at, out);
        }
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if let (Some(Outcome::Ready), Some(ready_at)) = (entry.boot.outcome, entry.boot.ended_at) {
            let took = ready_at..entry.by_own_clock(event.at);
            let outcome = StageOutcome::Completed;
            let before = entry.boot.stage(Stage::SessionReady);
            self.stage_took(slot, Stage::SessionReady, took, outcome, out);
            if let Some(entry) = self.entry(slot)
                && entry.boot.stage(Stage::SessionReady) != before
            {
                let boot = self.handed_out(entry.boot.clone());
                out.push(Observation::BootCompleted(boot));
            }
        }
    }

    /// What comes after the wait was heard, and its end was not.
    pub(super) fn oauth_goes_on(
        &mut self,
        event: &Event<'_>,
        session: SessionId,
        out: &mut Vec<Observation>,
    ) {
        if let Some(slot) = self.by_session.get(&session).copied() {
            self.ready_before(slot, event.at, out);
        }
    }

    /// The cleaning up tells how the flow ended, if its own words were lost.
    pub(super) fn flow_over(
        &mut self,
        event: &Event<'_>,
        session: SessionId,
        vm: VmId,
        end: FlowEnd,
        out: &mut Vec<Observation>,
    ) {
        let by_session = || self.by_session.get(&session);
        let Some(slot) = self.by_vm.get(&vm).or_else(by_session).copied() else {
            return;
        };
        if !self.entry(slot).is_some_and(|entry| entry.boot.is_open()) {
            return;
        }
        match end {
            FlowEnd::AfterReady => self.ready_before(slot, event.at, out),
            FlowEnd::Cancelled => self.end(slot, Outcome::Cancelled, None, None, event.at, out),
            FlowEnd::Failed => {
                if let Some((at, _)) = self.answered_at(slot) {
                    self.ready_since(slot, at, out);
                    return;
                }
                self.keep_evidence(slot, event.record);
                match self.waited_until(slot, event.at) {
                    Some(at) => self.wait_is_over(slot, at, out),
                    // Which part of it failed was lost as well.
                    None => self.fail(slot, Failure::Unknown, None, event.at, out),
                }
            }
        }
    }

    /// A boot in flight got ready before now.
    fn ready_before(&mut self, slot: Slot, now: Timestamp, out: &mut Vec<Observation>) {
        if self.entry(slot).is_some_and(|entry| entry.boot.is_open()) {
            let at = self.answered_at(slot).map_or(now, |(at, _)| at);
            self.ready_since(slot, at, out);
        }
    }

    /// When the wait of a boot in flight came to its deadline: its last attempt was the last that it could make.
    fn waited_until(&mut self, slot: Slot, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entry(slot)?;
        let ip = entry.boot.ip.filter(|_| entry.boot.is_open())?;
        let wait = self.addresses.wait_of(ip, slot)?;
        let deadline = i64::from(wait.limits.deadline_ms?);
        let next = i64::from(wait.last_elapsed) + PAUSE_MS;
        (next >= deadline && !wait.orphaned).then(|| {
            let deadline = wait.start().plus_ms(deadline);
            deadline.max(wait.last_seen).min(now)
        })
    }

    pub(super) fn flow_failed(
        &mut self,
        event: &Event<'_>,
        session: SessionId,
        error: &[u8],
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = self.by_session.get(&session).copied() else {
            return;
        };
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if !entry.boot.is_open() {
            return;
        }
        self.flow_error(slot, event, error, out);
    }

    /// The flow of an open boot ended in an error: what that says depends on how far the boot had come.
    pub(super) fn flow_error(
        &mut self,
        slot: Slot,
        event: &Event<'_>,
        error: &[u8],
        out: &mut Vec<Observation>,
    ) {
        self.touch(slot, event.at);
        self.keep_error(slot, error);
        self.keep_evidence(slot, event.record);
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let (phase, ip, agent_up) = (entry.phase, entry.boot.ip, entry.agent_up.is_some());
        if phase == Phase::Creating {
            self.fail_creation(slot, error, None, event.at, out);
            return;
        }
        let timed_out = failure::is_wait_over(error);
        if phase == Phase::Created && !timed_out {
            // Between the VM's creation and its wait there is nothing but writing the session's row, where the code
            // comes so far.
            let (failure, stage) = match failure::is_code_error(error) {
                true => (Failure::Unknown, None),
                false => (Failure::RecordFailed, Some(Stage::CreateRecord)),
            };
            self.fail(slot, failure, stage, event.at, out);
            return;
        }
        if error == b"VM not ready after undefinedms"
            && let Some(entry) = self.entry_mut(slot)
        {
            entry.boot.limits.get_or_insert_default();
        }
        let answered_at = self.answered_at(slot);
        let wait = ip.and_then(|ip| self.addresses.take_wait_of(ip, slot));
        if !timed_out && (agent_up || failure::is_after_ready(error)) {
            let at = answered_at.map_or(event.at, |(at, _)| at);
            self.ready(slot, at, out);
            return;
        }
        let at = match wait.filter(|_| timed_out) {
            Some(wait) => wait.time_of(event.at),
            None => event.at,
        };
        self.wait_is_over(slot, at, out);
    }

    pub(super) fn session_cancelled(
        &mut self,
        event: &Event<'_>,
        session: SessionId,
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = self.by_session.get(&session).copied() else {
            self.cancel_request(session);
            return;
        };
        if self.entry(slot).is_some_and(|entry| entry.boot.is_open()) {
            self.end(slot, Outcome::Cancelled, None, None, event.at, out);
        }
    }

    pub(super) fn destroying(&mut self, event: &Event<'_>, vm: VmId, out: &mut Vec<Observation>) {
        let Some(slot) = self.by_vm.get(&vm).copied() else {
            return;
        };
        if let Some(at) = self.ready_unsaid(slot, event.at) {
            self.ready_since(slot, at, out);
        } else if let Some(at) = self.waited_until(slot, event.at)
            && event.at >= at
        {
            // It is cleaned up after: that it had timed out was not heard.
            self.wait_is_over(slot, at, out);
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.destroyed = true;
            if entry.boot.is_open() {
                entry.last_seen = entry.last_seen.max(event.at);
            }
        }
    }

    /// When a boot in flight got ready whose ready line was lost: its agent's 200 was the last that was heard of its
    /// wait, for longer than a wait is ever silent.
    fn ready_unsaid(&mut self, slot: Slot, now: Timestamp) -> Option<Timestamp> {
        let (at, more_follows) = self.answered_at(slot)?;
        let silent_ms = match more_follows {
            true => DESKTOP_MS,
            false => BETWEEN_ATTEMPTS_MS,
        };
        (now.since(at) >= silent_ms).then_some(at)
    }

    /// When the agent of a boot in flight answered 200, if that was the last of its wait, and nobody's end explains the
    /// silence; and whether a later version has still to ask for VNC then and to wait for the desktop.
    fn answered_at(&mut self, slot: Slot) -> Option<(Timestamp, bool)> {
        let entry = self.entry(slot)?;
        let goes_on = entry.boot.is_open() && entry.orphaned.is_none() && entry.died_at.is_none();
        let ip = entry.boot.ip.filter(|_| goes_on)?;
        let wait = self.addresses.wait_of(ip, slot)?;
        let answered = wait.answered == Some(200) && !wait.orphaned;
        answered.then_some((wait.last_seen, wait.limits.initial_delay_ms > 0))
    }

    /// A boot whose ready line was lost.
    fn ready_since(&mut self, slot: Slot, at: Timestamp, out: &mut Vec<Observation>) {
        if let Some(ip) = self.entry(slot).and_then(|entry| entry.boot.ip) {
            self.addresses.take_wait_of(ip, slot);
        }
        self.ready(slot, at, out);
    }

    pub(super) fn process_exited(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        signalled: bool,
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = self.by_vm.get(&vm).copied() else {
            return;
        };
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if entry.destroyed || !entry.boot.is_open() {
            return;
        }
        let ends = |orphaned: Orphaned| !orphaned.restarted && event.at < orphaned.until;
        if signalled && entry.orphaned.is_some_and(ends) {
            // The signal that ends the controller reached its guests as well.
            self.lose(slot, Failure::ControllerRestarted, event.at, out);
            return;
        }
        entry.died_at.get_or_insert(event.at);
        entry.last_seen = entry.last_seen.max(event.at);
        self.keep_evidence(slot, event.record);
    }

    /// Ends what time has ended, and lets go of what has been kept long enough.
    pub(super) fn sweep(&mut self, out: &mut Vec<Observation>) {
        let now = self.time.newest;
        self.next_sweep = now.plus_ms(SWEEP_MS);
        for slot in 0..Slot::try_from(self.entries.len()).unwrap_or(Slot::MAX) {
            let Some((outcome, failure, due)) = self.expired(slot, now) else {
                continue;
            };
            match self.answered_at(slot) {
                // The answer was all that it waited for.
                Some((at, false)) if failure == Some(Failure::Unknown) => {
                    self.ready_since(slot, at, out);
                }
                // Whenever it is looked at.
                _ => self.end(slot, outcome, failure, None, due.min(now), out),
            }
        }
        self.sweep_requests(now, out);
        let old =
            |(at, slot): &(Timestamp, Slot)| (now.since(*at) >= KEEP_ENDED_MS).then_some(*slot);
        let oldest = |queue: &BTreeMap<u64, (Timestamp, Slot)>| {
            queue.first_key_value().and_then(|(_, kept)| old(kept))
        };
        while let Some(slot) = oldest(&self.ended).or_else(|| oldest(&self.ended_without_vm)) {
            self.settle(slot, out);
        }
        if now >= self.next_expire && !self.may_yet_speak(now, 0) {
            self.next_expire = now.plus_ms(EXPIRE_MS);
            self.addresses.expire(now.plus_ms(-WAIT_SILENCE_MS));
        }
    }

    /// How a boot has ended of which nothing more will be heard, and since when that is known.
    fn expired(&self, slot: Slot, now: Timestamp) -> Option<(Outcome, Option<Failure>, Timestamp)> {
        let entry = self.entry(slot)?;
        if !entry.boot.is_open() {
            return None;
        }
        let delay = entry
            .boot
            .limits
            .map_or(0, |limits| i64::from(limits.initial_delay_ms));
        if let Some(orphaned) = entry.orphaned {
            let grace = match (orphaned.restarted, entry.boot.vm_type) {
                (false, _) => STOPPING_GRACE_MS,
                (true, Some(VmType::Cli)) => CLI_WAIT_MS,
                (true, _) => RESTART_GRACE_MS + delay,
            };
            // While nobody says anything the boot may be frozen with all others: then time alone needs more.
            let silent = if orphaned.restarted {
                grace.max(FROZEN_MS)
            } else {
                grace
            };
            if self.heard.since(orphaned.at) >= grace || now.since(orphaned.at) >= silent {
                let due = orphaned.at.plus_ms(grace);
                return Some((Outcome::Lost, Some(Failure::ControllerRestarted), due));
            }
            // However long it was silent before: the restart is why.
            return None;
        }
        let silence = match entry.phase {
            Phase::Creating => CREATING_SILENCE_MS,
            Phase::Created | Phase::Waiting => WAITING_SILENCE_MS,
        };
        if now.since(entry.last_seen) < silence || self.may_yet_speak(now, delay) {
            return None;
        }
        let due = entry.last_seen.plus_ms(silence);
        // The wait for a VM that somebody took away goes on; one that says nothing more had ended before, unheard.
        Some(if entry.destroyed && entry.goes_on {
            (Outcome::Cancelled, None, due)
        } else {
            (Outcome::Lost, Some(Failure::Unknown), due)
        })
    }

    /// The tracker forgets the boot and hands it out.
    pub(super) fn settle(&mut self, slot: Slot, out: &mut Vec<Observation>) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.touched.mark(slot);
        self.open.remove(&entry.place);
        self.ended.remove(&entry.place);
        self.ended_without_vm.remove(&entry.place);
        let boot = entry.boot;
        if let Some(vm) = boot.vm {
            self.by_vm.remove(&vm);
        }
        if let Some(session) = boot.session
            && self.by_session.get(&session) == Some(&slot)
        {
            self.by_session.remove(&session);
        }
        if let Some(ip) = boot.ip {
            self.addresses.forget(ip, slot);
        }
        self.forget_in_requests(slot, boot.user);
        self.free.insert(slot);
        if !self.rows.was_settled(&boot) {
            let boot = self.handed_out(boot);
            self.rows.settled(&boot);
            out.push(Observation::BootSettled(boot));
        }
    }
}
