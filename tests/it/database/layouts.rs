//! The forms in which the two tables come, in PostgreSQL and in SQLite: the same rows are read from each.

use bootwatch::core::query::Table;
use bootwatch::core::row::{Row, RowKey};
use sqlx::Connection;

use super::watched::{Watched, database, options};
use crate::postgres::shared;

/// A form of the tables: what makes them (in PostgreSQL, in schema `SCHEMA`), and what their columns are called.
struct Form {
    name: &'static str,
    tables: &'static str,
    vm_columns: &'static str,
    session_columns: &'static str,
}

const FORMS: &[Form] = &[
    Form {
        name: "migration",
        tables: "CREATE TABLE SCHEMA.vms (vm_id text PRIMARY KEY, user_id uuid, vm_type text, ip_address text,
                   status text, firecracker_pid int, created_at timestamptz, destroyed_at timestamptz);
                 CREATE TABLE SCHEMA.auth_sessions (session_id uuid PRIMARY KEY, user_id uuid, provider text,
                   status text, browser_vm_id text, vm_ip text, auth_url text, error_message text,
                   started_at timestamptz, timeout_at timestamptz);",
        vm_columns: "vm_id, user_id, vm_type, ip_address, status, firecracker_pid, created_at, destroyed_at",
        session_columns: "session_id, user_id, provider, status, browser_vm_id, vm_ip, auth_url, error_message, \
                          started_at, timeout_at",
    },
    Form {
        name: "production",
        tables: "CREATE TABLE SCHEMA.vms (vm_id text PRIMARY KEY, user_id text, vm_type text, \"type\" text,
                   ip_address inet, status varchar(20), firecracker_pid bigint, created_at timestamptz,
                   destroyed_at timestamptz, started_at timestamptz);
                 CREATE TABLE SCHEMA.auth_sessions (session_id text PRIMARY KEY, user_id uuid, provider text,
                   status text, browser_vm_id text, vm_id text, vm_ip inet, auth_url text, error_message text,
                   created_at timestamptz, started_at timestamptz, timeout_at timestamptz, vnc_url text);",
        vm_columns: "vm_id, user_id, \"type\", ip_address, status, firecracker_pid, created_at, destroyed_at",
        session_columns: "session_id, user_id, provider, status, browser_vm_id, vm_ip, auth_url, error_message, \
                          started_at, timeout_at",
    },
    Form {
        name: "by_hand",
        tables: "CREATE TYPE SCHEMA.vm_status AS ENUM ('running', 'destroyed');
                 CREATE TABLE SCHEMA.vms (id uuid PRIMARY KEY, user_id uuid, \"type\" text, ip_address inet,
                   status SCHEMA.vm_status, firecracker_pid int, started_at timestamp, destroyed_at timestamp);
                 CREATE TABLE SCHEMA.auth_sessions (id uuid PRIMARY KEY, user_id uuid, provider text, status text,
                   vm_id uuid, vm_ip inet, auth_url text, error_message text, created_at timestamp,
                   timeout_at timestamp);",
        vm_columns: "id, user_id, \"type\", ip_address, status, firecracker_pid, started_at, destroyed_at",
        session_columns: "id, user_id, provider, status, vm_id, vm_ip, auth_url, error_message, created_at, timeout_at",
    },
];

const USER: &str = "a30944b3-916c-4eec-a152-85f2c6f2e5ac";

/// So many minutes before the newest row, as an ISO text.
fn ago(minutes: i64) -> String {
    let now = jiff::Timestamp::now().as_second() - 60;
    let at = jiff::Timestamp::from_millisecond((now - minutes * 60) * 1_000 + 250).unwrap();
    format!("'{at:.3}'")
}

/// Values of the columns above; each id is given bare, and `prefix` is what this form puts before a VM's.
fn values(prefix: &str, time: impl Fn(i64) -> String) -> (String, String) {
    let id = |n: u32| format!("00000000-0000-4000-8000-{n:012}");
    let vms = [
        format!(
            "('{prefix}{}', '{USER}', 'browser', '192.168.100.2', 'running', 4711, {}, NULL)",
            id(1),
            time(1)
        ),
        format!(
            "('{prefix}{}', NULL, 'cli', NULL, 'running', NULL, {}, NULL)",
            id(2),
            time(2)
        ),
        format!(
            "('{prefix}{}', '{USER}', 'browser', '192.168.100.3', 'destroyed', 4712, {}, {})",
            id(3),
            time(3),
            time(1)
        ),
        // Open, and far older than the window.
        format!(
            "('{prefix}{}', '{USER}', 'cli', '192.168.100.4', 'running', 4713, {}, NULL)",
            id(4),
            time(9_000)
        ),
    ];
    let sessions = [
        format!(
            "('{}', '{USER}', 'codex', 'started', NULL, NULL, NULL, NULL, {}, {})",
            id(5),
            time(1),
            time(-4)
        ),
        format!(
            "('{}', NULL, 'claude_code', 'awaiting_user_auth', '{prefix}{}', '192.168.100.2', 'https://x.example/?state=1', \
             NULL, {}, NULL)",
            id(6),
            id(1),
            time(2)
        ),
        format!(
            "('{}', '{USER}', 'gemini_cli', 'failed', '{prefix}{}', '192.168.100.3', NULL, 'VM not ready after 120000ms', \
             {}, {})",
            id(7),
            id(3),
            time(3),
            time(-2)
        ),
    ];
    (vms.join(", "), sessions.join(", "))
}

