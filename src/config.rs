//! The configuration: one TOML file, the environment over it, secrets in files of their own.
//!
//! Reading yields checked types, so that nobody checks again; what is wrong is said all at once, each problem with its
//! key, what was found and what to write instead. Unknown keys are refused: a misspelt key that is ignored is a rule
//! that nobody knows to be off. Defaults exist once, in the table of `keys.rs`.

mod console;
mod database;
mod document;
mod environment;
mod image;
mod keys;
pub mod manual;
mod notify;
mod otlp;
mod probe;
mod problem;
mod report;
mod rules;
mod schema;
mod secret;
mod shape;
mod store;
mod synthetic;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

use document::Settings;

use crate::core::desk::Recurring;

pub use console::Console;
pub use database::{Database, Tls, is_near, says_mode};
pub use document::Shown;
pub use environment::Surroundings;
pub use image::Image;
pub use notify::{
    Alertmanager, Channel, Email, Notifier, PagerDuty, Security, Slack, SlackTarget, Webhook,
};
pub use otlp::{Otlp, OtlpCompression, OtlpProtocol};
pub use probe::Probe;
pub use problem::{Problem, Problems};
pub use report::Report;
pub use rules::{
    BootBudgetBurn, BootFailureRate, BootStageSlow, ConditionRule, ConnectionSpike, Limit,
    ReadinessHeadroomLow, Rules,
};
pub use secret::{Endpoint, Secret};
pub use shape::Zone;
pub use store::Store;
pub use synthetic::Synthetic;
pub(crate) use units::duration as parse_duration;

/// Everything that is configured, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The controller host's name in alerts, metrics and reports.
    pub host: String,
    pub log: Log,
    pub store: Store,
    /// The VMs' consoles, if they are followed.
    pub console: Option<Console>,
    /// The golden image, if one is audited.
    pub image: Option<Image>,
    /// The controller's database, where it is watched.
    pub database: Option<Database>,
    /// Where VMs are, and how they are looked at.
    pub probe: Probe,
    pub web: Web,
    /// `None`: no synthetic boot is made.
    pub synthetic: Option<Synthetic>,
    pub rules: Rules,
    pub alerts: Alerts,
    pub maintenance: Vec<Recurring>,
    /// `None`: none is sent.
    pub heartbeat: Option<Heartbeat>,
    pub notifiers: Vec<Notifier>,
    /// `None`: nothing is sent over OTLP.
    pub otlp: Option<Otlp>,
    pub report: Report,
    pub shutdown: Shutdown,
    pub links: Links,
    /// Every key with what holds, for whoever looks; nothing of it is secret.
    pub shown: Vec<Shown>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub source: LogSource,
    pub timezone: Zone,
    pub follow: Follow,
}

/// Where the controller's log is: one of the two, never both, or every boot would count twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    File(PathBuf),
    /// The name of a systemd unit.
    Journal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    pub inotify: bool,
    pub poll_active: Duration,
    pub poll_idle: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    pub listen: SocketAddr,
    /// Who shows it may change things; without one nobody may.
    pub token: Option<Secret>,
    /// Certificate and users, in the form of the exporter-toolkit.
    pub config_file: Option<PathBuf>,
    pub public: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    pub keep_firing: Duration,
    pub group_wait: Duration,
    pub repeat: Duration,
    pub repeat_ticket: Duration,
    /// Started where no channel takes a page.
    pub last_resort: Option<PathBuf>,
}

/// The regular sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub url: Endpoint,
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    pub runbook_base: Option<Uri>,
    pub dashboard: Option<Uri>,
    /// Where people reach this sidecar's own pages.
    pub pages: Option<Uri>,
}

/// Reads the file at `path`, or says everything that is wrong with it.
pub fn load(path: &Path, surroundings: &Surroundings) -> Result<Config, Problems> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(
            &name,
            &text,
            path.parent().unwrap_or(Path::new("")),
            surroundings,
        ),
        Err(error) => {
            let mut problems = Problems::new(&name);
            problems.add(
                "",
                format!("cannot be read: {error}; {}", unread(error.kind())),
            );
            Err(problems)
        }
    }
}

/// What to do about a configuration file that cannot be read.
fn unread(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::PermissionDenied => {
            "it is for root and the service's group: be one of them (sudo), or let this user read it"
        }
        std::io::ErrorKind::IsADirectory => "name the file in it with --config",
        std::io::ErrorKind::InvalidData => "write it in UTF-8",
        _ => "write it, or name another with --config",
    }
}

