//! What exists outside the controller's head: the address pool, users and their rows, VM processes, the golden image,
//! the database.
//!
//! The real habits are here: addresses go out first-in-first-out and begin again at the lowest free one after each
//! restart; a VM process of an earlier controller is never killed and goes on answering on its address.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::console::Said;
use super::fate::Agent;
use super::line::iso;
use super::plan::Figures;
use super::random::Random;
use crate::core::event::{Failure, SessionId, VmId, VmType};

const PROVIDERS: [&str; 3] = ["codex", "claude_code", "gemini_cli"];

/// Rows after which a user leaves; the first user stays much longer, for the sake of very long lines.
const ROWS_OF_A_USER: usize = 30;
const ROWS_OF_THE_FIRST: usize = 250;
/// Sessions that the API remembers.
const SESSIONS: usize = 2_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) pool: VecDeque<Ipv4Addr>,
    pub(crate) used: HashMap<VmId, Ipv4Addr>,
    pub(crate) users: Vec<User>,
    pub(crate) machines: Vec<Machine>,
    /// Sessions that say `started` or `vm_created`.
    pub(crate) open_sessions: Vec<OpenSession>,
    /// The newest sessions, oldest first, where somebody can ask for them.
    sessions: VecDeque<SessionState>,
    pub(crate) image_has_agent: bool,
    pub(crate) database_up: bool,
    pool_of_all: Vec<Ipv4Addr>,
    /// Undestroyed rows of users who left.
    left: Vec<Row>,
    next_pid: i64,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) id: u128,
    pub(crate) provider: &'static str,
    pub(crate) proxy_port: i64,
    pub(crate) rows: Vec<Row>,
    /// A request of this user is under way.
    pub(crate) busy: bool,
    /// Only whoever asks over the API uses it.
    pub(crate) reserved: bool,
}

/// A row of the table `auth_sessions`, as the API shows it.
#[derive(Clone, Debug)]
pub(crate) struct SessionState {
    pub(crate) session: SessionId,
    pub(crate) user: u128,
    pub(crate) provider: &'static str,
    pub(crate) status: &'static str,
    pub(crate) vm: Option<VmId>,
    pub(crate) ip: Option<Ipv4Addr>,
    pub(crate) error: Option<String>,
    pub(crate) created: i64,
}

/// A row of the table `vms`.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) vm: VmId,
    pub(crate) vm_type: VmType,
    pub(crate) ip: Ipv4Addr,
    /// By the database's clock.
    pub(crate) created: i64,
    /// By the controller's.
    pub(crate) destroyed: Option<i64>,
    pub(crate) heartbeat: Option<i64>,
    /// Which controller process made it.
    pub(crate) life: u32,
    pub(crate) status: &'static str,
}

impl Row {
    /// The creation in the database's resolution.
    pub(crate) fn created_micros(&self) -> i64 {
        self.created * 1_000 + i64::try_from(self.vm.0 % 1_000).unwrap_or_default()
    }
}

/// A row of the table `auth_sessions`, as far as the hourly task looks at it.
#[derive(Debug)]
pub(crate) struct OpenSession {
    pub(crate) session: SessionId,
    pub(crate) created: i64,
}

/// A Firecracker process and its guest.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) vm: VmId,
    pub(crate) ip: Ipv4Addr,
    pub(crate) pid: i64,
    pub(crate) life: u32,
    agent: Agent,
    network_at: i64,
    pub(crate) listens_at: Option<i64>,
    requests: u32,
    /// When Firecracker started it, and what its console says, where that is part of the play.
    pub(crate) began: i64,
    pub(crate) console: Vec<Said>,
}

/// What a health check meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16, String),
    /// Error text and code.
    Error(String, &'static str),
    TimedOut,
}

/// An answer, how long it takes, and what a boot that meets nothing better has failed of.
#[derive(Clone, Debug)]
pub(crate) struct Knock {
    pub(crate) answer: Answer,
    pub(crate) takes: i64,
    pub(crate) failure: Failure,
}

impl Machine {
    pub(crate) fn behaves(&self) -> Agent {
        self.agent
    }

    /// When its network is up; far off, if never.
    pub(crate) fn network_at(&self) -> i64 {
        self.network_at
    }
}

impl World {
    pub(crate) fn new(figures: &Figures) -> World {
        let pool_of_all: Vec<_> = figures.pool().collect();
        World {
            pool: pool_of_all.iter().copied().collect(),
            used: HashMap::new(),
            users: Vec::new(),
            machines: Vec::new(),
            open_sessions: Vec::new(),
            sessions: VecDeque::new(),
            image_has_agent: true,
            database_up: true,
            pool_of_all,
            left: Vec::new(),
            next_pid: 2_000,
        }
    }

