//! Wiring: every task, channel and port of the sidecar is made here, in the order of the data.
//!
//! ```text
//!   tail ──(bounded: waits, the file is the buffer)──► owner ──(bounded: counted when full)──► one worker a channel
//!                                                        └──► recorder ◄── web, on a thread of its own
//! ```
//!
//! Following, judging and paging share one thread: a live record's way to the page has no hand-over between threads in
//! it. The web has its own, so that a thousand scrapes do not delay a page.
//!
//! A task that ends is an event: if nobody asked for it, it is the start of the same orderly shutdown, with a failing
//! status. Shutdown follows the data: ready turns false, the source stops, the owner takes what was read and its channel
//! closes, the workers send what is left, the web goes last; all within one deadline. The workers have nine tenths of it,
//! so that what a slow receiver did not take is named and counted before the end.

mod alertmanager;
mod console;
mod database;
mod facts;
mod gather;
mod health;
mod image;
mod journal;
mod keeper;
mod owner;
mod place;
mod probe;
pub mod report;
mod resort;
mod restart;
mod rules;
mod sight;
mod supervisor;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use owner::Ended;
pub use rules::{desk_settings, settings as engine_settings};

use crate::clock;
use crate::config::{Config, LogSource, Zone};
use crate::export::{Recorder, Setup};
use crate::notify::{self, Notice};
use crate::source::database::Query;
use crate::source::tail::{self, StartAt, TailOptions, TailStats};
use crate::store::{self, Fleet, FleetFigures};
use crate::web::{self, Readiness};
use database::Existing;
use gather::Gather;
use health::Health;
use keeper::{Begin, Keeper, Outcomes};
use owner::Owner;
use place::{Place, SourceEvent};
use probe::Probing;
use resort::LastResort;
use supervisor::Supervisor;

/// Chunks on their way from the source to the owner. When it is full the source stops reading: the file is the buffer.
const CHUNKS: usize = 64;
/// What the owner has gathered, on its way to the store. When it is full the owner gathers on.
const HANDED: usize = 1;
/// What is seen of the golden image, on its way to the owner. When it is full the next look waits.
const IMAGES: usize = 1;
/// Notifications on their way to one receiver. When it is full, further ones are dropped, counted and logged: a
/// receiver that is hundreds of pages behind is told of the present state by the next one it takes.
const NOTIFICATIONS: usize = 512;
/// What operators want, on its way to the owner. When it is full, they are told to come again.
const ASKS: usize = 16;
/// What became of messages, on its way to the owner. When it is full it is dropped (`keeper::Feedback`).
const FEEDBACK: usize = 256;
/// What the web is given to answer what is in flight, even where the deadline has passed.
const WEB_GRACE: Duration = Duration::from_millis(100);

/// What a first run does with the log that is there; a later one goes on where the last one stopped.
#[derive(Debug, Default)]
pub struct Start {
    /// Read it as history, which is usual, or begin at its end.
    pub at: Option<StartAt>,
}

/// A sidecar whose ports are bound and whose tasks have not started yet.
pub struct App {
    config: Config,
    start: Start,
    web: TcpListener,
    address: SocketAddr,
}

/// Where the owner's decisions go.
#[derive(Default)]
struct Receivers {
    told: Vec<keeper::Receiver>,
    /// What holds now, for those that are shown it; `None`: nobody is.
    shown: Option<watch::Sender<Arc<notify::State>>>,
}

