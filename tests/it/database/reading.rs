//! What the watch sees, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use bootwatch::core::event::{SessionId, Timestamp, VmId};
use bootwatch::core::query::Table;
use bootwatch::core::row::{Row, RowKey, SessionStatus, VmStatus};
use bootwatch::source::database::Resume;

use super::watched::{Watched, database, options};
use crate::postgres::{run, shared};

async fn keys(database: &crate::postgres::Database, sql: &'static str) -> BTreeSet<String> {
    let mut connection = database.connect().await;
    let keys: Vec<(String,)> = sqlx::query_as(sql)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    keys.into_iter().map(|(key,)| key).collect()
}

fn status(row: &Row) -> &'static str {
    match row {
        Row::Vm(row) => row.status.as_str(),
        Row::Session(row) => row.status.as_str(),
    }
}

#[tokio::test]
async fn every_row_of_the_controller_run_is_seen_once_and_a_state_flipped_by_hand_at_the_next_look()
{
    let database = shared().database().await;
    database.restore_controller_run().await;
    let mut watched = Watched::start(&database.url());
    let first = watched.polled().await;
    let seen = |table: Table| -> BTreeSet<String> {
        let keys = watched.rows.keys().filter(|key| key.table() == table);
        keys.map(|key| key.to_string()).collect()
    };
    assert_eq!(
        seen(Table::Vms),
        keys(&database, "SELECT vm_id FROM vms").await
    );
    assert_eq!(
        seen(Table::Sessions),
        keys(&database, "SELECT session_id::text FROM auth_sessions").await
    );
    assert_eq!(
        (watched.count(Table::Vms), watched.count(Table::Sessions)),
        (97, 83)
    );
    assert_eq!(watched.history, 180, "the first look is history");
    assert!(first.full_window.is_some());
    assert_eq!((first.unreadable, first.odd, first.gone.len()), (0, 0, 0));
    let open = watched.rows.values().filter(|row| !row.is_final()).count();
    assert_eq!(first.open, open);

    // Nothing changes: nothing is told, nothing is gone.
    let quiet = watched.fresh_look().await;
    assert_eq!((quiet.full_window, quiet.gone.len()), (None, 0));
    assert!(watched.told.values().all(|times| *times == 1));

    // A VM that runs is destroyed, a session that waits is done, long after both were created.
    let running = watched
        .rows
        .values()
        .find(|row| status(row) == "running")
        .unwrap()
        .key();
    let waiting = watched
        .rows
        .values()
        .find(|row| status(row) == "vm_created")
        .unwrap()
        .key();
    database
        .run(&format!(
            "UPDATE vms SET status = 'destroyed', destroyed_at = now() WHERE vm_id = '{}';
             UPDATE auth_sessions SET status = 'completed' WHERE session_id = '{}'",
            running, waiting
        ))
        .await;
    watched.fresh_look().await;
    assert_eq!(status(&watched.rows[&running]), "destroyed");
    assert_eq!(status(&watched.rows[&waiting]), "completed");
    assert_eq!(
        watched.told.values().filter(|times| **times == 2).count(),
        2
    );
    assert_eq!(watched.history, 180, "what came later is live");
}

