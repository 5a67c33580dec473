//! What stands around an image on its host: other images, the agent's source, the guests' kernel.
//!
//! None of it must be there; what cannot be read is not known, and the checks say so.

use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::config;
use crate::core::event::Timestamp;
use crate::core::image::{Host, Kernel, Source, Stamp};

/// Larger files of the agent's source (its bundled Node.js) are compared by their size.
pub(super) const MAX_DIGEST: u64 = 4 << 20;
/// The agent has a handful of files.
const MAX_SOURCES: usize = 64;
/// Kernels of microVMs have 20 to 50 MB.
const MAX_KERNEL: u64 = 256 << 20;
const MAX_SETTINGS: u64 = 1 << 20;
/// What the controller's settings call the image of browser VMs.
const SETTING: &str = "GOLDEN_BROWSER_ROOTFS";
/// What browser VMs are cloned from unless a setting says otherwise.
const CLONED: &str = "golden-browser-rootfs.ext4";
/// What builds write, beside it.
const BUILT: &[&str] = &["golden-rootfs.ext4", "golden-rootfs-production.ext4"];
/// What is compared of the agent's source.
const COMPARED: &[&str] = &[".js", ".py", ".sh"];

/// Where things are on this host. What is not given is looked for beside the image, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub image: PathBuf,
    /// The file of settings that the controller reads.
    pub settings: Option<PathBuf>,
    /// The folder of the agent's source.
    pub source: Option<PathBuf>,
    pub kernel: Option<PathBuf>,
}

impl From<&config::Image> for Places {
    fn from(settings: &config::Image) -> Places {
        Places {
            image: settings.path.clone(),
            settings: settings.settings.clone(),
            source: Some(settings.agent_source.clone()),
            kernel: settings.kernel.clone(),
        }
    }
}

pub(super) fn stamp(path: &Path, metadata: &Metadata) -> Stamp {
    Stamp {
        path: path.display().to_string(),
        device: metadata.dev(),
        inode: metadata.ino(),
        modified_at: modified_at(metadata),
    }
}

pub(super) fn modified_at(metadata: &Metadata) -> Timestamp {
    let ms = metadata.mtime().saturating_mul(1_000);
    Timestamp(ms.saturating_add(metadata.mtime_nsec() / 1_000_000))
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    Some(stamp(path, &fs::metadata(path).ok()?))
}

/// Looks around `image`, whose own stamp is given.
pub(super) fn look_around(places: &Places, image: Stamp) -> Host {
    let folder = places.image.parent().unwrap_or(Path::new("."));
    let is_image = |path: &Path| path.file_name() == places.image.file_name();
    let beside = folder.join(CLONED);
    let set = places.settings.as_deref().and_then(setting);
    let (cloned, cloned_missing) = match set {
        Some(path) => match stamp_of(&path) {
            Some(stamp) => (Some(stamp), None),
            None => (None, Some(path.display().to_string())),
        },
        None if is_image(&beside) => (Some(image.clone()), None),
        None => (stamp_of(&beside), None),
    };
    let built = BUILT.iter().map(|name| folder.join(name));
    let built = built
        .filter(|path| !is_image(path))
        .filter_map(|path| stamp_of(&path));
    let source = places.source.as_deref();
    Host {
        cloned,
        cloned_missing,
        built: built.collect(),
        source: source.map_or_else(String::new, |path| path.display().to_string()),
        sources: source.map(sources).unwrap_or_default(),
        kernel: places.kernel.as_deref().and_then(kernel),
        image: Some(image),
    }
}

/// The image that the controller's own settings name: a file of `NAME=value`, as `.env` files are.
fn setting(path: &Path) -> Option<PathBuf> {
    let file = File::open(path).ok()?.take(MAX_SETTINGS);
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let values = lines.filter_map(|line| {
        let value = value_of(SETTING, &line)?;
        value.starts_with('/').then(|| PathBuf::from(value))
    });
    values.last()
}

