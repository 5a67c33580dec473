//! The analysis of each simulated log agrees with its truth: two programs that know nothing of each other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use bootwatch::cli::{self, Cli, Status};
use bootwatch::simulator::Version;
use clap::Parser;
use serde_json::Value;

use crate::simulator::{order, play, scenario, scenarios};

/// What `analyze --format json --boots` says of a log.
pub(crate) fn analyse(log: &[u8]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.log");
    std::fs::write(&path, log).unwrap();
    let path = path.to_str().unwrap();
    let words = ["bootwatch", "analyze", "--format", "json", "--boots"];
    let arguments = words.into_iter().chain(["--timezone", "UTC", path]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = cli::run(Cli::parse_from(arguments), &mut out, &mut err).unwrap();
    assert_eq!(status, Status::Fine, "{}", String::from_utf8_lossy(&err));

    let answer: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(answer["records"]["unparsed"], 0);
    answer
}

/// `outcome/failure` of each boot that has a `vm_id`, and how many have none.
fn analysed(log: &[u8]) -> (BTreeMap<String, String>, usize) {
    let answer = analyse(log);
    let mut judged = BTreeMap::new();
    let mut without_vm = 0;
    for boot in answer["boot_list"].as_array().unwrap() {
        match boot["vm_id"].as_str() {
            Some(vm) => {
                let end = format!("{}/{}", boot["outcome"], boot["failure"]);
                judged.insert(vm.to_owned(), end);
            }
            None => without_vm += 1,
        }
    }
    (judged, without_vm)
}

#[test]
fn the_analysis_agrees_with_the_truth_of_every_scenario() {
    let mut wrong = Vec::new();
    for version in [Version::Oct, Version::Dec] {
        let all = scenarios(version).map(|row| (row, 6));
        for (row, boots) in all.chain([(scenario("mixed"), 200), (scenario("restart"), 60)]) {
            let (log, truths) = play(row, &order(31, version, boots));
            let (mut judged, without_vm) = analysed(&log);
            let begun = truths.iter().filter(|truth| truth.vm_id.is_some());
            for truth in begun.clone() {
                let outcome = serde_json::to_value(truth.outcome).unwrap();
                let failure = serde_json::to_value(truth.failure).unwrap();
                let expected = format!("{outcome}/{failure}");
                let found = judged.remove(&truth.vm_id.unwrap().to_string());
                if found.as_ref() != Some(&expected) {
                    let name = row.name;
                    wrong.push(format!("{name} {version:?}: {expected}, found {found:?}"));
                }
            }
            let never_begun = truths.len() - begun.count();
            if !judged.is_empty() || without_vm != never_begun {
                let name = row.name;
                wrong.push(format!(
                    "{name} {version:?}: invented {judged:?}; {never_begun} without a VM, found {without_vm}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
