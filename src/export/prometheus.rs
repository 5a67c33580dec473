//! The registry that Prometheus scrapes.
//!
//! Each family keeps its series in a table by place, made when first used, so that recording is an index and an atomic
//! addition. Rendering takes a snapshot of each series and writes outside of any lock that recording takes.

mod console;
mod database;
mod family;
mod image;
mod log;
mod notifications;
mod operators;
mod otlp;
mod probes;
mod process;
mod store;
mod synthetic;
mod table;

use std::time::Duration;

use ::prometheus::proto::MetricFamily;
use ::prometheus::{
    Encoder, GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry, TextEncoder,
};

use super::label::{self, Bounded};
use super::otlp::{Sent, Signal};
use super::{ReadFigures, Setup, SourceFigures};
use crate::core::boot::TrackerCounts;
use crate::core::event::{
    AttemptError, AttemptResult, Failure, Origin, Outcome, Stage, StageOutcome, Timestamp, VmType,
};
use crate::core::image::{Finding, Generation};
use crate::core::inventory::{Addresses, SessionTotals};
use crate::core::probe::Look;
use crate::core::row::VmStatus;
use crate::core::rule::{RuleName, Severity};
use console::Consoles;
use database::Database;
use family::{ATTEMPT_SECONDS, ATTEMPTS, BOOT_SECONDS, Family};
use image::Images;
use log::Logs;
use notifications::Notifications;
use operators::Operators;
use otlp::Otlp;
use probes::Probes;
use process::Process;
use store::Stores;
use synthetic::Synthetic;
use table::{Followed, Table, words};

/// The database as a source.
const DATABASE: &str = "database";

/// A boot that ended, in the words of labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootEnd {
    pub(super) vm_type: VmType,
    pub(super) origin: Origin,
    pub(super) outcome: Outcome,
    pub(super) failure: Option<Failure>,
    pub(super) seconds: Option<f64>,
    /// Of a boot that came to its health wait.
    pub(super) attempts: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Prometheus {
    registry: Registry,
    boots: Table<IntCounterVec, 4>,
    boot_duration: Table<HistogramVec, 3>,
    stage_duration: Table<HistogramVec, 3>,
    in_progress: Table<IntGaugeVec, 1>,
    overdue: Table<IntGaugeVec, 2>,
    deadline: Table<GaugeVec, 0>,
    health_checks: Table<IntCounterVec, 1>,
    health_check_duration: Table<HistogramVec, 1>,
    attempts: Table<HistogramVec, 1>,
    rules: Vec<RuleName>,
    /// A sign of life is sent.
    beats: bool,
    firing: Table<IntGaugeVec, 2>,
    transitions: Table<IntCounterVec, 3>,
    notifications: Notifications,
    tracker: Tracker,
    logs: Logs,
    stores: Stores,
    operators: Operators,
    database: Database,
    consoles: Consoles,
    synthetic: Synthetic,
    images: Images,
    probes: Probes,
    /// What is sent over OTLP, where anything is.
    otlp: Option<Otlp>,
    overflow: Table<IntCounterVec, 1>,
    process: Process,
}

/// What the boot tracker could not tell, or gave up.
#[derive(Debug)]
struct Tracker {
    controller_stalls: Followed,
    controller_starts: Followed,
    evicted: Followed,
    late_marks: Followed,
    rejected_durations: Followed,
    rejected_requests: Followed,
    unattributed: Followed,
}

