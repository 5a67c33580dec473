//! One test binary, one module per scenario.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like the tests"
)]

mod architecture;
mod config;
mod metrics;
mod tree;

mod simulator;
mod simulator_agents;
mod simulator_habits;
mod simulator_replay;
mod simulator_rotation;
mod simulator_scored;
mod simulator_shapes;

mod winston;

mod run_ends;
mod run_pages;
mod sidecar;
