//! Does one way, and only one, bring the guest's network up, and does anything apply it?

use std::net::Ipv4Addr;

use super::facts::{Desk, Seen};
use super::online::{NETPLAN, NETPLAN_ENDINGS, NETWORKD, never_starts};
use super::table::{cannot_read, says};
use super::unit::Unit;
use super::{Check, Finding, Verdict};

/// Of each kind of file, so many are read.
const MAX_FILES: usize = 32;
/// Names of interfaces are short; a longer pattern is a hostile one, and is not followed.
const MAX_PATTERN: usize = 32;
/// What the guest's only interface is called.
const INTERFACE: &str = "eth0";
const NETWORKS: &str = "/etc/systemd/network";

/// A way in which the network is brought up, and where.
struct Way {
    name: &'static str,
    path: String,
    /// An address that does not differ from one copy to the next.
    address: Option<Ipv4Addr>,
    is_unread: bool,
    /// Why nothing applies it.
    idle: Option<String>,
}

pub(super) fn network(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Network;
    let ways = ways(desk);
    if let Some(unread) = ways.iter().find(|way| way.is_unread) {
        return cannot_read(CHECK, unread.path.as_str());
    }
    let (idle, mut ways): (Vec<Way>, Vec<Way>) =
        ways.into_iter().partition(|way| way.idle.is_some());
    ways.dedup_by(|next, kept| {
        let same = next.name == kept.name;
        if same {
            kept.address = kept.address.or(next.address);
        }
        same
    });
    match ways.as_slice() {
        [] if !idle.is_empty() => idle
            .iter()
            .map(|way| {
                let why = way.idle.as_deref().unwrap_or_default();
                let reason = format!(
                    "{why}: nothing here configures {INTERFACE}, which is right only where the kernel's line carries ip="
                );
                Finding::new(CHECK, Verdict::Warn, way.path.as_str(), reason)
            })
            .collect(),
        [] => {
            let reason = format!(
                "nothing here configures {INTERFACE}: right only where the kernel's line carries ip="
            );
            says(CHECK, Verdict::Unknown, NETWORKS, reason)
        }
        [way] => match way.address {
            Some(address) => {
                let reason = format!("{} sets {address}, which every copy would have", way.name);
                says(CHECK, Verdict::Warn, way.path.as_str(), reason)
            }
            None => says(CHECK, Verdict::Pass, way.path.as_str(), way.name),
        },
        [first, rest @ ..] => {
            let others: Vec<String> = rest
                .iter()
                .map(|way| format!("{} ({})", way.name, way.path))
                .collect();
            let reason = format!(
                "{} beside {}: they fight over {INTERFACE}",
                first.name,
                others.join(", ")
            );
            says(CHECK, Verdict::Warn, first.path.as_str(), reason)
        }
    }
}

fn ways(desk: &mut Desk<'_>) -> Vec<Way> {
    let mut ways = Vec::new();
    let networkd = never_starts(desk, NETWORKD);
    for (name, folder, endings) in [
        ("networkd", NETWORKS, &[".network"][..]),
        ("netplan", NETPLAN, NETPLAN_ENDINGS),
        (
            "NetworkManager",
            "/etc/NetworkManager/system-connections",
            &[".nmconnection"],
        ),
    ] {
        let Seen::Folder(names) = desk.list(folder) else {
            continue;
        };
        let files = names
            .iter()
            .filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
        for file in files.take(MAX_FILES) {
            let path = format!("{folder}/{file}");
            let seen = desk.text(&path);
            let (address, is_unread, idle) = match seen {
                Seen::File(file) if name == "networkd" => {
                    let idle = other_interface(&file.text).or_else(|| networkd.clone());
                    (static_address(&file.text), false, idle)
                }
                Seen::File(file) => (static_address(&file.text), false, None),
                Seen::Unreadable(_) => (None, true, None),
                // Masked, or nothing to read.
                _ => continue,
            };
            ways.push(Way {
                name,
                path,
                address,
                is_unread,
                idle,
            });
        }
    }
    let interfaces = "/etc/network/interfaces";
    if let Seen::File(file) = desk.text(interfaces) {
        let configures = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("iface") && words.next().is_some_and(|name| name != "lo")
        };
        if file.text.lines().any(configures) {
            let address = static_address(&file.text);
            ways.push(Way {
                name: "ifupdown",
                path: interfaces.to_owned(),
                address,
                is_unread: false,
                idle: None,
            });
        }
    }
    ways
}

