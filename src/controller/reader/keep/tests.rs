use std::path::Path;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::*;
use crate::core::saved::{RestoreError, Shelf};

const LEARNT: Zone = Zone::Learnt {
    offset_ms: 0,
    told: false,
};

/// A reader, what it was fed and what it said.
struct Story {
    reader: Reader,
    said: Vec<String>,
    shelf: Shelf,
}

impl Story {
    fn new(zone: Zone) -> Story {
        Story {
            reader: Reader::new(0, zone),
            said: Vec::new(),
            shelf: Shelf::default(),
        }
    }

    fn work(&mut self, work: impl FnOnce(&mut Reader, &mut dyn FnMut(&Event<'_>))) {
        let said = &mut self.said;
        work(&mut self.reader, &mut |event| {
            said.push(format!("{event:?}"));
        });
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.work(|reader, mut sink| reader.push(bytes, &mut sink));
    }

    fn flush(&mut self) {
        self.work(|reader, mut sink| reader.flush(&mut sink));
    }

    fn restart(&mut self, zone: Zone) {
        self.shelf.keep(self.reader.changes());
        self.reader = Reader::restore(self.shelf.0.clone(), 0, zone).expect("what was just saved");
    }

    fn figures(&self) -> String {
        let reader = &self.reader;
        format!(
            "{:?} {:?} {:?} {:?} {:?} {}",
            reader.counts(),
            reader.framing(),
            reader.newest(),
            reader.clock().counts(),
            reader.shapes().top(1000),
            reader.has_pending(),
        )
    }
}

/// One of each kind of record, whole and torn, as the sources write them.
fn samples() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples: Vec<Vec<u8>> = ["healthy", "killed", "crash", "block", "console", "torn"]
        .iter()
        .map(|name| root.join("fuzz/seeds/framing_decode").join(name))
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect();
    samples.push(b"\x00\x00\xff\xfe no record\r\n2025-13-77 99:00:00 [INFO]: ".to_vec());
    samples.push(b"2025-10-18 01:52:07 [INFO]: Nobody knows 7 of these\n".to_vec());
    samples
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_at_any_byte_changes_nothing(
        picks in prop::collection::vec(0usize..8, 1..8),
        cuts in prop::collection::vec((1usize..400, 0u8..6), 1..60),
        named in any::<bool>(),
    ) {
        let zone = if named { Zone::Named(TimeZone::UTC) } else { LEARNT };
        let samples = samples();
        let log: Vec<u8> = picks.iter().flat_map(|pick| samples[*pick].clone()).collect();
        let (mut whole, mut parted) = (Story::new(zone.clone()), Story::new(zone.clone()));
        let mut rest = log.as_slice();
        for (length, then) in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*length).min(rest.len()));
            rest = after;
            whole.feed(chunk);
            parted.feed(chunk);
            match then {
                0 => {
                    whole.flush();
                    parted.flush();
                }
                1 | 2 => parted.restart(zone.clone()),
                3 => parted.shelf.keep(parted.reader.changes()),
                _ => {}
            }
            prop_assert_eq!(whole.figures(), parted.figures());
            if rest.is_empty() {
                break;
            }
        }
        whole.work(|reader, mut sink| reader.finish(&mut sink));
        parted.restart(zone);
        parted.work(|reader, mut sink| reader.finish(&mut sink));
        prop_assert_eq!(whole.said, parted.said);
        prop_assert_eq!(whole.reader.counts(), parted.reader.counts());
    }

    #[test]
    fn what_is_saved_and_then_spoiled_is_refused_or_taken_but_never_panics(
        pick in 0usize..8,
        length in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples();
        let mut story = Story::new(LEARNT);
        story.feed(&samples[pick][..length.index(samples[pick].len())]);
        story.shelf.keep(story.reader.changes());
        let mut text = story.shelf.0["rest"].clone().into_bytes();
        let place = at.index(text.len());
        match byte % 3 {
            0 => text.truncate(place),
            1 => text[place] = byte & 0x7f,
            _ => text.insert(place, b'0' + byte % 10),
        }
        story.shelf.0.insert("rest".into(), String::from_utf8_lossy(&text).into_owned());
        if let Ok(reader) = Reader::restore(story.shelf.0.clone(), 0, LEARNT) {
            story.reader = reader;
            story.feed(&samples[0]);
        }
    }
}

