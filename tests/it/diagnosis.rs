//! Which cause is named for which trouble: the simulator plays rows of the contract's list of failures, the whole way
//! from the log's bytes to the incident is gone, and what the incident is put down to is compared with what was played.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod watched;

use std::collections::{BTreeSet, VecDeque};

use bootwatch::core::alert::{Incident, Kind};
use bootwatch::core::diagnosis::{Diagnosis, Point, Verdict};
use bootwatch::core::event::{Timestamp, VmType};
use bootwatch::core::fix::Standing;
use bootwatch::core::image::GoldenImage;
use bootwatch::simulator::plan::{Happening, Injection, Phase};
use bootwatch::simulator::{Figures, Plan, Player, Simulation, Speed, Version};

use watched::{Watched, watch};

use crate::image::build::{NODE, Tree, UNIT, UNIT_TEXT, WANTS};
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
    /// The guests' consoles are read.
    consoles: bool,
    /// The golden image is audited, and this was done to it when the trouble began.
    image: Option<fn(&Tree)>,
}

impl World {
    fn beside(self) -> String {
        let mut beside = Vec::new();
        if self.consoles {
            beside.push("consoles");
        }
        if self.image.is_some() {
            beside.push("the image's audit");
        }
        beside.push(match self.injection {
            Injection::Never => "no injection",
            Injection::AtClone => "injection",
        });
        if self.version == Version::Dec {
            beside.push("later controller");
        }
        beside.join(", ")
    }

    const fn and_consoles(self) -> World {
        World {
            consoles: true,
            ..self
        }
    }

    const fn and_image(self, damage: fn(&Tree)) -> World {
        World {
            image: Some(damage),
            ..self
        }
    }
}

/// The log alone, and the image alone decides.
const OCT: World = World {
    injection: Injection::Never,
    version: Version::Oct,
    consoles: false,
    image: None,
};
const INJECTED: World = World {
    injection: Injection::AtClone,
    ..OCT
};
const DEC: World = World {
    version: Version::Dec,
    ..INJECTED
};

fn without_agent(tree: &Tree) {
    tree.remove("/opt/vm-browser-agent")
        .remove(UNIT)
        .remove(WANTS);
}

fn without_node(tree: &Tree) {
    tree.remove(NODE);
}

fn waiting(tree: &Tree) {
    let online = "Wants=network-online.target\nAfter=network-online.target";
    tree.write(UNIT, &UNIT_TEXT.replace("After=network.target", online));
}

fn without_driver(tree: &Tree) {
    tree.remove("/usr/lib/modules/5.10.225/kernel/drivers/net/virtio_net.ko");
}

