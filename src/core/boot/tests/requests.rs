//! Requests without a VM, and whose VM is whose.

use std::collections::BTreeSet;

use super::*;
use crate::core::event::Origin;
use crate::core::saved::Shelf;

fn accepted(number: u128) -> EventKind<'static> {
    EventKind::RequestAccepted { user: user(number) }
}

/// A creation that is not the user's of the same number.
fn begun(number: u128, who: u128) -> EventKind<'static> {
    EventKind::CreateStarted {
        vm: vm(number),
        user: user(who),
        vm_type: VmType::Browser,
        started_at: None,
    }
}

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

fn opened(who: u128, which: u128) -> EventKind<'static> {
    EventKind::SessionOpened {
        user: user(who),
        session: session(which),
    }
}

fn request_failed<'a>(number: u128, which: Option<u128>, error: &'a str) -> EventKind<'a> {
    EventKind::RequestFailed {
        user: user(number),
        session: which.map(session),
        error: error.as_bytes(),
        rejected: false,
    }
}

#[test]
fn a_request_that_fails_without_a_vm_is_a_boot_that_was_not_started() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .tell(900, request_failed(1, None, "supabaseUrl is required"));
    let boots = story.finish();
    assert_eq!(boots.len(), 1);
    assert_eq!(
        (boots[0].vm, boots[0].failure),
        (None, Some(Failure::NotStarted))
    );
    assert_eq!(boots[0].error.as_deref(), Some("supabaseUrl is required"));
}

#[test]
fn sixty_requests_of_one_user_at_once_are_told_apart() {
    let mut story = Story::new();
    for _ in 0..60 {
        story.tell(0, accepted(1));
    }
    for number in 1..=30 {
        story
            .tell(500, opened(1, number))
            .tell(500, begun(number, 1));
    }
    for _ in 0..30 {
        story.tell(900, request_failed(1, None, "supabaseUrl is required"));
    }
    let boots = story.finish();
    assert_eq!(boots.len(), 60);
    let of_session = |boot: &&Boot| boot.vm.is_some() && boot.session.is_some();
    assert_eq!(boots.iter().filter(of_session).count(), 30);
    let failed = |boot: &&Boot| boot.failure == Some(Failure::NotStarted);
    assert_eq!(boots.iter().filter(failed).count(), 30);
}

#[test]
fn a_request_whose_caller_was_at_fault_is_no_boot() {
    let mut story = Story::new();
    let rejected = EventKind::RequestFailed {
        user: user(1),
        session: None,
        error: b"invalid input syntax for type uuid",
        rejected: true,
    };
    story.tell(0, accepted(1)).tell(100, rejected);
    assert!(story.finish().is_empty());
    assert_eq!(story.tracker.counts().rejected_requests, 1);
}

#[test]
fn the_error_of_a_failed_creation_is_not_a_second_failure() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .create_started(100, 1, VmType::Browser);
    let kind = create_failed(1, "IP pool exhausted", 3);
    story
        .tell(103, kind)
        .tell(110, request_failed(1, None, "IP pool exhausted"));
    assert_eq!(story.finish().len(), 1);
}

/// The line of one request is lost, or before the log.
#[test]
fn the_error_of_a_creation_that_nobody_is_known_to_have_asked_for_is_not_another_ones() {
    for which in [None, Some(8)] {
        let mut story = Story::new();
        let failed = create_failed(1, "cloneGoldenSnapshot timed out", 103);
        story
            .create_started(0, 1, VmType::Browser)
            .tell(10, accepted(1))
            .tell(11, opened(1, 9))
            .tell(20, begun(2, 1))
            .tell(103, failed)
            .tell(
                104,
                request_failed(1, which, "cloneGoldenSnapshot timed out"),
            );
        let boots = story.finish();
        let ends: Vec<_> = boots.iter().map(|boot| (boot.vm, boot.outcome)).collect();
        let expected = [(Some(vm(1)), Some(Outcome::Failed)), (Some(vm(2)), None)];
        assert_eq!(ends, expected, "{which:?}");
    }
}

