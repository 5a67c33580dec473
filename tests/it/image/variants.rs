//! Every variant that the controller's builds and documents name is accepted; so is every layout of the file system.

use bootwatch::core::image::{Check, Verdict};

use super::build::{
    AGENT, AGENT_TEXT, ANSWERS, NETWORKD_WANTS, NODE, Tree, UNIT, UNIT_TEXT, USR_UNITS, WANTS,
    program, program_loaded_by, waits_for_the_network,
};
use super::{objections, of};

/// The healthy image with another unit in place of the usual one.
fn with_unit(name: &str, text: &str) -> Tree {
    let tree = Tree::healthy();
    tree.remove(UNIT).remove(WANTS);
    let path = format!("/etc/systemd/system/{name}");
    tree.write(&path, text);
    tree.link(
        &format!("/etc/systemd/system/multi-user.target.wants/{name}"),
        &path,
    );
    tree
}

fn accepts(name: &str, tree: &Tree) {
    let image = tree.audit();
    assert_eq!(objections(&image), [], "{name}: {:#?}", image.findings);
}

#[test]
fn units_of_every_name_are_accepted() {
    for name in [
        "vm-browser-agent.service",
        "oauth-agent.service",
        "vm-agent.service",
        "vm-api.service",
    ] {
        accepts(name, &with_unit(name, UNIT_TEXT));
    }
}

#[test]
fn every_way_to_start_the_agent_is_accepted() {
    let started =
        |exec: &str| UNIT_TEXT.replace("/usr/bin/node /opt/vm-browser-agent/server.js", exec);
    let bundled = Tree::healthy();
    bundled.write(
        UNIT,
        &started("/opt/vm-browser-agent/node /opt/vm-browser-agent/server.js"),
    );
    bundled
        .program("/opt/vm-browser-agent/node", &program(true))
        .remove(NODE);
    accepts("the bundled node", &bundled);

    let supervisor = Tree::healthy();
    supervisor.write(
        UNIT,
        &started("/bin/bash /opt/vm-browser-agent/supervisor.sh"),
    );
    supervisor.write("/opt/vm-browser-agent/supervisor.sh", "./node server.js\n");
    supervisor
        .program("/usr/bin/bash", &program(true))
        .link("/bin", "usr/bin");
    accepts("the supervisor", &supervisor);

    let all = Tree::healthy();
    all.write(UNIT, &started("/opt/vm-browser-agent/start-all.sh"));
    all.program(
        "/opt/vm-browser-agent/start-all.sh",
        b"#!/bin/bash\nnode server.js\n",
    );
    all.program("/bin/bash", &program(true));
    accepts("start-all", &all);

    let environment = Tree::healthy();
    environment.write(
        UNIT,
        &started("/usr/bin/env node /opt/vm-browser-agent/server.js"),
    );
    accepts("env", &environment);

    let older = Tree::healthy();
    older.remove("/opt/vm-browser-agent");
    let text = UNIT_TEXT.replace(
        "/opt/vm-browser-agent/server.js",
        "/opt/vm-agent/vm-browser-agent.js",
    );
    older.write(
        UNIT,
        &text.replace("WorkingDirectory=/opt/vm-browser-agent\n", ""),
    );
    older.write("/opt/vm-agent/vm-browser-agent.js", AGENT_TEXT);
    accepts("the older place", &older);
}

#[test]
fn what_cannot_be_followed_is_not_called_wrong() {
    for exec in [
        "/bin/sh -c 'exec /opt/node-v20/bin/node /opt/vm-browser-agent/server.js'",
        "/bin/bash -lc \"node server.js\"",
        "/usr/bin/node ${AGENT_HOME}/server.js",
        "/bin/bash -euo pipefail -c 'exec node server.js'",
        "/usr/bin/node -r dotenv/config /opt/vm-browser-agent/server.js",
        "@/usr/bin/node agent /opt/vm-browser-agent/server.js",
        "/opt/vm-browser-agent/strict.sh",
    ] {
        let tree = Tree::healthy();
        let unit = UNIT_TEXT.replace("/usr/bin/node /opt/vm-browser-agent/server.js", exec);
        tree.write(
            UNIT,
            &unit.replace(
                "WorkingDirectory=/opt/vm-browser-agent",
                "WorkingDirectory=/opt/%p",
            ),
        );
        for shell in ["/usr/bin/bash", "/usr/bin/sh"] {
            tree.program(shell, &program(true));
        }
        tree.link("/bin", "usr/bin").program(
            "/opt/vm-browser-agent/strict.sh",
            b"#!/usr/bin/env -S bash -eu\nnode server.js\n",
        );
        accepts(exec, &tree);
    }
}

