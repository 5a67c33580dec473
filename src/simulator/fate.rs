//! What is going to happen to one boot, decided before it begins.

use super::console::Guest;
use super::line::iso;
use crate::core::event::Failure;

/// Where and how creating the VM goes wrong, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Works,
    /// The image copy holds the whole controller for this long; beyond 15 s the step's own limit has passed.
    SlowClone(i64),
    ProxyTimeout,
    TapFails,
    CloneFails,
    /// The golden image is not there: it is being rebuilt.
    ImageMissing,
    InjectFails,
    InsertFails,
    InsertTimeout,
    FirecrackerExits,
    /// It exits because its log's path cannot be written.
    LogPathMissing,
    FirecrackerTimeout,
    SpawnFails,
}

/// What listens on port 8080 of the VM, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Listens in the usual time.
    Healthy,
    /// Healthy, but only shortly before the controller's deadline.
    Slow,
    /// Healthy, but after the controller gave up.
    Late,
    /// Healthy and answers its first request only after this long.
    SlowAnswer(i64),
    /// Healthy, with a body made to mislead whoever reads the log.
    Hostile,
    /// Healthy by its status, and no real agent: it tells no time and no sessions.
    Placeholder,
    /// Healthy, in a guest whose clock is so many milliseconds ahead.
    ClockAhead(i64),
    /// Nothing ever listens.
    Missing,
    /// Accepts and says nothing.
    Hangs,
    /// Says nothing to its first request, then healthy.
    HangsThenHealthy,
    /// Listens for a while, dies while answering, starts again.
    CrashLoops,
    Resets,
    Status(u16),
    /// Answers 503 at first, then 200.
    StartsThenHealthy,
    /// Speaks something that is not HTTP.
    Garbage,
    /// Sends half a body and stops.
    HalfBody,
    /// The guest's network never comes up.
    NoNetwork,
}

impl Agent {
    /// The failure class that a wait on such an agent shows in the log. A late agent looks refused: only a probe
    /// after the deadline could know better.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Agent::Hangs | Agent::HangsThenHealthy | Agent::HalfBody => Failure::AgentTimeout,
            Agent::CrashLoops | Agent::Resets => Failure::AgentReset,
            Agent::Status(_) | Agent::StartsThenHealthy | Agent::Garbage => Failure::AgentUnhealthy,
            Agent::NoNetwork => Failure::GuestUnreachable,
            Agent::Healthy
            | Agent::Slow
            | Agent::Late
            | Agent::Hostile
            | Agent::Placeholder
            | Agent::ClockAhead(_)
            | Agent::SlowAnswer(_)
            | Agent::Missing => Failure::AgentRefused,
        }
    }

    /// What it answers to `/health` when it is well, at this time.
    #[must_use]
    pub fn health_body(self, now: i64) -> String {
        let ahead = match self {
            Agent::Placeholder => return "{\"status\":\"ok\"}".to_owned(),
            Agent::ClockAhead(ms) => ms,
            _ => 0,
        };
        let time = iso(now + ahead);
        format!("{{\"status\":\"ok\",\"timestamp\":\"{time}\",\"activeSessions\":0}}")
    }

    /// Whether the agent's files decide: what a golden image without the agent takes away.
    #[must_use]
    pub fn needs_image(self) -> bool {
        self != Agent::NoNetwork
    }
}

/// What the user does once the VM is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserDoes {
    LogsIn,
    /// Never finishes: the session ends after 300 s, the boot was fine.
    WalksAway,
    /// The agent answers 500 when asked to start the login.
    MeetsOauthError,
    /// Cancels this long after the wait began, given a wait that is still on.
    Cancels(i64),
}

/// How the request gets its CLI VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CliVm {
    /// Uses the one the user has; makes one if there is none.
    Usual,
    /// The user has none yet.
    Fresh,
    /// A new one that never answers: the request fails after 60 s.
    NeverReady,
}

/// One boot's whole fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub creation: Creation,
    pub agent: Agent,
    /// How its console tells it; `None`: as the agent's behaviour lets one expect.
    pub guest: Option<Guest>,
    /// The guest dies this long after Firecracker started.
    pub guest_dies: Option<i64>,
    /// Whether VNC answers (only later controllers ask).
    pub vnc: bool,
    pub user: UserDoes,
    pub cli: CliVm,
    /// The database refuses the request's first query.
    pub database_down: bool,
    /// The controller's own code fails before any VM.
    pub controller_bug: bool,
    /// The controller's configuration names a limit for the wait.
    pub wait_limit: bool,
}

/// Nothing goes wrong.
pub const HEALTHY: Fate = Fate {
    creation: Creation::Works,
    agent: Agent::Healthy,
    guest: None,
    guest_dies: None,
    vnc: true,
    user: UserDoes::LogsIn,
    cli: CliVm::Usual,
    database_down: false,
    controller_bug: false,
    wait_limit: true,
};