/// The lines of one creation are lost, and those of its request are not.
#[test]
fn an_error_that_names_its_vm_or_its_session_is_not_another_ones() {
    let named =
        "[vm-00000000-0000-0000-0000-000000000001] cloneGoldenSnapshot timed out after 15000ms";
    for (which, error) in [(None, named), (Some(8), named), (Some(8), "no space left")] {
        let mut story = Story::new();
        story
            .tell(10, accepted(1))
            .tell(11, opened(1, 9))
            .tell(20, begun(2, 1))
            .tell(104, request_failed(1, which, error));
        let boots = story.finish();
        let ends: Vec<_> = boots.iter().map(|boot| (boot.vm, boot.outcome)).collect();
        assert_eq!(ends, [(Some(vm(2)), None)], "{which:?} {error}");
    }
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
fn two_requests_of_one_user_keep_their_sessions_apart() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(0, accepted(1));
    let begin = |story: &mut Story, ms, number| {
        story.tell(ms, opened(1, number)).tell(ms, begun(number, 1));
    };
    begin(&mut story, 100, 11);
    begin(&mut story, 110, 12);
    let boots = story.finish();
    let sessions: Vec<_> = boots.iter().map(|boot| (boot.vm, boot.session)).collect();
    assert!(
        sessions.contains(&(Some(vm(11)), Some(session(11)))),
        "{sessions:?}"
    );
    assert!(
        sessions.contains(&(Some(vm(12)), Some(session(12)))),
        "{sessions:?}"
    );
    assert_eq!(boots.len(), 2);
}

#[test]
fn a_failed_request_with_a_session_fails_that_one_and_not_its_neighbour() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(0, opened(1, 1));
    story.tell(10, accepted(1)).tell(10, opened(1, 2));
    story.tell(500, request_failed(1, Some(2), "no such table"));
    // Later versions say it twice.
    story.tell(500, request_failed(1, Some(2), "no such table"));
    let boots = story.finish();
    let failed: Vec<_> = boots
        .iter()
        .filter(|boot| boot.outcome == Some(Outcome::Failed))
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].session, Some(session(2)));
    assert_eq!(boots.len(), 2);
}

#[test]
fn a_request_that_a_restart_cut_is_lost_soon_also_behind_one_that_had_its_vm() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(0, opened(1, 1));
    story.created(100, 1, 2).wait(1_600, 2);
    story.tell(3_000, accepted(2));
    story.tell(5_000, EventKind::ControllerStarting);
    story.advance(90_000);
    let lost = story.said.iter().find_map(|said| match said {
        Observation::BootEnded(boot) if boot.vm.is_none() => Some(boot),
        _ => None,
    });
    assert_eq!(
        lost.map(|boot| (boot.outcome, boot.failure)),
        Some((Some(Outcome::Lost), Some(Failure::ControllerRestarted)))
    );
}

#[test]
fn a_request_that_a_restart_cut_does_not_take_the_next_ones_vm() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .tell(2_000, EventKind::ControllerStarting);
    story
        .tell(9_000, accepted(1))
        .tell(9_100, opened(1, 1))
        .created(9_200, 1, 2);
    story.wait(10_700, 2).answers(10_700, 2, 10);
    let boots = story.finish();
    assert_eq!(boots.len(), 2);
    let lost = boots
        .iter()
        .find(|boot| boot.vm.is_none())
        .expect("the cut request");
    assert_eq!(
        lost.started_at,
        Timestamp(START),
        "it is the first one that was cut"
    );
    assert_eq!(lost.failure, Some(Failure::ControllerRestarted));
}

#[test]
fn a_request_cancelled_before_its_vm_cancels_the_vms_boot() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(10, opened(1, 1));
    story.tell(
        20,
        EventKind::SessionCancelled {
            session: session(1),
        },
    );
    story.create_started(30, 1, VmType::Browser);
    assert_eq!(story.outcome(1), CANCELLED);
}

