//! Where events come from. Each source is one future that fills a bounded channel and hands out a checkpoint, a plain
//! value, with everything it delivers; what stores it is somebody else's.
//!
//! Follow the log file or the journal, never both: they carry the same records.

/// The systemd journal, through `journalctl`.
pub mod journal;
/// A log file and its rotated family as one endless stream.
pub mod tail;
