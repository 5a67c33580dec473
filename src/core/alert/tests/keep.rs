//! An engine that is saved and restored anywhere goes on as if it had never stopped; and what differs on purpose.

use super::random::{Step, steps};
use super::*;
use crate::core::rule::Said;
use crate::core::saved::{REST, RestoreError, Shelf};

fn settings() -> Settings {
    Settings {
        host: "host-1".into(),
        ..Settings::default()
    }
}

fn without(rule: RuleName) -> Settings {
    let mut settings = settings();
    settings.rules.entry(rule).or_default().enabled = false;
    settings
}

impl Story {
    fn save(&mut self, shelf: &mut Shelf) {
        shelf.keep(self.engine.changes());
    }

    fn restart(&mut self, shelf: &Shelf, settings: Settings) {
        let mut out = Vec::new();
        self.engine =
            Engine::restore(shelf.0.clone(), settings, self.now, &mut out).expect("what was saved");
        self.take(out);
    }

    /// A stop of so long, after which the log is caught up with by telling it `boots`.
    fn down_for(&mut self, ms: i64, boots: &str) {
        let mut shelf = Shelf::default();
        self.engine.save_everything();
        self.save(&mut shelf);
        self.now = self.now.plus_ms(ms);
        self.restart(&shelf, settings());
        self.catch_up(true);
        self.boots(boots);
        self.catch_up(false);
    }

    fn catch_up(&mut self, catching_up: bool) {
        let mut out = Vec::new();
        self.engine.set_catching_up(catching_up, self.now, &mut out);
        self.take(out);
    }
}

#[test]
fn a_restart_forgets_no_boot_whose_end_was_told() {
    let (mut story, mut shelf) = (Story::new(), Shelf::default());
    story.boots(&"r".repeat(25));
    story.save(&mut shelf);
    story.restart(&shelf, settings());
    for vm in 901..904 {
        story.untold(vm);
    }
    assert_eq!(story.kinds(), [Kind::Firing]);
    let Said::Level(level) = &story.sent[0].incident.members[0].reading else {
        panic!("a level is held");
    };
    assert_eq!((level.value, level.of), (3, Some(20)));
}

#[test]
fn what_a_version_saved_that_kept_no_told_ends_is_gone_on_from() {
    let (mut story, mut shelf) = (Story::new(), Shelf::default());
    story.boots("rrrrr");
    story.save(&mut shelf);
    let kept = shelf.0.remove("untold").expect("five ends were told");
    let rest = shelf.0.get_mut(REST).expect("the rest");
    let parts: serde_json::Value = serde_json::from_str(rest).unwrap();
    let parts = parts["parts"].as_u64().unwrap();
    *rest = rest.replace(
        &format!("\"parts\":{parts}"),
        &format!("\"parts\":{}", parts - 1),
    );
    story.restart(&shelf, settings());
    story.boots("rrrrr");
    story.save(&mut shelf);
    assert!(shelf.0["untold"].len() >= kept.len());
    story.restart(&shelf, settings());
}