#[test]
fn every_account_that_exists_is_accepted() {
    for lines in [
        "User=agent\nGroup=video",
        "User=root",
        "User=1000\nGroup=1000",
        "User=made\nGroup=made",
        "User=nobody\nGroup=gmade",
        "User=unheard\nDynamicUser=Yes",
        "User=member\nGroup=membergroup",
        "User=unheard\nUser=",
    ] {
        let tree = Tree::healthy();
        tree.write(UNIT, &UNIT_TEXT.replace("Type=simple", lines));
        tree.write(
            "/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nagent:x:7:7::/:\n",
        );
        tree.write("/etc/group", "root:x:0:\nvideo:x:44:\n");
        tree.write(
            "/usr/lib/sysusers.d/agent.conf",
            "# type name\nu made - \"The agent\"\ng gmade -\nm member membergroup\n",
        );
        accepts(lines, &tree);
    }
}

#[test]
fn what_holds_before_a_start_is_accepted() {
    for lines in [
        "ConditionPathExists=/etc/environment",
        "ConditionPathExists=!/etc/agent.disabled",
        "ConditionPathIsDirectory=/opt/vm-browser-agent\nAssertFileNotEmpty=/etc/environment",
        "ConditionPathExists=|/etc/none\nConditionDirectoryNotEmpty=|/opt/vm-browser-agent",
        "ConditionPathExists=/etc/none\nConditionPathExists=",
        "ConditionPathExists=/run/agent\nConditionVirtualization=vm",
        "ConditionPathExists=/etc/resolv.conf",
        "[Service]\nExecStartPre=-/usr/bin/none\nExecStartPre=/usr/bin/node --version\n[Unit]",
    ] {
        let tree = Tree::healthy();
        let unit = UNIT_TEXT.replace(
            "After=network.target",
            &format!("{lines}\nAfter=network.target"),
        );
        tree.write(UNIT, &unit);
        tree.link(
            "/etc/resolv.conf",
            "../run/systemd/resolve/stub-resolv.conf",
        );
        let image = tree.audit();
        let failed = |verdict| verdict != Verdict::Unknown;
        let objections: Vec<_> = objections(&image)
            .into_iter()
            .filter(|(_, verdict)| failed(*verdict))
            .collect();
        assert_eq!(objections, [], "{lines}: {:#?}", image.findings);
    }
}

#[test]
fn a_program_whose_loader_is_there_is_accepted() {
    for loader in ["/lib64/ld-linux-x86-64.so.2", "/opt/libc/ld.so"] {
        let tree = Tree::healthy();
        tree.program(NODE, &program_loaded_by(loader));
        tree.program(loader, &program(true));
        accepts(loader, &tree);
    }
}

#[test]
fn every_road_by_which_systemd_enables_a_unit_is_accepted() {
    for place in [
        "/usr/lib/systemd/system/multi-user.target.wants/vm-browser-agent.service",
        "/etc/systemd/system/multi-user.target.requires/vm-browser-agent.service",
    ] {
        let tree = Tree::healthy();
        tree.remove(WANTS).link(place, UNIT);
        accepts(place, &tree);
    }
    // The unit of before is masked and still wanted; the one in its place is sound.
    let replaced = with_unit("oauth-agent.service", UNIT_TEXT);
    replaced.link(UNIT, "/dev/null").link(WANTS, UNIT);
    accepts("the old one masked", &replaced);
    let masked = Tree::healthy();
    let drop_in = "vm-browser-agent.service.d/10-node.conf";
    masked
        .write(
            &format!("/usr/lib/systemd/system/{drop_in}"),
            "[Service]\nExecStart=\nExecStart=/usr/bin/gone\n",
        )
        .link(&format!("/etc/systemd/system/{drop_in}"), "/dev/null");
    accepts("a masked drop-in", &masked);
}

