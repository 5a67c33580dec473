//! Metrics out: what the core observed and the sources did, as figures that others can scrape.
//!
//! [`Recorder`] is the one face. It is told facts (observations, alert changes, a source's totals), decides what each
//! one counts for, and hands the figures to the writers behind it. Everything takes
//! `&self`: the task that owns the core records, another renders.
//!
//! What is promised: every label value comes from a closed set, so that no log text can create a series; what lies
//! beyond a set is `other`, and counted. Boots of the past (`live` is false) change no counter. Counters start at zero
//! with the process and never go down. What a rule may ask for exists at zero from the start; the rest appears when
//! first seen, so that a scrape stays small.
//!
//! The second writer is [`otlp`]: boots become traces, and the very figures that Prometheus scrapes are sent as metrics.
//!
//! `docs/metrics.md` lists every metric, and a test compares it with a recorder that has seen everything.

mod label;
// Traces and metrics over OTLP.
pub mod otlp;
mod prometheus;
// The rules for a fleet.
pub mod rules;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock;
use crate::core::alert::{AlertView, Effect};
use crate::core::boot::{AttemptEnded, Boot, Observation, ROWS, TrackerCounts};
use crate::core::event::{AttemptResult, Failure, Origin, Outcome, Timestamp, VmType};
use crate::core::finding::FindingKind;
use crate::core::image::{Finding, Generation};
use crate::core::inventory::{Addresses, SessionTotals};
use crate::core::probe::Look;
use crate::core::row::VmStatus;
use crate::core::rule::RuleName;
use crate::core::synthetic::{SkipReason, SyntheticResult, TrialPhase};

use otlp::Traces;
use prometheus::{BootEnd, Prometheus};

/// What is known before anything happens: the names that become label values.
#[derive(Clone, Debug)]
pub struct Setup {
    pub version: &'static str,
    /// The rules that are switched on: an alert that is off has no series that says all is well.
    pub rules: Vec<RuleName>,
    /// The share of boots that shall become ready.
    pub objective: f64,
    /// The logs that are followed.
    pub sources: Vec<String>,
    /// What is asked of the controller's database at a look; empty where it is not watched.
    pub queries: Vec<&'static str>,
    /// The notifiers, by name.
    pub channels: Vec<String>,
    /// What can become of a notification.
    pub results: Vec<&'static str>,
    /// Whether a sign of life is sent.
    pub heartbeat: bool,
    /// Whether synthetic boots are made.
    pub synthetic: bool,
    /// What is sent over OTLP, if anything is.
    pub otlp: Option<OtlpSetup>,
}

/// What is sent over OTLP.
#[derive(Clone, Debug)]
pub struct OtlpSetup {
    /// The name of this controller host: the ids of boots without a VM depend on it.
    pub host: String,
    pub traces: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            version: env!("CARGO_PKG_VERSION"),
            rules: RuleName::ALL.to_vec(),
            objective: 0.95,
            sources: Vec::new(),
            queries: Vec::new(),
            channels: Vec::new(),
            results: Vec::new(),
            heartbeat: false,
            synthetic: false,
            otlp: None,
        }
    }
}

/// What a source has read since the process started. Totals, not differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceFigures {
    /// Whether it can be read now.
    pub up: bool,
    pub lines: u64,
    pub bytes: u64,
    pub rotations: u64,
    pub truncations: u64,
    /// Times that bytes vanished unread.
    pub losses: u64,
    pub lag_bytes: u64,
}

/// What became of a source's records since the process started. Totals, not differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadFigures {
    /// Records that matter but are torn, lack a field, or bear an impossible date.
    pub unparsed: u64,
    /// Records of no known message.
    pub unknown: u64,
    /// The newest record's time.
    pub newest: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Recorder {
    prometheus: Prometheus,
    /// Boots that wait to be sent as traces; `None`: none are.
    traces: Option<Traces>,
    /// Since when counters count.
    since: Timestamp,
}

impl Recorder {
    #[must_use]
    pub fn new(setup: &Setup) -> Recorder {
        Recorder {
            prometheus: Prometheus::new(setup),
            traces: setup
                .otlp
                .as_ref()
                .filter(|otlp| otlp.traces)
                .map(|otlp| Traces::new(&otlp.host)),
            since: clock::now(),
        }
    }