impl Prometheus {
    pub(super) fn new(setup: &Setup) -> Prometheus {
        let registry = Registry::new();
        let family = Family::new(&registry);
        let vm_types = words(VmType::ALL.iter().map(|vm_type| vm_type.as_str()));
        let origins = words(Origin::ALL.iter().map(|origin| origin.as_str()));
        let outcomes = words(Outcome::ALL.iter().map(|outcome| outcome.as_str()));
        let severities = words([Severity::Page, Severity::Ticket].map(Severity::as_str));
        let rules = words(RuleName::ALL.iter().map(|rule| rule.as_str()));
        let results = label::health_results();
        let mut channels = setup.channels.clone();
        channels.push(label::OTHER.to_owned());
        let logs = Logs::new(&family, &setup.sources);
        let stores = Stores::new(&family, logs.up(), channels.clone());

        family.build_info(setup.version);
        family.constant(
            "boots_objective_ratio",
            "The share of boots that shall become ready, as configured: the budget is the rest.",
            setup.objective,
        );
        let mut prometheus = Prometheus {
            boots: Table::new(
                family.counter(
                    "boots_total",
                    "Boots that ended, as the controller's log tells; for the rule BootFailureRate.",
                    &["vm_type", "origin", "outcome", "failure"],
                ),
                [vm_types.clone(), origins.clone(), outcomes.clone(), label::failures()],
            ),
            boot_duration: Table::new(
                family.histogram(
                    "boot_duration_seconds",
                    "From the creation's start to the boot's end, from the controller's log.",
                    BOOT_SECONDS,
                    &["vm_type", "origin", "outcome"],
                ),
                [vm_types.clone(), origins, outcomes.clone()],
            ),
            stage_duration: Table::new(
                family.histogram(
                    "boot_stage_duration_seconds",
                    "How long a stage of a boot took, failed ones too, from the controller's log.",
                    BOOT_SECONDS,
                    &["vm_type", "boot_stage", "outcome"],
                ),
                [
                    vm_types.clone(),
                    words(Stage::ALL.iter().map(|stage| stage.as_str())),
                    words(StageOutcome::ALL.iter().map(|outcome| outcome.as_str())),
                ],
            ),
            in_progress: Table::new(
                family.gauge("boots_in_progress", "Users' boots in flight.", &["vm_type"]),
                [vm_types.clone()],
            ),
            overdue: Table::new(
                family.gauge(
                    "boots_overdue",
                    "Boots in flight whose health checks have failed for longer than the learnt time-to-ready allows; \
                     for the rules ConnectionRefusedSpike and ConnectionErrorSpike.",
                    &["vm_type", "result"],
                ),
                [vm_types, results.clone()],
            ),
            deadline: Table::new(
                family.real_gauge(
                    "boot_ready_deadline_seconds",
                    "How long the controller waits for a browser VM to be ready, as last logged.",
                    &[],
                ),
                [],
            ),
            health_checks: Table::new(
                family.counter(
                    "health_checks_total",
                    "Health checks by the controller, as its log tells.",
                    &["result"],
                ),
                [results.clone()],
            ),
            health_check_duration: Table::new(
                family.histogram(
                    "health_check_duration_seconds",
                    "How long a failed health check by the controller took, from its log; successes are logged without \
                     a duration.",
                    ATTEMPT_SECONDS,
                    &["result"],
                ),
                [results],
            ),
            attempts: Table::new(
                family.histogram(
                    "boot_health_check_attempts",
                    "Health checks of a boot that came to its health wait.",
                    ATTEMPTS,
                    &["outcome"],
                ),
                [outcomes],
            ),
            rules: setup.rules.clone(),
            beats: setup.heartbeat,
            firing: Table::new(
                family.gauge(
                    "alerts_firing",
                    "Kinds of VM for which the alert fires.",
                    &["rule", "severity"],
                ),
                [rules.clone(), severities.clone()],
            ),
            transitions: Table::new(
                family.counter(
                    "alert_transitions_total",
                    "Alerts that came into this state.",
                    &["rule", "severity", "state"],
                ),
                [
                    rules,
                    severities,
                    words(label::ALERT_STATES.into_iter().chain([label::OTHER])),
                ],
            ),
            notifications: Notifications::new(
                &family,
                &setup.channels,
                &setup.results,
                channels,
            ),
            tracker: Tracker {
                controller_stalls: family.single(
                    "controller_stalls_total",
                    "Times that the controller did nothing for seconds while boots waited for health.",
                ),
                controller_starts: family.single(
                    "controller_starts_total",
                    "Starts of the controller, as its log tells.",
                ),
                evicted: family.single(
                    "boots_evicted_total",
                    "Boots given up as lost because too many were in flight.",
                ),
                late_marks: family.single(
                    "boot_late_marks_total",
                    "Log records about boots that had ended, and second creations of a VM that differ from the first.",
                ),
                rejected_durations: family.single(
                    "boot_durations_rejected_total",
                    "Durations in the log that were negative or beyond an hour.",
                ),
                rejected_requests: family.single(
                    "requests_rejected_total",
                    "Requests that failed for a mistake of their caller.",
                ),
                unattributed: family.single(
                    "health_checks_unattributed_total",
                    "Log records of health checks on an address that no known boot held.",
                ),
            },
            logs,
            stores,
            operators: Operators::new(&family),
            database: Database::new(&family, &setup.queries),
            consoles: Consoles::new(&family),
            images: Images::new(&family),
            probes: Probes::new(&family),
            synthetic: Synthetic::new(&family),
            otlp: setup.otlp.as_ref().map(|otlp| Otlp::new(&family, otlp.traces)),
            overflow: Table::new(
                family.counter(
                    "label_overflow_total",
                    "Values shown as \"other\" because they lie beyond the label's closed set.",
                    &["label"],
                ),
                [words(Bounded::ALL.map(Bounded::as_str))],
            ),
            process: Process::new(&registry),
            registry,
        };
        prometheus.zero();
        if prometheus.database.is_watched() {
            prometheus.database.zero();
        }
        if setup.synthetic {
            prometheus.synthetic.zero();
        }
        prometheus
    }

