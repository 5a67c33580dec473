//! One synthetic boot, from what is written down before it to the proof that nothing of it is left.
//!
//! ```text
//!   intent ──► requested ──► following ──► checking ──► cancelling ──► verifying ──► done
//!     │            │             └───────────(failed)───────▲   ▲          │
//!     │            └──(no answer)──► joining ────────────────┘   └──────────┘ (it still lives: cancelled again)
//!     └──(not written)──► done
//! ```
//!
//! What is learnt is taken as a state, not as a message: the traces of the log and the rows are given whole, again and
//! again, and only what is new in them counts. So it does not matter which of log, row and answer comes first, comes
//! twice, or not at all.
//!
//! A cancellation does not stop the controller's flow, which may even create the VM after it. So a clean-up is judged
//! only when the flow has ended as well, or six minutes after the cancellation, and a VM that appears late is cancelled
//! again. What is cancelled is a session that the controller's own answer named, or, after a crash before that answer,
//! the one session that the log joins to our mark; never a VM of the account as such. Where the log leaves two sessions
//! to choose from, neither is touched: the controller's own limit of five minutes ends both.

mod call;
mod cleanup;
mod ending;
mod learning;
mod phased;
mod verdict;

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::looked::Looked;
use super::phases::Phases;
use super::plan::{Room, RowsSeen, SkipReason};
use super::trace::{APART_MS, Trace};
use super::{SyntheticResult, SyntheticRun};
use crate::core::event::{Failure, SessionId, Timestamp, VmId, words};
use crate::core::probe::{
    Answerer, Check, MOST_VNC, Networks, ProbeResult, Skew, VmAddress, is_counted_by_vnc,
};

pub use call::{CallError, SessionAnswer, StartAnswer};

/// The session is asked for at most so often: the deployed limiter allowed 100 requests in 15 minutes.
const POLL_MS: i64 = 12_000;
/// A run is given up no sooner than the controller was asked of it in the last while.
const LAST_ASKED_MS: i64 = 3 * POLL_MS;
/// The VM is looked at so often while it boots.
const LOOK_MS: i64 = 1_000;
/// The controller has so long to name a VM, and then to call it ready: its longest limits and half as much again.
const CREATED_MS: i64 = 150_000;
const READY_MS: i64 = 330_000;
/// After `ready`, the session's fields and VNC may take this long.
const FIELDS_MS: i64 = 60_000;
const VNC_MS: i64 = 30_000;
/// What does not heal by waiting is still seen after so long.
const SETTLED_MS: i64 = 10_000;
/// A cancelled boot's flow goes on for five minutes and its last wait.
pub const FLOW_MS: i64 = 360_000;
/// A request that has not reached the log by then never will.
const JOIN_MS: i64 = 180_000;
/// Who turns a request away has passed it on before, if at all: it reaches the log within this time.
const TURNED_AWAY_MS: i64 = 15_000;
/// After an error of the controller the log has so long to say which.
const CLASS_MS: i64 = 5_000;
/// Between two tries to cancel that were not answered with success.
const AGAIN_MS: i64 = 20_000;
/// A VM that a cancellation did not destroy is cancelled again after this long.
const REVIVE_MS: i64 = 60_000;
/// What is kept of a text.
const REASON: usize = 300;

words! {
    /// How far a synthetic boot has come.
    TrialState {
        /// Written down, nothing sent.
        Intent = "intent",
        Requested = "requested",
        /// The request may have arrived, and no answer told; the log is searched for it.
        Joining = "joining",
        Following = "following",
        /// Ready, by the controller; our own look is not complete.
        Checking = "checking",
        Cancelling = "cancelling",
        Verifying = "verifying",
        Done = "done",
    }
}

words! {
    /// How much VNC matters.
    VncMatters { Off = "off", Measured = "measured", Required = "required", }
}

/// What a synthetic boot is judged by.
#[derive(Clone, Debug)]
pub struct TrialSettings {
    /// `None`: no address may be contacted, and none is.
    pub networks: Option<Networks>,
    pub vnc: VncMatters,
}

/// One synthetic boot, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    pub mark: u64,
    pub started_at: Timestamp,
    pub state: TrialState,
    pub session: Option<SessionId>,
    pub vm: Option<VmId>,
    pub ip: Option<Ipv4Addr>,
    pub result: Option<SyntheticResult>,
    pub failure: Option<Failure>,
    pub reason: Option<String>,
    pub phases: Phases,
    /// When its checks ended, and when its clean-up was judged.
    pub ended_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub done_at: Option<Timestamp>,
    /// Nothing is left of it.
    pub clean: Option<bool>,
    /// Addresses that were named and not contacted.
    pub refused: u32,
    /// What answered our own look last, and how far its clock was off.
    #[serde(default)]
    pub answerer: Option<Answerer>,
    #[serde(default)]
    pub skew: Option<Skew>,
    /// It was taken over from a run that ended in its midst.
    pub resumed: bool,
}