#[test]
fn a_request_that_is_still_being_served_at_the_end_is_in_flight() {
    let mut story = Story::new();
    story.tell(0, accepted(1));
    let boots = story.finish();
    assert_eq!(boots.len(), 1);
    assert_eq!((boots[0].vm, boots[0].outcome), (None, None));
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
fn a_request_whose_vms_first_line_was_lost_is_no_boot_of_its_own() {
    let mut story = Story::new();
    story.tell(0, accepted(1)).tell(10, opened(1, 1));
    let kind = EventKind::HandedOver {
        vm: vm(1),
        user: user(1),
        session: session(1),
        ip: Some(ip(2)),
    };
    story.tell(1_500, kind);
    story.tell(2_000, accepted(2));
    let kind = create_failed(2, "IP pool exhausted", 3);
    story
        .tell(2_100, kind)
        .tell(2_110, request_failed(2, None, "IP pool exhausted"));
    assert!(story.finish().iter().all(|boot| boot.vm.is_some()));
}

#[test]
fn the_boots_of_a_synthetic_user_say_so_whether_a_vm_was_begun_or_not() {
    let mut story = Story::new();
    story.tracker.set_synthetic(BTreeSet::from([user(1)]));
    story
        .tell(0, accepted(1))
        .tell(900, request_failed(1, None, "supabaseUrl is required"))
        .tell(1_000, accepted(1))
        .create_started(1_100, 1, VmType::Browser)
        .tell(1_200, accepted(2))
        .tell(2_000, request_failed(2, None, "supabaseUrl is required"));
    let boots = story.finish();
    let mut origins: Vec<_> = boots
        .iter()
        .map(|boot| (boot.user == Some(user(1)), boot.origin))
        .collect();
    origins.sort();
    assert_eq!(
        origins,
        [
            (false, Origin::User),
            (true, Origin::Synthetic),
            (true, Origin::Synthetic)
        ]
    );
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

fn let_in(number: u128) -> EventKind<'static> {
    EventKind::RequestLetIn { user: user(number) }
}

/// The process ends, and another one goes on.
fn restart(story: &mut Story) {
    let mut shelf = Shelf::default();
    shelf.keep(story.tracker.changes());
    let excerpt = story.tracker.excerpt;
    story.tracker = Tracker::restore(shelf.0, excerpt).expect("what was saved");
}

fn start_failed(error: &str) -> EventKind<'_> {
    EventKind::StartFailed {
        error: error.as_bytes(),
        rejected: false,
    }
}

/// A controller that was deployed with a fault in it answers each request within milliseconds.
#[test]
fn a_request_that_only_the_route_speaks_of_is_a_boot_that_was_not_started() {
    for heard_of in [false, true] {
        let mut story = Story::new();
        story.tell(0, let_in(1));
        if heard_of {
            story.tell(1, accepted(1));
        }
        restart(&mut story);
        story
            .tell(4, start_failed("proxyConfig is not defined"))
            .tell(5_000, let_in(2))
            .tell(5_000, accepted(2));
        let boots = story.finish();
        assert_eq!(boots.len(), 2, "the second one is in flight");
        let failed = &boots[0];
        assert_eq!(
            (failed.user, failed.failure),
            (Some(user(1)), Some(Failure::NotStarted))
        );
        assert_eq!(failed.error.as_deref(), Some("proxyConfig is not defined"));
        assert_eq!(boots[1].outcome, None);
    }
}

#[test]
fn what_the_route_repeats_after_the_service_is_no_second_failure() {
    let mut story = Story::new();
    story
        .tell(0, let_in(1))
        .tell(0, accepted(1))
        .tell(0, let_in(2))
        .tell(0, accepted(2))
        .tell(900, request_failed(1, None, "supabaseUrl is required"));
    restart(&mut story);
    // In other words, and one of a creation whose own line from the service was lost.
    story
        .tell(900, start_failed("Error: supabaseUrl is required"))
        .create_started(1_000, 3, VmType::Browser);
    let kind = create_failed(3, "IP pool exhausted", 3);
    story
        .tell(1_003, kind)
        .tell(1_010, start_failed("IP pool exhausted"));
    let boots = story.finish();
    assert_eq!(boots.len(), 3);
    let of = |number: u128| {
        let mut found = boots.iter().filter(|boot| boot.user == Some(user(number)));
        found.next().expect("a boot").failure
    };
    assert_eq!(of(1), Some(Failure::NotStarted));
    assert_eq!(of(2), None, "it waits for its CLI VM");
    assert_eq!(of(3), Some(Failure::IpPoolExhausted));
}

