//! The fleet's history on a real PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootwatch::config::Secret;
use bootwatch::core::event::Timestamp;
use bootwatch::store::{Batch, Fleet, FleetError, FleetFigures, FleetHistory, StateChange, Store};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::grants::printed;
use crate::postgres::{self, Cluster, Database, shared};
use crate::store::{NOW, batch, boot, incident, open, settings};

fn fleet(url: &str, folder: &Path, host: &str) -> Fleet {
    Fleet::new(&Secret::new(url), &settings(folder).path, host).unwrap()
}

async fn copy_all(fleet: &mut Fleet) {
    for _ in 0..2_000 {
        if !fleet.step().await.unwrap() {
            return;
        }
    }
    panic!("there is always more: {:?}", fleet.figures());
}

async fn commit_boots(store: &mut Store, numbers: std::ops::Range<u32>) {
    let batch = Batch {
        boots: numbers.map(|number| boot("host-1", number)).collect(),
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
}

async fn count(database: &Database, table: &str) -> i64 {
    figure(database, format!("SELECT count(*) FROM bootwatch.{table}")).await
}

async fn version(database: &Database) -> i64 {
    figure(
        database,
        "SELECT version::bigint FROM bootwatch.version".to_owned(),
    )
    .await
}

async fn figure(database: &Database, statement: String) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn boots_and_incidents_are_copied_and_what_changes_is_copied_again() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 1..1_200).await;
    store.commit(&batch(5_000)).await.unwrap();
    store.settle().await.unwrap();
    let mut fleet = fleet(&database.url(), folder.path(), "host-1");
    assert!(fleet.step().await.unwrap(), "a batch is not all");
    assert_eq!(fleet.figures().behind, 700);
    copy_all(&mut fleet).await;
    assert_eq!(
        (
            count(&database, "boots").await,
            count(&database, "incidents").await
        ),
        (1_200, 1)
    );
    let figures = FleetFigures {
        up: true,
        behind: 0,
        copied: 1_201,
        skipped: 0,
    };
    assert_eq!(fleet.figures(), figures);
    let row: (String, String, i64, String) = sqlx::query_as(
        "SELECT vm_id, outcome, (extract(epoch FROM started_at) * 1000)::bigint, detail->'evidence'->>0
         FROM bootwatch.boots WHERE host = 'host-1' AND boot_id = lpad('2', 32, '0')",
    )
    .fetch_one(&mut database.connect().await)
    .await
    .unwrap();
    assert_eq!(row.0, "vm-00000000-0000-0000-0000-000000000002");
    assert_eq!((row.1.as_str(), row.2), ("failed", NOW.0 + 2));
    assert_eq!(
        row.3,
        "connect ECONNREFUSED \"x\" \u{fffd} \u{1b}[31m \u{1f980}"
    );

    let mut changed = boot("host-1", 2);
    changed.ready_ms = Some(41_000);
    let mut over = incident(5_000);
    over.0.resolved_at = Some(NOW.plus_ms(60_000));
    let batch = Batch {
        boots: vec![changed],
        incidents: vec![over],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    copy_all(&mut fleet).await;
    let seen: (i64, bool) = sqlx::query_as(
        "SELECT (SELECT ready_ms FROM bootwatch.boots WHERE boot_id = lpad('2', 32, '0')),
                (SELECT resolved_at IS NOT NULL FROM bootwatch.incidents)",
    )
    .fetch_one(&mut database.connect().await)
    .await
    .unwrap();
    assert_eq!(seen, (41_000, true));
    assert_eq!(count(&database, "boots").await, 1_200);
}

