//! Incidents that know why, and fixes that are proved.

use super::*;
use crate::core::diagnosis::Verdict;
use crate::core::fix::Standing;
use crate::core::image::{Check, Finding, Generation, GoldenImage, Verdict as Found};
use crate::core::window::Count;

impl Story {
    /// An audit of the golden image as it was put there at a time.
    fn audit(&mut self, modified_at: Timestamp, agent: Found) {
        let image = GoldenImage {
            path: "/golden.ext4".to_owned(),
            since: None,
            generation: Some(Generation {
                inode: 7,
                size: 8 << 30,
                modified_at,
                uuid: None,
            }),
            findings: vec![Finding::new(
                Check::Agent,
                agent,
                "/opt/vm-browser-agent/server.js",
                "is missing",
            )],
            audited_at: self.now,
        };
        let mut out = Vec::new();
        self.engine.image(&image, self.now, &mut out);
        self.take(out);
    }

    fn verdict(&self, place: usize) -> Option<Verdict> {
        let found = self.sent[place].incident.diagnosis.as_ref()?;
        Some(found.verdict()?.verdict)
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.sent.iter().map(|sent| sent.reason.as_str()).collect()
    }

    fn restarted(&mut self) {
        let parts = self.engine.changes().parts;
        let parts = parts
            .into_iter()
            .filter_map(|part| Some((part.key, part.value?)));
        let settings = self.engine.settings.clone();
        let mut out = Vec::new();
        self.engine = Engine::restore(parts, settings, self.now, &mut out).unwrap();
        self.take(out);
    }
}

#[test]
fn a_page_names_the_cause_that_was_known_before_it() {
    let mut story = Story::new();
    story.boots("rrr");
    let changed = story.now;
    story.audit(changed, Found::Fail);
    story.boots("xxx");
    assert_eq!(story.kinds(), [Kind::Firing]);
    let found = story.sent[0].incident.diagnosis.as_ref().unwrap();
    let first = found.sure().unwrap();
    assert_eq!(first.verdict, Verdict::AgentMissing);
    let spoken: Vec<String> = first
        .speaks_for
        .iter()
        .map(|point| point.spoken())
        .collect();
    assert!(
        spoken[0].contains("/opt/vm-browser-agent/server.js"),
        "{spoken:?}"
    );
}

#[test]
fn what_is_learnt_later_is_told_once_under_the_same_key() {
    let mut story = Story::new();
    story.boots("rrr");
    let changed = story.now;
    story.boots("xxx");
    assert_eq!(story.verdict(0), None, "the log alone is not enough");
    story.audit(changed, Found::Fail);
    story.pass(29_000);
    assert_eq!(story.sent.len(), 1, "the grouping wait applies to updates");
    story.pass(2_000);
    assert_eq!(story.reasons(), ["first_alert", "verdict_changed"]);
    assert_eq!(story.verdict(1), Some(Verdict::AgentMissing));
    assert_eq!(story.sent[0].incident.key, story.sent[1].incident.key);
    // More of the same is no news, nor is it after a restart.
    story.audit(changed, Found::Fail);
    story.restarted();
    story.boots("xxxx");
    story.audit(changed, Found::Fail);
    story.pass(600_000);
    let others = story
        .reasons()
        .into_iter()
        .filter(|reason| *reason == "verdict_changed");
    assert_eq!(others.count(), 1, "{:?}", story.reasons());
}

#[test]
fn a_verdict_that_lost_its_ground_before_it_was_told_is_not_told() {
    for others_were_told in [true, false] {
        let mut story = Story::new();
        story.boots("rrr");
        let changed = story.now;
        story.boots("xxx");
        if others_were_told {
            story.pass(60_000);
        }
        story.audit(changed, Found::Fail);
        story.pass(10_000);
        story.audit(changed, Found::Pass);
        story.pass(60_000);
        // Another alert that joined meanwhile is told all the same.
        assert_eq!(story.reasons(), ["first_alert", "further_alert"]);
    }
}

