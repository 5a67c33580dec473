//! Why a boot failed, by where it stopped: what was seen, not the diagnosis.
//!
//! A failed creation is judged by its error's text and, where that says nothing, by the step that had not ended. A
//! failed wait is judged by its ladder: the attempts' results in order, runs of the same result together.

use serde::{Deserialize, Serialize};

use crate::core::event::{AttemptError, AttemptResult, Failure, Stage, VmId};

impl Failure {
    /// The class in words, as pages and reports say it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Failure::NotStarted => "asked for, but no VM was begun",
            Failure::IpPoolExhausted => "no address was left in the pool",
            Failure::TapFailed => "the network device could not be made",
            Failure::SnapshotCloneFailed => "the golden image could not be copied",
            Failure::AgentInjectionFailed => "the agent could not be put into the copied image",
            Failure::ConfigFailed => "the VM's configuration could not be made",
            Failure::RecordFailed => "a database write failed",
            Failure::FirecrackerFailed => "Firecracker did not start",
            Failure::StepTimeout => "a creation step ran into the controller's own limit",
            Failure::GuestDied => "the VM's process ended while the boot waited",
            Failure::GuestUnreachable => {
                "the guest's network never came up (EHOSTUNREACH to the end)"
            }
            Failure::AgentRefused => {
                "the guest is up, but nothing listens on port 8080 (ECONNREFUSED to the end)"
            }
            Failure::AgentTimeout => "connections to the agent were accepted and never answered",
            Failure::AgentReset => "the agent dies while it answers (connections reset)",
            Failure::AgentUnhealthy => "the agent answers, but not with 200",
            Failure::VncNotReady => "the agent is well, VNC is not",
            Failure::AgentLate => "the agent came up after the controller gave up",
            Failure::NoAttempt => {
                "the controller waited but never tried (its own configuration lacks the limit)"
            }
            Failure::ControllerRestarted => "the controller went away under the boot",
            Failure::Unknown => "the log does not say why",
        }
    }
}

/// A run of attempts with the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    pub result: AttemptResult,
    pub count: u32,
    /// When the run's first attempt ended, in milliseconds after the wait's start.
    pub first_ms: u32,
    pub last_ms: u32,
}

/// What one attempt's result says about how far the guest had come, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Height {
    Unreachable,
    Refused,
    Timeout,
    Reset,
    Unhealthy,
    Vnc,
}

fn height(result: AttemptResult) -> Option<Height> {
    match result {
        AttemptResult::Ok => None,
        AttemptResult::VncNotReady => Some(Height::Vnc),
        AttemptResult::Http(_) => Some(Height::Unhealthy),
        AttemptResult::Error(error) => match error {
            AttemptError::BadHttp | AttemptError::BadHttpOther => Some(Height::Unhealthy),
            AttemptError::Reset | AttemptError::Aborted | AttemptError::Pipe => Some(Height::Reset),
            AttemptError::Timeout | AttemptError::TimedOut => Some(Height::Timeout),
            AttemptError::Refused => Some(Height::Refused),
            AttemptError::HostUnreachable | AttemptError::NetUnreachable => {
                Some(Height::Unreachable)
            }
            // The controller's own trouble says nothing about the guest.
            AttemptError::NotFound
            | AttemptError::BadDescriptor
            | AttemptError::TooManyFiles
            | AttemptError::AddressNotAvailable
            | AttemptError::FetchFailed
            | AttemptError::Other => None,
        },
    }
}

/// Whether the guest's kernel gave this answer: neither unreachable nor a time-out.
#[must_use]
pub fn is_answer(result: AttemptResult) -> bool {
    match result {
        AttemptResult::Ok => true,
        other => height(other)
            .is_some_and(|height| !matches!(height, Height::Unreachable | Height::Timeout)),
    }
}

/// One attempt of so many is an oddity.
const FEW: u64 = 10;

