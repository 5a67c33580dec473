//! A whole sidecar on a thread of its own, a log for it to follow and somebody for it to page.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bootwatch::app::{App, Ended, Start};
use bootwatch::config::{self, Surroundings};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Nothing here takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<Ended>>>,
}

impl Sidecar {
    /// Follows `log` and pages `pager`; `more` is added to the configuration.
    pub(crate) fn start(log: &Path, pager: SocketAddr, more: &str, start: Start) -> Sidecar {
        Sidecar::start_with(log, pager, "", more, start)
    }

    /// Operators show the token that is in the file.
    pub(crate) fn start_with_token(
        log: &Path,
        pager: SocketAddr,
        more: &str,
        token: &Path,
        start: Start,
    ) -> Sidecar {
        let web = format!("token_file = {:?}\n", token.display().to_string());
        Sidecar::start_with(log, pager, &web, more, start)
    }

    /// Pages nobody.
    pub(crate) fn start_unheard(log: &Path, more: &str, start: Start) -> Sidecar {
        Sidecar::start_telling(log, "", "", more, start)
    }

    /// `web` is added to that section of the configuration.
    pub(crate) fn start_with(
        log: &Path,
        pager: SocketAddr,
        web: &str,
        more: &str,
        start: Start,
    ) -> Sidecar {
        let notify =
            format!("[notify.oncall]\ntype = \"webhook\"\nurl = \"http://{pager}/page\"\n");
        Sidecar::start_telling(log, &notify, web, more, start)
    }

    /// What it is told is mostly of October 2025, and is not to be forgotten.
    fn start_telling(log: &Path, notify: &str, web: &str, more: &str, start: Start) -> Sidecar {
        let text = format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = {:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n{web}\
             [store]\npath = {:?}\nkeep_boots = \"3650d\"\nkeep_incidents = \"3650d\"\n{notify}{more}",
            log.display().to_string(),
            log.with_extension("db").display().to_string(),
        );
        let surroundings = Surroundings {
            environment: Vec::new(),
            host_name: None,
        };
        let config = config::parse("test.toml", &text, Path::new("."), &surroundings).unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let app = App::bind(config, start)?;
                tell.send(app.address())?;
                app.run(stopping.cancelled_owned()).await
            })
        });
        let address = told.recv_timeout(DEADLINE).unwrap();
        Sidecar {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.address, path).unwrap()
    }

    /// The sum of the samples of a metric whose labels contain `with`.
    pub(crate) fn metric(&self, name: &str, with: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(with))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Ready, or waiting for nothing but its log, which many a test writes only then.
    pub(crate) fn wait_until_ready(&self) {
        eventually("the sidecar is ready", || {
            let (status, said) = self.get("/-/ready");
            let reasons: Vec<&str> = said.lines().skip(1).collect();
            let waits = reasons.len() == 1 && reasons[0].starts_with("- the log does not exist: ");
            status == 200 || waits
        });
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<Ended> {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Ok((status, body))
}

/// Waits for a condition, with a deadline.
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(DEADLINE, what, holds);
}

/// For what takes a machine under load longer than most.
pub(crate) fn within(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = bootwatch::clock::Stopwatch::start();
    while !holds() {
        assert!(began.elapsed() < deadline, "not in time: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Somebody to page: keeps what was posted, in order.
pub(crate) struct Pager {
    pub(crate) address: SocketAddr,
    pages: mpsc::Receiver<Value>,
    _runtime: tokio::runtime::Runtime,
}

impl Pager {
    pub(crate) fn start() -> Pager {
        Pager::answering(|_| StatusCode::OK)
    }

    /// `answer` says how the nth request (from 0) is answered; only what got a 2xx is kept.
    pub(crate) fn answering<Answer: IntoResponse>(
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Pager {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (tx, pages) = mpsc::channel();
        let requests = std::sync::atomic::AtomicUsize::new(0);
        let state = std::sync::Arc::new((tx, requests, answer));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route(
                "/{*path}",
                post(
                    |State(state): State<std::sync::Arc<(mpsc::Sender<Value>, _, _)>>,
                     body: String| async move {
                        let (tx, requests, answer): &(
                            mpsc::Sender<Value>,
                            std::sync::atomic::AtomicUsize,
                            _,
                        ) = &state;
                        take(tx, requests, answer, &body)
                    },
                ),
            )
            .with_state(state);
        runtime
            .handle()
            .spawn(async move { axum::serve(listener, router).await });
        Pager {
            address,
            pages,
            _runtime: runtime,
        }
    }

    pub(crate) fn next(&self) -> Value {
        self.pages
            .recv_timeout(DEADLINE)
            .expect("a notification in time")
    }

    pub(crate) fn so_far(&self) -> Vec<Value> {
        self.pages.try_iter().collect()
    }
}

fn take<Answer: IntoResponse>(
    pages: &mpsc::Sender<Value>,
    requests: &std::sync::atomic::AtomicUsize,
    answer: &(impl Fn(usize) -> Answer + Send + Sync),
    body: &str,
) -> Response {
    let number = requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let response = answer(number).into_response();
    if response.status().is_success() {
        drop(pages.send(serde_json::from_str(body).unwrap()));
    }
    response
}

/// A folder and a path for a log in it.
pub(crate) fn log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master-controller.log");
    (folder, path)
}