/// The value that a line gives to `name`, as Node's dotenv reads it: quotes of three kinds, and what follows the closing
/// one is ignored; without quotes a `#` begins a comment, wherever it stands.
fn value_of<'a>(name: &str, line: &'a str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
    let value = value.trim();
    let quote = value.chars().next().filter(|first| "\"'`".contains(*first));
    let quoted = quote.and_then(|quote| value.strip_prefix(quote)?.split_once(quote));
    match quoted {
        Some((inside, _)) => Some(inside),
        None => Some(value.split('#').next().unwrap_or_default().trim_end()),
    }
}

fn sources(folder: &Path) -> Vec<Source> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut sources: Vec<Source> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let compared = name == "node" || COMPARED.iter().any(|ending| name.ends_with(ending));
            let metadata = fs::metadata(entry.path()).ok()?;
            (compared && metadata.is_file()).then(|| Source {
                digest: (metadata.len() <= MAX_DIGEST)
                    .then(|| digest(&entry.path()))
                    .flatten(),
                size: metadata.len(),
                modified_at: modified_at(&metadata),
                name,
            })
        })
        .take(MAX_SOURCES)
        .collect();
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    sources
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_DIGEST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_DIGEST).then(|| super::sha256(&bytes))
}

/// A kernel that is not compressed says its version, and holds the names of what is built in. It is read in pieces,
/// each with the end of the one before.
fn kernel(path: &Path) -> Option<Kernel> {
    const PIECE: usize = 1 << 20;
    const OVERLAP: usize = 128;
    let mut file = File::open(path).ok()?.take(MAX_KERNEL);
    let (mut version, mut has_virtio_net) = (None, false);
    let mut piece = Vec::with_capacity(PIECE + OVERLAP);
    loop {
        let kept = piece.len().min(OVERLAP);
        piece.drain(..piece.len() - kept);
        let read = file
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .ok()?;
        version = version.or_else(|| banner(&piece));
        has_virtio_net |= memmem::find(&piece, b"virtio_net\0").is_some();
        if read == 0 || (version.is_some() && has_virtio_net) {
            break;
        }
    }
    Some(Kernel {
        path: path.display().to_string(),
        version: version?,
        has_virtio_net,
    })
}

fn banner(piece: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memmem::find_iter(piece, BANNER).find_map(|at| {
        let rest = piece.get(at + BANNER.len()..)?;
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let version = std::str::from_utf8(rest.get(..end)?).ok()?;
        let is_version = end <= 64 && version.starts_with(|first: char| first.is_ascii_digit());
        is_version.then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_dotenv_reads_it() {
        let lines = [
            ("GOLDEN_BROWSER_ROOTFS=/x.ext4", Some("/x.ext4")),
            ("GOLDEN_BROWSER_ROOTFS=/x.ext4 # note", Some("/x.ext4")),
            ("GOLDEN_BROWSER_ROOTFS=/x.ext4# note", Some("/x.ext4")),
            (
                "GOLDEN_BROWSER_ROOTFS=\"/x.ext4\" # a \"note\"",
                Some("/x.ext4"),
            ),
            ("GOLDEN_BROWSER_ROOTFS='/x#1.ext4'", Some("/x#1.ext4")),
            (
                "GOLDEN_BROWSER_ROOTFS=`/x \"1\".ext4` # note",
                Some("/x \"1\".ext4"),
            ),
            (
                "  export\tGOLDEN_BROWSER_ROOTFS = /x.ext4\r",
                Some("/x.ext4"),
            ),
            ("GOLDEN_BROWSER_ROOTFS=# note", Some("")),
            ("GOLDEN_BROWSER_ROOTFS_OLD=/x.ext4", None),
            ("exportGOLDEN_BROWSER_ROOTFS=/x.ext4", None),
            ("# GOLDEN_BROWSER_ROOTFS=/x.ext4", None),
        ];
        for (line, value) in lines {
            assert_eq!(value_of(SETTING, line), value, "{line}");
        }
    }
}
