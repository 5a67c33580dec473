//! The storm valve.

use super::*;

fn many(story: &mut Story, from: usize, to: usize) {
    for n in from..to {
        let cause = match n % 3 {
            0 => Failure::TapFailed,
            _ => Failure::AgentRefused,
        };
        story.fire(incident(
            &format!("{n:03}"),
            RuleName::BootFailureRate,
            // One kind, so that nothing is a symptom.
            VmType::Browser,
            cause,
        ));
    }
}

/// Without inhibition: incidents of one cause on many hosts.
fn apart(story: &mut Story, from: usize, to: usize) {
    for n in from..to {
        let mut one = refused(&format!("{n:03}"));
        one.host = format!("host-{n}");
        story.fire(one);
    }
}

#[test]
fn five_hundred_alerts_at_once_make_ten_pages_and_one_digest() {
    let mut story = Story::new();
    apart(&mut story, 0, 500);
    assert_eq!(story.sent.len(), 10);
    story.pass(9 * MINUTE);
    assert_eq!(story.sent.len(), 11);
    let digest = story.sent[10].clone();
    assert_eq!((digest.kind, digest.reason), (Kind::Firing, Reason::Storm));
    assert_eq!(
        digest.at,
        START.plus_ms(30 * SECOND),
        "it gathers as long as updates do"
    );
    let counted = digest.remarks.digest.unwrap();
    assert_eq!((counted.firing, counted.resolved), (490, 0));
    assert_eq!(
        counted.causes,
        [(VmType::Browser.into(), Failure::AgentRefused.into(), 490)]
    );
    assert!(!story.desk.hides("400"), "a digest tells of it");

    // The ends: of the ten each its own, of the rest one.
    story.sent.clear();
    for n in 0..500 {
        story.resolve(&format!("{n:03}"));
    }
    let ends: Vec<&str> = story
        .sent
        .iter()
        .map(|one| one.incident.key.as_str())
        .collect();
    assert_eq!(ends.len(), 11);
    assert_eq!(ends[10], "storm-010");
    assert!(story.sent.iter().all(|one| one.kind == Kind::Resolved));
    story.pass(24 * HOUR);
    assert_eq!(story.sent.len(), 11, "nothing is left");
}

#[test]
fn a_digest_is_told_at_most_every_five_minutes_and_counts_what_ended() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    story.pass(MINUTE);
    apart(&mut story, 12, 14);
    story.resolve("010");
    story.pass(8 * MINUTE);
    let digests: Vec<(i64, Kind)> = story
        .sent
        .iter()
        .filter(|one| one.reason == Reason::Storm)
        .map(|one| (one.at.since(START), one.kind))
        .collect();
    assert_eq!(
        digests,
        [(30 * SECOND, Kind::Firing), (330 * SECOND, Kind::Update)]
    );
    let last = story.sent.last().unwrap().remarks.digest.clone().unwrap();
    assert_eq!((last.firing, last.resolved), (3, 1));
}

#[test]
fn a_page_is_in_no_digest_of_tickets() {
    let mut story = Story::new();
    apart(&mut story, 0, 10);
    let of = |key: &str, rule| {
        let mut one = incident(key, rule, VmType::Browser, Failure::AgentRefused);
        one.host = format!("host-{key}");
        one
    };
    story.fire(of("ticket", RuleName::BootStageSlow));
    story.fire(of("page", RuleName::BootFailureRate));
    story.pass(MINUTE);
    let digests: Vec<(&str, Severity, u32)> = story
        .sent
        .iter()
        .filter_map(|one| {
            let firing = one.remarks.digest.as_ref()?.firing;
            Some((one.incident.key.as_str(), one.incident.severity(), firing))
        })
        .collect();
    assert_eq!(
        digests,
        [
            ("storm-page", Severity::Page, 1),
            ("storm-ticket", Severity::Ticket, 1)
        ]
    );
    story.done();
    story.resolve("ticket");
    assert_eq!(story.done(), ["resolved storm-ticket"]);
    story.resolve("page");
    assert_eq!(story.done(), ["resolved storm-page"]);
}

