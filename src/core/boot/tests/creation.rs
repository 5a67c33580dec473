//! From request to hand-over.

use super::*;
use crate::core::event::{Stage, StageOutcome};

#[test]
fn each_create_stage_is_the_difference_of_its_steps_elapsed() {
    let mut story = Story::new();
    story.created(0, 1, 2);
    let boot = story.settled(1);
    let ms = |stage| boot.stage(stage).map(|span| span.ms);
    assert_eq!(ms(Stage::AllocateIp), Some(5));
    assert_eq!(ms(Stage::CreateTap), Some(7));
    assert_eq!(ms(Stage::CloneSnapshot), Some(828));
    assert_eq!(ms(Stage::WriteConfig), Some(10));
    assert_eq!(ms(Stage::CreateRecord), Some(50));
    assert_eq!(ms(Stage::StartFirecracker), Some(500));
}

#[test]
fn two_marks_in_one_second_are_told_apart_by_their_elapsed() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.step(12, 1, 2, 12, None).step(840, 1, 3, 840, None);
    let boot = story.settled(1);
    assert_eq!(boot.stage(Stage::CloneSnapshot).map(|s| s.ms), Some(828));
    assert_eq!(boot.stage(Stage::CreateTap), None, "step 1 was lost");
}

#[test]
fn steps_that_come_out_of_order_give_the_same_stages() {
    let mut story = Story::new();
    for step in [6, 2, 4, 1, 5, 3] {
        let elapsed = STEPS[usize::from(step) - 1];
        story.step(2_000, 1, step, elapsed, None);
    }
    story.create_started(0, 1, VmType::Browser);
    let boot = story.settled(1);
    let ms: Vec<u32> = boot.stages().map(|(_, span)| span.ms).collect();
    assert_eq!(ms, [5, 7, 828, 10, 50, 500]);
}

#[test]
fn the_joins_may_come_before_the_creation_they_join() {
    let mut story = Story::new();
    let kind = EventKind::HandedOver {
        vm: vm(1),
        user: user(1),
        session: session(1),
        ip: Some(ip(2)),
    };
    story.tell(0, kind).made(0, 1, VmType::Browser, 2);
    let boot = story.settled(1);
    assert_eq!((boot.session, boot.ip), (Some(session(1)), Some(ip(2))));
    assert_eq!(
        (boot.user, boot.vm_type),
        (Some(user(1)), Some(VmType::Browser))
    );
}

#[test]
fn a_creation_mark_that_comes_twice_is_one_boot() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser).created(0, 1, 2);
    assert_eq!(story.finish().len(), 1);
}

#[test]
fn of_two_creation_marks_that_differ_the_first_tells_and_the_second_is_counted() {
    let first = (user(1), VmType::Browser, 0);
    for (second, counted) in [
        (first, 0),
        ((user(1), VmType::Browser, 900), 0),
        ((user(1), VmType::Browser, 5_000), 1),
        ((user(1), VmType::Cli, 0), 1),
        ((user(2), VmType::Browser, 0), 1),
    ] {
        let mut story = Story::new();
        // A join that comes before the creation is no mark of it.
        let kind = EventKind::HandedOver {
            vm: vm(1),
            user: user(1),
            session: session(1),
            ip: Some(ip(2)),
        };
        story.tell(0, kind);
        for (user, vm_type, ms) in [(user(1), VmType::Browser, 20), second] {
            let kind = EventKind::CreateStarted {
                vm: vm(1),
                user,
                vm_type,
                started_at: Some(Timestamp(START + ms)),
            };
            story.tell(ms, kind);
        }
        let boot = story.settled(1);
        assert_eq!(
            (boot.user, boot.vm_type, boot.started_at),
            (Some(user(1)), Some(VmType::Browser), Timestamp(START + 20)),
            "{second:?}"
        );
        assert_eq!(boot.late_marks, counted, "{second:?}");
        assert_eq!(story.tracker.counts().late_marks, u64::from(counted));
    }
}

#[test]
fn a_stage_may_outlast_its_limit_and_the_boot_go_on() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story
        .step(10, 1, 2, 10, Some(2))
        .step(40_000, 1, 3, 40_000, None);
    let kind = EventKind::Created {
        vm: vm(1),
        ip: Some(ip(2)),
        vm_type: None,
        total_ms: Some(41_000),
    };
    story
        .tell(41_000, kind)
        .wait(42_000, 2)
        .answers(42_000, 2, 5);
    assert_eq!(story.outcome(1), READY);
    let boot = story.settled(1);
    assert_eq!(boot.stage(Stage::CloneSnapshot).map(|s| s.ms), Some(39_990));
}

#[test]
fn a_failed_step_keeps_the_time_that_it_took() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.step(5, 1, 1, 5, Some(2)).step(12, 1, 2, 12, None);
    let text = "[vm-x] cloneGoldenSnapshot timed out after 15000ms";
    story.tell(15_100, create_failed(1, text, 15_012));
    assert_eq!(story.outcome(1), failed(Failure::StepTimeout));
    let boot = story.settled(1);
    let span = boot.stage(Stage::CloneSnapshot).expect("the stage is told");
    assert_eq!((span.ms, span.outcome), (15_000, StageOutcome::TimedOut));
    assert_eq!(boot.failed_stage, Some(Stage::CloneSnapshot));
}

