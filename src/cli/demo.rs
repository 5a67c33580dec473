//! `bootwatch demo`: the incident, played on this machine by a simulated controller and watched by the whole sidecar.
//!
//! Nothing here is shortened or faked: the simulator writes a log as the controller does, the sidecar follows it with
//! its ordinary configuration, and the page that is shown is what came over HTTP to a receiver of the demo's own.

mod golden;
mod screen;
mod story;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use clap::Args;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Status;
use crate::app::{App, Start};
use crate::clock::{self, Stopwatch};
use crate::config::{self, Config, Secret, Surroundings};
use crate::core::event::SessionId;
use crate::simulator::Agents;
use crate::simulator::Display;
use crate::simulator::api::{Api, ApiPlan, Habit};
use crate::simulator::log::LogFiles;
use crate::simulator::plan::{Figures, Happening, Injection, Phase, Plan};
use crate::simulator::player::{Face, Player, Speed};
use crate::simulator::scenario;
use crate::simulator::simulation::{Happened, Moment, Simulation};
use crate::simulator::tables::{Schema, Tables};
use golden::Golden;
use screen::Screen;
use story::{Ending, Story};

/// The seed of the simulated world.
const SEED: u64 = 20_251_018;
/// The golden image is rebuilt without the agent, and with it again, so long after the start.
const BROKEN_AT: i64 = 12_000;
const FIXED_AT: i64 = 32_000;
/// The account of synthetic boots, and the token that asks for one.
const ACCOUNT: u128 = 0x5e1f_0000_0000_4000_8000_0000_0000_0001;
const TOKEN: &str = "demo-token-of-this-machine";
/// Boots an hour: one in 0.9 s.
const RATE: u32 = 4_000;
/// Without `--once` the simulated controller goes on for so long after the story.
const AFTERWARDS: i64 = 8 * 3_600_000;
/// `--once` gives up after this.
const PATIENCE: Duration = Duration::from_secs(120);
const MAX_LOG: u64 = 10_485_760;

#[derive(Debug, Args)]
pub struct Arguments {
    /// End by itself; the status is 0 only if the page was sent, named the cause and was resolved
    #[arg(long)]
    once: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Status> {
    let folder = std::env::temp_dir().join(format!("bootwatch-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let runtime = super::runtime()?;
    let ending = runtime.block_on(play(&folder, arguments.once, out));
    // What remains is a log of a world that never was.
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        writeln!(out, "{} could not be removed: {error}", folder.display())?;
    }
    Ok(match ending? {
        Ending::Told => Status::Fine,
        Ending::Broken => Status::Wrong,
    })
}

async fn play(folder: &Path, once: bool, out: &mut dyn Write) -> anyhow::Result<Ending> {
    let log = folder.join("master-controller.log");
    let (pages_tx, mut pages) = mpsc::channel(64);
    let (receiver, receiver_at) = receiver(pages_tx).await?;
    let (api, api_at) = Api::bind(([127, 0, 0, 1], 0).into())
        .context("listen for the simulated controller's API")?;
    let golden = Golden::beside(&log);
    golden
        .build(true)
        .with_context(|| format!("write {}", golden.path().display()))?;
    let port = || free_port().context("find a port for the simulated VMs");
    let agents = port()?;
    let display = Display {
        web_port: port()?,
        vnc_port: port()?,
    };
    let config = configuration(&log, receiver_at, api_at, (agents, display))?;
    let start = Start {
        without_processes: true,
        ..Start::default()
    };
    let app = App::bind(config, start)?;
    let address = app.address();

    let stop = CancellationToken::new();
    let stopping = Arc::new(AtomicBool::new(false));
    let (happenings_tx, mut happenings) = mpsc::channel(64);
    let simulator = simulate(
        (log.clone(), agents, display),
        once,
        happenings_tx,
        api,
        Arc::clone(&stopping),
    )?;

    let mut story = Story::new(out, Screen::of_stdout(), once);
    story.opens(&log, address, TOKEN)?;
    let watch = Stopwatch::start();
    // A task of its own: what is asked of it below is awaited here, and must not wait for itself.
    #[expect(
        clippy::disallowed_methods,
        reason = "it is awaited below, and its end is the story's"
    )]
    let mut sidecar = tokio::spawn(app.run(stop.clone().cancelled_owned()));
    tokio::pin!(receiver);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut terminated = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    crate::notify::install_tls();
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .context("prepare the demo's HTTP client")?;
    let ending = loop {
        tokio::select! {
            ended = &mut sidecar => {
                ended.context("the sidecar panicked")?.context("the sidecar ended by itself")?;
                break Ending::Broken;
            }
            served = &mut receiver => served.context("the demo's receiver failed")?,
            Some(page) = pages.recv() => story.page(&page, watch.elapsed())?,
            Some(happening) = happenings.recv() => story.happened(happening, watch.elapsed())?,
            _ = second.tick() => {
                let figures = client.get(format!("http://{address}/metrics")).send().await;
                if let Ok(answer) = figures && let Ok(text) = answer.text().await {
                    story.metrics(&text, watch.elapsed())?;
                }
                let passed = watch.elapsed();
                let view = client.get(format!("http://{address}/api/v1/synthetic")).send().await;
                if let Ok(answer) = view && let Ok(text) = answer.text().await
                    && let Ok(view) = serde_json::from_str(&text)
                {
                    story.trial(&view, passed)?;
                    if view["running"].is_null() && story.wants_a_trial(passed) {
                        ask_for_a_trial(&client, address).await;
                    }
                }
                if once && (story.is_told(passed) || passed > PATIENCE) {
                    break story.ends()?;
                }
            }
            _ = tokio::signal::ctrl_c() => break story.ends()?,
            _ = terminated.recv() => break story.ends()?,
        }
    };
    stopping.store(true, Ordering::Relaxed);
    stop.cancel();
    if !matches!(ending, Ending::Broken) {
        sidecar
            .await
            .context("the sidecar panicked")?
            .context("shut the sidecar down")?;
    }
    drop(happenings);
    match simulator.join() {
        Ok(played) => played.context("play the simulated controller")?,
        Err(_) => anyhow::bail!("the simulated controller panicked"),
    }
    Ok(ending)
}

