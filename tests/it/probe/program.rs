//! `bootwatch probe` as a user runs it.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Output};

use bootwatch::simulator::Agents;
use bootwatch::simulator::fate::Agent;
use serde_json::Value;

use super::server::{Server, request};

const IP: Ipv4Addr = Ipv4Addr::new(127, 88, 3, 2);
const NETWORK: &str = "127.88.3.0/24";

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .arg("probe")
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_vm_that_is_fine_is_told_so_with_each_phase() {
    let agent = Server::start(|mut stream| {
        let head = request(&mut stream);
        if head.is_empty() {
            return None;
        }
        let now = jiff::Timestamp::now();
        let body = format!("{{\"status\":\"ok\",\"timestamp\":\"{now:.3}\",\"activeSessions\":1}}");
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        drop(stream.write_all(answer.as_bytes()));
        None
    });
    let web = Server::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let vnc = Server::start(|mut stream| {
        drop(stream.write_all(b"RFB 003.008\n"));
        Some(stream)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("bootwatch.toml");
    let written = format!(
        "[host]\nname = \"here\"\n[log]\nfile = \"/nowhere/master-controller.log\"\n[probe]\n\
         networks = [\"127.0.0.0/24\"]\nagent_port = {}\nvnc_web_port = {}\nvnc_port = {}\n",
        agent.port(),
        web.port(),
        vnc.port()
    );
    std::fs::write(&config, written).expect("it can be written");
    let config = config.to_str().expect("a path");
    let output = probe(&["127.0.0.1", "--config", config]);
    let shown = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shown}{}",
        text(&output.stderr)
    );
    assert!(shown.contains("The agent is healthy"), "{shown}");
    assert!(
        !shown.contains('\u{1b}'),
        "no colour where no terminal is: {shown}"
    );
    let output = probe(&["127.0.0.1", "--config", config, "--format", "json"]);
    let look: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(look["healthy"], true);
    assert_eq!(look["complaints"], Value::Array(Vec::new()));
    let checks = look["checks"].as_array().expect("checks");
    let names: Vec<&str> = checks
        .iter()
        .filter_map(|one| one["check"].as_str())
        .collect();
    assert_eq!(names, ["connect", "health", "vnc_web", "vnc", "negative"]);
    for check in checks {
        assert_eq!(check["verdict"], "passed", "{check}");
        let phases = check["phases"].as_object().expect("phases");
        let sum: f64 = phases.values().filter_map(Value::as_f64).sum();
        let total = check["seconds"].as_f64().expect("a total");
        assert!((sum - total).abs() < 0.005, "{check}");
    }
    assert_eq!(checks[1]["answerer"], "agent");
    assert!(checks[1]["clock_skew_seconds"].as_f64().is_some());
}

#[test]
fn a_vm_without_an_agent_is_told_by_its_refusal() {
    let mut agents = Agents::new(0);
    let at = agents.up(IP, Agent::Healthy).expect("an agent");
    agents.down(IP);
    let port = at.port().to_string();
    let output = probe(&["127.88.3.2", "--network", NETWORK, "--agent-port", &port]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("connect failed: ECONNREFUSED"), "{shown}");
    assert!(shown.contains("health failed: ECONNREFUSED"), "{shown}");
}

#[test]
fn what_lies_outside_the_networks_is_never_contacted() {
    let server = Server::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let port = server.port().to_string();
    for target in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "::1",
        "localhost",
        "127.88.3.0",
        "127.88.3.255",
        "0.0.0.0",
        "127.1",
        "127.0.0.1:22",
        "",
        "http://127.88.3.2/",
        "no such name\u{1b}[2J",
    ] {
        let output = probe(&[target, "--network", NETWORK, "--agent-port", &port]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{target}: {said}");
        assert!(said.starts_with("not contacted: "), "{target}: {said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert!(output.stdout.is_empty(), "{target}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn networks_that_are_not_ones_own_are_refused() {
    for network in [
        "0.0.0.0/0",
        "8.8.8.0/24",
        "169.254.0.0/16",
        "192.168.100.1/24",
        "here",
    ] {
        let output = probe(&["127.88.3.2", "--network", network]);
        assert_eq!(output.status.code(), Some(2), "{network}");
    }
}

#[test]
fn what_a_guest_says_reaches_no_terminal() {
    let server = Server::saying(
        b"HTTP/1.1 200 \x1b[31mOK\r\nX-\x1b[2J: y\r\nContent-Length: 24\r\n\r\n{\"status\":\"\x1b[2J<script>\"}",
    );
    let port = server.port().to_string();
    let output = probe(&[
        "127.0.0.1",
        "--network",
        "127.0.0.0/24",
        "--agent-port",
        &port,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(
        !shown.contains('\u{1b}') && !shown.contains("script"),
        "{shown}"
    );
}
