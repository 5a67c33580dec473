//! The configuration: every message about a bad one word for word, and what good ones amount to.
//!
//! A bad file under `tests/it/config/` carries the expected report in its own head, as lines of `#> `. Its `#env` lines
//! are the environment, `#nohost` is a machine that does not tell its name, and DIR is a directory with secret files. With
//! BLESS set the heads are written anew, to be read before they are committed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwatch::cli::check;
use bootwatch::config::{Channel, Config, LogSource, Problems, Surroundings, Tls, Zone, parse};

const MINIMAL: &str = "[log]\nfile = \"/var/log/x.log\"\n";

fn surroundings(environment: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        environment: environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        host_name: Some("controller-1".to_owned()),
    }
}

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    parse(
        "bootwatch.toml",
        text,
        Path::new("/etc/bootwatch"),
        &surroundings(environment),
    )
}

fn secret_files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text, mode) in [
        ("open", "https://alerts.example/hunter2\n", 0o644),
        ("private", "hunter2\n", 0o600),
        ("url", "https://alerts.example/hunter2\n", 0o640),
        ("empty", "\n", 0o600),
        ("lines", "Bearer\nhunter2\n", 0o600),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    directory
}

/// What is reported about one bad file, and what its head expects.
fn report(text: &str, secrets: &Path) -> (String, String) {
    let lines_of = |mark: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix(mark))
            .map(str::to_owned)
            .collect()
    };
    let environment: Vec<(String, String)> = lines_of("#env ")
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let host_name = lines_of("#nohost")
        .is_empty()
        .then(|| "controller-1".to_owned());
    let secrets = secrets.display().to_string();
    // The head is no part of the file that is judged, so that line numbers are those below it.
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("#>"))
        .map(|line| format!("{line}\n"))
        .collect();
    let found = parse(
        "bootwatch.toml",
        &body.replace("DIR", &secrets),
        Path::new("/etc/bootwatch"),
        &Surroundings {
            environment,
            host_name,
        },
    );
    let found = match found {
        Ok(config) => format!("accepted: {config:?}"),
        Err(problems) => problems.to_string().replace(&secrets, "DIR"),
    };
    (found, lines_of("#> ").join("\n"))
}

/// What `check --live` ends with and says.
fn checked_live(configuration: &Path) -> (u8, String) {
    let arguments = check::Arguments {
        config: configuration.to_owned(),
        example: false,
        live: true,
        alive: false,
    };
    let mut out = Vec::new();
    let status = check::run(&arguments, &surroundings(&[]), &mut out).unwrap();
    (status as u8, String::from_utf8(out).unwrap())
}

