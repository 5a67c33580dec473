//! What outlives a run: no second page, no lost one, one resolve; and pages without a store.

use std::fmt::Write;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use axum::http::StatusCode;
use bootwatch::app::Start;
use bootwatch::core::event::Timestamp;
use bootwatch::store::History;
use serde_json::Value;

use crate::run_ends::{play, run};
use crate::sidecar::{Pager, Sidecar, eventually, log};

const QUICK: &str =
    "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n[shutdown]\ndeadline = \"1s\"\n";

/// Boots of a long past, and how many of them may be on their way to the store: what the owner gathers, what it handed
/// over, and what one chunk more holds.
const BOOTS: u64 = 8_000;
const MOST_UNWRITTEN: u64 = 3_000;

/// Takes notifications until the incident's end; all must be of one incident, and none its beginning.
fn until_resolved(pager: &Pager, key: &Value) {
    loop {
        let next = pager.next();
        assert_eq!(next["groupKey"], *key, "another incident: {next}");
        if next["status"] == "resolved" {
            return;
        }
    }
}

#[test]
fn a_restart_neither_pages_again_nor_forgets_to_resolve() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let first = Sidecar::start(&log, pager.address, QUICK, Start::default());
    first.wait_until_ready();
    play(&log, 1, "agent-missing", 3);
    let page = pager.next();
    assert_eq!(page["status"], "firing");
    first.stop().unwrap();

    let second = Sidecar::start(&log, pager.address, QUICK, Start::default());
    second.wait_until_ready();
    play(&log, 2, "healthy", 40);
    until_resolved(&pager, &page["groupKey"]);
    second.stop().unwrap();
    assert!(pager.so_far().is_empty());
}

/// What came of each run goes on below the first message, and its end is seen in the channel, too.
#[test]
fn a_restart_goes_on_in_slacks_thread() {
    let (folder, log) = log();
    let slack = Pager::answering(|number| {
        (
            StatusCode::OK,
            format!("{{\"ok\":true,\"ts\":\"{number}.1\"}}"),
        )
    });
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter2").unwrap();
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    let more = format!(
        "{QUICK}[notify.slack]\ntype = \"slack\"\napi_url = \"http://{}\"\nchannel = \"C0123456789\"\ntoken_file = {token:?}\n",
        slack.address
    );
    let first = Sidecar::start_unheard(&log, &more, Start::default());
    first.wait_until_ready();
    play(&log, 1, "agent-missing", 3);
    assert_eq!(slack.next()["thread_ts"], Value::Null);
    first.stop().unwrap();

    let second = Sidecar::start_unheard(&log, &more, Start::default());
    second.wait_until_ready();
    play(&log, 2, "healthy", 40);
    loop {
        let next = slack.next();
        assert_eq!(next["thread_ts"], "0.1", "{next}");
        if next["reply_broadcast"] == true {
            break;
        }
    }
    second.stop().unwrap();
}

