//! The labelled corpus: what the simulated controller is made to suffer, and what a page about it should say.

use bootwatch::core::event::{Failure, Timestamp};
use bootwatch::simulator::{Figures, Happening, Injection, Phase, Plan, Version};

use crate::simulator::scenario;

const HOUR: i64 = 3_600_000;
/// 2026-01-05T00:00:00Z.
const START: Timestamp = Timestamp(1_767_571_200_000);

/// Boots an hour.
pub(super) const RATES: [u32; 3] = [6, 60, 600];

/// Boots before the fault, while it lasts, and after it, at the mean.
const BEFORE: i64 = 60;
const DURING: i64 = 24;
const AFTER: i64 = 16;
/// Slower boots are told of once it has lasted.
const SLOWER_MS: i64 = 40 * 60_000;
/// Boots of the fault may fail for so long after it.
const AFTER_MS: i64 = 10 * 60_000;

type Mix = &'static [(u32, &'static str)];

/// What most boots do where nothing is wrong: one in fifty fails at random.
const USUAL: Mix = &[
    (930, "healthy"),
    (20, "cli-fresh"),
    (20, "cancel"),
    (10, "oauth-timeout"),
    (4, "agent-missing"),
    (4, "network-down"),
    (4, "hung-agent"),
    (3, "guest-panic"),
    (3, "http-500"),
    (2, "clone-fails"),
];

/// A way to fail.
pub(super) struct Mode {
    /// Its row in the list of failures seen in the field.
    pub(super) number: &'static str,
    pub(super) name: &'static str,
    pub(super) version: Version,
    /// Whether the golden image is rebuilt without the agent; otherwise the boots meet their fate one by one.
    rebuilt: bool,
    mix: Mix,
    /// What the page should name.
    pub(super) cause: Failure,
}

const fn mode(number: &'static str, name: &'static str, mix: Mix, cause: Failure) -> Mode {
    Mode {
        number,
        name,
        version: Version::Oct,
        rebuilt: false,
        mix,
        cause,
    }
}

pub(super) const MODES: &[Mode] = &[
    Mode {
        rebuilt: true,
        ..mode(
            "2",
            "image rebuilt without the agent",
            &[(1, "healthy")],
            Failure::AgentRefused,
        )
    },
    mode(
        "2",
        "six boots in ten without the agent",
        &[(6, "agent-missing"), (4, "healthy")],
        Failure::AgentRefused,
    ),
    mode(
        "33",
        "injection says it is done, and is not",
        &[(1, "agent-missing")],
        Failure::AgentRefused,
    ),
    mode(
        "-",
        "the agent comes after the deadline",
        &[(1, "late-agent")],
        Failure::AgentRefused,
    ),
    mode(
        "8",
        "the agent dies while answering",
        &[(1, "crash-looping")],
        Failure::AgentReset,
    ),
    mode(
        "9",
        "the guest has no network",
        &[(1, "network-down")],
        Failure::GuestUnreachable,
    ),
    mode(
        "13",
        "half of the addresses cannot be reached",
        &[(1, "network-down"), (1, "healthy")],
        Failure::GuestUnreachable,
    ),
    mode(
        "17",
        "the agent accepts and says nothing",
        &[(1, "hung-agent")],
        Failure::AgentTimeout,
    ),
    mode(
        "14",
        "the guest's kernel panics",
        &[(1, "guest-panic")],
        Failure::GuestDied,
    ),
    mode(
        "16",
        "every other image is damaged",
        &[(1, "guest-panic"), (1, "healthy")],
        Failure::GuestDied,
    ),
    mode(
        "19",
        "the golden image is not there",
        &[(1, "image-missing")],
        Failure::SnapshotCloneFailed,
    ),
    mode(
        "37",
        "the disk is full",
        &[(1, "clone-fails")],
        Failure::SnapshotCloneFailed,
    ),
    mode(
        "20",
        "the image's copy takes too long",
        &[(1, "clone-timeout")],
        Failure::StepTimeout,
    ),
    mode(
        "21",
        "Firecracker cannot write its log",
        &[(1, "log-path-missing")],
        Failure::FirecrackerFailed,
    ),
    mode(
        "22",
        "the Firecracker binary is missing",
        &[(1, "spawn-enoent")],
        Failure::FirecrackerFailed,
    ),
    mode(
        "24",
        "a bug fails every request",
        &[(1, "controller-bug")],
        Failure::NotStarted,
    ),
    mode(
        "40",
        "no loop device is left",
        &[(1, "inject-fails")],
        Failure::AgentInjectionFailed,
    ),
    mode(
        "-",
        "TAP devices cannot be made",
        &[(1, "tap-fails")],
        Failure::TapFailed,
    ),
    mode(
        "-",
        "the database takes no rows",
        &[(1, "db-insert-fails")],
        Failure::RecordFailed,
    ),
    mode(
        "-",
        "the agent answers 500",
        &[(1, "http-500")],
        Failure::AgentUnhealthy,
    ),
    Mode {
        version: Version::Dec,
        ..mode(
            "30",
            "VNC does not answer",
            &[(1, "vnc-missing")],
            Failure::VncNotReady,
        )
    },
];

