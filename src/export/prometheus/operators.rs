//! What operators hold back, and the last resort.

use ::prometheus::{IntCounterVec, IntGaugeVec};

use super::family::Family;
use super::table::{Table, words};
use crate::core::alert::HeldBack;
use crate::core::event::{Origin, Outcome, VmType};
use crate::export::label;

/// Where the last resort speaks.
const WAYS: [&str; 2] = ["journal", "program"];
const RESULTS: [&str; 2] = ["sent", "failed"];

#[derive(Debug)]
pub(super) struct Operators {
    held: Table<IntCounterVec, 1>,
    silences: Table<IntGaugeVec, 0>,
    acknowledged: Table<IntGaugeVec, 0>,
    maintenance: Table<IntGaugeVec, 0>,
    boots: Table<IntCounterVec, 4>,
    last_resort: Table<IntCounterVec, 2>,
}

impl Operators {
    pub(super) fn new(family: &Family<'_>) -> Operators {
        let reasons = words(HeldBack::WORDS.iter().copied());
        let vm_types = words(VmType::ALL.iter().map(|vm_type| vm_type.as_str()));
        let origins = words(Origin::ALL.iter().map(|origin| origin.as_str()));
        let outcomes = words(Outcome::ALL.iter().map(|outcome| outcome.as_str()));
        let operators = Operators {
            held: Table::new(
                family.counter(
                    "notifications_held_total",
                    "Notifications that were not sent when they were due, by what held them back.",
                    &["reason"],
                ),
                [reasons],
            ),
            silences: Table::new(
                family.gauge("silences_active", "Silences that hold now.", &[]),
                [],
            ),
            acknowledged: Table::new(
                family.gauge(
                    "incidents_acknowledged",
                    "Open incidents that somebody has acknowledged.",
                    &[],
                ),
                [],
            ),
            maintenance: Table::new(
                family.gauge(
                    "maintenance_active",
                    "1 while a maintenance is under way: boots that touch it count neither for nor against.",
                    &[],
                ),
                [],
            ),
            boots: Table::new(
                family.counter(
                    "boots_in_maintenance_total",
                    "Of boots_total, those that touched a maintenance.",
                    &["vm_type", "origin", "outcome", "failure"],
                ),
                [vm_types, origins, outcomes, label::failures()],
            ),
            last_resort: Table::new(
                family.counter(
                    "last_resort_total",
                    "Pages that no channel took and that were told to the journal, or to the configured program.",
                    &["way", "result"],
                ),
                [words(WAYS), words(RESULTS)],
            ),
        };
        for reason in 0..HeldBack::WORDS.len() {
            operators.held.make([reason]);
        }
        operators
    }

    pub(super) fn held(&self, reason: &str) {
        let known = HeldBack::WORDS.iter().position(|known| *known == reason);
        if let Some(place) = known {
            self.held.at([place]).inc();
        }
    }

    pub(super) fn figures(&self, silences: usize, acknowledged: usize, maintenance: bool) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.silences.at([]).set(whole(silences));
        self.acknowledged.at([]).set(whole(acknowledged));
        self.maintenance.at([]).set(maintenance.into());
    }

    /// A boot that touched a maintenance, at the place that it has in `boots_total`.
    pub(super) fn boot(&self, place: [usize; 4]) {
        self.boots.at(place).inc();
    }

    /// Has its series from now on.
    pub(super) fn make_boots(&self, place: [usize; 4]) {
        self.boots.make(place);
    }

    pub(super) fn last_resort(&self, way: &str, heard: bool) {
        let way = WAYS.iter().position(|known| *known == way).unwrap_or(0);
        self.last_resort.at([way, usize::from(!heard)]).inc();
    }
}
