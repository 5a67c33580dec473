//! What recording costs the owner of the core, and what a scrape costs.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::core::boot::{AttemptEnded, Observation};
use bootwatch::core::event::{
    AttemptError, AttemptResult, Origin, Stage, StageOutcome, Timestamp, VmType,
};
use bootwatch::export::{ReadFigures, Recorder, Setup, SourceFigures};
use bootwatch::web::{Faces, Guard, Limits, NoPast, Operators, Readiness, Words, serve};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

fn recorder() -> Recorder {
    Recorder::new(&Setup {
        sources: vec!["log".to_owned()],
        channels: vec!["ops".to_owned(), "pagerduty".to_owned()],
        results: vec!["sent", "expired", "failed_server"],
        ..Setup::default()
    })
}

fn stage(vm_type: VmType, stage: Stage, outcome: StageOutcome, ms: u32) -> Observation {
    Observation::StageEnded {
        vm_type,
        origin: Origin::User,
        stage,
        outcome,
        ms,
    }
}

fn attempt(result: AttemptResult, ms: Option<u32>) -> Observation {
    Observation::AttemptEnded(AttemptEnded {
        vm: None,
        result,
        at: Timestamp(0),
        ms,
        waited_ms: Some(4_000),
        deadline_ms: Some(120_000),
        died: false,
        origin: Origin::User,
    })
}

/// A recorder that has met everything a long-lived process meets, and more: each stage with each outcome for both
/// kinds of VM, each result of a health check.
fn loaded() -> Recorder {
    let recorder = recorder();
    for vm_type in VmType::ALL {
        for of in Stage::ALL {
            for outcome in StageOutcome::ALL {
                for n in 0..100u32 {
                    recorder.observe(&stage(*vm_type, *of, *outcome, n * n * 37), true);
                }
            }
        }
    }
    for error in AttemptError::ALL {
        for n in 0..100u32 {
            recorder.observe(&attempt(AttemptResult::Error(*error), Some(n * 91)), true);
        }
    }
    recorder.source(
        "log",
        &SourceFigures {
            up: true,
            lines: 123_456_789,
            bytes: 12_345_678_901,
            ..SourceFigures::default()
        },
    );
    recorder.reads(
        "log",
        &ReadFigures {
            newest: Some(Timestamp(1_767_599_400_000)),
            ..ReadFigures::default()
        },
    );
    recorder.notification("ops", "sent", Some(Duration::from_millis(2)));
    recorder
}

fn observe(criterion: &mut Criterion) {
    let recorder = loaded();
    let mut group = criterion.benchmark_group("observe");
    let ended = stage(
        VmType::Browser,
        Stage::AgentStart,
        StageOutcome::Completed,
        44_000,
    );
    group.bench_function("stage", |b| {
        b.iter(|| recorder.observe(black_box(&ended), true));
    });
    let refused = attempt(AttemptResult::Error(AttemptError::Refused), Some(2));
    group.bench_function("attempt", |b| {
        b.iter(|| recorder.observe(black_box(&refused), true));
    });
    group.bench_function("attempt of the past", |b| {
        b.iter(|| recorder.observe(black_box(&refused), false));
    });
    group.finish();
}

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    group.measurement_time(Duration::from_secs(3));
    for (name, recorder) in [("fresh", recorder()), ("loaded", loaded())] {
        let text = recorder.render();
        let lines = text.split(|byte| *byte == b'\n').count();
        group.bench_function(format!("{name}, {lines} lines"), |b| {
            b.iter(|| black_box(recorder.render()));
        });
    }
    group.finish();
}

/// A scrape as Prometheus sees it: request, answer, over a kept connection on loopback. Criterion tells means; what was
/// promised is a percentile.
#[expect(clippy::print_stdout, reason = "a bench's figures are its output")]
fn scrape(_: &mut Criterion) {
    const SCRAPES: usize = 3_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = std::thread::spawn(move || {
        let recorder = Arc::new(loaded());
        let (_sender, ready) = watch::channel(Readiness::ready());
        let faces = Faces {
            version: "bench",
            host: "bench".to_owned(),
            metrics: Arc::new(move || recorder.render()),
            ready,
            operators: Operators {
                token: None,
                asks: mpsc::channel(1).0,
                view: watch::channel(Arc::default()).1,
                synthetic: bootwatch::web::Synthetic::off(),
            },
            live: watch::channel(Arc::default()).1,
            past: Arc::new(NoPast),
            zone: jiff::tz::TimeZone::UTC,
            causes: None,
            tell: Arc::new(|_, _| Words::default()),
            settings: Vec::new(),
            guard: Arc::new(Guard::open_to_all()),
            reached_at: None,
            public: false,
        };
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            serve(listener, faces, Limits::default(), stopped).await;
        });
    });
    let mut client = TcpStream::connect(address).expect("a connection");
    client.set_nodelay(true).expect("a socket");
    let mut took = Vec::with_capacity(SCRAPES);
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..SCRAPES {
        let watch = Stopwatch::start();
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .expect("a request");
        let mut filled = 0;
        loop {
            filled += client.read(&mut buffer[filled..]).expect("an answer");
            if is_whole(&buffer[..filled]) {
                break;
            }
        }
        took.push(watch.elapsed());
    }
    drop(client);
    stop.cancel();
    server.join().expect("the server ends");
    took.sort_unstable();
    let at = |share: usize| took[SCRAPES * share / 1_000];
    println!(
        "scrape/loaded           p50 {:?}, p99 {:?}, p99.9 {:?}, of {SCRAPES}",
        at(500),
        at(990),
        at(999)
    );
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    let length = std::str::from_utf8(&answer[..head])
        .expect("a head in ASCII")
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok())
        .expect("a length");
    answer.len() >= head + 4 + length
}

criterion_group!(benches, observe, render, scrape);
criterion_main!(benches);
