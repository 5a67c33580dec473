//! What an incident is put down to while what it began with is over, or has become something else.

use super::*;

const GHOSTS: Cause = Cause::Condition(Condition::GhostVms);
const POOL: Cause = Cause::Condition(Condition::IpPoolLow);
const UNREACHABLE: Cause = Cause::Condition(Condition::DatabaseUnreachable);
const BLIND: Cause = Cause::Condition(Condition::DatabaseBlind);

fn both(ghosts_: u64, free: u64) -> Facts {
    let mut facts = ghosts(ghosts_);
    let pool = Fact {
        evidence: vec!["10.0.0.9 is the last".into()],
        ..fact(Condition::IpPoolLow, free, 253)
    };
    facts.insert(RuleName::IpPoolLow, pool);
    facts
}

/// The rows are not seen, and why.
fn rows(condition: Condition, ms: u64) -> Facts {
    let fact = fact(condition, ms, 0);
    Facts::from([(RuleName::DatabaseUnreachable, fact)])
}

#[test]
fn what_joined_an_incident_is_its_cause_once_what_it_began_with_is_over() {
    let mut story = Story::new();
    story.hold(&both(9, 200), 10 * MINUTE);
    let began = story.now;
    story.hold(&both(9, 3), 10 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    assert_eq!(story.sent[1].incident.cause, GHOSTS);

    // Below its limit, and held for a while.
    story.hold(&both(0, 3), MINUTE);
    assert_eq!(story.engine.incidents().next().unwrap().cause, GHOSTS);
    // What joined is between its limits by then: it is not over.
    story.hold(&both(0, 28), 10 * MINUTE);
    assert_eq!(
        story.kinds(),
        [Kind::Firing, Kind::Update, Kind::Update],
        "{:?}",
        story.changes
    );
    let Notification {
        incident, reason, ..
    } = &story.sent[2];
    assert_eq!((*reason, incident.cause), (Reason::CauseChanged, POOL));
    assert_eq!(incident.before.unwrap().0, GHOSTS);
    assert_eq!(incident.evidence, ["10.0.0.9 is the last"]);
    assert_eq!(incident.members[1].since, Some(began));
    assert_eq!(incident.key, story.sent[0].incident.key);

    // What is over and comes back joins what it left.
    story.hold(&both(9, 3), 10 * MINUTE);
    let again = story.engine.incidents().next().unwrap();
    assert_eq!((again.cause, again.first_cause()), (POOL, GHOSTS));
    assert_eq!(again.evidence, ["10.0.0.9 is the last"], "its own");
    story.hold(&both(0, 200), 10 * MINUTE);
    let last = story.sent.last().unwrap();
    assert_eq!((last.kind, last.incident.cause), (Kind::Resolved, POOL));
}

#[test]
fn a_rule_that_finds_something_else_says_so_once_that_has_lasted() {
    let mut story = Story::new();
    story.hold(&rows(Condition::DatabaseUnreachable, 60_000), 5 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing]);
    // For a moment, as while a server starts.
    for _ in 0..20 {
        story.hold(&rows(Condition::DatabaseBlind, 60_000), 20 * SECOND);
        story.hold(&rows(Condition::DatabaseUnreachable, 60_000), 10 * SECOND);
    }
    assert_eq!(story.sent.len(), 1);
    // Neither what is not seen for a moment nor what only one rule is judged by makes it begin anew.
    let seen = story.now;
    story.hold(&rows(Condition::DatabaseBlind, 60_000), 30 * SECOND);
    story.hold(&Facts::new(), SECOND);
    tried(&mut story, SyntheticResult::Failed);
    story.hold(&rows(Condition::DatabaseBlind, 60_000), 28 * SECOND);
    assert_eq!(story.engine.incidents().next().unwrap().cause, UNREACHABLE);
    story.hold(&rows(Condition::DatabaseBlind, 60_000), 3 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    let update = &story.sent[1];
    let incident = &update.incident;
    assert_eq!(
        (update.reason, incident.cause),
        (Reason::CauseChanged, BLIND)
    );
    assert_eq!(incident.before.unwrap().0, UNREACHABLE);
    assert_eq!(incident.members[0].since, Some(seen));
    assert_eq!(incident.members.len(), 1);

    // Back again within the pause between two such messages: told once that is over.
    story.hold(&rows(Condition::DatabaseUnreachable, 60_000), 2 * MINUTE);
    assert_eq!(story.sent.len(), 2);
    story.hold(&rows(Condition::DatabaseUnreachable, 60_000), 5 * MINUTE);
    assert_eq!(story.sent[2].incident.cause, UNREACHABLE);
    story.hold(&rows(Condition::DatabaseBlind, 0), 10 * MINUTE);
    let last = story.sent.last().unwrap();
    assert_eq!(
        (last.kind, last.incident.cause),
        (Kind::Resolved, UNREACHABLE)
    );
}

#[test]
fn boots_that_fail_of_a_whole_image_are_put_down_to_what_they_fail_of() {
    let mut story = Story::new();
    story.boots("rrrrrrxxx");
    story.hold(&image(2), 2 * MINUTE);
    story.hold(&image(0), 10 * MINUTE);
    let open = |story: &Story| story.engine.incidents().next().unwrap().clone();
    assert_eq!(open(&story).cause, IMAGE, "what these boots failed of");
    story.boots("uxux");
    assert_eq!(open(&story).cause, IMAGE, "too few to tell");
    let sent = story.sent.len();
    story.boots("u");
    story.pass(10 * MINUTE);
    let incident = open(&story);
    assert_eq!(incident.cause, Cause::Failure(Failure::GuestUnreachable));
    assert_eq!(incident.before.unwrap().0, IMAGE);
    assert!(!incident.evidence[0].contains("golden image"));
    let told = story.sent[sent..]
        .iter()
        .filter(|sent| sent.reason == Reason::CauseChanged);
    assert_eq!(told.count(), 1);
}

#[test]
fn an_image_that_joins_holds_since_its_boots_fail_and_not_since_it_was_written() {
    let mut story = Story::new();
    story.boots("rrrrrrxxx");
    story.hold(&image(2), 2 * MINUTE);
    let incident = story.engine.incidents().next().unwrap();
    assert_eq!(incident.cause, IMAGE);
    let image = &incident.members[incident.members.len() - 1];
    assert!(image.reading.boots().is_none());
    assert_eq!(incident.since(image), incident.first_bad_at);
}

#[test]
fn what_is_known_says_which_rule_it_is_of() {
    let engine = Story::new().engine;
    for condition in Condition::ALL {
        let settings = engine.settings.conditions.get(&condition.rule());
        assert!(settings.is_some(), "{condition}");
    }
}
