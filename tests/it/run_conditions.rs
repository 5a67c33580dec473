//! What holds now, through the whole sidecar: a silent controller, a dead channel, and the sign of life.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use bootwatch::app::Start;
use bootwatch::clock;
use serde_json::Value;

use crate::run_ends::{configure, free, play, program};
use crate::sidecar::{Pager, Sidecar, eventually, get, log};

const QUICK: &str =
    "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n[shutdown]\ndeadline = \"1s\"\n";

fn alert<'a>(page: &'a Value, name: &str) -> &'a Value {
    let alerts = page["alerts"].as_array().unwrap();
    let named = alerts
        .iter()
        .find(|alert| alert["labels"]["alertname"] == name);
    named.unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// What an idle controller writes every five minutes.
fn word(log: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).open(log).unwrap();
    let now = jiff::Timestamp::from_millisecond(clock::now().0).unwrap();
    let at = now.strftime("%F %T");
    let line =
        format!("{at} [INFO]: Running VM hibernation check... {{\"module\":\"background\"}}\n");
    file.write_all(line.as_bytes()).unwrap();
}

/// The first notification about an alert of this name.
fn next_about(pager: &Pager, name: &str, status: &str) -> Value {
    loop {
        let next = pager.next();
        let alerts = next["alerts"].as_array().unwrap();
        let about = alerts
            .iter()
            .any(|alert| alert["labels"]["alertname"] == name);
        if about && next["status"] == status {
            return next;
        }
    }
}

#[test]
fn a_controller_that_falls_silent_pages_and_its_next_word_resolves() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let more = format!("{QUICK}[rules.ControllerSilent]\nsilence = \"2s\"\n");
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    play(&log, 1, "healthy", 3);
    let page = next_about(&pager, "ControllerSilent", "firing");
    let labels = &alert(&page, "ControllerSilent")["labels"];
    assert_eq!(labels["severity"], "page");
    assert_eq!(labels["cause"], "controller_silent");
    assert_eq!(labels["cause_family"], "controller");
    assert_eq!(labels["vm_type"], Value::Null, "it is about no kind of VM");
    let said = page["commonAnnotations"]["summary"].as_str().unwrap();
    assert!(
        said.starts_with("the controller writes nothing to its log, since "),
        "{said}"
    );
    let firing = "rule=\"ControllerSilent\"";
    eventually("the alert is in the metrics", || {
        sidecar.metric("bootwatch_alerts_firing", firing) == 1.0
    });
    // A word now and then: silence that begins anew would page again.
    let mut words = 0;
    eventually("it is over", || {
        words += 1;
        if words % 40 == 1 {
            word(&log);
        }
        pager
            .so_far()
            .iter()
            .any(|next| next["status"] == "resolved" && next["groupKey"] == page["groupKey"])
    });
    sidecar.stop().unwrap();
}

/// As when its folder, or the disk that it is on, is taken away: nothing fails, there only is nothing any more.
#[test]
fn a_log_that_is_moved_away_is_said_to_be_gone_until_it_is_back() {
    let (folder, log) = log();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let aside = elsewhere.join("aside.log");
    let sidecar = Sidecar::start_unheard(&log, "", Start::default());
    sidecar.wait_until_ready();
    play(&log, 1, "healthy", 3);
    let up = || sidecar.metric("bootwatch_source_up", "source=\"log\"");
    let boots = || sidecar.metric("bootwatch_boots_total", "outcome=\"ready\"");
    let ready = |status, says: &str| {
        let (is, text) = sidecar.get("/-/ready");
        is == status && text.contains(says)
    };
    eventually("the log is read", || {
        boots() == 3.0 && up() == 1.0 && ready(200, "")
    });
    std::fs::rename(&log, &aside).unwrap();
    let gone = format!("the log cannot be read: {}: No such file", log.display());
    eventually("it is gone", || up() == 0.0 && ready(503, &gone));
    eventually("the page tells it", || {
        let (_, page) = sidecar.get("/system");
        page.contains("cannot be read: No such file")
    });

    play(&aside, 2, "healthy", 2);
    eventually("its writer is heard", || boots() == 5.0 && up() == 1.0);
    eventually("its name is missed", || {
        ready(503, "the log was moved or removed: ")
    });

    std::fs::copy(&aside, &log).unwrap();
    eventually("it is back", || ready(200, ""));
    let lines = || sidecar.metric("bootwatch_log_lines_total", "");
    let before = lines();
    play(&log, 3, "healthy", 1);
    eventually("it is read on", || boots() == 6.0);
    assert!(lines() < before + 200.0, "the copy was read again");
    assert_eq!(sidecar.metric("bootwatch_log_losses_total", ""), 0.0);
    sidecar.stop().unwrap();
}

