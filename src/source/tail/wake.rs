//! What cuts the sleep short: one inotify instance for the folder (rotation), one for the newest file (writes). They are
//! apart so that a busy log can be left unread for the length of a batch while a rotation is still noticed at once.
//!
//! The kernel merges a write's event with the one before it while that is unread, so a flood costs one event a batch.
//! Nothing depends on any event arriving: an instance that cannot be made, or a watch that cannot be set, means polling.
//!
//! While the log is busy the runtime is not told of writes: a thread of its own asks the same instances (`beat.rs`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Wakes {
    instances: Option<Instances>,
    folder_is_watched: bool,
    /// The watched file as generation and descriptor, and its watch.
    file: Option<(u32, RawFd, i32)>,
    /// That a limit of the kernel is in the way was said.
    limit_told: bool,
}

struct Instances {
    folder: AsyncFd<Arc<OwnedFd>>,
    file: Arc<OwnedFd>,
    /// The runtime's place for `file`, while it is to be told of writes.
    writes: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl Instances {
    fn new(folder: Arc<OwnedFd>, file: Arc<OwnedFd>) -> Option<Instances> {
        Some(Instances {
            folder: registered(folder)?,
            writes: Some(registered(Arc::clone(&file))?),
            file,
        })
    }

    fn watch_folder(&self, path: &Path) -> Result<(), Errno> {
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        add_watch(self.folder.get_ref(), path, changes).map(|_| ())
    }
}

/// Room for many events; the largest one takes about 270 bytes.
const BUFFER: usize = 4096;
const LARGEST_EVENT: usize = 272;

impl Wakes {
    pub(super) fn new(wanted: bool) -> Wakes {
        let mut wakes = Wakes {
            instances: None,
            folder_is_watched: false,
            file: None,
            limit_told: false,
        };
        if !wanted {
            return wakes;
        }
        wakes.instances = match (instance(), instance()) {
            (Ok(folder), Ok(file)) => Instances::new(folder, file),
            (Err(error), _) | (_, Err(error)) => {
                wakes.refused(error);
                None
            }
        };
        wakes
    }

    /// Says once that a limit of the kernel is in the way. That a folder or file is not there is no limit.
    fn refused(&mut self, error: Errno) {
        let limits = [Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::NOMEM];
        if limits.contains(&error) && !std::mem::replace(&mut self.limit_told, true) {
            tracing::warn!(
                %error,
                "the kernel does not tell of writes to the log, which is polled (log.follow), so that pages come later by up \
                 to a poll; raise fs.inotify.max_user_instances and fs.inotify.max_user_watches and restart bootwatch"
            );
        }
    }

    /// The folder's instance and the file's, for whoever waits for them without the runtime.
    pub(super) fn descriptors(&self) -> Option<(Arc<OwnedFd>, Arc<OwnedFd>)> {
        let instances = self.instances.as_ref()?;
        let folder = Arc::clone(instances.folder.get_ref());
        Some((folder, Arc::clone(&instances.file)))
    }

    /// Whether the kernel would wake us at a rotation.
    pub(super) fn active(&self) -> bool {
        self.instances.is_some() && self.folder_is_watched
    }

    /// Also to be called again now and then: the folder may have been replaced. Setting the same watch twice is one.
    pub(super) fn watch_directory(&mut self, path: &Path) {
        let Some(instances) = &self.instances else {
            return;
        };
        let watched = instances.watch_folder(path);
        self.folder_is_watched = watched.is_ok();
        if let Err(error) = watched {
            self.refused(error);
        }
    }

    /// Watches the newest file for writes, by descriptor: its name may be another one's by now. Whether it is another
    /// file than before.
    pub(super) fn watch_file(&mut self, newest: Option<(u32, RawFd)>) -> bool {
        let watched = self
            .file
            .map(|(generation, descriptor, _)| (generation, descriptor));
        let Some(instances) = &self.instances else {
            return false;
        };
        if watched == newest {
            return false;
        }
        let old = self.file.take();
        let mut refused = None;
        if let Some((generation, descriptor)) = newest {
            let path = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
            match add_watch(&instances.file, &path, WatchFlags::MODIFY) {
                Ok(watch) => self.file = Some((generation, descriptor, watch)),
                Err(error) => refused = Some(error),
            }
        }
        // A file that began anew kept its watch. One that was closed lost it by itself, so failing here is fine.
        if let Some((_, _, watch)) = old
            && self.file.is_none_or(|(_, _, new)| new != watch)
        {
            remove_watch(&instances.file, watch).ok();
            // The kernel tells of the end of a watch as of a write. What was written until now is read next anyway.
            while drain(&instances.file) > 0 {}
        }
        if let Some(error) = refused {
            self.refused(error);
        }
        self.file.is_some()
    }

