//! bootwatch watches a Firecracker master-controller and says why its browser VMs fail, since when, and what is fine.
//!
//! The rooms, in the order of the data:

/// The subcommands.
pub mod cli;
/// The configuration: loaded, checked, every problem reported at once.
pub mod config;
/// Pure decisions: boots, leases, failures, windows, alerts, reports.
pub mod core;
