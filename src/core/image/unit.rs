//! A systemd unit's text, as far as a start depends on it.

use std::fmt;

/// Directives in their order, of the unit and its drop-ins.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    directives: Vec<(String, String, String)>,
}

/// A program that a unit starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    /// It runs as root, whoever the unit's user is: `+` or `!` stands before it.
    pub(super) is_privileged: bool,
}

/// `ConditionPathExists=|!/x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition<'a> {
    key: &'a str,
    pub(super) value: &'a str,
    /// One of all triggers must hold.
    pub(super) is_trigger: bool,
    pub(super) is_negated: bool,
}

const FAMILIES: [&str; 2] = ["Condition", "Assert"];

/// Why a name with one is not looked for.
pub(super) const SPECIFIER: &str = "named by a specifier of systemd, which is not followed";
/// A hostile unit may be a megabyte of directives.
const MAX_DIRECTIVES: usize = 2_000;

impl Unit {
    pub(super) fn read(&mut self, text: &str) {
        let mut section = String::new();
        let mut pending = String::new();
        for line in text.lines() {
            let line = line.trim();
            // A comment within a continued line is skipped, and the line goes on.
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(continued) = line.strip_suffix('\\') {
                pending.push_str(continued);
                pending.push(' ');
                continue;
            }
            pending.push_str(line);
            let whole = std::mem::take(&mut pending);
            let whole = whole.trim();
            if let Some(name) = whole
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = name.to_owned();
            } else if let Some((key, value)) = whole.split_once('=')
                && self.directives.len() < MAX_DIRECTIVES
            {
                self.directives.push((
                    section.clone(),
                    key.trim().to_owned(),
                    value.trim().to_owned(),
                ));
            }
        }
    }

    /// All values of a list; an empty one begins it anew.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for (_, _, value) in self
            .directives
            .iter()
            .filter(|(within, name, _)| within == section && name == key)
        {
            match value.as_str() {
                "" => values.clear(),
                value => values.push(value),
            }
        }
        values
    }

    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.all(section, key).pop()
    }

    /// A switch, as systemd reads one.
    pub(super) fn is_on(&self, section: &str, key: &str) -> bool {
        let yes = ["1", "yes", "y", "true", "t", "on"];
        let value = self.last(section, key);
        value.is_some_and(|value| yes.iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }

    /// Names of units behind a directive such as `After`.
    pub(super) fn units(&self, key: &str) -> Vec<&str> {
        self.all("Unit", key)
            .into_iter()
            .flat_map(str::split_ascii_whitespace)
            .collect()
    }

    /// What `ExecStart` runs.
    pub(super) fn starts(&self) -> Option<Command> {
        let line = self.last("Service", "ExecStart")?;
        command(line).map(|(command, _)| command)
    }

    /// What runs by such a directive, and whether it may fail.
    pub(super) fn commands(&self, key: &str) -> Vec<(Command, bool)> {
        let lines = self.all("Service", key).into_iter();
        lines.filter_map(command).collect()
    }

    /// What must hold for a start. An empty one begins its family anew.
    pub(super) fn conditions(&self) -> Vec<Condition<'_>> {
        let mut conditions: Vec<Condition<'_>> = Vec::new();
        for (section, key, value) in &self.directives {
            let Some(family) = FAMILIES.iter().find(|family| key.starts_with(**family)) else {
                continue;
            };
            if section != "Unit" {
                continue;
            }
            let unmarked = value.strip_prefix('|').unwrap_or(value);
            match value.as_str() {
                "" => conditions.retain(|other| !other.key.starts_with(family)),
                _ => conditions.push(Condition {
                    key,
                    value: unmarked.trim_start_matches('!').trim(),
                    is_trigger: value.starts_with('|'),
                    is_negated: unmarked.starts_with('!'),
                }),
            }
        }
        conditions
    }

    /// A service that is none has one `ExecStart`: systemd refuses one with more.
    pub(super) fn is_refused(&self) -> bool {
        let kind = self.last("Service", "Type").unwrap_or("simple");
        kind != "oneshot" && self.all("Service", "ExecStart").len() > 1
    }
}

