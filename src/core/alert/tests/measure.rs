//! The rules with mathematics of their own, as alerts: what fires, what is sent, and what ends it.

use super::*;
use crate::core::event::{Stage, WaitLimits};
use crate::core::rule::Detail;
use crate::core::saved::Shelf;

const MINUTE: i64 = 60_000;

impl Story {
    /// A ready boot whose copy of the image took so long, and which waited so long of its deadline.
    fn timed(&mut self, pause_ms: i64, clone_ms: u32, waited_ms: u32, deadline_ms: u32) {
        self.pass(pause_ms);
        let started = self.now.plus_ms(-i64::from(waited_ms));
        let mut boot = Boot::new(Some(VmId(self.next_vm)), Provenance::default(), started);
        self.next_vm += 1;
        boot.vm_type = Some(VmType::Browser);
        boot.outcome = Some(Outcome::Ready);
        boot.ended_at = Some(self.now);
        boot.set_stage(Stage::CloneSnapshot, started, clone_ms);
        boot.limits = Some(WaitLimits {
            deadline_ms: Some(deadline_ms),
            ..WaitLimits::default()
        });
        boot.ladder = vec![Rung {
            result: AttemptResult::Ok,
            count: 1,
            first_ms: waited_ms,
            last_ms: waited_ms,
        }];
        let mut out = Vec::new();
        self.engine
            .observe(&Observation::BootEnded(Box::new(boot)), self.now, &mut out);
        self.take(out);
    }

    fn usual(&mut self, boots: u32) {
        for n in 0..boots {
            self.timed(MINUTE, 2_000 + n % 20 * 50, 40_000, 180_000);
        }
    }

    fn tickets(&self) -> Vec<(Kind, &'static str)> {
        let of = |sent: &Notification| (sent.kind, sent.incident.cause.as_str());
        self.sent.iter().map(of).collect()
    }
}

#[test]
fn a_stage_that_becomes_slower_is_a_ticket_once_it_has_lasted_and_ends_when_it_is_quick_again() {
    let mut story = Story::new();
    story.usual(200);
    for _ in 0..10 {
        story.timed(MINUTE, 9_000, 40_000, 180_000);
    }
    assert!(story.sent.is_empty(), "it has not lasted");
    for _ in 0..10 {
        story.timed(MINUTE, 9_000, 40_000, 180_000);
    }
    assert_eq!(story.tickets(), [(Kind::Firing, "stage_slow")]);
    let incident = story.sent[0].incident.clone();
    assert_eq!(incident.severity(), Severity::Ticket);
    assert_eq!(incident.boots.len(), 5);
    assert!(
        incident.evidence[0].starts_with("clone_snapshot: "),
        "{:?}",
        incident.evidence
    );
    let Some(Detail::Slow(slow)) = incident.members[0].reading.boots().and_then(|r| r.detail)
    else {
        panic!("{incident:?}");
    };
    assert_eq!(
        (slow.stage, slow.p95_ms),
        (Some(Stage::CloneSnapshot), 9_000)
    );
    assert!((2_900..3_200).contains(&slow.against_ms), "{slow:?}");
    // A day of it is still not what is usual.
    for _ in 0..200 {
        story.timed(7 * MINUTE, 9_000, 40_000, 180_000);
    }
    assert_eq!(story.tickets().len(), 1);
    story.usual(30);
    story.pass(10 * MINUTE);
    assert_eq!(
        story.tickets(),
        [(Kind::Firing, "stage_slow"), (Kind::Resolved, "stage_slow")]
    );
    story.usual(100);
    story.pass(10 * MINUTE);
    assert_eq!(story.tickets().len(), 2);
}

#[test]
fn boots_that_are_ready_hardly_in_time_are_a_ticket() {
    let mut story = Story::new();
    story.usual(30);
    for _ in 0..25 {
        story.timed(MINUTE, 2_000, 160_000, 180_000);
    }
    assert_eq!(story.tickets(), [(Kind::Firing, "headroom_low")]);
    // A blind source ends nothing, and neither does time.
    story.pass(24 * 60 * MINUTE);
    assert_eq!(story.tickets().len(), 1);
    story.usual(30);
    story.pass(10 * MINUTE);
    assert_eq!(story.tickets().len(), 2);
}

