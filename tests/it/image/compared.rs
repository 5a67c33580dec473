//! Two images beside each other.

use bootwatch::image::{Change, diff};

use super::build::{AGENT, Tree, WANTS};

fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|change| {
            let (from, to) = (change.from.as_deref(), change.to.as_deref());
            format!(
                "{} {} {} {}",
                change.what,
                change.path,
                from.unwrap_or("-"),
                to.unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn an_image_built_twice_is_the_same() {
    let tree = Tree::healthy();
    let (old, new) = (tree.image(), tree.image_called("new.ext4", "12M"));
    let found = diff(&old, &new).unwrap();
    assert_eq!(told(&found.changes), Vec::<String>::new());
    assert_eq!(found.unread, Vec::<String>::new());
}

#[test]
fn what_changed_is_told_by_name() {
    let tree = Tree::healthy();
    tree.write("/var/cache/large", &"x".repeat(1_000));
    let old = tree.image();
    tree.remove(WANTS)
        .link(WANTS, "/etc/systemd/system/oauth-agent.service");
    let text = std::fs::read_to_string(tree.beside("root/opt/vm-browser-agent/server.js")).unwrap();
    // As long as before: only the contents tell.
    tree.write(AGENT, &text.replace("8080", "8081"));
    tree.remove("/etc/environment");
    tree.write("/etc/hostname", "golden\n");
    tree.write("/var/cache/large", &"y".repeat(1_000));
    tree.write("/var/cache/larger", &"y".repeat(1_001));
    let found = diff(&old, &tree.image_called("new.ext4", "8M")).unwrap();
    assert_eq!(
        told(&found.changes),
        [
            "removed /etc/environment file of 32 bytes -",
            "added /etc/hostname - file of 7 bytes",
            &format!(
                "target {WANTS} /etc/systemd/system/vm-browser-agent.service /etc/systemd/system/oauth-agent.service"
            ),
            &format!("contents {AGENT} - -"),
            "added /var/cache/larger - file of 1001 bytes",
        ]
    );
}
