//! The weekly report, from a store that holds a week: as a user asks for it, and as it is mailed by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootwatch::core::event::{Failure, Outcome};
use bootwatch::core::report::week::Week;
use bootwatch::simulator::plan::{Figures, Phase, Plan};
use bootwatch::simulator::scenario;
use bootwatch::store::{Batch, BootRow, SKIPPED, StateChange, Store, TrialRow};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::mailserver::MailServer;
use crate::run_pages::play;
use crate::sidecar::{Pager, Sidecar};
use crate::store::{self, settings};

/// A boot of the week, `minutes` after its beginning.
fn boot(week: Week, number: u32, minutes: i64, failure: Option<Failure>) -> BootRow {
    let started_at = week.range(&TimeZone::UTC).start.plus_ms(minutes * 60_000);
    BootRow {
        outcome: Some(match failure {
            Some(_) => Outcome::Failed,
            None => Outcome::Ready,
        }),
        failure,
        started_at,
        ended_at: Some(started_at.plus_ms(40_000)),
        ready_ms: failure.is_none().then_some(38_000),
        ..store::boot("host-1", number)
    }
}

/// One of bootwatch's own, as the journal has it, so many minutes into the week.
fn run(week: Week, minutes: i64, state: &str, intent: &str) -> TrialRow {
    let started_at = week.range(&TimeZone::UTC).start.plus_ms(minutes * 60_000);
    TrialRow {
        id: minutes,
        state: state.to_owned(),
        intent: intent.to_owned(),
        vm_id: None,
        session_id: None,
        started_at,
        ended_at: Some(started_at),
    }
}