#[test]
fn what_only_the_route_let_in_is_no_boot_while_nothing_says_how_it_ended() {
    let mut story = Story::new();
    story.tell(0, let_in(1)).tell(20 * 60_000, let_in(2));
    let rejected = EventKind::StartFailed {
        error: b"invalid input syntax for type uuid",
        rejected: true,
    };
    story.tell(20 * 60_000, rejected);
    // A controller that went away says nothing more of those before.
    story
        .tell(20 * 60_000, let_in(3))
        .tell(20 * 60_001, EventKind::ControllerStarting)
        .tell(20 * 60_002, start_failed("no"));
    assert!(story.finish().is_empty());
    assert_eq!(story.tracker.counts().rejected_requests, 1);
}

fn named(who: u128, which: u128) -> EventKind<'static> {
    EventKind::SessionNamed {
        user: user(who),
        session: session(which),
    }
}

/// The later controller answers with the session at once, and the user may leave while their CLI VM is made.
#[test]
fn a_session_that_is_named_early_may_be_cancelled_before_its_vm_is_asked_for() {
    let cancelled = EventKind::SessionCancelled {
        session: session(1),
    };
    for comes_up in [true, false] {
        let mut story = Story::new();
        story
            .tell(0, accepted(1))
            .tell(1, named(1, 1))
            .tell(5, accepted(1))
            .tell(6, named(1, 2))
            .tell(900, cancelled);
        restart(&mut story);
        match comes_up {
            true => story
                .tell(2_000, opened(1, 1))
                .tell(2_001, begun(1, 1))
                .tell(2_002, opened(1, 2))
                .tell(2_003, begun(2, 1)),
            false => {
                let error = "VM not ready after 60000ms";
                story
                    .tell(60_000, request_failed(1, Some(1), error))
                    .tell(60_010, request_failed(1, Some(2), error))
            }
        };
        let boots = story.finish();
        let of = |which: u128| {
            let mut found = boots
                .iter()
                .filter(|boot| boot.session == Some(session(which)));
            found.next().expect("a boot").outcome
        };
        assert_eq!(boots.len(), 2, "{comes_up}");
        assert_eq!(of(1), Some(Outcome::Cancelled), "{comes_up}");
        let other = (!comes_up).then_some(Outcome::Failed);
        assert_eq!(of(2), other, "{comes_up}");
    }
}

#[test]
fn a_session_that_was_guessed_is_the_other_ones_once_it_is_told() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .tell(0, accepted(1))
        .tell(1, opened(1, 7))
        .tell(1, opened(1, 8))
        .tell(2, begun(1, 1))
        .tell(2, begun(2, 1));
    let told = EventKind::HandedOver {
        vm: vm(2),
        user: user(1),
        session: session(8),
        ip: None,
    };
    story.tell(2_000, told);
    restart(&mut story);
    let error = "createTAPDevice timed out after 5000ms";
    let failed = create_failed(1, error, 5_000);
    let of_session = EventKind::HandOverFailed {
        user: user(1),
        session: session(7),
        error: error.as_bytes(),
    };
    story
        .tell(5_002, failed)
        .tell(5_003, of_session)
        .tell(5_004, request_failed(1, None, error));
    let boots = story.finish();
    let sessions: Vec<_> = boots.iter().map(|boot| (boot.vm, boot.session)).collect();
    assert_eq!(
        sessions,
        [
            (Some(vm(1)), Some(session(7))),
            (Some(vm(2)), Some(session(8)))
        ]
    );
}

