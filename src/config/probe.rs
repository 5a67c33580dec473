//! `[probe]`: where VMs live, and on which ports they answer.

use super::document::Settings;
use crate::core::probe::Networks;

/// How VMs may be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub networks: Networks,
    pub agent_port: u16,
    pub vnc_port: u16,
}

pub(super) fn read(settings: &Settings) -> Probe {
    let port = |key| u16::try_from(settings.read::<u64>(key)).unwrap_or(u16::MAX);
    Probe {
        networks: settings.read("probe.networks"),
        agent_port: port("probe.agent_port"),
        vnc_port: port("probe.vnc_port"),
    }
}