/// By its schedule the sidecar would make one within the hour; an audience has not so long.
async fn ask_for_a_trial(client: &reqwest::Client, address: SocketAddr) {
    let asked = client.post(format!("http://{address}/api/v1/synthetic/runs"));
    // Whether it began is seen by what there is of it; if not, it is asked for again.
    asked.bearer_auth(TOKEN).send().await.ok();
}

/// One that nobody uses on the simulated VMs' network, so that two demos can be played beside each other.
fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 77, 0, 1), 0))?;
    Ok(listener.local_addr()?.port())
}

/// The sidecar's ordinary configuration, with waits short enough for an audience.
fn configuration(
    log: &Path,
    receiver: SocketAddr,
    api: SocketAddr,
    (agents, display): (u16, Display),
) -> anyhow::Result<Config> {
    let text = format!(
        "[host]\nname = \"demo\"\n\
         [log]\nfile = {log:?}\ntimezone = \"UTC\"\n\
         [web]\nlisten = \"127.0.0.1:0\"\n\
         [store]\npath = {store:?}\n\
         [database]\npoll = \"1s\"\n\
         [alerts]\nkeep_firing = \"2s\"\ngroup_wait = \"2s\"\n\
         [shutdown]\ndeadline = \"5s\"\n\
         [probe]\nnetworks = [\"127.77.0.0/24\"]\nagent_port = {agents}\nvnc_web_port = {web_port}\nvnc_port = {vnc_port}\ninterval = \"2s\"\nquick = \"1s\"\n\
         [console]\nenabled = false\n\
         [image]\npath = {golden:?}\nquiet = \"12s\"\n\
         [synthetic]\nuser_id = \"{account}\"\ncontroller = \"http://{api}\"\nbusy = 250\n\
         reserve = 0\nvnc = \"required\"\n\
         [notify.oncall]\ntype = \"webhook\"\nurl = \"http://{receiver}/page\"\n",
        account = SessionId(ACCOUNT),
        web_port = display.web_port,
        vnc_port = display.vnc_port,
        golden = Golden::beside(log).path().display().to_string(),
        log = log.display().to_string(),
        store = log.with_file_name("bootwatch.db").display().to_string(),
    );
    let surroundings = Surroundings {
        // A URL may hold a password, so the file would not be the place for it.
        environment: vec![
            (
                "BOOTWATCH_DATABASE__URL".to_owned(),
                format!("sqlite://{}", tables_beside(log).display()),
            ),
            ("BOOTWATCH_WEB__TOKEN".to_owned(), TOKEN.to_owned()),
        ],
        host_name: Some("demo".to_owned()),
    };
    config::parse(
        "the demo's configuration",
        &text,
        Path::new("."),
        &surroundings,
    )
    .map_err(anyhow::Error::new)
}

