//! What the simulated controller's tables say: what the real ones did, and what its log tells.

use std::collections::{BTreeMap, BTreeSet};

use bootwatch::core::event::{Failure, Outcome, SessionId, VmId, VmType};
use bootwatch::simulator::tables::{Cell, Key, Table, Verb};
use bootwatch::simulator::{
    Happened, Happening, Moment, Order, Scenario, Simulation, TableOp, Truth, Version,
};

use crate::simulator::{order, scenario, scenarios};
use crate::tree;

/// The rows as they are after the statements so far, by the names that the code uses.
#[derive(Default)]
pub(crate) struct Mirror {
    pub(crate) rows: BTreeMap<Key, BTreeMap<&'static str, Cell>>,
    /// The statuses of each row, one after another.
    pub(crate) statuses: BTreeMap<Key, Vec<String>>,
}

impl Mirror {
    pub(crate) fn apply(&mut self, op: &TableOp) {
        match op.verb {
            Verb::Insert => {
                let before = self.rows.insert(op.key, BTreeMap::new());
                assert!(before.is_none(), "{:?} is inserted twice", op.key);
            }
            Verb::Update => assert!(self.rows.contains_key(&op.key), "{op:?} has no row"),
        }
        let row = self.rows.get_mut(&op.key).unwrap();
        for (name, cell) in &op.columns {
            row.insert(name, cell.clone());
            if *name == "status" {
                self.statuses.entry(op.key).or_default().push(cell.text());
            }
        }
    }

    fn text(&self, key: Key, column: &str) -> Option<String> {
        self.rows.get(&key)?.get(column).map(Cell::text)
    }

    fn vm(&self, vm: VmId) -> Option<Seen> {
        self.rows.get(&Key::Vm(vm)).map(|row| Seen {
            status: row["status"].text(),
            has_process: row.contains_key("firecracker_pid"),
            error: None,
            has_vm: true,
        })
    }

    fn session(&self, session: SessionId) -> Option<Seen> {
        self.rows.get(&Key::Session(session)).map(|row| Seen {
            status: row["status"].text(),
            has_process: false,
            error: row.get("error_message").map(Cell::text),
            has_vm: row.contains_key("browser_vm_id"),
        })
    }
}

/// What a reader would see of a row.
#[derive(Debug)]
struct Seen {
    status: String,
    has_process: bool,
    error: Option<String>,
    has_vm: bool,
}

pub(crate) fn moments(scenario: &'static Scenario, order: &Order) -> (Vec<Moment>, Vec<Truth>) {
    let mut simulation = Simulation::new(scenario.plan(order));
    let moments = simulation.by_ref().collect();
    (moments, simulation.take_truths())
}

pub(crate) fn mirror(moments: &[Moment]) -> Mirror {
    let mut mirror = Mirror::default();
    for moment in moments {
        if let Happened::Written(op) = &moment.what {
            mirror.apply(op);
        }
    }
    mirror
}

fn played(name: &str, version: Version, boots: u32) -> (Mirror, Vec<Truth>) {
    let (moments, truths) = moments(scenario(name), &order(21, version, boots));
    (mirror(&moments), truths)
}

fn browsers(truths: &[Truth]) -> impl Iterator<Item = &Truth> {
    truths
        .iter()
        .filter(|truth| truth.vm_type == VmType::Browser)
}

/// What makes rows alike: table, status, kind, the columns that are not NULL, the error without its ids.
type Shape = (&'static str, String, String, BTreeSet<String>, String);

/// Ids, TAP names and providers are replaced.
fn plain(error: &str) -> String {
    let mut plain = String::new();
    for word in error.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let end = word.len() - usize::from(!word.ends_with(|c: char| c.is_ascii_alphanumeric()));
        let (stem, rest) = word.split_at(end);
        let is_id = stem.len() >= 4 && stem.chars().all(|c| c.is_ascii_hexdigit());
        let is_provider = ["codex", "gemini", "claude", "cli", "code"].contains(&stem);
        if !is_id && !is_provider {
            plain.push_str(stem);
        }
        plain.push_str(rest);
    }
    plain.replace('_', "")
}

