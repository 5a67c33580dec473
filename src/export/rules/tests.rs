//! The table holds every rule, and what it writes keeps to the promises of the room.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{self, Surroundings};
use crate::core::rule::RuleName;

fn exported(more: &str) -> String {
    let text = format!("[host]\nname = \"h\"\n[log]\njournal = \"master-controller\"\n{more}");
    let watched = Surroundings {
        environment: vec![(
            "BOOTWATCH_DATABASE__URL".to_owned(),
            "postgres://localhost/postgres".to_owned(),
        )],
        host_name: None,
    };
    let config = config::parse("test.toml", &text, Path::new("."), &watched).unwrap();
    file(&Parameters::of(&config, "bootwatch"))
}

#[test]
fn every_rule_of_the_engine_is_exported_with_its_severity() {
    let text = exported("");
    for rule in RuleName::ALL {
        let (name, severity) = (rule.as_str(), rule.severity().as_str());
        let row = row(name).unwrap_or_else(|| panic!("{name} has no row in ROWS"));
        assert_ne!(row.judge, Judge::Fleet, "{name} is the engine's");
        let alerts = text
            .split("  - alert: ")
            .filter(|alert| alert.starts_with(&format!("{name}\n")));
        let severe = alerts
            .filter(|alert| alert.contains(&format!("severity: {severity}\n")))
            .count();
        assert_eq!(severe, 1, "{name} of severity {severity}");
    }
    let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROWS.len(), "a name has one row");
}

#[test]
fn every_row_is_exported_with_what_on_call_needs() {
    let text = exported("");
    for row in ROWS {
        let alert = text
            .split("  - alert: ")
            .find(|alert| alert.starts_with(&format!("{}\n", row.name)))
            .unwrap_or_else(|| panic!("{} is not exported", row.name));
        for needed in [
            format!("severity: {}\n", row.severity()),
            format!("judged_by: {}\n", row.judge.as_str()),
            "summary: \"".to_owned(),
            "description: \"".to_owned(),
            format!("runbook_url: \"docs/runbooks/{}.md\"", row.name),
        ] {
            assert!(alert.contains(&needed), "{}: {needed} in {alert}", row.name);
        }
    }
}

#[test]
fn nothing_is_divided_by_what_may_be_zero() {
    for (number, line) in exported("").lines().enumerate() {
        let Some((_, divisor)) = line.split_once(" / ") else {
            continue;
        };
        assert!(
            divisor.starts_with('(') && divisor.ends_with("> 0)"),
            "line {number}: {line}"
        );
    }
}

#[test]
fn thresholds_windows_and_links_are_the_configuration_s() {
    let text = exported(
        "[rules.BootFailureRate]\nobjective = 0.9\nwindow = \"30m\"\nconsecutive = 5\n\
         [rules.ConnectionErrorSpike]\nenabled = false\n[links]\nrunbook_base = \"https://wiki.example/r/\"\n",
    );
    assert!(
        text.contains("0.1000 * bootwatch:boots_failed_of:30m"),
        "{text}"
    );
    assert!(
        text.contains("bootwatch:boots_failed:150s > 0.1") && text.contains("_bad_run >= 5"),
        "a twelfth of the window"
    );
    assert!(!text.contains("alert: ConnectionErrorSpike") && !text.contains("boots_unanswered"));
    assert!(text.contains("runbook_url: \"https://wiki.example/r/BootFailureRate\""));
}

#[test]
fn of_a_database_that_is_not_watched_no_rule_is_exported() {
    let text = "[host]\nname = \"h\"\n[log]\njournal = \"m\"\n";
    let config = config::parse("test.toml", text, Path::new("."), &Surroundings::default());
    let exported = file(&Parameters::of(&config.unwrap(), "bootwatch"));
    for rule in [
        "SessionsIncomplete",
        "IpPoolLow",
        "GhostVms",
        "DatabaseUnreachable",
    ] {
        assert!(!exported.contains(&format!("alert: {rule}\n")), "{rule}");
    }
}

#[test]
fn a_burn_that_can_never_be_reached_is_left_out() {
    let config = config::parse(
        "test.toml",
        "[host]\nname = \"h\"\n[log]\njournal = \"m\"\n",
        Path::new("."),
        &Surroundings::default(),
    );
    let mut parameters = Parameters::of(&config.unwrap(), "bootwatch");
    let budget = parameters.budget.as_mut().unwrap();
    budget.objective = 0.9;
    let text = file(&parameters);
    assert!(
        !text.contains("# 14.4 times") && text.contains("# 6 times"),
        "14.4 times 10 % is above all"
    );
}

#[test]
fn a_duration_is_written_in_its_largest_whole_unit() {
    for (ms, text) in [
        (90_000, "90s"),
        (3_600_000, "1h"),
        (259_200_000, "3d"),
        (1_500, "1500ms"),
        (300_000, "5m"),
    ] {
        assert_eq!(document::duration(Duration::from_millis(ms)), text);
    }
}
