//! What to do first: the one look that tells the likely fault from those that resemble it. The runbook has the rest.
//!
//! Where the diagnosis names a verdict, the step is the verdict's: it has weighed what the class alone does not know, and
//! a step beside it that says the opposite sends somebody to the wrong place. Where it names none, the step goes by the
//! class of failure, and by whether an agent is put into each copy: then the image's own decides nothing.

use crate::core::diagnosis::{Diagnosis, Sign, Verdict};
use crate::core::event::Failure;

pub(super) fn first_step(cause: Failure, found: Option<&Diagnosis>) -> &'static str {
    if let Some(first) = found.and_then(Diagnosis::verdict) {
        return by_verdict(first.verdict);
    }
    by_class(cause, found.is_some_and(injects))
}

/// Whether the evidence has it that an agent is put into each copy.
fn injects(found: &Diagnosis) -> bool {
    let ranked = found.ranked.iter();
    let mut points = ranked.flat_map(|one| one.speaks_for.iter().chain(&one.against));
    points.any(|point| point.sign == Sign::Injected && point.seen)
}

/// Requests that are taken and not answered.
const ASK: &str = "ask a VM by hand (curl --max-time 5 http://VM_IP:8080/health): if the connection opens and nothing \
                   comes, look at the guest's memory and the host's load.";

