//! Each scenario ends as it promises, and the controller's worse habits are there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use bootwatch::core::event::{AttemptError, AttemptResult, Failure, Outcome, VmType};
use bootwatch::simulator::{Truth, Version};

use crate::simulator::{order, play, scenario, scenarios};

/// How every boot of a scenario of single boots ends.
const ENDS: &[(&str, Outcome, Option<Failure>)] = &[
    ("healthy", Outcome::Ready, None),
    ("slow-agent", Outcome::Ready, None),
    ("slow-answer", Outcome::Ready, None),
    ("starting-agent", Outcome::Ready, None),
    ("hostile-agent", Outcome::Ready, None),
    ("placeholder-agent", Outcome::Ready, None),
    ("clock-ahead", Outcome::Ready, None),
    ("late-agent", Outcome::Failed, Some(Failure::AgentRefused)),
    (
        "agent-missing",
        Outcome::Failed,
        Some(Failure::AgentRefused),
    ),
    ("hung-agent", Outcome::Failed, Some(Failure::AgentTimeout)),
    ("partial-body", Outcome::Failed, Some(Failure::AgentTimeout)),
    ("crash-looping", Outcome::Failed, Some(Failure::AgentReset)),
    ("agent-resets", Outcome::Failed, Some(Failure::AgentReset)),
    ("http-500", Outcome::Failed, Some(Failure::AgentUnhealthy)),
    (
        "garbage-agent",
        Outcome::Failed,
        Some(Failure::AgentUnhealthy),
    ),
    (
        "network-down",
        Outcome::Failed,
        Some(Failure::GuestUnreachable),
    ),
    ("guest-panic", Outcome::Failed, Some(Failure::GuestDied)),
    (
        "clone-fails",
        Outcome::Failed,
        Some(Failure::SnapshotCloneFailed),
    ),
    ("clone-slow", Outcome::Ready, None),
    ("clone-timeout", Outcome::Failed, Some(Failure::StepTimeout)),
    (
        "inject-fails",
        Outcome::Failed,
        Some(Failure::AgentInjectionFailed),
    ),
    ("tap-fails", Outcome::Failed, Some(Failure::TapFailed)),
    (
        "firecracker-fails",
        Outcome::Failed,
        Some(Failure::FirecrackerFailed),
    ),
    (
        "firecracker-timeout",
        Outcome::Failed,
        Some(Failure::StepTimeout),
    ),
    (
        "spawn-enoent",
        Outcome::Failed,
        Some(Failure::FirecrackerFailed),
    ),
    (
        "db-insert-fails",
        Outcome::Failed,
        Some(Failure::RecordFailed),
    ),
    (
        "db-insert-timeout",
        Outcome::Failed,
        Some(Failure::StepTimeout),
    ),
    ("database-down", Outcome::Failed, Some(Failure::NotStarted)),
    ("no-attempt", Outcome::Failed, Some(Failure::NoAttempt)),
    ("vnc-missing", Outcome::Failed, Some(Failure::VncNotReady)),
    ("proxy-fails", Outcome::Failed, Some(Failure::ConfigFailed)),
    ("cancel", Outcome::Cancelled, None),
    ("cli-fresh", Outcome::Ready, None),
    ("cli-fails", Outcome::Failed, Some(Failure::NotStarted)),
    ("oauth-timeout", Outcome::Ready, None),
    ("oauth-error", Outcome::Ready, None),
];

fn text(name: &str, boots: u32) -> (Vec<String>, Vec<Truth>) {
    let (bytes, truths) = play(scenario(name), &order(21, Version::Oct, boots));
    let text = String::from_utf8(bytes).unwrap();
    (text.lines().map(str::to_owned).collect(), truths)
}

fn with<'a>(lines: &'a [String], words: &[&str]) -> Vec<&'a String> {
    let all = |line: &&String| words.iter().all(|word| line.contains(word));
    lines.iter().filter(all).collect()
}

#[test]
fn every_boot_ends_as_its_scenario_promises() {
    for version in [Version::Oct, Version::Dec] {
        for row in scenarios(version) {
            let Some((name, outcome, failure)) = ENDS.iter().find(|end| end.0 == row.name) else {
                continue;
            };
            // A clone of 17 s is within December's limit.
            if (*name, version) == ("clone-timeout", Version::Dec) {
                continue;
            }
            let (_, truths) = play(row, &order(21, version, 4));
            let browsers: Vec<_> = truths
                .iter()
                .filter(|truth| truth.vm_type == VmType::Browser)
                .collect();
            assert_eq!(browsers.len(), 4, "{name}");
            for truth in browsers {
                let ended = (truth.outcome, truth.failure);
                assert_eq!(ended, (Some(*outcome), *failure), "{name} {version:?}");
            }
        }
    }
}

