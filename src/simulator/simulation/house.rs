//! The controller's own life and everything that is nobody's boot: starts, ends, routine tasks, other requests.

use super::{Event, Happened, Simulation, Step, say};
use crate::core::event::{Failure, Outcome, VmId, VmType};
use crate::simulator::fate::Agent;
use crate::simulator::line::Value;
use crate::simulator::plan::Version;
use crate::simulator::shapes;
use crate::simulator::world::Row;

const MINUTE: i64 = 60_000;

impl Simulation {
    /// Users with a CLI VM of their own, from before the log begins.
    pub(super) fn settle_users(&mut self) {
        for _ in 0..self.plan.users {
            let user = self.world.add_user(&mut self.random);
            let vm = VmId(self.random.uuid());
            let Some(ip) = self.world.take_address(vm) else {
                return;
            };
            let before = self.now - self.random.within((MINUTE, 300 * MINUTE));
            let pid = self.world.pid(&mut self.random);
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
                .boot_machine(machine, Agent::Healthy, before, figures, &mut self.random);
        }
    }

    pub(super) fn start_up(&mut self) {
        self.life += 1;
        self.alive = true;
        self.emit(Happened::Opens);
        say!(self, STARTING, "production", 4000i64, "v20.20.2");
        say!(self, DATABASE_CONNECTED);
        say!(self, TASKS_STARTING);
        say!(self, TASK_HIBERNATION);
        say!(self, TASK_DESTRUCTION);
        say!(self, TASK_METRICS);
        say!(self, TASK_SESSIONS);
        say!(self, TASK_CREDENTIALS);
        say!(self, TASK_HEALTH);
        say!(self, TASKS_STARTED, 6i64);
        say!(
            self,
            STARTED,
            "http://127.0.0.1:4000",
            "ws://127.0.0.1:4000"
        );
        let text = self.world.reset_pool();
        let total = self.world.pool_size();
        let free = self.world.pool.len();
        let taken = self.world.used.len();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let first = self.plan.figures.pool_first;
        let last = self.plan.figures.pool().last().unwrap_or(first);
        say!(
            self,
            POOL_READY,
            count(total),
            count(taken),
            count(free),
            format!("{first} - {last}"),
            text
        );
        self.request_line("GET", "/health".to_owned());
        self.access(&shapes::ACCESS_HEALTH, "GET /health 200".to_owned());
    }

    /// The process is gone. What it had begun nobody will ever know; its VMs live on.
    pub(super) fn die(&mut self, down: i64) {
        if !self.alive {
            return;
        }
        self.alive = false;
        self.api_dies();
        let boots: Vec<u32> = self.boots.keys().copied().collect();
        for boot in boots {
            let lost = self.boot(boot);
            // A CLI VM that was not begun is no boot; its request says enough.
            if lost.parent.is_some() && lost.truth.vm_id.is_none() {
                lost.decided = true;
            }
            self.decide(boot, Outcome::Lost, Some(Failure::ControllerRestarted));
            self.forget(boot);
        }
        for user in &mut self.world.users {
            user.busy = false;
        }
        self.schedule(self.now + down, Event::Starts);
    }

    /// An unhandled rejection: the only record of several lines, its JSON at the end of the second.
    pub(super) fn crash(&mut self, down: i64) {
        if !self.alive {
            return;
        }
        let error = concat!(
            r#"{"code":"PGRST001","details":"connect ENOENT /var/run/postgresql/.s.PGSQL.5432","#,
            r#""hint":null,"message":"Could not connect with the database. Retrying the connection."}"#
        );
        let process = r#"{"pid":18267,"uid":1001,"gid":1001,"cwd":"/opt/master-controller","execPath":"/usr/bin/node","version":"v20.20.2","argv":["/usr/bin/node","/opt/master-controller/src/index.js"],"memoryUsage":{"rss":87986176,"heapTotal":31956992,"heapUsed":16691440,"external":3575835,"arrayBuffers":140214}}"#;
        let os = r#"{"loadavg":[0.44,0.58,0.61],"uptime":2310.65}"#;
        let date = jiff::Timestamp::from_millisecond(self.now)
            .map(|at| {
                at.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
                    .to_string()
            })
            .unwrap_or_default();
        let text = format!(
            "unhandledRejection: {}\n  No stack trace",
            super::request::NO_DATABASE
        );
        let json = |text: &str| Value::Json(text.to_owned());
        self.log_text(
            &shapes::CRASH,
            text,
            vec![
                json(error),
                true.into(),
                date.into(),
                json(process),
                json(os),
                json("[]"),
            ],
        );
        say!(self, CRASH_NOTED, json(error), json("{}"));
        self.schedule(self.now + 3_000, Event::Ends(down));
    }

    pub(super) fn agent_listens(&mut self, vm: VmId) {
        if let Some(machine) = self.world.machine(vm) {
            let (ip, agent) = (machine.ip, machine.behaves());
            let mut boots = self.boots.values();
            let display = boots
                .find(|boot| boot.who.vm == vm)
                .is_some_and(|boot| boot.who.vm_type == VmType::Browser && boot.who.fate.vnc);
            self.emit(Happened::AgentUp { ip, agent, display });
        }
    }

