//! The journal of synthetic boots when its file is away, locked or lost.

use std::time::Duration;

use bootwatch::simulator::{Habit, Version};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::world::{ACCOUNT, Program, World};
use crate::torture::trouble::damage;

fn over(program: &Program, runs: usize) -> Vec<Value> {
    program.eventually("the runs are over", |view| {
        let all = view["runs"].as_array()?;
        (view["running"].is_null() && all.len() >= runs).then(|| all.clone())
    })
}

#[test]
fn what_was_done_is_known_after_the_damaged_store_was_set_aside() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    program.wants_a_run();
    let before = over(&program, 1);
    assert_eq!(before[0]["result"], "passed", "{}", before[0]);
    program.end();
    damage(&program.store(), "boot");
    program.start();
    super::world::eventually("the damaged file is set aside", || {
        program
            .metrics()
            .contains("bootwatch_store_set_aside_total 1")
    });
    // A run of its own is written to the new file after what the old one held.
    program.wants_a_run();
    over(&program, 2);
    program.kill();
    program.start();
    let after = over(&program, 2);
    let known = |run: &Value| run["session_id"] == before[0]["session_id"];
    assert!(after.iter().any(known), "{after:?}");
}

#[test]
fn a_run_is_skipped_while_nothing_can_be_written_down_and_asks_for_nothing() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = SqliteConnectOptions::new()
        .filename(program.store())
        .busy_timeout(Duration::from_secs(60));
    let mut other = runtime.block_on(options.connect()).unwrap();
    runtime
        .block_on(sqlx::query("BEGIN IMMEDIATE").execute(&mut other))
        .unwrap();
    program.wants_a_run();
    let runs = over(&program, 1);
    assert_eq!(runs[0]["result"], "skipped", "{}", runs[0]);
    assert_eq!(runs[0]["reason"], "journal", "{}", runs[0]);
    assert_eq!(world.sessions(ACCOUNT), Vec::<String>::new());
    let skipped = "bootwatch_synthetic_skips_total{reason=\"journal\"} 1";
    assert!(program.metrics().contains(skipped));
    runtime
        .block_on(async {
            sqlx::query("ROLLBACK").execute(&mut other).await?;
            other.close().await
        })
        .unwrap();
    // What could be written late leaves nothing to be cleaned up; the store is tried again after a moment. Until then one
    // that runs may only be waiting for its entry, which fails.
    super::world::eventually("a run passes", || {
        let view = program.view();
        let passed = view["runs"][0]["result"] == "passed";
        if !passed && view["running"].is_null() {
            program.wants_a_run();
        }
        passed
    });
}
