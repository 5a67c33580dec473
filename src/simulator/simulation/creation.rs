//! Creating a VM: the steps, the synchronous work in them, and every way each step fails.

use super::{Simulation, Step, Who, say};
use crate::core::event::{Failure, Timestamp, VmType};
use crate::simulator::fate::{Agent, Creation};
use crate::simulator::line::{Value, tap_name};
use crate::simulator::plan::Injection;

pub(super) const USERS: &str = "/var/lib/firecracker/users/";
const GOLDEN: &str = "/var/lib/firecracker/snapshots/base/golden-browser-rootfs.ext4";
const SOCKETS: &str = "/var/lib/firecracker/sockets/";
pub(super) const BINARY: &str = "/opt/firecracker/firecracker";
const CLONE_LIMIT: i64 = 15_000;
const CLONE_LIMIT_DEC: i64 = 90_000;
const FIRECRACKER_LIMIT: i64 = 25_000;
const SOCKET_POLL: i64 = 100;
/// The limit of an INSERT, and the timer's delay.
pub(super) const INSERT_WAIT: i64 = 5_002;

impl Simulation {
    pub(super) fn create(&mut self, boot: u32) {
        let who = self.who(boot);
        if who.vm_type == VmType::Browser {
            if self.is_dec() {
                say!(
                    self,
                    CREATE_BROWSER_DEC,
                    who.id(),
                    who.provider,
                    who.session
                );
            } else {
                let (port, ip, masked) = self.proxy(&who);
                say!(
                    self,
                    CREATE_BROWSER,
                    who.id(),
                    who.provider,
                    who.session,
                    port,
                    ip,
                    masked
                );
            }
        }
        let now = self.now;
        let began = self.boot(boot);
        began.created_at = now;
        began.truth.started_at = Timestamp(now);
        began.truth.vm_id = Some(who.vm);
        say!(
            self,
            VM_STARTING,
            who.vm,
            who.id(),
            who.vm_type.as_str(),
            Value::Iso(now)
        );
        if self.is_dec() {
            say!(self, STEP_0, who.vm, who.id());
            if who.fate.creation == Creation::ProxyTimeout {
                self.after(5_002, boot, Step::ProxyTimedOut);
            } else {
                self.after_query(boot, Step::ProxyKnown);
            }
        } else {
            self.allocate(boot);
        }
    }

    pub(super) fn proxy_known(&mut self, boot: u32) {
        let who = self.who(boot);
        let (port, ip, _) = self.proxy(&who);
        // A made-up secret in the real place: whoever reads this log must not let it out.
        let url = format!("http://simulated-user:simulated-secret@proxy.example.net:{port}");
        say!(
            self,
            STEP_0_DONE,
            who.vm,
            who.id(),
            port.to_string(),
            ip,
            url,
            true
        );
        self.allocate(boot);
    }

    pub(super) fn elapsed(&mut self, boot: u32) -> i64 {
        self.now - self.boot(boot).created_at
    }

    /// Steps 1 to 5: all that happens without waiting for anybody.
    fn allocate(&mut self, boot: u32) {
        let mut who = self.who(boot);
        if self.is_dec() {
            say!(self, STEP_1_DEC, who.vm, who.id());
        } else {
            say!(self, STEP_1, who.vm);
        }
        let Some(ip) = self.world.take_address(who.vm) else {
            let stack = "Error: IP pool exhausted\n    at VMManager.allocateIP (/opt/master-controller/src/services/vm-manager.js:112:13)";
            self.fail_creation(
                boot,
                "IP pool exhausted".to_owned(),
                Some(stack.to_owned()),
                Failure::IpPoolExhausted,
            );
            return;
        };
        self.boot(boot).who.ip = ip;
        self.boot(boot).truth.vm_ip = Some(ip);
        who.ip = ip;
        let elapsed = self.elapsed(boot);
        if self.is_dec() {
            let (port, proxy_ip, _) = self.proxy(&who);
            say!(
                self,
                STEP_1_DONE_DEC,
                who.vm,
                who.id(),
                ip,
                port,
                proxy_ip,
                elapsed
            );
        } else {
            say!(self, STEP_1_DONE, who.vm, ip, elapsed);
        }
        say!(self, STEP_2, who.vm);
        self.block(self.plan.figures.tap);
        if who.fate.creation == Creation::TapFails {
            let cause = format!(
                "Command failed: ip tuntap add {} mode tap\nioctl(TUNSETIFF): Device or resource busy\n",
                tap_name(who.vm)
            );
            say!(self, TAP_FAILED, who.vm, cause.clone());
            let error = format!("TAP device creation failed: {cause}");
            let stack = format!(
                "Error: {error}\n    at VMManager.createTAPDevice (/opt/master-controller/src/services/vm-manager.js:161:13)\n    at VMManager.createVM (/opt/master-controller/src/services/vm-manager.js:423:14)"
            );
            self.fail_creation(boot, error, Some(stack), Failure::TapFailed);
            return;
        }
        if self.is_dec() {
            say!(self, TAP_VNET, Value::Tap(who.vm));
            say!(self, TAP_CREATED_DEC, who.vm, Value::Tap(who.vm), ip);
        } else {
            say!(self, TAP_CREATED, who.vm, Value::Tap(who.vm), ip);
        }
        let elapsed = self.elapsed(boot);
        say!(self, STEP_2_DONE, who.vm, Value::Tap(who.vm), elapsed);
        say!(self, STEP_3, who.vm, who.vm_type.as_str());
        self.directory_made(who.vm);
        self.clone_image(boot, &who);
    }