/// The class of a wait that timed out.
///
/// A boot climbs: unreachable, refused, answered. What lies below the last progress is normal booting and does not
/// count; among the rest the most frequent result wins, a tie goes to the higher. Time-outs and resets are progress where
/// they and what follows them are more than a tenth of the attempts: the odd one among refusals is none. Connections
/// that were reset twice or more among refusals mean that something listens and dies, so refusals do not outvote them.
#[must_use]
pub fn of_wait(ladder: &[Rung]) -> Failure {
    if ladder.iter().all(|rung| rung.count == 0) {
        return Failure::NoAttempt;
    }
    // From silence to the first answer the guest's network was coming up.
    let first_answer = ladder
        .iter()
        .position(|rung| is_answer(rung.result))
        .unwrap_or(0);
    // From the first answer on, leading refusals were the agent starting, if anything else came after them.
    let rest = &ladder[first_answer..];
    let attempts = |rungs: &[Rung]| rungs.iter().map(|rung| u64::from(rung.count)).sum::<u64>();
    let started = rest
        .iter()
        .position(|rung| height(rung.result).is_some_and(|height| height > Height::Refused))
        .filter(|from| {
            let since = &rest[*from..];
            let answered =
                |rung: &Rung| matches!(height(rung.result), Some(Height::Unhealthy | Height::Vnc));
            since.iter().any(answered) || FEW * attempts(since) > attempts(rest)
        });
    let judged = &rest[started.unwrap_or(0)..];
    let mut counts = [0u32; 6];
    for rung in judged {
        if let Some(height) = height(rung.result) {
            counts[height as usize] += rung.count;
        }
    }
    let of = |height: Height| counts[height as usize];
    if of(Height::Vnc) > 0
        && judged
            .last()
            .is_some_and(|rung| height(rung.result) == Some(Height::Vnc))
    {
        return Failure::VncNotReady;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return Failure::Unknown;
    }
    if of(Height::Refused) == most && of(Height::Reset) >= 2 {
        return Failure::AgentReset;
    }
    let class = |height: Height| match height {
        Height::Vnc => Failure::VncNotReady,
        Height::Unhealthy => Failure::AgentUnhealthy,
        Height::Reset => Failure::AgentReset,
        Height::Timeout => Failure::AgentTimeout,
        Height::Refused => Failure::AgentRefused,
        Height::Unreachable => Failure::GuestUnreachable,
    };
    let high_to_low = [
        Height::Vnc,
        Height::Unhealthy,
        Height::Reset,
        Height::Timeout,
        Height::Refused,
        Height::Unreachable,
    ];
    high_to_low
        .into_iter()
        .find(|height| of(*height) == most)
        .map_or(Failure::Unknown, class)
}

/// The stage of a numbered creation step; step 0 (later versions' proxy settings) has none.
#[must_use]
pub fn stage_of_step(step: u8) -> Option<Stage> {
    match step {
        1 => Some(Stage::AllocateIp),
        2 => Some(Stage::CreateTap),
        3 => Some(Stage::CloneSnapshot),
        4 => Some(Stage::WriteConfig),
        5 => Some(Stage::CreateRecord),
        6 => Some(Stage::StartFirecracker),
        _ => None,
    }
}

/// How far a creation had come when it failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct CreationState {
    /// The step that had begun, or should have, and had not ended; `None` if nothing is known.
    pub step: Option<u8>,
    /// The agent's injection had begun and had not ended.
    pub injecting: bool,
    pub injection_failed: bool,
}

/// The class of a failed creation, the stage it failed in, and whether one of the controller's limits cut it.
#[must_use]
pub fn of_creation(error: &[u8], state: CreationState) -> (Failure, Option<Stage>, bool) {
    let has = |text: &str| contains(error, text.as_bytes());
    let starts = |text: &str| error.starts_with(text.as_bytes());
    const LIMITS: &[(&str, u8)] = &[
        ("getProxyEnvVars timed out after", 0),
        ("allocateIP timed out after", 1),
        ("createTAPDevice timed out after", 2),
        ("cloneGoldenSnapshot timed out after", 3),
        ("createVMConfig timed out after", 4),
        ("db.vms.create timed out after", 5),
        ("startFirecracker timed out after", 6),
        ("Firecracker startup timeout", 6),
    ];
    if let Some((_, step)) = LIMITS.iter().find(|(text, _)| has(text)) {
        // Step 0 reads the proxy configuration and has no stage: its limit is that configuration's failure.
        let failure = if *step == 0 {
            Failure::ConfigFailed
        } else {
            Failure::StepTimeout
        };
        return (failure, stage_of_step(*step), true);
    }
    if starts("IP pool exhausted") {
        return (Failure::IpPoolExhausted, Some(Stage::AllocateIp), false);
    }
    if state.injection_failed
        || state.injecting
        || has("vm-browser-agent/server.js not found")
        || has("vm-browser-agent/node binary not found")
        || has("/tmp/vm-inject-")
    {
        return (
            Failure::AgentInjectionFailed,
            Some(Stage::InjectAgent),
            false,
        );
    }
    if starts("TAP device creation failed") {
        return (Failure::TapFailed, Some(Stage::CreateTap), false);
    }
    if starts("Snapshot cloning failed") {
        return (
            Failure::SnapshotCloneFailed,
            Some(Stage::CloneSnapshot),
            false,
        );
    }
    if starts("Firecracker exited with code")
        || starts("Snapshot loading failed")
        || starts("spawn ")
    {
        return (
            Failure::FirecrackerFailed,
            Some(Stage::StartFirecracker),
            false,
        );
    }
    let failure = match state.step {
        Some(0 | 4) => Failure::ConfigFailed,
        Some(1) => Failure::IpPoolExhausted,
        Some(2) => Failure::TapFailed,
        Some(3) => Failure::SnapshotCloneFailed,
        Some(5) => Failure::RecordFailed,
        Some(6) => Failure::FirecrackerFailed,
        _ => Failure::Unknown,
    };
    // Allocation fails in other ways than an empty pool; only the text tells that one.
    let failure = if failure == Failure::IpPoolExhausted {
        Failure::Unknown
    } else {
        failure
    };
    (failure, state.step.and_then(stage_of_step), false)
}

