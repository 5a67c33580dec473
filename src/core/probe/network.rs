//! The networks in which VMs live, and the only door to an address that may be contacted.
//!
//! A row, an API answer or a redirect can name any address; what would knock there takes a [`VmAddress`], which only
//! [`Networks`] makes. It is an IPv4 address: VMs have no other, and an IPv6 address that carries one is judged by
//! the one it carries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::Serialize;

/// A network of VMs, such as `192.168.100.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: Ipv4Addr,
    bits: u8,
}

/// Why a text names no network that may be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    #[error("is no network; write one such as \"192.168.100.0/24\"")]
    Syntax,
    #[error("has host bits; write \"{0}\"")]
    HostBits(Network),
    #[error(
        "is not a network of one's own; write one within 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 172.16.0.0/12 or \
         192.168.0.0/16"
    )]
    Public,
}

/// An address in one of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct VmAddress(Ipv4Addr);

impl VmAddress {
    #[must_use]
    pub fn ip(self) -> Ipv4Addr {
        self.0
    }
}

impl fmt::Display for VmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why an address is not contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0} lies outside the VM networks (probe.networks)")]
    Outside(IpAddr),
    #[error("{0} is the name of a whole network, or of everyone in it")]
    NotAHost(Ipv4Addr),
}

impl Network {
    /// Private, shared, loopback. Never link-local: clouds keep their secrets there.
    const OWN: [Network; 5] = [
        Network::raw([10, 0, 0, 0], 8),
        Network::raw([100, 64, 0, 0], 10),
        Network::raw([127, 0, 0, 0], 8),
        Network::raw([172, 16, 0, 0], 12),
        Network::raw([192, 168, 0, 0], 16),
    ];

    const fn raw([a, b, c, d]: [u8; 4], bits: u8) -> Network {
        Network {
            base: Ipv4Addr::new(a, b, c, d),
            bits,
        }
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0)
    }

    #[must_use]
    pub fn contains(self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & self.mask() == self.base.to_bits()
    }

    /// Network and broadcast address; the smallest networks have neither.
    fn is_host(self, ip: Ipv4Addr) -> bool {
        let host = ip.to_bits() & !self.mask();
        self.bits >= 31 || (host != 0 && host != !self.mask())
    }

    /// The first address that can be a host's: by custom the bridge's.
    #[must_use]
    pub fn first(self) -> Ipv4Addr {
        let up = u32::from(self.bits < 31);
        Ipv4Addr::from_bits(self.base.to_bits() + up)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let (base, bits) = text.split_once('/').ok_or(NotANetwork::Syntax)?;
        let is_plain = bits.len() <= 2 && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| *bits <= 32 && is_plain);
        let (Ok(base), Some(bits)) = (base.parse::<Ipv4Addr>(), bits) else {
            return Err(NotANetwork::Syntax);
        };
        let network = Network { base, bits };
        let within = |own: &Network| own.contains(base) && bits >= own.bits;
        if !Network::OWN.iter().any(within) {
            return Err(NotANetwork::Public);
        }
        if !network.contains(base) {
            let base = Ipv4Addr::from_bits(base.to_bits() & network.mask());
            return Err(NotANetwork::HostBits(Network { base, bits }));
        }
        Ok(network)
    }
}

/// Every network in which VMs live; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// `None` of no network at all.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Option<Networks> {
        (!networks.is_empty()).then_some(Networks(networks))
    }

    /// The door: an address that may be contacted.
    ///
    /// # Errors
    /// It may not be.
    pub fn admit(&self, ip: IpAddr) -> Result<VmAddress, Refusal> {
        let IpAddr::V4(ip4) = ip.to_canonical() else {
            return Err(Refusal::Outside(ip));
        };
        let mut within = self.0.iter().filter(|network| network.contains(ip4));
        match within.next() {
            None => Err(Refusal::Outside(ip)),
            Some(network) if network.is_host(ip4) => Ok(VmAddress(ip4)),
            Some(_) => Err(Refusal::NotAHost(ip4)),
        }
    }

    /// Where the host itself is, by custom, in the first network.
    #[must_use]
    pub fn bridge(&self) -> Ipv4Addr {
        self.0[0].first()
    }
}

impl Default for Networks {
    /// The controller's bridge.
    fn default() -> Networks {
        Networks(vec![Network::raw([192, 168, 100, 0], 24)])
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn a_network_is_one_of_ones_own_without_host_bits() {
        for (text, error) in [
            ("192.168.100.0/24", None),
            ("10.0.0.0/8", None),
            ("127.77.0.0/24", None),
            ("192.168.100.7/32", None),
            ("192.168.100.0", Some(NotANetwork::Syntax)),
            ("192.168.100.0/33", Some(NotANetwork::Syntax)),
            ("192.168.100.0/+8", Some(NotANetwork::Syntax)),
            ("fd00::/8", Some(NotANetwork::Syntax)),
            ("", Some(NotANetwork::Syntax)),
            ("0.0.0.0/0", Some(NotANetwork::Public)),
            ("8.8.8.0/24", Some(NotANetwork::Public)),
            ("192.0.0.0/8", Some(NotANetwork::Public)),
            ("169.254.169.0/24", Some(NotANetwork::Public)),
        ] {
            assert_eq!(text.parse::<Network>().err(), error, "{text}");
        }
        let error = "192.168.100.1/24".parse::<Network>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "has host bits; write \"192.168.100.0/24\""
        );
    }

    #[test]
    fn only_hosts_of_the_networks_are_admitted() {
        let networks = networks(&["192.168.100.0/24", "127.77.0.0/24"]);
        for (text, admitted) in [
            ("192.168.100.2", true),
            ("192.168.100.254", true),
            ("192.168.100.0", false),
            ("192.168.100.255", false),
            ("192.168.101.2", false),
            ("127.77.0.9", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("::ffff:192.168.100.2", true),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::192.168.100.2", false),
            ("64:ff9b::192.168.100.2", false),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            let answer = networks.admit(ip);
            assert_eq!(answer.is_ok(), admitted, "{text}: {answer:?}");
            if let Ok(address) = answer {
                assert!(IpAddr::V4(address.ip()) == ip.to_canonical());
            }
        }
    }

    #[test]
    fn the_bridge_has_the_first_address() {
        assert_eq!(
            networks(&["192.168.100.0/24"]).bridge(),
            Ipv4Addr::new(192, 168, 100, 1)
        );
        assert_eq!(
            networks(&["10.1.2.3/32"]).bridge(),
            Ipv4Addr::new(10, 1, 2, 3)
        );
    }
}
