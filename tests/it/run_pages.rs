//! One incident, one page: the whole sidecar beside a simulated controller.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Happening, Injection, Phase, Plan};
use bootwatch::simulator::player::{Player, Speed};
use bootwatch::simulator::scenario;
use bootwatch::simulator::simulation::Simulation;
use bootwatch::simulator::truth::Truth;
use jiff::tz::TimeZone;

use crate::sidecar::{Pager, Sidecar, eventually, get, log};

const MINUTE: i64 = 60_000;

/// Plays a plan at once; its time stamps end about now.
pub(crate) fn play(log: &Path, max_size: u64, plan: Plan) -> Vec<Truth> {
    let mut files = LogFiles::open(log, max_size, TimeZone::UTC).unwrap();
    let mut truths = Vec::new();
    Player::new(Speed::Max)
        .play(
            &mut Simulation::new(plan),
            &mut [&mut files],
            &mut |truth| {
                truths.push(truth);
                Ok(())
            },
        )
        .unwrap();
    truths
}

fn incident(injection: Injection) -> Plan {
    let start = clock::now().plus_ms(-45 * MINUTE);
    let mix = vec![
        (6, scenario::row("healthy")),
        (1, scenario::row("cli-fresh")),
    ];
    Plan::new(7, start)
        .figures(Figures::sample())
        .injection(injection)
        .phase(Phase {
            from: 0,
            rate: 240,
            boots: None,
            lasts: Some(40 * MINUTE),
            mix,
        })
        .at(12 * MINUTE, Happening::ImageRebuilt { with_agent: false })
        .at(25 * MINUTE, Happening::ImageRebuilt { with_agent: true })
}

const QUICK: &str = "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n";

#[test]
fn one_incident_is_one_page_its_updates_and_one_resolve() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, QUICK, Start::default());
    sidecar.wait_until_ready();
    let truths = play(&log, u64::MAX, incident(Injection::Never));
    let page = pager.next();
    assert_eq!(page["status"], "firing");
    let labels = &page["alerts"][0]["labels"];
    assert_eq!(
        (&labels["cause"], &labels["vm_type"]),
        (&"agent_refused".into(), &"browser".into())
    );
    let key = page["groupKey"].clone();
    let mut rest = Vec::new();
    while rest
        .last()
        .is_none_or(|last: &serde_json::Value| last["status"] != "resolved")
    {
        rest.push(pager.next());
    }
    assert!(
        rest.iter().all(|other| other["groupKey"] == key),
        "one incident, one key"
    );
    let text = page.to_string();
    assert!(
        text.contains("CLI") && text.contains("8080"),
        "what is not affected, and the cause: {text}"
    );
    let ended = sidecar.stop().unwrap();
    assert_eq!(ended.boots_ended, truths.len() as u64);
    assert!(pager.so_far().is_empty());
}

