//! What can be wrong with the store, in the words of a closed vocabulary, each with its remedy.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sqlx::sqlite::SqliteError;

use super::saved::Saved;

/// Why the store did not do what it was asked; the label `result` of `store_write_duration_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// No room on the disk.
    Full,
    /// Another program holds the file.
    Locked,
    /// The file, its folder or the file system may not be written.
    ReadOnly,
    /// The file does not hold what it should.
    Corrupt,
    /// The disk failed otherwise.
    Io,
    Other,
}

impl Kind {
    pub const ALL: &'static [Kind] = &[
        Kind::Full,
        Kind::Locked,
        Kind::ReadOnly,
        Kind::Corrupt,
        Kind::Io,
        Kind::Other,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Full => "full",
            Kind::Locked => "locked",
            Kind::ReadOnly => "read_only",
            Kind::Corrupt => "corrupt",
            Kind::Io => "io",
            Kind::Other => "other",
        }
    }

    /// What is wrong, and what to do about it.
    fn remedy(self) -> &'static str {
        match self {
            Kind::Full => "no room is left on its disk; free some, and bootwatch goes on by itself",
            Kind::Locked => "another program holds it; end that program (fuser names it)",
            Kind::ReadOnly => {
                "it may not be written; give bootwatch's user the right to write the file and its folder"
            }
            Kind::Corrupt => {
                "it is damaged; it is set aside and a new one begun, restore it from a backup if it is needed"
            }
            Kind::Io => "its disk fails; look at the kernel's log",
            Kind::Other => "SQLite refused; please report this with the cause",
        }
    }

    pub(super) fn of_sql(error: &sqlx::Error) -> Kind {
        match error {
            sqlx::Error::Database(_) => code(error).map_or(Kind::Other, Kind::of_code),
            sqlx::Error::Io(error) => Kind::of_io(error),
            // What was read is not what was written.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Kind::Corrupt,
            _ => Kind::Other,
        }
    }

    /// By SQLite's extended result code; its low byte is the primary one.
    fn of_code(code: u32) -> Kind {
        /// The file in shared memory could not grow: a full disk, as a rule.
        const IOERR_SHMSIZE: u32 = 10 | (19 << 8);
        match (code, code & 0xff) {
            (IOERR_SHMSIZE, _) | (_, 13) => Kind::Full,
            (_, 5 | 6) => Kind::Locked,
            // A file that cannot be opened (14) is, as a rule, a log that cannot be made in a closed folder.
            (_, 3 | 8 | 14) => Kind::ReadOnly,
            (_, 11 | 26) => Kind::Corrupt,
            (_, 10) => Kind::Io,
            _ => Kind::Other,
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Kind {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Kind::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Kind::ReadOnly,
            _ => Kind::Io,
        }
    }
}

/// SQLite's extended result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<SqliteError>()?;
    sqlx::error::DatabaseError::code(error)?.parse().ok()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Cause {
    Sql(#[from] sqlx::Error),
    Io(#[from] io::Error),
}

impl Cause {
    fn kind(&self) -> Kind {
        match self {
            Cause::Sql(error) => Kind::of_sql(error),
            Cause::Io(error) => Kind::of_io(error),
        }
    }
}

/// One thing that the store could not do. What it held before, it holds still.
#[derive(Debug, thiserror::Error)]
#[error("{action} the store {}: {}", path.display(), place.unwrap_or_else(|| kind.remedy()))]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    kind: Kind,
    /// What is wrong with where it is to be or what it is opened with, rather than with what is there.
    place: Option<&'static str>,
    #[source]
    cause: Cause,
}

const FOLDER: &str = "it is a folder; name a file in it (store.path)";
const NOWHERE: &str = "its folder is not there and cannot be made; correct store.path";
const GONE: &str =
    "it is not there; put it back, or start bootwatch anew, which begins a new one (store.path)";
const REPLACED: &str = "another file is in its place; put back the one that was there, or start bootwatch anew, which takes the one that is \
     there (store.path)";
const NO_DESCRIPTOR: &str = "no file can be opened any more; raise the limit of open files (LimitNOFILE= of bootwatch's unit, or the machine's \
     fs.file-max), and bootwatch goes on by itself";
/// What a store's path names that is there, and neither a file nor a folder.
pub(super) const NO_FILE: &str = "it is no regular file; name one (store.path)";

/// What is wrong with a path at which there can be no store.
fn misplaced(action: &str, path: &Path, cause: &Cause) -> Option<&'static str> {
    match (path.metadata(), cause) {
        (Ok(facts), _) if facts.is_dir() => Some(FOLDER),
        (Ok(facts), _) if !facts.is_file() => Some(NO_FILE),
        (Err(_), Cause::Io(error))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Some(NOWHERE)
        }
        // Who only reads makes no file, and SQLite says no more than that it cannot be opened.
        (Err(error), Cause::Sql(_))
            if action == "read" && error.kind() == io::ErrorKind::NotFound =>
        {
            Some(GONE)
        }
        _ => None,
    }
}