#[test]
fn a_module_that_was_built_apart_is_found_by_depmods_list() {
    let tree = Tree::healthy();
    let folder = "/usr/lib/modules/5.10.225";
    tree.remove(&format!("{folder}/kernel"))
        .write(&format!("{folder}/updates/dkms/virtio_net.ko"), "module")
        .write(
            &format!("{folder}/modules.dep"),
            "kernel/fs/ext4.ko: kernel/lib/crc16.ko\nupdates/dkms/virtio_net.ko: kernel/net/failover.ko\n",
        );
    accepts("dkms", &tree);
}

#[test]
fn a_drop_in_overrides_the_unit() {
    let tree = Tree::healthy();
    tree.write(UNIT, &UNIT_TEXT.replace("/usr/bin/node", "/usr/bin/gone"));
    tree.write(
        "/etc/systemd/system/vm-browser-agent.service.d/10-node.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/node /opt/vm-browser-agent/server.js\n",
    );
    accepts("a drop-in", &tree);
}

#[test]
fn of_drop_ins_of_one_name_the_unit_s_own_counts_and_the_first_place() {
    let broken = "[Service]\nExecStart=\nExecStart=/usr/bin/gone\n";
    let sound = "[Service]\nExecStart=\nExecStart=/usr/bin/node /opt/vm-browser-agent/server.js\n";
    for (counts, other) in [
        ("vm-browser-agent.service.d", "service.d"),
        ("vm-browser-agent.service.d", "vm-.service.d"),
        ("vm-browser-.service.d", "vm-.service.d"),
        ("vm-.service.d", "service.d"),
    ] {
        let tree = Tree::healthy();
        tree.write(&format!("/etc/systemd/system/{counts}/10.conf"), sound)
            .write(&format!("/etc/systemd/system/{other}/10.conf"), broken);
        accepts(counts, &tree);
    }
    let places = Tree::healthy();
    let drop_in = "vm-browser-.service.d/10.conf";
    places
        .write(&format!("/etc/systemd/system/{drop_in}"), sound)
        .write(&format!("/usr/lib/systemd/system/{drop_in}"), broken);
    accepts("the first place", &places);
    // Those of other units and other kinds are not read.
    let others = Tree::healthy();
    for folder in ["vm-browser.service.d", "vm-other-.service.d", "socket.d"] {
        others.write(&format!("/etc/systemd/system/{folder}/10.conf"), broken);
    }
    accepts("of other units", &others);
}

#[test]
fn a_supervisors_script_that_no_comment_reaches_is_accepted() {
    for (line, text) in [
        ("export $(cat /etc/environment | xargs)", "LANG=C\n"),
        (
            "export $(grep -v '^#' /etc/environment | xargs)",
            "# made by the build\nLANG=C\n",
        ),
        (
            "# /etc/environment is not read",
            "# made by the build\nLANG=C\n",
        ),
        ("cd /", "# made by the build\nLANG=C\n"),
    ] {
        let tree = Tree::healthy();
        super::broken::supervised(&tree, line);
        tree.write("/etc/environment", text);
        accepts(line, &tree);
    }
}

#[test]
fn what_the_units_user_may_read_is_accepted() {
    // The tree's files have whoever runs the test as their owner.
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata("/proc/self").unwrap());
    for (lines, mode) in [
        ("User=agent".to_owned(), 0o644),
        ("User=root".to_owned(), 0o600),
        (format!("User={own}"), 0o600),
        (format!("User=64999\nGroup={group}"), 0o640),
        (format!("User=64999\nSupplementaryGroups={group}"), 0o640),
        (
            "User=agent\nAmbientCapabilities=CAP_DAC_READ_SEARCH".to_owned(),
            0o600,
        ),
        ("User=agent\nDynamicUser=yes".to_owned(), 0o600),
    ] {
        let tree = Tree::healthy();
        super::broken::runs_as(&tree, &lines);
        tree.mode(AGENT, mode);
        accepts(&lines, &tree);
    }
    let privileged = Tree::healthy();
    super::broken::runs_as(&privileged, "User=agent");
    let text = UNIT_TEXT.replace("Type=simple", "User=agent");
    privileged
        .write(UNIT, &text.replace("ExecStart=", "ExecStart=+"))
        .mode(AGENT, 0o600);
    accepts("as root by a mark", &privileged);
}