#[test]
fn a_ticket_that_becomes_a_page_leaves_no_digest_open() {
    let mut story = Story::new();
    apart(&mut story, 0, 10);
    let mut one = incident(
        "a",
        RuleName::BootStageSlow,
        VmType::Browser,
        Failure::AgentRefused,
    );
    one.host = "host-a".to_owned();
    story.fire(one);
    story.pass(MINUTE);
    story.update("a", RuleName::BootFailureRate);
    story.pass(10 * MINUTE);
    story.resolve("a");
    story.done();
    story.pass(30 * HOUR);
    assert!(story.done().iter().all(|one| !one.contains("storm")));
}

#[test]
fn a_digest_is_repeated_with_its_present_count() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    // The repeat is due ten seconds later, and the digest's news after it.
    story.pass(4 * HOUR + 20 * SECOND);
    story.resolve("010");
    story.pass(MINUTE);
    let repeat = story.sent.iter().rfind(|one| one.reason == Reason::Repeat);
    let counted = repeat.unwrap().remarks.digest.clone().unwrap();
    assert_eq!((counted.firing, counted.resolved), (2, 1));
}

#[test]
fn after_the_storm_incidents_are_paged_one_by_one_again() {
    let mut story = Story::new();
    apart(&mut story, 0, 11);
    story.pass(11 * MINUTE);
    story.done();
    apart(&mut story, 11, 12);
    assert_eq!(story.done(), ["firing 011"]);
}

#[test]
fn a_storm_that_is_over_before_its_digest_is_due_sends_none() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    story.resolve("010");
    story.resolve("011");
    story.pass(HOUR);
    assert!(story.sent.iter().all(|one| one.reason != Reason::Storm));
}

#[test]
fn a_digest_can_be_acknowledged_and_is_told_again() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    story.pass(5 * HOUR);
    assert!(story.done().contains(&"update storm-010 repeat".to_owned()));
    story.acknowledge("storm-010").unwrap();
    story.done();
    story.pass(5 * HOUR);
    assert!(!story.done().contains(&"update storm-010 repeat".to_owned()));
}

#[test]
fn what_was_silenced_within_a_digest_is_told_by_it_again_after_the_silence() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    story.pass(MINUTE);
    story.silence(&["host=host-11"], 10 * MINUTE).unwrap();
    assert!(!story.desk.hides("011"), "the digest has told of it");
    story.done();
    story.pass(11 * MINUTE);
    let standing = |story: &Story| {
        let view = story.desk.view(story.now);
        let mut all = view.incidents.into_iter();
        all.find(|one| one.incident.key == "011").unwrap().held
    };
    assert_eq!(standing(&story), Some(HeldBack::Storm));
    assert!(!story.desk.hides("011"));
    let said = story.done();
    assert!(
        said.iter().all(|one| !one.starts_with("firing")),
        "the digest has told of it: {said:?}"
    );
    story.resolve("011");
    assert!(!story.desk.kept_quiet("011"));
}

#[test]
fn symptoms_are_in_no_digest() {
    let mut story = Story::new();
    many(&mut story, 0, 30);
    // All tap failures but the first are held as consequences of it: 20 refusals, of which nine are paged.
    story.pass(MINUTE);
    let digest = story.sent.iter().find_map(|one| one.remarks.digest.clone());
    let causes = digest.unwrap().causes;
    assert_eq!(
        causes,
        [(VmType::Browser.into(), Failure::AgentRefused.into(), 11)]
    );
}

#[test]
fn a_silence_of_all_that_a_digest_tells_of_keeps_it_quiet_until_it_ends() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    story.pass(MINUTE);
    story.silence(&["host=~host-1[012]"], 20 * MINUTE).unwrap();
    story.done();
    story.resolve("010");
    story.pass(10 * MINUTE);
    let said = story.done();
    assert!(
        said.iter().all(|one| !one.starts_with("update")),
        "each of it is silenced: {said:?}"
    );
    story.pass(11 * MINUTE);
    let last = story.sent.last().unwrap();
    assert_eq!(
        (last.incident.key.as_str(), last.kind, last.reason),
        ("storm-010", Kind::Update, Reason::Storm)
    );
    assert!(matches!(last.remarks.held, Some(HeldBack::Silenced { .. })));
    let counted = last.remarks.digest.clone().unwrap();
    assert_eq!((counted.firing, counted.resolved), (2, 1));
}

