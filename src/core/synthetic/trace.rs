//! What the log and the rows tell of the requests of bootwatch's own account.
//!
//! A trace is one request. It is known by its session as soon as one is told, and its VM by the join line. Which request
//! was ours is told by a mark: the controller logs the URL of every request that reaches it, and ours bears a number that
//! nobody else knows. Only a mark proves that a request of ours arrived; the account alone proves nothing, because
//! somebody else may use it. Where two requests of the account came so close together that the mark could be either's,
//! the trace says `ambiguous`, and nobody may act on it.
//!
//! Where a request arrives the log does not say whose it is; only where it is accepted. So every request without a mark
//! that had arrived and was not accepted yet, when a marked one was, may have been the one that was: the trace counts
//! them as `suspects`, until each was accepted for somebody else.
//!
//! Traces outlive a restart, in the same batch as the place in the log: a mark that was read is not read again.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::core::boot::Boot;
use crate::core::event::{
    AttemptError, Event, EventKind, Failure, Outcome, SessionId, Timestamp, UserKey, VmId, VmType,
};
use crate::core::row::{Row, RowKey, SessionStatus, VmStatus};

/// Requests that are remembered.
const KEPT: usize = 16;
/// Requests without a mark that are remembered while they are not accepted.
const MOST_UNMARKED: usize = 64;
/// Rows that are remembered until the log tells whose they are.
const MOST_EARLY: usize = 16;
/// So far from its mark a request may be accepted: a controller that copies an image does nothing else meanwhile.
const MARK_REACHES_MS: i64 = 100_000;
/// A request that is accepted later than this after its mark may be somebody else's, whose arrival the log lost. A
/// controller that copies an image, for 15 s, accepts nothing meanwhile.
const LATE_MS: i64 = 20_000;
/// Requests of the account that are accepted so close together cannot be told apart.
pub(super) const APART_MS: i64 = 5_000;
/// A request has so long to open its session: until then a session may be its, whichever was accepted last.
const OPENS_MS: i64 = 180_000;

/// One request of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// By the log's clock.
    pub asked_at: Timestamp,
    /// What its URL bore.
    pub mark: Option<u64>,
    /// Another request of the account came so close that the mark may be its, or it was accepted so late.
    pub ambiguous: bool,
    /// Requests without a mark, any of which may be this one in truth.
    #[serde(default)]
    pub suspects: u32,
    /// The log has gone on for so long that what would make it ambiguous has been read.
    #[serde(default)]
    pub settled: bool,
    pub session: Option<SessionId>,
    pub vm: Option<VmId>,
    pub ip: Option<Ipv4Addr>,
    pub created: bool,
    /// The controller gave the creation up. It may go on all the same: what is told of the VM afterwards counts more.
    #[serde(default)]
    pub create_failed: bool,
    /// The guest's kernel answered, if only with a refusal.
    pub network: bool,
    pub agent: bool,
    pub ready: bool,
    /// The controller says that its caller was at fault.
    pub rejected: bool,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    /// The flow has ended, whatever was cancelled before.
    pub flow_ended: bool,
    /// How often the VM's destruction was begun, and completed.
    pub destroying: u32,
    pub destroyed: u32,
    pub row: Option<VmStatus>,
    pub session_row: Option<SessionStatus>,
    /// The session's row names VM and address.
    pub fields: bool,
    /// The address in the session's row.
    pub row_ip: Option<Ipv4Addr>,
}

impl Trace {
    fn new(asked_at: Timestamp, mark: Option<u64>) -> Trace {
        Trace {
            asked_at,
            mark,
            ambiguous: false,
            suspects: 0,
            settled: false,
            session: None,
            vm: None,
            ip: None,
            created: false,
            create_failed: false,
            network: false,
            agent: false,
            ready: false,
            rejected: false,
            outcome: None,
            failure: None,
            flow_ended: false,
            destroying: 0,
            destroyed: 0,
            row: None,
            session_row: None,
            fields: false,
            row_ip: None,
        }
    }

