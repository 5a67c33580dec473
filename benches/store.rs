//! What the store costs: `cargo bench --bench store`, `-- --boots 100000` for a quick look.
//!
//! - commit: what follows from 1,000 records, by `Store::commit` and by the bare statements, a row at a time, through
//!   the same library; in turns, so that a busy machine slows both down.
//! - page: a commit with one message, which is fsynced, beside one without.
//! - open: a start with a million boots, and what a week's report counts in them.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and nothing else reads them"
)]

use std::path::Path;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::core::event::{AttemptError, AttemptResult, Failure, Origin, Outcome, Stage};
use bootwatch::core::event::{StageOutcome, Timestamp, VmId, VmType};
use bootwatch::core::{boot::StageSpan, failure::Rung};
use bootwatch::store::{
    Batch, BootDetail, BootRow, History, MessageState, NewMessage, Settings, StateChange, Store,
    Tried,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

const START: Timestamp = Timestamp(1_760_752_327_000);
/// A boot writes some forty records.
const BOOTS: u64 = 25;
const ROUNDS: usize = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let boots = std::env::args()
        .skip_while(|argument| argument != "--boots")
        .nth(1)
        .map_or(Ok(1_000_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    commit(folder.path()).await?;
    page(folder.path()).await?;
    million(folder.path(), boots).await
}

fn settings(folder: &Path, name: &str) -> Settings {
    Settings {
        path: folder.join(name),
        host: "host-1".to_owned(),
        keep_boots: Duration::from_secs(400 * 86_400),
        keep_incidents: Duration::from_secs(400 * 86_400),
    }
}

fn row(number: u64) -> BootRow {
    let started_at = START.plus_ms(i64::try_from(number).unwrap_or(0) * 600);
    let failed = number.is_multiple_of(20);
    let stages = Stage::ALL.iter().map(|stage| {
        let span = StageSpan {
            started_at,
            ms: 100 + u32::try_from(number % 7_919).unwrap_or(0),
            outcome: StageOutcome::Completed,
            coarse: false,
            by_console: false,
        };
        (*stage, span)
    });
    let refused = AttemptResult::Error(AttemptError::Refused);
    BootRow {
        boot_id: format!(
            "{:032x}",
            u128::from(number) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835
        ),
        host: "host-1".to_owned(),
        vm: Some(VmId(u128::from(number))),
        session: None,
        vm_type: if number.is_multiple_of(5) {
            VmType::Cli
        } else {
            VmType::Browser
        },
        origin: Origin::User,
        outcome: Some(if failed {
            Outcome::Failed
        } else {
            Outcome::Ready
        }),
        failure: failed.then_some(Failure::AgentRefused),
        failed_stage: failed.then_some(Stage::AgentStart),
        started_at,
        ended_at: Some(started_at.plus_ms(45_000)),
        ready_ms: (!failed).then_some(45_000),
        image: None,
        build: None,
        detail: BootDetail {
            ip: Some([192, 168, 100, 17].into()),
            stages: stages.collect(),
            attempts: vec![(refused, 15), (AttemptResult::Ok, 1)],
            ladder: vec![Rung {
                result: refused,
                count: 15,
                first_ms: 5_000,
                last_ms: 40_000,
            }],
            evidence: if failed {
                vec!["x".repeat(300); 3]
            } else {
                Vec::new()
            },
            ..BootDetail::default()
        },
    }
}

/// The changes of 1,000 records: boots that ended, as many parts of the tracker that came and went, place and engine.
fn changes(round: u64) -> Batch {
    let mut state = Vec::new();
    for number in 0..BOOTS {
        let part = |key: u64, value| StateChange {
            kind: "tracker",
            key: format!("vm-{key}"),
            value,
        };
        state.push(part(
            round * BOOTS + number,
            Some("{\"phase\":\"waiting\"}".repeat(40)),
        ));
        state.push(part((round.max(1) - 1) * BOOTS + number, None));
    }
    for (key, length) in [
        ("place", 120),
        ("reader", 600),
        ("engine/browser", 6_000),
        ("engine/cli", 3_000),
    ] {
        state.push(StateChange {
            kind: "owner",
            key: key.to_owned(),
            value: Some("x".repeat(length)),
        });
    }
    Batch {
        state,
        boots: (0..BOOTS)
            .map(|number| row(round * BOOTS + number))
            .collect(),
        ..Batch::default()
    }
}

async fn commit(folder: &Path) -> anyhow::Result<()> {
    let mut store = Store::open(settings(folder, "commit.db"), START)
        .await?
        .store;
    let bare_path = folder.join("bare.db");
    Store::open(settings(folder, "bare.db"), START)
        .await?
        .store
        .close()
        .await;
    let mut bare = SqliteConnectOptions::new()
        .filename(bare_path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging()
        .connect()
        .await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..u64::try_from(ROUNDS)? {
        let batch = changes(round);
        let rows: Vec<(String, String)> = batch
            .boots
            .iter()
            .map(|boot| Ok((boot.boot_id.clone(), serde_json::to_string(&boot.detail)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        let begun = Stopwatch::start();
        store.commit(&batch).await?;
        ours.push(begun.elapsed());
        let begun = Stopwatch::start();
        bare_commit(&mut bare, &batch, &rows).await?;
        theirs.push(begun.elapsed());
        store.upkeep(START).await?;
    }
    bare.close().await?;
    let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
    println!("commit of 1,000 records' changes: {ours}");
    println!("bare statements, a row each:      {theirs}");
    println!(
        "ratio of the medians: {:.2}",
        ours.p50.as_secs_f64() / theirs.p50.as_secs_f64()
    );
    Ok(())
}

async fn bare_commit(
    bare: &mut SqliteConnection,
    batch: &Batch,
    details: &[(String, String)],
) -> anyhow::Result<()> {
    let mut transaction = bare.begin().await?;
    for change in &batch.state {
        match &change.value {
            Some(value) => {
                sqlx::query(
                    "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                )
                .bind(change.kind)
                .bind(&change.key)
                .bind(value)
                .execute(&mut *transaction)
                .await?;
            }
            None => {
                sqlx::query("DELETE FROM state WHERE kind = ? AND key = ?")
                    .bind(change.kind)
                    .bind(&change.key)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
    }
    for (boot, (id, detail)) in batch.boots.iter().zip(details) {
        sqlx::query(
            "INSERT INTO boot (started_at, boot_id, host, vm_id, vm_type, origin, outcome, failure, failed_stage,
                ended_at, ready_ms, allocate_ip_ms, create_tap_ms, clone_snapshot_ms, inject_agent_ms, write_config_ms,
                create_record_ms, start_firecracker_ms, guest_network_ms, agent_start_ms, session_ready_ms, changed)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)",
        )
        .bind(boot.started_at.0)
        .bind(id)
        .bind(&boot.host)
        .bind(boot.vm.map(|vm| vm.to_string()))
        .bind(boot.vm_type.as_str())
        .bind(boot.origin.as_str())
        .bind(boot.outcome.map(Outcome::as_str))
        .bind(boot.failure.map(Failure::as_str))
        .bind(boot.failed_stage.map(Stage::as_str))
        .bind(boot.ended_at.map(|at| at.0))
        .bind(boot.ready_ms)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("INSERT INTO boot_detail VALUES (?, ?)")
            .bind(id)
            .bind(detail)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn page(folder: &Path) -> anyhow::Result<()> {
    let mut store = Store::open(settings(folder, "page.db"), START).await?.store;
    let mut batch = Batch {
        state: changes(0).state.split_off(usize::try_from(2 * BOOTS)?),
        ..Batch::default()
    };
    for (what, messages) in [("without a message", 0), ("with a page (fsync)", 1)] {
        batch.outbox = (0..messages)
            .map(|_| NewMessage {
                incident: "i".to_owned(),
                transition: "firing".to_owned(),
                receiver: "ops".to_owned(),
                dedup_key: "i".to_owned(),
                payload: "x".repeat(4_000),
                created_at: START,
                due: START,
                state: MessageState::Queued,
                ended_at: None,
                tried: Tried::default(),
            })
            .collect();
        let mut took = Vec::new();
        for _ in 0..200 {
            let begun = Stopwatch::start();
            store.commit(&batch).await?;
            took.push(begun.elapsed());
        }
        println!("commit {what}: {}", Spread::of(took));
    }
    Ok(())
}

async fn million(folder: &Path, boots: u64) -> anyhow::Result<()> {
    let settings = settings(folder, "million.db");
    let mut store = Store::open(settings.clone(), START).await?.store;
    let begun = Stopwatch::start();
    let mut number = 0;
    while number < boots {
        let until = (number + 5_000).min(boots);
        let batch = Batch {
            boots: (number..until).map(row).collect(),
            ..Batch::default()
        };
        store.commit(&batch).await?;
        number = until;
        store.upkeep(START).await?;
    }
    store.commit(&changes(boots)).await?;
    store.close().await;
    let bytes = std::fs::metadata(&settings.path)?.len();
    println!(
        "{boots} boots: {} MB, written in {:.0?}",
        bytes / 1_000_000,
        begun.elapsed()
    );
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Stopwatch::start();
        let opened = Store::open(settings.clone(), START).await?;
        took.push(begun.elapsed());
        opened.store.close().await;
    }
    println!("open: {}", Spread::of(took));
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find(|line| line.starts_with("VmRSS"));
    println!("after that, in memory: {}", resident.unwrap_or("?"));
    let mut history = History::open(&settings.path).await?;
    let begun = Stopwatch::start();
    let tally = history.tally(Timestamp(0)..Timestamp(i64::MAX)).await?;
    println!(
        "count all of them by outcome ({} kinds): {:.2?}",
        tally.len(),
        begun.elapsed()
    );
    let begun = Stopwatch::start();
    history.check().await?;
    println!("check every page: {:.1?}", begun.elapsed());
    Ok(())
}

struct Spread {
    p50: Duration,
    p99: Duration,
}

impl Spread {
    fn of(mut took: Vec<Duration>) -> Spread {
        took.sort();
        let at = |percent: usize| {
            took.get((took.len() * percent / 100).min(took.len() - 1))
                .copied()
        };
        Spread {
            p50: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.3?}, p99 {:.3?}", self.p50, self.p99)
    }
}
