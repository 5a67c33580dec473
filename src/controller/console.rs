//! A guest's console, and Firecracker's error output, into marks (`core/console`) and clean lines.
//!
//! These are the bytes of a serial line: colours, cursor moves, carriage returns, torn lines, and whatever else runs in
//! the guest and wants to be read as something. So lines are bounded, sequences are dropped as a terminal would take
//! them, and a pattern gives a mark of a closed vocabulary and never more. What each mark looks like is a table.
//!
//! A prompt has no line end: what is pending is looked at too, once.

use crate::controller::clock::iso_utc;
use crate::core::console::{GuestMark, MarkSet};
use crate::core::event::Timestamp;

/// Longer lines are read to here.
pub const MAX_LINE: usize = 1024;

use GuestMark as M;

/// A line that holds all of the words says the mark.
const PATTERNS: &[(GuestMark, &[&str])] = &[
    (M::KernelStarted, &["Linux version "]),
    (M::RootMounted, &["VFS: Mounted root"]),
    (M::InterfaceSeen, &["eth0"]),
    (M::IpConfigComplete, &["IP-Config: Complete"]),
    (M::IpConfigFailed, &["IP-Config: No network devices"]),
    (M::IpConfigFailed, &["IP-Config: Device", "not found"]),
    (
        M::IpConfigFailed,
        &["IP-Config: Auto-configuration", "failed"],
    ),
    (M::IpConfigFailed, &["IP-Config: Retrying forever"]),
    (M::IpConfigFailed, &["IP-Config: Failed to open"]),
    (M::NetworkSetupComplete, &["Network setup complete"]),
    (M::GatewayPingFailed, &["Gateway ping failed"]),
    (M::WaitingForNetwork, &["Wait for Network to be Configured"]),
    (M::WaitingForNetwork, &["Network Manager Wait Online"]),
    (M::MultiUserTarget, &["Reached target", "Multi-User System"]),
    (
        M::EnvironmentFileMissing,
        &["Failed to load environment files"],
    ),
    (M::AgentExecFailed, &["203/EXEC"]),
    (M::AgentExecFailed, &["Failed at step EXEC"]),
    (M::AgentExecFailed, &["Failed to locate executable"]),
    (M::AgentExecFailed, &["/node: No such file or directory"]),
    (M::AgentExecFailed, &["/node: not found"]),
    (M::Supervisor, &["[SUPERVISOR]"]),
    (M::AgentDied, &["[SUPERVISOR]", " died"]),
    (M::AgentCrashed, &["Error: Cannot find module"]),
    (M::AgentCrashed, &["Illegal instruction"]),
    (M::AgentCrashed, &["node[", "segfault"]),
    (M::AgentCrashed, &["node[", "trap invalid opcode"]),
    (
        M::AgentCrashed,
        &["vm-browser-agent.service: Main process exited"],
    ),
    (M::AgentCrashed, &["version `GLIBC", "not found"]),
    (M::AgentListening, &["VM Browser Agent started"]),
    (M::AgentBindFailed, &["HTTP server error"]),
    (M::AgentBindFailed, &["EADDRINUSE", ":8080"]),
    (M::KernelPanic, &["Kernel panic - not syncing"]),
    (M::OutOfMemory, &["Out of memory"]),
    (M::OutOfMemory, &["deadlocked on memory"]),
    (M::OutOfMemory, &["invoked oom-killer"]),
    (M::RootDeviceMissing, &["VFS: Cannot open root device"]),
    (M::RootDeviceMissing, &["VFS: Unable to mount root fs"]),
    (M::FilesystemError, &["EXT4-fs error"]),
    (M::FilesystemError, &["ext4_dirblock_csum_verify"]),
    (M::DmaFailed, &["Failed to enable 64-bit or 32-bit DMA"]),
    (M::InitFailed, &["No working init found"]),
    (M::InitFailed, &["Freezing execution"]),
    (M::InitFailed, &["Requested init", "failed"]),
    (M::GuestRebooted, &["reboot: Restarting system"]),
    (M::GuestRebooted, &["reboot: System halted"]),
    (M::GuestRebooted, &["reboot: Power down"]),
    (M::VcpuFault, &["KVM_EXIT_SHUTDOWN"]),
    (M::VcpuFault, &["triple fault"]),
    (M::KvmDenied, &["Error creating KVM object"]),
    (M::VmmLoggerMissing, &["LoggerUpdateError"]),
    (M::VmmSocketTaken, &["FailedToBindSocket"]),
];

