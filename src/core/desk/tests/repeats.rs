//! Repeats and acknowledgements.

use super::keep::restart;
use super::*;
use crate::core::saved::Shelf;

fn moments(story: &Story) -> Vec<i64> {
    story.sent.iter().map(|one| one.at.since(START)).collect()
}

#[test]
fn a_page_is_told_again_every_four_hours_exactly() {
    let mut story = Story::new();
    story.fire(refused("a"));
    story.pass(9 * HOUR);
    assert_eq!(moments(&story), [0, 4 * HOUR, 8 * HOUR]);
    assert_eq!(
        story.done(),
        ["firing a", "update a repeat", "update a repeat"]
    );
    story.resolve("a");
    story.pass(9 * HOUR);
    assert_eq!(story.done(), ["resolved a"]);
}

#[test]
fn a_ticket_is_told_again_every_day() {
    let mut story = Story::new();
    let mut ticket = refused("a");
    ticket.members[0].severity = Severity::Ticket;
    story.fire(ticket);
    story.pass(49 * HOUR);
    let told = moments(&story);
    assert_eq!(told.len(), 3);
    assert_eq!(told[2] - told[1], 24 * HOUR);
}

#[test]
fn what_nobody_could_be_told_is_told_again_ever_more_rarely_until_somebody_has_it() {
    let mut story = Story::new();
    story.fire(refused("a"));
    let mut expected = vec![0];
    for wait in [5, 10, 20, 40, 80, 160, 240, 240] {
        story.desk.given_up("a");
        assert!(!story.desk.view(story.now).incidents[0].is_told);
        story.pass(wait * MINUTE);
        expected.push(expected.last().unwrap() + wait * MINUTE);
    }
    assert_eq!(moments(&story), expected);
    assert!(story.sent.iter().all(|one| one.kind == Kind::Firing));
    story.done();

    let now = story.now;
    story.desk.delivered("a", now);
    assert!(story.desk.view(now).incidents[0].is_told);
    // Who was told once is not forgotten.
    story.desk.given_up("a");
    story.pass(4 * HOUR);
    assert_eq!(story.done(), ["update a repeat"]);
}

#[test]
fn after_a_restart_what_nobody_could_be_told_is_told_soon() {
    let mut story = Story::new();
    story.fire(refused("a"));
    for wait in [5, 10, 20, 40] {
        // Three channels say so of one message.
        (0..3).for_each(|_| story.desk.given_up("a"));
        story.pass(wait * MINUTE);
    }
    story.desk.given_up("a");
    assert_eq!(story.done().len(), 5);
    story.pass(MINUTE);
    restart(&mut story, &mut Shelf::default());
    story.pass(4 * MINUTE);
    assert_eq!(story.done(), ["firing a repeat"]);
}

#[test]
fn a_repeat_counts_from_the_last_message_that_was_delivered() {
    let mut story = Story::new();
    story.fire(refused("a"));
    story.pass(HOUR);
    let now = story.now;
    story.desk.delivered("a", now);
    story.desk.delivered("a", START);
    story.desk.delivered("nothing", now);
    story.pass(HOUR);
    story.update("a", RuleName::BootFailureRate);
    story.pass(HOUR);
    story.pass(4 * HOUR);
    assert_eq!(moments(&story), [0, 2 * HOUR, 6 * HOUR]);
}

#[test]
fn an_acknowledgement_stops_repeats_is_shown_and_ends_with_the_incident() {
    let mut story = Story::new();
    story.fire(refused("abcdef"));
    story.fire(incident(
        "abxyz",
        RuleName::BootFailureRate,
        VmType::Cli,
        Failure::TapFailed,
    ));
    assert_eq!(
        story.acknowledge("ab"),
        Err(Refused::Unknown("incident")),
        "too short to be meant"
    );
    assert_eq!(
        story.acknowledge("abcd"),
        Ok(Done::Acknowledged("abcdef".to_owned()))
    );
    story.done();
    story.pass(13 * HOUR);
    assert!(story.done().iter().all(|said| said.contains("abxyz")));
    story.update("abcdef", RuleName::BootFailureRate);
    let update = story.sent.last().unwrap();
    let taken = update.remarks.acknowledged.as_ref().unwrap();
    assert_eq!(
        (taken.author.as_str(), taken.note.as_str()),
        ("ada", "looking")
    );
    assert_eq!(story.desk.figures(story.now), (0, 1));
    story.resolve("abcdef");
    let end = story.sent.last().unwrap();
    assert_eq!(
        end.remarks
            .acknowledged
            .as_ref()
            .map(|one| one.author.as_str()),
        Some("ada")
    );
    assert_eq!(story.desk.figures(story.now), (0, 0));
    // Another incident is another one.
    story.fire(refused("abcdef-2"));
    assert_eq!(story.sent.last().unwrap().remarks.acknowledged, None);
}

#[test]
fn who_acknowledges_is_told_to_those_who_read_along_only_where_a_page_was() {
    let mut story = Story::new();
    story.fire(refused("first"));
    story.acknowledge("first").unwrap();
    assert_eq!(
        story.done(),
        [
            "firing first",
            "update first acknowledged",
            "noted acknowledge first by ada"
        ]
    );
    assert!(story.sent[1].reason.is_notice());
    story.silence(&["host=host-1"], HOUR).unwrap();
    story.fire(refused("second"));
    story.done();
    story.acknowledge("second").unwrap();
    assert_eq!(story.done(), ["noted acknowledge second by ada"]);
}

#[test]
fn the_beginning_of_a_key_must_mean_one_incident() {
    let mut story = Story::new();
    story.fire(refused("abcd1"));
    story.fire(refused("abcd"));
    assert_eq!(
        story.acknowledge("abcd"),
        Ok(Done::Acknowledged("abcd".to_owned())),
        "a whole key is one"
    );
    story.fire(refused("abcd2"));
    story.resolve("abcd");
    assert_eq!(story.acknowledge("abcd"), Err(Refused::Ambiguous));
}
