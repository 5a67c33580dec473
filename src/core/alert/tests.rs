mod condition;
mod diagnosis;
mod keep;
mod measure;
mod over;
mod random;
mod told;

use super::*;
use crate::core::boot::AttemptEnded;
use crate::core::event::{AttemptError, Failure, Origin, Outcome, Provenance, VmId};
use crate::core::failure::Rung;
use crate::core::readiness::Readiness;
use crate::core::rule::{Said, Stretch};
use crate::core::window::{Count, Judged};

/// An engine and a clock; boots are told one after another.
#[derive(Clone)]
struct Story {
    engine: Engine,
    now: Timestamp,
    next_vm: u128,
    sent: Vec<Notification>,
    changes: Vec<String>,
    /// How far the log's clock is ahead.
    skew_ms: i64,
    /// Who asks for the boots.
    origin: Origin,
}

impl Story {
    fn new() -> Story {
        Story {
            engine: Engine::new(Settings {
                host: "host-1".into(),
                ..Settings::default()
            }),
            now: Timestamp(1_760_752_327_000),
            next_vm: 1,
            sent: Vec::new(),
            changes: Vec::new(),
            skew_ms: 0,
            origin: Origin::User,
        }
    }

    fn take(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Notify(notification) => self.sent.push(*notification),
                Effect::AlertChanged(change) => {
                    self.changes
                        .push(format!("{} {}", change.rule.as_str(), change.to))
                }
            }
        }
    }

    fn blind(&mut self, blind: bool) {
        let mut out = Vec::new();
        self.engine.set_blind(blind, self.now, &mut out);
        self.take(out);
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now.plus_ms(ms);
        while let Some(due) = self.engine.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let mut out = Vec::new();
            self.engine.tick(self.now, &mut out);
            self.take(out);
            if self.engine.next_due() == Some(due) {
                break;
            }
        }
        self.now = until;
    }

    fn boot(&mut self, vm_type: VmType, failure: Option<Failure>) {
        self.pass(30_000);
        self.boot_now(vm_type, failure);
    }

    fn boot_now(&mut self, vm_type: VmType, failure: Option<Failure>) {
        let mut boot = Boot::new(
            Some(VmId(self.next_vm)),
            Provenance::default(),
            self.now.plus_ms(self.skew_ms - 20_000),
        );
        self.next_vm += 1;
        boot.vm_type = Some(vm_type);
        boot.origin = self.origin;
        boot.outcome = Some(if failure.is_some() {
            Outcome::Failed
        } else {
            Outcome::Ready
        });
        boot.failure = failure;
        boot.ended_at = Some(self.now.plus_ms(self.skew_ms));
        if failure.is_some() {
            boot.evidence = vec![format!("line of boot {}", self.next_vm)].into();
        } else {
            boot.ladder = vec![Rung {
                result: AttemptResult::Ok,
                count: 1,
                first_ms: 15_000,
                last_ms: 15_000,
            }];
        }
        let mut out = Vec::new();
        self.engine
            .observe(&Observation::BootEnded(Box::new(boot)), self.now, &mut out);
        self.take(out);
    }

    /// `r` ready, `x` refused, `u` unreachable, `c` a failed clone.
    fn boots(&mut self, text: &str) {
        for c in text.chars() {
            let failure = match c {
                'x' => Some(Failure::AgentRefused),
                'u' => Some(Failure::GuestUnreachable),
                'c' => Some(Failure::SnapshotCloneFailed),
                _ => None,
            };
            self.boot(VmType::Browser, failure);
        }
    }

    /// What pages about boots that fail.
    fn paging(&self) -> BTreeSet<(RuleName, Subject)> {
        let alerts = self.engine.alerts().filter(|alert| {
            alert.firing && alert.severity == Severity::Page && !alert.rule.times()
        });
        let boots = alerts.filter(|alert| RuleName::BOOTS.contains(&alert.rule));
        boots.map(|alert| (alert.rule, alert.subject)).collect()
    }

    fn attempt(&mut self, vm: u128, waited_ms: u32, result: AttemptResult) {
        let attempt = AttemptEnded {
            vm: Some(VmId(vm)),
            result,
            at: self.now.plus_ms(self.skew_ms),
            ms: Some(1),
            waited_ms: Some(waited_ms),
            deadline_ms: Some(120_000),
            died: false,
            origin: self.origin,
        };
        let mut out = Vec::new();
        self.engine
            .observe(&Observation::AttemptEnded(attempt), self.now, &mut out);
        self.take(out);
    }

    /// A boot in flight of which nobody knows what became.
    fn lost(&mut self, vm: u128) {
        let mut boot = Boot::new(Some(VmId(vm)), Provenance::default(), self.now);
        boot.outcome = Some(Outcome::Lost);
        boot.failure = Some(Failure::ControllerRestarted);
        boot.ended_at = Some(self.now);
        let mut out = Vec::new();
        self.engine
            .observe(&Observation::BootEnded(Box::new(boot)), self.now, &mut out);
        self.take(out);
    }

    fn count(&self, kind: Kind) -> usize {
        self.kinds().iter().filter(|sent| **sent == kind).count()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.sent
            .iter()
            .map(|notification| notification.kind)
            .collect()
    }

    fn rules(&self, index: usize) -> Vec<RuleName> {
        self.sent[index]
            .incident
            .members
            .iter()
            .map(|member| member.rule)
            .collect()
    }
}

