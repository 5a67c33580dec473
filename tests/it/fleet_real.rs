//! End to end, once: `bootwatch run` beside a simulated controller, a real Prometheus that scrapes it with the exported
//! rules at the scale of seconds, and a real Alertmanager with the configuration of `alerts/`.
//!
//! What is waited for are conditions, with a deadline; the log's stamps are the simulation's, while Prometheus counts in real
//! time, so each act of the play is written at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwatch::clock;
use bootwatch::core::event::Timestamp;
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Injection, Phase, Plan};
use bootwatch::simulator::scenario::row;
use bootwatch::simulator::{Player, Simulation, Speed};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::fleet::exported;
use crate::ports::free_port;
use crate::program::{Running, last_lines};
use crate::prometheus::Prometheus;
use crate::sidecar::{Pager, get};
use crate::tree;

/// Windows of seconds have to pass, and three programs to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const MINUTE: i64 = 60_000;

/// The three programs, and who is told.
struct Fleet {
    folder: tempfile::TempDir,
    log: PathBuf,
    bootwatch: SocketAddr,
    prometheus: Prometheus,
    alertmanager: SocketAddr,
    pager: Pager,
    _running: [Running; 2],
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

impl Fleet {
    fn start() -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let [bootwatch, alertmanager] = [(); 2].map(|()| address());
        let pager = Pager::start();
        let log = at.join("master-controller.log");
        // Ready is only who has found it.
        std::fs::write(&log, "").unwrap();
        write(
            at,
            "bootwatch.toml",
            &format!(
                "[host]\nname = \"127.0.0.1\"\n[log]\nfile = {log:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"{bootwatch}\"\n\
                 [store]\npath = {:?}\n[alerts]\nkeep_firing = \"1s\"\n[rules.BootFailureRate]\nwindow = \"1m\"\n\
                 [rules.ConnectionRefusedSpike]\nwindow = \"1m\"\n[rules.ConnectionErrorSpike]\nwindow = \"1m\"\n",
                at.join("bootwatch.db"),
            ),
        );
        let config = at.join("bootwatch.toml").display().to_string();
        write(at, "bootwatch.rules.yml", &exported(&["--config", &config]));
        write(
            at,
            "prometheus.yml",
            &format!(
                "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [bootwatch.rules.yml]\n\
                 scrape_configs:\n- job_name: bootwatch\n  static_configs:\n  - targets: [\"{bootwatch}\"]\n\
                 alerting:\n  alertmanagers:\n  - static_configs:\n    - targets: [\"{alertmanager}\"]\n"
            ),
        );
        // The one that is checked in, with somebody to tell and less patience.
        let mut told = tree::read("alerts/alertmanager.yml");
        for (name, receiver) in ["pager", "tickets", "heartbeat"]
            .map(|name| (name, format!("https://{name}.example/alertmanager")))
        {
            assert!(told.contains(&receiver), "{receiver}");
            told = told.replace(&receiver, &format!("http://{}/{name}", pager.address));
        }
        assert!(told.contains("group_wait: 5s") && told.contains("group_interval: 1m"));
        let told = told
            .replace("group_wait: 5s", "group_wait: 3s")
            .replace("group_interval: 1m", "group_interval: 1s");
        write(at, "alertmanager.yml", &told);
        let running = [
            Running::start(
                env!("CARGO_BIN_EXE_bootwatch"),
                &["run".to_owned(), "--config".to_owned(), config],
                at,
                "bootwatch.said",
            ),
            Running::start(
                "prometheus-alertmanager",
                &[
                    "--config.file=alertmanager.yml".to_owned(),
                    "--storage.path=alertmanager".to_owned(),
                    format!("--web.listen-address={alertmanager}"),
                    "--cluster.listen-address=".to_owned(),
                ],
                at,
                "alertmanager.said",
            ),
        ];
        // It sends what has changed at once, and the rest as often as this.
        let prometheus = Prometheus::start(at, &["--rules.alert.resend-delay=1s"]);
        let fleet = Fleet {
            folder,
            log,
            bootwatch,
            prometheus,
            alertmanager,
            pager,
            _running: running,
        };
        fleet.until("all three serve", || {
            [
                fleet.bootwatch,
                fleet.prometheus.address,
                fleet.alertmanager,
            ]
            .into_iter()
            .all(|address| get(address, "/-/ready").is_ok_and(|(status, _)| status == 200))
        });
        fleet
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = clock::Stopwatch::start();
        while !holds() {
            if began.elapsed() > PATIENCE {
                let said = ["bootwatch", "alertmanager"].map(|name| {
                    let file = self.folder.path().join(format!("{name}.said"));
                    format!("{name}: {}", last_lines(&file))
                });
                panic!(
                    "not in time: {what}\n{}\nprometheus: {}\nALERTS: {:?}",
                    said.join("\n"),
                    self.prometheus.said(),
                    self.ask("ALERTS")
                );
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// What Prometheus knows of an expression: labels and value.
    fn ask(&self, expr: &str) -> Vec<(Value, f64)> {
        self.prometheus.ask(expr).unwrap_or_default()
    }

    fn sum(&self, expr: &str) -> f64 {
        self.ask(expr).iter().map(|(_, value)| value).sum()
    }

    /// So many boots of one fate, written at once, in simulated time after what was written before.
    fn play(&self, seed: u64, fate: &'static str, boots: u32, start: Timestamp) {
        let mut files = LogFiles::open(&self.log, u64::MAX, TimeZone::UTC).unwrap();
        let plan = Plan::new(seed, start)
            .figures(Figures::sample())
            .injection(Injection::AtClone)
            .phase(Phase {
                from: 0,
                rate: 600,
                boots: Some(boots),
                lasts: None,
                mix: vec![(1, row(fate))],
            });
        Player::new(Speed::Max)
            .play(&mut Simulation::new(plan), &mut [&mut files], &mut |_| {
                Ok(())
            })
            .unwrap();
    }

    /// The next page.
    fn told(&self) -> Value {
        loop {
            let told = self.pager.next();
            if told["receiver"] == "pager" {
                return told;
            }
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn names(told: &Value) -> Vec<&str> {
    let alerts = told["alerts"].as_array().unwrap();
    alerts
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().unwrap())
        .collect()
}

fn post(address: SocketAddr, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// By a real Alertmanager: what bootwatch says of browser VMs and their image, beside what Prometheus says of CLI VMs.
#[test]
fn an_outage_of_cli_vms_is_not_hidden_by_what_is_said_of_browser_vms() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let address = address();
    write(
        at,
        "alertmanager.yml",
        &tree::read("alerts/alertmanager.yml"),
    );
    let arguments = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alertmanager".to_owned(),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let _running = Running::start("prometheus-alertmanager", &arguments, at, "said");
    crate::sidecar::eventually("it serves", || {
        get(address, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    let own = |name: &str| {
        format!(
            r#"{{"labels":{{"alertname":"{name}","host":"a","vm_type":"browser","cause_family":"guest","severity":"page"}}}}"#
        )
    };
    let of_prometheus = |name: &str, vm_type: &str| {
        format!(
            r#"{{"labels":{{"alertname":"{name}","host":"a","vm_type":"{vm_type}","judged_by":"prometheus","severity":"page"}}}}"#
        )
    };
    let by_bootwatch = r#"{"labels":{"alertname":"GoldenImageBroken","host":"a","judged_by":"bootwatch","severity":"page"}}"#;
    let alerts = [
        own("GoldenImageBroken"),
        own("BootFailureRate"),
        of_prometheus("BootFailureRate", "browser"),
        of_prometheus("BootFailureRate", "cli"),
        by_bootwatch.to_owned(),
    ];
    let answer = post(
        address,
        "/api/v2/alerts",
        &format!("[{}]", alerts.join(",")),
    );
    assert!(answer.contains(" 200 "), "{answer}");
    // Whether one is hidden is known once its group was looked at.
    let hidden = || -> Vec<String> {
        let (_, text) = get(address, "/api/v2/alerts").unwrap();
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut hidden: Vec<String> = all
            .iter()
            .filter(|alert| alert["status"]["inhibitedBy"] != Value::Array(Vec::new()))
            .map(|alert| {
                let labels = &alert["labels"];
                let word = |label: &str| labels[label].as_str().unwrap_or("-").to_owned();
                format!(
                    "{} {} {}",
                    word("alertname"),
                    word("vm_type"),
                    word("judged_by")
                )
            })
            .collect();
        hidden.sort();
        hidden
    };
    let wanted = [
        "BootFailureRate browser prometheus",
        "GoldenImageBroken - bootwatch",
    ];
    crate::sidecar::eventually("what is the same is hidden", || hidden() == wanted);
}

#[test]
fn a_real_prometheus_and_alertmanager_tell_of_the_incident_once_and_of_its_end() {
    let fleet = Fleet::start();
    let ready = "sum(bootwatch_boots_total{outcome=\"ready\"})";
    let failed = "sum(bootwatch_boots_total{outcome=\"failed\"})";
    fleet.until("Prometheus has seen the counters at zero", || {
        !fleet.ask(ready).is_empty() && fleet.sum("up{job=\"bootwatch\"}") == 1.0
    });
    let healthy = fleet.pager.next();
    assert_eq!(
        healthy["receiver"], "heartbeat",
        "the heartbeat always fires: {healthy}"
    );

    let start = clock::now().plus_ms(-9 * MINUTE);
    fleet.play(1, "healthy", 12, start);
    fleet.until("healthy boots are counted", || fleet.sum(ready) >= 12.0);
    assert_eq!(
        fleet.sum("ALERTS{alertname=~\"BootFailureRate|BootBudgetBurn|Connection.*\"}"),
        0.0
    );

    fleet.play(2, "agent-missing", 8, start.plus_ms(3 * MINUTE));
    let fired = fleet.told();
    assert_eq!(
        (&fired["receiver"], &fired["status"]),
        (&"pager".into(), &"firing".into()),
        "{fired}"
    );
    fleet.until("every failed boot is counted once", || {
        fleet.sum(failed) == 8.0
    });
    let labels = &fired["commonLabels"];
    assert_eq!(
        (&labels["host"], &labels["vm_type"]),
        (&"127.0.0.1".into(), &"browser".into()),
        "{fired}"
    );
    assert_eq!(
        (&labels["severity"], &labels["judged_by"]),
        (&"page".into(), &"prometheus".into())
    );
    // One group, and the rule that names the cause hides the rates that it raises.
    assert_eq!(names(&fired), ["ConnectionRefusedSpike"], "{fired}");
    let summary = fired["alerts"][0]["annotations"]["summary"]
        .as_str()
        .unwrap();
    assert!(
        summary.contains("are refused on port 8080: ") && summary.contains(" of "),
        "k of n: {summary}"
    );
    fleet.until("the engine and its twins agree", || {
        let engine = fleet.sum("sum(bootwatch_alerts_firing{rule=~\"BootFailureRate|ConnectionRefusedSpike\"})");
        let twins = "count(ALERTS{alertname=~\"BootFailureRate|ConnectionRefusedSpike\",alertstate=\"firing\"})";
        engine == 2.0 && fleet.sum(twins) == 2.0
    });
    let hidden = get(
        fleet.alertmanager,
        "/api/v2/alerts?inhibited=true&active=false",
    )
    .unwrap()
    .1;
    assert!(
        hidden.contains("\"BootFailureRate\""),
        "it is there, and hidden: {hidden}"
    );

    fleet.play(3, "healthy", 12, start.plus_ms(6 * MINUTE));
    // The month's budget stays spent, so the group may go on; the alert itself is told to be over.
    let over = |told: &Value| {
        let alerts = told["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| {
            alert["labels"]["alertname"] == "ConnectionRefusedSpike"
                && alert["status"] == "resolved"
        })
    };
    let mut told = fleet.told();
    while !over(&told) {
        assert_eq!(
            told["groupKey"], fired["groupKey"],
            "one incident, one group: {told}"
        );
        told = fleet.told();
    }
    assert_eq!(told["groupKey"], fired["groupKey"], "{told}");
    fleet.until("nothing fires any more", || {
        fleet.sum("ALERTS{alertname=~\"BootFailureRate|Connection.*\",alertstate=\"firing\"}")
            == 0.0
    });
}