fn inserts(form: &Form, prefix: &str, schema: &str, time: impl Fn(i64) -> String) -> String {
    let (vms, sessions) = values(prefix, time);
    let Form {
        vm_columns,
        session_columns,
        ..
    } = form;
    format!(
        "INSERT INTO {schema}vms ({vm_columns}) VALUES {vms};
         INSERT INTO {schema}auth_sessions ({session_columns}) VALUES {sessions};"
    )
}

/// The rows that a first look tells, without their versions.
async fn rows(url: &str, schema: &str) -> Vec<Row> {
    let mut watched = Watched::of(options(&database(url, schema)), schema, None);
    let polled = watched.polled().await;
    assert_eq!((polled.odd, polled.unreadable), (0, 0), "{schema}");
    assert_eq!(watched.count(Table::Sessions), 3, "{schema}");
    watched
        .rows
        .into_values()
        .map(|mut row| {
            match &mut row {
                Row::Vm(row) => row.version = 0,
                Row::Session(row) => row.version = 0,
            }
            row
        })
        .collect()
}

#[tokio::test]
async fn the_same_rows_are_read_from_every_form_of_the_tables_in_both_databases() {
    let postgres = shared().database().await;
    let mut read: Vec<(String, Vec<Row>)> = Vec::new();
    // One clock for all of them.
    let times: std::collections::BTreeMap<i64, String> = [-4, -2, 1, 2, 3, 9_000]
        .map(|minutes| (minutes, ago(minutes)))
        .into();
    let time = |minutes: i64| times[&minutes].clone();
    for form in FORMS {
        let schema = form.name;
        // A UUID column takes no prefix.
        let prefix = if form
            .tables
            .contains("id uuid PRIMARY KEY, user_id uuid, \"type\"")
        {
            ""
        } else {
            "vm-"
        };
        postgres.run(&format!("CREATE SCHEMA {schema}")).await;
        postgres.run(&form.tables.replace("SCHEMA", schema)).await;
        postgres
            .run(&inserts(form, prefix, &format!("{schema}."), time))
            .await;
        read.push((schema.to_owned(), rows(&postgres.url(), schema).await));
    }

    let directory = tempfile::tempdir().unwrap();
    for (name, kind) in [("text", "TEXT"), ("integer", "INTEGER")] {
        let url = format!("sqlite://{}", directory.path().join(name).display());
        let mut file = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc"))
            .await
            .unwrap();
        let form = &FORMS[0];
        let tables = form
            .tables
            .replace("SCHEMA.", "")
            .replace("timestamptz", kind);
        let milliseconds = |minutes: i64| match kind {
            "TEXT" => time(minutes),
            _ => {
                let at: jiff::Timestamp = times[&minutes].trim_matches('\'').parse().unwrap();
                at.as_millisecond().to_string()
            }
        };
        for sql in [tables, inserts(form, "vm-", "", milliseconds)] {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
                .execute(&mut file)
                .await
                .unwrap();
        }
        read.push((
            format!("SQLite with {name} times"),
            rows(&url, "public").await,
        ));
    }

    let (_, wanted) = &read[0];
    assert_eq!(wanted.len(), 7);
    let Row::Vm(vm) = &wanted[0] else {
        unreachable!("VMs come first")
    };
    assert!(vm.has_process && vm.user.is_some() && vm.ip.is_some() && vm.vm_type.is_some());
    assert_eq!(vm.created_at.0 % 1_000, 250);
    for (name, rows) in &read[1..] {
        assert_eq!(rows, wanted, "{name}");
    }
}

#[tokio::test]
async fn sqlite_is_watched_too_without_row_versions() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("demo").display());
    let mut watched = Watched::start(&url);
    let (kind, _) = watched.down().await;
    assert_eq!(kind, "failed", "there is no file yet");
    let mut file = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc"))
        .await
        .unwrap();
    let form = &FORMS[0];
    let tables = form
        .tables
        .replace("SCHEMA.", "")
        .replace("timestamptz", "TEXT");
    for sql in [tables, inserts(form, "vm-", "", ago)] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut file)
            .await
            .unwrap();
    }
    watched.polled().await;
    assert_eq!(watched.rows.len(), 7);
    watched.fresh_look().await;
    assert!(watched.told.values().all(|times| *times == 1));
    let run = async |file: &mut sqlx::SqliteConnection, sql: &'static str| {
        sqlx::raw_sql(sql).execute(file).await.unwrap();
    };
    run(
        &mut file,
        "UPDATE vms SET status = 'destroyed' WHERE ip_address = '192.168.100.2'",
    )
    .await;
    run(
        &mut file,
        "DELETE FROM vms WHERE ip_address = '192.168.100.4'",
    )
    .await;
    watched.fresh_look().await;
    assert_eq!(watched.rows.len(), 6, "one is gone");
    let changed: Vec<RowKey> = watched
        .told
        .iter()
        .filter(|(_, times)| **times == 2)
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(watched.rows[&changed[0]].is_final());
}

#[tokio::test]
async fn tables_that_are_not_the_controllers_are_named() {
    let postgres = shared().database().await;
    postgres
        .run(
            "CREATE SCHEMA half; CREATE TABLE half.vms (vm_id text, status text, created_at timestamptz);
             CREATE TABLE half.auth_sessions (session_id text, status text, created_at text);",
        )
        .await;
    for (schema, wanted) in [
        ("public", "there is no table or view vms in schema public"),
        (
            "half",
            "auth_sessions has no column created_at or started_at with a time",
        ),
    ] {
        let mut watched = Watched::of(options(&database(&postgres.url(), schema)), schema, None);
        let (kind, error) = watched.down().await;
        assert_eq!(kind, "layout");
        assert!(error.contains(wanted), "{error}");
    }
}
