//! What following costs: `cargo bench --bench tail`.
//!
//! - idle: from before `write()` of a line to its chunk in the consumer's hands, on a log that is silent otherwise, with
//!   the consumer on the follower's thread, as the owner task is.
//! - busy: CPU time of the following thread at 1,000 writes a second for 20 s.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and nothing else reads them"
)]

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bootwatch::clock;
use bootwatch::source::tail::{TailEvent, TailOptions, TailStats, run};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const LINE: &[u8] = b"2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed {\"module\":\"browser-auth\",\"vmIP\":\"192.168.100.17\",\"error\":\"connect ECONNREFUSED 192.168.100.17:8080\",\"code\":\"ECONNREFUSED\",\"elapsed\":9035}\n";
const TRIALS: usize = 300;
const BUSY: Duration = Duration::from_secs(20);

fn main() -> anyhow::Result<()> {
    let idle = idle()?;
    let micros = |at: usize| idle.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e6);
    println!(
        "idle: p50 {:.0} us, p99 {:.0} us, worst {:.0} us over {TRIALS} lines",
        micros(TRIALS / 2),
        micros(TRIALS * 99 / 100),
        micros(TRIALS - 1)
    );
    busy()
}

/// Follows `lines` lines written by `write`, and calls `seen` with the count after each chunk.
fn follow(
    lines: u64,
    write: impl FnOnce(File) + Send + 'static,
    mut seen: impl FnMut(u64),
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("x.log");
    let file = File::options().append(true).create(true).open(&path)?;
    let options = TailOptions::new(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (sender, mut events) = mpsc::channel::<TailEvent>(16);
    let (figures, _) = watch::channel(TailStats::default());
    let stop = CancellationToken::new();
    let following = run(options, None, sender, figures, stop.clone());
    runtime.block_on(async {
        let consuming = async {
            let mut writer = None;
            let mut write = Some((write, file));
            let mut count = 0;
            while count < lines {
                match events.recv().await {
                    Some(TailEvent::Chunk { bytes, .. }) => {
                        count += memchr::memchr_iter(b'\n', &bytes).count() as u64;
                        seen(count);
                    }
                    // It follows and is idle: now the writer may begin.
                    Some(TailEvent::CaughtUp { .. }) => {
                        if let Some((write, file)) = write.take() {
                            writer = Some(std::thread::spawn(move || write(file)));
                        }
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            stop.cancel();
            writer
        };
        let ((), writer) = tokio::join!(following, consuming);
        if let Some(writer) = writer {
            writer.join().ok();
        }
    });
    Ok(())
}

fn idle() -> anyhow::Result<Vec<Duration>> {
    let (written, times) = std::sync::mpsc::sync_channel(1);
    let mut took = Vec::with_capacity(TRIALS);
    let write = move |mut file: File| {
        for trial in 0..TRIALS {
            // Longer than a batch, and never in step with a poll.
            std::thread::sleep(Duration::from_micros(40_000 + (trial as u64 * 7919) % 5000));
            let before: Instant = clock::monotonic().into_std();
            if written.send(before).is_err() || file.write_all(LINE).is_err() {
                return;
            }
        }
    };
    follow(TRIALS as u64, write, |_| {
        let now: Instant = clock::monotonic().into_std();
        took.extend(times.try_recv().map(|before| now.duration_since(before)));
    })?;
    took.sort();
    Ok(took)
}

fn busy() -> anyhow::Result<()> {
    let write = |mut file: File| {
        let begin: Instant = clock::monotonic().into_std();
        for n in 1..=BUSY.as_millis() {
            if file.write_all(LINE).is_err() {
                return;
            }
            let due = begin + Duration::from_millis(u64::try_from(n).unwrap_or(u64::MAX));
            let now: Instant = clock::monotonic().into_std();
            std::thread::sleep(due.saturating_duration_since(now));
        }
    };
    let (mut chunks, mut first) = (0_u64, None);
    let lines = u64::try_from(BUSY.as_millis())?;
    follow(lines, write, |_| {
        chunks += 1;
        first.get_or_insert_with(thread_cpu);
    })?;
    let spent = thread_cpu().saturating_sub(first.unwrap_or_default());
    println!(
        "busy: {lines} lines in {} s as {chunks} chunks, {:.2} % of a core, {} kB resident",
        BUSY.as_secs(),
        100.0 * spent.as_secs_f64() / BUSY.as_secs_f64(),
        resident_kb()
    );
    Ok(())
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn resident_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
        .unwrap_or_default()
}
