//! From `write()` of the line that decides to the page's arrival over HTTP on loopback, whole process.
//!
//! `cargo bench --bench page [-- --trials N] [--load LINES_PER_SECOND]`
//!
//! Each trial is a fresh `bootwatch run` that has already sent one page and its resolve, so that its connection is warm
//! and its code is paged in; then the third failing boot's last line is written and timed. The receiver is a thread on a
//! plain socket. With `--load`, other boots' healthy lines are written at that rate meanwhile.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench of time reads the clock itself"
)]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::string_slice, reason = "stamps are ASCII of a fixed form")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a child's pages and figures are read with.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(otherwise)
    };
    let trials = number("--trials", 30);
    let load = number("--load", 0);
    let mut times: Vec<Duration> = (0..trials).map(|trial| one(trial, load)).collect();
    times.sort_unstable();
    let quantile = |per_mille: usize| {
        times[(times.len() * per_mille).div_ceil(1000).max(1) - 1].as_secs_f64() * 1e3
    };
    println!(
        "write to page, load {load}/s, n={trials}: p50 {:.3} ms  p90 {:.3} ms  p99 {:.3} ms  max {:.3} ms",
        quantile(500),
        quantile(900),
        quantile(990),
        quantile(1000)
    );
}

struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        // The bench is over either way.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn one(trial: u64, load: u64) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("master-controller.log");
    let (pages, receiver) = pager();
    let mut sidecar = start(folder.path(), &log, receiver);
    let web = web_address(&mut sidecar);
    wait_for(&web, "GET /-/ready HTTP/1.0\r\n\r\n", "200");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .expect("the log");

    // A first incident and its end.
    for boot in 0..3 {
        write(&mut file, &failing(trial * 100 + boot));
    }
    await_page(&pages, "firing");
    for boot in 3..8 {
        write(&mut file, &ready(trial * 100 + boot));
    }
    await_page(&pages, "resolved");
    while pages.try_recv().is_ok() {}

    let stop = Arc::new(AtomicBool::new(false));
    let noise = (load > 0).then(|| noise(&log, load, Arc::clone(&stop)));
    let third = failing(trial * 100 + 22);
    let (before, last) = third.split_at(third.len() - 1);
    for boot in 20..22 {
        write(&mut file, &failing(trial * 100 + boot));
    }
    write(&mut file, before);
    // Longer than the batch window, and not in step with it.
    thread::sleep(Duration::from_millis(60 + trial * 7 % 23));
    let line = format!("{}\n", last[0]);
    let began = Instant::now();
    file.write_all(line.as_bytes())
        .expect("write the deciding line");
    let arrived = await_page(&pages, "firing");
    stop.store(true, Ordering::Relaxed);
    if let Some(noise) = noise {
        noise.join().expect("the load's thread");
    }
    arrived.duration_since(began)
}

fn start(folder: &Path, log: &Path, pager: std::net::SocketAddr) -> Sidecar {
    let config = folder.join("bootwatch.toml");
    let text = format!(
        "[log]\nfile = \"{}\"\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n[alerts]\nkeep_firing = \"1s\"\n\
         [store]\npath = \"{}\"\n[notify.bench]\ntype = \"webhook\"\nurl = \"http://{pager}/\"\n",
        log.display(),
        folder.join("bootwatch.db").display()
    );
    std::fs::write(&config, text).expect("the configuration");
    let child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["run", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start bootwatch");
    Sidecar(child)
}

/// The first line says where the web listens.
fn web_address(sidecar: &mut Sidecar) -> String {
    let mut line = String::new();
    let out = sidecar.0.stdout.take().expect("its output");
    BufReader::new(out)
        .read_line(&mut line)
        .expect("its first line");
    line.trim()
        .rsplit("http://")
        .next()
        .expect("an address")
        .to_owned()
}

fn wait_for(address: &str, request: &str, wanted: &str) {
    let began = Instant::now();
    loop {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            let asked = stream
                .write_all(request.as_bytes())
                .and_then(|()| stream.read_to_string(&mut answer));
            if asked.is_ok()
                && answer
                    .lines()
                    .next()
                    .is_some_and(|status| status.contains(wanted))
            {
                return;
            }
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{request} did not answer {wanted}: {answer}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

type Pages = mpsc::Receiver<(Instant, String)>;

/// A keep-alive HTTP server on a plain socket; says when each body was complete.
fn pager() -> (Pages, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let tx = tx.clone();
            thread::spawn(move || serve(stream, &tx));
        }
    });
    (rx, address)
}

