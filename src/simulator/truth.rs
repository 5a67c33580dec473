//! What really became of each boot, for scoring a reader of the log.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::core::event::{AttemptResult, Failure, Outcome, SessionId, Timestamp, VmId, VmType};

/// One boot's truth, in the words a perfect reader of the log would use: an agent that came after the deadline is
/// `agent_refused` here, though the scenario knows better.
///
/// Each request has a browser boot's truth: with no `vm_id` where no browser VM was begun, also where that was its CLI
/// VM's fault. `attempts` counts the checks that ended before the boot did: not those of a wait that goes on after a
/// cancellation.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    pub vm_id: Option<VmId>,
    pub vm_ip: Option<Ipv4Addr>,
    pub session_id: Option<SessionId>,
    pub vm_type: VmType,
    pub scenario: &'static str,
    /// The creation's start, or the request where no VM was begun.
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Null: the simulation ended first.
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    /// From the wait's start to the attempt that was answered.
    pub ready_ms: Option<i64>,
    #[serde(serialize_with = "by_word")]
    pub attempts: BTreeMap<AttemptResult, u32>,
}

fn by_word<S: serde::Serializer>(
    attempts: &BTreeMap<AttemptResult, u32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attempts.iter().map(|(result, n)| (result.to_string(), n)))
}
