//! The vocabulary: what can be said about a VM, a session or the controller.
//!
//! Events are facts with the time at which they happened (`at`, event time). Closed vocabularies are defined here
//! once; their `as_str` names are the words of metrics, JSON, pages and reports.

use std::fmt;
use std::net::Ipv4Addr;

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::console::MarkSet;
use super::probe::Answerer;

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "i64", try_from = "i64")]
pub struct Timestamp(pub i64);

impl From<Timestamp> for i64 {
    fn from(at: Timestamp) -> i64 {
        at.0
    }
}

impl TryFrom<i64> for Timestamp {
    type Error = &'static str;

    /// What is read back is so small that no difference of two times can overflow.
    fn try_from(ms: i64) -> Result<Timestamp, &'static str> {
        if ms.unsigned_abs() <= i64::MAX.unsigned_abs() / 3 {
            Ok(Timestamp(ms))
        } else {
            Err("not a time")
        }
    }
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN / 4);

    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; negative if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same as an instant that can be written; `None` beyond the calendar's years (-9999 to 9999).
    #[must_use]
    pub fn utc(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_millisecond(self.0).ok()
    }

    /// As a clock on a wall in `zone` shows it; `None` beyond the calendar's years.
    #[must_use]
    pub fn in_zone(self, zone: &TimeZone) -> Option<ZonedDateTime> {
        Some(self.utc()?.to_zoned_datetime(zone.clone()))
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            fn text(self) -> [u8; $prefix.len() + 36] {
                let mut text = [0; $prefix.len() + 36];
                let (prefix, uuid) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                uuid.copy_from_slice(&uuid_text(self.0));
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl $name {
            /// Reads the exact text form; anything else is not an id.
            #[must_use]
            pub fn parse(text: &[u8]) -> Option<Self> {
                parse_uuid(text.strip_prefix($prefix.as_bytes())?).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(str::from_utf8(&self.text()).unwrap_or_default())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not an id"))
            }
        }
    };
}

uuid_id!(
    /// A VM, `vm-` and a UUID.
    VmId,
    "vm-"
);
uuid_id!(
    /// A login session, a UUID.
    SessionId,
    ""
);

/// Who asked, as a key for joins. Never printed: see `UserKey::hashed`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserKey(pub u128);

impl UserKey {
    /// A UUID keeps its bits; any other text is folded (FNV-1a), because a hostile id must still join with itself.
    #[must_use]
    pub fn from_text(text: &[u8]) -> UserKey {
        if let Some(bits) = parse_uuid(text) {
            return UserKey(bits);
        }
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in text {
            hash =
                (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        UserKey(hash)
    }
}

const NOT_HEX: u8 = 0xff;
const HEX: [u8; 256] = {
    let mut table = [NOT_HEX; 256];
    let mut digit = 0u8;
    while digit < 10 {
        table[(b'0' + digit) as usize] = digit;
        digit += 1;
    }
    while digit < 16 {
        table[(b'a' + digit - 10) as usize] = digit;
        table[(b'A' + digit - 10) as usize] = digit;
        digit += 1;
    }
    table
};

/// A UUID's 36 characters. A page names dozens, and the formatter's way through `u128` takes twenty times as long.
fn uuid_text(bits: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut digits = bits.to_be_bytes().into_iter();
    for part in [0..8, 9..13, 14..18, 19..23, 24..36] {
        let (pairs, _) = text[part].as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(&mut digits) {
            *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
    }
    text
}

/// A UUID's 36 characters into its bits.
#[must_use]
pub fn parse_uuid(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut bits: u128 = 0;
    let mut bad = 0u8;
    let mut part: u64 = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = HEX[usize::from(*byte)];
        bad |= digit;
        part = (part << 4) | u64::from(digit & 15);
        if at == 18 - 1 {
            bits = u128::from(part) << 64;
            part = 0;
        }
    }
    (bad < 16).then_some(bits | u128::from(part))
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::from_word(&word).ok_or_else(|| serde::de::Error::custom(concat!("unknown ", stringify!($name))))
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What kind of VM; only browser VMs have an agent on port 8080.
    VmType { Browser = "browser", Cli = "cli", }
}

impl VmType {
    /// As people write it in a sentence.
    #[must_use]
    pub fn spoken(self) -> &'static str {
        match self {
            VmType::Browser => "browser",
            VmType::Cli => "CLI",
        }
    }
}

words! {
    /// Who asked for the boot.
    Origin { User = "user", Synthetic = "synthetic", }
}

words! {
    /// The steps of a boot, in order. `InjectAgent` lies inside `CloneSnapshot`.
    Stage {
        AllocateIp = "allocate_ip",
        CreateTap = "create_tap",
        CloneSnapshot = "clone_snapshot",
        InjectAgent = "inject_agent",
        WriteConfig = "write_config",
        CreateRecord = "create_record",
        StartFirecracker = "start_firecracker",
        GuestNetwork = "guest_network",
        AgentStart = "agent_start",
        SessionReady = "session_ready",
    }
}

words! {
    /// How a stage ended.
    StageOutcome { Completed = "completed", Failed = "failed", TimedOut = "timed_out", Abandoned = "abandoned", }
}

words! {
    /// How a boot ended. `Lost`: nobody knows.
    Outcome { Ready = "ready", Failed = "failed", Cancelled = "cancelled", Lost = "lost", }
}

words! {
    /// Why a boot failed, by where it stopped: what was seen, not the diagnosis.
    Failure {
        NotStarted = "not_started",
        IpPoolExhausted = "ip_pool_exhausted",
        TapFailed = "tap_failed",
        SnapshotCloneFailed = "snapshot_clone_failed",
        AgentInjectionFailed = "agent_injection_failed",
        ConfigFailed = "config_failed",
        RecordFailed = "record_failed",
        FirecrackerFailed = "firecracker_failed",
        StepTimeout = "step_timeout",
        GuestDied = "guest_died",
        GuestUnreachable = "guest_unreachable",
        AgentRefused = "agent_refused",
        AgentTimeout = "agent_timeout",
        AgentReset = "agent_reset",
        AgentUnhealthy = "agent_unhealthy",
        VncNotReady = "vnc_not_ready",
        AgentLate = "agent_late",
        NoAttempt = "no_attempt",
        ControllerRestarted = "controller_restarted",
        Unknown = "unknown",
    }
}

words! {
    /// A Node.js error code of a health check. `Request timeout` has no code in the log: `Timeout`.
    AttemptError {
        Refused = "ECONNREFUSED",
        HostUnreachable = "EHOSTUNREACH",
        NetUnreachable = "ENETUNREACH",
        Timeout = "timeout",
        TimedOut = "ETIMEDOUT",
        Reset = "ECONNRESET",
        Aborted = "ECONNABORTED",
        Pipe = "EPIPE",
        BadHttp = "HPE_INVALID_CONSTANT",
        BadHttpOther = "HPE_OTHER",
        NotFound = "ENOTFOUND",
        BadDescriptor = "EBADF",
        TooManyFiles = "EMFILE",
        AddressNotAvailable = "EADDRNOTAVAIL",
        FetchFailed = "fetch_failed",
        Other = "other",
    }
}

/// How one health check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptResult {
    /// 200, and whatever else the controller waits for.
    Ok,
    /// The agent answered 200 but VNC did not answer yet (later versions wait for both).
    VncNotReady,
    /// An HTTP status that is not success, 100 to 999.
    Http(u16),
    Error(AttemptError),
}

