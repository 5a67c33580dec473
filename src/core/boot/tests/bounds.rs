//! Memory is bounded whatever the log says.

use super::super::{MAX_ENDED, MAX_OPEN};
use super::*;

#[test]
fn the_oldest_boot_is_given_up_and_counted_when_too_many_are_in_flight() {
    let mut story = Story::new();
    let open = MAX_OPEN as u128;
    for number in 0..open + 5 {
        story.create_started(0, number, VmType::Browser);
    }
    assert_eq!(story.tracker.open_boots(), MAX_OPEN);
    assert_eq!(story.tracker.counts().evicted, 5);
    let lost = Some((Outcome::Lost, Some(Failure::Unknown)));
    assert_eq!((story.outcome(4), story.outcome(5)), (lost, None));
}

#[test]
fn a_boot_in_the_place_of_one_that_was_given_up_is_not_forgotten_with_it() {
    const MINUTE: i64 = 60_000;
    let mut story = Story::new();
    let open = MAX_OPEN as u128;
    for number in 0..open + 5 {
        story.create_started(0, number, VmType::Browser);
    }
    for minute in 1..20 {
        for number in open..open + 5 {
            let kind = EventKind::StepStarted {
                vm: vm(number),
                step: 2,
            };
            story.tell(minute * MINUTE, kind);
        }
        story.advance(minute * MINUTE);
    }
    assert_eq!(story.tracker.open_boots(), 5);
}

#[test]
fn ended_boots_are_let_go_of_by_number_and_by_age() {
    let mut story = Story::new();
    for number in 0..2 * MAX_ENDED as u128 {
        story.create_started(0, number, VmType::Browser);
        let kind = EventKind::CreateFailed {
            vm: vm(number),
            user: None,
            vm_type: None,
            error: b"IP pool exhausted",
            elapsed_ms: Some(1),
            failed_at: None,
        };
        story.tell(1, kind);
    }
    assert_eq!(story.tracker.sizes().boots, MAX_ENDED);
    story.advance(20 * 60_000);
    let sizes = story.tracker.sizes();
    assert_eq!(sizes.boots, 0);
    assert!(sizes.queued < 64, "{sizes:?}");
}

#[test]
fn users_who_ask_and_are_never_answered_are_bounded() {
    let mut story = Story::new();
    for number in 0..3 * MAX_OPEN as u128 {
        story.tell(0, EventKind::RequestAccepted { user: user(number) });
        let session = session(number);
        story.tell(
            0,
            EventKind::SessionOpened {
                user: user(number),
                session,
            },
        );
    }
    let sizes = story.tracker.sizes();
    assert!(sizes.requests <= MAX_OPEN, "{sizes:?}");
    assert!(sizes.boots <= MAX_OPEN + MAX_ENDED, "{sizes:?}");
}

#[test]
fn addresses_that_were_never_given_to_a_vm_are_bounded_and_forgotten() {
    let mut story = Story::new();
    for number in 0..60_000u32 {
        let ip = Ipv4Addr::from(0x0a00_0000 + number);
        let limits = WaitLimits::default();
        story.tell(0, EventKind::WaitStarted { ip, limits });
    }
    assert!(story.tracker.sizes().addresses <= 20_000);
    story.advance(3_600_000);
    story.advance(7_200_000);
    assert_eq!(story.tracker.sizes().addresses, 0);
}

#[test]
fn cancelling_unknown_sessions_costs_nothing_however_many_ask() {
    let mut story = Story::new();
    for number in 0..MAX_OPEN as u128 {
        story.tell(0, EventKind::RequestAccepted { user: user(number) });
    }
    for number in 0..1_000_000 {
        story.tell(
            0,
            EventKind::SessionCancelled {
                session: session(number),
            },
        );
    }
    assert_eq!(story.tracker.sizes().requests, MAX_OPEN);
}
