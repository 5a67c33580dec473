//! Which cause is named for which trouble: the simulator plays rows of the contract's list of failures, the whole way
//! from the log's bytes to the incident is gone, and what the incident is put down to is compared with what was played.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{Effect, Engine, Incident, Settings};
use bootwatch::core::boot::Tracker;
use bootwatch::core::diagnosis::{Diagnosis, Verdict};
use bootwatch::simulator::plan::{Injection, Phase};
use bootwatch::simulator::{Figures, Plan, Player, Simulation, Speed, Version};

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

impl World {
    fn beside(self) -> &'static str {
        match (self.injection, self.version) {
            (_, Version::Dec) => "later controller",
            (Injection::Never, Version::Oct) => "nothing, no injection",
            (Injection::AtClone, Version::Oct) => "nothing, injection",
        }
    }
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
    read(&lines.0)
}

/// The incidents about boots that a log's bytes give.
fn read(log: &[u8]) -> Vec<Incident> {
    let mut reader = Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC));
    let mut tracker = Tracker::new(excerpt);
    let mut engine = Engine::new(Settings::default());
    let mut observations = Vec::new();
    let mut effects: Vec<Effect> = Vec::new();
    reader.push(log, &mut |event| {
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
    incidents(plan(case, seed, rate))
        .into_iter()
        .next()?
        .diagnosis
}

/// A few runs of each, at other times and rates.
const RUNS: &[(u64, u32)] = &[(3, 240), (17, 60), (4711, 600)];

/// What was named in each run of each case.
fn named(case: &Case) -> Vec<(Option<Verdict>, Vec<Verdict>)> {
    RUNS.iter()
        .map(|(seed, rate)| {
            let found = diagnosed(case, *seed, *rate);
            let ranked = found.iter().flat_map(|found| &found.ranked);
            let ranked = ranked.map(|one| one.verdict).collect();
            let first = found.as_ref().and_then(Diagnosis::verdict);
            (first.map(|first| first.verdict), ranked)
        })
        .collect()
}

fn word(verdict: Option<Verdict>) -> &'static str {
    verdict.map_or("-", Verdict::as_str)
}

const BEGIN: &str = "<!-- matrix: written by BLESS=1 cargo test --test it diagnosis:: -->\n";
const END: &str = "<!-- end of matrix -->";

/// The matrix in `docs/diagnosis.md`. With BLESS set it is written anew, to be read before it is committed.
#[test]
fn the_cause_of_each_trouble_is_named() {
    let mut table = String::from(
        "| row | played | beside the log | cause | named | among the first three |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let (mut runs, mut first, mut three) = (0, 0, 0);
    let mut rows = BTreeSet::new();
    for case in CASES {
        let named = named(case);
        let row = case.row.map_or("-".to_owned(), |row| row.to_string());
        rows.extend(case.row);
        let right = named.iter().filter(|(found, _)| *found == case.verdict);
        let right = right.count();
        let among = named.iter().filter(|(found, ranked)| match case.verdict {
            Some(verdict) => ranked.contains(&verdict),
            None => found.is_none(),
        });
        let among = among.count();
        runs += named.len();
        first += right;
        three += among;
        let mut found: Vec<&str> = named.iter().map(|(found, _)| word(*found)).collect();
        found.dedup();
        let beside = case.world.beside();
        table.push_str(&format!(
            "| {row} | {} | {beside} | {} | {}, {right} of {} | {among} of {} |\n",
            case.scenario,
            word(case.verdict),
            found.join(", "),
            named.len(),
            named.len()
        ));
    }
    table.push_str(&format!(
        "\n{} rows of the contract in {} cases; {first} of {runs} runs named the right cause, {three} of {runs} had it among the first three.\n",
        rows.len(),
        CASES.len()
    ));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/diagnosis.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (old, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
    } else {
        assert_eq!(
            old, table,
            "run BLESS=1 cargo test --test it diagnosis:: and read it"
        );
    }
    assert!(first * 10 >= runs * 9, "{table}");
    assert_eq!(three, runs, "{table}");
}

#[test]
fn each_verdict_has_its_section_in_the_runbooks() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks/causes.md");
    let text = std::fs::read_to_string(path).unwrap();
    for verdict in Verdict::ALL {
        let mut meaning = verdict.meaning().to_owned();
        meaning[..1].make_ascii_uppercase();
        let stop = if meaning.ends_with('?') { "" } else { "." };
        let section = format!("\n## {verdict}\n\n*{meaning}{stop}*\n");
        assert!(text.contains(&section), "{section}");
    }
    let (_, verdicts) = text.split_once("\n# Verdicts\n").unwrap();
    assert_eq!(verdicts.matches("\n## ").count(), Verdict::ALL.len());
}

/// The recorded incident's own logs, as the real controller wrote them.
#[test]
fn of_the_real_controllers_logs_no_more_is_said_than_they_show() {
    let of = |name: &str| {
        let path = format!(
            "{}/tests/fixtures/controller/{name}.log",
            env!("CARGO_MANIFEST_DIR")
        );
        let log = std::fs::read(path).unwrap();
        read(&log)
            .into_iter()
            .next()
            .map(|incident| incident.diagnosis.unwrap())
    };
    // Refused to the end, and an agent was injected into each copy: the image's own agent is not the cause.
    let incident = of("incident").unwrap();
    assert_eq!(incident.verdict(), None, "{incident:#?}");
    assert_eq!(incident.ranked[0].verdict, Verdict::InjectionLost);
    let of_failures = of("create_failures").unwrap();
    assert_eq!(
        of_failures.verdict(),
        None,
        "each failed of something else: {of_failures:#?}"
    );
}
