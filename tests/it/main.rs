//! One test binary, one module per scenario.
