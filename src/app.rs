//! Wiring: every task, channel and port of the sidecar is made here, in the order of the data.
//!
//! ```text
//!   tail ──(bounded: waits, the file is the buffer)──► owner ──(bounded: counted when full)──► one worker a channel
//!                                                        └──► recorder ◄── web, on a thread of its own
//!                                                                 └─(bounded: the oldest go)──► OTLP, on another
//! ```
//!
//! Following, judging and paging share one thread: a live record's way to the page has no hand-over between threads in
//! it. The web has its own, so that a thousand scrapes do not delay a page.
//!
//! A task that ends is an event: if nobody asked for it, it is the start of the same orderly shutdown, with a failing
//! status. Shutdown follows the data: ready turns false, the source stops, the owner takes what was read and its channel
//! closes, the workers send what is left, OTLP and the web go last; all within one deadline. The workers have nine tenths of it,
//! so that what a slow receiver did not take is named and counted before the end.

mod alertmanager;
mod console;
mod database;
mod delivery;
mod facts;
mod following;
mod gather;
mod health;
mod image;
mod journal;
mod keeper;
mod listening;
mod live;
mod otlp;
mod owner;
mod past;
mod place;
mod probe;
pub mod report;
mod resort;
mod restart;
mod rules;
mod serving;
mod sight;
mod supervisor;
mod synthetic;
mod systemd;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use owner::Ended;
pub use resort::trouble_with as trouble_with_last_resort;
pub use rules::{desk_settings, settings as engine_settings};

use crate::clock;
use crate::config::{Config, Zone};
use crate::controller::haste::MayPage;
use crate::core::diagnosis::Homes;
use crate::core::synthetic::SyntheticRun;
use crate::export::{OtlpSetup, Recorder, Setup};
use crate::notify;
use crate::probe::{Prober, Settings as ProbeSettings};
use crate::source::database::Query;
use crate::source::tail::StartAt;
use crate::source::{host, process};
use crate::store::{self, Fleet, FleetFigures};
use crate::web::{self, Readiness};
use database::Existing;
use gather::Gather;
use health::Health;
use keeper::{Begin, Keeper, Outcomes};
use otlp::Otlp;
use owner::Owner;
use probe::Probing;
use resort::LastResort;
use supervisor::Supervisor;
use synthetic::Own;
pub use systemd::Systemd;

/// What the owner has gathered, on its way to the store. When it is full the owner gathers on.
const HANDED: usize = 1;
/// Entries of the synthetic journal on their way to the keeper. When it is full, the boot waits.
const JOURNAL: usize = 4;
/// Synthetic boots on their way to the owner. When it is full, the boots wait.
const TRIALS: usize = 4;
/// Copies of the image to look into: while one is, the others are passed over.
const CLONES: usize = 1;
/// What is seen of the golden image, on its way to the owner. When it is full the next look waits.
const IMAGES: usize = 1;
/// What operators want, on its way to the owner. When it is full, they are told to come again.
const ASKS: usize = 16;
/// What became of messages, on its way to the owner. When it is full it is dropped (`keeper::Feedback`).
const FEEDBACK: usize = 256;
/// The log is looked at more often than this, however often it is polled, or it is not known how things stand.
const LOOKED_WITHIN: Duration = Duration::from_secs(5);
/// What the web is given to answer what is in flight, even where the deadline has passed.
const WEB_GRACE: Duration = Duration::from_millis(100);

/// What a first run does with the log that is there; a later one goes on where the last one stopped.
#[derive(Debug, Default)]
pub struct Start {
    /// Read it as history, which is usual, or begin at its end.
    pub at: Option<StartAt>,
    /// Who is told that it runs.
    pub systemd: Systemd,
    /// The controller's VMs are no processes of this host, as a simulated one's: that there is none says nothing.
    pub without_processes: bool,
}

/// A sidecar whose ports are bound and whose tasks have not started yet.
pub struct App {
    config: Config,
    start: Start,
    web: TcpListener,
    guard: Arc<web::Guard>,
    address: SocketAddr,
}

/// What is said at the start, and by `check`, where there is no channel.
pub const PAGES_NOBODY: &str = "no [notify.*] is configured: pages go to the log (at level emerg to the journal) and to alerts.last_resort \
     only, and wake nobody else";

