//! What a week's report costs: `cargo bench --bench report`, `-- --boots 100000` for a quick look.
//!
//! A store with so many boots of one week and as many of the week before; then the whole report, from opening the store
//! to the page: both weeks are read, counted and written as HTML, Markdown and JSON. The first run of each is printed by
//! itself, as a report is made once.

#![expect(
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and nothing else reads them"
)]

use std::path::Path;
use std::time::Duration;

use bootwatch::app::report as reports;
use bootwatch::clock::Stopwatch;
use bootwatch::config::{self, Config, Surroundings};
use bootwatch::core::boot::StageSpan;
use bootwatch::core::event::{Failure, Origin, Outcome, Stage, StageOutcome, Timestamp};
use bootwatch::core::event::{VmId, VmType};
use bootwatch::core::report::week::Week;
use bootwatch::report;
use bootwatch::store::{Batch, BootDetail, BootRow, History, Settings, Store};
use jiff::tz::TimeZone;

const WEEK_MS: i64 = 7 * 86_400_000;
const RUNS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let boots: i64 = std::env::args()
        .skip_while(|argument| argument != "--boots")
        .nth(1)
        .map_or(Ok(1_000_000), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let config = config(folder.path())?;
    let Some(week) = Week::parse("2025-W42").ok() else {
        anyhow::bail!("the week is one");
    };
    let start = week.range(&TimeZone::UTC).start;
    fill(&config, start, boots).await?;
    one(&config, week, "a week of so many").await?;
    fill(&config, start.plus_ms(-WEEK_MS), boots).await?;
    one(&config, week, "the same, and last week as well").await
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    let path = folder.join("bootwatch.toml");
    let store = folder.join("report.db");
    std::fs::write(
        &path,
        format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = \"/x.log\"\ntimezone = \"UTC\"\n[store]\npath = {:?}\n\
             [report]\ntimezone = \"UTC\"\n",
            store.display().to_string()
        ),
    )?;
    match config::load(&path, &Surroundings::of_this_process()) {
        Ok(config) => Ok(config),
        Err(problems) => Err(anyhow::anyhow!("{problems}")),
    }
}

async fn fill(config: &Config, start: Timestamp, boots: i64) -> anyhow::Result<()> {
    let begun = Stopwatch::start();
    let settings = Settings {
        path: config.store.path.clone(),
        host: "host-1".to_owned(),
        keep_boots: Duration::from_secs(4_000 * 86_400),
        keep_incidents: Duration::from_secs(4_000 * 86_400),
    };
    let mut store = Store::open(settings, start).await?.store;
    let mut number = 0;
    while number < boots {
        let until = (number + 5_000).min(boots);
        let row = |number: i64| row(start, number, WEEK_MS / boots.max(1));
        let batch = Batch {
            boots: (number..until).map(row).collect(),
            ..Batch::default()
        };
        store.commit(&batch).await?;
        store.upkeep(start).await?;
        number = until;
    }
    store.close().await;
    println!(
        "{boots} boots written in {:.0?}, file {} MB",
        begun.elapsed(),
        std::fs::metadata(&config.store.path)?.len() / 1_000_000
    );
    Ok(())
}

fn row(start: Timestamp, number: i64, apart_ms: i64) -> BootRow {
    let started_at = start.plus_ms(number * apart_ms);
    let failed = number % 20 == 0;
    // As many different durations as a real week has.
    let scattered = u32::try_from(number.wrapping_mul(2_654_435_761).rem_euclid(20_011));
    let jitter = scattered.unwrap_or_default();
    let stages = Stage::ALL.iter().map(|stage| {
        let span = StageSpan {
            started_at,
            ms: 100 + jitter / (1 + *stage as u32),
            outcome: StageOutcome::Completed,
            coarse: false,
            by_console: false,
        };
        (*stage, span)
    });
    let id = u128::from(started_at.0.unsigned_abs());
    BootRow {
        boot_id: format!("{id:032x}"),
        host: "host-1".to_owned(),
        vm: Some(VmId(id)),
        session: None,
        vm_type: match number % 5 {
            0 => VmType::Cli,
            _ => VmType::Browser,
        },
        origin: match number % 50 {
            0 => Origin::Synthetic,
            _ => Origin::User,
        },
        outcome: Some(match failed {
            true => Outcome::Failed,
            false => Outcome::Ready,
        }),
        failure: failed.then_some(Failure::AgentRefused),
        failed_stage: failed.then_some(Stage::AgentStart),
        started_at,
        ended_at: Some(started_at.plus_ms(45_000)),
        ready_ms: (!failed).then_some(25_000 + jitter),
        image: Some("2025-10-08 10:02 77fe".to_owned()),
        build: None,
        detail: BootDetail {
            stages: stages.collect(),
            ..BootDetail::default()
        },
    }
}

async fn one(config: &Config, week: Week, what: &str) -> anyhow::Result<()> {
    println!("{what}:");
    let mut whole = Vec::new();
    for _ in 0..RUNS {
        let begun = Stopwatch::start();
        let reckoned = reports::reckon(config, &config.store.path, week).await?;
        let voice = reports::voice_of(config);
        let bytes = report::html(&reckoned, &voice).len()
            + report::markdown(&reckoned, &voice).len()
            + report::json(&reckoned).len();
        whole.push(begun.elapsed());
        anyhow::ensure!(bytes > 10_000, "a report was written");
    }
    println!("  the whole report, first: {:.3?}", whole[0]);
    whole.sort();
    println!("  median of {RUNS}: {:.3?}", whole[RUNS / 2]);
    let mut history = History::open(&config.store.path).await?;
    let begun = Stopwatch::start();
    let read = history
        .facts(week.range(&TimeZone::UTC), |boot| {
            std::hint::black_box(boot.ready_ms);
        })
        .await?;
    println!("  of it, reading {read} boots: {:.3?}", begun.elapsed());
    let status = std::fs::read_to_string("/proc/self/status")?;
    for name in ["VmRSS", "VmHWM"] {
        let line = status.lines().find(|line| line.starts_with(name));
        println!("  {}", line.unwrap_or("?"));
    }
    Ok(())
}
