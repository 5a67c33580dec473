//! The health wait: whose it is, its attempts, and what the ladder of their results says about the guest.

use std::net::Ipv4Addr;

use super::{AttemptEnded, Observation, Phase, StageSpan, Tracker};
use crate::core::event::{
    AttemptResult, Event, Origin, Outcome, Stage, StageOutcome, Timestamp, VmType, WaitLimits,
};
use crate::core::failure;
use crate::core::lease::{GRAIN_MS, MAX_ADDRESSES, Slot, Wait};
use crate::core::probe::Answerer;

impl Tracker {
    pub(super) fn wait_started(&mut self, event: &Event<'_>, ip: Ipv4Addr, limits: WaitLimits) {
        // The same line again: the wait is there and began in this very second.
        let slot = self.next_to_wait(ip, None);
        if slot.is_none()
            && let Some(wait) = self.addresses.by_elapsed(ip, event.at, 0)
        {
            wait.limits = limits;
            if let Some(slot) = wait.slot {
                self.limits_known(slot, limits);
            }
            return;
        }
        self.open_wait(event, ip, slot, 0, limits);
    }

    fn limits_known(&mut self, slot: Slot, limits: WaitLimits) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.boot.limits = Some(limits);
        }
    }

    fn open_wait(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        slot: Option<Slot>,
        elapsed_ms: u32,
        limits: WaitLimits,
    ) {
        if slot.is_none() {
            self.counts.unattributed += 1;
            if self.addresses.len() >= MAX_ADDRESSES {
                return;
            }
        }
        let mut created = None;
        if let Some(slot) = slot {
            self.touch(slot, event.at);
            if let Some(entry) = self.entry_mut(slot) {
                entry.phase = Phase::Waiting;
                entry.boot.vm_type.get_or_insert(VmType::Browser);
                entry.boot.limits = Some(limits);
                let done = entry.created_ms.or(entry.steps[6]);
                created = done.map(|ms| entry.boot.started_at.plus_ms(i64::from(ms)));
            }
        }
        let wait = self.addresses.open(ip, slot, event.at, elapsed_ms, limits);
        // It cannot have begun before the VM was there, unless the clock was set back since.
        let Some(created) = created else { return };
        if created > wait.latest.plus_ms(GRAIN_MS) {
            wait.began = Some(created);
            let set_ms = wait.clock_set_ms();
            if let Some(entry) = slot.and_then(|slot| self.entry_mut(slot)) {
                entry.clock_set_ms = Some(set_ms);
            }
        } else if created > wait.earliest && created <= wait.latest {
            wait.earliest = created;
        }
    }

    /// The browser boot on this address whose wait comes next: the newest holder that has not waited yet.
    fn next_to_wait(&self, ip: Ipv4Addr, began: Option<Timestamp>) -> Option<Slot> {
        self.addresses
            .holders(ip)
            .iter()
            .rev()
            .copied()
            .find(|slot| {
                self.entry(*slot).is_some_and(|entry| {
                    entry.boot.kind() == VmType::Browser
                        && entry.boot.is_open()
                        && entry.phase != Phase::Waiting
                        && !entry.destroyed
                        && began.is_none_or(|began| began.plus_ms(1_500) >= entry.boot.started_at)
                })
            })
    }

    /// The wait a line with `elapsed` belongs to; a wait whose own first line was lost is opened by it.
    fn wait_at(&mut self, event: &Event<'_>, ip: Ipv4Addr, elapsed_ms: u32) -> Option<&mut Wait> {
        if self
            .addresses
            .by_elapsed(ip, event.at, elapsed_ms)
            .is_none()
        {
            let began = event.at.plus_ms(999 - i64::from(elapsed_ms));
            let slot = self.next_to_wait(ip, Some(began));
            let limits = WaitLimits {
                deadline_ms: None,
                initial_delay_ms: 0,
            };
            if slot.is_some() {
                self.open_wait(event, ip, slot, elapsed_ms, limits);
            } else if self
                .addresses
                .carried_on(ip, event.at, elapsed_ms)
                .is_none()
            {
                self.counts.unattributed += 1;
                return None;
            }
        }
        let wait = self.addresses.by_elapsed(ip, event.at, elapsed_ms)?;
        if wait.began.is_some() {
            let (slot, set_ms) = (wait.slot, wait.clock_set_ms());
            if let Some(entry) = slot.and_then(|slot| self.entry_mut(slot)) {
                entry.clock_set_ms = Some(set_ms);
            }
        }
        self.addresses.by_elapsed(ip, event.at, elapsed_ms)
    }

    pub(super) fn attempt_started(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        elapsed_ms: Option<u32>,
    ) {
        let wait = match elapsed_ms {
            Some(elapsed) => self.wait_at(event, ip, elapsed),
            None => self.addresses.attempting(ip, event.at),
        };
        let Some(wait) = wait else {
            return;
        };
        // A pause lies between two attempts: this line was told already.
        if wait.told_at.is_some() && elapsed_ms.is_some() {
            return;
        }
        wait.told_at = None;
        wait.uncounted |= elapsed_ms.is_none();
        // It is not before the last line whose clock told.
        wait.attempting = Some(elapsed_ms.unwrap_or(wait.last_elapsed));
        wait.answered = None;
        wait.vnc_reported = false;
        if let Some(slot) = wait.slot
            && let Some(entry) = self.entry_mut(slot)
            && entry.boot.is_open()
        {
            entry.attempted = true;
            entry.speaks(event.at);
        }
    }

    pub(super) fn attempt_failed(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        result: AttemptResult,
        elapsed_ms: Option<u32>,
        out: &mut Vec<Observation>,
    ) {
        let wait = match elapsed_ms {
            Some(elapsed) => self.wait_at(event, ip, elapsed),
            None => self.addresses.attempting(ip, event.at),
        };
        let Some(wait) = wait else {
            out.push(Observation::AttemptEnded(unattributed(event, result)));
            return;
        };
        let began = wait.attempting.take();
        if wait.told_at.is_some() && began.is_none() && elapsed_ms.is_some() {
            return;
        }
        wait.answered = None;
        wait.told_at = Some(event.at);
        let (slot, start, deadline) = (wait.slot, wait.start(), wait.limits.deadline_ms);
        let elapsed = elapsed_ms.or(began).unwrap_or(0);
        let ms = began
            .zip(elapsed_ms)
            .and_then(|(from, to)| to.checked_sub(from));
        self.attempt_ended(event, slot, start, elapsed, deadline, result, ms, out);
    }

    /// One attempt's result: tallied, told, and read for what it says about the guest.
    #[expect(
        clippy::too_many_arguments,
        reason = "the facts of one attempt, from two callers in this file"
    )]
    fn attempt_ended(
        &mut self,
        event: &Event<'_>,
        slot: Option<Slot>,
        start: Timestamp,
        elapsed_ms: u32,
        deadline_ms: Option<u32>,
        result: AttemptResult,
        ms: Option<u32>,
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = slot else {
            out.push(Observation::AttemptEnded(unattributed(event, result)));
            return;
        };
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let changed = entry
            .boot
            .ladder
            .last()
            .is_none_or(|rung| rung.result != result);
        entry.boot.tally(result, elapsed_ms);
        entry.boot.waited_from = Some(entry.by_own_clock(start));
        let open = entry.boot.is_open();
        if open {
            entry.speaks(event.at);
        }
        let (vm, user) = (entry.boot.vm, entry.boot.user);
        // Of a boot whose end rows told already, no end will be told that takes it out of those in flight.
        let in_flight = open
            && self
                .entry(slot)
                .is_some_and(|entry| !self.rows.was_told(&entry.boot));
        let died = self
            .entry(slot)
            .is_some_and(|entry| entry.died_at.is_some());
        out.push(Observation::AttemptEnded(AttemptEnded {
            vm,
            result,
            at: event.at,
            ms,
            waited_ms: in_flight.then_some(elapsed_ms),
            deadline_ms,
            died,
            origin: self.origin_of(user),
        }));
        if open && changed && result != AttemptResult::Ok {
            self.keep_evidence(slot, event.record);
        }
        if open && failure::is_answer(result) {
            self.network_is_up(slot, start.plus_ms(i64::from(elapsed_ms)), out);
        }
    }

    pub(super) fn attempt_answered(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        status: u16,
        out: &mut Vec<Observation>,
    ) {
        let Some(wait) = self.addresses.attempting(ip, event.at) else {
            return;
        };
        wait.answered = Some(status);
        let answered_at = answer_time(wait, event.at);
        let Some(slot) = wait.slot else { return };
        if self.entry(slot).is_none_or(|entry| !entry.boot.is_open()) {
            return;
        }
        self.network_is_up(slot, answered_at, out);
        if status == 200 {
            self.agent_is_up(slot, answered_at, out);
        }
    }

    /// Whoever answers 200 is taken for the agent; its body says whether it is one.
    pub(super) fn agent_said(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        answerer: Answerer,
        guest_at: Option<Timestamp>,
    ) {
        let wait = self.addresses.attempting(ip, event.at);
        let Some(slot) = wait
            .filter(|wait| wait.answered == Some(200))
            .and_then(|wait| wait.slot)
        else {
            return;
        };
        let Some(entry) = self.entry_mut(slot).filter(|entry| entry.boot.is_open()) else {
            return;
        };
        entry.boot.answerer = Some(answerer);
        entry.boot.guest_ahead_ms = guest_at.map(|guest| guest.since(event.at));
    }

    pub(super) fn attempt_rejected(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        status: u16,
        out: &mut Vec<Observation>,
    ) {
        let Some(wait) = self.addresses.attempting(ip, event.at) else {
            self.counts.unattributed += 1;
            out.push(Observation::AttemptEnded(unattributed(
                event,
                AttemptResult::Http(status),
            )));
            return;
        };
        // A copy, or a later version's words for "the agent is fine, VNC is not", which the line before has told. The lines
        // that would tell one attempt from the next may be missing: stamps do.
        if wait.was_told(event.at) {
            return;
        }
        let result = if (200..300).contains(&status) {
            AttemptResult::VncNotReady
        } else {
            AttemptResult::Http(status)
        };
        self.answered_badly(event, ip, result, out);
    }

    pub(super) fn vnc_not_ready(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        out: &mut Vec<Observation>,
    ) {
        let Some(wait) = self.addresses.attempting(ip, event.at) else {
            self.counts.unattributed += 1;
            return;
        };
        if wait.vnc_reported && wait.was_told(event.at) {
            return;
        }
        wait.vnc_reported = true;
        self.answered_badly(event, ip, AttemptResult::VncNotReady, out);
    }

    fn answered_badly(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        result: AttemptResult,
        out: &mut Vec<Observation>,
    ) {
        let Some(wait) = self.addresses.attempting(ip, event.at) else {
            return;
        };
        let elapsed = wait.attempting.take().unwrap_or(0);
        wait.answered = None;
        wait.told_at = Some(event.at);
        let (slot, start, deadline) = (wait.slot, wait.start(), wait.limits.deadline_ms);
        self.attempt_ended(event, slot, start, elapsed, deadline, result, None, out);
    }

    pub(super) fn wait_ready(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        out: &mut Vec<Observation>,
    ) {
        let Some(wait) = self.addresses.take_attempting(ip, event.at) else {
            // The wait's lines were lost: the address tells whose it was.
            let Some(slot) = self.next_to_wait(ip, None) else {
                self.counts.unattributed += 1;
                return;
            };
            self.ready(slot, event.at, out);
            return;
        };
        let elapsed = wait.attempting.unwrap_or(0);
        let ready_at = answer_time(&wait, event.at);
        let (start, deadline) = (wait.start(), wait.limits.deadline_ms);
        self.attempt_ended(
            event,
            wait.slot,
            start,
            elapsed,
            deadline,
            AttemptResult::Ok,
            None,
            out,
        );
        let Some(slot) = wait.slot else { return };
        if self.touch(slot, event.at) {
            self.agent_is_up(slot, ready_at, out);
            self.ready(slot, ready_at, out);
        }
    }

    pub(super) fn wait_timed_out(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        deadline_ms: Option<u32>,
        out: &mut Vec<Observation>,
    ) {
        let wait = self.addresses.take_timed_out(ip, event.at, deadline_ms);
        let slot = match &wait {
            Some(wait) => wait.slot,
            None => self.next_to_wait(ip, None),
        };
        let Some(slot) = slot else {
            self.counts.unattributed += 1;
            return;
        };
        let at = wait.map_or(event.at, |wait| wait.time_of(event.at));
        if self.touch(slot, event.at) {
            if let Some(entry) = self.entry_mut(slot) {
                let limits = entry.boot.limits.get_or_insert_default();
                limits.deadline_ms = deadline_ms.or(limits.deadline_ms);
            }
            self.keep_evidence(slot, event.record);
            self.wait_is_over(slot, at, out);
        }
    }

    /// The wait ended without success: the boot failed, unless somebody had taken its VM away.
    pub(super) fn wait_is_over(&mut self, slot: Slot, at: Timestamp, out: &mut Vec<Observation>) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.destroyed && entry.died_at.is_none() {
            self.end(slot, Outcome::Cancelled, None, None, at, out);
            return;
        }
        let (failure, stage) = self.verdict_of_wait(slot);
        self.fail(slot, failure, stage, at, out);
    }

    pub(super) fn cli_ready(
        &mut self,
        event: &Event<'_>,
        ip: Ipv4Addr,
        out: &mut Vec<Observation>,
    ) {
        // A pool that gave the address out twice has two VMs on it: the line is of one whose wait goes on.
        let waits = |slot: &Slot| {
            self.entry(*slot).is_some_and(|entry| {
                entry.boot.is_open()
                    && entry.phase == Phase::Created
                    && entry.orphaned.is_none()
                    && entry.boot.vm_type == Some(VmType::Cli)
                    && !entry.destroyed
            })
        };
        let may_be = |slot: &Slot| {
            self.entry(*slot)
                .is_some_and(|entry| entry.boot.vm_type == Some(VmType::Cli) && !entry.destroyed)
        };
        let holders = || self.addresses.holders(ip).iter().rev().copied();
        let slot = holders().find(waits).or_else(|| holders().find(may_be));
        let Some(slot) = slot else {
            self.counts.unattributed += 1;
            return;
        };
        if self.touch(slot, event.at) {
            self.ready(slot, event.at, out);
        }
    }

    /// An attempt shows that the guest's network is there: since when, its console may know better.
    pub(super) fn network_is_up(&mut self, slot: Slot, at: Timestamp, out: &mut Vec<Observation>) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.network_up.is_some() {
            return;
        }
        let at = entry.by_own_clock(at);
        let started = entry.steps[6]
            .or(entry.created_ms)
            .map(|ms| entry.boot.started_at.plus_ms(i64::from(ms)));
        let since = started.unwrap_or(entry.boot.started_at);
        let said = self.said_between(slot, Stage::GuestNetwork, since, at);
        if let Some(entry) = self.entry_mut(slot) {
            entry.network_up = Some(said.unwrap_or(at));
        }
        if let Some(started) = started {
            self.guest_stage(slot, Stage::GuestNetwork, started, at, said, out);
        }
    }

    fn agent_is_up(&mut self, slot: Slot, at: Timestamp, out: &mut Vec<Observation>) {
        self.network_is_up(slot, at, out);
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.agent_up.is_some() {
            return;
        }
        let at = entry.by_own_clock(at);
        let started = entry.network_up;
        let since = started.unwrap_or(entry.boot.started_at);
        let said = self.said_between(slot, Stage::AgentStart, since, at);
        if let Some(entry) = self.entry_mut(slot) {
            entry.agent_up = Some(said.unwrap_or(at));
        }
        if let Some(started) = started {
            self.guest_stage(slot, Stage::AgentStart, started, at, said, out);
        }
    }

    /// A guest stage that an attempt shows to be over; it ended when the console said so, or else by then.
    fn guest_stage(
        &mut self,
        slot: Slot,
        stage: Stage,
        started_at: Timestamp,
        shown_at: Timestamp,
        said: Option<Timestamp>,
        out: &mut Vec<Observation>,
    ) {
        if let Some(ms) = self.coarse_duration(started_at, said.unwrap_or(shown_at)) {
            let span = StageSpan {
                started_at,
                ms,
                outcome: StageOutcome::Completed,
                coarse: false,
                by_console: said.is_some(),
            };
            self.stage_ended(slot, stage, span, out);
        }
    }
}

/// When an answer came: after its attempt began, and within the second of its line.
fn answer_time(wait: &Wait, stamp: Timestamp) -> Timestamp {
    let stamp = wait.time_of(stamp);
    match wait.attempting {
        Some(elapsed) => wait
            .start()
            .plus_ms(i64::from(elapsed))
            .clamp(stamp, stamp.plus_ms(999)),
        None => stamp,
    }
}

fn unattributed(event: &Event<'_>, result: AttemptResult) -> AttemptEnded {
    AttemptEnded {
        vm: None,
        result,
        at: event.at,
        ms: None,
        waited_ms: None,
        deadline_ms: None,
        died: false,
        origin: Origin::User,
    }
}
