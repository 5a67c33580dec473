//! `bootwatch rules`: the rules, for those that judge a fleet.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::Status;
use crate::config::{self, Surroundings};
use crate::export::rules::{self, Parameters};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes every rule to standard output, with the thresholds of a configuration
    Export(Export),
}

#[derive(Debug, Args)]
struct Export {
    /// Whose rule file it is to be
    #[arg(long, value_enum, default_value_t = Format::Prometheus)]
    format: Format,
    /// The configuration whose thresholds are taken [default: every threshold's default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The job under which Prometheus scrapes bootwatch
    #[arg(long, value_name = "NAME", default_value = "bootwatch", value_parser = job)]
    job: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Prometheus,
}

/// It is written into expressions: a quote in it would end them early.
fn job(word: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => Ok(word.to_owned()),
        false => Err("write a job's name of letters, digits and - _ . / :".to_owned()),
    }
}

/// What is enough of a configuration to have every default.
const DEFAULTS: &str = "[host]\nname = \"defaults\"\n[log]\njournal = \"master-controller\"\n";

/// Where the defaults hold: a database is named, as the rules about it are for those who watch one. Nothing connects to it.
fn surroundings_of_defaults() -> Surroundings {
    let url = ("BOOTWATCH_DATABASE__URL", "postgres://localhost/postgres");
    Surroundings {
        environment: vec![(url.0.to_owned(), url.1.to_owned())],
        host_name: None,
    }
}

/// Writes the rule file to `out`.
///
/// # Errors
/// Output that cannot be written.
pub fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Command::Export(export) = &arguments.command;
    let config = match &export.config {
        Some(path) => super::load(path, surroundings, err)?,
        None => match config::parse(
            "defaults",
            DEFAULTS,
            Path::new("."),
            &surroundings_of_defaults(),
        ) {
            Ok(config) => Some(config),
            Err(problems) => {
                writeln!(err, "{problems}")?;
                None
            }
        },
    };
    let Some(config) = config else {
        return Ok(Status::Misused);
    };
    match export.format {
        Format::Prometheus => {
            let parameters = Parameters::of(&config, &export.job);
            out.write_all(rules::file(&parameters).as_bytes())?;
        }
    }
    Ok(Status::Fine)
}
