//! One test binary, one module per scenario.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like the tests"
)]

mod architecture;
mod config;
mod tree;
