//! Whether what brings the network up starts at all, and whether anything says when it is up.

use super::facts::{Desk, Seen};
use super::units::{FOLDERS, installed, is_null, template_of, whole};

pub(super) const ONLINE: &str = "network-online.target";
pub(super) const NETWORKD: &str = "systemd-networkd.service";
const NETWORK_MANAGER: &str = "NetworkManager.service";
pub(super) const NETPLAN: &str = "/etc/netplan";
pub(super) const NETPLAN_ENDINGS: &[&str] = &[".yaml", ".yml"];
/// Targets that are reached at boot, by which what brings the network up is started.
const TARGETS: &[&str] = &[
    "multi-user.target",
    "sysinit.target",
    "basic.target",
    "network.target",
    ONLINE,
    "graphical.target",
    "default.target",
];
/// Units that wait are few.
const MAX_WAITING: usize = 16;

/// Why what brings the network up never starts at boot; `None`: it does, or that cannot be read.
pub(super) fn never_starts(desk: &mut Desk<'_>, name: &str) -> Option<String> {
    match state(desk, name) {
        State::There => {}
        State::Masked => return Some(format!("{name} is masked")),
        State::Absent => return Some(format!("there is no {name}")),
        State::Untold => return None,
    }
    let is_socket =
        name == NETWORKD && is_wanted(desk, "sockets.target", "systemd-networkd.socket");
    // netplan's generator starts networkd for what it wrote.
    let by_netplan = name == NETWORKD && has_netplan(desk);
    let by_target = TARGETS
        .iter()
        .filter(|target| is_wanted(desk, target, name))
        .count()
        > 0;
    let by_waiting = waiting_units(desk)
        .iter()
        .filter(|waiting| requires(desk, waiting, name))
        .count()
        > 0;
    let starts = is_socket || by_netplan || by_target || by_waiting;
    (!starts).then(|| format!("{name} is not enabled"))
}

/// Why no unit that the target wants waits for the network; `None`: one can work, so that the target means something.
pub(super) fn nobody_waits(desk: &mut Desk<'_>) -> Option<String> {
    let mut why = None;
    for name in waiting_units(desk) {
        let needed = match name.as_str() {
            name if name.starts_with("systemd-networkd-wait-online") => Some(NETWORKD),
            name if name.starts_with("NetworkManager-wait-online") => Some(NETWORK_MANAGER),
            _ => None,
        };
        let broken = match (
            state(desk, &name),
            needed.and_then(|needed| never_starts(desk, needed)),
        ) {
            (State::Masked, _) => format!("{name} is masked"),
            (_, Some(broken)) => format!("{name} waits in vain, since {broken}"),
            _ => return None,
        };
        why = why.or(Some(broken));
    }
    Some(why.unwrap_or_else(|| "no enabled unit says when the network is up".to_owned()))
}

/// Services that the target wants, and that are there.
fn waiting_units(desk: &mut Desk<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for folder in FOLDERS {
        let folder = format!("{folder}/{ONLINE}.wants");
        let services = desk.names(&folder).iter();
        let services = services.filter(|name| name.ends_with(".service"));
        for name in services.take(MAX_WAITING) {
            let seen = desk.stat(&format!("{folder}/{name}"));
            if matches!(seen, Seen::File(_)) || is_null(seen) {
                names.push(name.clone());
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

enum State {
    There,
    Masked,
    Absent,
    Untold,
}

fn state(desk: &mut Desk<'_>, name: &str) -> State {
    let template = template_of(name);
    let own = installed(desk, name);
    let of_template = template.and_then(|template| installed(desk, &template));
    match own.or(of_template) {
        Some((_, Seen::Unreadable(_))) => State::Untold,
        Some((_, Seen::File(file))) if file.size > 0 => State::There,
        // An empty file masks a unit, too.
        Some((_, Seen::File(_))) => State::Masked,
        Some((_, seen)) if is_null(seen) => State::Masked,
        _ => State::Absent,
    }
}

fn is_wanted(desk: &mut Desk<'_>, target: &str, name: &str) -> bool {
    let places: Vec<&Seen> = FOLDERS
        .iter()
        .flat_map(|folder| {
            ["wants", "requires"].map(|how| format!("{folder}/{target}.{how}/{name}"))
        })
        .map(|place| desk.stat(&place))
        .collect();
    places.iter().any(|seen| matches!(seen, Seen::File(_)))
}

fn requires(desk: &mut Desk<'_>, name: &str, other: &str) -> bool {
    let Some((_, Seen::File(file))) = installed(desk, name) else {
        return false;
    };
    let unit = whole(desk, name, file);
    let keys = ["Requires", "BindsTo", "Wants"];
    keys.iter().any(|key| unit.units(key).contains(&other))
}

fn has_netplan(desk: &mut Desk<'_>) -> bool {
    let names = desk.names(NETPLAN);
    names
        .iter()
        .any(|name| NETPLAN_ENDINGS.iter().any(|ending| name.ends_with(ending)))
}