/// Reads a text; `name` is what it is called in problems, `directory` where relative names of secret files are.
pub fn parse(
    name: &str,
    text: &str,
    directory: &Path,
    surroundings: &Surroundings,
) -> Result<Config, Problems> {
    let mut problems = Problems::new(name);
    let Some(settings) = document::read(text, directory, surroundings, &mut problems) else {
        return Err(problems);
    };
    if surroundings.host_name.is_none() && !settings.is_written("host.name") {
        problems.add(
            "host.name",
            "this machine does not tell its name; write one, such as \"controller-1\"",
        );
    }
    check_log(&settings, &mut problems);
    check_token(&settings, &mut problems);
    check_external_url(&settings, &mut problems);
    database::check(&settings, &mut problems);
    probe::check(&settings, &mut problems);
    rules::check(&settings, &mut problems);
    notify::check(&settings, &mut problems);
    store::check(&settings, &mut problems);
    synthetic::check(&settings, &mut problems);
    otlp::check(&settings, &mut problems);
    report::check(&settings, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Config {
        shown: settings.shown(),
        host: settings
            .maybe("host.name")
            .or_else(|| surroundings.host_name.clone())
            .unwrap_or_default(),
        log: Log {
            source: log_source(&settings),
            timezone: settings.read("log.timezone"),
            follow: Follow {
                inotify: settings.read("log.follow.inotify"),
                poll_active: settings.read("log.follow.poll_active"),
                poll_idle: settings.read("log.follow.poll_idle"),
            },
        },
        store: store::read(&settings, surroundings),
        console: console::read(&settings),
        image: image::read(&settings),
        database: database::read(&settings),
        probe: probe::read(&settings),
        web: Web {
            listen: settings.read("web.listen"),
            token: settings.maybe("web.token"),
            config_file: settings.maybe("web.config_file"),
            public: settings.read("web.public"),
        },
        synthetic: synthetic::read(&settings),
        rules: Rules::read(&settings),
        report: report::read(&settings),
        notifiers: notify::read(&settings),
        alerts: Alerts {
            keep_firing: settings.read("alerts.keep_firing"),
            group_wait: settings.read("alerts.group_wait"),
            repeat: settings.read("alerts.repeat"),
            repeat_ticket: settings.read("alerts.repeat_ticket"),
            last_resort: settings.maybe("alerts.last_resort"),
        },
        maintenance: settings.maybe("maintenance.windows").unwrap_or_default(),
        heartbeat: settings.maybe("heartbeat.url").map(|url| Heartbeat {
            url,
            interval: settings.read("heartbeat.interval"),
            timeout: settings.read("heartbeat.timeout"),
        }),
        otlp: otlp::read(&settings),
        shutdown: Shutdown {
            deadline: settings.read("shutdown.deadline"),
        },
        links: Links {
            runbook_base: settings.maybe("links.runbook_base"),
            dashboard: settings.maybe("links.dashboard"),
            pages: settings.maybe("web.external_url"),
        },
    })
}

fn check_log(settings: &Settings, problems: &mut Problems) {
    match (settings.is_written("log.file"), settings.is_written("log.journal")) {
        (true, true) => problems.add("log", "both file and journal are set, and each boot would count twice; keep one"),
        (false, false) => problems.add(
            "log",
            "names no log; write file = \"/var/log/polydev/master-controller.log\" or journal = \"master-controller\"",
        ),
        _ => {}
    }
}

/// Links are made of it, which everybody reads.
fn check_external_url(settings: &Settings, problems: &mut Problems) {
    if !settings.is_sound("web") {
        return;
    }
    let url: Option<Uri> = settings.maybe("web.external_url");
    let is_plain = |url: &Uri| {
        let login = url.authority().is_some_and(|of| of.as_str().contains('@'));
        !login && url.query().is_none() && url.path() == "/"
    };
    if url.is_some_and(|url| !is_plain(&url)) {
        problems.add(
            "web.external_url",
            "write scheme, name and port alone, such as https://bootwatch.example: pages are below it, and messages show it",
        );
    }
}

/// A token that can be guessed is none.
fn check_token(settings: &Settings, problems: &mut Problems) {
    const LEAST: usize = 16;
    if !settings.is_sound("web") {
        return;
    }
    let token: Option<Secret> = settings.maybe("web.token");
    if token.is_some_and(|token| token.expose().len() < LEAST) {
        problems.add(
            "web.token",
            "too short (not shown, it is a secret); write at least 16 characters, such as what \
             `openssl rand -hex 32` prints",
        );
    }
}

fn log_source(settings: &Settings) -> LogSource {
    match settings.maybe("log.journal") {
        Some(unit) => LogSource::Journal(unit),
        None => LogSource::File(settings.read("log.file")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_file_that_is_there_and_is_not_ours_to_read_is_not_to_be_written() {
        let denied = unread(ErrorKind::PermissionDenied);
        assert!(denied.contains("let this user read it"), "{denied}");
        assert!(unread(ErrorKind::NotFound).starts_with("write it"));
    }
}
