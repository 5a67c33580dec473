//! What was seen of an image and of its host, as values.

use std::collections::{BTreeMap, BTreeSet};

use super::Generation;
use crate::core::event::Timestamp;

/// More of a text is not read.
pub const MAX_TEXT: usize = 1 << 20;
/// More names of a folder are not listed.
pub const MAX_LIST: usize = 4_096;

/// One thing to look at in the image, and how closely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// Absolute, in the image.
    pub path: String,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// What it is, with its first bytes.
    Stat,
    /// With its text, up to [`MAX_TEXT`].
    Text,
    /// With the digest of all of it.
    Digest,
    /// The names in a folder, up to [`MAX_LIST`].
    List,
}

/// What was found there, links followed within the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    /// A link on the way leads nowhere, or in circles.
    Broken {
        link: String,
        target: String,
        how: Astray,
    },
    File(File),
    /// Its names; empty unless they were asked for.
    Folder(Vec<String>),
    /// A device, a socket, a pipe.
    Other {
        resolved: String,
    },
    /// The image does not let itself be read there; nothing is known.
    Unreadable(Trouble),
}

/// How links go astray.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    Nowhere,
    Circle,
    /// More of them than Linux follows.
    TooMany,
}

impl Astray {
    pub(super) fn says(self, target: &str) -> String {
        match self {
            Astray::Nowhere => format!("links to {target}, which is not there"),
            Astray::Circle => format!("links to {target}: the links lead in a circle"),
            Astray::TooMany => {
                format!("links to {target}, behind more than 40 links, and Linux follows no more")
            }
        }
    }
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub why: String,
    /// The image contradicts itself; otherwise it may be fine.
    pub is_damage: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where the links led.
    pub resolved: String,
    pub is_executable: bool,
    /// The folders on the way to it, from the root on, and itself.
    pub guards: Vec<Guard>,
    pub size: u64,
    pub content: Content,
    /// Of [`How::Text`]; what is not UTF-8 is replaced.
    pub text: String,
    /// Of [`How::Digest`]: SHA-256.
    pub digest: Option<[u8; 32]>,
}

/// Who may do what with a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub path: String,
    pub mode: u16,
    pub owner: u32,
    pub group: u32,
    /// It has extended attributes, which may grant more and are not read.
    pub has_more: bool,
}

impl File {
    /// How long the program must be of which this is a piece; `None`: it is whole, or no program.
    pub(super) fn cut_off(&self) -> Option<u64> {
        match self.content {
            Content::Program { length, .. } => length.filter(|length| *length > self.size),
            Content::Empty | Content::Script(_) | Content::Other => None,
        }
    }
}

/// What a file is, by its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Empty,
    Program {
        /// Its `e_machine`.
        machine: u16,
        /// What it asks to be loaded by; `None` of one that needs nothing, or does not say so in its first bytes.
        loader: Option<String>,
        /// So many bytes it has by its own word: what of it is loaded ends there. `None`: it does not say so in its first
        /// bytes.
        length: Option<u64>,
    },
    /// What its `#!` names.
    Script(String),
    Other,
}

impl Content {
    #[must_use]
    pub fn of(head: &[u8]) -> Content {
        match head {
            [] => Content::Empty,
            [0x7f, b'E', b'L', b'F', ..] => match short(head, 18) {
                Some(machine) => Content::Program {
                    machine,
                    loader: loader(head),
                    length: length(head),
                },
                None => Content::Other,
            },
            [b'#', b'!', rest @ ..] => {
                let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                match interpreter(&String::from_utf8_lossy(line)) {
                    Some(named) => Content::Script(named),
                    None => Content::Other,
                }
            }
            _ => Content::Other,
        }
    }
}

/// The header of a program of 64 bits.
const HEADER: u64 = 64;

/// Of a program of 64 bits, its bytes in the order of x86: where its segments are described, how long each description
/// is, and how many there are.
fn described(head: &[u8]) -> Option<(u64, u16, u16)> {
    let is_read = head.get(4..6)? == [2, 1];
    let first = long(head, 32).filter(|_| is_read)?;
    Some((first, short(head, 54)?, short(head, 56)?))
}

/// The descriptions of its segments that are in its first bytes.
fn segments(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, size, count) = described(head).unwrap_or_default();
    (0..count).map_while(move |number| {
        let at = u64::from(size).checked_mul(u64::from(number))?;
        let at = usize::try_from(first.checked_add(at)?).ok()?;
        head.get(at..at.checked_add(usize::from(size))?)
    })
}

/// The segment `PT_INTERP`.
fn loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    segments(head).find_map(|segment| {
        let kind = u32::from_le_bytes(*segment.first_chunk()?);
        let from = usize::try_from(long(segment, 8)?).ok()?;
        let length = usize::try_from(long(segment, 32)?).ok()?;
        let named = head
            .get(from..from.checked_add(length)?)
            .filter(|_| kind == PT_INTERP)?;
        let named = named.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(named).into_owned())
    })
}