impl App {
    /// Binds what must be bound, so that a port that is taken is said before anything runs.
    ///
    /// # Errors
    /// The web's address cannot be bound.
    pub fn bind(config: Config, start: Start) -> anyhow::Result<App> {
        let web = listening::at_once(config.web.listen)?;
        App::on(web, config, start)
    }

    /// The same, and waits some seconds for an address that is in use: a restart's predecessor may still be going down.
    ///
    /// # Errors
    /// The web's address cannot be bound.
    pub async fn bind_once_free(config: Config, start: Start) -> anyhow::Result<App> {
        let web = listening::once_free(config.web.listen).await?;
        App::on(web, config, start)
    }

    fn on(web: TcpListener, config: Config, start: Start) -> anyhow::Result<App> {
        web.set_nonblocking(true)
            .context("prepare the web's socket")?;
        let address = web.local_addr().context("read the web's address")?;
        let guard = match &config.web.config_file {
            Some(file) => web::Guard::read(file).context("web.config_file")?,
            None => web::Guard::open_to_all(),
        };
        Ok(App {
            config,
            start,
            web,
            guard: Arc::new(guard),
            address,
        })
    }

    /// Where the pages are, as a browser takes it.
    #[must_use]
    pub fn url(&self) -> String {
        url(&self.guard, self.address)
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
            guard,
            address,
        } = self;
        notify::install_tls();
        let url = url(&guard, address);
        let recorder = Arc::new(Recorder::new(&setup(&config)));
        let (ready_tx, ready) = watch::channel(Readiness::unless(vec![
            "the log is not read to its end yet".to_owned(),
        ]));
        let otlp = Otlp::start(&config, &recorder)?;
        let mut tasks = Supervisor::default();

        let settings = store::Settings::of(&config.store, &config.host);
        let keeper::Opened {
            store,
            mut saved,
            set_aside,
        } = keeper::open(&settings).await?;
        let mut restored = restart::restore(&saved, &config, owner::zone(&config.log.timezone));

