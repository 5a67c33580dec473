//! Why a notification did not arrive, and whether another try could help.

use std::fmt;
use std::time::Duration;

/// What happened, without anything secret: neither path nor query of the receiver's URL, nor what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A status that is not success.
    Answered(u16),
    /// Sent or not, nobody knows.
    Timeout,
    Network,
    /// The request could not be made.
    Request,
    /// The payload is larger than a receiver can be asked to take, in bytes.
    TooLarge(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Answered(status @ 300..=399) => write!(
                f,
                "the receiver answered {status}, and redirects are not followed; configure the URL that it leads to"
            ),
            Fault::Answered(status) => write!(f, "the receiver answered {status}"),
            Fault::Timeout => f.write_str("the receiver did not answer in time"),
            Fault::Network => f.write_str("the receiver could not be spoken to"),
            Fault::Request => f.write_str("the request could not be made"),
            Fault::TooLarge(bytes) => write!(f, "the payload has {bytes} bytes, which is too many"),
        }
    }
}

/// A fault's class: the label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The receiver refuses what we send.
    Client,
    /// It refuses us.
    Auth,
    /// It wants less of us.
    Rate,
    Server,
    Timeout,
    Network,
}

impl Trouble {
    pub const ALL: &'static [Trouble] = &[
        Trouble::Client,
        Trouble::Auth,
        Trouble::Rate,
        Trouble::Server,
        Trouble::Timeout,
        Trouble::Network,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Client => "client",
            Trouble::Auth => "auth",
            Trouble::Rate => "rate",
            Trouble::Server => "server",
            Trouble::Timeout => "timeout",
            Trouble::Network => "network",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Another try may help.
    #[error("send the notification: {fault}")]
    Transient {
        fault: Fault,
        /// What the receiver asked for, within reason.
        retry_after: Option<Duration>,
        source: Option<reqwest::Error>,
    },
    /// No further try of this message can help.
    #[error("send the notification: {fault}")]
    Permanent {
        fault: Fault,
        source: Option<reqwest::Error>,
    },
}

impl NotifyError {
    /// What an answer means; `None`: it is a success.
    #[must_use]
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Option<NotifyError> {
        let fault = Fault::Answered(status);
        match status {
            200..=299 => None,
            408 | 425 | 429 | 500..=599 => Some(NotifyError::Transient {
                fault,
                retry_after,
                source: None,
            }),
            _ => Some(NotifyError::Permanent {
                fault,
                source: None,
            }),
        }
    }

    pub(super) fn of_client(error: reqwest::Error) -> NotifyError {
        let fault = if error.is_timeout() {
            Fault::Timeout
        } else if error.is_builder() {
            Fault::Request
        } else {
            Fault::Network
        };
        let source = Some(error.without_url());
        match fault {
            Fault::Request => NotifyError::Permanent { fault, source },
            _ => NotifyError::Transient {
                fault,
                retry_after: None,
                source,
            },
        }
    }

    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            NotifyError::Transient { fault, .. } | NotifyError::Permanent { fault, .. } => *fault,
        }
    }

    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self.fault() {
            Fault::Answered(401 | 403 | 407) => Trouble::Auth,
            Fault::Answered(429) => Trouble::Rate,
            Fault::Answered(408) | Fault::Timeout => Trouble::Timeout,
            Fault::Answered(500..=599) => Trouble::Server,
            Fault::Answered(_) | Fault::Request | Fault::TooLarge(_) => Trouble::Client,
            Fault::Network => Trouble::Network,
        }
    }

    /// The class of the trouble, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.trouble().as_str()
    }

    /// The receiver refuses this very payload; a shorter one may pass.
    pub(super) fn refuses_payload(&self) -> bool {
        matches!(
            self.fault(),
            Fault::Answered(400 | 413) | Fault::TooLarge(_)
        )
    }

    /// The message with its causes, for the log.
    pub(super) fn chain(&self) -> String {
        let mut out = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            out.push_str(": ");
            out.push_str(&error.to_string());
            cause = error.source();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_success_or_has_its_class_and_its_further_try() {
        for status in [200, 201, 202, 204, 299] {
            assert!(NotifyError::of_status(status, None).is_none(), "{status}");
        }
        let table = [
            (301, false, "client"),
            (307, false, "client"),
            (400, false, "client"),
            (401, false, "auth"),
            (403, false, "auth"),
            (404, false, "client"),
            (407, false, "auth"),
            (408, true, "timeout"),
            (410, false, "client"),
            (413, false, "client"),
            (422, false, "client"),
            (425, true, "client"),
            (429, true, "rate"),
            (500, true, "server"),
            (501, true, "server"),
            (503, true, "server"),
            (599, true, "server"),
            (600, false, "client"),
        ];
        for (status, again, kind) in table {
            let error = NotifyError::of_status(status, None).unwrap();
            let transient = matches!(error, NotifyError::Transient { .. });
            assert_eq!((transient, error.kind()), (again, kind), "{status}");
        }
    }
}