const REFUSED: AttemptResult = AttemptResult::Error(AttemptError::Refused);

#[test]
fn the_same_log_read_at_another_time_makes_the_same_key() {
    let key = |later_ms: i64| {
        let mut story = Story::new();
        story.now = story.now.plus_ms(later_ms);
        story.skew_ms = -later_ms;
        for _ in 0..3 {
            story.boot(VmType::Browser, Some(Failure::AgentRefused));
        }
        story.sent[0].incident.key.clone()
    };
    assert_eq!(key(0), key(7_200_123));
}

#[test]
fn three_failed_boots_page_once_and_what_fires_with_them_is_an_update() {
    let mut story = Story::new();
    story.boot(VmType::Cli, None);
    story.boots("rrrrr");
    story.boots("xxx");
    assert_eq!(story.kinds(), [Kind::Firing]);
    assert_eq!(story.rules(0), [RuleName::BootFailureRate]);
    let page = story.sent[0].clone();
    assert_eq!(
        (page.incident.cause, page.incident.family),
        (Failure::AgentRefused.into(), Family::Guest)
    );
    assert_eq!(
        page.incident.members[0].reading.boots().unwrap().count,
        Count { bad: 3, of: 3 }
    );
    assert_eq!(page.incident.first_bad_at, page.at.plus_ms(-80_000));
    let others = &page.incident.others;
    assert_eq!(others.len(), 1);
    assert_eq!(
        (others[0].vm_type, others[0].count, others[0].stretch),
        (
            VmType::Cli,
            Count { bad: 0, of: 1 },
            Stretch::Span(3_600_000)
        )
    );
    assert_eq!(page.incident.evidence.len(), 3);
    // The refusals' own rule fired with it; then time-outs and silence join too.
    story.pass(30_000);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
    assert_eq!(
        story.rules(1),
        [RuleName::BootFailureRate, RuleName::ConnectionRefusedSpike]
    );
    story.boots("uuu");
    story.pass(30_000);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update, Kind::Update]);
    assert_eq!(story.rules(2).len(), 4, "the budget's burn, too");
    assert!(
        story
            .sent
            .iter()
            .all(|sent| sent.incident.key == page.incident.key)
    );
    story.boots("rrrrrrrrrrrr");
    story.pass(600_000);
    assert_eq!(
        story.kinds(),
        [Kind::Firing, Kind::Update, Kind::Update, Kind::Resolved]
    );
    story.boots("rrrrrrrrrrrr");
    story.pass(7_200_000);
    assert_eq!(story.sent.len(), 4);
}

