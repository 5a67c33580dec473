//! Requests without a VM, and whose VM is whose.

mod cli;
mod entrance;

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

/// The process ends, and another one goes on.
fn restart(story: &mut Story) {
    let mut shelf = Shelf::default();
    shelf.keep(story.tracker.changes());
    let excerpt = story.tracker.excerpt;
    story.tracker = Tracker::restore(shelf.0, excerpt).expect("what was saved");
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