    /// Whether the mark proves nothing: what can be known of it may be somebody else's.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.ambiguous || self.suspects > 0
    }

    /// Somebody else's with our account, and so near or so unsettled that one of ours could not be told from it.
    #[must_use]
    pub fn is_in_the_way(&self, now: Timestamp) -> bool {
        let age = now.since(self.asked_at);
        // The log's own clock may be ahead of ours, and tells on its own when it is over.
        let near = age <= APART_MS && !self.settled || self.is_to_open() && age <= OPENS_MS;
        self.mark.is_none() && near
    }

    /// The VM is gone, by the log or by its row; or it never was: a creation that fails is cleaned up without a word of
    /// destruction.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.destroyed > 0 || self.row == Some(VmStatus::Destroyed) || self.never_was()
    }

    fn never_was(&self) -> bool {
        self.create_failed && !self.created && self.row != Some(VmStatus::Running)
    }

    /// The controller accepted it, and has not said how it ends: it may first make the account's other VM.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.is_given_up() && !self.went_on()
    }

    /// Its VM was created, or somebody ended it: the controller did not fail at it.
    #[must_use]
    pub fn went_on(&self) -> bool {
        let ended = self
            .outcome
            .is_some_and(|outcome| outcome != Outcome::Failed);
        (self.created || self.ready || ended) && !self.is_given_up()
    }

    fn is_given_up(&self) -> bool {
        self.rejected || self.flow_ended || self.create_failed
    }

    /// Its session may still be opened, as far as anybody knows.
    fn is_to_open(&self) -> bool {
        let over = self.rejected || self.flow_ended || self.outcome.is_some();
        self.session.is_none() && !over
    }

    fn waits_on(&self, ip: Ipv4Addr) -> bool {
        self.ip == Some(ip) && self.outcome.is_none() && self.destroying == 0
    }
}

/// The latest requests of the account, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traces {
    user: UserKey,
    traces: Vec<Trace>,
    /// A mark whose request was not accepted yet.
    mark: Option<(u64, Timestamp)>,
    /// Another marked request came while it waited.
    #[serde(default)]
    crowded: bool,
    /// When requests without a mark arrived that were not accepted yet, oldest first.
    #[serde(default)]
    unmarked: VecDeque<Timestamp>,
    /// Rows of the account's that were read before the log told of their session or VM, oldest first: a row that does not
    /// change is not told again.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    early: VecDeque<Row>,
}

impl Traces {
    #[must_use]
    pub fn new(user: UserKey) -> Traces {
        Traces {
            user,
            traces: Vec::new(),
            mark: None,
            crowded: false,
            unmarked: VecDeque::new(),
            early: VecDeque::new(),
        }
    }

    /// As they were saved; anew, if they are another account's or cannot be read.
    #[must_use]
    pub fn restore(user: UserKey, text: Option<&str>) -> Traces {
        text.and_then(|text| serde_json::from_str::<Traces>(text).ok())
            .filter(|saved| saved.user == user && saved.traces.len() <= KEPT)
            .filter(|saved| saved.unmarked.len() <= MOST_UNMARKED)
            .filter(|saved| saved.early.len() <= MOST_EARLY)
            .unwrap_or_else(|| Traces::new(user))
    }

    #[must_use]
    pub fn all(&self) -> &[Trace] {
        &self.traces
    }

    /// Takes one event of the log; says whether anything changed.
    pub fn observe(&mut self, event: &Event<'_>) -> bool {
        let settled = self.settle(event.at);
        let changed = self.take(event);
        if changed {
            for row in std::mem::take(&mut self.early) {
                match self.knows(row.key()) {
                    true => {
                        self.told_by(&row);
                    }
                    false => self.early.push_back(row),
                }
            }
        }
        changed || settled
    }

    fn settle(&mut self, at: Timestamp) -> bool {
        let mut changed = false;
        for trace in self.traces.iter_mut().filter(|trace| !trace.settled) {
            trace.settled = at.since(trace.asked_at) > APART_MS;
            changed |= trace.settled;
        }
        changed
    }

