//! The configuration explained, written from the table of keys: the example file and the list of every key.

use super::keys::{Fallback, KEYS, Key, SECTIONS};
use super::notify::{KINDS, Kind, TYPE};
use super::shape::Shape;

/// A configuration that holds every key with its default; what has none stands in a comment.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# The configuration of bootwatch: every key, with its default. Only [log] needs a value.\n\
         # docs/configuration.md says what each key takes.\n",
    );
    for (section, purpose) in SECTIONS {
        text.push_str(&format!("\n# {purpose}\n[{section}]\n"));
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            text.push_str(&format!("# {}\n", wrapped(&key.doc.replace('`', ""), "# ")));
            let name = key.name();
            text.push_str(&match key.default {
                Fallback::Value(value) => format!("{name} = {value}\n"),
                Fallback::Needed { example } => format!("{name} = {example}\n"),
                // A secret's example is the file that holds it.
                Fallback::Absent { otherwise, .. } if key.shape.may_be_in_a_file() => format!(
                    "# Without it: {otherwise}.\n# {name}_file = \"/etc/bootwatch/{}\"\n",
                    key.path
                ),
                Fallback::Absent { example, otherwise } => {
                    let file = if key.shape.may_be_in_a_file() {
                        "_file"
                    } else {
                        ""
                    };
                    format!(
                        "# Without it: {}.\n# {name}{file} = {example}\n",
                        otherwise.replace('`', "")
                    )
                }
            });
        }
    }
    for kind in KINDS {
        text.push_str(&example_of_kind(kind));
    }
    text
}

fn example_of_kind(kind: &Kind) -> String {
    let mut text = format!(
        "\n# A notifier of the kind {0}; its name is free.\n# [notify.{0}]\n",
        kind.name
    );
    text.push_str(&format!("# type = \"{}\"\n", kind.name));
    for key in kind.keys {
        text.push_str(&match key.default {
            Fallback::Value(value) => format!("# {} = {value}\n", key.path),
            Fallback::Needed { .. } if matches!(key.shape, Shape::Secret) => {
                format!("# {}_file = \"/etc/bootwatch/{}\"\n", key.path, key.path)
            }
            Fallback::Needed { example } => format!("# {} = {example}\n", key.path),
            Fallback::Absent { .. } if key.shape.may_be_in_a_file() => {
                format!("# {}_file = \"/etc/bootwatch/{}\"\n", key.path, key.path)
            }
            Fallback::Absent { example, .. } => format!("# {} = {example}\n", key.path),
        });
    }
    text
}

/// Every key as Markdown: its type, range and default.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for (section, purpose) in SECTIONS {
        text.push_str(&format!("### `[{section}]`\n\n{purpose}\n\n"));
        text.push_str(&rows(KEYS.iter().filter(|key| key.section() == *section)));
    }
    for kind in KINDS {
        text.push_str(&format!(
            "### `[notify.<name>]` with `type = \"{}\"`\n\n",
            kind.name
        ));
        text.push_str(&rows(std::iter::once(&TYPE).chain(kind.keys)));
    }
    text
}

fn rows<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    let mut text = String::from("| key | takes | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match key.default {
            Fallback::Value(value) => format!("`{value}`"),
            Fallback::Absent { otherwise, .. } => otherwise.to_owned(),
            Fallback::Needed { .. } => "needed".to_owned(),
        };
        text.push_str(&format!(
            "| `{}` | {} | {default} | {} |\n",
            key.name(),
            key.shape,
            key.doc
        ));
    }
    text.push('\n');
    text
}

/// Lines of at most 110 characters.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if lines[last].chars().count() + word.chars().count() < 110 {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Surroundings, parse};
    use super::*;

    const START: &str = "<!-- keys: written by `BLESS=1 cargo test config::manual` -->\n";
    const END: &str = "<!-- end of keys -->\n";

    /// Compares a file with what it should hold; with BLESS set, writes it.
    fn equal(file: &str, expected: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "{file} is not what the table of keys says; run BLESS=1 cargo test config::manual"
        );
    }

    fn surroundings() -> Surroundings {
        Surroundings {
            environment: Vec::new(),
            host_name: Some("controller-1".to_owned()),
        }
    }

    #[test]
    fn the_example_file_is_written_from_the_table() {
        equal("config.example.toml", &example());
    }

    #[test]
    fn the_example_file_is_the_defaults() {
        // Who wrote a value is told by `shown`, and is not the same here.
        let read = |text: &str| Config {
            shown: Vec::new(),
            ..parse("bootwatch.toml", text, Path::new("/"), &surroundings()).unwrap()
        };
        let shortest = "[log]\nfile = \"/var/log/polydev/master-controller.log\"\n";
        assert_eq!(read(&example()), read(shortest));
    }

    #[test]
    fn the_list_of_keys_is_written_from_the_table() {
        let file = "docs/configuration.md";
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let (before, rest) = text.split_once(START).expect("the list's start is marked");
        let (_, after) = rest.split_once(END).expect("the list's end is marked");
        equal(file, &format!("{before}{START}\n{}{END}{after}", list()));
    }
}
