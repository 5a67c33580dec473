//! bootwatch watches a Firecracker master-controller and says why its browser VMs fail, since when, and what is fine.
//!
//! The rooms, by name; `ARCHITECTURE.md` has them in the order of the data.

// Wiring: every task, channel and port of the sidecar.
pub mod app;
// The commands.
pub mod cli;
// The only file that reads a clock.
pub mod clock;
// The configuration: loaded, checked, every problem reported at once.
pub mod config;
// All that knows the master-controller's words: framing, decoding, time stamps.
pub mod controller;
// Pure decisions: boots, leases, failures, windows, alerts, reports.
pub mod core;
// A connection to a place that has several addresses.
pub mod dial;
// Metrics out: what was observed, as figures that others can scrape.
pub mod export;
// The golden image: an ext4 file, read without mounting it.
pub mod image;
// Ways to page: the words of a page, the channels, and the worker that sends in order and again.
pub mod notify;
// Our own looks at VMs: the agent's health, VNC, a port that must be closed; each phase timed.
pub mod probe;
// The weekly report as people read it: HTML, Markdown, JSON, a mail, with charts.
pub mod report;
// A master-controller that behaves like the real one: log lines and rotation, agents, and the truth of each boot.
pub mod simulator;
// Where events come from: the followed log or journal, logs of the past.
pub mod source;
// What outlives the process: one SQLite file.
pub mod store;
// HTTP: metrics, health, readiness.
pub mod web;
