//! What a state machine keeps over a restart: texts by key, handed out by what changed.
//!
//! A machine marks what it touches. `changes` hands out the marked parts as JSON, each with a key under which the
//! store keeps the last one; what is gone has no value. The first call, and one after too many marks, hands out
//! everything and says so (`whole`). All parts of one machine must be kept together, and those of one call at once: a
//! part named `rest` counts the others and bears the version, so that a lost part or a newer program's is noticed.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashSet;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Marks beyond this are not counted any more: everything has changed. Nobody may be there to take them.
const MAX_MARKS: usize = 1 << 16;
/// Numbers that only ever count upwards by one cannot have come further.
pub(crate) const MAX_NUMBER: u64 = 1 << 53;
/// The part that counts the others.
pub(crate) const REST: &str = "rest";

/// One part and its new value; `None`: there is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub key: String,
    pub value: Option<String>,
}

/// What has changed since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// These parts are all there are: what was kept before is to be forgotten.
    pub whole: bool,
    pub parts: Vec<Part>,
}

impl Changes {
    pub(crate) fn put(&mut self, key: impl Into<String>, value: &impl Serialize) {
        // Every saved type can be written as JSON; a part that cannot is missed by the count in `rest`.
        self.parts.push(Part {
            key: key.into(),
            value: text_of(value),
        });
    }

    /// `None`: the part is gone.
    pub(crate) fn put_or_remove(&mut self, key: impl Into<String>, value: Option<&impl Serialize>) {
        match value {
            Some(value) => self.put(key, value),
            // Who keeps nothing else has nothing to remove.
            None if self.whole => {}
            None => self.parts.push(Part {
                key: key.into(),
                value: None,
            }),
        }
    }
}

/// Without the room to grow that writing left: thousands of parts may wait together.
fn text_of(value: &impl Serialize) -> Option<String> {
    let mut text = serde_json::to_string(value).ok()?;
    text.shrink_to_fit();
    Some(text)
}

/// Why saved state is not taken. The store sets it aside and the machine starts anew.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "the saved {what} is of version {version}, and this program knows versions up to {known}; run the newer program, \
         or remove the store to start anew"
    )]
    Newer {
        what: &'static str,
        version: u32,
        known: u32,
    },
    #[error("the saved {what} cannot be read at `{key}`: {source}")]
    Unreadable {
        what: &'static str,
        key: String,
        source: serde_json::Error,
    },
    #[error("the saved {what} contradicts itself at `{key}`: {reason}")]
    Contradiction {
        what: &'static str,
        key: String,
        reason: &'static str,
    },
    #[error("the saved {what} is not whole: {found} parts of {wanted}")]
    Incomplete {
        what: &'static str,
        found: usize,
        wanted: usize,
    },
}

/// Saved parts, as they came from the store.
#[derive(Debug)]
pub(crate) struct Saved {
    what: &'static str,
    parts: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

impl Saved {
    pub(crate) fn new<K: Into<String>, V: Into<String>>(
        what: &'static str,
        parts: impl IntoIterator<Item = (K, V)>,
    ) -> Saved {
        let parts = parts
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        Saved { what, parts }
    }

    /// Takes `rest` out, if its version is known; `None`: nothing was ever saved.
    pub(crate) fn rest<T: DeserializeOwned>(
        &mut self,
        known: u32,
    ) -> Result<Option<T>, RestoreError> {
        let Some(text) = self.parts.remove(REST) else {
            if self.parts.is_empty() {
                return Ok(None);
            }
            return Err(self.contradiction(REST, "it is missing, and other parts are there"));
        };
        let Versioned { version } = self.read(REST, &text)?;
        if version > known {
            return Err(RestoreError::Newer {
                what: self.what,
                version,
                known,
            });
        }
        self.read(REST, &text).map(Some)
    }

    /// Whether as many parts are there as `rest` counted.
    pub(crate) fn counts(&self, wanted: usize) -> Result<(), RestoreError> {
        let found = self.parts.len();
        if found == wanted {
            return Ok(());
        }
        Err(self.incomplete(found, wanted))
    }

    pub(crate) fn incomplete(&self, found: usize, wanted: usize) -> RestoreError {
        RestoreError::Incomplete {
            what: self.what,
            found,
            wanted,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        key: &str,
        text: &str,
    ) -> Result<T, RestoreError> {
        serde_json::from_str(text).map_err(|source| RestoreError::Unreadable {
            what: self.what,
            key: key.to_owned(),
            source,
        })
    }

    pub(crate) fn contradiction(&self, key: &str, reason: &'static str) -> RestoreError {
        RestoreError::Contradiction {
            what: self.what,
            key: key.to_owned(),
            reason,
        }
    }

    /// An error unless `holds`.
    pub(crate) fn ensure(
        &self,
        holds: bool,
        key: &str,
        reason: &'static str,
    ) -> Result<(), RestoreError> {
        if holds {
            Ok(())
        } else {
            Err(self.contradiction(key, reason))
        }
    }
}

/// Which keys of a table were touched since they were last saved.
#[derive(Clone, Debug, Default)]
pub(crate) enum Touched<K> {
    /// Nothing was saved yet: every key, and no mark costs anything.
    #[default]
    Everything,
    Keys(HashSet<K>),
}

impl<K: Hash + Eq + Ord> Touched<K> {
    /// All is saved as it is.
    pub(crate) fn nothing() -> Touched<K> {
        Touched::Keys(HashSet::new())
    }

    pub(crate) fn mark(&mut self, key: K) {
        let Touched::Keys(keys) = self else { return };
        keys.insert(key);
        if keys.len() > MAX_MARKS {
            *self = Touched::Everything;
        }
    }

    pub(crate) fn is_everything(&self) -> bool {
        matches!(self, Touched::Everything)
    }

    /// The marked keys, or all that there are, in order; no mark is left.
    pub(crate) fn take(&mut self, all: impl IntoIterator<Item = K>) -> Vec<K> {
        let mut keys: Vec<K> = match std::mem::replace(self, Touched::nothing()) {
            Touched::Keys(keys) => keys.into_iter().collect(),
            Touched::Everything => all.into_iter().collect(),
        };
        keys.sort_unstable();
        keys
    }
}

/// What a store does with changes, for tests.
#[cfg(test)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelf(pub(crate) BTreeMap<String, String>);

#[cfg(test)]
impl Shelf {
    pub(crate) fn keep(&mut self, changes: Changes) {
        if changes.whole {
            self.0.clear();
        }
        for Part { key, value } in changes.parts {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_becomes_everything() {
        let mut touched = Touched::nothing();
        for key in 0..MAX_MARKS {
            touched.mark(key);
        }
        assert!(!touched.is_everything());
        touched.mark(MAX_MARKS);
        assert!(touched.is_everything());
        assert_eq!(touched.take([3, 1, 2]), [1, 2, 3]);
        touched.mark(7);
        assert_eq!(touched.take([1, 2, 3]), [7]);
        assert_eq!(touched.take([1, 2, 3]), Vec::<usize>::new());
    }

    #[test]
    fn a_newer_version_is_refused_whatever_else_it_says() {
        let mut saved = Saved::new("tracker", [("rest", r#"{"version":9,"mood":"fine"}"#)]);
        let error = saved.rest::<Vec<u8>>(1).expect_err("it is newer");
        assert!(
            matches!(
                error,
                RestoreError::Newer {
                    version: 9,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}
