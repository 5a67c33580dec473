//! Flags, telemetry, run, exit code.

fn main() {}
