//! Unknown messages, counted by shape: what changes from one to the next (numbers, ids, addresses) is masked.
//!
//! A new shape after an upgrade of the controller is the first sign that a message changed. The list is bounded:
//! beyond `MAX_SHAPES` different shapes, further ones are counted together.

use hashbrown::HashMap;

use crate::core::saved::{Changes, RestoreError, Saved, Touched};

pub const MAX_SHAPES: usize = 1000;
const MAX_SHAPE: usize = 96;
/// The key of a saved shape begins so.
const SHAPE: &str = "shape/";
/// Only so much of a message is looked at.
const MAX_TEXT: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Shapes {
    counts: HashMap<Box<str>, u64>,
    beyond: u64,
    scratch: String,
    /// Shapes that were counted since they were last saved.
    touched: Touched<Box<str>>,
}

impl Shapes {
    pub fn count(&mut self, text: &[u8]) {
        shape(text, &mut self.scratch);
        if let Some(count) = self.counts.get_mut(self.scratch.as_str()) {
            *count += 1;
        } else if self.counts.len() < MAX_SHAPES {
            self.counts.insert(self.scratch.as_str().into(), 1);
        } else {
            self.beyond += 1;
            return;
        }
        if !self.touched.is_everything() {
            self.touched.mark(self.scratch.as_str().into());
        }
    }

    /// Messages of unknown shape in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.beyond
    }

    /// The most frequent shapes, most frequent first, then by text.
    #[must_use]
    pub fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self
            .counts
            .iter()
            .map(|(shape, count)| (&**shape, *count))
            .collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(most);
        all
    }

    #[must_use]
    pub fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Messages whose shape had no place any more.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    pub(super) fn all_touched(&self) -> bool {
        self.touched.is_everything()
    }

    pub(super) fn touch_all(&mut self) {
        self.touched = Touched::default();
    }

    /// Hands out the shapes whose count changed.
    pub(super) fn save(&mut self, changes: &mut Changes) {
        for shape in self.touched.take(self.counts.keys().cloned()) {
            changes.put_or_remove(format!("{SHAPE}{shape}"), self.counts.get(&shape));
        }
    }

    pub(super) fn restore(saved: &Saved, beyond: u64) -> Result<Shapes, RestoreError> {
        let mut shapes = Shapes {
            beyond,
            touched: Touched::nothing(),
            ..Shapes::default()
        };
        for (key, text) in saved.iter() {
            let Some(shape) = key.strip_prefix(SHAPE) else {
                return Err(saved.contradiction(key, "it names no part of a reader"));
            };
            shapes.counts.insert(shape.into(), saved.read(key, text)?);
        }
        let bounded = shapes.counts.len() <= MAX_SHAPES;
        saved.ensure(
            bounded,
            SHAPE,
            "there are more shapes than are ever counted",
        )?;
        Ok(shapes)
    }
}

/// Writes the shape of `text`: words of letters stay, a word with a digit becomes `#`, quoted text becomes `"…"`.
fn shape(text: &[u8], out: &mut String) {
    out.clear();
    let text = &text[..text.len().min(MAX_TEXT)];
    let mut at = 0;
    while at < text.len() && out.len() < MAX_SHAPE {
        let byte = text[at];
        if byte.is_ascii_alphanumeric() {
            // A word reaches over what ids and addresses are made of.
            let mut end = at;
            let mut digit = false;
            while let Some(next) = text.get(end) {
                match next {
                    b'0'..=b'9' => digit = true,
                    b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b':' | b'_' | b'/' => {}
                    _ => break,
                }
                end += 1;
            }
            if digit {
                out.push('#');
            } else {
                out.extend(text[at..end].iter().map(|byte| char::from(*byte)));
            }
            at = end;
        } else if byte == b'"' {
            out.push_str("\"…\"");
            at += 1;
            while text.get(at).is_some_and(|byte| *byte != b'"') {
                at += 1;
            }
            at += 1;
        } else {
            out.push(if byte.is_ascii_graphic() || byte == b' ' {
                char::from(byte)
            } else {
                '?'
            });
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_masked() {
        let mut shapes = Shapes::default();
        shapes.count(b"Processing 3 pending VM cleanup tasks");
        shapes.count(b"Processing 12 pending VM cleanup tasks");
        shapes.count(b"noVNC auth for vm-70fa35e6-87ef-44c1-b852-d1de3517af9c at 10.0.0.7:6080 said \"hello\"");
        assert_eq!(
            shapes.top(9),
            [
                ("Processing # pending VM cleanup tasks", 2),
                ("noVNC auth for # at # said \"…\"", 1)
            ]
        );
    }

    #[test]
    fn shapes_are_bounded_and_the_rest_is_counted() {
        let mut shapes = Shapes::default();
        for outer in 0..100 {
            for inner in 0..100 {
                let word = |n: i32| "x".repeat(usize::try_from(n).unwrap() % 40 + 1);
                shapes.count(
                    format!("{} {}!{}", word(outer), word(inner), "?".repeat(10)).as_bytes(),
                );
                shapes
                    .count(format!("{}é\u{1b}[2J{}", word(outer * 7), word(inner * 3)).as_bytes());
            }
        }
        assert!(shapes.distinct() <= MAX_SHAPES);
        assert_eq!(shapes.total(), 20_000);
        assert!(
            shapes
                .top(1000)
                .iter()
                .all(|(shape, _)| shape.chars().all(|c| !c.is_control()))
        );
    }
}
