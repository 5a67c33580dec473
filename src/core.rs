//! Pure decisions: values and functions, no I/O, no tasks, no clock, no environment, no logging.
//!
//! May import std's data types, serde, thiserror and hashbrown; never anything else of ours. `tests/it/architecture.rs`
//! keeps this wall.

pub mod event;
