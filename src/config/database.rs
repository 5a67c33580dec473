//! `[database]`: the controller's database, where it may be watched. Without a URL the watch is off.

use std::path::PathBuf;
use std::time::Duration;

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
    let known = ["postgres://", "postgresql://", "sqlite://"];
    let url: Option<Secret> = settings.maybe("database.url");
    if url.is_some_and(|url| !known.iter().any(|scheme| url.expose().starts_with(scheme))) {
        problems.add(
            "database.url",
            "not a URL of a database (not shown, it is a secret); write one such as \
             postgres://bootwatch:PASSWORD@db.example:5432/postgres",
        );
    }
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
