//! How a creation fails: the error of each step, the lines that end it, and the healthy CLI VM that goes with it.

use super::{After, Simulation, Step, Who, say};
use crate::core::event::{Failure, Outcome, VmType};
use crate::simulator::console::Stream;
use crate::simulator::fate::Creation;
use crate::simulator::line::Value;

const NO_KVM: &str = "Error: RunWithApiError(StartMicroVM): Failed to create the VMM: Error creating KVM object: Permission denied (os error 13)";
const NO_LOG: &str = "Error: RunWithoutApiError(BuildFromJson(ParseFromJson(Logger(LoggerUpdateError(Os { code: 2, kind: NotFound, message: \"No such file or directory\" })))))";

impl Simulation {
    pub(super) fn clone_failed(&mut self, boot: u32, who: &Who, cause: &str, failure: Failure) {
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
        // A limit of step 0 says only that the user's proxy could not be had.
        let failure = if step == "getProxyEnvVars" {
            Failure::ConfigFailed
        } else {
            Failure::StepTimeout
        };
        self.fail_creation(boot, error, Some(stack), failure);
    }

    /// The row is written all the same, later.
    pub(super) fn insert_timed_out(&mut self, boot: u32) {
        let who = self.who(boot);
        self.row_left_behind(&who, super::creation::INSERT_WAIT);
        self.step_timed_out(boot, "db.vms.create", 5_000);
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
            super::creation::BINARY,
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
        let why = match who.fate.creation {
            Creation::LogPathMissing => NO_LOG,
            _ => NO_KVM,
        };
        self.vm_says(who.vm, Stream::Errors, &format!("{why}\n"));
        let pid = self.boot(boot).pid;
        say!(self, EXITED, who.vm, 1i64, Value::Null, pid, false, 0i64);
        let console = console_text(&who);
        say!(
            self,
            EXITED_BADLY,
            who.vm,
            1i64,
            Value::Null,
            format!("{why}\n"),
            console
        );
        let error = format!("Firecracker exited with code 1: {why}");
        let stack = format!(
            "Error: {error}\n    at ChildProcess.<anonymous> (/opt/master-controller/src/services/vm-manager.js:716:20)\n    at ChildProcess.emit (node:events:524:28)\n    at ChildProcess._handle.onexit (node:internal/child_process:293:12)"
        );
        self.fail_creation(boot, error, Some(stack), Failure::FirecrackerFailed);
    }

    /// The lines that end a creation, and the truth of it.
    pub(super) fn fail_creation(
        &mut self,
        boot: u32,
        error: String,
        stack: Option<String>,
        failure: Failure,
    ) {
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
        self.directory_removed(who.vm);
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

    pub(super) fn browser_failed_line(&mut self, who: &Who, error: &str, stack: Option<String>) {
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
        let told = format!("Browser VM creation failed: {error}");
        self.session_failed(who.session, "failed", &told);
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
}

/// The last lines of a guest's console as the controller quotes them.
pub(super) fn console_text(who: &Who) -> String {
    format!(
        "[    0.000000] Linux version 5.10.0 (guest)\n[    0.412345] virtio_net eth0: up {}\n",
        who.ip
    )
}