/// Whether the controller gave up waiting for a VM: a browser VM's health, or a CLI VM.
#[must_use]
pub fn is_wait_over(error: &[u8]) -> bool {
    error.starts_with(b"VM not ready after")
}

/// What JavaScript says of a fault in a program.
const CODE_ERRORS: [&str; 7] = [
    "is not defined",
    "is not a function",
    "is not a constructor",
    "is not iterable",
    "Cannot read propert",
    "Cannot destructure propert",
    "before initialization",
];

/// Whether a fault in the controller's own code says so, and neither a database nor a guest.
#[must_use]
pub fn is_code_error(error: &[u8]) -> bool {
    CODE_ERRORS
        .iter()
        .any(|text| contains(error, text.as_bytes()))
}

/// Whether a flow that ended in this error had passed its health wait: the user's login, the agent's own work, or what
/// is stored of it went wrong. Not a boot's failure.
#[must_use]
pub fn is_after_ready(error: &[u8]) -> bool {
    const AFTER_READY: [&[u8]; 5] = [
        b"OAuth timeout",
        b"Failed to start ",
        b"Failed to retrieve",
        b"Request timeout after",
        b"Invalid JSON",
    ];
    AFTER_READY.iter().any(|text| error.starts_with(text))
}

/// The VM that an error's text names: `[vm-70fa35e6-…] cloneGoldenSnapshot timed out after 15000ms`.
#[must_use]
pub fn named_vm(error: &[u8]) -> Option<VmId> {
    let rest = error.strip_prefix(b"[")?;
    let end = rest.iter().position(|byte| *byte == b']')?;
    VmId::parse(rest.get(..end)?)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.len() >= part.len() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(text: &str) -> Vec<Rung> {
        text.chars()
            .map(|c| {
                let result = match c {
                    'u' => AttemptResult::Error(AttemptError::HostUnreachable),
                    'r' => AttemptResult::Error(AttemptError::Refused),
                    't' => AttemptResult::Error(AttemptError::Timeout),
                    'x' => AttemptResult::Error(AttemptError::Reset),
                    'g' => AttemptResult::Error(AttemptError::BadHttp),
                    '5' => AttemptResult::Http(500),
                    'v' => AttemptResult::VncNotReady,
                    '?' => AttemptResult::Error(AttemptError::BadDescriptor),
                    _ => unreachable!(),
                };
                Rung {
                    result,
                    count: 1,
                    first_ms: 0,
                    last_ms: 0,
                }
            })
            .collect()
    }

    #[test]
    fn a_wait_is_judged_by_where_it_stopped() {
        let table = [
            ("", Failure::NoAttempt),
            ("rrrrrrrrrr", Failure::AgentRefused),
            ("uuuuuuuuuu", Failure::GuestUnreachable),
            ("tttt", Failure::AgentTimeout),
            ("xxxx", Failure::AgentReset),
            ("gggg", Failure::AgentUnhealthy),
            ("5555", Failure::AgentUnhealthy),
            // The network came up, the agent did not.
            ("uuuuuurr", Failure::AgentRefused),
            ("tttuurrr", Failure::AgentRefused),
            // The agent came up and is ill.
            ("rrrrrrrr55", Failure::AgentUnhealthy),
            ("rtttt", Failure::AgentTimeout),
            ("uurrrrrrrrtt", Failure::AgentTimeout),
            ("rrrrrrgg", Failure::AgentUnhealthy),
            // One stray result among refusals is an accident, resets again and again are a crash loop.
            ("rrrrtrrrrr", Failure::AgentRefused),
            ("rrrrxrrrrr", Failure::AgentRefused),
            ("rrxrrrxrrr", Failure::AgentReset),
            ("rrr5rrrrr", Failure::AgentRefused),
            // The guest went away again.
            ("rruuuuuuuu", Failure::GuestUnreachable),
            ("rrrvvvv", Failure::VncNotReady),
            ("vvrvv", Failure::VncNotReady),
            // The controller's own trouble does not vote.
            ("rr??????", Failure::AgentRefused),
            ("????", Failure::Unknown),
        ];
        for (text, wanted) in table {
            assert_eq!(of_wait(&ladder(text)), wanted, "{text}");
        }
        // Of many attempts one at the end is no progress either, unless it is an answer.
        for (most, last, wanted) in [
            ("r", "t", Failure::AgentRefused),
            ("r", "x", Failure::AgentRefused),
            ("r", "tr", Failure::AgentRefused),
            ("r", "xx", Failure::AgentReset),
            ("r", "ttttttt", Failure::AgentTimeout),
            ("u", "t", Failure::GuestUnreachable),
            ("u", "r", Failure::AgentRefused),
            ("r", "5", Failure::AgentUnhealthy),
            ("r", "v", Failure::VncNotReady),
        ] {
            let text = most.repeat(58) + last;
            assert_eq!(of_wait(&ladder(&text)), wanted, "58 times {most}, {last}");
        }
    }

    #[test]
    fn a_creation_is_judged_by_its_text_then_by_its_step() {
        let at = |step| CreationState {
            step: Some(step),
            ..CreationState::default()
        };
        let table: [(&str, CreationState, Failure, Option<Stage>); 13] = [
            (
                "IP pool exhausted",
                at(1),
                Failure::IpPoolExhausted,
                Some(Stage::AllocateIp),
            ),
            (
                "TAP device creation failed: busy",
                at(2),
                Failure::TapFailed,
                Some(Stage::CreateTap),
            ),
            (
                "Snapshot cloning failed: cp: no",
                at(3),
                Failure::SnapshotCloneFailed,
                Some(Stage::CloneSnapshot),
            ),
            (
                "Snapshot cloning failed: mount",
                CreationState {
                    injection_failed: true,
                    ..at(3)
                },
                Failure::AgentInjectionFailed,
                Some(Stage::InjectAgent),
            ),
            (
                "Snapshot cloning failed: vm-browser-agent/server.js not found in repository",
                at(3),
                Failure::AgentInjectionFailed,
                Some(Stage::InjectAgent),
            ),
            (
                "[vm-1] cloneGoldenSnapshot timed out after 15000ms",
                CreationState {
                    injecting: true,
                    ..at(3)
                },
                Failure::StepTimeout,
                Some(Stage::CloneSnapshot),
            ),
            (
                "[vm-1] db.vms.create timed out after 5000ms",
                at(5),
                Failure::StepTimeout,
                Some(Stage::CreateRecord),
            ),
            (
                "[vm-1] getProxyEnvVars timed out after 5000ms",
                at(0),
                Failure::ConfigFailed,
                None,
            ),
            ("No proxy for user", at(0), Failure::ConfigFailed, None),
            (
                "could not extend file: No space left",
                at(5),
                Failure::RecordFailed,
                Some(Stage::CreateRecord),
            ),
            (
                "Firecracker exited with code 1: x",
                at(6),
                Failure::FirecrackerFailed,
                Some(Stage::StartFirecracker),
            ),
            (
                "EBADF: bad file descriptor, close",
                at(4),
                Failure::ConfigFailed,
                Some(Stage::WriteConfig),
            ),
            ("no idea", CreationState::default(), Failure::Unknown, None),
        ];
        for (text, state, failure, stage) in table {
            let (got, at, _) = of_creation(text.as_bytes(), state);
            assert_eq!((got, at), (failure, stage), "{text}");
        }
    }
}
