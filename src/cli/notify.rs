//! `bootwatch notify test CHANNEL`: does a message reach the people behind a channel? `bootwatch notify drill`: what do
//! they do with a whole incident?

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::Status;
use crate::clock;
use crate::config::{Config, Surroundings, Zone};
use crate::core::alert::{self, Kind, Notification};
use crate::notify::{self, NotifyError, Opened, Taken};

/// Speaks to a configured channel
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Sends a message that is marked as a test, and its end; exits 0 only if the channel took both, for every
    /// recipient
    Test(Test),
    /// Plays a whole incident that did not happen (first page, update, end), marked as a drill everywhere; exits 0 only
    /// if every channel took all of it
    Drill(Drill),
}

#[derive(Clone, Debug, clap::Args)]
struct Drill {
    /// One channel; else all that are configured
    channel: Option<String>,
    /// How long to wait between two messages, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pause: u64,
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
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

/// Writes what became of it to `out`: status 0 if everything arrived, with every recipient, 1 if not, 2 for a wrong
/// configuration or a channel that is not in it.
pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let test = match &arguments.command {
        Command::Test(test) => test,
        Command::Drill(drill) => return play(drill, surroundings, out, err),
    };
    let Some(config) = super::load(&test.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    let Some(opened) = open(&config, &test.channel)? else {
        return unknown(&config, &test.channel, err);
    };
    let runtime = super::runtime()?;
    let results = runtime.block_on(attempt(&opened, &config.host));
    let mut status = Status::Fine;
    for (what, result) in results {
        match result {
            Ok(taken) => {
                let all = say_taken(&taken, &test.channel, "", &what, out)?;
                status = if all { status } else { Status::Wrong };
            }
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

/// Who took it and who did not; whether that is all.
fn say_taken(
    taken: &Taken,
    channel: &str,
    place: &str,
    what: &str,
    out: &mut dyn Write,
) -> std::io::Result<bool> {
    let but = if taken.refused.is_empty() {
        ""
    } else {
        ", but not for all"
    };
    writeln!(out, "{channel}{place}: {what}: taken{but}")?;
    for (number, why) in &taken.refused {
        writeln!(
            out,
            "  recipient {number} of notify.{channel}.to was refused: {why}"
        )?;
    }
    Ok(taken.refused.is_empty())
}

fn unknown(config: &Config, channel: &str, err: &mut dyn Write) -> anyhow::Result<Status> {
    let known: Vec<&str> = config
        .notifiers
        .iter()
        .map(|notifier| notifier.name.as_str())
        .collect();
    let known = match known.as_slice() {
        [] => "none is configured".to_owned(),
        known => format!("configured are: {}", known.join(", ")),
    };
    writeln!(err, "no channel is called {channel:?}; {known}")?;
    Ok(Status::Misused)
}

/// A whole incident on one channel, or on all of them.
fn play(
    drill: &Drill,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(config) = super::load(&drill.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    let wanted = |name: &str| drill.channel.as_deref().is_none_or(|only| only == name);
    let mut channels = Vec::new();
    for notifier in config.notifiers.iter().filter(|one| wanted(&one.name)) {
        channels.extend(open(&config, &notifier.name)?.map(|opened| (&notifier.name, opened)));
    }
    if channels.is_empty() {
        return unknown(&config, drill.channel.as_deref().unwrap_or("*"), err);
    }
    let runtime = super::runtime()?;
    let pause = Duration::from_secs(drill.pause);
    let start = clock::now();
    let step = i64::try_from(pause.as_millis()).unwrap_or(0).max(1);
    let moments = [start, start.plus_ms(step), start.plus_ms(2 * step)];
    let mut status = Status::Fine;
    for (number, message) in alert::drill(&config.host, moments).iter().enumerate() {
        if number > 0 {
            runtime.block_on(async { tokio::time::sleep(pause).await });
        }
        let what = match message.kind {
            Kind::Firing => "the drill's first page",
            Kind::Update => "the drill's update",
            Kind::Resolved => "the drill's end",
        };
        for (channel, opened) in &channels {
            for (place, result) in runtime.block_on(tell(opened, message)) {
                match result {
                    Ok(taken) => {
                        let all = say_taken(&taken, channel, &place, what, out)?;
                        status = if all { status } else { Status::Wrong };
                    }
                    Err(error) => {
                        status = Status::Wrong;
                        let error = error.chain();
                        writeln!(out, "{channel}{place}: {what}: not taken: {error}")?;
                    }
                }
            }
        }
    }
    Ok(status)
}

/// What or where, and what became of it.
type Told = (String, Result<Taken, NotifyError>);

/// An Alertmanager is one recipient.
fn whole((): ()) -> Taken {
    Taken::default()
}

/// One message of a drill; where it went, and what became of it.
async fn tell(opened: &Opened, message: &Notification) -> Vec<Told> {
    match opened {
        Opened::Sender(sender) => {
            let result = sender.send(&sender.render(message)).await;
            vec![(String::new(), result)]
        }
        Opened::Publisher(publisher) => {
            let told = publisher.drill(message).await.into_iter();
            told.map(|(place, result)| (format!(" at {place}"), result.map(whole)))
                .collect()
        }
    }
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
async fn attempt(opened: &Opened, host: &str) -> Vec<Told> {
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
                results.push((format!("the test alert to {place}"), result.map(whole)));
            }
        }
    }
    results
}
