//! What the unit's start depends on: its folder, its environment, other units.

use super::conditions::is_volatile;
use super::facts::{Desk, Seen};
use super::online::{ONLINE, nobody_waits};
use super::start::{agent_of, script_at};
use super::table::{cannot_read, says};
use super::unit::{SPECIFIER, Unit};
use super::units::is_unit;
use super::{Check, Finding, Verdict};

/// Folders that a unit has made at its start, and where.
const MADE: &[(&str, &str)] = &[
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("ConfigurationDirectory", "/etc"),
];
const WHILE_IT_RUNS: &str =
    "made only while the guest runs: the image alone does not tell whether it is";
/// What a supervisor's script reads by itself.
const ENVIRONMENT: &str = "/etc/environment";
/// A line that takes only some of the file's lines is not killed by the others.
const SKIPS: &[&str] = &["grep", "sed", "awk"];

pub(super) fn working_directory(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::WorkingDirectory;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let Some(folder) = agent.unit.last("Service", "WorkingDirectory") else {
        return says(CHECK, Verdict::Pass, agent.path, "none is set");
    };
    if !folder.starts_with('/') {
        return says(CHECK, Verdict::Pass, agent.path, "none that must exist");
    }
    if folder.contains('%') {
        return says(CHECK, Verdict::Unknown, folder, SPECIFIER);
    }
    match desk.stat(folder) {
        Seen::Folder(_) => says(CHECK, Verdict::Pass, folder, "there"),
        Seen::Unreadable(_) => cannot_read(CHECK, folder),
        Seen::Absent if is_made(&agent.unit, folder) => says(
            CHECK,
            Verdict::Pass,
            folder,
            "the unit's own start makes it",
        ),
        _ if is_volatile(folder) => says(CHECK, Verdict::Unknown, folder, WHILE_IT_RUNS),
        _ => {
            let reason = format!(
                "not a folder, and {} begins in it: its start fails",
                agent.path
            );
            says(CHECK, Verdict::Fail, folder, reason)
        }
    }
}

