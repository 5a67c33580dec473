//! Which cause is named for which trouble: the simulator plays rows of the contract's list of failures, the whole way
//! from the log's bytes to the incident is gone, and what the incident is put down to is compared with what was played.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{Effect, Engine, Incident, Settings};
use bootwatch::core::boot::{Observation, Tracker};
use bootwatch::core::diagnosis::{Diagnosis, Verdict};
use bootwatch::core::event::Timestamp;
use bootwatch::simulator::plan::{Injection, Phase};
use bootwatch::simulator::{Figures, Player, Plan, Simulation, Speed, Version};

use crate::simulator::{Lines, START, scenario};

/// One trouble to be told.
struct Case {
    /// The contract's row; `None`: beyond them, or no row at all.
    row: Option<u8>,
    scenario: &'static str,
    world: World,
    /// `None`: there is not enough evidence, or nothing is wrong.
    verdict: Option<Verdict>,
}

/// What the boots happen in, and what can be seen of them beside the log.
#[derive(Clone, Copy)]
struct World {
    injection: Injection,
    version: Version,
}

const OCT: World = World {
    injection: Injection::Never,
    version: Version::Oct,
};
const INJECTED: World = World {
    injection: Injection::AtClone,
    version: Version::Oct,
};
const DEC: World = World {
    injection: Injection::AtClone,
    version: Version::Dec,
};

const fn row(row: u8, scenario: &'static str, world: World, verdict: Verdict) -> Case {
    Case {
        row: Some(row),
        scenario,
        world,
        verdict: Some(verdict),
    }
}

const fn beyond(scenario: &'static str, world: World, verdict: Verdict) -> Case {
    Case {
        row: None,
        scenario,
        world,
        verdict: Some(verdict),
    }
}

const fn nothing(scenario: &'static str, world: World) -> Case {
    Case {
        row: None,
        scenario,
        world,
        verdict: None,
    }
}

const CASES: &[Case] = &[
    row(2, "agent-missing", OCT, Verdict::AgentMissing),
    row(8, "crash-looping", INJECTED, Verdict::AgentCrashLoop),
    row(19, "image-missing", OCT, Verdict::ImageGone),
    row(20, "clone-timeout", OCT, Verdict::CloneSlow),
    row(21, "log-path-missing", OCT, Verdict::LogPathGone),
    row(22, "spawn-enoent", OCT, Verdict::BinaryGone),
    row(24, "controller-bug", OCT, Verdict::ControllerBug),
    row(30, "vnc-missing", DEC, Verdict::VncDown),
    row(37, "clone-fails", OCT, Verdict::DiskFull),
    row(40, "inject-fails", INJECTED, Verdict::LoopDevices),
    beyond("http-500", OCT, Verdict::AgentError),
    beyond("garbage-agent", OCT, Verdict::ForeignListener),
    beyond("firecracker-fails", OCT, Verdict::KvmDenied),
    beyond("firecracker-timeout", OCT, Verdict::FirecrackerHangs),
    beyond("db-insert-fails", OCT, Verdict::DatabaseRefuses),
    beyond("db-insert-timeout", OCT, Verdict::DatabaseSlow),
    beyond("database-down", OCT, Verdict::DatabaseAway),
    beyond("proxy-fails", DEC, Verdict::ProxySettings),
    beyond("no-attempt", OCT, Verdict::WaitLimitMissing),
    // Boots that are well, or that fail for a reason that the log cannot tell.
    nothing("healthy", OCT),
    nothing("oauth-timeout", INJECTED),
    nothing("oauth-error", INJECTED),
    nothing("cancel", INJECTED),
    nothing("slow-agent", INJECTED),
    nothing("agent-missing", INJECTED),
    nothing("hung-agent", OCT),
    nothing("network-down", OCT),
];

/// Healthy boots at first, then the trouble; `rate` boots an hour.
fn plan(case: &Case, seed: u64, rate: u32) -> Plan {
    let phase = |from: i64, name: &'static str| Phase {
        from,
        rate,
        boots: Some(8),
        lasts: None,
        mix: vec![(1, scenario(name))],
    };
    let apart = 12 * 3_600_000 / i64::from(rate);
    Plan::new(seed, START)
        .version(case.world.version)
        .figures(Figures::production(case.world.version))
        .injection(case.world.injection)
        .phase(phase(1_000, "healthy"))
        .phase(phase(1_000 + apart, case.scenario))
}

/// Every incident about boots that the trouble opened, as it was at last.
fn incidents(plan: Plan) -> Vec<Incident> {
    let mut simulation = Simulation::new(plan);
    let mut lines = Lines::default();
    Player::new(Speed::Max)
        .play(&mut simulation, &mut [&mut lines], &mut |_| Ok(()))
        .unwrap();
    let mut reader = Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC));
    let mut tracker = Tracker::new(excerpt);
    let mut engine = Engine::new(Settings::default());
    let mut observations = Vec::new();
    let mut effects: Vec<Effect> = Vec::new();
    reader.push(&lines.0, &mut |event| {
        tracker.observe(event, &mut observations);
        for observation in observations.drain(..) {
            engine.observe(&observation, event.at, &mut effects);
        }
    });
    let mut found: Vec<Incident> = engine.closed_incidents().cloned().collect();
    found.extend(engine.incidents().cloned());
    found.retain(|incident| incident.cause.failure().is_some());
    found
}

/// What the first incident is put down to; the first page matters most.
fn diagnosed(case: &Case, seed: u64, rate: u32) -> Option<Diagnosis> {
    incidents(plan(case, seed, rate)).into_iter().next()?.diagnosis
}

/// A few runs of each, at other times and rates.
const RUNS: &[(u64, u32)] = &[(3, 240), (17, 60), (4711, 600)];

#[test]
fn the_cause_of_each_trouble_is_named() {
    let mut table = String::new();
    let (mut runs, mut first, mut three) = (0, 0, 0);
    let mut wrong = Vec::new();
    for case in CASES {
        for (seed, rate) in RUNS {
            let found = diagnosed(case, *seed, *rate);
            let named = found.as_ref().and_then(|found| Some(found.verdict()?.verdict));
            let name = format!("{} seed {seed} rate {rate}", case.scenario);
            if named != case.verdict {
                wrong.push(format!("{name}: {named:?}, {:#?}", found));
            }
        }
    }
    let _ = (&mut table, &mut runs, &mut first, &mut three);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
