//! `bootwatch check`: is the configuration right, and what does it amount to?

mod fleet;
mod web;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Status, past};
use crate::config::{
    self, Channel, Config, Database, Log, LogSource, Notifier, Otlp, Surroundings, Zone,
};
use crate::controller::framing;
use crate::controller::tables::{ControllerTables, Dialect};
use crate::core::image::overall;
use crate::dial;
use crate::export::otlp;
use crate::image::{Places, audit};
use crate::notify;
use crate::probe::{self, Footing, Prober};
use crate::source::database::{DatabaseOptions, Examination, examine};
use crate::source::tail;
use crate::store::{self, Kept};
use crate::web::Guard;

/// Reads the configuration and names every problem at once.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit status:\n  0  no problems, and with --live all that was tried works\n  \
    1  with --live: something that the configuration names does not work; with --alive: nobody answers\n  2  the configuration is wrong"
)]
pub struct Arguments {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    pub config: PathBuf,
    /// Print a configuration file with every key and its default instead
    #[arg(long)]
    pub example: bool,
    /// Also try what the configuration names: the log, the store, the fleet's database, the database, the web's address, each receiver's; nothing is sent
    #[arg(long)]
    pub live: bool,
    /// Only ask whether a bootwatch answers at web.listen, with or without TLS and users: for the health check of a container
    #[arg(long, conflicts_with_all = ["live", "example"])]
    pub alive: bool,
}

/// Writes the verdict to `out` and returns the exit status: 0, 1 if something that it names does not work, or 2 for a
/// wrong configuration.
pub fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
) -> anyhow::Result<Status> {
    if arguments.example {
        write!(out, "{}", config::manual::example())?;
        return Ok(Status::Fine);
    }
    match config::load(&arguments.config, surroundings) {
        Ok(config) if arguments.alive => {
            let listen = config.web.listen;
            if web::is_bootwatch(listen) {
                writeln!(out, "{listen}: a bootwatch answers")?;
                return Ok(Status::Fine);
            }
            writeln!(out, "{listen}: no bootwatch answers")?;
            Ok(Status::Wrong)
        }
        Ok(config) => {
            writeln!(out, "{}: no problems", arguments.config.display())?;
            summarise(&config, out)?;
            if arguments.live {
                return live(&config, out);
            }
            Ok(Status::Fine)
        }
        Err(problems) => {
            writeln!(out, "{problems}")?;
            Ok(Status::Misused)
        }
    }
}

/// A receiver that does not take a connection in this time would not take a page either.
const CONNECT: Duration = Duration::from_secs(5);
/// Records begin within so much of a log.
const HEAD: u64 = 1 << 20;
/// So much of a log's end tells in which zone its stamps are.
const END: u64 = 256 << 10;

