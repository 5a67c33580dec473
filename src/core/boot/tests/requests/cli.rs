//! Requests and the CLI VMs that they need first.

use super::*;

/// One more CLI VM of user 1.
fn cli_made(story: &mut Story, ms: i64, number: u128, address: u8) {
    let kind = EventKind::CreateStarted {
        vm: vm(number),
        user: user(1),
        vm_type: VmType::Cli,
        started_at: None,
    };
    story.tell(ms, kind);
    let kind = EventKind::Created {
        vm: vm(number),
        ip: Some(ip(address)),
        vm_type: Some(VmType::Cli),
        total_ms: Some(1_410),
    };
    story.tell(ms + 1_410, kind);
}

#[test]
fn a_cli_vm_that_never_became_ready_fails_with_its_users_request() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).made(100, 1, VmType::Cli, 2);
    story.tell(
        62_000,
        request_failed(1, None, "VM not ready after 60000ms"),
    );
    assert_eq!(story.outcome(1), failed(Failure::Unknown));
    let boots = story.finish();
    assert_eq!(
        boots.len(),
        2,
        "the CLI VM, and the browser boot that was not started"
    );
    assert!(
        boots
            .iter()
            .any(|boot| boot.failure == Some(Failure::NotStarted))
    );
}

#[test]
fn a_cli_vm_whose_ready_line_was_lost_is_ready_when_its_browser_vm_is_asked_for() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .made(100, 1, VmType::Cli, 2)
        .tell(9_000, opened(1, 7));
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn a_cli_vm_is_ready_by_whatever_its_browser_vms_creation_is_first_heard_of() {
    let failed_creation = EventKind::CreateFailed {
        vm: vm(2),
        user: Some(user(1)),
        vm_type: Some(VmType::Browser),
        error: b"IP pool exhausted",
        elapsed_ms: Some(500),
        failed_at: Some(Timestamp(START + 9_500)),
    };
    let handed_over = EventKind::HandedOver {
        vm: vm(2),
        user: user(1),
        session: session(7),
        ip: Some(ip(3)),
    };
    for kind in [begun(2, 1), failed_creation, handed_over] {
        let mut story = Story::new();
        story.tell(0, accepted(1)).made(100, 1, VmType::Cli, 2);
        story.tell(9_500, kind);
        assert_eq!(story.outcome(1), READY, "{kind:?}");
        // Of two requests, the one that goes on may have another CLI VM.
        let mut story = Story::new();
        story.tell(0, accepted(1)).tell(0, accepted(1));
        story.made(100, 1, VmType::Cli, 2).tell(9_500, kind);
        assert_eq!(story.outcome(1), None, "{kind:?}");
    }
}

#[test]
fn a_cli_vm_that_a_second_request_goes_on_with_is_not_ready_for_that() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).made(100, 1, VmType::Cli, 2);
    let reused = EventKind::CliReused {
        user: user(1),
        vm: Some(vm(1)),
    };
    story
        .tell(20_000, accepted(1))
        .tell(20_000, reused)
        .tell(20_000, opened(1, 7));
    assert_eq!(story.outcome(1), None);
    story.tell(20_000, begun(7, 1));
    story.tell(
        62_000,
        request_failed(1, None, "VM not ready after 60000ms"),
    );
    assert_eq!(story.outcome(1), failed(Failure::Unknown));
    assert_eq!(story.outcome(7), None);
    let boots = story.finish();
    let first = boots.iter().find(|boot| boot.vm.is_none());
    assert!(
        first
            .is_some_and(|boot| boot.started_at == Timestamp(START)
                && boot.failure == Some(Failure::NotStarted)),
        "{first:?}"
    );
}

#[test]
fn a_cli_vm_is_not_ready_because_another_one_of_the_same_user_is() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(300, accepted(1));
    cli_made(&mut story, 400, 1, 2);
    cli_made(&mut story, 2_000, 2, 3);
    story.tell(9_000, EventKind::CliReady { ip: ip(2) });
    story.tell(9_000, opened(1, 7)).tell(9_000, opened(1, 7));
    assert_eq!(story.outcome(1), Some((Outcome::Ready, None)));
    assert_eq!(story.outcome(2), None);
    story.tell(9_000, begun(7, 1));
    let error = "VM not ready after 60000ms";
    story.tell(63_500, request_failed(1, None, error));
    assert_eq!(story.outcome(2), failed(Failure::Unknown));
    assert_eq!(story.outcome(7), None);
}

#[test]
fn a_request_whose_cli_vm_could_not_be_made_in_time_was_not_started() {
    let mut story = Story::new();
    story.tell(0, accepted(1));
    let begun = EventKind::CreateStarted {
        vm: vm(1),
        user: user(1),
        vm_type: VmType::Cli,
        started_at: None,
    };
    story.tell(100, begun);
    let error = format!("[{}] startFirecracker timed out after 25000ms", vm(1));
    let create_failed = EventKind::CreateFailed {
        vm: vm(1),
        user: Some(user(1)),
        vm_type: Some(VmType::Cli),
        error: error.as_bytes(),
        elapsed_ms: Some(25_100),
        failed_at: None,
    };
    story.tell(25_200, create_failed);
    story.tell(25_200, request_failed(1, None, &error));
    let boots = story.finish();
    let of_request = boots.iter().find(|boot| boot.vm.is_none());
    assert!(
        of_request.is_some_and(|boot| boot.failure == Some(Failure::NotStarted)
            && boot.ended_at == Some(Timestamp(START + 25_000))),
        "{of_request:?}"
    );
}

