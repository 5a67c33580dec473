//! When to try again: a pure answer to a failed try.
//!
//! How long to wait is [`crate::core::backoff`]'s. A message older than its kind's age says nothing that its reader does
//! not know; it is given up, and said so.

use std::time::Duration;

use super::error::NotifyError;
pub(crate) use crate::core::backoff::{Jitter, jittered, retry_after};

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Again {
        after: Duration,
        /// The receiver asked for this wait; shutting down does not shorten it.
        asked: bool,
    },
    /// Once more without the evidence: the receiver refused this very payload.
    Reduced,
    /// No further try could help.
    GiveUp,
    /// It was tried for as long as it is worth.
    Expired,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Failed tries in a row, at least this one.
    pub(crate) tries: u32,
    pub(crate) age: Duration,
    /// At this age it is given up.
    pub(crate) max_age: Duration,
    /// It has no evidence any more.
    pub(crate) reduced: bool,
}

/// Decides, with a random number of [0, 1).
pub(crate) fn next(error: &NotifyError, progress: Progress, random: f64) -> Next {
    let Progress {
        tries,
        age,
        max_age,
        reduced,
    } = progress;
    let wish = match error {
        NotifyError::Permanent { .. } if error.refuses_payload() && !reduced => {
            return Next::Reduced;
        }
        NotifyError::Permanent { .. } => return Next::GiveUp,
        NotifyError::Transient { retry_after, .. } => *retry_after,
        NotifyError::Partly { .. } => None,
    };
    let after = wish.unwrap_or_else(|| jittered(tries, random));
    if age.saturating_add(after) > max_age {
        return Next::Expired;
    }
    Next::Again {
        after,
        asked: wish.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::error::Fault;

    const MAX_AGE: Duration = Duration::from_secs(6 * 3600);

    fn after(error: &NotifyError, tries: u32, age: Duration, reduced: bool) -> Next {
        let progress = Progress {
            tries,
            age,
            max_age: MAX_AGE,
            reduced,
        };
        next(error, progress, 0.5)
    }

    fn transient(retry_after: Option<u64>) -> NotifyError {
        NotifyError::Transient {
            fault: Fault::Answered(503),
            retry_after: retry_after.map(Duration::from_secs),
            source: None,
        }
    }

    fn permanent(status: u16) -> NotifyError {
        NotifyError::Permanent {
            fault: Fault::Answered(status),
            source: None,
        }
    }

    #[test]
    fn a_receivers_wish_is_obeyed() {
        let asked = after(&transient(Some(30)), 1, Duration::ZERO, false);
        let wish = Duration::from_secs(30);
        assert_eq!(
            asked,
            Next::Again {
                after: wish,
                asked: true
            }
        );
    }

    #[test]
    fn a_refused_payload_is_tried_once_more_in_short_and_then_given_up() {
        let age = Duration::ZERO;
        for status in [400, 413] {
            assert_eq!(after(&permanent(status), 1, age, false), Next::Reduced);
            assert_eq!(after(&permanent(status), 2, age, true), Next::GiveUp);
        }
        for status in [401, 403, 404, 410, 422, 302] {
            assert_eq!(after(&permanent(status), 1, age, false), Next::GiveUp);
        }
    }

    #[test]
    fn a_page_of_six_hours_is_given_up() {
        let young = MAX_AGE - Duration::from_secs(301);
        assert!(matches!(
            after(&transient(None), 99, young, false),
            Next::Again { .. }
        ));
        assert_eq!(after(&transient(None), 99, MAX_AGE, false), Next::Expired);
    }
}