#[tokio::test]
async fn many_sidecars_share_one_history_and_begin_it_at_once() {
    let database = shared().database().await;
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let mut tasks = JoinSet::new();
    for (number, folder) in folders.iter().enumerate() {
        let host = format!("host-{number}");
        let mut store = open(folder.path()).await.store;
        let batch = Batch {
            boots: (0..10).map(|number| boot(&host, number)).collect(),
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
        let mut fleet = fleet(&database.url(), folder.path(), &host);
        tasks.spawn(async move { copy_all(&mut fleet).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(count(&database, "boots").await, 40);
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_may_stand_between_and_nothing_is_left_at_its_servers() {
    let database = shared().database().await;
    let pooler = database.pooler(1);
    let mut sidecars = Vec::new();
    for number in 0..3 {
        let host = format!("host-{number}");
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path()).await.store;
        let batch = Batch {
            boots: (0..10).map(|number| boot(&host, number)).collect(),
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
        let fleet = fleet(&pooler.url(), folder.path(), &host);
        sidecars.push((fleet, store, folder));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    for (fleet, ..) in &mut sidecars {
        // It takes connections a moment after its start.
        while let Err(error) = fleet.step().await {
            let starts = matches!(error, FleetError::Connect { .. });
            assert!(
                starts && tokio::time::Instant::now() < deadline,
                "{error:?}"
            );
            tokio::task::yield_now().await;
        }
    }
    for (fleet, ..) in &mut sidecars {
        copy_all(fleet).await;
        assert_eq!(fleet.figures().copied, 10);
    }
    let mut history = FleetHistory::open(&Secret::new(pooler.url()))
        .await
        .unwrap();
    let boots = history
        .tally(Timestamp(0)..Timestamp(i64::MAX / 1_000))
        .await
        .unwrap();
    assert!(!boots.is_empty());
    history.close().await;

    // The one server that all of them had.
    let plain: PgConnectOptions = pooler.url().parse().unwrap();
    let mut session = plain.extra_float_digits(None).connect().await.unwrap();
    let left: (i64, String) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''),
             current_setting('default_transaction_read_only')",
    )
    .persistent(false)
    .fetch_one(&mut session)
    .await
    .unwrap();
    assert_eq!(left, (0, "off".to_owned()));
    assert_eq!(count(&database, "boots").await, 30);
}

#[tokio::test]
async fn a_new_file_and_a_restored_one_are_copied_without_a_gap() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    let mut fleet = fleet(&database.url(), folder.path(), "host-1");
    commit_boots(&mut store, 0..10).await;
    store.close().await;
    let kept = folder.path().join("backup");
    std::fs::copy(settings(folder.path()).path, &kept).unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 10..20).await;
    copy_all(&mut fleet).await;
    fleet.close().await;

    // A backup is put back: its numbers go on from where they were.
    store.close().await;
    std::fs::rename(&kept, settings(folder.path()).path).unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 20..25).await;
    let mut fleet = self::fleet(&database.url(), folder.path(), "host-1");
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 25);

    // A new file begins anew, under whoever copies.
    store.renew(NOW).await.unwrap();
    commit_boots(&mut store, 25..28).await;
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 28);
}

/// As behind a pooler that holds the connection while a standby that lagged is promoted.
#[tokio::test]
async fn a_database_that_is_put_back_under_the_connection_gets_all_of_it_again() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    let seen = StateChange {
        kind: "seen",
        key: NOW.0.to_string(),
        value: Some(NOW.plus_ms(60_000).0.to_string()),
    };
    let batch = Batch {
        boots: (0..10).map(|number| boot("host-1", number)).collect(),
        state: vec![seen],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    let mut fleet = fleet(&database.url(), folder.path(), "host-1");
    copy_all(&mut fleet).await;
    database
        .run("TRUNCATE bootwatch.boots, bootwatch.cursors, bootwatch.seen")
        .await;
    copy_all(&mut fleet).await;
    assert_eq!(
        (
            count(&database, "boots").await,
            count(&database, "seen").await
        ),
        (10, 1)
    );
}

#[tokio::test]
async fn a_row_that_is_refused_holds_up_no_other() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    let mut boots: Vec<_> = (0..20).map(|number| boot("host-1", number)).collect();
    // No such date in PostgreSQL.
    boots[7].ended_at = Some(Timestamp(i64::MAX));
    let batch = Batch {
        boots,
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    let mut fleet = fleet(&database.url(), folder.path(), "host-1");
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 19);
    assert_eq!(fleet.figures().skipped, 1);
    commit_boots(&mut store, 100..700).await;
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 619);
}

#[tokio::test]
async fn a_role_that_may_not_create_is_told_what_to_do() {
    let database = shared().database().await;
    let role = database.role("copier");
    let owner = database.role("owner");
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE ROLE {owner} LOGIN PASSWORD 'y';
             GRANT CREATE ON DATABASE {} TO {owner}",
            database.name
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 0..3).await;
    let mut fleet = fleet(&database.url_of(&role, "x"), folder.path(), "host-1");
    let refused = fleet.step().await.unwrap_err();
    assert!(matches!(refused, FleetError::Create(_)), "{refused}");
    assert!(!fleet.figures().up);
    assert!(
        refused
            .to_string()
            .contains("bootwatch db grants --fleet --role ROLE"),
        "{refused}"
    );
    let sql = printed(&["--fleet", "--role", &role]);
    let url = database.url_of(&owner, "y");
    let mut owner = sqlx::PgConnection::connect(&url).await.unwrap();
    postgres::run(&mut owner, &sql).await;
    postgres::run(&mut owner, &sql).await;
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 3);
    // The owner did not make the role, and may set nothing of it; the superuser may.
    let keepalives = async || -> i64 {
        let options: PgConnectOptions = database.url_of(&role, "x").parse().unwrap();
        let asked = sqlx::query_scalar("SELECT current_setting('tcp_keepalives_idle')::bigint");
        asked
            .fetch_one(&mut options.connect().await.unwrap())
            .await
            .unwrap()
    };
    assert_ne!(keepalives().await, 60);
    database.run(&sql).await;
    assert_eq!(keepalives().await, 60);

    database
        .run("UPDATE bootwatch.version SET version = 9")
        .await;
    let mut fleet = self::fleet(&database.url(), folder.path(), "host-1");
    let refused = fleet.step().await.unwrap_err();
    assert!(
        matches!(refused, FleetError::Version { found: 9, known: 3 }),
        "{refused}"
    );
    let says = "the fleet's tables are of version 9, and this bootwatch knows 3; bring it to the version of the others";
    assert_eq!(refused.to_string(), says);
    assert_eq!(version(&database).await, 9, "nobody brings them back");
}