fn unchanged(_: &Tree) {}

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
    row(
        2,
        "agent-missing",
        OCT.and_consoles(),
        Verdict::AgentMissing,
    ),
    row(
        2,
        "agent-missing",
        OCT.and_image(without_agent),
        Verdict::AgentMissing,
    ),
    row(
        5,
        "unit-cannot-run",
        OCT.and_consoles(),
        Verdict::AgentProgramMissing,
    ),
    row(
        5,
        "agent-missing",
        OCT.and_image(without_node),
        Verdict::AgentProgramMissing,
    ),
    row(
        6,
        "unit-waits",
        OCT.and_consoles().and_image(waiting),
        Verdict::AgentUnitWaits,
    ),
    row(
        7,
        "supervisor-dies",
        OCT.and_consoles(),
        Verdict::SupervisorDied,
    ),
    row(8, "crash-looping", INJECTED, Verdict::AgentCrashLoop),
    row(
        9,
        "network-down",
        OCT.and_consoles(),
        Verdict::NetworkUnconfigured,
    ),
    row(10, "no-driver", OCT.and_consoles(), Verdict::DriverMissing),
    row(11, "no-dma", INJECTED.and_consoles(), Verdict::KernelTooOld),
    row(
        12,
        "no-gateway",
        INJECTED.and_consoles(),
        Verdict::TapOffload,
    ),
    row(
        14,
        "out-of-memory",
        OCT.and_consoles(),
        Verdict::GuestMemory,
    ),
    row(
        15,
        "no-root-device",
        OCT.and_consoles(),
        Verdict::RootDevice,
    ),
    row(
        16,
        "disk-damaged",
        INJECTED.and_consoles(),
        Verdict::GuestDisk,
    ),
    row(19, "image-missing", OCT, Verdict::ImageGone),
    row(20, "clone-timeout", OCT, Verdict::CloneSlow),
    row(21, "log-path-missing", OCT, Verdict::LogPathGone),
    row(22, "spawn-enoent", OCT, Verdict::BinaryGone),
    row(24, "controller-bug", OCT, Verdict::ControllerBug),
    row(30, "vnc-missing", DEC, Verdict::VncDown),
    row(
        33,
        "agent-missing",
        INJECTED.and_consoles(),
        Verdict::InjectionLost,
    ),
    row(37, "clone-fails", OCT, Verdict::DiskFull),
    row(40, "inject-fails", INJECTED, Verdict::LoopDevices),
    beyond("port-taken", OCT.and_consoles(), Verdict::ForeignListener),
    beyond("http-500", OCT, Verdict::AgentError),
    beyond("garbage-agent", OCT, Verdict::ForeignListener),
    beyond("firecracker-fails", OCT, Verdict::KvmDenied),
    beyond("firecracker-timeout", OCT, Verdict::FirecrackerHangs),
    beyond("db-insert-fails", OCT, Verdict::DatabaseRefuses),
    beyond("db-insert-timeout", OCT, Verdict::DatabaseSlow),
    beyond("database-down", OCT, Verdict::DatabaseAway),
    beyond("proxy-fails", DEC, Verdict::ProxySettings),
    beyond("no-attempt", OCT, Verdict::WaitLimitMissing),
    beyond("hung-agent", OCT.and_consoles(), Verdict::AgentHangs),
    // Boots that are well, or that fail for a reason that cannot be told by what is seen.
    nothing("healthy", OCT.and_consoles().and_image(unchanged)),
    nothing("oauth-timeout", INJECTED.and_consoles()),
    nothing("oauth-error", INJECTED),
    nothing("cancel", INJECTED),
    nothing("slow-agent", INJECTED.and_image(without_driver)),
    nothing("agent-missing", INJECTED),
    nothing("agent-missing", INJECTED.and_image(unchanged)),
    nothing("hung-agent", OCT),
    nothing("network-down", OCT),
    nothing("guest-panic", OCT),
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

/// A real image, built and audited; only its time is the simulation's.
fn audited(damage: fn(&Tree), modified_at: Timestamp) -> GoldenImage {
    let tree = Tree::healthy();
    damage(&tree);
    let mut image = tree.audit();
    image.generation.as_mut().unwrap().modified_at = modified_at;
    image.since = Some(modified_at);
    image
}

/// The incidents about boots that a log's bytes give.
fn read(log: &[u8]) -> Vec<Incident> {
    let mut watched = Watched::new(VecDeque::new());
    watched.read(log);
    watched.incidents()
}

fn incidents(case: &Case, seed: u64, rate: u32) -> Vec<Incident> {
    let mut plan = plan(case, seed, rate);
    plan.consoles = case.world.consoles;
    let mut audits = VecDeque::new();
    if let Some(damage) = case.world.image {
        let changed = START.plus_ms(plan.phases[1].from - 2_000);
        let healthy = audited(unchanged, START.plus_ms(-86_400_000));
        audits.push_back((START, healthy));
        // It is audited once it rests.
        audits.push_back((changed.plus_ms(60_000), audited(damage, changed)));
    }
    watch(plan, audits).incidents()
}

