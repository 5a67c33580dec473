//! The golden image: an ext4 file, read without mounting it and without root.
//!
//! The room looks; [`crate::core::image`] says at what, and judges. The file is opened for reading only, its time of
//! access is left alone where we may, and nothing of it is ever written: there is no mount that would replay a journal.
//!
//! A view is stable or none. What identifies the file (device, inode, size, time of change) and the file system's own
//! superblock are taken before and after; where they differ, what was seen may be torn between two builds, and is
//! thrown away and read anew; an image that does not rest says `unknown`.
//!
//! All of it is blocking, for a thread that may block.

mod diff;
mod ext4;
mod host;
mod resolve;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::clock;
use crate::core::event::Timestamp;
use crate::core::image::{
    self as image, Content, Facts, Finding, Generation, GoldenImage, How, Look, MAX_LIST, MAX_TEXT,
    Machine, Seen, Sighting, Trouble, Verdict, judge, unreadable,
};
use ext4::{Bytes, Ext4Error, Kind, Volume};
use resolve::{Place, resolve};

pub use diff::{Change, Diff, diff};
pub use host::Places;

/// A torn view is read anew so often.
const TRIES: usize = 3;
/// Rounds of looking and judging; each follows one more reference (a unit, what it starts, what that is run by).
const ROUNDS: usize = 24;
/// The kernel stamps changes by a clock of a few milliseconds' grain, and two within one grain look like one. A file
/// that did not change for this long can hide no change from then on.
const GRAIN: Duration = Duration::from_millis(20);
/// What is read of a file to tell what it is.
const HEAD: usize = 4_096;

/// What is said of an image that could not be opened: without it no VM can be cloned.
#[must_use]
pub fn unopened(places: &Places, error: &ImageError) -> GoldenImage {
    let path = places.image.display().to_string();
    let absent = matches!(error, ImageError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound);
    let (verdict, reason) = match (absent, std::error::Error::source(error)) {
        (true, _) => (
            Verdict::Fail,
            "not there: nothing can be cloned from it".to_owned(),
        ),
        (false, Some(cause)) => (Verdict::Unknown, format!("cannot be opened: {cause}")),
        (false, None) => (Verdict::Unknown, error.to_string()),
    };
    GoldenImage {
        findings: unreadable(verdict, &path, &reason),
        path,
        generation: None,
        since: None,
        audited_at: clock::now(),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("open {path}: is it there, and readable for this user?")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is not a file; name the image's file itself")]
    NotAFile { path: PathBuf },
}

/// What tells one state of the file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Mark {
        Mark {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The file's state now; links are followed, since they are what is cloned.
    ///
    /// # Errors
    /// It is not there, or may not be asked for.
    pub fn of_path(path: &Path) -> io::Result<Mark> {
        std::fs::metadata(path).map(|metadata| Mark::of(&metadata))
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Which image stands there, and since when: what is copied from now on. Reads the superblock and no more.
#[must_use]
pub fn sight(path: &Path) -> Sighting {
    let seen = open(path).ok().and_then(|file| {
        let metadata = file.metadata().ok()?;
        let stamp = host::stamp(path, &metadata);
        let generation = Generation {
            inode: metadata.ino(),
            size: metadata.len(),
            modified_at: stamp.modified_at,
            uuid: Volume::open(&file).ok().map(|volume| volume.uuid()),
        };
        Some((generation, changed_at(&metadata).max(stamp.modified_at)))
    });
    match seen {
        Some((generation, since)) => Sighting {
            image: Some(generation.to_string()),
            since,
        },
        None => Sighting {
            image: None,
            since: clock::now(),
        },
    }
}

/// Audits an image. That something is wrong with it is a finding, not an error.
///
/// # Errors
/// The file cannot be opened.
pub fn audit(places: &Places) -> Result<GoldenImage, ImageError> {
    let path = places.image.display().to_string();
    let mut last = None;
    for _ in 0..TRIES {
        let file = open(&places.image)?;
        let taken = take(&file, places)?;
        let image = GoldenImage {
            path: path.clone(),
            generation: Some(taken.generation),
            since: Some(taken.since),
            findings: taken.findings,
            audited_at: clock::now(),
        };
        if taken.is_stable && Mark::of_path(&places.image).is_ok_and(|mark| mark == taken.mark) {
            return Ok(image);
        }
        last = Some(image);
    }
    let mut image = last.ok_or_else(|| ImageError::NotAFile {
        path: places.image.clone(),
    })?;
    let reason = "written to while it was read; audit it again when it rests";
    image.findings = unreadable(Verdict::Unknown, &path, reason);
    Ok(image)
}

/// Read-only, without a wait where the name is a pipe's, and leaving the time of access alone where we own the file.
fn open(path: &Path) -> Result<File, ImageError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let quietly = rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty());
    let opened = quietly.or_else(|_| rustix::fs::open(path, flags, Mode::empty()));
    let file = File::from(opened.map_err(|error| ImageError::Open {
        path: path.to_owned(),
        source: error.into(),
    })?);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        _ => Err(ImageError::NotAFile {
            path: path.to_owned(),
        }),
    }
}

