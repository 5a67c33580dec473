//! The stack in one file: it is valid, every file that it mounts exists, and only what a person opens has a port.

use std::path::Path;
use std::process::Command;

use crate::tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn docker_compose_takes_it() {
    let checked = Command::new("docker-compose")
        .args(["config", "--quiet"])
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("docker-compose: {error} (scripts/test installs it)"));
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn what_it_mounts_exists_and_its_configurations_are_sound() {
    let text = tree::read("docker-compose.yml");
    let mounted: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "[]\",".contains(c))
        .filter(|word| word.starts_with("./") && word.contains(':'))
        .filter_map(|word| word.split(':').next())
        .collect();
    assert!(mounted.len() >= 6, "{mounted:?}");
    for path in mounted {
        assert!(root().join(path).exists(), "{path}");
    }
    let checked = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["check", "--config", "deploy/bootwatch.toml"])
        .env("BOOTWATCH_DATABASE__URL", "postgres://u@postgres/postgres")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
    for (program, arguments) in [
        (
            "amtool",
            ["check-config", "deploy/alertmanager.yml"].as_slice(),
        ),
        (
            "promtool",
            ["check", "config", "--syntax-only", "deploy/prometheus.yml"].as_slice(),
        ),
    ] {
        let checked = Command::new(program)
            .args(arguments)
            .current_dir(root())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
        assert!(checked.status.success(), "{arguments:?}");
    }
}

#[test]
fn ports_are_on_loopback_and_images_are_pinned() {
    for line in tree::read("docker-compose.yml").lines().map(str::trim) {
        if let Some(ports) = line.strip_prefix("ports: ") {
            let all = ports.trim_matches(['[', ']']).split(", ");
            for port in all {
                assert!(port.trim_matches('"').starts_with("127.0.0.1:"), "{line}");
            }
        }
        if let Some(image) = line.strip_prefix("image: ") {
            let (name, tag) = image.split_once(':').unwrap_or((image, ""));
            let pinned = tag.chars().any(|c| c.is_ascii_digit()) || name == "bootwatch";
            assert!(pinned, "{image} has no version");
        }
    }
    let dockerfile = tree::read("Dockerfile");
    assert!(dockerfile.contains("\nUSER bootwatch\n"), "it runs as root");
    let (_, runs) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(
        runs.contains("/etc/ssl/certs/ca-certificates.crt\n"),
        "it trusts nobody: no channel behind https can be made"
    );
    for from in dockerfile.lines().filter(|line| line.starts_with("FROM ")) {
        assert!(
            from.split([' ', ':'])
                .nth(2)
                .is_some_and(|tag| tag.chars().any(|c| c.is_ascii_digit())),
            "{from}"
        );
    }
}