/// Tries everything, and says of each whether it works.
fn live(config: &Config, out: &mut dyn Write) -> anyhow::Result<Status> {
    let mut trials = vec![
        ("log", try_log(&config.log)),
        ("web", web::try_web(config.web.listen)),
        ("store", try_store(&config.store.path)),
    ];
    if let Some(url) = &config.store.fleet {
        trials.push(("store.fleet", fleet::try_fleet(url)));
    }
    if let Some(file) = &config.web.config_file {
        let read = Guard::read(file).map_err(|error| error.to_string());
        let said = read.map(|_| format!("{} can be used", file.display()));
        trials.push(("web.config_file", said));
    }
    if let Some(program) = &config.alerts.last_resort {
        let sound = || format!("{} can be started", program.display());
        let tried = super::last_resort_trouble(config).map_or_else(|| Ok(sound()), Err);
        trials.push(("alerts.last_resort", tried));
    }
    if let Some(database) = &config.database {
        trials.push(("database", try_database(database)));
    }
    if let Some(image) = &config.image {
        trials.push(("image", try_image(image)));
    }
    if config.probe.interval.is_some() {
        trials.push(("probe", try_footing(config)?));
    }
    let receivers: Vec<(String, Result<String, String>)> = config
        .notifiers
        .iter()
        .map(|notifier| {
            (
                format!("notify.{}", notifier.name),
                try_notifier(notifier, config),
            )
        })
        .collect();
    if let Some(heartbeat) = &config.heartbeat {
        // Connected to and asked nothing: a check must not be taken for a sign of life.
        let opened = notify::Heartbeat::open(heartbeat, &config.host);
        let tried = opened.map_err(|error| why_not(error, "heartbeat"));
        let (host, port) = heartbeat.url.place();
        trials.push(("heartbeat", tried.and_then(|_| try_place(&host, port))));
    }
    if let Some(otlp) = &config.otlp {
        trials.push(("otlp", try_otlp(otlp)));
    }
    trials.extend(
        receivers
            .iter()
            .map(|(name, result)| (name.as_str(), result.clone())),
    );
    let mut failed = Vec::new();
    for (name, result) in &trials {
        match result {
            Ok(said) => writeln!(out, "  {name}: works: {said}")?,
            Err(said) => {
                failed.push(*name);
                writeln!(out, "  {name}: does not work: {said}")?;
            }
        }
    }
    let all = trials.len();
    if failed.is_empty() {
        writeln!(out, "tried: all {all} work")?;
        return Ok(Status::Fine);
    }
    let (some, names) = (failed.len(), failed.join(", "));
    let works = if some == 1 { "does" } else { "do" };
    writeln!(out, "tried: {some} of {all} {works} not work: {names}")?;
    Ok(Status::Wrong)
}

/// What looks at VMs would stand on; no VM is contacted.
fn try_footing(config: &Config) -> anyhow::Result<Result<String, String>> {
    let prober = Prober::new(probe::Settings::from(&config.probe));
    let runtime = super::runtime()?;
    let (bridge, controller) = (config.probe.networks.bridge(), config.probe.controller);
    Ok(match runtime.block_on(prober.footing()) {
        Footing::Bridge => Ok(format!("{bridge} is on this host")),
        Footing::Controller => Ok(format!(
            "the controller answers at {controller}; {bridge}, which should be the bridge's, is not on this host"
        )),
        Footing::None => Err(format!(
            "{bridge}, which should be the bridge's, is not on this host, and the controller does not answer at \
             {controller}; correct probe.networks or probe.controller"
        )),
    })
}

fn try_log(log: &Log) -> Result<String, String> {
    match &log.source {
        LogSource::File(path) => {
            if let Some(said) = tail::mounted_alone(path) {
                return Err(said);
            }
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
            match read {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
                    "{} does not exist yet; that is right only before the controller's first start",
                    path.display()
                )),
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(format!(
                    "{} is a folder; name the log's file in it in log.file",
                    path.display()
                )),
                Err(error) => Err(format!(
                    "{}: {error}; let this user read it, by group or ACL",
                    path.display()
                )),
                Ok(0) => Ok("it is empty".to_owned()),
                Ok(_)
                    if head
                        .split(|byte| *byte == b'\n')
                        .any(|line| framing::header(line).is_some()) =>
                {
                    match against(&log.timezone, path) {
                        Some(said) => Err(format!(
                            "{said}; correct log.timezone, or leave it to the log (\"auto\")"
                        )),
                        None => Ok("it holds the controller's records".to_owned()),
                    }
                }
                Ok(_) => Err(format!(
                    "{} holds no record of the master-controller",
                    path.display()
                )),
            }
        }
        LogSource::Journal(identifier) => {
            let asked = Command::new("journalctl")
                .args(["--lines=1", "--output=cat", "--identifier", identifier])
                .output()
                .map_err(|error| format!("journalctl cannot be run: {error}"))?;
            match (asked.status.success(), asked.stdout.is_empty()) {
                (true, false) => Ok("it has entries".to_owned()),
                (true, true) => Err(format!(
                    "no entry of {identifier} can be seen; add this user to systemd-journal"
                )),
                (false, _) => Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned()),
            }
        }
    }
}

