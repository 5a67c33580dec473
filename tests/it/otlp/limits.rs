//! A receiver that takes connections and never answers costs nothing but the traces that have no room.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use bootwatch::app::Start;

use super::traces::play;
use crate::sidecar::{DEADLINE, Pager, Sidecar, eventually, get, log, within};

/// Listens, and is never there; the kernel takes the connections.
fn black_hole() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The program itself, whose memory is nobody else's.
pub(super) struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(folder: &Path, log: &Path, otlp: SocketAddr) -> Program {
        let otlp = format!("endpoint = \"http://{otlp}\"\ntimeout = \"500ms\"\n");
        Program::told(folder, log, &otlp, &[])
    }

    pub(super) fn told(
        folder: &Path,
        log: &Path,
        otlp: &str,
        environment: &[(&str, &str)],
    ) -> Program {
        // Ready is only who has found it.
        std::fs::File::create(log).unwrap();
        let config = folder.join("bootwatch.toml");
        let text = format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = {log:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = {:?}\n[otlp]\ninterval = \"1s\"\n{otlp}",
            folder.join("bootwatch.db")
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["run", "--config"])
            .arg(&config)
            .env("BOOTWATCH_LOG", "error")
            .envs(environment.iter().copied())
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
    for hours_ago in [14, 12, 10, 8, 6] {
        let truths = play(&log, hours_ago, &["healthy", "agent-missing"], 900);
        boots += truths.len() as f64;
        let what = "every boot is counted and nothing is left to read";
        within(4 * DEADLINE, what, || {
            program.metric("bootwatch_boots_total", "") >= boots
                && program.metric("bootwatch_log_lag_bytes", "") == 0.0
        });
        assert!(program.metric("bootwatch_otlp_traces_waiting", "") <= 1_024.0);
        resident.push(program.metric("process_resident_memory_bytes", ""));
    }
    let dropped = "result=\"dropped\",signal=\"traces\"";
    eventually("the oldest go", || {
        program.metric("bootwatch_otlp_items_total", dropped) > 1_500.0
    });
    let exported = "result=\"exported\"";
    assert_eq!(program.metric("bootwatch_otlp_items_total", exported), 0.0);
    println!("resident bytes after each hour: {resident:?}");
    // The queue was full before these three hours began. One without a bound would hold some 45 MB more after them;
    // what the store and the allocator hold for a while when the machine is busy is there once, not each hour.
    let grown = resident[4] - resident[1];
    assert!(
        grown < 30e6,
        "three hours with a full queue took {grown} bytes"
    );
}

/// The last request is given a minute by its own timeout; the end does not wait for it.
#[test]
fn a_receiver_that_hangs_does_not_hold_up_the_end() {
    for protocol in ["grpc", "http"] {
        let (_folder, log) = log();
        let pager = Pager::start();
        let (hole, otlp) = black_hole();
        hole.set_nonblocking(true).unwrap();
        let more = format!(
            "[otlp]\nendpoint = \"http://{otlp}\"\nprotocol = \"{protocol}\"\ntimeout = \"1m\"\n"
        );
        let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
        sidecar.wait_until_ready();
        play(&log, 4, &["healthy"], 3);
        play(&log, 3, &["healthy"], 1);
        let mut held = None;
        eventually("it is called", || {
            held = hole.accept().ok();
            held.is_some()
        });
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(sidecar.stop().is_ok()));
        let ended = told.recv_timeout(DEADLINE);
        assert_eq!(ended, Ok(true), "{protocol}: it ends in time, and well");
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
