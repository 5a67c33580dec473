//! What our own looks at a VM can say: which checks there are, how each ended, and how long each of its phases took.
//!
//! A probe is evidence that no log gives: to the millisecond, and also after the controller gave up. It is one side's
//! word, though: what is our own fault is kept apart from what the VM did ([`ProbeResult::verdict`]), and a port that
//! must be closed is looked at as well, since a prober that cannot see red proves nothing by green.
//!
//! There is no phase for TLS: nothing in a VM speaks it.

mod laps;
mod network;
mod schedule;
mod shape;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::event::{Timestamp, words};

pub use laps::{Laps, Phases};
pub use network::{Network, Networks, NotANetwork, Refusal, VmAddress};
pub use schedule::{
    MOST_TARGETS, MOST_VNC, Order, Pace, Schedule, Standing, Target, is_counted_by_vnc,
};
pub use shape::{Body, skew};

words! {
    /// What is looked at.
    Check {
        /// Whether the agent's port accepts a connection.
        Connect = "connect",
        /// `GET /health` of the agent.
        Health = "health",
        /// Whether noVNC's port answers HTTP.
        VncWeb = "vnc_web",
        /// The first bytes that a VNC server says by itself.
        Vnc = "vnc",
        /// A port that nothing may listen on.
        Negative = "negative",
    }
}

words! {
    /// The parts of one check, in order.
    Phase {
        /// From a name to an address; an address needs none.
        Resolve = "resolve",
        Connect = "connect",
        /// From the request sent to the first byte of the answer.
        Processing = "processing",
        /// From the first byte to the last that is read.
        Transfer = "transfer",
    }
}

words! {
    /// How a check, or one phase of it, ended. Codes are the kernel's, as the controller logs them.
    ProbeResult {
        Ok = "ok",
        Refused = "ECONNREFUSED",
        HostUnreachable = "EHOSTUNREACH",
        NetUnreachable = "ENETUNREACH",
        Timeout = "timeout",
        Reset = "ECONNRESET",
        /// The connection was closed before the answer was whole.
        Closed = "closed",
        /// A redirect, which is never followed.
        Redirect = "http_3xx",
        ClientError = "http_4xx",
        ServerError = "http_5xx",
        /// Any other status that is not 200.
        OtherStatus = "http_other",
        /// The answer is not HTTP.
        NotHttp = "not_http",
        /// Head or body are larger than what is read of them.
        TooLarge = "too_large",
        /// What answered on the port of VNC is none.
        NotVnc = "not_vnc",
        /// A port that must be closed is open: the prober, or the network between, answers for everyone.
        Open = "open",
        /// The name has no address.
        Unresolved = "unresolved",
        /// The address lies outside the networks: it was not contacted.
        Foreign = "foreign",
        /// Not looked at, on purpose.
        Skipped = "skipped",
        /// Our own fault, such as too many open files.
        Error = "error",
    }
}

words! {
    /// What a result says of the VM.
    Verdict {
        Passed = "passed",
        Failed = "failed",
        /// It says nothing of the VM: the look itself went wrong.
        Errored = "errored",
        Skipped = "skipped",
    }
}

words! {
    /// Who answers `/health`, by the shape of the body.
    Answerer {
        /// The agent: status, time and sessions.
        Agent = "agent",
        /// An old or placeholder agent: healthy, without the fields of a real one.
        Placeholder = "placeholder",
        /// Answers 200 to anything, and knows no status.
        Stub = "stub",
        Unknown = "unknown",
    }
}

words! {
    /// What the kernel knows of an address on the link.
    NeighbourState {
        /// The guest told its hardware address: its network is up.
        Resolved = "resolved",
        /// It was asked for, and nobody answered.
        Unanswered = "unanswered",
        /// Nobody asked, or it was forgotten, or the address is not on a link.
        Unknown = "unknown",
    }
}

impl ProbeResult {
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            ProbeResult::Ok => Verdict::Passed,
            ProbeResult::Foreign | ProbeResult::Skipped => Verdict::Skipped,
            ProbeResult::Open | ProbeResult::Unresolved | ProbeResult::Error => Verdict::Errored,
            ProbeResult::Refused
            | ProbeResult::HostUnreachable
            | ProbeResult::NetUnreachable
            | ProbeResult::Timeout
            | ProbeResult::Reset
            | ProbeResult::Closed
            | ProbeResult::Redirect
            | ProbeResult::ClientError
            | ProbeResult::ServerError
            | ProbeResult::OtherStatus
            | ProbeResult::NotHttp
            | ProbeResult::TooLarge
            | ProbeResult::NotVnc => Verdict::Failed,
        }
    }

    /// What a status means where 200 is wanted.
    #[must_use]
    pub fn of_status(status: u16) -> ProbeResult {
        match status {
            200 => ProbeResult::Ok,
            300..=399 => ProbeResult::Redirect,
            400..=499 => ProbeResult::ClientError,
            500..=599 => ProbeResult::ServerError,
            _ => ProbeResult::OtherStatus,
        }
    }
}

