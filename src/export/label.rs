//! The closed sets that label values come from, as places in them: a place is an index, so that no hot path compares or
//! hashes text.

use crate::core::event::{AttemptError, AttemptResult, Failure, Outcome};

/// What a value beyond its set is shown as.
pub(super) const OTHER: &str = "other";

/// The labels that can meet a value beyond their set; `label_overflow_total` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounded {
    Channel,
    Query,
    Result,
    Source,
    State,
}

impl Bounded {
    pub(super) const ALL: [Bounded; 5] = [
        Bounded::Channel,
        Bounded::Query,
        Bounded::Result,
        Bounded::Source,
        Bounded::State,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Bounded::Channel => "channel",
            Bounded::Query => "query",
            Bounded::Result => "result",
            Bounded::Source => "source",
            Bounded::State => "state",
        }
    }
}

/// Before the errors: `ok`, `vnc_not_ready` and the classes of HTTP statuses.
///
/// Statuses are told by class. A hostile agent can answer with nine hundred of them, and which hundred it was decides
/// what to do next; the exact one is in the boot's record.
const ANSWERS: [&str; 7] = [
    "ok",
    "vnc_not_ready",
    "http_1xx",
    "http_2xx",
    "http_3xx",
    "http_4xx",
    "http_5xx",
];

/// The values of `result` for health checks.
pub(super) fn health_results() -> Vec<String> {
    ANSWERS
        .into_iter()
        .chain(AttemptError::ALL.iter().map(|error| error.as_str()))
        .map(str::to_owned)
        .collect()
}

/// The place of a health check's result; `None` for a status that is none of HTTP's.
pub(super) fn health_result(result: AttemptResult) -> Option<usize> {
    match result {
        AttemptResult::Ok => Some(0),
        AttemptResult::VncNotReady => Some(1),
        AttemptResult::Http(status @ 100..600) => Some(usize::from(status / 100) + 1),
        AttemptResult::Http(_) => None,
        AttemptResult::Error(error) => Some(error_place(error)),
    }
}

pub(super) fn error_place(error: AttemptError) -> usize {
    ANSWERS.len() + error as usize
}

/// The values of `failure`: that there was none, and the classes.
pub(super) fn failures() -> Vec<String> {
    std::iter::once("none")
        .chain(Failure::ALL.iter().map(|failure| failure.as_str()))
        .map(str::to_owned)
        .collect()
}

/// The place of a boot's failure. A boot that did not fail has none; one that did always has a class.
pub(super) fn failure(outcome: Outcome, failure: Option<Failure>) -> usize {
    match outcome {
        Outcome::Ready | Outcome::Cancelled => 0,
        Outcome::Failed | Outcome::Lost => 1 + failure.unwrap_or(Failure::Unknown) as usize,
    }
}

/// What `AlertChanged::to` says.
pub(super) const ALERT_STATES: [&str; 5] =
    ["inactive", "pending", "firing", "flapping", "resolved"];

/// The values of `result` for signs of life; the last is for whatever else.
pub(super) const HEARTBEATS: [&str; 4] = ["sent", "failed", "withheld", OTHER];

/// The values of `result` for commits to the store; the last is for whatever else.
pub(super) const STORE_RESULTS: [&str; 7] =
    ["ok", "full", "locked", "read_only", "corrupt", "io", OTHER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_holds_its_own_word() {
        let words = health_results();
        let word = |result| words[health_result(result).expect("within the set")].as_str();
        assert_eq!(word(AttemptResult::Ok), "ok");
        assert_eq!(word(AttemptResult::VncNotReady), "vnc_not_ready");
        for (status, wanted) in [
            (100, "http_1xx"),
            (204, "http_2xx"),
            (302, "http_3xx"),
            (499, "http_4xx"),
            (500, "http_5xx"),
            (599, "http_5xx"),
        ] {
            assert_eq!(word(AttemptResult::Http(status)), wanted);
        }
        assert_eq!(health_result(AttemptResult::Http(600)), None);
        assert_eq!(health_result(AttemptResult::Http(99)), None);
        for error in AttemptError::ALL {
            assert_eq!(word(AttemptResult::Error(*error)), error.as_str());
        }
    }

    #[test]
    fn only_a_boot_that_failed_has_a_failure() {
        let words = failures();
        let word = |outcome, class| words[failure(outcome, class)].as_str();
        assert_eq!(word(Outcome::Ready, None), "none");
        assert_eq!(word(Outcome::Cancelled, Some(Failure::Unknown)), "none");
        assert_eq!(word(Outcome::Failed, None), "unknown");
        assert_eq!(
            word(Outcome::Lost, Some(Failure::ControllerRestarted)),
            "controller_restarted"
        );
        for class in Failure::ALL {
            assert_eq!(word(Outcome::Failed, Some(*class)), class.as_str());
        }
    }
}
