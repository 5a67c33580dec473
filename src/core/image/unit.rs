//! A systemd unit's text, as far as a start depends on it.

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
}

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

    /// Names of units behind a directive such as `After`.
    pub(super) fn units(&self, key: &str) -> Vec<&str> {
        self.all("Unit", key)
            .into_iter()
            .flat_map(str::split_ascii_whitespace)
            .collect()
    }

    /// What `ExecStart` runs; a service has one, and the last wins where it has more.
    pub(super) fn starts(&self) -> Option<Command> {
        let line = self.last("Service", "ExecStart")?;
        let mut words = words(line).into_iter();
        let program = words.next()?;
        let program = program.trim_start_matches(['-', '@', ':', '+', '!', '|']);
        let mut command = Command {
            program: program.to_owned(),
            arguments: words.collect(),
        };
        // `/usr/bin/env -S A=b node x` runs what follows its own settings.
        if command.program.ends_with("/env") {
            let own = |word: &String| word.starts_with('-') || word.contains('=');
            let mut rest = command.arguments.into_iter().skip_while(own);
            command = Command {
                program: rest.next()?,
                arguments: rest.collect(),
            };
        }
        Some(command)
    }
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

impl Command {
    /// The script that an interpreter is given.
    pub(super) fn script(&self) -> Option<&str> {
        let name = self.program.rsplit('/').next().unwrap_or_default();
        let interprets = ["node", "nodejs", "bash", "sh", "dash", "python3"].contains(&name);
        let mut arguments = self.arguments.iter();
        arguments
            .find(|argument| !argument.starts_with('-'))
            .filter(|_| interprets)
            .map(String::as_str)
    }

    pub(super) fn is_shell(&self) -> bool {
        let name = self.program.rsplit('/').next().unwrap_or_default();
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
