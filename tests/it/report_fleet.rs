//! The week over all hosts, from the PostgreSQL to which their sidecars copied it: by host and in total.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootwatch::config::Secret;
use bootwatch::core::event::{Failure, Outcome, Timestamp, VmType};
use bootwatch::core::report::week::Week;
use bootwatch::store::{
    Batch, BootRow, Fleet, IncidentRow, Mark, MessageState, NewMessage, Settings, StateChange,
    Store, TrialRow, Tried,
};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::mailserver::MailServer;
use crate::postgres::{Database, shared};
use crate::sidecar::{Pager, Sidecar};
use crate::store;

const MINUTE: i64 = 60_000;

fn week() -> Week {
    Week::parse("2025-W42").unwrap()
}

fn start() -> Timestamp {
    week().range(&TimeZone::UTC).start
}

/// One host's week: `boots` browser boots an hour apart, the first `failed` of them refused; ready boots take 30 s on the
/// first host and a second longer on each further one.
fn boots(host: &str, boots: u32, failed: u32, ready_ms: u32) -> Vec<BootRow> {
    (0..boots)
        .map(|number| {
            let started_at = start().plus_ms(i64::from(number) * 60 * MINUTE);
            let bad = number < failed;
            BootRow {
                outcome: Some(if bad { Outcome::Failed } else { Outcome::Ready }),
                failure: bad.then_some(Failure::AgentRefused),
                started_at,
                ended_at: Some(started_at.plus_ms(120_000)),
                ready_ms: (!bad).then_some(ready_ms),
                image: Some("odd|image\nname".to_owned()),
                ..store::boot(host, number)
            }
        })
        .collect()
}

fn incident(host: &str) -> IncidentRow {
    let value = serde_json::json!({
        "key": format!("bw-{host}"), "host": host, "vm_type": "browser", "family": "Guest",
        "cause": "agent_refused", "first_bad_at": start(), "fired_at": start().plus_ms(5 * MINUTE),
        "resolved_at": start().plus_ms(600 * MINUTE), "good_since": null, "members": [], "others": [],
        "evidence": [], "boots": [], "update_due": null, "flapping": false,
    });
    IncidentRow(serde_json::from_value(value).unwrap())
}

/// A sidecar's store, copied. `seen` are hours of the week.
async fn host(database: &Database, name: &str, mut batch: Batch, seen: std::ops::Range<i64>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        host: name.to_owned(),
        ..store::settings(folder.path())
    };
    let hour = |hour: i64| start().plus_ms(hour * 60 * MINUTE).0.to_string();
    batch.state.push(StateChange {
        kind: "seen",
        key: hour(seen.start),
        value: Some(hour(seen.end)),
    });
    let mut opened = Store::open(settings.clone(), store::NOW).await.unwrap();
    let messages = opened.store.commit(&batch).await.unwrap().messages;
    for id in messages {
        let mark = Mark::Sent {
            status: "250".to_owned(),
            id,
            provider_ref: None,
            at: start().plus_ms(6 * MINUTE),
        };
        opened.store.mark(mark).await.unwrap();
    }
    let mut fleet = Fleet::new(&Secret::new(database.url()), &settings.path, name).unwrap();
    while fleet.step().await.unwrap() {}
    fleet.close().await;
    opened.store.close().await;
}

fn stretch(kind: &'static str, from: i64, to: i64) -> StateChange {
    StateChange {
        kind,
        key: start().plus_ms(from * MINUTE).0.to_string(),
        value: Some(start().plus_ms(to * MINUTE).0.to_string()),
    }
}

fn message(transition: &str) -> NewMessage {
    NewMessage {
        incident: "bw-vmhost-2".to_owned(),
        transition: transition.to_owned(),
        receiver: "ops".to_owned(),
        dedup_key: "bw-vmhost-2".to_owned(),
        payload: "{}".to_owned(),
        created_at: start().plus_ms(5 * MINUTE),
        due: start().plus_ms(5 * MINUTE),
        state: MessageState::Queued,
        ended_at: None,
        tried: Tried::default(),
    }
}

