//! A tracker that is saved and restored anywhere goes on as if it had never stopped.

use proptest::prelude::*;

use super::super::{MAX_OPEN, Tracker};
use super::properties::any_event;
use super::*;
use crate::core::saved::{RestoreError, Shelf};

/// What a run is interrupted by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    None,
    /// The store keeps what changed.
    Save,
    /// And a new process goes on from what it kept.
    Restart,
    /// The store lost what it was told, and gets everything anew before the restart.
    Anew,
}

fn any_break() -> impl Strategy<Value = Break> {
    prop_oneof![
        3 => Just(Break::None),
        2 => Just(Break::Save),
        2 => Just(Break::Restart),
        1 => Just(Break::Anew),
    ]
}

/// Not what it was given, and not twice the same: text that was redacted once must not be again.
fn masked(record: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(record).replace("hunter", "");
    format!("<{}>", text.chars().take(limit).collect::<String>())
}

fn story() -> Story {
    Story {
        tracker: Tracker::new(masked),
        said: Vec::new(),
        told: 0,
    }
}

impl Story {
    /// The process ends; another one begins from what the shelf has.
    fn restart(&mut self, shelf: &Shelf) {
        self.tracker = Tracker::restore(shelf.0.clone(), masked).expect("what was saved");
    }

    fn interrupt(&mut self, kind: Break, shelf: &mut Shelf) {
        if kind == Break::Anew {
            drop(self.tracker.changes());
            self.tracker.save_everything();
        }
        if kind != Break::None {
            let changes = self.tracker.changes();
            assert!(changes.whole || kind != Break::Anew);
            shelf.keep(changes);
        }
        if matches!(kind, Break::Restart | Break::Anew) {
            self.restart(shelf);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_anywhere_changes_nothing(
        events in prop::collection::vec((any_event(), any_break()), 0..80),
        in_order in any::<bool>(),
    ) {
        let mut events = events;
        if in_order {
            // Far enough apart that boots are given up and forgotten, too.
            events.sort_by_key(|((at, _), _)| *at);
            events.iter_mut().for_each(|((at, _), _)| *at *= 5);
        }
        let (mut whole, mut parted, mut shelf) = (story(), story(), Shelf::default());
        for ((at, kind), pause) in events {
            whole.tell(at, kind);
            parted.tell(at, kind);
            parted.interrupt(pause, &mut shelf);
            prop_assert_eq!(whole.tracker.sizes(), parted.tracker.sizes());
            prop_assert_eq!(whole.tracker.counts(), parted.tracker.counts());
            prop_assert_eq!(whole.tracker.next_due(), parted.tracker.next_due());
        }
        parted.interrupt(Break::Restart, &mut shelf);
        let mut full = Shelf::default();
        whole.tracker.save_everything();
        full.keep(whole.tracker.changes());
        prop_assert_eq!(&full, &shelf, "by what changed, and all at once");
        for ms in [60_000i64, 1_200_000, 4_000_000] {
            whole.advance(ms);
            parted.advance(ms);
        }
        whole.finish();
        parted.finish();
        prop_assert_eq!(whole.said, parted.said);
        prop_assert_eq!(whole.tracker.counts(), parted.tracker.counts());
    }

    #[test]
    fn what_is_saved_and_then_spoiled_is_refused_or_taken_but_never_panics(
        events in prop::collection::vec(any_event(), 1..40),
        part in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        more in prop::collection::vec(any_event(), 0..20),
    ) {
        let mut story = story();
        for (at, kind) in events {
            story.tell(at, kind);
        }
        let mut shelf = Shelf::default();
        shelf.keep(story.tracker.changes());
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
        if let Ok(tracker) = Tracker::restore(shelf.0, masked) {
            story.tracker = tracker;
            for (at, kind) in more {
                story.tell(at, kind);
            }
            story.tracker.finish(&mut story.said);
        }
    }
}

fn refused(change: impl FnOnce(&mut Shelf)) -> RestoreError {
    let mut story = story();
    story
        .created(0, 1, 2)
        .created(0, 2, 3)
        .tell(5, EventKind::RequestAccepted { user: user(7) });
    let mut shelf = Shelf::default();
    shelf.keep(story.tracker.changes());
    assert_eq!(shelf.0.len(), 8, "{:?}", shelf.0.keys());
    change(&mut shelf);
    Tracker::restore(shelf.0, masked).expect_err("it must be refused")
}

fn replace(key: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&mut Shelf) {
    move |shelf| {
        let text = shelf.0.get_mut(key).expect("a part");
        assert!(text.contains(from), "{text}");
        *text = text.replace(from, to);
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place_and_reason() {
    let newer = refused(replace("rest", "\"version\":1", "\"version\":2"));
    assert_eq!(
        newer.to_string(),
        "the saved tracker is of version 2, and this program knows versions up to 1; run the newer program, or remove \
         the store to start anew"
    );
    let lost = refused(|shelf| drop(shelf.0.remove("boot/1")));
    assert_eq!(
        lost.to_string(),
        "the saved tracker is not whole: 6 parts of 7"
    );
    let moved = |to: &'static str| {
        move |shelf: &mut Shelf| {
            let text = shelf.0.remove("boot/1").expect("a boot");
            shelf.0.insert(to.into(), text);
        }
    };
    for (error, reason) in [
        (
            refused(|shelf| drop(shelf.0.remove("rest"))),
            "it is missing, and other parts are there",
        ),
        (
            refused(moved("boot/4000000000")),
            "there is no such place for a boot",
        ),
        (refused(moved("boot/00")), "it is there twice"),
        (refused(moved("mood")), "it names no part of a tracker"),
        (
            refused(|shelf| {
                let text = shelf.0["boot/0"].clone();
                shelf.0.insert("boot/1".into(), text);
            }),
            "another boot has its place",
        ),
        (
            refused(replace("boot/1", "\"place\":1", "\"place\":2")),
            "its place was never given",
        ),
        (
            refused(replace("boot/1", "\"phase\"", "\"kept_since\":5,\"phase\"")),
            "it has ended and has not",
        ),
        (
            refused(replace("address/192.168.100.3", "[1]", "[99999]")),
            "it belongs to a boot that cannot be",
        ),
    ] {
        assert!(error.to_string().contains(reason), "{error}");
    }
    let torn = refused(replace("boot/1", "}", ""));
    assert!(matches!(torn, RestoreError::Unreadable { .. }), "{torn}");
}

#[test]
fn no_raw_record_is_saved_and_evidence_survives_as_it_would_be() {
    let tell = |pause: bool| {
        let mut story = story();
        let mut shelf = Shelf::default();
        story.created(0, 1, 2).wait(1_500, 2);
        let kind = EventKind::AttemptStarted {
            ip: ip(2),
            elapsed_ms: Some(0),
        };
        story.tell(1_500, kind);
        let failed = Event {
            at: Timestamp(START + 1_000),
            provenance: Provenance::default(),
            kind: EventKind::AttemptFailed {
                ip: ip(2),
                error: REFUSED,
                elapsed_ms: Some(3),
            },
            record: b"password=hunter2",
        };
        story.tracker.observe(&failed, &mut story.said);
        if pause {
            story.interrupt(Break::Restart, &mut shelf);
            assert!(!format!("{shelf:?}").contains("hunter"), "{shelf:?}");
        }
        story.timed_out(16_600, 2);
        story.end_of(1).expect("it has timed out").clone()
    };
    let boot = tell(true);
    assert_eq!(*boot.evidence, ["<password=2>", "<a record>"]);
    assert_eq!(boot, tell(false));
}

#[test]
fn one_record_saves_one_boot_however_many_are_in_flight() {
    let mut story = story();
    for number in 0..MAX_OPEN as u128 {
        story.created(0, number, u8::try_from(number % 250).expect("a byte"));
    }
    let all = story.tracker.changes();
    assert!(all.whole && all.parts.len() > MAX_OPEN);
    assert!(story.tracker.changes().parts.is_empty(), "nothing changed");
    story.tell(
        5_000,
        EventKind::StepStarted {
            vm: vm(77),
            step: 6,
        },
    );
    let changes = story.tracker.changes();
    let keys: Vec<&str> = changes.parts.iter().map(|part| part.key.as_str()).collect();
    assert_eq!((changes.whole, keys), (false, vec!["boot/77", "rest"]));
}
