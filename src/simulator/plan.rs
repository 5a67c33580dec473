//! What a simulation is to play: the controller's version and figures, who boots when, and what befalls the host.
//!
//! Times in a plan are milliseconds from its start.

use std::net::Ipv4Addr;

use super::api::ApiPlan;
use super::scenario::Scenario;
use crate::core::event::Timestamp;

/// Whose habits and messages: October 2025 (the incident's) or December 2025 (the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Oct,
    Dec,
}

/// How the agent gets into a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Copied in at every clone: the image's own agent is irrelevant.
    AtClone,
    /// Not at all: the golden image alone decides.
    Never,
}

/// The numbers of one installation, in milliseconds; pairs are ranges.
#[derive(Clone, Debug)]
pub struct Figures {
    pub pool_first: Ipv4Addr,
    pub pool_size: u8,
    pub wait_limit: i64,
    pub initial_delay: i64,
    pub pause: i64,
    pub attempt_timeout: i64,
    pub oauth_limit: i64,
    pub cli_limit: i64,
    pub query: (i64, i64),
    pub tap: (i64, i64),
    pub copy: (i64, i64),
    /// From Firecracker's start to a reachable guest, and on to a listening agent.
    pub guest_network: (i64, i64),
    pub agent: (i64, i64),
    /// How long an attempt takes until the host gives up on an unreachable guest.
    pub unreachable: (i64, i64),
    /// Until the user has logged in.
    pub user: (i64, i64),
    /// How far the database's clock is ahead of the controller's.
    pub database_ahead: i64,
}

impl Figures {
    /// Those of the recorded runs: small and quick, VMs on loopback.
    #[must_use]
    pub fn sample() -> Figures {
        Figures {
            pool_first: Ipv4Addr::new(127, 0, 100, 2),
            pool_size: 109,
            wait_limit: 20_000,
            initial_delay: 0,
            pause: 2_000,
            attempt_timeout: 5_000,
            oauth_limit: 300_000,
            cli_limit: 60_000,
            query: (6, 46),
            tap: (13, 24),
            copy: (8, 60),
            guest_network: (0, 0),
            agent: (400, 6_200),
            unreachable: (1, 2),
            user: (0, 7_000),
            database_ahead: 0,
        }
    }

    /// Those of the real hosts in the version's weeks.
    #[must_use]
    pub fn production(version: Version) -> Figures {
        let (wait_limit, initial_delay) = match version {
            Version::Oct => (180_000, 0),
            Version::Dec => (180_000, 45_000),
        };
        Figures {
            pool_first: Ipv4Addr::new(192, 168, 100, 2),
            pool_size: 253,
            wait_limit,
            initial_delay,
            tap: (15, 60),
            copy: (1_500, 4_500),
            guest_network: (900, 5_200),
            agent: (31_000, 41_000),
            unreachable: (1_060, 3_080),
            user: (15_000, 120_000),
            ..Figures::sample()
        }
    }

    /// The pool's addresses in order.
    pub(crate) fn pool(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let first = u32::from(self.pool_first);
        (first..first + u32::from(self.pool_size)).map(Ipv4Addr::from)
    }
}

/// Boots that arrive over some time.
#[derive(Clone, Debug)]
pub struct Phase {
    pub from: i64,
    /// Boots an hour, as a Poisson stream.
    pub rate: u32,
    /// The phase ends after this many boots or this much time, whichever is first.
    pub boots: Option<u32>,
    pub lasts: Option<i64>,
    /// Weights and fates.
    pub mix: Vec<(u32, &'static Scenario)>,
}

/// What befalls the host or the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The golden image is rebuilt; from now on clones have its agent, or none.
    ImageRebuilt {
        with_agent: bool,
    },
    /// SIGKILL: no line; the VMs stay alive. Starts again after `down`.
    Killed {
        down: i64,
    },
    /// SIGTERM, with its line.
    Stopped {
        down: i64,
    },
    /// SIGINT, with its line.
    Interrupted {
        down: i64,
    },
    /// An unhandled rejection; the process ends itself 3 s later.
    Crashed {
        down: i64,
    },
    DatabaseLost,
    DatabaseBack,
}

/// A whole simulation. `Simulation::new` plays it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub start: Timestamp,
    pub version: Version,
    pub figures: Figures,
    pub injection: Injection,
    /// Users with a CLI VM from before the log began.
    pub users: usize,
    pub phases: Vec<Phase>,
    /// Single boots at fixed times.
    pub boots: Vec<(i64, &'static Scenario)>,
    pub happenings: Vec<(i64, Happening)>,
    /// Page polls, prompts, heartbeats and other lines that have nothing to do with boots.
    pub noise: bool,
    /// Whether the world can be asked over the controller's API.
    pub api: Option<ApiPlan>,
    /// The guests' consoles are part of the play.
    pub consoles: bool,
    /// Once its last boot has ended, it all comes again, in the same world: for ever.
    pub repeats: bool,
}

impl Plan {
    /// An empty plan: a controller that starts and is asked for nothing.
    #[must_use]
    pub fn new(seed: u64, start: Timestamp) -> Plan {
        Plan {
            seed,
            start,
            version: Version::Oct,
            figures: Figures::sample(),
            injection: Injection::AtClone,
            users: 12,
            phases: Vec::new(),
            boots: Vec::new(),
            happenings: Vec::new(),
            noise: true,
            api: None,
            consoles: false,
            repeats: false,
        }
    }

    #[must_use]
    pub fn version(mut self, version: Version) -> Plan {
        self.version = version;
        self
    }

    #[must_use]
    pub fn figures(mut self, figures: Figures) -> Plan {
        self.figures = figures;
        self
    }

    #[must_use]
    pub fn injection(mut self, injection: Injection) -> Plan {
        self.injection = injection;
        self
    }

    #[must_use]
    pub fn phase(mut self, phase: Phase) -> Plan {
        self.phases.push(phase);
        self
    }

    #[must_use]
    pub fn boot(mut self, at: i64, scenario: &'static Scenario) -> Plan {
        self.boots.push((at, scenario));
        self
    }

    #[must_use]
    pub fn api(mut self, api: ApiPlan) -> Plan {
        self.api = Some(api);
        self
    }

    #[must_use]
    pub fn at(mut self, at: i64, happening: Happening) -> Plan {
        self.happenings.push((at, happening));
        self
    }
}
