//! Who the agent runs as: systemd starts nothing under an account that does not exist.

use super::facts::{Desk, Seen};
use super::start::agent_of;
use super::table::{cannot_read, says};
use super::unit::SPECIFIER;
use super::{Check, Finding, Verdict};

pub(super) const USERS: &str = "/etc/passwd";
pub(super) const GROUPS: &str = "/etc/group";
/// Accounts that are made at boot; `u` makes a user and a group of its name, `g` a group, `m` both where they lack.
const MADE_AT_BOOT: [&str; 3] = [
    "/etc/sysusers.d",
    "/usr/local/lib/sysusers.d",
    "/usr/lib/sysusers.d",
];
/// systemd knows these by itself.
const ALWAYS: &[&str] = &["root", "nobody"];
/// Of files that make accounts, so many are read.
const MAX_FILES: usize = 64;

/// What an account may be called by, and where it is listed.
struct Named<'a> {
    key: &'static str,
    name: &'a str,
    list: &'static str,
}

pub(super) fn account(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Account;
    let agent = match agent_of(desk, CHECK) {
        Ok(agent) => agent,
        Err(findings) => return findings,
    };
    let unit = &agent.unit;
    let is_dynamic = unit.is_on("Service", "DynamicUser");
    let user = unit.last("Service", "User").filter(|_| !is_dynamic);
    let group = unit.last("Service", "Group").filter(|_| !is_dynamic);
    let others = unit.all("Service", "SupplementaryGroups");
    let of = |key, list| move |name| Named { key, name, list };
    let named = user
        .map(of("User", USERS))
        .into_iter()
        .chain(group.map(of("Group", GROUPS)))
        .chain(
            others
                .iter()
                .flat_map(|names| names.split_ascii_whitespace())
                .map(of("SupplementaryGroups", GROUPS)),
        );
    let findings: Vec<Finding> = named.flat_map(|named| missing(desk, &named)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let reason = match (is_dynamic, user) {
        (true, _) => "runs under an account that systemd makes".to_owned(),
        (false, None) => "runs as root".to_owned(),
        (false, Some(user)) => format!("runs as {user}"),
    };
    says(CHECK, Verdict::Pass, agent.path, reason)
}

fn missing(desk: &mut Desk<'_>, named: &Named<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Account;
    let Named { key, name, list } = *named;
    let is_number = name.chars().all(|c| c.is_ascii_digit());
    if is_number || ALWAYS.contains(&name) {
        return Vec::new();
    }
    if name.contains('%') {
        return says(CHECK, Verdict::Unknown, name, SPECIFIER);
    }
    let is_listed = match desk.text(list) {
        Seen::File(file) => {
            let mut names = file.text.lines().filter_map(|line| line.split(':').next());
            names.any(|listed| listed == name)
        }
        Seen::Unreadable(_) => return cannot_read(CHECK, list),
        _ => {
            let reason = format!("not there: nobody can tell whether {key}={name} exists");
            return says(CHECK, Verdict::Unknown, list, reason);
        }
    };
    if is_listed || is_made_at_boot(desk, name, list == GROUPS) {
        return Vec::new();
    }
    let reason = format!("{key}={name} is not in it: the start fails");
    says(CHECK, Verdict::Fail, list, reason)
}

fn is_made_at_boot(desk: &mut Desk<'_>, name: &str, is_group: bool) -> bool {
    let makes = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default().trim_end_matches('!');
        let (first, second) = (words.next(), words.next());
        match kind {
            "u" => first == Some(name),
            "g" => is_group && first == Some(name),
            "m" => (if is_group { second } else { first }) == Some(name),
            _ => false,
        }
    };
    MADE_AT_BOOT.iter().any(|folder| {
        let files = desk.names(folder).iter();
        let files = files.filter(|file| file.ends_with(".conf")).take(MAX_FILES);
        let mut texts = files.map(|file| desk.text(&format!("{folder}/{file}")));
        texts.any(|seen| matches!(seen, Seen::File(file) if file.text.lines().any(makes)))
    })
}
