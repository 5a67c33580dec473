//! A tree of files, and the image that mke2fs makes of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwatch::core::image::GoldenImage;
use bootwatch::image::{Places, audit};

pub(crate) const UNIT: &str = "/etc/systemd/system/vm-browser-agent.service";
pub(crate) const WANTS: &str =
    "/etc/systemd/system/multi-user.target.wants/vm-browser-agent.service";
pub(crate) const NETWORKD_WANTS: &str =
    "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service";
pub(crate) const AGENT: &str = "/opt/vm-browser-agent/server.js";
pub(crate) const NODE: &str = "/usr/bin/node";
/// What the complete build script writes, without what it added later.
pub(crate) const UNIT_TEXT: &str = "[Unit]\nDescription=VM Browser Agent\nAfter=network.target vncserver@1.service\n\n\
    [Service]\nType=simple\nWorkingDirectory=/opt/vm-browser-agent\nEnvironmentFile=/etc/environment\n\
    Environment=DISPLAY=:1\nExecStart=/usr/bin/node /opt/vm-browser-agent/server.js\nRestart=always\nRestartSec=5\n\n\
    [Install]\nWantedBy=multi-user.target\n";
pub(crate) const AGENT_TEXT: &str = "const http = require('http');\nconst sessions = new Map();\nhttp.createServer((q, r) => \
    r.end(JSON.stringify({status:'ok',timestamp:new Date(),activeSessions:sessions.size}))).listen(8080);\n";

pub(super) const WAIT_ONLINE: &str = "systemd-networkd-wait-online.service";
pub(super) const USR_UNITS: &str = "/usr/lib/systemd/system";
/// A unit that answers at once.
pub(super) const ANSWERS: &str = "[Service]\nExecStart=/bin/true\n";

/// The agent waits for the network, and a unit of this text is enabled, by this folder's name, that says when it is up.
pub(super) fn waits_for_the_network(tree: &Tree, text: &str, enabled_in: &str) {
    const AFTER: &str = "After=network.target";
    assert!(UNIT_TEXT.contains(AFTER));
    let waits = "Wants=network-online.target\nAfter=network-online.target";
    tree.write(UNIT, &UNIT_TEXT.replace(AFTER, waits))
        .write(&format!("{USR_UNITS}/{WAIT_ONLINE}"), text)
        .link(
            &format!("/etc/systemd/system/network-online.target.wants/{WAIT_ONLINE}"),
            &format!("{enabled_in}/{WAIT_ONLINE}"),
        );
}

/// The first bytes of a program of this machine, or of the other one.
pub(crate) fn program(of_this_machine: bool) -> Vec<u8> {
    let machine: u16 = match (std::env::consts::ARCH, of_this_machine) {
        ("aarch64", true) | ("x86_64", false) => 183,
        _ => 62,
    };
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(18, 0);
    bytes.extend_from_slice(&machine.to_le_bytes());
    bytes.resize(64, 0);
    bytes.resize(4_096, 7);
    bytes
}