/// What an alert was judged by is kept: else a new run judges it again where the old one would not have.
#[test]
fn an_attempt_after_a_restart_is_judged_as_it_would_have_been() {
    let (mut whole, mut parted, mut shelf) = (Story::new(), Story::new(), Shelf::default());
    let refused = |times| vec![Step::Boot(false, Some(Failure::AgentRefused)); times];
    let cli = |times| vec![Step::Boot(true, None); times];
    for story in [&mut whole, &mut parted] {
        story.boots(&"r".repeat(25));
        refused(4).iter().for_each(|step| story.step(step));
        story.pass(1_494_985);
        story.pass(538_016);
        let boots = [
            refused(13),
            cli(5),
            refused(3),
            vec![Step::Skew(2)],
            refused(6),
            cli(7),
        ];
        boots.iter().flatten().for_each(|step| story.step(step));
    }
    parted.save(&mut shelf);
    parted.restart(&shelf, settings());
    for story in [&mut whole, &mut parted] {
        story.step(&Step::Attempt(0, 119_000, true));
    }
    parted.save(&mut shelf);
    let mut full = Shelf::default();
    whole.engine.save_everything();
    whole.save(&mut full);
    assert_eq!(full, shelf);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_restart_anywhere_changes_nothing(
        steps in steps(),
        breaks in proptest::collection::vec(0..4u8, 300),
    ) {
        let (mut whole, mut parted, mut shelf) = (Story::new(), Story::new(), Shelf::default());
        for story in [&mut whole, &mut parted] {
            story.boots(&"r".repeat(25));
        }
        for (step, pause) in steps.iter().zip(breaks.iter().cycle()) {
            whole.step(step);
            parted.step(step);
            if *pause > 1 {
                // A new process is told anew whether its source can be read.
                whole.blind(false);
                parted.blind(false);
                parted.save(&mut shelf);
            }
            if *pause > 2 {
                parted.restart(&shelf, settings());
            }
            proptest::prop_assert_eq!(whole.engine.next_due(), parted.engine.next_due());
            proptest::prop_assert_eq!(&whole.sent, &parted.sent);
        }
        proptest::prop_assert_eq!(&whole.changes, &parted.changes);
        parted.save(&mut shelf);
        let mut full = Shelf::default();
        whole.engine.save_everything();
        whole.save(&mut full);
        proptest::prop_assert_eq!(full, shelf, "by what changed, and all at once");
    }

    #[test]
    fn what_is_saved_and_then_spoiled_is_refused_or_taken_but_never_panics(
        before in steps(),
        after in steps(),
        part in proptest::prelude::any::<proptest::sample::Index>(),
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte in proptest::prelude::any::<u8>(),
    ) {
        let (mut story, mut shelf) = (Story::new(), Shelf::default());
        before.iter().for_each(|step| story.step(step));
        story.save(&mut shelf);
        let key = part.get(&shelf.0.keys().cloned().collect::<Vec<_>>()).clone();
        let mut text = shelf.0[&key].clone().into_bytes();
        let place = at.index(text.len());
        match byte % 4 {
            0 => text.truncate(place),
            1 => drop(text.remove(place)),
            2 => text[place] = byte & 0x7f,
            _ => text.insert(place, b'0' + byte % 10),
        }
        shelf.0.insert(key, String::from_utf8_lossy(&text).into_owned());
        let mut out = Vec::new();
        if let Ok(engine) = Engine::restore(shelf.0, settings(), story.now, &mut out) {
            story.engine = engine;
            after.iter().for_each(|step| story.step(step));
        }
    }
}

#[test]
fn a_firing_alert_goes_on_without_a_second_page_and_resolves_once() {
    let mut story = Story::new();
    story.boots("rrrrrxxx");
    story.pass(60_000);
    let sent = story.sent.len();
    story.down_for(2 * 3_600_000, "");
    assert!(story.engine.alerts().any(|alert| alert.firing));
    story.down_for(2 * 3_600_000, "xx");
    assert_eq!(story.sent.len(), sent, "still true, and no page");
    story.down_for(2 * 3_600_000, "rrrrr");
    story.pass(600_000);
    assert_eq!(story.sent.len(), sent + 1);
    let resolved = &story.sent[sent];
    assert_eq!(resolved.kind, Kind::Resolved);
    assert_eq!(resolved.incident.key, story.sent[0].incident.key);
}

