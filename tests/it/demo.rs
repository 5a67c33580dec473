//! `bootwatch demo --once`, the real program in real time: the whole story, about forty seconds of it.

use std::process::Command;

#[test]
fn the_demo_pages_once_names_the_cause_and_tells_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["demo", "--once"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
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
    assert!(!told.contains('\x1b'), "no colours where nobody sees them");
    let left = std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left, 0, "nothing stays behind");
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
