//! `bootwatch check`: is the configuration right, and what does it amount to?

use std::io::Write;
use std::path::PathBuf;

use super::Status;
use crate::config::{self, Config, LogSource, Surroundings, Zone};

/// Reads the configuration and names every problem at once.
#[derive(Clone, Debug, clap::Args)]
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
}

/// Writes the verdict to `out` and returns the exit status: 0, or 2 for a wrong configuration.
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
        Ok(config) => {
            writeln!(out, "{}: no problems", arguments.config.display())?;
            summarise(&config, out)?;
            Ok(Status::Fine)
        }
        Err(problems) => {
            writeln!(out, "{problems}")?;
            Ok(Status::Misused)
        }
    }
}

/// What is watched, judged and told, so that a right file that says the wrong thing is noticed too.
fn summarise(config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let source = match &config.log.source {
        LogSource::File(path) => path.display().to_string(),
        LogSource::Journal(unit) => format!("journal of {unit}"),
    };
    let zone = match &config.log.timezone {
        Zone::Auto => "this machine's time zone",
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
    let notifiers = config
        .notifiers
        .iter()
        .map(|one| format!("{} ({})", one.name, one.channel.kind()))
        .collect();
    writeln!(out, "  host: {}", config.host)?;
    writeln!(out, "  log: {source}, in {zone}")?;
    writeln!(out, "  web: {}", config.web.listen)?;
    writeln!(out, "  rules: {}; off: {}", owned(on), owned(off))?;
    writeln!(out, "  notifiers: {}", or_none(notifiers))
}