fn by_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AgentMissing => {
            "run bootwatch image audit FILE on the golden image: if it lacks the agent, its unit, the enable link or node, put \
             the last good image back in one mv, then rebuild; --diff OLD NEW says what changed."
        }
        Verdict::AgentStale => {
            "run bootwatch image audit on the golden image: it compares its agent with the host's; rebuild only if the two \
             cannot work together."
        }
        Verdict::AgentObsolete => {
            "ask a VM by hand (curl -i http://VM_IP:8080/health): a 404, or exactly {\"status\":\"ok\"}, is not the agent; the \
             unit must name /opt/vm-browser-agent/server.js."
        }
        Verdict::AgentProgramMissing => {
            "read a failed VM's console.log for Started and Failed in turns or 203/EXEC, and check that the program that the \
             unit's ExecStart names is there and can be run."
        }
        Verdict::AgentUnitWaits => {
            "read a failed VM's console.log: a login prompt without a line of the agent's unit means that it is not enabled, or \
             waits (network-online.target); bootwatch image audit FILE says which."
        }
        Verdict::SupervisorDied => {
            "read a failed VM's console.log for [SUPERVISOR] lines after the unit's start; where there are none, look for \
             comments in the image's /etc/environment."
        }
        Verdict::AgentCrashLoop => {
            "read a VM's console.log for the agent's restarts: one every few seconds is a crash loop, often a node build that \
             does not fit the guest."
        }
        Verdict::InjectionLost => {
            "an agent is put into each copy, so do not rebuild the image: look at a failed VM's console.log for why the agent \
             does not start, and on the host whether its files were left there instead (ls /tmp/vm-inject-*, losetup -a)."
        }
        Verdict::WrongImageBuilt => {
            "compare the times in /var/lib/firecracker/snapshots/base: a file that is newer than the browsers' image is the \
             build that went to the wrong name; put it in the browser image's place in one mv."
        }
        Verdict::AgentTooSlow => {
            "ask a VM by hand after the controller gave up (curl http://VM_IP:8080/health): if it answers, find what became \
             slower, and since which image."
        }
        Verdict::NetworkUnconfigured => {
            "read a failed VM's console.log: a login prompt without IP-Config: Complete means that nothing, or two things, \
             configure eth0; exactly one of ip=, a file in /etc/systemd/network and DHCP must."
        }
        Verdict::DriverMissing => {
            "read a failed VM's console.log for eth0; where it never speaks of it, put /lib/modules of the guest's kernel into \
             the image (bootwatch image audit FILE looks for virtio_net)."
        }
        Verdict::KernelTooOld => {
            "look for \"Failed to enable 64-bit or 32-bit DMA\" in a failed VM's console.log, and put the guest kernel of before \
             back."
        }
        Verdict::TapOffload => {
            "compare ip neigh show VM_IP with a ping: where the VM is known and no packet comes through, look whether its TAP \
             has vnet_hdr (ip -d link show TAP)."
        }
        Verdict::PoolOutsideBridge => {
            "compare the failed VMs' addresses with the bridge's prefix (ip -br addr show fcbr0), and make pool and bridge one \
             prefix."
        }
        Verdict::ControllerClient => {
            "ask a VM by hand in the second in which the log says unreachable (curl http://VM_IP:8080/health); if it answers, \
             roll the controller's last deployment back and look for a proxy in its environment."
        }
        Verdict::GuestMemory => {
            "read the end of a failed VM's console.log for Out of memory, and its row for memory_mb; a browser VM needs 2048."
        }
        Verdict::RootDevice => {
            "read the end of a failed VM's console.log for \"Cannot open root device\", and undo the last change of Firecracker \
             or kernel."
        }
        Verdict::GuestDisk => {
            "check image and a fresh copy with e2fsck -fn, and put the last good image back in one mv."
        }
        Verdict::GuestInit => {
            "read the end of a failed VM's console.log for its init, and put the last good image back in one mv."
        }
        Verdict::GuestThrashing | Verdict::AgentHangs => ASK,
        Verdict::ControllerStalled => {
            "look whether all modules' lines of the controller's log pause together, and stop what it copies or waits for then \
             (iostat, df)."
        }
        Verdict::AgentError => {
            "ask a VM by hand (curl -i http://VM_IP:8080/health): the status and body, and the agent's log in the guest, say what \
             it misses."
        }
        Verdict::ForeignListener => {
            "ask a VM by hand (curl -i http://VM_IP:8080/health): what answers without HTTP is another program; find it in the \
             guest with ss -ltnp."
        }
        Verdict::VncDown => by_class(Failure::VncNotReady, false),
        Verdict::ImageGone => by_class(Failure::SnapshotCloneFailed, false),
        Verdict::DiskFull => {
            "look at the free space of /var/lib/firecracker (df -h), and remove directories under users/ that belong to no \
             process and no open row."
        }
        Verdict::CloneSlow => by_class(Failure::StepTimeout, false),
        Verdict::LoopDevices => by_class(Failure::AgentInjectionFailed, false),
        Verdict::AgentSourceGone => {
            "look whether server.js and node are in /opt/master-controller/vm-browser-agent on the host, and deploy them there \
             again."
        }
        Verdict::InjectionBroken => {
            "read the error of \"[INJECT-AGENT] Failed to inject OAuth agent\" in the controller's log: it names what cannot be \
             done; the loop devices (losetup -a) and left-over mounts come first."
        }
        Verdict::LogPathGone => {
            "look at the path of Firecracker's log that the error names, and undo the deployment that changed it."
        }
        Verdict::BinaryGone => {
            "look at the path that the error names (ls -l): Firecracker must be there, and executable."
        }
        Verdict::StaleSockets => {
            "list /var/lib/firecracker/sockets, and remove the sockets whose VM has no process."
        }
        Verdict::KvmDenied => {
            "look at /dev/kvm (ls -l): it must be there, and open to the controller's user."
        }
        Verdict::FirecrackerBroken => by_class(Failure::FirecrackerFailed, false),
        Verdict::FirecrackerHangs => {
            "list the Firecracker processes (pgrep -af firecracker), and look at the host's load and disk; end what hangs."
        }
        Verdict::TapTrouble => by_class(Failure::TapFailed, false),
        Verdict::PoolExhausted => by_class(Failure::IpPoolExhausted, false),
        Verdict::ControllerBug => {
            "read the controller's newest error: every request ends in it before a VM is begun; roll the last deployment back."
        }
        Verdict::StaleCliVm => {
            "look at the user's CLI row: it is called running, and its directory is gone; close the row."
        }
        Verdict::CliVmSilent => {
            "look at the console of a user's CLI VM, and whether anything in it answers /health on port 8080: the image of CLI \
             VMs is another than that of browser VMs."
        }
        Verdict::DatabaseAway => {
            "does the database answer from this host (psql)? bootwatch check --live says how its own look at it goes."
        }
        Verdict::DatabaseRefuses => {
            "read PostgreSQL's words in the error (a constraint, a full disk, a primary that became a replica), and whether its \
             schema was changed."
        }
        Verdict::DatabaseSlow => {
            "look at the database's load and locks, and end what holds the lock on the VMs' rows."
        }
        Verdict::ProxySettings => {
            "look whether one user's boots fail or everybody's, then at the proxy settings' table or service."
        }
        Verdict::WaitLimitMissing => by_class(Failure::NoAttempt, false),
        Verdict::ControllerRestart => by_class(Failure::ControllerRestarted, false),
    }
}

