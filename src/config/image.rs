//! Where the golden image is, and what belongs to it.

use std::path::PathBuf;
use std::time::Duration;

use super::document::Settings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub path: PathBuf,
    /// The controller's own file of settings.
    pub settings: Option<PathBuf>,
    pub agent_source: PathBuf,
    pub kernel: Option<PathBuf>,
    /// An image that is written to is audited after this long without a write.
    pub quiet: Duration,
    /// Fresh copies are looked into, too.
    pub clones: bool,
}

/// `None`: no image is audited.
pub(super) fn read(settings: &Settings) -> Option<Image> {
    Some(Image {
        path: settings.maybe("image.path")?,
        settings: settings.maybe("image.settings"),
        agent_source: settings.read("image.agent_source"),
        kernel: settings.maybe("image.kernel"),
        quiet: settings.read("image.quiet"),
        clones: settings.read("image.clones"),
    })
}
