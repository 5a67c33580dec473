//! From the creation's start to the VM's hand-over: the numbered steps, injection, success and failure.

use std::net::Ipv4Addr;

use super::{Observation, Phase, StageSpan, Tracker};
use crate::core::event::{
    Event, EventKind, Outcome, SessionId, Stage, StageOutcome, Timestamp, UserKey, VmId, VmType,
};
use crate::core::failure::{self, CreationState};
use crate::core::lease::{FROZEN_MS, GRAIN_MS, Slot};

/// The step that copies the golden image.
const COPIES: u8 = 3;

/// A creation's first line may be read twice, its stamps a second apart. One that differs by more is another's, for the
/// same VM: the first tells, and it is counted.
const SAME_MARK_MS: i64 = 1_000;

/// Whose a session is, and which one was guessed to be that boot's.
struct Told {
    slot: Slot,
    session: SessionId,
    guessed: Option<SessionId>,
}

impl Tracker {
    pub(super) fn create_started(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        user: UserKey,
        vm_type: VmType,
        started_at: Option<Timestamp>,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if entry.marked {
            let boot = &entry.boot;
            let apart = started_at.unwrap_or(event.at).since(boot.started_at);
            let same = (boot.vm_type, boot.user) == (Some(vm_type), Some(user))
                && apart.abs() <= SAME_MARK_MS;
            if self.touch(slot, event.at) && !same {
                self.mark_is_late(slot);
            }
            return;
        }
        entry.marked = true;
        let known = entry.boot.vm_type.is_some() && entry.boot.user.is_some();
        entry.boot.vm_type = Some(vm_type);
        entry.boot.user = Some(user);
        if !entry.boot.is_open() {
            // Its durations have been told.
        } else if let Some(exact) = started_at {
            entry.boot.started_at = exact;
        } else {
            entry.boot.started_at = entry.boot.started_at.min(event.at);
        }
        self.touch(slot, event.at);
        if known {
            return;
        }
        out.push(Observation::BootStarted {
            vm_type: Some(vm_type),
        });
        self.bind_request(slot, user, vm_type, event, out);
    }

    pub(super) fn step_started(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        step: u8,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        if self.touch(slot, event.at)
            && let Some(entry) = self.entry_mut(slot)
        {
            entry.begun = entry.begun.max(Some(step));
        }
        if step == COPIES {
            self.copied_at(slot, event.at);
        }
    }