impl Condition<'_> {
    /// A start fails by it; by another the unit is skipped.
    pub(super) fn is_assertion(&self) -> bool {
        self.key.starts_with("Assert")
    }

    /// What it asks: `PathExists`.
    pub(super) fn of(&self) -> &str {
        let family = FAMILIES
            .iter()
            .find_map(|family| self.key.strip_prefix(family));
        family.unwrap_or(self.key)
    }
}

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trigger = if self.is_trigger { "|" } else { "" };
        let negated = if self.is_negated { "!" } else { "" };
        write!(f, "{}={trigger}{negated}{}", self.key, self.value)
    }
}

/// A command line, and whether what it runs may fail.
fn command(line: &str) -> Option<(Command, bool)> {
    let mut words = words(line).into_iter();
    let named = words.next()?;
    let program = named.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let marks = named.strip_suffix(program).unwrap_or_default();
    if marks.contains('@') {
        // What the program is told to be called.
        words.next();
    }
    let command = Command {
        program: program.to_owned(),
        arguments: words.collect(),
        is_privileged: marks.contains(['+', '!']),
    };
    let command = match command.program.ends_with("/env") {
        true => Command {
            is_privileged: command.is_privileged,
            ..behind_env(command.arguments)?
        },
        false => command,
    };
    Some((command, marks.contains('-')))
}

/// `/usr/bin/env -S -u C A=b node x` runs what follows its own settings.
fn behind_env(arguments: Vec<String>) -> Option<Command> {
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-u" | "--unset" | "-C" | "--chdir" => drop(words.next()),
            own if own.starts_with('-') || own.contains('=') => {}
            _ => {
                return Some(Command {
                    program: word,
                    arguments: words.collect(),
                    is_privileged: false,
                });
            }
        }
    }
    None
}

