//! What changed from one image to another: names, kinds, modes, owners, sizes, links, and contents where they matter.
//!
//! A rebuilt image has new times everywhere, so times say nothing. Contents are compared in the folders that decide how
//! a VM starts; elsewhere two files of one size count as one.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::ext4::{Ext4Error, Inode, Kind, Volume};
use super::{ImageError, Mark, open};

/// Where contents are compared.
const COMPARED: &[&str] = &[
    "/opt/",
    "/etc/",
    "/usr/local/",
    "/lib/systemd/",
    "/usr/lib/systemd/",
];
/// Larger files are compared by their size.
const MAX_COMPARED: u64 = 4 << 20;
/// A root file system has some hundred thousand names.
const MAX_NAMES: usize = 1_000_000;
const MAX_DEPTH: usize = 64;
/// The number of the root's inode.
const ROOT: u32 = 2;
/// More are counted, not listed.
const MAX_CHANGES: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: String,
    /// `added`, `removed`, or what is another: `kind`, `mode`, `owner`, `size`, `target`, `contents`.
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    pub changes: Vec<Change>,
    /// Beyond those listed.
    pub more: usize,
    /// Why not everything could be compared.
    pub unread: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    number: u32,
    kind: Kind,
    mode: u16,
    owner: u32,
    size: u64,
    target: Option<String>,
}

/// Every name of an image that could be read.
#[derive(Debug, Default)]
struct Names {
    entries: BTreeMap<String, Entry>,
    /// Folders whose names are not all there; the whole image is the empty one.
    unread: HashSet<String>,
}

impl Names {
    fn is_unread(&self, path: &str) -> bool {
        let mut folders = path.match_indices('/').map(|(at, _)| path.split_at(at).0);
        folders.any(|folder| self.unread.contains(folder))
    }
}

/// Compares two images.
///
/// # Errors
/// One of them cannot be opened.
pub fn diff(old: &Path, new: &Path) -> Result<Diff, ImageError> {
    let mut diff = Diff::default();
    let files = [open(old)?, open(new)?];
    let before = [Mark::of_path(old).ok(), Mark::of_path(new).ok()];
    let mut volumes = Vec::new();
    for (file, path) in files.iter().zip([old, new]) {
        match Volume::open(file) {
            Ok(volume) => volumes.push(volume),
            Err(error) => diff.unread.push(format!("{}: {error}", path.display())),
        }
    }
    if let [old_volume, new_volume] = volumes.as_slice() {
        let olds = entries(old_volume, &mut diff.unread);
        let news = entries(new_volume, &mut diff.unread);
        compare((old_volume, &olds), (new_volume, &news), &mut diff);
    }
    if before != [Mark::of_path(old).ok(), Mark::of_path(new).ok()] {
        diff.unread
            .push("an image was written to while it was read".to_owned());
    }
    Ok(diff)
}

