//! Requests over the controller's API: they enter the same queue and the same world as the world's own traffic.
//!
//! What is here besides: the body of a session while it is in memory (camelCase, with credentials, as the real one has)
//! and when it is only a row; 404 while a later controller works in the background and after the end; a cancellation
//! that destroys the VM and leaves the flow running; the limiter's headers and its 429.

use serde_json::{Value as Json, json};

use super::{After, Event, Happened, Simulation, say};
use crate::core::event::{SessionId, Timestamp, VmId, VmType, parse_uuid};
use crate::simulator::api::{ApiPlan, Asked, Habit, Request, Response};
use crate::simulator::fate::{Agent, Fate, HEALTHY, UserDoes};
use crate::simulator::line::{Value, iso};
use crate::simulator::random::Random;
use crate::simulator::shapes;
use crate::simulator::world::{Row, SessionState};

const PROVIDERS: [&str; 3] = ["codex", "claude_code", "gemini_cli"];
/// What is answered where the address is no VM's: of a block that is documentation's.
const FOREIGN: &str = "203.0.113.77";
const ACCOUNTS: u64 = 0x000a_cc07_2025_1018;
/// The usual limiter.
const LIMIT: (u32, i64) = (1_000, 60_000);

/// What the interface keeps between requests.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Of a request to start, by its boot.
    starts: std::collections::BTreeMap<u32, u64>,
    /// Of a cancellation, by its boot.
    cancels: std::collections::BTreeMap<u32, u64>,
    /// The text that a failed request is answered with.
    errors: std::collections::BTreeMap<u32, String>,
    /// The limiter's window: since when, and how many came.
    window: (i64, u32),
    asked: u64,
}

impl Simulation {
    /// Accounts that nobody else uses, each with a CLI VM.
    pub(super) fn settle_accounts(&mut self) {
        let accounts = match &self.plan.api {
            Some(ApiPlan { accounts, .. }) => accounts.clone(),
            None => return,
        };
        // Dice of their own: the rest of the play is the same with them and without.
        let mut random = Random::new(self.plan.seed ^ ACCOUNTS);
        for account in accounts {
            let user = self.world.add_user(&mut random);
            self.world.users[user].id = account;
            self.world.users[user].reserved = true;
            self.settle_cli(user, &mut random);
        }
    }

    fn settle_cli(&mut self, user: usize, random: &mut Random) {
        let vm = VmId(random.uuid());
        let Some(ip) = self.world.take_address(vm) else {
            return;
        };
        let before = self.now - 60_000;
        let pid = self.world.pid(random);
        let row = Row {
            vm,
            vm_type: VmType::Cli,
            ip,
            created: before + self.plan.figures.database_ahead,
            destroyed: None,
            heartbeat: None,
            life: self.life,
            status: "running",
        };
        self.row_settled(user, row, pid);
        let machine = (vm, ip, pid, self.life + 1);
        let figures = &self.plan.figures;
        self.world
            .boot_machine(machine, Agent::Healthy, before, figures, random);
    }

    /// Somebody asks, now.
    pub fn asked(&mut self, asked: Asked, now: Timestamp) {
        self.now = self.now.max(now.0);
        let ticket = asked.ticket;
        if !self.alive || self.plan.api.is_none() {
            self.emit(Happened::Answered {
                ticket,
                response: None,
            });
            return;
        }
        let slow = match self.habit() {
            Habit::Slow(ms) => ms,
            _ => 0,
        };
        self.api.asked += 1;
        let number = self.api.asked;
        self.waiting_asks.insert(number, asked);
        self.schedule(self.now + slow, Event::Asked(number));
    }

