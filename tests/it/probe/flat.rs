//! A thousand probes that time out leave nothing behind.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bootwatch::core::probe::{Check, ProbeResult};
use bootwatch::probe::Prober;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::limits::full;
use super::{address, block_on, settings};

/// Two ports, in the process that this names them to.
const PORTS: &str = "BOOTWATCH_TEST_STALLING_PORTS";
const NAME: &str = "probe::flat::a_thousand_probes_that_time_out_leave_handles_and_memory_flat";

#[test]
fn a_thousand_probes_that_time_out_leave_handles_and_memory_flat() {
    // The figures are a process', so the probes get one of their own.
    if let Ok(ports) = std::env::var(PORTS) {
        return probes(&ports);
    }
    let silent = Silent::start();
    let (listener, _waiting) = block_on(async { full() });
    let full = listener.local_addr().expect("it has an address").port();
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", NAME, "--nocapture"])
        .env(PORTS, format!("{},{full}", silent.port))
        .output()
        .expect("this program runs again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn probes(ports: &str) {
    let ports = ports.split(',').map(|port| port.parse().expect("a port"));
    let probers: Vec<Prober> = ports
        .map(|port| {
            let mut settings = settings(port);
            settings.timeout = Duration::from_millis(40);
            settings.connect_timeout = Duration::from_millis(20);
            Prober::new(settings)
        })
        .collect();
    let thousand = || {
        block_on(async {
            for _ in 0..20 {
                let mut running = JoinSet::new();
                for _ in 0..25 {
                    for prober in &probers {
                        let (prober, vm) = (prober.clone(), address(prober, Ipv4Addr::LOCALHOST));
                        running.spawn(async move { prober.check(vm, Check::Health).await });
                    }
                }
                for checked in running.join_all().await {
                    assert_eq!(checked.result, ProbeResult::Timeout);
                }
            }
        });
    };
    // What is made once is made by the first.
    thousand();
    let before = (handles(), memory());
    thousand();
    let after = (handles(), memory());
    let figures = format!(
        "handles {} and {}, memory {} and {} KiB",
        before.0, after.0, before.1, after.1
    );
    writeln!(io::stdout(), "{figures}").expect("standard output");
    assert_eq!(before.0, after.0, "{figures}");
    assert!(after.1 < before.1 + 1024, "{figures}");
}

fn handles() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("Linux tells")
        .count()
}

/// Resident, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
    figure
        .and_then(|figure| figure.trim().parse().ok())
        .expect("a figure")
}

/// Takes every connection and says nothing, until the other side goes away.
struct Silent {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Silent {
    fn start() -> Silent {
        let (told, port) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .await
                    .expect("a free port");
                let at = listener.local_addr().expect("it has an address");
                told.send(at.port()).expect("the test waits");
                tokio::select! {
                    _ = stopped => {}
                    error = swallow(listener) => panic!("{error}"),
                }
            });
        });
        Silent {
            port: port.recv().expect("it listens"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

async fn swallow(listener: TcpListener) -> io::Error {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((mut stream, _)) => {
                    open.spawn(async move {
                        let mut heard = Vec::new();
                        drop(stream.read_to_end(&mut heard).await);
                    });
                }
                Err(error) => return error,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