/// Cuts a command line into words, as systemd does: quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == character => quote = None,
            (None, character) if character.is_whitespace() => words.extend(word.take()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// What an interpreter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given<'a> {
    Script(&'a str),
    /// As `sh -c 'exec node x'` is.
    Code,
    Nothing,
}

/// What an option of an interpreter means for what it runs.
enum Means {
    Code,
    TakesValue,
    EndsOptions,
    Nothing,
}

fn of_node(option: &str) -> Means {
    match option.split_once('=').map_or(option, |(name, _)| name) {
        "-e" | "--eval" | "-p" | "--print" | "-pe" => Means::Code,
        _ if option.contains('=') => Means::Nothing,
        "-r"
        | "--require"
        | "--import"
        | "--loader"
        | "--experimental-loader"
        | "-C"
        | "--conditions" => Means::TakesValue,
        "--" => Means::EndsOptions,
        _ => Means::Nothing,
    }
}

fn of_shell(option: &str) -> Means {
    match option {
        "--" => Means::EndsOptions,
        "--rcfile" | "--init-file" => Means::TakesValue,
        _ if option.starts_with("--") => Means::Nothing,
        // `-euo pipefail`; the code of `-c` comes behind all options.
        _ if option.starts_with('-') && option.contains('c') => Means::Code,
        _ if option.ends_with(['o', 'O']) => Means::TakesValue,
        _ => Means::Nothing,
    }
}

fn of_python(option: &str) -> Means {
    match option {
        "-c" | "-m" => Means::Code,
        "-W" | "-X" => Means::TakesValue,
        _ => Means::Nothing,
    }
}

impl Command {
    /// The script that an interpreter is given.
    pub(super) fn script(&self) -> Option<&str> {
        match self.given() {
            Given::Script(script) => Some(script),
            Given::Code | Given::Nothing => None,
        }
    }

    /// What an interpreter is given, by its options.
    fn given(&self) -> Given<'_> {
        let option: fn(&str) -> Means = match self.name() {
            "node" | "nodejs" => of_node,
            "bash" | "sh" | "dash" => of_shell,
            "python3" => of_python,
            _ => return Given::Nothing,
        };
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let means = match argument.starts_with(['-', '+']) && argument.len() > 1 {
                true => option(argument),
                false => return Given::Script(argument),
            };
            match means {
                Means::Code => return Given::Code,
                Means::TakesValue => drop(arguments.next()),
                Means::EndsOptions => {
                    return arguments
                        .next()
                        .map_or(Given::Nothing, |script| Given::Script(script));
                }
                Means::Nothing => {}
            }
        }
        Given::Nothing
    }

    /// Why it cannot be told from here what runs.
    pub(super) fn unfollowed(&self) -> Option<&'static str> {
        let script = self.script().unwrap_or_default();
        match () {
            () if [&self.program, script]
                .iter()
                .any(|name| name.contains('%')) =>
            {
                Some(SPECIFIER)
            }
            () if [&self.program, script]
                .iter()
                .any(|name| name.contains('$')) =>
            {
                Some("named by a variable, which is not followed")
            }
            () if self.given() == Given::Code => {
                Some("code in the unit itself, which is not followed")
            }
            () => None,
        }
    }

    fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn is_shell(&self) -> bool {
        let name = self.name();
        ["bash", "sh", "dash"].contains(&name) || name.ends_with(".sh")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        let mut unit = Unit::default();
        unit.read(text);
        unit
    }

    #[test]
    fn what_a_unit_starts_is_read_as_systemd_reads_it() {
        for (line, program, script) in [
            (
                "/usr/bin/node /opt/a/server.js",
                "/usr/bin/node",
                Some("/opt/a/server.js"),
            ),
            (
                "-/opt/a/node --max-old-space-size=64 /opt/a/s.js",
                "/opt/a/node",
                Some("/opt/a/s.js"),
            ),
            (
                "\"/opt/my agent/node\" 's.js'",
                "/opt/my agent/node",
                Some("s.js"),
            ),
            ("/usr/bin/env A=b node /x.js", "node", Some("/x.js")),
            ("/usr/bin/env -u A node /x.js", "node", Some("/x.js")),
            ("@/usr/bin/node agent /x.js", "/usr/bin/node", Some("/x.js")),
            (
                "/usr/bin/node -r dotenv/config --import ./a.mjs /x.js",
                "/usr/bin/node",
                Some("/x.js"),
            ),
            ("/bin/bash -lc 'node /x.js'", "/bin/bash", None),
            ("/bin/bash -e -o pipefail /x.sh", "/bin/bash", Some("/x.sh")),
            ("/opt/a/start-all.sh now", "/opt/a/start-all.sh", None),
            (
                "/bin/bash /opt/a/supervisor.sh",
                "/bin/bash",
                Some("/opt/a/supervisor.sh"),
            ),
        ] {
            let command = unit(&format!("[Service]\nExecStart={line}\n"))
                .starts()
                .unwrap();
            assert_eq!(command.program, program, "{line}");
            assert_eq!(command.script(), script, "{line}");
        }
        assert_eq!(unit("[Service]\nExecStart=\n").starts(), None);
        for (line, followed) in [
            ("/usr/bin/node /opt/a/server.js", true),
            ("/usr/bin/node ${HOME}/server.js", false),
            ("/usr/bin/node /opt/%p/server.js", false),
            ("/bin/sh -c 'exec node x.js'", false),
            ("/usr/bin/node -e 1", false),
            ("/bin/bash --norc /x.sh -c", true),
            ("/bin/bash -euo pipefail -c 'exec node x.js'", false),
            ("/bin/bash -euo pipefail /x.sh", true),
            ("/usr/bin/node --eval 1", false),
            ("/usr/bin/node -r ./x -e 1", false),
            ("/usr/bin/python3 -m agent", false),
        ] {
            let command = unit(&format!("[Service]\nExecStart={line}\n"))
                .starts()
                .unwrap();
            assert_eq!(command.unfollowed().is_none(), followed, "{line}");
        }
    }

    #[test]
    fn lines_go_on_comments_do_not_count_and_an_empty_value_begins_anew() {
        let unit = unit(
            "[Unit]\nAfter=a.service \\\n# not this\n  b.service\n;nor=this\nAfter=c.target\n\
             [Service]\nExecStart=/old\nExecStart=\nExecStart=/new\n",
        );
        assert_eq!(unit.units("After"), ["a.service", "b.service", "c.target"]);
        assert_eq!(unit.starts().unwrap().program, "/new");
    }
}