/// The service destroys what it made before the route answers, and copies for others freeze both.
#[test]
fn what_the_route_repeats_minutes_later_is_nobody_elses() {
    let error = "VM not ready after 60000ms";
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .tell(60_000, request_failed(1, None, error))
        .tell(180_000, accepted(2))
        .tell(181_000, start_failed(error))
        .tell(182_000, opened(2, 2));
    let boots = story.finish();
    assert_eq!(boots.len(), 2);
    assert_eq!(boots[1].outcome, None);
}

#[test]
fn an_error_of_the_routes_alone_ends_no_request_that_has_come_further() {
    let cli_over = "VM not ready after 60000ms";
    let code = "proxyConfig is not defined";
    let reused = EventKind::CliReused {
        user: user(1),
        vm: None,
    };
    let stories: [(&str, &[(i64, EventKind<'_>)]); 6] = [
        (cli_over, &[(0, accepted(1))]),
        (code, &[(0, accepted(1)), (100, reused)]),
        (code, &[(0, accepted(1)), (100, named(1, 1))]),
        (code, &[(0, let_in(1)), (1, opened(1, 1))]),
        // Of two that wait none was accepted a moment ago.
        (code, &[(0, accepted(1)), (10, accepted(2))]),
        // It names another VM.
        (
            "[vm-70fa35e6-9f0c-4a7a-8f9c-0d3a6a9f6d11] cloneGoldenSnapshot timed out after 15000ms",
            &[(19_000, accepted(1))],
        ),
    ];
    for (error, before) in stories {
        let mut story = Story::new();
        for (ms, kind) in before {
            story.tell(*ms, *kind);
        }
        story.tell(20_000, start_failed(error));
        let boots = story.finish();
        assert!(
            boots.iter().all(|boot| boot.outcome.is_none()),
            "{before:?}"
        );
        assert!(!boots.is_empty(), "{before:?}");
    }
}

#[test]
fn an_error_that_names_its_vm_is_that_ones() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .create_started(100, 1, VmType::Browser)
        .tell(14_000, accepted(2));
    let error = format!("[{}] cloneGoldenSnapshot timed out after 15000ms", vm(1));
    story.tell(15_200, start_failed(&error));
    assert_eq!(story.outcome(1), failed(Failure::StepTimeout));
    let boots = story.finish();
    assert_eq!(boots.len(), 2);
}

/// It speaks on for a while, and those it accepts then are heard of again.
#[test]
fn a_controller_that_is_told_to_stop_goes_on_to_answer() {
    let mut story = Story::new();
    story
        .tell(0, accepted(1))
        .tell(900, request_failed(1, None, "supabaseUrl is required"))
        .tell(901, EventKind::ControllerStopping)
        .tell(902, accepted(2))
        .tell(903, start_failed("supabaseUrl is required"));
    let boots = story.finish();
    let failed = boots
        .iter()
        .filter(|boot| boot.outcome == Some(Outcome::Failed));
    assert_eq!(failed.count(), 1);
}

#[test]
fn a_callers_own_fault_takes_nobodys_request() {
    let mut story = Story::new();
    let rejected = EventKind::StartFailed {
        error: b"invalid input syntax for type uuid",
        rejected: true,
    };
    story.tell(0, accepted(1)).tell(10, rejected);
    assert_eq!(story.finish().len(), 1);
}

#[test]
fn a_promised_session_that_was_cancelled_takes_no_other_ones_vm() {
    let cancelled = EventKind::SessionCancelled {
        session: session(1),
    };
    let told = EventKind::HandedOver {
        vm: vm(1),
        user: user(1),
        session: session(2),
        ip: None,
    };
    let mut story = Story::new();
    // That the second one's VM was asked for is lost.
    story
        .tell(0, accepted(1))
        .tell(1, named(1, 1))
        .tell(5, accepted(1))
        .tell(6, named(1, 2))
        .tell(900, cancelled)
        .tell(2_000, begun(1, 1))
        .tell(4_000, told);
    let boots = story.finish();
    let of = |which: u128| {
        let mut found = boots
            .iter()
            .filter(|boot| boot.session == Some(session(which)));
        (
            found.next().expect("a boot").outcome,
            found.next().is_none(),
        )
    };
    assert_eq!(of(2), (None, true));
    assert_eq!(boots.len(), 2);
}