    /// The tasks that run on the clock.
    pub(super) fn minute(&mut self) {
        let minute = self.now.div_euclid(MINUTE);
        self.schedule((minute + 1) * MINUTE, Event::Minute);
        if !self.alive {
            return;
        }
        if minute.rem_euclid(60) == 0 {
            say!(self, SESSIONS);
            let stale = i64::try_from(self.sessions_given_up()).unwrap_or(i64::MAX);
            say!(self, SESSIONS_DONE, stale, stale);
        }
        if minute.rem_euclid(5) == 0 {
            say!(self, HIBERNATION);
            say!(self, HIBERNATION_DONE, 0i64, 0i64);
        }
        if minute.rem_euclid(10) == 0 {
            // The insert names columns that the table does not have: this repeats for ever.
            let error = "column \"total_users\" of relation \"system_metrics\" does not exist";
            say!(self, METRICS_FAILED, error);
        }
        self.missing_heartbeats();
    }

    /// CLI VMs that once sent a heartbeat and stopped: their rows are `failed` from now on, and they are used all the
    /// same.
    fn missing_heartbeats(&mut self) {
        let silent = self.rows_without_heartbeat();
        for (vm, user) in &silent {
            say!(self, VM_CRASHED, *vm, Value::Uuid(*user));
        }
        if !silent.is_empty() {
            let count = i64::try_from(silent.len()).unwrap_or(i64::MAX);
            say!(self, VM_HEALTH_DONE, count, count);
        }
    }

    /// Requests that have nothing to do with boots, and now and then a line that nobody has in a catalogue.
    pub(super) fn chatter(&mut self) {
        let pause = self.random.within((2_000, 16_000));
        self.schedule(self.now + pause, Event::Chatter);
        if !self.alive || self.world.users.is_empty() {
            return;
        }
        let count = self.world.users.len() as u64;
        let user = usize::try_from(self.random.below(count)).unwrap_or_default();
        let id = self.world.users[user].id;
        let provider = self.world.users[user].provider;
        match self.random.below(12) {
            0..=3 => {
                let Some(vm) = self.world.cli_row(user).map(|row| row.vm) else {
                    return;
                };
                self.request_line("POST", format!("/api/vms/{vm}/heartbeat"));
                self.row_heartbeat(vm);
                let text = format!("POST /{vm}/heartbeat 200");
                self.access(&shapes::ACCESS_HEARTBEAT, text);
            }
            4 | 5 => {
                self.request_line("POST", "/api/prompts/execute".to_owned());
                let length = self.random.within((4, 400));
                say!(self, PROMPT_ASKED, Value::Uuid(id), provider, length);
                say!(self, PROMPT_RUNS, Value::Uuid(id), provider, length);
                let prompt = Value::Uuid(self.random.uuid());
                let took = self.random.within((200, 900));
                say!(
                    self,
                    PROMPT_DONE,
                    Value::Uuid(id),
                    provider,
                    prompt,
                    took,
                    0i64
                );
                self.access(&shapes::ACCESS_PROMPT, "POST /execute 200".to_owned());
            }
            6 => {
                self.request_line("GET", "/api/debug/ping".to_owned());
                let request = self.request_id();
                say!(self, CANARY, request);
                self.access(&shapes::ACCESS_PING, "GET /api/debug/ping 200".to_owned());
            }
            7 | 8 => {
                let id = crate::core::event::SessionId(id);
                self.request_line("GET", format!("/api/users/{id}/vm"));
                say!(self, FIND, id);
                self.found_lines(user);
                self.access(&shapes::ACCESS_VM, format!("GET /{id}/vm 200"));
            }
            9 if self.plan.version == Version::Oct => {
                let ip = self.plan.figures.pool_first;
                let session = crate::core::event::SessionId(self.random.uuid());
                let url = format!("/api/auth/session/{session}/novnc/websock");
                let error = format!("connect ECONNREFUSED {ip}:6080");
                say!(self, NOVNC_FAILED, error, url);
            }
            10 if self.random.one_in(4) => {
                let ip = self.plan.figures.pool_first;
                say!(self, NOISE_PING, ip);
            }
            11 if self.random.one_in(4) => {
                let vm = VmId(self.random.uuid());
                say!(self, NOISE_LOG_FILE, vm);
            }
            _ => {
                self.request_line("GET", "/health".to_owned());
                self.access(&shapes::ACCESS_HEALTH, "GET /health 200".to_owned());
            }
        }
    }

    /// The page in the user's browser asks how far it is, and for an OAuth URL that cannot be there yet.
    pub(super) fn page_poll(&mut self, boot: u32) {
        let who = self.who(boot);
        let session = who.session;
        self.request_line("GET", format!("/api/auth/session/{session}"));
        if !self.world.database_up && !self.boot(boot).waiting {
            let error = super::request::NO_DATABASE;
            say!(self, SESSION_STATUS_FAILED, error);
            let text = format!("GET /session/{session} 500");
            self.access(&shapes::ACCESS_SESSION, text);
        } else {
            let text = format!("GET /session/{session} 200");
            self.access(&shapes::ACCESS_SESSION, text);
        }
        if self.boot(boot).waiting && self.random.one_in(5) {
            let error = format!("connect ECONNREFUSED {}:8080", who.ip);
            say!(self, PAGE_POLL_FAILED, session, who.ip, error.clone());
            say!(self, PAGE_POLL_ENDED, session, error);
        }
        let pause = self.random.within((2_800, 4_400));
        self.after(pause, boot, Step::PagePoll);
    }

    fn access(&mut self, shape: &'static crate::simulator::line::Shape, text: String) {
        let took = self.random.within((0, 40));
        self.log_text(shape, text, vec![took.into()]);
    }
}
