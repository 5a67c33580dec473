//! Whether what brings the network up starts at all, and whether anything says when it is up.

use super::facts::{Desk, Seen};
use super::unit::Unit;
use super::units::{FOLDERS, installed, is_null, read_drop_ins};

pub(super) const ONLINE: &str = "network-online.target";
pub(super) const NETWORKD: &str = "systemd-networkd.service";
const NETWORK_MANAGER: &str = "NetworkManager.service";
const NETPLAN: &str = "/etc/netplan";
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

/// Does it start at boot?
pub(super) enum Manager {
    Starts,
    /// Why not.
    Never(String),
    /// It cannot be read.
    Untold,
}

/// Does anything wait for the network, so that its target means something?
pub(super) enum Waiting {
    Works,
    /// Why nothing does.
    Nobody(String),
}

pub(super) fn manager(desk: &mut Desk<'_>, name: &str) -> Manager {
    match state(desk, name) {
        State::There => {}
        State::Masked => return Manager::Never(format!("{name} is masked")),
        State::Absent => return Manager::Never(format!("there is no {name}")),
        State::Untold => return Manager::Untold,
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
    match is_socket || by_netplan || by_target || by_waiting {
        true => Manager::Starts,
        false => Manager::Never(format!("{name} is not enabled")),
    }
}

/// Of the units that the target wants, is there one that can work?
pub(super) fn waiting(desk: &mut Desk<'_>) -> Waiting {
    let mut why = None;
    for name in waiting_units(desk) {
        let needed = match name.as_str() {
            name if name.starts_with("systemd-networkd-wait-online") => Some(NETWORKD),
            name if name.starts_with("NetworkManager-wait-online") => Some(NETWORK_MANAGER),
            _ => None,
        };
        let broken = match (
            state(desk, &name),
            needed.map(|needed| manager(desk, needed)),
        ) {
            (State::Masked, _) => format!("{name} is masked"),
            (_, Some(Manager::Never(broken))) => format!("{name} waits in vain, since {broken}"),
            _ => return Waiting::Works,
        };
        why = why.or(Some(broken));
    }
    Waiting::Nobody(why.unwrap_or_else(|| "no enabled unit says when the network is up".to_owned()))
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
    let template = name
        .split_once('@')
        .and_then(|(stem, rest)| Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1)));
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
    let mut unit = Unit::default();
    unit.read(&file.text);
    read_drop_ins(desk, name, &mut unit);
    let keys = ["Requires", "BindsTo", "Wants"];
    keys.iter().any(|key| unit.units(key).contains(&other))
}

fn has_netplan(desk: &mut Desk<'_>) -> bool {
    let names = desk.names(NETPLAN);
    names
        .iter()
        .any(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
}
