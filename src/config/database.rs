//! `[database]`: the controller's database, where it may be watched. Without a URL the watch is off.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::document::Settings;
use super::problem::Problems;
use super::secret::Secret;

/// How to look at the controller's tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// With the password, hence a secret.
    pub url: Secret,
    /// Where the tables or the views are.
    pub schema: String,
    /// The least time between two looks; up to as much is added by chance.
    pub poll: Duration,
    pub tls: Tls,
    /// Further roots to trust, beside the machine's.
    pub ca_file: Option<PathBuf>,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// The server's certificate is verified, its name too; a server on loopback may do without TLS.
    Verify,
    /// Encrypted, to whoever answers.
    Unverified,
    Off,
}

const TLS: [(&str, Tls); 3] = [
    ("verify", Tls::Verify),
    ("unverified", Tls::Unverified),
    ("off", Tls::Off),
];

pub(super) fn tls_names() -> Vec<&'static str> {
    TLS.iter().map(|(name, _)| *name).collect()
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if settings.is_written("database.url") && settings.is_written("database.url_file") {
        problems.add("database", "both url and url_file are set; keep one");
        return;
    }
    if !settings.is_sound("database.url") || !settings.is_sound("database.url_file") {
        return;
    }
    let url: Option<Secret> = settings.maybe("database.url");
    let of_postgres = url.as_ref().is_some_and(|url| is_of_postgres(url.expose()));
    if of_postgres && url.as_ref().is_some_and(|url| !is_read(url.expose())) {
        problems.add("database.url", UNREAD);
        return;
    }
    if of_postgres && url.as_ref().is_some_and(|url| says_mode(url.expose())) {
        problems.add(
            "database.url",
            "`sslmode` in it is not heeded: take it out, and say how to encrypt with database.tls",
        );
    }
    if url.is_some_and(|url| !of_postgres && !url.expose().starts_with("sqlite://")) {
        problems.add(
            "database.url",
            "not a URL of a database (not shown, it is a secret); write one such as \
             postgres://bootwatch:PASSWORD@db.example:5432/postgres",
        );
    }
}

/// Why a URL with one of its schemes is none.
pub(super) const UNREAD: &str = "cannot be read as a URL (not shown, it is a secret): its port must be a number, and of user \
     and password letters, digits and -._~ stand for themselves, all else is written in percent: %2F for a slash, %40 for an at";

pub(super) fn is_of_postgres(url: &str) -> bool {
    ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
}

/// As those read it who connect.
pub(super) fn is_read(url: &str) -> bool {
    PgConnectOptions::from_str(url).is_ok()
}

/// Whether a URL of a PostgreSQL database says by itself how to encrypt.
#[must_use]
pub fn says_mode(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .any(|name| matches!(name, "sslmode" | "ssl-mode"))
}

/// Whether a server is on this machine.
#[must_use]
pub fn is_near(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    let address = IpAddr::from_str(host);
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
}

pub(super) fn is_watched(settings: &Settings) -> bool {
    settings.maybe::<Secret>("database.url").is_some()
}

pub(super) fn read(settings: &Settings) -> Option<Database> {
    let url = settings.maybe("database.url")?;
    let written: String = settings.read("database.tls");
    let tls = TLS.iter().find(|(name, _)| *name == written);
    Some(Database {
        url,
        schema: settings.read("database.schema"),
        poll: settings.read("database.poll"),
        tls: tls.map_or(Tls::Verify, |(_, tls)| *tls),
        ca_file: settings.maybe("database.ca_file"),
    })
}
