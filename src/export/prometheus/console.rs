//! What was kept of failed boots' consoles.

use ::prometheus::IntCounterVec;

use super::family::Family;
use super::table::{Table, words};

const RESULTS: [&str; 4] = ["whole", "partial", "archived", "none"];

#[derive(Debug)]
pub(super) struct Consoles {
    evidence: Table<IntCounterVec, 1>,
}

impl Consoles {
    pub(super) fn new(family: &Family<'_>) -> Consoles {
        Consoles {
            evidence: Table::new(
                family.counter(
                    "console_evidence_total",
                    "Times that a failed boot's console was asked for, by what there was of it.",
                    &["result"],
                ),
                [words(RESULTS)],
            ),
        }
    }

    pub(super) fn evidence(&self, result: &str) {
        if let Some(place) = RESULTS.iter().position(|known| *known == result) {
            self.evidence.at([place]).inc();
        }
    }
}