#[tokio::test]
async fn an_open_row_is_read_however_old_it_is_and_told_when_it_is_deleted() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    database
        .run("UPDATE vms SET created_at = now() - interval '200 days' WHERE status = 'running'")
        .await;
    let mut watched = Watched::start(&database.url());
    watched.polled().await;
    let ancient = keys(&database, "SELECT vm_id FROM vms WHERE status = 'running'").await;
    assert!(ancient.len() > 3, "{ancient:?}");
    for key in &ancient {
        let vm = VmId::parse(key.as_bytes()).unwrap();
        assert_eq!(status(&watched.rows[&RowKey::Vm(vm)]), "running");
    }
    let deleted = ancient.first().unwrap();
    database
        .run(&format!("DELETE FROM vms WHERE vm_id = '{deleted}'"))
        .await;
    let gone = watched
        .until(|event| match event {
            bootwatch::source::database::DatabaseEvent::Polled(polled)
                if !polled.gone.is_empty() =>
            {
                Some(polled.gone.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(gone, [RowKey::Vm(VmId::parse(deleted.as_bytes()).unwrap())]);
    assert!(watched.fresh_look().await.gone.is_empty(), "told once");
}

#[tokio::test]
async fn what_vanished_while_nobody_watched_is_told_to_who_resumes() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    let there = keys(&database, "SELECT vm_id FROM vms WHERE status = 'running'").await;
    let there = RowKey::Vm(VmId::parse(there.first().unwrap().as_bytes()).unwrap());
    let vanished = [RowKey::Vm(VmId(1)), RowKey::Session(SessionId(2))];
    let resume = Resume {
        open: [vanished[0], vanished[1], there].to_vec(),
    };
    let options = options(&super::watched::database(&database.url(), "public"));
    let mut watched = Watched::of(options, "public", Some(resume));
    let polled = watched.polled().await;
    let gone: BTreeSet<RowKey> = polled.gone.into_iter().collect();
    assert_eq!(gone, BTreeSet::from(vanished));
    assert_eq!(watched.history, 0, "who resumes has had its history");
    assert_eq!(watched.count(Table::Vms), 97);
}

/// Makes the key of `vms` a UUID without a prefix.
const KEYS_OF_UUID: &str =
    "ALTER TABLE auth_sessions DROP CONSTRAINT auth_sessions_browser_vm_id_fkey;
     ALTER TABLE vms ALTER vm_id TYPE uuid USING substr(vm_id, 4)::uuid;";

#[tokio::test]
async fn who_resumes_asks_for_keys_as_the_table_writes_them() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    let there = keys(&database, "SELECT vm_id FROM vms WHERE status = 'running'").await;
    let there = RowKey::Vm(VmId::parse(there.first().unwrap().as_bytes()).unwrap());
    database.run(KEYS_OF_UUID).await;
    // Ended while nobody watched, and older than the window.
    let RowKey::Vm(vm) = there else {
        unreachable!()
    };
    let bare = vm.to_string().replacen("vm-", "", 1);
    database
        .run(&format!(
            "UPDATE vms SET status = 'destroyed', created_at = now() - interval '9 days' WHERE vm_id = '{bare}'"
        ))
        .await;
    let vanished = RowKey::Vm(VmId(1));
    let resume = Resume {
        open: vec![there, vanished],
    };
    let options = options(&super::watched::database(&database.url(), "public"));
    let mut watched = Watched::of(options, "public", Some(resume));
    let polled = watched.polled().await;
    assert_eq!(polled.gone, [vanished]);
    assert_eq!(status(&watched.rows[&there]), "destroyed");
}

#[tokio::test]
async fn a_migration_under_a_connection_that_lasts_is_noticed_with_the_next_whole_window() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    database
        .run("ALTER TABLE vms RENAME ip_address TO address")
        .await;
    let mut options = options(&super::watched::database(&database.url(), "public"));
    options.full_every = Duration::ZERO;
    let mut watched = Watched::of(options, "public", None);
    watched.polled().await;
    let held = |watched: &Watched| -> usize {
        let ips = watched.rows.values().map(|row| match row {
            Row::Vm(row) => row.ip.is_some(),
            Row::Session(_) => false,
        });
        ips.filter(|is_there| *is_there).count()
    };
    assert_eq!((held(&watched), watched.count(Table::Vms)), (0, 97));
    database
        .run("ALTER TABLE vms RENAME address TO ip_address")
        .await;
    watched.fresh_look().await;
    assert_eq!(held(&watched), 97);
    // Rows that are asked for by key, which has another form now.
    database
        .run("UPDATE vms SET created_at = now() - interval '9 days' WHERE status = 'running'")
        .await;
    watched.fresh_look().await;
    database.run(KEYS_OF_UUID).await;
    let polled = watched.fresh_look().await;
    assert!(polled.gone.is_empty(), "{:?}", polled.gone);
    assert_eq!(watched.count(Table::Vms), 97);
    database
        .run("ALTER TABLE vms ALTER vm_id TYPE text USING 'vm-' || vm_id")
        .await;
    watched.fresh_look().await;
    assert_eq!((held(&watched), watched.count(Table::Vms)), (97, 97));
}

/// A row's default time is its transaction's start: while this one was open, later rows were committed and seen.
#[tokio::test]
async fn a_row_that_is_committed_late_is_not_lost() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    let mut late = database.connect().await;
    let insert = |id: u128| {
        format!(
            "INSERT INTO vms (vm_id, vm_type, type, status) VALUES ('{}', 'browser', 'browser', 'running')",
            VmId(id)
        )
    };
    run(&mut late, "BEGIN").await;
    run(&mut late, &insert(1)).await;
    let mut watched = Watched::start(&database.url());
    watched.polled().await;
    database.run(&insert(2)).await;
    let second = watched.fresh_look().await;
    assert!(watched.rows.contains_key(&RowKey::Vm(VmId(2))));
    assert!(!watched.rows.contains_key(&RowKey::Vm(VmId(1))));
    run(&mut late, "COMMIT").await;
    watched.fresh_look().await;
    let row = &watched.rows[&RowKey::Vm(VmId(1))];
    assert!(
        row.created_at() < second.as_of,
        "its time lies before what was seen first"
    );
}