/// What a trial is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// The last journal entry is on the disk, or cannot be.
    Journalled(bool),
    Started(Result<StartAnswer, CallError>),
    Session(Result<SessionAnswer, CallError>),
    Cancelled(Result<(), CallError>),
    Looked(Box<Looked>),
}

/// What a trial wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write it down. Where `answer` is wanted, nothing is done before it is on the disk.
    Journal(Box<Trial>),
    Start {
        mark: u64,
    },
    AskSession(SessionId),
    Cancel(SessionId),
    /// With these checks.
    Look(VmAddress, Vec<Check>),
    /// An address was named that is not contacted.
    Refused(String),
    /// So was one by a redirect.
    Redirected(String),
    /// Which VM is its own cannot be told: none is touched.
    LeftAlone,
    /// Its checks are over.
    Ended(Box<SyntheticRun>),
    /// So is its clean-up.
    Done {
        clean: bool,
    },
}

/// A trial under way: what is written down, and what need not be.
#[derive(Clone, Debug)]
pub struct Running {
    pub trial: Trial,
    settings: TrialSettings,
    /// Since when the state is what it is.
    since: Timestamp,
    seen: Seen,
    trace: Option<Trace>,
    address: Option<VmAddress>,
    asking: bool,
    cancelling: bool,
    looking: bool,
    call_at: Timestamp,
    look_at: Timestamp,
    last_look: Option<Looked>,
    /// How VNC answered last, on both of its ports, and how often its server has counted us.
    vnc: VncSeen,
    /// The log is read to its end.
    sighted: bool,
    rows: RowsSeen,
    /// What the controller's interface said last of the session, if it knew it: whether VM and address were named.
    fields_told: Option<bool>,
    /// The VM was cancelled again, so often.
    again: u32,
    /// It was not begun after all.
    not_begun: Option<SkipReason>,
    /// It was told that nothing is touched.
    left_alone: bool,
    /// The request was answered with a refusal or a redirect.
    turned_away: bool,
    /// Why the controller did not answer when it was asked last.
    unreached: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct VncSeen {
    /// A page of noVNC was named.
    is_paged: bool,
    web: Option<ProbeResult>,
    greeting: Option<ProbeResult>,
    counted: u32,
    /// It was waited for long enough.
    given_up: bool,
}

/// What the session says of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    /// Nobody could look.
    Unseen,
    /// There is no row of it.
    Missing,
    Empty,
    /// Empty, though its status says that it is ready.
    LeftEmpty,
    Filled,
}

/// The milestones that were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    answered: bool,
    created: bool,
    network: bool,
    agent: bool,
    ready: bool,
    vnc: bool,
    /// When.
    fields: Option<Timestamp>,
}

