//! What can go wrong with a database, by what is done about it.

use std::path::PathBuf;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::core::query::NoLayout;
use crate::core::redact;

/// Every value of [`DatabaseError::kind`].
pub const KINDS: [&str; 7] = [
    "refused",
    "untrusted",
    "unreachable",
    "silent",
    "broken",
    "failed",
    "layout",
];

/// Classes of SQLSTATE that say that the server cannot serve: no connection, starting or stopping, its system's errors.
const AWAY: [&str; 3] = ["08", "57P", "58"];

/// An error text as it is shown.
const SHOWN: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database refuses this role or its password; correct database.url")]
    Refused { source: sqlx::Error },
    #[error(
        "the database's certificate cannot be trusted; set database.ca_file to its certificate authority, or database.tls \
         if that is what you want"
    )]
    Untrusted { source: sqlx::Error },
    #[error("{}, the database's certificate authority, cannot be read; correct database.ca_file", path.display())]
    Authority {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the database cannot be reached")]
    Unreachable { source: sqlx::Error },
    #[error("{action}: the database did not answer in time")]
    Silent { action: &'static str },
    #[error("{action}: the connection broke")]
    Broken {
        action: &'static str,
        source: sqlx::Error,
    },
    #[error("{action}: the database refused or failed")]
    Failed {
        action: &'static str,
        source: sqlx::Error,
    },
    #[error(transparent)]
    Layout(NoLayout),
}

/// After such an error the server closes the connection.
fn ends_connection(said: &dyn sqlx::error::DatabaseError) -> bool {
    let said = said.try_downcast_ref::<PgDatabaseError>();
    said.is_some_and(|said| matches!(said.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

impl DatabaseError {
    /// While connecting.
    pub(super) fn connecting(source: sqlx::Error) -> DatabaseError {
        match &source {
            sqlx::Error::Tls(_) => DatabaseError::Untrusted { source },
            // A handshake that fails ends as a broken socket.
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                DatabaseError::Untrusted { source }
            }
            sqlx::Error::Io(_) => DatabaseError::Unreachable { source },
            sqlx::Error::Database(said) => match said.code().as_deref() {
                Some(code) if code.starts_with("28") => DatabaseError::Refused { source },
                _ => DatabaseError::Failed {
                    action: "connect",
                    source,
                },
            },
            _ => DatabaseError::Failed {
                action: "connect",
                source,
            },
        }
    }

    /// While asking.
    pub(super) fn asking(action: &'static str, source: sqlx::Error) -> DatabaseError {
        match &source {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                DatabaseError::Broken { action, source }
            }
            sqlx::Error::Database(said) if ends_connection(&**said) => {
                DatabaseError::Broken { action, source }
            }
            _ => DatabaseError::Failed { action, source },
        }
    }

    /// One of [`KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            DatabaseError::Refused { .. } => "refused",
            DatabaseError::Untrusted { .. } | DatabaseError::Authority { .. } => "untrusted",
            DatabaseError::Unreachable { .. } => "unreachable",
            DatabaseError::Silent { .. } => "silent",
            DatabaseError::Broken { .. } => "broken",
            DatabaseError::Failed { .. } => "failed",
            DatabaseError::Layout(_) => "layout",
        }
    }

    /// Whether a database that works is told to be there: it refuses, or its answer cannot be used. One that starts or
    /// stops, and a pooler that has lost it, are none. With an authority that cannot be read nobody was asked, and what
    /// is to be done is on this side, too.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            DatabaseError::Refused { .. }
            | DatabaseError::Untrusted { .. }
            | DatabaseError::Authority { .. }
            | DatabaseError::Layout(_) => true,
            DatabaseError::Unreachable { .. }
            | DatabaseError::Silent { .. }
            | DatabaseError::Broken { .. } => false,
            DatabaseError::Failed { source, .. } => match source {
                sqlx::Error::Protocol(_) => false,
                sqlx::Error::Database(said) => {
                    let code = said.code().unwrap_or_default();
                    !AWAY.iter().any(|class| code.starts_with(class))
                }
                _ => true,
            },
        }
    }

    /// The error and its causes on one line, without secrets and bounded.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if let Some(sqlx::Error::Database(said)) = error.downcast_ref() {
                // In its own words alone: the library adds a line of the server's source code.
                text = format!("{text}: {}", said.message());
                break;
            }
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        redact::text(&text, SHOWN)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt;

    use sqlx::error::ErrorKind;

    use super::*;

    /// What a server said, by its SQLSTATE.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Said {}

    impl sqlx::error::DatabaseError for Said {
        fn message(&self) -> &str {
            "said"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn a_server_that_starts_or_is_lost_behind_a_pooler_does_not_answer() {
        for (code, answered) in [
            ("28P01", true),
            ("53300", true),
            ("55P03", true),
            ("42501", true),
            ("57014", true),
            ("57P01", false),
            ("57P03", false),
            ("08006", false),
            ("58030", false),
        ] {
            let error = || sqlx::Error::Database(Box::new(Said(code)));
            assert_eq!(
                DatabaseError::connecting(error()).is_answered(),
                answered,
                "{code}"
            );
            assert_eq!(
                DatabaseError::asking("read", error()).is_answered(),
                answered,
                "{code}"
            );
        }
        let silent = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(!DatabaseError::connecting(silent).is_answered());
        let garbled = sqlx::Error::Protocol("no PostgreSQL".to_owned());
        assert!(!DatabaseError::connecting(garbled).is_answered());
    }
}
