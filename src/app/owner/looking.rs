//! Our own looks at VMs: which there are to look at, and what a look tells.

use std::time::Duration;

use tokio::time::Instant;

use super::Owner;
use crate::app::probe::{Looked, is_late};
use crate::core::diagnosis;
use crate::core::event::VmType;
use crate::core::probe::{Standing, Target};
use crate::core::row::{VmRow, VmStatus};

/// Which VMs there are to look at is told at most this often, and at each look at what holds at the latest.
const TARGETS: Duration = Duration::from_millis(200);

impl Owner {
    /// Takes what a look at a VM saw.
    pub(super) fn looked(&mut self, looked: &Looked) {
        if let Some(probing) = &mut self.reach.probing
            && is_late(looked)
        {
            probing.claim(looked.target, self.clock.now());
        }
        // Of a VM that is gone meanwhile, the look says that it is gone.
        let Target { vm, standing, .. } = looked.target;
        if !self.tracker.targets().any(|known| known == looked.target) {
            return;
        }
        match standing {
            Standing::InFlight => self.looks.saw(vm, &looked.look),
            Standing::GivenUp => {
                let signs = diagnosis::of_look(&looked.look);
                let now = self.clock.now();
                self.engine.learn(vm, signs, now, &mut self.effects);
                self.gather.touched();
            }
            Standing::Running => {}
        }
    }

    /// Believes the looks that are beyond doubt: the log, read to its end, has had its say about the address.
    pub(super) fn believe(&mut self) {
        let now = self.clock.now();
        let seen = self.log.is_seen();
        let Some(probing) = self.reach.probing.as_mut().filter(|_| seen) else {
            return;
        };
        for target in probing.claims(now) {
            self.tracker.came_up_late(target.vm, &mut self.observations);
        }
        self.observed();
    }

    /// Tells which VMs there are to look at.
    pub(super) fn show_targets(&mut self, ticks: Instant) {
        let Some(probing) = &self.reach.probing else {
            return;
        };
        if self.targets_at.is_some_and(|at| ticks < at + TARGETS) {
            return;
        }
        self.targets_at = Some(ticks);
        if !self.log.up || self.log.trouble {
            return probing.show(Vec::new());
        }
        // While the log is behind, what was told last stands: each record that comes puts it behind for a moment, and
        // whoever was forgotten meanwhile would be looked at anew. Nothing is told before it was once read to its end.
        if self.log.caught_up.is_none() {
            return;
        }
        let mut targets: Vec<_> = self.tracker.targets().collect();
        let inventory = self.existing.as_ref().map(|existing| &existing.inventory);
        for row in inventory.into_iter().flat_map(|inventory| inventory.vms()) {
            if let Some(target) = of_row(row)
                && !self.tracker.is_taken_from(&target)
                && !targets.iter().any(|known| known.ip == target.ip)
            {
                targets.push(target);
            }
        }
        probing.show(targets);
    }
}

/// A browser VM that its row says to run.
fn of_row(row: &VmRow) -> Option<Target> {
    let runs = row.status == VmStatus::Running && row.vm_type == Some(VmType::Browser);
    Some(Target {
        vm: row.vm,
        ip: row.ip.filter(|_| runs)?,
        standing: Standing::Running,
    })
}