#[test]
fn every_message_about_a_bad_file_is_word_for_word() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config");
    let secrets = secret_files();
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut differing = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let (found, expected) = report(&text, secrets.path());
        assert!(
            !found.contains("hunter2"),
            "{}: a secret is shown:\n{found}",
            path.display()
        );
        if std::env::var_os("BLESS").is_some() {
            let head: String = found.lines().map(|line| format!("#> {line}\n")).collect();
            let body: String = text
                .lines()
                .filter(|line| !line.starts_with("#>"))
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(&path, head + &body).unwrap();
        } else if found != expected {
            differing.push(format!(
                "{}:\nfound\n{found}\nexpected\n{expected}\n",
                path.display()
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn one_line_is_a_configuration() {
    let config = read(MINIMAL, &[]).unwrap();
    assert_eq!(config.host, "controller-1");
    assert_eq!(config.log.source, LogSource::File("/var/log/x.log".into()));
    assert_eq!(config.log.timezone, Zone::Auto);
    assert_eq!(config.web.listen.to_string(), "127.0.0.1:9644");
    assert_eq!(config.shutdown.deadline, Duration::from_secs(10));
    let rule = config.rules.boot_failure_rate.unwrap();
    assert_eq!(
        (rule.objective, rule.alpha, rule.last, rule.consecutive),
        (0.95, 0.001, 20, 3)
    );
    assert_eq!(config.rules.connection_refused_spike.unwrap().min_ready, 20);
    assert!(config.notifiers.is_empty());
}

#[test]
fn a_full_file_is_read_into_checked_values() {
    let secrets = secret_files();
    let text = format!(
        r#"
        [host]
        name = "eu-1"
        [log]
        journal = "master-controller"
        timezone = "Europe/Berlin"
        follow = {{ inotify = false, poll_active = "100ms" }}
        [rules]
        ConnectionErrorSpike.enabled = false
        BootFailureRate = {{ objective = 0.9, window = "45m" }}
        [notify.ops]
        type = "webhook"
        url_file = "{0}/url"
        authorization_file = "{0}/private"
        headers = {{ X-Team = "vm" }}
        [links]
        dashboard = "https://grafana.example/d/1"
        "#,
        secrets.path().display()
    );
    let config = read(&text, &[]).unwrap();
    assert_eq!(config.host, "eu-1");
    assert_eq!(
        config.log.source,
        LogSource::Journal("master-controller".to_owned())
    );
    assert!(
        matches!(&config.log.timezone, Zone::Named(zone) if zone.iana_name() == Some("Europe/Berlin"))
    );
    assert_eq!(
        (config.log.follow.inotify, config.log.follow.poll_active),
        (false, Duration::from_millis(100))
    );
    assert_eq!(
        config.rules.boot_failure_rate.as_ref().unwrap().window,
        Duration::from_secs(45 * 60)
    );
    assert_eq!(config.rules.connection_error_spike, None);
    assert_eq!(
        config.links.dashboard.as_ref().unwrap().to_string(),
        "https://grafana.example/d/1"
    );
    let [notifier] = &config.notifiers[..] else {
        panic!("one notifier")
    };
    let Channel::Webhook(webhook) = &notifier.channel else {
        panic!("the notifier is a webhook");
    };
    assert_eq!(
        (notifier.name.as_str(), notifier.channel.kind()),
        ("ops", "webhook")
    );
    assert_eq!(webhook.url.expose().path(), "/hunter2");
    assert_eq!(webhook.authorization.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(webhook.headers[0].1.expose(), "vm");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_environment_goes_over_the_file() {
    let text = "[log]\nfile = \"/var/log/x.log\"\n[notify.ops-eu]\ntype = \"webhook\"\nurl_file = \"/nowhere\"\n";
    let config = read(
        text,
        &[
            ("BOOTWATCH_LOG__JOURNAL", "master-controller"),
            ("BOOTWATCH_LOG__FOLLOW__INOTIFY", "false"),
            ("BOOTWATCH_RULES__BOOTFAILURERATE__LAST", "30"),
            ("BOOTWATCH_RULES__ConnectionErrorSpike__factor", "2"),
            (
                "BOOTWATCH_NOTIFY__OPS_EU__URL",
                "https://me:hunter2@alerts.example/a",
            ),
            ("BOOTWATCH_NOTIFY__NIGHT__TYPE", "webhook"),
            ("BOOTWATCH_NOTIFY__NIGHT__URL", "https://alerts.example/b"),
            ("BOOTWATCH_NOTIFY__NIGHT__AUTHORIZATION", "Bearer hunter2"),
            ("BOOTWATCH_PORT_9644_TCP", "tcp://10.0.0.1:9644"),
            (
                "BOOTWATCH_DATABASE__URL",
                "postgres://me:hunter2@db.example/app",
            ),
            ("BOOTWATCH_DATABASE__TLS", "unverified"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let database = config.database.unwrap();
    assert_eq!(
        (database.tls, database.schema.as_str()),
        (Tls::Unverified, "public")
    );
    assert!(!format!("{:?}", database.url).contains("hunter2"));
    assert_eq!(
        config.log.source,
        LogSource::Journal("master-controller".to_owned())
    );
    assert!(!config.log.follow.inotify);
    assert_eq!(config.rules.boot_failure_rate.unwrap().last, 30);
    assert_eq!(config.rules.connection_error_spike.unwrap().factor, 2.0);
    let names: Vec<&str> = config
        .notifiers
        .iter()
        .map(|notifier| notifier.name.as_str())
        .collect();
    assert_eq!(names, ["ops-eu", "night"]);
}

#[test]
fn the_environment_takes_lists_and_tables_as_the_file_does() {
    let text = "[log]\nfile = \"/var/log/x.log\"\n";
    let window = "Sun 02:00-04:00 Europe/Berlin the image, and its kernel";
    for (networks, windows) in [
        ("10.0.0.0/24, 10.0.1.0/24", window.to_owned()),
        (
            " [\"10.0.0.0/24\", \"10.0.1.0/24\"]",
            format!("[{window:?}]"),
        ),
    ] {
        let config = read(
            text,
            &[
                ("BOOTWATCH_PROBE__NETWORKS", networks),
                ("BOOTWATCH_MAINTENANCE__WINDOWS", &windows),
                ("BOOTWATCH_NOTIFY__OPS__TYPE", "webhook"),
                ("BOOTWATCH_NOTIFY__OPS__URL", "https://alerts.example/a"),
                ("BOOTWATCH_NOTIFY__OPS__HEADERS", "{ X-Team = \"vm\" }"),
            ],
        )
        .unwrap();
        let in_the_second = "10.0.1.9".parse().unwrap();
        assert!(
            config.probe.networks.admit(in_the_second).is_ok(),
            "{networks}"
        );
        assert_eq!(config.maintenance.len(), 1, "{windows}");
    }
    let problems = read(text, &[("BOOTWATCH_PROBE__NETWORKS", "[\"10.0.0.0/24\"")]).unwrap_err();
    assert!(problems.to_string().contains("probe.networks"));
}

fn run_check(path: &Path, example: bool) -> (u8, String) {
    let arguments = check::Arguments {
        config: path.to_owned(),
        example,
        live: false,
        alive: false,
    };
    let mut out = Vec::new();
    let status = check::run(&arguments, &surroundings(&[]), &mut out).unwrap();
    (status as u8, String::from_utf8(out).unwrap())
}

#[test]
fn check_says_what_a_good_file_amounts_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    fs::write(
        &path,
        format!(
            "{MINIMAL}[rules.ConnectionErrorSpike]\nenabled = false\n[rules.BootBudgetBurn]\nobjective = 0.94\n"
        ),
    )
    .unwrap();
    let expected = format!(
        "{}: no problems\n  host: controller-1\n  log: /var/log/x.log, in the zone that the log tells\n  \
         database: not watched\n  web: 127.0.0.1:9644\n  rules: BootFailureRate, ConnectionRefusedSpike, BootBudgetBurn, \
         BootStageSlow, ReadinessHeadroomLow, ControllerSilent, LogLagging, StoreUnwritable, NotifierFailing, \
         RecordsUnparsed, BootsUntold, LogClockWrong; off: ConnectionErrorSpike, SessionsIncomplete, IpPoolLow, GhostVms, DatabaseUnreachable, \
         SyntheticFailing, GoldenImageBroken\n  \
         notifiers: none\n  heartbeat: none; if bootwatch dies, nobody is told\n  \
         note: rules.BootBudgetBurn.page_1h: 14.4 x (1 - 0.94) = 0.864: it fires only when more than 86 % of boots fail\n  \
         note: no [notify.*] is configured: pages go to the log (at level emerg to the journal) and to alerts.last_resort \
         only, and wake nobody else\n",
        path.display()
    );
    assert_eq!(run_check(&path, false), (0, expected));
}

#[test]
fn check_notes_a_last_resort_that_could_not_be_started() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    let text = format!("{MINIMAL}[alerts]\nlast_resort = \"/nowhere/sms\"\n");
    fs::write(&path, text).unwrap();
    let (status, said) = run_check(&path, false);
    let note = "  note: alerts.last_resort: /nowhere/sms does not exist; ";
    assert!(status == 0 && said.contains(note), "{said}");
}

#[test]
fn check_ends_with_2_and_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    let shown = path.display();
    let absent = format!(
        "{shown}: 1 problem\n  cannot be read: No such file or directory (os error 2); write it, or name another with \
         --config\n"
    );
    assert_eq!(run_check(&path, false), (2, absent));
    let folder = format!(
        "{}: 1 problem\n  cannot be read: Is a directory (os error 21); name the file in it with --config\n",
        directory.path().display()
    );
    assert_eq!(run_check(directory.path(), false), (2, folder));
    fs::write(
        &path,
        format!("{MINIMAL}[shutdown]\ndeadline = \"5\"\n[notify.ops]\ntype = \"pagrduty\"\n"),
    )
    .unwrap();
    let both = format!(
        "{shown}: 2 problems\n  shutdown.deadline: \"5\" has no unit; write \"5s\", \"500ms\" or \"2m\"\n  \
         notify.ops.type: unknown kind \"pagrduty\"; known kinds: webhook, email, pagerduty, slack, \
         alertmanager\n"
    );
    assert_eq!(run_check(&path, false), (2, both));
}

#[test]
fn the_printed_example_passes_its_own_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    let (status, example) = run_check(&path, true);
    assert_eq!(status, 0);
    fs::write(&path, example).unwrap();
    assert_eq!(run_check(&path, false).0, 0);
}

/// Whatever stands where a value should: it is accepted or refused, never a panic.
#[test]
fn any_value_in_any_place_is_judged() {
    let odd = [
        "0",
        "-1",
        "1e300",
        "nan",
        "true",
        "\"\"",
        "\"x\"",
        "[]",
        "{}",
        "{ x = 1 }",
        "{ x = \"y\" }",
        "7",
        "2.0",
        "0.05",
        "false",
        "\"5s\"",
        "\"/x\"",
        "\"https://a.example/b\"",
        "2025-10-18",
        "\"a\\u0000b\"",
    ];
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().display().to_string();
    let word = "0123456789abcdef0123456789abcdef\n";
    for (name, secret) in [
        ("authorization", word),
        ("otlp.headers", "authorization=x\n"),
        ("otlp-client.pem", word),
        ("password", word),
        ("routing_key", word),
        ("token", word),
        ("web.token", word),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let example = bootwatch::config::manual::example()
        .replace("# [notify.", "[notify.")
        .replace("/etc/bootwatch", &secrets);
    // Every key but those that contradict another, and places whose twin is a file.
    let lines: Vec<&str> = example
        .lines()
        .filter(|line| {
            let left_out = ["# journal", "# url_file", "# endpoint_file"];
            !left_out.iter().any(|start| line.starts_with(start))
        })
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(" = "))
                .unwrap_or(line)
        })
        .collect();
    assert!(read(&lines.join("\n"), &[]).is_ok());
    let mut verdicts = [0, 0];
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) else {
            continue;
        };
        for value in odd {
            let mut changed: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            changed[at] = format!("{key} = {value}");
            verdicts[usize::from(read(&changed.join("\n"), &[]).is_ok())] += 1;
        }
    }
    assert!(
        verdicts.iter().all(|count| *count > 20),
        "refused and accepted: {verdicts:?}"
    );
}