impl Running {
    /// A new one: the first thing is to write it down.
    #[must_use]
    pub fn begin(
        mark: u64,
        settings: TrialSettings,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Running {
        let trial = Trial {
            mark,
            started_at: now,
            state: TrialState::Intent,
            session: None,
            vm: None,
            ip: None,
            result: None,
            failure: None,
            reason: None,
            phases: Phases::default(),
            ended_at: None,
            cancelled_at: None,
            done_at: None,
            clean: None,
            refused: 0,
            answerer: None,
            skew: None,
            resumed: false,
        };
        out.push(Effect::Journal(Box::new(trial.clone())));
        Running::of(trial, settings, now)
    }

    /// One that an earlier process left: its checks are over, its clean-up is not.
    #[must_use]
    pub fn resume(
        mut trial: Trial,
        settings: TrialSettings,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Running {
        trial.resumed = true;
        let mut running = Running::of(trial, settings, now);
        if running.trial.ended_at.is_none() {
            running.trial.reason = Some("bootwatch ended in its midst".to_owned());
            running.end(SyntheticResult::Errored, None, now, out);
        }
        let next = match running.trial.session {
            Some(_) => TrialState::Cancelling,
            None => TrialState::Joining,
        };
        running.enter(next, now, out);
        running
    }

    fn of(trial: Trial, settings: TrialSettings, now: Timestamp) -> Running {
        Running {
            trial,
            settings,
            since: now,
            seen: Seen::default(),
            trace: None,
            address: None,
            asking: false,
            cancelling: false,
            looking: false,
            call_at: now,
            look_at: now,
            last_look: None,
            vnc: VncSeen::default(),
            sighted: false,
            rows: RowsSeen::NoDatabase,
            fields_told: None,
            again: 0,
            not_begun: None,
            left_alone: false,
            turned_away: false,
            unreached: None,
        }
    }

    /// Why it was not begun after all: it could not be written down, or the request was turned away.
    #[must_use]
    pub fn not_begun(&self) -> Option<SkipReason> {
        self.not_begun
    }

    #[must_use]
    pub fn is_done(&self) -> bool {
        self.trial.state == TrialState::Done
    }

    /// Takes an answer.
    pub fn told(&mut self, told: Told, now: Timestamp, out: &mut Vec<Effect>) {
        match told {
            Told::Journalled(written) => self.journalled(written, now, out),
            Told::Started(answer) => self.started(answer, now, out),
            Told::Session(answer) => {
                self.asking = false;
                self.session(answer, now, out);
            }
            Told::Cancelled(answer) => {
                self.cancelling = false;
                self.cancelled(&answer, now, out);
            }
            Told::Looked(looked) => {
                self.looking = false;
                self.looked(*looked);
            }
        }
        self.go_on(now, out);
    }

    /// Takes what log and rows tell of the account's requests, as far as `room` says that they can be seen.
    pub fn sees(&mut self, traces: &[Trace], room: Room, now: Timestamp, out: &mut Vec<Effect>) {
        self.sighted = room.sighted;
        self.rows = room.rows;
        let (mark, session) = (self.trial.mark, self.trial.session);
        let ours = |trace: &&Trace| match session {
            Some(session) => trace.session == Some(session),
            None => trace.mark == Some(mark),
        };
        let found = traces.iter().rev().find(ours).cloned();
        if found.is_some() && found != self.trace {
            self.trace = found;
            self.learn(now, out);
        }
        self.go_on(now, out);
    }

    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.go_on(now, out);
    }

    /// When `tick` next has work to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let at = |ms: i64| Some(self.since.plus_ms(ms));
        let ask = (!self.asking).then_some(self.call_at);
        let cancel = (!self.cancelling).then_some(self.call_at);
        let look = (!self.looking && self.address.is_some()).then_some(self.look_at);
        let each: [Option<Timestamp>; 3] = match self.trial.state {
            TrialState::Intent | TrialState::Requested | TrialState::Done => return None,
            TrialState::Joining if self.trial.ended_at.is_none() => match &self.trace {
                Some(trace) if trace.is_under_way() && !trace.is_doubtful() => {
                    [at(CREATED_MS), None, None]
                }
                _ => [at(CLASS_MS), None, None],
            },
            TrialState::Joining => match &self.trace {
                Some(trace) if trace.session.is_some() && !trace.is_doubtful() => {
                    [at(APART_MS), None, None]
                }
                Some(_) => [at(FLOW_MS), None, None],
                None => [at(self.join_ms()), None, None],
            },
            TrialState::Following => {
                let most = if self.seen.created {
                    READY_MS
                } else {
                    CREATED_MS
                };
                [ask, look, at(most)]
            }
            TrialState::Checking => [
                ask.filter(|_| self.seen.fields.is_none() && self.rows == RowsSeen::NoDatabase),
                look.filter(|_| !self.has_looked() || self.waits_for_vnc()),
                at(match self.last_look {
                    Some(look) if look.is_settled() => SETTLED_MS,
                    _ if self.waits_for_vnc() => VNC_MS,
                    _ => FIELDS_MS,
                }),
            ],
            TrialState::Cancelling => [cancel, None, None],
            TrialState::Verifying => [
                self.trial.cancelled_at.map(|at| at.plus_ms(FLOW_MS)),
                cancel.filter(|_| self.stands()),
                None,
            ],
        };
        each.into_iter().flatten().min()
    }

    fn looked(&mut self, looked: Looked) {
        let address = self.address.map(VmAddress::ip);
        if address != Some(looked.ip) {
            // Another address was named meanwhile.
            return;
        }
        // Ready and well is all that is asked of the agent. A flow that fails after that destroys the VM at once, while VNC
        // may still be waited for.
        let proven = self.trial.state == TrialState::Checking
            && self.last_look.is_some_and(|look| look.is_well());
        if !proven {
            self.last_look = Some(looked);
            self.trial.answerer = looked.answerer.or(self.trial.answerer);
            self.trial.skew = looked.skew.or(self.trial.skew);
        }
        self.seen.network |= looked.network;
        self.seen.agent |= looked.is_well();
        let vnc = &mut self.vnc;
        vnc.counted += u32::from(looked.vnc.is_some_and(is_counted_by_vnc));
        if looked.credible {
            // What answered once has answered.
            let newer = |known: Option<ProbeResult>, new: Option<ProbeResult>| match known {
                Some(ProbeResult::Ok) => known,
                _ => new.or(known),
            };
            vnc.greeting = newer(vnc.greeting, looked.vnc);
            vnc.web = newer(vnc.web, looked.web);
        }
        let web = !vnc.is_paged || vnc.web == Some(ProbeResult::Ok);
        self.seen.vnc |= web && vnc.greeting == Some(ProbeResult::Ok);
    }