/// What the first incident is put down to; the first page matters most.
fn diagnosed(case: &Case, seed: u64, rate: u32) -> Option<Diagnosis> {
    incidents(case, seed, rate).into_iter().next()?.diagnosis
}

/// A few runs of each, at other times and rates.
const RUNS: &[(u64, u32)] = &[(3, 240), (17, 60), (4711, 600), (909, 900)];

/// What was named in each run of each case.
fn named(case: &Case, runs: &[(u64, u32)]) -> Vec<(Option<Verdict>, Vec<Verdict>)> {
    runs.iter()
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
        let named = named(case, RUNS);
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

/// The matrix with a seed that nobody tuned it for; others by `SEEDS=5,6,7 cargo test --test it unseen -- --nocapture`.
#[test]
fn unseen_seeds_name_the_same_causes() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "20251018".to_owned());
    let rates = [120, 300, 720];
    let runs: Vec<(u64, u32)> = seeds
        .split(',')
        .zip(rates.iter().cycle())
        .map(|(seed, rate)| (seed.parse().unwrap(), *rate))
        .collect();
    let (mut all, mut first, mut three) = (0, 0, 0);
    for case in CASES {
        for ((found, ranked), run) in named(case, &runs).into_iter().zip(&runs) {
            let among = match case.verdict {
                Some(verdict) => ranked.contains(&verdict),
                None => found.is_none(),
            };
            all += 1;
            first += u32::from(found == case.verdict);
            three += u32::from(among);
            if found != case.verdict {
                println!(
                    "{run:?} {} ({}): {} instead of {}, among three: {among}",
                    case.scenario,
                    case.world.beside(),
                    word(found),
                    word(case.verdict)
                );
            }
        }
    }
    println!("{first} of {all} named the right cause, {three} had it among the first three");
    assert!(first * 10 >= all * 9 && three == all);
}

#[test]
fn each_verdict_has_its_section_in_the_runbooks() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks/causes.md");
    let text = std::fs::read_to_string(path).unwrap();
    for verdict in Verdict::ALL {
        let mut letters = verdict.meaning().chars();
        let first = letters.next().unwrap().to_uppercase();
        let meaning: String = first.chain(letters).collect();
        let stop = if meaning.ends_with('?') { "" } else { "." };
        let section = format!("\n## {verdict}\n\n*{meaning}{stop}*\n");
        assert!(text.contains(&section), "{section}");
    }
    let (_, verdicts) = text.split_once("\n# Verdicts\n").unwrap();
    assert_eq!(verdicts.matches("\n## ").count(), Verdict::ALL.len());
}

/// The same log, but the controller does nothing for nine seconds after each of a wait's first dozen checks: what it writes
/// afterwards is so much later, and says so.
fn standing_still(log: &str) -> String {
    const NOTHING: i64 = 9;
    let (mut shift, mut failed, mut within) = (0, 0, 0);
    let mut told = String::new();
    for line in log.lines() {
        let (stamp, rest) = line.split_at(19);
        let at = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", stamp).unwrap();
        if rest.contains("Starting health check") {
            (failed, within) = (0, 0);
        }
        let rest = match rest.split_once("\"elapsed\":") {
            Some((before, after)) if rest.contains("[WAIT-VM-READY]") => {
                let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap();
                let (elapsed, after) = after.split_at(digits);
                let elapsed: i64 = elapsed.parse().unwrap();
                let elapsed = elapsed + within * 1_000;
                format!("{before}\"elapsed\":{elapsed}{after}")
            }
            _ => rest.to_owned(),
        };
        let at = at + jiff::Span::new().seconds(shift);
        told.push_str(&format!("{}{rest}\n", at.strftime("%Y-%m-%d %H:%M:%S")));
        if rest.contains("Request timeout") {
            failed += 1;
            if failed <= 12 {
                (shift, within) = (shift + NOTHING, within + NOTHING);
            }
        }
    }
    told
}