#[test]
fn few_failures_page_nothing() {
    for boots in [
        "rrrrrrrrrrrrrrrxrrrrrrrrrrrrrr",
        "rrrrrrxrrrrrxrrrrrrrxrr",
        "xx",
        "xrr",
        "xrxr",
    ] {
        let mut story = Story::new();
        story.boots(boots);
        story.pass(3_600_000);
        assert!(story.sent.is_empty(), "{boots}: {:?}", story.changes);
    }
}

#[test]
fn a_healthy_burst_with_its_normal_refusals_pages_nothing_trained_or_not() {
    for trained in [false, true] {
        let mut story = Story::new();
        if trained {
            for _ in 0..20 {
                story.boots("r");
            }
            let of_type = story.engine.types.get_mut(&VmType::Browser).unwrap();
            of_type.readiness = Readiness::default();
            for _ in 0..20 {
                of_type.readiness.learn(45_000);
            }
        }
        for attempt in 0..20u32 {
            for vm in 1_000..1_050 {
                story.attempt(vm, attempt * 2_000, REFUSED);
            }
            story.pass(2_000);
        }
        for _ in 0..50 {
            story.boots("r");
        }
        assert!(
            story.sent.is_empty() && story.changes.is_empty(),
            "trained {trained}"
        );
    }
}

#[test]
fn hopeless_boots_page_before_the_controller_gives_up() {
    let mut story = Story::new();
    story.boots(&"r".repeat(20));
    for vm in 1_000..1_003 {
        story.attempt(vm, 58_000, REFUSED);
    }
    assert!(story.sent.is_empty(), "half the deadline is not over");
    story.attempt(1_000, 62_000, REFUSED);
    story.attempt(1_001, 62_000, REFUSED);
    assert!(story.sent.is_empty(), "two are not enough");
    story.attempt(1_002, 62_000, REFUSED);
    assert_eq!(story.kinds(), [Kind::Firing]);
    assert_eq!(story.rules(0), [RuleName::ConnectionRefusedSpike]);
    assert_eq!(story.sent[0].incident.cause, Failure::AgentRefused);
    // One of them becomes ready after all, and the alert is not cleared by that.
    story.attempt(1_002, 64_000, AttemptResult::Ok);
    story.pass(600_000);
    assert_eq!(story.kinds(), [Kind::Firing]);
}

#[test]
fn a_page_is_near_where_two_bad_boots_more_are_one() {
    let mut story = Story::new();
    let is_near = |story: &Story| story.engine.is_near_a_page(story.now);
    assert!(!is_near(&story), "no two boots page");
    story.boots("x");
    assert!(is_near(&story));
    story.boots(&"r".repeat(22));
    assert!(!is_near(&story), "neither do 3 of 25");
    story.boots("x");
    assert!(is_near(&story), "3 of 3");
    story.boots("r");
    assert!(!is_near(&story), "nor 4 of 27, and not in a row");
    let vm = 1_000;
    story.attempt(vm, 119_000, REFUSED);
    assert!(is_near(&story), "one that waits counts as well");
    story.attempt(vm, 119_500, AttemptResult::Ok);
    assert!(!is_near(&story));
    story.boots("xxx");
    assert_eq!(story.kinds(), [Kind::Firing]);
    assert!(!is_near(&story), "they have paged");
    story.boots("u");
    assert!(is_near(&story), "of something else they would again");
}

#[test]
fn a_page_comes_near_in_a_silence_by_the_good_boots_that_are_long_ago() {
    let mut story = Story::new();
    story.boots(&"r".repeat(60));
    story.boots(&"x".repeat(15));
    let burns = |story: &Story| {
        let rules = story.paging();
        rules
            .iter()
            .any(|(rule, _)| *rule == RuleName::BootBudgetBurn)
    };
    assert!(!burns(&story));
    let before = story.engine.is_near_a_page(story.now);
    story.pass(58 * 60_000);
    let after = story.engine.is_near_a_page(story.now);
    assert_eq!((before, after), (false, true));
    story.boots("xx");
    assert!(burns(&story));
}