/// By how much the guest's clock is ahead of ours: negative if it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skew {
    pub ms: i64,
    /// Half the round trip: it may be so much more or less.
    pub within_ms: i64,
}

impl Skew {
    /// More would make the guest's times useless beside ours.
    pub const MOST_MS: i64 = 5_000;

    /// Off beyond doubt.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.ms.saturating_abs().saturating_sub(self.within_ms) > Skew::MOST_MS
    }
}

/// One check and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub check: Check,
    pub port: u16,
    pub result: ProbeResult,
    /// The phase in which it failed, if it came so far as to begin one.
    pub failed_in: Option<Phase>,
    pub phases: Phases,
    pub status: Option<u16>,
    /// Of `/health`, where it was answered with 200.
    pub answerer: Option<Answerer>,
    pub skew: Option<Skew>,
}

impl Checked {
    /// A check that was never begun.
    #[must_use]
    pub fn without_contact(check: Check, port: u16, result: ProbeResult) -> Checked {
        Checked {
            check,
            port,
            result,
            failed_in: None,
            phases: Phases::default(),
            status: None,
            answerer: None,
            skew: None,
        }
    }

    #[must_use]
    pub fn total(&self) -> Duration {
        self.phases.total()
    }

    /// Every phase that was begun, with how it ended: all but the last ended well.
    pub fn course(&self) -> impl Iterator<Item = (Phase, Duration, ProbeResult)> + '_ {
        self.phases.iter().map(|(phase, took)| {
            let result = match self.failed_in == Some(phase) {
                true => self.result,
                false => ProbeResult::Ok,
            };
            (phase, took, result)
        })
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub state: NeighbourState,
    pub mac: Option<Mac>,
}

/// One look at one VM: several checks at about the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub ip: Ipv4Addr,
    /// When it began.
    pub at: Timestamp,
    /// How long its name took to become an address; `None`: it was named by its address.
    pub resolved_in: Option<Duration>,
    pub checks: Vec<Checked>,
    /// What the kernel knew of the address afterwards; `None`: it was not asked.
    pub neighbour: Option<Neighbour>,
}

impl Look {
    #[must_use]
    pub fn of(&self, check: Check) -> Option<&Checked> {
        self.checks.iter().find(|checked| checked.check == check)
    }

    /// The agent answered as a healthy one does, and this prober can see red as well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let passed = |check| {
            self.of(check)
                .is_some_and(|checked| checked.result == ProbeResult::Ok)
        };
        passed(Check::Health) && self.is_credible()
    }

    /// False if a port that must be closed was open: something answers for everyone.
    #[must_use]
    pub fn is_credible(&self) -> bool {
        self.of(Check::Negative)
            .is_none_or(|checked| checked.result != ProbeResult::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_our_fault_is_never_held_against_a_vm() {
        let ours = [
            ProbeResult::Error,
            ProbeResult::Open,
            ProbeResult::Unresolved,
        ];
        for result in ProbeResult::ALL {
            let verdict = result.verdict();
            assert_eq!(
                ours.contains(result),
                verdict == Verdict::Errored,
                "{result}"
            );
            assert_eq!(
                *result == ProbeResult::Ok,
                verdict == Verdict::Passed,
                "{result}"
            );
        }
    }

    #[test]
    fn a_status_has_its_class() {
        for (status, result) in [
            (200, "ok"),
            (101, "http_other"),
            (204, "http_other"),
            (301, "http_3xx"),
            (404, "http_4xx"),
            (503, "http_5xx"),
            (999, "http_other"),
        ] {
            assert_eq!(ProbeResult::of_status(status).as_str(), result, "{status}");
        }
    }

    #[test]
    fn a_clock_is_off_only_beyond_what_the_round_trip_leaves_open() {
        let skew = |ms, within_ms| Skew { ms, within_ms };
        assert!(!skew(5_000, 0).is_off());
        assert!(skew(5_001, 0).is_off());
        assert!(!skew(-6_000, 1_000).is_off());
        assert!(skew(-6_001, 1_000).is_off());
        assert!(skew(i64::MIN, 0).is_off());
    }

    #[test]
    fn an_open_port_that_must_be_closed_discredits_the_rest() {
        let checked = |check, result| Checked::without_contact(check, 1, result);
        let mut look = Look {
            ip: Ipv4Addr::LOCALHOST,
            at: Timestamp(0),
            resolved_in: None,
            checks: vec![checked(Check::Health, ProbeResult::Ok)],
            neighbour: None,
        };
        assert!(look.is_healthy());
        look.checks.push(checked(Check::Negative, ProbeResult::Ok));
        assert!(look.is_healthy());
        look.checks[1].result = ProbeResult::Open;
        assert!(!look.is_healthy() && !look.is_credible());
    }
}
