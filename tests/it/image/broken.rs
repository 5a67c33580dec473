//! Images broken in each way of the controller's history: the right finding for each, and no other.

use bootwatch::core::image::{Check, Injection, Verdict, overall};

use super::build::{
    AGENT, AGENT_TEXT, ANSWERS, NETWORKD_WANTS, NODE, Tree, UNIT, UNIT_TEXT, USR_UNITS,
    WAIT_ONLINE, WANTS, program, program_loaded_by, waits_for_the_network,
};
use super::{objections, of};

/// How an image is broken, and what must be said of it.
struct Case {
    name: &'static str,
    damage: fn(&Tree),
    check: Check,
    verdict: Verdict,
    /// In the path or the reason.
    says: &'static str,
    /// What follows from it besides.
    also: &'static [(Check, Verdict)],
}

fn unit(tree: &Tree, from: &str, to: &str) {
    assert!(UNIT_TEXT.contains(from), "{from}");
    tree.write(UNIT, &UNIT_TEXT.replace(from, to));
}

/// The unit has these lines, and there is an account `agent`, whose number no file of the image has.
pub(super) fn runs_as(tree: &Tree, lines: &str) {
    unit(tree, "Type=simple", lines);
    tree.write(
        "/etc/passwd",
        "root:x:0:0::/root:/bin/sh\nagent:x:64998:64998::/:\n",
    )
    .write("/etc/group", "root:x:0:\nagent:x:64998:\n");
}

/// The agent is started by a shell's script with this line, and the unit names no file of settings.
pub(super) fn supervised(tree: &Tree, line: &str) {
    let text = UNIT_TEXT
        .replace("EnvironmentFile=/etc/environment\n", "")
        .replace(
            "/usr/bin/node /opt/vm-browser-agent/server.js",
            "/bin/bash /opt/vm-browser-agent/supervisor.sh",
        );
    tree.write(UNIT, &text)
        .program("/bin/bash", &program(true))
        .write(
            "/opt/vm-browser-agent/supervisor.sh",
            &format!("#!/bin/bash\n{line}\nnode server.js\n"),
        );
}

