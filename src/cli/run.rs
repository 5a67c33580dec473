//! `bootwatch run`: the sidecar.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Status;
use crate::app::{App, Start, Systemd};
use crate::config::Surroundings;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
}

pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(config) = super::load(&arguments.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    crate::app::start_logging();
    for note in config.rules.notes() {
        tracing::warn!("{note}");
    }
    if let Some(trouble) = super::last_resort_trouble(&config) {
        tracing::warn!("alerts.last_resort: {trouble}");
    }
    let variable = |wanted: &str| {
        let found = surroundings
            .environment
            .iter()
            .find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    let start = Start {
        systemd: Systemd::of(variable, std::process::id()),
        ..Start::default()
    };
    let runtime = super::runtime()?;
    let ended = runtime.block_on(async {
        // Before anything says that this runs: from here on a signal means an orderly end.
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
        let app = tokio::select! {
            bound = App::bind_once_free(config, start) => bound?,
            // Nothing was begun.
            () = either(&mut interrupt, &mut terminate) => return Ok(Status::Fine),
        };
        writeln!(
            out,
            "bootwatch {} on {}",
            env!("CARGO_PKG_VERSION"),
            app.url()
        )?;
        out.flush()?;
        let (first, told) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            // The sender lives as long as this function; only a signal or a failed task ends the run.
            drop(told.await);
        };
        let running = async {
            tokio::select! {
                ended = app.run(shutdown) => ended,
                never = refuse(hangup) => match never {},
            }
        };
        tokio::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = either(&mut interrupt, &mut terminate) => {
                drop(first);
                tokio::select! {
                    ended = &mut running => ended,
                    // Whoever asks twice does not want to wait.
                    () = either(&mut interrupt, &mut terminate) => return Ok(Status::Wrong),
                }
            }
        };
        match ended {
            Ok(ended) if ended.unsent == 0 => Ok(Status::Fine),
            // Each one was named in the log.
            Ok(_) => Ok(Status::Wrong),
            Err(error) => {
                tracing::error!("{error:#}");
                Ok(Status::Wrong)
            }
        }
    });
    // What still reads a disk that does not answer is not waited for.
    runtime.shutdown_background();
    ended
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Of a hang-up a service is expected to read its configuration anew, and without a handler it would end. What is
/// configured is bound, opened and remembered at the start, so that half of a change would be worse than none.
async fn refuse(mut hangup: Signal) -> Infallible {
    while hangup.recv().await.is_some() {
        tracing::warn!("SIGHUP is ignored: a changed configuration is taken at a restart");
    }
    std::future::pending().await
}