#[test]
fn units_that_do_not_want_the_port_are_no_rivals() {
    let wants = |name: &str| format!("/etc/systemd/system/multi-user.target.wants/{name}.service");
    let place = |name: &str| format!("/etc/systemd/system/{name}.service");
    let old = UNIT_TEXT.replace("/opt/vm-browser-agent", "/opt/vm-api");
    let with = |text: &str| {
        let tree = Tree::healthy();
        tree.write(&place("vm-api"), text)
            .link(&wants("vm-api"), &place("vm-api"))
            .write("/opt/vm-api/server.js", AGENT_TEXT);
        tree
    };
    accepts("disabled", with(&old).remove(&wants("vm-api")));
    accepts("without its script", with(&old).remove("/opt/vm-api"));
    let skipped = old.replace(
        "[Unit]",
        "[Unit]\nConditionPathExists=!/opt/vm-browser-agent",
    );
    accepts("skipped", &with(&skipped));
    let masked = with(&old);
    masked
        .remove(&place("vm-api"))
        .link(&place("vm-api"), "/dev/null");
    accepts("masked", &masked);
    let other = Tree::healthy();
    other
        .write(
            &place("webrtc"),
            &UNIT_TEXT.replace("server.js", "webrtc-server.js"),
        )
        .link(&wants("webrtc"), &place("webrtc"))
        .write("/opt/vm-browser-agent/webrtc-server.js", AGENT_TEXT);
    accepts("on another port", &other);
    // One unit under two names.
    let alias = Tree::healthy();
    alias
        .link(&place("oauth-agent"), UNIT)
        .link(&wants("oauth-agent"), UNIT);
    accepts("an alias", &alias);
}

#[test]
fn what_is_made_at_the_start_or_while_the_guest_runs_is_not_missed() {
    let settled = |from: &str, to: &str, check: Check| {
        let tree = Tree::healthy();
        tree.write(UNIT, &UNIT_TEXT.replace(from, to));
        of(&tree.audit(), check).verdict
    };
    let folder = |lines: &str| {
        let from = "WorkingDirectory=/opt/vm-browser-agent";
        settled(from, lines, Check::WorkingDirectory)
    };
    for (lines, verdict) in [
        (
            "WorkingDirectory=/var/lib/agent\nStateDirectory=agent",
            Verdict::Pass,
        ),
        (
            "WorkingDirectory=/run/vm\nRuntimeDirectory=other vm/agent:vm",
            Verdict::Pass,
        ),
        (
            "WorkingDirectory=/var/lib/agent\nCacheDirectory=agent",
            Verdict::Fail,
        ),
        (
            "WorkingDirectory=/var/lib/agent/deep\nStateDirectory=agent",
            Verdict::Fail,
        ),
        ("WorkingDirectory=/run/agent", Verdict::Unknown),
    ] {
        assert_eq!(folder(lines), verdict, "{lines}");
    }
    let tree = Tree::healthy();
    let line = "WorkingDirectory=/var/lib/agent\nStateDirectory=agent";
    let unit = UNIT_TEXT.replace("WorkingDirectory=/opt/vm-browser-agent", line);
    tree.write(UNIT, &unit);
    tree.write("/var/lib/agent", "a file, where nothing can be made");
    let found = of(&tree.audit(), Check::WorkingDirectory).verdict;
    assert_eq!(found, Verdict::Fail);
    let file = |line: &str| settled("EnvironmentFile=/etc/environment", line, Check::Environment);
    assert_eq!(file("EnvironmentFile=/run/agent/env"), Verdict::Unknown);
    assert_eq!(file("EnvironmentFile=/etc/agent/env"), Verdict::Fail);
}

#[test]
fn an_optional_or_absent_environment_is_accepted() {
    for line in [
        "EnvironmentFile=-/etc/environment",
        "EnvironmentFile=-/etc/default/agent",
        "",
    ] {
        let tree = Tree::healthy();
        tree.write(
            UNIT,
            &UNIT_TEXT.replace("EnvironmentFile=/etc/environment", line),
        );
        tree.remove("/etc/environment");
        accepts(line, &tree);
    }
}

#[test]
fn waiting_for_the_network_is_fine_where_somebody_says_when_it_is_up() {
    let tree = Tree::healthy();
    waits_for_the_network(&tree, ANSWERS, "/lib/systemd/system");
    accepts("wait-online", &tree);
}

