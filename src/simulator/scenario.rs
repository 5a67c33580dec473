//! The scenarios by name: one table. A row is either one boot's fate, or a story of several boots.

use super::console::Guest;
use super::fate::{Agent, CliVm, Creation, Fate, HEALTHY, UserDoes};
use super::plan::{Figures, Happening, Injection, Phase, Plan, Version};
use crate::core::event::Timestamp;

const MINUTE: i64 = 60_000;

/// A row of the table.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// The only controller that can do this.
    pub needs: Option<Version>,
    pub script: Script,
}

#[derive(Debug)]
pub enum Script {
    /// Every boot meets this fate.
    Boot(Fate),
    /// Several boots, and what befalls them.
    Story(fn(&Order) -> Plan),
}

/// What a caller wants of a scenario; what is not said is the scenario's choice.
#[derive(Clone, Debug)]
pub struct Order {
    pub seed: u64,
    pub start: Timestamp,
    pub version: Version,
    pub figures: Figures,
    pub boots: Option<u32>,
    /// Milliseconds.
    pub lasts: Option<i64>,
    /// Boots an hour.
    pub rate: Option<u32>,
}

const fn boot(name: &'static str, about: &'static str, fate: Fate) -> Scenario {
    Scenario {
        name,
        about,
        needs: None,
        script: Script::Boot(fate),
    }
}

const fn dec_boot(name: &'static str, about: &'static str, fate: Fate) -> Scenario {
    Scenario {
        needs: Some(Version::Dec),
        ..boot(name, about, fate)
    }
}

const fn agent(name: &'static str, about: &'static str, agent: Agent) -> Scenario {
    boot(name, about, Fate { agent, ..HEALTHY })
}

/// An agent that behaves so, in a guest whose console tells more.
const fn guest(
    name: &'static str,
    about: &'static str,
    agent: Agent,
    guest: Guest,
    guest_dies: Option<i64>,
) -> Scenario {
    boot(
        name,
        about,
        Fate {
            agent,
            guest: Some(guest),
            guest_dies,
            ..HEALTHY
        },
    )
}

const fn creation(name: &'static str, about: &'static str, creation: Creation) -> Scenario {
    boot(
        name,
        about,
        Fate {
            creation,
            ..HEALTHY
        },
    )
}

const fn user(name: &'static str, about: &'static str, user: UserDoes) -> Scenario {
    boot(name, about, Fate { user, ..HEALTHY })
}

const fn story(name: &'static str, about: &'static str, plan: fn(&Order) -> Plan) -> Scenario {
    Scenario {
        name,
        about,
        needs: None,
        script: Script::Story(plan),
    }
}

