//! What the unit's start depends on: its folder, its environment, other units.

use super::facts::{Desk, Seen};
use super::online::{ONLINE, Waiting, waiting};
use super::start::agent_of;
use super::table::says;
use super::unit::SPECIFIER;
use super::units::FOLDERS;
use super::{Check, Finding, Verdict};

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
        Seen::Unreadable(_) => says(CHECK, Verdict::Unknown, folder, "cannot be read"),
        _ => {
            let reason = format!(
                "not a folder, and {} begins in it: its start fails",
                agent.path
            );
            says(CHECK, Verdict::Fail, folder, reason)
        }
    }
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
        && let Waiting::Nobody(why) = waiting(desk)
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

/// Is there a unit of this name, or the template that it is made from?
pub(super) fn is_unit(desk: &mut Desk<'_>, name: &str) -> bool {
    let template = name
        .split_once('@')
        .and_then(|(stem, rest)| Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1)));
    FOLDERS.iter().any(|folder| {
        desk.is_file(&format!("{folder}/{name}"))
            || template
                .as_ref()
                .is_some_and(|template| desk.is_file(&format!("{folder}/{template}")))
    })
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
                findings.extend(says(CHECK, Verdict::Unknown, path, "cannot be read"));
            }
            _ if named.starts_with('-') => {}
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