#[test]
fn an_alert_that_was_clearing_waits_for_what_was_written_meanwhile() {
    let mut story = Story::new();
    story.boots("rrrrrxxxrrr");
    let kinds = story.kinds();
    assert!(!kinds.contains(&Kind::Resolved));
    // Its time is over long before the log has been read; what was written says that the fault is back.
    story.down_for(3_600_000, "xxx");
    assert_eq!(story.kinds(), kinds);
    // And here it says nothing new: one resolve, as soon as that is known.
    story.boots("rrrr");
    story.down_for(3_600_000, "");
    assert_eq!(story.kinds().len(), kinds.len() + 1);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn an_update_that_was_held_back_is_sent_after_the_restart() {
    let mut story = Story::new();
    story.boots("rrrrrxxx");
    assert_eq!(story.kinds(), [Kind::Firing]);
    let mut shelf = Shelf::default();
    story.save(&mut shelf);
    story.restart(&shelf, settings());
    story.pass(30_000);
    assert_eq!(story.kinds(), [Kind::Firing, Kind::Update]);
}

#[test]
fn a_rule_that_is_gone_ends_its_alert_and_its_incident_without_a_page() {
    let mut story = Story::new();
    story.boots("rrrrrxxx");
    story.pass(60_000);
    let mut shelf = Shelf::default();
    story.save(&mut shelf);
    let sent = story.sent.len();
    story.restart(&shelf, without(RuleName::BootFailureRate));
    assert_eq!(story.sent.len(), sent, "the refusals' own rule still fires");
    assert_eq!(
        story.changes.last().map(String::as_str),
        Some("BootFailureRate resolved")
    );
    story.save(&mut shelf);
    let mut none = without(RuleName::BootFailureRate);
    none.rules.remove(&RuleName::ConnectionRefusedSpike);
    story.restart(&shelf, none.clone());
    assert_eq!(story.sent.len(), sent + 1);
    let last = &story.sent[sent];
    assert_eq!(
        (last.kind, last.reason),
        (Kind::Resolved, Reason::RuleRemoved)
    );
    assert_eq!(story.engine.incidents().count(), 0);
    assert_eq!(story.engine.closed_incidents().count(), 1);
    // It is over once and for all.
    story.save(&mut shelf);
    story.restart(&shelf, none);
    assert_eq!(story.sent.len(), sent + 1);
}

#[test]
fn a_rule_whose_settings_were_edited_keeps_its_state() {
    let mut story = Story::new();
    story.boots("rrrrrxxx");
    let mut shelf = Shelf::default();
    story.save(&mut shelf);
    let mut edited = settings();
    for rule in edited.rules.values_mut() {
        rule.keep_firing_ms = 600_000;
        rule.consecutive = 5;
    }
    story.restart(&shelf, edited);
    story.boots("xx");
    let pages = story.count(Kind::Firing);
    assert_eq!(pages, 1);
    story.boots("rrrr");
    story.pass(300_000);
    assert!(!story.kinds().contains(&Kind::Resolved));
    story.pass(600_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn a_wall_clock_that_was_set_back_meanwhile_holds_nothing_open() {
    let mut story = Story::new();
    story.boots("rrrrrxxxrrr");
    let mut shelf = Shelf::default();
    story.save(&mut shelf);
    story.now = story.now.plus_ms(-30 * 24 * 3_600_000);
    story.restart(&shelf, settings());
    story.pass(121_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
}

#[test]
fn a_log_clock_that_steps_back_delays_no_page() {
    let mut story = Story::new();
    story.boots("rrrrrxxxxrrr");
    story.pass(600_000);
    assert_eq!(story.kinds().last(), Some(&Kind::Resolved));
    let sent = story.sent.len();
    story.skew_ms = -3_600_000;
    story.boots("xxx");
    assert_eq!(story.sent.len(), sent + 1);
    assert_eq!(story.sent[sent].kind, Kind::Firing);
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_reason() {
    let refused = |change: &dyn Fn(&mut Shelf)| {
        let (mut story, mut shelf) = (Story::new(), Shelf::default());
        story.boots("rrrrrxxx");
        story.save(&mut shelf);
        change(&mut shelf);
        Engine::restore(shelf.0, settings(), story.now, &mut Vec::new())
            .expect_err("it must be refused")
    };
    let newer = refused(&|shelf| {
        let rest = shelf.0.get_mut("rest").expect("a part");
        *rest = rest.replace("\"version\":2", "\"version\":7,\"mood\":[]");
    });
    assert!(
        matches!(newer, RestoreError::Newer { version: 7, .. }),
        "{newer}"
    );
    let lost = refused(&|shelf| drop(shelf.0.remove("alert/BootFailureRate/browser")));
    assert!(matches!(lost, RestoreError::Incomplete { .. }), "{lost}");
    let moved = |from: &'static str, to: &'static str| {
        move |shelf: &mut Shelf| {
            let text = shelf.0.remove(from).expect("a part");
            shelf.0.insert(to.into(), text);
        }
    };
    for (error, reason) in [
        (
            refused(&moved("boot/browser/3", "boot/browser/03")),
            "names no part",
        ),
        (
            refused(&moved("incident/browser/guest", "incident/cli/guest")),
            "the incident is another one",
        ),
        (
            refused(&moved("figures/browser", "closed/5")),
            "cannot be read",
        ),
        (
            refused(&|shelf| {
                let boot = shelf.0.get_mut("boot/browser/3").expect("a boot");
                *boot = boot.replacen("[3,", "[4,", 1);
            }),
            "the last boots do not fit its count",
        ),
    ] {
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_boot_that_ends_saves_its_own_and_no_other_piece() {
    let mut story = Story::new();
    story.boots(&"r".repeat(100));
    drop(story.engine.changes());
    assert!(story.engine.changes().parts.is_empty());
    story.boots("r");
    let keys: Vec<String> = story
        .engine
        .changes()
        .parts
        .into_iter()
        .map(|part| part.key)
        .collect();
    assert_eq!(keys.len(), 8, "{keys:?}");
}
