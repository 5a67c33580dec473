//! From `write()` of the line that decides to the page's arrival over HTTP on loopback, whole process.
//!
//! ```text
//! cargo bench --bench page -- [--trials N] [--load-trials N] [--lines PER_SECOND] [--store FOLDER | --nothing-kept]
//!                             [--floor PROGRAM] [--stack SCRIPT --profiles a,b]
//! ```
//!
//! Each trial is a fresh `bootwatch run` that has already sent one page and its resolve, so that its connection is warm
//! and its code is paged in; then the third failing boot's last line is written and timed. The processes are started and
//! brought so far a few at a time and timed one by one, each after a silence; the others sleep meanwhile. The receiver
//! is a thread on a plain socket. The page's row is committed with `synchronous=FULL` before it leaves. With
//! `--nothing-kept` there is no place for a store, and it pages from memory, as on a day when the disk fails: what is
//! left is our own work, beside a floor that keeps nothing either.
//!
//! Then the same with other requests' lines written beside it at a rate (`--lines`).
//!
//! `--store` puts the stores elsewhere than the system's folder for temporary files: in memory the disk has no part in
//! it. `--floor` is a program that does nothing but write, inotify, read, (commit,) POST, and prints its quantiles; it
//! runs before, between and after on the same disk, and its middle run counts: with its own pauses of 2 to 8 ms between
//! trials, which leave the machine and the disk awake, and with pauses like ours. `--stack` is a script that times mtail,
//! Prometheus and Alertmanager from the same moment to the same moment at named settings.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench of time reads the clock itself"
)]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::string_slice, reason = "stamps are ASCII of a fixed form")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a child's pages and figures are read with.
const PATIENCE: Duration = Duration::from_secs(20);
/// Processes that are brought so far together.
const COHORT: u64 = 15;
/// How long other lines come before the one that decides.
const BUSY: Duration = Duration::from_millis(250);
/// The floor's pauses, in microseconds: its own, and such as ours (20 to 80 ms, ours being 60 to 83).
const GAPS: [u32; 2] = [2_000, 20_000];

fn main() {
    let arguments = Arguments::read();
    let trials = arguments.number("--trials", 300);
    let load_trials = arguments.number("--load-trials", trials);
    let lines = arguments.number("--lines", 1000);
    let places = Places {
        logs: std::env::temp_dir(),
        stores: arguments
            .text("--store")
            .map_or_else(std::env::temp_dir, PathBuf::from),
        kept: !arguments.has("--nothing-kept"),
    };
    let floor = arguments.text("--floor");
    let stack = arguments.text("--stack");

    let mut floors: [Floors; 2] = Default::default();
    let run_floors = |floors: &mut [Floors; 2]| {
        if let Some(program) = &floor {
            for (gap, floors) in GAPS.into_iter().zip(floors) {
                let run = |database| run_floor(program, database, gap, &places.stores);
                floors.none.extend(run("none"));
                floors.full.extend(run("full"));
            }
        }
    };
    run_floors(&mut floors);
    let idle = times(trials, 0, &places);
    run_floors(&mut floors);
    let busy = times(load_trials, lines, &places);
    run_floors(&mut floors);

    println!("| what | n | p50 ms | p90 ms | p99 ms | max ms | allowed |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut ratios = String::new();
    for (pauses, floors) in ["2 to 8 ms", "20 to 80 ms"].into_iter().zip(&floors) {
        let (none, full) = (middle(&floors.none), middle(&floors.full));
        row(
            &format!("floor, nothing kept, keep-alive, after {pauses}"),
            none,
            "",
        );
        row(
            &format!("floor, commit with synchronous=FULL, keep-alive, after {pauses}"),
            full,
            "",
        );
        ratios += &match places.kept {
            true => against(&idle, full, &format!("commit, {pauses}"), 2.5),
            false => against(&idle, none, &format!("nothing kept, {pauses}"), 5.0),
        };
    }
    let kept = match places.kept {
        true => "commit with synchronous=FULL",
        false => "nothing kept",
    };
    row(
        &format!("bootwatch, idle log, {kept}, after 60 ms and more"),
        quantiles(&idle),
        &format!("{ratios}p99 3 ms"),
    );
    row(
        &format!("bootwatch, {lines} lines/s beside it, {kept}"),
        quantiles(&busy),
        "p99 25 ms",
    );
    if let Some(script) = &stack {
        let profiles = arguments.text("--profiles");
        for profile in profiles
            .as_deref()
            .unwrap_or("aggressive,extreme")
            .split(',')
        {
            run_stack(script, profile);
        }
    }
}

struct Arguments(Vec<String>);

impl Arguments {
    fn read() -> Arguments {
        Arguments(std::env::args().collect())
    }

    fn text(&self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|argument| argument == name)?;
        self.0.get(at + 1).cloned()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        match self.text(name) {
            Some(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name} {text}: not a number")),
            None => otherwise,
        }
    }
}