#[test]
fn of_what_fires_already_no_wait_makes_an_alert_fire() {
    let mut story = Story::new();
    let from = |story: &Story, error| {
        let points = story.engine.may_fire_at_ms(error);
        points.map(|(first, _)| first)
    };
    assert_eq!(
        from(&story, AttemptError::Refused),
        None,
        "nothing is learnt"
    );
    story.boots(&"r".repeat(20));
    let limit = from(&story, AttemptError::Refused);
    assert!(limit.is_some_and(|limit| limit < 60_000), "{limit:?}");
    assert_eq!(from(&story, AttemptError::Reset), limit);
    assert_eq!(from(&story, AttemptError::Timeout), limit);
    let learnt = limit.unwrap();
    let points = |story: &Story| story.engine.may_fire_at_ms(AttemptError::Refused);
    assert_eq!(points(&story), Some((learnt, learnt)));
    // The controller says when it gives up: half of that is over later than what was learnt.
    story.attempt(999, 1_000, REFUSED);
    assert_eq!(points(&story), Some((learnt, 60_000)));
    for vm in 1_000..1_003 {
        story.attempt(vm, 62_000, REFUSED);
    }
    assert_eq!(story.rules(0), [RuleName::ConnectionRefusedSpike]);
    assert_eq!(from(&story, AttemptError::Refused), None);
    assert_eq!(from(&story, AttemptError::Reset), limit);
    for vm in 1_000..1_003 {
        story.attempt(vm, 64_000, AttemptResult::Ok);
    }
    story.boots(&"r".repeat(20));
    story.pass(600_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
    assert_eq!(from(&story, AttemptError::Refused), limit, "and may again");
}

#[test]
fn different_families_are_different_incidents() {
    let mut story = Story::new();
    for _ in 0..4 {
        story.boots("ccc");
        story.boots("rrr");
    }
    story.pass(600_000);
    let mut keys: Vec<&str> = story
        .sent
        .iter()
        .map(|sent| sent.incident.family.as_str())
        .collect();
    keys.dedup();
    assert_eq!(keys, ["creation"]);
}

#[test]
fn a_cli_rate_is_judged_only_where_a_cli_boot_was_ever_ready() {
    let mut story = Story::new();
    for _ in 0..5 {
        story.boot(VmType::Cli, Some(Failure::Unknown));
    }
    assert!(story.sent.is_empty());
    story.boot(VmType::Cli, None);
    for _ in 0..3 {
        story.boot(VmType::Cli, Some(Failure::Unknown));
    }
    assert_eq!(story.kinds(), [Kind::Firing]);
}

#[test]
fn history_teaches_and_pages_nobody() {
    let mut story = Story::new();
    let mut boot = Boot::new(Some(VmId(9)), Provenance::default(), story.now);
    boot.vm_type = Some(VmType::Browser);
    boot.ended_at = Some(story.now);
    boot.outcome = Some(Outcome::Failed);
    boot.failure = Some(Failure::AgentRefused);
    for _ in 0..50 {
        story
            .engine
            .observe_history(&Observation::BootEnded(Box::new(boot.clone())));
    }
    let mut out = Vec::new();
    story.engine.tick(story.now, &mut out);
    assert!(out.is_empty());
    assert_eq!(story.engine.last_boot(), Some(story.now), "it was seen");
    story.boots("xx");
    assert!(story.sent.is_empty());
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let run = || {
        let mut story = Story::new();
        story.boots("rrxrxxxuurrrrxrrrr");
        story.pass(600_000);
        format!("{:?}", story.sent)
    };
    assert_eq!(run(), run());
}

/// One stamp of another clock must not leave all other boots behind it.
#[test]
fn a_boot_far_ahead_of_the_clock_stretches_no_window() {
    let mut story = Story::new();
    for n in 0..200 {
        story.pass(15_000);
        story.skew_ms = if n == 5 { 3 * 3_600_000 } else { 0 };
        let failure = (n % 7 == 3).then_some(Failure::AgentRefused);
        story.boot_now(VmType::Browser, failure);
    }
    let paged = story.sent.first().expect("one boot of seven fails");
    let reading = paged.incident.members[0].reading;
    let reading = reading.boots().expect("it is about boots");
    assert_eq!(reading.stretch, Stretch::Span(3_600_000), "{reading:?}");
}