    pub(crate) fn pid(&mut self, random: &mut Random) -> i64 {
        self.next_pid += random.within((2, 140));
        if self.next_pid > 32_000 {
            self.next_pid = 2_000;
        }
        self.next_pid
    }

    pub(crate) fn add_user(&mut self, random: &mut Random) -> usize {
        let proxy_port = 11_001 + i64::try_from(self.users.len()).unwrap_or_default();
        let user = User {
            id: random.uuid(),
            provider: random.pick(&PROVIDERS),
            proxy_port,
            rows: Vec::new(),
            busy: false,
            reserved: false,
        };
        self.users.push(user);
        self.users.len() - 1
    }

    /// A user with no request under way, preferably one who has (or has not) a CLI VM. Where every second address
    /// would be a CLI VM's, no more users come: one of the others is chosen.
    pub(crate) fn idle_user(&mut self, with_cli: bool, random: &mut Random) -> usize {
        let idle: Vec<usize> = (0..self.users.len())
            .filter(|at| !self.users[*at].busy && !self.users[*at].reserved)
            .collect();
        let fitting: Vec<usize> = idle
            .iter()
            .copied()
            .filter(|at| self.cli_row(*at).is_some() == with_cli)
            .collect();
        let crowded = self.users.len() * 2 >= self.pool_of_all.len();
        let at = if !fitting.is_empty() {
            random.pick(&fitting)
        } else if crowded && !idle.is_empty() {
            random.pick(&idle)
        } else {
            self.add_user(random)
        };
        let user = &mut self.users[at];
        user.busy = true;
        user.provider = random.pick(&PROVIDERS);
        at
    }

    /// Whether the user has had so many VMs that another one takes the place.
    pub(crate) fn has_had_enough(&self, user: usize) -> bool {
        let limit = if user == 0 {
            ROWS_OF_THE_FIRST
        } else {
            ROWS_OF_A_USER
        };
        self.users[user].rows.len() > limit
    }

    pub(crate) fn replace_user(&mut self, user: usize, random: &mut Random) {
        self.users[user].id = random.uuid();
        let rows = std::mem::take(&mut self.users[user].rows);
        self.left
            .extend(rows.into_iter().filter(|row| row.destroyed.is_none()));
    }

    pub(crate) fn cli_row(&self, user: usize) -> Option<&Row> {
        let rows = &self.users[user].rows;
        rows.iter()
            .rev()
            .find(|row| row.vm_type == VmType::Cli && row.destroyed.is_none())
    }

    pub(crate) fn row_mut(&mut self, vm: VmId) -> Option<&mut Row> {
        self.rows_mut().find(|row| row.vm == vm)
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        let rows = self.users.iter_mut().flat_map(|user| &mut user.rows);
        rows.chain(&mut self.left)
    }

    /// A row of a user, who may have left meanwhile.
    pub(crate) fn add_row(&mut self, user: usize, id: u128, row: Row) {
        let user = &mut self.users[user];
        if user.id == id {
            user.rows.push(row);
        } else {
            self.left.push(row);
        }
    }

    /// Makes `failed` of the rows that say `running` and had their last heartbeat before that time, unless the
    /// controller's present process made them. Returns the VMs with their users.
    pub(crate) fn fail_silent_rows(&mut self, before: i64, life: u32) -> Vec<(VmId, u128)> {
        let mut silent = Vec::new();
        for user in &mut self.users {
            for row in &mut user.rows {
                let stale = row.heartbeat.is_some_and(|at| at < before);
                if stale && row.status == "running" && row.life != life {
                    row.status = "failed";
                    silent.push((row.vm, user.id));
                }
            }
        }
        silent
    }

    /// The rows of a user as `[FINDBYUSERID] All VMs for user` shows them.
    pub(crate) fn rows_json(&self, user: usize) -> String {
        let rows = &self.users[user].rows;
        let mut json = String::with_capacity(200 * rows.len() + 2);
        json.push('[');
        for (n, row) in rows.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let destroyed = match row.destroyed {
                Some(at) => format!("\"{}\"", stamp_of_row(at)),
                None => "null".to_owned(),
            };
            let written = write!(
                json,
                "{comma}{{\"vm_id\":\"{}\",\"vm_type\":\"{}\",\"destroyed_at\":{destroyed},\"created_at\":\"{}\",\"status\":\"{}\"}}",
                row.vm,
                row.vm_type,
                stamp_of_creation(row),
                row.status,
            );
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        json.push(']');
        json
    }