#[test]
fn checks_that_time_out_while_the_controller_stands_still_are_put_down_to_it() {
    const ALONE: World = OCT;
    let case = row(20, "hung-agent", ALONE, Verdict::ControllerStalled);
    let mut lines = Lines::default();
    // Slowly enough that no two boots wait at once.
    Player::new(Speed::Max)
        .play(
            &mut Simulation::new(plan(&case, 6, 12)),
            &mut [&mut lines],
            &mut |_| Ok(()),
        )
        .unwrap();
    let log = String::from_utf8(lines.0).unwrap();
    let verdict = |log: &str| {
        let found = read(log.as_bytes()).remove(0).diagnosis.unwrap();
        found.verdict().map(|first| (first.verdict, first.clone()))
    };
    let steady = verdict(&log).map(|(verdict, _)| verdict);
    assert_ne!(steady, Some(Verdict::ControllerStalled));
    let (found, why) = verdict(&standing_still(&log)).unwrap();
    assert_eq!(found, Verdict::ControllerStalled, "{why:#?}");
    let said = why.speaks_for.iter().map(Point::spoken);
    assert!(
        said.into_iter()
            .any(|said| said.starts_with("the controller stood still meanwhile in "))
    );
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

/// The incident of October, with real images swapped under the simulated controller.
#[test]
fn the_incident_is_one_page_that_names_the_image_and_closes_as_confirmed() {
    const MINUTE: i64 = 60_000;
    let minutes = |minutes: i64| START.plus_ms(minutes * MINUTE);
    let phase = Phase {
        from: 1_000,
        rate: 40,
        boots: None,
        lasts: Some(180 * MINUTE),
        mix: vec![(1, scenario("cli-fresh"))],
    };
    let plan = Plan::new(20_251_018, START)
        .figures(Figures::production(Version::Oct))
        .injection(Injection::Never)
        .phase(phase)
        .at(60 * MINUTE, Happening::ImageRebuilt { with_agent: false })
        .at(120 * MINUTE, Happening::ImageRebuilt { with_agent: true });
    let audits = VecDeque::from([
        (START, audited(unchanged, minutes(-1_440))),
        (minutes(61), audited(without_agent, minutes(60))),
        (minutes(121), audited(unchanged, minutes(120))),
    ]);
    let watched = watch(plan, audits);
    let sent = watched.sent();
    let pages: Vec<_> = sent.iter().filter(|one| one.kind == Kind::Firing).collect();
    assert_eq!(pages.len(), 1, "one page: {sent:#?}");

    let page = &pages[0].incident;
    let found = page.diagnosis.as_ref().unwrap().sure().unwrap();
    assert_eq!(found.verdict, Verdict::AgentMissing);
    let said: Vec<String> = found.speaks_for.iter().map(Point::spoken).collect();
    let said = said.join("\n");
    assert!(said.contains("/opt/vm-browser-agent/server.js"), "{said}");
    assert!(
        said.contains("2026-01-05T08:50:00Z"),
        "the image's time: {said}"
    );
    assert!(
        said.contains("port 8080 was refused to the end"),
        "the refused boots: {said}"
    );
    assert!(page.boots.len() >= 3, "{:?}", page.boots);
    let cli = page
        .others
        .iter()
        .find(|other| other.vm_type == VmType::Cli);
    let cli = cli.unwrap().count;
    assert!(cli.bad == 0 && cli.of > 10, "CLI boots are well: {cli:?}");

    let last = sent.last().unwrap();
    assert_eq!(last.kind, Kind::Resolved);
    assert_eq!(last.incident.key, page.key);
    let fix = last.incident.fix.as_ref().unwrap();
    assert_eq!((fix.at, fix.standing), (minutes(120), Standing::Confirmed));
    assert!(fix.since.bad == 0 && fix.since.of >= 5, "{fix:?}");
    let watched = watched.engine.incidents().count();
    assert_eq!(watched, 0);
}