struct Places {
    logs: PathBuf,
    stores: PathBuf,
    /// Otherwise where the store should be there can be none.
    kept: bool,
}

/// p50, p90, p99 and the greatest, in milliseconds, of so many.
#[derive(Clone, Copy)]
struct Quantiles {
    n: usize,
    ms: [f64; 4],
}

fn quantiles(times: &[Duration]) -> Option<Quantiles> {
    let at = |per_mille: usize| {
        let place = (times.len() * per_mille).div_ceil(1000).max(1) - 1;
        Some(times.get(place)?.as_secs_f64() * 1e3)
    };
    Some(Quantiles {
        n: times.len(),
        ms: [at(500)?, at(900)?, at(990)?, at(1000)?],
    })
}

fn row(what: &str, found: Option<Quantiles>, allowed: &str) {
    let Some(Quantiles { n, ms }) = found else {
        return;
    };
    let ms = ms.map(|ms| format!("{ms:.3}")).join(" | ");
    println!("| {what} | {n} | {ms} | {allowed} |");
}

fn against(times: &[Duration], floor: Option<Quantiles>, name: &str, allowed: f64) -> String {
    match (quantiles(times), floor) {
        (Some(ours), Some(floor)) => format!(
            "{:.2} x floor ({name}) of {allowed}; ",
            ours.ms[0] / floor.ms[0]
        ),
        _ => String::new(),
    }
}

// The floor.

#[derive(Default)]
struct Floors {
    none: Vec<Quantiles>,
    full: Vec<Quantiles>,
}

/// The run with the middle p50.
fn middle(runs: &[Quantiles]) -> Option<Quantiles> {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| a.ms[0].total_cmp(&b.ms[0]));
    runs.get(runs.len() / 2).copied()
}

