//! Looks at VMs on a schedule, and hands what was seen to the owner.
//!
//! ```text
//!   owner ──(watch: the VMs that there are)──► probes ──(bounded: dropped when full, counted)──► owner
//!                                                └──► recorder
//! ```
//!
//! The schedule decides who is looked at and when (`core/probe/schedule`); this task only carries it out, a bounded
//! number of looks at a time, each a future of its own, so that the end of this task closes every socket.
//!
//! A prober that stands on nothing blames nobody: where neither the bridge's address is on this host nor the controller
//! answers, VMs are not looked at, which is counted as skipped, and the prober says of itself that it is not sound.
//!
//! That a VM which the controller gave up became healthy after all is told only once it is beyond doubt whose answer it
//! was: when the log was read past the look and had not taken the address away ([`Claims`]).

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, pending, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::supervisor::Supervisor;
use crate::clock;
use crate::clock::SteadyClock;
use crate::config;
use crate::core::event::{Timestamp, VmId};
use crate::core::probe::{Check, Look, Order, Pace, ProbeResult, Schedule, Standing, Target};
use crate::export::Recorder;
use crate::probe::{Footing, Prober, Settings};

/// Looks under way at a time.
const AT_ONCE: usize = 16;
/// What was seen, on its way to the owner. When it is full it is dropped and counted: the next look says it again.
const LOOKS: usize = 64;
/// The controller stamps whole seconds: after so long without a word the address was still the VM's.
const BEYOND_DOUBT: Duration = Duration::from_millis(2_000);
const MOST_CLAIMS: usize = 256;
/// Whether the prober stands on anything is asked no more often than this.
const FOOTING: Duration = Duration::from_secs(5);

/// A VM, and what was seen of it.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) target: Target,
    pub(super) look: Look,
}

/// The owner's end.
pub(super) struct Probing {
    targets: watch::Sender<Vec<Target>>,
    looks: mpsc::Receiver<Looked>,
    claims: Claims,
}

impl Probing {
    pub(super) fn start(
        settings: &config::Probe,
        interval: Duration,
        recorder: &Arc<Recorder>,
        stop: &CancellationToken,
        tasks: &mut Supervisor,
    ) -> Probing {
        let (targets_tx, targets) = watch::channel(Vec::new());
        let (looks_tx, looks) = mpsc::channel(LOOKS);
        let ms = |duration: Duration| clock::millis(duration);
        let rounds = Rounds {
            prober: Prober::new(Settings::from(settings)),
            schedule: Schedule::new(Pace {
                interval_ms: ms(interval),
                quick_ms: ms(settings.quick),
            }),
            recorder: Arc::clone(recorder),
            looks: looks_tx,
            clock: SteadyClock::start(),
            refused: BTreeSet::new(),
            footing: None,
            overrun: 0,
        };
        recorder.prober_sound(true);
        tasks.start("probes", run(rounds, targets, stop.clone()));
        Probing {
            targets: targets_tx,
            looks,
            claims: Claims::default(),
        }
    }

    pub(super) async fn next(&mut self) -> Looked {
        match self.looks.recv().await {
            Some(looked) => looked,
            None => pending().await,
        }
    }

    /// The VMs that there are now.
    pub(super) fn show(&self, targets: Vec<Target>) {
        self.targets.send_if_modified(|known| {
            let changed = *known != targets;
            if changed {
                *known = targets;
            }
            changed
        });
    }

    /// A look at a VM that the controller gave up, and that was healthy.
    pub(super) fn claim(&mut self, target: Target, now: Timestamp) {
        self.claims.add(target, now);
    }

    /// Claims that are beyond doubt, given that the log is read to its end at `now`.
    pub(super) fn claims(&mut self, now: Timestamp) -> Vec<Target> {
        self.claims.take(now)
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.claims.next_due()
    }
}

/// Answers whose VM is not certain yet.
#[derive(Debug, Default)]
struct Claims(VecDeque<(Timestamp, Target)>);

impl Claims {
    fn due(at: Timestamp) -> Timestamp {
        at.plus_ms(clock::millis(BEYOND_DOUBT))
    }

