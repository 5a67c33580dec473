//! The agent's files.

use super::facts::{Desk, File, MAX_TEXT, Seen};
use super::javascript::{is_cut_off, not_javascript};
use super::reach::{READ, barrier};
use super::start;
use super::table::{cannot_read, says};
use super::{Check, Finding, Verdict};

/// Where an agent may be, the usual place first.
pub(super) const AGENTS: &[&str] = &[
    "/opt/vm-browser-agent/server.js",
    "/opt/vm-agent/vm-browser-agent.js",
    "/opt/vm-api/server.js",
];
/// Code there is of an older controller, and knows no OAuth.
pub(super) const OBSOLETE: &str = "/opt/vm-api/";
/// The real agent's answer on `/health` has it, the placeholder's has not.
const MARK: &str = "activeSessions";
/// What serves says one of these.
const SERVES: &[&str] = &["createServer", "listen("];

/// The agent that is there: the one that the unit starts, else the first.
fn found<'a>(desk: &mut Desk<'a>) -> Option<(String, &'a Seen)> {
    let started = start::script_of(desk).filter(|path| path.ends_with(".js"));
    let places: Vec<String> = started
        .into_iter()
        .chain(AGENTS.iter().map(|path| (*path).to_owned()))
        .collect();
    places.into_iter().find_map(|path| match desk.text(&path) {
        Seen::Absent => None,
        seen => Some((path, seen)),
    })
}

pub(super) fn agent(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Agent;
    let Some((path, seen)) = found(desk) else {
        let reason = format!(
            "no agent: neither this nor {} is there",
            AGENTS[1..].join(" nor ")
        );
        return says(CHECK, Verdict::Fail, AGENTS[0], reason);
    };
    match seen {
        Seen::File(file) => {
            let (verdict, reason) = judged(&path, file);
            if verdict != Verdict::Fail
                && let Ok(agent) = start::agent_of(desk, CHECK)
                && let Some(barrier) = barrier(desk, &agent, CHECK, &path, &[READ])
            {
                return barrier;
            }
            says(CHECK, verdict, path, reason)
        }
        Seen::Broken { link, target, how } => says(
            CHECK,
            Verdict::Fail,
            path,
            format!("{link} {}", how.says(target)),
        ),
        Seen::Unreadable(_) => cannot_read(CHECK, path),
        Seen::Absent | Seen::Folder(_) | Seen::Other { .. } => {
            says(CHECK, Verdict::Fail, path, "not a file")
        }
    }
}

fn judged(path: &str, file: &File) -> (Verdict, String) {
    if file.size == 0 {
        return (Verdict::Fail, "empty".to_owned());
    }
    if !file.text.is_empty() && file.text.bytes().all(|byte| byte == 0) {
        let reason = format!(
            "{} bytes, and all of them zero: it was never written out",
            file.size
        );
        return (Verdict::Fail, reason);
    }
    if let Some(what) = not_javascript(&file.text) {
        let reason = format!("{what} ({} bytes): it answers nothing", file.size);
        return (Verdict::Fail, reason);
    }
    let is_real = file.text.contains(MARK);
    if file.size <= MAX_TEXT as u64 && is_cut_off(&file.text) {
        let reason = format!(
            "cut off: its {} bytes end within what they began, and Node.js runs no half of a script",
            file.size
        );
        // Of a script of its kind that was only misread nobody is to be woken.
        let verdict = if is_real {
            Verdict::Warn
        } else {
            Verdict::Fail
        };
        return (verdict, reason);
    }
    if !is_real {
        let says = match SERVES.iter().any(|word| file.text.contains(word)) {
            true => "it answers health checks, but knows no sessions",
            false => {
                "it knows no sessions, and nothing in it serves: whether it answers health checks is not known"
            }
        };
        let reason = format!("looks like a placeholder ({} bytes): {says}", file.size);
        return (Verdict::Warn, reason);
    }
    if path.starts_with(OBSOLETE) {
        let reason = "an agent in the place of an older controller; updates go elsewhere";
        return (Verdict::Warn, reason.to_owned());
    }
    (Verdict::Pass, format!("{} bytes", file.size))
}

pub(super) fn is_current(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::AgentCurrent;
    let host = &desk.facts.host;
    if host.sources.is_empty() {
        let reason = "the agent's source is not on this host, so nothing can be compared";
        let place = if host.source.is_empty() {
            AGENTS[0]
        } else {
            &host.source
        };
        return says(CHECK, Verdict::Unknown, place, reason);
    }
    let Some((path, _)) = found(desk) else {
        return says(CHECK, Verdict::Unknown, AGENTS[0], "no agent to compare");
    };
    let folder = path
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
        .to_owned();
    let main = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut differing = Vec::new();
    let mut unsure = false;
    for source in &host.sources {
        let name = match source.name.as_str() {
            "server.js" => &main,
            name => name,
        };
        let inside = format!("{folder}/{name}");
        let seen = match source.digest {
            Some(_) => desk.digest(&inside),
            None => desk.stat(&inside),
        };
        match seen {
            Seen::File(file) => {
                let same = file.size == source.size
                    && (source.digest.is_none() || file.digest == source.digest);
                if !same {
                    differing.push(format!("{name} is another"));
                }
            }
            Seen::Unreadable(_) => unsure = true,
            _ => differing.push(format!("{name} is missing")),
        }
    }
    if !differing.is_empty() {
        let newest = host.sources.iter().map(|source| source.modified_at).max();
        let built = desk.facts.generation.modified_at;
        let when = match newest {
            Some(newest) if newest > built => "; the source is newer than the image",
            _ => "",
        };
        let reason = format!(
            "not what {} holds: {}{when}",
            host.source,
            differing.join(", ")
        );
        return says(CHECK, Verdict::Warn, folder, reason);
    }
    match unsure {
        true => cannot_read(CHECK, folder),
        false => {
            let files = host.sources.len();
            says(
                CHECK,
                Verdict::Pass,
                folder,
                format!("{files} files equal {}", host.source),
            )
        }
    }
}
