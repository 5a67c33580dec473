//! How fast the simulated controller writes its log, rotated as the real one's: `cargo bench --bench simulator`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has no figure"
)]

use bootwatch::core::event::Timestamp;
use bootwatch::simulator::scenario::find;
use bootwatch::simulator::{Figures, LogFiles, Order, Plan, Player, Simulation, Speed, Version};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;

const ROTATED_AT: u64 = 10_485_760;

fn plan() -> Plan {
    find("mixed").unwrap().plan(&Order {
        seed: 3,
        start: Timestamp(1_767_599_400_000),
        version: Version::Oct,
        figures: Figures::sample(),
        boots: Some(300),
        lasts: None,
        rate: None,
    })
}

/// The plan, into files of a folder that is made for it; how many lines it has.
fn write(plan: Plan) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let mut files = LogFiles::open(&path, ROTATED_AT, TimeZone::UTC).unwrap();
    let played =
        Player::new(Speed::Max).play(&mut Simulation::new(plan), &mut [&mut files], &mut |_| {
            Ok(())
        });
    played.unwrap().lines
}

fn simulator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    group.throughput(Throughput::Elements(write(plan())));
    group.bench_function("lines", |bencher| {
        bencher.iter_batched(plan, write, criterion::BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, simulator);
criterion_main!(benches);
