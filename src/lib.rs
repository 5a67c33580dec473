//! bootwatch watches a Firecracker master-controller and says why its browser VMs fail, since when, and what is fine.
//!
//! The rooms, in the order of the data:

/// The only file that reads a clock.
pub mod clock;
/// Pure decisions: boots, leases, failures, windows, alerts, reports.
pub mod core;
/// Where events come from: a followed log, the journal.
pub mod source;
