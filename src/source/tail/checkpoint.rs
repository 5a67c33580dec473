use serde::{Deserialize, Serialize};

use super::identity::{FileId, Head};

/// What was read of which file, as a value: kept by the caller, handed to the next [`run`](super::run).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Oldest to newest: the file being read, and its predecessors as far as the family may still hold them.
    /// Only files of which something was read: an empty file proves nothing, and costs nothing to read again.
    pub files: Vec<Mark>,
    /// Of a log that held nothing yet: the file, when it was made. Without it nobody could tell such a log from another
    /// one that takes its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<(FileId, Option<i64>)>,
    /// The number that the next generation gets.
    pub next_generation: u32,
    /// Up to here the log was there before the first start.
    pub history_end: Option<Position>,
}

/// One file and how far it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub generation: u32,
    pub file: FileId,
    /// When the file was made, in nanoseconds, where the file system keeps it.
    pub born: Option<i64>,
    pub head: Head,
    /// Everything before this was delivered.
    pub offset: u64,
    /// Hash of the up to 64 bytes before `offset`.
    pub guard: u64,
}

/// A place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub generation: u32,
    pub offset: u64,
}