#[test]
fn a_restored_reader_says_where_it_goes_on() {
    let mut story = Story::new(LEARNT);
    assert_eq!(story.reader.place(), None);
    story.work(|reader, mut sink| reader.begin_file(7, 1_000, &mut sink));
    story.feed(b"half a li");
    story.restart(LEARNT);
    assert_eq!(story.reader.place(), Some((7, 1_009)));
    story.feed(b"ne\n");
    assert_eq!(story.reader.framing().lines, 1);
}

fn line(stamp: &str) -> String {
    format!("{stamp} [INFO]: Starting Master Controller... {{\"module\":\"server\"}}\n")
}

#[test]
fn the_learnt_offset_survives_and_the_configured_zone_wins() {
    let berlin = || Zone::Named(TimeZone::get("Europe/Berlin").expect("a zone"));
    let mut story = Story::new(LEARNT);
    story
        .reader
        .inner
        .clock
        .learn(b"2025-10-18 03:52:08", Timestamp(1_760_752_328_000));
    let read = |story: &mut Story| story.reader.inner.clock.read(b"2025-10-18 03:52:08");
    let learnt = Some(Timestamp(1_760_752_328_000));
    story.restart(LEARNT);
    assert_eq!(read(&mut story), learnt);
    story.restart(Zone::Named(TimeZone::UTC));
    assert_eq!(read(&mut story), Some(Timestamp(1_760_759_528_000)));
    story.restart(berlin());
    assert_eq!(read(&mut story), learnt);
    assert_eq!(story.reader.newest(), None, "a time of the zone before");
    story.restart(LEARNT);
    assert_eq!(
        read(&mut story),
        Some(Timestamp(1_760_759_528_000)),
        "not told yet"
    );
}

#[test]
fn a_newer_version_and_a_lost_shape_are_refused() {
    let mut story = Story::new(LEARNT);
    story.feed(b"2025-10-18 01:52:07 [INFO]: Nobody knows 7 of these\n2025");
    story.flush();
    story.shelf.keep(story.reader.changes());
    assert_eq!(
        story.shelf.0.keys().collect::<Vec<_>>(),
        ["rest", "shape/Nobody knows # of these"]
    );
    let mut lost = story.shelf.clone();
    lost.0.remove("shape/Nobody knows # of these");
    let error = Reader::restore(lost.0, 0, LEARNT).expect_err("a shape is lost");
    assert!(matches!(error, RestoreError::Incomplete { .. }), "{error}");
    let mut newer = story.shelf.clone();
    newer.0.insert("rest".into(), "{\"version\":2}".to_owned());
    let error = Reader::restore(newer.0, 0, LEARNT).expect_err("it is newer");
    assert!(
        matches!(error, RestoreError::Newer { version: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_record_from_the_far_future_moves_no_time_and_a_clock_that_stays_there_is_believed() {
    let told = |stamps: &[&str]| {
        let mut reader = Reader::new(0, Zone::Named(TimeZone::UTC));
        reader.reads_at(Timestamp(1_760_752_400_000));
        let mut at = Vec::new();
        for stamp in stamps {
            reader.push(line(stamp).as_bytes(), &mut |event| at.push(event.at.0));
        }
        (at, reader.counts().ahead)
    };
    let usual = 1_760_752_327_000;
    let glitch = [
        "2025-10-18 01:52:07",
        "2925-10-18 01:52:08",
        "2025-10-18 01:52:09",
    ];
    assert_eq!(told(&glitch), (vec![usual, usual, usual + 2_000], 1));
    let tomorrow = ["2025-10-18 01:52:07", "2025-10-19 01:50:00"];
    assert_eq!(told(&tomorrow).1, 0, "an unknown zone may be so far ahead");
    let (at, ahead) = told(&["2925-10-18 01:52:08"; 30]);
    assert_eq!(ahead, 30);
    assert_eq!(at[..20], [1_760_752_400_000; 20]);
    assert_eq!(at[20..], [30_161_987_528_000; 10]);
}