    pub(super) fn take_ask(&mut self, number: u64) {
        let Some(asked) = self.waiting_asks.remove(&number) else {
            return;
        };
        let Asked {
            ticket,
            method,
            url,
            request,
        } = asked;
        if !self.alive {
            self.emit(Happened::Answered {
                ticket,
                response: None,
            });
            return;
        }
        self.request_line(method, url);
        let limited = request != Request::Health;
        if limited && self.over_the_limit() {
            let path = match request {
                Request::Start { .. } => "/auth/start".to_owned(),
                Request::Session(id) => format!("/auth/session/{id}"),
                Request::Cancel(id) => format!("/auth/session/{id}/cancel"),
                _ => "/vms".to_owned(),
            };
            self.log_text(
                &shapes::ACCESS_LIMITED,
                format!("{method} {path} 429"),
                vec![0i64.into()],
            );
            let wait = (self.api.window.0 + self.limit().1 - self.now).max(0) / 1_000 + 1;
            let body = json!({"error": "Too many requests, please try again later"});
            self.respond_with(ticket, 429, &body, vec![("Retry-After", wait.to_string())]);
            return;
        }
        match request {
            Request::Start { user, provider } => self.start_asked(ticket, &user, &provider),
            Request::Session(id) => self.session_asked(ticket, &id),
            Request::Cancel(id) => self.cancel_asked(ticket, &id),
            Request::Vms { undestroyed } => {
                let vms = self.world.vm_objects(undestroyed);
                self.log_text(
                    &shapes::ACCESS_VMS,
                    "GET / 200".to_owned(),
                    vec![1i64.into()],
                );
                self.respond(ticket, 200, &json!({ "vms": vms }));
            }
            Request::Health => {
                self.log_text(
                    &shapes::ACCESS_HEALTH,
                    "GET /health 200".to_owned(),
                    vec![1i64.into()],
                );
                let word = if self.is_dec() { "healthy" } else { "ok" };
                let body = json!({"status": word, "uptime": 12.5, "timestamp": iso(self.now)});
                self.respond(ticket, 200, &body);
            }
            Request::Ping => {
                let id = self.request_id();
                say!(self, CANARY, id.clone());
                self.log_text(
                    &shapes::ACCESS_PING,
                    "GET /api/debug/ping 200".to_owned(),
                    vec![1i64.into()],
                );
                let body = json!({"success": true, "message": "pong", "timestamp": iso(self.now), "requestId": id});
                self.respond(ticket, 200, &body);
            }
            Request::Unknown => self.respond(ticket, 404, &json!({"error": "Not Found"})),
        }
    }

    fn habit(&self) -> Habit {
        self.plan
            .api
            .as_ref()
            .map_or(Habit::Usual, |plan| plan.habit)
    }

    fn limit(&self) -> (u32, i64) {
        match self.habit() {
            Habit::Limited(most, window) => (most, window),
            _ => LIMIT,
        }
    }

    fn over_the_limit(&mut self) -> bool {
        let (most, window) = self.limit();
        if self.now >= self.api.window.0 + window {
            self.api.window = (self.now, 0);
        }
        self.api.window.1 += 1;
        self.api.window.1 > most
    }

    fn respond(&mut self, ticket: u64, status: u16, body: &Json) {
        self.respond_with(ticket, status, body, Vec::new());
    }

