//! How a run ends: within its deadline whoever is slow, saying what was left, and going on where it stopped.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bootwatch::app::Start;
use bootwatch::clock::{self, Stopwatch};
use bootwatch::controller::clock::Zone;
use bootwatch::controller::reader::Reader;
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Phase, Plan};
use bootwatch::simulator::player::{Player, Speed};
use bootwatch::simulator::scenario;
use bootwatch::simulator::simulation::Simulation;
use jiff::tz::TimeZone;

use crate::sidecar::{Pager, Sidecar, eventually, get, log};

const ONE_SECOND: &str = "[shutdown]\ndeadline = \"1s\"\n";
/// What an end within one second may take on a busy machine.
const IN_TIME: Duration = Duration::from_secs(4);

/// Plays so many boots of one scenario at once; the seed is also how many hours after the others they begin.
pub(crate) fn play(log: &Path, seed: u32, name: &'static str, boots: u32) {
    let phase = Phase {
        from: 0,
        rate: 600,
        boots: Some(boots),
        lasts: None,
        mix: vec![(1, scenario::row(name))],
    };
    let plan = Plan::new(
        u64::from(seed),
        clock::now().plus_ms(-3_600_000 * (4 - i64::from(seed))),
    )
    .figures(Figures::sample())
    .phase(phase);
    let mut files = LogFiles::open(log, u64::MAX, TimeZone::UTC).unwrap();
    Player::new(Speed::Max)
        .play(&mut Simulation::new(plan), &mut [&mut files], &mut |_| {
            Ok(())
        })
        .unwrap();
}

/// Somebody who takes a connection and never answers.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Waits until somebody called; the connection is held open.
fn called(listener: &TcpListener) -> TcpStream {
    let mut caller = None;
    eventually("the pager is called", || {
        caller = listener.accept().ok();
        caller.is_some()
    });
    caller.unwrap().0
}

#[test]
fn a_page_under_way_to_a_silent_pager_does_not_hold_up_the_end_and_is_counted() {
    let (_folder, log) = log();
    let (pager, address) = silent();
    let sidecar = Sidecar::start(&log, address, ONE_SECOND, Start::default());
    sidecar.wait_until_ready();
    play(&log, 1, "agent-missing", 3);
    let _held = called(&pager);
    let stopping = Stopwatch::start();
    let ended = sidecar.stop().unwrap();
    assert!(stopping.elapsed() < IN_TIME, "{:?}", stopping.elapsed());
    assert!(ended.unsent >= 1, "{ended:?}");
}

#[test]
fn a_web_client_that_never_finishes_its_request_does_not_hold_up_the_end() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, ONE_SECOND, Start::default());
    sidecar.wait_until_ready();
    let mut client = TcpStream::connect(sidecar.address).unwrap();
    client.write_all(b"GET /metr").unwrap();
    // Served after the other was accepted.
    assert_eq!(sidecar.get("/-/healthy").0, 200);
    let stopping = Stopwatch::start();
    let ended = sidecar.stop().unwrap();
    assert!(stopping.elapsed() < IN_TIME, "{:?}", stopping.elapsed());
    assert_eq!(ended.unsent, 0);
}

#[test]
fn half_a_line_at_the_end_is_read_whole_by_the_next_run() {
    let (_folder, log) = log();
    let pager = Pager::start();
    play(&log, 1, "healthy", 2);
    let whole = std::fs::read(&log).unwrap();
    let half = whole.len() - 20;
    std::fs::write(&log, &whole[..half]).unwrap();
    let first = Sidecar::start(&log, pager.address, "", Start::default());
    first.wait_until_ready();
    let first = first.stop().unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(&whole[half..])
        .unwrap();
    let second = Sidecar::start(&log, pager.address, "", Start::default());
    second.wait_until_ready();
    eventually("the line is counted", || {
        second.metric("bootwatch_log_lines_total", "") >= 1.0
    });
    let second = second.stop().unwrap();

    let (_other, other) = crate::sidecar::log();
    std::fs::write(&other, &whole).unwrap();
    let at_once = Sidecar::start(&other, pager.address, "", Start::default());
    at_once.wait_until_ready();
    let at_once = at_once.stop().unwrap();
    assert_eq!(first.records + second.records, at_once.records);
}

