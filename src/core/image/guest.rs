//! What the guest needs besides its agent and its network: a driver for it, a display, a browser.

use super::facts::{Content, Desk, Seen};
use super::table::{cannot_read, says};
use super::units::is_unit;
use super::{Check, Finding, Verdict};

pub(super) const BROWSERS: &[&str] = &[
    "/usr/bin/firefox",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];
/// Services that together make a display that can be seen over the network.
const SETS: &[&[&str]] = &[
    &["vncserver@1.service", "novnc.service"],
    &[
        "xvfb.service",
        "openbox.service",
        "x11vnc.service",
        "websockify.service",
    ],
    &["tigervnc.service"],
];
/// The same, for documentation.
pub(super) const DISPLAYS: &[&str] = &[
    "`vncserver@1` and `novnc`",
    "`xvfb`, `openbox`, `x11vnc` and `websockify`",
    "`tigervnc`",
];
/// Of each kind of file, so many are read.
const MAX_FILES: usize = 32;

pub(super) fn kernel_modules(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::KernelModules;
    const MODULES: &str = "/lib/modules";
    let kernel = desk.facts.host.kernel.as_ref();
    if let Some(kernel) = kernel.filter(|kernel| kernel.has_virtio_net) {
        let reason = format!("the driver is built into the kernel {}", kernel.version);
        return says(CHECK, Verdict::Pass, kernel.path.as_str(), reason);
    }
    let versions: Vec<String> = match desk.list(MODULES) {
        Seen::Folder(names) => names.iter().take(MAX_FILES).cloned().collect(),
        Seen::Unreadable(_) => return cannot_read(CHECK, MODULES),
        _ => Vec::new(),
    };
    let wanted: Vec<&String> = versions
        .iter()
        .filter(|version| kernel.is_none_or(|kernel| kernel.version == **version))
        .collect();
    for version in &wanted {
        if let Some(path) = driver(desk, &format!("{MODULES}/{version}")) {
            return says(
                CHECK,
                Verdict::Pass,
                path,
                format!("virtio_net for kernel {version}"),
            );
        }
    }
    match kernel {
        Some(kernel) => {
            let reason = format!(
                "the kernel {} has no virtio_net of its own, and no module of it is here: no network",
                kernel.version
            );
            says(
                CHECK,
                Verdict::Fail,
                format!("{MODULES}/{}", kernel.version),
                reason,
            )
        }
        None => {
            let reason = match versions.is_empty() {
                true => "no modules: right only where the guest's kernel has virtio_net built in",
                false => {
                    "no virtio_net in any of them: right only where the guest's kernel has it built in"
                }
            };
            says(CHECK, Verdict::Unknown, MODULES, reason)
        }
    }
}

fn driver(desk: &mut Desk<'_>, folder: &str) -> Option<String> {
    for packed in ["", ".zst", ".xz", ".gz"] {
        let path = format!("{folder}/kernel/drivers/net/virtio_net.ko{packed}");
        if desk.is_file(&path) {
            return Some(path);
        }
    }
    // A module that was built apart lies elsewhere; depmod has listed it.
    if let Seen::File(file) = desk.text(&format!("{folder}/modules.dep")) {
        let listed = file.text.lines().filter_map(|line| line.split_once(':'));
        let named = |(path, _): (&str, &str)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.starts_with("virtio_net.ko")
                .then(|| format!("{folder}/{path}"))
        };
        let paths: Vec<String> = listed.filter_map(named).collect();
        if let Some(path) = paths.into_iter().find(|path| desk.is_file(path)) {
            return Some(path);
        }
    }
    let list = format!("{folder}/modules.builtin");
    match desk.text(&list) {
        Seen::File(file) if file.text.contains("/virtio_net.ko") => Some(list),
        _ => None,
    }
}

pub(super) fn vnc(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Vnc;
    const PLACE: &str = "/etc/systemd/system";
    let mut nearest: Option<(Vec<&str>, Vec<&str>)> = None;
    for set in SETS {
        let (there, missing): (Vec<&str>, Vec<&str>) =
            set.iter().copied().partition(|unit| is_unit(desk, unit));
        if missing.is_empty() {
            return says(CHECK, Verdict::Pass, PLACE, there.join(", "));
        }
        if !there.is_empty()
            && nearest
                .as_ref()
                .is_none_or(|(best, _)| best.len() < there.len())
        {
            nearest = Some((there, missing));
        }
    }
    let reason = match nearest {
        Some((there, missing)) => format!(
            "{} without {}: nothing is to be seen",
            there.join(", "),
            missing.join(", ")
        ),
        None => "no display services: nothing is to be seen".to_owned(),
    };
    says(CHECK, Verdict::Warn, PLACE, reason)
}

pub(super) fn browser(desk: &mut Desk<'_>) -> Vec<Finding> {
    const CHECK: Check = Check::Browser;
    let mut stub = None;
    let mut unread = None;
    for path in BROWSERS {
        let file = match desk.stat(path) {
            Seen::File(file) => file,
            Seen::Broken { .. } => {
                stub = Some((*path, "a link that leads nowhere"));
                continue;
            }
            Seen::Unreadable(_) => {
                unread = Some(*path);
                continue;
            }
            Seen::Absent | Seen::Folder(_) | Seen::Other { .. } => continue,
        };
        stub = match file.content {
            _ if !file.is_executable || file.size == 0 => Some((*path, "cannot be run")),
            Content::Script(_) if is_snap(desk, path) => {
                Some((*path, "only a stub that asks for a snap"))
            }
            Content::Program { machine, .. } if !desk.facts.machine.runs(machine) => {
                Some((*path, "of another machine"))
            }
            Content::Program { .. } if file.cut_off().is_some() => {
                Some((*path, "a program that was cut off"))
            }
            Content::Program { .. } | Content::Script(_) => {
                let reason = format!("{}, {} bytes", file.resolved, file.size);
                return says(CHECK, Verdict::Pass, *path, reason);
            }
            Content::Empty | Content::Other => Some((*path, "neither program nor script")),
        };
    }
    match (unread, stub) {
        (Some(path), _) => cannot_read(CHECK, path),
        (None, Some((path, why))) => says(
            CHECK,
            Verdict::Warn,
            path,
            format!("{why}: the screen stays black"),
        ),
        (None, None) => says(
            CHECK,
            Verdict::Warn,
            BROWSERS[0],
            "no browser: the screen stays black",
        ),
    }
}

fn is_snap(desk: &mut Desk<'_>, path: &str) -> bool {
    matches!(desk.text(path), Seen::File(file) if file.text.contains("snap"))
}
