//! [`through`], driven by libFuzzer: `cargo +nightly fuzz run framing_decode fuzz/seeds/framing_decode`.

#![no_main]

#[path = "../through.rs"]
mod through;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| through::through(data));