/// A line without its end, as a controller leaves one that is killed over it: the framer waits for the rest of it.
fn torn_line(log: &[u8]) -> Vec<u8> {
    let torn = log.split(|byte| *byte == b'\n').map(|line| {
        let mut torn = line.get(..line.len().saturating_sub(2)).unwrap().to_vec();
        torn.push(b'\n');
        torn
    });
    let mut waits = torn.filter(|line| {
        let mut reader = Reader::new(0, Zone::Named(TimeZone::UTC));
        reader.push(line, &mut |_| {});
        let waits = reader.has_pending();
        reader.flush(&mut |_| {});
        waits && reader.counts().unparsed == 1
    });
    waits.next().unwrap()
}

#[test]
fn a_record_that_waits_when_a_run_ends_is_judged_by_the_next_one_though_nothing_follows() {
    let unparsed = |sidecar: &Sidecar| sidecar.metric("bootwatch_log_records_unparsed_total", "");
    // A run that takes a quarter of a second to end judges it itself: once more, then.
    for _ in 0..10 {
        let (_folder, log) = log();
        let pager = Pager::start();
        play(&log, 1, "agent-missing", 1);
        let torn = torn_line(&std::fs::read(&log).unwrap());
        std::fs::OpenOptions::new()
            .append(true)
            .open(&log)
            .unwrap()
            .write_all(&torn)
            .unwrap();
        let first = Sidecar::start(&log, pager.address, "", Start::default());
        first.wait_until_ready();
        let first = first.stop().unwrap();
        let lines = std::fs::read(&log).unwrap();
        let lines = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        if first.records == lines {
            continue;
        }
        let second = Sidecar::start(&log, pager.address, "", Start::default());
        eventually("it is judged", || unparsed(&second) >= 1.0);
        assert_eq!(first.records + second.stop().unwrap().records, lines);
        return;
    }
    panic!("no run ended in time");
}

#[test]
fn a_truncated_log_is_followed_on_and_its_loss_is_counted() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, "", Start::default());
    sidecar.wait_until_ready();
    let ready = || sidecar.metric("bootwatch_boots_total", "outcome=\"ready\"");
    play(&log, 1, "healthy", 5);
    eventually("the first boots are counted", || ready() >= 5.0);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    eventually("the truncation is counted", || {
        sidecar.metric("bootwatch_log_truncations_total", "") >= 1.0
    });
    play(&log, 2, "healthy", 5);
    eventually("the boots after it are counted", || ready() >= 10.0);
    assert_eq!(ready(), 10.0);
    sidecar.stop().unwrap();
}

/// The real program with a configuration beside its log.
pub(crate) fn program(folder: &Path, command: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bootwatch"));
    program
        .args(command)
        .arg("--config")
        .arg(folder.join("bootwatch.toml"));
    program
}

pub(crate) fn configure(folder: &Path, log: &Path, web: SocketAddr, pager: SocketAddr) {
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = {:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"{web}\"\n\
         [store]\npath = {:?}\n[notify.oncall]\ntype = \"webhook\"\nurl = \"http://{pager}/page\"\n\
         [alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n{ONE_SECOND}",
        log.display().to_string(),
        folder.join("bootwatch.db").display().to_string(),
    );
    std::fs::write(folder.join("bootwatch.toml"), text).unwrap();
}