fn compare(
    (old_volume, olds): (&Volume<'_>, &Names),
    (new_volume, news): (&Volume<'_>, &Names),
    diff: &mut Diff,
) {
    for (path, old) in &olds.entries {
        let Some(new) = news.entries.get(path) else {
            // What lies in a folder that could not be read may be there.
            if !news.is_unread(path) {
                diff.add(path, "removed", Some(said(old)), None);
            }
            continue;
        };
        if let Some((what, from, to)) = difference(old, new) {
            diff.add(path, what, Some(from), Some(to));
            continue;
        }
        let is_compared = old.kind == Kind::File
            && old.size <= MAX_COMPARED
            && COMPARED.iter().any(|folder| path.starts_with(folder));
        if !is_compared {
            continue;
        }
        match (contents(old_volume, old), contents(new_volume, new)) {
            (Ok(old), Ok(new)) if old == new => {}
            (Ok(_), Ok(_)) => diff.add(path, "contents", None, None),
            (Err(error), _) | (_, Err(error)) => complain(&mut diff.unread, path, &error),
        }
    }
    for (path, new) in &news.entries {
        if !olds.entries.contains_key(path) && !olds.is_unread(path) {
            diff.add(path, "added", None, Some(said(new)));
        }
    }
    diff.changes.sort_by(|one, other| one.path.cmp(&other.path));
}

impl Diff {
    fn add(&mut self, path: &str, what: &'static str, from: Option<String>, to: Option<String>) {
        if self.changes.len() >= MAX_CHANGES {
            self.more += 1;
            return;
        }
        let path = path.to_owned();
        self.changes.push(Change {
            path,
            what,
            from,
            to,
        });
    }
}

fn difference(old: &Entry, new: &Entry) -> Option<(&'static str, String, String)> {
    let kinds = (old.kind != new.kind).then(|| ("kind", said(old), said(new)));
    let mode = |entry: &Entry| format!("{:04o}", entry.mode & 0o7777);
    kinds
        .or_else(|| {
            let target = |entry: &Entry| entry.target.clone().unwrap_or_default();
            (old.target != new.target).then(|| ("target", target(old), target(new)))
        })
        .or_else(|| {
            let counts = old.kind == Kind::File && old.size != new.size;
            counts.then(|| ("size", old.size.to_string(), new.size.to_string()))
        })
        .or_else(|| (old.mode != new.mode).then(|| ("mode", mode(old), mode(new))))
        .or_else(|| {
            (old.owner != new.owner)
                .then(|| ("owner", old.owner.to_string(), new.owner.to_string()))
        })
}

fn said(entry: &Entry) -> String {
    match entry.kind {
        Kind::File => format!("file of {} bytes", entry.size),
        Kind::Folder => "folder".to_owned(),
        Kind::Link => format!("link to {}", entry.target.as_deref().unwrap_or("?")),
        Kind::Other => "special file".to_owned(),
    }
}

fn contents(volume: &Volume<'_>, entry: &Entry) -> Result<Vec<u8>, Ext4Error> {
    let most = usize::try_from(MAX_COMPARED).unwrap_or(usize::MAX);
    volume.read(&volume.numbered(entry.number)?, 0, most)
}

/// Names what could not be read; the first ones say enough.
fn complain(unread: &mut Vec<String>, path: &str, error: &dyn std::fmt::Display) {
    const MOST: usize = 100;
    if unread.len() < MOST {
        unread.push(format!("{path}: {error}"));
    }
}

/// Every name with what it is. What cannot be read is named, and the rest goes on.
fn entries(volume: &Volume<'_>, unread: &mut Vec<String>) -> Names {
    let mut found = Names::default();
    // Links to folders are a damaged image's, or a hostile one's, and would make paths without end.
    let mut walked = HashSet::from([ROOT]);
    let mut folders: Vec<(String, Inode)> = match volume.root() {
        Ok(root) => vec![(String::new(), root)],
        Err(error) => {
            complain(unread, "/", &error);
            found.unread.insert(String::new());
            Vec::new()
        }
    };
    while let Some((folder, inode)) = folders.pop() {
        let names = match volume.names(&inode, MAX_NAMES) {
            Ok(names) => names,
            Err(error) => {
                complain(unread, &folder, &error);
                found.unread.insert(folder);
                continue;
            }
        };
        for (name, number) in names {
            let path = format!("{folder}/{}", String::from_utf8_lossy(&name));
            if found.entries.len() >= MAX_NAMES {
                complain(unread, &path, &"more names than are compared");
                found.unread.insert(String::new());
                return found;
            }
            let inode = match volume.numbered(number) {
                Ok(inode) => inode,
                Err(error) => {
                    complain(unread, &path, &error);
                    found.unread.insert(folder.clone());
                    continue;
                }
            };
            let target = match inode.kind {
                Kind::Link => volume.target(&inode).ok(),
                _ => None,
            };
            let entry = Entry {
                number,
                kind: inode.kind,
                mode: inode.mode,
                owner: inode.owner,
                size: inode.size,
                target,
            };
            if inode.kind == Kind::Folder {
                match walked.insert(number) && path.matches('/').count() <= MAX_DEPTH {
                    true => folders.push((path.clone(), inode)),
                    false => {
                        complain(
                            unread,
                            &path,
                            &"a folder that was met before, or lies too deep",
                        );
                        found.unread.insert(path.clone());
                    }
                }
            }
            found.entries.insert(path, entry);
        }
    }
    found
}
