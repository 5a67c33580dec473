//! Which database, how often, and how patiently.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use crate::config::{Database, Tls, is_near};

/// How the database is called in its own views of activity.
const APPLICATION: &str = "bootwatch";

#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    pub(super) server: Server,
    /// The least time between two looks; chance adds up to as much again.
    pub poll: Duration,
    /// Rows of one answer.
    pub page: u32,
    /// What a full look reads.
    pub window: Duration,
    /// How long before the last look a row may have been begun that is only now committed.
    pub overlap: Duration,
    /// Time between two full looks.
    pub full_every: Duration,
    /// Sessions that never ended are not asked for by key beyond this age.
    pub forget: Duration,
    pub connect_deadline: Duration,
    pub query_deadline: Duration,
    /// First and largest bound of the pause before the next try.
    pub retry: (Duration, Duration),
    /// The same where the login is refused: some servers lock a role out.
    pub retry_refused: (Duration, Duration),
}

#[derive(Clone, Debug)]
pub(super) enum Server {
    /// With the file of a further certificate authority.
    Postgres(Box<PgConnectOptions>, Option<PathBuf>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// The URL cannot be used. It may hold a secret, so it is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "database.url is not a URL of a database; write one such as postgres://bootwatch:PASSWORD@db.example:5432/postgres"
)]
pub struct OptionsError;

impl DatabaseOptions {
    /// # Errors
    /// The URL cannot be used.
    pub fn new(database: &Database) -> Result<DatabaseOptions, OptionsError> {
        const MINUTE: Duration = Duration::from_secs(60);
        let url = database.url.expose();
        let server = if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).map_err(|_| OptionsError)?;
            let options = options
                .read_only(true)
                .create_if_missing(false)
                .busy_timeout(Duration::from_secs(1))
                .disable_statement_logging();
            Server::Sqlite(Box::new(options))
        } else {
            let options = PgConnectOptions::from_str(url).map_err(|_| OptionsError)?;
            let ca = database.ca_file.clone();
            let options = postgres(options, database.tls, ca.is_some());
            Server::Postgres(Box::new(options), ca)
        };
        Ok(DatabaseOptions {
            server,
            poll: database.poll,
            page: 500,
            window: 48 * 60 * MINUTE,
            overlap: 15 * MINUTE,
            full_every: 60 * MINUTE,
            forget: 72 * 60 * MINUTE,
            connect_deadline: Duration::from_secs(10),
            query_deadline: Duration::from_secs(10),
            retry: (Duration::from_millis(500), Duration::from_secs(30)),
            retry_refused: (Duration::from_secs(10), Duration::from_secs(300)),
        })
    }

    /// Whether the tables are SQLite's: the demo's.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        matches!(self.server, Server::Sqlite(_))
    }
}

fn postgres(options: PgConnectOptions, tls: Tls, has_authority: bool) -> PgConnectOptions {
    let near = is_near(&options);
    let mode = match tls {
        Tls::Off => PgSslMode::Disable,
        Tls::Unverified => PgSslMode::Require,
        Tls::Verify if near && !has_authority => PgSslMode::Prefer,
        Tls::Verify => PgSslMode::VerifyFull,
    };
    options
        .ssl_mode(mode)
        .application_name(APPLICATION)
        // No statement is kept, and poolers refuse settings that they do not know.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn options(url: &str, tls: Tls, ca: Option<&str>) -> Result<DatabaseOptions, OptionsError> {
        DatabaseOptions::new(&Database {
            url: Secret::new(url),
            schema: "public".to_owned(),
            poll: Duration::from_secs(5),
            tls,
            ca_file: ca.map(PathBuf::from),
        })
    }

    fn mode(url: &str, tls: Tls, ca: Option<&str>) -> String {
        match options(url, tls, ca).unwrap().server {
            Server::Postgres(options, _) => format!("{:?}", options.get_ssl_mode()),
            Server::Sqlite(_) => "none".to_owned(),
        }
    }

    #[test]
    fn whoever_is_far_away_must_show_a_certificate() {
        let far = "postgres://me:x@db.example/app?sslmode=disable";
        let near = "postgres://me:x@127.0.0.1/app";
        let table = [
            (far, Tls::Verify, None, "VerifyFull"),
            (far, Tls::Verify, Some("/ca.pem"), "VerifyFull"),
            (far, Tls::Unverified, None, "Require"),
            (far, Tls::Off, None, "Disable"),
            (near, Tls::Verify, None, "Prefer"),
            (near, Tls::Verify, Some("/ca.pem"), "VerifyFull"),
            ("postgres://me:x@localhost/app", Tls::Verify, None, "Prefer"),
            ("postgres://me:x@[::1]/app", Tls::Verify, None, "Prefer"),
            (
                "postgres://me:x@127.0.0.1.example/app",
                Tls::Verify,
                None,
                "VerifyFull",
            ),
            (
                "postgres://me:x@10.0.0.1/app",
                Tls::Verify,
                None,
                "VerifyFull",
            ),
            ("sqlite:///tmp/x.db", Tls::Verify, None, "none"),
        ];
        for (url, tls, ca, wanted) in table {
            assert_eq!(mode(url, tls, ca), wanted, "{url} {tls:?} {ca:?}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_not_shown() {
        let error = options("postgres://me:hunter2@host:port/app", Tls::Verify, None).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