    /// Records what the tracker said. Of the past (`live` is false) only the deadline is taken: it is a setting of the
    /// controller that goes on to hold, not something that happened.
    pub fn observe(&self, observation: &Observation, live: bool) {
        match observation {
            Observation::AttemptEnded(attempt) => {
                if let Some(deadline_ms) = attempt.deadline_ms {
                    self.prometheus.deadline(f64::from(deadline_ms) / 1_000.0);
                }
                if live && attempt.origin == Origin::User {
                    self.attempt_ended(attempt);
                }
            }
            Observation::StageEnded {
                vm_type,
                // Trials would drown what users meet at quiet hours; their own figures have an origin.
                origin: Origin::User,
                stage,
                outcome,
                ms,
            } if live => {
                self.prometheus
                    .stage_ended(*vm_type, *stage, *outcome, seconds(*ms));
            }
            Observation::BootEnded(boot) if live => self.boot_ended(boot),
            Observation::BootAmended(boot) if boot.failure == Some(Failure::AgentLate) => {
                self.prometheus.late(boot.kind(), boot.origin);
            }
            Observation::BootSettled(boot) if live => self.boot_settled(boot),
            Observation::StageEnded { .. }
            | Observation::BootEnded(_)
            | Observation::BootStarted { .. }
            | Observation::BootAmended(_)
            | Observation::BootEvidence(_)
            | Observation::BootCompleted(_)
            | Observation::BootCredited { .. }
            | Observation::ControllerCrashed { .. }
            | Observation::BootSettled(_)
            | Observation::ControllerStarted { .. } => {}
        }
    }

    /// Records what the alert engine did.
    pub fn effect(&self, effect: &Effect) {
        match effect {
            Effect::AlertChanged(change) => {
                self.prometheus
                    .alert_changed(change.rule, change.severity, change.to)
            }
            // Counted when it was delivered, or was not.
            Effect::Notify(_) => {}
        }
    }

    /// Takes the alerts as they now are. `unknown` hides nothing: an alert that fires goes on firing while its source
    /// is blind, and `source_up` says that it is.
    pub fn alerts(&self, views: impl IntoIterator<Item = AlertView>) {
        self.prometheus.alerts(
            views
                .into_iter()
                .filter(|view| view.firing)
                .map(|view| view.rule),
        );
    }

    /// Takes the boots in flight as they now are, and those among them that are overdue.
    pub fn in_flight(
        &self,
        boots: impl IntoIterator<Item = VmType>,
        overdue: impl IntoIterator<Item = (VmType, AttemptResult)>,
    ) {
        self.prometheus.in_progress(boots);
        self.prometheus.overdue(overdue);
    }

    /// Takes the tracker's own counts. What they rose by while reading the past (`live` is false), or before a restart
    /// they were restored from, is not counted: give the restored counts with `live` false before anything else.
    pub fn tracker(&self, counts: &TrackerCounts, live: bool) {
        self.prometheus.tracker(counts, live);
    }

    /// Takes a source's totals. A lower total than the last one is taken for a source that started anew.
    pub fn source(&self, name: &str, figures: &SourceFigures) {
        self.prometheus.source(name, figures);
    }

    /// Takes what became of a source's records.
    pub fn reads(&self, source: &str, figures: &ReadFigures) {
        self.prometheus.reads(source, figures);
    }

    /// Takes the rows of `vms` as they now are, by kind and status.
    pub fn vms(&self, counts: &[(Option<VmType>, VmStatus, usize)]) {
        self.prometheus.vms(counts);
    }

    /// Takes how often sessions reached each status. Totals; give those restored with `live` false before anything else.
    pub fn sessions(&self, totals: &SessionTotals, live: bool) {
        self.prometheus.sessions(totals, live);
    }

    /// Takes what an audit of the golden image found; `None`: the image is not there, or cannot be opened.
    pub fn golden_image(&self, generation: Option<&Generation>, findings: &[Finding]) {
        self.prometheus.golden_image(generation, findings);
        if let Some(traces) = &self.traces {
            traces.see_image(generation, clock::now());
        }
    }

