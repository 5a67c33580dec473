//! The channels: a worker each, what becomes of their messages, and by when they must have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::health::Health;
use super::keeper::{self, Outcomes};
use super::resort::LastResort;
use super::supervisor::Supervisor;
use super::{alertmanager, page_zone};
use crate::clock;
use crate::config::Config;
use crate::export::Recorder;
use crate::notify::{self, Notice};

/// Notifications on their way to one receiver. When it is full, further ones are dropped, counted and logged: a
/// receiver that is hundreds of pages behind is told of the present state by the next one it takes.
const NOTIFICATIONS: usize = 512;

/// Where the owner's decisions go.
#[derive(Default)]
pub(super) struct Receivers {
    pub(super) told: Vec<keeper::Receiver>,
    /// What holds now, for those that are shown it; `None`: nobody is.
    pub(super) shown: Option<watch::Sender<Arc<notify::State>>>,
}

pub(super) fn start(
    config: &Config,
    reporting: Reporting,
    ends: &watch::Receiver<Option<Instant>>,
    unsent: &Arc<AtomicU64>,
    tasks: &mut Supervisor,
) -> anyhow::Result<Receivers> {
    let zone = page_zone(config);
    let mut receivers = Receivers::default();
    for notifier in &config.notifiers {
        let context = notify::Context::new(zone.clone(), &config.links);
        let sender = match notify::open(notifier, context)? {
            notify::Opened::Sender(sender) => sender,
            notify::Opened::Publisher(publisher) => {
                let shown = receivers
                    .shown
                    .get_or_insert_with(|| watch::channel(Arc::default()).0);
                alertmanager::start(publisher, shown, &reporting, ends, tasks);
                continue;
            }
        };
        let sender = Arc::new(sender);
        let (tx, rx) = mpsc::channel(NOTIFICATIONS);
        let takes_notices = sender.takes_notices();
        reporting.health.expect(&notifier.name);
        tasks.start(
            format!("notify.{}", notifier.name),
            worker(
                Arc::clone(&sender),
                rx,
                reporting.clone(),
                ends.clone(),
                Arc::clone(unsent),
            ),
        );
        receivers.told.push(keeper::Receiver {
            name: notifier.name.clone(),
            worker: tx,
            sender,
            takes_notices,
        });
    }
    Ok(receivers)
}

/// Whom a worker tells what became of its messages.
#[derive(Clone)]
pub(super) struct Reporting {
    pub(super) recorder: Arc<Recorder>,
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) resort: Arc<LastResort>,
    pub(super) health: Arc<Health>,
    /// Dropped when the worker ends.
    pub(super) working: mpsc::Sender<()>,
}

/// One receiver's worker: what it does is counted, and so is what it leaves (which it names itself).
async fn worker(
    sender: Arc<notify::Sender>,
    notifications: mpsc::Receiver<Notice>,
    reporting: Reporting,
    ends: watch::Receiver<Option<Instant>>,
    unsent: Arc<AtomicU64>,
) {
    let channel = sender.name().to_owned();
    let Reporting {
        recorder,
        outcomes,
        resort,
        health,
        working,
    } = reporting;
    let report = move |report: notify::Report| {
        match report.outcome {
            notify::Outcome::Sent | notify::Outcome::Partly => resort.tried(&channel, true),
            notify::Outcome::Retrying(_)
            | notify::Outcome::Failed(_)
            | notify::Outcome::Expired => resort.tried(&channel, false),
            notify::Outcome::Replaced | notify::Outcome::Overflow | notify::Outcome::Unsent => {}
        }
        outcomes.note(report.ticket, report.outcome, report.receipt);
        health.channel(&channel, report.outcome);
        recorder.notification(&channel, report.outcome.as_str(), Some(report.age));
        let oldest = report.oldest;
        let oldest = oldest.map(|age| clock::now().plus_ms(-clock::millis(age)));
        recorder.waiting(&channel, report.waiting, oldest);
        recorder.broken(&channel, report.broken);
    };
    let left = notify::run(sender, notifications, report, end_of(ends)).await;
    unsent.fetch_add(left.len() as u64, Ordering::SeqCst);
    // All is told; the keeper waits for this.
    drop(working);
}

/// The moment by which everything must have ended, once somebody says it.
pub(super) async fn end_of(mut ends: watch::Receiver<Option<Instant>>) -> Instant {
    match ends.wait_for(Option::is_some).await {
        Ok(at) => at.unwrap_or_else(clock::monotonic),
        // The app is gone: there is no time left.
        Err(_) => clock::monotonic(),
    }
}
