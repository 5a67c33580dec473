//! The golden image as last audited.

use ::prometheus::GaugeVec;

use super::family::Family;
use super::table::{Table, words};
use crate::core::image::{Check, Finding, Generation, Verdict, by_check};

#[derive(Debug)]
pub(super) struct Images {
    checks: Table<GaugeVec, 1>,
    /// Of the image that is there: a single series each, or none.
    modified: GaugeVec,
    size: GaugeVec,
}

impl Images {
    pub(super) fn new(family: &Family<'_>) -> Images {
        Images {
            checks: Table::new(
                family.real_gauge(
                    "golden_image_check",
                    "The verdict on the golden image: 1 pass, 0.5 warn, 0 fail, -1 unknown.",
                    &["check"],
                ),
                [words(Check::ALL.iter().map(|check| check.as_str()))],
            ),
            modified: family.real_gauge(
                "golden_image_modified_timestamp_seconds",
                "When the golden image was last written, as of its audit; absent while it is not there.",
                &[],
            ),
            size: family.real_gauge(
                "golden_image_size_bytes",
                "The golden image's size, as of its audit; absent while it is not there.",
                &[],
            ),
        }
    }

    pub(super) fn audited(&self, generation: Option<&Generation>, findings: &[Finding]) {
        for (check, verdict) in by_check(findings) {
            self.checks.at([check as usize]).set(value(verdict));
        }
        let Some(generation) = generation else {
            self.modified.reset();
            self.size.reset();
            return;
        };
        let modified = generation.modified_at.0 as f64 / 1_000.0;
        let none: [&str; 0] = [];
        self.modified.with_label_values(&none).set(modified);
        self.size
            .with_label_values(&none)
            .set(generation.size as f64);
    }
}

fn value(verdict: Verdict) -> f64 {
    match verdict {
        Verdict::Pass => 1.0,
        Verdict::Warn => 0.5,
        Verdict::Fail => 0.0,
        Verdict::Unknown => -1.0,
    }
}