/// Where the last of what is loaded ends, and at least the descriptions of it.
fn length(head: &[u8]) -> Option<u64> {
    const PT_LOAD: u32 = 1;
    // The header alone is longer than such a piece of it.
    if head.get(4..6) == Some(&[2, 1]) && (head.len() as u64) < HEADER {
        return Some(HEADER);
    }
    let (first, size, count) = described(head)?;
    let end = first.checked_add(u64::from(size).checked_mul(u64::from(count))?);
    let loaded = segments(head).filter_map(|segment| {
        let kind = u32::from_le_bytes(*segment.first_chunk()?);
        let end = long(segment, 8)?.checked_add(long(segment, 32)?);
        // A sum beyond all numbers is beyond the file, too.
        (kind == PT_LOAD).then(|| end.unwrap_or(u64::MAX))
    });
    loaded.chain([end.unwrap_or(u64::MAX), HEADER]).max()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Whom the kernel runs for the words behind `#!`: a path, as it is to the last byte, and one argument at most. `env`
/// looks for its argument, and cuts it into words only for `-S`.
fn interpreter(line: &str) -> Option<String> {
    let blank = [' ', '\t'];
    let line = line.trim_matches(blank);
    let (path, argument) = line.split_once(blank).unwrap_or((line, ""));
    let argument = argument.trim_start_matches(blank);
    if path.ends_with("/env") {
        let named = match argument.strip_prefix("-S") {
            Some(words) => words
                .split(blank)
                .find(|word| !word.is_empty() && !word.contains('='))?,
            None => argument,
        };
        return (!named.is_empty()).then(|| named.to_owned());
    }
    match path {
        "" => None,
        // Services begin in `/`.
        path if !path.starts_with('/') => Some(format!("/{path}")),
        path => Some(path.to_owned()),
    }
}

/// The machine that the guests run on: this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
    /// Programs are not compared.
    Other,
}

impl Machine {
    /// As Rust and the kernel name it.
    #[must_use]
    pub fn named(name: &str) -> Machine {
        match name {
            "x86_64" => Machine::X86_64,
            "aarch64" => Machine::Aarch64,
            _ => Machine::Other,
        }
    }

    pub(super) fn runs(self, program: u16) -> bool {
        match self {
            Machine::X86_64 => program == 62,
            Machine::Aarch64 => program == 183,
            Machine::Other => true,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
            Machine::Other => "this machine",
        }
    }
}

/// Of the file system as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// By its own word.
    pub bytes: u64,
    /// It is mounted, or was not unmounted cleanly: the journal holds what is not in place yet.
    pub needs_recovery: bool,
    /// Linux found errors in it and wrote so.
    pub has_errors: bool,
}

/// A file on the host, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub path: String,
    pub device: u64,
    pub inode: u64,
    pub modified_at: Timestamp,
}

impl Stamp {
    pub(super) fn is_same(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A file of the agent's source on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub size: u64,
    pub modified_at: Timestamp,
    /// `None`: too large to be compared byte by byte.
    pub digest: Option<[u8; 32]>,
}

/// The guests' kernel, a file of its own beside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub path: String,
    /// `5.10.225`, as `/lib/modules` names it.
    pub version: String,
    pub has_virtio_net: bool,
}

/// What stands around the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The audited file itself.
    pub image: Option<Stamp>,
    /// What browser VMs are cloned from, where that is known.
    pub cloned: Option<Stamp>,
    /// What the controller's own settings name instead, where that is not there.
    pub cloned_missing: Option<String>,
    /// What builds write.
    pub built: Vec<Stamp>,
    /// The folder of the agent's source, and what is in it.
    pub source: String,
    pub sources: Vec<Source>,
    pub kernel: Option<Kernel>,
}

/// Everything a judgement rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub generation: Generation,
    pub machine: Machine,
    pub disk: Disk,
    pub host: Host,
    pub seen: BTreeMap<Look, Seen>,
}

static NOT_YET: Seen = Seen::Unreadable(Trouble {
    why: String::new(),
    is_damage: false,
});

/// Where a check looks things up; what is missing is noted.
pub(super) struct Desk<'a> {
    pub(super) facts: &'a Facts,
    pub(super) wanted: BTreeSet<Look>,
    /// What was looked at and could not be read.
    pub(super) unread: Vec<String>,
}

impl<'a> Desk<'a> {
    pub(super) fn stat(&mut self, path: &str) -> &'a Seen {
        self.look(path, How::Stat)
    }

    pub(super) fn text(&mut self, path: &str) -> &'a Seen {
        self.look(path, How::Text)
    }

    pub(super) fn digest(&mut self, path: &str) -> &'a Seen {
        self.look(path, How::Digest)
    }

    /// The names in a folder; none where there is no such folder.
    pub(super) fn names(&mut self, path: &str) -> &'a [String] {
        match self.look(path, How::List) {
            Seen::Folder(names) => names,
            _ => &[],
        }
    }

    pub(super) fn list(&mut self, path: &str) -> &'a Seen {
        self.look(path, How::List)
    }

    pub(super) fn is_file(&mut self, path: &str) -> bool {
        matches!(self.stat(path), Seen::File(_))
    }

    fn look(&mut self, path: &str, how: How) -> &'a Seen {
        let look = Look {
            path: path.to_owned(),
            how,
        };
        match self.facts.seen.get(&look) {
            Some(seen) => {
                if matches!(seen, Seen::Unreadable(_)) {
                    self.unread.push(look.path);
                }
                seen
            }
            None => {
                self.wanted.insert(look);
                &NOT_YET
            }
        }
    }
}