/// The shapes of the rows of the real controller's dump.
fn recorded() -> BTreeSet<Shape> {
    let dump = tree::read("tests/fixtures/database/controller-run.sql");
    let mut shapes = BTreeSet::new();
    for table in ["auth_sessions", "vms"] {
        let (_, copy) = dump.split_once(&format!("COPY public.{table} (")).unwrap();
        let (columns, rest) = copy.split_once(") FROM stdin;\n").unwrap();
        let (rows, _) = rest.split_once("\n\\.").unwrap();
        for row in rows.lines() {
            let row: BTreeMap<&str, &str> = columns
                .split(", ")
                .zip(row.split('\t'))
                .filter(|(_, value)| *value != "\\N")
                .collect();
            let error = row.get("error_message").copied().unwrap_or_default();
            shapes.insert((
                table,
                row["status"].to_owned(),
                row.get("vm_type").copied().unwrap_or_default().to_owned(),
                row.keys().map(|name| (*name).to_owned()).collect(),
                plain(&error.replace("\\n", "\n")),
            ));
        }
    }
    shapes
}

/// The shapes of simulated rows, with the columns that the database fills by itself in the dump's schema.
fn simulated(mirror: &Mirror) -> BTreeSet<Shape> {
    let mut shapes = BTreeSet::new();
    for (key, row) in &mirror.rows {
        let table = key.table();
        let mut columns: BTreeSet<String> = row.keys().map(|name| (*name).to_owned()).collect();
        columns.insert(table.key().to_owned());
        let by_itself: &[&str] = match table {
            Table::Vms => &["type"],
            Table::AuthSessions => &["started_at", "retry_count"],
        };
        columns.extend(by_itself.iter().map(|name| (*name).to_owned()));
        let text = |name: &str| row.get(name).map(Cell::text).unwrap_or_default();
        shapes.insert((
            table.name(),
            text("status"),
            text("vm_type"),
            columns,
            plain(&text("error_message")),
        ));
    }
    shapes
}

#[test]
fn every_shape_of_row_in_the_real_dump_is_simulated() {
    let mut shapes = BTreeSet::new();
    for row in scenarios(Version::Oct) {
        let (moments, _) = moments(row, &order(5, Version::Oct, 60));
        shapes.extend(simulated(&mirror(&moments)));
    }
    let missing: Vec<Shape> = recorded().difference(&shapes).cloned().collect();
    assert!(missing.is_empty(), "never simulated: {missing:#?}");
}

#[test]
fn only_columns_that_the_real_controller_fills_are_filled() {
    let recorded = recorded();
    for row in scenarios(Version::Oct) {
        let (moments, _) = moments(row, &order(6, Version::Oct, 20));
        for (table, _, _, columns, _) in simulated(&mirror(&moments)) {
            let filled: BTreeSet<&String> = recorded
                .iter()
                .filter(|shape| shape.0 == table)
                .flat_map(|shape| &shape.3)
                .collect();
            let invented: Vec<&String> = columns
                .iter()
                .filter(|column| !filled.contains(column))
                .collect();
            assert!(invented.is_empty(), "{}: {table} {invented:?}", row.name);
        }
    }
}

/// The mirror refuses an id that comes twice, and an update without a row.
#[test]
fn a_plan_that_repeats_goes_on_in_the_same_world() {
    let mut order = order(5, Version::Oct, 20);
    order.boots = None;
    order.lasts = Some(10 * 60_000);
    let mut plan = scenario("mass-incident").plan(&order);
    plan.repeats = true;
    let mut mirror = Mirror::default();
    let mut rebuilt = Vec::new();
    let mut before = order.start;
    let mut simulation = Simulation::new(plan);
    for moment in simulation.by_ref() {
        assert!(moment.at >= before, "time goes on");
        before = moment.at;
        match moment.what {
            Happened::Written(op) => mirror.apply(&op),
            Happened::Befell(Happening::ImageRebuilt { with_agent }) => {
                rebuilt.push((with_agent, moment.at.since(order.start) / 60_000));
            }
            _ => {}
        }
        if rebuilt.len() == 8 {
            break;
        }
    }
    let kinds: Vec<bool> = rebuilt.iter().map(|(with_agent, _)| *with_agent).collect();
    assert_eq!(kinds, [false, true].repeat(4));
    let rounds: Vec<i64> = rebuilt.chunks(2).map(|round| round[0].1).collect();
    assert!(
        rounds
            .windows(2)
            .all(|pair| (10..14).contains(&(pair[1] - pair[0]))),
        "{rounds:?}"
    );
    let failed = simulation.take_truths();
    let failed = failed
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Failed));
    assert!(failed.count() > 3 * 4, "each round has its incident");
}

