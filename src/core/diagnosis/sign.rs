//! Signs: what can be observed about boots and their surroundings that tells one cause from another.
//!
//! A sign is seen, or was looked for and is not there, or nobody looked. The third is neither of the others: what was
//! not looked for speaks neither for nor against anything.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::event::words;

macro_rules! signs {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $seen:literal, $unseen:literal;)+) => {
        words! {
            /// One observation.
            Sign { $($(#[$doc])* $variant = $word,)+ }
        }

        impl Sign {
            /// What it means that it is there, or that it is not: the end of a sentence.
            #[must_use]
            pub fn spoken(self, is_seen: bool) -> &'static str {
                match (self, is_seen) {
                    $((Sign::$variant, true) => $seen, (Sign::$variant, false) => $unseen,)+
                }
            }
        }
    };
}

signs! {
    // How the controller's wait went.
    RefusedToEnd = "refused_to_end", "port 8080 was refused to the end", "port 8080 was not refused to the end";
    UnreachableToEnd = "unreachable_to_end", "the guest was unreachable to the end", "the guest was reachable";
    TimeoutsToEnd = "timeouts_to_end", "requests to port 8080 got no answer in time", "no request timed out to the end";
    Resets = "resets", "connections to port 8080 were reset", "no connection was reset";
    ServerError = "server_error", "port 8080 answered with a 5xx status", "no 5xx status was answered";
    NotFound = "not_found", "port 8080 answered 404 to /health", "no 404 was answered";
    NotHttp = "not_http", "port 8080 answered, and not in HTTP", "what answered spoke HTTP";
    VncSilent = "vnc_silent", "the agent answered and VNC did not", "VNC was not what was waited for";
    Died = "died", "the VM's process ended while its boot waited", "the VM's process did not end";
    NetworkCameUp = "network_came_up", "the guest was unreachable at first and answered later", "the guest never went from unreachable to an answer";
    NeverTried = "never_tried", "the wait ended without a single attempt", "attempts were made";
    CameLate = "came_late", "the agent answered after the controller gave up", "no answer came after the deadline";
    FetchFailed = "fetch_failed", "the controller's own HTTP client failed (`fetch failed`)", "the controller's HTTP client gave a network error code";
    /// By the body of a 200, as the controller logged it or as we saw it.
    Placeholder = "placeholder", "what answers /health is a placeholder or an old agent", "what answers /health is the agent itself";
    ClockOff = "clock_off", "the guest's clock is off by more than five seconds", "the guest's clock is right";
    // How the creation went.
    BeforeAnyVm = "before_any_vm", "the request failed before a VM was begun", "a VM was begun";
    CodeError = "code_error", "the error is a fault in the controller's own code or settings", "the error is no fault of the controller's code";
    DatabaseAway = "database_away", "the error is that of a database that cannot be reached", "the error is not about reaching the database";
    RecordLost = "record_lost", "a database write failed", "database writes went through";
    RowRefused = "row_refused", "the database refused the row by its own words", "the database's words are not those of a refusal";
    PoolEmpty = "pool_empty", "the pool of addresses was empty", "an address was free";
    TapFailed = "tap_failed", "the TAP device could not be made", "the TAP device was made";
    TapDenied = "tap_denied", "making the TAP device was not permitted", "making the TAP device was permitted";
    ImageAbsent = "image_absent", "`cp` found no golden image", "`cp` found the golden image";
    NoSpace = "no_space", "no space was left on the device", "no write ran out of space";
    CloneTimedOut = "clone_timed_out", "the copy of the image ran into its limit", "the copy of the image was in time";
    LoopDevice = "loop_device", "no loop device could be set up for the injection", "loop devices were not what failed";
    InjectionFailed = "injection_failed", "the agent could not be put into the copy", "the injection did not fail";
    AgentSourceAbsent = "agent_source_absent", "the agent's files were not found on the host", "the agent's files were found on the host";
    BinaryAbsent = "binary_absent", "the Firecracker binary was not found", "the Firecracker binary was found";
    LogPathAbsent = "log_path_absent", "Firecracker could not open its log", "Firecracker's log could be opened";
    SocketTaken = "socket_taken", "Firecracker's socket was taken", "Firecracker's socket was free";
    KvmDenied = "kvm_denied", "Firecracker could not use /dev/kvm", "/dev/kvm was not what failed";
    FirecrackerExited = "firecracker_exited", "Firecracker exited with an error", "Firecracker did not exit at its start";
    FirecrackerTimedOut = "firecracker_timed_out", "Firecracker's socket did not appear in time", "Firecracker's socket appeared";
    RecordTimedOut = "record_timed_out", "writing the VM's row ran into its limit", "writing the VM's row was in time";
    ProxyFailed = "proxy_failed", "the user's proxy settings could not be had", "the proxy settings were had";
    StaleCli = "stale_cli", "an old CLI VM's console.log was not there any more", "no old CLI VM was missing its files";
    CliNotReady = "cli_not_ready", "the user's CLI VM was not ready in time", "no CLI VM was waited for in vain";
    /// The copy got the agent's files, by the log's own word.
    Injected = "injected", "the log says that the agent was put into each copy", "no agent is put into the copies: the image alone decides";
    // The guest's console.
    ConsoleLogin = "console_login", "the console reached the login prompt", "the console never reached the login prompt";
    ConsoleNetwork = "console_network", "the console says that the network was configured", "the console never says that the network was configured";
    ConsoleInterface = "console_interface", "the console speaks of eth0", "the console never speaks of a network device";
    ConsoleNoAddress = "console_no_address", "the guest's kernel failed to configure its address", "the guest's kernel did not fail at its address";
    NetworkOnline = "network_online", "the console reached network-online.target", "the console never reached network-online.target";
    WaitsForNetwork = "waits_for_network", "the console waits for the network to be online", "the console waits for no network";
    UnitStarted = "unit_started", "the console shows the agent's unit started", "the console never shows the agent's unit start";
    UnitFailed = "unit_failed", "the console shows the agent's unit fail", "the console never shows the agent's unit fail";
    UnitBlocked = "unit_blocked", "the console shows the agent's unit given up for another's failure", "nothing that the agent's unit needs failed";
    ExecFailed = "exec_failed", "the console says that the agent's program cannot be run", "the console names no program that cannot be run";
    EnvironmentUnread = "environment_unread", "the console says that the unit's environment could not be read", "the console does not complain of the environment";
    SupervisorSpoke = "supervisor_spoke", "the supervisor wrote to the console", "the supervisor wrote nothing to the console";
    AgentDied = "agent_died", "the console shows the agent die", "the console never shows the agent die";
    AgentListens = "agent_listens", "the console says that the agent listens", "the console never says that the agent listens";
    AgentBindFailed = "agent_bind_failed", "the agent could not take its port", "the agent did not fail at its port";
    GatewayLost = "gateway_lost", "the guest could not ping its gateway", "the guest did not fail to ping its gateway";
    OutOfMemory = "out_of_memory", "the console says that memory ran out", "the console does not speak of memory";
    Panicked = "panicked", "the guest's kernel panicked", "the guest's kernel did not panic";
    RootAbsent = "root_absent", "the guest's kernel found no root device", "the guest's kernel found its root device";
    DiskErrors = "disk_errors", "the guest's kernel found its file system damaged", "the guest's kernel found no damage";
    DmaFailed = "dma_failed", "the guest's kernel could not do DMA for virtio", "the guest's kernel had no trouble with DMA";
    InitFailed = "init_failed", "the guest had no init that works", "the guest's init worked";
    VcpuFault = "vcpu_fault", "the virtual processor ended in a fault", "the virtual processor had no fault";
    VncUnitFailed = "vnc_unit_failed", "the console shows the VNC unit fail", "the console never shows the VNC unit fail";
    // Rows of the database.
    MemoryTiny = "memory_tiny", "the VM had less than 512 MB", "the VM had 512 MB or more";
    MemorySmall = "memory_small", "the VM had less than 1 GB", "the VM had 1 GB or more";
    OutsideNetwork = "outside_network", "the VM's address lies outside the configured VM networks", "the VM's address lies inside the configured VM networks";
    // The audit of the golden image.
    ImageLacksAgent = "image_lacks_agent", "the golden image lacks the agent", "the golden image has the agent";
    ImageLacksUnit = "image_lacks_unit", "the golden image has no unit that starts the agent", "the golden image has the agent's unit";
    ImageNotEnabled = "image_not_enabled", "the agent's unit is not enabled in the golden image", "the agent's unit is enabled in the golden image";
    ImageLacksProgram = "image_lacks_program", "what the agent's unit needs to run is missing in the golden image", "what the agent's unit needs to run is in the golden image";
    ImageWaits = "image_waits", "the agent's unit waits for what never comes", "the agent's unit waits for nothing that never comes";
    ImageEnvironment = "image_environment", "the unit's environment file is missing or cannot be read by the supervisor", "the unit's environment file is well";
    ImageLacksModules = "image_lacks_modules", "the golden image lacks the guest kernel's network driver", "the golden image has the guest kernel's network driver";
    ImageNetworkOdd = "image_network_odd", "the golden image configures the network in no way, or in several", "the golden image configures the network in one way";
    ImageStale = "image_stale", "the golden image's agent differs from the host's", "the golden image's agent equals the host's";
    ImageObsolete = "image_obsolete", "the golden image holds a placeholder or an obsolete agent", "the golden image's agent is no placeholder";
    ImageOfOther = "image_of_other", "browser VMs are cloned from another image than the last build wrote", "browser VMs are cloned from the last build";
    ImageDamaged = "image_damaged", "the golden image is damaged or cut short", "the golden image is whole";
    ImageLacksVnc = "image_lacks_vnc", "the golden image lacks the display's services", "the golden image has the display's services";
    ImageChanged = "image_changed", "the golden image changed shortly before the first failure", "the golden image is older than the last good boots";
    /// The VM's own copy, audited as it was made.
    CloneLacksAgent = "clone_lacks_agent", "the VM's own copy of the image, audited as it was made, lacks the agent or its unit", "the VM's own copy of the image has the agent and its unit";
    // What happened beside it.
    AllFail = "all_fail", "no boot from the first failure to the last became ready", "some boots became ready between the first failure and the last";
    AfterRestart = "after_restart", "the controller was restarted while the boots were in flight", "no restart of the controller met the boots";
    Stalled = "stalled", "the controller stood still meanwhile", "the controller did not stand still";
    // Our own probes of the VM.
    ProbeAnswered = "probe_answered", "our own probe of /health was answered while the controller failed", "our own probe failed, too";
    ProbeRefused = "probe_refused", "our own probe was refused, too", "our own probe was not refused";
    ProbeHung = "probe_hung", "our own probe connected and got no answer", "our own probe did not hang";
    NeighbourAbsent = "neighbour_absent", "the host got no ARP answer from the VM", "the VM answered ARP";
    VncAnswered = "vnc_answered", "VNC answered our probe", "VNC did not answer our probe";
}

/// Signs that were seen, and those that were looked for and are not there. A sign that is neither is not known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    seen: u128,
    unseen: u128,
}