#[test]
fn what_was_learnt_outlives_a_restart() {
    let mut story = Story::new();
    story.usual(200);
    let mut shelf = Shelf::default();
    shelf.keep(story.engine.changes());
    let settings = Settings {
        host: "host-1".into(),
        ..Settings::default()
    };
    let mut out = Vec::new();
    story.engine = Engine::restore(shelf.0, settings, story.now, &mut out).expect("what was saved");
    for _ in 0..20 {
        story.timed(MINUTE, 9_000, 40_000, 180_000);
    }
    assert_eq!(story.tickets(), [(Kind::Firing, "stage_slow")]);
}

#[test]
fn a_burst_of_slow_boots_is_none() {
    let mut story = Story::new();
    story.usual(200);
    for _ in 0..10 {
        story.timed(1_000, 9_000, 40_000, 180_000);
    }
    story.usual(60);
    assert!(story.sent.is_empty(), "{:?}", story.tickets());
}

#[test]
fn failures_that_use_up_the_budget_slowly_are_a_ticket_and_no_page() {
    let mut story = Story::new();
    // One in ten, never close together, for two days.
    for n in 0..2_000 {
        story.pass(MINUTE / 2);
        story.boots(if n % 10 == 5 { "x" } else { "r" });
        if !story.sent.is_empty() {
            break;
        }
    }
    let first = &story.sent[0];
    assert_eq!(first.incident.severity(), Severity::Ticket);
    assert_eq!(story.rules(0), [RuleName::BootBudgetBurnTicket]);
    assert_eq!(first.incident.family, Family::Budget);
    let key = first.incident.key.clone();
    // The outage that comes then pages at once, under a key of its own.
    let before = story.sent.len();
    story.boots("xxx");
    let page = story.sent[before..]
        .iter()
        .find(|sent| sent.kind == Kind::Firing)
        .expect("a page");
    assert_eq!(page.incident.severity(), Severity::Page);
    assert_ne!(page.incident.key, key);
}

/// Most boots of the last hour failed, and most of the last minutes did not: what is over pages nobody.
#[test]
fn what_no_longer_burns_in_the_short_window_does_not_fire() {
    for (latest, fires) in [("rrrxx", false), ("xxxxx", true)] {
        let mut settings = Settings::default();
        let burns = settings.rules.remove(&RuleName::BootBudgetBurn).unwrap();
        // The long pair would see it all the same.
        let burns = RuleSettings {
            burns: [14.4, 19.0, 3.0, 1.0],
            ..burns
        };
        settings.rules = BTreeMap::from([(RuleName::BootBudgetBurn, burns)]);
        let mut story = Story::new();
        story.engine = Engine::new(settings);
        let boots = |story: &mut Story, count: u32, apart: i64, failure: Option<Failure>| {
            for _ in 0..count {
                story.pass(apart);
                story.boot_now(VmType::Browser, failure);
            }
        };
        boots(&mut story, 100, 600, None);
        story.pass(29 * MINUTE);
        boots(&mut story, 100, 12_000, Some(Failure::AgentRefused));
        story.pass(6 * MINUTE);
        assert!(story.sent.is_empty(), "half of the hour's boots");
        for c in latest.chars() {
            let failure = (c == 'x').then_some(Failure::AgentRefused);
            boots(&mut story, 1, MINUTE, failure);
        }
        assert_eq!(!story.sent.is_empty(), fires, "{latest}");
    }
}

