//! What to do first, by cause: the one look that tells the likely fault from those that resemble it. The runbook has the
//! rest.

use crate::core::event::Failure;

pub(super) fn first_step(cause: Failure) -> &'static str {
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
