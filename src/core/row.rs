//! What the controller's tables say: one row of `vms` or `auth_sessions`, as far as the watch may read it.
//!
//! A row tells a state, not a transition: what was shorter than a poll is never seen. `version` is the row's `xmin`, by
//! which an unchanged row is known. Statuses and providers beyond the known ones are `Other`.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::core::event::{SessionId, Timestamp, UserKey, VmId, VmType, words};

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

/// One row that the watch read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    Vm(VmRow),
    Session(SessionRow),
}

impl Row {
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        match self {
            Row::Vm(row) => row.created_at,
            Row::Session(row) => row.created_at,
        }
    }
}
