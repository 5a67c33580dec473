//! The whole sidecar beside a real PostgreSQL: rows beside the log, boots that only rows tell of, and a server that goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::config::Secret;
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Phase, Plan};
use bootwatch::simulator::{Player, Schema, Simulation, Speed, Tables, Truth, scenario};
use jiff::tz::TimeZone;

use crate::postgres::Cluster;
use crate::run_ends::play;
use crate::sidecar::{Pager, Sidecar, eventually, log};

const BOOTS: u32 = 12;

/// The controller's last two hours, in its log and its tables; how the boots ended.
fn play_with_tables(log: &Path, url: &str) -> Vec<Truth> {
    let phase = Phase {
        from: 0,
        rate: 600,
        boots: Some(BOOTS),
        lasts: None,
        mix: vec![
            (3, scenario::row("healthy")),
            (1, scenario::row("agent-missing")),
        ],
    };
    let plan = Plan::new(7, clock::now().plus_ms(-2 * 3_600_000))
        .figures(Figures::sample())
        .phase(phase);
    let mut tables = Tables::create(&Secret::new(url), Schema::Production).unwrap();
    let mut files = LogFiles::open(log, u64::MAX, TimeZone::UTC).unwrap();
    let mut truths = Vec::new();
    Player::new(Speed::Max)
        .play(
            &mut Simulation::new(plan),
            &mut [&mut tables, &mut files],
            &mut |truth| {
                truths.push(truth);
                Ok(())
            },
        )
        .unwrap();
    truths
}

/// A server with the controller's last two hours, and its log of them.
struct World {
    cluster: Cluster,
    runtime: tokio::runtime::Runtime,
    url: String,
    folder: tempfile::TempDir,
    log: PathBuf,
    truths: Vec<Truth>,
}

impl World {
    fn start() -> World {
        let cluster = Cluster::start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let url = cluster.url("postgres");
        let (folder, log) = log();
        let truths = play_with_tables(&log, &url);
        World {
            cluster,
            runtime,
            url,
            folder,
            log,
            truths,
        }
    }
}

/// The configuration's part for a database whose URL lies in a file.
fn watching(folder: &Path, url: &str) -> String {
    let file = folder.join("database-url");
    fs::write(&file, url).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[database]\nurl_file = {:?}\npoll = \"1s\"\n[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n",
        file.display().to_string()
    )
}

fn boots(sidecar: &Sidecar) -> f64 {
    sidecar.metric("bootwatch_boots_total", "")
}

/// The pool as the System page tells it, beside the metrics of the same state.
fn the_page_tells_the_metrics_numbers(sidecar: &Sidecar) {
    eventually("the page and the metrics tell the same pool", || {
        let of = |state| sidecar.metric("bootwatch_ip_pool_addresses", state);
        let (used, free, ghosts) = (of("\"used\""), of("\"free\""), of("\"ghost\""));
        let told = format!("{used} in use, {free} free, {ghosts} held by ghosts.");
        free > 0.0 && sidecar.get("/system").1.contains(&told)
    });
}

