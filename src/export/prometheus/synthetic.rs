//! Our own boots.

use ::prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::family::{BOOT_SECONDS, Family};
use super::table::{Table, words};
use crate::core::event::Timestamp;
use crate::core::synthetic::{SkipReason, SyntheticResult, TrialPhase};

const CLEANED: [&str; 2] = ["clean", "unclean"];

#[derive(Debug)]
pub(in crate::export) struct Synthetic {
    runs: Table<IntCounterVec, 1>,
    skipped: Table<IntCounterVec, 1>,
    phases: Table<HistogramVec, 1>,
    success: Table<IntGaugeVec, 0>,
    last_success: Table<GaugeVec, 0>,
    cleaned: Table<IntCounterVec, 1>,
    refused: Table<IntCounterVec, 0>,
}

impl Synthetic {
    pub(super) fn new(family: &Family<'_>) -> Synthetic {
        Synthetic {
            runs: Table::new(
                family.counter(
                    "synthetic_runs_total",
                    "Synthetic boots by how their checks ended; errored ones say nothing about VMs.",
                    &["result"],
                ),
                [words(SyntheticResult::ALL.iter().map(|word| word.as_str()))],
            ),
            skipped: Table::new(
                family.counter(
                    "synthetic_skips_total",
                    "Synthetic boots that were not begun, by the guard that forbade them.",
                    &["reason"],
                ),
                [words(SkipReason::ALL.iter().map(|word| word.as_str()))],
            ),
            phases: Table::new(
                family.histogram(
                    "synthetic_phase_duration_seconds",
                    "How long each phase of a synthetic boot took; one that it stopped in counts, too.",
                    BOOT_SECONDS,
                    &["phase"],
                ),
                [words(TrialPhase::ALL.iter().map(|word| word.as_str()))],
            ),
            success: Table::new(
                family.gauge(
                    "synthetic_success",
                    "1 if the last synthetic boot that was judged passed, 0 if it failed.",
                    &[],
                ),
                [],
            ),
            last_success: Table::new(
                family.real_gauge(
                    "synthetic_last_success_timestamp_seconds",
                    "When a synthetic boot last passed.",
                    &[],
                ),
                [],
            ),
            cleaned: Table::new(
                family.counter(
                    "synthetic_cleanups_total",
                    "Synthetic boots of which nothing is left (clean), or of which that cannot be shown (unclean).",
                    &["result"],
                ),
                [words(CLEANED)],
            ),
            refused: Table::new(
                family.counter(
                    "synthetic_addresses_refused_total",
                    "Addresses that an answer, a row or the log named as a VM's and that were not contacted, being outside the \
                     VM networks.",
                    &[],
                ),
                [],
            ),
        }
    }

    pub(in crate::export) fn zero(&self) {
        for result in SyntheticResult::ALL {
            self.runs.make([*result as usize]);
        }
        // A reason that has not come up is a line at zero and no hole in a panel.
        for reason in SkipReason::ALL {
            self.skipped.make([*reason as usize]);
        }
        for place in 0..CLEANED.len() {
            self.cleaned.make([place]);
        }
        self.refused.make([]);
    }

    pub(in crate::export) fn run(&self, result: SyntheticResult) {
        self.runs.at([result as usize]).inc();
        match result {
            SyntheticResult::Passed => self.success.at([]).set(1),
            SyntheticResult::Failed => self.success.at([]).set(0),
            SyntheticResult::Skipped | SyntheticResult::Errored => {}
        }
    }

    pub(in crate::export) fn skipped(&self, reason: SkipReason) {
        self.skipped.at([reason as usize]).inc();
    }

    pub(in crate::export) fn phase(&self, phase: TrialPhase, ms: i64) {
        self.phases
            .at([phase as usize])
            .observe(ms as f64 / 1_000.0);
    }

    pub(in crate::export) fn succeeded(&self, at: Timestamp) {
        self.last_success.at([]).set(at.0 as f64 / 1_000.0);
    }

    pub(in crate::export) fn cleaned(&self, clean: bool) {
        self.cleaned.at([usize::from(!clean)]).inc();
    }

    pub(in crate::export) fn refused(&self) {
        self.refused.at([]).inc();
    }
}
