//! Does anything start the agent? The unit, its enabling, the program and its script; `needs` has what else it depends on.

use super::agent::OBSOLETE;
use super::facts::{Content, Desk, File, Seen};
use super::reach::{READ, RUN, barrier};
use super::rivals::rivals;
use super::table::{cannot_read, says};
use super::unit::{Command, SPECIFIER, Unit};
use super::units::{FOLDERS, PULLS, installed, is_copy, is_null, pull_of, whole};
use super::{Check, Finding, UNREAD, Verdict};

/// Names of the agent's unit, the usual one first.
pub(super) const UNITS: &[&str] = &[
    "vm-browser-agent.service",
    "oauth-agent.service",
    "vm-agent.service",
    "vm-api.service",
];
/// For documentation: any program is accepted that exists and can be run.
pub(super) const PROGRAMS: &[&str] = &[
    "`/usr/bin/node`",
    "`/opt/vm-browser-agent/node`",
    "`/opt/vm-browser-agent/start-all.sh`",
    "`/bin/bash` with `supervisor.sh`",
    "any other program",
];
const NODES: &[&str] = &[
    "/usr/bin/node",
    "/opt/vm-browser-agent/node",
    "/usr/local/bin/node",
];
/// Where a program without a path is looked for.
const PATH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The agent's unit.
pub(super) struct Agent {
    pub(super) name: &'static str,
    pub(super) path: String,
    /// Where its links lead.
    pub(super) resolved: String,
    pub(super) unit: Unit,
}

enum Found {
    Unit(Box<Agent>),
    Nothing,
    /// There, but no unit: why.
    Spoilt(String, String),
    Unreadable(String),
}

/// The first that is enabled and can be read, else the first that is enabled, else the first.
fn found(desk: &mut Desk<'_>) -> Found {
    // All is asked for at once: what is not looked at yet can be neither chosen nor passed over.
    let asked: Vec<_> = UNITS
        .iter()
        .map(|name| {
            let installed = installed(desk, name);
            (*name, installed, pull_of(desk, name).is_some())
        })
        .collect();
    let (mut enabled, mut first) = (None, None);
    for (name, installed, is_enabled) in asked {
        let Some((path, seen)) = installed else {
            continue;
        };
        let this = match seen {
            Seen::File(file) => Found::Unit(Box::new(Agent {
                name,
                path,
                resolved: file.resolved.clone(),
                unit: whole(desk, name, file),
            })),
            seen if is_null(seen) => {
                Found::Spoilt(path, "masked: systemd will never start it".to_owned())
            }
            Seen::Broken { link, target, how } => {
                let reason = format!("{link} {}", how.says(target));
                Found::Spoilt(path, reason)
            }
            Seen::Unreadable(_) => Found::Unreadable(path),
            Seen::Absent | Seen::Folder(_) | Seen::Other { .. } => {
                Found::Spoilt(path, "not a file".to_owned())
            }
        };
        match (&this, is_enabled) {
            (Found::Unit(_), true) => return this,
            (_, true) => drop(enabled.get_or_insert(this)),
            (_, false) => drop(first.get_or_insert(this)),
        }
    }
    enabled.or(first).unwrap_or(Found::Nothing)
}

/// The script that the agent's unit starts, as an absolute path.
pub(super) fn script_of(desk: &mut Desk<'_>) -> Option<String> {
    match found(desk) {
        Found::Unit(agent) => script_at(&agent.unit),
        _ => None,
    }
}

/// The script that a unit starts, as an absolute path.
pub(super) fn script_at(unit: &Unit) -> Option<String> {
    let command = unit.starts()?;
    let script = command.script()?;
    if script.starts_with('/') {
        return Some(script.to_owned());
    }
    let folder = unit.last("Service", "WorkingDirectory")?;
    Some(format!(
        "{}/{script}",
        folder.trim_start_matches('-').trim_end_matches('/')
    ))
}