    fn clone_image(&mut self, boot: u32, who: &Who) {
        self.block(self.plan.figures.copy);
        if let Creation::SlowClone(ms) = who.fate.creation {
            self.now += ms;
        }
        let why = match who.fate.creation {
            Creation::CloneFails => Some(format!(
                "error writing '{USERS}{}/rootfs.ext4': No space left on device",
                who.vm
            )),
            Creation::ImageMissing => {
                Some(format!("cannot stat '{GOLDEN}': No such file or directory"))
            }
            _ => None,
        };
        if let Some(why) = why {
            let vm = who.vm;
            let cause = format!(
                "Command failed: cp --reflink=auto {GOLDEN} {USERS}{vm}/rootfs.ext4\ncp: {why}\n"
            );
            self.clone_failed(boot, who, &cause, Failure::SnapshotCloneFailed);
            return;
        }
        let limit = if self.is_dec() {
            CLONE_LIMIT_DEC
        } else {
            CLONE_LIMIT
        };
        let cloning = match who.fate.creation {
            Creation::SlowClone(ms) => ms,
            _ => 0,
        };
        if cloning > limit {
            // The limit passed while nothing could be said; the work, never cancelled, still ends with success lines.
            self.step_timed_out(boot, "cloneGoldenSnapshot", limit);
            self.injection_lines(who);
            say!(self, CLONED, who.vm, Value::Path(USERS, who.vm, ""));
            return;
        }
        if !self.injection(boot, who) {
            return;
        }
        say!(self, CLONED, who.vm, Value::Path(USERS, who.vm, ""));
        let elapsed = self.elapsed(boot);
        say!(self, STEP_3_DONE, who.vm, elapsed);
        say!(self, STEP_4, who.vm);
        self.block((0, 2));
        let config = Value::Path(USERS, who.vm, "/vm-config.json");
        let elapsed = self.elapsed(boot);
        say!(self, STEP_4_DONE, who.vm, config, elapsed);
        say!(self, STEP_5, who.vm);
        match who.fate.creation {
            Creation::InsertFails => self.after_query(boot, Step::InsertFailed),
            Creation::InsertTimeout => self.after(INSERT_WAIT, boot, Step::InsertTimedOut),
            _ if !self.world.database_up => self.after_query(boot, Step::InsertFailed),
            _ => self.after_query(boot, Step::Recorded),
        }
    }

    /// False if it failed and the creation is over.
    fn injection(&mut self, boot: u32, who: &Who) -> bool {
        if self.plan.injection == Injection::Never {
            return true;
        }
        if who.fate.creation != Creation::InjectFails {
            self.injection_lines(who);
            return true;
        }
        self.clone_type_lines(who);
        say!(self, INJECT, who.vm);
        let vm = who.vm;
        let cause = format!(
            "Command failed: mount -o loop {USERS}{vm}/rootfs.ext4 /tmp/vm-inject-{vm}\nmount: /tmp/vm-inject-{vm}: failed to setup loop device for {USERS}{vm}/rootfs.ext4.\n"
        );
        let stack =
            format!("Error: {cause}\n    at genericNodeError (node:internal/errors:984:15)");
        say!(self, INJECT_FAILED, vm, cause.clone(), stack);
        let stuck = format!(
            "Command failed: umount /tmp/vm-inject-{vm}\numount: /tmp/vm-inject-{vm}: not mounted.\n"
        );
        say!(self, INJECT_STUCK, vm, stuck);
        self.clone_failed(boot, who, &cause, Failure::AgentInjectionFailed);
        false
    }

    fn clone_type_lines(&mut self, who: &Who) {
        say!(self, CLONE_TYPE, who.vm, who.vm_type.as_str(), "string");
        match who.vm_type {
            VmType::Cli => say!(self, CLONE_CLI, who.vm, "cli"),
            VmType::Browser if self.is_dec() => say!(self, CLONE_BROWSER_DEC, who.vm),
            VmType::Browser => say!(self, CLONE_BROWSER, who.vm),
        }
    }

    fn injection_lines(&mut self, who: &Who) {
        if self.plan.injection == Injection::Never {
            return;
        }
        self.clone_type_lines(who);
        if who.vm_type == VmType::Cli {
            return;
        }
        say!(self, INJECT, who.vm);
        self.block((4, 14));
        let mount = Value::Path("/tmp/vm-inject-", who.vm, "");
        say!(self, INJECT_MOUNTED, who.vm, mount);
        say!(self, INJECT_CLEANED, who.vm);
        self.block((10, 30));
        say!(self, INJECT_COPIED, who.vm);
        say!(self, INJECT_UNITS, who.vm);
        say!(self, INJECT_UNIT, who.vm);
        say!(self, INJECT_ENABLED, who.vm);
        say!(self, INJECT_DONE, who.vm);
        self.block((3, 9));
        say!(self, INJECT_UNMOUNTED, who.vm);
    }

