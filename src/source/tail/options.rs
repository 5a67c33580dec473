use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to follow and how eagerly.
#[derive(Clone, Debug)]
pub struct TailOptions {
    path: PathBuf,
    /// Sleep between two looks while the log is being written.
    pub poll_active: Duration,
    /// Sleep between two looks once it has been silent for a while.
    pub poll_idle: Duration,
    /// Reads of a busy log are at least this far apart. Zero reads at every wake.
    pub batch_window: Duration,
    pub inotify: bool,
    /// Where a first start (no checkpoint) begins.
    pub start: StartAt,
    /// How many files may be held open. Beyond it no successor is opened until one is read, so that a consumer that
    /// stands still does not pin disk space without end.
    pub max_open_files: usize,
}

/// Where a follower without a checkpoint begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// Everything the family holds, marked as history.
    Beginning,
    /// Behind the last whole line that is there now. Files that appear later are read whole.
    End,
}

/// Why a log cannot be followed at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TailError {
    #[error("{} names no file", .0.display())]
    NoFileName(PathBuf),
}

impl TailOptions {
    pub fn new(path: impl Into<PathBuf>) -> Result<TailOptions, TailError> {
        let path = path.into();
        if path.file_name().is_none() {
            return Err(TailError::NoFileName(path));
        }
        Ok(TailOptions {
            path,
            poll_active: Duration::from_millis(250),
            poll_idle: Duration::from_secs(1),
            batch_window: Duration::from_millis(20),
            inotify: true,
            start: StartAt::Beginning,
            max_open_files: 64,
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that holds the family.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}