#[test]
fn a_cli_vm_that_could_not_be_made_fails_its_own_request_and_no_browser_vm_of_the_same_user() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(0, opened(1, 7));
    story.made(100, 1, VmType::Browser, 2);
    story.tell(1_600, accepted(1));
    let error = "IP pool exhausted";
    let create_failed = EventKind::CreateFailed {
        vm: vm(9),
        user: Some(user(1)),
        vm_type: Some(VmType::Cli),
        error: error.as_bytes(),
        elapsed_ms: Some(3),
        failed_at: None,
    };
    story.tell(1_700, create_failed);
    story.tell(1_700, request_failed(1, None, error));
    assert_eq!(story.outcome(1), None);
    assert_eq!(story.outcome(9), failed(Failure::IpPoolExhausted));
    // The same error of the browser VM's own request is its.
    story.tell(1_800, request_failed(1, None, error));
    assert_eq!(story.outcome(1), failed(Failure::RecordFailed));
    let boots = story.finish();
    let of_request: Vec<_> = boots.iter().filter(|boot| boot.vm.is_none()).collect();
    assert_eq!(of_request.len(), 1);
    assert_eq!(of_request[0].failure, Some(Failure::NotStarted));
}

#[test]
fn requests_that_go_on_with_a_cli_vm_of_before_keep_their_order() {
    let mut story = Story::new();
    let reused = EventKind::CliReused {
        user: user(1),
        vm: Some(vm(9)),
    };
    story.tell(0, accepted(1)).tell(1_000, accepted(1));
    story.tell(1_000, reused).tell(1_000, reused);
    story.tell(1_000, opened(1, 7)).tell(2_000, opened(1, 8));
    let error = "IP pool exhausted";
    story
        .tell(3_000, request_failed(1, Some(7), error))
        .tell(4_000, request_failed(1, Some(8), error));
    let starts: Vec<_> = story
        .finish()
        .iter()
        .map(|boot| (boot.session, boot.started_at.since(Timestamp(START))))
        .collect();
    assert_eq!(starts, [(Some(session(7)), 0), (Some(session(8)), 1_000)]);
}

#[test]
fn of_two_cli_vms_of_one_user_the_older_fails_first() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(500, accepted(1));
    cli_made(&mut story, 100, 1, 2);
    cli_made(&mut story, 3_000, 2, 3);
    let error = "VM not ready after 60000ms";
    story.tell(61_500, request_failed(1, None, error));
    assert_eq!(story.outcome(1), failed(Failure::Unknown));
    assert_eq!(story.outcome(2), None);
    story.tell(64_400, request_failed(1, None, error));
    assert_eq!(story.outcome(2), failed(Failure::Unknown));
}

#[test]
fn a_cli_vm_whose_wait_ends_late_fails_before_one_of_a_controller_that_is_gone() {
    let mut story = Story::new();
    story.tell(0, accepted(1));
    cli_made(&mut story, 100, 1, 2);
    story.tell(5_000, EventKind::ControllerStarted);
    story.tell(6_000, accepted(1));
    cli_made(&mut story, 7_000, 2, 3);
    // A copy held the new controller up past the time of both.
    let error = "VM not ready after 60000ms";
    story.tell(110_000, request_failed(1, None, error));
    assert_eq!(story.outcome(2), failed(Failure::Unknown));
    let boots = story.finish();
    let first = boots.iter().find(|boot| boot.vm == Some(vm(1)));
    assert_eq!(first.map(|boot| boot.outcome), Some(Some(Outcome::Lost)));
}

/// After a freeze the waits end in their order, and the newer VM may be ready all the same.
#[test]
fn of_two_cli_vms_whose_waits_end_late_the_older_one_fails() {
    let mut story = Story::new();
    story.tell(0, accepted(1));
    cli_made(&mut story, 100, 1, 2);
    story.tell(20_000, accepted(1));
    cli_made(&mut story, 20_100, 2, 3);
    let error = "VM not ready after 60000ms";
    story.tell(98_000, request_failed(1, None, error));
    assert_eq!(story.outcome(1), failed(Failure::Unknown));
    story.tell(98_500, EventKind::CliReady { ip: ip(3) });
    assert_eq!(story.outcome(2), READY);
}

#[test]
fn a_cli_vm_that_could_not_be_made_is_told_from_a_newer_one_of_its_user() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(0, opened(1, 7));
    story.made(100, 1, VmType::Browser, 2);
    story.tell(1_600, accepted(1)).tell(1_600, accepted(1));
    cli_made(&mut story, 1_700, 3, 4);
    let error = "Firecracker exited with code 1: ";
    let create_failed = |which| EventKind::CreateFailed {
        vm: vm(which),
        user: Some(user(1)),
        vm_type: Some(VmType::Cli),
        error: error.as_bytes(),
        elapsed_ms: Some(3),
        failed_at: None,
    };
    story.tell(3_200, create_failed(9));
    cli_made(&mut story, 3_300, 5, 6);
    story.tell(4_720, request_failed(1, None, error));
    assert_eq!(story.outcome(1), None, "the browser VM goes on");
    assert_eq!(story.outcome(3), None);
}