    /// Step 5 is done, step 6 begins.
    pub(super) fn recorded(&mut self, boot: u32) {
        let who = self.who(boot);
        self.row_inserted(&who);
        let elapsed = self.elapsed(boot);
        say!(self, STEP_5_DONE, who.vm, elapsed);
        say!(self, STEP_6, who.vm);
        if self.is_dec() {
            let (port, _, _) = self.proxy(&who);
            say!(self, FIRECRACKER_PROXY, who.vm, port.to_string());
        }
        self.files_opened(who.vm);
        let fd = self.random.within((24, 38));
        let vm = who.vm;
        let args = format!(
            "--api-sock {SOCKETS}{vm}.sock --log-path /dev/null --level Off --config-file {USERS}{vm}/vm-config.json"
        );
        say!(
            self,
            SPAWN,
            vm,
            BINARY,
            args,
            fd,
            fd + 1,
            Value::Path(USERS, vm, "/console.log"),
            Value::Path(USERS, vm, "/firecracker-error.log"),
            Value::Path(USERS, vm, ""),
            true
        );
        say!(self, SPAWN_FD, vm, fd, true);
        say!(self, SPAWN_CALL, vm);
        if who.fate.creation == Creation::SpawnFails {
            say!(self, SPAWNED_NOTHING, vm, "undefined");
            self.after(1, boot, Step::SpawnFailed);
            return;
        }
        let pid = self.world.pid(&mut self.random);
        self.boot(boot).pid = pid;
        say!(self, SPAWNED, vm, pid, "number");
        match who.fate.creation {
            Creation::FirecrackerExits | Creation::LogPathMissing => {
                self.after(50, boot, Step::FirecrackerExited);
            }
            Creation::FirecrackerTimeout => {
                self.after(10 * SOCKET_POLL, boot, Step::SocketPolled(10));
            }
            _ => {
                let polls = self.random.within((1, 3));
                self.start_machine(boot, &who);
                self.after(polls * SOCKET_POLL, boot, Step::SocketPolled(polls));
            }
        }
    }

    fn start_machine(&mut self, boot: u32, who: &Who) {
        let mut agent = who.fate.agent;
        let image_decides = self.plan.injection == Injection::Never
            && who.vm_type == VmType::Browser
            && agent.needs_image();
        if image_decides && !self.world.image_has_agent {
            agent = Agent::Missing;
        }
        let machine = (who.vm, who.ip, self.boot(boot).pid, self.life);
        let listens = self.world.boot_machine(
            machine,
            agent,
            self.now,
            &self.plan.figures,
            &mut self.random,
        );
        if let Some(at) = listens {
            self.schedule(at, super::Event::AgentListens(who.vm));
        }
        self.guest_starts(who, agent, listens);
        if let Some(ms) = who.fate.guest_dies {
            self.schedule(self.now + ms, super::Event::GuestDies(who.vm));
        }
    }

    pub(super) fn socket_polled(&mut self, boot: u32, polls: i64) {
        let who = self.who(boot);
        let socket = Value::Path(SOCKETS, who.vm, ".sock");
        let there = who.fate.creation != Creation::FirecrackerTimeout;
        if polls * SOCKET_POLL < FIRECRACKER_LIMIT || there {
            say!(self, SOCKET_POLL, who.vm, polls, socket, there, 0i64);
        }
        if !there {
            if polls * SOCKET_POLL >= FIRECRACKER_LIMIT {
                self.step_timed_out(boot, "startFirecracker", FIRECRACKER_LIMIT);
            } else {
                self.after(10 * SOCKET_POLL, boot, Step::SocketPolled(polls + 10));
            }
            return;
        }
        let pid = self.boot(boot).pid;
        say!(self, SOCKET_FOUND, who.vm, polls);
        self.row_has_process(who.vm, pid);
        let console = Value::Path(USERS, who.vm, "/console.log");
        say!(self, FIRECRACKER, who.vm, pid, console);
        if self.random.one_in(48) {
            say!(self, FD_STUCK, who.vm, "EBADF: bad file descriptor, close");
        }
        let elapsed = self.elapsed(boot);
        say!(self, STEP_6_DONE, who.vm, elapsed);
        say!(self, CREATED, who.vm, who.ip, who.vm_type.as_str(), elapsed);
        match who.vm_type {
            VmType::Cli => self.cli_created(boot),
            VmType::Browser => self.handed_over(boot),
        }
    }

    /// Port, fixed address and its masked form of the user's proxy: documentation addresses.
    pub(super) fn proxy(&self, who: &Who) -> (i64, String, &'static str) {
        let port = self.world.users[who.user].proxy_port;
        (
            port,
            format!("203.0.113.{}", 10 + port % 200),
            "203.0.113.x",
        )
    }
}
