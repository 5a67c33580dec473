//! What a guest's console said while it booted: marks from a closed vocabulary, and the redacted end of the text.
//!
//! A console is the guest's own word and the only one from inside it. Marks are facts of one line each, whatever else
//! the line holds; what they mean together is the diagnosis' work. A mark that is missing says something only where the
//! console was read whole (`whole`): from its first byte, without a gap, to the boot's end.
//!
//! Bounded by the vocabulary: a mark is kept once, with how often it was seen and when first and last.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Timestamp, VmId, words};

/// Lines of a console's end that are kept, and how long one may be.
pub const TAIL_LINES: usize = 40;
pub const TAIL_LINE: usize = 160;

words! {
    /// One thing that a guest's console, or Firecracker's own error output, can say about a boot.
    GuestMark {
        /// `Linux version`: the kernel runs.
        KernelStarted = "kernel_started",
        /// The root file system is mounted.
        RootMounted = "root_mounted",
        /// Any line about `eth0`: the guest has a network device.
        InterfaceSeen = "interface_seen",
        /// The kernel configured the address of its command line.
        IpConfigComplete = "ip_config_complete",
        /// The kernel tried to and could not.
        IpConfigFailed = "ip_config_failed",
        /// The image's own network script is done.
        NetworkSetupComplete = "network_setup_complete",
        /// systemd reached `network.target`.
        NetworkTarget = "network_target",
        /// systemd reached `network-online.target`, which many of these images never do.
        NetworkOnline = "network_online",
        /// systemd waits for, or gave up on, `systemd-networkd-wait-online` and its like.
        WaitingForNetwork = "waiting_for_network",
        /// A ping of the gateway out of the guest failed.
        GatewayPingFailed = "gateway_ping_failed",
        MultiUserTarget = "multi_user_target",
        LoginPrompt = "login_prompt",

        /// systemd started the agent's unit.
        AgentUnitStarted = "agent_unit_started",
        AgentUnitFailed = "agent_unit_failed",
        /// Something that the unit requires failed, so it was never tried.
        AgentUnitBlocked = "agent_unit_blocked",
        /// The unit's `EnvironmentFile` could not be read.
        EnvironmentFileMissing = "environment_file_missing",
        /// What `ExecStart` names cannot be run.
        AgentExecFailed = "agent_exec_failed",
        /// Any line of the supervisor script, which some images have.
        Supervisor = "supervisor",
        /// The supervisor saw the agent die.
        AgentDied = "agent_died",
        /// Node.js or the kernel says why: a module missing, an illegal instruction, a segmentation fault.
        AgentCrashed = "agent_crashed",
        /// The agent says that it listens.
        AgentListening = "agent_listening",
        /// The agent could not bind its port; its process lives on.
        AgentBindFailed = "agent_bind_failed",
        VncUnitStarted = "vnc_unit_started",
        VncUnitFailed = "vnc_unit_failed",

        KernelPanic = "kernel_panic",
        OutOfMemory = "out_of_memory",
        /// The kernel found no root device or no file system on it.
        RootDeviceMissing = "root_device_missing",
        FilesystemError = "filesystem_error",
        /// virtio cannot do DMA with this kernel.
        DmaFailed = "dma_failed",
        /// There is no `init`, or systemd froze.
        InitFailed = "init_failed",
        GuestRebooted = "guest_rebooted",

        /// Firecracker: the virtual processor ended in a fault.
        VcpuFault = "vcpu_fault",
        KvmDenied = "kvm_denied",
        VmmLoggerMissing = "vmm_logger_missing",
        VmmSocketTaken = "vmm_socket_taken",
    }
}

/// What a guest that becomes healthy says, in order.
const HEALTHY: [GuestMark; 4] = [
    GuestMark::KernelStarted,
    GuestMark::LoginPrompt,
    GuestMark::AgentUnitStarted,
    GuestMark::AgentListening,
];

/// A set of marks: small enough to travel in an event.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MarkSet(u64);

const _: () = assert!(GuestMark::ALL.len() <= 64);

impl MarkSet {
    pub const EMPTY: MarkSet = MarkSet(0);

    pub fn insert(&mut self, mark: GuestMark) {
        self.0 |= 1 << mark as u32;
    }

    #[must_use]
    pub fn contains(self, mark: GuestMark) -> bool {
        self.0 & (1 << mark as u32) != 0
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn union(self, other: MarkSet) -> MarkSet {
        MarkSet(self.0 | other.0)
    }

    /// In the vocabulary's order.
    pub fn iter(self) -> impl Iterator<Item = GuestMark> {
        GuestMark::ALL
            .iter()
            .copied()
            .filter(move |mark| self.contains(*mark))
    }
}

impl FromIterator<GuestMark> for MarkSet {
    fn from_iter<I: IntoIterator<Item = GuestMark>>(marks: I) -> MarkSet {
        let mut set = MarkSet::EMPTY;
        for mark in marks {
            set.insert(mark);
        }
        set
    }
}

impl fmt::Debug for MarkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

words! {
    /// Where the console's words were read.
    ConsoleSource {
        /// Followed while the guest booted: the marks' times are right to within milliseconds.
        Live = "live",
        /// The copy that later controllers keep: times are those of its reading.
        Archive = "archive",
        /// The last characters that the controller put into its record of the process' end.
        ExitRecord = "exit_record",
    }
}

/// A mark as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub mark: GuestMark,
    /// When the line was read, on this host's clock.
    pub at: Timestamp,
    /// The guest kernel's own stamp on the line, where it has one.
    pub uptime_ms: Option<u32>,
}

