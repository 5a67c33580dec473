//! The dashboards: sound in themselves, asking only for what exists, and each panel answered by a real Prometheus that
//! scraped the demo through its incident.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use serde_json::Value;

use crate::program::{Running, last_lines};
use crate::prometheus::{Prometheus, Unanswered};
use crate::tree;

const FOLDER: &str = "dashboards/";
/// Variables that Grafana brings itself.
const BUILT_IN: [&str; 4] = ["__interval", "__rate_interval", "__range", "__all"];

/// Each dashboard's file and what it holds.
fn dashboards() -> Vec<(String, Value)> {
    let files = tree::files();
    let mut found: Vec<(String, Value)> = files
        .into_iter()
        .filter(|path| path.starts_with(FOLDER) && path.ends_with(".json"))
        .map(|path| {
            let text = tree::read(&path);
            let read =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            (path, read)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 5, "{} dashboards", found.len());
    found
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let list = dashboard["templating"]["list"].as_array();
    list.into_iter().flatten()
}

fn annotations(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let list = dashboard["annotations"]["list"].as_array();
    list.into_iter()
        .flatten()
        .filter(|annotation| annotation["expr"].is_string())
}

/// Every expression of a dashboard, with where it stands.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let of_panels = panels(dashboard).flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets
            .into_iter()
            .map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    of_panels.collect()
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression
        .split(|c: char| !word(c))
        .filter(|word| word.starts_with("bootwatch_") || word.starts_with("process_"))
        .map(|name| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name)
                .to_owned()
        })
        .collect()
}

/// What has no series where the log alone is watched, and what a panel of it says that it needs.
const NEEDS: &[(&str, &str)] = &[
    ("bootwatch_golden_image", "Needs image.path."),
    ("bootwatch_probe", "Needs probe.interval."),
    ("bootwatch_synthetic", "Needs synthetic boots"),
    ("bootwatch_database_", "Needs database.url."),
    ("bootwatch_ip_pool", "Needs database.url."),
    ("bootwatch_sessions", "Needs database.url."),
    ("bootwatch_findings", "Needs database.url."),
    ("bootwatch_notifications_total", "Needs a notifier"),
    ("bootwatch_outbox", "Needs a notifier"),
];

#[test]
fn a_panel_that_the_log_alone_leaves_empty_says_what_it_needs() {
    let mut seen = 0;
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            let asks: Vec<&str> = targets
                .iter()
                .filter_map(|one| one["expr"].as_str())
                .collect();
            let needs = NEEDS.iter().find(|(metric, _)| {
                !asks.is_empty() && asks.iter().all(|expr| expr.contains(metric))
            });
            let Some((_, says)) = needs else { continue };
            seen += 1;
            let told = panel["description"].as_str().unwrap_or_default();
            assert!(told.contains(says), "{path}: {}: {told}", panel["title"]);
        }
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn the_objective_is_the_configured_one() {
    let overview = tree::read("dashboards/overview.json");
    assert!(!overview.contains("/ 0.05") && !overview.contains("objective of 95"));
    assert!(overview.contains("bootwatch_boots_objective_ratio"));
}

#[test]
fn every_metric_that_a_dashboard_asks_for_exists() {
    let documented = tree::read("docs/metrics.md");
    for (path, dashboard) in dashboards() {
        let mut asked: Vec<(String, String)> = expressions(&dashboard);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        asked.extend(annotations(&dashboard).map(|one| (word(&one["name"]), word(&one["expr"]))));
        asked.extend(
            variables(&dashboard).map(|one| (word(&one["name"]), word(&one["definition"]))),
        );
        for (place, expression) in asked {
            for metric in metrics(&expression) {
                assert!(
                    documented.contains(&format!("| `{metric}` |")),
                    "{path}, {place}: {metric} is not in docs/metrics.md"
                );
            }
        }
    }
}

#[test]
fn dashboards_are_laid_out_soundly() {
    let mut uids = BTreeSet::new();
    for (path, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(
            uids.insert(uid.to_owned()),
            "{path}: the uid {uid} is taken"
        );
        assert!(dashboard["schemaVersion"].as_u64() >= Some(39), "{path}");
        assert!(
            !dashboard["description"].as_str().unwrap().is_empty(),
            "{path}"
        );
        let mut ids = BTreeSet::new();
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default().to_owned();
            let place = format!("{path}, {title}");
            assert!(!title.is_empty(), "{path}: a panel without a title");
            assert!(ids.insert(panel["id"].as_u64()), "{place}: its id is taken");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24 && w > 0 && h > 0, "{place}: beyond the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, title.clone());
                assert_eq!(other, None, "{place} lies upon another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                panel["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 5),
                "{place}: what does it show?"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}");
            for link in panel["links"].as_array().into_iter().flatten() {
                // Grafana's schema wants them of every link.
                for field in ["type", "icon", "tooltip", "tags", "asDropdown", "keepTime"] {
                    assert!(!link[field].is_null(), "{place}: a link without {field}");
                }
            }
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{place}: it has no unit"
            );
            let mut refs = BTreeSet::new();
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{place}");
                assert!(
                    refs.insert(target["refId"].as_str().unwrap()),
                    "{place}: a refId twice"
                );
            }
        }
    }
}