/// What the log's last records say against a zone that was named.
fn against(zone: &Zone, path: &Path) -> Option<String> {
    let Zone::Named(zone) = zone else { return None };
    let mut end = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let from = file.metadata()?.len().saturating_sub(END);
        file.seek(SeekFrom::Start(from))?;
        file.take(END).read_to_end(&mut end)
    });
    read.ok()?;
    past::against(zone, &end)
}

/// The sidecar that runs, if one does, is not disturbed.
fn try_store(path: &Path) -> Result<String, String> {
    let shown = path.display();
    match store::try_place(path) {
        Ok(Kept::There) => Ok(format!("{shown} can be written by this user")),
        Ok(Kept::Made) => Ok(format!("{shown} can be made by this user")),
        Ok(Kept::MadeWithFolder) => Ok(format!("{shown} and its folder can be made by this user")),
        Ok(Kept::Newer(found)) => Err(format!(
            "{shown} is of version {found}, and this bootwatch knows versions up to {known}, so it does not start; \
             run the newer bootwatch, or put the copy that it kept ({shown}.v{known}-*) in the store's place",
            known = store::version()
        )),
        Err((at, error)) if error.kind() == io::ErrorKind::IsADirectory => Err(format!(
            "{} is a folder; name a file in it in store.path",
            at.display()
        )),
        // In words of ours.
        Err((at, error)) if error.kind() == io::ErrorKind::Other => {
            Err(format!("{}: {error}", at.display()))
        }
        Err((at, error)) => Err(format!(
            "{shown} cannot be kept ({}: {error}), and a restart would forget all; give its folder to the service's user, \
             or correct store.path",
            at.display()
        )),
    }
}

/// Whether it can be read; what is in it is `bootwatch image audit`'s to say.
fn try_image(image: &config::Image) -> Result<String, String> {
    match audit(&Places::from(image)) {
        Ok(audited) => Ok(format!(
            "readable; its audit says {}",
            overall(&audited.findings)
        )),
        Err(error) => match std::error::Error::source(&error) {
            Some(cause) => Err(format!("{error} ({cause})")),
            None => Err(error.to_string()),
        },
    }
}

fn try_database(database: &Database) -> Result<String, String> {
    let options = DatabaseOptions::new(database).map_err(|error| error.to_string())?;
    let dialect = if options.is_sqlite() {
        Dialect::Sqlite
    } else {
        Dialect::Postgres
    };
    let tables = ControllerTables::new(dialect, &database.schema);
    let runtime = super::runtime().map_err(|error| error.root_cause().to_string())?;
    let found = runtime
        .block_on(examine(&options, &tables))
        .map_err(|error| error.shown())?;
    judge(&found)
}

/// Whether a role sees what it needs; that it may do more is said, and is no fault.
fn judge(found: &Examination) -> Result<String, String> {
    if let Some(hidden) = found.tables.iter().find(|table| table.blind) {
        return Err(format!(
            "{} rows of {} are visible, and there are about {}: row-level security hides them; apply what `bootwatch db \
             grants` prints",
            hidden.seen,
            hidden.table.as_str(),
            hidden.estimate
        ));
    }
    let seen: Vec<String> = found
        .tables
        .iter()
        .map(|table| match table.seen {
            1_000 => format!("1000 or more rows of {}", table.table.as_str()),
            seen => format!("{seen} rows of {}", table.table.as_str()),
        })
        .collect();
    let mut said = format!("sees {}", seen.join(" and "));
    if found.replica {
        said.push_str("; it is a replica, so that missing rows prove nothing");
    }
    let exposed = found.exposed.join(", ");
    let but = match (found.superuser, found.can_write, exposed.as_str()) {
        (true, _, _) => Some("is a superuser".to_owned()),
        (false, true, "") => Some("may write".to_owned()),
        (false, true, exposed) => Some(format!("may write, and sees {exposed}")),
        (false, false, "") => None,
        (false, false, exposed) => Some(format!("sees {exposed}")),
    };
    if let Some(but) = but {
        said.push_str(&format!(
            "; but the role {but}: use the one of `bootwatch db grants`"
        ));
    }
    Ok(said)
}

