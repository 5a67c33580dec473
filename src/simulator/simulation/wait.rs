//! From the created VM to a verdict: the hand-over, the health wait, and the CLI VM's silent one.
//!
//! The wait knows an address, not a VM. It goes on after a cancellation, and whoever has the address by then answers.

use super::{After, Simulation, Step, Who, say};
use crate::core::event::{AttemptError, AttemptResult, Failure, Outcome, VmType};
use crate::simulator::console::{Stream, TRIPLE_FAULT};
use crate::simulator::line::Value;
use crate::simulator::world::Answer;

impl Simulation {
    pub(super) fn cli_created(&mut self, boot: u32) {
        self.boot(boot).wait_from = self.now;
        self.after(2, boot, Step::CliAsked);
    }

    /// One of the CLI wait's attempts, of which the log says nothing.
    pub(super) fn cli_asked(&mut self, boot: u32) {
        let who = self.who(boot);
        let waited = self.now - self.boot(boot).wait_from;
        if waited >= self.plan.figures.cli_limit {
            let limit = self.plan.figures.cli_limit;
            let error = format!("VM not ready after {limit}ms");
            self.decide(boot, Outcome::Failed, Some(Failure::Unknown));
            let parent = self.boot(boot).parent;
            self.forget(boot);
            if let Some(parent) = parent {
                self.request_lost_cli(parent, &error);
            }
            return;
        }
        let knock = self
            .world
            .knock(who.ip, self.now, &self.plan.figures, &mut self.random);
        if !matches!(knock.answer, Answer::Status(200, _)) {
            self.after(self.plan.figures.pause, boot, Step::CliAsked);
            return;
        }
        say!(self, CLI_READY, who.ip);
        self.boot(boot).truth.ready_ms = Some(waited);
        self.decide(boot, Outcome::Ready, None);
        let parent = self.boot(boot).parent;
        self.forget(boot);
        if let Some(parent) = parent
            && self.boots.contains_key(&parent)
        {
            self.browser_next(parent);
        }
    }

    pub(super) fn handed_over(&mut self, boot: u32) {
        let who = self.who(boot);
        if self.is_dec() {
            say!(
                self,
                BROWSER_CREATED_DEC,
                who.id(),
                who.provider,
                who.session,
                who.vm,
                who.ip
            );
            self.after_query(boot, Step::SessionLinked);
        } else {
            say!(
                self,
                BROWSER_CREATED,
                who.id(),
                who.provider,
                who.session,
                who.vm,
                who.ip
            );
            self.session_updating(boot, &who);
        }
    }

    pub(super) fn session_linked(&mut self, boot: u32) {
        let who = self.who(boot);
        self.session_tied(&who);
        say!(self, SESSION_ASSOCIATED, who.session, who.vm, who.ip);
        say!(self, REDIS_SAVED, who.session, who.ip);
        self.session_updating(boot, &who);
    }

    fn session_updating(&mut self, boot: u32, who: &Who) {
        say!(
            self,
            SESSION_UPDATING,
            who.id(),
            who.provider,
            who.session,
            who.vm,
            who.ip
        );
        self.after_query(boot, Step::SessionUpdated);
    }

    pub(super) fn session_updated(&mut self, boot: u32) {
        let who = self.who(boot);
        if !self.world.database_up {
            // The VM is there, its session is not: the request fails before the wait.
            let error = super::request::NO_DATABASE;
            self.boot(boot).error = Some((error.to_owned(), None));
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
            self.decide(boot, Outcome::Failed, Some(Failure::RecordFailed));
            self.destroy(boot, who.vm, After::Refuse);
            return;
        }
        self.session_has_vm(&who);
        say!(
            self,
            SESSION_UPDATED,
            who.id(),
            who.provider,
            who.session,
            "vm_created"
        );
        self.boot(boot).wait_from = self.now;
        self.boot(boot).waiting = true;
        if self.is_dec() {
            say!(self, READINESS_STARTS, who.session, who.ip);
            let delay = self.plan.figures.initial_delay;
            let limit = self.plan.figures.wait_limit;
            say!(self, WAIT_DEC, who.ip, limit, delay);
            let reason = "OAuth agent Express server needs time to bind to port 8080";
            say!(self, WAIT_GUEST, who.ip, delay, reason);
            self.after(delay, boot, Step::Attempt);
        } else if who.fate.wait_limit {
            say!(self, WAIT, who.ip, self.plan.figures.wait_limit);
            self.attempt(boot);
            self.dispatched(boot, &who);
        } else {
            say!(self, WAIT_UNLIMITED, who.ip);
            say!(self, TIMEOUT_UNLIMITED, who.ip);
            self.dispatched_line(&who);
            self.decide(boot, Outcome::Failed, Some(Failure::NoAttempt));
            self.boot(boot).waiting = false;
            self.flow_failed(boot, "VM not ready after undefinedms".to_owned());
            self.answer_start(boot, 200);
        }
        self.schedule_cancel(boot);
        if self.plan.noise {
            let pause = self.random.within((2_800, 4_400));
            self.after(pause, boot, Step::PagePoll);
        }
    }

    fn dispatched(&mut self, boot: u32, who: &Who) {
        self.dispatched_line(who);
        self.answer_start(boot, 200);
    }

    fn dispatched_line(&mut self, who: &Who) {
        say!(
            self,
            DISPATCHED,
            who.id(),
            who.provider,
            who.session,
            who.vm,
            who.ip
        );
    }