pub(super) fn unit(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Unit;
    match found(desk) {
        Found::Unit(agent) if agent.unit.starts().is_none() => says(
            CHECK,
            Verdict::Fail,
            agent.path,
            "has no ExecStart: it starts nothing",
        ),
        Found::Unit(agent) if agent.unit.is_refused() => says(
            CHECK,
            Verdict::Fail,
            agent.path,
            "has more than one ExecStart, of which only a oneshot service may have more: systemd refuses it",
        ),
        Found::Unit(agent) => match rivals(desk, &agent) {
            rivals if rivals.is_empty() => {
                says(CHECK, Verdict::Pass, agent.path, "starts the agent")
            }
            rivals => rivals,
        },
        Found::Nothing => {
            let reason = format!(
                "no unit starts the agent: neither this nor {}",
                UNITS[1..].join(" nor ")
            );
            says(
                CHECK,
                Verdict::Fail,
                format!("{}/{}", FOLDERS[0], UNITS[0]),
                reason,
            )
        }
        Found::Spoilt(path, reason) => says(CHECK, Verdict::Fail, path, reason),
        Found::Unreadable(path) => cannot_read(CHECK, path),
    }
}

/// What a check needs that is about the unit, or the finding that there is none to ask.
pub(super) fn agent_of(desk: &mut Desk<'_>, check: Check) -> Result<Box<Agent>, Vec<Finding>> {
    match found(desk) {
        Found::Unit(agent) => Ok(agent),
        _ => Err(says(
            check,
            Verdict::Unknown,
            FOLDERS[0],
            "there is no unit to ask",
        )),
    }
}

fn command_of(desk: &mut Desk<'_>, check: Check) -> Result<(Box<Agent>, Command), Vec<Finding>> {
    let agent = agent_of(desk, check)?;
    match agent.unit.starts() {
        Some(command) => Ok((agent, command)),
        None => Err(says(
            check,
            Verdict::Unknown,
            agent.path,
            "there is no ExecStart to ask",
        )),
    }
}

pub(super) fn enabled(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Enabled;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let Some((link, seen)) = pull_of(desk, agent.name) else {
        return elsewhere(desk, &agent);
    };
    match seen {
        Seen::File(file) if file.resolved == agent.resolved => {
            says(CHECK, Verdict::Pass, link, "enabled")
        }
        // Where its folder is a link, its own place is another one of that name.
        Seen::File(file) if is_copy(&file.resolved) => {
            let reason = "a file and no link: systemd ignores it";
            says(CHECK, Verdict::Fail, link, reason)
        }
        Seen::File(file) => {
            let reason = format!("leads to {}, not to {}", file.resolved, agent.path);
            says(CHECK, Verdict::Warn, link, reason)
        }
        Seen::Broken { target, how, .. } => {
            let reason = format!("dangling: it {}", how.says(target));
            says(CHECK, Verdict::Fail, link, reason)
        }
        Seen::Unreadable(_) => cannot_read(CHECK, link),
        Seen::Other { .. } | Seen::Folder(_) => says(CHECK, Verdict::Fail, link, "not a unit"),
        Seen::Absent => elsewhere(desk, &agent),
    }
}

/// Other targets start it only where they are reached.
fn elsewhere(desk: &mut Desk<'_>, agent: &Agent) -> Vec<Finding> {
    for target in [
        "graphical.target",
        "default.target",
        "network-online.target",
    ] {
        let other = format!("{}/{target}.wants/{}", FOLDERS[0], agent.name);
        if desk.is_file(&other) {
            let reason = format!("wanted by {target} only: it starts where that is reached");
            return says(Check::Enabled, Verdict::Warn, other, reason);
        }
    }
    says(
        Check::Enabled,
        Verdict::Fail,
        format!("{}/{}/{}", FOLDERS[0], PULLS[0], agent.name),
        "not enabled: nothing starts the unit at boot",
    )
}