    fn enter(&mut self, state: TrialState, now: Timestamp, out: &mut Vec<Effect>) {
        self.trial.state = state;
        self.since = now;
        self.call_at = now;
        out.push(Effect::Journal(Box::new(self.trial.clone())));
    }

    fn journalled(&mut self, written: bool, now: Timestamp, out: &mut Vec<Effect>) {
        if self.trial.state != TrialState::Intent {
            return;
        }
        if !written {
            self.trial.reason = Some("it could not be written down first".to_owned());
            self.leave_off(SkipReason::Journal, now, out);
            return;
        }
        self.trial.state = TrialState::Requested;
        self.since = now;
        out.push(Effect::Start {
            mark: self.trial.mark,
        });
    }

    fn go_on(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.seen.ready && self.fields() == Fields::Filled {
            self.seen.fields.get_or_insert(now);
        }
        match self.trial.state {
            TrialState::Intent | TrialState::Requested | TrialState::Done => {}
            TrialState::Joining => self.join(now, out),
            TrialState::Following => self.follow(now, out),
            TrialState::Checking => self.check(now, out),
            TrialState::Cancelling => self.cancel(now, out),
            TrialState::Verifying => self.verify(now, out),
        }
    }

    fn follow(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.phases_to(now);
        if self.seen.ready {
            self.enter(TrialState::Checking, now, out);
            self.look_at = now;
            self.check(now, out);
            return;
        }
        let most = if self.seen.created {
            READY_MS
        } else {
            CREATED_MS
        };
        let left = most - now.since(self.since);
        if left <= 0 {
            if let Some(unreached) = self.unreached.take() {
                self.leave(&unreached, now, out);
                self.cancel(now, out);
                return;
            }
            let what = match self.seen.created {
                true => "it was neither called ready nor given up in time",
                false => "no VM was named in time",
            };
            self.fail(what, now, out);
            self.cancel(now, out);
            return;
        }
        self.look(now, out);
        // The log tells sooner and costs nothing.
        let told = self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.vm.is_some() && !trace.ambiguous);
        // Before it is given up the controller is asked all the same: one that is gone writes no log either.
        match told && left > LAST_ASKED_MS {
            true => self.call_at = self.call_at.max(now.plus_ms(POLL_MS)),
            false => self.ask(now, out),
        }
    }

    fn look(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if let Some(address) = self.address
            && !self.looking
            && now >= self.look_at
        {
            self.looking = true;
            self.look_at = now.plus_ms(LOOK_MS);
            let mut checks = vec![Check::Health, Check::Negative];
            if self.waits_for_vnc() {
                if self.vnc.web != Some(ProbeResult::Ok) {
                    checks.push(Check::VncWeb);
                }
                // A server shuts out who connects and does not log in, and with us all who come through this host.
                if self.vnc.greeting != Some(ProbeResult::Ok) && self.vnc.counted < MOST_VNC {
                    checks.push(Check::Vnc);
                }
            }
            out.push(Effect::Look(address, checks));
        }
    }

    fn ask(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if let Some(session) = self.trial.session
            && !self.asking
            && now >= self.call_at
        {
            self.asking = true;
            self.call_at = now.plus_ms(POLL_MS);
            out.push(Effect::AskSession(session));
        }
    }

    /// Ready, says the controller: is it?
    fn check(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.phases_to(now);
        let waited = now.since(self.since);
        if self.trial.refused > 0 {
            self.end(SyntheticResult::Errored, None, now, out);
            self.enter(TrialState::Cancelling, now, out);
            self.cancel(now, out);
            return;
        }
        if waited >= VNC_MS {
            self.vnc.given_up = true;
        }
        let looked = self.has_looked();
        let fields = matches!(self.fields(), Fields::Filled | Fields::LeftEmpty);
        let seen = looked && !self.waits_for_vnc() && fields;
        let settled = self.last_look.is_some_and(|look| look.is_settled());
        if seen || waited >= FIELDS_MS || settled && waited >= SETTLED_MS {
            self.phases_to(now);
            match self.fault() {
                Some(fault) => {
                    self.trial.reason = Some(fault.reason);
                    let (phase, failure) = (Some(fault.phase), Some(fault.failure));
                    self.end_in(phase, SyntheticResult::Failed, failure, now, out);
                }
                None => {
                    let unsaid = self.unsaid();
                    let result = match unsaid {
                        Some(_) => SyntheticResult::Errored,
                        None => SyntheticResult::Passed,
                    };
                    self.trial.reason = unsaid;
                    self.end(result, None, now, out);
                }
            }
            self.enter(TrialState::Cancelling, now, out);
            self.cancel(now, out);
            return;
        }
        if !looked || self.waits_for_vnc() {
            self.look(now, out);
        }
        if self.seen.fields.is_none() && self.rows == RowsSeen::NoDatabase {
            self.ask(now, out);
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(REASON).collect()
}