impl App {
    /// Binds what must be bound, so that a port that is taken is said before anything runs.
    ///
    /// # Errors
    /// The web's address cannot be bound.
    pub fn bind(config: Config, start: Start) -> anyhow::Result<App> {
        let wanted = config.web.listen;
        let web = TcpListener::bind(wanted).with_context(|| {
            format!("listen on {wanted} (web.listen); is another bootwatch running?")
        })?;
        web.set_nonblocking(true)
            .context("prepare the web's socket")?;
        let address = web.local_addr().context("read the web's address")?;
        Ok(App {
            config,
            start,
            web,
            address,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown` completes or a task fails, and says how it ended.
    ///
    /// # Errors
    /// A task failed, or the deadline passed with work left; everything was still shut down in order.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<Ended> {
        let App {
            config,
            start,
            web,
            address,
        } = self;
        notify::install_tls();
        let recorder = Arc::new(Recorder::new(&setup(&config)));
        let (ready_tx, ready) = watch::channel(Readiness::unless(vec![
            "the log is not read to its end yet".to_owned(),
        ]));
        let mut tasks = Supervisor::default();

        let settings = store::Settings::of(&config.store, &config.host);
        let keeper::Opened {
            store,
            saved,
            set_aside,
        } = keeper::open(&settings).await?;
        let mut restored = restart::restore(&saved, &config, owner::zone(&config.log.timezone));

        let stop_source = CancellationToken::new();
        let place = restored.place.clone();
        let (chunks, stats) = start_source(&config, start, place, &stop_source, &mut tasks)?;
        // Set when the shutdown begins: the moment by which everything must have ended.
        let (end_by, ends) = watch::channel(None);
        let unsent = Arc::new(AtomicU64::new(0));
        let outcomes = Arc::new(Outcomes::default());
        let health = Arc::new(Health::default());
        let (working, workers) = mpsc::channel(1);
        let channels = config.notifiers.iter().map(|one| one.name.clone());
        let resort = Arc::new(LastResort::new(channels));
        let voice = resort::Voice {
            context: notify::Context::new(page_zone(&config), &config.links),
            program: config.alerts.last_resort.clone(),
            recorder: Arc::clone(&recorder),
        };
        let shouting = resort::run(Arc::clone(&resort), voice, stop_source.clone());
        tasks.start("last resort", shouting);
        let reporting = Reporting {
            resort: Arc::clone(&resort),
            recorder: Arc::clone(&recorder),
            outcomes: Arc::clone(&outcomes),
            health: Arc::clone(&health),
            working,
        };
        let receivers = start_notifiers(&config, reporting, &ends, &unsent, &mut tasks)?;
        start_heartbeat(&config, &recorder, &health, &stop_source, &mut tasks)?;
        let (handed, orders) = mpsc::channel(HANDED);
        let (anew_tx, anew) = watch::channel(0);
        let (fed_back, feedback) = mpsc::channel(FEEDBACK);
        let keeper = Keeper::new(Begin {
            settings,
            store,
            set_aside,
            unsent: saved.unsent,
            receivers: receivers.told,
            feedback: fed_back,
            resort,
            outcomes,
            recorder: Arc::clone(&recorder),
            health: Arc::clone(&health),
            anew: anew_tx,
            workers,
        });
        tasks.start("store", keeper.run(orders));
        start_fleet(&config, &recorder, &stop_source, &mut tasks)?;
        if config.report.schedule.is_some() {
            let reports = report::run(Arc::new(config.clone()), stop_source.clone());
            tasks.start("report", reports);
        }
        let (images_tx, images) = mpsc::channel(IMAGES);
        if let Some(image) = config.image.clone() {
            tasks.start("image", image::run(image, images_tx, stop_source.clone()));
        }
        let consoles = config.console.as_ref().map(|settings| {
            let (consoles, follow) = console::start(settings, &recorder, &stop_source);
            tasks.start("console", follow);
            consoles
        });
        let existing = match &config.database {
            Some(database) => {
                let remembered = std::mem::take(&mut restored.remembered);
                let existing =
                    Existing::start(database, remembered, &recorder, &stop_source, &mut tasks)?;
                Some(existing)
            }
            None => None,
        };
        let probing = config.probe.interval.map(|interval| {
            Probing::start(&config.probe, interval, &recorder, &stop_source, &mut tasks)
        });
        let read_to = restored.place.clone();
        let mut gather = Gather::new(config.host.clone(), handed, anew, read_to);
        if restored.forgets_database {
            gather.forget_database();
        }
        let stop_web = CancellationToken::new();
        let (asks_tx, asks) = mpsc::channel(ASKS);
        let (view_tx, view) = watch::channel(Arc::default());
        let operators = web::Operators {
            token: config.web.token.clone(),
            asks: asks_tx,
            view,
        };
        let mut web = start_web(&config, web, &recorder, ready, operators, stop_web.clone())?;

        let owner = Owner::new(
            restored,
            existing,
            consoles,
            Arc::clone(&recorder),
            gather,
            owner::Reach {
                ready: ready_tx.clone(),
                stopping: stop_source.clone(),
                health,
                shown: receivers.shown,
                asks,
                feedback,
                view: view_tx,
                probing,
            },
            stats,
        );
        let (ended_tx, mut ended) = mpsc::channel(1);
        tasks.start("owner", async move {
            let end = owner.run(chunks, images).await;
            if ended_tx.send(end).await.is_err() {
                tracing::error!("nobody waited for the owner's end");
            }
        });
        tracing::info!(%address, host = config.host, version = env!("CARGO_PKG_VERSION"), "bootwatch started");

        let failed = {
            tokio::pin!(shutdown);
            tokio::select! {
                () = &mut shutdown => None,
                name = tasks.next_end() => Some(name),
                _ = &mut web.ended => Some("web".to_owned()),
            }
        };
        match &failed {
            Some(task) => tracing::error!(task, "a task ended by itself; shutting down"),
            None => tracing::info!("shutting down"),
        }

        // The same road for success and failure: the source stops, its channel closes, the owner ends, theirs close.
        let whole = config.shutdown.deadline;
        let deadline = clock::monotonic() + whole;
        stop_source.cancel();
        ready_tx.send_replace(Readiness::unless(vec!["shutting down".to_owned()]));
        end_by.send_replace(Some(deadline - whole / 10));
        let in_time = tokio::time::timeout_at(deadline, tasks.all_ended())
            .await
            .is_ok();
        if !in_time {
            let late = tasks.abort_all().await;
            tracing::error!(?late, "these tasks did not end in time");
        }
        stop_web.cancel();
        web.end(deadline.max(clock::monotonic() + WEB_GRACE)).await;
        match (failed, in_time) {
            (Some(task), _) => Err(anyhow::anyhow!("the task {task} ended by itself")),
            (None, false) => Err(anyhow::anyhow!("not everything ended within {whole:?}")),
            (None, true) => Ok(Ended {
                unsent: unsent.load(Ordering::SeqCst),
                ..ended.try_recv().unwrap_or_default()
            }),
        }
    }
}

/// Lines about bootwatch itself go to standard error; `BOOTWATCH_LOG` sets their level (`info` unless told).
pub fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("BOOTWATCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    // A second call in one process keeps the first one's settings.
    drop(logging.try_init());
}

fn setup(config: &Config) -> Setup {
    let settings = engine_settings(config);
    let conditions = settings.conditions.into_keys();
    Setup {
        rules: settings.rules.into_keys().chain(conditions).collect(),
        sources: vec![owner::SOURCE.to_owned()],
        channels: config
            .notifiers
            .iter()
            .map(|notifier| notifier.name.clone())
            .collect(),
        queries: match config.database {
            Some(_) => Query::ALL.map(Query::as_str).to_vec(),
            None => Vec::new(),
        },
        results: notify::Outcome::all()
            .map(|outcome| outcome.as_str())
            .chain(["dropped"])
            .collect(),
        heartbeat: config.heartbeat.is_some(),
        ..Setup::default()
    }
}

fn start_source(
    config: &Config,
    start: Start,
    place: Option<Place>,
    stop: &CancellationToken,
    tasks: &mut Supervisor,
) -> anyhow::Result<(mpsc::Receiver<SourceEvent>, watch::Receiver<TailStats>)> {
    let (chunks_tx, chunks) = mpsc::channel(CHUNKS);
    let (stats_tx, stats) = watch::channel(TailStats::default());
    match &config.log.source {
        LogSource::File(path) => {
            let mut options = TailOptions::new(path).context("log.file")?;
            options.inotify = config.log.follow.inotify;
            options.poll_active = config.log.follow.poll_active;
            options.poll_idle = config.log.follow.poll_idle;
            options.start = start.at.unwrap_or(StartAt::Beginning);
            tasks.start(
                "tail",
                tail::run(
                    options,
                    place.and_then(Place::file),
                    chunks_tx,
                    stats_tx,
                    stop.clone(),
                ),
            );
        }
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

/// Copies boots and incidents to the fleet's database, where there is one; it ends with the sources.
fn start_fleet(
    config: &Config,
    recorder: &Arc<Recorder>,
    stop: &CancellationToken,
    tasks: &mut Supervisor,
) -> anyhow::Result<()> {
    let Some(url) = &config.store.fleet else {
        return Ok(());
    };
    let fleet = Fleet::new(url, &config.store.path, &config.host).context("store.fleet.url")?;
    let (figures_tx, mut figures) = watch::channel(FleetFigures::default());
    let (recorder, stop) = (Arc::clone(recorder), stop.clone());
    tasks.start("fleet", async move {
        let show = async {
            while figures.changed().await.is_ok() {
                let FleetFigures {
                    up,
                    behind,
                    skipped,
                    ..
                } = *figures.borrow_and_update();
                recorder.fleet(up, behind, skipped);
            }
        };
        tokio::join!(fleet.run(figures_tx, stop), show);
    });
    Ok(())
}

/// The sign of life, where one is configured; it ends with the sources.
fn start_heartbeat(
    config: &Config,
    recorder: &Arc<Recorder>,
    health: &Arc<Health>,
    stop: &CancellationToken,
    tasks: &mut Supervisor,
) -> anyhow::Result<()> {
    let Some(settings) = &config.heartbeat else {
        return Ok(());
    };
    let heartbeat = notify::Heartbeat::open(settings, &config.host)?;
    let (recorder, health) = (Arc::clone(recorder), Arc::clone(health));
    let stop = stop.clone();
    tasks.start(
        "heartbeat",
        heartbeat.run(
            move || health.unwell(),
            move |beat| recorder.heartbeat(beat.as_str()),
            stop.cancelled_owned(),
        ),
    );
    Ok(())
}

fn start_notifiers(
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
        let (tx, rx) = mpsc::channel(NOTIFICATIONS);
        let takes_notices = sender.takes_notices();
        reporting.health.expect(&notifier.name);
        tasks.start(
            format!("notify.{}", notifier.name),
            worker(
                sender,
                rx,
                reporting.clone(),
                ends.clone(),
                Arc::clone(unsent),
            ),
        );
        receivers.told.push(keeper::Receiver {
            name: notifier.name.clone(),
            worker: tx,
            takes_notices,
        });
    }
    Ok(receivers)
}

/// The zone in which pages tell the time.
fn page_zone(config: &Config) -> jiff::tz::TimeZone {
    match &config.log.timezone {
        Zone::Named(zone) => zone.clone(),
        Zone::Auto => jiff::tz::TimeZone::system(),
    }
}

/// Whom a worker tells what became of its messages.
#[derive(Clone)]
struct Reporting {
    recorder: Arc<Recorder>,
    outcomes: Arc<Outcomes>,
    resort: Arc<LastResort>,
    health: Arc<Health>,
    /// Dropped when the worker ends.
    working: mpsc::Sender<()>,
}

/// One receiver's worker: what it does is counted, and so is what it leaves (which it names itself).
async fn worker(
    sender: notify::Sender,
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
            notify::Outcome::Sent => resort.tried(&channel, true),
            notify::Outcome::Retrying(_)
            | notify::Outcome::Failed(_)
            | notify::Outcome::Expired => resort.tried(&channel, false),
            notify::Outcome::Replaced | notify::Outcome::Overflow | notify::Outcome::Unsent => {}
        }
        outcomes.note(report.ticket, report.outcome);
        health.channel(&channel, report.outcome);
        recorder.notification(&channel, report.outcome.as_str(), Some(report.age));
        recorder.waiting(&channel, report.waiting);
        recorder.broken(&channel, report.broken);
    };
    let left = notify::run(sender, notifications, report, end_of(ends)).await;
    unsent.fetch_add(left.len() as u64, Ordering::SeqCst);
    // All is told; the keeper waits for this.
    drop(working);
}

/// The moment by which everything must have ended, once somebody says it.
async fn end_of(mut ends: watch::Receiver<Option<Instant>>) -> Instant {
    match ends.wait_for(Option::is_some).await {
        Ok(at) => at.unwrap_or_else(clock::monotonic),
        // The app is gone: there is no time left.
        Err(_) => clock::monotonic(),
    }
}

/// The web on its thread.
struct Web {
    thread: thread::JoinHandle<io::Result<()>>,
    /// Completes when the thread ends, however it does.
    ended: oneshot::Receiver<()>,
    cut: CancellationToken,
}

impl Web {
    /// Waits for the web to end; at `deadline` it is cut off, whatever a client still wants.
    async fn end(mut self, deadline: Instant) {
        let in_time = self.ended.is_terminated()
            || tokio::time::timeout_at(deadline, &mut self.ended)
                .await
                .is_ok();
        if !in_time {
            tracing::debug!("clients of the web were cut off");
            self.cut.cancel();
        }
        // It has nothing left to wait for.
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the web failed"),
            Err(_) => tracing::error!("the web's thread panicked"),
        }
    }
}

fn start_web(
    config: &Config,
    listener: TcpListener,
    recorder: &Arc<Recorder>,
    ready: watch::Receiver<Readiness>,
    operators: web::Operators,
    stop: CancellationToken,
) -> anyhow::Result<Web> {
    let rendered = Arc::clone(recorder);
    let faces = web::Faces {
        version: env!("CARGO_PKG_VERSION"),
        host: config.host.clone(),
        metrics: Arc::new(move || rendered.render()),
        ready,
        operators,
    };
    let (tell, ended) = oneshot::channel::<()>();
    let cut = CancellationToken::new();
    let until = cut.clone();
    let serve = move || {
        // Dropped with the thread, also by a panic.
        let _tell = tell;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let serving = web::serve(listener, faces, web::Limits::default(), stop);
            until.run_until_cancelled(serving).await;
            Ok(())
        })
    };
    let thread = thread::Builder::new()
        .name("web".to_owned())
        .spawn(serve)
        .context("start the web's thread")?;
    Ok(Web { thread, ended, cut })
}
