//! The rules for a fleet: what is checked in is what the code exports, Prometheus and Alertmanager take it, every rule is
//! tried with promtool, and every link leads somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwatch::core::event::Failure;
use bootwatch::core::rule::RuleName;
use bootwatch::export::rules::{Judge, ROWS};

use crate::tree;

const RULES: &str = "alerts/bootwatch.rules.yml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the program says; its complaint, if it is not pleased.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(said(&output.stdout) + &said(&output.stderr)),
    }
}

pub(crate) fn exported(arguments: &[&str]) -> String {
    let arguments = [&["rules", "export"], arguments].concat();
    run(env!("CARGO_BIN_EXE_bootwatch"), &arguments).unwrap()
}

/// The files under `alerts/tests`.
fn trials() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("alerts/tests")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_rules_that_are_checked_in_are_those_that_are_exported() {
    let exported = exported(&[]);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root().join(RULES), &exported).unwrap();
    }
    assert!(
        tree::read(RULES) == exported,
        "{RULES} is behind the code; BLESS=1 cargo test --test it fleet:: writes it"
    );
}

#[test]
fn a_wrong_configuration_or_a_job_s_name_that_is_no_word_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "[log]\nfile = \"/x\"\n[rules.BootFailureRate]\nobjektive = 0.9\n",
    )
    .unwrap();
    let config = file.path().display().to_string();
    for (arguments, said) in [
        (["--config", config.as_str()], "objektive"),
        (["--config", "/does/not/exist.toml"], "cannot be read"),
        (
            ["--job", "x\"} or vector(1)"],
            "write a job's name of letters",
        ),
        (["--format", "nagios"], "prometheus"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["rules", "export"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "no half of a rule file");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains(said), "{arguments:?}: {words}");
    }
    let renamed = exported(&["--job", "sidecars"]);
    assert!(renamed.contains("up{job=\"sidecars\"}") && !renamed.contains("job=\"bootwatch\""));
}

#[test]
fn prometheus_takes_the_rules() {
    let said = run(
        "promtool",
        &["check", "rules", "--lint=all", "--lint-fatal", RULES],
    )
    .unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_rule_passes_its_trials_and_has_one_that_fires_and_one_that_does_not() {
    let mut fires = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for file in trials() {
        let path = file.display().to_string();
        run("promtool", &["test", "rules", &path]).unwrap_or_else(|said| panic!("{path}: {said}"));
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("alertname=\"").skip(1) {
            let name = part.split('"').next().unwrap().to_owned();
            // Up to the next question: the samples that it expects.
            let answer = part.split("- expr:").next().unwrap();
            match answer.contains("exp_samples: []") {
                true => quiet.insert(name),
                false => fires.insert(name),
            };
        }
    }
    for row in ROWS {
        assert!(
            fires.contains(row.name),
            "{} never fires in alerts/tests",
            row.name
        );
        assert!(
            quiet.contains(row.name) || row.severity.is_none(),
            "{} is never quiet in alerts/tests",
            row.name
        );
    }
}

#[test]
fn alertmanager_takes_the_configuration() {
    let said = run("amtool", &["check-config", "alerts/alertmanager.yml"]).unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_rule_goes_to_the_receiver_of_its_severity() {
    let file = "--config.file=alerts/alertmanager.yml";
    for row in ROWS {
        let severity = row.severity.map_or("none", |severity| severity.as_str());
        let receiver = match severity {
            "page" => "pager",
            "ticket" => "tickets",
            _ => "heartbeat",
        };
        let (name, severity) = (
            format!("alertname={}", row.name),
            format!("severity={severity}"),
        );
        let verify = format!("--verify.receivers={receiver}");
        run(
            "amtool",
            &["config", "routes", "test", file, &verify, &name, &severity],
        )
        .unwrap_or_else(|said| panic!("{}: {said}", row.name));
    }
}

#[test]
fn every_name_that_alertmanager_is_told_is_a_rule() {
    let text = tree::read("alerts/alertmanager.yml");
    let mut told = 0;
    for line in text.lines().filter(|line| line.contains("alertname =")) {
        let names = line
            .split("alertname =")
            .nth(1)
            .unwrap()
            .split(['"', ']', ',', '|', '~', ' ']);
        for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())) {
            assert!(
                ROWS.iter().any(|row| row.name == name),
                "{name} is no rule: {line}"
            );
            told += 1;
        }
    }
    assert!(told > 15, "{told}");
}

/// The anchors of a page's headings, as GitHub and its like make them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

fn runbook(name: &str) -> String {
    tree::read(&format!("docs/runbooks/{name}.md"))
}

#[test]
fn every_runbook_that_a_page_or_a_rule_links_to_is_there_at_its_anchor() {
    let index = runbook("README");
    for row in ROWS {
        let text = runbook(row.name);
        assert!(
            text.starts_with(&format!("# {}\n", row.name)),
            "{}",
            row.name
        );
        for section in ["See it", "Tell it apart", "Escalate"] {
            assert!(
                text.contains(&format!("\n## {section}\n")),
                "{}: {section}",
                row.name
            );
        }
        assert!(
            index.contains(&format!("[{0}]({0}.md)", row.name)),
            "{} is not in the index",
            row.name
        );
        assert_eq!(
            row.judge == Judge::Fleet,
            row.name.starts_with("Bootwatch"),
            "{}",
            row.name
        );
    }
    // A page about boots names what most of them died of.
    let causes = anchors(&runbook("causes"));
    let counts = |rule: &&RuleName| Failure::ALL.iter().any(|failure| rule.counts(*failure));
    for rule in RuleName::ALL.iter().filter(counts) {
        let found = anchors(&runbook(rule.as_str()));
        for failure in Failure::ALL {
            assert!(
                found.contains(failure.as_str()),
                "{}#{failure}",
                rule.as_str()
            );
            assert!(causes.contains(failure.as_str()), "causes#{failure}");
        }
    }
}

#[test]
fn every_link_between_the_runbooks_leads_somewhere() {
    let mut links = 0;
    let folder = root().join("docs/runbooks");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => text.clone(),
                file => std::fs::read_to_string(folder.join(file))
                    .unwrap_or_else(|error| panic!("{}: {target}: {error}", path.display())),
            };
            assert!(
                anchor.is_empty() || anchors(&linked).contains(anchor),
                "{}: {target}",
                path.display()
            );
            links += 1;
        }
    }
    assert!(links > 150, "{links}");
}
