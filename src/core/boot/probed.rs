//! What our own looks add to the boots that the log tells of: which VMs there are to look at, and that an agent which
//! the controller gave up came up after all.
//!
//! The log decides how a boot ended; a probe never turns a failed boot into a ready one. It says more exactly why it
//! failed: a limit that is too short is another fault than an agent that is missing. The answer is the boot's only as
//! long as its address is: whoever else was given that address since, or whatever destroyed the VM, takes it away.

use super::{Entry, Observation, Phase, Tracker};
use crate::core::event::{Failure, Outcome, VmId, VmType};
use crate::core::lease::Slot;
use crate::core::probe::{Standing, Target};

impl Tracker {
    /// The browser VMs that have an address now, as far as the log tells.
    pub fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        (0..).zip(&self.entries).filter_map(|(slot, entry)| {
            let entry = entry.as_ref()?;
            let (vm, ip) = (entry.boot.vm?, entry.boot.ip?);
            let standing = standing(entry)?;
            self.holds(slot, ip).then_some(Target { vm, ip, standing })
        })
    }

    /// Whether the log knows of the address having gone to another VM, or to none.
    #[must_use]
    pub fn is_taken_from(&self, target: &Target) -> bool {
        let newest = self.addresses.holders(target.ip).last();
        let other = |slot: &Slot| {
            let entry = self.entry(*slot);
            entry.is_some_and(|entry| entry.boot.vm != Some(target.vm))
        };
        let known = self.by_vm.get(&target.vm);
        let destroyed = known.and_then(|slot| self.entry(*slot));
        newest.is_some_and(other) || destroyed.is_some_and(|entry| standing(entry).is_none())
    }

    /// A probe found the agent of a boot healthy that the controller had given up before the probe began.
    pub fn came_up_late(&mut self, vm: VmId, out: &mut Vec<Observation>) {
        let Some(slot) = self.by_vm.get(&vm).copied() else {
            return;
        };
        let late = self.entry(slot).is_some_and(|entry| {
            let held = entry.boot.ip.is_some_and(|ip| self.holds(slot, ip));
            held && standing(entry) == Some(Standing::GivenUp)
        });
        if !late {
            return;
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let was = entry.boot.failure.replace(Failure::AgentLate);
        if was == Some(Failure::AgentLate) {
            return;
        }
        if let Some(was) = was {
            entry.boot.evidence.push(format!(
                "probe: the agent is healthy after the controller gave up; until then the log saw {was}"
            ));
        }
        let amended = entry.boot.clone();
        out.push(Observation::BootAmended(self.handed_out(amended)));
    }

    /// Whether the boot is the last that was given the address.
    fn holds(&self, slot: Slot, ip: std::net::Ipv4Addr) -> bool {
        self.addresses.holders(ip).last() == Some(&slot)
    }
}

/// `None`: there is nothing to look at.
fn standing(entry: &Entry) -> Option<Standing> {
    let boot = &entry.boot;
    if boot.kind() != VmType::Browser || entry.destroyed || entry.died_at.is_some() {
        return None;
    }
    match boot.outcome {
        None if entry.phase != Phase::Creating => Some(Standing::InFlight),
        Some(Outcome::Ready) => Some(Standing::Running),
        Some(Outcome::Failed) if boot.failure.is_some_and(is_of_waiting) => Some(Standing::GivenUp),
        None | Some(Outcome::Failed | Outcome::Cancelled | Outcome::Lost) => None,
    }
}

/// What a wait that came to nothing can have been.
fn is_of_waiting(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::GuestUnreachable
            | Failure::AgentRefused
            | Failure::AgentTimeout
            | Failure::AgentReset
            | Failure::AgentUnhealthy
            | Failure::VncNotReady
            | Failure::AgentLate
            | Failure::Unknown
    )
}
