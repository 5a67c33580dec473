//! What an answer means for what was sent, as the protocol's specification says. Pure.

use std::time::Duration;

use tonic::Code;

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Taken; of so many spans or data points the collector says that it left them out, and why.
    Taken { rejected: u64, why: String },
    /// Not taken; another try may help, and the collector may have said when.
    Later {
        after: Option<Duration>,
        why: String,
    },
    /// No other try would help.
    Refused { why: String },
}

/// HTTP: 429 and three kinds of being away.
pub(super) fn by_status(status: u16, after: Option<Duration>) -> Option<Answer> {
    let why = format!("HTTP {status}");
    match status {
        200..=299 => None,
        429 | 502 | 503 | 504 => Some(Answer::Later { after, why }),
        _ => Some(Answer::Refused { why }),
    }
}

/// gRPC: a full collector is tried again only if it says when. What has no code of the collector's (`connected` is
/// false) never reached it.
pub(super) fn by_code(code: Code, after: Option<Duration>, connected: bool) -> Answer {
    let why = format!("gRPC {code:?}");
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Later { after, why },
        Code::ResourceExhausted if after.is_some() => Answer::Later { after, why },
        _ if !connected => Answer::Later {
            after,
            why: "no connection".to_owned(),
        },
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => Answer::Refused { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Option<Duration> = Some(Duration::from_secs(7));

    #[test]
    fn only_the_statuses_of_the_specification_are_tried_again() {
        for status in 100..600 {
            let later = matches!(by_status(status, WISH), Some(Answer::Later { after, .. }) if after == WISH);
            assert_eq!(later, [429, 502, 503, 504].contains(&status), "{status}");
            assert_eq!(
                by_status(status, None).is_none(),
                status / 100 == 2,
                "{status}"
            );
        }
    }

    #[test]
    fn only_the_codes_of_the_specification_are_tried_again() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            let later = matches!(by_code(code, None, true), Answer::Later { .. });
            assert_eq!(later, [1, 4, 10, 11, 14, 15].contains(&number), "{code:?}");
        }
    }

    #[test]
    fn a_full_collector_is_tried_again_only_if_it_says_when() {
        let full = |after| by_code(Code::ResourceExhausted, after, true);
        assert!(matches!(full(WISH), Answer::Later { after, .. } if after == WISH));
        assert!(matches!(full(None), Answer::Refused { .. }));
    }

    #[test]
    fn what_never_reached_the_collector_is_tried_again() {
        let away = by_code(Code::Unknown, None, false);
        assert!(matches!(away, Answer::Later { .. }));
    }
}