/// From which status to which, for each table; an insert comes from nothing.
const SESSION_STEPS: &[(&str, &[&str])] = &[
    ("", &["started"]),
    ("started", &["vm_created", "failed", "timeout"]),
    ("vm_created", &["ready", "failed", "cancelled", "timeout"]),
    ("ready", &["awaiting_user_auth", "failed", "cancelled"]),
    (
        "awaiting_user_auth",
        &["completed", "failed", "timeout", "cancelled"],
    ),
    // A cancelled boot's flow goes on, and may even meet another VM's agent on its address.
    ("cancelled", &["ready", "failed", "timeout"]),
];
/// What December's clean-up does besides.
const SESSION_STEPS_DEC: &[(&str, &[&str])] = &[
    ("started", &["cancelled"]),
    ("completed", &["cancelled"]),
    ("failed", &["cancelled"]),
    ("timeout", &["cancelled"]),
    ("cancelled", &["cancelled"]),
];
const VM_STEPS: &[(&str, &[&str])] = &[
    ("", &["running"]),
    ("running", &["destroyed", "failed"]),
    ("failed", &["destroyed"]),
    ("destroyed", &["destroyed"]),
];

fn allows(steps: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    steps
        .iter()
        .any(|(before, after)| *before == from && after.contains(&to))
}

#[test]
fn every_transition_is_one_of_the_contract() {
    for version in [Version::Oct, Version::Dec] {
        for row in scenarios(version) {
            let (moments, _) = moments(row, &order(7, version, 40));
            for (key, statuses) in mirror(&moments).statuses {
                let mut from = String::new();
                for to in statuses {
                    let allowed = match key.table() {
                        Table::Vms => allows(VM_STEPS, &from, &to),
                        Table::AuthSessions => {
                            allows(SESSION_STEPS, &from, &to)
                                || version == Version::Dec && allows(SESSION_STEPS_DEC, &from, &to)
                        }
                    };
                    let name = row.name;
                    assert!(allowed, "{name} {version:?} {key:?}: {from:?} to {to:?}");
                    from = to;
                }
            }
        }
    }
}

/// Scenarios in which nothing ends a boot but its own fate.
fn undisturbed(version: Version) -> impl Iterator<Item = &'static Scenario> {
    let disturbed = [
        "restart",
        "crash",
        "database-outage",
        "cancel-ip-reused",
        "pool-exhausted",
        "mixed",
    ];
    scenarios(version).filter(move |row| !disturbed.contains(&row.name))
}

/// The session's final status and error, and the VM's, that a boot leaves behind.
fn expected(truth: &Truth, version: Version) -> (&'static str, &'static str, Option<&'static str>) {
    let dec = version == Version::Dec;
    let waited = if dec {
        ("cancelled", "", Some("destroyed"))
    } else {
        ("failed", "VM not ready after ", Some("destroyed"))
    };
    match (truth.outcome, truth.failure) {
        (Some(Outcome::Ready), _) => {
            let (status, error) = match truth.scenario {
                "oauth-timeout" | "guest-dies-later" => ("timeout", "OAuth timeout: User did not"),
                "oauth-error" => ("failed", "Failed to start "),
                _ => ("completed", ""),
            };
            let status = if dec { "cancelled" } else { status };
            (status, error, Some("destroyed"))
        }
        // The CLI VM never came: no browser VM, and nobody tells the session.
        (_, Some(Failure::NotStarted)) => ("started", "", None),
        (_, Some(Failure::FirecrackerFailed)) => {
            ("failed", "Browser VM creation failed: ", Some("running"))
        }
        // Only a row that is there before its step fails stays behind.
        (_, Some(Failure::StepTimeout)) if truth.scenario != "clone-timeout" => {
            ("failed", "Browser VM creation failed: ", Some("running"))
        }
        (
            _,
            Some(
                Failure::StepTimeout
                | Failure::TapFailed
                | Failure::SnapshotCloneFailed
                | Failure::AgentInjectionFailed
                | Failure::ConfigFailed
                | Failure::RecordFailed,
            ),
        ) => ("failed", "Browser VM creation failed: ", None),
        _ => waited,
    }
}

