mod condition;
mod diagnosis;
mod keep;
mod measure;
mod random;

use super::*;
use crate::core::boot::AttemptEnded;
use crate::core::event::{AttemptError, Failure, Origin, Outcome, Provenance, VmId};
use crate::core::failure::Rung;
use crate::core::readiness::Readiness;
use crate::core::rule::{Said, Stretch};
use crate::core::window::{Count, Judged};

/// An engine and a clock; boots are told one after another.
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
fn what_still_fires_says_most_of_an_incident_however_little_it_counts() {
    let mut story = Story::new();
    story.boots(&"r".repeat(20));
    story.boots("xxx");
    story.pass(30_000);
    let mut incident = story.sent.last().unwrap().incident.clone();
    let rule = |incident: &Incident| incident.strongest().map(|member| member.rule);
    assert_eq!(rule(&incident), Some(RuleName::BootFailureRate));
    let failing = incident.members.iter_mut();
    for member in failing.filter(|member| member.rule != RuleName::ConnectionRefusedSpike) {
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
    let firing = story
        .kinds()
        .iter()
        .filter(|kind| **kind == Kind::Firing)
        .count();
    let resolved = story
        .kinds()
        .iter()
        .filter(|kind| **kind == Kind::Resolved)
        .count();
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
    let firing = story
        .kinds()
        .iter()
        .filter(|kind| **kind == Kind::Firing)
        .count();
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
        incident::lines(&bad),
        ["3: ECONNREFUSED", "3: timeout exceeded", "2: ECONNREFUSED"]
    );
    assert_eq!(incident::lines(&bad[2..]), ["1: died"]);
    assert_eq!(
        incident::lines(&bad[..1]),
        ["3: ECONNREFUSED", "3: timeout exceeded", "3: EHOSTUNREACH"]
    );
    assert!(incident::lines(&[]).is_empty());
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
