//! What holds now: when it fires, when it does not, and that what cannot be seen decides nothing.

mod course;

use super::*;
use crate::core::condition::{Condition, Fact, Facts};
use crate::core::rule::Said;
use crate::core::saved::Shelf;
use crate::core::synthetic::{SyntheticResult, SyntheticRun};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;

fn fact(condition: Condition, value: u64, of: u64) -> Fact {
    Fact {
        condition,
        value,
        of: Some(of),
        since: None,
        settles: true,
        evidence: vec!["first".into(), "second".into(), "third".into(), "no".into()],
    }
}

fn ghosts(value: u64) -> Facts {
    Facts::from([(RuleName::GhostVms, fact(Condition::GhostVms, value, 40))])
}

impl Story {
    /// Tells the same facts every second for so long.
    fn hold(&mut self, facts: &Facts, ms: i64) {
        let until = self.now.plus_ms(ms);
        while self.now < until {
            let mut out = Vec::new();
            self.engine.facts(facts, self.now, &mut out);
            self.take(out);
            self.pass(SECOND);
        }
    }

    fn view(&self, rule: RuleName) -> AlertView {
        self.engine
            .alerts()
            .find(|view| view.rule == rule && view.subject == Subject::Host)
            .expect("the rule is on")
    }

    fn down(&mut self, ms: i64) {
        let mut shelf = Shelf::default();
        self.engine.save_everything();
        shelf.keep(self.engine.changes());
        self.now = self.now.plus_ms(ms);
        let mut out = Vec::new();
        let settings = self.engine.settings.clone();
        self.engine =
            Engine::restore(shelf.0, settings, self.now, &mut out).expect("what was saved");
        self.take(out);
    }
}

#[test]
fn a_condition_fires_after_its_time_is_told_once_and_resolves_once() {
    let mut story = Story::new();
    story.boots("rrrr");
    let began = story.now;
    story.hold(&ghosts(6), 5 * MINUTE);
    assert!(story.sent.is_empty() && story.view(RuleName::GhostVms).pending);
    story.hold(&ghosts(7), 10 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing]);
    let Notification { incident, at, .. } = &story.sent[0];
    assert_eq!(at.since(began), 5 * MINUTE);
    assert_eq!(
        (incident.subject, incident.family, incident.cause),
        (Subject::Host, Family::Addresses, Condition::GhostVms.into())
    );
    assert_eq!(incident.first_bad_at, began);
    assert_eq!(incident.severity(), Severity::Ticket);
    assert_eq!(incident.evidence, ["first", "second", "third"]);
    assert_eq!(incident.others.len(), 1, "browser boots are not affected");
    let Said::Level(level) = incident.members[0].reading else {
        panic!("it is about no boots");
    };
    assert_eq!((level.value, level.of, level.limit), (7, Some(40), 5));

    story.hold(&ghosts(3), 10 * MINUTE);
    assert_eq!(story.sent.len(), 1, "between the limits nothing is over");
    let over = story.now;
    story.hold(&ghosts(2), 10 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
    assert_eq!(story.sent[1].at.since(over), 2 * MINUTE);
    assert_eq!(story.sent[1].incident.good_since, Some(over));
    assert_eq!(story.sent[1].incident.key, story.sent[0].incident.key);
    assert_eq!(
        story.changes,
        ["GhostVms pending", "GhostVms firing", "GhostVms resolved"]
    );
}

