//! What this host has for boots: TAP devices from `/sys/class/net`, and the room for copies of the golden image.
//!
//! Only names and figures are read, nothing is opened but folders; what cannot be seen is `None`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::core::finding::{Census, Room, TAP};

/// Where network devices are listed on a live machine.
pub const DEVICES: &str = "/sys/class/net";
/// A host has 180 VMs.
const MAX_DEVICES: usize = 4_096;
/// Kinds of file systems (`statfs(2)`) that always share the blocks of copies, and that may.
const SHARES: &[u64] = &[0x9123_683e, 0xca45_1a4e];
const MAY_SHARE: &[u64] = &[0x5846_5342, 0x794c_7630, 0x2fc1_2fc1];

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where processes are listed; `None`: those of this host are not asked.
    pub processes: Option<PathBuf>,
    pub devices: PathBuf,
    /// The folder that copies are made in.
    pub copies: Option<PathBuf>,
    pub image: Option<PathBuf>,
}

#[must_use]
pub fn census(places: &Places) -> Census {
    Census {
        taps: taps(&places.devices),
        room: places
            .copies
            .as_deref()
            .zip(places.image.as_deref())
            .and_then(|(copies, image)| room(copies, image)),
    }
}

/// The controller's TAP devices: others of that name are no TAPs.
fn taps(devices: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(devices).ok()?;
    let mut taps: Vec<String> = entries
        .flatten()
        .take(MAX_DEVICES)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_tap = name.starts_with(TAP) && entry.path().join("tun_flags").exists();
            is_tap.then_some(name)
        })
        .collect();
    taps.sort();
    Some(taps)
}

fn room(copies: &Path, image: &Path) -> Option<Room> {
    let image = fs::metadata(image).ok()?;
    let space = rustix::fs::statvfs(copies).ok()?;
    let kind = rustix::fs::statfs(copies).ok()?.f_type;
    let kind = u64::try_from(kind).unwrap_or_default() & 0xffff_ffff;
    Some(Room {
        place: copies.display().to_string(),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        // `cp` leaves holes where the image has them.
        copy_bytes: image.len().min(image.blocks().saturating_mul(512)),
        shares_blocks: match (SHARES.contains(&kind), MAY_SHARE.contains(&kind)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder like `/sys/class/net`.
    fn devices() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, is_tap) in [
            ("fc-vm-12345", true),
            ("fc-vm-00000", true),
            ("fcbr0", false),
            ("fc-bridge", false),
            ("tap0", true),
        ] {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            if is_tap {
                fs::write(folder.join("tun_flags"), "0x5002\n").unwrap();
            }
        }
        root
    }

    #[test]
    fn the_controllers_tap_devices_are_told_from_others() {
        let root = devices();
        let census = census(&Places {
            processes: None,
            devices: root.path().to_owned(),
            copies: None,
            image: None,
        });
        let taps = ["fc-vm-00000", "fc-vm-12345"].map(str::to_owned);
        assert_eq!(census.taps.as_deref(), Some(taps.as_slice()));
        assert_eq!(census.room, None);
    }

    #[test]
    fn a_copy_takes_what_the_image_holds_and_not_its_holes() {
        let root = devices();
        let image = root.path().join("image.ext4");
        let file = fs::File::create(&image).unwrap();
        file.set_len(8 << 30).unwrap();
        let census = census(&Places {
            processes: None,
            devices: root.path().join("gone"),
            copies: Some(root.path().to_owned()),
            image: Some(image),
        });
        assert_eq!(census.taps, None, "they cannot be listed");
        let room = census.room.unwrap();
        assert!(room.copy_bytes < 1 << 20, "{room:?}");
        assert!(room.free_bytes > 0, "{room:?}");
    }
}