#[test]
fn without_a_channel_a_page_goes_to_the_last_resort_at_once_and_is_not_called_told() {
    let (folder, log) = log();
    let (program, heard) = (folder.path().join("sms"), folder.path().join("heard"));
    std::fs::write(&program, format!("#!/bin/sh\ncat >> {}\n", heard.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let more = format!("{QUICK}last_resort = {:?}\n", program.display().to_string());
    let sidecar = Sidecar::start_unheard(&log, &more, Start::default());
    sidecar.wait_until_ready();
    let mut plan = incident(Injection::Never);
    plan.happenings.pop();
    play(&log, u64::MAX, plan);
    let shouted = |way: &str| sidecar.metric("bootwatch_last_resort_total", way);
    eventually("the program has the page", || {
        shouted("way=\"program\"") >= 1.0
    });
    assert!(shouted("way=\"journal\"") >= 1.0);
    let text = std::fs::read_to_string(&heard).unwrap();
    assert!(
        text.contains("browser boots") && text.contains("Do first:"),
        "{text}"
    );
    eventually("the incident is shown as told to nobody", || {
        let (_, said) = sidecar.get("/api/v1/incidents");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        said["incidents"][0]["told"] == false
    });
    sidecar.stop().unwrap();
}

#[test]
fn what_was_there_before_the_first_start_pages_nobody() {
    let (_folder, log) = log();
    play(&log, u64::MAX, incident(Injection::Never));
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, QUICK, Start::default());
    sidecar.wait_until_ready();
    assert_eq!(
        sidecar.metric("bootwatch_boots_total", ""),
        0.0,
        "history is in no live counter"
    );
    sidecar.stop().unwrap();
    assert!(pager.so_far().is_empty());
}

#[test]
fn every_boot_is_counted_once_through_rotations_and_a_restart() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let first = Sidecar::start(&log, pager.address, QUICK, Start::default());
    first.wait_until_ready();
    let start = clock::now().plus_ms(-60 * MINUTE);
    let mix = vec![(1, scenario::row("healthy"))];
    let plan = |seed, start, boots| {
        let phase = Phase {
            from: 0,
            rate: 600,
            boots: Some(boots),
            lasts: None,
            mix: mix.clone(),
        };
        Plan::new(seed, start)
            .figures(Figures::sample())
            .phase(phase)
    };
    // Four rotations while running, and some while stopped: all pieces are kept, however busy the machine is.
    let truths = play(&log, 700_000, plan(1, start, 150));
    let ready = |sidecar: &Sidecar| sidecar.metric("bootwatch_boots_total", "outcome=\"ready\"");
    let wanted = |truths: &[Truth]| {
        truths
            .iter()
            .filter(|truth| truth.ready_ms.is_some())
            .count()
    };
    let of_first = wanted(&truths);
    eventually("the first run's boots are counted", || {
        ready(&first) >= of_first as f64
    });
    assert_eq!(ready(&first), of_first as f64);
    first.stop().unwrap();
    let truths = play(&log, 700_000, plan(2, start.plus_ms(30 * MINUTE), 60));
    let of_second = wanted(&truths);
    let second = Sidecar::start(&log, pager.address, QUICK, Start::default());
    eventually("the second run's boots are counted", || {
        ready(&second) >= of_second as f64
    });
    assert_eq!(ready(&second), of_second as f64);
    second.stop().unwrap();
}

/// An Alertmanager is shown the state beside the pages that others are sent.
#[test]
fn an_alertmanager_is_shown_what_fires_and_its_end() {
    let (_folder, log) = log();
    let (pager, alertmanager) = (Pager::start(), Pager::start());
    let more = format!(
        "{QUICK}[notify.am]\ntype = \"alertmanager\"\nurls = [\"http://{}\"]\n",
        alertmanager.address
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    play(&log, u64::MAX, incident(Injection::Never));
    let first = alertmanager.next();
    let (name, since) = (&first[0]["labels"]["alertname"], &first[0]["startsAt"]);
    assert_eq!(first[0]["labels"]["severity"], "page");
    assert_eq!(first[0]["annotations"]["cause"], "agent_refused");
    let now = || jiff::Timestamp::from_millisecond(clock::now().0).unwrap();
    let ends = |alerts: &serde_json::Value| {
        let same = |alert: &&serde_json::Value| {
            alert["labels"]["alertname"] == *name && alert["startsAt"] == *since
        };
        let alert = alerts.as_array().unwrap().iter().find(same);
        let ends = alert.and_then(|alert| alert["endsAt"].as_str());
        ends.map(|at| at.parse::<jiff::Timestamp>().unwrap())
    };
    assert!(ends(&first).unwrap() > now(), "it fires");
    eventually("it is among what was told", || {
        let (status, text) = get(sidecar.address, "/api/v1/messages").unwrap();
        assert_eq!(status, 200);
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = told["messages"].as_array().unwrap().iter();
        let told: Vec<_> = told.filter(|one| one["channel"] == "am").collect();
        let is_firing =
            |one: &&serde_json::Value| one["transition"] == "firing" && one["state"] == "sent";
        assert!(told.len() <= 1 && told.iter().all(is_firing), "{told:?}");
        told.len() == 1
    });
    while ends(&alertmanager.next()).is_none_or(|at| at > now()) {}
    sidecar.stop().unwrap();
}
