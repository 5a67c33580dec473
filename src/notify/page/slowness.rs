//! The words for boots that are ready, and later than they were.

use crate::core::rule::{Detail, Reading};
use crate::core::slowness::{Slow, Slowness};

/// What a reading found to be slow.
pub(super) fn slow(reading: &Reading) -> Option<Slow> {
    match reading.detail {
        Some(Detail::Slow(slow)) => Some(slow),
        Some(Detail::Burn(_)) | None => None,
    }
}

/// `browser boots are slower: clone_snapshot takes 9.1 s at p95, 3.2 s was usual`; `since` follows.
pub(super) fn title(kind: &str, slowness: Slowness, slow: Option<Slow>) -> String {
    let Some(slow) = slow else {
        return format!("{kind} boots are slower: {}", slowness.meaning());
    };
    let (p95, against) = (seconds(slow.p95_ms), seconds(slow.against_ms));
    match slow.stage {
        Some(stage) => {
            format!("{kind} boots are slower: {stage} takes {p95} at p95, {against} was usual")
        }
        None => format!(
            "{kind} boots are ready hardly in time: after {p95} at p95, and the controller gives them up after {against}"
        ),
    }
}

/// What was counted, as the middle of a sentence.
pub(super) fn counted(slow: Slow) -> String {
    let limit = seconds(slow.limit_ms);
    match slow.stage {
        Some(stage) => format!("took longer than {limit} in {stage}"),
        None => format!("were ready only after {limit} or more"),
    }
}

pub(super) fn consequence(slowness: Slowness) -> &'static str {
    match slowness {
        Slowness::Stage => "The boots become ready all the same; users wait longer.",
        Slowness::Headroom => {
            "The boots become ready all the same; a little slower, and the controller gives them up."
        }
    }
}

pub(super) fn first_step(slowness: Slowness) -> &'static str {
    match slowness {
        Slowness::Stage => {
            "compare the time of the first slow boot with the golden image's modification time and the last deployment; \
             then look at the host's disk and load (iostat, df, uptime)."
        }
        Slowness::Headroom => {
            "see which stage takes the time (BootStageSlow says so), and compare the logged deadline with the one of last \
             week: was it lowered, or are the guests slower since an image?"
        }
    }
}

fn seconds(ms: u32) -> String {
    if ms < 10_000 {
        return format!("{:.1} s", f64::from(ms) / 1000.0);
    }
    format!("{:.0} s", f64::from(ms) / 1000.0)
}
