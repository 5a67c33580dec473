//! `[probe]`: where VMs are, and how they are looked at.

use std::net::SocketAddr;
use std::time::Duration;

use super::document::Settings;
use super::problem::Problems;
use crate::core::probe::Networks;

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Nothing outside of them is ever contacted.
    pub networks: Networks,
    pub agent_port: u16,
    pub vnc_web_port: u16,
    pub vnc_port: u16,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    /// `None`: VMs are looked at only when somebody asks.
    pub interval: Option<Duration>,
    /// How often a VM that boots or does not answer is looked at.
    pub quick: Duration,
    /// Where the controller itself answers.
    pub controller: SocketAddr,
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if !settings.is_sound("probe.interval") || !settings.is_sound("probe.quick") {
        return;
    }
    let interval: Option<Duration> = settings.maybe("probe.interval");
    let quick: Duration = settings.read("probe.quick");
    if interval.is_some_and(|interval| interval < quick) {
        problems.add(
            "probe.quick",
            "longer than probe.interval; write a shorter one, such as \"2s\"",
        );
    }
}

pub(super) fn read(settings: &Settings) -> Probe {
    let port = |key| u16::try_from(settings.read::<u64>(key)).unwrap_or(u16::MAX);
    Probe {
        networks: settings.read("probe.networks"),
        agent_port: port("probe.agent_port"),
        vnc_web_port: port("probe.vnc_web_port"),
        vnc_port: port("probe.vnc_port"),
        connect_timeout: settings.read("probe.connect_timeout"),
        timeout: settings.read("probe.timeout"),
        interval: settings.maybe("probe.interval"),
        quick: settings.read("probe.quick"),
        controller: settings.read("probe.controller"),
    }
}
