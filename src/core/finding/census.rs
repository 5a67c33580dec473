//! What boots need of the host beside processes: TAP devices that belong to somebody, and room for one more copy.
//!
//! A TAP's name keeps five hex digits of the VM's id, so two VMs can want the same one (1.5 % of the time among 180),
//! and one that was left behind is in the way of a VM to come. What is left behind must be so at two looks: a device is
//! there some seconds before the row of its VM.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::look::finding;
use super::{Basis, Finding, FindingKind, View};
use crate::core::event::{Timestamp, VmId};

/// The controller's devices: `fc-` and the first eight characters of the VM's id.
pub const TAP: &str = "fc-";
const KEPT: usize = 8;
/// Devices that a finding names.
const NAMED: usize = 5;

/// One look at the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The controller's TAP devices; `None`: they cannot be listed.
    pub taps: Option<Vec<String>>,
    /// `None`: where copies are made is not known, or cannot be looked at.
    pub room: Option<Room>,
}

/// The room for copies of the golden image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    pub place: String,
    pub free_bytes: u64,
    /// What one copy takes, the holes of the image left out.
    pub copy_bytes: u64,
    /// Whether a copy can share the image's blocks; `None`: it depends on how the file system was made.
    pub shares_blocks: Option<bool>,
}

/// The device that the controller makes for a VM.
#[must_use]
pub fn tap_of(vm: VmId) -> String {
    let id = vm.to_string();
    format!("{TAP}{}", id.get(..KEPT).unwrap_or(&id))
}

/// What the devices say: whose are nobody's at this look and the one before, and who wants another's.
pub(super) fn taps(
    view: View<'_>,
    taps: &[String],
    owners: &BTreeSet<VmId>,
    unowned_before: &BTreeSet<String>,
) -> (Vec<Finding>, BTreeSet<String>) {
    let mut owned: HashMap<String, VmId> = HashMap::new();
    let mut findings = Vec::new();
    for vm in owners {
        let Some(other) = owned.insert(tap_of(*vm), *vm) else {
            continue;
        };
        let text = format!("the VM's TAP device has the name of that of {other}, which lives too");
        findings.push(finding(
            view,
            FindingKind::TapShared,
            Some(*vm),
            view.now,
            text,
        ));
    }
    let unowned: BTreeSet<String> = taps
        .iter()
        .filter(|tap| !owned.contains_key(*tap))
        .cloned()
        .collect();
    let leaked: Vec<&str> = unowned
        .intersection(unowned_before)
        .map(String::as_str)
        .collect();
    if !leaked.is_empty() {
        let more = match leaked.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = leaked.iter().take(NAMED).copied().collect::<Vec<_>>();
        let text = format!(
            "{} of {} TAP devices belong to no VM: {}{more}",
            leaked.len(),
            taps.len(),
            named.join(", ")
        );
        findings.push(host(view, FindingKind::TapLeaked, text));
    }
    (findings, unowned)
}

/// Whether the next copy fits.
pub(super) fn room(view: View<'_>, room: &Room) -> Option<Finding> {
    // A copy that shares its blocks takes none.
    if room.shares_blocks == Some(true) || room.free_bytes >= room.copy_bytes {
        return None;
    }
    let sharing = match room.shares_blocks {
        Some(_) => "; its file system cannot share blocks between copies",
        None => "",
    };
    let text = format!(
        "{} has {} MB free, and one copy of the golden image takes {} MB{sharing}",
        room.place,
        room.free_bytes >> 20,
        room.copy_bytes >> 20
    );
    Some(host(view, FindingKind::RoomLow, text))
}

fn host(view: View<'_>, kind: FindingKind, text: String) -> Finding {
    Finding {
        basis: Basis::Processes,
        ..finding(view, kind, None, view.now, text)
    }
}

/// Whether a look is young enough to tell of now.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) at: Option<Timestamp>,
    pub(super) census: Census,
    pub(super) unowned: BTreeSet<String>,
}