/// Every scenario.
pub static SCENARIOS: &[Scenario] = &[
    boot("healthy", "everything works", HEALTHY),
    agent(
        "slow-agent",
        "the agent listens shortly before the deadline",
        Agent::Slow,
    ),
    agent(
        "slow-answer",
        "the agent takes four seconds for its first answer",
        Agent::SlowAnswer(4_200),
    ),
    agent(
        "starting-agent",
        "503 at first, then healthy",
        Agent::StartsThenHealthy,
    ),
    agent(
        "hostile-agent",
        "healthy, but its answer looks like log lines",
        Agent::Hostile,
    ),
    agent(
        "placeholder-agent",
        "healthy by its status, and no real agent: only a look at its answer tells",
        Agent::Placeholder,
    ),
    agent(
        "clock-ahead",
        "healthy, in a guest whose clock is ten minutes ahead",
        Agent::ClockAhead(600_000),
    ),
    agent(
        "late-agent",
        "the agent listens after the deadline; the log looks refused",
        Agent::Late,
    ),
    agent(
        "agent-missing",
        "nothing listens on 8080: refused to the end",
        Agent::Missing,
    ),
    agent(
        "hung-agent",
        "accepts and never answers: request timeouts",
        Agent::Hangs,
    ),
    agent(
        "waking-agent",
        "hangs on its first request, then healthy",
        Agent::HangsThenHealthy,
    ),
    agent(
        "partial-body",
        "half an answer, then nothing: request timeouts",
        Agent::HalfBody,
    ),
    agent(
        "crash-looping",
        "the agent dies while answering, again and again",
        Agent::CrashLoops,
    ),
    agent("agent-resets", "every connection is reset", Agent::Resets),
    agent("http-500", "the agent answers 500", Agent::Status(500)),
    agent("garbage-agent", "port 8080 speaks no HTTP", Agent::Garbage),
    agent(
        "network-down",
        "the guest's network never comes up: EHOSTUNREACH",
        Agent::NoNetwork,
    ),
    guest(
        "unit-cannot-run",
        "what the agent's unit runs is not there: started and failed in turns",
        Agent::Missing,
        Guest::UnitCannotRun,
        None,
    ),
    guest(
        "unit-waits",
        "the agent's unit waits for network-online.target, which never comes",
        Agent::Missing,
        Guest::WaitsForNetwork,
        None,
    ),
    guest(
        "supervisor-dies",
        "the unit is started, and its supervisor dies without a word",
        Agent::Missing,
        Guest::SupervisorDies,
        None,
    ),
    guest(
        "port-taken",
        "the agent cannot bind its port",
        Agent::Missing,
        Guest::PortTaken,
        None,
    ),
    guest(
        "no-driver",
        "the image lacks the network's driver: there is no eth0",
        Agent::NoNetwork,
        Guest::NoDriver,
        None,
    ),
    guest(
        "no-dma",
        "the guest's kernel cannot do DMA for virtio",
        Agent::NoNetwork,
        Guest::NoDma,
        None,
    ),
    guest(
        "no-gateway",
        "packets leave the guest and none come back",
        Agent::NoNetwork,
        Guest::NoGateway,
        None,
    ),
    guest(
        "out-of-memory",
        "the guest's kernel runs out of memory and panics",
        Agent::Missing,
        Guest::OutOfMemory,
        Some(2_800),
    ),
    guest(
        "no-root-device",
        "the guest's kernel finds no root device and panics",
        Agent::Missing,
        Guest::NoRootDevice,
        Some(2_300),
    ),
    guest(
        "disk-damaged",
        "the guest's file system is damaged, and its kernel panics",
        Agent::Missing,
        Guest::Damaged,
        Some(3_100),
    ),
    boot(
        "guest-panic",
        "Firecracker exits while the boot waits",
        Fate {
            agent: Agent::Missing,
            guest_dies: Some(2_800),
            ..HEALTHY
        },
    ),
    boot(
        "guest-dies-later",
        "Firecracker exits while the user logs in; the boot was fine",
        Fate {
            guest_dies: Some(13_000),
            user: UserDoes::WalksAway,
            ..HEALTHY
        },
    ),
    creation(
        "clone-fails",
        "the image cannot be copied: disk full",
        Creation::CloneFails,
    ),
    creation(
        "image-missing",
        "the golden image is not there",
        Creation::ImageMissing,
    ),
    creation(
        "clone-slow",
        "the copy freezes the whole controller for seconds",
        Creation::SlowClone(6_500),
    ),
    creation(
        "clone-timeout",
        "the copy overruns its 15 s; success lines follow the failure",
        Creation::SlowClone(17_300),
    ),
    creation(
        "inject-fails",
        "the clone cannot be mounted for the agent's files",
        Creation::InjectFails,
    ),
    creation(
        "tap-fails",
        "the TAP device cannot be made",
        Creation::TapFails,
    ),
    creation(
        "firecracker-fails",
        "Firecracker exits with an error",
        Creation::FirecrackerExits,
    ),
    creation(
        "log-path-missing",
        "Firecracker exits, as it cannot write its log",
        Creation::LogPathMissing,
    ),
    creation(
        "firecracker-timeout",
        "the API socket never appears: 25 s",
        Creation::FirecrackerTimeout,
    ),
    creation(
        "spawn-enoent",
        "the Firecracker binary is missing",
        Creation::SpawnFails,
    ),
    creation(
        "db-insert-fails",
        "the VM's row cannot be written",
        Creation::InsertFails,
    ),
    creation(
        "db-insert-timeout",
        "writing the VM's row takes more than 5 s",
        Creation::InsertTimeout,
    ),
    boot(
        "database-down",
        "the request fails before any VM",
        Fate {
            database_down: true,
            ..HEALTHY
        },
    ),
    boot(
        "controller-bug",
        "the controller's own code fails before any VM",
        Fate {
            controller_bug: true,
            ..HEALTHY
        },
    ),
    Scenario {
        needs: Some(Version::Oct),
        ..boot(
            "no-attempt",
            "the wait has no limit configured: no attempt is made",
            Fate {
                wait_limit: false,
                ..HEALTHY
            },
        )
    },
    dec_boot(
        "vnc-missing",
        "the agent answers, VNC does not",
        Fate {
            vnc: false,
            ..HEALTHY
        },
    ),
    dec_boot(
        "proxy-fails",
        "step 0, the user's proxy, takes more than 5 s",
        Fate {
            creation: Creation::ProxyTimeout,
            ..HEALTHY
        },
    ),
    boot(
        "cancel",
        "the user cancels; the controller's wait goes on",
        Fate {
            agent: Agent::Missing,
            user: UserDoes::Cancels(1_900),
            ..HEALTHY
        },
    ),
    boot(
        "cli-fresh",
        "the user has no CLI VM yet; both boot",
        Fate {
            cli: CliVm::Fresh,
            ..HEALTHY
        },
    ),
    boot(
        "cli-fails",
        "the CLI VM is not ready after 60 s, so no browser VM is begun",
        Fate {
            cli: CliVm::NeverReady,
            ..HEALTHY
        },
    ),
    user(
        "oauth-timeout",
        "the user never finishes; the boot was fine",
        UserDoes::WalksAway,
    ),
    user(
        "oauth-error",
        "the agent cannot start the login; the boot was fine",
        UserDoes::MeetsOauthError,
    ),
    story(
        "pool-exhausted",
        "more boots than free addresses",
        pool_exhausted,
    ),
    story(
        "cancel-ip-reused",
        "a cancelled boot's wait meets the next VM on its address",
        cancel_ip_reused,
    ),
    story(
        "mass-incident",
        "healthy, the image rebuilt without the agent, fixed",
        mass_incident,
    ),
    story(
        "restart",
        "the controller is killed, then stopped, under boots",
        restart,
    ),
    story("crash", "an unhandled rejection ends the controller", crash),
    story(
        "database-outage",
        "the database is away for a minute",
        database_outage,
    ),
    story(
        "mixed",
        "mostly healthy, with a little of everything and noise",
        mixed,
    ),
];