#[test]
fn what_pages_needs_no_ticket() {
    let mut story = Story::new();
    story.boots("xxxxxx");
    story.pass(MINUTE);
    story.boots("rrrrrr");
    story.pass(10 * MINUTE);
    assert!(
        story
            .sent
            .iter()
            .all(|sent| sent.incident.severity() == Severity::Page),
        "{:?}",
        story.tickets()
    );
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn one_boot_an_hour_that_fails_burns_at_the_third() {
    let mut story = Story::new();
    for failed in 1..=3 {
        story.pass(60 * MINUTE);
        story.boots("x");
        let burns = story
            .changes
            .iter()
            .any(|change| change == "BootBudgetBurn firing");
        assert_eq!(burns, failed == 3, "{:?}", story.changes);
    }
}

#[test]
fn a_burn_goes_on_over_a_restart() {
    let mut story = Story::new();
    story.boots("xxx");
    let mut shelf = Shelf::default();
    shelf.keep(story.engine.changes());
    let settings = Settings {
        host: "host-1".into(),
        ..Settings::default()
    };
    let mut out = Vec::new();
    story.engine = Engine::restore(shelf.0, settings, story.now, &mut out).expect("what was saved");
    let firing = |story: &Story| {
        story
            .engine
            .alerts()
            .any(|alert| alert.rule == RuleName::BootBudgetBurn && alert.firing)
    };
    assert!(out.is_empty() && firing(&story));
    story.boots("x");
    assert!(firing(&story));
}

#[test]
fn another_cause_of_an_open_incident_is_told_in_an_update() {
    let mut story = Story::new();
    story.boots("rrrrrrxxxx");
    story.pass(10 * MINUTE);
    let before = story.sent.len();
    story.boots("cccc");
    story.pass(10 * MINUTE);
    assert_eq!(story.sent.len(), before, "four may be chance");
    story.boots("c");
    story.pass(10 * MINUTE);
    let told = story.sent.last().expect("an update");
    assert_eq!(
        (told.kind, told.reason),
        (Kind::Update, Reason::CauseChanged)
    );
    assert_eq!(told.incident.cause, Failure::SnapshotCloneFailed);
    assert_eq!(told.incident.key, story.sent[0].incident.key);
    assert!(
        told.incident
            .before
            .is_some_and(|(before, _)| before == Failure::AgentRefused)
    );
    // Two causes side by side are not told again and again.
    let sent = story.sent.len();
    story.boots("xcxcxcxcxcxcxc");
    story.pass(10 * MINUTE);
    assert!(story.sent.len() <= sent + 1);
}

#[test]
fn boots_that_turn_out_to_be_late_turn_the_cause_and_count_once() {
    let mut story = Story::new();
    story.boots("rrrrrrxxx");
    assert_eq!(story.sent[0].incident.cause, Failure::AgentRefused);
    story.pass(10 * MINUTE);
    let before = story.sent.len();
    let counted = story.engine.incidents().next().unwrap().members[0].reading;
    let amend = |story: &mut Story, vm: u128| {
        let mut boot = Boot::new(Some(VmId(vm)), Provenance::default(), story.now);
        boot.vm_type = Some(VmType::Browser);
        boot.outcome = Some(Outcome::Failed);
        boot.failure = Some(Failure::AgentLate);
        boot.evidence = vec![format!("probe of {vm}")].into();
        let mut out = Vec::new();
        let amended = Observation::BootAmended(Box::new(boot));
        story.engine.observe(&amended, story.now, &mut out);
        story.take(out);
    };
    let last = story.next_vm - 1;
    amend(&mut story, last);
    story.pass(10 * MINUTE);
    assert_eq!(story.sent.len(), before, "one of three");
    amend(&mut story, last - 1);
    amend(&mut story, last - 2);
    story.pass(10 * MINUTE);
    let told = story.sent.last().expect("an update");
    assert_eq!(
        (told.kind, told.reason),
        (Kind::Update, Reason::CauseChanged)
    );
    assert_eq!(told.incident.cause, Failure::AgentLate);
    assert_eq!(
        told.incident.members[0].reading.bad(),
        counted.bad(),
        "no boot counts twice"
    );
    assert!(
        told.incident
            .evidence
            .iter()
            .any(|line| line.starts_with("probe of"))
    );

    // It is so after a restart, too.
    let mut shelf = Shelf::default();
    story.engine.save_everything();
    shelf.keep(story.engine.changes());
    let settings = Settings {
        host: "host-1".into(),
        ..Settings::default()
    };
    let mut out = Vec::new();
    let restored = Engine::restore(shelf.0, settings, story.now, &mut out).expect("what was saved");
    assert_eq!(
        restored.incidents().next().unwrap().cause,
        Failure::AgentLate
    );

    // A boot that nobody knows changes nothing.
    let sent = story.sent.len();
    amend(&mut story, 9_999);
    story.pass(10 * MINUTE);
    assert_eq!(story.sent.len(), sent);
}
