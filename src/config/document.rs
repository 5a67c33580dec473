//! From text and environment to checked settings: every value is held against the table of keys, every problem noted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use super::environment::{self, PREFIX, Surroundings, Variables};
use super::keys::Fallback;
use super::notify;
use super::problem::Problems;
use super::schema::{Entry, Schema, join, variable_of};
use super::secret;
use super::shape::{Found, Setting, Shape, Typed};

/// A key and what holds, as text: secrets are masked, and of addresses that may hold one only the host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub key: String,
    pub value: String,
    /// Nobody wrote it.
    pub is_default: bool,
}

/// Every value of a document that passed its check, and where the others were.
#[derive(Debug)]
pub(super) struct Settings {
    schema: Schema,
    found: BTreeMap<String, Setting>,
    /// Every key that is written, well or badly.
    written: BTreeSet<String>,
    bad: BTreeSet<String>,
}

impl Settings {
    /// The value of a key, or its default. Called only once nothing is wrong with it.
    pub(super) fn read<T: Typed>(&self, path: &str) -> T {
        self.maybe(path)
            .expect("a key that is read has a default, or was required before")
    }

    /// The value of a key, its default, or nothing where the table has none.
    pub(super) fn maybe<T: Typed>(&self, path: &str) -> Option<T> {
        let entry = self
            .schema
            .find(path)
            .expect("a key that is read is in the table");
        let setting = match (self.found.get(path), entry.key.default) {
            (Some(setting), _) => setting.clone(),
            (None, Fallback::Value(text)) => entry
                .key
                .shape
                .check(&literal(text))
                .expect("a test checks every default"),
            (None, Fallback::Absent { .. } | Fallback::Needed { .. }) => return None,
        };
        Some(T::of(setting).expect("a key is read as the type of its shape"))
    }

    /// Every key in the table's order with what holds.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let entries = self.schema.entries().filter(|entry| !entry.in_file);
        entries
            .map(|entry| {
                let found = self.found.get(&entry.path);
                let value = match (found, entry.key.default) {
                    (Some(_), _) if matches!(entry.key.shape, Shape::Account) => {
                        "set, not shown".to_owned()
                    }
                    (Some(setting), _) => setting.shown(),
                    (None, Fallback::Value(text)) => {
                        let default = entry.key.shape.check(&literal(text));
                        default.map_or_else(|_| text.to_owned(), |setting| setting.shown())
                    }
                    (None, Fallback::Absent { otherwise, .. }) => format!("not set: {otherwise}"),
                    (None, Fallback::Needed { .. }) => "not set".to_owned(),
                };
                Shown {
                    key: entry.path.clone(),
                    value,
                    is_default: found.is_none(),
                }
            })
            .collect()
    }

    pub(super) fn is_written(&self, path: &str) -> bool {
        self.written.contains(path)
    }

    /// Is nothing wrong with this key or within this section? Checks across keys have no say before.
    pub(super) fn is_sound(&self, path: &str) -> bool {
        let within = |bad: &String| {
            bad.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        !self.bad.iter().any(within)
    }

    /// The names under `[notify]` whose kind is known.
    pub(super) fn notifiers(&self) -> impl Iterator<Item = &str> {
        self.schema
            .paths()
            .filter_map(|path| path.strip_prefix("notify.")?.strip_suffix(".type"))
    }
}

/// A TOML value as the table of keys writes it.
pub(super) fn literal(text: &str) -> Value {
    let table: Table = format!("value = {text}")
        .parse()
        .expect("the table's values are TOML");
    table.into_iter().next().expect("one value was written").1
}

/// Reads a document; `directory` is where its relative names of secret files are looked up.
pub(super) fn read(
    text: &str,
    directory: &Path,
    surroundings: &Surroundings,
    problems: &mut Problems,
) -> Option<Settings> {
    let mut table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            problems.add("", not_toml(text, &error));
            return None;
        }
    };
    let mut schema = Schema::new();
    let mut variables = environment::overlay_kinds(surroundings, &mut table);
    let refused = know_notifiers(&mut schema, &table);
    let sections: Vec<&str> = refused.keys().map(String::as_str).collect();
    environment::overlay_values(
        surroundings,
        &schema,
        &sections,
        &mut table,
        &mut variables,
        problems,
    );
    let mut reader = Reader {
        schema: &schema,
        refused,
        variables,
        directory,
        surroundings,
        problems,
        found: BTreeMap::new(),
        written: BTreeSet::new(),
        bad: BTreeSet::new(),
    };
    reader.walk(&table, "");
    let Reader {
        found,
        written,
        bad,
        ..
    } = reader;
    Some(Settings {
        schema,
        found,
        written,
        bad,
    })
}

fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!(
        "line {line} is not TOML: {}",
        error.message().replace('\n', ", ")
    )
}

/// Why a notifier's keys are not known: the key to blame, and the problem.
type Refusal = (String, String);

/// Adds the keys of each notifier's kind to those that are known; those that have none are returned by section.
fn know_notifiers(schema: &mut Schema, table: &Table) -> BTreeMap<String, Refusal> {
    let Some(Value::Table(notifiers)) = table.get("notify") else {
        return BTreeMap::new();
    };
    let mut refused = BTreeMap::new();
    for (name, settings) in notifiers {
        let section = format!("notify.{name}");
        if let Err(refusal) = know_notifier(schema, &section, name, settings) {
            refused.insert(section, refusal);
        }
    }
    refused
}

