//! `bootwatch report`: one week's reliability report.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::ProgressBar;

use super::Status;
use crate::app::report as reports;
use crate::clock;
use crate::config::{Config, Surroundings};
use crate::core::report::week::Week;
use crate::report;
use crate::store::Archive;

/// Reckons the report of one week from the store
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The ISO week, such as 2025-W42; the last whole week unless told
    #[arg(long, value_name = "WEEK", value_parser = Week::parse)]
    week: Option<Week>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Where it is written, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Mail it to the recipients of `report.channel` who have not got it, and keep it among the reports
    #[arg(long)]
    send: bool,
    /// Over all hosts that copy their history to `store.fleet`: by host and in total
    #[arg(long)]
    fleet: bool,
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Html,
    Markdown,
    Json,
}

/// Writes the report to `out`; status 1 if it could not be mailed to everybody.
pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(config) = super::load(&arguments.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    if arguments.fleet && config.store.fleet.is_none() {
        writeln!(
            err,
            "--fleet: store.fleet.url is not set; write where the fleet's sidecars copy their history"
        )?;
        return Ok(Status::Misused);
    }
    // Who got it is noted in the store.
    if (!arguments.fleet || arguments.send) && !config.store.path.exists() {
        writeln!(
            err,
            "there is no store at {} (store.path): bootwatch run makes it, and a report is made of what it holds",
            config.store.path.display()
        )?;
        return Ok(Status::Misused);
    }
    if arguments.send && config.report.channel.is_none() {
        writeln!(
            err,
            "--send: nobody is configured to get it; write report.channel = \"NAME\" of a notifier of type email"
        )?;
        return Ok(Status::Misused);
    }
    let runtime = super::runtime()?;
    runtime.block_on(make(arguments, &config, out, err))
}

async fn make(
    arguments: &Arguments,
    config: &Config,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let (zone, _) = reports::zone_of(config);
    let week = arguments
        .week
        .unwrap_or_else(|| Week::of(clock::now(), &zone).previous());
    let (now, range) = (clock::now(), week.range(&zone));
    if range.start > now {
        writeln!(err, "--week: week {week} has not begun")?;
        return Ok(Status::Misused);
    }
    // Each recipient gets a week once: half of one would stand for the whole.
    if arguments.send && range.end > now {
        writeln!(
            err,
            "--send: week {week} is not over; leave out --send to see how it stands"
        )?;
        return Ok(Status::Misused);
    }
    let reckoned = match config.store.fleet.as_ref().filter(|_| arguments.fleet) {
        Some(url) => {
            // Millions of boots take a minute; it draws itself on a terminal only.
            let spinner = ProgressBar::new_spinner().with_message(format!(
                "reading week {week} of all hosts from the fleet's database"
            ));
            spinner.enable_steady_tick(Duration::from_millis(120));
            let reckoned = reports::reckon_fleet(config, url, week).await;
            spinner.finish_and_clear();
            reckoned?
        }
        None => reports::reckon(config, &config.store.path, week).await?,
    };
    let voice = reports::voice_of(config);
    let text = match arguments.format {
        Format::Html => report::html(&reckoned, &voice),
        Format::Markdown => report::markdown(&reckoned, &voice),
        Format::Json => report::json(&reckoned),
    };
    match &arguments.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
            writeln!(out, "{}: {}", path.display(), report::headline(&reckoned))?;
        }
        None if arguments.send => writeln!(out, "{}", report::headline(&reckoned))?,
        None => out.write_all(text.as_bytes())?,
    }
    if !arguments.send {
        return Ok(Status::Fine);
    }
    if reports::is_unknown(&reckoned) {
        writeln!(
            err,
            "--send: nothing is known of week {week}, so nothing was mailed"
        )?;
        return Ok(Status::Wrong);
    }
    let Some(mut postman) = reports::postman(config)? else {
        return Ok(Status::Misused);
    };
    crate::notify::install_tls();
    let mut archive = Archive::open(&config.store.path).await?;
    let stored = reports::stored(&reckoned, &voice, clock::now());
    let revision = archive.keep(&stored).await?;
    let letter = reports::letter(&reckoned, &voice, revision);
    let what = (&stored, revision);
    let posted = reports::post(&mut archive, &mut postman, what, &letter, revision).await;
    archive.close().await;
    let posted = posted?;
    for name in &posted.sent {
        writeln!(out, "{name}: taken")?;
    }
    for name in &posted.before {
        writeln!(out, "{name}: has it already")?;
    }
    for (name, error) in &posted.failed {
        writeln!(err, "{name}: not taken: {}", error.chain())?;
    }
    match posted.failed.is_empty() {
        true => Ok(Status::Fine),
        false => Ok(Status::Wrong),
    }
}
