//! The store's file among other files: who may use it, what a damaged one is called, what is kept before a migration.

use std::ffi::OsString;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::error::{NO_FILE, OpenError, StoreError};
use super::schema::version;
use crate::core::event::Timestamp;

/// Boots and their evidence are nobody else's business.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// That this process alone uses the store: an advisory lock on `NAME.lock`, given back by the kernel however the
/// process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Lock, OpenError> {
        let cannot = |error| StoreError::new("lock", path, error);
        // A device would be given the rights of a store, and a lock beside it, for the whole machine.
        if is_no_file(path) {
            return Err(cannot(io::ErrorKind::InvalidInput.into()).into());
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(folder)
                .map_err(cannot)?;
        }
        let mut file = open_rw(&beside(path, ".lock")).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    holder: match known {
                        true => format!("process {}", holder.trim()),
                        false => "of an unknown process".to_owned(),
                    },
                });
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error).into()),
        }
        // Only a help for whoever is refused: a full disk holds the lock just as well.
        let told = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = told {
            tracing::debug!(%error, "the lock file does not say who holds it");
        }
        Ok(Lock { _file: file })
    }
}

/// The store's file is there, and this user alone may read and write it.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    let file = open_rw(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(())
}

/// Something is there that is neither a file nor a folder.
fn is_no_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir())
}

/// How a store would be kept at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is there.
    There,
    /// It would be made.
    Made,
    /// So would its folder.
    MadeWithFolder,
    /// It is there, of a version that only a newer bootwatch knows: a start refuses it.
    Newer(i64),
}

/// Whether this user could keep a store at `path`, or what is in the way and why. SQLite opens nothing that is there, for a
/// sidecar may be using it; the kernel is asked, and a file of our own is made in the folder and removed.
///
/// # Errors
/// The file or folder that is in the way, and what the kernel says of it.
pub fn try_place(path: &Path) -> Result<Kept, (PathBuf, io::Error)> {
    for part in ["", "-wal", "-shm", ".lock"] {
        let part = beside(path, part);
        let may = match fs::metadata(&part) {
            Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(facts) if !facts.is_file() => Err(io::Error::other(NO_FILE)),
            Ok(_) => access(&part, Access::READ_OK | Access::WRITE_OK).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        may.map_err(|error| (part, error))?;
    }
    let above = path.ancestors().skip(1);
    let folder = above.clone().find(|folder| folder.exists());
    let folder = folder.unwrap_or(Path::new("/"));
    let own = folder.join(format!(".bootwatch-check-{}", std::process::id()));
    let has_folder = above.clone().next() == Some(folder);
    let tried = match has_folder {
        true => {
            let made = File::options().write(true).create_new(true).open(&own);
            made.and_then(|mut file| {
                let written = file.write_all(b"x");
                fs::remove_file(&own).and(written)
            })
        }
        // A folder that is missing is left to the sidecar, whose own it must be.
        false => fs::create_dir(&own).and_then(|()| fs::remove_dir(&own)),
    };
    tried.map_err(|error| (folder.to_owned(), error))?;
    if let Some(found) = version_of(path).filter(|found| *found > version()) {
        return Ok(Kept::Newer(found));
    }
    Ok(match (path.exists(), has_folder) {
        (true, _) => Kept::There,
        (false, true) => Kept::Made,
        (false, false) => Kept::MadeWithFolder,
    })
}

/// The `user_version` in the head of an SQLite file.
fn version_of(path: &Path) -> Option<i64> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    const AT: usize = 60;
    let mut head = [0; AT + 4];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let version = head
        .starts_with(MAGIC)
        .then(|| head[AT..].try_into().ok())?;
    version.map(|bytes| i64::from(u32::from_be_bytes(bytes)))
}

fn open_rw(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
}

/// A write-ahead log whose database is gone or empty: a new database would sweep it away.
pub(super) fn is_torn_apart(path: &Path) -> bool {
    let length = |path: &Path| fs::metadata(path).map_or(0, |facts| facts.len());
    length(path) == 0 && length(&beside(path, "-wal")) > 0
}

/// Renames the store and what belongs to it, over nothing that exists. The database goes first: if this is torn apart,
/// the next start finds a log without a database, never a database without its log.
pub(super) fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let aside = free_name(path, "corrupt", now)?;
    for part in ["", "-shm", "-wal"] {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// Copies the database, whose log must be empty, to `NAME.v1-YYYYMMDDTHHMMSSZ`.
pub(super) fn keep_copy(path: &Path, version: i64, now: Timestamp) -> io::Result<PathBuf> {
    let kept = free_name(path, &format!("v{version}"), now)?;
    let copied = fs::copy(path, &kept).and_then(|_| File::open(&kept)?.sync_all());
    if let Err(error) = copied {
        // Half a copy helps nobody, and may be what filled the disk.
        if let Err(error) = fs::remove_file(&kept) {
            tracing::debug!(%error, "half a copy of the store could not be removed");
        }
        return Err(error);
    }
    Ok(kept)
}

/// `NAME.what-YYYYMMDDTHHMMSSZ`, or one with a number behind it where that is taken, by itself or by its parts.
fn free_name(path: &Path, what: &str, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now
        .utc()
        .ok_or_else(|| io::Error::other("the clock is beyond the calendar's years"))?
        .strftime("%Y%m%dT%H%M%SZ");
    let names = std::iter::once(String::new()).chain((2..1_000).map(|number| format!("-{number}")));
    names
        .map(|number| beside(path, &format!(".{what}-{stamp}{number}")))
        .find(|name| {
            ["", "-shm", "-wal"]
                .iter()
                .all(|part| !beside(name, part).exists())
        })
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(try_place(&at("a.db")).unwrap(), Kept::Made);
        assert_eq!(try_place(&at("b/c/a.db")).unwrap(), Kept::MadeWithFolder);
        assert!(names().is_empty(), "nothing of it stays: {:?}", names());

        fs::write(at("a.db"), "a sidecar's").unwrap();
        let lock = Lock::take(&at("a.db")).unwrap();
        let before = fs::metadata(at("a.db")).unwrap().modified().unwrap();
        assert_eq!(try_place(&at("a.db")).unwrap(), Kept::There);
        let after = fs::metadata(at("a.db")).unwrap().modified().unwrap();
        assert_eq!(
            (names(), before),
            (vec!["a.db".into(), "a.db.lock".into()], after)
        );
        drop(lock);

        let mut head = *b"SQLite format 3\0................................................";
        for (version, kept) in [
            (version(), Kept::There),
            (version() + 1, Kept::Newer(version() + 1)),
        ] {
            let bytes = u32::try_from(version).unwrap().to_be_bytes();
            head[60..64].copy_from_slice(&bytes);
            fs::write(at("a.db"), head).unwrap();
            assert_eq!(try_place(&at("a.db")).unwrap(), kept);
        }

        let (at_fault, error) = try_place(folder.path()).unwrap_err();
        assert_eq!(at_fault, folder.path());
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        let (_, error) = try_place(&at("a.db/x.db")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn what_is_no_file_is_refused_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode();
        let before = mode();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.contains(NO_FILE), "{error}");
        let (_, error) = try_place(&path).unwrap_err();
        assert!(error.to_string().contains(NO_FILE), "{error}");
        assert_eq!(mode(), before);
        assert!(!beside(&path, ".lock").exists());

        let nowhere = Lock::take(Path::new("/proc/bootwatch/a.db")).unwrap_err();
        let told = nowhere.to_string();
        assert!(told.contains("correct store.path"), "{told}");
    }
}
