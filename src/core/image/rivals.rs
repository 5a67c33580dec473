//! Does something else want the agent's port? Units of an older controller stay enabled beside the one in use, and
//! whichever comes first has the port.

use super::agent::AGENTS;
use super::conditions;
use super::facts::{Desk, Seen};
use super::start::{Agent, UNITS, script_at};
use super::unit::Unit;
use super::units::{FOLDERS, PULLS, installed, is_copy, pull_of, whole};
use super::{Check, Finding, Verdict};

/// Of units that are wanted at boot, so many are read.
const MAX_UNITS: usize = 256;

/// Each other unit that is enabled and starts something on the agent's port.
pub(super) fn rivals(desk: &mut Desk<'_>, agent: &Agent) -> Vec<Finding> {
    let names = wanted(desk);
    // All is asked for at once.
    let seen: Vec<_> = names
        .into_iter()
        .map(|name| {
            let found = installed(desk, &name);
            (name, found)
        })
        .collect();
    let mut met = vec![agent.resolved.clone()];
    let mut findings = Vec::new();
    for (name, found) in seen {
        let Some((path, Seen::File(file))) = found else {
            continue;
        };
        // One unit under two names is one.
        if met.contains(&file.resolved) {
            continue;
        }
        let unit = whole(desk, &name, file);
        let Some(starts) = wants_the_port(desk, &name, &unit, agent) else {
            continue;
        };
        if !is_enabled(desk, &name) || is_kept(desk, &unit, &path) {
            continue;
        }
        met.push(file.resolved.clone());
        let reason = format!(
            "{} is enabled, and so is {name} ({path}), which starts {starts}: both want port 8080, and one of them does not get it",
            agent.name
        );
        findings.push(Finding::new(
            Check::Unit,
            Verdict::Warn,
            agent.path.as_str(),
            reason,
        ));
    }
    findings
}

/// Names of services that the target wants.
fn wanted(desk: &mut Desk<'_>) -> Vec<String> {
    let mut names: Vec<String> = UNITS.iter().map(|name| (*name).to_owned()).collect();
    for folder in FOLDERS {
        for pulls in PULLS {
            let found = desk.names(&format!("{folder}/{pulls}")).iter();
            let services = found.filter(|name| name.ends_with(".service"));
            names.extend(services.take(MAX_UNITS).cloned());
        }
    }
    names.sort();
    names.dedup();
    names.truncate(MAX_UNITS);
    names
}

fn is_enabled(desk: &mut Desk<'_>, name: &str) -> bool {
    match pull_of(desk, name) {
        Some((_, Seen::File(file))) => !is_copy(&file.resolved),
        _ => false,
    }
}

/// What it starts, if that is an agent: one of ours by its place, or whatever a unit of such a name starts.
fn wants_the_port(desk: &mut Desk<'_>, name: &str, unit: &Unit, agent: &Agent) -> Option<String> {
    let command = unit.starts()?;
    let script = script_at(unit);
    let is_named = UNITS.contains(&name);
    let ours = script_at(&agent.unit);
    let is_agent = script.as_ref().is_some_and(|script| {
        AGENTS.contains(&script.as_str())
            || (script.ends_with(".js") && ours.as_ref() == Some(script))
    });
    if !is_named && !is_agent {
        return None;
    }
    let starts = script.unwrap_or(command.program);
    // What is not there binds nothing.
    let is_missing =
        starts.starts_with('/') && matches!(desk.stat(&starts), Seen::Absent | Seen::Broken { .. });
    (!is_missing).then_some(starts)
}

/// Does a condition keep it from starting?
fn is_kept(desk: &mut Desk<'_>, unit: &Unit, path: &str) -> bool {
    let findings = conditions::conditions(desk, unit, path);
    findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Fail)
}