/// Its line of the whole way: `e2e full keep-alive n=300 p50= 330.1 p90= … p99= … max= … us`.
fn run_floor(program: &str, database: &str, gap: u32, folder: &Path) -> Option<Quantiles> {
    let folder = tempfile::tempdir_in(folder).expect("a temporary folder");
    let ran = Command::new(program)
        .args([
            "page", "--db", database, "--conn", "keep", "--trials", "300", "--gap-us",
        ])
        .arg(gap.to_string())
        .arg("--dir")
        .arg(folder.path())
        .output()
        .expect("run the floor");
    let words: Vec<_> = text_of(&ran.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let text = words.join(" ").replace("= ", "=");
    let figure = |name: &str| {
        let text = text.split_once(&format!(" {name}="))?.1;
        text.split(' ').next()
    };
    let ms = |name: &str| Some(figure(name)?.parse::<f64>().ok()? / 1e3);
    Some(Quantiles {
        n: figure("n")?.parse().ok()?,
        ms: [ms("p50")?, ms("p90")?, ms("p99")?, ms("max")?],
    })
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// The standard stack.

fn run_stack(script: &str, profile: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("page.json");
    let ran = Command::new("python3")
        .arg(script)
        .args(["--prog", "lean", "--trials", "20", "--profile", profile])
        .args([
            "--poll",
            if profile == "extreme" {
                "100ms"
            } else {
                "250ms"
            },
        ])
        .arg("--out")
        .arg(&out)
        .output()
        .expect("run the standard stack");
    let Some(found) = std::fs::read(&out)
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
    else {
        println!("the standard stack did not run: {}", text_of(&ran.stderr));
        return;
    };
    let setting = |name: &str| found["cfg"][name].as_str().unwrap_or("?").to_owned();
    for (_, rule) in found.as_object().into_iter().flatten() {
        let Some(seconds) = rule["lat"].as_array() else {
            continue;
        };
        let mut times: Vec<Duration> = seconds
            .iter()
            .filter_map(|seconds| Some(Duration::from_secs_f64(seconds.as_f64()?)))
            .collect();
        times.sort_unstable();
        let what = format!(
            "mtail (poll {}), Prometheus (scrape {}, rules {}), Alertmanager (group_wait {} s)",
            found["poll"].as_str().unwrap_or("?"),
            setting("scrape"),
            setting("ev"),
            rule["gw"].as_str().unwrap_or("?"),
        );
        row(&what, quantiles(&times), "");
    }
}

// bootwatch.

fn times(trials: u64, lines: u64, places: &Places) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut trial = 0;
    while trial < trials {
        let cohort: Vec<Trial> = (trial..trials.min(trial + COHORT))
            .map(|number| Trial::start(number, places))
            .collect();
        for step in [Trial::fail, Trial::recover, Trial::fail_almost] {
            for one in &cohort {
                step(one);
            }
        }
        trial += COHORT;
        times.extend(cohort.into_iter().map(|one| one.decide(lines)));
    }
    times.sort_unstable();
    times
}

/// One process on its way to the moment that is timed.
struct Trial {
    number: u64,
    log: PathBuf,
    file: File,
    pages: Pages,
    sidecar: Sidecar,
    last: String,
    third: Vec<String>,
    /// What it says once it can be given a log.
    ready: &'static str,
    _folders: [tempfile::TempDir; 2],
}

impl Trial {
    fn start(number: u64, places: &Places) -> Trial {
        let folder = tempfile::tempdir_in(&places.logs).expect("a temporary folder");
        let stores = tempfile::tempdir_in(&places.stores).expect("a temporary folder");
        let log = folder.path().join("master-controller.log");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the log");
        let (pages, receiver) = pager();
        // Nothing can be below a file.
        let (store, ready) = match places.kept {
            true => (stores.path(), "200 OK"),
            false => (
                Path::new("/dev/null"),
                "not ready\n- the store cannot be written",
            ),
        };
        let sidecar = start(folder.path(), store, &log, receiver);
        let mut third = failing(number * 100 + 22);
        let last = third.pop().expect("a last line");
        Trial {
            number,
            log,
            file,
            pages,
            sidecar,
            last: format!("{last}\n"),
            third,
            ready,
            _folders: [folder, stores],
        }
    }

    /// A first incident.
    fn fail(&self) {
        let web = &self.sidecar.web;
        wait_for(web, "GET /-/ready HTTP/1.0\r\n\r\n", self.ready);
        for boot in 0..3 {
            write(&self.file, &failing(self.number * 100 + boot));
        }
    }

    /// Its end.
    fn recover(&self) {
        await_page(&self.pages, "firing");
        for boot in 3..8 {
            write(&self.file, &ready(self.number * 100 + boot));
        }
    }

    /// All of a second one but its last line.
    fn fail_almost(&self) {
        await_page(&self.pages, "resolved");
        while self.pages.try_recv().is_ok() {}
        for boot in 20..22 {
            write(&self.file, &failing(self.number * 100 + boot));
        }
        write(&self.file, &self.third);
    }

    /// That line; how long its page takes.
    fn decide(self, lines: u64) -> Duration {
        let stop = Arc::new(AtomicBool::new(false));
        let noise = (lines > 0).then(|| noise(&self.log, lines, Arc::clone(&stop)));
        // Longer than the batch window, and not in step with it.
        let silence = Duration::from_micros(60_000 + self.number * 7_919 % 23_000);
        thread::sleep(if noise.is_some() {
            silence + BUSY
        } else {
            silence
        });
        assert!(
            self.pages.try_recv().is_err(),
            "nothing is told before it is decided"
        );
        let began = Instant::now();
        (&self.file)
            .write_all(self.last.as_bytes())
            .expect("write the deciding line");
        let arrived = await_page(&self.pages, "firing");
        stop.store(true, Ordering::Relaxed);
        if let Some(noise) = noise {
            noise.join().expect("the load's thread");
        }
        arrived.duration_since(began)
    }
}

struct Sidecar {
    child: Child,
    web: String,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // The bench is over either way.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(folder: &Path, store: &Path, log: &Path, pager: SocketAddr) -> Sidecar {
    let config = folder.join("bootwatch.toml");
    let text = format!(
        "[log]\nfile = \"{}\"\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n[alerts]\nkeep_firing = \"1s\"\n\
         [store]\npath = \"{}\"\n[notify.bench]\ntype = \"webhook\"\nurl = \"http://{pager}/\"\n",
        log.display(),
        store.join("bootwatch.db").display()
    );
    std::fs::write(&config, text).expect("the configuration");
    let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["run", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start bootwatch");
    let out = child.stdout.take().expect("its output");
    let web = web_address(out);
    Sidecar { child, web }
}

/// The first line says where the web listens.
fn web_address(out: impl Read) -> String {
    let mut line = String::new();
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
            if asked.is_ok() && answer.contains(wanted) {
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
fn pager() -> (Pages, SocketAddr) {
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

fn write(mut file: &File, lines: &[String]) {
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