#[test]
fn every_road_by_which_networkd_is_started_is_accepted() {
    let networkd = "/usr/lib/systemd/system/systemd-networkd.service";
    for place in [
        "/etc/systemd/system/sysinit.target.wants/systemd-networkd.service",
        "/usr/lib/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/etc/systemd/system/sockets.target.wants/systemd-networkd.socket",
    ] {
        let tree = Tree::healthy();
        tree.remove(NETWORKD_WANTS).link(place, networkd);
        accepts(place, &tree);
    }
    // What waits for it requires it, as systemd ships it: that starts it, too.
    let required = Tree::healthy();
    required.remove(NETWORKD_WANTS);
    waits_for_the_network(
        &required,
        &format!("[Unit]\nBindsTo=systemd-networkd.service\n{ANSWERS}"),
        USR_UNITS,
    );
    accepts("required", &required);
    let two = Tree::healthy();
    two.write(
        "/etc/systemd/network/05-other.network",
        "[Match]\nName=ens3\n[Network]\nAddress=10.0.0.2/24\n",
    );
    accepts("another interface beside ours", &two);
}

#[test]
fn every_display_is_accepted() {
    let sets: [&[&str]; 2] = [&["xvfb", "openbox", "x11vnc", "websockify"], &["tigervnc"]];
    for set in sets {
        let tree = Tree::healthy();
        tree.remove("/etc/systemd/system/novnc.service");
        tree.remove("/etc/systemd/system/vncserver@.service");
        for unit in set {
            tree.write(
                &format!("/usr/lib/systemd/system/{unit}.service"),
                "[Service]\nExecStart=/bin/true\n",
            );
        }
        accepts(set[0], &tree);
    }
}

#[test]
fn every_browser_is_accepted() {
    for path in ["/usr/bin/chromium-browser", "/usr/bin/google-chrome"] {
        let tree = Tree::healthy();
        tree.remove("/usr/bin/firefox")
            .program(path, &program(true));
        accepts(path, &tree);
    }
}

#[test]
fn one_way_to_the_network_is_enough_and_none_is_not_known_to_be_wrong() {
    let others = [
        (
            "/etc/netplan/01-eth0.yaml",
            "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      nameservers:\n        addresses: [8.8.8.8]\n",
        ),
        (
            "/etc/network/interfaces",
            "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n",
        ),
    ];
    for (path, text) in others {
        let tree = Tree::healthy();
        tree.remove("/etc/systemd/network/10-eth0.network")
            .write(path, text);
        accepts(path, &tree);
    }
    let bare = Tree::healthy();
    bare.remove("/etc/systemd/network/10-eth0.network");
    let image = bare.audit();
    assert_eq!(of(&image, Check::Network).verdict, Verdict::Unknown);
    assert!(of(&image, Check::Network).reason.contains("ip="));
}

#[test]
fn the_agent_needs_no_modules_of_node() {
    // The healthy tree has none: their absence was falsely suspected once.
    accepts("no node_modules", &Tree::healthy());
}

#[test]
fn every_layout_of_the_file_system_is_read() {
    let layouts: [&[&'static str]; 7] = [
        &["-t", "ext2"],
        &["-t", "ext3"],
        &["-t", "ext4", "-b", "4096"],
        &["-t", "ext4", "-b", "2048", "-I", "256"],
        &["-t", "ext4", "-O", "^metadata_csum,^64bit"],
        &["-t", "ext4", "-O", "metadata_csum,64bit", "-I", "128"],
        &["-t", "ext4", "-O", "metadata_csum_seed,large_dir,casefold"],
    ];
    for layout in layouts {
        let mut tree = Tree::healthy();
        // Large enough for layers of maps and trees of extents, and a folder of many blocks.
        let long = "abcdefghijklmnopqrstuvw".repeat(17_400);
        tree.write(
            "/opt/vm-browser-agent/server.js",
            &format!("{long}\n{AGENT_TEXT}"),
        );
        for name in 0..400 {
            tree.write(
                &format!("/etc/systemd/system/unit-{name:04}-of-many.service"),
                "",
            );
        }
        tree.options = layout.to_vec();
        let image = tree.audit();
        assert_eq!(objections(&image), [], "{layout:?}: {:#?}", image.findings);
        let agent = of(&image, Check::Agent);
        assert!(agent.reason.contains("400"), "{layout:?}: {agent:?}");
    }
}
