//! A desk that is saved and restored anywhere goes on as if it had never stopped; and what differs on purpose.

use super::*;
use crate::core::saved::{RestoreError, Shelf};
use proptest::prelude::*;

/// What may happen, by number: incidents begin, go on and end, operators act, time passes.
fn step(story: &mut Story, what: u8, which: u8, ms: u32) {
    let key = format!("{:04}", which % 24);
    let known = story.open.contains_key(&key);
    match what % 9 {
        0 | 1 if !known => {
            let vm_type = VmType::ALL[usize::from(which) % VmType::ALL.len()];
            let cause = [
                Failure::AgentRefused,
                Failure::IpPoolExhausted,
                Failure::TapFailed,
            ][usize::from(which) % 3];
            let mut one = incident(&key, RuleName::BootFailureRate, vm_type, cause);
            if which.is_multiple_of(5) {
                one.members[0].severity = Severity::Ticket;
            }
            if which.is_multiple_of(2) {
                one.host = format!("host-{which}");
            }
            story.fire(one);
        }
        2 if known => story.update(&key, RuleName::ConnectionRefusedSpike),
        3 if known => story.resolve(&key),
        4 => {
            let matcher = [
                "host=host-1",
                "cause=tap_failed",
                "rule=~Boot.*",
                "vm_type!=cli",
            ][usize::from(which) % 4];
            let lasts = i64::from(ms % 7_200_000);
            drop(story.silence(&[matcher, "severity=~.+"], lasts));
        }
        5 => {
            let expire = Command::ExpireSilence {
                id: u64::from(which % 8),
                author: "bob".to_owned(),
            };
            drop(story.command(expire));
        }
        6 => drop(story.acknowledge(&key)),
        7 => {
            let start = Command::StartMaintenance {
                author: "ada".to_owned(),
                reason: "kernel".to_owned(),
                lasts_ms: i64::from(ms % 7_200_000),
            };
            drop(story.command(start));
        }
        _ => story.pass(i64::from(ms % 18_000_000)),
    }
}

pub(super) fn restart(story: &mut Story, shelf: &mut Shelf) {
    shelf.keep(story.desk.changes());
    let settings = story.desk.settings.clone();
    story.desk = Desk::restore(shelf.0.clone(), settings, story.now).expect("what was saved");
    let open: Vec<Incident> = story.open.values().cloned().collect();
    story.desk.agree_with(open.iter(), story.now);
}

