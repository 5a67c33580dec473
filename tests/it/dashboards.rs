//! The dashboards: sound in themselves, asking only for what exists, and each panel answered by a real Prometheus that
//! scraped the demo through its incident.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use serde_json::Value;

use crate::postgres::free_port;
use crate::sidecar::get;
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

/// A program that is stopped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const PATIENCE: Duration = Duration::from_secs(180);

fn ask(prometheus: SocketAddr, expression: &str) -> Result<Vec<f64>, String> {
    let encoded: String = expression
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    let (status, body) = get(prometheus, &format!("/api/v1/query?query={encoded}"))
        .map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(body);
    }
    let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let samples = answer["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(samples
        .iter()
        .filter_map(|sample| sample["value"][1].as_str()?.parse::<f64>().ok())
        .collect())
}

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

#[test]
fn every_panel_is_answered_after_the_demo_s_incident() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = BufReader::new(demo.stdout.take().unwrap());
    let _demo = Running(demo);
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in told.lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    let metrics = loop {
        let line = lines
            .recv_timeout(PATIENCE)
            .expect("the demo says where its metrics are");
        if let Some((_, rest)) = line.split_once("http://")
            && line.contains("/metrics")
        {
            break rest.split('/').next().unwrap().to_owned();
        }
    };
    let prometheus = SocketAddr::from(([127, 0, 0, 1], free_port()));
    std::fs::write(
        folder.path().join("prometheus.yml"),
        format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: bootwatch\n  static_configs:\n  - targets: [\"{metrics}\"]\n"
        ),
    )
    .unwrap();
    let server = Command::new("prometheus")
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={prometheus}"))
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("prometheus: {error} (scripts/test installs it)"));
    let _server = Running(server);

    let began = Stopwatch::start();
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let line = lines
            .recv_timeout(left)
            .expect("the demo's incident resolves");
        if line.contains("RESOLVED") {
            break;
        }
    }
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
        waiting.retain(
            |(path, title, expression)| match ask(prometheus, expression) {
                Ok(values) => !values.iter().any(|value| value.is_finite()),
                Err(error) => panic!("{path}, {title}: {expression}: {error}"),
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
            "no data:\n{}",
            silent.join("\n")
        );
        std::thread::park_timeout(Duration::from_millis(500));
    }
    for (path, dashboard) in dashboards() {
        for annotation in annotations(&dashboard) {
            let expression = filled(annotation["expr"].as_str().unwrap());
            assert!(ask(prometheus, &expression).is_ok(), "{path}: {expression}");
        }
    }
}
