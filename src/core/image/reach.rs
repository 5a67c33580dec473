//! May the unit's user reach what the unit starts? Modes and owners of each folder on the way and of the file itself.

use super::account::{GROUPS, USERS};
use super::facts::{Desk, Guard, Seen};
use super::start::Agent;
use super::table::says;
use super::unit::Unit;
use super::{Check, Finding, Verdict};

/// Bits of a mode, as the last digit has them.
pub(super) const READ: u16 = 4;
pub(super) const RUN: u16 = 1;

/// Whom the unit runs as.
struct Who {
    name: String,
    user: u32,
    groups: Vec<u32>,
}

impl Who {
    fn is_granted(&self, guard: &Guard, needed: u16) -> bool {
        let shift = match () {
            () if self.user == guard.owner => 6,
            () if self.groups.contains(&guard.group) => 3,
            () => 0,
        };
        guard.mode >> shift & needed == needed
    }
}

/// Whom it runs as, where that is anybody but root and can be told.
fn who(desk: &mut Desk<'_>, unit: &Unit) -> Option<Who> {
    let name = unit.last("Service", "User")?;
    let is_capable = unit
        .all("Service", "AmbientCapabilities")
        .iter()
        .any(|named| named.contains("CAP_DAC_"));
    let is_dynamic = unit.is_on("Service", "DynamicUser");
    let is_privileged = unit.starts().is_some_and(|command| command.is_privileged);
    if is_capable || is_dynamic || is_privileged || name.contains('%') {
        return None;
    }
    let users = text_of(desk, USERS)?;
    let listed = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (named, user, group) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let is_it = named == name || user == name;
        is_it.then_some((named.to_owned(), user.parse().ok()?, group.parse().ok()?))
    });
    let (login, user, group): (String, u32, Option<u32>) = match (listed, name.parse()) {
        (Some((login, user, group)), _) => (login, user, Some(group)),
        (None, Ok(user)) => (name.to_owned(), user, None),
        // Made at boot, with a number that is not known.
        (None, Err(_)) => return None,
    };
    if user == 0 {
        return None;
    }
    let listed = text_of(desk, GROUPS).unwrap_or_default();
    let named: Vec<&str> = unit
        .all("Service", "SupplementaryGroups")
        .into_iter()
        .flat_map(str::split_ascii_whitespace)
        .chain(unit.last("Service", "Group"))
        .collect();
    let mut groups: Vec<u32> = named.iter().filter_map(|name| name.parse().ok()).collect();
    if unit.last("Service", "Group").is_none() {
        groups.extend(group);
    }
    for line in listed.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [group, _, number, members] = fields.as_slice()
            && (named.contains(group) || members.split(',').any(|member| member == login))
        {
            groups.extend(number.parse::<u32>().ok());
        }
    }
    Some(Who {
        name: name.to_owned(),
        user,
        groups,
    })
}

/// Why the agent's user cannot use what lies there in one of these ways: it fails where the modes are all there is. `None`:
/// it can, or it is not known who it is.
pub(super) fn barrier(
    desk: &mut Desk<'_>,
    agent: &Agent,
    check: Check,
    path: &str,
    hows: &[u16],
) -> Option<Vec<Finding>> {
    let Seen::File(file) = desk.stat(path) else {
        return None;
    };
    let who = who(desk, &agent.unit)?;
    let (last, folders) = file.guards.split_last()?;
    let folders = folders.iter().map(|folder| (folder, RUN));
    let mut steps = folders.chain(hows.iter().map(|how| (last, *how)));
    let (guard, needed) = steps.find(|(guard, needed)| !who.is_granted(guard, *needed))?;
    let what = match (std::ptr::eq(guard, last), needed) {
        (false, _) => "may not be entered",
        (true, RUN) => "may not be run",
        (true, _) => "may not be read",
    };
    let Guard {
        mode, owner, group, ..
    } = guard;
    let reason = format!(
        "{} {what} by {} (mode {:04o}, owner {owner}, group {group})",
        guard.path,
        who.name,
        mode & 0o7777
    );
    let (verdict, reason) = match guard.has_more {
        false => (Verdict::Fail, reason),
        true => (
            Verdict::Unknown,
            format!("{reason}; it has attributes, which may grant it and are not read"),
        ),
    };
    Some(says(check, verdict, path, reason))
}

fn text_of<'a>(desk: &mut Desk<'a>, path: &str) -> Option<&'a str> {
    match desk.text(path) {
        Seen::File(file) => Some(&file.text),
        _ => None,
    }
}
