//! The discrete-event simulation: a queue of what is due, one controller that handles it, and the lines it writes.
//!
//! The controller is one thread, as Node.js is. A handler that does synchronous work moves `now` forward; whatever was
//! due meanwhile is late, and the lines of other VMs show it in their `elapsed`. Nothing here sleeps or reads a clock:
//! the same plan gives the same moments, however fast they are played.

mod api;
mod creation;
mod failure;
mod guest;
mod house;
mod login;
mod request;
mod rows;
mod wait;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::Ipv4Addr;

use super::api::{Asked, Response};
use super::console::Stream;
use super::fate::{Agent, CliVm, Fate};
use super::line::{Record, Shape, Value};
use super::plan::{Happening, Plan, Version};
use super::random::Random;
use super::scenario::{Scenario, Script};
use super::tables::TableOp;
use super::truth::Truth;
use super::world::World;
use crate::core::event::{AttemptResult, Failure, Outcome, SessionId, Timestamp, VmId, VmType};

/// Logs one line: `say!(self, SHAPE, values…)`.
macro_rules! say {
    ($sim:expr, $shape:ident $(, $value:expr)* $(,)?) => {{
        let values = vec![$($crate::simulator::line::Value::from($value)),*];
        $sim.log(&$crate::simulator::shapes::$shape, values)
    }};
}
pub(crate) use say;

/// Something happened at a time.
#[derive(Clone, Debug)]
pub struct Moment {
    pub at: Timestamp,
    pub what: Happened,
}

#[derive(Clone, Debug)]
pub enum Happened {
    /// The controller logged this.
    Line(Record),
    /// Something in the plan befalls the host, just now.
    Befell(Happening),
    /// The database has committed this.
    Written(TableOp),
    /// The controller's process begins: it opens its files.
    Opens,
    /// The agent of a VM begins to listen and behaves so; its display is there too, if it has one.
    AgentUp {
        ip: Ipv4Addr,
        agent: Agent,
        display: bool,
    },
    /// The VM on that address is gone.
    AgentDown { ip: Ipv4Addr },
    /// A request over the API is answered; `None`: its connection closes without a word.
    Answered {
        ticket: u64,
        response: Option<Response>,
    },
    /// A VM's directory is there.
    DirectoryMade { vm: VmId },
    /// Its console and its errors are there, empty.
    FilesOpened { vm: VmId },
    /// Its guest, or its Firecracker, wrote this.
    Said {
        vm: VmId,
        stream: Stream,
        text: String,
    },
    /// The controller removed the directory; later ones copied the console away before.
    DirectoryRemoved { vm: VmId, kept_as: Option<String> },
}

/// A round begins so long after the last event of the one before.
const BETWEEN_ROUNDS: i64 = 1_000;

/// Plays a plan. The iterator ends when the last boot has, unless the plan repeats.
#[derive(Debug)]
pub struct Simulation {
    plan: Plan,
    random: Random,
    world: World,
    /// Milliseconds since the epoch.
    now: i64,
    /// When the present round began: what the times in a plan count from.
    round: i64,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// Queued events that are not mere routine; at zero the simulation is over.
    pending: usize,
    out: VecDeque<Moment>,
    boots: BTreeMap<u32, Boot>,
    next_boot: u32,
    /// Which controller process this is; what an earlier one had begun is forgotten.
    life: u32,
    alive: bool,
    arrived: Vec<u32>,
    late_rows: BTreeMap<VmId, rows::LateRow>,
    truths: Vec<Truth>,
    api: api::Desk,
    waiting_asks: BTreeMap<u64, Asked>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: i64,
    sequence: u64,
    event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next boot of a phase.
    Arrival(usize),
    /// A single boot of the plan.
    Single(usize),
    Happens(usize),
    Starts,
    /// The process ends by itself after a crash.
    Ends(i64),
    GuestDies(VmId),
    AgentListens(VmId),
    /// The next line of a guest's console.
    GuestSays(VmId, usize),
    /// A row is written at last.
    RowLands(VmId),
    /// Routine, once a minute.
    Minute,
    /// Routine: somebody else's requests.
    Chatter,
    /// A request over the API is read.
    Asked(u64),
    Boot(u32, Step),
}