    /// Records what became of traces or of a snapshot of the metrics: words of [`otlp::Sent`].
    pub fn otlp_sent(&self, signal: otlp::Signal, sent: otlp::Sent, items: usize) {
        self.prometheus.otlp_sent(signal, sent, items);
    }

    /// Takes how many traces wait to be sent.
    pub fn otlp_waiting(&self, traces: usize) {
        self.prometheus.otlp_waiting(traces);
    }

    /// Takes what there was of a failed boot's console: `whole`, `partial`, `archived` or `none`.
    pub fn console_evidence(&self, result: &str) {
        self.prometheus.console_evidence(result);
    }

    /// Takes how many sessions are past their deadline without a VM.
    pub fn sessions_incomplete(&self, sessions: usize) {
        self.prometheus.sessions_incomplete(sessions);
    }

    /// Takes how many rows cannot be read.
    pub fn rows_unreadable(&self, rows: usize) {
        self.prometheus.rows_unreadable(rows);
    }

    /// By how much the database's clock is ahead of this machine's.
    pub fn database_clock(&self, ahead_ms: i64) {
        self.prometheus.database_clock(ahead_ms);
    }

    /// Takes the open findings, by kind.
    pub fn findings(&self, counts: &[usize; FindingKind::ALL.len()]) {
        self.prometheus.findings(counts);
    }

    /// Takes the pool's addresses, by state. `None`: no row tells of them.
    pub fn addresses(&self, addresses: Option<Addresses>) {
        self.prometheus.addresses(addresses);
    }

    /// Takes whether the controller's database can be read.
    pub fn database_up(&self, up: bool) {
        self.prometheus.database_up(up);
    }

    /// Records how long one question to the controller's database took.
    pub fn database_asked(&self, query: &str, took: Duration) {
        self.prometheus.database_asked(query, took);
    }

    /// Records what became of a notification, or of one try; `latency` is the time from the decision to the receiver's
    /// answer, where there was one.
    pub fn notification(&self, channel: &str, result: &str, latency: Option<Duration>) {
        self.prometheus.notification(channel, result, latency);
    }

    /// Takes how many notifications wait to be sent, and when the oldest of them was made.
    pub fn waiting(&self, channel: &str, notifications: usize, oldest: Option<Timestamp>) {
        self.prometheus.waiting(channel, notifications, oldest);
    }

    /// Records a commit to the store: `ok`, or the kind of its failure.
    pub fn store_write(&self, result: &str, took: Duration) {
        self.prometheus.store_write(result, took);
    }

    /// Records that every page of the store was read: `ok`, or the kind of what was found.
    pub fn store_check(&self, result: &str) {
        self.prometheus.store_check(result);
    }

    /// Takes whether the store can be written, and how many damaged files were set aside since the process started.
    /// Until this is first called nothing is said of a store.
    pub fn store(&self, up: bool, set_aside: u64) {
        self.prometheus.store(up, set_aside);
    }