#[test]
fn a_cause_that_turned_back_before_it_was_told_is_not_told() {
    let mut story = Story::new();
    story.boots("rrrxxx");
    assert_eq!(story.sent[0].incident.cause, Failure::AgentRefused);
    let mut now = |failure: Failure| {
        for _ in 0..6 {
            story.pass(1_000);
            story.boot_now(VmType::Browser, Some(failure));
        }
    };
    now(Failure::GuestUnreachable);
    now(Failure::AgentRefused);
    story.pass(60_000);
    let told: Vec<_> = story.sent.iter().map(|sent| sent.reason).collect();
    assert!(!told.contains(&Reason::CauseChanged), "{told:?}");
    assert!(story.sent.iter().all(|sent| sent.incident.before.is_none()));
}

#[test]
fn an_image_put_in_place_later_changes_nothing_of_what_the_broken_one_did() {
    let mut story = Story::new();
    story.boots("rrr");
    let broken = story.now;
    story.audit(broken, Found::Fail);
    story.boots("xxx");
    story.pass(60_000);
    let fixed = story.now;
    story.audit(fixed, Found::Pass);
    let open = story.engine.incidents().next().unwrap();
    let found = open.diagnosis.as_ref().unwrap();
    assert_eq!(found.sure().unwrap().verdict, Verdict::AgentMissing);
    assert_eq!(open.fix.as_ref().unwrap().at, fixed);
}

#[test]
fn after_a_fixed_image_and_five_clean_boots_the_incident_closes_as_confirmed() {
    let mut story = Story::new();
    story.boots("rrr");
    story.audit(story.now, Found::Fail);
    story.boots("xxxx");
    story.pass(60_000);
    story.audit(story.now, Found::Pass);
    story.boots("r");
    story.restarted();
    story.boots("rrr");
    // Four good ones would end the alert, were its fix not to be proved.
    story.pass(20 * 60_000);
    assert!(story.sent.iter().all(|sent| sent.kind != Kind::Resolved));
    story.boots("r");
    story.pass(180_000);
    let end = story.sent.last().unwrap();
    assert_eq!(end.kind, Kind::Resolved);
    let fix = end.incident.fix.as_ref().unwrap();
    assert_eq!(fix.standing, Standing::Confirmed);
    assert_eq!(fix.since, Count { bad: 0, of: 5 });
    assert!((fix.upper_bound() - 0.45).abs() < 0.01);
}

#[test]
fn a_fix_is_waited_for_no_longer_than_half_an_hour() {
    let mut story = Story::new();
    story.boots("rrrxxxx");
    story.pass(60_000);
    assert_eq!(
        story
            .engine
            .fix_marked("ada", "put the old image back", story.now),
        1
    );
    story.boots("rrrr");
    story.pass(40 * 60_000);
    let end = story.sent.last().unwrap();
    assert_eq!(end.kind, Kind::Resolved);
    assert_eq!(
        end.incident.fix.as_ref().unwrap().standing,
        Standing::Undecided
    );
}

/// Two failures of eleven are what four of five expects, and more than nineteen of twenty allows.
#[test]
fn a_fix_is_held_against_the_objective_that_is_configured() {
    for (tolerated, standing) in [(0.2, Standing::Confirmed), (0.05, Standing::Undecided)] {
        let mut story = Story::new();
        for rule in story.engine.settings.rules.values_mut() {
            rule.tolerated = tolerated;
            rule.keep_firing_ms = 6 * 3_600_000;
        }
        story.boots("rrrxxxx");
        story.pass(60_000);
        story.engine.fix_marked("ada", "the old image", story.now);
        story.boots("rxrrrrrrxrr");
        let mut open = story.engine.incidents();
        let fix = open.next().unwrap().fix.as_ref().unwrap();
        assert_eq!(fix.since, Count { bad: 2, of: 11 });
        assert_eq!(fix.standing, standing, "{tolerated}");
    }
}