    pub(super) fn attempt(&mut self, boot: u32) {
        let who = self.who(boot);
        let elapsed = self.now - self.boot(boot).wait_from;
        if elapsed >= self.plan.figures.wait_limit {
            self.wait_over(boot, &who);
            return;
        }
        say!(self, ATTEMPT, who.ip, elapsed, Value::HealthUrl(who.ip));
        let knock = self
            .world
            .knock(who.ip, self.now, &self.plan.figures, &mut self.random);
        let takes = knock.takes;
        self.boot(boot).truth.ready_ms = Some(elapsed);
        self.boot(boot).meets = Some(knock.failure);
        self.boot(boot).answer = Some(knock);
        self.after(takes, boot, Step::Knocked);
    }

    pub(super) fn knocked(&mut self, boot: u32) {
        let who = self.who(boot);
        let elapsed = self.now - self.boot(boot).wait_from;
        let Some(knock) = self.boot(boot).answer.take() else {
            return;
        };
        match knock.answer {
            Answer::Status(200, body) => {
                say!(self, RESPONSE, who.ip, 200i64, true);
                say!(self, RESPONSE_BODY, who.ip, body.clone());
                if self.is_dec() {
                    say!(self, VNC_CHECK, who.ip);
                    self.boot(boot).error = Some((body, None));
                    let takes = self.random.within((4, 30));
                    self.after(takes, boot, Step::VncAsked);
                } else {
                    say!(self, READY, who.ip);
                    self.count_attempt(boot, AttemptResult::Ok);
                    self.ready(boot);
                }
                return;
            }
            Answer::Status(status, body) => {
                let code = i64::from(status);
                say!(self, RESPONSE, who.ip, code, false);
                say!(self, RESPONSE_BODY, who.ip, body.clone());
                say!(self, RESPONSE_BAD, who.ip, code, body);
                self.count_attempt(boot, AttemptResult::Http(status));
            }
            Answer::Error(error, code) => {
                say!(self, ATTEMPT_FAILED, who.ip, error, code, elapsed);
                let word = AttemptError::from_word(code).unwrap_or(AttemptError::Other);
                self.count_attempt(boot, AttemptResult::Error(word));
            }
            Answer::TimedOut => {
                say!(self, ATTEMPT_TIMED_OUT, who.ip, "Request timeout", elapsed);
                self.count_attempt(boot, AttemptResult::Error(AttemptError::Timeout));
            }
        }
        self.retry(boot, &who);
    }

    fn retry(&mut self, boot: u32, who: &Who) {
        let elapsed = self.now - self.boot(boot).wait_from;
        let pause = self.plan.figures.pause;
        say!(self, RETRY, who.ip, pause, elapsed);
        let late = self.random.within((0, 2));
        self.after(pause + late, boot, Step::Attempt);
    }

    pub(super) fn vnc_asked(&mut self, boot: u32) {
        let who = self.who(boot);
        if who.fate.vnc {
            say!(self, VNC_OK, who.ip, "RFB 003.008");
            say!(self, VNC_DESKTOP, who.ip);
            self.after(5_000, boot, Step::DesktopUp);
            return;
        }
        let error = format!("connect ECONNREFUSED {}:5901", who.ip);
        say!(self, VNC_MISSING, who.ip, error);
        // The controller complains of a status 200.
        let body = self.error_text(boot);
        say!(self, RESPONSE_BAD, who.ip, 200i64, body);
        self.count_attempt(boot, AttemptResult::VncNotReady);
        self.boot(boot).meets = Some(Failure::VncNotReady);
        self.retry(boot, &who);
    }

    pub(super) fn desktop_up(&mut self, boot: u32) {
        let ip = self.who(boot).ip;
        say!(self, READY_DEC, ip);
        self.count_attempt(boot, AttemptResult::Ok);
        self.ready(boot);
    }

    fn ready(&mut self, boot: u32) {
        self.boot(boot).waiting = false;
        self.decide(boot, Outcome::Ready, None);
        self.after_query(boot, Step::Ready);
    }

    fn wait_over(&mut self, boot: u32, who: &Who) {
        let limit = self.plan.figures.wait_limit;
        say!(self, TIMEOUT, who.ip, limit);
        let ended = self.boot(boot);
        ended.waiting = false;
        let failure = if ended.guest_died {
            Failure::GuestDied
        } else {
            ended.meets.unwrap_or(Failure::NoAttempt)
        };
        self.decide(boot, Outcome::Failed, Some(failure));
        let error = format!("VM not ready after {limit}ms");
        if !self.is_dec() {
            self.flow_failed(boot, error);
            return;
        }
        self.boot(boot).error = Some((error.clone(), None));
        say!(
            self,
            BACKGROUND_FAILED,
            who.session,
            who.id(),
            who.provider,
            error
        );
        self.destroy(boot, who.vm, After::CliToo);
    }

    pub(super) fn guest_dies(&mut self, vm: crate::core::event::VmId) {
        let Some(machine) = self.world.remove_machine(vm) else {
            return;
        };
        self.vm_says(vm, Stream::Errors, TRIPLE_FAULT);
        self.emit(super::Happened::AgentDown { ip: machine.ip });
        if !self.alive || machine.life != self.life {
            return; // Its parent is gone: nobody notices.
        }
        let Some(boot) = self
            .boots
            .iter()
            .find(|(_, boot)| boot.who.vm == vm && boot.who.vm_type == VmType::Browser)
            .map(|(boot, _)| *boot)
        else {
            return;
        };
        let who = self.who(boot);
        self.boot(boot).guest_died = true;
        say!(self, EXITED, vm, 1i64, Value::Null, machine.pid, true, 0i64);
        let console = super::failure::console_text(&who);
        say!(
            self,
            EXITED_BADLY,
            vm,
            1i64,
            Value::Null,
            TRIPLE_FAULT,
            console
        );
    }
}
