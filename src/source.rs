//! Where events come from. Each source hands on bytes or rows; what they mean is `controller`'s business.
//!
//! A live source is one future that fills a bounded channel and hands out a checkpoint, a plain value, with everything
//! it delivers; what stores it is somebody else's. Follow the log file or the journal, never both: they carry the same
//! records.

// Logs of the past: files in any order, compressed or not, and standard input.
pub mod archive;
// The guests' consoles: evidence that the controller removes.
pub mod console;
// The controller's database: what exists.
pub mod database;
// TAP devices of this host, and its room for copies.
pub mod host;
// The systemd journal, through `journalctl`.
pub mod journal;
// Firecracker processes of this host, from `/proc`.
pub mod process;
// A log file and its rotated family as one endless stream.
pub mod tail;