    fn add(&mut self, target: Target, now: Timestamp) {
        let known = self.0.iter().any(|(_, other)| *other == target);
        if !known && self.0.len() < MOST_CLAIMS {
            self.0.push_back((now, target));
        }
    }

    fn take(&mut self, now: Timestamp) -> Vec<Target> {
        let mut certain = Vec::new();
        while let Some((at, target)) = self.0.front().copied() {
            if Claims::due(at) > now {
                break;
            }
            self.0.pop_front();
            certain.push(target);
        }
        certain
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.0.front().map(|(at, _)| Claims::due(*at))
    }
}

type Running = Pin<Box<dyn Future<Output = (Order, Look)> + Send>>;

struct Rounds {
    prober: Prober,
    schedule: Schedule,
    recorder: Arc<Recorder>,
    looks: mpsc::Sender<Looked>,
    clock: SteadyClock,
    /// VMs whose address lies outside the networks: each is told once.
    refused: BTreeSet<VmId>,
    /// Whether the prober stands on anything, and when that was last asked.
    footing: Option<(bool, Timestamp)>,
    overrun: u64,
}

async fn run(
    mut rounds: Rounds,
    mut targets: watch::Receiver<Vec<Target>>,
    stop: CancellationToken,
) {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let now = rounds.clock.now();
        let due = rounds
            .schedule
            .next_due()
            .filter(|_| running.len() < AT_ONCE);
        if due.is_some_and(|due| due <= now) {
            let (firm, ended) = tokio::select! {
                both = beside(rounds.firm(now), &mut running) => both,
                () = stop.cancelled() => return,
            };
            for (order, look) in ended {
                rounds.ended(order.target, look);
            }
            for order in rounds.schedule.due(now, AT_ONCE - running.len()) {
                match firm {
                    true => running.push(looking(rounds.prober.clone(), order)),
                    false => rounds.skip(&order),
                }
            }
            continue;
        }
        let wake = due.map(|due| rounds.clock.instant_of(due));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = rounds.clock.now();
                let known = targets.borrow_and_update().clone();
                rounds.targets(known, now);
            }
            (order, look) = next_ended(&mut running) => rounds.ended(order.target, look),
            () = sleep_until(wake) => {}
        }
    }
}

fn looking(prober: Prober, order: Order) -> Running {
    Box::pin(async move {
        let vm = prober
            .settings()
            .networks
            .admit(IpAddr::V4(order.target.ip));
        let look = match vm {
            Ok(vm) => prober.look(vm, &order.checks).await,
            // Only such targets are scheduled; the door is the same.
            Err(_) => prober.unseen(order.target.ip, &order.checks, ProbeResult::Foreign),
        };
        (order, look)
    })
}

/// Waits for an answer, and goes on with the looks that are under way: each phase of them is timed. Those that ended
/// meanwhile come with it.
async fn beside<T>(
    asked: impl Future<Output = T>,
    running: &mut Vec<Running>,
) -> (T, Vec<(Order, Look)>) {
    let (mut asked, mut ended) = (pin!(asked), Vec::new());
    loop {
        tokio::select! {
            answer = asked.as_mut() => return (answer, ended),
            one = next_ended(running) => ended.push(one),
        }
    }
}

