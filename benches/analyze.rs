//! Framing, decoding and tracking of a controller's log in memory, per byte.
//!
//! `cargo bench --bench analyze`. The log is a stretch of the real one, with its usual share of noise around it.

use std::hint::black_box;
use std::path::Path;

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::framing::Framer;
use bootwatch::controller::reader::Reader;
use bootwatch::core::boot::Tracker;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;

const CHUNK: usize = 128 << 10;
const NOISE: &str = "2026-11-23 18:24:02 [INFO]: [REQUEST-ENTRY] Incoming request {\"module\":\"server\",\
    \"requestId\":\"k3x8q1\",\"method\":\"GET\",\"url\":\"/api/auth/session/a30944b3-916c-4eec-a152-85f2c6f2e5ac\",\
    \"ip\":\"203.0.113.7\"}\n";

/// Two lines of noise to each line of the boots, as on the real host.
fn log() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/controller");
    let mut log = Vec::new();
    for stretch in [
        "concurrent",
        "create_failures",
        "database",
        "agents",
        "incident",
    ] {
        let text = std::fs::read(folder.join(format!("{stretch}.log"))).expect("a fixture");
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            log.extend_from_slice(line);
            log.extend_from_slice(NOISE.as_bytes());
            log.extend_from_slice(NOISE.as_bytes());
        }
    }
    log
}

fn reader() -> Reader {
    Reader::new(0, Zone::Named(TimeZone::UTC))
}

fn analyze(criterion: &mut Criterion) {
    let log = log();
    let mut group = criterion.benchmark_group("analyze");
    group.throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("framing", |bencher| {
        bencher.iter(|| {
            let mut framer = Framer::default();
            let mut records = 0u64;
            for chunk in log.chunks(CHUNK) {
                framer.push(chunk, &mut |record| {
                    records += black_box(record).text.len() as u64
                });
            }
            records
        });
    });
    group.bench_function("framing and decoding", |bencher| {
        bencher.iter(|| {
            let mut reader = reader();
            let mut events = 0u64;
            for chunk in log.chunks(CHUNK) {
                reader.push(chunk, &mut |event| {
                    black_box(event);
                    events += 1;
                });
            }
            events
        });
    });
    group.bench_function("framing, decoding and tracking", |bencher| {
        bencher.iter(|| {
            let mut reader = reader();
            let mut tracker = Tracker::new(excerpt);
            let mut said = Vec::new();
            for chunk in log.chunks(CHUNK) {
                reader.push(chunk, &mut |event| tracker.observe(event, &mut said));
                said.clear();
            }
            tracker.finish(&mut said);
            said.len()
        });
    });
    group.finish();
}

criterion_group!(benches, analyze);
criterion_main!(benches);