    /// Makes the series that rules and dashboards ask about before anything has happened: a rate over a series that
    /// begins at 1 misses the first event.
    fn zero(&self) {
        let endings = Failure::ALL
            .iter()
            .filter(|failure| **failure != Failure::ControllerRestarted)
            .map(|failure| (Outcome::Failed, Some(*failure)))
            .chain([
                (Outcome::Ready, None),
                (Outcome::Cancelled, None),
                (Outcome::Lost, Some(Failure::ControllerRestarted)),
                (Outcome::Lost, Some(Failure::Unknown)),
            ]);
        for (outcome, failure) in endings {
            let failure = label::failure(outcome, failure);
            for vm_type in VmType::ALL {
                for origin in Origin::ALL {
                    let place = [
                        *vm_type as usize,
                        *origin as usize,
                        outcome as usize,
                        failure,
                    ];
                    self.boots.make(place);
                    // The rules take these off those.
                    let asked = matches!(outcome, Outcome::Ready | Outcome::Failed);
                    if asked && *origin == Origin::User {
                        self.operators.make_boots(place);
                    }
                }
            }
        }
        for vm_type in VmType::ALL {
            self.in_progress.make([*vm_type as usize]);
        }
        // Only browser VMs are asked for their health.
        for error in AttemptError::ALL {
            let overdue = AttemptResult::Error(*error);
            if RuleName::ALL
                .iter()
                .any(|rule| rule.counts_overdue(overdue))
            {
                self.overdue
                    .make([VmType::Browser as usize, label::error_place(*error)]);
            }
        }
        for rule in &self.rules {
            let severity = rule.severity() as usize;
            self.firing.make([*rule as usize, severity]);
            for state in 0..label::ALERT_STATES.len() {
                self.transitions.make([*rule as usize, severity, state]);
            }
        }
        self.notifications.zero(self.beats);
        if self.database.is_watched() {
            self.database_up(false);
        }
        for label in Bounded::ALL {
            self.overflow.make([label as usize]);
        }
    }

    pub(super) fn boot_ended(&self, end: &BootEnd) {
        let (vm_type, origin) = (end.vm_type as usize, end.origin as usize);
        let outcome = end.outcome as usize;
        let failure = label::failure(end.outcome, end.failure);
        self.boots.at([vm_type, origin, outcome, failure]).inc();
        if let Some(seconds) = end.seconds {
            self.boot_duration
                .at([vm_type, origin, outcome])
                .observe(seconds);
        }
        if let Some(attempts) = end.attempts {
            self.attempts.at([outcome]).observe(f64::from(attempts));
        }
    }

    pub(super) fn stage_ended(
        &self,
        vm_type: VmType,
        stage: Stage,
        outcome: StageOutcome,
        seconds: f64,
    ) {
        self.stage_duration
            .at([vm_type as usize, stage as usize, outcome as usize])
            .observe(seconds);
    }