/// How the agent's unit is called: by its file's name or its description.
const AGENT_UNITS: &[&str] = &[
    "VM Browser",
    "vm-browser-agent.service",
    "OAuth Agent",
    "oauth-agent.service",
    "VM Agent",
    "vm-agent.service",
    "VM API",
    "vm-api.service",
];

const VNC_UNITS: &[&str] = &["VNC", "vncserver@", "websockify", "Xvfb", "xvfb.service"];

/// One line of a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without sequences and control characters; what is not UTF-8 is replaced. Not redacted.
    pub text: &'a str,
    pub marks: MarkSet,
    /// The kernel's own stamp on it.
    pub uptime_ms: Option<u32>,
    /// The agent's own stamp on it, by the guest's clock.
    pub clock: Option<Timestamp>,
    /// It has no end yet: only its marks are new.
    pub pending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// ESC was read.
    Begun,
    /// Parameters until a final byte.
    Control,
    /// A title or the like, until BEL or ESC.
    Text,
}

/// Reads a console's bytes, in whatever pieces they come.
#[derive(Clone, Debug, Default)]
pub struct ConsoleReader {
    line: Vec<u8>,
    escape: Escape,
    /// The pending line's prompt was told.
    prompted: bool,
}

impl ConsoleReader {
    /// Takes the next bytes; `sink` is given each line that is whole, and a prompt that waits.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        for byte in bytes {
            self.take(*byte, sink);
        }
        if !self.prompted && is_prompt(&self.line) {
            self.prompted = true;
            let text = String::from_utf8_lossy(&self.line);
            sink(Line {
                text: text.trim_end(),
                marks: MarkSet::from_iter([M::LoginPrompt]),
                uptime_ms: None,
                clock: None,
                pending: true,
            });
        }
    }

    /// Nothing follows: what is pending is a line.
    pub fn finish(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        self.end_line(sink);
        self.escape = Escape::None;
    }

    fn take(&mut self, byte: u8, sink: &mut impl FnMut(Line<'_>)) {
        match (self.escape, byte) {
            // A line end ends whatever was open: a torn sequence must not swallow the rest.
            (_, b'\n' | b'\r') => {
                self.escape = Escape::None;
                self.end_line(sink);
            }
            (_, 0x1b) => self.escape = Escape::Begun,
            (Escape::Begun, b'[') => self.escape = Escape::Control,
            (Escape::Begun, b']' | b'P' | b'X' | b'^' | b'_') => self.escape = Escape::Text,
            // `ESC ( B` and its like have one more byte.
            (Escape::Begun, b' '..=b'/') => {}
            (Escape::Begun, _) => self.escape = Escape::None,
            (Escape::Control, b'@'..=b'~') => self.escape = Escape::None,
            (Escape::Control, _) => {}
            (Escape::Text, 0x07) => self.escape = Escape::None,
            (Escape::Text, _) => {}
            (Escape::None, b'\t') => self.keep(b' '),
            (Escape::None, 0..=0x1f | 0x7f) => {}
            (Escape::None, byte) => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.line.len() < MAX_LINE {
            self.line.push(byte);
        }
    }

    fn end_line(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        let prompted = std::mem::take(&mut self.prompted);
        if self.line.iter().any(|byte| *byte != b' ') {
            let text = String::from_utf8_lossy(&self.line);
            let text = text.trim_end();
            let (uptime_ms, said) = kernel_stamp(text);
            let mut marks = marks(said);
            if is_prompt(&self.line) && !prompted {
                marks.insert(M::LoginPrompt);
            }
            sink(Line {
                text,
                marks,
                uptime_ms,
                clock: agent_stamp(said),
                pending: false,
            });
        }
        self.line.clear();
    }
}

/// What a text of several lines says, as that which the controller quotes of a console's end.
#[must_use]
pub fn marks_of(text: &[u8]) -> MarkSet {
    let mut all = MarkSet::EMPTY;
    let mut reader = ConsoleReader::default();
    let mut sink = |line: Line<'_>| {
        for mark in line.marks.iter() {
            all.insert(mark);
        }
    };
    reader.push(text, &mut sink);
    reader.finish(&mut sink);
    all
}

fn is_prompt(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b" login:")
}

