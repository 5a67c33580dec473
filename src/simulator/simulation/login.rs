//! After the boot: the OAuth flow, its ends, and the VM's destruction.

use super::{After, Happened, Simulation, Step, say};
use crate::core::event::VmId;
use crate::simulator::fate::UserDoes;
use crate::simulator::line::Value;

const POLL: i64 = 2_000;

/// A file in root's home inside the guest, as the controller's lines name it.
macro_rules! guest_home {
    ($file:literal) => {
        concat!("/root", $file)
    };
}

impl Simulation {
    pub(super) fn session_ready(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            self.flow_failed(boot, super::request::NO_DATABASE.to_owned());
            return;
        }
        if self.is_dec() {
            say!(self, VM_IS_READY, who.session);
            self.session_says(who.session, "ready", Vec::new());
            say!(self, OAUTH, who.session, who.provider, who.ip);
            say!(self, OAUTH_CLI_DEC, who.session, who.ip, who.provider);
            say!(
                self,
                OAUTH_STARTED_DEC,
                who.id(),
                who.provider,
                who.session,
                who.vm,
                who.ip
            );
        } else {
            self.session_says(who.session, "ready", Vec::new());
            say!(self, OAUTH, who.session, who.provider, who.ip);
            say!(self, OAUTH_CLI, who.session, who.ip, who.provider, true);
        }
        let takes = self.random.within((15, 400));
        self.after(takes, boot, Step::LoginStarted);
    }

    pub(super) fn login_started(&mut self, boot: u32) {
        let who = self.who(boot);
        if who.fate.user == UserDoes::MeetsOauthError {
            let provider = who.provider;
            let error = format!("Failed to start {provider} CLI: HTTP 500 Internal Server Error");
            self.flow_failed(boot, error);
            return;
        }
        say!(self, OAUTH_CLI_STARTED, who.session, who.provider, true);
        self.after_query(boot, Step::LoginStored);
    }

    pub(super) fn login_stored(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            self.flow_failed(boot, super::request::NO_DATABASE.to_owned());
            return;
        }
        self.session_awaits_user(&who);
        say!(self, OAUTH_URL, who.session, who.provider);
        say!(self, OAUTH_WAIT, who.session, who.provider);
        let takes = match who.fate.user {
            UserDoes::WalksAway => i64::MAX / 4,
            _ => self.random.within(self.plan.figures.user),
        };
        let now = self.now;
        self.boot(boot).login_from = now;
        self.boot(boot).login_until = now + takes;
        self.after(1, boot, Step::LoginPolled);
    }

    pub(super) fn login_polled(&mut self, boot: u32) {
        let who = self.who(boot);
        let elapsed = self.now - self.boot(boot).login_from;
        let limit = self.plan.figures.oauth_limit;
        if elapsed >= limit {
            let seconds = limit / 1000;
            let error = format!(
                "OAuth timeout: User did not complete authentication within {seconds} seconds"
            );
            self.boot(boot).final_status = "timeout";
            self.flow_failed(boot, error);
            return;
        }
        let done = self.now >= self.boot(boot).login_until;
        let answers = self
            .world
            .machines
            .iter()
            .any(|machine| machine.ip == who.ip);
        if answers {
            say!(self, OAUTH_POLL, who.session, who.provider, done, elapsed);
        }
        if answers && done {
            say!(self, OAUTH_COMPLETED, who.session, who.provider);
            say!(self, CREDENTIALS_ASKED, who.session, who.provider);
            self.after(4, boot, Step::CredentialsGot);
        } else {
            self.after(POLL + 1, boot, Step::LoginPolled);
        }
    }

    pub(super) fn credentials_got(&mut self, boot: u32) {
        let who = self.who(boot);
        say!(self, CREDENTIALS, who.session, who.provider, true);
        self.after_query(boot, Step::CredentialsStored);
    }

    pub(super) fn credentials_stored(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            let error = super::request::NO_DATABASE;
            say!(self, CREDENTIALS_LOST, who.id(), who.provider, error);
            self.flow_failed(boot, error.to_owned());
            return;
        }
        say!(self, CREDENTIALS_STORED, who.id(), who.provider);
        say!(self, TRANSFER, who.id(), who.provider);
        say!(self, TRANSFER_FIND, who.id());
        say!(self, FIND, who.id());
        self.after_query(boot, Step::Transferred);
    }

    pub(super) fn transferred(&mut self, boot: u32) {
        let who = self.who(boot);
        let Some(cli) = self.found_lines(who.user) else {
            let error = "CLI VM not found after authentication";
            self.flow_failed(boot, error.to_owned());
            return;
        };
        say!(self, TRANSFER_FOUND, true, cli);
        say!(self, TRANSFER_CLI, who.id(), who.provider, cli, "running");
        self.block((4, 20));
        let inside = match who.provider {
            "codex" => guest_home!("/.codex/credentials.json"),
            "claude_code" => guest_home!("/.claude/credentials.json"),
            _ => guest_home!("/.gemini/credentials.json"),
        };
        let outside = Value::Path("/tmp/vm-mount-", cli, inside);
        say!(
            self,
            TRANSFER_WRITTEN,
            who.id(),
            who.provider,
            cli,
            inside,
            outside
        );
        say!(self, TRANSFERRED, who.id(), who.provider, cli);
        self.after_query(boot, Step::Completed);
    }

    pub(super) fn completed(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            self.flow_failed(boot, super::request::NO_DATABASE.to_owned());
            return;
        }
        self.session_says(who.session, "completed", Vec::new());
        say!(self, COMPLETED, who.id(), who.provider, who.session);
        self.flow_over(boot);
    }

    /// The line that ends a session badly; the clean-up follows when the row says so too.
    pub(super) fn flow_failed(&mut self, boot: u32, error: String) {
        let who = self.who(boot);
        if self.boot(boot).final_status == "completed" {
            self.boot(boot).final_status = "failed";
        }
        self.boot(boot).error = Some((error.clone(), None));
        say!(
            self,
            FLOW_FAILED,
            who.id(),
            who.provider,
            who.session,
            error
        );
        self.after_query(boot, Step::FlowFailed);
    }

    pub(super) fn flow_failed_noted(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            let error = super::request::NO_DATABASE;
            say!(self, FAILURE_LOST, who.session, error);
        }
        let status = self.boot(boot).final_status;
        let why = self.error_text(boot);
        self.session_failed(who.session, status, &why);
        self.flow_over(boot);
    }

    fn flow_over(&mut self, boot: u32) {
        let who = self.who(boot);
        if self.is_dec() {
            let status = self.boot(boot).final_status;
            let grace: i64 = if status == "completed" { 5_000 } else { 10_000 };
            say!(self, DESTROYING_DEC, who.session, who.vm, status, grace);
            self.after(grace, boot, Step::GraceOver);
        } else {
            self.destroy(boot, who.vm, After::Over);
        }
    }

    pub(super) fn grace_over(&mut self, boot: u32) {
        let vm = self.who(boot).vm;
        self.destroy(boot, vm, After::SaidTwice);
    }

    /// Destroys a VM of the boot's user. Only what this process itself started is killed: a VM process of an earlier
    /// controller loses its row and its address, and lives.
    pub(super) fn destroy(&mut self, boot: u32, vm: VmId, after: After) {
        let dec = self.is_dec();
        if dec {
            say!(self, DESTROY_DEC, vm, true);
        } else {
            say!(self, DESTROY, vm);
        }
        let whole = self.world.used.contains_key(&vm);
        if whole {
            self.block((4, 16));
            say!(self, TAP_REMOVED, vm, Value::Tap(vm));
        }
        let ours = self
            .world
            .machine(vm)
            .is_some_and(|machine| machine.life == self.life);
        if ours && let Some(machine) = self.world.remove_machine(vm) {
            say!(
                self,
                EXITED,
                vm,
                Value::Null,
                "SIGTERM",
                machine.pid,
                true,
                0i64
            );
            say!(self, EXITED_WELL, vm, Value::Null, "SIGTERM");
            self.emit(Happened::AgentDown { ip: machine.ip });
        }
        if dec && whole {
            let from = Value::Path(super::creation::USERS, vm, "/console.log");
            let to = format!("/var/log/vm-debug-logs/{}", self.archive_name(vm));
            say!(self, CONSOLE_KEPT, vm, from, to);
            say!(self, DIRECTORY_REMOVED, vm);
        }
        self.directory_removed(vm);
        self.world.release_address(vm);
        self.after_query(boot, Step::Destroyed(vm, self.now, after));
    }

    pub(super) fn destroyed(&mut self, boot: u32, vm: VmId, asked_at: i64, after: After) {
        let who = self.who(boot);
        self.row_destroyed(vm, asked_at);
        if self.world.database_up {
            say!(self, DESTROYED, vm);
        } else {
            let error = super::request::NO_DATABASE;
            say!(self, DESTROY_FAILED, vm, error);
            if vm == who.vm {
                say!(self, CLEANUP_FAILED, who.session, vm, error);
            } else {
                say!(self, CLEANUP_CLI_FAILED, error);
            }
        }
        let ties = matches!(after, After::SaidTwice | After::CliToo | After::Refuse);
        if ties && self.is_dec() && vm == who.vm {
            // Session and VM are untied, and whatever the session's status was, it is gone.
            self.session_says(who.session, "cancelled", Vec::new());
        }
        match after {
            After::Over => self.forget(boot),
            After::Refuse => self.request_refused(boot),
            After::Cancelled => {
                self.cancelled(boot);
                if self.boot(boot).over {
                    self.forget(boot);
                }
            }
            After::CliToo => match self.world.cli_row(who.user).map(|row| row.vm) {
                Some(cli) => self.destroy(boot, cli, After::Refuse),
                None => self.request_refused(boot),
            },
            After::SaidTwice => {
                say!(self, DESTROYED_DEC, who.session, who.vm);
                self.forget(boot);
            }
            After::UserLeft => {
                self.world.replace_user(who.user, &mut self.random);
                self.boot(boot).who.user_id = self.world.users[who.user].id;
                self.post(boot);
            }
        }
    }
}