impl Event {
    /// What goes on for ever, or concerns nobody: it keeps no simulation alive.
    fn is_routine(&self) -> bool {
        matches!(self, Event::Minute | Event::Chatter | Event::GuestSays(..))
    }
}

/// Where a boot goes on, once what it waited for is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Denied,
    SessionMade,
    Found,
    CreateCli,
    CreateBrowser,
    ProxyKnown,
    ProxyTimedOut,
    Recorded,
    InsertFailed,
    InsertTimedOut,
    SpawnFailed,
    FirecrackerExited,
    SocketPolled(i64),
    CliAsked,
    SessionLinked,
    SessionUpdated,
    Attempt,
    Knocked,
    VncAsked,
    DesktopUp,
    Ready,
    LoginStarted,
    LoginStored,
    LoginPolled,
    CredentialsGot,
    CredentialsStored,
    Transferred,
    Completed,
    FlowFailed,
    Cancel,
    CreationReported,
    /// A VM whose destruction was asked for then.
    Destroyed(VmId, i64, After),
    GraceOver,
    PagePoll,
}

/// What follows when a VM's destruction is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    /// Nothing: the flow is over.
    Over,
    /// The request is answered with an error.
    Refuse,
    /// The cancellation is confirmed.
    Cancelled,
    /// Later controllers destroy the user's CLI VM next.
    CliToo,
    /// Later controllers say so once more.
    SaidTwice,
    /// A user's CLI VM is gone; the boot goes on with another user.
    UserLeft,
}

/// The parts of a boot that its lines need.
#[derive(Clone, Copy, Debug)]
struct Who {
    user: usize,
    user_id: u128,
    provider: &'static str,
    session: SessionId,
    vm: VmId,
    ip: Ipv4Addr,
    vm_type: VmType,
    fate: Fate,
}

#[derive(Debug)]
struct Boot {
    who: Who,
    truth: Truth,
    asked_at: i64,
    created_at: i64,
    pid: i64,
    wait_from: i64,
    login_from: i64,
    login_until: i64,
    /// The request behind a CLI VM.
    parent: Option<u32>,
    answer: Option<super::world::Knock>,
    /// The class of the last attempt: what a wait that ends now has failed of.
    meets: Option<Failure>,
    error: Option<(String, Option<String>)>,
    final_status: &'static str,
    answered: bool,
    waiting: bool,
    /// The session's object in the controller's memory has its VM.
    linked: bool,
    /// The session's object was dropped, at a client's wish.
    cancelled: bool,
    /// The flow is over, and a client still waits for its cancellation.
    over: bool,
    guest_died: bool,
    decided: bool,
}

impl Simulation {
    #[must_use]
    pub fn new(plan: Plan) -> Simulation {
        let start = plan.start.0;
        let mut simulation = Simulation {
            random: Random::new(plan.seed),
            world: World::new(&plan.figures),
            now: start,
            round: start,
            queue: BinaryHeap::new(),
            sequence: 0,
            pending: 0,
            out: VecDeque::new(),
            boots: BTreeMap::new(),
            next_boot: 0,
            life: 0,
            alive: false,
            arrived: vec![0; plan.phases.len()],
            late_rows: BTreeMap::new(),
            truths: Vec::new(),
            api: api::Desk::default(),
            waiting_asks: BTreeMap::new(),
            plan,
        };
        simulation.settle_users();
        simulation.settle_accounts();
        if simulation.plan.api.is_some() {
            // Whoever may be asked has no last event.
            simulation.pending = 1;
        }
        simulation.schedule(start, Event::Starts);
        simulation.schedule_plan();
        simulation.schedule(start + 60_000 - start.rem_euclid(60_000), Event::Minute);
        if simulation.plan.noise {
            simulation.schedule(start + 2_500, Event::Chatter);
        }
        simulation
    }