    fn take(&mut self, event: &Event<'_>) -> bool {
        let user = self.user;
        match event.kind {
            EventKind::RequestMarked { mark } => {
                self.crowded = self.mark.is_some();
                self.mark = Some((mark, event.at));
                true
            }
            EventKind::RequestUnmarked => {
                self.unmarked.push_back(event.at);
                if self.unmarked.len() > MOST_UNMARKED {
                    self.unmarked.pop_front();
                }
                true
            }
            EventKind::RequestAccepted { user: whose } if whose == user => {
                self.accepted(event.at);
                true
            }
            EventKind::RequestAccepted { user: _ } => self.accepted_of_another(event.at),
            EventKind::SessionOpened {
                user: whose,
                session,
            } if whose == user => self.change(
                |trace| trace.session.is_none() && trace.vm.is_none() && trace.outcome.is_none(),
                Newest::Yes,
                |trace| trace.session = Some(session),
            ),
            EventKind::CreateStarted {
                vm,
                user: whose,
                vm_type: VmType::Browser,
                ..
            } if whose == user => self.change(
                |trace| trace.vm.is_none() && trace.outcome.is_none(),
                Newest::Yes,
                |trace| trace.vm = Some(vm),
            ),
            EventKind::HandedOver {
                vm,
                user: whose,
                session,
                ip,
            } if whose == user => self.handed_over(vm, session, ip),
            EventKind::StepDone {
                vm, ip: Some(ip), ..
            } => self.of_vm(vm, |trace| trace.ip = Some(ip)),
            EventKind::Created { vm, ip, .. } => self.of_vm(vm, |trace| {
                trace.created = true;
                trace.ip = ip.or(trace.ip);
            }),
            EventKind::CreateFailed { vm, .. } => {
                self.of_vm(vm, |trace| trace.create_failed = true)
            }
            EventKind::RequestFailed {
                user: whose,
                session,
                rejected,
                ..
            } if whose == user => self.change(
                |trace| match session {
                    Some(session) => trace.session == Some(session),
                    None => {
                        let open = matches!(trace.outcome, None | Some(Outcome::Failed));
                        open && !trace.flow_ended
                    }
                },
                Newest::Yes,
                |trace| {
                    trace.rejected |= rejected;
                    trace.flow_ended = true;
                },
            ),
            EventKind::AttemptFailed { ip, error, .. } => {
                let answered = !matches!(
                    error,
                    AttemptError::HostUnreachable
                        | AttemptError::NetUnreachable
                        | AttemptError::Timeout
                        | AttemptError::TimedOut
                );
                answered && self.waiting_on(ip, |trace| trace.network = true)
            }
            EventKind::AttemptAnswered { ip, status } => self.waiting_on(ip, |trace| {
                trace.network = true;
                trace.agent |= status == 200;
            }),
            EventKind::WaitReady { ip } => self.waiting_on(ip, |trace| {
                trace.network = true;
                trace.agent = true;
                trace.ready = true;
            }),
            EventKind::OauthStarted { session, .. } | EventKind::OauthGoesOn { session } => {
                self.of_session(session, |trace| trace.ready = true)
            }
            EventKind::FlowFailed { session, .. } => {
                self.of_session(session, |trace| trace.flow_ended = true)
            }
            EventKind::Destroying { vm } => self.of_vm(vm, |trace| trace.destroying += 1),
            EventKind::Destroyed { vm } => self.of_vm(vm, |trace| trace.destroyed += 1),
            EventKind::ControllerStarting | EventKind::ControllerStarted => {
                // What a controller had begun it does not go on with.
                self.mark = None;
                self.crowded = false;
                self.unmarked.clear();
                true
            }
            _ => false,
        }
    }

    fn accepted(&mut self, at: Timestamp) {
        // A mark that waited may have been of a request that was given up, and this one somebody else's.
        let mut late = false;
        let mark = self
            .mark
            .take()
            .filter(|(_, since)| at.since(*since) <= MARK_REACHES_MS)
            .inspect(|(_, since)| late = at.since(*since) > LATE_MS)
            .map(|(mark, _)| mark);
        let mut trace = Trace::new(at, mark);
        trace.ambiguous = mark.is_some() && (late || std::mem::take(&mut self.crowded));
        self.forget_unmarked(at);
        match mark {
            Some(_) => trace.suspects = u32::try_from(self.unmarked.len()).unwrap_or(u32::MAX),
            None => drop(self.unmarked.pop_front()),
        }
        for other in &mut self.traces {
            let apart = at.since(other.asked_at).abs();
            // Two of ours, one after the other: each has its mark, and the first is over.
            let told_apart = other.mark.is_some() && mark.is_some() && !other.is_to_open();
            let close = apart <= APART_MS && !told_apart;
            if close || apart <= OPENS_MS && other.is_to_open() {
                other.ambiguous = true;
                trace.ambiguous = true;
            }
        }
        self.traces.push(trace);
        if self.traces.len() > KEPT {
            self.traces.remove(0);
        }
    }