    pub(super) fn attempt_ended(&self, result: AttemptResult, seconds: Option<f64>) {
        let result = self.health_result(result);
        self.health_checks.at([result]).inc();
        if let Some(seconds) = seconds {
            self.health_check_duration.at([result]).observe(seconds);
        }
    }

    pub(super) fn deadline(&self, seconds: f64) {
        self.deadline.at([]).set(seconds);
    }

    pub(super) fn alert_changed(&self, rule: RuleName, severity: Severity, to: &str) {
        let state = label::ALERT_STATES.iter().position(|state| *state == to);
        let state = state.unwrap_or_else(|| {
            self.overflowed(Bounded::State);
            label::ALERT_STATES.len()
        });
        self.transitions
            .at([rule as usize, severity as usize, state])
            .inc();
    }

    pub(super) fn heartbeat(&self, result: &str) {
        if !self.notifications.heartbeat(result) {
            self.overflowed(Bounded::Result);
        }
    }

    pub(super) fn alerts(&self, firing: impl Iterator<Item = RuleName>) {
        self.firing
            .set(firing.map(|rule| [rule as usize, rule.severity() as usize]));
    }

    pub(super) fn in_progress(&self, boots: impl IntoIterator<Item = VmType>) {
        self.in_progress
            .set(boots.into_iter().map(|vm_type| [vm_type as usize]));
    }

    pub(super) fn overdue(&self, boots: impl IntoIterator<Item = (VmType, AttemptResult)>) {
        let places = boots.into_iter().map(|(vm_type, result)| {
            // Set, not counted: asking again and again must not make one boot's odd status many.
            let other = label::error_place(AttemptError::Other);
            [
                vm_type as usize,
                label::health_result(result).unwrap_or(other),
            ]
        });
        self.overdue.set(places);
    }

    pub(super) fn stalled(&self) {
        self.tracker.controller_stalls.inc();
    }

    pub(super) fn tracker(&self, counts: &TrackerCounts, live: bool) {
        let tracker = &self.tracker;
        for (followed, total) in [
            (&tracker.controller_starts, counts.controller_starts),
            (&tracker.evicted, counts.evicted),
            (&tracker.late_marks, counts.late_marks),
            (&tracker.rejected_durations, counts.absurd_durations),
            (&tracker.rejected_requests, counts.rejected_requests),
            (&tracker.unattributed, counts.unattributed),
        ] {
            match live {
                true => followed.follow(total),
                false => followed.skip(total),
            }
        }
    }

    pub(super) fn source(&self, name: &str, figures: &SourceFigures) {
        if !self.logs.source(name, figures) {
            self.overflowed(Bounded::Source);
        }
    }

    pub(super) fn database_up(&self, up: bool) {
        self.logs.set_up(DATABASE, up);
    }

    pub(super) fn database_asked(&self, query: &str, took: Duration) {
        if !self.database.asked(query, took) {
            self.overflowed(Bounded::Query);
        }
    }

    pub(super) fn reads(&self, source: &str, figures: &ReadFigures) {
        if !self.logs.reads(source, figures) {
            self.overflowed(Bounded::Source);
        }
    }

    pub(super) fn vms(&self, counts: &[(Option<VmType>, VmStatus, usize)]) {
        self.database.vms(counts);
    }

    pub(super) fn sessions(&self, totals: &SessionTotals, live: bool) {
        self.database.sessions(totals, live);
    }

    pub(super) fn sessions_incomplete(&self, sessions: usize) {
        self.database.incomplete(sessions);
    }

    pub(super) fn rows_unreadable(&self, rows: usize) {
        self.database.unreadable(rows);
    }

    pub(super) fn database_clock(&self, ahead_ms: i64) {
        self.database.clock(ahead_ms);
    }

    pub(super) fn findings(&self, counts: &[usize]) {
        self.database.findings(counts);
    }

    pub(super) fn golden_image(&self, generation: Option<&Generation>, findings: &[Finding]) {
        self.images.audited(generation, findings);
    }

    pub(super) fn console_evidence(&self, result: &str) {
        self.consoles.evidence(result);
    }