/// The scenario of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// The plan that plays this scenario as ordered.
    #[must_use]
    pub fn plan(&'static self, order: &Order) -> Plan {
        match self.script {
            Script::Boot(_) => empty(order).phase(arrivals(order, 20, vec![(1, self)])),
            Script::Story(plan) => plan(order),
        }
    }
}

/// A row that a story names; the table's tests keep the names right.
#[must_use]
pub fn row(name: &'static str) -> &'static Scenario {
    find(name).unwrap_or(&SCENARIOS[0])
}

fn empty(order: &Order) -> Plan {
    Plan::new(order.seed, order.start)
        .version(order.version)
        .figures(order.figures.clone())
}

fn arrivals(order: &Order, boots: u32, mix: Vec<(u32, &'static Scenario)>) -> Phase {
    Phase {
        from: 1_000,
        rate: order.rate.unwrap_or(240),
        boots: order.boots.or(order.lasts.is_none().then_some(boots)),
        lasts: order.lasts,
        mix,
    }
}

fn pool_exhausted(order: &Order) -> Plan {
    let mut plan = empty(order);
    plan.users = 8;
    plan.figures.pool_size = 10;
    let boots = i64::from(order.boots.unwrap_or(6));
    (0..boots).fold(plan, |plan, n| {
        plan.boot(1_000 + 150 * n, row("slow-agent"))
    })
}

fn cancel_ip_reused(order: &Order) -> Plan {
    let mut plan = empty(order);
    plan.users = 4;
    plan.figures.pool_size = 6;
    let rounds = i64::from(order.boots.unwrap_or(9).div_ceil(3));
    let apart = 2 * plan.figures.wait_limit + plan.figures.initial_delay + 20_000;
    (0..rounds).fold(plan, |plan, n| {
        let at = 1_000 + apart * n;
        plan.boot(at, row("cancel"))
            .boot(at + 4_000, row("healthy"))
            .boot(at + 4_300, row("healthy"))
    })
}

/// How long a story lasts that is told in phases: as ordered, or as the ordered boots take.
fn length(order: &Order, rate: u32, usual: i64) -> i64 {
    match (order.lasts, order.boots) {
        (Some(lasts), _) => lasts,
        (None, Some(boots)) => i64::from(boots) * 3_600_000 / i64::from(rate.max(1)),
        (None, None) => usual,
    }
}

fn steady(order: &Order, rate: u32, lasts: i64, mix: &[(u32, &'static str)]) -> Plan {
    empty(order).phase(Phase {
        from: 1_000,
        rate,
        boots: order.boots,
        lasts: Some(lasts),
        mix: mix
            .iter()
            .map(|(weight, name)| (*weight, row(name)))
            .collect(),
    })
}

fn mass_incident(order: &Order) -> Plan {
    let rate = order.rate.unwrap_or(120);
    let lasts = length(order, rate, 45 * MINUTE);
    steady(order, rate, lasts, &[(1, "healthy")])
        .injection(Injection::Never)
        .at(lasts / 3, Happening::ImageRebuilt { with_agent: false })
        .at(lasts * 2 / 3, Happening::ImageRebuilt { with_agent: true })
}

fn restart(order: &Order) -> Plan {
    let rate = order.rate.unwrap_or(360);
    let lasts = length(order, rate, 8 * MINUTE);
    let mix = [(3, "healthy"), (1, "agent-missing"), (1, "slow-agent")];
    steady(order, rate, lasts, &mix)
        .at(lasts / 4, Happening::Killed { down: 3_000 })
        .at(lasts / 2, Happening::Stopped { down: 12_000 })
        .at(lasts * 3 / 4, Happening::Interrupted { down: 2_000 })
}

fn crash(order: &Order) -> Plan {
    let rate = order.rate.unwrap_or(360);
    let lasts = length(order, rate, 5 * MINUTE);
    let mix = [(4, "healthy"), (1, "slow-agent")];
    steady(order, rate, lasts, &mix).at(lasts / 2, Happening::Crashed { down: 10_000 })
}

fn database_outage(order: &Order) -> Plan {
    let rate = order.rate.unwrap_or(600);
    let lasts = length(order, rate, 6 * MINUTE);
    let lost = lasts / 3;
    steady(order, rate, lasts, &[(1, "healthy")])
        // One creation fails just before, so that even its clean-up meets the outage.
        .boot(lost - 3_000, row("db-insert-timeout"))
        .at(lost, Happening::DatabaseLost)
        .at(lasts * 2 / 3, Happening::DatabaseBack)
}

/// A realistic mix; the weights add up to a thousand.
fn mixed(order: &Order) -> Plan {
    let mut mix = vec![
        (813, row("healthy")),
        (2, row("hostile-agent")),
        (40, row("cli-fresh")),
        (30, row("slow-agent")),
        (20, row("oauth-timeout")),
        (25, row("cancel")),
        (10, row("clone-slow")),
        (10, row("late-agent")),
        (8, row("agent-missing")),
        (6, row("starting-agent")),
        (6, row("slow-answer")),
        (5, row("hung-agent")),
        (5, row("http-500")),
        (5, row("guest-panic")),
        (5, row("network-down")),
        (3, row("crash-looping")),
        (2, row("clone-fails")),
        (2, row("tap-fails")),
        (1, row("firecracker-fails")),
        (1, row("db-insert-timeout")),
        (1, row("cli-fails")),
    ];
    if order.version == Version::Dec {
        mix.push((5, row("vnc-missing")));
        mix.push((2, row("proxy-fails")));
    }
    empty(order).phase(arrivals(order, 200, mix))
}