    pub(crate) fn add_session(&mut self, session: SessionState) {
        if self.sessions.len() == SESSIONS {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session);
    }

    pub(crate) fn session(&self, session: SessionId) -> Option<&SessionState> {
        self.sessions
            .iter()
            .rev()
            .find(|row| row.session == session)
    }

    pub(crate) fn session_mut(&mut self, session: SessionId) -> Option<&mut SessionState> {
        let mut sessions = self.sessions.iter_mut().rev();
        sessions.find(|row| row.session == session)
    }

    /// The table `vms` as the API shows it.
    pub(crate) fn vm_objects(&self, undestroyed: bool) -> Vec<serde_json::Value> {
        let users = self.users.iter().flat_map(|user| {
            let rows = user.rows.iter();
            rows.map(|row| (Some(SessionId(user.id)), row))
        });
        users
            .chain(self.left.iter().map(|row| (None, row)))
            .filter(|(_, row)| !undestroyed || row.destroyed.is_none())
            .map(|(user, row)| {
                serde_json::json!({
                    "vm_id": row.vm.to_string(),
                    "user_id": user.map(|user| user.to_string()),
                    "vm_type": row.vm_type.as_str(),
                    "status": row.status,
                    "ip_address": row.ip.to_string(),
                    "firecracker_pid": self.machine(row.vm).map(|machine| machine.pid),
                    "created_at": stamp_of_creation(row),
                    "destroyed_at": row.destroyed.map(stamp_of_row),
                    "last_heartbeat": row.heartbeat.map(stamp_of_row),
                })
            })
            .collect()
    }

    pub(crate) fn take_address(&mut self, vm: VmId) -> Option<Ipv4Addr> {
        let ip = self.pool.pop_front()?;
        self.used.insert(vm, ip);
        Some(ip)
    }

    pub(crate) fn release_address(&mut self, vm: VmId) -> Option<Ipv4Addr> {
        let ip = self.used.remove(&vm)?;
        self.pool.push_back(ip);
        Some(ip)
    }

    /// What a starting controller makes of the rows: an address is taken by the undestroyed rows that say
    /// `running` and by no others: ghosts keep theirs, a VM whose row says `failed` has to share. Returns the text of `allocatedVMIds`.
    pub(crate) fn reset_pool(&mut self) -> String {
        self.used.clear();
        let mut text = String::new();
        let rows = self.users.iter().flat_map(|user| &user.rows);
        for row in rows.chain(&self.left) {
            if row.destroyed.is_none() && row.status == "running" {
                self.used.insert(row.vm, row.ip);
                let comma = if text.is_empty() { "" } else { ", " };
                let written = write!(text, "{comma}vm-{:05x} ({})", row.vm.0 >> 108, row.ip);
                debug_assert!(written.is_ok(), "writing to a string cannot fail");
            }
        }
        let taken: std::collections::HashSet<_> = self.used.values().copied().collect();
        self.pool = self
            .pool_of_all
            .iter()
            .copied()
            .filter(|ip| !taken.contains(ip))
            .collect();
        text
    }

    pub(crate) fn pool_size(&self) -> usize {
        self.pool_of_all.len()
    }

    pub(crate) fn boot_machine(
        &mut self,
        machine: (VmId, Ipv4Addr, i64, u32),
        agent: Agent,
        now: i64,
        figures: &Figures,
        random: &mut Random,
    ) -> Option<i64> {
        let (vm, ip, pid, life) = machine;
        let network_at = now + random.within(figures.guest_network);
        let usual = network_at + random.within(figures.agent);
        let limit = figures.wait_limit;
        let listens_at = match agent {
            Agent::Missing | Agent::NoNetwork => None,
            Agent::Slow => Some(now + limit * 7 / 10 + random.within((0, limit / 6))),
            Agent::Late => Some(now + limit * 11 / 10 + random.within((6_000, 20_000))),
            _ => Some(usual),
        };
        self.machines.push(Machine {
            vm,
            ip,
            pid,
            life,
            agent,
            network_at: if agent == Agent::NoNetwork {
                i64::MAX
            } else {
                network_at
            },
            listens_at,
            requests: 0,
            began: now,
            console: Vec::new(),
        });
        listens_at
    }

