//! HTTP: the pages, the same as JSON, metrics, health, readiness, and what operators do.
//!
//! Answers on a listener that somebody else has bound. It changes nothing itself: what operators want goes to whoever
//! owns the state (`api`). It knows no other room: what it shows comes from [`Faces`]. Clients are not trusted: there are at most [`Limits::connections`] of them
//! (further ones wait in the kernel's queue, because places become free by themselves), a request's head has a size and
//! a time, and a connection ends after [`Limits::lifetime`] even if its client never reads.

mod api;
mod events;
mod guard;
mod json;
mod model;
mod pages;
mod routes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

pub use api::{Answer, Ask, Operators, RunAsk, Synthetic};
use axum::Router;
pub use guard::{Guard, GuardError, has_tls};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jiff::tz::TimeZone;
pub use model::{
    ActLine, Answered, BootFull, BootLine, Cell, ChannelNow, EndedBoot, FindingLine, ImageNow,
    KindNow, Live, MOST_FLYING, MOST_NAMED, MarkLine, MessageLine, NoPast, Past, ReportFull,
    ReportLine, RunLine, Tell, Unread, Wanted, Words,
};
pub use pages::took;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Shown;

/// Writes the metrics; called on a thread that may block.
pub type Render = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// After this, accepting is tried again: the process is out of files, and closing some takes a moment.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What is shown.
#[derive(Clone)]
pub struct Faces {
    pub version: &'static str,
    /// The controller host's name.
    pub host: String,
    pub metrics: Render,
    pub ready: watch::Receiver<Readiness>,
    pub operators: Operators,
    /// How things stand, again and again.
    pub live: watch::Receiver<Arc<Live>>,
    pub past: Arc<dyn Past>,
    /// In which pages tell the time.
    pub zone: TimeZone,
    /// The words of an incident.
    pub tell: Tell,
    /// Where the causes' runbooks are; a verdict's name behind `#` is its section.
    pub causes: Option<String>,
    /// What is configured; nothing of it is secret.
    pub settings: Vec<Shown>,
    /// Who may look.
    pub guard: Arc<Guard>,
    /// The name, with its port, under which people reach the pages, perhaps through a proxy.
    pub reached_at: Option<String>,
    /// Whether everybody may see a page that says no more than whether VMs boot.
    pub public: bool,
}

impl fmt::Debug for Faces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faces")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Whether bootwatch can do its work, and if not, why. Receivers of pages have no part in it: restarting bootwatch does
/// not bring them back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    reasons: Vec<String>,
}

impl Readiness {
    #[must_use]
    pub fn ready() -> Readiness {
        Readiness::default()
    }

    /// Ready only if there are no reasons against it.
    #[must_use]
    pub fn unless(reasons: Vec<String>) -> Readiness {
        Readiness { reasons }
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub header_bytes: usize,
    /// For a request's head, from the moment that one can come.
    pub read_timeout: Duration,
    /// Of a connection, whatever it does; a request in flight then gets `read_timeout` more.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 100,
            header_bytes: 16 << 10,
            read_timeout: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
        }
    }
}

/// Serves until `stop` is cancelled and what was in flight is answered. Dropping the future ends every connection.
pub async fn serve(listener: TcpListener, faces: Faces, limits: Limits, stop: CancellationToken) {
    let guard = Arc::clone(&faces.guard);
    let router = routes::router(faces, stop.clone());
    let mut connections = JoinSet::new();
    // Said once, until one is accepted: whoever waits would have it said every second.
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    told = false;
                    let guard = Arc::clone(&guard);
                    connections.spawn(converse(stream, guard, router.clone(), limits, stop.clone()));
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "connections cannot be accepted; they wait");
                    }
                    tokio::select! {
                        () = sleep(ACCEPT_PAUSE) => {}
                        () = stop.cancelled() => break,
                    }
                }
            },
        }
    }
    // New clients are refused from here on.
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

async fn converse(
    stream: TcpStream,
    guard: Arc<Guard>,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let Some(tls) = guard.tls() else {
        return talk(stream, router, limits, stop).await;
    };
    let handshake = timeout(limits.read_timeout, tls.accept(stream));
    match stop.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => talk(stream, router, limits, stop).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "a client's handshake failed"),
        Some(Err(_)) => tracing::debug!("a client's handshake took too long"),
        None => {}
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_header_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.read_timeout, connection).await
        }
        () = sleep(limits.lifetime) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.read_timeout, connection).await
        }
    };
    // Whatever a client does wrong is its own affair.
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client's connection ended"),
        Err(_) => tracing::debug!("a client that does not read was cut off"),
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a web connection's task panicked");
    }
}