#[test]
fn a_fix_that_helped_nothing_is_said_so_once() {
    let mut story = Story::new();
    story.boots("rrrxxxx");
    story.pass(600_000);
    story
        .engine
        .fix_marked("ada", "restarted the controller", story.now);
    story.boots("xrxx");
    story.pass(60_000);
    story.boots("xx");
    story.pass(600_000);
    let told = story
        .reasons()
        .into_iter()
        .filter(|reason| *reason == "fix_not_confirmed");
    assert_eq!(told.count(), 1, "{:?}", story.reasons());
    let fix = story
        .engine
        .incidents()
        .next()
        .unwrap()
        .fix
        .clone()
        .unwrap();
    assert_eq!(fix.standing, Standing::NotConfirmed);
    assert_eq!(fix.since, Count { bad: 5, of: 6 });
    // The next one is another.
    story.pass(60_000);
    story.engine.fix_marked("ada", "the real one", story.now);
    story.boots("rrrrr");
    let fix = story
        .engine
        .incidents()
        .next()
        .unwrap()
        .fix
        .clone()
        .unwrap();
    assert_eq!(fix.standing, Standing::Confirmed);
}

#[test]
fn a_console_read_after_the_end_of_its_boot_is_taken_in() {
    use crate::core::diagnosis::{Sign, Signs};
    let mut story = Story::new();
    story.boots("rrruuu");
    assert_eq!(story.verdict(0), None);
    let signs = Signs::default()
        .with(Sign::DmaFailed, true)
        .with(Sign::ConsoleNetwork, true);
    let mut out = Vec::new();
    for vm in 4..=6 {
        story.engine.learn(VmId(vm), signs, story.now, &mut out);
    }
    story.take(out);
    story.pass(60_000);
    assert_eq!(story.verdict(1), Some(Verdict::KernelTooOld));
}

#[test]
fn our_own_looks_at_vms_that_were_given_up_are_evidence() {
    use crate::core::diagnosis::{Sign, of_look};
    use crate::core::probe::{Checked, Look, ProbeResult};
    let mut story = Story::new();
    story.boots("rrrxxx");
    story.pass(60_000);
    let points = |story: &Story| {
        let open = story.engine.incidents().next().unwrap();
        let found = open.diagnosis.clone().unwrap();
        let points = found.ranked.into_iter();
        let points = points.flat_map(|one| [one.speaks_for, one.against].concat());
        points
            .filter(|point| point.sign == Sign::ProbeRefused)
            .collect::<Vec<_>>()
    };
    assert_eq!(points(&story), []);
    let checked = |check, result| Checked::without_contact(check, 8080, result);
    let look = Look {
        ip: [127, 0, 0, 9].into(),
        at: story.now,
        resolved_in: None,
        checks: vec![
            checked(crate::core::probe::Check::Connect, ProbeResult::Refused),
            checked(crate::core::probe::Check::Negative, ProbeResult::Refused),
        ],
        neighbour: None,
    };
    let mut out = Vec::new();
    for vm in 4..=6 {
        let signs = of_look(&look);
        story.engine.learn(VmId(vm), signs, story.now, &mut out);
    }
    story.take(out);
    let points = points(&story);
    assert!(points.iter().any(|point| point.seen), "{points:?}");
}

/// Such an incident begins with the image.
#[test]
fn how_old_the_image_was_is_told_by_the_first_failed_boot_also_where_its_audit_paged() {
    use crate::core::condition::{Condition, Fact, Facts};
    let mut story = Story::new();
    story.boots("rrr");
    let changed = story.now;
    story.audit(changed, Found::Fail);
    let fact = Fact {
        condition: Condition::GoldenImageBroken,
        value: 1,
        of: None,
        since: Some(changed),
        settles: true,
        evidence: vec!["golden image: agent is not there".to_owned()],
    };
    let facts = Facts::from([(RuleName::GoldenImageBroken, fact)]);
    let mut out = Vec::new();
    story.engine.facts(&facts, story.now, &mut out);
    story.take(out);
    assert_eq!(story.sent[0].incident.first_bad_at, changed);
    story.boots("xxx");
    let incident = story.engine.incidents().next().unwrap();
    assert_eq!(incident.first_bad_at, changed);
    let why = format!("{:?}", incident.diagnosis);
    // The first of them began ten seconds after the change.
    assert!(
        why.contains(", 10 s before") && !why.contains(", 0 s before"),
        "{why}"
    );
}
