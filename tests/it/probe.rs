//! Looks at VMs, against agents that really answer, or really do not.

mod agents;
mod flat;
mod late;
mod limits;
mod netns;
mod program;
mod server;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bootwatch::core::probe::{Check, Checked, Networks, VmAddress};
use bootwatch::probe::{Prober, Settings};

/// The network of the tests' agents.
pub(crate) fn settings(agent_port: u16) -> Settings {
    let network = "127.0.0.0/8".parse().expect("a network");
    let networks = Networks::new(vec![network]).expect("one network");
    Settings {
        agent_port,
        // Longer than anything here takes on a busy machine; what is to time out sets its own.
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        ..Settings::new(networks)
    }
}

pub(crate) fn address(prober: &Prober, ip: Ipv4Addr) -> VmAddress {
    let admitted = prober.settings().networks.admit(IpAddr::V4(ip));
    admitted.expect("it lies in the network")
}

/// One check, by a runtime of its own.
pub(crate) fn check(settings: Settings, ip: Ipv4Addr, check: Check) -> Checked {
    let prober = Prober::new(settings);
    let vm = address(&prober, ip);
    let checked = block_on(prober.check(vm, check));
    assert_eq!(
        checked.course().map(|(_, took, _)| took).sum::<Duration>(),
        checked.total()
    );
    checked
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
