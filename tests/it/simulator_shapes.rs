//! Conformance: the simulator writes only lines that the real controller writes, and all that matter to a boot.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use bootwatch::simulator::{Version, shapes};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::simulator::{order, play, scenario, scenarios};

const RECORDED: &str = include_str!("../fixtures/shapes/recorded.txt");
const CATALOGUE: &str = include_str!("../fixtures/shapes/catalogue.txt");

fn fixture(text: &'static str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The shapes of all scenarios' lines, read back from the bytes.
fn written() -> &'static BTreeSet<String> {
    static WRITTEN: LazyLock<BTreeSet<String>> = LazyLock::new(play_everything);
    &WRITTEN
}

fn play_everything() -> BTreeSet<String> {
    let mut shapes = BTreeSet::new();
    for version in [Version::Oct, Version::Dec] {
        for scenario in scenarios(version) {
            let (bytes, _) = play(scenario, &order(11, version, 8));
            read_shapes(&bytes, &mut shapes);
        }
        for (name, boots) in [("mixed", 400), ("database-outage", 120)] {
            let (bytes, _) = play(scenario(name), &order(11, version, boots));
            read_shapes(&bytes, &mut shapes);
        }
    }
    shapes
}

#[test]
fn every_line_written_is_one_of_the_real_controllers() {
    let known: BTreeSet<_> = fixture(RECORDED)
        .union(&fixture(CATALOGUE))
        .cloned()
        .collect();
    let strange: Vec<_> = written().difference(&known).cloned().collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn every_recorded_line_of_a_boot_is_written_by_some_scenario() {
    // Two pages of the admin interface that nobody of ours asks for.
    let irrelevant = ["|INFO|GET /statistics/summary", "|INFO|GET /system/stats"];
    let written = written();
    let missing: Vec<_> = fixture(RECORDED)
        .into_iter()
        .filter(|row| !written.contains(row))
        .filter(|row| !irrelevant.iter().any(|start| row.starts_with(start)))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_row_of_the_table_is_written_by_some_scenario() {
    let written = written();
    let unused: Vec<_> = shapes::ALL
        .iter()
        .filter(|shape| !shape.message.contains('…'))
        .map(|shape| {
            let (module, level, message) = (shape.module, shape.level.as_str(), shape.message);
            format!("{module}|{level}|{message}|{}", shape.keys.join(","))
        })
        .filter(|row| !written.contains(row))
        .collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

fn read_shapes(bytes: &[u8], shapes: &mut BTreeSet<String>) {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut record = String::new();
    for line in text.lines() {
        if is_header(line) && !record.is_empty() {
            shapes.insert(shape(&record));
            record.clear();
        }
        if !record.is_empty() {
            record.push('\n');
        }
        record.push_str(line);
    }
    shapes.insert(shape(&record));
}

fn is_header(line: &str) -> bool {
    line.len() > 22 && line.as_bytes()[19..].starts_with(b" [") && line.contains("]: ")
}

/// `module|level|message|keys` of a record.
fn shape(record: &str) -> String {
    let (level, rest) = record.split_at(21).1.split_once("]: ").unwrap();
    let (message, keys) = rest
        .match_indices(" {\"")
        .find_map(|(at, _)| {
            let mut json = serde_json::Deserializer::from_str(rest.split_at(at + 1).1);
            let fields = (&mut json).deserialize_map(Fields).ok()?;
            json.end().ok()?;
            Some((rest.split_at(at).0, fields))
        })
        .unwrap_or((rest, Vec::new()));
    let named: Vec<_> = keys.iter().filter(|(key, _)| key != "module").collect();
    let module = keys.iter().find(|(key, _)| key == "module");
    let module = module.map(|(_, value)| value.as_str()).unwrap_or_default();
    let keys: Vec<_> = named.iter().map(|(key, _)| key.as_str()).collect();
    let message = if module.is_empty() {
        root_message(message)
    } else {
        message.to_owned()
    };
    format!("{module}|{level}|{message}|{}", keys.join(","))
}

/// A root logger's message with its ids and status named, not told.
fn root_message(message: &str) -> String {
    if message.starts_with("unhandledRejection: ") {
        return "unhandledRejection: *".to_owned();
    }
    let words: Vec<String> = message
        .split(' ')
        .map(|word| {
            let parts = word.split('/').map(|part| match part.len() {
                36 if part.matches('-').count() == 4 => "<id>",
                39 if part.starts_with("vm-") => "<vm>",
                _ => part,
            });
            parts.collect::<Vec<_>>().join("/")
        })
        .collect();
    let last = words.len() - 1;
    format!("{} <status>", words[..last].join(" "))
}

/// Keys in their order; the text of `module`.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = if key == "module" {
                map.next_value()?
            } else {
                map.next_value::<IgnoredAny>()?;
                String::new()
            };
            fields.push((key, value));
        }
        Ok(fields)
    }
}