/// A namespace of its own has its own limit: the machine's is that of everybody.
#[test]
fn where_no_watch_is_left_it_is_said_once_and_the_log_is_polled() {
    let (folder, log) = log();
    let pager = Pager::start();
    let web = free();
    configure(folder.path(), &log, web, pager.address);
    play(&log, 1, "healthy", 1);
    let told = folder.path().join("told");
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let inner = program(folder.path(), &["run"]);
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&told).unwrap())
        .spawn()
        .unwrap();
    eventually("the program is ready", || {
        get(web, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    play(&log, 2, "agent-missing", 3);
    next_about(&pager, "BootFailureRate", "firing");
    child.kill().unwrap();
    child.wait().unwrap();
    let told = std::fs::read_to_string(told).unwrap();
    let said = told.matches("the kernel does not tell of writes").count();
    assert_eq!(said, 1, "{told}");
}

/// A second start on the same store, while the controller is still silent, neither pages again nor forgets.
#[test]
fn a_restart_while_the_controller_is_silent_pages_nobody_again() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let more = format!("{QUICK}[rules.ControllerSilent]\nsilence = \"1s\"\n");
    let first = Sidecar::start(&log, pager.address, &more, Start::default());
    first.wait_until_ready();
    play(&log, 1, "healthy", 2);
    let page = next_about(&pager, "ControllerSilent", "firing");
    first.stop().unwrap();
    drop(pager.so_far());
    let second = Sidecar::start(&log, pager.address, &more, Start::default());
    let firing = "rule=\"ControllerSilent\"";
    eventually("it still fires", || {
        second.metric("bootwatch_alerts_firing", firing) == 1.0
    });
    let mut words = 0;
    eventually("it is over", || {
        words += 1;
        if words % 40 == 1 {
            word(&log);
        }
        let told = pager.so_far();
        let again =
            |next: &&Value| next["status"] == "firing" && next["groupKey"] != page["groupKey"];
        assert_eq!(told.iter().find(again), None, "a second page");
        told.iter()
            .any(|next| next["status"] == "resolved" && next["groupKey"] == page["groupKey"])
    });
    second.stop().unwrap();
}

/// The controller's zone is said to be UTC, and is an hour behind it: nothing but a ticket could tell.
#[test]
fn a_log_in_another_zone_than_the_configured_one_is_told() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, QUICK, Start::default());
    sidecar.wait_until_ready();
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap();
    let began = clock::now().plus_ms(-3_600_000);
    let (mut seconds, mut told) = (0, None);
    eventually("the clock is told", || {
        seconds += 1;
        let at = jiff::Timestamp::from_millisecond(began.plus_ms(seconds * 1_000).0).unwrap();
        let line = format!(
            "{} [WARN]: [WAIT-VM-READY] Health check failed {{\"module\":\"browser-auth\",\"vmIP\":\"127.0.100.70\",\
             \"error\":\"connect ECONNREFUSED 127.0.100.70:8080\",\"code\":\"ECONNREFUSED\",\"elapsed\":1}}\n",
            at.strftime("%F %T")
        );
        file.write_all(line.as_bytes()).unwrap();
        told = pager
            .so_far()
            .into_iter()
            .find(|next| next["status"] == "firing");
        told.is_some()
    });
    let told = told.unwrap();
    let one = alert(&told, "LogClockWrong");
    assert_eq!(one["labels"]["severity"], "ticket");
    assert_eq!(one["labels"]["cause"], "log_clock_wrong");
    let evidence = one["annotations"]["evidence"].as_str().unwrap();
    assert!(
        evidence.contains("behind this machine's clock"),
        "{evidence}"
    );
    sidecar.stop().unwrap();
}