/// A file that takes another's name changes, though nothing of it was written.
fn changed_at(metadata: &Metadata) -> Timestamp {
    let ms = metadata.ctime().saturating_mul(1_000);
    Timestamp(ms.saturating_add(metadata.ctime_nsec() / 1_000_000))
}

fn changed_just_now(metadata: &Metadata) -> bool {
    let age = clock::now().since(changed_at(metadata));
    u128::try_from(age).is_ok_and(|age| age < GRAIN.as_millis())
}

struct Taken {
    mark: Mark,
    generation: Generation,
    since: Timestamp,
    findings: Vec<Finding>,
    is_stable: bool,
}

fn take(file: &File, places: &Places) -> Result<Taken, ImageError> {
    let path = &places.image;
    let metadata = |file: &File| {
        file.metadata().map_err(|source| ImageError::Open {
            path: path.clone(),
            source,
        })
    };
    let mut before = metadata(file)?;
    if changed_just_now(&before) {
        std::thread::sleep(GRAIN);
        before = metadata(file)?;
    }
    let stamp = host::stamp(path, &before);
    let stamp_at = stamp.modified_at;
    let mut generation = Generation {
        inode: before.ino(),
        size: before.len(),
        modified_at: stamp.modified_at,
        uuid: None,
    };
    let superblock = head(file);
    let findings = match Volume::open(file) {
        Ok(volume) => {
            generation.uuid = Some(volume.uuid());
            let facts = Facts {
                generation: generation.clone(),
                machine: Machine::named(std::env::consts::ARCH),
                disk: volume.disk().clone(),
                host: host::look_around(places, stamp),
                seen: BTreeMap::new(),
            };
            findings(&volume, facts)
        }
        Err(error) => {
            let verdict = match error.is_damage() {
                true => Verdict::Fail,
                false => Verdict::Unknown,
            };
            unreadable(verdict, &stamp.path, &error.to_string())
        }
    };
    let mark = Mark::of(&before);
    let is_stable = Mark::of(&metadata(file)?) == mark && head(file) == superblock;
    Ok(Taken {
        mark,
        since: changed_at(&before).max(stamp_at),
        generation,
        findings,
        is_stable,
    })
}

/// The superblock's bytes: what writes into an image changes its times and counts.
fn head(file: &File) -> Vec<u8> {
    let mut head = vec![0; 4_096];
    match Bytes::read_at(file, &mut head, 0) {
        Ok(read) => head.truncate(read),
        Err(_) => head.clear(),
    }
    head
}

/// Looks and judges until nothing more is wanted.
fn findings(volume: &Volume<'_>, mut facts: Facts) -> Vec<Finding> {
    let mut judged = judge(&facts);
    for _ in 0..ROUNDS {
        if judged.wanted.is_empty() {
            break;
        }
        for look in judged.wanted {
            let seen = see(volume, &look);
            facts.seen.insert(look, seen);
        }
        judged = judge(&facts);
    }
    judged.findings
}

fn see(volume: &Volume<'_>, look: &Look) -> Seen {
    match seen(volume, look) {
        Ok(seen) => seen,
        Err(error) => Seen::Unreadable(Trouble {
            is_damage: error.is_damage(),
            why: error.to_string(),
        }),
    }
}

fn seen(volume: &Volume<'_>, look: &Look) -> Result<Seen, Ext4Error> {
    let (inode, resolved, guards) = match resolve(volume, &look.path)? {
        Place::Found {
            inode,
            path,
            guards,
        } => (inode, path, guards),
        Place::Absent => return Ok(Seen::Absent),
        Place::Broken { link, target, how } => return Ok(Seen::Broken { link, target, how }),
    };
    match inode.kind {
        Kind::File => {}
        Kind::Folder if look.how == How::List => {
            let names = volume.names(&inode, MAX_LIST)?.into_iter();
            let mut names: Vec<String> = names
                .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
                .collect();
            names.sort();
            return Ok(Seen::Folder(names));
        }
        Kind::Folder => return Ok(Seen::Folder(Vec::new())),
        Kind::Link | Kind::Other => return Ok(Seen::Other { resolved }),
    }
    let most = match look.how {
        How::Stat | How::List => HEAD,
        How::Text => MAX_TEXT,
        How::Digest => usize::try_from(host::MAX_DIGEST + 1).unwrap_or(MAX_TEXT),
    };
    let contents = volume.read(&inode, 0, most)?;
    let is_whole = contents.len() as u64 == inode.size;
    Ok(Seen::File(image::File {
        resolved,
        is_executable: inode.mode & 0o111 != 0,
        guards,
        size: inode.size,
        content: Content::of(contents.get(..HEAD).unwrap_or(&contents)),
        digest: (look.how == How::Digest && is_whole).then(|| sha256(&contents)),
        text: match look.how {
            How::Text => String::from_utf8_lossy(&contents).into_owned(),
            How::Stat | How::List | How::Digest => String::new(),
        },
    }))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut sum = [0; 32];
    sum.copy_from_slice(digest.as_ref());
    sum
}