/// A store that saw this week whole: 50 boots, of which `failed` were refused.
pub(crate) async fn filled(folder: &Path, week: Week, failed: u32) {
    let mut opened = Store::open(settings(folder), store::NOW).await.unwrap();
    let range = week.range(&TimeZone::UTC);
    let boots = (0..50).map(|number| {
        let failure = (number < failed).then_some(Failure::AgentRefused);
        boot(week, number + 1, i64::from(number) * 200, failure)
    });
    let batch = Batch {
        boots: boots.collect(),
        state: vec![StateChange {
            kind: "seen",
            key: range.start.0.to_string(),
            value: Some(range.end.0.to_string()),
        }],
        trials: vec![
            run(week, 1, "done", r#"{"result":"passed"}"#),
            run(week, 2, "done", r#"{"result":"passed"}"#),
            run(week, 3, "done", r#"{"result":"failed"}"#),
            run(week, 4, "done", r#"{"result":"errored"}"#),
            run(week, 5, SKIPPED, r#"{"reason":"slots"}"#),
            // Turned away: what counts is its skip.
            run(week, 6, "done", r#"{"result":"skipped"}"#),
            // Nobody knows yet.
            run(week, 7, "following", r#"{"result":null}"#),
            run(week, 8 * 1_440, "done", r#"{"result":"passed"}"#),
        ],
        ..Batch::default()
    };
    opened.store.commit(&batch).await.unwrap();
    opened.store.close().await;
}

fn configuration(folder: &Path, more: &str) -> PathBuf {
    let path = folder.join("bootwatch.toml");
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = \"/var/log/x.log\"\ntimezone = \"UTC\"\n[store]\npath = {:?}\n{more}",
        folder.join("bootwatch.db").display().to_string()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn report(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["report", "--config"])
        .arg(config)
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const UTC: &str = "[report]\ntimezone = \"UTC\"\n";

#[tokio::test]
async fn a_week_is_written_as_markdown_json_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let week = Week::parse("2025-W42").unwrap();
    filled(folder.path(), week, 5).await;
    let config = configuration(folder.path(), UTC);
    let text = said(&report(&config, &["--week", "2025-W42"]));
    assert!(
        text.starts_with("# Boot reliability, week 2025-W42"),
        "{text}"
    );
    assert!(
        text.contains("45 of 50 browser boots (90.0 %; 78.6 to 95.7 %)"),
        "{text}"
    );
    let json = report(&config, &["--week", "2025-W42", "--format", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["week"], "2025-W42");
    assert_eq!(json["from"], "2025-10-13T00:00:00Z");
    assert_eq!(json["coverage"]["partial"], false);
    assert_eq!(json["total"]["ready"]["k"], 45);
    let runs = json["synthetic"]["runs"].as_object().unwrap();
    let runs: Vec<(&str, u64)> = runs
        .iter()
        .map(|(word, count)| (word.as_str(), count.as_u64().unwrap()))
        .collect();
    assert_eq!(
        runs,
        [
            ("errored", 1),
            ("failed", 1),
            ("passed", 2),
            ("skipped_slots", 1)
        ]
    );
    assert!(text.contains("- skipped slots: 1"), "{text}");
    assert_eq!(json["causes"][0]["failure"], "agent_refused");
    let page = folder.path().join("w42.html");
    let output = report(
        &config,
        &[
            "--week",
            "2025-W42",
            "--format",
            "html",
            "--output",
            page.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", said(&output));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("<svg"),
        "{page}"
    );
    // The week after: nothing was seen, and it is said.
    let text = said(&report(&config, &["--week", "2025-W43"]));
    assert!(
        text.contains("No browser boot that counts was seen.") && text.contains("partial"),
        "{text}"
    );
}

#[tokio::test]
async fn wrong_use_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), UTC);
    let output = report(&config, &["--week", "2025-W42"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("there is no store at"),
        "{}",
        said(&output)
    );
    filled(folder.path(), Week::parse("2025-W42").unwrap(), 0).await;
    let output = report(&config, &["--week", "2025-W60"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("2025 has no week 60"),
        "{}",
        said(&output)
    );
    let output = report(&config, &["--send"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("report.channel"),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn each_recipient_gets_a_week_once_and_a_revision_that_says_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start();
    let week = Week::parse("2025-W42").unwrap();
    filled(folder.path(), week, 5).await;
    let more = format!(
        "{UTC}channel = \"team\"\n{}",
        server.notifier("\"Team <team@ops.example>\", \"lead@ops.example\"")
    );
    let config = configuration(folder.path(), &more);
    let output = report(&config, &["--week", "2025-W42", "--send"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut recipients = Vec::new();
    for _ in 0..2 {
        let mail = server.next();
        assert_eq!(mail["defects"], serde_json::json!([]), "{mail}");
        let kinds = serde_json::json!(["text/plain", "multipart/related"]);
        assert_eq!(mail["types"], kinds);
        let subject = "Boot reliability 2025-W42, host-1: 90.0 % of browser boots ready, 45 of 50";
        assert_eq!(mail["headers"]["Subject"], subject);
        assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
        assert!(mail["longest_line"].as_u64() <= Some(998), "{mail}");
        assert!(mail["html"].as_str().unwrap().len() < 100_000);
        let pictures = mail["pictures"].as_array().unwrap();
        assert!(pictures.len() >= 3, "{pictures:?}");
        for picture in pictures {
            let cid = picture[0].as_str().unwrap().trim_matches(['<', '>']);
            assert!(
                mail["html"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("cid:{cid}"))
            );
            assert_eq!(picture[1], "image/png");
        }
        recipients.push(mail["to"][0].as_str().unwrap().to_owned());
    }
    recipients.sort();
    assert_eq!(recipients, ["lead@ops.example", "team@ops.example"]);
    let output = report(&config, &["--week", "2025-W42", "--send"]);
    assert!(
        said(&output).contains("team@ops.example: has it already"),
        "{}",
        said(&output)
    );
    assert!(server.is_quiet());
    // Boots whose outcome came late.
    filled(folder.path(), week, 9).await;
    let output = report(&config, &["--week", "2025-W42", "--send"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let subject = server.next()["headers"]["Subject"].clone();
    assert_eq!(
        subject,
        "Revised: Boot reliability 2025-W42, host-1: 82.0 % of browser boots ready, 41 of 50"
    );
}

#[test]
fn the_sidecar_makes_up_for_the_last_report_once_whatever_restarts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start();
    let log = folder.path().join("bootwatch.log");
    std::fs::write(&log, "").unwrap();
    let last = Week::of(bootwatch::clock::now(), &TimeZone::UTC).previous();
    runtime.block_on(filled(folder.path(), last, 2));
    let more = scheduled(&server);
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, &more, bootwatch::app::Start::default());
    let mail = server.next();
    let subject = mail["headers"]["Subject"].as_str().unwrap().to_owned();
    assert!(
        subject.starts_with(&format!("Boot reliability {last}, host-1: 96.0 %")),
        "{subject}"
    );
    sidecar.stop().unwrap();
    let sidecar = Sidecar::start(&log, pager.address, &more, bootwatch::app::Start::default());
    sidecar.wait_until_ready();
    sidecar.stop().unwrap();
    assert!(server.is_quiet(), "nobody gets it twice");
    let kept = runtime.block_on(kept(folder.path()));
    assert_eq!(kept, [(last.to_string(), 1)]);
}

/// The report of last week, due since today's midnight, whatever day it is today.
pub(crate) fn scheduled(server: &MailServer) -> String {
    let today = jiff::Timestamp::from_millisecond(bootwatch::clock::now().0).unwrap();
    let today = TimeZone::UTC.to_datetime(today).date();
    format!(
        "[report]\ntimezone = \"UTC\"\nschedule = \"{}\"\nchannel = \"team\"\n{}",
        today.strftime("%a 00:00"),
        server.notifier("\"team@ops.example\"")
    )
}

/// What was written to the log while nobody ran is part of the week: it is read first.
#[test]
fn a_report_that_was_missed_waits_for_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start();
    let log = folder.path().join("master-controller.log");
    let last = Week::of(bootwatch::clock::now(), &TimeZone::UTC).previous();
    let plan = Plan::new(7, last.range(&TimeZone::UTC).start.plus_ms(3_600_000))
        .figures(Figures::sample())
        .phase(Phase {
            from: 0,
            rate: 600,
            boots: Some(900),
            lasts: None,
            mix: vec![(1, scenario::row("healthy"))],
        });
    play(&log, u64::MAX, plan);
    let more = scheduled(&server);
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, &more, bootwatch::app::Start::default());
    let mail = server.next();
    let subject = mail["headers"]["Subject"].as_str().unwrap().to_owned();
    // The log held an hour and a half, and nothing of the rest of the week.
    assert!(
        subject.ends_with(": 100.0 % of browser boots ready, 900 of 900 (partial)"),
        "{subject}"
    );
    // The archive tells it as JSON, too: the one of that zone, or the one made last.
    for query in ["", "?zone=UTC"] {
        let (status, text) = sidecar.get(&format!("/api/v1/reports/{last}{query}"));
        assert_eq!(status, 200, "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["week"], last.to_string());
        assert_eq!(told["revision"], 1);
        // CLI VMs are among them.
        let ready = told["report"]["total"]["ready"]["k"].as_u64();
        assert!(ready >= Some(900), "{ready:?}");
    }
    for unknown in ["2001-W01", &format!("{last}?zone=Asia/Tokyo")] {
        let (status, text) = sidecar.get(&format!("/api/v1/reports/{unknown}"));
        assert_eq!(status, 404, "{text}");
        assert!(text.contains("no such report"), "{text}");
    }
    sidecar.stop().unwrap();
}

#[test]
fn a_week_before_the_first_start_is_not_told_as_one_that_was_watched() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("bootwatch.log");
    let last = Week::of(bootwatch::clock::now(), &TimeZone::UTC).previous();
    let at = last.range(&TimeZone::UTC).start.plus_ms(30 * 3_600_000);
    // An outage, and then nothing until the first start days later.
    let plan = Plan::new(1, at).figures(Figures::sample()).phase(Phase {
        from: 0,
        rate: 600,
        boots: Some(14),
        lasts: None,
        mix: vec![(1, scenario::row("agent-missing"))],
    });
    play(&log, u64::MAX, plan);
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, UTC, bootwatch::app::Start::default());
    sidecar.wait_until_ready();
    sidecar.stop().unwrap();
    assert!(pager.so_far().is_empty());
    let config = configuration(folder.path(), UTC);
    let week = last.to_string();
    let text = said(&report(&config, &["--week", &week]));
    assert!(
        text.contains("bootwatch was not watching in this week"),
        "{text}"
    );
    assert!(!text.contains("Nobody had to be paged"), "{text}");
    assert!(text.contains("The report is partial"), "{text}");
    let json = report(&config, &["--week", &week, "--format", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["coverage"]["watched"]["k"], 0);
    let fresh = json["coverage"]["k"].as_u64().unwrap();
    assert!(fresh < 2 * 3_600, "{fresh} s of an hour's log");
}

async fn kept(folder: &Path) -> Vec<(String, i64)> {
    let path = folder.join("bootwatch.db");
    let mut history = bootwatch::store::History::open(&path).await.unwrap();
    let reports = history.reports().await.unwrap();
    reports
        .into_iter()
        .map(|report| (report.week, report.revision))
        .collect()
}

#[test]
fn what_cannot_be_a_schedule_or_a_channel_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[report]\nschedule = \"Monday 8:00\"\nchannel = \"team\"\nfleet = true\n";
    let output = report(&configuration(folder.path(), more), &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = said(&output);
    assert!(
        text.contains("report.schedule") && text.contains("write one such as \"Mon 08:00\""),
        "{text}"
    );
    assert!(
        text.contains("\"team\" is no notifier of type email"),
        "{text}"
    );
    assert!(
        text.contains("report.fleet: there is no fleet to report of"),
        "{text}"
    );
}