/// Where a program is: as given, or in the usual places.
fn place_of<'a>(desk: &mut Desk<'a>, program: &str) -> (String, &'a Seen) {
    if program.starts_with('/') {
        return (program.to_owned(), desk.stat(program));
    }
    let places = PATH.iter().map(|folder| format!("{folder}/{program}"));
    let mut absent = None;
    for place in places {
        match desk.stat(&place) {
            Seen::Absent => absent = absent.or(Some(place)),
            seen => return (place, seen),
        }
    }
    (absent.unwrap_or_default(), &Seen::Absent)
}

pub(super) fn interpreter(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Interpreter;
    let (agent, command) = match command_of(desk, CHECK) {
        Ok(found) => found,
        Err(findings) => return findings,
    };
    if let Some(reason) = command
        .unfollowed()
        .filter(|_| command.program.contains(['%', '$']))
    {
        return says(CHECK, Verdict::Unknown, command.program, reason);
    }
    let (path, verdict, reason) = runnable(desk, &command.program, "ExecStart", 0);
    if verdict == Verdict::Pass {
        // Who interprets a script reads it.
        let hows: &[u16] = match desk.stat(&path) {
            Seen::File(file) if matches!(file.content, Content::Script(_)) => &[RUN, READ],
            _ => &[RUN],
        };
        if let Some(barrier) = barrier(desk, &agent, CHECK, &path, hows) {
            return barrier;
        }
    }
    if verdict != Verdict::Pass || !command.is_shell() {
        return says(CHECK, verdict, path, reason);
    }
    // A shell starts Node.js in its turn.
    if NODES
        .iter()
        .any(|node| runnable(desk, node, "ExecStart", 0).1 == Verdict::Pass)
    {
        return says(CHECK, verdict, path, reason);
    }
    if let Some(reason) = command.unfollowed() {
        return says(CHECK, Verdict::Unknown, path, reason);
    }
    let reason = format!(
        "{} is a shell that starts Node.js, and neither this nor {} can be run",
        command.program,
        NODES[1..].join(" nor ")
    );
    says(CHECK, Verdict::Fail, NODES[0], reason)
}

/// Scripts that name scripts as their interpreters.
const MAX_INTERPRETERS: u8 = 4;

/// Whether a program that `needed_by` names can be run: its place, the verdict, the reason.
pub(super) fn runnable(
    desk: &mut Desk<'_>,
    program: &str,
    needed_by: &str,
    depth: u8,
) -> (String, Verdict, String) {
    let (path, seen) = place_of(desk, program);
    let file = match seen {
        Seen::File(file) => file,
        Seen::Absent => {
            let mut reason = format!("not there, and {needed_by} needs it");
            if path.ends_with("/bin/node") && desk.is_file("/usr/bin/nodejs") {
                reason.push_str("; only /usr/bin/nodejs is");
            }
            return (path, Verdict::Fail, reason);
        }
        Seen::Broken { link, target, how } => {
            let reason = format!("{link} {}", how.says(target));
            return (path, Verdict::Fail, reason);
        }
        Seen::Unreadable(_) => return (path, Verdict::Unknown, UNREAD.to_owned()),
        Seen::Folder(_) | Seen::Other { .. } => {
            return (path, Verdict::Fail, "not a file".to_owned());
        }
    };
    if !file.is_executable {
        return (path, Verdict::Fail, "not executable".to_owned());
    }
    let machine = desk.facts.machine;
    match &file.content {
        Content::Program {
            machine: kind,
            loader,
            ..
        } if machine.runs(*kind) => {
            if let Some(torn) = torn(file) {
                return (path, Verdict::Fail, torn);
            }
            match loader.as_deref().and_then(|loader| unloaded(desk, loader)) {
                Some((verdict, reason)) => (path, verdict, reason),
                None => (
                    path,
                    Verdict::Pass,
                    format!("a program of {} bytes", file.size),
                ),
            }
        }
        Content::Program { .. } => {
            let reason = format!("a program of another machine than {}", machine.as_str());
            (path, Verdict::Fail, reason)
        }
        Content::Script(named) if depth < MAX_INTERPRETERS => {
            let (_, verdict, reason) = runnable(desk, named, needed_by, depth + 1);
            match verdict {
                Verdict::Pass => (path, Verdict::Pass, format!("a script, run by {named}")),
                verdict => (
                    path,
                    verdict,
                    format!("a script, and its interpreter {named}: {reason}"),
                ),
            }
        }
        Content::Script(_) => (
            path,
            Verdict::Fail,
            "its interpreters go in circles".to_owned(),
        ),
        Content::Empty => (path, Verdict::Fail, "empty".to_owned()),
        Content::Other => (
            path,
            Verdict::Fail,
            "neither a program nor a script with its #! line".to_owned(),
        ),
    }
}

