//! What the controller's tables say: one row of `vms` or `auth_sessions`, as far as the watch may read it.
//!
//! A row tells a state, not a transition: what was shorter than a poll is never seen. `version` is the row's `xmin`, by
//! which an unchanged row is known. Statuses and providers beyond the known ones are `Other`.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::core::event::{
    Failure, Outcome, SessionId, Stage, Timestamp, UserKey, VmId, VmType, words,
};
use crate::core::failure::{self, CreationState};

/// From a session's start to its `timeout_at`, where that is not told.
const SESSION_MS: i64 = 5 * 60_000;
/// Where `timeout_at` is not told, the start is by the database's clock, and the controller's may differ.
const DEADLINE_SLACK_MS: i64 = 30_000;
const START_GRACE_MS: i64 = 60_000;

words! {
    /// `vms.status`.
    VmStatus {
        Creating = "creating",
        Running = "running",
        Hibernated = "hibernated",
        Stopped = "stopped",
        Failed = "failed",
        Destroyed = "destroyed",
        Other = "other",
    }
}

impl VmStatus {
    /// Whether the VM is gone for good. A `failed` VM is not: its row and address stay until it is destroyed.
    #[must_use]
    pub fn is_final(self) -> bool {
        self == VmStatus::Destroyed
    }
}

words! {
    /// `auth_sessions.status`.
    SessionStatus {
        Started = "started",
        VmCreated = "vm_created",
        Ready = "ready",
        AwaitingUserAuth = "awaiting_user_auth",
        Completed = "completed",
        Failed = "failed",
        Timeout = "timeout",
        Cancelled = "cancelled",
        Other = "other",
    }
}

impl SessionStatus {
    /// Whether the controller is done with the session. Later versions still write `cancelled` over any of these, and a
    /// cancelled session's flow may write `failed` over it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            SessionStatus::Completed
                | SessionStatus::Failed
                | SessionStatus::Timeout
                | SessionStatus::Cancelled
        )
    }
}

words! {
    /// Whose login a session is.
    Provider { Codex = "codex", ClaudeCode = "claude_code", GeminiCli = "gemini_cli", Other = "other", }
}

/// One row of `vms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRow {
    pub vm: VmId,
    pub user: Option<UserKey>,
    pub vm_type: Option<VmType>,
    pub status: VmStatus,
    pub ip: Option<Ipv4Addr>,
    /// `firecracker_pid IS NOT NULL`.
    pub has_process: bool,
    /// By the database's clock, about when the record was written: not the creation's start.
    pub created_at: Timestamp,
    /// By the controller's clock; a second destruction overwrites it.
    pub destroyed_at: Option<Timestamp>,
    pub last_heartbeat: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// `xmin`.
    pub version: u64,
}

/// One row of `auth_sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    pub session: SessionId,
    pub user: Option<UserKey>,
    pub provider: Provider,
    pub status: SessionStatus,
    /// `browser_vm_id`; the column `vm_id` is never written.
    pub vm: Option<VmId>,
    pub ip: Option<Ipv4Addr>,
    pub has_auth_url: bool,
    /// Redacted, at most 300 characters.
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub timeout_at: Option<Timestamp>,
    /// `xmin`.
    pub version: u64,
}

/// What a row says of its boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
    pub stage: Option<Stage>,
    /// The row can mean nothing else. A session that failed with a VM and an unknown text may have failed after its
    /// boot was ready: enough for a boot that nobody else speaks of, too little to contradict the log.
    pub sure: bool,
}

impl Verdict {
    pub(crate) const READY: Verdict = Verdict {
        outcome: Outcome::Ready,
        failure: None,
        stage: None,
        sure: true,
    };
    /// Nobody knows, and nobody will.
    pub(crate) const LOST: Verdict = Verdict {
        outcome: Outcome::Lost,
        failure: Some(Failure::Unknown),
        stage: None,
        sure: false,
    };

    fn failed(failure: Failure, stage: Option<Stage>, sure: bool) -> Verdict {
        Verdict {
            outcome: Outcome::Failed,
            failure: Some(failure),
            stage,
            sure,
        }
    }

