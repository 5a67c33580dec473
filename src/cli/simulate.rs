//! `bootwatch simulate`: the simulated master-controller alone.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

use super::Status;
use crate::clock::{self, Stopwatch};
use crate::config::Secret;
use crate::core::event::{Timestamp, parse_uuid};
use crate::simulator::player::Face;
use crate::simulator::scenario::{self, SCENARIOS};
use crate::simulator::{
    Agents, Api, ApiPlan, Console, Directories, Display, Figures, HABITS, Habit, LogFiles, Moment,
    Order, Player, Scenario, Schema, Simulation, Speed, Tables, Version, log,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Which scenario to play; --list shows them
    #[arg(long, default_value = "mixed", value_parser = scenario)]
    scenario: &'static Scenario,

    /// List the scenarios and exit
    #[arg(long)]
    list: bool,

    /// The same seed and start give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Whose habits: October's controller (the incident's) or December's
    #[arg(long, default_value = "oct", value_parser = version)]
    controller: Version,

    /// Whose numbers: the recorded runs' (20 s wait, VMs on loopback) or the real hosts'
    #[arg(long, default_value = "sample", value_parser = ["sample", "production"])]
    figures: String,

    /// The controller's limit for the health wait, such as 20s
    #[arg(long, value_parser = millis)]
    wait_limit: Option<i64>,

    /// Simulated seconds a second, or `max`
    #[arg(long, default_value = "max", value_parser = speed)]
    speed: Speed,

    /// Write this log file and its -error.log, rotating as winston does
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Rotate the log files at this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = log::MAX_SIZE)]
    max_size: u64,

    /// Write the lines to standard output as the controller does, with colour codes (the default without --log)
    #[arg(long)]
    console: bool,

    /// Write the controller's tables too, into a database that has none of them yet, or those of an earlier run, which is
    /// taken over: sqlite:PATH, or postgres://USER@HOST/DATABASE with the password in PGPASSWORD
    #[arg(long, value_name = "URL", value_parser = secret)]
    database: Option<Secret>,

    /// Whose columns the tables have: the shipped migration's or production's
    #[arg(long, default_value = "production", value_parser = schema)]
    schema: Schema,

    /// Stop asking for boots after this many
    #[arg(long)]
    boots: Option<u32>,

    /// Stop asking for boots after this much simulated time, such as 10m
    #[arg(long, value_parser = millis)]
    duration: Option<i64>,

    /// Play it again and again in the same world, each round after the other, until it is stopped
    #[arg(long, conflicts_with = "api")]
    repeat: bool,

    /// Boots an hour
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Simulated time of the first line (RFC 3339) [default: now]
    #[arg(long)]
    start: Option<jiff::Timestamp>,

    /// Time zone of the log's time stamps
    #[arg(long, default_value = "UTC")]
    timezone: String,

    /// Write the truth of each boot here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,

    /// Run the VMs' agents as real servers on their loopback addresses, on this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    agents: Option<u16>,

    /// Beside the agents, serve noVNC on port 6080 and VNC on 5901 where a VM has a display
    #[arg(long, requires = "agents")]
    displays: bool,

    /// Answer requests as the controller's API does, on this address, and boot what they ask for; it goes on until it
    /// is stopped, at the speed of the clock unless --speed says so many times that
    #[arg(long, value_name = "ADDRESS")]
    api: Option<std::net::SocketAddr>,

    /// An account with a CLI VM that nobody but the API's clients uses (a UUID; may be repeated)
    #[arg(long, value_name = "UUID", value_parser = account, requires = "api")]
    api_account: Vec<u128>,

    /// What boots meet that are asked for over the API
    #[arg(long, value_name = "SCENARIO", default_value = "healthy", value_parser = scenario)]
    api_scenario: &'static Scenario,

    /// How the API behaves: usual, slow, limited, broken, redirect-start, cancels-nothing ...
    #[arg(long, value_name = "HABIT", default_value = "usual", value_parser = habit)]
    api_habit: Habit,

    /// Write each VM's directory with its console.log and firecracker-error.log here, and remove it as the controller
    /// does
    #[arg(long, value_name = "DIR")]
    users_dir: Option<PathBuf>,

    /// Where December's controller keeps the consoles of removed directories
    #[arg(long, value_name = "DIR", requires = "users_dir")]
    archive_dir: Option<PathBuf>,

    /// Leave out the lines of other requests
    #[arg(long)]
    no_noise: bool,
}