/// What a clean line says.
fn marks(line: &str) -> MarkSet {
    let mut set: MarkSet = PATTERNS
        .iter()
        .filter(|(_, words)| words.iter().all(|word| line.contains(word)))
        .map(|(mark, _)| *mark)
        .collect();
    if let Some((_, target)) = line.split_once("Reached target ") {
        let target = target.trim_end_matches('.');
        if target.ends_with("Network is Online") || target.starts_with("network-online.target") {
            set.insert(M::NetworkOnline);
        } else if matches!(
            target,
            "Network" | "network.target" | "network.target - Network"
        ) {
            set.insert(M::NetworkTarget);
        }
    }
    for (words, mark_agent, mark_vnc) in [
        ("Started ", M::AgentUnitStarted, M::VncUnitStarted),
        ("Failed to start ", M::AgentUnitFailed, M::VncUnitFailed),
        (
            "Dependency failed for ",
            M::AgentUnitBlocked,
            M::VncUnitFailed,
        ),
    ] {
        let Some((_, unit)) = line.split_once(words) else {
            continue;
        };
        if AGENT_UNITS.iter().any(|name| unit.contains(name)) {
            set.insert(mark_agent);
        } else if VNC_UNITS.iter().any(|name| unit.contains(name)) {
            set.insert(mark_vnc);
        }
    }
    set
}

/// `[    0.412345] `: seconds since the guest's kernel began.
fn kernel_stamp(line: &str) -> (Option<u32>, &str) {
    let stamp = line.strip_prefix('[').and_then(|rest| {
        let (stamp, said) = rest.split_once(']')?;
        let (seconds, fraction) = stamp.trim_start().split_once('.')?;
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(seconds) || !digits(fraction) || fraction.len() != 6 {
            return None;
        }
        let milliseconds: u32 = fraction.get(..3)?.parse().ok()?;
        let ms = seconds.parse::<u32>().ok()?.checked_mul(1_000)?;
        Some((ms.checked_add(milliseconds)?, said.trim_start()))
    });
    match stamp {
        Some((ms, said)) => (Some(ms), said),
        None => (None, line),
    }
}