    fn respond_with(
        &mut self,
        ticket: u64,
        status: u16,
        body: &Json,
        beside: Vec<(&'static str, String)>,
    ) {
        let (most, window) = self.limit();
        let left = most.saturating_sub(self.api.window.1);
        let resets = (self.api.window.0 + window) / 1_000;
        let mut headers = vec![
            ("X-RateLimit-Limit", most.to_string()),
            ("X-RateLimit-Remaining", left.to_string()),
            ("X-RateLimit-Reset", resets.to_string()),
        ];
        headers.extend(beside);
        self.emit(Happened::Answered {
            ticket,
            response: Some(Response {
                status,
                headers,
                body: body.to_string(),
            }),
        });
    }

    fn start_asked(&mut self, ticket: u64, user: &str, provider: &str) {
        if self.habit() == Habit::RedirectsStart {
            // What stands before the controller answers so: nothing of it reaches the flow.
            self.log_text(
                &shapes::ACCESS_START,
                "POST /start 302".to_owned(),
                vec![1i64.into()],
            );
            let to = format!("http://{FOREIGN}/login?next=start");
            self.respond_with(ticket, 302, &json!({}), vec![("Location", to)]);
            return;
        }
        if user.is_empty() || provider.is_empty() {
            let body = json!({"error": "userId and provider are required"});
            self.respond(ticket, 400, &body);
            return;
        }
        let Some(provider) = PROVIDERS.into_iter().find(|known| *known == provider) else {
            let body = json!({"error": "Invalid provider", "validProviders": PROVIDERS});
            self.respond(ticket, 400, &body);
            return;
        };
        let id = parse_uuid(user.as_bytes());
        let at = id.and_then(|id| self.world.users.iter().position(|user| user.id == id));
        let broken = self.habit() == Habit::Broken;
        let Some(at) = at.filter(|_| !broken) else {
            let known = if broken {
                "proxyConfig is not defined"
            } else {
                ""
            };
            let error = match id {
                _ if broken => known.to_owned(),
                Some(_) => "insert or update on table \"auth_sessions\" violates foreign key constraint \"auth_sessions_user_id_fkey\"".to_owned(),
                None => format!("invalid input syntax for type uuid: \"{user}\""),
            };
            let who = match id {
                Some(id) => Value::Uuid(id),
                None => Value::from(user.to_owned()),
            };
            self.refuse_unknown(who, provider, &error);
            self.respond(ticket, 500, &json!({ "error": error }));
            return;
        };
        let scenario = match &self.plan.api {
            Some(plan) => plan.scenario,
            None => return,
        };
        self.world.users[at].provider = provider;
        let boot = self.new_boot(scenario, at, VmType::Browser);
        self.api.starts.insert(boot, ticket);
        let fate = Self::fate_of(scenario);
        // Nobody logs in: whoever asked cancels, or the controller's own limit ends it.
        self.boot(boot).who.fate = Fate {
            user: match fate.user {
                UserDoes::MeetsOauthError => fate.user,
                _ => UserDoes::WalksAway,
            },
            cli: HEALTHY.cli,
            ..fate
        };
        self.post_accepted(boot);
    }

    /// The lines of a request whose user the database does not know.
    fn refuse_unknown(&mut self, who: Value, provider: &'static str, error: &str) {
        say!(self, AUTH_ROUTE, who.clone(), provider);
        if self.is_dec() {
            say!(self, AUTH_DEC, who.clone(), provider, false);
            say!(self, AUTH_NOT_CREATED, who, provider, error.to_owned());
        } else {
            say!(self, AUTH, who.clone(), provider);
            say!(self, AUTH_FAILED, who, provider, error.to_owned());
        }
        say!(self, START_FAILED, error.to_owned());
        self.log_text(
            &shapes::ACCESS_START,
            "POST /start 500".to_owned(),
            vec![9i64.into()],
        );
    }

    /// The request to start of this boot is answered.
    pub(super) fn api_started(&mut self, boot: u32, status: u16) {
        let error = self.api.errors.remove(&boot);
        let Some(ticket) = self.api.starts.remove(&boot) else {
            return;
        };
        if status != 200 {
            self.respond(ticket, status, &json!({ "error": error }));
            return;
        }
        let who = self.who(boot);
        let session = who.session.to_string();
        let body = if self.is_dec() {
            json!({"success": true, "sessionId": session, "provider": who.provider,
                   "novncURL": null, "browserIP": null})
        } else {
            json!({"success": true, "sessionId": session, "provider": who.provider,
                   "novncURL": format!("http://localhost:4000/api/auth/session/{session}/novnc"),
                   "browserIP": self.told_ip(&who.ip.to_string())})
        };
        self.respond(ticket, 200, &body);
    }

    /// What an answer about to be given says went wrong.
    pub(super) fn api_error(&mut self, boot: u32, error: &str) {
        if self.api.starts.contains_key(&boot) {
            self.api.errors.insert(boot, error.to_owned());
        }
    }

    fn told_ip(&self, ip: &str) -> String {
        match self.habit() {
            Habit::NamesForeignAddress => FOREIGN.to_owned(),
            _ => ip.to_owned(),
        }
    }

    /// Whether the session's row stays without VM and address.
    pub(super) fn leaves_fields_empty(&self, user: u128) -> bool {
        let api = self.plan.api.as_ref();
        let ours = api.is_some_and(|plan| plan.accounts.contains(&user));
        ours && self.habit() == Habit::EmptyFields
    }

    /// The address that the session's row is given.
    pub(super) fn row_ip(&self, user: u128, ip: std::net::Ipv4Addr) -> std::net::Ipv4Addr {
        let ours = self
            .plan
            .api
            .as_ref()
            .is_some_and(|plan| plan.accounts.contains(&user));
        match FOREIGN.parse() {
            Ok(foreign) if ours && self.habit() == Habit::NamesForeignAddress => foreign,
            _ => ip,
        }
    }

    fn boot_of(&self, session: SessionId) -> Option<u32> {
        let mut boots = self.boots.iter();
        boots
            .find(|(_, boot)| boot.who.session == session && boot.who.vm_type == VmType::Browser)
            .map(|(boot, _)| *boot)
    }

    fn session_asked(&mut self, ticket: u64, id: &str) {
        let session = SessionId::parse(id.as_bytes());
        let row = session.and_then(|session| self.world.session(session).cloned());
        let boot = session.and_then(|session| self.boot_of(session));
        let in_memory = boot.filter(|boot| {
            let boot = &self.boots[boot];
            boot.linked && !boot.cancelled
        });
        let body = match (in_memory, row) {
            (Some(boot), Some(row)) => Some(self.in_memory(boot, &row)),
            // A later controller knows sessions by its memory alone.
            (None, Some(row)) if !self.is_dec() => Some(as_row(&row)),
            _ => None,
        };
        let status = if body.is_some() { 200 } else { 404 };
        let text = format!("GET /session/{id} {status}");
        self.log_text(&shapes::ACCESS_SESSION, text, vec![2i64.into()]);
        match body {
            Some(session) => self.respond(ticket, 200, &json!({ "session": session })),
            None => self.respond(ticket, 404, &json!({"error": "Session not found"})),
        }
    }

    /// The object of a running flow, with what must never leave whoever reads it.
    fn in_memory(&self, boot: u32, row: &SessionState) -> Json {
        let who = self.who(boot);
        let status = match row.status {
            "ready" | "awaiting_user_auth" => "ready",
            _ => "vm_created",
        };
        let session = who.session;
        json!({
            "userId": SessionId(who.user_id).to_string(),
            "provider": who.provider,
            "browserVMId": who.vm.to_string(),
            "browserIP": self.told_ip(&who.ip.to_string()),
            "novncURL": format!("http://localhost:4000/api/auth/session/{session}/novnc"),
            "status": status,
            "startedAt": iso(row.created),
            "proxyConfig": {
                "server": "http://proxy.example.net:11001",
                "username": "simulated-user",
                "password": "simulated-secret",
            },
        })
    }

    fn cancel_asked(&mut self, ticket: u64, id: &str) {
        let session = SessionId::parse(id.as_bytes());
        let known = session.filter(|session| self.world.session(*session).is_some());
        let Some(session) = known else {
            let text = format!("POST /session/{id}/cancel 500");
            self.log_text(&shapes::ACCESS_CANCEL, text, vec![2i64.into()]);
            self.respond(ticket, 500, &json!({"error": "Session not found"}));
            return;
        };
        let boot = self.boot_of(session);
        let spared = self.habit() == Habit::CancelsNothing;
        let machine = boot.map(|boot| self.who(boot).vm).filter(|vm| {
            self.world
                .row_mut(*vm)
                .is_some_and(|row| row.destroyed.is_none())
        });
        match (boot, machine) {
            (Some(boot), Some(vm)) if !spared => {
                self.api.cancels.insert(boot, ticket);
                self.boot(boot).asked_at = self.now;
                self.boot(boot).cancelled = true;
                self.destroy(boot, vm, After::Cancelled);
            }
            _ => {
                if let Some(boot) = boot {
                    self.boot(boot).cancelled = !spared;
                }
                self.session_says(session, "cancelled", Vec::new());
                say!(self, CANCELLED, session);
                say!(self, CANCELLED_ROUTE, session);
                let text = format!("POST /session/{session}/cancel 200");
                self.log_text(&shapes::ACCESS_CANCEL, text, vec![9i64.into()]);
                self.respond(ticket, 200, &cancelled());
            }
        }
    }

    /// Somebody waits for the cancellation of this boot's session.
    pub(super) fn api_cancels(&self, boot: u32) -> bool {
        self.api.cancels.contains_key(&boot)
    }

    /// The cancellation of this boot's session is answered.
    pub(super) fn api_cancelled(&mut self, boot: u32) {
        if let Some(ticket) = self.api.cancels.remove(&boot) {
            self.respond(ticket, 200, &cancelled());
        }
    }

    /// What the interface still owed is owed no more.
    pub(super) fn api_dies(&mut self) {
        self.api = Desk {
            asked: self.api.asked,
            window: self.api.window,
            ..Desk::default()
        };
        self.waiting_asks.clear();
    }
}

fn cancelled() -> Json {
    json!({"success": true, "message": "Session cancelled"})
}

fn as_row(row: &SessionState) -> Json {
    json!({
        "session_id": row.session.to_string(),
        "user_id": SessionId(row.user).to_string(),
        "provider": row.provider,
        "status": row.status,
        "browser_vm_id": row.vm.map(|vm| vm.to_string()),
        "vm_id": null,
        "vm_ip": row.ip.map(|ip| ip.to_string()),
        "vnc_url": row.ip.map(|_| format!("http://localhost:4000/api/auth/session/{}/novnc", row.session)),
        "auth_url": null,
        "error_message": row.error,
        "started_at": iso(row.created),
        "created_at": iso(row.created),
        "completed_at": null,
    })
}
