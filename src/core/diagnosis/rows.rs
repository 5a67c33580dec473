//! What rows of the database, and addresses, say of boots.

use std::net::Ipv4Addr;

use super::sign::{Sign, Signs};
use crate::core::boot::Boot;
use crate::core::event::{Outcome, VmType};
use crate::core::probe::Networks;
use crate::core::row::VmRow;

/// Less than this a browser VM's kernel does not survive, and less than that it thrashes.
const TINY_MB: u32 = 512;
const SMALL_MB: u32 = 1_024;

/// Where VMs live. The configured networks are believed once a VM within them became ready: as long as none did, they may
/// simply be wrong, and an address outside them says nothing.
#[derive(Clone, Debug)]
pub struct Homes {
    networks: Networks,
    proven: bool,
}

impl Homes {
    #[must_use]
    pub fn new(networks: Networks) -> Homes {
        Homes {
            networks,
            proven: false,
        }
    }

    /// Takes a boot that ended; says what its address and its row, where there is one, tell of it.
    pub fn boot(&mut self, boot: &Boot, row: Option<&VmRow>) -> Signs {
        let ip = boot.ip.or(row.and_then(|row| row.ip));
        if boot.outcome == Some(Outcome::Ready) {
            self.proven |= ip.is_some_and(|ip| self.networks.admit(ip.into()).is_ok());
        }
        let mut signs = row.map(of_row).unwrap_or_default();
        if let Some(ip) = ip {
            signs.take(self.of_address(ip));
        }
        signs
    }

    /// What a row tells that came after its boot had ended.
    #[must_use]
    pub fn row(&self, row: &VmRow) -> Signs {
        let mut signs = of_row(row);
        if let Some(ip) = row.ip {
            signs.take(self.of_address(ip));
        }
        signs
    }

    fn of_address(&self, ip: Ipv4Addr) -> Signs {
        let signs = Signs::default();
        match (self.networks.admit(ip.into()).is_ok(), self.proven) {
            (true, _) => signs.with(Sign::OutsideNetwork, false),
            (false, true) => signs.with(Sign::OutsideNetwork, true),
            (false, false) => signs,
        }
    }
}

fn of_row(row: &VmRow) -> Signs {
    let signs = Signs::default();
    match (row.memory_mb, row.vm_type) {
        // A CLI VM needs less.
        (Some(memory), Some(VmType::Browser)) => signs
            .with(Sign::MemoryTiny, memory < TINY_MB)
            .with(Sign::MemorySmall, memory < SMALL_MB),
        _ => signs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Provenance, Timestamp, VmId};
    use crate::core::row::VmStatus;

    fn networks() -> Networks {
        Networks::new(vec!["192.168.100.0/24".parse().unwrap()]).unwrap()
    }

    fn row(memory_mb: u32, vm_type: VmType) -> VmRow {
        VmRow {
            vm: VmId(1),
            user: None,
            vm_type: Some(vm_type),
            status: VmStatus::Running,
            ip: Some(Ipv4Addr::new(192, 168, 7, 9)),
            has_process: true,
            created_at: Timestamp(0),
            destroyed_at: None,
            last_heartbeat: None,
            memory_mb: Some(memory_mb),
            version: 1,
        }
    }

    fn boot(ip: [u8; 4], outcome: Outcome) -> Boot {
        let mut boot = Boot::new(Some(VmId(1)), Provenance::default(), Timestamp(0));
        boot.ip = Some(ip.into());
        boot.outcome = Some(outcome);
        boot
    }

    #[test]
    fn a_rows_memory_is_judged_for_browser_vms() {
        let homes = Homes::new(networks());
        for (memory, vm_type, tiny, small) in [
            (256, VmType::Browser, Some(true), Some(true)),
            (768, VmType::Browser, Some(false), Some(true)),
            (2_048, VmType::Browser, Some(false), Some(false)),
            (256, VmType::Cli, None, None),
        ] {
            let signs = homes.row(&row(memory, vm_type));
            assert_eq!(signs.of(Sign::MemoryTiny), tiny, "{memory}");
            assert_eq!(signs.of(Sign::MemorySmall), small, "{memory}");
            assert_eq!(
                signs.of(Sign::OutsideNetwork),
                None,
                "nothing proves the networks"
            );
        }
    }

    #[test]
    fn networks_in_which_vms_became_ready_show_which_addresses_lie_outside() {
        let mut homes = Homes::new(networks());
        let outside = |signs: Signs| signs.of(Sign::OutsideNetwork);
        let far = boot([192, 168, 7, 9], Outcome::Failed);
        assert_eq!(outside(homes.boot(&far, None)), None);
        assert_eq!(
            outside(homes.boot(&boot([192, 168, 7, 8], Outcome::Ready), None)),
            None
        );
        assert_eq!(
            outside(homes.boot(&boot([192, 168, 100, 8], Outcome::Failed), None)),
            Some(false)
        );
        homes.boot(&boot([192, 168, 100, 9], Outcome::Ready), None);
        assert_eq!(outside(homes.boot(&far, None)), Some(true));
        let mut without = far;
        without.ip = None;
        let row = row(768, VmType::Browser);
        let signs = homes.boot(&without, Some(&row));
        assert_eq!(
            (outside(signs), signs.of(Sign::MemorySmall)),
            (Some(true), Some(true))
        );
    }
}