    /// Takes the messages that are not known to have arrived: each by its channel, and whether the store has it
    /// (`saved`, `unsaved`).
    pub fn outbox<'a>(&self, owed: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.prometheus.outbox(owed);
    }

    /// Takes how the copying to the fleet's database goes; `skipped` is a total since the process started.
    pub fn fleet(&self, up: bool, waiting: u64, skipped: u64) {
        self.prometheus.fleet(up, waiting, skipped);
    }

    /// Records a notification that was held back: a word of [`crate::core::alert::HeldBack`].
    pub fn held(&self, reason: &str) {
        self.prometheus.held(reason);
    }

    /// Takes how many silences hold, how many incidents are acknowledged, and whether a maintenance is under way.
    pub fn operators(&self, silences: usize, acknowledged: usize, maintenance: bool) {
        self.prometheus
            .operators(silences, acknowledged, maintenance);
    }

    /// Records that the controller stood still.
    pub fn stalled(&self) {
        self.prometheus.stalled();
    }

    /// Records a boot that touched a maintenance, beside its own record.
    pub fn boot_in_maintenance(&self, boot: &Boot) {
        if let Some(outcome) = boot.outcome {
            self.prometheus
                .boot_in_maintenance(boot.kind(), boot.origin, outcome, boot.failure);
        }
    }

    /// Records a page that no channel took: told to the `journal` or the `program`, and whether that went well.
    pub fn last_resort(&self, way: &str, heard: bool) {
        self.prometheus.last_resort(way, heard);
    }

    /// Takes whether only a person can make a channel work again.
    pub fn broken(&self, channel: &str, broken: bool) {
        self.prometheus.broken(channel, broken);
    }

    /// Records what became of a sign of life: `sent`, `failed` or `withheld`.
    pub fn heartbeat(&self, result: &str) {
        self.prometheus.heartbeat(result);
    }

    /// Records a look at a VM, or that there was none.
    pub fn probed(&self, look: &Look) {
        self.prometheus.probed(look);
    }

    /// Takes whether probes can tell something of VMs.
    pub fn prober_sound(&self, sound: bool) {
        self.prometheus.prober_sound(sound);
    }

    /// Records looks that were let pass because the one before was still under way.
    pub fn looks_overrun(&self, looks: u64) {
        self.prometheus.looks_overrun(looks);
    }

    /// Records how a synthetic boot's checks ended.
    pub fn synthetic_run(&self, result: SyntheticResult) {
        self.prometheus.synthetic().run(result);
    }

    /// Records a synthetic boot that was not begun.
    pub fn synthetic_skipped(&self, reason: SkipReason) {
        self.prometheus.synthetic().skipped(reason);
    }

    /// Records how long a phase of a synthetic boot took, in milliseconds.
    pub fn synthetic_phase(&self, phase: TrialPhase, ms: i64) {
        self.prometheus.synthetic().phase(phase, ms);
    }

    /// Takes when a synthetic boot last passed, if one ever did.
    pub fn synthetic_succeeded(&self, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.prometheus.synthetic().succeeded(at);
        }
    }

    /// Records whether anything is left of a synthetic boot.
    pub fn synthetic_cleaned(&self, clean: bool) {
        self.prometheus.synthetic().cleaned(clean);
    }

    /// Records an address that was named as a VM's and not contacted.
    pub fn synthetic_address_refused(&self) {
        self.prometheus.synthetic().refused();
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.prometheus.render()
    }

    /// The same figures, as OTLP has them.
    fn otlp_metrics(&self) -> Vec<otlp::Metric> {
        otlp::metrics(&self.prometheus.gather(), self.since, clock::now())
    }

    /// Nothing of the boot changes any more, so its trace is told, once.
    fn boot_settled(&self, boot: &Boot) {
        if let Some(traces) = &self.traces {
            let pushed_out = traces.tell(boot);
            if pushed_out > 0 {
                self.otlp_sent(otlp::Signal::Traces, otlp::Sent::Dropped, pushed_out);
            }
            self.otlp_waiting(traces.waiting());
        }
    }

    fn attempt_ended(&self, attempt: &AttemptEnded) {
        self.prometheus
            .attempt_ended(attempt.result, attempt.ms.map(seconds));
    }

    fn boot_ended(&self, boot: &Boot) {
        let Some(outcome) = boot.outcome else { return };
        let lasted = match (outcome, boot.ready_ms) {
            // Rows tell when a state was seen, not when it came.
            _ if boot.first.source == ROWS || boot.untimed => None,
            (Outcome::Ready, Some(ready_ms)) => Some(seconds(ready_ms)),
            _ => boot
                .ended_at
                .map(|ended_at| ended_at.since(boot.started_at))
                .filter(|ms| *ms >= 0)
                .map(|ms| ms as f64 / 1_000.0),
        };
        // A boot that never came to its health wait says nothing about how many attempts one takes.
        let waited = boot.limits.is_some() || !boot.attempts.is_empty();
        let attempts: u32 = boot.attempts.iter().map(|(_, count)| *count).sum();
        self.prometheus.boot_ended(&BootEnd {
            vm_type: boot.kind(),
            origin: boot.origin,
            outcome,
            failure: boot.failure,
            seconds: lasted,
            attempts: waited.then_some(attempts),
        });
    }
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1_000.0
}