    pub(super) fn step_done(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        step: u8,
        elapsed_ms: Option<u32>,
        ip: Option<Ipv4Addr>,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        let open = self.touch(slot, event.at);
        if let Some(ip) = ip {
            let known = self
                .entry(slot)
                .is_some_and(|entry| entry.boot.ip.is_some());
            if open || !known {
                self.join_address(slot, ip);
            }
        }
        if !open {
            return;
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.begun = entry.begun.max(Some(step.saturating_add(1).min(6)));
        if step == COPIES || step == COPIES - 1 {
            self.copied_at(slot, event.at);
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let Some(elapsed) = elapsed_ms else { return };
        if entry.boot.vm_type.is_none() {
            // The creation's first line was lost: its start follows from any later one, to the second.
            entry.boot.started_at = entry
                .boot
                .started_at
                .min(event.at.plus_ms(-i64::from(elapsed)));
        }
        entry.steps[usize::from(step)] = Some(elapsed);
        // The step itself, and the one after it if lines came out of order.
        self.step_stage(slot, step, out);
        if step < 6 {
            self.step_stage(slot, step + 1, out);
        }
    }

    /// A step's stage is the difference of its own and the step before's `elapsed`, once both are known.
    fn step_stage(&mut self, slot: Slot, step: u8, out: &mut Vec<Observation>) {
        let Some(stage) = failure::stage_of_step(step) else {
            return;
        };
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let before = if step == 1 {
            Some(0)
        } else {
            entry.steps[usize::from(step) - 1]
        };
        let (Some(from), Some(to)) = (before, entry.steps[usize::from(step)]) else {
            return;
        };
        let start = entry.boot.started_at;
        let Some(ms) = self.duration(start.plus_ms(i64::from(from)), start.plus_ms(i64::from(to)))
        else {
            return;
        };
        let started_at = start.plus_ms(i64::from(from));
        let span = StageSpan {
            started_at,
            ms,
            outcome: StageOutcome::Completed,
            coarse: false,
            by_console: false,
        };
        self.stage_ended(slot, stage, span, out);
    }

    pub(super) fn inject_started(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        if self.touch(slot, event.at)
            && let Some(entry) = self.entry_mut(slot)
        {
            entry.injecting_since = Some(event.at);
            entry.boot.vm_type.get_or_insert(VmType::Browser);
        }
    }

    pub(super) fn inject_done(&mut self, event: &Event<'_>, vm: VmId, out: &mut Vec<Observation>) {
        let slot = self.slot_of(vm, event, out);
        if !self.touch(slot, event.at) {
            return;
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.boot.injected = true;
        let Some(since) = entry.injecting_since.take() else {
            return;
        };
        self.stage_took(
            slot,
            Stage::InjectAgent,
            since..event.at,
            StageOutcome::Completed,
            out,
        );
    }

    pub(super) fn inject_failed(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        if self.touch(slot, event.at)
            && let Some(entry) = self.entry_mut(slot)
        {
            entry.injection_failed = true;
            let since = entry.injecting_since.take().unwrap_or(event.at);
            self.keep_evidence(slot, event.record);
            self.stage_took(
                slot,
                Stage::InjectAgent,
                since..event.at,
                StageOutcome::Failed,
                out,
            );
        }
    }

    pub(super) fn created(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        ip: Option<Ipv4Addr>,
        vm_type: Option<VmType>,
        total_ms: Option<u32>,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        let open = self.touch(slot, event.at);
        if let Some(ip) = ip {
            self.join_address(slot, ip);
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if entry.boot.vm_type.is_none() {
            entry.boot.vm_type = vm_type;
            if let Some(total) = total_ms {
                entry.boot.started_at = entry
                    .boot
                    .started_at
                    .min(event.at.plus_ms(-i64::from(total)));
            }
        }
        entry.created_ms = total_ms.or(entry.created_ms);
        if open && entry.phase == Phase::Creating {
            entry.phase = Phase::Created;
        }
    }

    pub(super) fn create_failed(&mut self, event: &Event<'_>, out: &mut Vec<Observation>) {
        let EventKind::CreateFailed {
            vm,
            user,
            vm_type,
            error,
            elapsed_ms,
            failed_at,
        } = event.kind
        else {
            return;
        };
        let slot = self.slot_of(vm, event, out);
        let hash = error_hash(error);
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.boot.vm_type = entry.boot.vm_type.or(vm_type);
        let unbound = entry.boot.user.is_none();
        entry.boot.user = entry.boot.user.or(user);
        entry.error_hash = hash;
        let kind = entry.boot.kind();
        if unbound && let Some(user) = user {
            self.bind_request(slot, user, kind, event, out);
        }
        if !self.touch(slot, event.at) {
            return;
        }
        self.keep_error(slot, error);
        self.keep_evidence(slot, event.record);
        self.fail_creation(slot, error, elapsed_ms, failed_at.unwrap_or(event.at), out);
    }

    /// Ends a boot whose creation failed, with the stage that was under way and the time that it took.
    pub(super) fn fail_creation(
        &mut self,
        slot: Slot,
        error: &[u8],
        elapsed_ms: Option<u32>,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        // A later step has begun: the copy ended, whatever the injection's own lines say or do not say.
        let copied = entry.begun > Some(3);
        let state = CreationState {
            step: entry.begun,
            injecting: !copied && entry.injecting_since.is_some(),
            injection_failed: !copied && entry.injection_failed,
        };
        let (failure, stage, limit) = failure::of_creation(error, state);
        let outer = if stage == Some(Stage::InjectAgent) {
            Some(Stage::CloneSnapshot)
        } else {
            stage
        };
        let last = entry
            .steps
            .iter()
            .rev()
            .find_map(|elapsed| *elapsed)
            .unwrap_or(0);
        let start = entry.boot.started_at;
        let injecting = entry.injecting_since.filter(|_| !copied);
        let outcome = if limit {
            StageOutcome::TimedOut
        } else {
            StageOutcome::Failed
        };
        if let (Some(stage), Some(elapsed)) = (outer, elapsed_ms)
            && let Some(ms) =
                self.duration(Timestamp(i64::from(last)), Timestamp(i64::from(elapsed)))
        {
            let started_at = start.plus_ms(i64::from(last));
            self.stage_ended(
                slot,
                stage,
                StageSpan {
                    started_at,
                    ms,
                    outcome,
                    coarse: false,
                    by_console: false,
                },
                out,
            );
        }
        if let Some(since) = injecting {
            self.stage_took(slot, Stage::InjectAgent, since..at, outcome, out);
        }
        // A stamp that its `elapsed` contradicts is of a clock that was set.
        let at = match elapsed_ms.map(i64::from) {
            Some(ms) if !(-GRAIN_MS..=ms + FROZEN_MS).contains(&at.since(start)) => {
                start.plus_ms(ms)
            }
            _ => at,
        };
        self.fail(slot, failure, stage, at, out);
    }

    pub(super) fn handed_over(
        &mut self,
        event: &Event<'_>,
        vm: VmId,
        user: UserKey,
        session: SessionId,
        ip: Option<Ipv4Addr>,
        out: &mut Vec<Observation>,
    ) {
        let slot = self.slot_of(vm, event, out);
        let guessed = self.entry(slot).and_then(|entry| entry.boot.session);
        let holder = self.by_session.get(&session).copied();
        self.join_session(slot, session);
        if let Some(holder) = holder.filter(|holder| *holder != slot) {
            let told = Told {
                slot,
                session,
                guessed,
            };
            self.exchange_sessions(user, holder, &told);
        }
        let cancelled = self.answer_request(user, session, slot);
        if let Some(ip) = ip {
            self.join_address(slot, ip);
        }
        let open = self.touch(slot, event.at);
        let unbound = self
            .entry(slot)
            .filter(|entry| entry.boot.user.is_none())
            .map(|entry| entry.boot.started_at);
        if let Some(began) = unbound {
            // The creation's first line was lost, and with it perhaps what came just before.
            self.cli_was_ready(user, began.min(event.at), out);
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.boot.vm_type.get_or_insert(VmType::Browser);
            entry.boot.user.get_or_insert(user);
            if open && entry.phase == Phase::Creating {
                entry.phase = Phase::Created;
            }
        }
        if open && cancelled {
            self.end(slot, Outcome::Cancelled, None, None, event.at, out);
        }
    }

    /// Of two boots that one user asked for at once, which session is whose was guessed. One is told now, and the other
    /// one, if nothing was told of it yet, has what was guessed for this one.
    fn exchange_sessions(&mut self, user: UserKey, other: Slot, told: &Told) {
        let Some(entry) = self.entry_mut(other).filter(|entry| {
            entry.phase == Phase::Creating
                && entry.boot.user == Some(user)
                && entry.boot.session == Some(told.session)
        }) else {
            return;
        };
        match told.guessed {
            Some(guessed) => self.join_session(other, guessed),
            None => entry.boot.session = None,
        }
        self.exchange_requests(user, other, told.slot);
    }

    /// The session's side of a failed creation: joins the session to the user's boot that failed with this error and
    /// has none yet, or, where none failed with just this one, to the newest that failed.
    pub(super) fn hand_over_failed(&mut self, user: UserKey, session: SessionId, error: &[u8]) {
        if self.by_session.contains_key(&session) {
            return;
        }
        let hash = error_hash(error);
        let may_be = |slot: &Slot| {
            self.entry(*slot).is_some_and(|entry| {
                entry.boot.user == Some(user)
                    && entry.boot.session.is_none()
                    && entry.boot.kind() == VmType::Browser
                    && entry.error_hash != 0
            })
        };
        let alike = |slot: &Slot| {
            self.entry(*slot)
                .is_some_and(|entry| entry.error_hash == hash)
        };
        let slot = self
            .last_ended()
            .filter(may_be)
            .find(alike)
            .or_else(|| self.last_ended().find(may_be));
        if let Some(slot) = slot {
            self.join_session(slot, session);
        }
    }

    /// The boots that ended last, the last first, as many as may still be spoken of.
    pub(super) fn last_ended(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ended.values().rev().take(64).map(|(_, slot)| *slot)
    }

    pub(super) fn keep_error(&mut self, slot: Slot, error: &[u8]) {
        let excerpt = self.excerpt;
        if let Some(entry) = self.entry_mut(slot)
            && entry.boot.error.is_none()
        {
            entry.boot.error = Some(excerpt(error, super::EXCERPT));
        }
    }
}

/// FNV-1a, never 0: the same text in two lines is one error.
pub(super) fn error_hash(error: &[u8]) -> u64 {
    let hash = error.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}