#[test]
fn a_refused_wait_has_the_recorded_figures() {
    let (lines, truths) = text("agent-missing", 1);
    let refused = AttemptResult::Error(AttemptError::Refused);
    // 20 s, a pause of 2 s: ten attempts, each refused at once.
    assert_eq!(truths[0].attempts, BTreeMap::from([(refused, 10)]));
    assert_eq!(with(&lines, &["[WAIT-VM-READY] Attempting"]).len(), 10);
    let over = with(&lines, &["[WAIT-VM-READY] Timeout exceeded"]);
    assert!(over[0].ends_with("\"maxWaitMs\":20000}"));
    assert!(!with(&lines, &["VM not ready after 20000ms"]).is_empty());
}

#[test]
fn a_hung_agent_makes_attempts_of_five_seconds() {
    let (_, truths) = text("hung-agent", 6);
    for truth in truths {
        let timeouts = truth.attempts[&AttemptResult::Error(AttemptError::Timeout)];
        assert!((2..=3).contains(&timeouts), "{truth:?}");
    }
}

#[test]
fn a_cancelled_wait_goes_on_and_meets_the_next_vm() {
    let (lines, truths) = text("cancel-ip-reused", 9);
    let cancelled: Vec<_> = truths
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Cancelled))
        .collect();
    assert_eq!(cancelled.len(), 3);
    let ghosts = cancelled.iter().filter(|truth| {
        let session = truth.session_id.unwrap().to_string();
        !with(&lines, &["Executing OAuth flow", &session]).is_empty()
    });
    // The dead VM's wait found another VM on its address and logged that one in.
    assert!(ghosts.count() >= 1);
}

#[test]
fn a_slow_copy_freezes_every_other_vm() {
    let (lines, _) = text("clone-slow", 12);
    let seconds: Vec<i64> = lines
        .iter()
        .map(|line| {
            let stamp: jiff::civil::DateTime = line.get(..19).unwrap().parse().unwrap();
            stamp
                .to_zoned_datetime(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
                .as_second()
        })
        .collect();
    let clone = lines
        .iter()
        .position(|line| line.contains("Step 3: Cloning"))
        .unwrap();
    // No line of anybody between the copy's beginning and its end.
    assert!(seconds[clone + 1] - seconds[clone] >= 6);
}

#[test]
fn a_killed_controller_loses_its_boots_without_a_word() {
    let (lines, truths) = text("restart", 60);
    assert_eq!(with(&lines, &["Starting Master Controller..."]).len(), 4);
    assert_eq!(with(&lines, &["SIGTERM received"]).len(), 1);
    assert_eq!(with(&lines, &["SIGINT received"]).len(), 1);
    let lost: Vec<_> = truths
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Lost))
        .collect();
    assert!(!lost.is_empty());
    assert!(
        lost.iter()
            .all(|truth| truth.failure == Some(Failure::ControllerRestarted))
    );
}

#[test]
fn a_failed_creation_takes_the_users_healthy_cli_vm_with_it() {
    let (lines, _) = text("tap-fails", 1);
    let reused = with(&lines, &["Reusing existing CLI VM"]);
    let cli = reused[0].split("\"vmId\":\"").nth(1).unwrap();
    let cli = cli.split('"').next().unwrap();
    assert_eq!(with(&lines, &["]: Destroying VM ", cli]).len(), 1);
    assert_eq!(with(&lines, &["]: POST /start 500 "]).len(), 1);
}

#[test]
fn truths_of_a_long_mix_hold_together() {
    let (lines, truths) = text("mixed", 300);
    let browsers = truths
        .iter()
        .filter(|truth| truth.vm_type == VmType::Browser)
        .count();
    // Each request has a browser boot's truth, be it that none was begun.
    assert_eq!(browsers, 300);
    assert!(truths.iter().all(|truth| truth.outcome.is_some()));
    let ready = truths
        .iter()
        .filter(|truth| truth.vm_type == VmType::Browser && truth.outcome == Some(Outcome::Ready))
        .count();
    let said_ready = with(&lines, &["[WAIT-VM-READY] VM ready!"]).len();
    assert_eq!(ready, said_ready);
    let exhausted = truths
        .iter()
        .filter(|truth| truth.failure == Some(Failure::IpPoolExhausted))
        .count();
    assert_eq!(exhausted, 0);
}