#[test]
fn what_comes_after_a_failure_changes_nothing() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.tell(
        100,
        create_failed(1, "TAP device creation failed: busy", 90),
    );
    story.step(200, 1, 3, 190, None).step(300, 1, 6, 290, None);
    story.tell(400, create_failed(1, "clean-up failed as well", 390));
    let boot = story.settled(1);
    assert_eq!(boot.failure, Some(Failure::TapFailed));
    assert_eq!(
        boot.error.as_deref(),
        Some("TAP device creation failed: busy")
    );
    assert_eq!(boot.stage(Stage::StartFirecracker), None);
    assert_eq!(boot.late_marks, 3);
}

#[test]
fn a_failed_injection_is_not_a_failed_copy() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story
        .step(12, 1, 2, 12, None)
        .tell(20, EventKind::InjectStarted { vm: vm(1) });
    story.tell(3_000, EventKind::InjectFailed { vm: vm(1) });
    story.tell(
        3_000,
        create_failed(1, "Snapshot cloning failed: mount: no loop", 2_990),
    );
    assert_eq!(story.outcome(1), failed(Failure::AgentInjectionFailed));
    assert_eq!(story.settled(1).failed_stage, Some(Stage::InjectAgent));
}

#[test]
fn a_database_error_between_creation_and_wait_is_a_failed_record() {
    let mut story = Story::new();
    story.tell(0, EventKind::RequestAccepted { user: user(1) });
    story.created(100, 1, 2);
    let kind = EventKind::RequestFailed {
        user: user(1),
        session: None,
        error: b"connect ECONNREFUSED 127.0.0.1:5432",
        rejected: false,
    };
    story.tell(1_600, kind);
    assert_eq!(story.outcome(1), failed(Failure::RecordFailed));
    assert_eq!(
        story.finish().len(),
        1,
        "and no second boot for the request"
    );
}

#[test]
fn a_fault_in_the_code_after_a_creation_is_no_databases() {
    for (error, failure) in [
        ("proxyConfig is not defined", Failure::Unknown),
        ("Cannot access 'vm' before initialization", Failure::Unknown),
        (
            "Cannot read properties of undefined (reading 'id')",
            Failure::Unknown,
        ),
        ("connect ECONNREFUSED 10.0.0.5:5432", Failure::RecordFailed),
        ("TypeError: fetch failed", Failure::RecordFailed),
    ] {
        let mut story = Story::new();
        story.created(0, 1, 2);
        let kind = EventKind::RequestFailed {
            user: user(1),
            session: None,
            error: error.as_bytes(),
            rejected: false,
        };
        story.tell(1_600, kind);
        assert_eq!(story.outcome(1), failed(failure), "{error}");
        let stage = (failure == Failure::RecordFailed).then_some(Stage::CreateRecord);
        assert_eq!(story.settled(1).failed_stage, stage, "{error}");
    }
}

#[test]
fn the_sessions_side_of_a_failed_creation_gives_it_its_session() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.tell(100, create_failed(1, "IP pool exhausted", 90));
    story.tell(110, hand_over_failed(7, "IP pool exhausted"));
    let boot = story.settled(1);
    assert_eq!(boot.session, Some(session(7)));
    assert_eq!(boot.failure, Some(Failure::IpPoolExhausted));
}

fn hand_over_failed(which: u128, error: &str) -> EventKind<'_> {
    EventKind::HandOverFailed {
        user: user(1),
        session: session(which),
        error: error.as_bytes(),
    }
}

#[test]
fn of_two_creations_of_one_user_that_fail_at_once_each_gets_the_session_of_its_own_error() {
    let mut story = Story::new();
    for (number, error) in [(1, "IP pool exhausted"), (2, "ENOSPC: no space")] {
        let kind = EventKind::CreateFailed {
            vm: vm(number),
            user: Some(user(1)),
            vm_type: Some(VmType::Browser),
            error: error.as_bytes(),
            elapsed_ms: Some(90),
            failed_at: None,
        };
        story.tell(100, kind);
    }
    story.tell(110, hand_over_failed(7, "IP pool exhausted"));
    story.tell(111, hand_over_failed(8, "ENOSPC: no space"));
    assert_eq!(story.settled(1).session, Some(session(7)));
    assert_eq!(story.settled(2).session, Some(session(8)));
}

#[test]
fn durations_that_cannot_be_are_counted_and_left_out() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    // Step 3's elapsed is less than step 2's, step 4's is two hours.
    story.step(500, 1, 2, 500, None).step(600, 1, 3, 100, None);
    story.step(700, 1, 4, 7_200_000, None);
    let boot = story.settled(1);
    assert_eq!(boot.stage(Stage::CloneSnapshot), None);
    assert_eq!(boot.stage(Stage::WriteConfig), None);
    assert!(story.tracker.counts().absurd_durations >= 2);
}

#[test]
fn an_injection_whose_end_was_lost_is_not_blamed_for_a_later_step() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story
        .step(12, 1, 2, 12, None)
        .tell(20, EventKind::InjectStarted { vm: vm(1) });
    story.step(900, 1, 5, 900, None);
    story.tell(
        1_000,
        create_failed(1, "spawn /opt/firecracker ENOENT", 990),
    );
    assert_eq!(story.outcome(1), failed(Failure::FirecrackerFailed));
}