/// What looks like trouble and is none of the boots'.
pub(super) struct Harmless {
    pub(super) number: &'static str,
    pub(super) name: &'static str,
    mix: Mix,
    befalls: Option<Happening>,
}

const fn harmless(number: &'static str, name: &'static str, mix: Mix) -> Harmless {
    Harmless {
        number,
        name,
        mix,
        befalls: None,
    }
}

pub(super) const HARMLESS: &[Harmless] = &[
    harmless("1", "refusals of a normal boot", &[(1, "healthy")]),
    harmless(
        "1",
        "503 at first, slow first answers",
        &[
            (1, "starting-agent"),
            (1, "slow-answer"),
            (1, "waking-agent"),
        ],
    ),
    harmless("34", "the login cannot be started", &[(1, "oauth-error")]),
    harmless("35", "users never finish", &[(1, "oauth-timeout")]),
    harmless("-", "users cancel", &[(1, "cancel"), (1, "healthy")]),
    Harmless {
        befalls: Some(Happening::Killed { down: 10_000 }),
        ..harmless("38", "the controller is killed", &[(1, "healthy")])
    },
    Harmless {
        befalls: Some(Happening::Crashed { down: 10_000 }),
        ..harmless("39", "the controller crashes", &[(1, "healthy")])
    },
];

/// Boots that are ready, and slower than they were.
pub(super) struct Slower {
    pub(super) name: &'static str,
    mix: Mix,
    pub(super) rule: &'static str,
}

pub(super) const SLOWER: &[Slower] = &[
    Slower {
        name: "the image's copy takes 6.5 s more",
        mix: &[(1, "clone-slow")],
        rule: "BootStageSlow",
    },
    Slower {
        name: "the agent listens shortly before the deadline",
        mix: &[(1, "slow-agent")],
        rule: "ReadinessHeadroomLow",
    },
];

/// When what is wrong begins and ends.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

fn plan(seed: u64, version: Version) -> Plan {
    let mut plan = Plan::new(seed, START)
        .version(version)
        .figures(Figures::production(version));
    // Nothing of it has to do with boots, and it is most of a quiet day's log.
    plan.noise = false;
    plan
}

fn phase(from: i64, lasts: i64, rate: u32, mix: Mix) -> Phase {
    Phase {
        from,
        rate,
        boots: None,
        lasts: Some(lasts),
        mix: mix
            .iter()
            .map(|(weight, name)| (*weight, scenario(name)))
            .collect(),
    }
}

/// Usual boots, then `during`, then usual ones again.
fn story(plan: Plan, rate: u32, before: i64, lasts_ms: i64, during: Mix) -> (Plan, Span) {
    let lasts = |boots: i64| boots * HOUR / i64::from(rate);
    let from = 1_000 + lasts(before);
    let until = from + lasts_ms;
    let plan = plan
        .phase(phase(1_000, lasts(before), rate, USUAL))
        .phase(phase(from, lasts_ms, rate, during))
        .phase(phase(until, lasts(AFTER).max(AFTER_MS), rate, USUAL));
    let span = Span {
        from: START.plus_ms(from),
        until: START.plus_ms(until),
    };
    (plan, span)
}

impl Mode {
    pub(super) fn plan(&self, seed: u64, rate: u32) -> (Plan, Span) {
        let (plan, span) = story(
            plan(seed, self.version),
            rate,
            BEFORE,
            DURING * HOUR / i64::from(rate),
            self.mix,
        );
        if !self.rebuilt {
            return (plan, span);
        }
        let plan = plan
            .injection(Injection::Never)
            .at(
                span.from.since(START),
                Happening::ImageRebuilt { with_agent: false },
            )
            .at(
                span.until.since(START),
                Happening::ImageRebuilt { with_agent: true },
            );
        (plan, span)
    }
}

impl Harmless {
    pub(super) fn plan(&self, seed: u64, rate: u32) -> (Plan, Span) {
        let (plan, span) = story(
            plan(seed, Version::Oct),
            rate,
            BEFORE,
            DURING * HOUR / i64::from(rate),
            self.mix,
        );
        let middle = span.from.since(START) + span.until.since(span.from) / 2;
        let plan = match self.befalls {
            Some(happening) => plan.at(middle, happening),
            None => plan,
        };
        (plan, span)
    }
}

impl Slower {
    /// What is usual must be learnt first.
    pub(super) fn plan(&self, seed: u64, rate: u32) -> (Plan, Span) {
        let lasts = (DURING * HOUR / i64::from(rate)).max(SLOWER_MS);
        story(plan(seed, Version::Oct), rate, 3 * BEFORE, lasts, self.mix)
    }
}

pub(super) const QUIET_DAYS: i64 = 30;
pub(super) const QUIET_RATE: u32 = 12;

/// A month in which nothing is wrong but one boot in fifty.
pub(super) fn quiet(seed: u64, days: i64, rate: u32) -> Plan {
    plan(seed, Version::Oct).phase(phase(1_000, days * 24 * HOUR, rate, USUAL))
}
