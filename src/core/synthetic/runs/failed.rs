//! Creations that the controller gave up.

use super::*;

fn create_failed(vm: VmId) -> EventKind<'static> {
    EventKind::CreateFailed {
        vm,
        user: None,
        vm_type: None,
        error: b"Failed to clone rootfs: No space left on device",
        elapsed_ms: None,
        failed_at: None,
    }
}

/// A creation fails, as October's controller tells it: no line ever speaks of a destruction.
fn failed_creation() -> Story {
    let mut story = Story::begin();
    story.told(Told::Journalled(true));
    story.log(&ASKED).log(&[CREATING]);
    story.told(Told::Started(Err(CallError::Failed {
        status: 500,
        text: "No space left on device".to_owned(),
    })));
    story
}

#[test]
fn a_creation_that_failed_leaves_nothing_and_its_class_is_awaited() {
    let mut story = failed_creation();
    assert!(story.ended().is_none(), "the log has not told yet");
    let mut boot = Boot::new(Some(VM), Provenance::default(), story.now);
    boot.user = Some(OURS);
    boot.vm_type = Some(VmType::Browser);
    boot.outcome = Some(Outcome::Failed);
    boot.failure = Some(Failure::SnapshotCloneFailed);
    story.traces.boot(&boot);
    story.log(&[create_failed(VM), REQUEST_FAILS]);
    story.passes(6_000);
    let run = story.ended().unwrap();
    assert_eq!(run.result, SyntheticResult::Failed);
    assert_eq!(run.failure, Some(Failure::SnapshotCloneFailed));
    assert_eq!(story.done(), Some(true));
}

#[test]
fn an_error_whose_class_the_log_never_tells_has_none() {
    let mut story = failed_creation();
    story.passes(100_000);
    assert!(story.ended().is_none(), "it may still be created");
    story.passes(60_000);
    let run = story.ended().unwrap();
    assert_eq!(run.result, SyntheticResult::Failed);
    assert_eq!(run.failure, Some(Failure::Unknown));

    let mut unheard = Story::begin();
    unheard.told(Told::Journalled(true));
    unheard.told(Told::Started(Err(gateway())));
    unheard.passes(10_000);
    assert_eq!(unheard.ended().unwrap().failure, Some(Failure::NotStarted));
}

fn gateway() -> CallError {
    CallError::Failed {
        status: 504,
        text: String::new(),
    }
}

#[test]
fn an_error_of_the_gateway_blames_no_vm_and_what_was_begun_is_cancelled() {
    let created = EventKind::Created {
        vm: VM,
        ip: Some(IP),
        vm_type: None,
        total_ms: None,
    };
    for after in [0, 3_000, 100_000] {
        let mut story = failed_creation();
        story.passes(after).log(&[created]);
        story.passes(10_000);
        let run = story.ended().unwrap();
        assert_eq!(run.result, SyntheticResult::Errored, "{after}");
        assert!(run.evidence[0].contains("went on"), "{:?}", run.evidence);
        assert_eq!(story.cancelled(), [SESSION]);
    }
}

#[test]
fn what_was_refused_and_reached_the_controller_all_the_same_is_cancelled() {
    let to = "http://203.0.113.77/".to_owned();
    for error in [
        CallError::Rejected("408".to_owned()),
        CallError::Redirected { to },
    ] {
        let mut story = Story::begin();
        story.told(Told::Journalled(true)).sees();
        story.told(Told::Started(Err(error)));
        assert_eq!(story.ended().unwrap().result, SyntheticResult::Errored);
        story.passes(2_000).log(&ASKED);
        story.passes(10_000);
        assert_eq!(story.cancelled(), [SESSION]);
    }
}

#[test]
fn a_controller_that_is_gone_when_the_time_is_over_is_our_own_trouble() {
    let unreachable = || CallError::Unreachable("no connection".to_owned());
    for (answers, result) in [
        (Err(unreachable()), SyntheticResult::Errored),
        (Ok(SessionAnswer::default()), SyntheticResult::Failed),
    ] {
        let mut story = Story::begin();
        story.created();
        for _ in 0..40 {
            story.passes(10_000);
            if story.effects.contains(&Effect::AskSession(SESSION)) {
                story
                    .effects
                    .retain(|one| *one != Effect::AskSession(SESSION));
                story.told(Told::Session(answers.clone()));
            }
        }
        assert_eq!(story.ended().unwrap().result, result);
    }
}

#[test]
fn a_vm_that_is_created_after_its_failure_is_not_gone() {
    let after = [
        EventKind::Created {
            vm: VM,
            ip: Some(IP),
            vm_type: None,
            total_ms: None,
        },
        handed_over(SESSION, VM),
    ];
    for later in after {
        let mut traces = Traces::new(OURS);
        let (accepted, opened) = (accepted(), opened(SESSION));
        for kind in [accepted, opened, CREATING, create_failed(VM)] {
            traces.observe(&event(NOON, kind));
        }
        assert!(traces.all()[0].is_gone());
        traces.observe(&event(NOON, later));
        assert!(!traces.all()[0].is_gone());
    }
}
