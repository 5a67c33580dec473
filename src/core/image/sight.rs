//! Is an agent put into each copy? What recent boots of browser VMs show.

use std::collections::VecDeque;

use super::Injection;
use crate::core::boot::Boot;
use crate::core::event::{Stage, StageOutcome, VmType};

/// So many boots in a row must show none before the image alone is said to decide.
const ENOUGH: usize = 3;

/// The last boots of browser VMs whose copy was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InjectionSight {
    recent: VecDeque<bool>,
}

impl InjectionSight {
    /// Takes a boot that ended.
    pub fn take(&mut self, boot: &Boot) {
        let copied = boot
            .stage(Stage::CloneSnapshot)
            .is_some_and(|stage| stage.outcome == StageOutcome::Completed);
        // An injection that failed was one all the same.
        let injected = boot.injected || boot.stage(Stage::InjectAgent).is_some();
        if boot.vm_type != Some(VmType::Browser) || !(copied || injected) {
            return;
        }
        self.recent.push_back(injected);
        if self.recent.len() > ENOUGH {
            self.recent.pop_front();
        }
    }

    #[must_use]
    pub fn known(&self) -> Injection {
        match self.recent.contains(&true) {
            true => Injection::Present,
            false if self.recent.len() == ENOUGH => Injection::Absent,
            false => Injection::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Provenance, Timestamp};

    fn boot(vm_type: VmType, injected: bool, copied: bool) -> Boot {
        let mut boot = Boot::new(None, Provenance::default(), Timestamp(0));
        boot.vm_type = Some(vm_type);
        boot.injected = injected;
        if copied {
            boot.set_stage(Stage::CloneSnapshot, Timestamp(0), 900);
        }
        boot
    }

    #[test]
    fn three_browser_boots_in_a_row_show_that_nothing_is_injected() {
        let mut sight = InjectionSight::default();
        for (taken, known) in [
            (boot(VmType::Browser, false, true), Injection::Unknown),
            // Neither a CLI VM nor a boot that never got its copy tells.
            (boot(VmType::Cli, false, true), Injection::Unknown),
            (boot(VmType::Browser, false, false), Injection::Unknown),
            (boot(VmType::Browser, false, true), Injection::Unknown),
            (boot(VmType::Browser, false, true), Injection::Absent),
            (boot(VmType::Browser, true, true), Injection::Present),
            (boot(VmType::Browser, false, true), Injection::Present),
            (boot(VmType::Browser, false, true), Injection::Present),
            (boot(VmType::Browser, false, true), Injection::Absent),
        ] {
            sight.take(&taken);
            assert_eq!(sight.known(), known);
        }
    }
}