/// No descriptor is left, to this process or to the machine.
fn is_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].contains(&Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Whether the store failed for want of descriptors. SQLite says no more than that it cannot open a file, so that others are
/// opened: to open the store's own and close it again would give up SQLite's locks on it. What SQLite opened until it failed
/// is closed by now, and it needs three.
fn lacks_descriptors(cause: &Cause, open: impl Fn() -> io::Result<File>) -> bool {
    match cause {
        Cause::Io(error) | Cause::Sql(sqlx::Error::Io(error)) => is_exhausted(error),
        Cause::Sql(error) if code(error).is_some_and(|code| code & 0xff == 14) => {
            let opened: io::Result<Vec<File>> = (0..3).map(|_| open()).collect();
            opened.is_err_and(|error| is_exhausted(&error))
        }
        Cause::Sql(_) => false,
    }
}

impl StoreError {
    pub(super) fn new(action: &'static str, path: &Path, cause: impl Into<Cause>) -> StoreError {
        let cause = cause.into();
        if lacks_descriptors(&cause, || File::open("/dev/null")) {
            return StoreError {
                action,
                path: path.to_owned(),
                kind: Kind::Io,
                place: Some(NO_DESCRIPTOR),
                cause,
            };
        }
        StoreError {
            action,
            path: path.to_owned(),
            kind: cause.kind(),
            place: misplaced(action, path, &cause),
            cause,
        }
    }

    /// The file that is written has lost its name, with what is written to it from now on.
    pub(super) fn gone(path: &Path) -> StoreError {
        StoreError {
            place: Some(GONE),
            ..StoreError::new("write", path, io::Error::from(io::ErrorKind::NotFound))
        }
    }

    /// The same, and another file has the name.
    pub(super) fn replaced(path: &Path) -> StoreError {
        StoreError {
            place: Some(REPLACED),
            ..StoreError::new("write", path, io::Error::other("its inode is another one"))
        }
    }

    /// Whatever it looked like, the file is not what it should be.
    pub(super) fn found_corrupt(mut self) -> StoreError {
        self.kind = Kind::Corrupt;
        self
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Why there is no store after all. The first three end the start; with the last one bootwatch runs from memory, and
/// tries again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the store {} is in use by another bootwatch ({holder}); stop that one, or write another store.path for this one",
        path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "the store {} is of version {found}, and this bootwatch knows versions up to {known}; run the newer bootwatch \
         again, or put the copy that it kept ({}.v{known}-*) in the store's place",
        path.display(),
        path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("{} is a database of something else; write another store.path", path.display())]
    Foreign { path: PathBuf },
    #[error("{error}")]
    Unusable {
        #[source]
        error: StoreError,
        /// What could be read of it all the same: where to go on.
        saved: Option<Box<Saved>>,
    },
}

impl OpenError {
    /// Whether to go on without a store and try again; otherwise somebody has to decide.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, OpenError::Unusable { .. })
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            OpenError::Unusable { error, .. } => error.kind(),
            OpenError::InUse { .. } => Kind::Locked,
            OpenError::Newer { .. } | OpenError::Foreign { .. } => Kind::Other,
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> OpenError {
        OpenError::Unusable { error, saved: None }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection};

    use super::*;

    #[tokio::test]
    async fn where_no_descriptor_is_left_nothing_is_said_of_rights_or_of_the_disk() {
        let said = StoreError::new("open", Path::new("/a.db"), io::Error::from(Errno::MFILE));
        assert_eq!(
            said.to_string(),
            format!("open the store /a.db: {NO_DESCRIPTOR}")
        );
        let none = |errno: Errno| move || Err(io::Error::from(errno));
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename("/no/such/folder/a.db");
        let cannot = Cause::from(options.connect().await.expect_err("it cannot be opened"));
        assert_eq!(cannot.kind(), Kind::ReadOnly);
        assert!(lacks_descriptors(&cannot, none(Errno::MFILE)));
        assert!(lacks_descriptors(&cannot, none(Errno::NFILE)));
        // Whatever else keeps a file from being opened is not that.
        assert!(!lacks_descriptors(&cannot, none(Errno::ACCESS)));
        assert!(!lacks_descriptors(&cannot, || File::open("/dev/null")));
        let mut memory = sqlx::SqliteConnection::connect("sqlite::memory:")
            .await
            .unwrap();
        let wrong = sqlx::query("SELECT nothing").execute(&mut memory).await;
        let wrong = Cause::from(wrong.unwrap_err());
        assert!(!lacks_descriptors(&wrong, none(Errno::MFILE)));
    }
}
