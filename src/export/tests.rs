//! What each boot counts for.

use super::*;
use crate::core::event::{AttemptError, Failure, Provenance, Stage, WaitLimits};

fn ended(outcome: Outcome, failure: Option<Failure>) -> Boot {
    let mut boot = Boot::new(None, Provenance::default(), Timestamp(1_000));
    boot.outcome = Some(outcome);
    boot.failure = failure;
    boot.ended_at = Some(Timestamp(131_000));
    boot
}

fn told(boot: Boot) -> String {
    let recorder = Recorder::new(&Setup::default());
    recorder.observe(&Observation::BootEnded(Box::new(boot)), true);
    String::from_utf8(recorder.render()).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no {line}\n{text}");
}

#[test]
fn a_failed_boot_counts_with_its_class_its_time_and_its_attempts() {
    let mut boot = ended(Outcome::Failed, Some(Failure::AgentRefused));
    boot.limits = Some(WaitLimits::default());
    boot.attempts = vec![
        (AttemptResult::Error(AttemptError::HostUnreachable), 2),
        (AttemptResult::Error(AttemptError::Refused), 50),
    ];
    let text = told(boot);
    let labels = "origin=\"user\",outcome=\"failed\",vm_type=\"browser\"";
    has(
        &text,
        &format!("bootwatch_boots_total{{failure=\"agent_refused\",{labels}}} 1"),
    );
    let duration = "bootwatch_boot_duration_seconds";
    has(&text, &format!("{duration}_sum{{{labels}}} 130"));
    has(
        &text,
        &format!("{duration}_bucket{{{labels},le=\"120\"}} 0"),
    );
    has(
        &text,
        &format!("{duration}_bucket{{{labels},le=\"180\"}} 1"),
    );
    has(
        &text,
        "bootwatch_boot_health_check_attempts_sum{outcome=\"failed\"} 52",
    );
}

#[test]
fn a_ready_boot_has_no_failure_and_its_own_time_to_ready() {
    let mut boot = ended(Outcome::Ready, None);
    boot.vm_type = Some(VmType::Cli);
    boot.ready_ms = Some(4_500);
    let text = told(boot);
    let labels = "origin=\"user\",outcome=\"ready\",vm_type=\"cli\"";
    has(
        &text,
        &format!("bootwatch_boots_total{{failure=\"none\",{labels}}} 1"),
    );
    has(
        &text,
        &format!("bootwatch_boot_duration_seconds_sum{{{labels}}} 4.5"),
    );
    assert!(
        !text.contains("boot_health_check_attempts"),
        "a boot without a health wait has no number of attempts"
    );
}

#[test]
fn a_wait_without_an_attempt_is_a_boot_with_none() {
    let mut boot = ended(Outcome::Failed, Some(Failure::NoAttempt));
    boot.limits = Some(WaitLimits::default());
    has(
        &told(boot),
        "bootwatch_boot_health_check_attempts_bucket{outcome=\"failed\",le=\"0\"} 1",
    );
}

#[test]
fn a_clock_that_stepped_back_spoils_no_histogram() {
    let mut boot = ended(Outcome::Lost, Some(Failure::Unknown));
    boot.ended_at = Some(Timestamp(0));
    let text = told(boot);
    assert!(!text.contains("boot_duration_seconds"), "{text}");
    has(
        &text,
        "bootwatch_boots_total{failure=\"unknown\",origin=\"user\",outcome=\"lost\",vm_type=\"browser\"} 1",
    );
}

#[test]
fn a_boot_that_nobody_knows_the_length_of_spoils_no_histogram() {
    for outcome in [Outcome::Ready, Outcome::Failed] {
        let failure = (outcome == Outcome::Failed).then_some(Failure::AgentRefused);
        let mut boot = ended(outcome, failure);
        (boot.ready_ms, boot.untimed) = (None, true);
        let text = told(boot);
        assert!(!text.contains("boot_duration_seconds"), "{text}");
    }
}

#[test]
fn the_settled_boot_is_not_counted_again() {
    let recorder = Recorder::new(&Setup::default());
    let boot = Box::new(ended(Outcome::Ready, None));
    recorder.observe(&Observation::BootEnded(boot.clone()), true);
    recorder.observe(&Observation::BootSettled(boot), true);
    let text = String::from_utf8(recorder.render()).unwrap();
    has(
        &text,
        "bootwatch_boots_total{failure=\"none\",origin=\"user\",outcome=\"ready\",vm_type=\"browser\"} 1",
    );
}

/// Each stage and outcome has a place of its own: no two share a series.
#[test]
fn every_stage_has_its_own_series() {
    use crate::core::event::StageOutcome;
    let recorder = Recorder::new(&Setup::default());
    for vm_type in VmType::ALL {
        for stage in Stage::ALL {
            for outcome in StageOutcome::ALL {
                let ended = Observation::StageEnded {
                    vm_type: *vm_type,
                    origin: Origin::User,
                    stage: *stage,
                    outcome: *outcome,
                    ms: 1,
                };
                recorder.observe(&ended, true);
            }
        }
    }
    let text = String::from_utf8(recorder.render()).unwrap();
    for vm_type in VmType::ALL {
        for stage in Stage::ALL {
            for outcome in StageOutcome::ALL {
                has(
                    &text,
                    &format!(
                        "bootwatch_boot_stage_duration_seconds_count{{boot_stage=\"{stage}\",outcome=\"{outcome}\",vm_type=\"{vm_type}\"}} 1"
                    ),
                );
            }
        }
    }
}
