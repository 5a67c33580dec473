use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::clock::Stopwatch;

const AT: Timestamp = Timestamp(1_800_000_000_000);

/// A folder like `/proc`, of a machine that booted at 1,700,000,000.
fn proc_folder(namespace: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(
        root.path().join("stat"),
        "cpu 1 2\nbtime 1700000000\nprocs 3\n",
    )
    .unwrap();
    fs::create_dir_all(root.path().join("self/ns")).unwrap();
    symlink(namespace, root.path().join("self/ns/pid")).unwrap();
    add(&root, "1", &["/sbin/init"], 1);
    root
}

fn add(root: &tempfile::TempDir, pid: &str, words: &[&str], ticks: u64) {
    let folder = root.path().join(pid);
    fs::create_dir_all(&folder).unwrap();
    let mut command = words.join("\0");
    if !words.is_empty() {
        command.push('\0');
    }
    fs::write(folder.join("cmdline"), command).unwrap();
    let fields = "S 1 ".to_owned() + &"0 ".repeat(17);
    let stat = format!("{pid} (fire) cracker) {fields}{ticks} 0 0\n");
    fs::write(folder.join("stat"), stat).unwrap();
}

fn found(root: &tempfile::TempDir) -> Vec<(u128, u32)> {
    let look = scan(root.path(), AT).unwrap();
    look.list
        .iter()
        .map(|process| (process.vm.0, process.pid))
        .collect()
}

#[test]
fn firecracker_processes_are_found_by_their_arguments() {
    let root = proc_folder(FIRST_PID_NAMESPACE);
    let socket = "/var/lib/firecracker/sockets/vm-00000000-0000-0000-0000-000000000007.sock";
    let config = "--config-file=/users/vm-00000000-0000-0000-0000-000000000008/vm-config.json";
    add(
        &root,
        "20",
        &["/usr/local/bin/firecracker", "--api-sock", socket],
        250,
    );
    add(&root, "21", &["firecracker", config], 300);
    add(
        &root,
        "22",
        &[
            "/firecracker",
            "--id",
            "00000000-0000-0000-0000-000000000009",
        ],
        1,
    );
    add(
        &root,
        "23",
        &["/usr/bin/node", "/opt/firecracker", "--api-sock", socket],
        1,
    );
    // None of these runs a VM.
    add(&root, "30", &["grep", "x", "firecracker", socket], 1);
    add(&root, "31", &["/usr/local/bin/firecracker", "--version"], 1);
    add(
        &root,
        "32",
        &["firecracker", "--api-sock", "/s/vm-0000.sock"],
        1,
    );
    add(&root, "33", &[], 1);
    fs::create_dir(root.path().join("34")).unwrap();
    fs::create_dir(root.path().join("sys")).unwrap();
    assert_eq!(found(&root), [(7, 20), (7, 23), (8, 21), (9, 22)]);
}

#[test]
fn a_process_started_when_its_ticks_say_whatever_its_name() {
    let root = proc_folder(FIRST_PID_NAMESPACE);
    let id = "vm-00000000-0000-0000-0000-000000000001";
    add(&root, "2", &["firecracker", id], 500);
    let hertz = i64::try_from(rustix::param::clock_ticks_per_second()).unwrap();
    let look = scan(root.path(), AT).unwrap();
    let wanted = Timestamp(1_700_000_000_000 + 500 * 1_000 / hertz);
    assert_eq!(look.list[0].started_at, wanted);
    fs::write(root.path().join("2/stat"), "not a stat").unwrap();
    let look = scan(root.path(), AT).unwrap();
    assert_eq!(look.list[0].started_at, AT, "young, as far as is known");
}

#[test]
fn what_hides_processes_is_no_whole_view() {
    let root = proc_folder(FIRST_PID_NAMESPACE);
    assert!(scan(root.path(), AT).unwrap().whole);
    fs::remove_dir_all(root.path().join("1")).unwrap();
    assert!(!scan(root.path(), AT).unwrap().whole, "hidden");
    let inner = proc_folder("pid:[4026532001]");
    assert!(!scan(inner.path(), AT).unwrap().whole, "a container");
    let error = scan(&root.path().join("nowhere"), AT).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_command_line_without_end_is_cut() {
    let root = proc_folder(FIRST_PID_NAMESPACE);
    let id = "vm-00000000-0000-0000-0000-000000000001";
    let long = "x".repeat(1 << 20);
    add(&root, "2", &["firecracker", &long, id], 1);
    assert_eq!(found(&root), []);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_real_process_of_that_name_is_seen_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("firecracker");
    fs::copy("/bin/sh", &program).unwrap();
    let vm = VmId(u128::from(std::process::id()) << 64 | 0x5eed);
    let socket = folder.path().join(format!("{vm}.sock"));
    let mut child = Command::new(&program)
        .args(["-c", "read line", "firecracker", "--api-sock"])
        .arg(&socket)
        .stdin(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let seen = || {
        let look = scan(Path::new(PROC), AT).unwrap();
        let ours = look.list.into_iter().filter(|process| process.vm == vm);
        ours.collect::<Vec<Process>>()
    };
    // Between the start of a program and its command line lies a moment in the kernel.
    let began = Stopwatch::start();
    while seen().is_empty() && began.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let seen = seen();
    let [process] = &seen[..] else {
        panic!("seen {} times", seen.len());
    };
    assert_eq!(process.pid, child.0.id());
    assert!(process.started_at > Timestamp(0), "{process:?}");
    child.0.stdin.take().unwrap().write_all(b"end\n").unwrap();
    child.0.wait().unwrap();
    let look = scan(Path::new(PROC), AT).unwrap();
    assert!(look.list.iter().all(|process| process.vm != vm));
}