/// The agent's lines are JSON objects with the guest's time.
fn agent_stamp(line: &str) -> Option<Timestamp> {
    let object = line.trim_start();
    let (_, stamp) = object
        .starts_with('{')
        .then(|| object.split_once("\"timestamp\":\""))??;
    iso_utc(stamp.split_once('"')?.0.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<(String, MarkSet, bool)> {
        let mut reader = ConsoleReader::default();
        let mut lines = Vec::new();
        let mut sink =
            |line: Line<'_>| lines.push((line.text.to_owned(), line.marks, line.pending));
        for piece in pieces {
            reader.push(piece, &mut sink);
        }
        reader.finish(&mut sink);
        lines
    }

    fn said(line: &str) -> Vec<GuestMark> {
        marks_of(line.as_bytes()).iter().collect()
    }

    #[test]
    fn each_line_that_the_contract_quotes_gives_its_mark() {
        for (line, expected) in [
            (
                "[    0.000000] Linux version 5.10.0 (guest)",
                vec![M::KernelStarted],
            ),
            (
                "[    0.412345] virtio_net eth0: up 127.0.100.24",
                vec![M::InterfaceSeen],
            ),
            (
                "[    0.340000] IP-Config: Complete:",
                vec![M::IpConfigComplete],
            ),
            (
                "[    1.2] IP-Config: No network devices available",
                vec![M::IpConfigFailed],
            ),
            ("Network setup complete", vec![M::NetworkSetupComplete]),
            ("Gateway ping failed", vec![M::GatewayPingFailed]),
            ("[  OK  ] Reached target Network.", vec![M::NetworkTarget]),
            (
                "[  OK  ] Reached target network.target - Network.",
                vec![M::NetworkTarget],
            ),
            (
                "[  OK  ] Reached target Network is Online.",
                vec![M::NetworkOnline],
            ),
            (
                "[  OK  ] Reached target network-online.target - Network is Online.",
                vec![M::NetworkOnline],
            ),
            ("[  OK  ] Reached target Preparation for Network.", vec![]),
            (
                "[  OK  ] Reached target Multi-User System.",
                vec![M::MultiUserTarget],
            ),
            (
                "Ubuntu 22.04.3 LTS vm ttyS0\n\nvm login: ",
                vec![M::LoginPrompt],
            ),
            (
                "[  OK  ] Started VM Browser Services.",
                vec![M::AgentUnitStarted],
            ),
            (
                "[  OK  ] Started vm-browser-agent.service - VM Browser Agent.",
                vec![M::AgentUnitStarted],
            ),
            (
                "[  OK  ] Started OAuth Agent Service.",
                vec![M::AgentUnitStarted],
            ),
            (
                "[FAILED] Failed to start VM Browser Agent.",
                vec![M::AgentUnitFailed],
            ),
            (
                "[DEPEND] Dependency failed for VM Browser Agent.",
                vec![M::AgentUnitBlocked],
            ),
            ("[  OK  ] Started TigerVNC server.", vec![M::VncUnitStarted]),
            ("[SUPERVISOR] Starting OAuth agent", vec![M::Supervisor]),
            (
                "[SUPERVISOR] OAuth agent died (PID 412), restarting...",
                vec![M::Supervisor, M::AgentDied],
            ),
            (
                r#"{"level":"info","msg":"VM Browser Agent started","port":8080}"#,
                vec![M::AgentListening],
            ),
            (
                r#"{"level":"error","msg":"HTTP server error"}"#,
                vec![M::AgentBindFailed],
            ),
            (
                "[    2.1] Out of memory and no killable processes...",
                vec![M::OutOfMemory],
            ),
            (
                "Kernel panic - not syncing: System is deadlocked on memory",
                vec![M::KernelPanic, M::OutOfMemory],
            ),
            (
                "VFS: Cannot open root device \"vda\" or unknown-block(0,0)",
                vec![M::RootDeviceMissing],
            ),
            (
                "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(254,0)",
                vec![M::KernelPanic, M::RootDeviceMissing],
            ),
            (
                "EXT4-fs error (device vda): ext4_dirblock_csum_verify:377: inode #2",
                vec![M::FilesystemError],
            ),
            (
                "virtio_net: Failed to enable 64-bit or 32-bit DMA",
                vec![M::DmaFailed],
            ),
            (
                "vcpu 0: KVM_EXIT_SHUTDOWN: unexpected triple fault",
                vec![M::VcpuFault],
            ),
            (
                "Error: RunWithApiError(StartMicroVM): Failed to create the VMM: Error creating KVM object",
                vec![M::KvmDenied],
            ),
        ] {
            assert_eq!(said(line), expected, "{line}");
        }
    }

    #[test]
    fn colours_and_cursor_moves_do_not_hide_a_word() {
        let lines = read(&[
            b"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mVM Browser Services\x1b[0m.\r\n",
            b"\x1b]0;title\x07\x1b(B[\x1b[33MWARN\x1b[39M] x\r\n",
        ]);
        let unit = MarkSet::from_iter([M::AgentUnitStarted]);
        assert_eq!(
            lines,
            [
                (
                    "[  OK  ] Started VM Browser Services.".to_owned(),
                    unit,
                    false
                ),
                ("[WARN] x".to_owned(), MarkSet::EMPTY, false),
            ]
        );
    }

    #[test]
    fn a_prompt_without_a_line_end_is_told_once() {
        let prompts = read(&[b"vm login", b": ", b"\x1b[K", b"root\nvm login: "])
            .iter()
            .filter(|(_, marks, _)| marks.contains(M::LoginPrompt))
            .count();
        assert_eq!(prompts, 2);
    }

    #[test]
    fn the_kernels_and_the_agents_stamps_are_read() {
        let mut reader = ConsoleReader::default();
        let mut stamps = Vec::new();
        reader.push(
            b"[    0.340012] IP-Config: Complete:\n\
              {\"level\":\"info\",\"msg\":\"VM Browser Agent started\",\"timestamp\":\"2025-11-07T08:14:38.250Z\"}\n\
              [99999999999.000000] x\n[  OK  ] y\n",
            &mut |line: Line<'_>| stamps.push((line.uptime_ms, line.clock)),
        );
        let told = Some(Timestamp(1_762_503_278_250));
        assert_eq!(
            stamps,
            [(Some(340), None), (None, told), (None, None), (None, None)]
        );
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_bound() {
        let mut reader = ConsoleReader::default();
        let mut longest = 0;
        let mut sink = |line: Line<'_>| longest = longest.max(line.text.len());
        for _ in 0..1_000 {
            reader.push(&[b'x'; 4096], &mut sink);
        }
        reader.finish(&mut sink);
        assert_eq!(longest, MAX_LINE);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_read_the_same(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\n'), Just(0x1b), Just(b'['), Just(b':')], 0..400),
            cut in 0usize..400,
        ) {
            let cut = cut.min(bytes.len());
            let whole: Vec<_> = read(&[&bytes]).into_iter().filter(|line| !line.2).collect();
            let split: Vec<_> = read(&[&bytes[..cut], &bytes[cut..]])
                .into_iter()
                .filter(|line| !line.2)
                .collect();
            let texts = |lines: &[(String, MarkSet, bool)]| -> Vec<String> {
                lines.iter().map(|line| line.0.clone()).collect()
            };
            prop_assert_eq!(texts(&whole), texts(&split));
            for (text, _, _) in whole {
                prop_assert!(!text.chars().any(|c| c.is_ascii_control()));
            }
        }
    }
}