fn by_class(cause: Failure, injected: bool) -> &'static str {
    match cause {
        Failure::NotStarted => {
            "look at the controller itself: its newest errors in the log, and whether it reaches its database."
        }
        Failure::IpPoolExhausted => {
            "compare the VMs that the database calls running with the Firecracker processes on the host; rows without a \
             process hold addresses."
        }
        Failure::TapFailed => {
            "look at the host's network devices: left-over TAPs, the bridge, and whether the controller may still make \
             them."
        }
        Failure::SnapshotCloneFailed => {
            "check that the golden image is there and no link of it dangles (is it being rebuilt?), and the free space \
             of its disk."
        }
        Failure::AgentInjectionFailed => {
            "list the loop devices (losetup -a) and the left-over mounts under /tmp; when they are used up, nothing can \
             be injected."
        }
        Failure::ConfigFailed => {
            "read the controller's newest error about the VM's configuration, and check the free space of its disk."
        }
        Failure::RecordFailed => {
            "check that the controller's database answers and still takes writes."
        }
        Failure::FirecrackerFailed => {
            "start the Firecracker binary by hand (--version): is it at the path that the log names, and may it use \
             /dev/kvm and its log path?"
        }
        Failure::StepTimeout => {
            "look at the host's disk (iostat, df): a copy of the image that is slow runs into the controller's limit."
        }
        Failure::GuestDied => {
            "read the end of a failed VM's console.log: kernel panic, out of memory, or no root device?"
        }
        Failure::GuestUnreachable => {
            "read a failed VM's console.log for its network set-up, and compare the image's modification time with the \
             first failure; then check that the VM's address lies within the bridge's network."
        }
        Failure::AgentRefused if injected => {
            "an agent is put into each copy, so the image's own does not decide: read a failed VM's console.log for why the \
             agent does not start (unit, interpreter, order)."
        }
        Failure::AgentRefused => {
            "compare the golden image's modification time with the first failure, and check in the image that the \
             agent, its unit, the enable link and the node binary are there."
        }
        Failure::AgentTimeout => {
            "ask a VM by hand (curl --max-time 5 http://VM_IP:8080/health): if the connection opens and nothing comes, \
             look at the guest's memory and the host's load."
        }
        Failure::AgentReset => {
            "read a VM's console.log for the agent's restarts: one every few seconds is a crash loop, often a node \
             build that does not fit the guest."
        }
        Failure::AgentUnhealthy => {
            "ask a VM by hand (curl -i http://VM_IP:8080/health): the status and body tell an old agent from a broken \
             one."
        }
        Failure::VncNotReady => {
            "check ports 5901 and 6080 of a VM: the agent is well, so look at the display and noVNC in the image."
        }
        Failure::AgentLate => {
            "compare the time to ready with the controller's deadline: what became slower, and since which image?"
        }
        Failure::NoAttempt => {
            "check the controller's own configuration of the readiness wait, and its last deployment."
        }
        Failure::ControllerRestarted => {
            "find out why the controller went away: its unit's journal, and its last deployment."
        }
        Failure::Unknown => {
            "read the evidence and the failed VM's console.log; the log alone does not say why."
        }
    }
}
