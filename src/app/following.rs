//! Where records come from: the log's file or the journal, followed by a task of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::health::{Health, Part, ticking};
use super::journal;
use super::place::{Place, SourceEvent};
use super::supervisor::Supervisor;
use crate::config::{Config, LogSource};
use crate::controller::haste::{self, MayPage};
use crate::source::tail::{self, StartAt, TailOptions, TailStats, Urgent};

/// Chunks on their way from the source to the owner, of 64 KiB where much is read and seldom more. When it is full the
/// source stops reading: the file is the buffer.
const CHUNKS: usize = 16;
/// A busy log's lines are gathered for so long while they can page nobody: what they show is asked for no more often.
const GATHER: Duration = Duration::from_millis(500);

/// Where the source begins.
pub(super) struct Begins {
    pub(super) at: Option<StartAt>,
    pub(super) place: Option<Place>,
    /// Which failed health checks are urgent, and how many urgent lines may wait: the owner says so.
    pub(super) may_page: Arc<MayPage>,
}

pub(super) fn start(
    config: &Config,
    begin: Begins,
    health: &Arc<Health>,
    stop: &CancellationToken,
    tasks: &mut Supervisor,
) -> anyhow::Result<(mpsc::Receiver<SourceEvent>, watch::Receiver<TailStats>)> {
    let Begins {
        at,
        place,
        may_page,
    } = begin;
    let (chunks_tx, chunks) = mpsc::channel(CHUNKS);
    let (stats_tx, stats) = watch::channel(TailStats::default());
    match &config.log.source {
        LogSource::File(path) => {
            let mut options = TailOptions::new(path).context("log.file")?;
            if let Some(said) = tail::mounted_alone(path) {
                tracing::warn!("{said}");
            }
            options.inotify = config.log.follow.inotify;
            options.poll_active = config.log.follow.poll_active;
            options.poll_idle = config.log.follow.poll_idle;
            options.gather_for = GATHER;
            let far = Arc::clone(&may_page);
            options.urgent = Urgent::new(
                move |lines| haste::urgent_lines(lines, &may_page),
                move || far.may_wait(),
            );
            options.start = at.unwrap_or(StartAt::Beginning);
            // It looks at least as often as it polls.
            health.patient(Part::Follower, 3 * config.log.follow.poll_idle);
            let following = tail::run(
                options,
                place.and_then(Place::file),
                chunks_tx,
                stats_tx,
                stop.clone(),
            );
            let following = ticking(Arc::clone(health), Part::Follower, following);
            tasks.start("tail", following);
        }
        // A journal in which nothing is written wakes nobody, so its follower says nothing of itself.
        LogSource::Journal(unit) => tasks.start(
            "journal",
            journal::run(
                unit.clone(),
                place.and_then(Place::journal),
                chunks_tx,
                stats_tx,
                stop.clone(),
            ),
        ),
    }
    Ok((chunks, stats))
}
