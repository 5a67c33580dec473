//! Addresses of machines, people and pages, and which of them may be shown.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::masked;

/// Address ranges whose addresses may be shown: the VMs' own and this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub prefix: u8,
}

impl Network {
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0);
        (u32::from(self.address) & mask) == (u32::from(address) & mask)
    }
}

/// The networks that VMs live in by the controller's defaults, and loopback.
pub const VM_NETWORKS: &[Network] = &[
    Network {
        address: Ipv4Addr::new(192, 168, 0, 0),
        prefix: 16,
    },
    Network {
        address: Ipv4Addr::new(127, 0, 0, 0),
        prefix: 8,
    },
];

/// A host as it stands behind a login: not a version, and no part of a path.
pub(super) fn is_host(place: &str) -> bool {
    let (host, port) = place.split_once(':').unwrap_or((place, ""));
    let named = host.contains('.') && host.contains(|c: char| c.is_ascii_alphabetic());
    let numbered = !port.is_empty() && port.starts_with(|c: char| c.is_ascii_digit());
    !place.contains('/') && (named || numbered || host.parse::<Ipv4Addr>().is_ok())
}

/// How names of systemd's units end.
const UNITS: &[&str] = &[
    "service",
    "socket",
    "target",
    "timer",
    "mount",
    "automount",
    "path",
    "slice",
    "scope",
    "swap",
    "device",
];

/// A person's address; `vncserver@1.service` is a unit.
pub(super) fn is_mail(person: &str, place: &str) -> bool {
    let place = place
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let last = place.rsplit_once('.').map_or("", |(_, last)| last);
    !person.is_empty()
        && !person.contains(['/', ':'])
        && !place.contains('/')
        && last.len() >= 2
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && !UNITS.contains(&last)
}

/// Credentials and query of a URL go, scheme, host and path stay.
pub(super) fn mask_url(word: &str, at: usize) -> String {
    let (scheme, rest) = word.split_at(at + 3);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let mut out = mask_addresses(scheme);
    match authority.rfind('@') {
        Some(user_end) => {
            out.push_str("‹credentials hidden›@");
            out.push_str(&mask_addresses(
                authority.get(user_end + 1..).unwrap_or_default(),
            ));
        }
        // A password may hold what ends an authority.
        None if authority
            .split_once(':')
            .is_some_and(|(_, port)| port.contains(|c: char| !c.is_ascii_digit())) =>
        {
            out.push_str("‹credentials hidden›");
        }
        None => out.push_str(&mask_addresses(authority)),
    }
    let path_end = tail.find(['?', '#']).unwrap_or(tail.len());
    let (path, query) = tail.split_at(path_end);
    // A second address may hide in the path.
    out.push_str(&if path.contains('@') || path.contains("://") {
        masked(path.len())
    } else {
        mask_addresses(path)
    });
    if !query.is_empty() {
        out.push_str("?‹query hidden›");
    }
    out
}

/// Addresses outside the VM networks become `‹address›`.
pub(super) fn mask_addresses(word: &str) -> String {
    if word.matches(':').count() < 2 {
        return mask_v4(word);
    }
    let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let length = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(length);
        out.push_str(before);
        // `std::fmt` is a name.
        let apart = !out.ends_with(is_of_name) && !after.starts_with(is_of_name);
        match v6_of(run).filter(|_| apart) {
            Some((address, behind)) if !may_show(address) => {
                out.push_str("‹address›");
                out.push_str(behind);
            }
            _ => out.push_str(&mask_v4(run)),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// An address, and the punctuation behind it.
fn v6_of(run: &str) -> Option<(Ipv6Addr, &str)> {
    let plain = run.trim_end_matches([':', '.']);
    // All eight groups, and the port without brackets behind them.
    let before_port = plain.rsplit_once(':').map_or("", |(address, _)| address);
    let all = [run, run.trim_end_matches('.'), plain, before_port];
    all.into_iter().find_map(|text| {
        let address = text.parse().ok()?;
        Some((address, run.get(text.len()..).unwrap_or_default()))
    })
}

/// This machine's own, and the VMs' in the form in which Node.js writes them. It writes no brackets before a port, so that
/// `::1:5432` is this machine's port and no other address.
fn may_show(address: Ipv6Addr) -> bool {
    match (address.to_ipv4_mapped(), address.segments()) {
        (Some(mapped), _) => is_ours(mapped),
        (None, [0, 0, 0, 0, 0, 0, 0 | 1, _]) => true,
        _ => false,
    }
}

fn is_ours(address: Ipv4Addr) -> bool {
    VM_NETWORKS.iter().any(|network| network.contains(address))
}

fn mask_v4(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let length = from
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(from.len());
        let (run, after) = from.split_at(length);
        let dotted = run.trim_end_matches('.');
        match dotted.parse::<Ipv4Addr>() {
            Ok(address) if !is_ours(address) => {
                out.push_str("‹address›");
                out.push_str(run.get(dotted.len()..).unwrap_or_default());
            }
            _ => out.push_str(run),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
