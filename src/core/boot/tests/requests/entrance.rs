//! Requests of which the route speaks alone, or again.

use super::*;

fn let_in(number: u128) -> EventKind<'static> {
    EventKind::RequestLetIn { user: user(number) }
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