    /// Something happened to a name in the folder.
    pub(super) async fn directory(&self) {
        match &self.instances {
            Some(instances) => drained(&instances.folder).await,
            None => std::future::pending().await,
        }
    }

    /// Something was written to the watched file. Until it is taken, further writes are merged with it and wake nobody.
    pub(super) async fn written(&self) {
        let writes = self.instances.as_ref().and_then(|all| all.writes.as_ref());
        let Some(writes) = writes else {
            return std::future::pending().await;
        };
        match writes.readable().await {
            Ok(mut ready) => ready.retain_ready(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes what was told of writes, so that the next one is told.
    pub(super) fn take_file(&self) {
        let writes = self.instances.as_ref().and_then(|all| all.writes.as_ref());
        if let Some(writes) = writes {
            let taken: io::Result<()> = writes.try_io(Interest::READABLE, |instance| {
                take(instance);
                // Empty: the descriptor is edge-triggered, so a write after this read is a new edge.
                Err(io::Error::from(io::ErrorKind::WouldBlock))
            });
            // Always that nothing is left.
            taken.ok();
        }
    }

    /// The runtime is not told of writes any more.
    pub(super) fn leave_file(&mut self) {
        if let Some(instances) = &mut self.instances {
            instances.writes = None;
        }
    }

    /// The runtime is told of writes again, of those from now on.
    pub(super) fn return_to_file(&mut self) {
        if let Some(instances) = &mut self.instances {
            take(&instances.file);
            // What is written in between is told of as well: a descriptor that has something comes with an edge.
            instances.writes = registered(Arc::clone(&instances.file));
        }
    }

    /// A log at rest: should the runtime not have taken it back when it was asked to, it is asked again.
    pub(super) fn insist_on_file(&mut self) {
        if let Some(instances) = &mut self.instances
            && instances.writes.is_none()
        {
            instances.writes = registered(Arc::clone(&instances.file));
        }
    }

    /// The same as [`Wakes::directory`], asked without waiting and without the runtime's help.
    pub(super) fn take_directory(&self) -> bool {
        match &self.instances {
            Some(instances) => drain(instances.folder.get_ref()) > 0,
            None => false,
        }
    }
}

fn instance() -> Result<Arc<OwnedFd>, Errno> {
    init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Arc::new)
}

#[expect(
    deprecated,
    reason = "its successor is unsafe to call, for types whose descriptor may change; an OwnedFd's never does"
)]
fn registered(instance: Arc<OwnedFd>) -> Option<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::new(instance).ok()
}

/// Takes all events that there are.
pub(super) fn take(instance: &OwnedFd) {
    while drain(instance) + LARGEST_EVENT > BUFFER {}
}

/// Takes what events there are; how many bytes they were.
fn drain(instance: &OwnedFd) -> usize {
    // Not cleared: most of it is never touched, and a busy log is asked that often.
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let taken = rustix::io::read(instance.as_fd(), &mut buffer);
    taken.map_or(0, |(events, _)| events.len())
}

async fn drained(instance: &AsyncFd<Arc<OwnedFd>>) {
    loop {
        let Ok(mut ready) = instance.readable().await else {
            return std::future::pending().await;
        };
        let taken = drain(instance.get_ref());
        // The descriptor is edge-triggered, and the queue now empty unless the buffer was nearly full: an event after
        // this read is a new edge. So a second read, only to be told so, is not needed.
        if taken + LARGEST_EVENT <= BUFFER {
            ready.clear_ready();
        }
        if taken > 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_watch_is_no_write() {
        let mut file = tempfile::tempfile().unwrap();
        let mut wakes = Wakes::new(true);
        wakes.watch_file(Some((0, file.as_raw_fd())));
        file.write_all(b"1\n").unwrap();
        let instances = wakes.instances.as_ref().unwrap();
        assert!(drain(&instances.file) > 0, "the write is told");

        file.write_all(b"2\n").unwrap();
        wakes.watch_file(None);
        let instances = wakes.instances.as_ref().unwrap();
        assert_eq!(drain(&instances.file), 0, "nothing is told");

        wakes.watch_file(Some((0, file.as_raw_fd())));
        file.write_all(b"3\n").unwrap();
        let instances = wakes.instances.as_ref().unwrap();
        assert!(drain(&instances.file) > 0, "the next one is");
    }
    #[tokio::test]
    async fn what_is_written_once_the_runtime_is_told_again_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        let mut wakes = Wakes::new(true);
        wakes.watch_file(Some((0, file.as_raw_fd())));
        wakes.leave_file();
        file.write_all(b"1\n").unwrap();
        wakes.return_to_file();
        for text in [b"2\n", b"3\n"] {
            file.write_all(text).unwrap();
            let told = tokio::time::timeout(Duration::from_secs(20), wakes.written());
            told.await.expect("within the deadline");
            wakes.take_file();
        }
    }
}
