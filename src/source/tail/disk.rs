//! The few things the follower asks of a file system, so that a test can give it a faulty one.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx};

use super::family::Family;
use super::identity::FileId;

/// What `stat` says of a regular file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) id: FileId,
    /// When the file was made, in nanoseconds, where the file system keeps it.
    pub(super) born: Option<i64>,
    pub(super) size: u64,
}

pub(super) trait Files: Send {
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Which folder it is, if it is there.
    fn folder(&self, path: &Path) -> Option<FileId>;
    /// The rotation numbers that exist now.
    fn members(&self, family: &Family) -> io::Result<Vec<u32>>;
}

pub(super) trait Handle: Send {
    fn stat(&self) -> io::Result<Stat>;
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// For a watch on exactly this file, whatever its name is by then.
    fn descriptor(&self) -> Option<RawFd>;
}

/// Where an open file has its name by now; `None` where it has none any more.
pub(super) fn folder_of(descriptor: RawFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{descriptor}");
    let is_named = std::fs::metadata(&link).is_ok_and(|facts| facts.nlink() > 0);
    let path = std::fs::read_link(link).ok().filter(|_| is_named)?;
    path.parent().map(Path::to_owned)
}

/// The real file system, asked directly by whoever follows: what the controller just wrote is in the page
/// cache, so a read takes a microsecond or two, while a trip through a pool of blocking threads would take tens.
pub(super) struct Disk;

impl Files for Disk {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        regular(&std::fs::metadata(path)?)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        // Nobody asks when a log was last read, and keeping that date costs more than reading it; only the file's
        // owner may ask not to.
        let file = match open_with(path, OFlags::NOATIME) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open_with(path, OFlags::empty())?
            }
            opened => opened?,
        };
        regular(&file.metadata()?)?;
        Ok(Box::new(file))
    }

    fn folder(&self, path: &Path) -> Option<FileId> {
        let facts = std::fs::metadata(path).ok()?;
        Some(FileId {
            device: facts.dev(),
            inode: facts.ino(),
        })
    }

    fn members(&self, family: &Family) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(family.directory())? {
            numbers.extend(family.number(&entry?.file_name()));
        }
        Ok(numbers)
    }
}

impl Handle for File {
    fn stat(&self) -> io::Result<Stat> {
        regular(&self.metadata()?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }
}

/// What is wrong with a log that is mounted as a single file, as into a container: the mount stays at that file, and those
/// that rotation puts in its place are not to be seen. That there is no log yet is nothing wrong.
pub fn mounted_alone(path: &Path) -> Option<String> {
    let asked = statx(CWD, path, AtFlags::empty(), StatxFlags::empty()).ok()?;
    let said = asked.stx_attributes_mask & asked.stx_attributes;
    said.contains(StatxAttributes::MOUNT_ROOT).then(|| {
        format!(
            "{} is mounted by itself, so that the log is lost at its next rotation; mount its folder",
            path.display()
        )
    })
}

fn open_with(path: &Path, more: OFlags) -> io::Result<File> {
    // Not to hang should the name be a pipe's.
    let flags = i32::try_from((OFlags::NONBLOCK | more).bits()).unwrap_or(0);
    File::options().read(true).custom_flags(flags).open(path)
}

fn regular(metadata: &std::fs::Metadata) -> io::Result<Stat> {
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "not a regular file",
        ));
    }
    Ok(Stat {
        id: FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        },
        born: metadata
            .created()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .and_then(|age| i64::try_from(age.as_nanos()).ok()),
        size: metadata.len(),
    })
}

/// Reads until `buffer` is full or the file ends.
pub(super) fn read_full(
    handle: &dyn Handle,
    buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match handle.read_at(rest, offset) {
            Ok(0) => break,
            Ok(n) => {
                filled += n;
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
