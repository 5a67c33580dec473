//! The CLI VM that a request needs before its browser VM, and what that says of either.

use crate::core::boot::{CLI_DUE_MS, CLI_FROZEN_MS, CLI_WAIT_MS, Observation, Phase, Tracker};
use crate::core::event::{Event, Failure, Timestamp, UserKey, VmId, VmType};
use crate::core::failure;
use crate::core::lease::Slot;

impl Tracker {
    /// A request needs no CLI VM of its own. That says nothing of the one that is there. It is the oldest that was made
    /// after that VM was begun: an older one began it.
    pub(in crate::core::boot) fn cli_reused(&mut self, user: UserKey, vm: Option<VmId>) {
        self.requests.entrance.taken_over(user);
        let cli = match vm {
            Some(vm) => self.by_vm.get(&vm).copied(),
            None => self.requests.cli.get(&user).copied(),
        };
        let mut begun_at = Timestamp::MIN;
        if let Some(entry) = cli.and_then(|slot| self.entry_mut(slot)) {
            entry.reused = true;
            begun_at = entry.boot.started_at;
        }
        let waiting = self
            .requests
            .of_mut(user)
            .into_iter()
            .flatten()
            .filter(|request| request.waits() && !request.reuses);
        // Of requests before the VM, which the log's whole seconds may make of one of the same second, the newest.
        if let Some(request) = waiting.min_by_key(|r| match r.at > begun_at {
            true => (0, r.number),
            false => (1, u64::MAX - r.number),
        }) {
            request.reuses = true;
        }
    }

    /// A request of this user goes on to its browser VM. That is asked for only once the user's CLI VM is there: if that
    /// one still waits, its own line was lost. Of several requests that wait, the one that goes on may have another.
    pub(in crate::core::boot) fn cli_was_ready(
        &mut self,
        user: UserKey,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let list = self.requests.of(user);
        let mut waiting = list.iter().filter(|request| request.waits());
        let first = waiting.next();
        let whose_is_clear = waiting.next().is_none() && first.is_none_or(|one| !one.reuses);
        let cli = self.requests.cli.get(&user).copied();
        let waits = |slot: &Slot| {
            self.entry(*slot).is_some_and(|entry| {
                entry.boot.is_open()
                    && entry.phase == Phase::Created
                    && entry.orphaned.is_none()
                    && !entry.reused
            })
        };
        if let Some(cli) = cli.filter(|cli| whose_is_clear && waits(cli)) {
            self.ready(cli, at, out);
        }
    }

    /// Whether a request's error is that of its CLI VM: of its wait, which ends with this line, or of its creation, whose
    /// own line was just before. That one is said once.
    pub(super) fn cli_failed(
        &mut self,
        user: UserKey,
        event: &Event<'_>,
        error: &[u8],
        hash: u64,
        out: &mut Vec<Observation>,
    ) -> bool {
        if failure::is_wait_over(error) {
            let Some(cli) = self.cli_due(user, event.at) else {
                return false;
            };
            self.keep_error(cli, error);
            self.keep_evidence(cli, event.record);
            self.fail(cli, Failure::Unknown, None, event.at, out);
            return true;
        }
        let alike = |slot: &Slot| {
            self.entry(*slot).is_some_and(|entry| {
                entry.error_hash == hash
                    && entry.boot.user == Some(user)
                    && entry.boot.vm_type == Some(VmType::Cli)
            })
        };
        // Several may be made for one user at a time: the newest, or one of those that ended last.
        let newest = self.requests.cli.get(&user).copied();
        let failed = newest
            .filter(alike)
            .or_else(|| self.last_ended().find(alike));
        let Some(entry) = failed.and_then(|slot| self.entry_mut(slot)) else {
            return false;
        };
        entry.error_hash = 0;
        true
    }

    /// Of a user's CLI boots the one whose wait ends now: all of them are given the same time. One whose controller is
    /// gone is it only where there is no other, and one that has had more only before those whose time has not come.
    fn cli_due(&self, user: UserKey, now: Timestamp) -> Option<Slot> {
        let of_user = |slot: &Slot| {
            let entry = self.entry(*slot)?;
            let waits = entry.boot.user == Some(user)
                && entry.boot.vm_type == Some(VmType::Cli)
                && entry.phase == Phase::Created;
            let waited = now.since(entry.last_seen);
            let rank = match () {
                () if waited < CLI_DUE_MS => (3, -waited),
                () if waited <= CLI_WAIT_MS => (0, -waited),
                // A controller that was frozen comes to them late, in their order.
                () if waited <= CLI_FROZEN_MS => (1, -waited),
                // Its end was lost, more likely the longer ago it should have come.
                () => (2, waited),
            };
            waits.then_some(((entry.orphaned.is_some(), rank), *slot))
        };
        let in_flight = self.open.values().filter_map(of_user);
        in_flight
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, slot)| slot)
    }
}
