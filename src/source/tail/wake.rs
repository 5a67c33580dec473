//! What cuts the sleep short: one inotify instance for the folder (rotation), one for the newest file (writes). They are
//! apart so that a busy log can be left unread for the length of a batch while a rotation is still noticed at once.
//!
//! The kernel merges a write's event with the one before it while that is unread, so a flood costs one event a batch.
//! Nothing depends on any event arriving: an instance that cannot be made, or a watch that cannot be set, means polling.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Wakes {
    instances: Option<Instances>,
    folder_is_watched: bool,
    /// The watched file as generation and descriptor, and its watch.
    file: Option<(u32, RawFd, i32)>,
}

struct Instances {
    folder: AsyncFd<OwnedFd>,
    file: AsyncFd<OwnedFd>,
}

/// Room for many events; the largest one takes about 270 bytes.
const BUFFER: usize = 4096;
const LARGEST_EVENT: usize = 272;

impl Wakes {
    pub(super) fn new(wanted: bool) -> Wakes {
        let instances = wanted.then(|| {
            Some(Instances {
                folder: instance()?,
                file: instance()?,
            })
        });
        Wakes {
            instances: instances.flatten(),
            folder_is_watched: false,
            file: None,
        }
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
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        self.folder_is_watched = add_watch(instances.folder.get_ref(), path, changes).is_ok();
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
        if let Some((generation, descriptor)) = newest {
            let path = PathBuf::from(format!("/proc/self/fd/{descriptor}"));
            if let Ok(watch) = add_watch(instances.file.get_ref(), &path, WatchFlags::MODIFY) {
                self.file = Some((generation, descriptor, watch));
            }
        }
        // A file that began anew kept its watch. One that was closed lost it by itself, so failing here is fine.
        if let Some((_, _, watch)) = old
            && self.file.is_none_or(|(_, _, new)| new != watch)
        {
            remove_watch(instances.file.get_ref(), watch).ok();
            // The kernel tells of the end of a watch as of a write. What was written until now is read next anyway.
            while drain(instances.file.get_ref()) > 0 {}
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
        let Some(instances) = &self.instances else {
            return std::future::pending().await;
        };
        match instances.file.readable().await {
            Ok(mut ready) => ready.retain_ready(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes what was told of writes, so that the next one is told.
    pub(super) fn take_file(&self) {
        if let Some(instances) = &self.instances {
            let taken: io::Result<()> = instances.file.try_io(Interest::READABLE, |instance| {
                while drain(instance) + LARGEST_EVENT > BUFFER {}
                // Empty: the descriptor is edge-triggered, so a write after this read is a new edge.
                Err(io::Error::from(io::ErrorKind::WouldBlock))
            });
            // Always that nothing is left.
            taken.ok();
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

fn instance() -> Option<AsyncFd<OwnedFd>> {
    registered(init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?)
}

#[expect(
    deprecated,
    reason = "its successor is unsafe to call, for types whose descriptor may change; an OwnedFd's never does"
)]
pub(super) fn registered(descriptor: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor).ok()
}

/// Takes what events there are; how many bytes they were.
fn drain(instance: &OwnedFd) -> usize {
    let mut buffer = [0; BUFFER];
    rustix::io::read(instance.as_fd(), &mut buffer).unwrap_or(0)
}

async fn drained(instance: &AsyncFd<OwnedFd>) {
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

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_watch_is_no_write() {
        let mut file = tempfile::tempfile().unwrap();
        let mut wakes = Wakes::new(true);
        wakes.watch_file(Some((0, file.as_raw_fd())));
        file.write_all(b"1\n").unwrap();
        let instances = wakes.instances.as_ref().unwrap();
        assert!(drain(instances.file.get_ref()) > 0, "the write is told");

        file.write_all(b"2\n").unwrap();
        wakes.watch_file(None);
        let instances = wakes.instances.as_ref().unwrap();
        assert_eq!(drain(instances.file.get_ref()), 0, "nothing is told");

        wakes.watch_file(Some((0, file.as_raw_fd())));
        file.write_all(b"3\n").unwrap();
        let instances = wakes.instances.as_ref().unwrap();
        assert!(drain(instances.file.get_ref()) > 0, "the next one is");
    }
}