/// One that was open for longer than the overlap, where the watch may see other roles' transactions.
#[tokio::test]
async fn a_transaction_longer_than_the_overlap_widens_the_next_look() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    let mut options = options(&database_of(&database));
    options.overlap = Duration::ZERO;
    let mut late = database.connect().await;
    run(&mut late, "BEGIN").await;
    run(
        &mut late,
        &format!(
            "INSERT INTO vms (vm_id, vm_type, type, status) VALUES ('{}', 'cli', 'cli', 'destroyed')",
            VmId(1)
        ),
    )
    .await;
    let mut watched = Watched::of(options, "public", None);
    watched.polled().await;
    watched.fresh_look().await;
    run(&mut late, "COMMIT").await;
    drop(late);
    watched.fresh_look().await;
    assert!(watched.rows.contains_key(&RowKey::Vm(VmId(1))));
}

fn database_of(database: &crate::postgres::Database) -> bootwatch::config::Database {
    self::database(&database.url(), "public")
}

#[tokio::test]
async fn a_thousand_rows_of_one_time_are_all_seen_by_pages_of_a_hundred() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    database
        .run(
            "INSERT INTO vms (vm_id, vm_type, type, status, created_at)
             SELECT 'vm-' || gen_random_uuid(), 'browser', 'browser', 'destroyed', now()
             FROM generate_series(1, 1000);
             INSERT INTO vms (vm_id, vm_type, type, status, created_at)
             SELECT 'vm-' || gen_random_uuid(), 'cli', 'cli', 'running', now() - interval '1 day'
             FROM generate_series(1, 1000)",
        )
        .await;
    let mut options = options(&database_of(&database));
    options.page = 100;
    let mut watched = Watched::of(options, "public", None);
    watched.polled().await;
    assert_eq!(watched.count(Table::Vms), 2_097);
    assert!(watched.told.values().all(|times| *times == 1), "each once");
    watched.fresh_look().await;
    assert!(
        watched.told.values().all(|times| *times == 1),
        "and never again"
    );
}

#[tokio::test]
async fn odd_rows_stop_nothing() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    database
        .run(
            "ALTER TABLE vms DROP CONSTRAINT valid_vm_status, DROP CONSTRAINT valid_vm_type;
             INSERT INTO vms (vm_id, vm_type, type, status, ip_address, created_at) VALUES
               ('vm-00000000-0000-0000-0000-000000000001', 'gpu', 'gpu', 'zombie', 'nowhere', now()),
               ('x''; DROP TABLE vms; --', 'cli', 'cli', 'running', NULL, now()),
               ('vm-00000000-0000-0000-0000-000000000002', 'cli', 'cli', 'running', NULL, 'infinity'),
               ('vm-00000000-0000-0000-0000-000000000003', 'cli', 'cli', 'running', NULL, NULL);
             UPDATE vms SET destroyed_at = '-infinity' WHERE vm_id = 'vm-00000000-0000-0000-0000-000000000001'",
        )
        .await;
    let mut watched = Watched::start(&database.url());
    let polled = watched.polled().await;
    assert_eq!(watched.count(Table::Vms), 98);
    let Row::Vm(odd) = &watched.rows[&RowKey::Vm(VmId(1))] else {
        unreachable!("a VM")
    };
    assert_eq!(
        (odd.status, odd.vm_type, odd.ip),
        (VmStatus::Other, None, None)
    );
    assert_eq!(odd.destroyed_at, None);
    assert_eq!(polled.odd, 3);
    assert_eq!(polled.unreadable, 2, "however many questions bring them");
    database
        .run("UPDATE vms SET last_heartbeat = now() WHERE vm_id LIKE 'x%'")
        .await;
    assert_eq!(watched.fresh_look().await.unreadable, 2, "the same two");
    database
        .run("UPDATE vms SET created_at = now() WHERE vm_id LIKE '%000000000002'")
        .await;
    assert_eq!(
        watched.fresh_look().await.unreadable,
        1,
        "it can be read now"
    );
}