/// The next look that ends; never, if none is under way.
async fn next_ended(running: &mut Vec<Running>) -> (Order, Look) {
    poll_fn(|context| {
        for index in 0..running.len() {
            if let Poll::Ready(ended) = running[index].as_mut().poll(context) {
                drop(running.swap_remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => pending().await,
    }
}

impl Rounds {
    /// Takes the VMs that there are. One whose address lies outside the networks is never contacted: it is counted and
    /// told.
    fn targets(&mut self, targets: Vec<Target>, now: Timestamp) {
        let mut inside = Vec::new();
        let mut refused = BTreeSet::new();
        for target in targets {
            match self.prober.settings().networks.admit(IpAddr::V4(target.ip)) {
                Ok(_) => inside.push(target),
                Err(refusal) => {
                    refused.insert(target.vm);
                    if !self.refused.contains(&target.vm) {
                        let look =
                            self.prober
                                .unseen(target.ip, &[Check::Health], ProbeResult::Foreign);
                        self.recorder.probed(&look);
                        tracing::warn!(vm = %target.vm, reason = %refusal, "a VM is not looked at");
                    }
                }
            }
        }
        self.refused = refused;
        self.schedule.targets(inside, now);
    }

    /// Whether a look now would say something of a VM.
    async fn firm(&mut self, now: Timestamp) -> bool {
        let span = clock::millis(FOOTING);
        match self.footing {
            Some((firm, at)) if now.since(at) < span => firm,
            before => {
                let firm = self.prober.footing().await != Footing::None;
                if before.is_none_or(|(was, _)| was != firm) {
                    match firm {
                        true => tracing::info!("VMs can be looked at"),
                        false => tracing::warn!(
                            "neither the bridge's address is on this host nor does the controller answer: VMs are not \
                             looked at"
                        ),
                    }
                }
                self.recorder.prober_sound(firm);
                self.footing = Some((firm, now));
                firm
            }
        }
    }

    fn skip(&mut self, order: &Order) {
        let look = self
            .prober
            .unseen(order.target.ip, &order.checks, ProbeResult::Skipped);
        self.recorder.probed(&look);
        self.schedule.done(order.target, &look, self.clock.now());
    }

    fn ended(&mut self, target: Target, look: Look) {
        self.recorder.probed(&look);
        if !look.is_credible() {
            self.recorder.prober_sound(false);
            tracing::warn!(
                port = self.prober.settings().negative_port,
                "a port that must be closed is open: what is seen of this VM is not believed"
            );
        }
        self.schedule.done(target, &look, self.clock.now());
        let overrun = self.schedule.skipped();
        self.recorder.looks_overrun(overrun - self.overrun);
        self.overrun = overrun;
        // A full channel is the owner's business; the recorder has it already.
        if self.looks.try_send(Looked { target, look }).is_err() {
            tracing::debug!("what a probe saw was dropped: the owner is behind");
        }
    }
}

/// Whether what was seen says that a VM which was given up is healthy.
pub(super) fn is_late(looked: &Looked) -> bool {
    looked.target.standing == Standing::GivenUp && looked.look.is_healthy()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::probe::{Checked, Networks};
    use crate::export::Setup;

    fn target(vm: u128, ip: Ipv4Addr, standing: Standing) -> Target {
        Target {
            vm: VmId(vm),
            ip,
            standing,
        }
    }

    /// Rounds over loopback whose bridge would have this network's first address.
    fn rounds(network: &str, controller: std::net::SocketAddr) -> (Rounds, mpsc::Receiver<Looked>) {
        let networks = Networks::new(vec![network.parse().unwrap()]).unwrap();
        let (looks_tx, looks) = mpsc::channel(LOOKS);
        let rounds = Rounds {
            prober: Prober::new(Settings {
                controller,
                connect_timeout: Duration::from_secs(20),
                ..Settings::new(networks)
            }),
            schedule: Schedule::new(Pace {
                interval_ms: 30_000,
                quick_ms: 100,
            }),
            recorder: Arc::new(Recorder::new(&Setup::default())),
            looks: looks_tx,
            clock: SteadyClock::start(),
            refused: BTreeSet::new(),
            footing: None,
            overrun: 0,
        };
        (rounds, looks)
    }

    fn shown(recorder: &Recorder, series: &str) -> Option<String> {
        let text = String::from_utf8(recorder.render()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    /// The network is nobody's here: its first address is not on this machine.
    const NOWHERE: &str = "10.213.99.0/24";

    #[tokio::test]
    async fn a_prober_that_stands_on_nothing_blames_nobody() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let controller = gone.local_addr().unwrap();
        drop(gone);
        let (mut rounds, mut looks) = rounds(NOWHERE, controller);
        let now = rounds.clock.now();
        let vm = target(1, Ipv4Addr::new(10, 213, 99, 7), Standing::InFlight);
        rounds.targets(vec![vm], now);
        assert!(!rounds.firm(now).await);
        for order in rounds.schedule.due(now, AT_ONCE) {
            rounds.skip(&order);
        }
        let recorder = &rounds.recorder;
        assert_eq!(
            shown(recorder, "bootwatch_prober_sound").as_deref(),
            Some("0")
        );
        let skipped = "bootwatch_probes_total{check=\"health\",result=\"skipped\"}";
        assert_eq!(shown(recorder, skipped).as_deref(), Some("1"));
        assert!(looks.try_recv().is_err(), "nothing was seen");
        assert!(
            rounds.schedule.next_due() > Some(now),
            "it is asked again later"
        );
    }

    #[tokio::test]
    async fn a_controller_that_answers_is_footing_enough() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut rounds, _looks) = rounds(NOWHERE, listener.local_addr().unwrap());
        let now = rounds.clock.now();
        assert!(rounds.firm(now).await);
        assert_eq!(
            shown(&rounds.recorder, "bootwatch_prober_sound").as_deref(),
            Some("1")
        );
    }

    /// Whether the prober stands on anything may take a whole time limit to find out.
    #[tokio::test(start_paused = true)]
    async fn looks_under_way_are_not_kept_waiting_by_the_question_of_footing() {
        let begun = tokio::time::Instant::now();
        let (told, mut took) = mpsc::channel(1);
        let vm = target(1, Ipv4Addr::LOCALHOST, Standing::InFlight);
        let mut running: Vec<Running> = vec![Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            told.send(begun.elapsed()).await.unwrap();
            let order = Order {
                target: vm,
                checks: vec![Check::Health],
            };
            let look = Look {
                ip: vm.ip,
                at: Timestamp(0),
                resolved_in: None,
                checks: Vec::new(),
                neighbour: None,
            };
            (order, look)
        })];
        let asked = tokio::time::sleep(Duration::from_secs(5));
        let ((), ended) = beside(asked, &mut running).await;
        assert_eq!((ended.len(), running.len()), (1, 0));
        assert_eq!(took.try_recv(), Ok(Duration::from_secs(1)));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[test]
    fn an_address_outside_the_networks_is_counted_once_and_never_scheduled() {
        let (mut rounds, _looks) = rounds("127.88.0.0/16", ([127, 0, 0, 1], 1).into());
        let now = rounds.clock.now();
        let outside = target(1, Ipv4Addr::new(127, 0, 0, 1), Standing::InFlight);
        let inside = target(2, Ipv4Addr::new(127, 88, 0, 2), Standing::InFlight);
        for _ in 0..3 {
            rounds.targets(vec![outside, inside], now);
        }
        assert_eq!(rounds.schedule.len(), 1);
        let foreign = "bootwatch_probes_total{check=\"health\",result=\"foreign\"}";
        assert_eq!(shown(&rounds.recorder, foreign).as_deref(), Some("1"));
    }

    #[test]
    fn an_answer_is_believed_once_the_log_could_have_taken_the_address_away() {
        let mut claims = Claims::default();
        let late = target(1, Ipv4Addr::LOCALHOST, Standing::GivenUp);
        let start = Timestamp(1_000_000);
        claims.add(late, start);
        claims.add(late, start.plus_ms(1_500));
        assert_eq!(claims.next_due(), Some(start.plus_ms(2_000)));
        assert!(claims.take(start.plus_ms(1_999)).is_empty());
        assert_eq!(claims.take(start.plus_ms(2_000)), [late]);
        assert!(claims.next_due().is_none());
        for vm in 0..10_000 {
            claims.add(target(vm, Ipv4Addr::LOCALHOST, Standing::GivenUp), start);
        }
        assert_eq!(claims.take(start.plus_ms(9_999)).len(), MOST_CLAIMS);
    }

    #[test]
    fn only_a_healthy_look_that_began_after_the_end_is_a_claim() {
        let look = |result| Look {
            ip: Ipv4Addr::LOCALHOST,
            at: Timestamp(0),
            resolved_in: None,
            checks: vec![Checked::without_contact(Check::Health, 8_080, result)],
            neighbour: None,
        };
        let looked = |standing, result| Looked {
            target: target(1, Ipv4Addr::LOCALHOST, standing),
            look: look(result),
        };
        assert!(is_late(&looked(Standing::GivenUp, ProbeResult::Ok)));
        assert!(!is_late(&looked(Standing::GivenUp, ProbeResult::Refused)));
        assert!(!is_late(&looked(Standing::InFlight, ProbeResult::Ok)));
        assert!(!is_late(&looked(Standing::Running, ProbeResult::Ok)));
    }
}
