//! `bootwatch demo --once`, the real program in real time: the whole story, about fifty seconds of it.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// It gives up by itself before.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn the_demo_pages_once_names_the_cause_and_tells_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["demo", "--once"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = within(PATIENCE, program);
    let told = String::from_utf8(ended.stdout).unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}\n{told}\n{errors}", ended.status);

    let with = |word: &str| told.lines().filter(|line| line.contains(word)).count();
    assert_eq!(with("PAGE"), 1, "{told}");
    assert_eq!(with("RESOLVED"), 1, "{told}");
    let page = told.split("PAGE").nth(1).unwrap();
    let page = page.split("\n00:").next().unwrap();
    assert!(
        page.contains("8080") && page.contains("ECONNREFUSED"),
        "{page}"
    );
    assert!(page.contains("Not affected: CLI boots"), "{page}");
    assert!(told.contains("No row contradicts the log."), "{told}");
    assert_eq!(with("A synthetic boot"), 1, "{told}");
    assert_eq!(with("Another synthetic boot passes"), 1, "{told}");
    assert!(told.contains("agent_refused, stopped in agent"), "{told}");
    assert!(!told.contains("VMs, 0 sessions failed"), "{told}");
    assert!(!told.contains('\x1b'), "no colours where nobody sees them");
    let left = std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left, 0, "nothing stays behind");
}

/// What a program said, or that it did not end.
fn within(patience: Duration, program: Child) -> Output {
    let id = program.id().to_string();
    let (done, over) = mpsc::channel();
    let waiting = thread::spawn(move || done.send(program.wait_with_output()));
    let output = over.recv_timeout(patience).unwrap_or_else(|_| {
        Command::new("kill").args(["-KILL", &id]).status().unwrap();
        panic!("the demo did not end within {patience:?}")
    });
    waiting.join().unwrap().ok();
    output.unwrap()
}

#[test]
fn a_demo_that_cannot_write_says_so_and_fails() {
    let ended = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["demo", "--once"])
        .env("TMPDIR", "/dev/null/nowhere")
        .output()
        .unwrap();
    assert!(!ended.status.success());
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(errors.contains("/dev/null/nowhere"), "{errors}");
}