#[test]
fn what_cannot_be_seen_neither_fires_nor_resolves() {
    let mut story = Story::new();
    story.hold(&Facts::new(), 60 * MINUTE);
    assert!(story.view(RuleName::GhostVms).unknown);
    story.hold(&ghosts(9), 4 * MINUTE);
    story.hold(&Facts::new(), 60 * MINUTE);
    assert!(story.sent.is_empty());
    assert!(
        story.view(RuleName::GhostVms).pending,
        "blindness forgets nothing"
    );
    story.hold(&ghosts(9), 2 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.hold(&Facts::new(), 600 * MINUTE);
    assert_eq!(story.sent.len(), 1, "no data is not recovery");
    let view = story.view(RuleName::GhostVms);
    assert!(view.firing && view.unknown);
    // Sight that comes and goes never adds up to a recovery.
    for _ in 0..20 {
        story.hold(&ghosts(0), MINUTE);
        story.hold(&Facts::new(), SECOND);
    }
    assert_eq!(story.sent.len(), 1);
    story.hold(&ghosts(0), 3 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
}

#[test]
fn a_second_alert_of_the_same_cause_joins_and_another_cause_is_another_incident() {
    let mut story = Story::new();
    let mut facts = ghosts(9);
    story.hold(&facts, 6 * MINUTE);
    facts.insert(RuleName::IpPoolLow, fact(Condition::IpPoolLow, 12, 253));
    story.hold(&facts, 5 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    assert_eq!(story.sent[1].incident.key, story.sent[0].incident.key);
    assert_eq!(story.rules(1), [RuleName::GhostVms, RuleName::IpPoolLow]);
    facts.insert(
        RuleName::ControllerSilent,
        fact(Condition::ControllerSilent, 660_000, 660_000),
    );
    story.hold(&facts, SECOND);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update, Kind::Firing]);
    assert_eq!(story.sent[2].incident.severity(), Severity::Page);
    assert_ne!(story.sent[2].incident.key, story.sent[0].incident.key);
}

#[test]
fn what_holds_is_told_again_with_the_figure_of_now() {
    let mut story = Story::new();
    story.hold(&ghosts(9), 6 * MINUTE);
    let key = story.sent[0].incident.key.clone();
    let told = |story: &Story| {
        let present = story.engine.as_of(&key, story.now).unwrap();
        match present.members[0].reading {
            Said::Level(level) => level.value,
            Said::Boots(_) => panic!("it is not about boots"),
        }
    };
    story.hold(&ghosts(30), MINUTE);
    assert_eq!(told(&story), 30);
    // Well, and held for a while: what was last bad.
    story.hold(&ghosts(0), SECOND);
    assert_eq!(told(&story), 30);
    story.down(SECOND);
    assert_eq!(told(&story), 9, "as it fired, until it is looked at again");
}

#[test]
fn a_condition_that_flaps_says_so_and_is_held_open() {
    let mut story = Story::new();
    let silent = |value| {
        Facts::from([(
            RuleName::DatabaseUnreachable,
            fact(Condition::DatabaseUnreachable, value, 0),
        )])
    };
    // For two hours.
    for _ in 0..52 {
        story.hold(&silent(60_000), 10 * SECOND);
        story.hold(&silent(0), 130 * SECOND);
    }
    let flapping = story
        .sent
        .iter()
        .filter(|sent| sent.reason == Reason::Flapping)
        .count();
    assert_eq!(flapping, 1, "{:?}", story.changes);
    assert_eq!(story.sent.len(), 5, "{:?}", story.changes);
    story.hold(&silent(0), 27 * MINUTE);
    assert_eq!(story.sent.len(), 5, "{:?}", story.changes);
    story.hold(&silent(0), MINUTE);
    assert_eq!(
        story.sent.last().map(|sent| sent.kind),
        Some(Kind::Resolved)
    );
    assert_eq!(story.sent.len(), 6);
}

#[test]
fn a_restart_pages_nobody_again_and_what_was_pending_begins_anew() {
    let mut story = Story::new();
    story.hold(&ghosts(9), 4 * MINUTE);
    story.down(60 * MINUTE);
    story.hold(&ghosts(9), 4 * MINUTE);
    assert!(story.sent.is_empty(), "nobody looked for an hour");
    story.hold(&ghosts(9), 2 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.down(60 * MINUTE);
    story.hold(&Facts::new(), 10 * MINUTE);
    story.hold(&ghosts(9), 10 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.hold(&ghosts(0), 3 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
    let keys = story.sent.iter().map(|sent| &sent.incident.key);
    assert_eq!(keys.collect::<std::collections::BTreeSet<_>>().len(), 1);
}

/// Saved by a program that knew only rules about boots: an incident of it has `vm_type`, and no alert is the host's.
#[test]
fn what_an_older_program_saved_is_taken_back() {
    let mut story = Story::new();
    story.boots("rrrrxxx");
    let (mut shelf, settings) = (Shelf::default(), story.engine.settings.clone());
    story.engine.save_everything();
    shelf.keep(story.engine.changes());
    let before = shelf.0.len();
    shelf.0.retain(|key, _| !key.ends_with("/host"));
    let gone = before - shelf.0.len();
    let host = |rule: &&RuleName| rule.judges(Subject::Host);
    assert_eq!(gone, RuleName::CONDITIONS.iter().filter(host).count());
    let parts = shelf.0.len() - 1;
    for (key, text) in &mut shelf.0 {
        if key.starts_with("incident/") {
            assert!(text.contains("\"subject\":\"browser\""), "{text}");
            *text = text.replace("\"subject\"", "\"vm_type\"");
        }
        if key == "rest" {
            *text = format!(r#"{{"version":1,"closed_ever":0,"parts":{parts}}}"#);
        }
    }
    let mut out = Vec::new();
    story.engine = Engine::restore(shelf.0, settings, story.now, &mut out).expect("version 1");
    assert_eq!(out, []);
    let sent = story.sent.len();
    story.boots("rrrrr");
    story.pass(5 * MINUTE);
    assert_eq!(
        story.sent.last().map(|sent| sent.kind),
        Some(Kind::Resolved)
    );
    assert_eq!(
        story.sent.last().map(|sent| &sent.incident.key),
        Some(&story.sent[0].incident.key)
    );
    assert!(story.sent.len() > sent);
    story.hold(&ghosts(9), 6 * MINUTE);
    assert_eq!(story.sent.last().map(|sent| sent.kind), Some(Kind::Firing));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Whatever is seen, or is not: firing and resolved alternate, none fires before its time, and nothing resolves
    /// that was not seen to be well for as long as it is held.
    #[test]
    fn notifications_alternate_and_blindness_resolves_nothing(
        looks in proptest::collection::vec((proptest::option::of(0u64..12), 1i64..90), 1..120),
    ) {
        let mut story = Story::new();
        let (mut bad_ms, mut well_ms) = (0, 0);
        for (value, seconds) in looks {
            let sent = story.sent.len();
            let facts = value.map(ghosts).unwrap_or_default();
            story.hold(&facts, seconds * SECOND);
            match value {
                Some(5..) => (bad_ms, well_ms) = (bad_ms + seconds * SECOND, 0),
                Some(0..=2) => (bad_ms, well_ms) = (0, well_ms + seconds * SECOND),
                Some(_) => (bad_ms, well_ms) = (0, 0),
                None => well_ms = 0,
            }
            for sent in &story.sent[sent..] {
                match sent.kind {
                    Kind::Firing => proptest::prop_assert!(value.is_some_and(|value| value >= 5)),
                    Kind::Resolved => proptest::prop_assert!(well_ms >= 2 * MINUTE),
                    Kind::Update => proptest::prop_assert!(false, "nothing joined"),
                }
            }
            if bad_ms == 0 && value.is_some() {
                proptest::prop_assert!(!story.view(RuleName::GhostVms).pending);
            }
        }
        for pair in story.sent.windows(2) {
            proptest::prop_assert_ne!(pair[0].kind, pair[1].kind);
        }
    }
}

fn trial(story: &mut Story, result: SyntheticResult) {
    story.pass(5 * MINUTE);
    tried(story, result);
}

fn tried(story: &mut Story, result: SyntheticResult) {
    let run = SyntheticRun {
        vm: None,
        session: None,
        started_at: story.now.plus_ms(-MINUTE),
        ended_at: story.now,
        result,
        failure: None,
        evidence: vec!["no answer on 6080 within 5 s".to_owned()],
    };
    let mut out = Vec::new();
    story.engine.synthetic(&run, story.now, &mut out);
    story.take(out);
}

#[test]
fn the_second_synthetic_boot_that_fails_pages_at_once_and_two_that_pass_resolve() {
    let mut story = Story::new();
    story.boots(&"r".repeat(30));
    assert!(story.view(RuleName::SyntheticFailing).unknown);
    assert!(!story.engine.is_near_a_page(story.now));
    trial(&mut story, SyntheticResult::Failed);
    assert!(story.sent.is_empty() && !story.view(RuleName::SyntheticFailing).unknown);
    assert!(story.engine.is_near_a_page(story.now), "one more pages");
    trial(&mut story, SyntheticResult::Failed);
    assert_eq!(story.kinds(), [Kind::Firing]);
    let Notification { incident, at, .. } = &story.sent[0];
    assert_eq!(*at, story.now, "no tick is waited for");
    assert_eq!(incident.severity(), Severity::Page);
    assert_eq!(
        incident.cause,
        Cause::Condition(Condition::SyntheticFailing)
    );
    assert_eq!(incident.first_bad_at, story.now.plus_ms(-6 * MINUTE));
    assert_eq!(
        incident.evidence.len(),
        2,
        "a line a boot: {:?}",
        incident.evidence
    );
    assert_eq!(incident.others.len(), 1, "users' boots are well");
    trial(&mut story, SyntheticResult::Passed);
    story.hold(&Facts::new(), 4 * MINUTE);
    assert_eq!(story.sent.len(), 1, "one that passes may be luck");
    trial(&mut story, SyntheticResult::Passed);
    story.hold(&Facts::new(), 3 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
}

#[test]
fn a_restart_between_two_failed_synthetic_boots_forgets_neither() {
    let mut story = Story::new();
    trial(&mut story, SyntheticResult::Failed);
    story.down(30 * MINUTE);
    trial(&mut story, SyntheticResult::Failed);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.down(MINUTE);
    trial(&mut story, SyntheticResult::Failed);
    trial(&mut story, SyntheticResult::Skipped);
    story.hold(&Facts::new(), 60 * MINUTE);
    assert_eq!(story.sent.len(), 1, "what was skipped says nothing");
    let view = story.view(RuleName::SyntheticFailing);
    assert!(view.firing && view.unknown);
}

#[test]
fn the_logs_synthetic_boots_page_by_themselves_and_touch_no_rule_about_users() {
    let mut story = Story::new();
    story.boots(&"r".repeat(30));
    story.origin = Origin::Synthetic;
    for _ in 0..9 {
        story.boots("x");
    }
    assert_eq!(story.kinds(), [Kind::Firing]);
    let incident = &story.sent[0].incident;
    assert_eq!(incident.subject, Subject::Host);
    assert_eq!(incident.members[0].rule, RuleName::SyntheticFailing);
    assert_eq!(
        incident.others[0].count,
        Count { bad: 0, of: 30 },
        "no synthetic boot is among the users'"
    );
    // One in flight, hopeless for long, is none of theirs either.
    for vm in 900..920 {
        story.attempt(vm, 110_000, AttemptResult::Error(AttemptError::Refused));
    }
    assert_eq!(story.engine.overdue().count(), 0);
    story.origin = Origin::User;
    story.boots("xxx");
    let about: Vec<Subject> = story
        .sent
        .iter()
        .map(|sent| sent.incident.subject)
        .collect();
    assert_eq!(about, [Subject::Host, VmType::Browser.into()]);
}

fn image(faults: u64) -> Facts {
    let fact = Fact {
        since: Some(Timestamp(1_760_752_000_000)),
        evidence: vec!["golden image: agent is not there".into()],
        ..fact(Condition::GoldenImageBroken, faults, 0)
    };
    Facts::from([(RuleName::GoldenImageBroken, fact)])
}

const IMAGE: Cause = Cause::Condition(Condition::GoldenImageBroken);
const REFUSED: Cause = Cause::Failure(Failure::AgentRefused);

#[test]
fn a_broken_image_pages_before_any_boot_fails_and_failing_boots_join_it() {
    let mut story = Story::new();
    story.boots("rrrrrr");
    story.boot(VmType::Cli, None);
    story.hold(&image(3), SECOND);
    assert_eq!(story.kinds(), [Kind::Firing]);
    let first = story.sent[0].incident.clone();
    assert_eq!(first.cause, IMAGE);
    assert_eq!(
        (first.subject, first.family),
        (VmType::Browser.into(), Family::Guest)
    );
    assert_eq!(first.severity(), Severity::Page);
    assert_eq!(first.first_bad_at, Timestamp(1_760_752_000_000));
    assert_eq!(first.evidence, ["golden image: agent is not there"]);

    story.boots("xxx");
    story.pass(MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    let update = &story.sent[1].incident;
    assert_eq!((&update.key, update.cause), (&first.key, IMAGE));
    assert_eq!(update.evidence[0], "golden image: agent is not there");
    assert!(update.evidence[1].starts_with("line of boot"));
    assert_eq!(update.boots.len(), 3);
    // Whatever the boots die of: the image stays why.
    story.boots("uuuuuu");
    assert_eq!(story.engine.incidents().next().unwrap().cause, IMAGE);

    story.hold(&image(0), 5 * MINUTE);
    assert!(
        story.sent.iter().all(|sent| sent.kind != Kind::Resolved),
        "boots still fail"
    );
    story.boots("rrrrrrrrrrrrrrrrrrrr");
    story.pass(10 * MINUTE);
    let last = story.sent.last().unwrap();
    assert_eq!(
        (last.kind, &last.incident.key),
        (Kind::Resolved, &first.key)
    );
    assert!(story.sent.iter().all(|sent| sent.incident.key == first.key));
}

#[test]
fn boots_are_ready_again_from_the_first_good_one_on_and_not_from_the_audit_after_it() {
    let mut story = Story::new();
    story.boots("rrrrrrxxx");
    story.hold(&image(2), 2 * MINUTE);
    story.boots("r");
    let first_good = story.now;
    story.boots("rrrrr");
    // The audit comes after the boots, as it waits until the file rests.
    story.hold(&image(0), 5 * MINUTE);
    story.boots("rrrrrrrrrrrrrrrrrrrr");
    story.pass(10 * MINUTE);
    let last = story.sent.last().unwrap();
    assert_eq!((last.kind, last.incident.cause), (Kind::Resolved, IMAGE));
    assert_eq!(last.incident.good_since, Some(first_good));
    assert_eq!(last.incident.over_since(last.at), first_good);
}

#[test]
fn boots_that_failed_and_do_no_more_are_no_company_of_what_comes_after() {
    let recovered = |story: &Story| {
        let ghosts = story
            .engine
            .incidents()
            .find(|open| open.subject == Subject::Host);
        let others = ghosts.expect("the ghosts' ticket is open").others.clone();
        others
            .into_iter()
            .map(|other| other.recovered)
            .collect::<Vec<_>>()
    };
    // A ticket that opens meanwhile, and one that opens after it: neither says at the end that boots fail.
    for meanwhile in [true, false] {
        let mut story = Story::new();
        story.boots("rrrrrrrxxx");
        if meanwhile {
            story.hold(&ghosts(9), 6 * MINUTE);
            assert_eq!(recovered(&story), [false]);
        }
        story.boots("rrrrrrrrrr");
        story.pass(5 * MINUTE);
        assert!(story.sent.iter().any(|sent| sent.kind == Kind::Resolved));
        if !meanwhile {
            story.hold(&ghosts(9), 6 * MINUTE);
        }
        assert_eq!(recovered(&story), [true]);
    }
    // Of those since, more fail than are tolerated, though not so many that anybody is told.
    let mut story = Story::new();
    story.boots("rrrrrrrxxxrrrrrrrrrr");
    story.pass(5 * MINUTE);
    story.boots("rxrrrrrxrr");
    story.hold(&ghosts(9), 6 * MINUTE);
    assert_eq!(recovered(&story), [false]);
}

#[test]
fn an_audit_after_the_first_page_turns_its_cause_and_pages_nobody_anew() {
    let mut story = Story::new();
    story.boots("rrrrrrxxx");
    assert_eq!(story.kinds(), [Kind::Firing]);
    assert_eq!(story.sent[0].incident.cause, REFUSED);
    story.hold(&image(2), 2 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    let update = &story.sent[1];
    assert_eq!(update.reason, Reason::CauseChanged);
    assert_eq!(update.incident.key, story.sent[0].incident.key);
    assert_eq!(update.incident.cause, IMAGE);
    assert_eq!(update.incident.before.unwrap().0, REFUSED);
    assert_eq!(update.incident.boots.len(), 3, "the boots stay named");
    assert_eq!(
        update.incident.evidence[0],
        "golden image: agent is not there"
    );
}

#[test]
fn an_image_of_which_nothing_is_known_keeps_its_alert_over_a_restart() {
    let mut story = Story::new();
    story.boots("rrrr");
    story.hold(&image(1), SECOND);
    assert_eq!(story.kinds(), [Kind::Firing]);
    story.down(MINUTE);
    story.hold(&Facts::new(), 30 * MINUTE);
    assert_eq!(story.sent.len(), 1, "neither paged again nor resolved");
    story.hold(&image(0), 10 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
}

#[test]
fn a_failed_boots_console_is_shown_by_its_incident_and_told_to_nobody_anew() {
    use crate::core::console::{ConsoleEvidence, ConsoleSource, ConsoleTail, GuestMark, Seen};
    let mut story = Story::new();
    story.boots("rrrrxxx");
    let named = story.sent[0].incident.boots[0].vm;
    let mut console = ConsoleEvidence::new(ConsoleSource::Live);
    console.take(Seen {
        mark: GuestMark::LoginPrompt,
        at: story.now,
        uptime_ms: Some(31_200),
    });
    console.whole = true;
    console.tail = ConsoleTail {
        console: vec!["vm login:".to_owned()],
        errors: Vec::new(),
    };
    let mut boot = Boot::new(named, Provenance::default(), story.now);
    boot.vm_type = Some(VmType::Browser);
    boot.outcome = Some(Outcome::Failed);
    boot.console = Some(Box::new(console));
    let grown = Observation::BootEvidence(Box::new(boot));
    let mut out = Vec::new();
    story.engine.observe(&grown, story.now, &mut out);
    assert!(out.is_empty());
    let incident = story.engine.incidents().next().unwrap();
    assert_eq!(
        incident.console,
        [
            "console said login_prompt at 31.200 s; never kernel_started, agent_unit_started, agent_listening",
            "console: vm login:",
        ]
    );
}
#[test]
fn our_own_boots_whose_end_nobody_tells_are_not_users() {
    let mut story = Story::new();
    for vm in 900..920 {
        story.pass(MINUTE);
        let mut boot = Boot::new(Some(VmId(vm)), Provenance::default(), story.now);
        boot.origin = Origin::Synthetic;
        boot.outcome = Some(Outcome::Lost);
        boot.failure = Some(Failure::Unknown);
        boot.ended_at = Some(story.now);
        let mut out = Vec::new();
        let ended = Observation::BootEnded(Box::new(boot));
        story.engine.observe(&ended, story.now, &mut out);
        story.take(out);
    }
    assert!(story.sent.is_empty(), "{:?}", story.kinds());
}

impl Story {
    /// A minute on, a boot ends of which nobody knows how.
    pub(super) fn untold(&mut self, vm: u128) {
        self.pass(MINUTE);
        let mut boot = Boot::new(Some(VmId(vm)), Provenance::default(), self.now);
        boot.outcome = Some(Outcome::Lost);
        boot.failure = Some(Failure::Unknown);
        boot.ended_at = Some(self.now);
        let mut out = Vec::new();
        let ended = Observation::BootEnded(Box::new(boot));
        self.engine.observe(&ended, self.now, &mut out);
        self.take(out);
    }
}

#[test]
fn boots_whose_end_nobody_tells_are_a_ticket_and_no_recovery_of_another() {
    let mut story = Story::new();
    story.boots("rrrrr");
    story.untold(901);
    story.untold(902);
    assert!(story.sent.is_empty());
    story.down(MINUTE);
    story.untold(903);
    assert_eq!(story.kinds(), [Kind::Firing]);
    let incident = &story.sent[0].incident;
    assert_eq!(incident.severity(), Severity::Ticket);
    assert_eq!(incident.members[0].rule, RuleName::BootsUntold);
    assert!(incident.evidence[0].starts_with(&VmId(903).to_string()));
    // Boots that end again in words that are understood settle it.
    story.boots(&"r".repeat(20));
    story.hold(&Facts::new(), 3 * MINUTE);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Resolved]);
}
