//! Our own looks at VMs: the agent's port and health, VNC, a port that must be closed; each phase timed.
//!
//! A probe is small, bounded and gentle. It connects anew each time (a kept connection hides refusals), reads at most
//! [`MOST_BODY`] of a body and 12 bytes of VNC, follows no redirect, unpacks nothing, asks only for `/health` and `/`,
//! and never authenticates. What it may contact is decided by [`Networks::admit`] and by nothing else; a name is
//! resolved first, and the address that was judged is the address that is contacted.
//!
//! Nothing is spawned: a probe is a future that owns its sockets, so dropping it closes them. The one exception is
//! the system's resolver, which cannot be interrupted; so at most two names are being resolved at a time.

mod dial;
mod exchange;
mod neighbour;
pub mod synthetic;
mod vnc;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::{self, Stopwatch};
use crate::config;
use crate::core::event::Timestamp;
use crate::core::probe::{
    Body, Check, Checked, Laps, Look, Networks, Phase, ProbeResult, Refusal, VmAddress, skew,
};

pub use exchange::{MOST_BODY, MOST_HEAD};

/// Names that are resolved at a time.
const RESOLVING: usize = 2;
/// Nothing in a VM listens on it.
const NEGATIVE_PORT: u16 = 1;

/// How VMs are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub networks: Networks,
    pub agent_port: u16,
    pub vnc_web_port: u16,
    pub vnc_port: u16,
    /// Nothing may listen on it.
    pub negative_port: u16,
    /// How long a connection may take to be made: longer than the 3 s in which the kernel finds out that nobody has an
    /// address, or that would never be told.
    pub connect_timeout: Duration,
    /// How long one check may take as a whole.
    pub timeout: Duration,
    /// Where the controller itself answers.
    pub controller: SocketAddr,
}

impl From<&config::Probe> for Settings {
    fn from(configured: &config::Probe) -> Settings {
        Settings {
            networks: configured.networks.clone(),
            agent_port: configured.agent_port,
            vnc_web_port: configured.vnc_web_port,
            vnc_port: configured.vnc_port,
            negative_port: NEGATIVE_PORT,
            connect_timeout: configured.connect_timeout,
            timeout: configured.timeout,
            controller: configured.controller,
        }
    }
}

impl Settings {
    /// The controller's ports and the controller's own limit of a health check.
    #[must_use]
    pub fn new(networks: Networks) -> Settings {
        Settings {
            networks,
            agent_port: 8080,
            vnc_web_port: 6080,
            vnc_port: 5901,
            negative_port: NEGATIVE_PORT,
            connect_timeout: Duration::from_secs(4),
            timeout: Duration::from_secs(5),
            controller: SocketAddr::from(([127, 0, 0, 1], 4_000)),
        }
    }

    #[must_use]
    pub fn port(&self, check: Check) -> u16 {
        match check {
            Check::Connect | Check::Health => self.agent_port,
            Check::VncWeb => self.vnc_web_port,
            Check::Vnc => self.vnc_port,
            Check::Negative => self.negative_port,
        }
    }
}

/// Why a target has no address that may be contacted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{name} has no address")]
    Unresolved {
        name: String,
        #[source]
        source: io::Error,
    },
}

impl NotAdmitted {
    #[must_use]
    pub fn result(&self) -> ProbeResult {
        match self {
            NotAdmitted::Refused(_) => ProbeResult::Foreign,
            NotAdmitted::Unresolved { .. } => ProbeResult::Unresolved,
        }
    }
}

/// What looks at VMs, under one set of settings.
#[derive(Clone, Debug)]
pub struct Prober {
    settings: Arc<Settings>,
    resolving: Arc<Semaphore>,
}

/// What the prober stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// The bridge's address is on this host.
    Bridge,
    /// It is not, but the controller answers.
    Controller,
    None,
}

/// A running check: its watch, its laps, and when it must be over.
struct Run {
    watch: Stopwatch,
    laps: Laps,
    ends: Instant,
}

impl Run {
    fn begin(timeout: Duration) -> Run {
        Run {
            watch: Stopwatch::start(),
            laps: Laps::default(),
            ends: clock::monotonic() + timeout,
        }
    }

    fn end(&mut self, phase: Phase) {
        self.laps.end(phase, self.watch.elapsed());
    }
}

/// How a check ended: what it found, or what went wrong and in which phase.
type Found = Result<Good, (Phase, ProbeResult)>;

/// What a check found, besides that it is fine.
#[derive(Debug, Default)]
struct Good {
    status: Option<u16>,
    body: Option<Vec<u8>>,
    /// By our wall clock, when the request was sent.
    sent: Timestamp,
}

