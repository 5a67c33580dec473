//! What loopback cannot show, in a network namespace that the test makes: guests that do not answer on the link, guests
//! that answer there and nowhere else, and no way out.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

const NETWORK: &str = "10.213.7.0/24";

/// A host and one guest, each a namespace, joined by a cable; no way leads out.
struct Link {
    host: String,
    guest: String,
}

impl Link {
    fn make() -> Link {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::SeqCst)
        );
        let link = Link {
            host: format!("bootwatch-{unique}-host"),
            guest: format!("bootwatch-{unique}-guest"),
        };
        for namespace in [&link.host, &link.guest] {
            ip(&["netns", "add", namespace]);
        }
        ip(&[
            "-n",
            &link.host,
            "link",
            "add",
            "bridge",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &link.guest,
        ]);
        ip(&[
            "-n",
            &link.host,
            "addr",
            "add",
            "10.213.7.1/24",
            "dev",
            "bridge",
        ]);
        ip(&[
            "-n",
            &link.guest,
            "addr",
            "add",
            "10.213.7.3/24",
            "dev",
            "eth0",
        ]);
        for (namespace, device) in [
            (&link.host, "bridge"),
            (&link.guest, "eth0"),
            (&link.host, "lo"),
            (&link.guest, "lo"),
        ] {
            ip(&["-n", namespace, "link", "set", device, "up"]);
        }
        link
    }

    fn probe(&self, target: &str, network: &str) -> (Option<i32>, Value) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.host, env!("CARGO_BIN_EXE_bootwatch")])
            .args(["probe", target, "--network", network, "--format", "json"])
            .output()
            .expect("ip runs");
        let look = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), look)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.guest] {
            drop(
                Command::new("ip")
                    .args(["netns", "delete", namespace])
                    .output(),
            );
        }
    }
}

fn ip(arguments: &[&str]) {
    let output: Output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip is not on the PATH: scripts/test installs it (Debian: iproute2)");
    assert!(
        output.status.success(),
        "ip {}: {} (a network namespace needs root: run the tests as root)",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn results(look: &Value) -> Vec<(String, String)> {
    let checks = look["checks"].as_array().expect("checks");
    let word = |check: &Value, key: &str| check[key].as_str().expect("a word").to_owned();
    checks
        .iter()
        .map(|check| (word(check, "check"), word(check, "result")))
        .collect()
}

#[test]
fn hosts_that_do_not_answer_are_told_apart_by_the_kernels_word_and_the_link() {
    let link = Link::make();

    // Nobody has the address: the guest's network never came up.
    let (status, look) = link.probe("10.213.7.2", NETWORK);
    assert_eq!(status, Some(1));
    assert_eq!(look["neighbour"]["state"], "unanswered", "{look}");
    for (check, result) in results(&look) {
        let wanted = if check == "negative" {
            "ok"
        } else {
            "EHOSTUNREACH"
        };
        assert_eq!(result, wanted, "{check}: {look}");
    }

    // The guest's kernel answers, and nothing listens.
    let (status, look) = link.probe("10.213.7.3", NETWORK);
    assert_eq!(status, Some(1));
    assert_eq!(look["neighbour"]["state"], "resolved", "{look}");
    assert!(
        look["neighbour"]["mac"]
            .as_str()
            .is_some_and(|mac| mac.len() == 17)
    );
    for (check, result) in results(&look) {
        let wanted = if check == "negative" {
            "ok"
        } else {
            "ECONNREFUSED"
        };
        assert_eq!(result, wanted, "{check}: {look}");
    }

    // The address is known on the link, and what is sent there is lost.
    let neighbour = [
        "neigh",
        "add",
        "10.213.7.4",
        "lladdr",
        "06:00:0a:d5:07:04",
        "dev",
        "bridge",
        "nud",
        "permanent",
    ];
    ip(&[&["-n", &link.host][..], &neighbour].concat());
    let (status, look) = link.probe("10.213.7.4", NETWORK);
    assert_eq!(status, Some(1));
    assert_eq!(look["neighbour"]["mac"], "06:00:0a:d5:07:04", "{look}");
    for (check, result) in results(&look) {
        let wanted = if check == "negative" { "ok" } else { "timeout" };
        assert_eq!(result, wanted, "{check}: {look}");
    }

    // No way leads there.
    let (status, look) = link.probe("10.213.8.2", "10.213.8.0/24");
    assert_eq!(status, Some(1));
    assert_eq!(look["neighbour"]["state"], "unknown");
    for (check, result) in results(&look) {
        let wanted = if check == "negative" {
            "ok"
        } else {
            "ENETUNREACH"
        };
        assert_eq!(result, wanted, "{check}: {look}");
    }
}
