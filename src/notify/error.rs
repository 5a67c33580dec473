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
    /// The code of a mail server's reply.
    Replied(u16),
    /// A word of the receiver's documented ones against this payload.
    Said(&'static str),
    /// The receiver cannot be used as it is configured: what it lacks, and the remedy.
    Unusable(&'static str),
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
            Fault::Replied(code) => write!(f, "the mail server replied {code}"),
            Fault::Said(word) => write!(f, "the receiver said {word}"),
            Fault::Unusable(why) => f.write_str(why),
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

/// What lies under an error of ours.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

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
        source: Option<Cause>,
    },
    /// Some of its recipients have it, and others are to be tried again.
    #[error("send the notification to all of its recipients: {fault}")]
    Partly {
        fault: Fault,
        /// Who has it, for a run after this one: see `Transport::recall`.
        receipt: String,
    },
    /// No further try of this message can help.
    #[error("send the notification: {fault}")]
    Permanent { fault: Fault, source: Option<Cause> },
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

    /// Another try may help.
    #[must_use]
    pub fn transient(fault: Fault) -> NotifyError {
        NotifyError::Transient {
            fault,
            retry_after: None,
            source: None,
        }
    }

    /// No further try of this message can help.
    #[must_use]
    pub fn permanent(fault: Fault) -> NotifyError {
        NotifyError::Permanent {
            fault,
            source: None,
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
        let source: Option<Cause> = Some(error.without_url().into());
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
            NotifyError::Transient { fault, .. }
            | NotifyError::Partly { fault, .. }
            | NotifyError::Permanent { fault, .. } => *fault,
        }
    }

    #[must_use]
    pub fn trouble(&self) -> Trouble {
        match self.fault() {
            Fault::Answered(401 | 403 | 407) => Trouble::Auth,
            Fault::Answered(429) => Trouble::Rate,
            Fault::Answered(408) | Fault::Timeout => Trouble::Timeout,
            Fault::Answered(500..=599) => Trouble::Server,
            Fault::Replied(530 | 534 | 535 | 538) | Fault::Unusable(_) => Trouble::Auth,
            Fault::Replied(400..=499) => Trouble::Server,
            Fault::Answered(_)
            | Fault::Replied(_)
            | Fault::Said(_)
            | Fault::Request
            | Fault::TooLarge(_) => Trouble::Client,
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
            Fault::Answered(400 | 413)
                | Fault::Replied(552 | 554)
                | Fault::TooLarge(_)
                | Fault::Said(_)
                | Fault::Request
        )
    }

    /// The receiver will refuse every message until a person corrects it, or its configuration.
    #[must_use]
    pub fn breaks_receiver(&self) -> bool {
        let gone = matches!(self.fault(), Fault::Answered(300..=399 | 404 | 410));
        matches!(self, NotifyError::Permanent { .. }) && (gone || self.trouble() == Trouble::Auth)
    }

    /// The message with its causes, for people.
    #[must_use]
    pub fn chain(&self) -> String {
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
    fn what_only_a_person_can_mend_breaks_the_receiver() {
        for (fault, breaks) in [
            (Fault::Answered(401), true),
            (Fault::Answered(403), true),
            (Fault::Answered(404), true),
            (Fault::Answered(410), true),
            (Fault::Answered(301), true),
            (Fault::Answered(307), true),
            (Fault::Replied(535), true),
            (Fault::Unusable("no STARTTLS"), true),
            (Fault::Answered(400), false),
            (Fault::Answered(413), false),
            (Fault::Replied(550), false),
            (Fault::Said("invalid_blocks"), false),
            (Fault::TooLarge(1), false),
        ] {
            assert_eq!(
                NotifyError::permanent(fault).breaks_receiver(),
                breaks,
                "{fault}"
            );
            assert!(!NotifyError::transient(fault).breaks_receiver(), "{fault}");
        }
    }

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