#[test]
fn a_digest_of_what_is_silenced_meanwhile_waits_for_the_silence() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    story.silence(&["host=~host-1[01]"], HOUR).unwrap();
    story.pass(MINUTE);
    let digests = |story: &Story| {
        let digests = story.sent.iter().filter(|one| one.reason == Reason::Storm);
        digests.map(|one| one.kind).collect::<Vec<Kind>>()
    };
    assert_eq!(digests(&story), []);
    story.pass(HOUR);
    assert_eq!(digests(&story), [Kind::Firing]);
    story.done();
    story.resolve("010");
    story.resolve("011");
    assert_eq!(story.done(), ["resolved storm-010"]);
}

#[test]
fn a_silence_of_one_that_a_digest_tells_of_hides_nothing_of_the_others() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    story.pass(MINUTE);
    story.silence(&["host=host-10"], 24 * HOUR).unwrap();
    story.done();
    story.pass(5 * HOUR);
    assert!(story.done().contains(&"update storm-010 repeat".to_owned()));
}

#[test]
fn a_digest_explains_nothing_once_its_first_incident_is_over() {
    let mut story = Story::new();
    apart(&mut story, 0, 10);
    let empty = |key: &str, vm_type| {
        incident(
            key,
            RuleName::BootFailureRate,
            vm_type,
            Failure::IpPoolExhausted,
        )
    };
    story.fire(empty("browser", VmType::Browser));
    apart(&mut story, 10, 11);
    story.pass(MINUTE);
    story.resolve("browser");
    story.pass(10 * MINUTE);
    story.done();
    story.fire(empty("cli", VmType::Cli));
    assert_eq!(story.done(), ["firing cli"]);
}

#[test]
fn who_takes_a_digest_is_told_its_present_count() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    story.pass(MINUTE);
    story.resolve("010");
    story.acknowledge("storm-010").unwrap();
    let last = story.sent.last().unwrap();
    assert_eq!(last.reason, Reason::Acknowledged);
    let counted = last.remarks.digest.clone().unwrap();
    assert_eq!((counted.firing, counted.resolved), (2, 1));
}

#[test]
fn what_a_digest_tells_of_is_hidden_by_no_cause_that_comes_later() {
    let mut story = Story::new();
    apart(&mut story, 0, 10);
    story.fire(incident(
        "boots",
        RuleName::BootFailureRate,
        VmType::Browser,
        Failure::TapFailed,
    ));
    story.pass(MINUTE);
    let mut silent = refused("silent");
    silent.members = vec![member(RuleName::ControllerSilent)];
    story.fire(silent);
    story.pass(MINUTE);
    let view = story.desk.view(story.now);
    let boots = view
        .incidents
        .iter()
        .find(|one| one.incident.key == "boots");
    assert_eq!(boots.unwrap().held, Some(HeldBack::Storm));
    assert!(!story.desk.hides("boots"));
}

#[test]
fn what_is_silenced_before_its_digest_is_told_ends_where_it_was_shown() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    assert!(!story.desk.hides("011"));
    story.silence(&["host=host-11"], HOUR).unwrap();
    assert!(!story.desk.hides("011"), "Alertmanager was shown it");
    story.resolve("011");
    assert!(!story.desk.kept_quiet("011"));
}

#[test]
fn a_digest_is_shown_as_what_it_is() {
    let mut story = Story::new();
    apart(&mut story, 0, 13);
    story.pass(MINUTE);
    story.resolve("010");
    let view = story.desk.view(story.now);
    let digests = view.incidents.iter().filter_map(|one| one.digest.as_ref());
    let counts: Vec<(u32, u32)> = digests.map(|one| (one.firing, one.resolved)).collect();
    assert_eq!(counts, [(2, 1)]);
}

#[test]
fn a_digest_whose_silence_no_longer_holds_keeps_its_distance() {
    let mut story = Story::new();
    apart(&mut story, 0, 12);
    story.pass(MINUTE);
    story.silence(&["host=~host-1[01]"], HOUR).unwrap();
    // Each is one that nothing silences, and is over soon.
    for n in 12..16 {
        apart(&mut story, n, n + 1);
        story.pass(SECOND);
        story.resolve(&format!("{n:03}"));
        story.pass(SECOND);
    }
    apart(&mut story, 16, 17);
    story.pass(8 * MINUTE);
    let digests = story.sent.iter().filter(|one| one.reason == Reason::Storm);
    let digests: Vec<i64> = digests.map(|one| one.at.since(START)).collect();
    assert_eq!(digests, [30 * SECOND, 330 * SECOND]);
}