fn know_notifier(
    schema: &mut Schema,
    section: &str,
    name: &str,
    settings: &Value,
) -> Result<(), Refusal> {
    let whole = |problem: String| Err((section.to_owned(), problem));
    if !notify::is_name(name) {
        return whole(
            "not a name for a notifier; write a-z, 0-9, - and _, at most 32 of them".to_owned(),
        );
    }
    let Value::Table(settings) = settings else {
        return whole(format!(
            "{} is not a notifier; write [{section}] with its type below it",
            Found(settings)
        ));
    };
    let Some(written) = settings.get("type") else {
        let kinds = notify::kind_names();
        return whole(format!(
            "has no type; write type = {:?}; known kinds: {}",
            kinds[0],
            kinds.join(", ")
        ));
    };
    notify::TYPE
        .shape
        .check(written)
        .map_err(|problem| (format!("{section}.type"), problem))?;
    for kind in notify::KINDS
        .iter()
        .filter(|kind| written.as_str() == Some(kind.name))
    {
        for key in std::iter::once(&notify::TYPE).chain(kind.keys) {
            schema.add(key, &format!("{section}.{}", key.path));
        }
    }
    Ok(())
}

struct Reader<'a> {
    schema: &'a Schema,
    refused: BTreeMap<String, Refusal>,
    variables: Variables,
    directory: &'a Path,
    surroundings: &'a Surroundings,
    problems: &'a mut Problems,
    found: BTreeMap<String, Setting>,
    written: BTreeSet<String>,
    bad: BTreeSet<String>,
}

impl Reader<'_> {
    fn walk(&mut self, table: &Table, section: &str) {
        for (name, value) in table {
            let path = join(section, name);
            if let Some((key, problem)) = self.refused.remove(&path) {
                self.refuse(&key, problem);
            } else if name.contains('.') {
                // A quoted name is one key, also where it reads like a path.
                self.refuse(
                    &format!("{name:?}"),
                    format!("unknown key; {}", self.schema.meant(section, name)),
                );
            } else if let Some(entry) = self.schema.find(&path) {
                self.take(entry, value);
            } else if path == "notify" || self.schema.is_section(&path) {
                match value {
                    Value::Table(inner) => self.walk(inner, &path),
                    _ => self.refuse(&path, self.not_a_section(&path, value)),
                }
            } else {
                self.refuse(
                    &path,
                    format!("unknown key; {}", self.schema.meant(section, name)),
                );
            }
        }
    }

    fn not_a_section(&self, path: &str, value: &Value) -> String {
        let found = Found(value);
        match path {
            "notify" => {
                format!("{found} is not a section; write [notify.ops] with its type below it")
            }
            _ => {
                let keys = self.schema.names_within(path).join(", ");
                format!("{found} is not a section; write [{path}] with its keys: {keys}")
            }
        }
    }

    fn take(&mut self, entry: &Entry, value: &Value) {
        self.written.insert(entry.path.clone());
        match self.setting(entry, value) {
            Ok(setting) => {
                let plain = entry.path.strip_suffix("_file").filter(|_| entry.in_file);
                self.found
                    .insert(plain.unwrap_or(&entry.path).to_owned(), setting);
            }
            Err(problem) => self.refuse(&entry.path, problem),
        }
    }

    fn setting(&self, entry: &Entry, value: &Value) -> Result<Setting, String> {
        let shape = entry.key.shape;
        if entry.in_file {
            let written = value
                .as_str()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| {
                    format!(
                        "{} is not a path; write the path of the file that holds it",
                        Found(value)
                    )
                })?;
            let path = secret::locate(written, self.surroundings.credentials(), self.directory);
            let setting = shape.check(&Value::String(secret::read(&path)?))?;
            return Ok(match setting {
                Setting::Secret(secret) => Setting::Secret(secret.kept_in(path)),
                Setting::Endpoint(endpoint) => Setting::Endpoint(endpoint.kept_in(path)),
                other => other,
            });
        }
        if matches!(shape, Shape::File) {
            let setting = shape.check(value)?;
            return Ok(match (setting, value.as_str()) {
                (Setting::Path(_), Some(written)) => {
                    let credentials = self.surroundings.credentials();
                    Setting::Path(secret::locate(written, credentials, self.directory))
                }
                (other, _) => other,
            });
        }
        if self.variables.contains_key(&entry.path) {
            return shape.check(value);
        }
        let elsewhere = || {
            let name = entry.path.rsplit('.').next().unwrap_or_default();
            let variable = variable_of(&entry.path).to_uppercase();
            format!(
                "a secret in the configuration file; write {name}_file = \"/path/to/it\" or set {PREFIX}{variable}"
            )
        };
        if matches!(shape, Shape::Secret) {
            return Err(elsewhere());
        }
        match shape.check(value)? {
            Setting::Endpoint(endpoint) if endpoint.has_credentials() => Err(elsewhere()),
            setting => Ok(setting),
        }
    }

    fn refuse(&mut self, path: &str, problem: String) {
        self.bad.insert(path.to_owned());
        match self.variables.get(path) {
            Some(variable) => self
                .problems
                .add(format!("{path} (from {variable})"), problem),
            None => self.problems.add(path, problem),
        }
    }
}
