//! `bootwatch run`: the sidecar.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Status;
use crate::app::{App, Start};
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let app = App::bind(config, Start::default())?;
        writeln!(
            out,
            "bootwatch {} on http://{}",
            env!("CARGO_PKG_VERSION"),
            app.address()
        )?;
        out.flush()?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let (first, told) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            // The sender lives as long as this function; only a signal or a failed task ends the run.
            drop(told.await);
        };
        let running = app.run(shutdown);
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return ended.map(|_| Status::Fine),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        drop(first);
        tokio::select! {
            ended = &mut running => ended.map(|_| Status::Fine),
            // Whoever asks twice does not want to wait.
            _ = interrupt.recv() => Ok(Status::Wrong),
            _ = terminate.recv() => Ok(Status::Wrong),
        }
    })
}
