//! What it costs to hand out what changed, for the store to keep, and to go on from it.
//!
//! `cargo bench --bench state`. Boots are told by events, as the reader would.

use std::net::Ipv4Addr;

use bootwatch::controller::excerpt::excerpt;
use bootwatch::core::alert::{Engine, Settings};
use bootwatch::core::boot::{Observation, Tracker};
use bootwatch::core::event::{
    AttemptError, Event, EventKind, Provenance, SessionId, Timestamp, UserKey, VmId, VmType,
    WaitLimits,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const START: i64 = 1_760_752_327_000;
const REFUSAL: &[u8] = br#"2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed {"module":"browser-auth","vmIP":"192.168.100.17","error":"connect ECONNREFUSED 192.168.100.17:8080","code":"ECONNREFUSED","elapsed":9035}"#;

struct World {
    tracker: Tracker,
    said: Vec<Observation>,
    told: u64,
}

fn ip(boot: u32) -> Ipv4Addr {
    Ipv4Addr::from(0xc0a8_0000 + boot)
}

impl World {
    fn tell(&mut self, ms: i64, kind: EventKind<'_>) {
        self.told += 1;
        let event = Event {
            at: Timestamp(START + ms.div_euclid(1_000) * 1_000),
            provenance: Provenance {
                offset: self.told * 200,
                ..Provenance::default()
            },
            kind,
            record: REFUSAL,
        };
        self.tracker.observe(&event, &mut self.said);
    }

    /// So many boots in flight, each refused once.
    fn waiting(boots: u32) -> World {
        let mut world = World {
            tracker: Tracker::new(excerpt),
            said: Vec::new(),
            told: 0,
        };
        for boot in 0..boots {
            let (vm, user) = (VmId(u128::from(boot) << 64), UserKey(u128::from(boot)));
            let ip = ip(boot);
            world.tell(0, EventKind::RequestAccepted { user });
            let started_at = Some(Timestamp(START));
            let vm_type = VmType::Browser;
            world.tell(
                0,
                EventKind::CreateStarted {
                    vm,
                    user,
                    vm_type,
                    started_at,
                },
            );
            for (step, elapsed) in (1..).zip([5, 12, 840, 850, 900, 1_400]) {
                world.tell(
                    i64::from(elapsed),
                    EventKind::StepDone {
                        vm,
                        step,
                        elapsed_ms: Some(elapsed),
                        ip: (step == 1).then_some(ip),
                    },
                );
            }
            let session = SessionId(u128::from(boot) << 32);
            let handed = EventKind::HandedOver {
                vm,
                user,
                session,
                ip: Some(ip),
            };
            world.tell(1_420, handed);
            let limits = WaitLimits {
                deadline_ms: Some(120_000),
                initial_delay_ms: 0,
            };
            world.tell(1_500, EventKind::WaitStarted { ip, limits });
            world.refused(boot, 1_000);
        }
        world
    }

    fn refused(&mut self, boot: u32, elapsed_ms: u32) {
        let ip = ip(boot);
        let at = 1_500 + i64::from(elapsed_ms);
        self.tell(
            at,
            EventKind::AttemptStarted {
                ip,
                elapsed_ms: Some(elapsed_ms),
            },
        );
        let failed = EventKind::AttemptFailed {
            ip,
            error: AttemptError::Refused,
            elapsed_ms: Some(elapsed_ms + 2),
        };
        self.tell(at, failed);
    }

    /// A thousand records over all the boots.
    fn thousand(&mut self, boots: u32) {
        for n in 0..500 {
            self.refused(n % boots, 3_000 + n / boots * 2_000);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a size is a figure, too")]
fn tracker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    let mut saved = World::waiting(200);
    saved.tracker.changes();
    saved.said.clear();
    let world = || World {
        tracker: saved.tracker.clone(),
        said: Vec::new(),
        told: saved.told,
    };
    group.bench_function("track 1,000 records, 200 boots in flight", |bencher| {
        bencher.iter_batched_ref(world, |world| world.thousand(200), BatchSize::LargeInput);
    });
    let told = || {
        let mut world = world();
        world.thousand(200);
        world
    };
    let mut once = told();
    let changes = once.tracker.changes();
    let bytes: usize = changes
        .parts
        .iter()
        .map(|part| part.value.as_ref().map_or(0, String::len))
        .sum();
    eprintln!(
        "1,000 records: {} parts, {bytes} bytes",
        changes.parts.len()
    );
    group.bench_function("save after 1,000 records, 200 boots in flight", |bencher| {
        bencher.iter_batched_ref(told, |world| world.tracker.changes(), BatchSize::LargeInput);
    });
    for boots in [200, 10_000] {
        let mut world = World::waiting(boots);
        world.tracker.changes();
        let mut elapsed = 3_000;
        group.bench_function(
            format!("save after one record, {boots} boots in flight"),
            |bencher| {
                bencher.iter(|| {
                    elapsed = 3_000 + (elapsed + 2) % 100_000;
                    world.refused(17, elapsed);
                    world.said.clear();
                    world.tracker.changes()
                });
            },
        );
    }
    let all: Vec<(String, String)> = World::waiting(10_000)
        .tracker
        .changes()
        .parts
        .into_iter()
        .filter_map(|part| Some((part.key, part.value?)))
        .collect();
    group.sample_size(10);
    group.bench_function("restore 10,000 boots in flight", |bencher| {
        bencher.iter(|| Tracker::restore(all.clone(), excerpt).expect("what was saved"));
    });
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    let mut world = World::waiting(200);
    for boot in 0..200 {
        let timed_out = EventKind::WaitTimedOut {
            ip: ip(boot),
            deadline_ms: Some(120_000),
        };
        world.tell(122_000, timed_out);
    }
    let ended = world
        .said
        .iter()
        .rfind(|said| matches!(said, Observation::BootEnded(_)))
        .expect("they have timed out");
    let now = Timestamp(START + 122_000);
    let mut engine = Engine::new(Settings::default());
    let mut effects = Vec::new();
    for _ in 0..500 {
        engine.observe(ended, now, &mut effects);
    }
    engine.changes();
    criterion.bench_function(
        "state/save the alerts after a boot that failed",
        |bencher| {
            bencher.iter(|| {
                effects.clear();
                engine.observe(ended, now, &mut effects);
                engine.changes()
            });
        },
    );
}

criterion_group!(benches, tracker, engine);
criterion_main!(benches);