        let stop_source = CancellationToken::new();
        let place = restored.place.clone();
        let may_page = Arc::new(MayPage::default());
        let health = Arc::new(Health::default());
        let Start {
            at,
            systemd,
            without_processes,
        } = start;
        let begin = following::Begins {
            at,
            place,
            may_page: Arc::clone(&may_page),
        };
        let (chunks, stats) = following::start(&config, begin, &health, &stop_source, &mut tasks)?;
        // Set when the shutdown begins: the moment by which everything must have ended.
        let (end_by, ends) = watch::channel(None);
        let unsent = Arc::new(AtomicU64::new(0));
        let outcomes = Arc::new(Outcomes::default());
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
        let reporting = delivery::Reporting {
            resort: Arc::clone(&resort),
            recorder: Arc::clone(&recorder),
            outcomes: Arc::clone(&outcomes),
            health: Arc::clone(&health),
            working,
        };
        let receivers = delivery::start(&config, reporting, &ends, &unsent, &mut tasks)?;
        start_heartbeat(&config, &recorder, &health, &stop_source, &mut tasks)?;
        let (journal_tx, journal) = mpsc::channel(JOURNAL);
        let (handed, orders) = mpsc::channel(HANDED);
        let (anew_tx, anew) = watch::channel(0);
        let (unwritten_tx, unwritten) = watch::channel(0);
        let (journal_anew_tx, journal_anew) = watch::channel(keeper::JournalAnew::default());
        let (fed_back, feedback) = mpsc::channel(FEEDBACK);
        let keeper = Keeper::new(Begin {
            settings,
            store,
            set_aside,
            unsent: std::mem::take(&mut saved.unsent),
            receipts: std::mem::take(&mut saved.receipts),
            receivers: receivers.told,
            feedback: fed_back,
            resort,
            outcomes,
            recorder: Arc::clone(&recorder),
            health: Arc::clone(&health),
            orders,
            unwritten: unwritten_tx,
            anew: anew_tx,
            journal_anew: journal_anew_tx,
            journal,
            workers,
        });
        tasks.start("store", keeper.run());
        start_fleet(&config, &recorder, &stop_source, &mut tasks)?;
        if config.report.schedule.is_some() {
            let (config, stop) = (Arc::new(config.clone()), stop_source.clone());
            tasks.keep("report", stop_source.clone(), move || {
                report::run(Arc::clone(&config), stop.clone())
            });
        }
        let (images_tx, images) = mpsc::channel(IMAGES);
        let (made_tx, made) = mpsc::channel(CLONES);
        let users_dir = config
            .console
            .as_ref()
            .map(|console| console.users_dir.clone());
        let looks_into = config.image.as_ref().is_some_and(|image| image.clones);
        let clones = users_dir
            .filter(|_| looks_into)
            .map(|users_dir| image::Clones { users_dir, made });
        let made = clones.is_some().then_some(made_tx);
        if let Some(image) = config.image.clone() {
            let watch = image::run(image, clones, images_tx, stop_source.clone());
            tasks.start("image", watch);
        }
        let consoles = config.console.as_ref().map(|settings| {
            let (consoles, follow) = console::start(settings, &recorder, &stop_source);
            tasks.start("console", follow);
            consoles
        });
        if let Some(synthetic) = &config.synthetic {
            let users = BTreeSet::from([synthetic.user_key()]);
            restored.remembered.inventory.set_synthetic(users.clone());
            restored.tracker.set_synthetic(users);
        }
        let existing = match &config.database {
            Some(database) => {
                let remembered = std::mem::take(&mut restored.remembered);
                let places = host::Places {
                    processes: (!without_processes).then(|| process::PROC.into()),
                    devices: host::DEVICES.into(),
                    copies: config
                        .console
                        .as_ref()
                        .map(|console| console.users_dir.clone()),
                    image: config.image.as_ref().map(|image| image.path.clone()),
                };
                let existing = Existing::start(
                    database,
                    places,
                    remembered,
                    &recorder,
                    &stop_source,
                    &mut tasks,
                )?;
                Some(existing)
            }
            None => None,
        };
        let probing = config.probe.interval.map(|interval| {
            Probing::start(&config.probe, interval, &recorder, &stop_source, &mut tasks)
        });
        let read_to = restored.place.clone();
        let mut gather = Gather::new(config.host.clone(), handed, anew, unwritten, read_to);
        if restored.forgets_database {
            gather.forget_database();
        }
        let (trials_tx, trials) = mpsc::channel(TRIALS);
        let (own, synthetic_face) = start_synthetic(
            &config,
            &saved,
            Making {
                journal: journal_tx,
                journal_anew,
                ended: trials_tx,
                recorder: Arc::clone(&recorder),
                stop: stop_source.clone(),
            },
            &mut tasks,
        );
        let stop_web = CancellationToken::new();
        let (asks_tx, asks) = mpsc::channel(ASKS);
        let (view_tx, view) = watch::channel(Arc::default());
        let (live_tx, live) = watch::channel(Arc::default());
        let operators = web::Operators {
            token: config.web.token.clone(),
            asks: asks_tx,
            view,
            synthetic: synthetic_face,
        };
        let shown = serving::Showing {
            ready,
            operators,
            live,
            guard,
        };
        let mut web = serving::start(&config, web, &recorder, shown, stop_web.clone())?;

        let living = Arc::clone(&health);
        let owner = Owner::new(
            restored,
            (existing, own),
            consoles,
            Arc::clone(&recorder),
            gather,
            owner::Reach {
                ready: ready_tx.clone(),
                stopping: stop_source.clone(),
                health,
                shown: receivers.shown,
                may_page,
                asks,
                feedback,
                view: view_tx,
                live: live_tx,
                known: live::Known::of(&config),
                probing,
                trials,
                made,
                homes: Homes::new(config.probe.networks.clone()),
                looks_within: LOOKED_WITHIN.max(3 * config.log.follow.poll_idle),
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
        if config.notifiers.is_empty() {
            tracing::warn!("{PAGES_NOBODY}");
        }
        let systemd = Arc::new(systemd);
        systemd.ready(&format!("watching, on {url}"));
        let watched = Arc::clone(&systemd).watch(living, stop_source.clone());
        tasks.start("systemd", watched);

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
        systemd.stopping();
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
        if let Some(otlp) = otlp {
            otlp.end(deadline).await;
        }
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

fn url(guard: &web::Guard, address: SocketAddr) -> String {
    let scheme = match guard.has_tls() {
        true => "https",
        false => "http",
    };
    format!("{scheme}://{address}")
}

/// What to do about an address that cannot be listened on.
#[must_use]
pub fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is another bootwatch running?",
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE; choose another"
        }
        io::ErrorKind::AddrNotAvailable => "this host has no such address; choose another",
        _ => "choose another",
    }
}

