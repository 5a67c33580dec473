//! What the scenarios share: running the built program and reading its answer.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/controller")
        .join(name)
}

/// A fixture's bytes, decompressed where its name says so.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let raw = std::fs::read(fixture(name)).expect(name);
    if !name.ends_with(".gz") {
        return raw;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(raw.as_slice())
        .read_to_end(&mut text)
        .expect(name);
    text
}

/// Runs `bootwatch analyze` as a user would, `input` on its standard input.
pub(crate) fn analyze(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .arg("analyze")
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that refuses its arguments does not read what it was given.
        stdin.write_all(&input).is_ok()
    });
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    output
}

/// The program's JSON answer, every boot listed.
pub(crate) fn answer(files: &[&str], input: &[u8]) -> Value {
    let output = analyze(
        &[&["--format", "json", "--boots", "--timezone", "UTC"], files].concat(),
        input,
    );
    assert!(
        output.status.success(),
        "{files:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the answer is JSON")
}

/// A program that is stopped when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program in a folder, where a file keeps what it says to its standard error.
    pub(crate) fn start(program: &str, arguments: &[String], folder: &Path, said: &str) -> Running {
        let file = std::fs::File::create(folder.join(said)).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
        Running(child)
    }
}

impl From<Child> for Running {
    fn from(child: Child) -> Running {
        Running(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, and the test has said why.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The end of what a program said.
pub(crate) fn last_lines(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