const _: () = assert!(Sign::ALL.len() <= 128);

impl Signs {
    #[must_use]
    pub fn with(mut self, sign: Sign, is_seen: bool) -> Signs {
        self.set(sign, is_seen);
        self
    }

    pub fn set(&mut self, sign: Sign, is_seen: bool) {
        let bit = 1u128 << sign as u32;
        if is_seen {
            self.seen |= bit;
            self.unseen &= !bit;
        } else {
            self.unseen |= bit;
            self.seen &= !bit;
        }
    }

    /// Whether it was seen; `None`: nobody looked.
    #[must_use]
    pub fn of(self, sign: Sign) -> Option<bool> {
        let bit = 1u128 << sign as u32;
        match (self.seen & bit != 0, self.unseen & bit != 0) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    #[must_use]
    pub fn has(self, sign: Sign) -> bool {
        self.of(sign) == Some(true)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen == 0 && self.unseen == 0
    }

    /// What the later one knows takes the place of what this one knew.
    pub fn take(&mut self, later: Signs) {
        let known = later.seen | later.unseen;
        self.seen = self.seen & !known | later.seen;
        self.unseen = self.unseen & !known | later.unseen;
    }
}

impl fmt::Debug for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Sign::ALL
            .iter()
            .filter_map(|sign| Some((sign.as_str(), self.of(*sign)?)));
        f.debug_map().entries(known).finish()
    }
}

