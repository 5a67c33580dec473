//! What recent boots of browser VMs show of the image: is an agent put into each copy, and what is it copied from?

use std::collections::VecDeque;

use super::{Check, Finding, GoldenImage, Injection, Verdict};
use crate::core::boot::Boot;
use crate::core::event::{Failure, Stage, StageOutcome, VmType};

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

/// What the controller copies for browser VMs, by its own word: `cp` names its source where it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceSight {
    named: Option<String>,
}

impl SourceSight {
    /// Takes a boot that ended. One whose copy was made shows that what was named is there again, or is not used.
    pub fn take(&mut self, boot: &Boot) {
        if boot.vm_type != Some(VmType::Browser) {
            return;
        }
        let copied = boot.stage(Stage::CloneSnapshot);
        if copied.is_some_and(|stage| stage.outcome == StageOutcome::Completed) {
            self.named = None;
        } else if boot.failure == Some(Failure::SnapshotCloneFailed) {
            let named = boot.error.as_deref().and_then(source_of);
            self.named = named.map(str::to_owned).or(self.named.take());
        }
    }

    /// What is to be said of an image that is not the one which the controller named.
    #[must_use]
    pub fn objection(&self, image: &GoldenImage) -> Option<Finding> {
        let named = self.named.as_ref().filter(|named| **named != image.path)?;
        let reason = format!(
            "the controller copies browser VMs from {named}, by its own error, and {} is audited",
            image.path
        );
        Some(Finding::new(
            Check::ClonedFrom,
            Verdict::Warn,
            named.as_str(),
            reason,
        ))
    }
}

/// `cp: cannot stat '/x/golden.ext4': No such file or directory`
fn source_of(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("cp: cannot stat '")?;
    let (path, _) = rest.split_once('\'')?;
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Outcome, Provenance, Timestamp};

    #[test]
    fn an_image_that_the_controller_does_not_copy_is_told_by_its_own_error() {
        let image = GoldenImage {
            path: "/base/golden-browser-rootfs.ext4".to_owned(),
            since: None,
            generation: None,
            findings: Vec::new(),
            audited_at: Timestamp(0),
        };
        let failed = |path: &str, vm_type| {
            let mut failed = boot(vm_type, false, false);
            failed.outcome = Some(Outcome::Failed);
            failed.failure = Some(Failure::SnapshotCloneFailed);
            let error = format!(
                "Snapshot cloning failed: Command failed: cp: cannot stat '{path}': No such file or directory"
            );
            failed.error = Some(error);
            failed
        };
        let mut sight = SourceSight::default();
        sight.take(&failed("/base/golden-rootfs.ext4", VmType::Cli));
        assert_eq!(sight.objection(&image), None, "CLI VMs have another image");
        sight.take(&failed(&image.path, VmType::Browser));
        assert_eq!(sight.objection(&image), None);
        sight.take(&failed("/base/golden-rootfs.ext4", VmType::Browser));
        let said = sight.objection(&image).unwrap();
        assert_eq!(said.verdict, Verdict::Warn);
        assert_eq!(
            said.reason,
            "the controller copies browser VMs from /base/golden-rootfs.ext4, by its own error, and \
             /base/golden-browser-rootfs.ext4 is audited"
        );
        sight.take(&boot(VmType::Browser, false, true));
        assert_eq!(sight.objection(&image), None, "a copy was made since");
    }

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
