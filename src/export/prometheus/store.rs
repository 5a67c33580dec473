//! The store and its copy: whether they can be written, how long that takes, and what waits.

use std::time::Duration;

use ::prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::family::{Family, WRITE_SECONDS};
use super::table::{Axis, Followed, Table, words};
use crate::export::label;

/// What `outbox_messages` tells apart.
const OWED: [&str; 2] = ["saved", "unsaved"];

#[derive(Debug)]
pub(super) struct Stores {
    up: IntGaugeVec,
    write_duration: Table<HistogramVec, 1>,
    checks: Table<IntCounterVec, 1>,
    set_aside: Followed,
    outbox: Table<IntGaugeVec, 2>,
    fleet_waiting: Table<IntGaugeVec, 0>,
    fleet_skipped: Followed,
}

impl Stores {
    /// `up` is the family `source_up`.
    pub(super) fn new(family: &Family<'_>, up: IntGaugeVec, channels: Axis) -> Stores {
        Stores {
            up,
            write_duration: Table::new(
                family.histogram(
                    "store_write_duration_seconds",
                    "How long a commit to the store took, failed ones too.",
                    WRITE_SECONDS,
                    &["result"],
                ),
                [words(label::STORE_RESULTS)],
            ),
            checks: Table::new(
                family.counter(
                    "store_checks_total",
                    "How often every page of the store was read, by what was found.",
                    &["result"],
                ),
                [words(label::STORE_RESULTS)],
            ),
            set_aside: family.single(
                "store_set_aside_total",
                "Damaged store files that were renamed; the log names them.",
            ),
            outbox: Table::new(
                family.gauge(
                    "outbox_messages",
                    "Messages that are not known to have arrived, in the store or not.",
                    &["channel", "state"],
                ),
                [channels, words(OWED)],
            ),
            fleet_waiting: Table::new(
                family.gauge(
                    "fleet_rows_waiting",
                    "Boots and incidents that are not copied to the fleet's database yet, counted to 100,000 of each.",
                    &[],
                ),
                [],
            ),
            fleet_skipped: family.single(
                "fleet_rows_skipped_total",
                "Rows that the fleet's database refused for what they hold.",
            ),
        }
    }

    /// Says whether the result is one that is known.
    pub(super) fn write(&self, result: &str, took: Duration) -> bool {
        let (place, known) = place_of(result);
        self.write_duration.at([place]).observe(took.as_secs_f64());
        known
    }

    /// Says whether the result is one that is known.
    pub(super) fn check(&self, result: &str) -> bool {
        let (place, known) = place_of(result);
        self.checks.at([place]).inc();
        known
    }

    pub(super) fn store(&self, up: bool, set_aside: u64) {
        self.up.with_label_values(&["store"]).set(up.into());
        self.set_aside.follow(set_aside);
    }

    /// The places of channels, and how many messages each owes in which state; another state is not told apart.
    pub(super) fn outbox<'a>(&self, owed: impl Iterator<Item = (usize, &'a str)>) {
        self.outbox.set(owed.map(|(channel, state)| {
            let known = OWED.iter().position(|known| *known == state);
            [channel, known.unwrap_or(0)]
        }));
    }

    pub(super) fn fleet(&self, up: bool, waiting: u64, skipped: u64) {
        self.up.with_label_values(&["fleet"]).set(up.into());
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.fleet_waiting.at([]).set(waiting);
        self.fleet_skipped.follow(skipped);
    }
}

/// The place of a result, and whether it is one that is known.
fn place_of(result: &str) -> (usize, bool) {
    let known = label::STORE_RESULTS
        .iter()
        .position(|known| *known == result);
    (
        known.unwrap_or(label::STORE_RESULTS.len() - 1),
        known.is_some(),
    )
}