#[test]
fn a_first_run_over_an_empty_log_ends_the_first_start() {
    let (_folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let pager = Pager::start();
    let first = Sidecar::start(&log, pager.address, QUICK, Start::default());
    first.wait_until_ready();
    first.stop().unwrap();
    play(&log, 1, "agent-missing", 3);
    let second = Sidecar::start(&log, pager.address, QUICK, Start::default());
    let page = pager.next();
    assert_eq!(page["alerts"][0]["labels"]["cause"], "agent_refused");
    second.stop().unwrap();
}

#[test]
fn an_empty_log_that_was_named_by_mistake_makes_no_other_one_live() {
    let (folder, log) = log();
    let pager = Pager::start();
    std::fs::write(&log, "").unwrap();
    let first = Sidecar::start(&log, pager.address, QUICK, Start::default());
    first.wait_until_ready();
    first.stop().unwrap();
    // The right log, which held an incident before anybody watched it.
    let right = folder.path().join("right.log");
    play(&right, 1, "agent-missing", 3);
    std::fs::rename(&right, &log).unwrap();
    let second = Sidecar::start(&log, pager.address, QUICK, Start::default());
    second.wait_until_ready();
    assert_eq!(second.metric("bootwatch_boots_total", ""), 0.0);
    second.stop().unwrap();
    assert!(pager.so_far().is_empty());
}

#[test]
fn kill_minus_nine_after_a_page_is_no_second_page() {
    let (folder, log) = log();
    let pager = Pager::start();
    let (mut child, _) = run(folder.path(), &log, pager.address);
    play(&log, 1, "agent-missing", 3);
    let page = pager.next();
    child.kill().unwrap();
    child.wait().unwrap();

    play(&log, 2, "agent-missing", 1);
    let (mut child, _) = run(folder.path(), &log, pager.address);
    play(&log, 3, "healthy", 60);
    let mut firing = 0;
    loop {
        let next = pager.next();
        assert_eq!(next["groupKey"], page["groupKey"], "another incident");
        // The first message may come again if it was not known to have arrived: under its own id, never as another.
        firing += usize::from(next["status"] == "firing" && next == page);
        if next["status"] == "resolved" {
            break;
        }
    }
    assert!(firing <= 1, "{firing}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(pager.so_far().is_empty());
}

#[test]
fn a_page_that_nobody_took_is_sent_by_the_next_run() {
    let (_folder, log) = log();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = Sidecar::start(&log, silent.local_addr().unwrap(), QUICK, Start::default());
    first.wait_until_ready();
    play(&log, 1, "agent-missing", 3);
    eventually("the alert fires", || {
        first.metric("bootwatch_alerts_firing", "BootFailureRate") >= 1.0
    });
    let ended = first.stop().unwrap();
    assert!(ended.unsent >= 1, "{ended:?}");

    let pager = Pager::start();
    let second = Sidecar::start(&log, pager.address, QUICK, Start::default());
    let page = pager.next();
    assert_eq!(page["alerts"][0]["labels"]["cause"], "agent_refused");
    second.stop().unwrap();
}

#[test]
fn without_a_store_the_page_leaves_all_the_same_and_says_so() {
    let (_folder, log) = log();
    std::fs::write(&log, "").unwrap();
    // A folder stands where the store's file should be.
    let place = log.with_extension("db");
    std::fs::create_dir(&place).unwrap();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, QUICK, Start::default());
    eventually("only the store is in the way", || {
        sidecar.get("/-/ready") == (503, "not ready\n- the store cannot be written\n".to_owned())
    });
    assert_eq!(sidecar.metric("bootwatch_source_up", "store"), 0.0);
    play(&log, 1, "agent-missing", 3);
    let page = pager.next().to_string();
    assert!(page.contains("could not store this message"), "{page}");

    // Once the place is free the store is there without a hand, and holds what happened meanwhile.
    std::fs::remove_dir(&place).unwrap();
    eventually("the store is written", || {
        sidecar.metric("bootwatch_source_up", "store") >= 1.0
    });
    sidecar.wait_until_ready();
    sidecar.stop().unwrap();
    let again = Sidecar::start(&log, pager.address, QUICK, Start::default());
    again.wait_until_ready();
    play(&log, 2, "healthy", 40);
    while pager.next()["status"] != "resolved" {}
    again.stop().unwrap();
}

/// All runs on one thread: who reads a long log must leave the writer its turns, and wait where it is too slow.
#[test]
fn boots_of_a_long_past_are_written_while_it_is_read() {
    let (_folder, log) = log();
    let mut text = String::new();
    for number in 0..BOOTS {
        let (at, vm) = (
            number % 86_400,
            format!("vm-00000000-0000-4000-8000-{number:012x}"),
        );
        let time = format!(
            "2025-10-18 {:02}:{:02}:{:02}",
            at / 3_600,
            at / 60 % 60,
            at % 60
        );
        writeln!(
            text,
            "{time} [INFO]: [VM-CREATE] Starting VM creation {{\"module\":\"vm-manager\",\"vmId\":\"{vm}\",\"userId\":\"{}\",\"vmType\":\"browser\"}}\n\
             {time} [ERROR]: [VM-CREATE] VM creation failed {{\"module\":\"vm-manager\",\"vmId\":\"{vm}\",\"vmType\":\"browser\",\"error\":\"IP pool exhausted\",\"elapsed\":9}}",
            vm.trim_start_matches("vm-"),
        )
        .unwrap();
    }
    std::fs::write(&log, text).unwrap();
    let sidecar = Sidecar::start_unheard(&log, "", Start::default());
    sidecar.wait_until_ready();
    let written = || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let path = log.with_extension("db");
            let mut history = History::open(&path).await.unwrap();
            let all = Timestamp(0)..Timestamp(i64::MAX);
            history.boots(all, |_| {}).await.unwrap()
        })
    };
    let early = written();
    assert!(
        early + MOST_UNWRITTEN >= BOOTS,
        "{early} of {BOOTS} at its end"
    );
    sidecar.stop().unwrap();
    assert_eq!(written(), BOOTS);
}
