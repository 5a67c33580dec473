//! Where the VMs' consoles are.

use std::path::PathBuf;

use super::document::Settings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// The folder with a directory a VM.
    pub users_dir: PathBuf,
    /// Where later controllers keep the consoles of removed directories.
    pub archive_dir: PathBuf,
}

/// `None`: consoles are not followed.
pub(super) fn read(settings: &Settings) -> Option<Console> {
    settings.read::<bool>("console.enabled").then(|| Console {
        users_dir: settings.read("console.users_dir"),
        archive_dir: settings.read("console.archive_dir"),
    })
}
