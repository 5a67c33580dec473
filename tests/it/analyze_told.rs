//! What `analyze` says where not all is well: boots that were lost, and a controller that crashed.

use std::process::Output;

use bootwatch::simulator::Version;
use serde_json::Value;

use crate::program::analyze;
use crate::simulator::{order, play, scenario};

/// The controller's log of a scenario.
fn played(name: &str) -> Vec<u8> {
    play(scenario(name), &order(7, Version::Oct, 60)).0
}

fn text(log: &[u8]) -> String {
    String::from_utf8(analyze(&["-"], log).stdout).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_crash_is_told_first_and_boots_that_it_lost_are_not_well() {
    let log = played("crash");
    let said = text(&log);
    let told = said.lines().nth(3).unwrap_or_default();
    assert!(told.starts_with("The controller crashed "), "{said}");
    assert!(!said.contains("All is well"), "{said}");
    let output = analyze(&["--format", "json", "-"], &log);
    let answer = json(&output);
    let crashes = answer["controller"]["crashed_at"].as_array().unwrap();
    assert!(!crashes.is_empty(), "{answer}");
    let lost = answer["by_vm_type"]["browser"]["lost"].as_u64().unwrap();
    assert_eq!(lost > 0, said.contains("lost: nobody knows how"), "{said}");

    let said = text(&played("healthy"));
    assert!(said.contains("All is well: "), "{said}");
    assert!(!said.contains("crashed"), "{said}");
}

#[test]
fn boots_that_a_restart_lost_are_in_the_headline() {
    let log = played("healthy");
    let log = String::from_utf8(log).unwrap();
    // The controller begins anew right after its first creation has begun.
    let begun = log.find("[VM-CREATE] Starting").unwrap();
    let end = begun + log[begun..].find('\n').unwrap() + 1;
    let first = log[..end].lines().last().unwrap();
    let start = format!(
        "{} [INFO]: Starting Master Controller... {{\"module\":\"server\"}}\n",
        &first[..19]
    );
    let said = text(format!("{}{start}", &log[..end]).as_bytes());
    assert!(said.contains("1 of 1 "), "{said}");
    assert!(
        said.contains("was lost: nobody knows how it ended."),
        "{said}"
    );
    assert!(!said.contains("All is well"), "{said}");
}