/// An address that was free a moment ago.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn run(folder: &Path, log: &Path, pager: SocketAddr) -> (Child, SocketAddr) {
    let web = free();
    configure(folder, log, web, pager);
    // Ready is only who has found it.
    let made = std::fs::File::options().create(true).append(true).open(log);
    made.unwrap();
    let child = program(folder, &["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the program is ready", || {
        get(web, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    (child, web)
}

fn terminate(child: &Child) {
    send("-TERM", child);
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[test]
fn a_terminated_program_ends_with_0_and_with_1_where_a_page_was_left() {
    let (folder, log) = log();
    let (pager, address) = silent();
    let (mut child, _) = run(folder.path(), &log, address);
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (mut child, _) = run(folder.path(), &log, address);
    play(&log, 1, "agent-missing", 3);
    let _held = called(&pager);
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn check_live_knows_the_bootwatch_that_runs_and_does_not_disturb_it() {
    let (folder, log) = log();
    let pager = Pager::start();
    let (mut child, web) = run(folder.path(), &log, pager.address);
    play(&log, 1, "healthy", 1);
    let checked = program(folder.path(), &["check", "--live"])
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    let known = format!("web: works: {web} is in use by the bootwatch that runs");
    assert!(said.contains(&known), "{said}");
    assert_eq!(get(web, "/-/ready").unwrap().0, 200);
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What the image's health check asks, whatever stands before the pages.
#[test]
fn check_alive_knows_a_bootwatch_behind_tls_users_and_certificates() {
    let (folder, log) = log();
    let pager = Pager::start();
    let at = |name: &str| folder.path().join(name);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(at("server.key"))
        .arg("-out")
        .arg(at("server.crt"))
        .output()
        .expect("openssl is installed; scripts/test installs it");
    assert!(made.status.success(), "{made:?}");
    let hash = "$2b$04$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";
    let tls = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
    let clients = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.crt\n";
    for (guard, scheme) in [
        (format!("basic_auth_users:\n  ada: {hash}\n"), "http"),
        (format!("{tls}basic_auth_users:\n  ada: {hash}\n"), "https"),
        (format!("{tls}{clients}"), "https"),
    ] {
        std::fs::write(at("web.yml"), &guard).unwrap();
        configure(folder.path(), &log, free(), pager.address);
        let config = at("bootwatch.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        // Beside the configuration, as a secret's file may be.
        let text = text.replace("[store]", "config_file = \"web.yml\"\n[store]");
        std::fs::write(&config, text).unwrap();
        let alive = || {
            let asked = program(folder.path(), &["check", "--alive"]).output();
            asked.unwrap().status.code()
        };
        assert_eq!(alive(), Some(1), "{guard}");
        let said = at("out");
        let mut child = program(folder.path(), &["run"])
            .stdout(std::fs::File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it answers", || alive() == Some(0));
        let said = std::fs::read_to_string(&said).unwrap();
        assert!(
            said.contains(&format!(" on {scheme}://127.0.0.1:")),
            "{said}"
        );
        terminate(&child);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_hang_up_ends_nothing_and_it_is_said_when_a_configuration_is_taken() {
    let (folder, log) = log();
    let pager = Pager::start();
    configure(folder.path(), &log, free(), pager.address);
    let said = folder.path().join("said");
    let mut child = program(folder.path(), &["run"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let says = |what: &str| std::fs::read_to_string(&said).unwrap().contains(what);
    eventually("it listens", || says("bootwatch started"));
    send("-HUP", &child);
    eventually("it is said", || {
        says("SIGHUP is ignored: a changed configuration is taken at a restart")
    });
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The program on a port that somebody else has, and what it has said so far.
fn run_on(taken: &TcpListener, folder: &Path, log: &Path, pager: SocketAddr) -> (Child, String) {
    let web = taken.local_addr().unwrap();
    configure(folder, log, web, pager);
    let said = folder.join("said");
    let mut child = program(folder, &["run"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let mut so_far = String::new();
    eventually("it says so, and waits", || {
        so_far = std::fs::read_to_string(&said).unwrap();
        so_far.contains("web.listen is in use; waiting for it")
            && child.try_wait().unwrap().is_none()
    });
    (child, so_far)
}

#[test]
fn a_port_that_is_taken_is_said_at_once_and_is_wrong_use() {
    let (folder, log) = log();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = taken.local_addr().unwrap();
    let waiting = Stopwatch::start();
    let (mut child, so_far) = run_on(&taken, folder.path(), &log, web);
    assert!(so_far.contains(&web.to_string()), "{so_far}");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let waited = waiting.elapsed();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert!(
        said.contains(&format!("listen on {web} (web.listen)")),
        "{said}"
    );
    let waits = said.matches("waiting for it").count();
    assert_eq!(waits, 1, "{said}");
}

#[test]
fn a_port_that_a_predecessor_gives_up_in_time_is_taken() {
    let (folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let pager = Pager::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = taken.local_addr().unwrap();
    let (mut child, _) = run_on(&taken, folder.path(), &log, pager.address);
    drop(taken);
    eventually("it is ready", || {
        get(web, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn whoever_waits_for_a_port_can_be_stopped() {
    let (folder, log) = log();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut child, _) = run_on(&taken, folder.path(), &log, taken.local_addr().unwrap());
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn backtest_says_what_would_have_paged_and_how_soon() {
    let (folder, log) = log();
    play(&log, 1, "healthy", 25);
    play(&log, 2, "agent-missing", 5);
    configure(folder.path(), &log, free(), free());
    let output = program(folder.path(), &["backtest", "--format", "json"])
        .arg(&log)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["boots"], 30, "{said}");
    assert_eq!(said["pages"], 1, "{said}");
    let incident = &said["incidents"][0];
    assert_eq!(incident["cause"], "agent_refused");
    assert!(incident["seconds_to_page"].as_f64().unwrap() < 120.0);
    assert!(incident["resolved_at"].is_null());
}

#[test]
fn backtest_counts_what_the_configuration_counts() {
    let (folder, log) = log();
    play(&log, 1, "healthy", 25);
    play(&log, 2, "agent-missing", 5);
    configure(folder.path(), &log, free(), free());
    let place = folder.path().join("bootwatch.toml");
    let plain = std::fs::read_to_string(&place).unwrap();
    let every_day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        .map(|day| format!("\"{day} 00:00-12:00 UTC rebuild\", \"{day} 11:00-01:00 UTC rebuild\""))
        .join(", ");
    for (more, pages) in [
        (String::new(), 1),
        (format!("[maintenance]\nwindows = [{every_day}]\n"), 0),
    ] {
        std::fs::write(&place, format!("{plain}\n{more}")).unwrap();
        let output = program(folder.path(), &["backtest", "--format", "json"])
            .arg(&log)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{errors}");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&said["boots"], &said["pages"]),
            (&30.into(), &pages.into()),
            "{more}"
        );
    }
}

#[test]
fn a_log_that_could_never_be_read_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.log");
    std::fs::create_dir(&log).unwrap();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, "", Start::default());
    let said = format!(
        "not ready\n- the log cannot be read: {}: not a regular file\n",
        log.display()
    );
    eventually("it is not ready, for one reason", || {
        sidecar.get("/-/ready") == (503, said.clone())
    });
    sidecar.stop().unwrap();
}

#[test]
fn a_log_that_cannot_be_read_any_more_makes_it_unready_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.log");
    std::fs::write(&log, "").unwrap();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, "", Start::default());
    sidecar.wait_until_ready();
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let said = format!(
        "not ready\n- the log cannot be read: {}: not a regular file\n",
        log.display()
    );
    eventually("it is not ready", || {
        sidecar.get("/-/ready") == (503, said.clone())
    });
    assert_eq!(sidecar.get("/-/healthy").0, 200);
    std::fs::remove_dir(&log).unwrap();
    std::fs::write(&log, "").unwrap();
    sidecar.wait_until_ready();
    sidecar.stop().unwrap();
}

#[test]
fn a_log_that_does_not_exist_makes_it_unready_until_it_does_also_where_an_earlier_run_knew_one() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let said = format!(
        "not ready\n- the log does not exist: {} (check log.file)\n",
        log.display()
    );
    let first = Sidecar::start(&log, pager.address, "", Start::default());
    eventually("it says that there is none", || {
        first.get("/-/ready") == (503, said.clone())
    });
    assert_eq!(first.get("/-/healthy").0, 200);
    std::fs::write(&log, "").unwrap();
    eventually("an empty one is one", || first.get("/-/ready").0 == 200);
    play(&log, 1, "healthy", 1);
    eventually("it is read", || {
        first.metric("bootwatch_boots_total", "outcome=\"ready\"") >= 1.0
    });
    first.stop().unwrap();
    std::fs::remove_file(&log).unwrap();
    let second = Sidecar::start(&log, pager.address, "", Start::default());
    eventually("it says that it is gone", || {
        second.get("/-/ready") == (503, said.clone())
    });
    second.stop().unwrap();
}
