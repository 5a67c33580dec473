//! What the kernel knows of an address on its link, read from the table of neighbours; nothing is sent for it.
//!
//! A guest that told its hardware address has its network up, whatever its ports say; one that was asked and never
//! answered has not. The table is the one of this process' network namespace.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;

use crate::core::probe::{Mac, Neighbour, NeighbourState};

const TABLE: &str = "/proc/net/arp";
/// Longer tables than any bridge has are not read to their end.
const MOST_LINES: usize = 20_000;
/// The entry is complete.
const COMPLETE: u32 = 0x2;

/// `None`: the table cannot be read here.
pub(super) fn of(ip: Ipv4Addr) -> Option<Neighbour> {
    let table = BufReader::new(File::open(TABLE).ok()?);
    let wanted = ip.to_string();
    let mut known = Neighbour {
        state: NeighbourState::Unknown,
        mac: None,
    };
    for line in table.lines().skip(1).take(MOST_LINES) {
        let line = line.ok()?;
        if let Some(neighbour) = entry(&line, &wanted) {
            known = neighbour;
            // On several links, one that answered says it all.
            if known.state == NeighbourState::Resolved {
                break;
            }
        }
    }
    Some(known)
}

/// `IP address  HW type  Flags  HW address  Mask  Device`, if it is the wanted address'.
fn entry(line: &str, wanted: &str) -> Option<Neighbour> {
    let mut words = line.split_ascii_whitespace();
    if words.next()? != wanted {
        return None;
    }
    let flags = words.nth(1)?.strip_prefix("0x")?;
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let mac = mac(words.next()?);
    Some(match flags & COMPLETE != 0 {
        true => Neighbour {
            state: NeighbourState::Resolved,
            mac,
        },
        false => Neighbour {
            state: NeighbourState::Unanswered,
            mac: None,
        },
    })
}

fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_the_kernel_writes_it() {
        let resolved =
            "192.168.100.7    0x1         0x2         06:00:c0:a8:64:07     *        fcbr0";
        let unanswered =
            "192.168.100.7    0x1         0x0         00:00:00:00:00:00     *        fcbr0";
        let found = entry(resolved, "192.168.100.7").unwrap();
        assert_eq!(found.state, NeighbourState::Resolved);
        assert_eq!(found.mac.unwrap().to_string(), "06:00:c0:a8:64:07");
        let found = entry(unanswered, "192.168.100.7").unwrap();
        assert_eq!(found.state, NeighbourState::Unanswered);
        assert_eq!(found.mac, None);
        assert_eq!(entry(resolved, "192.168.100.70"), None);
        for line in [
            "",
            "192.168.100.7",
            "192.168.100.7 0x1 2 x",
            "192.168.100.7 0x1 0xzz",
        ] {
            assert_eq!(entry(line, "192.168.100.7"), None, "{line}");
        }
    }
}