    /// The truths of boots that ended since the last call, in the order in which they ended; after the last moment
    /// also those that never did.
    pub fn take_truths(&mut self) -> Vec<Truth> {
        std::mem::take(&mut self.truths)
    }

    /// The next moment, if it is not later than that.
    pub fn next_until(&mut self, until: Timestamp) -> Option<Moment> {
        while self.out.is_empty() {
            let Reverse(due) = self.queue.peek()?;
            if due.at > until.0 {
                return None;
            }
            self.advance();
        }
        let due = self.out.front()?.at <= until;
        due.then(|| self.out.pop_front()).flatten()
    }

    /// When the next moment can be, at the earliest.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if let Some(moment) = self.out.front() {
            return Some(moment.at);
        }
        let Reverse(due) = self.queue.peek()?;
        Some(Timestamp(due.at.max(self.now)))
    }

    /// Where its time begins.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.plan.start
    }

    fn is_dec(&self) -> bool {
        self.plan.version == Version::Dec
    }

    fn log(&mut self, shape: &'static Shape, values: Vec<Value>) {
        self.emit(Happened::Line(Record::new(shape, values)));
    }

    fn log_text(&mut self, shape: &'static Shape, text: String, values: Vec<Value>) {
        let mut record = Record::new(shape, values);
        record.text = Some(text);
        self.emit(Happened::Line(record));
    }

    fn emit(&mut self, what: Happened) {
        let at = Timestamp(self.now);
        self.out.push_back(Moment { at, what });
    }

    fn schedule(&mut self, at: i64, event: Event) {
        if !event.is_routine() {
            self.pending += 1;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        self.queue.push(Reverse(Due {
            at,
            sequence,
            event,
        }));
    }

    /// All that the plan says, from where the round begins.
    fn schedule_plan(&mut self) {
        for at in 0..self.plan.phases.len() {
            let from = self.round + self.plan.phases[at].from;
            self.schedule(from, Event::Arrival(at));
        }
        for at in 0..self.plan.boots.len() {
            let due = self.round + self.plan.boots[at].0;
            self.schedule(due, Event::Single(at));
        }
        for at in 0..self.plan.happenings.len() {
            let due = self.round + self.plan.happenings[at].0;
            self.schedule(due, Event::Happens(at));
        }
    }

    /// The plan once more, with the users, rows and processes that there are by now: no id comes twice, as chance goes
    /// on, and nothing stands in the tables that one long life of the controller would not have left.
    fn begin_round(&mut self) {
        self.round = self.now + BETWEEN_ROUNDS;
        self.arrived.fill(0);
        self.schedule_plan();
    }

    /// The boot goes on after so many milliseconds.
    fn after(&mut self, ms: i64, boot: u32, step: Step) {
        self.schedule(self.now + ms, Event::Boot(boot, step));
    }

    /// The boot goes on after a database query.
    fn after_query(&mut self, boot: u32, step: Step) {
        let takes = self.random.within(self.plan.figures.query);
        self.after(takes, boot, step);
    }

    /// Synchronous work: everything else stands still.
    fn block(&mut self, range: (i64, i64)) {
        self.now += self.random.within(range);
    }

    fn advance(&mut self) -> bool {
        let Some(Reverse(due)) = self.queue.pop() else {
            return false;
        };
        let routine = due.event.is_routine();
        if routine && self.pending == 0 {
            return true; // Nothing left to happen: routine alone does not keep a simulation alive.
        }
        if !routine {
            self.pending -= 1;
        }
        self.now = self.now.max(due.at);
        match due.event {
            Event::Arrival(phase) => self.arrival(phase),
            Event::Single(at) => {
                let scenario = self.plan.boots[at].1;
                self.ask(scenario);
            }
            Event::Happens(at) => self.happens(self.plan.happenings[at].1),
            Event::Starts => self.start_up(),
            Event::Ends(down) => self.die(down),
            Event::GuestDies(vm) => self.guest_dies(vm),
            Event::AgentListens(vm) => self.agent_listens(vm),
            Event::GuestSays(vm, line) => self.guest_says(vm, line),
            Event::RowLands(vm) => self.row_lands(vm),
            Event::Minute => self.minute(),
            Event::Chatter => self.chatter(),
            Event::Asked(number) => self.take_ask(number),
            // A boot that a dead controller had begun is no longer there.
            Event::Boot(boot, step) if self.boots.contains_key(&boot) => self.step(boot, step),
            Event::Boot(..) => {}
        }
        if self.plan.repeats && self.pending == 0 {
            self.begin_round();
        }
        true
    }

    fn step(&mut self, boot: u32, step: Step) {
        match step {
            Step::Denied => self.deny(boot),
            Step::SessionMade => self.session_made(boot),
            Step::Found => self.found(boot),
            Step::CreateCli | Step::CreateBrowser => self.create(boot),
            Step::ProxyKnown => self.proxy_known(boot),
            Step::ProxyTimedOut => self.step_timed_out(boot, "getProxyEnvVars", 5_000),
            Step::Recorded => self.recorded(boot),
            Step::InsertFailed => self.insert_failed(boot),
            Step::InsertTimedOut => self.insert_timed_out(boot),
            Step::SpawnFailed => self.spawn_failed(boot),
            Step::FirecrackerExited => self.firecracker_exited(boot),
            Step::SocketPolled(count) => self.socket_polled(boot, count),
            Step::CliAsked => self.cli_asked(boot),
            Step::SessionLinked => self.session_linked(boot),
            Step::SessionUpdated => self.session_updated(boot),
            Step::Attempt => self.attempt(boot),
            Step::Knocked => self.knocked(boot),
            Step::VncAsked => self.vnc_asked(boot),
            Step::DesktopUp => self.desktop_up(boot),
            Step::Ready => self.session_ready(boot),
            Step::LoginStarted => self.login_started(boot),
            Step::LoginStored => self.login_stored(boot),
            Step::LoginPolled => self.login_polled(boot),
            Step::CredentialsGot => self.credentials_got(boot),
            Step::CredentialsStored => self.credentials_stored(boot),
            Step::Transferred => self.transferred(boot),
            Step::Completed => self.completed(boot),
            Step::FlowFailed => self.flow_failed_noted(boot),
            Step::Cancel => self.cancel(boot),
            Step::CreationReported => self.creation_reported(boot),
            Step::Destroyed(vm, asked_at, after) => self.destroyed(boot, vm, asked_at, after),
            Step::GraceOver => self.grace_over(boot),
            Step::PagePoll => self.page_poll(boot),
        }
    }

    fn arrival(&mut self, at: usize) {
        let phase = &self.plan.phases[at];
        let until = phase
            .lasts
            .map_or(i64::MAX, |lasts| self.round + phase.from + lasts);
        let full = phase.boots.is_some_and(|boots| self.arrived[at] >= boots);
        if full || self.now >= until || phase.mix.is_empty() {
            return;
        }
        let total: u32 = phase.mix.iter().map(|(weight, _)| weight).sum();
        let mut left = self.random.below(u64::from(total.max(1)));
        let mut chosen = phase.mix[0].1;
        for (weight, scenario) in &phase.mix {
            if left < u64::from(*weight) {
                chosen = scenario;
                break;
            }
            left -= u64::from(*weight);
        }
        let mean = 3_600_000 / i64::from(phase.rate.max(1));
        let gap = self.random.gap(mean);
        self.arrived[at] += 1;
        self.schedule(self.now + gap, Event::Arrival(at));
        self.ask(chosen);
    }

    fn happens(&mut self, happening: Happening) {
        self.emit(Happened::Befell(happening));
        match happening {
            Happening::ImageRebuilt { with_agent } => self.world.image_has_agent = with_agent,
            Happening::DatabaseLost => self.world.database_up = false,
            Happening::DatabaseBack => self.world.database_up = true,
            Happening::Killed { down } => self.die(down),
            Happening::Stopped { down } => {
                if self.alive {
                    say!(self, SIGTERM);
                }
                self.die(down);
            }
            Happening::Interrupted { down } => {
                if self.alive {
                    say!(self, SIGINT);
                }
                self.die(down);
            }
            Happening::Crashed { down } => self.crash(down),
        }
    }

    /// What the boot of a row of the table is to meet.
    fn fate_of(scenario: &Scenario) -> Fate {
        match scenario.script {
            Script::Boot(fate) => fate,
            Script::Story(_) => super::fate::HEALTHY,
        }
    }

    fn new_boot(&mut self, scenario: &'static Scenario, user: usize, vm_type: VmType) -> u32 {
        let boot = self.next_boot;
        self.next_boot += 1;
        let mut fate = Self::fate_of(scenario);
        if vm_type == VmType::Cli {
            // The scenario is the browser VM's; its CLI VM only knows whether it comes up.
            let never = fate.cli == CliVm::NeverReady;
            fate = Fate {
                agent: if never {
                    Agent::Missing
                } else {
                    Agent::Healthy
                },
                ..super::fate::HEALTHY
            };
        }
        let who = Who {
            user,
            user_id: self.world.users[user].id,
            provider: self.world.users[user].provider,
            session: SessionId(self.random.uuid()),
            vm: VmId(self.random.uuid()),
            ip: Ipv4Addr::UNSPECIFIED,
            vm_type,
            fate,
        };
        let truth = Truth {
            vm_id: None,
            vm_ip: None,
            session_id: None,
            vm_type,
            scenario: scenario.name,
            started_at: Timestamp(self.now),
            ended_at: None,
            outcome: None,
            failure: None,
            ready_ms: None,
            attempts: BTreeMap::new(),
        };
        self.boots.insert(
            boot,
            Boot {
                who,
                truth,
                asked_at: self.now,
                created_at: self.now,
                pid: 0,
                wait_from: 0,
                login_from: 0,
                login_until: 0,
                parent: None,
                answer: None,
                meets: None,
                error: None,
                final_status: "completed",
                answered: false,
                waiting: false,
                linked: false,
                cancelled: false,
                over: false,
                guest_died: false,
                decided: false,
            },
        );
        boot
    }

    fn boot(&mut self, boot: u32) -> &mut Boot {
        self.boots
            .get_mut(&boot)
            .expect("advance dispatches only to boots that are there")
    }

    fn who(&self, boot: u32) -> Who {
        self.boots[&boot].who
    }

    /// Writes down how the boot ended, once: what its flow does afterwards changes nothing.
    fn decide(&mut self, boot: u32, outcome: Outcome, failure: Option<Failure>) {
        let now = Timestamp(self.now);
        let boot = self.boot(boot);
        if boot.decided {
            return;
        }
        boot.decided = true;
        boot.truth.ended_at = Some(now);
        if outcome != Outcome::Ready {
            boot.truth.ready_ms = None;
        }
        boot.truth.outcome = Some(outcome);
        boot.truth.failure = failure;
        let truth = boot.truth.clone();
        self.truths.push(truth);
    }

    fn count_attempt(&mut self, boot: u32, result: AttemptResult) {
        let boot = self.boot(boot);
        if !boot.decided {
            *boot.truth.attempts.entry(result).or_default() += 1;
        }
    }

    /// The flow is over; its user may ask again.
    fn forget(&mut self, boot: u32) {
        if self.api_cancels(boot) {
            self.boot(boot).over = true;
            return;
        }
        if let Some(boot) = self.boots.remove(&boot)
            && boot.who.vm_type == VmType::Browser
        {
            self.world.users[boot.who.user].busy = false;
        }
    }
}

impl Iterator for Simulation {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        while self.out.is_empty() {
            if !self.advance() {
                for boot in std::mem::take(&mut self.boots).into_values() {
                    if !boot.decided {
                        self.truths.push(boot.truth);
                    }
                }
                return None;
            }
        }
        self.out.pop_front()
    }
}
