//! What is told of an incident: its rules, their figures as of now, and the evidence.

use super::*;

#[test]
fn what_still_fires_says_most_of_an_incident_however_little_it_counts() {
    let mut story = Story::new();
    story.boots(&"r".repeat(20));
    story.boots("xxx");
    story.pass(30_000);
    let mut incident = story.sent.last().unwrap().incident.clone();
    let rule = |incident: &Incident| incident.strongest().map(|member| member.rule);
    assert_eq!(rule(&incident), Some(RuleName::BootFailureRate));
    let members = incident.members.iter_mut();
    for member in members.filter(|member| member.rule != RuleName::ConnectionRefusedSpike) {
        member.resolved_at = Some(story.now);
    }
    assert_eq!(rule(&incident), Some(RuleName::ConnectionRefusedSpike));
    for member in &mut incident.members {
        member.resolved_at = Some(story.now);
    }
    assert_eq!(
        rule(&incident),
        Some(RuleName::BootFailureRate),
        "all are over"
    );
}

/// What the first message told stays first, so that an update can say what joined it.
#[test]
fn a_rule_that_fires_again_keeps_its_place_in_the_incident() {
    let mut story = Story::new();
    story.boots("xxxx");
    let rules = |story: &Story| {
        let incident = story.engine.incidents().next().expect("one is open");
        let rules: Vec<RuleName> = incident.members.iter().map(|one| one.rule).collect();
        (rules, incident.members[0].clone())
    };
    let (before, first) = rules(&story);
    assert!(before.len() > 1 && story.sent[0].incident.members[0].rule == first.rule);
    let Said::Boots(reading) = first.reading else {
        panic!("it is about boots");
    };
    let (now, mut out) = (story.now.plus_ms(60_000), Vec::new());
    story
        .engine
        .alert_fired(first.rule, VmType::Browser, reading, now, &mut out);
    let (after, again) = rules(&story);
    assert_eq!((after, again.fired_at), (before, now));
}

#[test]
fn the_other_kind_is_counted_in_the_last_hour_or_else_by_its_last_boots() {
    let mut story = Story::new();
    story.boot(VmType::Cli, None);
    story.boot(VmType::Cli, None);
    let newest_at = story.now;
    story.pass(5 * 3_600_000);
    story.boots("xxx");
    let other = &story.sent[0].incident.others[0];
    assert_eq!(other.count, Count { bad: 0, of: 2 });
    assert_eq!(other.stretch, Stretch::Last(2));
    assert_eq!(other.newest_at, newest_at);
}

#[test]
fn an_update_has_the_figures_of_now() {
    let mut story = Story::new();
    for _ in 0..5 {
        story.boot(VmType::Cli, None);
    }
    story.boots("xxx");
    for _ in 0..2 {
        story.boot_now(VmType::Cli, Some(Failure::TapFailed));
        story.boot_now(VmType::Browser, Some(Failure::AgentRefused));
    }
    story.pass(30_000);
    let update = &story.sent[1];
    assert_eq!(
        (update.kind, update.incident.subject),
        (Kind::Update, VmType::Browser.into())
    );
    let member = &update.incident.members[0];
    let count = |bad, of| Count { bad, of };
    assert_eq!(member.reading.boots().unwrap().count, count(5, 5));
    assert_eq!(update.incident.others[0].count, count(2, 7));
    let fired = story.engine.incidents().next().unwrap();
    let member = &fired.members[0];
    assert_eq!(
        member.reading.boots().unwrap().count,
        count(3, 3),
        "as it fired"
    );
}

#[test]
fn what_is_told_again_has_the_figures_of_now() {
    let mut story = Story::new();
    story.boot(VmType::Cli, None);
    story.boots("xxx");
    story.pass(60_000);
    let told = story.sent.last().unwrap().incident.clone();
    story.boots("xxxx");
    story.boot(VmType::Cli, Some(Failure::TapFailed));
    let present = story.engine.as_of(&told.key, story.now).unwrap();
    let count = |bad, of| Count { bad, of };
    let of_rate = |incident: &Incident| incident.members[0].reading.boots().unwrap().count;
    assert_eq!(
        (of_rate(&told), of_rate(&present)),
        (count(3, 3), count(7, 7))
    );
    assert_eq!(told.others[0].count, count(0, 1));
    assert_eq!(present.others[0].count, count(1, 2));
    assert_eq!(story.engine.as_of("another", story.now), None);
}

#[test]
fn what_fires_on_while_hardly_any_fail_says_how_many_do() {
    let mut story = Story::new();
    story.boots("xxx..");
    let key = story.sent[0].incident.key.clone();
    let present = story.engine.as_of(&key, story.now).unwrap();
    let count = present.members[0].reading.boots().unwrap().count;
    assert_eq!(count, Count { bad: 3, of: 5 });
}

#[test]
fn evidence_shows_what_boots_met_and_not_only_that_they_were_given_up() {
    let boot = |number: u8, evidence: &[&str]| Judged {
        vm: Some(VmId(number.into())),
        session: None,
        started_at: Timestamp(0),
        ended_at: Timestamp(0),
        failure: Some(Failure::AgentRefused),
        evidence: evidence
            .iter()
            .map(|line| format!("{number}: {line}"))
            .collect::<Vec<_>>()
            .into(),
        signs: crate::core::diagnosis::Signs::default(),
    };
    let met = ["EHOSTUNREACH", "ECONNREFUSED", "timeout exceeded"];
    let bad = [boot(3, &met), boot(2, &met), boot(1, &["died"])];
    assert_eq!(
        trouble::lines(&bad),
        ["3: ECONNREFUSED", "3: timeout exceeded", "2: ECONNREFUSED"]
    );
    assert_eq!(trouble::lines(&bad[2..]), ["1: died"]);
    assert_eq!(
        trouble::lines(&bad[..1]),
        ["3: ECONNREFUSED", "3: timeout exceeded", "3: EHOSTUNREACH"]
    );
    assert!(trouble::lines(&[]).is_empty());
}
