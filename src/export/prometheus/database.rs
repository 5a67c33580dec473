//! The controller's database: what it is asked and how long that takes, and what its rows tell: VMs, sessions,
//! addresses, and where the sources do not fit together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::prometheus::proto::MetricFamily;
use ::prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::family::{Family, QUERY_SECONDS, is_called};
use super::table::{Followed, Table, words};
use crate::core::event::VmType;
use crate::core::finding::FindingKind;
use crate::core::inventory::{AddressState, Addresses, SessionTotals};
use crate::core::row::{Provider, SessionStatus, VmStatus};
use crate::export::label;

const VMS: &str = "database_vms";
const INCOMPLETE: &str = "sessions_incomplete";
const UNREADABLE: &str = "database_rows_unreadable";
const CLOCK: &str = "database_clock_skew_seconds";
const FINDINGS: &str = "findings";
const ADDRESSES: &str = "ip_pool_addresses";

/// Gauges of rows as they are now.
const OF_ROWS: [&str; 6] = [VMS, INCOMPLETE, UNREADABLE, CLOCK, FINDINGS, ADDRESSES];

#[derive(Debug)]
pub(super) struct Database {
    vms: Table<IntGaugeVec, 2>,
    /// By provider, then by status; empty where no database is watched.
    sessions: Vec<Followed>,
    sessions_family: IntCounterVec,
    incomplete: Table<IntGaugeVec, 0>,
    unreadable: Table<IntGaugeVec, 0>,
    /// Without a series before the first look.
    clock: GaugeVec,
    findings: Table<IntGaugeVec, 1>,
    addresses: Table<IntGaugeVec, 1>,
    /// Rows told of them at the last look.
    has_addresses: AtomicBool,
    /// What is asked, and how long it takes; empty where no database is watched.
    queries: Vec<&'static str>,
    asked: Table<HistogramVec, 1>,
}

impl Database {
    pub(super) fn new(family: &Family<'_>, queries: &[&'static str]) -> Database {
        let vm_types = VmType::ALL.iter().map(|vm_type| vm_type.as_str());
        Database {
            vms: Table::new(
                family.gauge(
                    VMS,
                    "Rows of vms that are open or of the last 48 hours.",
                    &["vm_type", "status"],
                ),
                [
                    words(vm_types.chain([label::OTHER])),
                    words(VmStatus::ALL.iter().map(|status| status.as_str())),
                ],
            ),
            sessions: Vec::new(),
            sessions_family: family.counter(
                "sessions_total",
                "Sessions that were seen to reach a status, from the rows of auth_sessions.",
                &["provider", "status"],
            ),
            incomplete: Table::new(
                family.gauge(
                    INCOMPLETE,
                    "Sessions past their deadline whose VM's columns are empty; for the rule SessionsIncomplete.",
                    &[],
                ),
                [],
            ),
            unreadable: Table::new(
                family.gauge(
                    UNREADABLE,
                    "Rows whose id or time cannot be read, of all read since the whole window last was; they are in no other figure.",
                    &[],
                ),
                [],
            ),
            clock: family.real_gauge(
                CLOCK,
                "By how much the clock of the controller's database is ahead of this machine's; negative: behind.",
                &[],
            ),
            findings: Table::new(
                family.gauge(
                    FINDINGS,
                    "Open findings: where log, database and processes do not fit together; for the rule GhostVms.",
                    &["kind"],
                ),
                [words(FindingKind::ALL.iter().map(|kind| kind.as_str()))],
            ),
            addresses: Table::new(
                family.gauge(
                    ADDRESSES,
                    "Addresses of the controller's pool, from the rows of vms; for the rule IpPoolLow.",
                    &["state"],
                ),
                [words(AddressState::ALL.iter().map(|state| state.as_str()))],
            ),
            has_addresses: AtomicBool::new(false),
            queries: queries.to_vec(),
            asked: Table::new(
                family.histogram(
                    "database_poll_duration_seconds",
                    "How long a question to the controller's database took.",
                    QUERY_SECONDS,
                    &["query"],
                ),
                [words(queries.iter().copied().chain([label::OTHER]))],
            ),
        }
    }

    /// Whether these tell what holds. While rows cannot be seen, gauges of them are not shown, since a gauge that stands
    /// still looks healthy; findings neither, of which none comes or goes then. Nor is the pool while no row tells of it.
    pub(super) fn holds(&self, family: &MetricFamily, is_up: bool) -> bool {
        let has_addresses = self.has_addresses.load(Ordering::Acquire);
        match OF_ROWS.iter().find(|name| is_called(family, name)) {
            Some(name) => is_up && (*name != ADDRESSES || has_addresses),
            None => true,
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Says whether the question is one that is known.
    pub(super) fn asked(&self, query: &str, took: Duration) -> bool {
        let known = self.queries.iter().position(|known| *known == query);
        let place = known.unwrap_or(self.queries.len());
        self.asked.at([place]).observe(took.as_secs_f64());
        known.is_some()
    }

    /// A database is watched: what rules ask about is there once rows are seen. The pool is not: none free would be untrue.
    pub(super) fn zero(&mut self) {
        self.incomplete.make([]);
        self.unreadable.make([]);
        for kind in FindingKind::ALL {
            self.findings.make([*kind as usize]);
        }
        for provider in Provider::ALL {
            for status in SessionStatus::ALL {
                let labels = [provider.as_str(), status.as_str()];
                let series = self.sessions_family.with_label_values(&labels);
                self.sessions.push(Followed::new(series));
            }
        }
    }

    pub(super) fn vms(&self, counts: &[(Option<VmType>, VmStatus, usize)]) {
        let places = counts.iter().map(|(vm_type, status, count)| {
            let vm_type = vm_type.map_or(VmType::ALL.len(), |vm_type| vm_type as usize);
            ([vm_type, *status as usize], *count)
        });
        self.vms.set_counts(places);
    }

    pub(super) fn sessions(&self, totals: &SessionTotals, live: bool) {
        for (followed, total) in self.sessions.iter().zip(totals.0.as_flattened()) {
            match live {
                true => followed.follow(*total),
                false => followed.skip(*total),
            }
        }
    }

    pub(super) fn incomplete(&self, sessions: usize) {
        self.incomplete.set_counts([([], sessions)].into_iter());
    }

    pub(super) fn unreadable(&self, rows: usize) {
        self.unreadable.set_counts([([], rows)].into_iter());
    }

    pub(super) fn clock(&self, ahead_ms: i64) {
        let none: [&str; 0] = [];
        self.clock
            .with_label_values(&none)
            .set(ahead_ms as f64 / 1_000.0);
    }

    pub(super) fn findings(&self, counts: &[usize]) {
        self.findings.set_counts(
            counts
                .iter()
                .enumerate()
                .map(|(kind, count)| ([kind], *count)),
        );
    }

    pub(super) fn addresses(&self, addresses: Option<Addresses>) {
        if let Some(addresses) = addresses {
            let states = AddressState::ALL.iter();
            self.addresses
                .set_counts(states.map(|state| ([*state as usize], addresses.of(*state))));
        }
        // Behind the figures that it shows.
        self.has_addresses
            .store(addresses.is_some(), Ordering::Release);
    }
}
