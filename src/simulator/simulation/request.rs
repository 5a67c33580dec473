//! A login request up to the creation of its VM: session, CLI VM, and the ways it is refused.

use super::{After, Simulation, Step, Who, say};
use crate::core::event::{Failure, Outcome, Timestamp, VmId, VmType};
use crate::simulator::fate::{CliVm, UserDoes};
use crate::simulator::line::Value;
use crate::simulator::scenario::Scenario;
use crate::simulator::shapes;

/// What the hosted database's client says when it cannot connect.
pub(super) const NO_DATABASE: &str =
    "Could not connect with the database. Retrying the connection.";

impl Simulation {
    /// A user asks for a browser VM. A controller that is down hears nothing.
    pub(super) fn ask(&mut self, scenario: &'static Scenario) {
        if !self.alive {
            return;
        }
        let fate = Self::fate_of(scenario);
        let user = self
            .world
            .idle_user(fate.cli == CliVm::Usual, &mut self.random);
        let boot = self.new_boot(scenario, user, VmType::Browser);
        let new_one = fate.cli != CliVm::Usual || self.world.has_had_enough(user);
        if new_one && let Some(row) = self.world.cli_row(user) {
            // The user leaves, and another one comes.
            let cli = row.vm;
            self.destroy(boot, cli, After::UserLeft);
            return;
        }
        self.post(boot);
    }

    pub(super) fn post(&mut self, boot: u32) {
        let now = self.now;
        self.boot(boot).asked_at = now;
        self.boot(boot).truth.started_at = Timestamp(now);
        self.request_line("POST", "/api/auth/start".to_owned());
        self.post_accepted(boot);
    }

    /// The request is in the controller's hands.
    pub(super) fn post_accepted(&mut self, boot: u32) {
        let who = self.who(boot);
        say!(self, AUTH_ROUTE, who.id(), who.provider);
        if self.is_dec() {
            say!(self, AUTH_DEC, who.id(), who.provider, false);
        } else {
            say!(self, AUTH, who.id(), who.provider);
        }
        let down = who.fate.database_down || who.fate.controller_bug || !self.world.database_up;
        let next = if down {
            Step::Denied
        } else {
            Step::SessionMade
        };
        self.after_query(boot, next);
    }

    pub(super) fn deny(&mut self, boot: u32) {
        let error = if self.who(boot).fate.controller_bug {
            "proxyConfig is not defined"
        } else {
            NO_DATABASE
        };
        self.refuse(boot, error);
        self.decide(boot, Outcome::Failed, Some(Failure::NotStarted));
        self.forget(boot);
    }

    /// The error lines at the end of a request that failed while its client waits.
    fn refuse(&mut self, boot: u32, error: &str) {
        let who = self.who(boot);
        if self.is_dec() {
            say!(
                self,
                AUTH_NOT_CREATED,
                who.id(),
                who.provider,
                error.to_owned()
            );
        } else {
            say!(self, AUTH_FAILED, who.id(), who.provider, error.to_owned());
        }
        self.answer_error(boot, error);
    }

    pub(super) fn answer_error(&mut self, boot: u32, error: &str) {
        say!(self, START_FAILED, error.to_owned());
        self.api_error(boot, error);
        self.answer_start(boot, 500);
    }

    pub(super) fn answer_start(&mut self, boot: u32, status: u16) {
        let asked_at = self.boot(boot).asked_at;
        self.boot(boot).answered = true;
        let took = self.now - asked_at;
        self.log_text(
            &shapes::ACCESS_START,
            format!("POST /start {status}"),
            vec![took.into()],
        );
        self.api_started(boot, status);
    }

    pub(super) fn session_made(&mut self, boot: u32) {
        let who = self.who(boot);
        self.boot(boot).truth.session_id = Some(who.session);
        let asked_at = self.boot(boot).asked_at;
        self.session_inserted(&who, asked_at);
        if self.is_dec() {
            say!(
                self,
                RETURNING_EARLY,
                who.session,
                who.id(),
                who.provider,
                false
            );
            say!(self, BACKGROUND_STARTS, who.session, who.id(), who.provider);
        }
        say!(self, ENSURE_CLI, who.id(), who.provider);
        say!(self, FIND, who.id());
        if self.is_dec() {
            self.answer_start(boot, 200);
        }
        self.after_query(boot, Step::Found);
    }

