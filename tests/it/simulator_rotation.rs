//! The log files as winston keeps them: by renaming, five of them, errors beside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bootwatch::simulator::player::Face;
use bootwatch::simulator::{Console, LogFiles, Player, Simulation, Speed, Version};
use jiff::tz::TimeZone;

use crate::simulator::{Lines, order, play, scenario};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn write_log(dir: &Path, name: &str, boots: u32, max_size: u64) {
    let mut simulation = Simulation::new(scenario(name).plan(&order(4, Version::Oct, boots)));
    let mut files = LogFiles::open(&dir.join("x.log"), max_size, TimeZone::UTC).unwrap();
    Player::new(Speed::Max)
        .play(&mut simulation, &mut [&mut files], &mut |_| Ok(()))
        .unwrap();
}

/// The family in reading order.
fn joined(dir: &Path, stem: &str) -> Vec<u8> {
    ["4", "3", "2", "1", ""]
        .iter()
        .filter_map(|n| fs::read(dir.join(format!("{stem}{n}.log"))).ok())
        .flatten()
        .collect()
}

#[test]
fn a_full_file_becomes_number_one_and_no_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, _) = play(scenario("agent-missing"), &order(4, Version::Oct, 12));
    let limit = u64::try_from(bytes.len()).unwrap() / 4;
    write_log(dir.path(), "agent-missing", 12, limit);
    assert_eq!(
        names(dir.path()),
        ["x-error.log", "x.log", "x1.log", "x2.log", "x3.log"]
    );
    assert!(joined(dir.path(), "x") == bytes);
    for full in ["x1.log", "x2.log", "x3.log"] {
        let text = fs::read(dir.path().join(full)).unwrap();
        // A file ends on a line's end, slightly above the limit.
        assert_eq!(text.last(), Some(&b'\n'));
        let size = u64::try_from(text.len()).unwrap();
        assert!((limit..limit + 60_000).contains(&size));
    }
}

#[test]
fn five_files_remain_and_the_oldest_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, _) = play(scenario("agent-missing"), &order(4, Version::Oct, 12));
    write_log(dir.path(), "agent-missing", 12, 20_000);
    let names = names(dir.path());
    let family: Vec<_> = names
        .iter()
        .filter(|name| !name.contains("error"))
        .collect();
    assert_eq!(family, ["x.log", "x1.log", "x2.log", "x3.log", "x4.log"]);
    assert!(bytes.ends_with(&joined(dir.path(), "x")));
}

#[test]
fn rotation_renames_and_never_copies() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("x.log");
    let mut files = LogFiles::open(&base, 2_000, TimeZone::UTC).unwrap();
    let inode = fs::metadata(&base).unwrap().ino();
    let mut simulation = Simulation::new(scenario("healthy").plan(&order(4, Version::Oct, 1)));
    while !dir.path().join("x1.log").exists() {
        files.show(&simulation.next().unwrap()).unwrap();
    }
    assert_eq!(
        fs::metadata(dir.path().join("x1.log")).unwrap().ino(),
        inode
    );
    assert_ne!(fs::metadata(&base).unwrap().ino(), inode);
    assert_eq!(fs::metadata(&base).unwrap().len(), 0);
}

#[test]
fn the_error_file_repeats_the_errors() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), "tap-fails", 5, 10_000_000);
    let main = fs::read_to_string(dir.path().join("x.log")).unwrap();
    let errors = fs::read_to_string(dir.path().join("x-error.log")).unwrap();
    let expected: Vec<_> = main
        .lines()
        .filter(|line| line.contains(" [ERROR]: "))
        .collect();
    assert!(expected.len() >= 25);
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_controller_that_starts_on_a_full_file_rotates_first() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.log"), [b'-'; 600_000]).unwrap();
    write_log(dir.path(), "healthy", 1, 500_000);
    let old = fs::read(dir.path().join("x1.log")).unwrap();
    assert_eq!(old.len(), 600_000);
}

#[test]
fn the_console_shows_each_line_twice_formatted() {
    let mut simulation = Simulation::new(scenario("healthy").plan(&order(4, Version::Oct, 1)));
    let mut plain = Lines::default();
    let mut console = Vec::new();
    let mut face = Console::new(&mut console, TimeZone::UTC);
    Player::new(Speed::Max)
        .play(&mut simulation, &mut [&mut plain, &mut face], &mut |_| {
            Ok(())
        })
        .unwrap();
    let console = String::from_utf8(console).unwrap();
    let plain = String::from_utf8(plain.0).unwrap();
    assert_eq!(console.lines().count(), plain.lines().count());
    for (shown, line) in console.lines().zip(plain.lines()) {
        let undone = shown
            .replace("\x1b[31M", "")
            .replace("\x1b[32M", "")
            .replace("\x1b[33M", "")
            .replace("\x1b[39M", "")
            .replacen(" {\"metadata\":", " ", 1);
        assert_eq!(undone, format!("{line}}}"));
    }
}