/// Values stand in the statements' text, so a key must mean itself there, whatever the server makes of backslashes.
#[tokio::test]
async fn a_key_of_quotes_and_backslashes_is_asked_for_as_it_is() {
    let keys = [
        r"'",
        r"''",
        r"\",
        r"\'",
        r"\\''",
        r"'; SELECT pg_sleep(60); --",
        r"\'; SELECT pg_sleep(60); --",
        r"$1",
        r"$$",
        r#"""#,
        r"E'\x27'",
        "é\n\t'",
    ];
    for strings in ["on", "off"] {
        let database = shared().database().await;
        database.restore_controller_run().await;
        let name = &database.name;
        database
            .run(&format!(
                "ALTER DATABASE \"{name}\" SET standard_conforming_strings = {strings};
                 ALTER DATABASE \"{name}\" SET IntervalStyle = sql_standard;
                 ALTER DATABASE \"{name}\" SET extra_float_digits = -15"
            ))
            .await;
        // Of one time, so that each page begins behind such a key.
        for key in keys {
            let key = key.replace('\\', "\\\\").replace('\'', "''");
            database
                .run(&format!(
                    "INSERT INTO vms (vm_id, vm_type, type, status, created_at)
                     VALUES (E'{key}', 'cli', 'cli', 'destroyed', now()::date)"
                ))
                .await;
        }
        // A key that is no UUID's text and still reads as one; it is asked for by itself once it is old.
        database
            .run(
                "INSERT INTO vms (vm_id, vm_type, type, status, created_at) VALUES
                   (E'\\tvm-00000000-0000-0000-0000-000000000001 ', 'cli', 'cli', 'running', now() - interval '1 day'),
                   ('vm-00000000-0000-0000-0000-000000000002', 'cli', 'cli', 'destroyed', now()::date)",
            )
            .await;
        let mut options = options(&database_of(&database));
        options.page = 1;
        let mut watched = Watched::of(options, "public", None);
        let polled = watched.polled().await;
        assert_eq!(polled.unreadable, keys.len(), "{strings}");
        assert_eq!(watched.count(Table::Vms), 99, "{strings}");
        database
            .run("UPDATE vms SET status = 'destroyed' WHERE vm_id LIKE '%000000000001 '")
            .await;
        watched.fresh_look().await;
        assert!(
            watched.rows[&RowKey::Vm(VmId(1))].is_final(),
            "asked for by its key"
        );
    }
}

#[tokio::test]
async fn times_are_exact_before_the_epoch_too_and_in_columns_without_a_zone() {
    for kind in ["timestamptz", "timestamp"] {
        let database = shared().database().await;
        database
            .run(&format!(
                "CREATE TABLE vms (vm_id text, status text, created_at {kind}, destroyed_at {kind}, last_heartbeat {kind});
                 CREATE TABLE auth_sessions (session_id text, status text, created_at {kind});
                 INSERT INTO vms VALUES
                   ('vm-00000000-0000-0000-0000-000000000001', 'running', '2024-02-29 23:59:59.999999+00',
                    NULL, '0001-01-01 00:00:00+00'),
                   ('vm-00000000-0000-0000-0000-000000000002', 'running', '1970-01-01 00:00:00.001999+00',
                    NULL, '9999-12-30 23:59:59.999999+00'),
                   ('vm-00000000-0000-0000-0000-000000000003', 'destroyed', '2400-01-01 00:00:00.000001+00',
                    '1969-12-31 23:59:59.999999+00', 'infinity'),
                   ('vm-00000000-0000-0000-0000-000000000004', 'destroyed', '2400-01-01 00:00:00.999999+00',
                    '-infinity', '12000-01-01 00:00:00+00')"
            ))
            .await;
        let mut watched = Watched::start(&database.url());
        let polled = watched.polled().await;
        assert_eq!((polled.odd, polled.unreadable), (0, 0), "{kind}");
        let times = |id: u128| match &watched.rows[&RowKey::Vm(VmId(id))] {
            Row::Vm(row) => {
                let other = |at: Option<Timestamp>| at.map(|at| at.0);
                (
                    row.created_at.0,
                    other(row.destroyed_at),
                    other(row.last_heartbeat),
                )
            }
            Row::Session(_) => unreachable!("a VM"),
        };
        for (id, wanted) in [
            (1, (1_709_251_199_999, None, Some(-62_135_596_800_000))),
            (2, (1, None, Some(253_402_214_399_999))),
            (3, (13_569_465_600_000, Some(-1), None)),
            (4, (13_569_465_600_999, None, None)),
        ] {
            assert_eq!(times(id), wanted, "{kind}, row {id}");
        }
    }
}

#[tokio::test]
async fn secrets_in_error_texts_stay_behind() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    database
        .run(
            "UPDATE auth_sessions SET status = 'failed', auth_url = 'https://auth.example/?state=hunter2',
             error_message = 'proxy http://user:hunter2@proxy.example:1 refused'",
        )
        .await;
    let mut watched = Watched::start(&database.url());
    watched.polled().await;
    for row in watched.rows.values() {
        let Row::Session(row) = row else { continue };
        let shown = format!("{row:?}");
        assert!(row.status == SessionStatus::Failed && row.has_auth_url);
        assert!(
            shown.contains("refused") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