    /// A VM that never got a process.
    #[must_use]
    pub fn never_started() -> Verdict {
        Verdict::failed(
            Failure::FirecrackerFailed,
            Some(Stage::StartFirecracker),
            true,
        )
    }
}

impl SessionRow {
    /// `cancelled` decides nothing: later versions write it over every outcome. `timeout` is a user who never came, or
    /// the hourly clean-up of a session that nobody knows of.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let error = self.error.as_deref().unwrap_or("").as_bytes();
        match self.status {
            SessionStatus::Ready | SessionStatus::AwaitingUserAuth | SessionStatus::Completed => {
                Some(Verdict::READY)
            }
            SessionStatus::Started
            | SessionStatus::VmCreated
            | SessionStatus::Cancelled
            | SessionStatus::Other => None,
            SessionStatus::Failed | SessionStatus::Timeout => {
                if failure::is_wait_over(error) {
                    let never_tried = error == b"VM not ready after undefinedms";
                    let failure = if never_tried {
                        Failure::NoAttempt
                    } else {
                        Failure::Unknown
                    };
                    return Some(Verdict::failed(failure, None, true));
                }
                if self.has_auth_url || failure::is_after_ready(error) {
                    return Some(Verdict::READY);
                }
                if self.status == SessionStatus::Timeout {
                    return None;
                }
                // The VM's columns are filled right after its creation: without them it was never made.
                let made = self.vm.is_some();
                let (failure, stage, _) = failure::of_creation(error, CreationState::default());
                Some(match made {
                    false => Verdict::failed(failure, stage, true),
                    true => Verdict::failed(Failure::Unknown, None, false),
                })
            }
        }
    }

    /// The VM whose creation failed, where the error names it: `browser_vm_id` is written only after a creation.
    #[must_use]
    pub fn failed_vm(&self) -> Option<VmId> {
        let error = self.error.as_deref()?.as_bytes();
        let id = error.strip_prefix(b"[")?.get(..39)?;
        VmId::parse(id)
    }

    /// Whether its VM's columns are still empty although its deadline has passed. A session that ended is complete: one
    /// whose creation failed never gets them. `vm_id` is never written and says nothing.
    #[must_use]
    pub fn is_incomplete(&self, as_of: Timestamp) -> bool {
        let deadline = self
            .timeout_at
            .unwrap_or(self.created_at.plus_ms(SESSION_MS));
        !self.status.is_final() && self.vm.is_none() && as_of >= deadline.plus_ms(DEADLINE_SLACK_MS)
    }
}

impl VmRow {
    /// Whether the row stands for a VM that should be there.
    #[must_use]
    pub fn stands(&self) -> bool {
        !self.status.is_final() && self.destroyed_at.is_none()
    }

    /// Whether the row says that a process of its runs. Hibernation ends the process, so it does not.
    #[must_use]
    pub fn claims_process(&self) -> bool {
        self.stands() && matches!(self.status, VmStatus::Running | VmStatus::Creating)
    }

    /// Whether the VM never got its process: the column is filled once the socket is there, within 25 s.
    #[must_use]
    pub fn never_started(&self, as_of: Timestamp) -> bool {
        self.claims_process()
            && !self.has_process
            && as_of >= self.created_at.plus_ms(START_GRACE_MS)
    }
}

/// One row that the watch read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    Vm(VmRow),
    Session(SessionRow),
}

/// Which row: both tables' primary keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    Vm(VmId),
    Session(SessionId),
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowKey::Vm(vm) => vm.fmt(f),
            RowKey::Session(session) => session.fmt(f),
        }
    }
}

impl RowKey {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<RowKey> {
        let vm = VmId::parse(text.as_bytes()).map(RowKey::Vm);
        vm.or_else(|| SessionId::parse(text.as_bytes()).map(RowKey::Session))
    }
}

impl Row {
    #[must_use]
    pub fn user(&self) -> Option<UserKey> {
        match self {
            Row::Vm(row) => row.user,
            Row::Session(row) => row.user,
        }
    }

    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Row::Vm(row) => RowKey::Vm(row.vm),
            Row::Session(row) => RowKey::Session(row.session),
        }
    }

    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Row::Vm(row) => row.created_at,
            Row::Session(row) => row.created_at,
        }
    }
}

#[cfg(test)]
mod tests;