impl fmt::Display for AttemptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptResult::Ok => f.write_str("ok"),
            AttemptResult::VncNotReady => f.write_str("vnc_not_ready"),
            AttemptResult::Http(status) => write!(f, "http_{status}"),
            AttemptResult::Error(error) => f.write_str(error.as_str()),
        }
    }
}

impl Serialize for AttemptResult {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptResult {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(d)?;
        match word.as_ref() {
            "ok" => Ok(AttemptResult::Ok),
            "vnc_not_ready" => Ok(AttemptResult::VncNotReady),
            other => match other.strip_prefix("http_").map(str::parse) {
                Some(Ok(status)) => Ok(AttemptResult::Http(status)),
                _ => AttemptError::from_word(other)
                    .map(AttemptResult::Error)
                    .ok_or_else(|| serde::de::Error::custom("unknown attempt result")),
            },
        }
    }
}

/// Where an event was read: enough to find its record again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Provenance {
    /// Index of the source in the order of configuration (or of the files given).
    pub source: u16,
    /// Which file of the rotated family, counted upwards.
    pub generation: u32,
    /// Byte offset of the record in that file.
    pub offset: u64,
}

/// A fact, where it was read, and (borrowed) the record that said so.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub at: Timestamp,
    pub provenance: Provenance,
    pub kind: EventKind<'a>,
    /// The raw record: keep only through `redact`.
    pub record: &'a [u8],
}

/// How far a health wait is allowed to go, as logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct WaitLimits {
    /// `None`: the line had no `maxWaitMs`, which means no attempt is ever made.
    pub deadline_ms: Option<u32>,
    pub initial_delay_ms: u32,
}

