//! Ports for servers that cannot be given one already open: nobody else may take it before they listen.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// How many ports below those that the kernel hands out are ours to choose from.
const CHOICE: u16 = 8_000;

/// A port of loopback on which nobody listens, given once in a process.
///
/// It is not one that the kernel gives to connections and to listeners that ask for any: between the answer and the
/// server's start, the tests beside it open thousands of those.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let handed_out = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .expect("Linux tells which ports it hands out");
    let first: u16 = handed_out
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or_else(|| panic!("ports handed out: {handed_out:?}"));
    if first < 1_024 + CHOICE {
        // This machine hands out nearly all of them.
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
    }
    // Another run of the tests beside this one begins elsewhere.
    let [low, high, ..] = std::process::id().to_le_bytes();
    let own = u16::from_le_bytes([low, high]) % CHOICE;
    (0..CHOICE)
        .map(|_| GIVEN.fetch_add(1, Ordering::Relaxed))
        .map(|given| first - 1 - (own + given % CHOICE) % CHOICE)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a port is free")
}
