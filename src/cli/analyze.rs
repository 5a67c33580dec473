//! `bootwatch analyze`: logs of the past into what happened.

mod causes;
mod images;
mod json;
mod text;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use causes::Causes;
use images::Images;

use super::Status;
use super::past::{self, Replayed};
use super::verdict::{Alerts, FiredAlert};
use crate::controller::excerpt::excerpt;
use crate::core::alert;
use crate::core::boot::{Observation, Tracker, TrackerCounts};
use crate::core::event::Event;
use crate::core::summary::Summary;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Logs in any order: a rotated family, console output, journalctl exports, each plain or gzipped; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Add every boot to the output
    #[arg(long)]
    boots: bool,
    /// The zone of the log's time stamps, by IANA name; by default learnt from the log, else this machine's
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// A golden image that browser VMs are copied from: its own time, or when it was put there, says since when; repeatable
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// When the golden image changed, such as 2025-10-18T01:14:00Z; repeatable
    #[arg(long, value_name = "TIME")]
    image_changed: Vec<jiff::Timestamp>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// All that was found.
struct Analysis {
    summary: Summary,
    alerts: Vec<FiredAlert>,
    causes: Causes,
    images: Images,
    read: Replayed,
    tracker: TrackerCounts,
    host: String,
}

pub(super) fn run(
    arguments: &Arguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Ok(zone) = past::zone_of(arguments.timezone.as_deref(), err)? else {
        return Ok(Status::Misused);
    };
    let Some(images) = Images::of(&arguments.images, &arguments.image_changed, err)? else {
        return Ok(Status::Misused);
    };
    let Some((inputs, problems)) = past::open(&arguments.files, err)? else {
        return Ok(Status::Misused);
    };
    let mut state = State {
        tracker: Tracker::new(excerpt),
        summary: Summary::new(arguments.boots),
        alerts: Alerts::new(alert::Settings::default()),
        causes: Causes::default(),
        images,
        out: Vec::new(),
    };
    let read = past::replay(inputs, problems, zone, &mut |event| state.take(event));
    state.tracker.finish(&mut state.out);
    state.drain();
    let analysis = Analysis {
        summary: state.summary,
        alerts: state.alerts.finish(),
        causes: state.causes,
        images: state.images,
        read,
        tracker: state.tracker.counts(),
        host: String::new(),
    };
    match arguments.format {
        Format::Json => json::write(&analysis, arguments.boots, out)?,
        Format::Text => text::write(&analysis, arguments.boots, out)?,
    }
    Ok(analysis.read.status())
}

/// The tracker and what it feeds.
struct State {
    tracker: Tracker,
    summary: Summary,
    alerts: Alerts,
    causes: Causes,
    images: Images,
    out: Vec<Observation>,
}

impl State {
    fn take(&mut self, event: &Event<'_>) {
        self.tracker.observe(event, &mut self.out);
        self.drain();
    }

    fn drain(&mut self) {
        for observation in self.out.drain(..) {
            self.alerts.observe(&observation);
            self.causes.observe(&observation);
            self.images.observe(&observation);
            self.summary.add(&observation);
        }
    }
}
