//! The commands, one file each.

pub mod analyze;
pub mod backtest;
pub mod check;
pub mod db;
pub mod demo;
pub mod image;
pub mod manual;
pub mod notify;
pub mod operate;
mod past;
pub mod probe;
pub mod report;
pub mod rules;
pub mod run;
pub mod simulate;
mod verdict;

use std::io::Write;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config::{self, Config, Surroundings};

/// Watches a Firecracker master-controller and says why its VMs fail, since when, and what is not affected.
#[derive(Debug, Parser)]
#[command(name = "bootwatch", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watches a controller: follows its log, judges its boots, pages on-call
    Run(run::Arguments),
    /// Plays the incident with a simulated controller and the whole sidecar; nothing to install or configure
    Demo(demo::Arguments),
    /// Reads logs of the past and says what happened: boots, stages, failures and the likely cause
    Analyze(analyze::Arguments),
    /// Says what a configuration would have paged over logs of the past, and how soon
    Backtest(backtest::Arguments),
    /// Reads the configuration and names every problem at once
    Check(check::Arguments),
    /// Says whether a golden image has everything that a browser VM needs
    Image(image::Arguments),
    /// Looks at one VM: its agent, noVNC, VNC, each phase timed
    Probe(probe::Arguments),
    /// Sends a test message through a configured channel, or plays a whole incident as a drill
    Notify(notify::Arguments),
    /// Keeps alerts quiet for a while
    Silence(operate::Silence),
    /// Acknowledges an incident, or lists those that are open
    Ack(operate::Ack),
    /// Marks a fix, so that the boots after it prove it or do not
    Fix(operate::Fix),
    /// Starts and ends maintenance, whose boots do not count
    Maintenance(operate::Maintenance),
    /// Makes a boot of bootwatch's own, now, or shows the latest
    Synthetic(operate::Synthetic),
    /// Writes the reliability report of a week, or mails it
    Report(report::Arguments),
    /// The controller's database: SQL for a role that can only read what bootwatch needs
    Db(db::Arguments),
    /// Writes the rules in the form of another program, for a fleet
    Rules(rules::Arguments),
    /// Writes the logs of a simulated master-controller, with the truth of each boot
    Simulate(simulate::Arguments),
    /// Writes the completions of a shell
    #[command(hide = true)]
    Completions(manual::Completions),
    /// Writes the manual page
    #[command(hide = true)]
    Man(manual::Man),
}

/// How a command ended, as its exit status: 0 fine, 1 found something wrong (of `run`: a task failed or a page was left
/// unsent), 2 wrong use or configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Fine = 0,
    Wrong = 1,
    Misused = 2,
}

/// Runs one command; what it has to say goes to `out`, what it complains of to `err`.
///
/// # Errors
/// Output that cannot be written, and whatever a command could not handle itself.
pub fn run(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Status> {
    match cli.command {
        Command::Run(arguments) => run::run(&arguments, &Surroundings::of_this_process(), out, err),
        Command::Demo(arguments) => demo::run(&arguments, out),
        Command::Analyze(arguments) => analyze::run(&arguments, out, err),
        Command::Backtest(arguments) => {
            backtest::run(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Check(arguments) => check::run(&arguments, &Surroundings::of_this_process(), out),
        Command::Image(arguments) => image::run(&arguments, out, err),
        Command::Probe(arguments) => {
            probe::run(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Notify(arguments) => {
            notify::run(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Silence(arguments) => {
            operate::silence(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Fix(arguments) => {
            operate::fix(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Ack(arguments) => {
            operate::ack(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Maintenance(arguments) => {
            operate::maintenance(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Synthetic(arguments) => {
            operate::synthetic(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Report(arguments) => {
            report::run(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Db(arguments) => db::run(arguments, out, err),
        Command::Rules(arguments) => {
            rules::run(&arguments, &Surroundings::of_this_process(), out, err)
        }
        Command::Simulate(arguments) => simulate::run(&arguments, out, err),
        Command::Completions(arguments) => manual::completions(&arguments, out),
        Command::Man(arguments) => manual::man(&arguments, out),
    }
}

/// Why the program that is started where no channel takes a page could not be, if it could not.
fn last_resort_trouble(config: &Config) -> Option<String> {
    let program = config.alerts.last_resort.as_deref();
    program.and_then(crate::app::trouble_with_last_resort)
}

/// One that a command needs for itself: what it asks is awaited on its own thread.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}

/// The configuration a command runs with, or the complaint about it.
fn load(
    path: &std::path::Path,
    surroundings: &Surroundings,
    err: &mut dyn Write,
) -> anyhow::Result<Option<Config>> {
    match config::load(path, surroundings) {
        Ok(config) => Ok(Some(config)),
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(None)
        }
    }
}
