//! The Firecracker processes of this host, from `/proc`.
//!
//! The controller starts `firecracker --api-sock …/sockets/<vm>.sock --config-file …/users/<vm>/vm-config.json`; a
//! jailed one has `--id`. Whatever else runs is passed over; a process that ends while it is read was not there. A
//! zombie has no command line, and is no VM either.
//!
//! Whether all of them can be seen decides what an absence means. In a PID namespace of its own, or where `/proc` hides
//! the processes of others, bootwatch sees less than runs, and says so.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::core::event::{Timestamp, VmId, parse_uuid};
use crate::core::finding::{Process, Processes};

/// Where processes are listed on a live machine.
pub const PROC: &str = "/proc";
/// The kernel's own number of the first PID namespace.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// A VM's command line is far shorter; a hostile one may be megabytes.
const MAX_COMMAND: u64 = 16 << 10;
/// The id of a VM in text.
const ID: usize = 39;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("list the processes in {root}: is it mounted, and readable for this user?")]
    List { root: PathBuf, source: io::Error },
}

/// Looks at the processes listed under `root`, at the time `at`.
pub fn scan(root: &Path, at: Timestamp) -> Result<Processes, ProcessError> {
    let failed = |source| ProcessError::List {
        root: root.to_owned(),
        source,
    };
    let booted_ms = booted_ms(root);
    let mut list = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let folder = entry.path();
        // Gone, or another user's whose command may not be read: `whole` says whether that can be.
        let Some(vm) = read(&folder.join("cmdline")).and_then(|command| vm_of(&command)) else {
            continue;
        };
        let started_at = booted_ms
            .zip(started_ticks(&folder.join("stat")))
            .map_or(at, |(booted, ticks)| since_boot(booted, ticks));
        list.push(Process {
            vm,
            pid,
            started_at,
        });
    }
    list.sort_unstable();
    Ok(Processes {
        at,
        whole: sees_all(root),
        list,
    })
}

/// Whether every process of the host is listed: this is the host's own namespace, and its first process can be seen.
fn sees_all(root: &Path) -> bool {
    let namespace = fs::read_link(root.join("self/ns/pid"));
    namespace.is_ok_and(|name| name.as_os_str() == FIRST_PID_NAMESPACE)
        && read(&root.join("1/cmdline")).is_some()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_COMMAND).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The VM that a command line runs, if it is Firecracker's.
fn vm_of(command: &[u8]) -> Option<VmId> {
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    // A script's own name comes after its interpreter's.
    let is_firecracker = words.iter().take(2).any(|word| {
        let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
        name.starts_with(b"firecracker")
    });
    if !is_firecracker {
        return None;
    }
    let by_id = words
        .iter()
        .position(|word| *word == b"--id")
        .and_then(|at| parse_uuid(words.get(at + 1)?));
    let named = words.iter().skip(1).find_map(|word| {
        let mut places = word.windows(ID);
        places.find_map(VmId::parse)
    });
    named.or(by_id.map(VmId))
}

/// When the machine booted.
fn booted_ms(root: &Path) -> Option<i64> {
    let stat = fs::read_to_string(root.join("stat")).ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<i64>().ok()?.checked_mul(1_000)
}

/// The process's start, in clock ticks after boot: the twenty-second field. The second is a name in brackets that can
/// hold anything.
fn started_ticks(path: &Path) -> Option<u64> {
    let stat = read(path)?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn since_boot(booted_ms: i64, ticks: u64) -> Timestamp {
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let ms = u128::from(ticks) * 1_000 / u128::from(ticks_per_second);
    Timestamp(booted_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