/// Three hosts: a sound one, one with an incident and a maintenance, and one that was blind for two days.
async fn three(database: &Database) {
    let sound = Batch {
        boots: boots("vmhost-1", 100, 0, 30_000),
        trials: vec![TrialRow {
            id: 1,
            state: "done".to_owned(),
            intent: r#"{"result":"passed"}"#.to_owned(),
            vm_id: None,
            session_id: None,
            started_at: start().plus_ms(MINUTE),
            ended_at: Some(start().plus_ms(2 * MINUTE)),
        }],
        // It was history to its sidecar, and in its second half hour the controller wrote nothing.
        state: vec![stretch("history", 0, 168 * 60), stretch("silent", 30, 60)],
        ..Batch::default()
    };
    host(database, "vmhost-1", sound, -168..168).await;

    let mut bad = boots("vmhost-2", 50, 20, 31_000);
    let mut maintained = store::boot("vmhost-2", 900);
    // After the incident.
    maintained.started_at = start().plus_ms(700 * MINUTE);
    maintained.detail.maintenance = true;
    let mut cli = store::boot("vmhost-2", 901);
    cli.started_at = start().plus_ms(MINUTE);
    cli.vm_type = VmType::Cli;
    cli.outcome = Some(Outcome::Ready);
    cli.failure = None;
    cli.ready_ms = Some(8_000);
    bad.extend([maintained, cli]);
    let bad = Batch {
        boots: bad,
        incidents: vec![incident("vmhost-2")],
        // Its first page never arrived, and an update took its place.
        outbox: vec![message("update")],
        ..Batch::default()
    };
    host(database, "vmhost-2", bad, -168..168).await;

    let blind = Batch {
        boots: boots("vmhost-3", 10, 1, 32_000),
        ..Batch::default()
    };
    host(database, "vmhost-3", blind, 48..168).await;
}

