//! One test binary, one module per scenario.

#[cfg(test)]
mod winston;
