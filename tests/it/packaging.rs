//! What is installed beside the program: the unit, its hardening, completions and manual, the package's list.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sidecar::{DEADLINE, eventually, get};
use crate::tree;

const UNIT: &str = "packaging/bootwatch.service";

fn said(arguments: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(said.status.success(), "{arguments:?}");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn the_unit_is_exposed_less_than_two_of_ten() {
    let checked = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=19", "--no-pager"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT))
        .output()
        .expect("systemd-analyze is installed (scripts/test installs it)");
    let text = String::from_utf8_lossy(&checked.stdout);
    let verdict = text.lines().find(|line| line.contains("Overall exposure"));
    println!("{}", verdict.unwrap_or_default());
    assert!(checked.status.success(), "{text}");
}

#[test]
fn the_unit_names_what_the_program_and_the_package_have() {
    let unit = tree::read(UNIT);
    let value = |key: &str| {
        let start = format!("{key}=");
        let mut found = unit.lines().filter_map(|line| line.strip_prefix(&*start));
        found
            .next()
            .unwrap_or_else(|| panic!("no {key}"))
            .to_owned()
    };
    assert!(said(&["run", "--help"]).contains("/etc/bootwatch/bootwatch.toml"));
    assert_eq!(
        value("ExecStart"),
        "/usr/bin/bootwatch run --config /etc/bootwatch/bootwatch.toml"
    );
    assert_eq!(value("Type"), "notify");
    // A clock that is set after the start is followed, but slowly.
    assert!(value("After").contains("time-sync.target"));
    let user = value("User");
    assert!(tree::read("packaging/bootwatch.sysusers").starts_with(&format!("u {user} ")));
    let manifest = tree::read("Cargo.toml");
    for file in [
        "target/packaging/bootwatch.bash",
        "target/packaging/bootwatch.fish",
        "target/packaging/bootwatch.zsh",
        "target/packaging/man/*.gz",
        "config.example.toml",
        "etc/bootwatch/bootwatch.toml",
        "docs/runbooks/*.md",
        "dashboards/*.json",
        // It makes the user, and its absence would fail the installation.
        "systemd | systemd-standalone-sysusers",
    ] {
        assert!(manifest.contains(file), "the package lacks {file}");
    }
}

/// Where the package's documents lie.
const DOCUMENTS: &str = "usr/share/doc/bootwatch/";

/// The tracked files that the package puts beside its documents, by their place there.
fn packaged() -> BTreeSet<String> {
    let manifest = tree::read("Cargo.toml");
    let assets = manifest.lines().filter_map(|line| {
        let (source, rest) = line.trim().strip_prefix("[\"")?.split_once("\", \"")?;
        let (to, _) = rest.split_once('"')?;
        Some((source, to.strip_prefix(DOCUMENTS)?))
    });
    let files = tree::files();
    let mut placed = BTreeSet::new();
    for (source, to) in assets {
        let (folder, name) = source.rsplit_once('/').unwrap_or(("", source));
        let (begins, ends) = name.split_once('*').unwrap_or((name, ""));
        for file in &files {
            let (its_folder, its_name) = file.rsplit_once('/').unwrap_or(("", file));
            let fits = its_name.starts_with(begins) && its_name.ends_with(ends);
            if its_folder == folder && fits {
                placed.insert(format!("{to}{its_name}"));
            }
        }
    }
    placed
}

#[test]
fn a_link_of_a_packaged_document_leads_to_a_packaged_file() {
    let packaged = packaged();
    assert!(packaged.contains("README.md") && packaged.contains("docs/pages.md"));
    let mut broken = Vec::new();
    for document in packaged.iter().filter(|path| path.ends_with(".md")) {
        let folder = Path::new(document).parent().unwrap_or(Path::new(""));
        for link in tree::read(document).split("](").skip(1) {
            let link = link.split([')', ' ', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains(':') {
                continue;
            }
            let mut at = folder.to_owned();
            for part in Path::new(link) {
                match part.to_str() {
                    Some("..") => drop(at.pop()),
                    _ => at.push(part),
                }
            }
            let at = at.to_string_lossy();
            if !packaged.contains(&*at) {
                broken.push(format!("{document}: {at}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_command_has_its_completions_and_its_manual() {
    let help = said(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 10, "{help}");
    assert!(!commands.contains(&"man") && !commands.contains(&"completions"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    said(&["man", "--folder", &path]);
    let manual = said(&["man"]);
    assert!(manual.contains(".TH bootwatch 1"), "{manual}");
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    for command in &commands {
        let page = folder.path().join(format!("bootwatch-{command}.1"));
        let page = std::fs::read_to_string(&page).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
        assert!(
            manual.contains(&format!("bootwatch\\-{command}(1)")),
            "{command}"
        );
    }
}

#[test]
fn completions_are_scripts_that_bash_reads() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("bootwatch");
    std::fs::write(&script, said(&["completions", "bash"])).unwrap();
    let text = format!(
        ". {} && COMP_WORDS=(bootwatch ana) COMP_CWORD=1 && _bootwatch bootwatch ana bootwatch && echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let bash = Command::new("bash")
        .args(["--norc", "-c", &text])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "analyze");
}

/// What systemd does, by hand: the socket, the watchdog, SIGTERM.
#[test]
fn systemd_hears_when_it_runs_that_it_lives_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let log = folder.path().join("master-controller.log");
    std::fs::write(&log, "").unwrap();
    let config = folder.path().join("bootwatch.toml");
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = {log:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n",
        folder.path().join("bootwatch.db")
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["run", "--config"])
        .arg(&config)
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "300000")
        .env("BOOTWATCH_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit("http://").next().unwrap();
    let address = address.parse().unwrap();
    let next = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a word in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let first = next();
    assert!(first.starts_with("READY=1\n"), "{first}");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    eventually("it is ready", || {
        get(address, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    let kill = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());
    let stopping = std::iter::repeat_with(next).find(|told| told.starts_with("STOPPING=1"));
    assert!(stopping.is_some());
    assert!(child.wait().unwrap().success());
}