/// How much of a program is there that is not whole: it cannot be loaded like this.
fn torn(file: &File) -> Option<String> {
    let length = file.cut_off()?;
    Some(format!(
        "a program that was cut off: {} bytes of {length} at least",
        file.size
    ))
}

/// Loaders of the usual C libraries: an image with one of them, but not the one that is asked for, is of another library.
const LOADERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Why a program that asks for this loader is not run.
fn unloaded(desk: &mut Desk<'_>, loader: &str) -> Option<(Verdict, String)> {
    match desk.stat(loader) {
        Seen::File(file) => {
            let torn = torn(file)?;
            Some((Verdict::Fail, format!("its loader {loader} is {torn}")))
        }
        Seen::Unreadable(_) => Some((
            Verdict::Unknown,
            format!("its loader {loader} cannot be read"),
        )),
        Seen::Absent | Seen::Broken { .. } | Seen::Folder(_) | Seen::Other { .. } => {
            let others: Vec<&&str> = LOADERS.iter().filter(|other| desk.is_file(other)).collect();
            Some(match others.first() {
                Some(other) => (
                    Verdict::Fail,
                    format!(
                        "it asks for the loader {loader}, which is not there ({other} is): built for another C library"
                    ),
                ),
                None => (
                    Verdict::Unknown,
                    format!("it asks for the loader {loader}, and there is none in the image"),
                ),
            })
        }
    }
}

pub(super) fn script(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Script;
    let (agent, command) = match command_of(desk, CHECK) {
        Ok(found) => found,
        Err(findings) => return findings,
    };
    if let Some(reason) = command.unfollowed() {
        return says(CHECK, Verdict::Unknown, agent.path, reason);
    }
    let Some(named) = command.script() else {
        let reason = format!("{} is given no script", command.program);
        return says(CHECK, Verdict::Pass, agent.path, reason);
    };
    let Some(path) = script_at(&agent.unit) else {
        let reason = format!(
            "{named} is no absolute path, and the unit names no WorkingDirectory: it is looked for in /"
        );
        return says(CHECK, Verdict::Fail, agent.path, reason);
    };
    if path.contains('%') {
        return says(CHECK, Verdict::Unknown, path, SPECIFIER);
    }
    if let Some(barrier) = barrier(desk, &agent, CHECK, &path, &[READ]) {
        return barrier;
    }
    match desk.stat(&path) {
        Seen::File(file) if file.size == 0 => says(CHECK, Verdict::Fail, path, "empty"),
        Seen::File(_) if path.starts_with(OBSOLETE) => {
            let reason =
                "the unit starts code in the place of an older controller; updates go elsewhere";
            says(CHECK, Verdict::Warn, path, reason)
        }
        Seen::File(_) => says(CHECK, Verdict::Pass, path, "there"),
        Seen::Unreadable(_) => cannot_read(CHECK, path),
        Seen::Broken { link, target, how } => {
            let reason = format!("{link} {}", how.says(target));
            says(CHECK, Verdict::Fail, path, reason)
        }
        Seen::Absent | Seen::Folder(_) | Seen::Other { .. } => {
            let reason = format!("not there, and {} starts it", agent.path);
            says(CHECK, Verdict::Fail, path, reason)
        }
    }
}