#[test]
fn every_variable_is_used_and_every_used_one_exists() {
    for (path, dashboard) in dashboards() {
        let known: BTreeSet<&str> = variables(&dashboard)
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        let text = serde_json::to_string(&dashboard).unwrap();
        for name in &known {
            let used = text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"));
            assert!(used, "{path}: the variable {name} is not used");
        }
        for (place, expression) in expressions(&dashboard) {
            for used in expression.split('$').skip(1) {
                let name: String = used
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                assert!(
                    known.contains(name.as_str()) || BUILT_IN.contains(&name.as_str()),
                    "{path}, {place}: the variable {name} does not exist"
                );
            }
        }
    }
}

/// Prometheus scrapes once a minute unless it is told otherwise, and the job may have any name.
#[test]
fn a_panel_holds_for_any_scrape_job_and_a_scrape_a_minute() {
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{path}, {}", panel["title"]);
                let expr = target["expr"].as_str().unwrap();
                assert!(!expr.contains("job=") && !expr.contains("job!="), "{place}");
                if expr.contains("[$__interval]") {
                    assert_eq!(panel["interval"], "2m", "{place}: a window of one sample");
                }
                if panel["type"] == "stat" {
                    assert_eq!(target["instant"], true, "{place}: it shows what was once");
                }
            }
        }
    }
}

/// Runbooks that panels link to.
#[test]
fn every_runbook_that_a_panel_links_to_is_written() {
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for link in panel["links"].as_array().into_iter().flatten() {
                let url = link["url"].as_str().unwrap();
                let page = url
                    .strip_prefix("$runbooks/")
                    .unwrap_or_else(|| panic!("{path}: {url}"));
                let file = format!("docs/runbooks/{page}.md");
                assert!(
                    Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).is_file(),
                    "{path}: {file}"
                );
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(180);

/// As Grafana would send it, for everything there is.
fn filled(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "20s")
        .replace("$__interval", "20s")
        .replace("$__range", "3m")
        .replace("$host", ".*")
        .replace("$vm_type", ".*")
        .replace("$boot_stage", "agent_start")
}

/// A demo that runs, and what it has said.
struct Demo {
    lines: mpsc::Receiver<String>,
    heard: Vec<String>,
    folder: PathBuf,
    _running: Running,
}

impl Demo {
    const SAID: &str = "demo.said";

    fn start(folder: &Path) -> Demo {
        let said = std::fs::File::create(folder.join(Demo::SAID)).unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .arg("demo")
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .unwrap();
        let told = BufReader::new(demo.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Demo {
            lines,
            heard: Vec::new(),
            folder: folder.to_owned(),
            _running: Running::from(demo),
        }
    }

    /// Reads on until a line tells what is waited for.
    fn until<T>(&mut self, what: &str, tells: impl Fn(&str) -> Option<T>) -> T {
        let began = Stopwatch::start();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                let said = last_lines(&self.folder.join(Demo::SAID));
                panic!("{what}: {error}\n{}\n{said}", self.heard.join("\n"))
            });
            if let Some(found) = tells(&line) {
                return found;
            }
            self.heard.push(line);
        }
    }
}

#[test]
fn every_panel_is_answered_after_the_demo_s_incident() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(folder.path());
    let metrics = demo.until("it says where its metrics are", |line| {
        let (_, rest) = line.split_once("http://")?;
        let (address, path) = rest.split_once('/')?;
        path.starts_with("metrics").then(|| address.to_owned())
    });
    std::fs::write(
        folder.path().join("prometheus.yml"),
        format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: bootwatch\n  static_configs:\n  - targets: [\"{metrics}\"]\n"
        ),
    )
    .unwrap();
    let prometheus = Prometheus::start(folder.path(), &[]);

    demo.until("its incident resolves", |line| {
        line.contains("RESOLVED").then_some(())
    });
    let mut waiting: Vec<(String, String, String)> = dashboards()
        .iter()
        .flat_map(|(path, dashboard)| {
            expressions(dashboard)
                .into_iter()
                .map(move |(title, expression)| (path.clone(), title, filled(&expression)))
        })
        .collect();
    let began = Stopwatch::start();
    loop {
        let mut unreachable = None;
        waiting.retain(
            |(path, title, expression)| match prometheus.ask(expression) {
                Ok(samples) => !samples.iter().any(|(_, value)| value.is_finite()),
                Err(Unanswered::Unreachable(error)) => {
                    unreachable = Some(error);
                    true
                }
                Err(Unanswered::Refused(error)) => panic!("{path}, {title}: {expression}: {error}"),
            },
        );
        if waiting.is_empty() {
            break;
        }
        let silent: Vec<String> = waiting
            .iter()
            .map(|(path, title, expression)| format!("{path}, {title}: {expression}"))
            .collect();
        assert!(
            began.elapsed() < PATIENCE,
            "no data:\n{}\nPrometheus: {unreachable:?} {}",
            silent.join("\n"),
            prometheus.said()
        );
        std::thread::park_timeout(Duration::from_millis(500));
    }
    for (path, dashboard) in dashboards() {
        for annotation in annotations(&dashboard) {
            let expression = filled(annotation["expr"].as_str().unwrap());
            let answer = prometheus.ask(&expression);
            assert!(answer.is_ok(), "{path}: {expression}: {answer:?}");
        }
    }
}
