//! What an audit costs: `cargo bench --bench image`, on a machine at rest. Needs `mke2fs` and 300 MB below the folder for
//! temporary files (`TMPDIR`); that must be a disk for the cold figure to mean anything.
//!
//! - hot: an 8 GB sparse image as an audit finds it that was just built or cloned.
//! - cold: the same with none of its pages in memory (the kernel is told to drop them before each audit).

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and nothing else reads them"
)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use bootwatch::clock::Stopwatch;
use bootwatch::core::image::{Verdict, overall};
use bootwatch::image::{Places, audit};
use rustix::fs::{Advice, fadvise, fsync};

const ROUNDS: usize = 40;
/// As large as the bundled Node.js.
const NODE: usize = 98 << 20;
/// Names beside those that matter: folders grow, and lookups with them.
const NAMES: usize = 2_000;
const UNIT: &str = "[Unit]\nAfter=network.target\n[Service]\nWorkingDirectory=/opt/vm-browser-agent\n\
    EnvironmentFile=/etc/environment\nExecStart=/usr/bin/node /opt/vm-browser-agent/server.js\n";

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let image = built(folder.path())?;
    let places = Places {
        image: image.clone(),
        ..Places::default()
    };
    figures("page cache hot", &places, &|| Ok(()))?;
    let file = File::open(&image)?;
    fsync(&file)?;
    figures("page cache cold", &places, &|| {
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(())
    })
}

fn figures(
    name: &str,
    places: &Places,
    before: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..ROUNDS {
        before()?;
        let watch = Stopwatch::start();
        let image = audit(places)?;
        took.push(watch.elapsed());
        ensure!(
            overall(&image.findings) <= Verdict::Warn,
            "{:#?}",
            image.findings
        );
    }
    took.sort();
    println!(
        "{name}: p50 {:.2?}, worst {:.2?} of {ROUNDS}",
        took[ROUNDS / 2],
        took[ROUNDS - 1]
    );
    Ok(())
}

/// A root file system with what a browser VM needs, as an image of 8 GB.
fn built(folder: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join("root");
    let write = |path: &str, bytes: &[u8]| -> anyhow::Result<PathBuf> {
        let place = root.join(path);
        fs::create_dir_all(place.parent().context("a parent")?)?;
        fs::write(&place, bytes)?;
        fs::set_permissions(&place, Permissions::from_mode(0o755))?;
        Ok(place)
    };
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(18, 0);
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        183
    } else {
        62
    };
    program.extend_from_slice(&machine.to_le_bytes());
    program.resize(NODE, 7);
    write("usr/bin/node", &program)?;
    write(
        "usr/bin/firefox",
        program.get(..1 << 20).unwrap_or_default(),
    )?;
    let agent = format!("// {}\nactiveSessions\n", "x".repeat(60_000));
    write("opt/vm-browser-agent/server.js", agent.as_bytes())?;
    write("etc/environment", b"LANG=C\n")?;
    write(
        "etc/systemd/system/vm-browser-agent.service",
        UNIT.as_bytes(),
    )?;
    write("etc/systemd/system/tigervnc.service", b"[Service]\n")?;
    write(
        "etc/systemd/network/10-eth0.network",
        b"[Match]\nName=eth0\n",
    )?;
    write(
        "lib/modules/5.10.225/kernel/drivers/net/virtio_net.ko",
        b"module",
    )?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    symlink(
        "/etc/systemd/system/vm-browser-agent.service",
        wants.join("vm-browser-agent.service"),
    )?;
    for name in 0..NAMES {
        write(&format!("usr/bin/program-{name}"), b"#!/bin/sh\n")?;
        write(
            &format!("usr/lib/systemd/system/unit-{name}.service"),
            b"[Unit]\n",
        )?;
    }
    let image = folder.join("golden-browser-rootfs.ext4");
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let made = Command::new("mke2fs")
        .env("PATH", path)
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([&root, &image])
        .arg("8G")
        .stdout(Stdio::null())
        .status()
        .context("start mke2fs; is e2fsprogs installed?")?;
    ensure!(made.success(), "mke2fs failed: {made}");
    fs::remove_dir_all(&root)?;
    Ok(image)
}