impl Prober {
    #[must_use]
    pub fn new(settings: Settings) -> Prober {
        Prober {
            settings: Arc::new(settings),
            resolving: Arc::new(Semaphore::new(RESOLVING)),
        }
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address behind a text that a person, a row or an answer names, if it may be contacted. A name is resolved;
    /// of several addresses each must be admitted, and the first is taken.
    ///
    /// # Errors
    /// It has no address, or one that lies outside the networks.
    pub async fn admit(&self, target: &str) -> Result<VmAddress, NotAdmitted> {
        self.resolve(target).await.map(|(vm, _)| vm)
    }

    /// The same, and how long a name took to become an address.
    ///
    /// # Errors
    /// As `admit`.
    pub async fn resolve(
        &self,
        target: &str,
    ) -> Result<(VmAddress, Option<Duration>), NotAdmitted> {
        if let Ok(ip) = target.parse::<IpAddr>() {
            return Ok((self.settings.networks.admit(ip)?, None));
        }
        let watch = Stopwatch::start();
        let found = dial::resolve(target, &self.resolving, self.settings.timeout).await;
        let took = watch.elapsed();
        let unresolved = |source| NotAdmitted::Unresolved {
            name: target.escape_debug().take(80).collect(),
            source,
        };
        let mut admitted = Vec::new();
        for ip in found.map_err(unresolved)? {
            admitted.push(self.settings.networks.admit(ip)?);
        }
        let none = || unresolved(io::Error::from(io::ErrorKind::NotFound));
        let vm = admitted.first().copied().ok_or_else(none)?;
        Ok((vm, Some(took)))
    }

    /// Looks at one VM; the checks run side by side, so that one look takes no longer than one check may.
    pub async fn look(&self, vm: VmAddress, checks: &[Check]) -> Look {
        let at = clock::now();
        let running = checks.iter().map(|check| self.check(vm, *check));
        let checks = dial::all(running.collect()).await;
        Look {
            ip: vm.ip(),
            at,
            resolved_in: None,
            checks,
            neighbour: neighbour::of(vm.ip()),
        }
    }

    /// A look that did not take place, and why.
    #[must_use]
    pub fn unseen(&self, ip: Ipv4Addr, checks: &[Check], why: ProbeResult) -> Look {
        let checks = checks.iter();
        Look {
            ip,
            at: clock::now(),
            resolved_in: None,
            checks: checks
                .map(|check| Checked::without_contact(*check, self.settings.port(*check), why))
                .collect(),
            neighbour: None,
        }
    }

    /// Whether looks can say anything of VMs: the bridge's address is on this host, or at least the controller answers.
    /// Without both it is the host's own network that is away, or the prober's.
    pub async fn footing(&self) -> Footing {
        let bridge = self.settings.networks.bridge();
        // Binding sends nothing; whoever has the address can.
        if UdpSocket::bind((bridge, 0)).is_ok() {
            return Footing::Bridge;
        }
        let controller = tokio::net::TcpStream::connect(self.settings.controller);
        match tokio::time::timeout(self.settings.connect_timeout, controller).await {
            Ok(Ok(_)) => Footing::Controller,
            _ => Footing::None,
        }
    }

    /// One check of one VM.
    pub async fn check(&self, vm: VmAddress, check: Check) -> Checked {
        let settings = &self.settings;
        let port = settings.port(check);
        let mut checked = Checked::without_contact(check, port, ProbeResult::Ok);
        // The door again, at the last moment: this prober's networks, whoever made the address.
        if settings.networks.admit(IpAddr::V4(vm.ip())).is_err() {
            checked.result = ProbeResult::Foreign;
            return checked;
        }
        let mut run = Run::begin(settings.timeout);
        let found = self.run(vm, check, port, &mut run).await;
        checked.phases = run.laps.phases();
        match found {
            Ok(good) => {
                checked.status = good.status;
                judge(&mut checked, &good);
            }
            Err((phase, result)) => {
                checked.result = result;
                checked.failed_in = Some(phase);
            }
        }
        if check == Check::Negative {
            turn(&mut checked);
        }
        checked
    }

    async fn run(&self, vm: VmAddress, check: Check, port: u16, run: &mut Run) -> Found {
        let stream = dial::connect(vm, port, self.settings.connect_timeout, run).await?;
        match check {
            Check::Connect | Check::Negative => Ok(Good::default()),
            Check::Health => {
                exchange::get(stream, &format!("{vm}:{port}"), "/health", true, run).await
            }
            Check::VncWeb => exchange::get(stream, &format!("{vm}:{port}"), "/", false, run).await,
            Check::Vnc => vnc::greet(stream, run).await,
        }
    }
}

/// What a whole answer is worth.
fn judge(checked: &mut Checked, good: &Good) {
    let Some(status) = good.status else { return };
    let result = ProbeResult::of_status(status);
    match checked.check {
        Check::Health => checked.result = result,
        // noVNC's server says 200, or 4xx to what is no WebSocket: that it speaks HTTP is what matters.
        Check::VncWeb if status >= 500 => checked.result = result,
        _ => {}
    }
    if checked.result != ProbeResult::Ok {
        checked.failed_in = Some(Phase::Transfer);
    }
    if let Some(body) = &good.body {
        let body = Body::read(body);
        let took = [Phase::Processing, Phase::Transfer].map(|phase| checked.phases.of(phase));
        let round_trip = took[0].unwrap_or_default() + took[1].unwrap_or_default();
        let ms = clock::millis(round_trip);
        checked.answerer = Some(body.answerer);
        checked.skew = body.timestamp.map(|guest| skew(guest, good.sent, ms));
    }
}

/// A port that must be closed: that nobody answers is what is wanted.
fn turn(checked: &mut Checked) {
    let is_open = checked.result == ProbeResult::Ok;
    match (is_open, checked.result) {
        (true, _) => {
            checked.result = ProbeResult::Open;
            checked.failed_in = Some(Phase::Connect);
        }
        (false, ProbeResult::Error | ProbeResult::Foreign) => {}
        (false, _) => {
            checked.result = ProbeResult::Ok;
            checked.failed_in = None;
        }
    }
}
