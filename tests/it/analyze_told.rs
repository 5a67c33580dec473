//! What `analyze` and `backtest` say where not all is well: boots that were lost, a controller that crashed, and files
//! that are no log.

use std::process::Output;

use bootwatch::simulator::Version;
use serde_json::Value;

use crate::program::analyze;
use crate::run_ends::{configure, free, program};
use crate::sidecar::log;
use crate::simulator::{order, play, scenario};

const READY: &str = "\
2025-10-18 01:00:00 [INFO]: [VM-CREATE] Starting VM creation {\"vmId\":\"vm-00000000-0000-4000-8000-000000000001\",\"userId\":\"u1\",\"vmType\":\"browser\"}
2025-10-18 01:00:01 [INFO]: VM created successfully {\"vmId\":\"vm-00000000-0000-4000-8000-000000000001\",\"vmIp\":\"192.168.100.2\"}
";

/// The controller's log of a scenario.
fn played(name: &str) -> Vec<u8> {
    play(scenario(name), &order(7, Version::Oct, 60)).0
}

fn text(log: &[u8]) -> String {
    String::from_utf8(analyze(&["-"], log).stdout).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_crash_is_told_first_and_boots_that_it_lost_are_not_well() {
    let log = played("crash");
    let said = text(&log);
    let told = said.lines().nth(3).unwrap_or_default();
    assert!(told.starts_with("The controller crashed "), "{said}");
    assert!(!said.contains("All is well"), "{said}");
    let output = analyze(&["--format", "json", "-"], &log);
    let answer = json(&output);
    let crashes = answer["controller"]["crashed_at"].as_array().unwrap();
    assert!(!crashes.is_empty(), "{answer}");
    let lost = answer["by_vm_type"]["browser"]["lost"].as_u64().unwrap();
    assert_eq!(lost > 0, said.contains("lost: nobody knows how"), "{said}");

    let said = text(&played("healthy"));
    assert!(said.contains("All is well: "), "{said}");
    assert!(!said.contains("crashed"), "{said}");
}

#[test]
fn boots_that_a_restart_lost_are_in_the_headline() {
    let log = played("healthy");
    let log = String::from_utf8(log).unwrap();
    // The controller begins anew right after its first creation has begun.
    let is_begun = |line: &&str| line.contains("[VM-CREATE] Starting");
    let begun = log.lines().position(|line| is_begun(&line)).unwrap();
    let mut lines: Vec<&str> = log.lines().take(begun + 1).collect();
    let stamp = lines[begun].get(..19).unwrap();
    let start =
        format!("{stamp} [INFO]: Starting Master Controller... {{\"module\":\"server\"}}\n");
    lines.push(&start);
    let said = text(lines.join("\n").as_bytes());
    assert!(said.contains("1 of 1 "), "{said}");
    assert!(
        said.contains("was lost: nobody knows how it ended."),
        "{said}"
    );
    assert!(!said.contains("All is well"), "{said}");
}

#[test]
fn what_is_no_log_is_no_success() {
    let wide: Vec<u8> = READY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forwards: String = (0..9)
        .map(|minute| READY.replace("01:00:0", &format!("01:0{minute}:0")))
        .collect();
    let backwards: Vec<&str> = forwards.lines().rev().collect();
    let noise: Vec<u8> = (0..40_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2] | 1)
        .collect();
    for (junk, why) in [
        (b"hi".to_vec(), "its only line is no record"),
        (
            b"root:x:0:0::/:/bin/sh\nme:x:1:1::/:/bin/sh\n".to_vec(),
            "none of its 2 lines is a record",
        ),
        (wide, "UTF-16"),
        (backwards.join("\n").into_bytes(), "newest first"),
        (noise, "record of the master-controller"),
    ] {
        let output = analyze(&["--format", "json", "-"], &junk);
        let answer = json(&output);
        assert_eq!(output.status.code(), Some(2), "{answer}");
        assert!(
            answer["problems"][0].as_str().unwrap().contains(why),
            "{answer}"
        );
        assert_eq!(analyze(&["-"], &junk).status.code(), Some(2));
    }
    // One that was just rotated: nothing went wrong, and that is said.
    let output = analyze(&["--format", "json", "-"], b"");
    let answer = json(&output);
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert!(
        answer["notes"][0].as_str().unwrap().contains("is empty"),
        "{answer}"
    );

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let (good, bad, empty) = (
        write("good.log", READY.as_bytes()),
        write("passwd", b"root:x:0\n"),
        write("empty.log", b""),
    );
    let output = analyze(&["--format", "json", &good, &empty], b"");
    assert_eq!(output.status.code(), Some(0), "{}", json(&output));
    let output = analyze(&["--format", "json", &good, &bad], b"");
    assert_eq!(output.status.code(), Some(1), "a part was read");
    assert!(
        json(&output)["problems"][0]
            .as_str()
            .unwrap()
            .contains("passwd")
    );
}

#[test]
fn a_line_without_end_is_noted_and_what_follows_is_read() {
    let mut log = vec![b'x'; 3 << 20];
    log.push(b'\n');
    log.extend(READY.as_bytes());
    let output = analyze(&["--format", "json", "-"], &log);
    let answer = json(&output);
    assert_eq!(answer["records"]["total"], 2, "{answer}");
    assert!(
        answer["notes"][0]
            .as_str()
            .unwrap()
            .contains("1 line is longer"),
        "{answer}"
    );
    let said = text(&log);
    assert!(said.contains("1 line belongs to no record"), "{said}");
}

#[test]
fn a_backtest_of_no_log_is_no_quiet_week() {
    let (folder, log) = log();
    configure(folder.path(), &log, free(), free());
    let junk = folder.path().join("junk");
    std::fs::write(&junk, b"root:x:0\n").unwrap();
    let run = |more: &[&str]| {
        let mut command = program(folder.path(), &[&["backtest"], more].concat());
        command.arg(&junk).output().unwrap()
    };
    let output = run(&["--format", "json"]);
    let said = json(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        (&said["records"], said["notes"].is_array()),
        (&0.into(), true)
    );
    assert!(
        said["problems"][0].as_str().unwrap().contains("junk"),
        "{said}"
    );
    let output = run(&[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("0 pages"), "{said}");
    assert!(said.contains("not read: "), "{said}");
}

/// Requests that all fail before any VM, each in its second from `from` on.
fn not_started(from: u32) -> String {
    let lines = |second: u32| {
        let user = format!("11111111-2222-4333-8444-{second:012}");
        let stamp = format!("2025-10-24 10:{:02}:{:02}", second / 60, second % 60);
        format!(
            "{stamp} [INFO]: Starting authentication {{\"module\":\"routes:auth\",\"userId\":\"{user}\",\"provider\":\"codex\"}}\n\
             {stamp} [ERROR]: Start authentication failed {{\"module\":\"routes:auth\",\"error\":\"proxyConfig is not defined\"}}\n"
        )
    };
    (from..from + 6).map(lines).collect()
}

/// As the console shows it: with colours, and the fields in one of their own.
fn on_a_console(log: &str) -> String {
    let log = log.replace(" {", " {\"metadata\":{").replace("}\n", "}}\n");
    log.replace("[INFO]", "[\x1b[32mINFO\x1b[39m]")
        .replace("[ERROR]", "[\x1b[31mERROR\x1b[39m]")
}

#[test]
fn what_two_files_tell_is_counted_once_also_where_no_creation_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, log: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, log).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let log = not_started(0);
    let file = write("master-controller.log", &log);
    let console = write("console.log", &on_a_console(&log));
    let next = write("next.log", &not_started(6));
    let failed = |paths: &[&str]| {
        let answer = json(&analyze(&[&["--format", "json"], paths].concat(), b""));
        let notes = answer["notes"].to_string();
        let failed = answer["by_vm_type"]["browser"]["failed"].as_u64();
        (failed, notes.contains("12 records skipped"))
    };
    assert_eq!(failed(&[&file, &console]), (Some(6), true));
    assert_eq!(failed(&[&console]), (Some(6), false));
    // Pieces of one log are no repetition.
    assert_eq!(failed(&[&file, &next]), (Some(12), false));
}
