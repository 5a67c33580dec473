//! How the program is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Each relocation of a position-independent program takes 24 bytes of the file, and the loader reads them all into
    // memory: 0.9 MB here. Packed (DT_RELR; glibc 2.36 and later) they are some 20 kB. Only glibc is known to read them.
    let target = |name| std::env::var(name).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
