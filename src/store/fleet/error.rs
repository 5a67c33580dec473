//! What can be wrong with a fleet's database, and what mends it.

use std::io;
use std::time::Duration;

use super::super::error::StoreError;
use super::remote;
use crate::core::redact;

/// Bytes of an error that are shown.
const SHOWN: usize = 600;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("the fleet's URL is not one of PostgreSQL; correct store.fleet.url")]
    Url(#[source] sqlx::Error),
    #[error("connect to the fleet's database {at}")]
    Connect {
        at: String,
        #[source]
        source: sqlx::Error,
    },
    #[error(
        "create the fleet's tables; let a role that may do it run what `bootwatch db grants --fleet --role ROLE` prints, \
         ROLE being the one in store.fleet.url"
    )]
    Create(#[source] sqlx::Error),
    #[error(
        "the fleet's tables are of version {found}, and this bootwatch knows {known}; bring it to the version of the others"
    )]
    Version { found: i32, known: i32 },
    #[error(
        "the fleet's tables are of version {found}, and this bootwatch needs {known}; a sidecar of it brings them there at \
         its start, or a role that may do it with what `bootwatch db grants --fleet --role ROLE` prints, ROLE being the one \
         in store.fleet.url"
    )]
    Older { found: i32, known: i32 },
    /// What the role lacks or may not do.
    #[error(
        "the role of store.fleet.url {0}; let the database's owner run what `bootwatch db grants --fleet --role ROLE` \
         prints, ROLE being that role"
    )]
    Rights(String),
    #[error(
        "the fleet's database is a replica, to which nothing can be copied; name its primary in store.fleet.url"
    )]
    Replica,
    #[error("copy to the fleet's database")]
    Copy(#[source] sqlx::Error),
    #[error("read the fleet's database")]
    Read(#[source] sqlx::Error),
    /// A lock that was not given in time, and who holds which.
    #[error("{action}: another session holds a lock there ({held})")]
    Locked {
        action: &'static str,
        held: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the fleet's database did not answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FleetError {
    /// Of tables that this program does not know, or not any more.
    pub(super) fn version(found: i32) -> FleetError {
        let known = remote::VERSION;
        match found > known {
            true => FleetError::Version { found, known },
            false => FleetError::Older { found, known },
        }
    }

    pub(super) fn is_about_a_lock(&self) -> bool {
        let (FleetError::Create(source) | FleetError::Copy(source) | FleetError::Read(source)) =
            self
        else {
            return false;
        };
        let code = source.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == "55P03")
    }

    /// With what is held, where that could be seen.
    pub(super) fn locked(self, held: Option<String>) -> FleetError {
        let (action, source) = match self {
            FleetError::Create(source) => ("create or upgrade the fleet's tables", source),
            FleetError::Copy(source) => ("copy to the fleet's database", source),
            FleetError::Read(source) => ("read the fleet's database", source),
            other => return other,
        };
        FleetError::Locked {
            action,
            held: held.unwrap_or_else(|| "not to be seen any more".to_owned()),
            source,
        }
    }

    /// The error, its cause and what mends it on one line, without secrets and bounded.
    #[must_use]
    pub fn shown(&self) -> String {
        let cause = match self {
            FleetError::Store(_) => None,
            other => std::error::Error::source(other),
        };
        let mut text = self.to_string();
        if let Some(cause) = cause {
            text = format!("{text}: {cause}");
        }
        if let Some(remedy) = self.remedy() {
            text = format!("{text}; {remedy}");
        }
        redact::text(&text, SHOWN)
    }

    fn remedy(&self) -> Option<&'static str> {
        match self {
            FleetError::Connect { source, .. } => Some(connects(source)),
            FleetError::Silent(_) => Some(
                "does it take connections from this host, and is the host of store.fleet.url right?",
            ),
            FleetError::Locked { .. } => Some("wait until that session has ended, or end it"),
            _ => None,
        }
    }
}

fn connects(error: &sqlx::Error) -> &'static str {
    let code = error.as_database_error().and_then(|error| error.code());
    match (error, code.as_deref()) {
        (_, Some("28P01")) => "correct the password in store.fleet.url",
        (_, Some("28000")) => {
            "correct the role in store.fleet.url, or let the server's pg_hba.conf admit it from this host"
        }
        (_, Some("3D000")) => "correct the database's name in store.fleet.url, or make it",
        (_, Some("42501")) => {
            "let the database's owner grant CONNECT to the role of store.fleet.url"
        }
        (sqlx::Error::Io(error), _) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "does PostgreSQL run there, at this port? else correct store.fleet.url"
        }
        (sqlx::Error::Tls(_), _) => {
            "a server that is not on this host must prove who it is: name its authority by sslrootcert in \
             store.fleet.url, or say sslmode there"
        }
        _ => "correct the host in store.fleet.url, if it is not that",
    }
}