/// The simulated controller's database.
fn tables_beside(log: &Path) -> PathBuf {
    log.with_file_name("controller.db")
}

/// Somebody to page: a server on loopback that hands on what is posted to it.
async fn receiver(
    pages: mpsc::Sender<serde_json::Value>,
) -> anyhow::Result<(impl Future<Output = io::Result<()>>, SocketAddr)> {
    async fn take(
        State(pages): State<mpsc::Sender<serde_json::Value>>,
        body: String,
    ) -> StatusCode {
        match serde_json::from_str(&body) {
            Ok(page) => match pages.send(page).await {
                Ok(()) => StatusCode::OK,
                Err(_) => StatusCode::GONE,
            },
            Err(_) => StatusCode::BAD_REQUEST,
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .context("listen for the demo's pages")?;
    let address = listener
        .local_addr()
        .context("read the receiver's address")?;
    let router = Router::new().route("/page", post(take)).with_state(pages);
    Ok((async move { axum::serve(listener, router).await }, address))
}

/// Tells the story what befalls the simulated host.
struct Teller {
    golden: Golden,
    happenings: mpsc::Sender<Happening>,
}

impl Face for Teller {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        if let Happened::Befell(happening) = moment.what {
            if let Happening::ImageRebuilt { with_agent } = happening {
                self.golden.build(with_agent)?;
            }
            // Nobody listens any more when the demo has ended, and then nothing is to be told.
            self.happenings.blocking_send(happening).ok();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The simulated controller, on a thread of its own, at the speed of real time.
fn simulate(
    (log, agents, display): (PathBuf, u16, Display),
    once: bool,
    happenings: mpsc::Sender<Happening>,
    api: Api,
    stopping: Arc<AtomicBool>,
) -> anyhow::Result<thread::JoinHandle<io::Result<()>>> {
    let figures = Figures {
        pool_first: std::net::Ipv4Addr::new(127, 77, 0, 2),
        wait_limit: 6_000,
        pause: 500,
        attempt_timeout: 2_000,
        agent: (900, 1_900),
        user: (400, 1_500),
        cli_limit: 5_000,
        ..Figures::sample()
    };
    let lasts = FIXED_AT + if once { 60_000 } else { AFTERWARDS };
    let mix = vec![
        (5, scenario::row("healthy")),
        (1, scenario::row("cli-fresh")),
    ];
    let plan = Plan::new(SEED, clock::now())
        .figures(figures)
        .injection(Injection::Never)
        .api(ApiPlan {
            accounts: vec![ACCOUNT],
            scenario: scenario::row("healthy"),
            habit: Habit::Usual,
        })
        .phase(Phase {
            from: 0,
            rate: RATE,
            boots: None,
            lasts: Some(lasts),
            mix,
        })
        .at(BROKEN_AT, Happening::ImageRebuilt { with_agent: false })
        .at(FIXED_AT, Happening::ImageRebuilt { with_agent: true });
    let url = Secret::new(format!("sqlite:{}", tables_beside(&log).display()));
    let mut tables = Tables::create(&url, Schema::Production)
        .context("make the simulated controller's tables")?;
    let play = move || {
        let mut files = LogFiles::open(&log, MAX_LOG, TimeZone::UTC)?;
        let mut teller = Teller {
            golden: Golden::beside(&log),
            happenings,
        };
        let mut agents = Agents::new(agents).with_displays(display);
        let (mut face, inbox) = api.split();
        let mut simulation = Simulation::new(plan);
        Player::new(Speed::Times(1.0)).play_live(
            &mut simulation,
            &mut [&mut tables, &mut files, &mut teller, &mut agents, &mut face],
            &mut |_| Ok(()),
            &inbox,
            &mut || !stopping.load(Ordering::Relaxed),
        )?;
        Ok(())
    };
    thread::Builder::new()
        .name("simulator".to_owned())
        .spawn(play)
        .context("start the simulator's thread")
}