/// As `docker run --volume FILE:FILE` does it.
#[test]
fn check_live_says_of_a_log_that_is_mounted_as_a_file_that_its_rotations_are_not_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (log, path) = (
        directory.path().join("x.log"),
        directory.path().join("bootwatch.toml"),
    );
    fs::write(
        &log,
        "2025-10-18 01:52:07 [INFO]: Master Controller started\n",
    )
    .unwrap();
    let text = format!(
        "[log]\nfile = {:?}\n[store]\npath = {:?}\n",
        log.display().to_string(),
        directory.path().join("x.db").display().to_string()
    );
    fs::write(&path, text).unwrap();
    let script = "mount --bind \"$1\" \"$1\" && shift && exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["check", "--live", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = format!(
        "{} is mounted by itself, so that the log is lost at its next rotation; mount its folder",
        log.display()
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!checked_live(&path).1.contains("mounted by itself"));
}

#[test]
fn check_live_tries_what_the_file_names_and_sends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("x.log");
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("bootwatch.toml");
    let store = std::cell::RefCell::new(directory.path().join("state/x.db"));
    let check = |listen: std::net::SocketAddr, receiver: std::net::SocketAddr| {
        let text = format!(
            "[host]\nname = \"h\"\n[log]\nfile = {:?}\n[web]\nlisten = \"{listen}\"\n[store]\npath = {:?}\n\
             [notify.ops]\ntype = \"webhook\"\nurl = \"http://{receiver}/hook\"\n",
            log.display().to_string(),
            store.borrow().display().to_string()
        );
        fs::write(&path, text).unwrap();
        checked_live(&path)
    };
    let free = "127.0.0.1:0".parse().unwrap();
    fs::write(
        &log,
        "2025-10-18 01:52:07 [INFO]: Master Controller started {\"module\":\"server\"}\n",
    )
    .unwrap();
    let (status, said) = check(free, receiver.local_addr().unwrap());
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("log: works: it holds the controller's records"),
        "{said}"
    );
    assert!(said.contains("notify.ops: works: "), "{said}");
    assert!(said.ends_with("\ntried: all 4 work\n"), "{said}");
    let kept = store.borrow().display().to_string();
    let made = format!("store: works: {kept} and its folder can be made by this user");
    assert!(said.contains(&made), "{said}");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    // 192.0.2.1 is nobody's.
    let (_, said) = check(
        "192.0.2.1:9644".parse().unwrap(),
        receiver.local_addr().unwrap(),
    );
    let folder = format!(
        "log: does not work: {} is a folder; name the log's file in it",
        log.display()
    );
    assert!(said.contains(&folder), "{said}");
    assert!(
        said.contains("; this host has no such address; choose another"),
        "{said}"
    );
    assert!(
        said.ends_with("\ntried: 2 of 4 do not work: log, web\n"),
        "{said}"
    );
    fs::remove_dir(&log).unwrap();
    fs::write(&log, "something else\n").unwrap();
    // A folder that is none.
    store.replace(log.join("x.db"));
    let gone = receiver.local_addr().unwrap();
    drop(receiver);
    let listen = taken.local_addr().unwrap();
    // Something that is no bootwatch has the web's address.
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let (status, said) = check(listen, gone);
    assert!(
        said.contains("what has it does not answer as bootwatch does"),
        "{said}"
    );
    assert_eq!(status, 1, "{said}");
    assert_eq!(said.matches("does not work: ").count(), 4, "{said}");
    let counted = "\ntried: 4 of 4 do not work: log, web, store, notify.ops\n";
    assert!(said.ends_with(counted), "{said}");
    assert!(
        said.contains("x.log/x.db cannot be kept (") && said.contains("or correct store.path"),
        "{said}"
    );
}