/// An address of the guest's own, written out; gateways, name servers and routes are none.
fn static_address(text: &str) -> Option<Ipv4Addr> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let lower = line.to_ascii_lowercase();
        let is_other = [
            "to:",
            "via",
            "gateway",
            "destination",
            "dns",
            "route",
            "nameserver",
        ]
        .iter()
        .any(|word| lower.contains(word));
        if is_other {
            return None;
        }
        let owns = lower.starts_with("address=") || lower.starts_with("address ");
        let mut words = line.split(|letter: char| {
            letter.is_whitespace() || matches!(letter, '=' | ',' | '[' | ']' | '"' | '\'')
        });
        words.find_map(|word| {
            let (address, length) = match word.split_once('/') {
                Some((address, _)) => (address, true),
                None => (word, false),
            };
            let address: Ipv4Addr = address.parse().ok()?;
            ((owns || length) && !address.is_loopback() && !address.is_unspecified())
                .then_some(address)
        })
    })
}

/// Why a file of networkd's is not about the guest's interface: by its name it is another's, or it is of another kind.
/// Only what the names say counts; of other matches nothing is known.
fn other_interface(text: &str) -> Option<String> {
    let mut unit = Unit::default();
    unit.read(text);
    let all = |key| -> Vec<&str> {
        let values = unit.all("Match", key).into_iter();
        values
            .flat_map(str::split_ascii_whitespace)
            .filter(|pattern| pattern.len() <= MAX_PATTERN)
            .take(MAX_FILES)
            .collect()
    };
    let matches = |patterns: &[&str], name: &str| {
        let is_negated = patterns.first().is_some_and(|first| first.starts_with('!'));
        let any = patterns
            .iter()
            .any(|pattern| is_like(pattern.trim_start_matches('!').as_bytes(), name.as_bytes()));
        patterns.is_empty() || any != is_negated
    };
    for (key, name) in [("Name", INTERFACE), ("Type", "ether")] {
        let patterns = all(key);
        if !matches(&patterns, name) {
            return Some(format!("it matches {key}={} only", patterns.join(" ")));
        }
    }
    None
}

/// A pattern of a shell: `*`, `?` and sets in brackets.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            is_like(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, left)| is_like(pattern, left))
        }
        ([b'[', set @ ..], [first, left @ ..]) => {
            let Some(end) = set.iter().skip(1).position(|byte| *byte == b']') else {
                return false;
            };
            let (set, rest) = set.split_at(end + 1);
            let (is_negated, set) = match set {
                [b'!' | b'^', set @ ..] => (true, set),
                set => (false, set),
            };
            is_in(set, *first) != is_negated && is_like(rest.get(1..).unwrap_or_default(), left)
        }
        ([b'?', rest @ ..], [_, left @ ..]) => is_like(rest, left),
        ([one, rest @ ..], [first, left @ ..]) => one == first && is_like(rest, left),
        _ => false,
    }
}

fn is_in(set: &[u8], byte: u8) -> bool {
    match set {
        [from, b'-', to, rest @ ..] => (*from..=*to).contains(&byte) || is_in(rest, byte),
        [one, rest @ ..] => *one == byte || is_in(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_networkds_is_about_eth0_or_is_not() {
        for (lines, is_ours) in [
            ("Name=eth0", true),
            ("Name=eth*", true),
            ("Name=e[nt]*", true),
            ("Name=eth[0-9]", true),
            ("Name=ens3 eth0", true),
            ("Name=!ens3", true),
            ("Name=*", true),
            ("", true),
            ("MACAddress=06:00:ac:10:00:02", true),
            ("Type=ether", true),
            ("Name=ens3", false),
            ("Name=en*", false),
            ("Name=eth", false),
            ("Name=eth0?", false),
            ("Name=eth[1-9]", false),
            ("Name=e[!t]*", false),
            ("Name=!eth0 lo", false),
            ("Type=wlan", false),
            ("Name=[", false),
        ] {
            let text = format!("[Match]\n{lines}\n[Network]\nDHCP=yes\n");
            assert_eq!(other_interface(&text).is_none(), is_ours, "{lines}");
        }
    }
}
