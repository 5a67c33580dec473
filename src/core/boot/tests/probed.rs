//! What probes are shown, and what they may add.

use super::*;
use crate::core::probe::{Standing, Target};
use crate::core::saved::Shelf;

/// A boot that was refused until the controller gave it up, 20 s after the story's start.
fn given_up(story: &mut Story, number: u128, address: u8) {
    story.created(0, number, address).wait(2_000, address);
    story.refusals(2_000, address, 7).timed_out(17_500, address);
}

fn targets(story: &Story) -> Vec<(u128, Standing)> {
    let mut targets: Vec<_> = story.tracker.targets().collect();
    targets.sort_by_key(|target| target.vm);
    let of = |target: &Target| (target.vm.0, target.standing);
    targets.iter().map(of).collect()
}

fn amended(story: &Story) -> Vec<&Boot> {
    let amended = story.said.iter().filter_map(|said| match said {
        Observation::BootAmended(boot) => Some(&**boot),
        _ => None,
    });
    amended.collect()
}

#[test]
fn browser_vms_are_looked_at_from_their_creation_until_they_are_destroyed() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.step(5, 1, 1, 5, Some(7));
    assert!(targets(&story).is_empty(), "nothing runs there yet");
    story.created(10, 1, 7);
    assert_eq!(targets(&story), [(1, Standing::InFlight)]);
    story.made(20, 2, VmType::Cli, 8);
    assert_eq!(
        targets(&story),
        [(1, Standing::InFlight)],
        "no agent is in a CLI VM"
    );
    story.wait(2_000, 7).answers(2_000, 7, 6_000);
    assert_eq!(targets(&story), [(1, Standing::Running)]);
    story.tell(30_000, EventKind::Destroying { vm: vm(1) });
    assert!(targets(&story).is_empty());
}

#[test]
fn an_agent_that_comes_up_late_is_told_from_one_that_is_missing() {
    let mut story = Story::new();
    given_up(&mut story, 1, 7);
    assert_eq!(targets(&story), [(1, Standing::GivenUp)]);
    let ended = story.end_of(1).unwrap();
    assert_eq!(ended.failure, Some(Failure::AgentRefused));
    let evidence = ended.evidence.len();
    story.tracker.came_up_late(vm(1), &mut story.said);
    let late = amended(&story);
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].outcome, Some(Outcome::Failed), "the log decides");
    assert_eq!(late[0].failure, Some(Failure::AgentLate));
    assert_eq!(late[0].evidence.len(), evidence + 1);
    story.tracker.came_up_late(vm(1), &mut story.said);
    assert_eq!(amended(&story).len(), 1, "told once");
    story.advance(20 * 60_000);
    let settled = story.said.iter().any(|said| {
        matches!(said, Observation::BootSettled(boot) if boot.failure == Some(Failure::AgentLate))
    });
    assert!(settled, "and kept to the end");
}

#[test]
fn the_answer_of_another_vm_on_the_address_is_never_credited() {
    // The address went to another VM.
    let mut story = Story::new();
    given_up(&mut story, 1, 7);
    story.created(20_000, 2, 7);
    assert_eq!(targets(&story), [(2, Standing::InFlight)]);
    story.tracker.came_up_late(vm(1), &mut story.said);
    assert!(amended(&story).is_empty());
    let stale = |number| Target {
        vm: vm(number),
        ip: ip(7),
        standing: Standing::Running,
    };
    assert!(story.tracker.is_taken_from(&stale(1)));
    assert!(!story.tracker.is_taken_from(&stale(2)));

    // The VM was destroyed, as the controller does with what it gave up.
    let mut story = Story::new();
    given_up(&mut story, 1, 7);
    story.tell(18_000, EventKind::Destroying { vm: vm(1) });
    story.tracker.came_up_late(vm(1), &mut story.said);
    assert!(amended(&story).is_empty());
    assert!(story.tracker.is_taken_from(&stale(1)));
}

#[test]
fn only_a_boot_that_was_given_up_can_be_late() {
    let mut story = Story::new();
    story.created(0, 1, 7);
    story.tracker.came_up_late(vm(1), &mut story.said);
    story.wait(2_000, 7).answers(2_000, 7, 6_000);
    story.tracker.came_up_late(vm(1), &mut story.said);
    story.tracker.came_up_late(vm(99), &mut story.said);
    assert!(amended(&story).is_empty());
}

#[test]
fn that_it_came_up_late_outlives_a_restart() {
    let mut story = Story::new();
    given_up(&mut story, 1, 7);
    story.tracker.came_up_late(vm(1), &mut story.said);
    let mut shelf = Shelf::default();
    shelf.keep(story.tracker.changes());
    let mut again = Tracker::restore(shelf.0, |_, _| String::new()).unwrap();
    let mut said = Vec::new();
    again.came_up_late(vm(1), &mut said);
    assert!(said.is_empty(), "it is known: {said:?}");
    assert_eq!(again.targets().count(), 1);
}
