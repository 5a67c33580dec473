//! `bootwatch notify test CHANNEL`: does a message reach the people behind a channel?

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use super::Status;
use crate::clock;
use crate::config::{Config, Surroundings, Zone};
use crate::core::alert::Kind;
use crate::notify::{self, NotifyError, Opened};

/// Speaks to a configured channel
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Sends a message that is marked as a test, and its end; exits 0 only if the channel took both
    Test(Test),
}

#[derive(Clone, Debug, clap::Args)]
struct Test {
    /// The channel: what stands behind `notify.` in the configuration
    channel: String,
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
}

/// Writes what became of it to `out`: status 0 if everything arrived, 1 if not, 2 for a wrong configuration or a channel
/// that is not in it.
pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Command::Test(test) = &arguments.command;
    let Some(config) = super::load(&test.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    let Some(opened) = open(&config, &test.channel)? else {
        let known: Vec<&str> = config
            .notifiers
            .iter()
            .map(|notifier| notifier.name.as_str())
            .collect();
        let known = match known.as_slice() {
            [] => "none is configured".to_owned(),
            known => format!("configured are: {}", known.join(", ")),
        };
        writeln!(err, "no channel is called {:?}; {known}", test.channel)?;
        return Ok(Status::Misused);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let results = runtime.block_on(attempt(&opened, &config.host));
    let mut status = Status::Fine;
    for (what, result) in results {
        match result {
            Ok(()) => writeln!(out, "{}: {what}: taken", test.channel)?,
            Err(error) => {
                status = Status::Wrong;
                writeln!(
                    out,
                    "{}: {what}: not taken: {}",
                    test.channel,
                    error.chain()
                )?;
                if error.breaks_receiver() {
                    writeln!(
                        out,
                        "  no further try can help; correct notify.{}",
                        test.channel
                    )?;
                }
            }
        }
    }
    Ok(status)
}

fn open(config: &Config, channel: &str) -> anyhow::Result<Option<Opened>> {
    let Some(notifier) = config
        .notifiers
        .iter()
        .find(|notifier| notifier.name == channel)
    else {
        return Ok(None);
    };
    let zone = match &config.log.timezone {
        Zone::Named(zone) => zone.clone(),
        Zone::Auto => jiff::tz::TimeZone::system(),
    };
    let context = notify::Context::new(zone, &config.links);
    Ok(Some(notify::open(notifier, context)?))
}

/// What was sent, and what became of it. An end is sent only behind a beginning that was taken.
async fn attempt(opened: &Opened, host: &str) -> Vec<(String, Result<(), NotifyError>)> {
    let now = clock::now();
    let mut results = Vec::new();
    match opened {
        Opened::Sender(sender) => {
            for message in sender.render_test(host, now) {
                let what = match message.kind {
                    Kind::Resolved => "the test's end",
                    Kind::Firing | Kind::Update => "the test message",
                };
                let result = sender.send(&message).await;
                let failed = result.is_err();
                results.push((what.to_owned(), result));
                if failed {
                    break;
                }
            }
        }
        Opened::Publisher(publisher) => {
            for (place, result) in publisher.test(host, now).await {
                results.push((format!("the test alert to {place}"), result));
            }
        }
    }
    results
}
