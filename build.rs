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
    println!("cargo:rerun-if-env-changed={UNORDERED}");
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER");
    for argument in link_order().into_iter().flatten() {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// The functions that run while a log is followed, side by side: else nearly all of the program is resident for the one in
/// six that runs. `benches/link_order.py` writes the list; names in it that the program no longer has do no harm.
const LINK_ORDER: &str = "packaging/link-order.txt";

/// Set to anything, for whoever changes the linker in a way that this script does not see.
const UNORDERED: &str = "BOOTWATCH_LINK_UNORDERED";

/// What hands the list to the linker of a release, if it takes such a list: lld does, which rustc brings with it and uses
/// for this target, and no other does.
fn link_order() -> Option<[String; 4]> {
    let told = |name| var(name).unwrap_or_default();
    let target = "x86_64-unknown-linux-gnu";
    let is_native = told("TARGET") == target && told("HOST") == target;
    if told("PROFILE") != "release" || !is_native || !told(UNORDERED).is_empty() {
        return None;
    }
    // A copy beside what is built: a checkout that is moved, or two with one target folder, find it there.
    let order = Path::new(&var("OUT_DIR").ok()?).join("link-order.txt");
    std::fs::copy(LINK_ORDER, &order).ok()?;
    let order = order.to_str()?;
    // Not by `-Wl`, which takes a comma of the path for the end of its word.
    let arguments = [
        "-Xlinker".to_owned(),
        format!("--symbol-ordering-file={order}"),
        "-Xlinker".to_owned(),
        "--no-warn-symbol-ordering".to_owned(),
    ];
    links_with(&arguments)?.then_some(arguments)
}

/// Whether a small program can be linked so, the way that this one will be.
fn links_with(arguments: &[String]) -> Option<bool> {
    let folder = var("OUT_DIR").ok()?;
    let source = Path::new(&folder).join("links.rs");
    std::fs::write(&source, "fn main() {}").ok()?;
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut trial = Command::new(var("RUSTC").ok()?);
    trial.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = var("RUSTC_LINKER") {
        trial.arg(format!("-Clinker={linker}"));
    }
    trial.args(
        arguments
            .iter()
            .map(|argument| format!("-Clink-arg={argument}")),
    );
    let said = trial.args(["--out-dir", &folder]).arg(&source).output();
    Some(said.ok()?.status.success())
}

/// This machine's, as `getconf` tells it: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = String::from_utf8(said.ok()?.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
