//! What must hold before the agent's unit starts: its conditions, and the programs that run before it.

use super::facts::{Desk, Seen};
use super::start::{agent_of, runnable};
use super::table::says;
use super::unit::{Condition, SPECIFIER, Unit};
use super::{Check, Finding, Verdict};

/// What is there only while the guest runs.
const VOLATILE: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var/run"];

pub(super) fn preconditions(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Preconditions;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let mut findings = conditions(desk, &agent.unit, &agent.path);
    for key in ["ExecCondition", "ExecStartPre"] {
        for (command, may_fail) in agent.unit.commands(key) {
            if may_fail {
                continue;
            }
            if command.program.contains(['%', '$']) {
                let reason = command.unfollowed().unwrap_or(SPECIFIER);
                findings.extend(says(CHECK, Verdict::Unknown, command.program, reason));
                continue;
            }
            let (path, verdict, reason) = runnable(desk, &command.program, key, 0);
            if verdict != Verdict::Pass {
                let reason = format!("{key}: {reason}");
                findings.extend(says(CHECK, verdict, path, reason));
            }
        }
    }
    match findings.is_empty() {
        true => says(
            CHECK,
            Verdict::Pass,
            agent.path,
            "nothing keeps it from starting",
        ),
        false => findings,
    }
}

pub(super) fn conditions(desk: &mut Desk<'_>, unit: &Unit, path: &str) -> Vec<Finding> {
    let (assertions, conditions): (Vec<_>, Vec<_>) = unit
        .conditions()
        .into_iter()
        .map(|condition| (condition, held(desk, &condition)))
        .partition(|(condition, _)| condition.is_assertion());
    let mut findings = together(&conditions, path, "systemd skips the unit");
    findings.extend(together(&assertions, path, "the start fails"));
    findings
}

/// Each must hold, and of those that are triggers one.
fn together(all: &[(Condition<'_>, Option<bool>)], path: &str, follows: &str) -> Vec<Finding> {
    let says = |verdict, reason| Finding::new(Check::Preconditions, verdict, path, reason);
    let untold = |condition: &Condition<'_>| format!("{condition}: the image alone does not tell");
    let mut findings = Vec::new();
    let (triggers, each): (Vec<_>, Vec<_>) =
        all.iter().partition(|(condition, _)| condition.is_trigger);
    for (condition, held) in each {
        match held {
            Some(true) => {}
            Some(false) => findings.push(says(
                Verdict::Fail,
                format!("{condition} does not hold: {follows}"),
            )),
            None => findings.push(says(Verdict::Unknown, untold(&condition))),
        }
    }
    if triggers.iter().any(|(_, held)| *held == Some(true)) {
        return findings;
    }
    match triggers.iter().find(|(_, held)| held.is_none()) {
        Some((condition, _)) => findings.push(says(Verdict::Unknown, untold(condition))),
        None if triggers.is_empty() => {}
        None => {
            let names: Vec<String> = triggers.iter().map(|(one, _)| one.to_string()).collect();
            let reason = format!("none of {} holds: {follows}", names.join(", "));
            findings.push(says(Verdict::Fail, reason));
        }
    }
    findings
}

/// `None`: it is not about what the image holds.
fn held(desk: &mut Desk<'_>, condition: &Condition<'_>) -> Option<bool> {
    let path = condition.value;
    if !path.starts_with('/') || path.contains('%') || is_volatile(path) {
        return None;
    }
    let seen = match condition.of() {
        "DirectoryNotEmpty" => desk.list(path),
        "PathExists" | "PathIsDirectory" | "FileNotEmpty" | "FileIsExecutable" => desk.stat(path),
        _ => return None,
    };
    let is = match (condition.of(), seen) {
        (_, Seen::Unreadable(_)) => return None,
        // As `/etc/resolv.conf` does.
        (_, Seen::Broken { target, .. }) if leads_to_volatile(target) => return None,
        ("PathExists", seen) => !matches!(seen, Seen::Absent | Seen::Broken { .. }),
        ("PathIsDirectory", Seen::Folder(_)) => true,
        ("FileNotEmpty", Seen::File(file)) => file.size > 0,
        ("FileIsExecutable", Seen::File(file)) => file.is_executable,
        ("DirectoryNotEmpty", Seen::Folder(names)) => !names.is_empty(),
        _ => false,
    };
    Some(is != condition.is_negated)
}

pub(super) fn is_volatile(path: &str) -> bool {
    VOLATILE.iter().any(|folder| {
        let within = path.strip_prefix(folder);
        within.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn leads_to_volatile(target: &str) -> bool {
    let mut from_root = target;
    while let Some(rest) = from_root.strip_prefix("../") {
        from_root = rest;
    }
    is_volatile(&format!("/{}", from_root.trim_start_matches('/')))
}