/// The same, as a compiler links it: it asks for a loader.
pub(crate) fn program_loaded_by(loader: &str) -> Vec<u8> {
    const HEADER: usize = 64;
    const SEGMENT: u16 = 56;
    let mut bytes = program(true);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(32, &(HEADER as u64).to_le_bytes());
    put(54, &SEGMENT.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    // What is loaded: all of it.
    put(HEADER, &1_u32.to_le_bytes());
    put(HEADER + 8, &0_u64.to_le_bytes());
    put(HEADER + 32, &4_096_u64.to_le_bytes());
    let segment = HEADER + usize::from(SEGMENT);
    let named = segment + usize::from(SEGMENT);
    put(segment, &3_u32.to_le_bytes());
    put(segment + 8, &(named as u64).to_le_bytes());
    put(segment + 32, &(loader.len() as u64 + 1).to_le_bytes());
    put(named, loader.as_bytes());
    put(named + loader.len(), &[0]);
    bytes
}

pub(crate) struct Tree {
    folder: tempfile::TempDir,
    /// What mke2fs is told besides.
    pub(crate) options: Vec<&'static str>,
}

impl Tree {
    pub(crate) fn empty() -> Tree {
        let tree = Tree {
            folder: tempfile::tempdir().unwrap(),
            options: vec!["-t", "ext4"],
        };
        fs::create_dir(tree.root()).unwrap();
        tree
    }

    /// Everything that a browser VM needs, as the complete build script leaves it.
    pub(crate) fn healthy() -> Tree {
        let tree = Tree::empty();
        tree.write(AGENT, AGENT_TEXT);
        tree.write(
            "/opt/vm-browser-agent/package.json",
            "{\"name\":\"agent\"}\n",
        );
        tree.write(UNIT, UNIT_TEXT);
        tree.link(WANTS, UNIT);
        tree.program(NODE, &program(true));
        tree.write("/etc/environment", "PATH=/usr/bin:/bin\nLANG=C.UTF-8\n");
        tree.write(
            "/etc/systemd/network/10-eth0.network",
            "[Match]\nName=eth0\n[Network]\nAddress=__VM_IP__/24\nGateway=192.168.100.1\nDNS=8.8.8.8\n",
        );
        let networkd = "/usr/lib/systemd/system/systemd-networkd.service";
        tree.write(
            networkd,
            "[Service]\nExecStart=/usr/lib/systemd/systemd-networkd\n",
        );
        tree.link(NETWORKD_WANTS, networkd);
        tree.write(
            "/usr/lib/modules/5.10.225/kernel/drivers/net/virtio_net.ko",
            "module",
        );
        tree.link("/lib", "usr/lib");
        for unit in ["vncserver@.service", "novnc.service"] {
            tree.write(
                &format!("/etc/systemd/system/{unit}"),
                "[Service]\nExecStart=/bin/true\n",
            );
        }
        tree.program("/usr/lib/firefox/firefox", &program(true));
        tree.link("/usr/bin/firefox", "../lib/firefox/firefox");
        tree
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Beside the tree, for images and what belongs to their host.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> &Tree {
        fs::write(self.place(path), text).unwrap();
        self
    }

    pub(crate) fn program(&self, path: &str, bytes: &[u8]) -> &Tree {
        let place = self.place(path);
        fs::write(&place, bytes).unwrap();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) -> &Tree {
        fs::set_permissions(self.place(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Tree {
        symlink(target, self.place(path)).unwrap();
        self
    }

    pub(crate) fn folder(&self, path: &str) -> &Tree {
        fs::create_dir_all(self.place(path)).unwrap();
        self
    }

    pub(crate) fn remove(&self, path: &str) -> &Tree {
        let place = self.place(path);
        match fs::symlink_metadata(&place).unwrap().is_dir() {
            true => fs::remove_dir_all(place).unwrap(),
            false => fs::remove_file(place).unwrap(),
        }
        self
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.image_called("golden-browser-rootfs.ext4", "8M")
    }

    pub(crate) fn image_called(&self, name: &str, size: &str) -> PathBuf {
        let path = self.beside(name);
        let made = Command::new(tool("mke2fs"))
            .args(["-q", "-F"])
            .args(&self.options)
            .args(["-E", "root_owner=0:0"])
            .arg("-d")
            .arg(self.root())
            .arg(&path)
            .arg(size)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "mke2fs: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        path
    }

    pub(crate) fn audit(&self) -> GoldenImage {
        audit(&places(&self.image())).unwrap()
    }
}

pub(crate) fn places(image: &Path) -> Places {
    Places {
        image: image.to_owned(),
        ..Places::default()
    }
}

/// A program of e2fsprogs, which an ordinary user's PATH does not always reach.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|place| place.is_file())
        .unwrap_or_else(|| panic!("{name} is not here: install e2fsprogs"))
}
