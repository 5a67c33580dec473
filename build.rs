//! How the program is linked.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Each relocation of a position-independent program takes 24 bytes of the file, and the loader reads them all into
    // memory: 0.9 MB here. Packed (DT_RELR) they are some 10 kB, which a loader before glibc 2.36 cannot read.
    if var("HOST") == var("TARGET") && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo:rerun-if-changed={LINK_ORDER}");
    if let Some(order) = link_order() {
        println!("cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={order}");
        println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
    }
}

/// The functions that run while a log is followed, side by side: else nearly all of the program is resident for the one in
/// six that runs. `benches/link_order.py` writes the list; names in it that the program no longer has do no harm.
const LINK_ORDER: &str = "packaging/link-order.txt";

/// For a release, if its linker takes the list: lld, which rustc brings with it for this target and uses unless it was
/// told otherwise.
fn link_order() -> Option<String> {
    let told = |name| var(name).unwrap_or_default();
    let other_linker = !told("RUSTC_LINKER").is_empty()
        || ["linker", "fuse-ld", "link-self-contained"]
            .iter()
            .any(|word| told("CARGO_ENCODED_RUSTFLAGS").contains(word));
    let target = "x86_64-unknown-linux-gnu";
    if told("PROFILE") != "release" || told("TARGET") != target || other_linker {
        return None;
    }
    let sysroot = Command::new(var("RUSTC").ok()?)
        .args(["--print", "sysroot"])
        .output();
    let sysroot = String::from_utf8(sysroot.ok()?.stdout).ok()?;
    let lld = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(target)
        .join("bin/gcc-ld/ld.lld");
    let order = Path::new(&var("CARGO_MANIFEST_DIR").ok()?).join(LINK_ORDER);
    (lld.exists() && order.exists()).then(|| order.to_string_lossy().into_owned())
}

/// This machine's, as `getconf` tells it: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = String::from_utf8(said.ok()?.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
