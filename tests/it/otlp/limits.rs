//! A receiver that takes connections and never answers costs nothing but the traces that have no room.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bootwatch::app::Start;
use bootwatch::clock::Stopwatch;

use super::traces::play;
use crate::sidecar::{Pager, Sidecar, eventually, get, log};

/// Listens, and is never there; the kernel takes the connections.
fn black_hole() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The program itself, whose memory is nobody else's.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(folder: &Path, log: &Path, otlp: SocketAddr) -> Program {
        let config = folder.join("bootwatch.toml");
        let text = format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = {log:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = {:?}\n[otlp]\nendpoint = \"http://{otlp}\"\ntimeout = \"500ms\"\ninterval = \"1s\"\n",
            folder.join("bootwatch.db")
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["run", "--config"])
            .arg(&config)
            .env("BOOTWATCH_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let address = said.trim().rsplit("http://").next().unwrap();
        let program = Program {
            address: address.parse().unwrap(),
            child,
        };
        eventually("it is ready", || {
            get(program.address, "/-/ready").is_ok_and(|(status, _)| status == 200)
        });
        program
    }

    fn metric(&self, name: &str, with: &str) -> f64 {
        let (_, text) = get(self.address, "/metrics").unwrap();
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(with))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_hour_of_boots_before_a_black_hole_leaves_no_lag_and_flat_memory() {
    let (folder, log) = log();
    let (_hole, otlp) = black_hole();
    let program = Program::start(folder.path(), &log, otlp);
    // At 900 boots an hour; each boot settles a quarter of an hour after its end.
    let mut boots = 0.0;
    let mut resident = Vec::new();
    for hours_ago in [8, 6, 4] {
        let truths = play(&log, hours_ago, &["healthy", "agent-missing"], 900);
        boots += truths.len() as f64;
        eventually("every boot is counted and nothing is left to read", || {
            program.metric("bootwatch_boots_total", "") >= boots
                && program.metric("bootwatch_log_lag_bytes", "") == 0.0
        });
        assert!(program.metric("bootwatch_otlp_traces_waiting", "") <= 1_024.0);
        resident.push(program.metric("process_resident_memory_bytes", ""));
    }
    let dropped = "result=\"dropped\",signal=\"traces\"";
    assert!(
        program.metric("bootwatch_otlp_items_total", dropped) > 500.0,
        "the oldest went"
    );
    let exported = "result=\"exported\"";
    assert_eq!(program.metric("bootwatch_otlp_items_total", exported), 0.0);
    let grown = resident[2] - resident[1];
    println!("resident bytes after each hour: {resident:?}");
    // The queue was full before that hour began. One without a bound would hold some 15 MB more after it.
    assert!(grown < 12e6, "an hour with a full queue took {grown} bytes");
}

#[test]
fn a_receiver_that_hangs_does_not_hold_up_the_end() {
    for protocol in ["grpc", "http"] {
        let (_folder, log) = log();
        let pager = Pager::start();
        let (hole, otlp) = black_hole();
        hole.set_nonblocking(true).unwrap();
        let more = format!("[otlp]\nendpoint = \"http://{otlp}\"\nprotocol = \"{protocol}\"\n");
        let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
        sidecar.wait_until_ready();
        play(&log, 4, &["healthy"], 3);
        play(&log, 3, &["healthy"], 1);
        let mut held = None;
        eventually("it is called", || {
            held = hole.accept().ok();
            held.is_some()
        });
        let stopping = Stopwatch::start();
        sidecar.stop().unwrap();
        let took = stopping.elapsed();
        println!("{protocol}: ended in {took:?}");
        assert!(took < Duration::from_secs(5), "{protocol}: {took:?}");
    }
}

#[test]
fn what_waits_at_the_end_is_sent_before_it() {
    use super::receiver::{Protocol, Receiver};
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let (_folder, log) = log();
        let (pager, receiver) = (Pager::start(), Receiver::start(protocol));
        // Nothing but the end makes it send metrics.
        let more = receiver.settings().replace("\"1s\"", "\"1h\"");
        let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
        sidecar.wait_until_ready();
        play(&log, 4, &["healthy"], 3);
        play(&log, 3, &["healthy"], 1);
        eventually("traces wait, or are on their way already", || {
            let exported = "result=\"exported\",signal=\"traces\"";
            let waiting = sidecar.metric("bootwatch_otlp_traces_waiting", "");
            waiting + sidecar.metric("bootwatch_otlp_items_total", exported) >= 3.0
        });
        sidecar.stop().unwrap();
        let spans: usize = receiver
            .so_far()
            .iter()
            .map(|told| told.message.resource_spans[0].scope_spans[0].spans.len())
            .sum();
        assert!(spans >= 3, "{spans}");
        assert!(!receiver.metrics().resource_metrics.is_empty());
    }
}