    pub(super) fn synthetic(&self) -> &Synthetic {
        &self.synthetic
    }

    pub(super) fn addresses(&self, addresses: Option<Addresses>) {
        self.database.addresses(addresses);
    }

    pub(super) fn notification(&self, channel: &str, result: &str, latency: Option<Duration>) {
        let result = self.notifications.result(result).unwrap_or_else(|other| {
            self.overflowed(Bounded::Result);
            other
        });
        self.notifications
            .tried(self.channel(channel), result, latency);
    }

    pub(super) fn waiting(&self, channel: &str, notifications: usize, oldest: Option<Timestamp>) {
        self.notifications
            .waiting(self.channel(channel), notifications, oldest);
    }

    pub(super) fn store_write(&self, result: &str, took: Duration) {
        if !self.stores.write(result, took) {
            self.overflowed(Bounded::Result);
        }
    }

    pub(super) fn store_check(&self, result: &str) {
        if !self.stores.check(result) {
            self.overflowed(Bounded::Result);
        }
    }

    pub(super) fn store(&self, up: bool, set_aside: u64) {
        self.stores.store(up, set_aside);
    }

    pub(super) fn outbox<'a>(&self, owed: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let owed = owed.into_iter();
        self.stores
            .outbox(owed.map(|(channel, state)| (self.channel(channel), state)));
    }

    pub(super) fn fleet(&self, up: bool, waiting: u64, skipped: u64) {
        self.stores.fleet(up, waiting, skipped);
    }

    pub(super) fn held(&self, reason: &str) {
        self.operators.held(reason);
    }

    pub(super) fn operators(&self, silences: usize, acknowledged: usize, maintenance: bool) {
        self.operators.figures(silences, acknowledged, maintenance);
    }

    pub(super) fn boot_in_maintenance(
        &self,
        vm_type: VmType,
        origin: Origin,
        outcome: Outcome,
        failure: Option<Failure>,
    ) {
        self.operators.boot([
            vm_type as usize,
            origin as usize,
            outcome as usize,
            label::failure(outcome, failure),
        ]);
    }

    pub(super) fn last_resort(&self, way: &str, heard: bool) {
        self.operators.last_resort(way, heard);
    }

    pub(super) fn broken(&self, channel: &str, broken: bool) {
        self.notifications.broken(self.channel(channel), broken);
    }

    pub(super) fn probed(&self, look: &Look) {
        self.probes.looked(look);
    }

    pub(super) fn prober_sound(&self, sound: bool) {
        self.probes.sound(sound);
    }

    pub(super) fn looks_overrun(&self, looks: u64) {
        self.probes.overrun(looks);
    }

    pub(super) fn late(&self, vm_type: VmType, origin: Origin) {
        self.probes.late(vm_type, origin);
    }

    pub(super) fn otlp_sent(&self, signal: Signal, sent: Sent, items: usize) {
        if let Some(otlp) = &self.otlp {
            otlp.sent(signal, sent, items);
        }
    }

    pub(super) fn otlp_waiting(&self, traces: usize) {
        if let Some(otlp) = &self.otlp {
            otlp.waiting(traces);
        }
    }

    /// Every series as it now is.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.process.refresh();
        let mut families = self.registry.gather();
        // By what these very families say: of most figures the rules hold an alert that lost its own while `source_up` is 0.
        let is_up = log::is_up(&families, DATABASE);
        families.retain(|family| self.database.holds(family, is_up));
        families
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(64 << 10);
        if let Err(error) = TextEncoder::new().encode(&self.gather(), &mut text) {
            tracing::error!(%error, "a metric cannot be written");
        }
        text
    }

    fn health_result(&self, result: AttemptResult) -> usize {
        label::health_result(result).unwrap_or_else(|| {
            self.overflowed(Bounded::Result);
            label::error_place(AttemptError::Other)
        })
    }

    fn channel(&self, name: &str) -> usize {
        self.notifications.channel(name).unwrap_or_else(|other| {
            self.overflowed(Bounded::Channel);
            other
        })
    }

    fn overflowed(&self, label: Bounded) {
        self.overflow.at([label as usize]).inc();
    }
}
