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