/// And not only when something falls due, or after a start.
#[test]
fn what_waits_is_inhibited_as_soon_as_its_cause_is_there() {
    let mut story = Story::new();
    step(&mut story, 0, 35, 0);
    assert_eq!(story.done(), ["held 0011 waiting"]);
    step(&mut story, 0, 5, 0);
    assert_eq!(story.done(), ["held 0005 waiting", "held 0011 inhibited"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_restart_anywhere_changes_nothing(
        steps in proptest::collection::vec((0..9u8, 0..48u8, any::<u32>(), 0..3u8), 1..40),
    ) {
        let (mut whole, mut parted, mut shelf) = (Story::new(), Story::new(), Shelf::default());
        for (what, which, ms, pause) in steps {
            step(&mut whole, what, which, ms);
            step(&mut parted, what, which, ms);
            match pause {
                0 => restart(&mut parted, &mut shelf),
                1 => shelf.keep(parted.desk.changes()),
                _ => {}
            }
            // After a start all that was due is done at once, which is nothing that is not done already.
            whole.pass(0);
            parted.pass(0);
            prop_assert_eq!(&whole.done, &parted.done);
            prop_assert_eq!(&whole.sent, &parted.sent);
            whole.tick();
            parted.tick();
            prop_assert_eq!(whole.desk.next_due(), parted.desk.next_due());
            prop_assert_eq!(whole.desk.view(whole.now), parted.desk.view(parted.now));
        }
        // What is kept piece by piece is the same as what is kept at once.
        shelf.keep(parted.desk.changes());
        let mut full = Shelf::default();
        parted.desk.save_everything();
        full.keep(parted.desk.changes());
        prop_assert_eq!(shelf.0, full.0);
    }

    #[test]
    fn every_page_has_its_end_and_nobody_gets_an_end_without_a_beginning(
        steps in proptest::collection::vec((0..9u8, 0..48u8, any::<u32>()), 1..60),
    ) {
        let mut story = Story::new();
        for (what, which, ms) in steps {
            step(&mut story, what, which, ms);
        }
        let open: Vec<String> = story.open.keys().cloned().collect();
        for key in open {
            story.resolve(&key);
        }
        story.pass(31 * 24 * HOUR);
        let mut told: BTreeMap<&str, bool> = BTreeMap::new();
        for one in &story.sent {
            let key = one.incident.key.as_str();
            match one.kind {
                Kind::Firing => prop_assert_ne!(told.insert(key, true), Some(true), "{} twice", key),
                Kind::Update if one.reason.is_notice() => {}
                Kind::Update => prop_assert_eq!(told.get(key), Some(&true), "{} before its page", key),
                Kind::Resolved => prop_assert_eq!(told.insert(key, false), Some(true), "{} ended unheard", key),
            }
        }
        prop_assert!(told.values().all(|open| !open), "{:?}", told);
    }
}

#[test]
fn repeats_are_exact_over_restarts_and_one_after_a_long_stop() {
    let mut story = Story::new();
    let mut shelf = Shelf::default();
    story.fire(refused("a"));
    for _ in 0..9 {
        story.pass(HOUR);
        restart(&mut story, &mut shelf);
    }
    let at: Vec<i64> = story.sent.iter().map(|one| one.at.since(START)).collect();
    assert_eq!(at, [0, 4 * HOUR, 8 * HOUR]);
    // Stopped for a day: told once, at the start.
    story.now = story.now.plus_ms(24 * HOUR);
    restart(&mut story, &mut shelf);
    story.sent.clear();
    let mut out = Vec::new();
    story.desk.tick(story.now, &mut out);
    story.take_down(out);
    story.pass(HOUR);
    assert_eq!(story.sent.len(), 1);
}

#[test]
fn an_incident_of_a_run_without_a_desk_was_told_and_gets_its_end() {
    let mut story = Story::new();
    let old = refused("old");
    story.open.insert("old".to_owned(), old.clone());
    story
        .desk
        .agree_with([&old].into_iter(), START.plus_ms(HOUR));
    story.pass(HOUR);
    assert!(story.done().is_empty());
    story.resolve("old");
    assert_eq!(story.done(), ["resolved old"]);
}

#[test]
fn an_incident_that_the_engine_forgot_is_over() {
    let mut story = Story::new();
    story.fire(refused("a"));
    story.desk.agree_with([].into_iter(), story.now);
    story.pass(24 * HOUR);
    assert_eq!(story.done(), ["firing a"]);
}

#[test]
fn a_digest_of_what_the_engine_forgot_is_over() {
    let mut story = Story::new();
    for n in 0..12 {
        let mut one = refused(&format!("{n:03}"));
        one.host = format!("host-{n}");
        story.fire(one);
    }
    story.pass(MINUTE);
    story.done();
    let left = story.open["011"].clone();
    story.desk.agree_with([&left].into_iter(), story.now);
    let view = story.desk.view(story.now);
    let digest = view.incidents.iter().find_map(|one| one.digest.as_ref());
    assert_eq!(digest.map(|one| (one.firing, one.resolved)), Some((1, 1)));
    story.desk.agree_with([].into_iter(), story.now);
    assert_eq!(story.desk.view(story.now).incidents, []);
    story.pass(24 * HOUR);
    assert!(story.done().is_empty());
}

#[test]
fn a_clock_that_was_set_back_makes_no_silence_endless_and_no_repeat_late() {
    let mut story = Story::new();
    let mut shelf = Shelf::default();
    story.fire(refused("a"));
    story.silence(&["host=host-2"], 30 * 24 * HOUR).unwrap();
    story.now = START.plus_ms(-365 * 24 * HOUR);
    restart(&mut story, &mut shelf);
    story.sent.clear();
    story.pass(4 * HOUR);
    assert_eq!(story.sent.len(), 1);
    story.pass(61 * 24 * HOUR);
    assert_eq!(story.desk.figures(story.now).0, 0);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut story = Story::new();
    story.fire(refused("a"));
    let mut shelf = Shelf::default();
    shelf.keep(story.desk.changes());
    let of = |change: &dyn Fn(&mut BTreeMap<String, String>)| {
        let mut parts = shelf.0.clone();
        change(&mut parts);
        Desk::restore(parts, Settings::default(), START).map(|_| ())
    };
    assert!(of(&|_| ()).is_ok());
    let lost = of(&|parts| drop(parts.remove("told/a")));
    assert!(
        matches!(lost, Err(RestoreError::Incomplete { .. })),
        "{lost:?}"
    );
    let moved = of(&|parts| {
        let told = parts.remove("told/a").unwrap();
        parts.insert("told/b".to_owned(), told);
    });
    assert!(
        matches!(moved, Err(RestoreError::Contradiction { .. })),
        "{moved:?}"
    );
    let newer = of(&|parts| {
        parts.insert("rest".to_owned(), "{\"version\":9}".to_owned());
    });
    assert!(
        matches!(newer, Err(RestoreError::Newer { .. })),
        "{newer:?}"
    );
}