#[test]
fn the_final_rows_agree_with_the_truth_of_each_boot() {
    for version in [Version::Oct, Version::Dec] {
        for row in undisturbed(version) {
            let (mirror, truths) = played(row.name, version, 6);
            for truth in browsers(&truths) {
                let told = format!("{} {version:?} {truth:?}", row.name);
                let Some(session) = truth.session_id else {
                    assert_eq!(truth.failure, Some(Failure::NotStarted), "{told}");
                    continue;
                };
                let (status, error, vm) = expected(truth, version);
                let seen = mirror.session(session).unwrap();
                assert_eq!(seen.status, status, "{told}");
                let said = seen.error.as_deref().unwrap_or_default();
                assert_eq!(said.is_empty(), error.is_empty(), "{said} {told}");
                assert!(said.starts_with(error), "{said} {told}");
                let row = truth.vm_id.and_then(|vm| mirror.vm(vm));
                assert_eq!(row.map(|row| row.status).as_deref(), vm, "{told}");
            }
        }
    }
}

#[test]
fn a_failed_wait_leaves_the_sessions_vm_filled_and_a_failed_creation_leaves_it_null() {
    let (mirror, truths) = played("agent-missing", Version::Oct, 3);
    for truth in browsers(&truths) {
        assert!(mirror.session(truth.session_id.unwrap()).unwrap().has_vm);
    }
    let (mirror, truths) = played("tap-fails", Version::Oct, 3);
    for truth in browsers(&truths) {
        assert!(!mirror.session(truth.session_id.unwrap()).unwrap().has_vm);
    }
}

#[test]
fn a_creation_that_fails_after_its_row_leaves_a_ghost_without_a_process() {
    for name in [
        "firecracker-fails",
        "firecracker-timeout",
        "spawn-enoent",
        "db-insert-timeout",
    ] {
        let (mirror, truths) = played(name, Version::Oct, 2);
        for truth in browsers(&truths) {
            let row = mirror.vm(truth.vm_id.unwrap()).unwrap();
            assert_eq!((row.status.as_str(), row.has_process), ("running", false));
        }
    }
}