/// A mark as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    pub mark: GuestMark,
    pub count: u32,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Of the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u32>,
}

/// The end of what was said, redacted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleTail {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// Firecracker's own error output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl ConsoleTail {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.console.is_empty() && self.errors.is_empty()
    }
}

/// All that one boot's console said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleEvidence {
    pub source: ConsoleSource,
    /// In the order in which they were first seen.
    pub marks: Vec<Marked>,
    /// Known once the boot has failed and the console was read to its end.
    #[serde(default, skip_serializing_if = "ConsoleTail::is_empty")]
    pub tail: ConsoleTail,
    /// Read from its first byte, without a gap, to the boot's end: what is missing was not said.
    #[serde(default)]
    pub whole: bool,
    /// What the guest's clock was ahead of the host's, where it told a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
}

impl ConsoleEvidence {
    #[must_use]
    pub fn new(source: ConsoleSource) -> ConsoleEvidence {
        ConsoleEvidence {
            source,
            marks: Vec::new(),
            tail: ConsoleTail::default(),
            whole: false,
            clock_ahead_ms: None,
        }
    }

    pub fn take(&mut self, seen: Seen) {
        match self.marks.iter_mut().find(|kept| kept.mark == seen.mark) {
            Some(kept) => {
                kept.count = kept.count.saturating_add(1);
                kept.last_at = kept.last_at.max(seen.at);
            }
            None => self.marks.push(Marked {
                mark: seen.mark,
                count: 1,
                first_at: seen.at,
                last_at: seen.at,
                uptime_ms: seen.uptime_ms,
            }),
        }
    }

    #[must_use]
    pub fn mark(&self, mark: GuestMark) -> Option<&Marked> {
        self.marks.iter().find(|kept| kept.mark == mark)
    }

    #[must_use]
    pub fn has(&self, mark: GuestMark) -> bool {
        self.mark(mark).is_some()
    }

    /// Not said, and it would have been read if it had been.
    #[must_use]
    pub fn lacks(&self, mark: GuestMark) -> bool {
        self.whole && !self.has(mark)
    }

    /// What it said, in a line: its marks with the guest's own clock, and what is missing that a healthy one has.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        if self.marks.is_empty() {
            return None;
        }
        let said: Vec<String> = self
            .marks
            .iter()
            .map(|kept| {
                let times = match kept.count {
                    1 => String::new(),
                    times => format!(" x{times}"),
                };
                match kept.uptime_ms {
                    Some(ms) => {
                        format!("{}{times} at {}.{:03} s", kept.mark, ms / 1_000, ms % 1_000)
                    }
                    None => format!("{}{times}", kept.mark),
                }
            })
            .collect();
        let missing: Vec<&str> = HEALTHY
            .iter()
            .filter(|mark| self.lacks(**mark))
            .map(|mark| mark.as_str())
            .collect();
        let missing = match missing.is_empty() {
            true => String::new(),
            false => format!("; never {}", missing.join(", ")),
        };
        Some(format!("console said {}{missing}", said.join(", ")))
    }

    #[must_use]
    pub fn set(&self) -> MarkSet {
        self.marks.iter().map(|kept| kept.mark).collect()
    }
}

/// What a source tells of one VM's console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleNews {
    pub vm: VmId,
    pub source: ConsoleSource,
    pub seen: Vec<Seen>,
    pub clock_ahead_ms: Option<i64>,
    /// The last news of this console: its end, and whether it was read whole.
    pub end: Option<ConsoleEnd>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleEnd {
    /// Every mark from the beginning on: news may have come before the log told of the VM.
    pub marks: Vec<Marked>,
    pub tail: ConsoleTail,
    pub whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_once_with_how_often_and_when() {
        let mut console = ConsoleEvidence::new(ConsoleSource::Live);
        for (at, uptime_ms) in [(10, Some(5)), (30, Some(25)), (20, None)] {
            let mark = GuestMark::AgentDied;
            let at = Timestamp(at);
            console.take(Seen {
                mark,
                at,
                uptime_ms,
            });
        }
        let died = console.mark(GuestMark::AgentDied).unwrap();
        assert_eq!((died.count, died.uptime_ms), (3, Some(5)));
        assert_eq!(
            (died.first_at, died.last_at),
            (Timestamp(10), Timestamp(30))
        );
        assert_eq!(console.marks.len(), 1);
    }

    #[test]
    fn what_is_missing_counts_only_where_all_was_read() {
        let mut console = ConsoleEvidence::new(ConsoleSource::Live);
        assert!(!console.lacks(GuestMark::AgentUnitStarted));
        console.whole = true;
        assert!(console.lacks(GuestMark::AgentUnitStarted));
    }

    #[test]
    fn a_set_holds_each_mark_of_the_vocabulary() {
        for mark in GuestMark::ALL {
            let set = MarkSet::from_iter([*mark]);
            assert!(set.contains(*mark));
            assert_eq!(set.iter().collect::<Vec<_>>(), [*mark]);
        }
        assert!(MarkSet::EMPTY.is_empty());
    }
}
