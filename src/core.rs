//! Pure decisions: values and functions, no I/O, no tasks, no clock, no environment, no logging.
//!
//! May import std's data types, serde (and its JSON), thiserror, hashbrown, regex, strsim and jiff's calendar; never anything
//! else of ours.
//! `tests/it/architecture.rs` keeps this wall.

pub mod alert;
pub mod backoff;
pub mod binomial;
pub mod boot;
pub mod burn;
pub mod condition;
pub mod console;
pub mod desk;
pub mod diagnosis;
pub mod digits;
pub mod event;
pub mod failure;
pub mod finding;
pub mod fix;
pub mod generations;
pub mod image;
pub mod inventory;
pub mod lease;
pub mod log_time;
pub mod nearest;
pub mod probe;
pub mod query;
pub mod readiness;
pub mod redact;
pub mod report;
pub mod row;
pub mod rule;
pub mod saved;
pub mod sketch;
pub mod slowness;
pub mod stall;
pub mod state;
pub mod summary;
pub mod synthetic;
pub mod trace;
pub mod untold;
pub mod window;
