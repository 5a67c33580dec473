//! Creating a VM: the steps, the synchronous work in them, and every way each step fails.

use super::{After, Simulation, Step, Who, say};
use crate::core::event::{Failure, Outcome, Timestamp, VmType};
use crate::simulator::fate::{Agent, Creation};
use crate::simulator::line::{Value, tap_name};
use crate::simulator::plan::Injection;
use crate::simulator::world::Row;

pub(super) const USERS: &str = "/var/lib/firecracker/users/";
const SOCKETS: &str = "/var/lib/firecracker/sockets/";
const BINARY: &str = "/opt/firecracker/firecracker";
const CLONE_LIMIT: i64 = 15_000;
const CLONE_LIMIT_DEC: i64 = 90_000;
const FIRECRACKER_LIMIT: i64 = 25_000;
const SOCKET_POLL: i64 = 100;
const NO_KVM: &str = "Error: RunWithApiError(StartMicroVM): Failed to create the VMM: Error creating KVM object: Permission denied (os error 13)";

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

    fn elapsed(&mut self, boot: u32) -> i64 {
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
        self.clone_image(boot, &who);
    }

    fn clone_image(&mut self, boot: u32, who: &Who) {
        self.block(self.plan.figures.copy);
        if let Creation::SlowClone(ms) = who.fate.creation {
            self.now += ms;
        }
        if who.fate.creation == Creation::CloneFails {
            let vm = who.vm;
            let cause = format!(
                "Command failed: cp --reflink=auto /var/lib/firecracker/snapshots/base/golden-browser-rootfs.ext4 {USERS}{vm}/rootfs.ext4\ncp: error writing '{USERS}{vm}/rootfs.ext4': No space left on device\n"
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
            Creation::InsertTimeout => self.after(5_002, boot, Step::InsertTimedOut),
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

    fn clone_failed(&mut self, boot: u32, who: &Who, cause: &str, failure: Failure) {
        say!(self, CLONE_FAILED, who.vm, cause.to_owned());
        let error = format!("Snapshot cloning failed: {cause}");
        let stack = format!(
            "Error: {error}\n    at VMManager.cloneGoldenSnapshot (/opt/master-controller/src/services/vm-manager.js:271:13)\n    at async VMManager.createVM (/opt/master-controller/src/services/vm-manager.js:431:7)"
        );
        self.fail_creation(boot, error, Some(stack), failure);
    }

    pub(super) fn step_timed_out(&mut self, boot: u32, step: &str, limit: i64) {
        let vm = self.who(boot).vm;
        let error = format!("[{vm}] {step} timed out after {limit}ms");
        let stack = format!(
            "Error: {error}\n    at Timeout._onTimeout (/opt/master-controller/src/services/vm-manager.js:396:33)\n    at listOnTimeout (node:internal/timers:581:17)\n    at process.processTimers (node:internal/timers:519:7)"
        );
        self.fail_creation(boot, error, Some(stack), Failure::StepTimeout);
    }

    /// A database error is no `Error` object: the lines have no stack.
    pub(super) fn insert_failed(&mut self, boot: u32) {
        let error = if self.world.database_up {
            "could not extend file \"base/16384/16402\": No space left on device"
        } else {
            super::request::NO_DATABASE
        };
        self.fail_creation(boot, error.to_owned(), None, Failure::RecordFailed);
    }

    /// Step 5 is done, step 6 begins.
    pub(super) fn recorded(&mut self, boot: u32) {
        let who = self.who(boot);
        let row = Row {
            vm: who.vm,
            vm_type: who.vm_type,
            ip: who.ip,
            created: self.now,
            destroyed: None,
            status: "running",
        };
        self.world.users[who.user].rows.push(row);
        let elapsed = self.elapsed(boot);
        say!(self, STEP_5_DONE, who.vm, elapsed);
        say!(self, STEP_6, who.vm);
        if self.is_dec() {
            let (port, _, _) = self.proxy(&who);
            say!(self, FIRECRACKER_PROXY, who.vm, port.to_string());
        }
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
            Creation::FirecrackerExits => self.after(50, boot, Step::FirecrackerExited),
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
        if let Some(ms) = who.fate.guest_dies {
            self.schedule(self.now + ms, super::Event::GuestDies(who.vm));
        }
    }

    pub(super) fn spawn_failed(&mut self, boot: u32) {
        let vm = self.who(boot).vm;
        let message = "spawn /opt/firecracker/firecracker ENOENT";
        let stack = "Error: spawn /opt/firecracker/firecracker ENOENT\n    at ChildProcess._handle.onexit (node:internal/child_process:285:19)\n    at onErrorNT (node:internal/child_process:483:16)\n    at process.processTicksAndRejections (node:internal/process/task_queues:82:21)";
        say!(
            self,
            SPAWN_ERROR,
            vm,
            "ENOENT",
            -2i64,
            "spawn /opt/firecracker/firecracker",
            BINARY,
            message,
            stack
        );
        self.fail_creation(
            boot,
            message.to_owned(),
            Some(stack.to_owned()),
            Failure::FirecrackerFailed,
        );
    }

    pub(super) fn firecracker_exited(&mut self, boot: u32) {
        let who = self.who(boot);
        let pid = self.boot(boot).pid;
        say!(self, EXITED, who.vm, 1i64, Value::Null, pid, false, 0i64);
        let console = console_text(&who);
        say!(
            self,
            EXITED_BADLY,
            who.vm,
            1i64,
            Value::Null,
            format!("{NO_KVM}\n"),
            console
        );
        let error = format!("Firecracker exited with code 1: {NO_KVM}");
        let stack = format!(
            "Error: {error}\n    at ChildProcess.<anonymous> (/opt/master-controller/src/services/vm-manager.js:716:20)\n    at ChildProcess.emit (node:events:524:28)\n    at ChildProcess._handle.onexit (node:internal/child_process:293:12)"
        );
        self.fail_creation(boot, error, Some(stack), Failure::FirecrackerFailed);
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

    /// The lines that end a creation, and the truth of it.
    fn fail_creation(&mut self, boot: u32, error: String, stack: Option<String>, failure: Failure) {
        let who = self.who(boot);
        let elapsed = self.elapsed(boot);
        let kind = who.vm_type.as_str();
        let at = Value::Iso(self.now);
        let text = error.clone();
        match stack.clone() {
            Some(stack) => say!(
                self,
                CREATE_FAILED,
                who.vm,
                who.id(),
                kind,
                text,
                stack,
                elapsed,
                at
            ),
            None => say!(
                self,
                CREATE_FAILED_ROW,
                who.vm,
                who.id(),
                kind,
                text,
                elapsed,
                at
            ),
        }
        say!(self, CLEANING_UP, who.vm);
        let had_tap = failure != Failure::TapFailed && failure != Failure::IpPoolExhausted;
        if had_tap && self.world.used.contains_key(&who.vm) {
            say!(self, TAP_REMOVED, who.vm, Value::Tap(who.vm));
        }
        self.world.release_address(who.vm);
        self.decide(boot, Outcome::Failed, Some(failure));
        if who.vm_type == VmType::Cli {
            let parent = self.boot(boot).parent;
            self.forget(boot);
            if let Some(parent) = parent {
                self.request_lost_cli(parent, &error);
            }
            return;
        }
        self.browser_failed_line(&who, &error, stack.clone());
        self.boot(boot).error = Some((error, stack));
        self.after_query(boot, Step::CreationReported);
    }

    fn browser_failed_line(&mut self, who: &Who, error: &str, stack: Option<String>) {
        let error = error.to_owned();
        let (port, ip, _) = self.proxy(who);
        let (provider, session) = (who.provider, who.session);
        match (self.is_dec(), stack) {
            (true, Some(stack)) => {
                say!(
                    self,
                    BROWSER_FAILED_DEC,
                    who.id(),
                    provider,
                    session,
                    error,
                    stack
                );
            }
            (true, None) => {
                say!(
                    self,
                    BROWSER_FAILED_ROW_DEC,
                    who.id(),
                    provider,
                    session,
                    error
                );
            }
            (false, Some(stack)) => say!(
                self,
                BROWSER_FAILED,
                who.id(),
                provider,
                session,
                error,
                stack,
                port,
                ip
            ),
            (false, None) => say!(
                self,
                BROWSER_FAILED_ROW,
                who.id(),
                provider,
                session,
                error,
                port,
                ip
            ),
        }
    }

    /// The session says "failed"; the user's CLI VM, healthy as it is, goes too.
    pub(super) fn creation_reported(&mut self, boot: u32) {
        let who = self.who(boot);
        let error = self.error_text(boot);
        if self.is_dec() {
            say!(
                self,
                BACKGROUND_FAILED,
                who.session,
                who.id(),
                who.provider,
                error
            );
        } else {
            say!(self, AUTH_FAILED, who.id(), who.provider, error);
        }
        match self.world.cli_row(who.user) {
            Some(row) => {
                let cli = row.vm;
                self.destroy(boot, cli, After::Refuse);
            }
            None => self.request_refused(boot),
        }
    }

    pub(super) fn error_text(&mut self, boot: u32) -> String {
        let error = self.boot(boot).error.as_ref();
        error.map(|(text, _)| text.clone()).unwrap_or_default()
    }

    pub(super) fn request_refused(&mut self, boot: u32) {
        let who = self.who(boot);
        let error = self.error_text(boot);
        if self.is_dec() {
            say!(
                self,
                BACKGROUND_ENDED,
                who.session,
                who.id(),
                who.provider,
                error
            );
        } else {
            self.answer_error(boot, &error);
        }
        self.forget(boot);
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

/// The last lines of a guest's console as the controller quotes them.
pub(super) fn console_text(who: &Who) -> String {
    format!(
        "[    0.000000] Linux version 5.10.0 (guest)\n[    0.412345] virtio_net eth0: up {}\n",
        who.ip
    )
}
