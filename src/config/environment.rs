//! The environment over the file.
//!
//! Only variables with `__` in their name are settings: an orchestrator puts others that begin alike
//! (`BOOTWATCH_PORT`, `BOOTWATCH_SERVICE_HOST`) into the environment by itself.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::problem::Problems;
use super::schema::{Schema, variable_of};
use crate::core::nearest::nearest;

pub(super) const PREFIX: &str = "BOOTWATCH_";

/// What surrounds the file: whatever else decides about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Every environment variable; those that are no settings are ignored.
    pub environment: Vec<(String, String)>,
    /// The machine's own name, if it tells it.
    pub host_name: Option<String>,
}

impl Surroundings {
    /// Those of the running process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        let mut environment: Vec<(String, String)> = std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        environment.sort();
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .ok()
            .filter(|name| !name.is_empty());
        Self {
            environment,
            host_name,
        }
    }

    /// Where systemd put the credentials of the service.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.variable("CREDENTIALS_DIRECTORY").map(Path::new)
    }

    /// The first of the folders that systemd keeps for the service's state.
    pub(super) fn state_directory(&self) -> Option<&Path> {
        let folders = self.variable("STATE_DIRECTORY")?;
        let first = folders.split(':').next()?;
        (!first.is_empty()).then(|| Path::new(first))
    }

    pub(super) fn variable(&self, wanted: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    /// Each setting's variable, its name without the prefix in lower case, and its text.
    fn settings(&self) -> impl Iterator<Item = (&str, String, &str)> {
        self.environment.iter().filter_map(|(variable, text)| {
            let written = variable
                .strip_prefix(PREFIX)
                .filter(|rest| rest.contains("__"))?;
            Some((variable.as_str(), written.to_lowercase(), text.as_str()))
        })
    }
}

/// Which variable set a key.
pub(super) type Variables = BTreeMap<String, String>;

/// The first pass: the kinds of notifiers, since they decide which other keys there are.
pub(super) fn overlay_kinds(surroundings: &Surroundings, table: &mut Table) -> Variables {
    let mut variables = Variables::new();
    for (variable, written, text) in surroundings.settings() {
        if let Some(name) = notifier_of_kind(&written) {
            let path = format!("notify.{}.type", notifier_named(table, name));
            put(table, &path, Value::String(text.to_owned()));
            variables.insert(path, variable.to_owned());
        }
    }
    variables
}

/// The second pass: everything else. `refused` are the notifiers whose keys nobody knows.
pub(super) fn overlay_values(
    surroundings: &Surroundings,
    schema: &Schema,
    refused: &[&str],
    table: &mut Table,
    variables: &mut Variables,
    problems: &mut Problems,
) {
    for (variable, written, text) in surroundings.settings() {
        let of_refused =
            |section: &&str| written.starts_with(&format!("{}__", variable_of(section)));
        if notifier_of_kind(&written).is_some() || refused.iter().any(of_refused) {
            continue;
        }
        let Some(entry) = schema.find_variable(&written) else {
            let names: Vec<String> = schema.paths().map(variable_of).collect();
            let remedy = match nearest(&written, names.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {PREFIX}{}?", meant.to_uppercase()),
                None => format!(
                    "section.key is {PREFIX}SECTION__KEY, and docs/configuration.md lists every key"
                ),
            };
            problems.add(variable, format!("unknown setting; {remedy}"));
            continue;
        };
        let value = if entry.in_file {
            Value::String(text.to_owned())
        } else {
            entry.key.shape.of_text(text)
        };
        // What the environment says goes over what the file says, also where the file says it in the other way.
        let other = other_way(&entry.path, entry.in_file);
        if !variables.contains_key(&other) {
            remove(table, &other);
        }
        put(table, &entry.path, value);
        variables.insert(entry.path.clone(), variable.to_owned());
    }
}

/// The key that says the same in another way, and of which a document may hold only one.
fn other_way(path: &str, in_file: bool) -> String {
    match (path, path.strip_suffix("_file")) {
        ("log.file", _) => "log.journal".to_owned(),
        ("log.journal", _) => "log.file".to_owned(),
        (_, Some(plain)) if in_file => plain.to_owned(),
        _ => format!("{path}_file"),
    }
}

fn notifier_of_kind(written: &str) -> Option<&str> {
    written.strip_prefix("notify__")?.strip_suffix("__type")
}

/// The notifier that a variable's lower-case name means: one of the file, or a new one.
fn notifier_named(table: &Table, name: &str) -> String {
    let notifiers = table.get("notify").and_then(Value::as_table);
    let known = notifiers.and_then(|table| table.keys().find(|known| variable_of(known) == name));
    known.map_or_else(|| name.to_owned(), Clone::clone)
}

/// Sets a value, making its sections. Where the file has a value in place of a section, it stays, and is refused.
fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn remove(table: &mut Table, path: &str) {
    match path.split_once('.') {
        None => {
            table.remove(path);
        }
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                remove(inner, rest);
            }
        }
    }
}