#[test]
fn rows_and_log_are_one_history_and_a_dead_server_stops_no_page() {
    let World {
        cluster,
        runtime,
        url,
        folder,
        log,
        truths,
    } = World::start();
    let pager = Pager::start();
    let more = watching(folder.path(), &url);
    let first = Sidecar::start(&log, pager.address, &more, Start::default());
    first.wait_until_ready();
    eventually("every row is seen", || {
        first.metric("bootwatch_database_vms", "") >= f64::from(BOOTS)
            && first.metric("bootwatch_source_up", "database") >= 1.0
    });
    assert_eq!(truths.len(), BOOTS as usize);
    assert_eq!(boots(&first), 0.0, "history is not counted");

    // A VM that the log never spoke of, and that never got a process.
    let unheard = "INSERT INTO vms (vm_id, user_id, vm_type, type, ip_address, status, created_at)
         SELECT 'vm-0f0f0f0f-0000-4000-8000-00000000000f', user_id, vm_type, vm_type, '192.168.100.250', 'creating',
                now() - interval '2 minutes' FROM vms WHERE vm_type = 'browser' LIMIT 1";
    runtime.block_on(cluster.run("postgres", unheard));
    eventually("the boot that only its row tells of is counted", || {
        first.metric("bootwatch_boots_total", "firecracker_failed") >= 1.0
    });
    assert_eq!(boots(&first), 1.0, "and no other one for its rows");

    // One whose id has another form: it is in no figure, and that is told.
    assert_eq!(first.metric("bootwatch_database_rows_unreadable", ""), 0.0);
    let odd = "INSERT INTO vms (vm_id, user_id, vm_type, type, ip_address, status, created_at)
         SELECT 'fc_1', user_id, vm_type, vm_type, '192.168.100.251', 'running', now() FROM vms LIMIT 1";
    runtime.block_on(cluster.run("postgres", odd));
    eventually("a row that cannot be read is counted", || {
        first.metric("bootwatch_database_rows_unreadable", "") == 1.0
    });
    the_page_tells_the_metrics_numbers(&first);
    assert!(
        first
            .metric("bootwatch_database_clock_skew_seconds", "")
            .abs()
            < 5.0
    );
    first.stop().unwrap();

    let second = Sidecar::start(&log, pager.address, &more, Start::default());
    second.wait_until_ready();
    eventually("every row is seen again", || {
        second.metric("bootwatch_database_poll_duration_seconds_count", "window") >= 1.0
    });
    assert_eq!(boots(&second), 0.0, "nothing is told twice");

    cluster.stop();
    eventually("it is told that the server is gone", || {
        second.metric("bootwatch_source_up", "database") == 0.0
    });
    let standing = second.metric("bootwatch_database_vms", "");
    assert_eq!(standing, 0.0, "what it last told is not shown for now");
    play(&log, 3, "agent-missing", 3);
    assert_eq!(pager.next()["status"], "firing");
    cluster.start_again();
    eventually("the server is back", || {
        second.metric("bootwatch_source_up", "database") >= 1.0
            && second.metric("bootwatch_database_vms", "") >= f64::from(BOOTS)
    });
    second.stop().unwrap();
}

/// Its `now()` is found before the server's own.
const ANOTHER_TIME: &str = "CREATE SCHEMA shadow;
    CREATE FUNCTION shadow.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT pg_catalog.now() - interval '90 seconds' $$;
    ALTER ROLE postgres SET search_path = shadow, pg_catalog, public";

#[test]
fn a_database_with_another_time_is_read_by_its_own_and_the_difference_is_told() {
    let World {
        cluster,
        runtime,
        url,
        folder,
        log,
        ..
    } = World::start();
    runtime.block_on(cluster.run("postgres", ANOTHER_TIME));
    let pager = Pager::start();
    let more = watching(folder.path(), &url);
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    eventually("the difference is told", || {
        let ahead = sidecar.metric("bootwatch_database_clock_skew_seconds", "");
        (-95.0..-85.0).contains(&ahead)
    });
    let late = "INSERT INTO vms (vm_id, user_id, vm_type, type, ip_address, status, created_at)
         SELECT 'vm-0f0f0f0f-0000-4000-8000-00000000000f', user_id, vm_type, vm_type, '192.168.100.250', 'running',
                shadow.now() FROM vms WHERE vm_type = 'browser' LIMIT 1";
    let running = || sidecar.metric("bootwatch_database_vms", "\"running\"");
    let before = running();
    runtime.block_on(cluster.run("postgres", late));
    eventually("a row of its time is seen", || running() == before + 1.0);
}

/// A table that a migration took away is no server that is gone.
#[test]
fn a_database_that_answers_and_refuses_is_told_by_its_own_words() {
    let World {
        cluster,
        runtime,
        url,
        folder,
        log,
        ..
    } = World::start();
    let pager = Pager::start();
    let more = watching(folder.path(), &url) + "[rules.DatabaseUnreachable]\nafter = \"1s\"\n";
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let up = || sidecar.metric("bootwatch_source_up", "\"database\"");
    eventually("the rows are seen", || up() == 1.0);
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        runtime.block_on(cluster.run("postgres", &sql));
    };
    rename("vms", "machines");
    let about = |status: &str| loop {
        let next = pager.next();
        let labels = &next["alerts"][0]["labels"];
        if labels["alertname"] == "DatabaseUnreachable" && next["status"] == status {
            return next;
        }
    };
    let told = about("firing");
    let alert = &told["alerts"][0];
    assert_eq!(alert["labels"]["cause"], "database_refuses", "{told}");
    let said = alert["annotations"].to_string();
    assert!(
        said.contains("database: there is no table or view vms"),
        "{said}"
    );
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert!(summary.contains("does not let bootwatch read"), "{summary}");
    rename("machines", "vms");
    about("resolved");
}