fn scenario(name: &str) -> Result<&'static Scenario> {
    let Some(scenario) = scenario::find(name) else {
        let known: Vec<_> = SCENARIOS.iter().map(|row| row.name).collect();
        bail!(
            "unknown scenario \"{name}\"; known scenarios: {}",
            known.join(", ")
        );
    };
    Ok(scenario)
}

fn version(word: &str) -> Result<Version> {
    match word {
        "oct" => Ok(Version::Oct),
        "dec" => Ok(Version::Dec),
        _ => bail!("unknown controller \"{word}\"; known controllers: oct, dec"),
    }
}

fn account(word: &str) -> Result<u128> {
    parse_uuid(word.as_bytes()).context("write a UUID such as 5e1f0000-0000-4000-8000-000000000001")
}

fn habit(word: &str) -> Result<Habit> {
    let Some((_, habit, _)) = HABITS.iter().find(|(name, _, _)| *name == word) else {
        let known: Vec<_> = HABITS.iter().map(|(name, _, _)| *name).collect();
        bail!(
            "unknown habit \"{word}\"; known habits: {}",
            known.join(", ")
        );
    };
    Ok(*habit)
}

fn schema(word: &str) -> Result<Schema> {
    match word {
        "migration" => Ok(Schema::Migration),
        "production" => Ok(Schema::Production),
        _ => bail!("unknown schema \"{word}\"; known schemas: migration, production"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what clap asks of a parser")]
fn secret(word: &str) -> Result<Secret> {
    Ok(Secret::new(word))
}

fn speed(word: &str) -> Result<Speed> {
    if word == "max" {
        return Ok(Speed::Max);
    }
    match word.trim_end_matches('x').parse::<f64>() {
        Ok(times) if times.is_finite() && times >= 0.001 => Ok(Speed::Times(times)),
        _ => bail!("write a factor such as 1, 10 or 0.5, or max"),
    }
}

fn millis(word: &str) -> Result<i64> {
    let span: jiff::SignedDuration = word
        .parse()
        .context("write a duration such as 90s, 10m or 2h")?;
    match i64::try_from(span.as_millis()) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => bail!("the duration must be more than nothing"),
    }
}

/// Plays the scenario into the files and, if asked, to `out`.
///
/// # Errors
/// A wrong time zone, and files that cannot be written.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> Result<Status> {
    if arguments.list {
        list(out).context("write the list")?;
        return Ok(Status::Fine);
    }
    if let Some(needs) = arguments.scenario.needs
        && needs != arguments.controller
    {
        let flag = match needs {
            Version::Oct => "oct",
            Version::Dec => "dec",
        };
        let name = arguments.scenario.name;
        writeln!(err, "error: scenario {name} needs --controller {flag}")?;
        return Ok(Status::Misused);
    }
    if arguments.repeat && arguments.speed == Speed::Max {
        writeln!(
            err,
            "error: --repeat has no end, and at --speed max it would only fill the disk; write a factor such as --speed 1"
        )?;
        return Ok(Status::Misused);
    }
    let zone = TimeZone::get(&arguments.timezone)
        .with_context(|| format!("unknown time zone {}", arguments.timezone))?;
    let mut files = match &arguments.log {
        Some(path) => Some(
            LogFiles::open(path, arguments.max_size, zone.clone())
                .with_context(|| format!("open log {}", path.display()))?,
        ),
        None => None,
    };
    let to_console = arguments.console || arguments.log.is_none();
    let mut console = to_console.then(|| Console::new(out, zone));
    let mut agents = arguments
        .agents
        .map(|port| match (Agents::new(port), arguments.displays) {
            (agents, true) => agents.with_displays(Display::default()),
            (agents, false) => agents,
        });
    let start = arguments
        .start
        .map_or_else(clock::now, |at| Timestamp(at.as_millisecond()));
    let mut tables = match &arguments.database {
        Some(url) => Some(
            Tables::open(url, arguments.schema, start)
                .context("prepare the controller's tables")?,
        ),
        None => None,
    };
    let earlier = tables.as_ref().map_or(0, Tables::earlier);
    let (mut api, inbox) = match arguments.api {
        Some(address) => {
            let (api, bound) =
                Api::bind(address).with_context(|| format!("listen on {address} (--api)"))?;
            writeln!(err, "the simulated controller's API: http://{bound}")?;
            let (face, inbox) = api.split();
            (Some(face), Some(inbox))
        }
        None => (None, None),
    };
    let mut directories = match &arguments.users_dir {
        Some(users) => Some(
            Directories::open(users, arguments.archive_dir.as_deref())
                .with_context(|| format!("make the VMs' directories in {}", users.display()))?,
        ),
        None => None,
    };
    let mut progress = Progress::new(to_console);
    let mut faces: Vec<&mut dyn Face> = vec![&mut progress];
    // Before the log: what a guest said was said when the line about it is written.
    if let Some(directories) = &mut directories {
        faces.push(directories);
    }
    // Before the log: the controller writes its line when the database has answered.
    if let Some(tables) = &mut tables {
        faces.push(tables);
    }
    if let Some(files) = &mut files {
        faces.push(files);
    }
    if let Some(console) = &mut console {
        faces.push(console);
    }
    if let Some(agents) = &mut agents {
        faces.push(agents);
    }
    if let Some(api) = &mut api {
        faces.push(api);
    }

    let mut truth = match &arguments.truth {
        Some(path) => Some(BufWriter::new(
            File::create(path).with_context(|| format!("create {}", path.display()))?,
        )),
        None => None,
    };
    let mut simulation = Simulation::new(arguments.plan(start, earlier));
    let player = Player::new(arguments.speed);
    let mut tell = |ended| {
        let Some(truth) = &mut truth else {
            return Ok(());
        };
        serde_json::to_writer(&mut *truth, &ended)?;
        truth.write_all(b"\n")
    };
    let played = match &inbox {
        Some(inbox) => {
            player.play_live(&mut simulation, &mut faces, &mut tell, inbox, &mut || true)
        }
        None => player.play(&mut simulation, &mut faces, &mut tell),
    };
    played.context("write what the simulated controller writes")?;
    if let Some(truth) = &mut truth {
        truth.flush().context("write the truth")?;
    }
    Ok(Status::Fine)
}

impl Arguments {
    /// `earlier`: the rows of runs before in the same database. The same seed would make their ids once more.
    fn plan(&self, start: Timestamp, earlier: u64) -> crate::simulator::Plan {
        let mut figures = match self.figures.as_str() {
            "production" => Figures::production(self.controller),
            _ => Figures::sample(),
        };
        if let Some(limit) = self.wait_limit {
            figures.wait_limit = limit;
        }
        let mut plan = self.scenario.plan(&Order {
            seed: self.seed ^ earlier.rotate_left(32),
            start,
            version: self.controller,
            figures,
            boots: self.boots,
            lasts: self.duration,
            rate: self.rate,
        });
        plan.noise = !self.no_noise;
        plan.api = self.api.map(|_| ApiPlan {
            accounts: self.api_account.clone(),
            scenario: self.api_scenario,
            habit: self.api_habit,
        });
        plan.consoles = self.users_dir.is_some();
        plan.repeats = self.repeat;
        plan
    }
}

fn list(out: &mut dyn Write) -> io::Result<()> {
    for row in SCENARIOS {
        let needs = match row.needs {
            Some(Version::Dec) => " (--controller dec)",
            Some(Version::Oct) => " (--controller oct)",
            None => "",
        };
        writeln!(out, "{:<20} {}{needs}", row.name, row.about)?;
    }
    Ok(())
}

/// Says on a terminal how far a long simulation is; a face like any other.
struct Progress {
    bar: ProgressBar,
    began: Option<Timestamp>,
    watch: Stopwatch,
    lines: u64,
}

impl Progress {
    fn new(console_busy: bool) -> Progress {
        let hidden = !io::stderr().is_terminal() || (console_busy && io::stdout().is_terminal());
        let bar = if hidden {
            ProgressBar::hidden()
        } else {
            ProgressBar::new_spinner()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Progress {
            bar,
            began: None,
            watch: Stopwatch::start(),
            lines: 0,
        }
    }
}

impl Face for Progress {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        self.lines += 1;
        let began = *self.began.get_or_insert(moment.at);
        if self.lines.is_multiple_of(4096) && self.watch.elapsed() > Duration::from_millis(500) {
            let minutes = moment.at.since(began) / 60_000;
            self.bar
                .set_message(format!("{} lines, {minutes} simulated minutes", self.lines));
            self.bar.tick();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