/// A configuration that knows the fleet's history and has no store of its own.
fn configuration(folder: &Path, url: &str) -> PathBuf {
    let secret = folder.join("url");
    std::fs::write(&secret, url).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = folder.join("bootwatch.toml");
    let text = format!(
        "[host]\nname = \"desk\"\n[log]\nfile = \"/var/log/x.log\"\ntimezone = \"UTC\"\n[store]\npath = {:?}\n\
         [store.fleet]\nurl_file = {:?}\n[report]\ntimezone = \"UTC\"\n",
        folder.join("none.db").display().to_string(),
        secret.display().to_string()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn report(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["report", "--week", "2025-W42", "--config"])
        .arg(config)
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn a_fleet_s_week_is_told_by_host_and_in_total() {
    let database = shared().database().await;
    three(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &database.url());
    let output = report(&config, &["--fleet", "--format", "json"]);
    assert!(output.status.success(), "{}", said(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();

    // In total: sums, and quantiles of all hosts' durations together.
    let browsers = &json["kinds"][0];
    assert_eq!(browsers["ready"]["k"], 100 + 30 + 9);
    assert_eq!(browsers["ready"]["n"], 160);
    // Wilson of 139 of 160.
    let interval = |end: &str| browsers["interval"][end].as_f64().unwrap();
    assert!((interval("low") - 0.8078).abs() < 1e-3, "{browsers}");
    assert!((interval("high") - 0.9127).abs() < 1e-3, "{browsers}");
    // Of 139: ranks 70, 133 and 138.
    assert_eq!(browsers["time_to_ready"]["p50_seconds"], 30.0);
    assert_eq!(browsers["time_to_ready"]["p95_seconds"], 32.0);
    assert_eq!(browsers["time_to_ready"]["p99_seconds"], 32.0);
    assert_eq!(json["total"]["ready"]["n"], 161, "one CLI boot was ready");
    assert_eq!(json["causes"][0]["failure"], "agent_refused");
    assert_eq!(json["causes"][0]["failed"]["k"], 21);
    assert_eq!(json["exclusions"][0]["reason"], "maintenance");
    assert_eq!(json["synthetic"]["runs"]["passed"], 1);
    let told = &json["incidents"][0];
    assert_eq!(told["host"], "vmhost-2");
    assert_eq!(told["detect_seconds"], 360.0);
    assert_eq!(told["boots_hit"], 10, "its own host's, and no other's");
    // What was not seen of one host was not seen of the fleet.
    assert_eq!(json["coverage"]["partial"], true);
    assert_eq!(json["coverage"]["k"], 120 * 3_600);
    // Nor was it watched where it was history to one, nor fresh where a controller was silent.
    assert_eq!(json["coverage"]["watched"]["k"], 0);
    assert_eq!(json["coverage"]["silences"][0]["host"], "vmhost-1");
    assert_eq!(json["images"][0]["image"], "odd/image name");

    // By host.
    let hosts = json["hosts"].as_array().unwrap();
    let row = |number: usize| &hosts[number];
    assert_eq!(hosts.len(), 3);
    assert_eq!(
        (&row(0)["host"], &row(0)["ready"]["k"], &row(0)["incidents"]),
        (&"vmhost-1".into(), &100.into(), &0.into())
    );
    assert_eq!(row(1)["ready"]["k"], 30);
    assert_eq!(row(1)["ready"]["n"], 50);
    assert_eq!(row(1)["causes"]["agent_refused"], 20);
    assert_eq!(row(1)["cli_ready"]["k"], 1);
    assert_eq!(row(1)["incidents"], 1);
    assert_eq!(row(1)["time_to_ready"]["p95_seconds"], 31.0);
    assert_eq!(row(2)["time_to_ready"]["p95_seconds"], "n too small");
    assert_eq!(row(2)["seen"]["k"], 120 * 3_600);
    assert_eq!(row(0)["seen"]["k"], 168 * 3_600 - 1_800);
    // The total hides the second host.
    assert_eq!(json["apart"][0]["segment"], "vmhost-2");

    let text = said(&report(&config, &["--fleet"]));
    assert!(
        text.contains("139 of 160 browser boots")
            && text.contains("| vmhost-2 | 30 of 50 (60.0 %")
            && text.contains("agent refused 20"),
        "{text}"
    );
    let page = said(&report(&config, &["--fleet", "--format", "html"]));
    assert!(
        page.contains("Browser boots by host") && page.contains("3 hosts"),
        "{page}"
    );
    let again = report(&config, &["--fleet", "--format", "json"]);
    assert_eq!(
        again.stdout, output.stdout,
        "the same facts, the same bytes"
    );
}

#[tokio::test]
async fn a_fleet_s_report_needs_a_fleet_and_reads_only() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &database.url());
    let output = report(&config, &["--fleet"]);
    assert!(
        !output.status.success() && said(&output).contains("read the fleet's database"),
        "{}",
        said(&output)
    );
    three(&database).await;
    let role = database.role("reader");
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA bootwatch TO {role};
             GRANT SELECT ON ALL TABLES IN SCHEMA bootwatch TO {role}"
        ))
        .await;
    let config = configuration(folder.path(), &database.url_of(&role, "x"));
    let output = report(&config, &["--fleet"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&config).unwrap();
    let alone = text.split("[store.fleet]").next().unwrap().to_owned();
    std::fs::write(&config, alone).unwrap();
    let output = report(&config, &["--fleet"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("store.fleet.url is not set"));
}

#[tokio::test]
async fn a_fleet_s_week_is_mailed_once_to_each_recipient_beside_the_host_s_own() {
    let database = shared().database().await;
    three(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start();
    let config = configuration(folder.path(), &database.url());
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("channel = \"team\"\n");
    text.push_str(&server.notifier("\"team@ops.example\""));
    std::fs::write(&config, text).unwrap();
    let output = report(&config, &["--fleet", "--send"]);
    assert_eq!(output.status.code(), Some(2), "nowhere to note who got it");
    assert!(said(&output).contains("there is no store at"));
    let settings = Settings {
        path: folder.path().join("none.db"),
        ..store::settings(folder.path())
    };
    let mut opened = Store::open(settings, store::NOW).await.unwrap();
    let output = report(&config, &["--send"]);
    assert_eq!(output.status.code(), Some(1), "the host has seen nothing");
    assert!(said(&output).contains("nothing is known of week 2025-W42"));
    let batch = Batch {
        boots: boots("vmhost-1", 2, 1, 30_000),
        ..Batch::default()
    };
    opened.store.commit(&batch).await.unwrap();
    opened.store.close().await;
    let output = report(&config, &["--fleet", "--send"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mail = server.next();
    let subject =
        "Boot reliability 2025-W42, 3 hosts: 86.9 % of browser boots ready, 139 of 160 (partial)";
    assert_eq!(mail["headers"]["Subject"], subject);
    let html = mail["html"].as_str().unwrap();
    assert!(html.contains("Browser boots by host") && html.contains("vmhost-2"));
    let again = said(&report(&config, &["--fleet", "--send"]));
    assert!(
        again.contains("team@ops.example: has it already"),
        "{again}"
    );
    let own = said(&report(&config, &["--send"]));
    assert!(own.contains("team@ops.example: taken"), "{own}");
    let subject = server.next()["headers"]["Subject"].clone();
    assert_eq!(
        subject,
        "Boot reliability 2025-W42, desk: 50.0 % of browser boots ready, 1 of 2 (partial)"
    );
    assert!(server.is_quiet());
}

#[test]
fn one_sidecar_of_a_fleet_mails_the_fleet_s_week_by_schedule() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(shared().database());
    let last = Week::of(bootwatch::clock::now(), &TimeZone::UTC).previous();
    let hours = last.range(&TimeZone::UTC).start.since(start()) / (60 * MINUTE);
    for (name, failed) in [("vmhost-1", 0), ("vmhost-2", 20)] {
        let mut boots = boots(name, 50, failed, 30_000);
        for boot in &mut boots {
            boot.started_at = boot.started_at.plus_ms(hours * 60 * MINUTE);
            boot.ended_at = boot.ended_at.map(|at| at.plus_ms(hours * 60 * MINUTE));
        }
        let batch = Batch {
            boots,
            ..Batch::default()
        };
        runtime.block_on(host(&database, name, batch, hours..hours + 168));
    }
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start();
    let log = folder.path().join("bootwatch.log");
    std::fs::write(&log, "").unwrap();
    let url = folder.path().join("url");
    std::fs::write(&url, database.url()).unwrap();
    std::fs::set_permissions(&url, std::fs::Permissions::from_mode(0o600)).unwrap();
    let today = jiff::Timestamp::from_millisecond(bootwatch::clock::now().0).unwrap();
    let today = TimeZone::UTC.to_datetime(today).date();
    let more = format!(
        "[store.fleet]\nurl_file = {url:?}\n[report]\ntimezone = \"UTC\"\nschedule = \"{}\"\nchannel = \"team\"\n\
         fleet = true\n{}",
        today.strftime("%a 00:00"),
        server.notifier("\"team@ops.example\"")
    );
    let pager = Pager::start();
    for round in 0..2 {
        let sidecar = Sidecar::start(&log, pager.address, &more, bootwatch::app::Start::default());
        if round == 0 {
            let subject = server.next()["headers"]["Subject"].clone();
            let expected = format!(
                "Boot reliability {last}, 2 hosts: 80.0 % of browser boots ready, 80 of 100"
            );
            assert_eq!(subject, expected);
        }
        sidecar.wait_until_ready();
        sidecar.stop().unwrap();
    }
    assert!(server.is_quiet(), "nobody gets it twice");
}

#[tokio::test]
async fn tables_of_version_1_get_what_they_lack() {
    let database = shared().database().await;
    three(&database).await;
    database
        .run(
            "DROP TABLE bootwatch.seen, bootwatch.told, bootwatch.runs, bootwatch.sight;
             DROP INDEX bootwatch.boots_maintenance; UPDATE bootwatch.version SET version = 1",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &database.url());
    let refused = said(&report(&config, &["--fleet"]));
    assert!(refused.contains("of version 1"), "{refused}");
    three(&database).await;
    let output = report(&config, &["--fleet", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["coverage"]["k"], 120 * 3_600);
}
