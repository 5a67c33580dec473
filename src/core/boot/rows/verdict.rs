//! How a boot ended that only rows tell of.

use super::{LOST_MS, REQUEST_MS, Rows, Watched};
use crate::core::event::{Failure, Outcome, Timestamp, UserKey, VmId, VmType};
use crate::core::row::{RowKey, SessionRow, Verdict, VmRow};

impl Rows {
    /// How the boot ended, if rows alone can tell by now.
    pub(super) fn verdict(&self, watched: &Watched, as_of: Timestamp) -> Option<Verdict> {
        let session = watched.session.as_ref();
        if let Some(verdict) = session.and_then(SessionRow::verdict) {
            return Some(match &watched.vm {
                // The session knows of no step, but no process ever came.
                Some(vm)
                    if verdict.failure == Some(Failure::Unknown) && vm.never_started(as_of) =>
                {
                    Verdict::never_started()
                }
                _ => verdict,
            });
        }
        // A session gets its VM once the VM was made: then only the note of its process was lost.
        let made = session.is_some_and(|session| session.vm.is_some());
        if let Some(vm) = watched
            .vm
            .as_ref()
            .filter(|vm| !made && vm.never_started(as_of))
            && !self.was_waited_for(vm)
        {
            return Some(Verdict::never_started());
        }
        if watched
            .vm
            .as_ref()
            .is_some_and(|vm| self.was_waited_for(vm))
        {
            return Some(Verdict::READY);
        }
        (as_of.since(watched.created_at()) >= LOST_MS).then_some(Verdict::LOST)
    }

    /// Whether a CLI VM was ready: the request that provisioned it went on to its browser VM.
    fn was_waited_for(&self, vm: &VmRow) -> bool {
        if vm.vm_type != Some(VmType::Cli) || vm.user.is_none() {
            return false;
        }
        let first = vm.created_at.plus_ms(-REQUEST_MS);
        self.sessions_of(vm.user, first, vm.created_at)
    }

    /// Whether a session of the user's that was made between these times has its VM.
    fn sessions_of(&self, user: Option<UserKey>, first: Timestamp, last: Timestamp) -> bool {
        // A session's rows lie under its VM's age, at most a request later.
        let range = (first, RowKey::Vm(VmId(0)))..(last.plus_ms(REQUEST_MS), RowKey::Vm(VmId(0)));
        self.by_age.range(range).any(|(_, key)| {
            let session = self.watched.get(key).and_then(|w| w.session.as_ref());
            session.is_some_and(|session| {
                session.user == user
                    && session.vm.is_some()
                    && (first..=last).contains(&session.created_at)
            })
        })
    }
}

/// When the boot ended, as nearly as rows tell: a failed VM is destroyed at once; otherwise it was seen by `as_of`.
pub(super) fn ended_at(watched: &Watched, outcome: Outcome, as_of: Timestamp) -> Timestamp {
    let created_at = watched.created_at();
    let latest = created_at.plus_ms(LOST_MS);
    if outcome == Outcome::Lost {
        return latest;
    }
    let destroyed_at = watched.vm.as_ref().and_then(|vm| vm.destroyed_at);
    let destroyed_at = destroyed_at.filter(|_| outcome == Outcome::Failed);
    let seen = match watched.live {
        true => as_of,
        false => created_at,
    };
    destroyed_at.unwrap_or(seen).min(latest).max(created_at)
}
