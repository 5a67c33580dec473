//! When an alert is over, and when it is not.

use super::*;

#[test]
fn no_data_never_resolves() {
    let mut story = Story::new();
    story.boots("xxx");
    story.pass(60_000);
    let sent = story.sent.len();
    story.pass(48 * 3_600_000);
    assert_eq!(story.sent.len(), sent);
    assert!(story.engine.alerts().any(|alert| alert.firing));
}

#[test]
fn a_blind_source_freezes_a_firing_alert() {
    let mut story = Story::new();
    story.boots("xxx");
    story.pass(60_000);
    story.boots("rrrr");
    let mut out = Vec::new();
    story.engine.set_blind(true, story.now, &mut out);
    story.take(out);
    story.pass(3_600_000);
    assert!(!story.kinds().contains(&Kind::Resolved));
    assert!(story.engine.alerts().all(|alert| alert.unknown));
    let mut out = Vec::new();
    story.engine.set_blind(false, story.now, &mut out);
    story.take(out);
    story.pass(120_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn one_good_boot_does_not_resolve() {
    let mut story = Story::new();
    story.boots("xxxx");
    story.boots("r");
    story.pass(600_000);
    assert!(!story.kinds().contains(&Kind::Resolved));
}

#[test]
fn twenty_flips_make_one_firing_and_one_resolve() {
    let mut story = Story::new();
    for _ in 0..10 {
        story.boots("xxx");
        story.boots("rrr");
    }
    story.boots("rrr");
    story.pass(600_000);
    let firing = story.count(Kind::Firing);
    let resolved = story.count(Kind::Resolved);
    assert_eq!((firing, resolved), (1, 1), "{:?}", story.changes);
}

#[test]
fn an_alert_that_flaps_is_held_open() {
    let mut story = Story::new();
    // For two hours.
    for _ in 0..24 {
        story.boots("xxx");
        story.boots("rrr");
        story.pass(130_000);
    }
    let firing = story.count(Kind::Firing);
    assert!(firing <= 3, "{:?}", story.changes);
    assert!(
        story
            .sent
            .iter()
            .any(|sent| sent.reason == Reason::Flapping)
    );
    story.boots("rrr");
    story.pass(31 * 60_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn after_a_resolve_old_failures_do_not_fire_again() {
    let mut story = Story::new();
    story.boots("xxxxxxrrr");
    story.pass(600_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
    let sent = story.sent.len();
    story.boots("xrrxrr");
    story.pass(600_000);
    assert_eq!(story.sent.len(), sent);
    story.boots("xxx");
    assert_eq!(story.kinds().last(), Some(&Kind::Firing));
}

#[test]
fn boots_that_were_good_before_it_fired_are_no_recovery() {
    let mut story = Story::new();
    story.boots(&"r".repeat(25));
    for vm in 900..903 {
        story.attempt(vm, 100_000, REFUSED);
    }
    assert_eq!(story.kinds(), [Kind::Firing]);
    // The controller restarts: nobody knows what became of them, and nothing has become ready since.
    for vm in 900..903 {
        story.lost(vm);
    }
    assert_eq!(story.engine.overdue().count(), 0);
    story.pass(3_600_000);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.boots("rrr");
    story.pass(600_000);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
    let resolved = &story.sent[1].incident;
    assert!(resolved.good_since > Some(resolved.fired_at));
}

#[test]
fn since_when_boots_are_good_again_is_known_however_many_there_were_before_it_resolved() {
    let mut story = Story::new();
    story.boots(&"r".repeat(25));
    story.boots("xxxx");
    assert_eq!(story.kinds()[0], Kind::Firing);
    let mut out = Vec::new();
    story.engine.set_catching_up(true, story.now, &mut out);
    story.boots("r");
    let good_since = story.now;
    story.boots(&"r".repeat(99));
    assert!(!story.kinds().contains(&Kind::Resolved));
    story.engine.set_catching_up(false, story.now, &mut out);
    story.take(out);
    let resolved = story.sent.last().unwrap();
    assert_eq!(resolved.kind, Kind::Resolved);
    assert_eq!(resolved.incident.good_since, Some(good_since));
}