/// A configuration with these receivers, of which all else works.
fn told_to(directory: &Path, receivers: &str) -> PathBuf {
    let log = directory.join("x.log");
    fs::write(&log, "").unwrap();
    let text = format!(
        "[host]\nname = \"h\"\n[log]\nfile = {log:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n{receivers}",
        directory.join("x.db"),
    );
    let path = directory.join("bootwatch.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn check_live_says_what_a_start_would_end_at() {
    let directory = tempfile::tempdir().unwrap();
    let none = directory.path().join("none.pem");
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let there = receiver.local_addr().unwrap();
    fs::write(&none, "no certificate").unwrap();
    let receivers = format!(
        "[notify.mail]\ntype = \"email\"\nserver = \"127.0.0.1\"\nport = {}\nfrom = \"a@example.org\"\n\
         to = [\"b@example.org\"]\nca_file = {none:?}\n[otlp]\nendpoint = \"https://{there}\"\nca_file = {none:?}\n",
        there.port(),
    );
    let path = told_to(directory.path(), &receivers);
    let (status, said) = checked_live(&path);
    assert_eq!(status, 1, "{said}");
    let counted = "\ntried: 2 of 5 do not work: otlp, notify.mail\n";
    assert!(said.ends_with(counted), "{said}");
    assert!(
        said.contains("otlp: does not work: ") && said.contains("; correct otlp.ca_file"),
        "{said}"
    );
    assert!(!said.contains("does not work: notify."), "{said}");
}

#[test]
fn check_live_says_what_cannot_be_trusted_on_a_machine_without_authorities() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let there = receiver.local_addr().unwrap();
    let receivers = format!(
        "[heartbeat]\nurl = \"https://{there}/beat\"\n[notify.hook]\ntype = \"webhook\"\nurl = \"https://{there}/hook\"\n",
    );
    let path = told_to(directory.path(), &receivers);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["check", "--live", "--config"])
        .arg(&path)
        .envs(["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name, "/nonexistent")))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let counted = "\ntried: 2 of 5 do not work: heartbeat, notify.hook\n";
    assert!(said.ends_with(counted), "{said}");
    for name in ["heartbeat", "notify.hook"] {
        let why = format!("{name}: does not work: its client cannot be made: ");
        assert!(said.contains(&why), "{said}");
    }
}

#[test]
fn check_live_says_when_the_log_is_in_another_zone_than_the_one_that_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    let log = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/controller/healthy.log"
    );
    let check = |zone: &str| {
        let store = directory.path().join("x.db").display().to_string();
        let text = format!(
            "[host]\nname = \"h\"\n[log]\nfile = {log:?}\ntimezone = \"{zone}\"\n\
             [web]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n"
        );
        fs::write(&path, text).unwrap();
        checked_live(&path)
    };
    for right in ["auto", "UTC"] {
        let (status, said) = check(right);
        assert_eq!(status, 0, "{said}");
    }
    let (status, said) = check("Europe/Berlin");
    assert_eq!(status, 1, "{said}");
    let wrong = "log: does not work: the log's own UTC instants say that its stamps are UTC, not Europe/Berlin; correct";
    assert!(said.contains(wrong), "{said}");
}
