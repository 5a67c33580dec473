//! What no file of the project may hold: a path or a registry of the machine it was written on, or a test that is
//! switched off.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git")
        // Whoever runs the tests need not own the checkout.
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("git prints UTF-8")
}

/// Every file that is tracked or about to be, relative to the root.
pub(crate) fn files() -> Vec<String> {
    git(&[
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ])
    .split('\0')
    .filter(|path| !path.is_empty() && root().join(path).is_file())
    .map(str::to_owned)
    .collect()
}

/// A file's text, with what is not UTF-8 replaced: samples of logs hold any bytes.
pub(crate) fn read(path: &str) -> String {
    let bytes =
        std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Directories that exist on this machine because somebody works here.
fn places_of_this_machine() -> Vec<String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let home = variable("HOME").unwrap_or_default();
    let checkout = root().to_owned();
    let repository =
        PathBuf::from(git(&["rev-parse", "--path-format=absolute", "--git-common-dir"]).trim());
    let mut places = vec![
        variable("CARGO_HOME").unwrap_or_else(|| home.join(".cargo")),
        variable("RUSTUP_HOME").unwrap_or_else(|| home.join(".rustup")),
        checkout.clone(),
    ];
    places.extend(checkout.parent().map(Path::to_owned));
    places.extend(repository.parent().map(Path::to_owned));
    places.extend(
        repository
            .parent()
            .and_then(Path::parent)
            .map(Path::to_owned),
    );
    // Names that every machine has say nothing about this one.
    let common = [
        "", "/", "/app", "/builds", "/home", "/opt", "/root", "/src", "/srv", "/tmp", "/usr",
        "/usr/src", "/var",
    ];
    let mut places: Vec<String> = places
        .into_iter()
        .map(|place| place.to_string_lossy().into_owned())
        .filter(|place| !common.contains(&place.as_str()))
        .collect();
    places.sort();
    places.dedup();
    places
}

/// The first line (from 1) of `text` that holds `place` as a path of its own: `/yard` in `/yard/x`, not in `/yards`.
fn line_with_place(text: &str, place: &str) -> Option<usize> {
    let of_a_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    text.lines()
        .position(|line| {
            line.match_indices(place).any(|(at, _)| {
                let (head, rest) = line.split_at(at);
                let before = head.chars().next_back();
                let after = rest.chars().nth(place.chars().count());
                !before.is_some_and(of_a_name)
                    && (after == Some('/') || !after.is_some_and(of_a_name))
            })
        })
        .map(|index| index + 1)
}

#[test]
fn no_file_names_a_path_of_this_machine() {
    let places = places_of_this_machine();
    let found: Vec<String> = files()
        .iter()
        .flat_map(|path| {
            let text = read(path);
            let hits: Vec<String> = places
                .iter()
                .filter_map(|place| {
                    Some(format!(
                        "{path}:{}: {place}",
                        line_with_place(&text, place)?
                    ))
                })
                .collect();
            hits
        })
        .collect();
    assert!(
        found.is_empty(),
        "paths of this machine:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_path_of_this_machine_is_found_as_a_word() {
    assert_eq!(
        line_with_place("one\nsee /yard/main.rs\n", "/yard"),
        Some(2)
    );
    assert_eq!(line_with_place("cd \"/yard\"", "/yard"), Some(1));
    assert_eq!(
        line_with_place("docs/yard/x and /yards and x/yard/", "/yard"),
        None
    );
}

/// Lock files name the public registry or none; settings for package managers are the machine's, not the project's.
#[test]
fn no_file_names_a_registry_host() {
    let settings = [
        ".npmrc",
        ".yarnrc",
        ".cargo/config",
        ".cargo/config.toml",
        "pip.conf",
        ".pypirc",
    ];
    let mirrors = [
        concat!("arti", "factory"),
        concat!("/api/", "npm/"),
        concat!("/api/", "pypi/"),
        concat!("/api/", "cargo/"),
    ];
    let mut found = Vec::new();
    for path in files() {
        if settings
            .iter()
            .any(|name| path == *name || path.ends_with(&format!("/{name}")))
        {
            found.push(format!("{path}: settings of a package manager"));
        }
        for (index, line) in read(&path).lines().enumerate() {
            let foreign_crate = path.ends_with("Cargo.lock")
                && line.starts_with("source = ")
                && line != "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
            let resolved = path.ends_with("package-lock.json")
                && line.trim_start().starts_with("\"resolved\": \"http");
            if foreign_crate || resolved || mirrors.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "registry hosts:\n{}", found.join("\n"));
}

#[test]
fn no_test_is_switched_off() {
    let switch = concat!("#[", "ignore");
    let found: Vec<String> = files()
        .iter()
        .filter(|path| path.ends_with(".rs"))
        .flat_map(|path| {
            let text = read(path);
            let hits: Vec<String> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(switch))
                .map(|(index, _)| format!("{path}:{}", index + 1))
                .collect();
            hits
        })
        .collect();
    assert!(
        found.is_empty(),
        "a test that does not run proves nothing: {found:?}"
    );
}
