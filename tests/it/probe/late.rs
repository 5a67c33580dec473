//! Agents that come up after the controller gave up, against the whole sidecar.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::simulator::fate::Agent;
use bootwatch::simulator::plan::{Figures, Injection, Phase, Plan};
use bootwatch::simulator::player::{Player, Speed};
use bootwatch::simulator::simulation::Simulation;
use bootwatch::simulator::{Agents, scenario};

use crate::sidecar::{Pager, Sidecar, eventually, log};
use crate::simulator::Lines;

/// The log of three boots whose agents were refused to the end.
fn refused(injection: Injection) -> String {
    let phase = Phase {
        from: 0,
        rate: 600,
        boots: Some(3),
        lasts: None,
        mix: vec![(1, scenario::row("agent-missing"))],
    };
    let plan = Plan::new(3, clock::now().plus_ms(-600_000))
        .figures(Figures::sample())
        .injection(injection)
        .phase(phase);
    let mut lines = Lines::default();
    Player::new(Speed::Max)
        .play(&mut Simulation::new(plan), &mut [&mut lines], &mut |_| {
            Ok(())
        })
        .unwrap();
    String::from_utf8(lines.0).unwrap()
}

/// The addresses on which the controller waited.
fn waited(log: &str) -> BTreeSet<Ipv4Addr> {
    let waiting = log.lines().filter(|line| line.contains("[WAIT-VM-READY]"));
    waiting
        .filter_map(|line| {
            line.split_once("\"vmIP\":\"")?
                .1
                .split('"')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

fn append(log: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A port that no other test's agents have: theirs are drawn by the kernel, from another address.
fn port() -> u16 {
    let mut agents = Agents::new(0);
    agents
        .up(Ipv4Addr::new(127, 88, 9, 9), Agent::Healthy)
        .unwrap()
        .port()
}

#[test]
fn boots_whose_agents_come_up_late_are_told_from_those_whose_agents_are_missing() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let port = port();
    let more = format!(
        "[alerts]\ngroup_wait = \"1s\"\n[probe]\nnetworks = [\"127.0.0.0/8\"]\nagent_port = {port}\ninterval = \"30s\"\n\
         quick = \"100ms\"\n"
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    // Later controllers leave a VM that they gave up alone for a while: this one never comes to its destruction.
    let story = refused(Injection::AtClone);
    let left: String = story
        .lines()
        .filter(|line| !line.to_lowercase().contains("destroy"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let addresses = waited(&left);
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    // In pieces: each puts the log behind for a moment, which must not make anybody look anew.
    for piece in left.split_inclusive('\n').collect::<Vec<_>>().chunks(8) {
        append(&log, &piece.concat());
    }
    let page = pager.next();
    assert_eq!(
        page["alerts"][0]["labels"]["cause"], "agent_refused",
        "{page}"
    );
    eventually("the VMs are looked at", || {
        sidecar.metric("bootwatch_probes_total", "result=\"ECONNREFUSED\"") >= 6.0
    });
    assert_eq!(sidecar.metric("bootwatch_boots_late_total", ""), 0.0);

    let mut agents = Agents::new(port);
    for ip in &addresses {
        agents.up(*ip, Agent::Healthy).unwrap();
    }
    eventually("all three are known to be late", || {
        sidecar.metric("bootwatch_boots_late_total", "origin=\"user\"") >= 3.0
    });
    let failed = "failure=\"agent_refused\",origin=\"user\"";
    assert_eq!(
        sidecar.metric("bootwatch_boots_total", failed),
        3.0,
        "counted by what the log saw"
    );
    loop {
        let next = pager.next();
        assert_eq!(next["groupKey"], page["groupKey"]);
        if next["alerts"][0]["labels"]["cause"] == "agent_late" {
            break;
        }
    }
    let looks = |check: &str| sidecar.metric("bootwatch_probes_total", check);
    let (quick, whole) = (looks("check=\"connect\""), looks("check=\"vnc_web\""));
    assert!(
        whole <= quick / 2.0,
        "{whole} of {quick} looks asked for everything"
    );
    assert_eq!(sidecar.metric("bootwatch_prober_sound", ""), 1.0);
    assert!(
        sidecar.metric(
            "bootwatch_probe_duration_seconds_count",
            "phase=\"transfer\""
        ) >= 3.0
    );
    sidecar.stop().unwrap();
}

#[test]
fn what_our_own_looks_see_comes_to_the_open_incident() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let port = port();
    let more = format!(
        "[alerts]\ngroup_wait = \"1s\"\n[probe]\nnetworks = [\"127.0.0.0/8\"]\nagent_port = {port}\ninterval = \"30s\"\n\
         quick = \"100ms\"\n"
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let story = refused(Injection::Never);
    let left = story
        .lines()
        .filter(|line| !line.to_lowercase().contains("destroy"));
    append(
        &log,
        &left.flat_map(|line| [line, "\n"]).collect::<String>(),
    );
    let page = pager.next();
    assert!(!page.to_string().contains("our own probe"), "{page:#}");
    eventually("the looks speak in the diagnosis", || {
        let (_, shown) = sidecar.get("/api/v1/incidents");
        shown.contains("our own probe was refused, too in 3 of 3 failed boots")
    });
    let key = page["groupKey"].as_str().unwrap_or_default();
    let (status, html) = sidecar.get(&format!("/incidents/{key}"));
    assert_eq!(status, 200, "{html}");
    assert!(html.contains("our own probe was refused, too"), "{html}");
    sidecar.stop().unwrap();
}

#[test]
fn a_vm_outside_the_networks_is_counted_and_never_contacted() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let port = port();
    let more = format!(
        "[probe]\nnetworks = [\"127.88.0.0/16\"]\nagent_port = {port}\ninterval = \"1s\"\nquick = \"100ms\"\n"
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let story = refused(Injection::AtClone);
    let mut agents = Agents::new(port);
    for ip in waited(&story) {
        agents.up(ip, Agent::Healthy).unwrap();
    }
    let left: String = story
        .lines()
        .filter(|line| !line.to_lowercase().contains("destroy"))
        .flat_map(|line| [line, "\n"])
        .collect();
    append(&log, &left);
    eventually("the addresses are refused", || {
        sidecar.metric("bootwatch_probes_total", "result=\"foreign\"") >= 3.0
    });
    // Had any been contacted, its agent would have answered.
    assert_eq!(
        sidecar.metric("bootwatch_probes_total", "result=\"ok\""),
        0.0
    );
    assert_eq!(
        sidecar.metric("bootwatch_probe_duration_seconds_count", ""),
        0.0
    );
    sidecar.stop().unwrap();
}
