//! What our own look at the VM of a synthetic boot says of it, and what it says only of us.
//!
//! A bare 200 proves little: a placeholder gives it, and so does whatever answers for everyone. So a VM is well if the
//! real agent answers, by a clock that can be laid beside ours, seen by a prober that can see red as well. A look that
//! went wrong by our own fault is no word against anybody.

use std::net::Ipv4Addr;

use super::TrialPhase;
use crate::core::event::Failure;
use crate::core::probe::{Answerer, Check, Look, ProbeResult, Skew, Verdict};

/// Of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentSeen {
    /// The real one, with a clock of use.
    Well,
    /// Something else gives its 200.
    Other(Answerer),
    ClockOff(Skew),
    Failed(ProbeResult),
    /// The look says nothing of it.
    Unsaid(ProbeResult),
}

/// What our own look at the VM found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    pub ip: Ipv4Addr,
    /// It answered, if only with a refusal.
    pub network: bool,
    pub agent: AgentSeen,
    pub answerer: Option<Answerer>,
    pub skew: Option<Skew>,
    /// The port of noVNC and of VNC, where they were looked at.
    pub web: Option<ProbeResult>,
    pub vnc: Option<ProbeResult>,
    /// A port that must be closed was not open.
    pub credible: bool,
}

impl From<&Look> for Looked {
    fn from(look: &Look) -> Looked {
        let result = |check| look.of(check).map(|checked| checked.result);
        let health = look.of(Check::Health);
        let answer = health.map_or(ProbeResult::Skipped, |checked| checked.result);
        let answerer = health.and_then(|checked| checked.answerer);
        let skew = health.and_then(|checked| checked.skew);
        let network = !matches!(
            answer,
            ProbeResult::HostUnreachable | ProbeResult::NetUnreachable | ProbeResult::Timeout
        );
        let agent = match answer.verdict() {
            Verdict::Errored | Verdict::Skipped => AgentSeen::Unsaid(answer),
            Verdict::Failed => AgentSeen::Failed(answer),
            Verdict::Passed => match (answerer.unwrap_or(Answerer::Unknown), skew) {
                (Answerer::Agent, Some(skew)) if skew.is_off() => AgentSeen::ClockOff(skew),
                (Answerer::Agent, _) => AgentSeen::Well,
                (other, _) => AgentSeen::Other(other),
            },
        };
        let credible = look.is_credible();
        Looked {
            ip: look.ip,
            network: network && credible && !matches!(agent, AgentSeen::Unsaid(_)),
            agent,
            answerer,
            skew,
            web: result(Check::VncWeb),
            vnc: result(Check::Vnc),
            credible,
        }
    }
}

/// Why a boot that the controller calls ready is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    pub(super) phase: TrialPhase,
    pub(super) reason: String,
}

impl Looked {
    pub(super) fn is_well(&self) -> bool {
        self.credible && self.agent == AgentSeen::Well
    }

    /// It is not well, in a way that a little more time does not change.
    pub(super) fn is_settled(&self) -> bool {
        !self.credible || matches!(self.agent, AgentSeen::Other(_) | AgentSeen::ClockOff(_))
    }

    /// What is wrong with the agent, beyond doubt.
    pub(super) fn fault(&self) -> Option<Fault> {
        if !self.credible {
            return None;
        }
        let (failure, reason) = match self.agent {
            AgentSeen::Well | AgentSeen::Unsaid(_) => return None,
            AgentSeen::Other(other) => (
                Failure::AgentUnhealthy,
                format!(
                    "the controller calls it ready, and what answers GET /health is not the agent: {other}"
                ),
            ),
            AgentSeen::ClockOff(skew) => {
                let seconds = skew.ms as f64 / 1_000.0;
                let reason = format!("the guest's clock is {seconds:+.1} s off ours");
                (Failure::Unknown, reason)
            }
            AgentSeen::Failed(result) => (
                class(result),
                format!("the controller calls it ready, and our own GET /health meets {result}"),
            ),
        };
        Some(Fault {
            failure,
            phase: TrialPhase::Agent,
            reason,
        })
    }

    /// Why it says nothing of the VM, if it does not.
    pub(super) fn unsaid(&self) -> Option<String> {
        if !self.credible {
            return Some(
                "a port that must be closed is open on the VM's address: what our own look sees is not believed"
                    .to_owned(),
            );
        }
        match self.agent {
            AgentSeen::Unsaid(result) => Some(ours(result)),
            _ => None,
        }
    }
}

pub(super) fn ours(result: ProbeResult) -> String {
    match result {
        ProbeResult::Skipped => {
            "neither the bridge's address is on this host nor does the controller answer: nothing was looked at"
                .to_owned()
        }
        _ => format!("our own look at the VM went wrong: {result}"),
    }
}

/// The class of what the controller itself would have met.
fn class(result: ProbeResult) -> Failure {
    match result {
        ProbeResult::Refused => Failure::AgentRefused,
        ProbeResult::HostUnreachable | ProbeResult::NetUnreachable => Failure::GuestUnreachable,
        ProbeResult::Timeout => Failure::AgentTimeout,
        ProbeResult::Reset | ProbeResult::Closed => Failure::AgentReset,
        ProbeResult::Ok
        | ProbeResult::Redirect
        | ProbeResult::ClientError
        | ProbeResult::ServerError
        | ProbeResult::OtherStatus
        | ProbeResult::NotHttp
        | ProbeResult::TooLarge
        | ProbeResult::NotVnc
        | ProbeResult::Open
        | ProbeResult::Unresolved
        | ProbeResult::Foreign
        | ProbeResult::Skipped
        | ProbeResult::Error => Failure::AgentUnhealthy,
    }
}