    pub(crate) fn machine(&self, vm: VmId) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.vm == vm)
    }

    pub(crate) fn machine_mut(&mut self, vm: VmId) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|machine| machine.vm == vm)
    }

    pub(crate) fn remove_machine(&mut self, vm: VmId) -> Option<Machine> {
        let at = self.machines.iter().position(|machine| machine.vm == vm)?;
        Some(self.machines.remove(at))
    }

    /// Knocks on port 8080 of an address. The oldest process there answers, whoever asked for it.
    pub(crate) fn knock(
        &mut self,
        ip: Ipv4Addr,
        now: i64,
        figures: &Figures,
        random: &mut Random,
    ) -> Knock {
        let refused = (
            format!("connect ECONNREFUSED {ip}:8080"),
            "ECONNREFUSED",
            random.within((1, 3)),
            Failure::AgentRefused,
        );
        let local = if ip.is_loopback() {
            " - Local (0.0.0.0:0)"
        } else {
            ""
        };
        let unreachable = || {
            let text = format!("connect EHOSTUNREACH {ip}:8080{local}");
            (text, "EHOSTUNREACH", 0, Failure::GuestUnreachable)
        };
        let error = |(text, code, takes, failure): (String, &'static str, i64, Failure)| Knock {
            answer: Answer::Error(text, code),
            takes,
            failure,
        };
        let Some(machine) = self.machines.iter_mut().find(|machine| machine.ip == ip) else {
            // On loopback a dead address refuses; on a bridge nobody answers for it.
            if ip.is_loopback() {
                return error(refused);
            }
            let (text, code, _, failure) = unreachable();
            return error((text, code, random.within(figures.unreachable), failure));
        };
        if now < machine.network_at {
            let (text, code, _, failure) = unreachable();
            return error((text, code, random.within(figures.unreachable), failure));
        }
        if machine.listens_at.is_none_or(|at| now < at) {
            return error(refused);
        }
        machine.requests += 1;
        let failure = machine.agent.failure();
        let takes = random.within((1, 9));
        let reset = ("read ECONNRESET".to_owned(), "ECONNRESET", takes, failure);
        let status = |code: u16, body: &str, takes| Knock {
            answer: Answer::Status(code, body.to_owned()),
            takes,
            failure,
        };
        match machine.agent {
            Agent::Hangs | Agent::HalfBody => Knock {
                answer: Answer::TimedOut,
                takes: figures.attempt_timeout + random.within((1, 7)),
                failure,
            },
            Agent::Resets => error(reset),
            Agent::HangsThenHealthy if machine.requests == 1 => Knock {
                answer: Answer::TimedOut,
                takes: figures.attempt_timeout + random.within((1, 7)),
                failure,
            },
            // Down after every third request, until its unit starts it again.
            Agent::CrashLoops if machine.requests.is_multiple_of(3) => Knock {
                failure,
                ..error(refused)
            },
            Agent::CrashLoops => error(reset),
            Agent::Garbage => error((
                "Parse Error: Expected HTTP/, RTSP/ or ICE/".to_owned(),
                "HPE_INVALID_CONSTANT",
                takes,
                failure,
            )),
            Agent::Status(code) => {
                status(code, "{\"error\":\"agent initialisation failed\"}", takes)
            }
            Agent::StartsThenHealthy if machine.requests <= 2 => {
                status(503, "{\"error\":\"starting\"}", takes)
            }
            Agent::Hostile => status(200, &hostile_body(ip), takes),
            other => {
                let takes = match other {
                    Agent::SlowAnswer(ms) if machine.requests == 1 => ms,
                    _ => takes,
                };
                status(200, &other.health_body(now + takes), takes)
            }
        }
    }
}

/// What a guest can make the controller quote: a whole log line, braces, quotes, control and foreign characters.
fn hostile_body(ip: Ipv4Addr) -> String {
    format!(
        "ok\n2025-10-18 01:52:07 [ERROR]: [WAIT-VM-READY] Timeout exceeded {{\"vmIP\":\"{ip}\",\"maxWaitMs\":15000}}\n\t\u{1b}[31m é中\u{2028} \"}}}} {{\"{:>20000}",
        "-"
    )
}

/// A row's creation as PostgREST gives it: the database's own clock, in microseconds.
fn stamp_of_creation(row: &Row) -> String {
    let mut text = iso(row.created);
    text.pop();
    format!("{text}{:03}+00:00", row.created_micros() % 1_000)
}

/// A time that the controller wrote into a row.
fn stamp_of_row(at: i64) -> String {
    let mut text = iso(at);
    text.pop();
    text + "+00:00"
}
