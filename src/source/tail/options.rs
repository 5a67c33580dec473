use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What to follow and how eagerly.
#[derive(Clone, Debug)]
pub struct TailOptions {
    path: PathBuf,
    /// Sleep between two looks while the log is being written.
    pub poll_active: Duration,
    /// Sleep between two looks once it has been silent for a while.
    pub poll_idle: Duration,
    /// What is written within half of this after a read is read at its end, with all that came until then. Zero reads at
    /// every wake.
    pub batch_window: Duration,
    /// How long lines of a busy log are gathered while no more of them are `urgent` than may wait, up to 256 KiB of them. Zero
    /// delivers what each read gave.
    pub gather_for: Duration,
    /// Which lines are delivered as soon as they are read, or as there are too many of them.
    pub urgent: Urgent,
    pub inotify: bool,
    /// Where a first start (no checkpoint) begins.
    pub start: StartAt,
    /// How many files may be held open. Beyond it no successor is opened until one is read, so that a consumer that
    /// stands still does not pin disk space without end.
    pub max_open_files: usize,
}

/// Tells of whole lines how many of them are urgent, and how many such lines may wait together; by default all are, and none
/// may.
#[derive(Clone, Default)]
pub struct Urgent(Option<Arc<Told>>);

struct Told {
    count: Box<Count>,
    may_wait: Box<MayWait>,
}

type Count = dyn Fn(&[u8]) -> usize + Send + Sync;
type MayWait = dyn Fn() -> usize + Send + Sync;

impl Urgent {
    #[must_use]
    pub fn new(
        count: impl Fn(&[u8]) -> usize + Send + Sync + 'static,
        may_wait: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Urgent {
        Urgent(Some(Arc::new(Told {
            count: Box::new(count),
            may_wait: Box::new(may_wait),
        })))
    }

    /// How many more of the lines that wait are urgent with these.
    pub(super) fn count(&self, lines: &[u8]) -> usize {
        let any = usize::from(!lines.is_empty());
        self.0.as_ref().map_or(any, |told| (told.count)(lines))
    }

    /// Whether so many urgent lines may wait together.
    pub(super) fn may_wait(&self, urgent: usize) -> bool {
        urgent == 0
            || self
                .0
                .as_ref()
                .is_some_and(|told| urgent <= (told.may_wait)())
    }
}

impl fmt::Debug for Urgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "some" } else { "all" })
    }
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
            batch_window: Duration::from_millis(16),
            gather_for: Duration::ZERO,
            urgent: Urgent::default(),
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
