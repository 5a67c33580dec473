//! What the controller's answers and its log tell of a run: its session, its VM and address, how far it came.

use std::net::IpAddr;

use super::super::SyntheticResult;
use super::super::plan::SkipReason;
use super::{CallError, Effect, POLL_MS, Running, SessionAnswer, StartAnswer, TrialState, short};
use crate::core::event::{Outcome, Timestamp};
use crate::core::row::SessionStatus;

/// Fewer requests left than this, and the session is not asked for.
const FEW_LEFT: u32 = 10;

impl Running {
    pub(super) fn started(
        &mut self,
        answer: Result<StartAnswer, CallError>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self.trial.state != TrialState::Requested {
            return;
        }
        match answer {
            Ok(StartAnswer {
                session,
                address,
                novnc,
            }) => {
                self.vnc.is_paged = novnc;
                self.seen.answered = true;
                self.trial.session = Some(session);
                self.phases_to(now);
                if let Some(address) = address {
                    // October's answer comes with the VM.
                    self.seen.created = true;
                    self.name(&address, out);
                }
                self.enter(TrialState::Following, now, out);
                self.call_at = now.plus_ms(POLL_MS);
            }
            Err(error) => {
                self.trial.reason = Some(short(&error.said()));
                self.turned_away =
                    matches!(error, CallError::Redirected { .. } | CallError::Rejected(_));
                let (result, reached) = match &error {
                    CallError::Limited { .. } => {
                        self.leave_off(SkipReason::Limited, now, out);
                        return;
                    }
                    // Who refused it may have passed it on first.
                    CallError::Redirected { to } => {
                        self.redirected(to, out);
                        (SyntheticResult::Errored, true)
                    }
                    CallError::Rejected(_) => (SyntheticResult::Errored, true),
                    CallError::Unreachable(_) => (SyntheticResult::Errored, false),
                    CallError::Failed { .. } => (SyntheticResult::Failed, true),
                    CallError::Unanswered(_) => (SyntheticResult::Errored, true),
                };
                // An error of the controller is known by what its log calls it.
                if !matches!(error, CallError::Failed { .. }) {
                    self.end(result, None, now, out);
                }
                match reached {
                    // Whether anything is left of it only the log can tell.
                    true => self.enter(TrialState::Joining, now, out),
                    false => self.finish(true, now, out),
                }
            }
        }
    }

    pub(super) fn session(
        &mut self,
        answer: Result<SessionAnswer, CallError>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.unreached = None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(CallError::Limited { retry_ms }) => {
                self.call_at = now.plus_ms(retry_ms.max(POLL_MS));
                return;
            }
            Err(CallError::Redirected { to }) => {
                self.redirected(&to, out);
                return;
            }
            Err(error) => {
                let gone = matches!(error, CallError::Unreachable(_) | CallError::Unanswered(_));
                self.unreached = gone.then(|| error.said());
                return;
            }
        };
        if answer.left.is_some_and(|left| left < FEW_LEFT) {
            self.call_at = now.plus_ms(5 * POLL_MS);
        }
        if self.trial.vm.is_none() {
            self.trial.vm = answer.vm;
        }
        self.seen.created |= answer.vm.is_some();
        if let Some(address) = &answer.address {
            self.name(address, out);
        }
        match answer.status {
            Some(
                SessionStatus::Ready | SessionStatus::AwaitingUserAuth | SessionStatus::Completed,
            ) => {
                self.seen.created = true;
                self.seen.ready = true;
            }
            Some(SessionStatus::Failed | SessionStatus::Timeout)
                if self.trial.state == TrialState::Following && !self.seen.ready =>
            {
                self.fail("the session says failed", now, out);
                return;
            }
            _ => {}
        }
        if answer.status.is_some() {
            self.fields_told = Some(answer.vm.is_some() && answer.address.is_some());
        }
    }

    /// Where it leads is no VM's address, and is not asked either.
    fn redirected(&mut self, to: &str, out: &mut Vec<Effect>) {
        self.trial.refused += 1;
        if self.trial.refused == 1 {
            let said = CallError::Redirected { to: to.to_owned() }.said();
            self.trial.reason = Some(short(&said));
            out.push(Effect::Redirected(to.to_owned()));
        }
    }

    /// An address was named: kept if it may be contacted, else told and counted.
    fn name(&mut self, text: &str, out: &mut Vec<Effect>) {
        let Some(networks) = &self.settings.networks else {
            self.trial.ip = text.parse().ok().or(self.trial.ip);
            return;
        };
        let admitted = text.parse::<IpAddr>().ok().map(|ip| networks.admit(ip));
        match admitted {
            Some(Ok(address)) if self.trial.refused == 0 => {
                self.trial.ip = Some(address.ip());
                self.address = Some(address);
            }
            Some(Ok(_)) => {}
            _ => {
                // Nobody knows any more which address is the VM's: none is contacted.
                self.address = None;
                self.trial.refused += 1;
                let shown: String = text.escape_debug().take(60).collect();
                if self.trial.refused == 1 {
                    out.push(Effect::Refused(shown.clone()));
                }
                self.trial.reason = Some(format!(
                    "the controller names {shown} as the VM's address, which lies outside the VM networks (probe.networks); it \
                     was not contacted"
                ));
            }
        }
    }

    pub(super) fn learn(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(trace) = self.trace.clone() else {
            return;
        };
        // The controller's own answer named the session: then no mark needs to prove it.
        let named = self.trial.session.is_some() && trace.session == self.trial.session;
        if !trace.ambiguous && (named || !trace.is_doubtful()) {
            if self.trial.vm.is_none() && trace.vm.is_some() {
                self.trial.vm = trace.vm;
            }
            self.seen.created |= trace.created;
            self.seen.network |= trace.network;
            self.seen.agent |= trace.agent;
            self.seen.ready |= trace.ready;
        }
        let named = [trace.ip, trace.row_ip];
        for ip in named.into_iter().flatten() {
            if self.trial.ip != Some(ip) && self.trial.state != TrialState::Requested {
                self.name(&ip.to_string(), out);
            }
        }
        if self.trial.state == TrialState::Following && !self.seen.ready {
            match trace.outcome {
                Some(Outcome::Failed) => self.fail("the controller gave it up", now, out),
                Some(Outcome::Lost) => self.leave("the controller went away under it", now, out),
                Some(Outcome::Cancelled) => self.leave("somebody else cancelled it", now, out),
                Some(Outcome::Ready) | None => {}
            }
        }
    }
}