const CASES: &[Case] = &[
    Case {
        name: "the agent is absent, as in the incident",
        damage: |tree| {
            tree.remove("/opt/vm-browser-agent");
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent/server.js",
        also: &[
            (Check::Script, Verdict::Fail),
            (Check::WorkingDirectory, Verdict::Fail),
        ],
    },
    Case {
        name: "a placeholder stands in the agent's place",
        damage: |tree| {
            tree.write(
                AGENT,
                "http.createServer((q,r)=>r.end('{\"status\":\"ok\"}'))",
            );
        },
        check: Check::Agent,
        verdict: Verdict::Warn,
        says: "placeholder",
        also: &[],
    },
    Case {
        name: "the agent's file was never written out",
        damage: |tree| {
            tree.write(AGENT, &"\0".repeat(9_000));
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "all of them zero",
        also: &[],
    },
    Case {
        name: "a page of an error was downloaded in the agent's place",
        damage: |tree| {
            tree.write(AGENT, "<!DOCTYPE html><html>404 Not Found</html>");
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "HTML",
        also: &[],
    },
    Case {
        name: "the agent is a pointer of git-lfs",
        damage: |tree| {
            tree.write(
                AGENT,
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 40212\n",
            );
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "git-lfs",
        also: &[],
    },
    Case {
        name: "the agent is bytes that mean nothing",
        damage: |tree| {
            let bytes: Vec<u8> = (0..40_000_u32)
                .map(|n| ((n * n) >> 3).to_le_bytes()[0])
                .collect();
            tree.program(AGENT, &bytes);
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "no text",
        also: &[],
    },
    Case {
        name: "the agent's first block alone was written out",
        damage: |tree| {
            tree.write(AGENT, &format!("{AGENT_TEXT}{}", "\0".repeat(36_000)));
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "36000 of its bytes are zero",
        also: &[],
    },
    Case {
        name: "the agent is cut off",
        damage: |tree| {
            tree.write(AGENT, AGENT_TEXT.split_at(100).0);
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "cut off",
        also: &[],
    },
    Case {
        name: "the agent is cut off near its end",
        damage: |tree| {
            tree.write(AGENT, AGENT_TEXT.split_at(AGENT_TEXT.len() - 20).0);
        },
        check: Check::Agent,
        verdict: Verdict::Warn,
        says: "cut off",
        also: &[],
    },
    Case {
        name: "a drop-in adds a second ExecStart",
        damage: |tree| {
            tree.write(
                "/etc/systemd/system/vm-browser-agent.service.d/10-node.conf",
                "[Service]\nExecStart=/usr/bin/node /opt/vm-browser-agent/server.js\n",
            );
        },
        check: Check::Unit,
        verdict: Verdict::Fail,
        says: "more than one ExecStart",
        also: &[],
    },
    Case {
        name: "a drop-in for all services asks for a file that is not there",
        damage: |tree| {
            tree.write(
                "/etc/systemd/system/service.d/10-proxy.conf",
                "[Service]\nEnvironmentFile=/etc/proxy\n",
            );
        },
        check: Check::Environment,
        verdict: Verdict::Fail,
        says: "/etc/proxy",
        also: &[],
    },
    Case {
        name: "a drop-in for all units whose names begin alike names a user that was never made",
        damage: |tree| {
            tree.write(
                "/usr/lib/systemd/system/vm-browser-.service.d/10-user.conf",
                "[Service]\nUser=agent\n",
            );
            tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        },
        check: Check::Account,
        verdict: Verdict::Fail,
        says: "User=agent",
        also: &[],
    },
    Case {
        name: "the unit of an older controller is enabled beside the one in use",
        damage: |tree| {
            let old = "/etc/systemd/system/vm-api.service";
            let text = UNIT_TEXT.replace("/opt/vm-browser-agent", "/opt/vm-api");
            tree.write(old, &text)
                .write("/opt/vm-api/server.js", "http.createServer().listen(8080)")
                .link(
                    "/etc/systemd/system/multi-user.target.wants/vm-api.service",
                    old,
                );
        },
        check: Check::Unit,
        verdict: Verdict::Warn,
        says: "vm-browser-agent.service is enabled, and so is vm-api.service (/etc/systemd/system/vm-api.service)",
        also: &[],
    },
    Case {
        name: "a unit of any name starts the same agent",
        damage: |tree| {
            let twin = "/usr/lib/systemd/system/agent.service";
            tree.write(twin, UNIT_TEXT).link(
                "/etc/systemd/system/multi-user.target.wants/agent.service",
                twin,
            );
        },
        check: Check::Unit,
        verdict: Verdict::Warn,
        says: "agent.service (/usr/lib/systemd/system/agent.service), which starts /opt/vm-browser-agent/server.js",
        also: &[],
    },
    Case {
        name: "there are units of two names, and none is enabled",
        damage: |tree| {
            tree.remove(WANTS)
                .write("/etc/systemd/system/oauth-agent.service", UNIT_TEXT);
        },
        check: Check::Enabled,
        verdict: Verdict::Fail,
        says: "not enabled",
        also: &[],
    },
    Case {
        name: "the unit was copied where a link belongs",
        damage: |tree| {
            tree.remove(WANTS).write(WANTS, UNIT_TEXT);
        },
        check: Check::Enabled,
        verdict: Verdict::Fail,
        says: "no link",
        also: &[],
    },
    Case {
        name: "the script that is started ends its first line as Windows does",
        damage: |tree| {
            unit(
                tree,
                "/usr/bin/node /opt/vm-browser-agent/server.js",
                "/opt/vm-browser-agent/start-all.sh",
            );
            tree.program(
                "/opt/vm-browser-agent/start-all.sh",
                b"#!/bin/bash\r\nnode server.js\r\n",
            );
            tree.program("/bin/bash", &program(true));
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "not there",
        also: &[],
    },
    Case {
        name: "the agent's file is empty",
        damage: |tree| {
            tree.write(AGENT, "");
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "empty",
        also: &[(Check::Script, Verdict::Fail)],
    },
    Case {
        name: "there is no unit",
        damage: |tree| {
            tree.remove(UNIT).remove(WANTS);
        },
        check: Check::Unit,
        verdict: Verdict::Fail,
        says: "oauth-agent.service",
        also: &[],
    },
    Case {
        name: "the unit starts nothing",
        damage: |tree| unit(tree, "ExecStart=", "#ExecStart="),
        check: Check::Unit,
        verdict: Verdict::Fail,
        says: "ExecStart",
        also: &[],
    },
    Case {
        name: "the unit is masked",
        damage: |tree| {
            tree.remove(UNIT).link(UNIT, "/dev/null");
        },
        check: Check::Unit,
        verdict: Verdict::Fail,
        says: "masked",
        also: &[],
    },
    Case {
        name: "the unit is not enabled",
        damage: |tree| {
            tree.remove(WANTS);
        },
        check: Check::Enabled,
        verdict: Verdict::Fail,
        says: "not enabled",
        also: &[],
    },
    Case {
        name: "the enabling link dangles",
        damage: |tree| {
            tree.remove(WANTS)
                .link(WANTS, "/etc/systemd/system/gone.service");
        },
        check: Check::Enabled,
        verdict: Verdict::Fail,
        says: "dangling",
        also: &[],
    },
    Case {
        name: "the wrong target wants the unit",
        damage: |tree| {
            tree.remove(WANTS).link(
                "/etc/systemd/system/graphical.target.wants/vm-browser-agent.service",
                UNIT,
            );
        },
        check: Check::Enabled,
        verdict: Verdict::Warn,
        says: "graphical.target",
        also: &[],
    },
    Case {
        name: "only nodejs is there, not node",
        damage: |tree| {
            tree.remove(NODE).program("/usr/bin/nodejs", &program(true));
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "only /usr/bin/nodejs is",
        also: &[],
    },
    Case {
        name: "the bundled node is absent",
        damage: |tree| {
            unit(
                tree,
                "ExecStart=/usr/bin/node",
                "ExecStart=/opt/vm-browser-agent/node",
            )
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent/node",
        also: &[],
    },
    Case {
        name: "node may not be run",
        damage: |tree| {
            use std::fs::{Permissions, set_permissions};
            use std::os::unix::fs::PermissionsExt;
            let node = tree.beside("root/usr/bin/node");
            set_permissions(node, Permissions::from_mode(0o644)).unwrap();
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "not executable",
        also: &[],
    },
    Case {
        name: "node is another machine's",
        damage: |tree| {
            tree.program(NODE, &program(false));
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "another machine",
        also: &[],
    },
    Case {
        name: "node is a torn copy",
        damage: |tree| {
            tree.program(NODE, &[0; 4_096]);
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "neither a program nor a script",
        also: &[],
    },
    Case {
        name: "node was cut off within what is loaded of it",
        damage: |tree| {
            tree.program(NODE, &program_loaded_by("/lib/ld.so")[..2_048]);
            tree.program("/lib/ld.so", &program(true));
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "cut off: 2048 bytes of 4096",
        also: &[],
    },
    Case {
        name: "node was cut off within its first block",
        damage: |tree| {
            tree.program(NODE, &program_loaded_by("/lib/ld.so")[..100]);
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "cut off: 100 bytes of 176",
        also: &[],
    },
    Case {
        name: "node's loader was cut off",
        damage: |tree| {
            tree.program(NODE, &program_loaded_by("/lib/ld.so"));
            tree.program("/lib/ld.so", &program(true)[..40]);
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "its loader /lib/ld.so is a program that was cut off",
        also: &[],
    },
    Case {
        name: "the browser was cut off",
        damage: |tree| {
            tree.program("/usr/lib/firefox/firefox", &program(true)[..60]);
        },
        check: Check::Browser,
        verdict: Verdict::Warn,
        says: "cut off",
        also: &[],
    },
    Case {
        name: "the supervisor's shell starts a node that is not there",
        damage: |tree| {
            unit(
                tree,
                "ExecStart=/usr/bin/node /opt/vm-browser-agent/server.js",
                "ExecStart=/bin/bash /opt/vm-browser-agent/supervisor.sh",
            );
            tree.program("/bin/bash", &program(true));
            tree.program(
                "/opt/vm-browser-agent/supervisor.sh",
                b"#!/bin/bash\n./node server.js\n",
            );
            tree.remove(NODE);
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "shell that starts Node.js",
        also: &[],
    },
    Case {
        name: "the script is elsewhere",
        damage: |tree| {
            unit(
                tree,
                "vm-browser-agent/server.js",
                "vm-browser-agent/src/server.js",
            )
        },
        check: Check::Script,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent/src/server.js",
        also: &[],
    },
    Case {
        name: "the unit runs old code from another folder",
        damage: |tree| {
            unit(
                tree,
                "/opt/vm-browser-agent/server.js",
                "/opt/vm-api/server.js",
            );
            tree.write("/opt/vm-api/server.js", "// old: {\"status\":\"ok\"}\n");
        },
        check: Check::Script,
        verdict: Verdict::Warn,
        says: "older controller",
        also: &[(Check::Agent, Verdict::Warn)],
    },
    Case {
        name: "the working directory is gone",
        damage: |tree| {
            unit(
                tree,
                "WorkingDirectory=/opt/vm-browser-agent",
                "WorkingDirectory=/opt/gone",
            )
        },
        check: Check::WorkingDirectory,
        verdict: Verdict::Fail,
        says: "/opt/gone",
        also: &[],
    },
    Case {
        name: "the user that it runs as was never made",
        damage: |tree| {
            unit(tree, "Type=simple", "Type=simple\nUser=agent");
            tree.write(
                "/etc/passwd",
                "root:x:0:0::/root:/bin/sh\nagent2:x:7:7::/:\n",
            );
        },
        check: Check::Account,
        verdict: Verdict::Fail,
        says: "User=agent",
        also: &[],
    },
    Case {
        name: "the agent's file may be read by root only, and another user runs it",
        damage: |tree| {
            runs_as(tree, "User=agent");
            tree.mode(AGENT, 0o600);
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent/server.js may not be read by agent (mode 0600",
        also: &[(Check::Script, Verdict::Fail)],
    },
    Case {
        name: "the same, and the unit says that its user is no dynamic one",
        damage: |tree| {
            runs_as(tree, "User=agent\nDynamicUser=no");
            tree.mode(AGENT, 0o600);
        },
        check: Check::Agent,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent/server.js may not be read by agent (mode 0600",
        also: &[(Check::Script, Verdict::Fail)],
    },
    Case {
        name: "the agent's folder may be entered by root only, and another user runs it",
        damage: |tree| {
            runs_as(tree, "User=64999\nGroup=64999");
            tree.mode("/opt/vm-browser-agent", 0o700);
        },
        check: Check::Script,
        verdict: Verdict::Fail,
        says: "/opt/vm-browser-agent may not be entered by 64999 (mode 0700",
        also: &[(Check::Agent, Verdict::Fail)],
    },
    Case {
        name: "node may be run by its group only, and another user runs it",
        damage: |tree| {
            runs_as(tree, "User=agent");
            tree.mode(NODE, 0o750);
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "/usr/bin/node may not be run by agent (mode 0750",
        also: &[],
    },
    Case {
        name: "one of its groups was never made",
        damage: |tree| {
            unit(
                tree,
                "Type=simple",
                "Type=simple\nSupplementaryGroups=root video",
            );
            tree.write("/etc/group", "root:x:0:\n");
        },
        check: Check::Account,
        verdict: Verdict::Fail,
        says: "SupplementaryGroups=video",
        also: &[],
    },
    Case {
        name: "what runs before it is not there",
        damage: |tree| {
            unit(
                tree,
                "ExecStart=",
                "ExecStartPre=/opt/vm-browser-agent/fetch.sh\nExecStart=",
            )
        },
        check: Check::Preconditions,
        verdict: Verdict::Fail,
        says: "ExecStartPre: not there",
        also: &[],
    },
    Case {
        name: "a condition never holds",
        damage: |tree| {
            unit(
                tree,
                "After=network.target",
                "ConditionPathExists=/etc/agent.ready\nAfter=network.target",
            )
        },
        check: Check::Preconditions,
        verdict: Verdict::Fail,
        says: "ConditionPathExists=/etc/agent.ready does not hold: systemd skips the unit",
        also: &[],
    },
    Case {
        name: "an assertion asks for the absence of what is there",
        damage: |tree| {
            unit(
                tree,
                "After=network.target",
                "AssertPathExists=!/etc/environment\nAfter=network.target",
            )
        },
        check: Check::Preconditions,
        verdict: Verdict::Fail,
        says: "AssertPathExists=!/etc/environment does not hold: the start fails",
        also: &[],
    },
    Case {
        name: "of several conditions one must hold, and none does",
        damage: |tree| {
            let two = "ConditionPathExists=|/a\nConditionFileIsExecutable=|/etc/environment\nAfter=network.target";
            unit(tree, "After=network.target", two);
        },
        check: Check::Preconditions,
        verdict: Verdict::Fail,
        says: "none of ConditionPathExists=|/a, ConditionFileIsExecutable=|/etc/environment holds",
        also: &[],
    },
    Case {
        name: "Node.js was built for another C library",
        damage: |tree| {
            tree.program(NODE, &program_loaded_by("/lib/ld-musl-x86_64.so.1"));
            tree.program("/lib64/ld-linux-x86-64.so.2", &program(true));
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "/lib/ld-musl-x86_64.so.1, which is not there",
        also: &[],
    },
    Case {
        name: "the shell that is given code is not there",
        damage: |tree| {
            unit(
                tree,
                "/usr/bin/node /opt",
                "/usr/bin/env bash -c 'exec node /opt",
            )
        },
        check: Check::Interpreter,
        verdict: Verdict::Fail,
        says: "bin/bash",
        also: &[],
    },
    Case {
        name: "network-online.target is waited for, and never comes",
        damage: |tree| {
            unit(
                tree,
                "After=network.target",
                "Wants=network-online.target\nAfter=network-online.target",
            )
        },
        check: Check::Ordering,
        verdict: Verdict::Fail,
        says: "network-online.target",
        also: &[],
    },
    Case {
        name: "what waits for the network is masked",
        damage: |tree| {
            waits_for_the_network(tree, ANSWERS, USR_UNITS);
            tree.link(&format!("/etc/systemd/system/{WAIT_ONLINE}"), "/dev/null");
        },
        check: Check::Ordering,
        verdict: Verdict::Fail,
        says: "systemd-networkd-wait-online.service is masked",
        also: &[],
    },
    Case {
        name: "what waits for the network waits for what is not enabled",
        damage: |tree| {
            waits_for_the_network(tree, ANSWERS, USR_UNITS);
            tree.remove(NETWORKD_WANTS);
        },
        check: Check::Ordering,
        verdict: Verdict::Fail,
        says: "systemd-networkd-wait-online.service waits in vain, since systemd-networkd.service is not enabled",
        also: &[(Check::Network, Verdict::Warn)],
    },
    Case {
        name: "nothing applies what networkd is to do",
        damage: |tree| {
            tree.remove(NETWORKD_WANTS);
        },
        check: Check::Network,
        verdict: Verdict::Warn,
        says: "10-eth0.network: systemd-networkd.service is not enabled",
        also: &[],
    },
    Case {
        name: "networkd is masked",
        damage: |tree| {
            tree.link("/etc/systemd/system/systemd-networkd.service", "/dev/null");
        },
        check: Check::Network,
        verdict: Verdict::Warn,
        says: "systemd-networkd.service is masked",
        also: &[],
    },
    Case {
        name: "another interface is configured",
        damage: |tree| {
            tree.write(
                "/etc/systemd/network/10-eth0.network",
                "[Match]\nName=ens3\n[Network]\nDHCP=yes\n",
            );
        },
        check: Check::Network,
        verdict: Verdict::Warn,
        says: "it matches Name=ens3 only",
        also: &[],
    },
    Case {
        name: "a required display is not there",
        damage: |tree| {
            unit(
                tree,
                "After=network.target",
                "Requires=tigervnc.service\nAfter=network.target",
            )
        },
        check: Check::Ordering,
        verdict: Verdict::Fail,
        says: "tigervnc.service",
        also: &[],
    },
    Case {
        name: "the environment's file is absent",
        damage: |tree| {
            tree.remove("/etc/environment");
        },
        check: Check::Environment,
        verdict: Verdict::Fail,
        says: "/etc/environment",
        also: &[],
    },
    Case {
        name: "the supervisor dies on a comment in the environment's file",
        damage: |tree| {
            unit(
                tree,
                "ExecStart=/usr/bin/node /opt/vm-browser-agent/server.js",
                "ExecStart=/opt/vm-browser-agent/start-all.sh",
            );
            tree.program("/bin/bash", &program(true));
            tree.program(
                "/opt/vm-browser-agent/start-all.sh",
                b"#!/bin/bash\nnode server.js\n",
            );
            tree.write(
                "/etc/environment",
                "LANG=C\n# proxy of the session\nHTTP_PROXY=x\n",
            );
        },
        check: Check::Environment,
        verdict: Verdict::Fail,
        says: "line 2 is a comment",
        also: &[],
    },
    Case {
        name: "the supervisor's script reads a file with a comment by itself",
        damage: |tree| {
            supervised(tree, "export $(cat /etc/environment | xargs)");
            tree.write("/etc/environment", "# made by the build\nLANG=C\n");
        },
        check: Check::Environment,
        verdict: Verdict::Fail,
        says: "line 1 is a comment, on which the supervisor's script dies (/opt/vm-browser-agent/supervisor.sh reads it)",
        also: &[],
    },
    Case {
        name: "the supervisor's script sources a file with a comment",
        damage: |tree| {
            supervised(tree, "set -a; . /etc/environment; set +a");
            tree.write("/etc/environment", "# made by the build\nLANG=C\n");
        },
        check: Check::Environment,
        verdict: Verdict::Warn,
        says: "supervisor.sh sources it",
        also: &[],
    },
    Case {
        name: "a line of the environment's file is no setting",
        damage: |tree| {
            tree.write("/etc/environment", "LANG=C\nexport PATH /usr/bin\n");
        },
        check: Check::Environment,
        verdict: Verdict::Warn,
        says: "line 2",
        also: &[],
    },
    Case {
        name: "two ways bring the network up",
        damage: |tree| {
            tree.write(
                "/etc/netplan/50-cloud-init.yaml",
                "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n",
            );
        },
        check: Check::Network,
        verdict: Verdict::Warn,
        says: "netplan",
        also: &[],
    },
    Case {
        name: "every copy would have one address",
        damage: |tree| {
            tree.write(
                "/etc/systemd/network/10-eth0.network",
                "[Match]\nName=eth0\n[Network]\nAddress=192.168.100.50/24\nGateway=192.168.100.1\n",
            );
        },
        check: Check::Network,
        verdict: Verdict::Warn,
        says: "192.168.100.50",
        also: &[],
    },
    Case {
        name: "the display lacks its proxy",
        damage: |tree| {
            tree.remove("/etc/systemd/system/novnc.service");
        },
        check: Check::Vnc,
        verdict: Verdict::Warn,
        says: "without novnc.service",
        also: &[],
    },
    Case {
        name: "the browser is a stub",
        damage: |tree| {
            tree.remove("/usr/bin/firefox");
            tree.program("/usr/bin/firefox", b"#!/bin/sh\nexec snap run firefox\n");
        },
        check: Check::Browser,
        verdict: Verdict::Warn,
        says: "snap",
        also: &[],
    },
    Case {
        name: "there is no browser",
        damage: |tree| {
            tree.remove("/usr/bin/firefox");
        },
        check: Check::Browser,
        verdict: Verdict::Warn,
        says: "no browser",
        also: &[],
    },
];

#[test]
fn a_healthy_image_has_nothing_to_object_to() {
    let image = Tree::healthy().audit();
    assert_eq!(objections(&image), [], "{:#?}", image.findings);
    assert_eq!(overall(&image.findings), Verdict::Pass);
}

#[test]
fn each_broken_image_has_its_own_finding() {
    for case in CASES {
        let tree = Tree::healthy();
        (case.damage)(&tree);
        let image = tree.audit();
        let finding = of(&image, case.check);
        assert_eq!(finding.verdict, case.verdict, "{}: {finding:?}", case.name);
        let said = format!("{}: {}", finding.path, finding.reason);
        assert!(said.contains(case.says), "{}: {said}", case.name);
        let mut expected = vec![(case.check, case.verdict)];
        expected.extend(case.also);
        let mut objections = objections(&image);
        objections.sort();
        expected.sort();
        assert_eq!(objections, expected, "{}: {:#?}", case.name, image.findings);
        // Nothing is certain where an agent is put into each copy.
        let replaced = image.broken(Injection::Present);
        assert!(
            replaced
                .iter()
                .all(|finding| finding.check == Check::Environment),
            "{}: {replaced:?}",
            case.name
        );
    }
}