/// Made as at a start, which ends where it cannot be: at a certificate that is none, or a machine that trusts nobody.
fn try_notifier(notifier: &Notifier, config: &Config) -> Result<String, String> {
    let context = notify::Context::new(TimeZone::UTC, &config.links);
    notify::open(notifier, context).map_err(|error| why_not(error, &notifier.name))?;
    try_receiver(&notifier.channel)
}

/// Without the name that stands before it anyway.
fn why_not(error: notify::Unusable, name: &str) -> String {
    let said = format!("{:#}", anyhow::Error::new(error));
    let own = format!("notify.{name}: ");
    said.strip_prefix(&own).unwrap_or(&said).to_owned()
}

fn try_otlp(settings: &Otlp) -> Result<String, String> {
    notify::install_tls();
    otlp::usable(settings).map_err(|error| error.to_string())?;
    let (host, port) = settings.endpoint.place();
    try_place(&host, port)
}

fn try_receiver(channel: &Channel) -> Result<String, String> {
    let said: Result<Vec<String>, String> = channel
        .places()
        .into_iter()
        .map(|(host, port)| try_place(&host, port))
        .collect();
    said.map(|said| said.join(", "))
}

/// As the mail channel connects, and much as the others do.
fn try_place(host: &str, port: u16) -> Result<String, String> {
    let runtime = super::runtime().map_err(|error| error.root_cause().to_string())?;
    let connected = runtime.block_on(dial::connect(host, port, CONNECT));
    match connected.and_then(|stream| stream.peer_addr()) {
        Ok(address) => Ok(format!("{address} takes connections")),
        Err(error) => Err(format!("{host}, port {port}: {error}")),
    }
}

/// What is watched, judged and told, so that a right file that says the wrong thing is noticed too.
fn summarise(config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let source = match &config.log.source {
        LogSource::File(path) => path.display().to_string(),
        LogSource::Journal(unit) => format!("journal of {unit}"),
    };
    let zone = match &config.log.timezone {
        Zone::Auto => "the zone that the log tells",
        Zone::Named(zone) => zone.iana_name().unwrap_or("a time zone without a name"),
    };
    let or_none = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let (on, off) = config.rules.names();
    let owned = |names: Vec<&str>| or_none(names.into_iter().map(str::to_owned).collect());
    let notifiers: Vec<String> = config
        .notifiers
        .iter()
        .map(|one| format!("{} ({})", one.name, one.channel.kind()))
        .collect();
    let nobody = notifiers
        .is_empty()
        .then(|| crate::app::PAGES_NOBODY.to_owned());
    writeln!(out, "  host: {}", config.host)?;
    writeln!(out, "  log: {source}, in {zone}")?;
    match &config.database {
        // The URL is a secret.
        Some(database) => writeln!(out, "  database: watched, in schema {}", database.schema)?,
        None => writeln!(out, "  database: not watched")?,
    }
    if config.store.fleet.is_some() {
        // So is this one.
        writeln!(
            out,
            "  store.fleet: boots and incidents are copied to a fleet's PostgreSQL"
        )?;
    }
    if let Some(image) = &config.image {
        writeln!(out, "  image: {}", image.path.display())?;
    }
    writeln!(out, "  web: {}", config.web.listen)?;
    writeln!(out, "  rules: {}; off: {}", owned(on), owned(off))?;
    writeln!(out, "  notifiers: {}", or_none(notifiers))?;
    match &config.heartbeat {
        Some(heartbeat) => writeln!(
            out,
            "  heartbeat: {}, every {:?}",
            heartbeat.url, heartbeat.interval
        )?,
        None => writeln!(out, "  heartbeat: none; if bootwatch dies, nobody is told")?,
    }
    if let Some(otlp) = &config.otlp {
        let protocol = otlp.protocol.as_str();
        writeln!(out, "  otlp: {} by {protocol}", otlp.endpoint)?;
    }
    let resort = super::last_resort_trouble(config);
    let resort = resort.map(|trouble| format!("alerts.last_resort: {trouble}"));
    let notes = config.rules.notes().into_iter();
    for note in notes.chain(nobody).chain(resort) {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}