/// Saved by the signs' names: a new sign changes nothing of what was saved, and one that is gone is forgotten.
#[derive(Serialize, Deserialize)]
struct Named {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unseen: Vec<String>,
}

impl Serialize for Signs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let those = |is_seen: bool| {
            let all = Sign::ALL.iter();
            let those = all.filter(|sign| self.of(**sign) == Some(is_seen));
            those.map(|sign| sign.as_str().to_owned()).collect()
        };
        let named = Named {
            seen: those(true),
            unseen: those(false),
        };
        named.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Signs, D::Error> {
        let named = Named::deserialize(deserializer)?;
        let mut signs = Signs::default();
        for (words, is_seen) in [(named.unseen, false), (named.seen, true)] {
            for sign in words.iter().filter_map(|word| Sign::from_word(word)) {
                signs.set(sign, is_seen);
            }
        }
        Ok(signs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_for_is_neither_there_nor_missing() {
        let mut signs = Signs::default().with(Sign::Died, true);
        assert_eq!(signs.of(Sign::Died), Some(true));
        assert_eq!(signs.of(Sign::Resets), None);
        signs.take(
            Signs::default()
                .with(Sign::Resets, false)
                .with(Sign::Died, false),
        );
        assert_eq!(signs.of(Sign::Resets), Some(false));
        assert_eq!(signs.of(Sign::Died), Some(false));
    }

    #[test]
    fn signs_are_saved_by_name_and_a_name_that_is_gone_is_forgotten() {
        let mut signs = Signs::default();
        for (place, sign) in Sign::ALL.iter().enumerate() {
            signs.set(*sign, place % 2 == 0);
        }
        let text = serde_json::to_string(&signs).unwrap();
        assert_eq!(serde_json::from_str::<Signs>(&text).unwrap(), signs);
        let odd = r#"{"seen":["died","of_tomorrow"],"unseen":["resets"]}"#;
        let read: Signs = serde_json::from_str(odd).unwrap();
        assert_eq!(
            read,
            Signs::default()
                .with(Sign::Died, true)
                .with(Sign::Resets, false)
        );
        assert_eq!(
            serde_json::from_str::<Signs>("{}").unwrap(),
            Signs::default()
        );
    }
}
