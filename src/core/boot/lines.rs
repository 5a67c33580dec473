//! The lines that are told of a boot as evidence.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Lines fit to be shown. They are made so when somebody first looks, since most never are: a log of a bad day has
/// thousands of failed boots, and a page shows three lines. What they are made of cannot be had.
#[derive(Clone, Default)]
pub struct Lines(Option<Arc<Made>>);

type Made = LazyLock<Vec<String>, Box<dyn FnOnce() -> Vec<String> + Send>>;

impl Lines {
    /// What `make` gives, once somebody looks.
    pub(super) fn later(make: impl FnOnce() -> Vec<String> + Send + 'static) -> Lines {
        Lines(Some(Arc::new(LazyLock::new(Box::new(make)))))
    }

    pub(super) fn push(&mut self, line: String) {
        let mut lines = self.to_vec();
        lines.push(line);
        *self = lines.into();
    }
}

impl Deref for Lines {
    type Target = [String];

    fn deref(&self) -> &[String] {
        self.0.as_deref().map_or(&[], |made| made.as_slice())
    }
}

impl From<Vec<String>> for Lines {
    fn from(lines: Vec<String>) -> Lines {
        match lines.is_empty() {
            true => Lines::default(),
            false => Lines::later(move || lines),
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Lines {
    fn eq(&self, other: &Lines) -> bool {
        **self == **other
    }
}

impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
        Vec::deserialize(deserializer).map(Lines::from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn they_are_made_once_when_somebody_looks() {
        let made = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&made);
        let lines = Lines::later(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            vec!["a line".to_owned()]
        });
        let mut other = lines.clone();
        assert_eq!(made.load(Ordering::Relaxed), 0);
        assert_eq!(lines.as_ref(), ["a line"]);
        assert_eq!(lines, other);
        other.push("another".to_owned());
        assert_eq!(other.as_ref(), ["a line", "another"]);
        assert_eq!(lines.len(), 1);
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn they_are_saved_as_a_list() {
        let lines = Lines::from(vec!["a".to_owned()]);
        let text = serde_json::to_string(&lines).unwrap();
        assert_eq!(text, "[\"a\"]");
        assert_eq!(serde_json::from_str::<Lines>(&text).unwrap(), lines);
        assert_eq!(
            serde_json::from_str::<Lines>("[]").unwrap(),
            Lines::default()
        );
    }
}