/// What a controller calls the end of a session's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEnd {
    /// The user is done, or had time to be: their VM was ready.
    AfterReady,
    /// It failed, at whatever point.
    Failed,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind<'a> {
    // The controller itself.
    ControllerStarting,
    /// It listens: a moment after it said that it starts, where that line was not torn.
    ControllerStarted,
    ControllerStopping,
    ControllerCrashed,

    // A request by a user, before any VM.
    /// A request reached the controller whose URL bears a number of ours.
    RequestMarked {
        mark: u64,
    },
    /// A request to start reached the controller whose URL bears none: somebody else's, and whose is not told yet.
    RequestUnmarked,
    /// The route let one in; the service behind it has not said so yet.
    RequestLetIn {
        user: UserKey,
    },
    /// The service took it.
    RequestAccepted {
        user: UserKey,
    },
    /// A request has its session before anything is made for it.
    SessionNamed {
        user: UserKey,
        session: SessionId,
    },
    SessionOpened {
        user: UserKey,
        session: SessionId,
    },
    /// The request ended in an error; `rejected` if the caller was at fault (bad or unknown user).
    RequestFailed {
        user: UserKey,
        session: Option<SessionId>,
        error: &'a [u8],
        rejected: bool,
    },
    /// The route answered one with an error; whose is not said, and mostly the service has said it before.
    StartFailed {
        error: &'a [u8],
        rejected: bool,
    },

    // Creation.
    CreateStarted {
        vm: VmId,
        user: UserKey,
        vm_type: VmType,
        started_at: Option<Timestamp>,
    },
    /// Step 0 to 6 has begun.
    StepStarted {
        vm: VmId,
        step: u8,
    },
    /// Step 1 to 6 ended, `elapsed_ms` after the creation's start.
    StepDone {
        vm: VmId,
        step: u8,
        elapsed_ms: Option<u32>,
        ip: Option<Ipv4Addr>,
    },
    InjectStarted {
        vm: VmId,
    },
    InjectDone {
        vm: VmId,
    },
    InjectFailed {
        vm: VmId,
    },
    Created {
        vm: VmId,
        ip: Option<Ipv4Addr>,
        vm_type: Option<VmType>,
        total_ms: Option<u32>,
    },
    CreateFailed {
        vm: VmId,
        user: Option<UserKey>,
        vm_type: Option<VmType>,
        error: &'a [u8],
        elapsed_ms: Option<u32>,
        failed_at: Option<Timestamp>,
    },
    /// The join line: session, VM and address are one.
    HandedOver {
        vm: VmId,
        user: UserKey,
        session: SessionId,
        ip: Option<Ipv4Addr>,
    },
    /// Creation failed, told by the session's side.
    HandOverFailed {
        user: UserKey,
        session: SessionId,
        error: &'a [u8],
    },

    // The health wait; only the address says whose.
    WaitStarted {
        ip: Ipv4Addr,
        limits: WaitLimits,
    },
    AttemptStarted {
        ip: Ipv4Addr,
        /// `None`: the clock was set back behind the wait's beginning, so nobody knows.
        elapsed_ms: Option<u32>,
    },
    AttemptFailed {
        ip: Ipv4Addr,
        error: AttemptError,
        elapsed_ms: Option<u32>,
    },
    /// Any HTTP answer.
    AttemptAnswered {
        ip: Ipv4Addr,
        status: u16,
    },
    /// What an answer's body tells: who answered, and what time the guest thinks it is.
    AgentSaid {
        ip: Ipv4Addr,
        answerer: Answerer,
        guest_at: Option<Timestamp>,
    },
    /// An HTTP answer that was not good enough.
    AttemptRejected {
        ip: Ipv4Addr,
        status: u16,
    },
    /// The agent is fine, VNC is not there yet.
    VncNotReady {
        ip: Ipv4Addr,
    },
    WaitReady {
        ip: Ipv4Addr,
    },
    WaitTimedOut {
        ip: Ipv4Addr,
        deadline_ms: Option<u32>,
    },
    CliReady {
        ip: Ipv4Addr,
    },
    /// A request goes on with a CLI VM that is there, in whatever state.
    CliReused {
        user: UserKey,
        vm: Option<VmId>,
    },

    // The session after the boot.
    OauthStarted {
        session: SessionId,
        ip: Option<Ipv4Addr>,
    },
    /// The flow of a session is beyond the wait for its VM.
    OauthGoesOn {
        session: SessionId,
    },
    /// A later controller cleans a VM up, and says how the flow of its session has ended.
    FlowOver {
        session: SessionId,
        vm: VmId,
        end: FlowEnd,
    },
    FlowFailed {
        session: SessionId,
        user: UserKey,
        error: &'a [u8],
    },
    SessionCancelled {
        session: SessionId,
    },

    // The VM's end.
    Destroying {
        vm: VmId,
    },
    Destroyed {
        vm: VmId,
    },
    ProcessExited {
        vm: VmId,
        code: Option<i32>,
        signalled: bool,
    },
    /// A later controller kept the console before it removed the VM's directory.
    ConsoleArchived {
        vm: VmId,
        path: &'a [u8],
    },
    /// The end of the guest's console and of Firecracker's errors, as the record of a failed process quotes them.
    ConsoleQuoted {
        vm: VmId,
        said: MarkSet,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_it_is_read() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978] {
            let hex = format!("{bits:032x}");
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part));
            let uuid = parts.map(Option::unwrap_or_default).join("-");
            assert_eq!(SessionId(bits).to_string(), uuid);
            assert_eq!(VmId(bits).to_string(), format!("vm-{uuid}"));
            assert_eq!(parse_uuid(uuid.as_bytes()), Some(bits));
            let json = serde_json::to_string(&VmId(bits)).expect("text");
            assert_eq!(serde_json::from_str::<VmId>(&json).ok(), Some(VmId(bits)));
        }
    }
}
