//! The program as a person or a script calls it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::build::{NODE, Tree, UNIT, UNIT_TEXT, WANTS};

fn audit(arguments: &[&str], images: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["image", "audit"])
        .args(arguments)
        .args(images)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The service has no more rights than its user: a file's permission decides, and no other is needed.
#[test]
fn whoever_may_read_the_file_may_audit_it_and_nobody_else() {
    let tree = Tree::healthy();
    let image = tree.image();
    let folder = image.parent().unwrap();
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    mode(folder, 0o755);
    // Whoever has no rights may not reach where it was built.
    let program = folder.join("bootwatch");
    fs::copy(env!("CARGO_BIN_EXE_bootwatch"), &program).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for (of_image, status, says) in [
        (0o444, 0, "Everything is there"),
        (0o000, 2, "readable for this user? (Permission denied"),
    ] {
        mode(&image, of_image);
        let mut audit = Command::new(&program);
        audit.args(["image", "audit"]).arg(&image).current_dir("/");
        if is_root {
            audit.uid(65_534).gid(65_534);
        }
        let output = audit.output().unwrap();
        let said = format!(
            "{}{}",
            text(&output),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains(says), "{said}");
        assert_eq!(output.status.code(), Some(status), "{said}");
    }
}

#[test]
fn the_table_names_what_is_missing_and_the_status_says_so() {
    let tree = Tree::healthy();
    let healthy = audit(&[], &[&tree.image()]);
    assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy));
    assert!(
        text(&healthy).contains("Everything is there"),
        "{}",
        text(&healthy)
    );
    tree.remove("/opt/vm-browser-agent");
    let image = tree.image();
    let broken = audit(&[], &[&image]);
    assert_eq!(broken.status.code(), Some(1));
    let said = text(&broken);
    let worst = said.lines().nth(2).unwrap();
    assert!(worst.starts_with("fail     agent"), "{said}");
    assert!(
        said.contains("/opt/vm-browser-agent/server.js: no agent"),
        "{said}"
    );
    assert!(
        said.contains("Browser VMs cannot become healthy from this image: 3 to repair."),
        "{said}"
    );
    assert!(said.contains("say --injected"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colour into a pipe");
    // Where an agent is put into each copy, the image's own decides nothing.
    let injected = audit(&["--injected"], &[&image]);
    assert_eq!(injected.status.code(), Some(0), "{}", text(&injected));
    assert!(
        text(&injected).contains("unknown  agent"),
        "{}",
        text(&injected)
    );
}

/// Where only the agent's files are put anew, unit, link and program of the image decide.
#[test]
fn what_is_injected_is_taken_out_of_the_judgement_and_no_more() {
    let status = |image: &Path, injected: &[&str]| audit(injected, &[image]).status.code();
    let without_agent = Tree::healthy();
    without_agent.remove("/opt/vm-browser-agent");
    let agent = without_agent.image();
    let without_node = Tree::healthy();
    without_node.remove(NODE);
    let node = without_node.image();
    let elsewhere = Tree::healthy();
    let text = UNIT_TEXT.replace(
        "/opt/vm-browser-agent/server.js",
        "/opt/vm-agent/vm-browser-agent.js",
    );
    elsewhere.write(UNIT, &text);
    let other = elsewhere.image();
    for (image, plain, files, all) in [(&agent, 1, 0, 0), (&node, 1, 1, 0), (&other, 1, 1, 0)] {
        assert_eq!(status(image, &[]), Some(plain));
        assert_eq!(status(image, &["--injected"]), Some(files));
        assert_eq!(status(image, &["--injected=files"]), Some(files));
        assert_eq!(status(image, &["--injected=all"]), Some(all));
    }
}

#[test]
fn the_json_is_stable() {
    let tree = Tree::healthy();
    tree.remove(WANTS);
    let image = tree.image();
    let output = audit(&["--format", "json"], &[&image]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["path"], image.to_str().unwrap());
    assert_eq!(json["verdict"], "fail");
    assert_eq!(json["generation"]["size"], 8 << 20);
    assert_eq!(json["generation"]["uuid"].as_str().unwrap().len(), 36);
    for time in [&json["audited_at"], &json["generation"]["modified_at"]] {
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    }
    let findings = json["findings"].as_array().unwrap();
    let enabled = findings
        .iter()
        .find(|finding| finding["check"] == "enabled")
        .unwrap();
    assert_eq!(enabled["verdict"], "fail");
    assert_eq!(enabled["path"], WANTS);
    assert_eq!(
        enabled["reason"],
        "not enabled: nothing starts the unit at boot"
    );
    assert_eq!(enabled.as_object().unwrap().len(), 4);
}

#[test]
fn two_images_are_compared() {
    let tree = Tree::healthy();
    let good = tree.image_called("good.ext4", "8M");
    tree.remove("/opt/vm-browser-agent");
    let bad = tree.image_called("bad.ext4", "8M");
    let worse = audit(&["--diff"], &[&good, &bad]);
    assert_eq!(worse.status.code(), Some(1));
    let said = text(&worse);
    assert!(
        said.contains("removed   /opt/vm-browser-agent/server.js"),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|line| line.starts_with("fail     agent") && line.ends_with("was pass")),
        "{said}"
    );
    let better = audit(&["--diff", "--format", "json"], &[&bad, &good]);
    assert_eq!(better.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&better.stdout).unwrap();
    assert_eq!(json["new"]["verdict"], "pass");
    let added = |change: &&Value| change["path"] == "/opt/vm-browser-agent/server.js";
    let added = json["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(added)
        .unwrap();
    assert_eq!(added["what"], "added");
    let agent = json["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|turned| turned["check"] == "agent")
        .unwrap();
    assert_eq!(
        (&agent["from"], &agent["to"]),
        (&"fail".into(), &"pass".into())
    );
}

#[test]
fn wrong_use_is_said_with_its_remedy() {
    let gone = Path::new("/nowhere/golden.ext4");
    let output = audit(&[], &[gone]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("open /nowhere/golden.ext4: is it there, and readable"),
        "{complaint}"
    );
    assert!(complaint.contains("No such file"), "{complaint}");
    assert_eq!(audit(&[], &[gone, gone]).status.code(), Some(2));
    assert_eq!(audit(&["--diff"], &[gone]).status.code(), Some(2));
    assert_eq!(audit(&[], &[]).status.code(), Some(2));
}