/// What a PostgreSQL says beside its answers: its notices are `info`, and one that has many would be all of our log.
const NOTICES: &str = "sqlx::postgres::notice=warn";

/// Notices are told where what is told asks for them by name, or for more than `info` of everything.
fn filter(told: Option<&str>) -> EnvFilter {
    let told = told.filter(|told| EnvFilter::try_new(told).is_ok());
    let told = told.unwrap_or("info");
    let filter = EnvFilter::new(told);
    match filter.max_level_hint() {
        Some(LevelFilter::INFO) if !told.contains("sqlx") => {
            EnvFilter::new(format!("{told},{NOTICES}"))
        }
        _ => filter,
    }
}

/// Lines about bootwatch itself go to standard error; `BOOTWATCH_LOG` sets their level (`info` unless told).
pub fn start_logging() {
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter(std::env::var("BOOTWATCH_LOG").ok().as_deref()))
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
        objective: report::objective(config),
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
        synthetic: config.synthetic.is_some(),
        otlp: config.otlp.as_ref().map(|otlp| OtlpSetup {
            host: config.host.clone(),
            traces: otlp.traces,
        }),
        ..Setup::default()
    }
}

/// Where what synthetic boots do goes.
struct Making {
    journal: mpsc::Sender<keeper::JournalOrder>,
    journal_anew: watch::Receiver<keeper::JournalAnew>,
    ended: mpsc::Sender<SyntheticRun>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
}

/// Synthetic boots, where an account is configured; they end with the sources.
fn start_synthetic(
    config: &Config,
    saved: &store::Saved,
    making: Making,
    tasks: &mut Supervisor,
) -> (Option<Own>, web::Synthetic) {
    let Some(settings) = config.synthetic.clone() else {
        synthetic::tell_of_left(&synthetic::trials(&saved.trials));
        return (None, web::Synthetic::off());
    };
    let (sight_tx, sight) = watch::channel(Arc::default());
    let (asks_tx, asks) = mpsc::channel(ASKS);
    let (view_tx, view) = watch::channel(Arc::new(serde_json::json!({ "enabled": true })));
    let user = settings.user_key();
    let traces = saved.value(gather::SYNTHETIC, gather::TRACES);
    let own = Own::new(user, traces, sight_tx);
    let Making {
        journal,
        journal_anew,
        ended,
        recorder,
        stop,
    } = making;
    let begin = synthetic::Begin {
        prober: Prober::new(ProbeSettings::from(&config.probe)),
        config: settings,
        saved: synthetic::trials(&saved.trials),
        host: config.host.clone(),
        sight,
        journal,
        journal_anew,
        ended,
        asks,
        view: view_tx,
        recorder,
        stop,
    };
    tasks.start("synthetic", synthetic::run(begin));
    let face = web::Synthetic {
        view,
        asks: Some(asks_tx),
    };
    (Some(own), face)
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

/// What comes next from where something may come.
async fn or_never<T>(next: Option<impl Future<Output = T>>) -> T {
    match next {
        Some(next) => next.await,
        None => std::future::pending().await,
    }
}

/// The zone in which pages tell the time.
fn page_zone(config: &Config) -> jiff::tz::TimeZone {
    match &config.log.timezone {
        Zone::Named(zone) => zone.clone(),
        Zone::Auto => jiff::tz::TimeZone::system(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_in_use_is_put_down_to_another_bootwatch() {
        let remedy = |kind: io::ErrorKind| listen_remedy(&kind.into());
        let taken = remedy(io::ErrorKind::AddrInUse);
        assert_eq!(taken, "is another bootwatch running?");
        let low = remedy(io::ErrorKind::PermissionDenied);
        assert!(low.contains("CAP_NET_BIND_SERVICE"), "{low}");
    }

    #[test]
    fn a_server_s_notices_are_told_to_those_who_ask_for_them() {
        for (told, quiet) in [
            (None, true),
            (Some("no=such=level"), true),
            (Some("info"), true),
            (Some("warn,bootwatch=info"), true),
            (Some("debug"), false),
            (Some("info,sqlx=info"), false),
            (Some("error"), false),
        ] {
            let filter = filter(told).to_string();
            assert_eq!(filter.contains(NOTICES), quiet, "{told:?}: {filter}");
        }
    }
}