#[test]
fn a_dead_channel_is_told_on_another_and_resolves_when_it_delivers() {
    let (_folder, log) = log();
    let pager = Pager::start();
    // It refuses the key until somebody corrects it.
    let refuses = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = std::sync::Arc::clone(&refuses);
    let other = Pager::answering(
        move |_| match asked.load(std::sync::atomic::Ordering::SeqCst) {
            true => StatusCode::UNAUTHORIZED,
            false => StatusCode::OK,
        },
    );
    let more = format!(
        "{QUICK}[notify.chat]\ntype = \"webhook\"\nurl = \"http://{}/chat\"\n\
         [rules.NotifierFailing]\nfor = \"1s\"\n[rules.ControllerSilent]\nenabled = false\n",
        other.address
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    play(&log, 1, "agent-missing", 3);
    let told = next_about(&pager, "NotifierFailing", "firing");
    let one = alert(&told, "NotifierFailing");
    assert_eq!(one["labels"]["severity"], "ticket");
    let evidence = one["annotations"]["evidence"].as_str().unwrap();
    assert_eq!(
        evidence,
        "chat: it refuses us, by key, password or address (the last try ended as failed_auth)"
    );
    refuses.store(false, std::sync::atomic::Ordering::SeqCst);
    // The incident's end is the next message that the channel gets.
    play(&log, 2, "healthy", 40);
    let over = next_about(&pager, "NotifierFailing", "resolved");
    assert_eq!(over["groupKey"], told["groupKey"]);
    sidecar.stop().unwrap();
}

#[test]
fn the_sign_of_life_comes_regularly_and_stops_with_the_program() {
    let (_folder, log) = log();
    play(&log, 1, "healthy", 1);
    let (pager, listener) = (Pager::start(), Pager::start());
    let beats = heartbeat(&listener);
    let more = format!("{QUICK}{beats}");
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    for _ in 0..2 {
        let beat = listener.next();
        assert_eq!(beat["host"], "host-1");
        assert_eq!(beat["service"], "bootwatch");
    }
    let sent = |sidecar: &Sidecar| sidecar.metric("bootwatch_heartbeats_total", "result=\"sent\"");
    assert!(sent(&sidecar) >= 1.0);
    sidecar.stop().unwrap();
    let so_far = listener.so_far().len();
    assert!(so_far <= 2, "none comes after the end: {so_far}");
}

/// Nobody to tell is a reason to be silent: every channel refuses.
#[test]
fn the_sign_of_life_stops_when_no_channel_delivers() {
    let (_folder, log) = log();
    let listener = Pager::start();
    let dead = Pager::answering(|_| StatusCode::UNAUTHORIZED);
    let more = format!("{QUICK}{}", heartbeat(&listener));
    let sidecar = Sidecar::start(&log, dead.address, &more, Start::default());
    listener.next();
    play(&log, 1, "agent-missing", 3);
    eventually("it is withheld", || {
        sidecar.metric("bootwatch_heartbeats_total", "result=\"withheld\"") >= 2.0
    });
    drop(listener.so_far());
    let withheld = || sidecar.metric("bootwatch_heartbeats_total", "result=\"withheld\"");
    let before = withheld();
    eventually("two more are withheld", || withheld() >= before + 2.0);
    assert_eq!(listener.so_far(), Vec::<Value>::new());
    sidecar.stop().unwrap();
}

fn heartbeat(listener: &Pager) -> String {
    format!(
        "[heartbeat]\nurl = \"http://{}/beat\"\ninterval = \"1s\"\n",
        listener.address
    )
}

#[test]
fn check_says_where_the_sign_of_life_goes_and_never_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = folder.path().join("bootwatch.toml");
    let text = format!(
        "[log]\nfile = \"/var/log/none.log\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
         [heartbeat]\nurl = \"http://{}/ping/0123-token\"\n",
        listener.local_addr().unwrap()
    );
    std::fs::write(&path, text).unwrap();
    let said = |live: bool| check(&path, live);
    assert!(said(false).contains("heartbeat: http://127.0.0.1:"));
    assert!(said(false).contains("every 60s") || said(false).contains("every 1m"));
    let live = said(true);
    assert!(live.contains("heartbeat: works: "), "{live}");
    assert!(!live.contains("0123-token"));
    // It was connected to, and asked nothing.
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
    assert_eq!(bytes, b"", "a check is no sign of life");
}

fn check(path: &Path, live: bool) -> String {
    let arguments = bootwatch::cli::check::Arguments {
        config: path.to_owned(),
        example: false,
        live,
        alive: false,
    };
    let surroundings = bootwatch::config::Surroundings {
        environment: Vec::new(),
        host_name: Some("host-1".to_owned()),
    };
    let mut out = Vec::new();
    bootwatch::cli::check::run(&arguments, &surroundings, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
