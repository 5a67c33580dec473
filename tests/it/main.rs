//! One test binary, one module per scenario.

mod architecture;
mod tree;