fn serve(stream: TcpStream, pages: &mpsc::Sender<(Instant, String)>) {
    drop(stream.set_nodelay(true));
    let Ok(mut answer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let now = Instant::now();
        if pages
            .send((now, String::from_utf8_lossy(&body).into_owned()))
            .is_err()
            || answer
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .is_err()
        {
            return;
        }
    }
}

fn await_page(pages: &Pages, status: &str) -> Instant {
    let wanted = format!("\"status\":\"{status}\"");
    loop {
        let (at, body) = pages.recv_timeout(PATIENCE).expect("a page in time");
        if body.replace("\": \"", "\":\"").contains(&wanted) {
            return at;
        }
    }
}

fn write(file: &mut File, lines: &[String]) {
    let text: String = lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect();
    file.write_all(text.as_bytes()).expect("write to the log");
}

fn noise(log: &Path, rate: u64, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let mut file = OpenOptions::new().append(true).open(log).expect("the log");
    thread::spawn(move || {
        let began = Instant::now();
        let mut written = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let due = u64::try_from(began.elapsed().as_millis()).unwrap_or(0) * rate / 1000;
            while written < due {
                let line = format!(
                    "{} [INFO]: [REQUEST-ENTRY] Incoming request {{\"module\":\"server\",\"requestId\":\"req-{written}\",\"method\":\"GET\",\"url\":\"/health\",\"ip\":\"127.0.0.1\"}}\n",
                    stamp()
                );
                file.write_all(line.as_bytes()).expect("write noise");
                written += 1;
            }
            thread::sleep(Duration::from_micros(500));
        }
    })
}

/// Now, as the controller writes it in UTC.
fn stamp() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let at = jiff::Timestamp::from_second(i64::try_from(seconds).expect("fits")).expect("a date");
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn boot(number: u64) -> (Vec<String>, String, String) {
    let vm = format!("vm-00000000-0000-4000-8000-{number:012x}");
    let ip = format!("192.168.{}.{}", 100 + number / 200 % 100, 2 + number % 200);
    let user = format!("00000000-0000-4000-9000-{number:012x}");
    let session = format!("00000000-0000-4000-a000-{number:012x}");
    let at = stamp();
    let iso = format!("{}T{}.000Z", &at[..10], &at[11..]);
    let lines = vec![
        format!(
            "{at} [INFO]: [VM-CREATE] Starting VM creation {{\"module\":\"vm-manager\",\"vmId\":\"{vm}\",\"userId\":\"{user}\",\"vmType\":\"browser\",\"startTime\":\"{iso}\"}}"
        ),
        format!(
            "{at} [INFO]: [VM-CREATE] Step 1: IP allocated {{\"module\":\"vm-manager\",\"vmId\":\"{vm}\",\"ipAddress\":\"{ip}\",\"elapsed\":1}}"
        ),
        format!(
            "{at} [INFO]: [VM-CREATE] VM created successfully {{\"module\":\"vm-manager\",\"vmId\":\"{vm}\",\"ipAddress\":\"{ip}\",\"vmType\":\"browser\",\"totalTime\":300}}"
        ),
        format!(
            "{at} [INFO]: Browser VM created successfully {{\"module\":\"browser-auth\",\"userId\":\"{user}\",\"provider\":\"codex\",\"sessionId\":\"{session}\",\"browserVMId\":\"{vm}\",\"browserVMIP\":\"{ip}\"}}"
        ),
        format!(
            "{at} [INFO]: [WAIT-VM-READY] Starting health check {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\",\"maxWaitMs\":100}}"
        ),
        format!(
            "{at} [INFO]: [WAIT-VM-READY] Attempting health check {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\",\"elapsed\":0,\"url\":\"http://{ip}:8080/health\"}}"
        ),
    ];
    (lines, ip, at)
}

/// A boot that is refused; its last line is the time-out.
fn failing(number: u64) -> Vec<String> {
    let (mut lines, ip, at) = boot(number);
    lines.push(format!("{at} [WARN]: [WAIT-VM-READY] Health check failed {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\",\"error\":\"connect ECONNREFUSED {ip}:8080\",\"code\":\"ECONNREFUSED\",\"elapsed\":1}}"));
    lines.push(format!("{at} [ERROR]: [WAIT-VM-READY] Timeout exceeded {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\",\"maxWaitMs\":100}}"));
    lines
}

fn ready(number: u64) -> Vec<String> {
    let (mut lines, ip, at) = boot(number);
    lines.push(format!("{at} [INFO]: [WAIT-VM-READY] Got response {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\",\"status\":200,\"ok\":true}}"));
    lines.push(format!(
        "{at} [INFO]: [WAIT-VM-READY] VM ready! {{\"module\":\"browser-auth\",\"vmIP\":\"{ip}\"}}"
    ));
    lines
}