/// systemd makes such folders before it enters one.
fn is_made(unit: &Unit, folder: &str) -> bool {
    MADE.iter().any(|(key, base)| {
        let within = folder.strip_prefix(base);
        let within = within.and_then(|rest| rest.strip_prefix('/'));
        within.is_some_and(|wanted| {
            let named = unit.all("Service", key);
            let mut named = named.into_iter().flat_map(str::split_ascii_whitespace);
            named.any(|name| {
                // A colon leads to another name of it.
                let name = name.split(':').next().unwrap_or_default();
                let rest = name.strip_prefix(wanted.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
    })
}

pub(super) fn ordering(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Ordering;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let unit = &agent.unit;
    let mut findings = Vec::new();
    let named = ["After", "Wants", "Requires", "BindsTo", "Requisite"];
    let waits = named.iter().find(|key| unit.units(key).contains(&ONLINE));
    if let Some(key) = waits
        && let Some(why) = nobody_waits(desk)
    {
        let reason = format!("{key}={ONLINE}, and {why}: the target is never reached");
        findings.extend(says(CHECK, Verdict::Fail, agent.path.as_str(), reason));
    }
    for key in ["Requires", "BindsTo", "Requisite"] {
        for required in unit.units(key) {
            if required.ends_with(".service") && !is_unit(desk, required) {
                let reason =
                    format!("{key}={required}, and there is no such unit: the start fails");
                findings.extend(says(CHECK, Verdict::Fail, agent.path.as_str(), reason));
            }
        }
    }
    match findings.is_empty() {
        true => says(
            CHECK,
            Verdict::Pass,
            agent.path,
            "waits for nothing that never comes",
        ),
        false => findings,
    }
}

pub(super) fn environment(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Environment;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let supervised = agent
        .unit
        .starts()
        .is_some_and(|command| command.is_shell());
    let files: Vec<String> = agent
        .unit
        .all("Service", "EnvironmentFile")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut findings = Vec::new();
    if let Some((script, dies)) = reading_script(desk, &agent.unit)
        && !files
            .iter()
            .any(|named| named.trim_start_matches('-') == ENVIRONMENT)
        && let Seen::File(file) = desk.text(ENVIRONMENT)
    {
        let bad = lines_of(ENVIRONMENT, &file.text, true);
        let bad = bad.into_iter().filter(|bad| bad.verdict == Verdict::Fail);
        findings.extend(bad.map(|mut bad| {
            if dies {
                bad.reason = format!("{} ({script} reads it)", bad.reason);
            } else {
                bad.verdict = Verdict::Warn;
                bad.reason = format!(
                    "has comments, and {script} sources it: a shell passes over them, other supervisors died of them"
                );
            }
            bad
        }));
    }
    for named in &files {
        let path = named.trim_start_matches('-');
        if path.contains(['%', '*', '?']) {
            findings.extend(says(
                CHECK,
                Verdict::Unknown,
                path,
                "a pattern, which is not followed",
            ));
            continue;
        }
        match desk.text(path) {
            Seen::File(file) => findings.extend(lines_of(path, &file.text, supervised)),
            Seen::Unreadable(_) => {
                findings.extend(cannot_read(CHECK, path));
            }
            _ if named.starts_with('-') => {}
            _ if is_volatile(path) => {
                findings.extend(says(CHECK, Verdict::Unknown, path, WHILE_IT_RUNS));
            }
            _ => {
                let reason = format!("not there, and {} needs it: its start fails", agent.path);
                findings.extend(says(CHECK, Verdict::Fail, path, reason));
            }
        }
    }
    match (findings.is_empty(), files.as_slice()) {
        (false, _) => findings,
        (true, []) => says(
            CHECK,
            Verdict::Pass,
            agent.path,
            "no EnvironmentFile is needed",
        ),
        (true, [file, ..]) => says(CHECK, Verdict::Pass, file.trim_start_matches('-'), "fine"),
    }
}

/// The shell's script that the agent is started by, if it reads the environment's file by itself, and whether comments
/// kill it: not where it is sourced as a script of the shell's own.
fn reading_script(desk: &mut Desk<'_>, unit: &Unit) -> Option<(String, bool)> {
    let command = unit.starts()?;
    let script = match script_at(unit) {
        Some(script) => script,
        None => command.program.clone(),
    };
    if !command.is_shell() || !script.starts_with('/') {
        return None;
    }
    let Seen::File(file) = desk.text(&script) else {
        return None;
    };
    let lines = file.text.lines().map(str::trim).filter(|line| {
        let takes_some = SKIPS.iter().any(|skips| line.contains(skips));
        !line.starts_with('#') && line.contains(ENVIRONMENT) && !takes_some
    });
    let sources = |line: &str| {
        let words = line
            .split([' ', ';', '&', '\t'])
            .filter(|word| !word.is_empty());
        let words: Vec<&str> = words.collect();
        words
            .windows(2)
            .any(|pair| matches!(pair, ["." | "source", ENVIRONMENT]))
    };
    let dies: Vec<bool> = lines.map(|line| !sources(line)).collect();
    (!dies.is_empty()).then(|| (script, dies.contains(&true)))
}

/// What is wrong with an environment file's lines. They may hold secrets, so only their numbers are told.
fn lines_of(path: &str, text: &str, supervised: bool) -> Vec<Finding> {
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        let is_comment = line.starts_with(['#', ';']);
        if is_comment && supervised {
            let reason =
                format!("line {number} is a comment, on which the supervisor's script dies");
            return says(Check::Environment, Verdict::Fail, path, reason);
        }
        let is_setting = line.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        });
        if !line.is_empty() && !is_comment && !is_setting {
            let reason = format!("line {number} is no setting (NAME=value), and is ignored");
            return says(Check::Environment, Verdict::Warn, path, reason);
        }
    }
    Vec::new()
}