/// Tables as a fleet of before has them.
async fn of_version_2(database: &Database) {
    for tables in [
        include_str!("../../src/store/fleet/schema.sql"),
        include_str!("../../src/store/fleet/schema_2.sql"),
    ] {
        database.run(tables).await;
    }
    database
        .run(
            "INSERT INTO bootwatch.version SELECT 2 WHERE NOT EXISTS (SELECT FROM bootwatch.version);
             INSERT INTO bootwatch.seen VALUES ('host-0', to_timestamp(0), to_timestamp(60))",
        )
        .await;
}

#[tokio::test]
async fn tables_of_version_2_are_brought_to_the_present_by_one_of_many() {
    let database = shared().database().await;
    of_version_2(&database).await;
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let mut tasks = JoinSet::new();
    for (number, folder) in folders.iter().enumerate() {
        let mut store = open(folder.path()).await.store;
        let stretch = |kind| StateChange {
            kind,
            key: NOW.0.to_string(),
            value: Some(NOW.plus_ms(60_000).0.to_string()),
        };
        let batch = Batch {
            state: vec![stretch("seen"), stretch("history"), stretch("silent")],
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
        store.settle().await.unwrap();
        let mut fleet = fleet(&database.url(), folder.path(), &format!("host-{number}"));
        tasks.spawn(async move { copy_all(&mut fleet).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(version(&database).await, 3);
    assert_eq!(count(&database, "sight").await, 8);
    // What was there stays.
    assert_eq!(count(&database, "seen").await, 5);
}

#[tokio::test]
async fn a_role_that_may_not_bring_tables_of_version_2_further_is_told_what_to_do() {
    let database = shared().database().await;
    of_version_2(&database).await;
    let role = database.role("copier");
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA bootwatch TO {role};
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bootwatch TO {role}"
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 0..3).await;
    let mut fleet = fleet(&database.url_of(&role, "x"), folder.path(), "host-1");
    let refused = fleet.step().await.unwrap_err();
    assert!(matches!(refused, FleetError::Create(_)), "{refused}");
    let remedy = "bootwatch db grants --fleet --role ROLE";
    assert!(refused.to_string().contains(remedy), "{refused}");
    // Who only reads is told so, too.
    let url = Secret::new(database.url_of(&role, "x"));
    let refused = FleetHistory::open(&url).await.unwrap_err().to_string();
    let says = "are of version 2, and this bootwatch needs 3; a sidecar of it brings them there";
    assert!(
        refused.contains(says) && refused.contains(remedy),
        "{refused}"
    );
    database.run(&printed(&["--fleet", "--role", &role])).await;
    copy_all(&mut fleet).await;
    assert_eq!(count(&database, "boots").await, 3);
    assert_eq!(version(&database).await, 3);
}

/// A session that holds a lock until it is rolled back, and what is said of it.
async fn locker(database: &Database, table: &str, mode: &str) -> (sqlx::PgConnection, String) {
    let mut locker = database.connect().await;
    let sql = format!("BEGIN; LOCK TABLE bootwatch.{table} IN {mode} MODE");
    postgres::run(&mut locker, &sql).await;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut locker)
        .await
        .unwrap();
    (
        locker,
        format!("Lock on bootwatch.{table} of process {pid}"),
    )
}

/// How many sessions of sidecars wait for a lock.
async fn waiting(database: &Database) -> i64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND application_name = 'bootwatch' AND wait_event_type = 'Lock'";
    figure(database, waiting.to_owned()).await
}

async fn until_waiting(database: &Database, wanted: i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while waiting(database).await != wanted {
        assert!(tokio::time::Instant::now() < deadline, "never {wanted}");
    }
}

fn tells_of_a_lock(error: &FleetError, what: &str, held: &str) {
    assert!(matches!(error, FleetError::Locked { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with(what) && said.contains(held), "{said}");
}

#[tokio::test]
async fn tables_that_another_session_locks_are_told_and_no_try_goes_on_waiting() {
    let database = shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 0..3).await;
    let mut copying = fleet(&database.url(), folder.path(), "host-1");
    copy_all(&mut copying).await;
    commit_boots(&mut store, 3..700).await;

    let (mut lock, held) = locker(&database, "cursors", "ACCESS EXCLUSIVE").await;
    for _ in 0..3 {
        let refused = copying.step().await.unwrap_err();
        tells_of_a_lock(&refused, "copy to the fleet's database: ", &held);
        assert_eq!(waiting(&database).await, 0);
    }
    // Nor does one that its sidecar gave up.
    tokio::select! {
        step = copying.step() => panic!("it is locked: {step:?}"),
        () = until_waiting(&database, 1) => {}
    }
    drop(copying);
    until_waiting(&database, 0).await;
    postgres::run(&mut lock, "ROLLBACK").await;

    let mut copying = fleet(&database.url(), folder.path(), "host-1");
    copy_all(&mut copying).await;
    assert_eq!(count(&database, "boots").await, 700);

    // Of what is copied whole.
    let stretch = StateChange {
        kind: "seen",
        key: NOW.0.to_string(),
        value: Some(NOW.plus_ms(60_000).0.to_string()),
    };
    let batch = Batch {
        state: vec![stretch],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    store.settle().await.unwrap();
    let (mut lock, held) = locker(&database, "seen", "EXCLUSIVE").await;
    let refused = copying.step().await.unwrap_err();
    tells_of_a_lock(&refused, "copy to the fleet's database: ", &held);
    postgres::run(&mut lock, "ROLLBACK").await;
    copy_all(&mut copying).await;
    assert_eq!(count(&database, "seen").await, 1);

    // And of a report.
    let (_lock, held) = locker(&database, "told", "ACCESS EXCLUSIVE").await;
    let url = Secret::new(database.url());
    let refused = FleetHistory::open(&url).await.unwrap_err();
    tells_of_a_lock(&refused, "read the fleet's database: ", &held);
}

#[tokio::test]
async fn an_upgrade_that_a_lock_is_in_the_way_of_leaves_the_tables_and_is_made_later() {
    let database = shared().database().await;
    of_version_2(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 0..3).await;
    let mut copying = fleet(&database.url(), folder.path(), "host-1");
    let what = "create or upgrade the fleet's tables: ";

    // Its own statements'.
    let (mut lock, held) = locker(&database, "version", "SHARE").await;
    tells_of_a_lock(&copying.step().await.unwrap_err(), what, &held);
    assert_eq!(version(&database).await, 2);
    postgres::run(&mut lock, "ROLLBACK").await;

    // And that of another sidecar, which is at it.
    postgres::run(
        &mut lock,
        "BEGIN; SELECT pg_advisory_xact_lock(x'626f6f747761'::bigint)",
    )
    .await;
    let held = "ExclusiveLock on their making of process ";
    tells_of_a_lock(&copying.step().await.unwrap_err(), what, held);
    postgres::run(&mut lock, "ROLLBACK").await;

    copy_all(&mut copying).await;
    assert_eq!(version(&database).await, 3);
    assert_eq!(count(&database, "seen").await, 1, "what was there stays");
    assert_eq!(count(&database, "boots").await, 3);
}

/// The database goes away and comes back, while boots go on.
#[tokio::test]
async fn an_outage_is_caught_up() {
    let cluster = Arc::new(Cluster::start());
    let database = cluster.database().await;
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    commit_boots(&mut store, 0..10).await;
    let (figures, mut seen) = watch::channel(FleetFigures::default());
    let stop = CancellationToken::new();
    cluster.stop();
    let fleet = fleet(&database.url(), folder.path(), "host-1");
    let mut copying = JoinSet::new();
    copying.spawn(fleet.run(figures, stop.clone()));
    wait_for(&mut seen, |figures| !figures.up).await;
    commit_boots(&mut store, 10..1_500).await;
    cluster.start_again();
    wait_for(&mut seen, |figures| figures.up && figures.copied == 1_500).await;
    assert_eq!(count(&database, "boots").await, 1_500);
    stop.cancel();
    copying.join_next().await.unwrap().unwrap();
}

async fn wait_for(seen: &mut watch::Receiver<FleetFigures>, what: impl Fn(&FleetFigures) -> bool) {
    let waiting = async {
        loop {
            seen.changed().await.unwrap();
            if what(&seen.borrow()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("within a minute");
}