    /// The two lines that answer a `[FINDBYUSERID]` query.
    pub(super) fn found_lines(&mut self, user: usize) -> Option<VmId> {
        let rows = self.world.rows_json(user);
        let id = Value::Uuid(self.world.users[user].id);
        let count = self.world.users[user].rows.len();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        say!(self, FIND_ALL, id.clone(), count, Value::Json(rows));
        let cli = self.world.cli_row(user).map(|row| row.vm);
        match cli {
            Some(vm) => say!(self, FIND_ONE, id, true, vm, "cli", Value::Null),
            None => say!(self, FIND_NONE, id, false),
        }
        cli
    }

    pub(super) fn found(&mut self, boot: u32) {
        let who = self.who(boot);
        self.found_lines(who.user);
        match self.world.cli_row(who.user) {
            Some(row) => {
                let (vm, status, ip) = (row.vm, row.status, row.ip);
                say!(self, REUSE_CLI, who.id(), vm, status, ip);
                self.browser_next(boot);
            }
            None => {
                say!(self, NO_CLI, who.id());
                say!(self, CREATE_CLI, who.id());
                let scenario = crate::simulator::scenario::row(self.boot(boot).truth.scenario);
                let cli = self.new_boot(scenario, who.user, VmType::Cli);
                self.boot(cli).parent = Some(boot);
                self.after_query(cli, Step::CreateCli);
            }
        }
    }

    /// The CLI VM is there: on to the browser VM, after three more queries.
    pub(super) fn browser_next(&mut self, boot: u32) {
        let query = self.plan.figures.query;
        let takes = (0..3).map(|_| self.random.within(query)).sum();
        self.after(takes, boot, Step::CreateBrowser);
    }

    /// The CLI VM did not come: the request ends with its error, and no browser VM was ever begun.
    pub(super) fn request_lost_cli(&mut self, boot: u32, error: &str) {
        let who = self.who(boot);
        if self.is_dec() {
            self.background_failed_lines(&who, error);
        } else {
            self.refuse(boot, error);
        }
        self.decide(boot, Outcome::Failed, Some(Failure::NotStarted));
        self.forget(boot);
    }

    pub(super) fn background_failed_lines(&mut self, who: &Who, error: &str) {
        let error = error.to_owned();
        say!(
            self,
            BACKGROUND_FAILED,
            who.session,
            who.id(),
            who.provider,
            error.clone()
        );
        say!(
            self,
            BACKGROUND_ENDED,
            who.session,
            who.id(),
            who.provider,
            error
        );
    }

    /// The user cancels. The VM goes; the flow that waits for it does not notice.
    pub(super) fn cancel(&mut self, boot: u32) {
        if !self.boot(boot).waiting {
            return;
        }
        let who = self.who(boot);
        self.boot(boot).asked_at = self.now;
        let path = format!("/api/auth/session/{}/cancel", who.session);
        self.request_line("POST", path);
        self.destroy(boot, who.vm, After::Cancelled);
    }

    pub(super) fn cancelled(&mut self, boot: u32) {
        let who = self.who(boot);
        self.session_says(who.session, "cancelled", Vec::new());
        say!(self, CANCELLED, who.session);
        say!(self, CANCELLED_ROUTE, who.session);
        let took = self.now - self.boot(boot).asked_at;
        let text = format!("POST /session/{}/cancel 200", who.session);
        self.log_text(&shapes::ACCESS_CANCEL, text, vec![took.into()]);
        self.api_cancelled(boot);
        if self.boot(boot).waiting {
            self.decide(boot, Outcome::Cancelled, None);
        }
    }

    pub(super) fn request_line(&mut self, method: &'static str, path: String) {
        let id = self.request_id();
        say!(self, REQUEST, id, method, path, "127.0.0.1");
    }

    pub(super) fn request_id(&mut self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut id = format!("req-{}-", self.now);
        for _ in 0..9 {
            id.push(char::from(self.random.pick(DIGITS)));
        }
        id
    }

    /// When a cancelling user cancels, counted from the wait's start.
    pub(super) fn schedule_cancel(&mut self, boot: u32) {
        if let UserDoes::Cancels(ms) = self.who(boot).fate.user {
            let later = ms + self.plan.figures.initial_delay;
            self.after(later, boot, Step::Cancel);
        }
    }
}

impl Who {
    pub(super) fn id(&self) -> Value {
        Value::Uuid(self.user_id)
    }
}
