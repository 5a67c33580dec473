//! Which keys one document may hold: the table's, and those of the notifiers that it names.

use super::keys::{KEYS, Key};
use crate::core::nearest::nearest;

/// A key at the place where a document may hold it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) key: Key,
    /// The key with `_file` behind it: the value is in a file of its own.
    pub(super) in_file: bool,
}

#[derive(Debug)]
pub(super) struct Schema {
    entries: Vec<Entry>,
}

impl Schema {
    pub(super) fn new() -> Self {
        let mut schema = Self {
            entries: Vec::new(),
        };
        for key in KEYS {
            schema.add(key, key.path);
        }
        schema
    }

    /// Adds a key, and its twin for a file where the value may be in one.
    pub(super) fn add(&mut self, key: &Key, path: &str) {
        self.entries.push(Entry {
            path: path.to_owned(),
            key: *key,
            in_file: false,
        });
        if key.shape.may_be_in_a_file() {
            self.entries.push(Entry {
                path: format!("{path}_file"),
                key: *key,
                in_file: true,
            });
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// The key that a variable means: its name without the prefix, in lower case.
    pub(super) fn find_variable(&self, written: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| variable_of(&entry.path) == written)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.path.as_str())
    }

    pub(super) fn is_section(&self, path: &str) -> bool {
        self.paths().any(|known| {
            known
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        })
    }

    /// Keys and sections directly within a section.
    pub(super) fn names_within(&self, section: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for path in self.paths() {
            let rest = match section {
                "" => Some(path),
                _ => path
                    .strip_prefix(section)
                    .and_then(|rest| rest.strip_prefix('.')),
            };
            if let Some(name) = rest.and_then(|rest| rest.split('.').next())
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
        }
        if section.is_empty() && !names.iter().any(|name| name == "notify") {
            names.push("notify".to_owned());
        }
        names
    }

    /// What an unknown key should have been: a slip in its name, a key of another section, or one of those here.
    pub(super) fn meant(&self, section: &str, name: &str) -> String {
        let here = self.names_within(section);
        if let Some(near) = nearest(name, here.iter().map(String::as_str)) {
            return format!("did you mean {}?", join(section, near));
        }
        let last = |path: &'_ str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let names: Vec<String> = self.paths().map(last).collect();
        let elsewhere = nearest(name, names.iter().map(String::as_str))
            .and_then(|near| self.paths().find(|path| last(path) == near));
        match elsewhere {
            Some(path) => format!("did you mean {path}?"),
            None => format!("known here: {}", here.join(", ")),
        }
    }
}

pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// `log.follow.inotify` is `log__follow__inotify`, to be compared without case.
pub(super) fn variable_of(path: &str) -> String {
    path.to_lowercase().replace('.', "__").replace('-', "_")
}