#[test]
fn a_row_exists_before_its_process_and_both_before_the_lines_that_say_so() {
    let (moments, _) = moments(scenario("healthy"), &order(3, Version::Oct, 4));
    let mut mirror = Mirror::default();
    let mut seen = BTreeSet::new();
    for moment in &moments {
        match &moment.what {
            Happened::Written(op) => mirror.apply(op),
            Happened::Line(record) => {
                let mut line = Vec::new();
                record.write_plain(&mut line, b"");
                let line = String::from_utf8(line).unwrap();
                let vm = line
                    .split_once("\"vmId\":\"")
                    .and_then(|(_, rest)| VmId::parse(rest.get(..39)?.as_bytes()));
                let Some(vm) = vm else { continue };
                let row = mirror.vm(vm);
                let said = match record.message() {
                    "[VM-CREATE] Step 5: Creating database record" => row.is_none(),
                    "[VM-CREATE] Step 5: Database record created" => {
                        row.is_some_and(|row| row.status == "running" && !row.has_process)
                    }
                    "Firecracker started" => row.is_some_and(|row| row.has_process),
                    "VM destroyed successfully" => row.is_some_and(|row| row.status == "destroyed"),
                    _ => continue,
                };
                assert!(said, "{line}");
                seen.insert(record.message().to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_late_row_is_older_than_its_commit() {
    let (moments, truths) = moments(scenario("db-insert-timeout"), &order(3, Version::Oct, 1));
    let vm = browsers(&truths).next().unwrap().vm_id.unwrap();
    let committed = moments
        .iter()
        .find_map(|moment| match &moment.what {
            Happened::Written(op) if op.key == Key::Vm(vm) => Some(moment.at.0 * 1_000),
            _ => None,
        })
        .unwrap();
    let row = &mirror(&moments).rows[&Key::Vm(vm)];
    let Cell::Time(created) = row["created_at"] else {
        panic!("{row:?}");
    };
    assert!(committed - created > 6_000_000, "{created} {committed}");
}

#[test]
fn a_cancelled_boots_flow_writes_over_the_cancellation_and_destroys_once_more() {
    let (moments, truths) = moments(scenario("cancel"), &order(3, Version::Oct, 1));
    let truth = browsers(&truths).next().unwrap();
    let mirror = mirror(&moments);
    let session = Key::Session(truth.session_id.unwrap());
    assert_eq!(
        mirror.statuses[&session],
        ["started", "vm_created", "cancelled", "failed"]
    );
    let vm = Key::Vm(truth.vm_id.unwrap());
    assert_eq!(mirror.statuses[&vm], ["running", "destroyed", "destroyed"]);
    let times: BTreeSet<String> = moments
        .iter()
        .filter_map(|moment| match &moment.what {
            Happened::Written(op) if op.key == vm => op
                .columns
                .iter()
                .find_map(|(name, cell)| (*name == "destroyed_at").then(|| cell.text())),
            _ => None,
        })
        .collect();
    assert_eq!(times.len(), 2);
    assert_eq!(mirror.text(vm, "destroyed_at"), times.last().cloned());
}

#[test]
fn december_writes_cancelled_over_every_final_status() {
    for (name, before) in [
        ("healthy", "completed"),
        ("oauth-error", "failed"),
        ("oauth-timeout", "timeout"),
    ] {
        let (mirror, truths) = played(name, Version::Dec, 2);
        for truth in browsers(&truths) {
            let statuses = &mirror.statuses[&Key::Session(truth.session_id.unwrap())];
            let last: Vec<&str> = statuses.iter().rev().take(2).map(String::as_str).collect();
            assert_eq!(last, ["cancelled", before], "{name}");
        }
    }
}

#[test]
fn the_databases_clock_is_its_own() {
    let mut order = order(3, Version::Oct, 2);
    order.figures.database_ahead = 700;
    let (moments, _) = moments(scenario("healthy"), &order);
    let mut inserts = 0;
    for moment in &moments {
        let Happened::Written(op) = &moment.what else {
            continue;
        };
        for (name, cell) in &op.columns {
            let Cell::Time(micros) = cell else { continue };
            let ahead = micros.div_euclid(1_000) - moment.at.0;
            match (*name, op.verb) {
                // Those from before the log are older than their moment.
                ("created_at", Verb::Insert) if ahead > 0 => {
                    assert_eq!(ahead, 700);
                    inserts += 1;
                }
                ("destroyed_at", _) => assert!((-60..=0).contains(&ahead), "{ahead}"),
                _ => {}
            }
        }
    }
    assert_eq!(inserts, 4);
}

#[test]
fn a_start_of_the_controller_writes_nothing_and_ghosts_keep_their_addresses() {
    let mut plan = scenario("spawn-enoent").plan(&order(3, Version::Oct, 5));
    plan.noise = false;
    plan.figures.pool_size = 40;
    let plan = plan
        .at(200_000, Happening::Killed { down: 1_000 })
        .boot(260_000, scenario("healthy"));
    let moments: Vec<Moment> = Simulation::new(plan).collect();
    let again = moments
        .iter()
        .enumerate()
        .filter(|(_, moment)| matches!(moment.what, Happened::Opens))
        .map(|(at, _)| at)
        .nth(1)
        .unwrap();
    let before = mirror(&moments[..again]);
    let ghosts: BTreeSet<String> = before
        .rows
        .iter()
        .filter(|(_, row)| {
            row.get("vm_type").map(Cell::text).as_deref() == Some("browser")
                && row["status"].text() == "running"
        })
        .map(|(_, row)| row["ip_address"].text())
        .collect();
    assert_eq!(ghosts.len(), 5);
    let start = moments[again].at;
    let mut taken = Vec::new();
    for moment in &moments[again..] {
        match &moment.what {
            Happened::Written(op) => {
                assert!(moment.at > start, "a start writes {op:?}");
                if op.verb == Verb::Insert
                    && let Some((_, ip)) = op.columns.iter().find(|(name, _)| *name == "ip_address")
                {
                    taken.push(ip.text());
                }
            }
            Happened::Line(record) if record.message() == "IP pool initialized from database" => {
                let mut line = Vec::new();
                record.write_plain(&mut line, b"");
                let line = String::from_utf8(line).unwrap();
                for ip in &ghosts {
                    assert!(line.contains(&format!("({ip})")), "{line}");
                }
            }
            _ => {}
        }
    }
    assert!(!taken.is_empty());
    assert!(taken.iter().all(|ip| !ghosts.contains(ip)), "{taken:?}");
}

#[test]
fn sessions_that_nobody_ended_time_out_after_two_hours() {
    let plan = scenario("cli-fails")
        .plan(&order(3, Version::Oct, 2))
        .boot(3 * 3_600_000 + 900_000, scenario("healthy"));
    let mut simulation = Simulation::new(plan);
    let moments: Vec<Moment> = simulation.by_ref().collect();
    let lost: Vec<Truth> = simulation
        .take_truths()
        .into_iter()
        .filter(|truth| truth.failure == Some(Failure::NotStarted))
        .collect();
    let mirror = mirror(&moments);
    assert_eq!(lost.len(), 2);
    for truth in lost {
        let key = Key::Session(truth.session_id.unwrap());
        assert_eq!(mirror.statuses[&key], ["started", "timeout"]);
        assert_eq!(mirror.text(key, "error_message"), None);
    }
}

#[test]
fn only_a_missing_heartbeat_makes_a_row_failed() {
    let (moments, _) = moments(scenario("mixed"), &order(4, Version::Oct, 120));
    let mut mirror = Mirror::default();
    let mut failed = 0;
    for moment in &moments {
        let Happened::Written(op) = &moment.what else {
            continue;
        };
        mirror.apply(op);
        let says_failed = op
            .columns
            .iter()
            .any(|(name, cell)| *name == "status" && cell.text() == "failed");
        if op.key.table() == Table::Vms && says_failed {
            failed += 1;
            let Some(Cell::Time(beat)) = mirror.rows[&op.key].get("last_heartbeat") else {
                panic!("{op:?} never had a heartbeat");
            };
            assert!(moment.at.0 * 1_000 - beat > 300_000_000);
        }
    }
    assert!(failed > 0);
}

#[test]
fn nothing_is_written_while_the_database_is_away() {
    // A boot every 150 ms, so that the outage meets each of their statements.
    for version in [Version::Oct, Version::Dec] {
        let plan = scenario("database-down").plan(&order(4, version, 1));
        let plan = (0..100)
            .fold(plan, |plan, n| {
                plan.boot(2_000 + 150 * n, scenario("healthy"))
            })
            .at(12_000, Happening::DatabaseLost)
            .at(60_000, Happening::DatabaseBack);
        let mut away = None;
        let mut written = [0, 0];
        for moment in Simulation::new(plan) {
            match moment.what {
                Happened::Befell(Happening::DatabaseLost) => away = Some(moment.at),
                Happened::Befell(Happening::DatabaseBack) => away = None,
                // What was asked for just before may still be answered: its lines say so.
                Happened::Written(op) => match away {
                    Some(lost) if op.verb == Verb::Insert && moment.at.since(lost) < 1_000 => {}
                    _ => written[usize::from(away.is_some())] += 1,
                },
                _ => {}
            }
        }
        assert!(written[0] > 200, "{written:?}");
        assert_eq!(written[1], 0, "{version:?}");
    }
}

#[test]
fn the_same_seed_writes_the_same_rows() {
    let written = |seed| -> Vec<(i64, TableOp)> {
        let (moments, _) = moments(scenario("mixed"), &order(seed, Version::Dec, 40));
        moments
            .into_iter()
            .filter_map(|moment| match moment.what {
                Happened::Written(op) => Some((moment.at.0, op)),
                _ => None,
            })
            .collect()
    };
    let once = written(9);
    assert!(once.len() > 300);
    assert!(once == written(9));
    assert!(once != written(10));
}