    /// One of those that arrived was not of our account: one without a mark, where there is any.
    fn accepted_of_another(&mut self, at: Timestamp) -> bool {
        self.forget_unmarked(at);
        if self.unmarked.pop_front().is_none() {
            // Nothing else had arrived: so the mark is another bootwatch's, and the next of our account must not take it.
            // Of two marks nobody knows which.
            return !self.crowded && self.mark.take().is_some();
        }
        for trace in &mut self.traces {
            trace.suspects = trace.suspects.saturating_sub(1);
        }
        true
    }

    /// What has not been accepted by then was refused before.
    fn forget_unmarked(&mut self, at: Timestamp) {
        self.unmarked
            .retain(|since| at.since(*since) <= MARK_REACHES_MS);
    }

    /// The join line corrects what was guessed before it.
    fn handed_over(&mut self, vm: VmId, session: SessionId, ip: Option<Ipv4Addr>) -> bool {
        for trace in &mut self.traces {
            if trace.vm == Some(vm) && trace.session.is_some_and(|known| known != session) {
                trace.vm = None;
            }
        }
        self.change(
            |trace| trace.session == Some(session),
            Newest::No,
            |trace| {
                trace.vm = Some(vm);
                trace.ip = ip.or(trace.ip);
                trace.created = true;
            },
        )
    }

    /// Takes how a boot ended.
    pub fn boot(&mut self, boot: &Boot) -> bool {
        if boot.user != Some(self.user) || boot.kind() != VmType::Browser {
            return false;
        }
        let (outcome, failure) = (boot.outcome, boot.failure);
        self.change(
            |trace| match (boot.vm, boot.session) {
                (Some(vm), _) if trace.vm == Some(vm) => true,
                (_, Some(session)) => trace.session == Some(session),
                (None, None) => trace.vm.is_none() && trace.outcome.is_none(),
                _ => false,
            },
            Newest::Yes,
            |trace| {
                trace.outcome = outcome.or(trace.outcome);
                trace.failure = failure.or(trace.failure);
                trace.ready |= outcome == Some(Outcome::Ready);
            },
        )
    }

    /// Takes a row of the controller's database.
    pub fn row(&mut self, row: &Row) -> bool {
        match self.knows(row.key()) {
            true => self.told_by(row),
            false => self.keeps(row),
        }
    }

    fn knows(&self, key: RowKey) -> bool {
        self.traces.iter().any(|trace| match key {
            RowKey::Vm(vm) => trace.vm == Some(vm),
            RowKey::Session(session) => trace.session == Some(session),
        })
    }

    fn told_by(&mut self, row: &Row) -> bool {
        match row {
            Row::Vm(row) => self.of_vm(row.vm, |trace| trace.row = Some(row.status)),
            Row::Session(row) => self.of_session(row.session, |trace| {
                trace.session_row = Some(row.status);
                trace.fields = row.vm.is_some() && row.ip.is_some();
                trace.row_ip = row.ip;
                if trace.vm.is_none() && row.vm.is_some() {
                    trace.vm = row.vm;
                    trace.created = true;
                }
            }),
        }
    }

    /// Keeps a row that may turn out to be one of ours.
    fn keeps(&mut self, row: &Row) -> bool {
        if row.user() != Some(self.user) {
            return false;
        }
        self.early.retain(|older| older.key() != row.key());
        if self.early.len() == MOST_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(row.clone());
        true
    }

    fn of_vm(&mut self, vm: VmId, change: impl FnOnce(&mut Trace)) -> bool {
        self.change(|trace| trace.vm == Some(vm), Newest::No, change)
    }

    fn of_session(&mut self, session: SessionId, change: impl FnOnce(&mut Trace)) -> bool {
        self.change(|trace| trace.session == Some(session), Newest::No, change)
    }

    fn waiting_on(&mut self, ip: Ipv4Addr, change: impl FnOnce(&mut Trace)) -> bool {
        self.change(|trace| trace.waits_on(ip), Newest::Yes, change)
    }

    fn change(
        &mut self,
        wanted: impl Fn(&Trace) -> bool,
        newest: Newest,
        change: impl FnOnce(&mut Trace),
    ) -> bool {
        let found = match newest {
            Newest::Yes => self.traces.iter_mut().rev().find(|trace| wanted(trace)),
            Newest::No => self.traces.iter_mut().find(|trace| wanted(trace)),
        };
        let Some(trace) = found else { return false };
        let before = trace.clone();
        change(trace);
        *trace != before
    }
}

#[derive(Clone, Copy, Debug)]
enum Newest {
    Yes,
    No,
}
