//! The simulated tables in real databases: the same content in both, in step with the log, and nobody else's touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bootwatch::config::Secret;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::tables::{Key, Table, TablesError};
use bootwatch::simulator::{Happened, Moment, Player, Schema, Simulation, Speed, Tables, Version};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};

use crate::postgres::{Database, shared};
use crate::simulator::{order, scenario};
use crate::simulator_tables::{Mirror, mirror, moments};

/// A table's rows by key: a text a column, NULL left out.
type Content = BTreeMap<String, BTreeMap<String, String>>;

const VMS: &[&str] = &[
    "vm_id",
    "user_id",
    "vm_type",
    "vcpu_count",
    "memory_mb",
    "ip_address",
    "tap_device",
    "status",
    "firecracker_pid",
    "socket_path",
    "cpu_usage_percent",
    "memory_usage_mb",
    "last_heartbeat",
    "created_at",
    "destroyed_at",
];
const SESSIONS: &[&str] = &[
    "session_id",
    "user_id",
    "browser_vm_id",
    "provider",
    "auth_url",
    "status",
    "started_at",
    "completed_at",
    "timeout_at",
    "error_message",
    "vm_id",
    "vm_ip",
    "vnc_url",
];

fn columns(table: Table, schema: Schema) -> Vec<&'static str> {
    let (mut columns, more): (Vec<&str>, &[&str]) = match table {
        Table::Vms => (VMS.to_vec(), &["type"]),
        Table::AuthSessions => (SESSIONS.to_vec(), &["created_at", "last_heartbeat"]),
    };
    if schema == Schema::Production {
        columns.extend(more);
    }
    columns
}

/// PostgreSQL's columns in the words of the mirror.
fn select_postgres(table: Table, schema: Schema) -> String {
    let texts: Vec<String> = columns(table, schema)
        .into_iter()
        .map(|name| match name {
            _ if name.ends_with("_at") || name == "last_heartbeat" => {
                format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            }
            "vcpu_count" => format!("round({name}, 2)::text"),
            "ip_address" | "vm_ip" => format!("host({name}::inet)"),
            _ => format!("{name}::text"),
        })
        .collect();
    format!("SELECT {} FROM {}", texts.join(", "), table.name())
}

fn collect(columns: &[&str], values: impl Iterator<Item = Vec<Option<String>>>) -> Content {
    values
        .map(|row| {
            let key = row[0].clone().unwrap();
            let named = columns.iter().zip(row);
            let filled = named.filter_map(|(name, text)| Some(((*name).to_owned(), text?)));
            (key, filled.collect())
        })
        .collect()
}

async fn of_postgres(connection: &mut PgConnection, table: Table, schema: Schema) -> Content {
    let columns = columns(table, schema);
    let rows = sqlx::query(AssertSqlSafe(select_postgres(table, schema)))
        .fetch_all(connection)
        .await
        .unwrap();
    let width = columns.len();
    collect(
        &columns,
        rows.iter()
            .map(|row| (0..width).map(|n| row.get(n)).collect()),
    )
}

async fn of_sqlite(connection: &mut SqliteConnection, table: Table, schema: Schema) -> Content {
    let columns = columns(table, schema);
    let texts: Vec<String> = columns
        .iter()
        .map(|name| format!("CAST({name} AS text)"))
        .collect();
    let sql = format!("SELECT {} FROM {}", texts.join(", "), table.name());
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(connection)
        .await
        .unwrap();
    let width = columns.len();
    collect(
        &columns,
        rows.iter()
            .map(|row| (0..width).map(|n| row.get(n)).collect()),
    )
}

/// What the statements so far should have made of a table.
fn of_mirror(mirror: &Mirror, table: Table, schema: Schema) -> Content {
    let columns = columns(table, schema);
    let rows = mirror.rows.iter().filter(|(key, _)| key.table() == table);
    rows.map(|(key, row)| {
        let key = match key {
            Key::Vm(vm) => vm.to_string(),
            Key::Session(session) => session.to_string(),
        };
        let mut texts: BTreeMap<String, String> = row
            .iter()
            .map(|(name, cell)| ((*name).to_owned(), cell.text()))
            .collect();
        texts.insert(table.key().to_owned(), key.clone());
        let twice = match table {
            Table::Vms => ("vm_type", "type"),
            Table::AuthSessions => ("created_at", "started_at"),
        };
        if let Some(text) = texts.get(twice.0).cloned() {
            texts.insert(twice.1.to_owned(), text);
        }
        texts.retain(|name, _| columns.contains(&name.as_str()));
        (key, texts)
    })
    .collect()
}

fn sqlite_url(path: &Path) -> Secret {
    Secret::new(format!("sqlite:{}", path.display()))
}

async fn open(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .connect()
        .await
        .unwrap()
}

fn write_all(tables: &mut Tables, moments: &[Moment]) {
    for moment in moments {
        tables.show(moment).unwrap();
    }
    tables.flush().unwrap();
}

async fn both_hold(schema: Schema, name: &str, version: Version, boots: u32) {
    let (moments, _) = moments(scenario(name), &order(11, version, boots));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let database: Database = shared().database().await;
    for url in [sqlite_url(&path), Secret::new(database.url())] {
        write_all(&mut Tables::create(&url, schema).unwrap(), &moments);
    }
    let mirror = mirror(&moments);
    let mut sqlite = open(&path).await;
    let mut postgres = database.connect().await;
    for table in [Table::Vms, Table::AuthSessions] {
        let expected = of_mirror(&mirror, table, schema);
        assert!(expected.len() > 10);
        let real = of_postgres(&mut postgres, table, schema).await;
        assert_eq!(real, expected, "PostgreSQL {schema:?} {table:?}");
        let small = of_sqlite(&mut sqlite, table, schema).await;
        assert_eq!(small, expected, "SQLite {schema:?} {table:?}");
    }
}

#[tokio::test]
async fn both_databases_hold_the_same_rows_in_the_migrations_schema() {
    both_hold(Schema::Migration, "restart", Version::Oct, 30).await;
}

#[tokio::test]
async fn both_databases_hold_the_same_rows_in_productions_schema() {
    both_hold(Schema::Production, "mixed", Version::Dec, 40).await;
}

#[tokio::test]
async fn the_schemas_differ_as_the_contract_says() {
    let kinds = async |schema| {
        let database = shared().database().await;
        drop(Tables::create(&Secret::new(database.url()), schema).unwrap());
        let sql = "SELECT table_name::text || '.' || column_name::text, data_type::text
                   FROM information_schema.columns WHERE table_schema = 'public'";
        let rows: Vec<(String, String)> = sqlx::query_as(sql)
            .fetch_all(&mut database.connect().await)
            .await
            .unwrap();
        rows.into_iter().collect::<BTreeMap<String, String>>()
    };
    let migration = kinds(Schema::Migration).await;
    let production = kinds(Schema::Production).await;
    assert_eq!(migration["vms.ip_address"], "text");
    assert_eq!(production["vms.ip_address"], "inet");
    assert!(!migration.contains_key("vms.type"));
    assert_eq!(production["vms.type"], "text");
    assert!(!migration.contains_key("auth_sessions.created_at"));
    for name in ["auth_sessions.created_at", "auth_sessions.started_at"] {
        assert_eq!(production[name], "timestamp with time zone");
    }
    for schema in [&migration, &production] {
        assert_eq!(schema["auth_sessions.vm_id"], "text");
        assert_eq!(schema["auth_sessions.session_id"], "uuid");
    }
}

#[tokio::test]
async fn every_statement_is_a_transaction_and_moves_the_rows_version() {
    let (moments, truths) = moments(scenario("healthy"), &order(11, Version::Oct, 1));
    let session = truths.last().unwrap().session_id.unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let database = shared().database().await;
    let mut tables = [sqlite_url(&path), Secret::new(database.url())]
        .map(|url| Tables::create(&url, Schema::Production).unwrap());
    let mut sqlite = open(&path).await;
    let mut postgres = database.connect().await;
    let mut versions: [Vec<i64>; 2] = Default::default();
    for moment in &moments {
        let Happened::Written(op) = &moment.what else {
            continue;
        };
        for table in &mut tables {
            table.show(moment).unwrap();
            table.flush().unwrap();
        }
        if !matches!(op.key, Key::Session(_)) {
            continue;
        }
        let small: i64 = sqlx::query_scalar("SELECT xmin FROM auth_sessions WHERE session_id = ?1")
            .bind(&session)
            .fetch_one(&mut sqlite)
            .await
            .unwrap();
        let real: i64 = sqlx::query_scalar(
            "SELECT xmin::text::bigint FROM auth_sessions WHERE session_id = $1::uuid",
        )
        .bind(&session)
        .fetch_one(&mut postgres)
        .await
        .unwrap();
        versions[0].push(small);
        versions[1].push(real);
    }
    for seen in versions {
        // started, vm_created, ready, awaiting_user_auth, completed
        assert_eq!(seen.len(), 5);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    }
}

#[test]
fn before_each_pause_the_tables_are_as_far_as_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let order = order(11, Version::Oct, 6);
    let mut tables = Tables::create(&sqlite_url(&path), Schema::Production).unwrap();
    let mut reader = runtime.block_on(open(&path));
    let seen = std::cell::RefCell::new(Kept::default());
    let mut face = KeptFace(&seen);
    let mut pauses = 0;
    let mut simulation = Simulation::new(scenario("tap-fails").plan(&order));
    Player::new(Speed::Times(1.0))
        .play_with(
            &mut simulation,
            &mut [&mut tables, &mut face],
            &mut |_| Ok(()),
            &mut |_| {
                pauses += 1;
                if pauses % 4 == 0 {
                    for table in [Table::Vms, Table::AuthSessions] {
                        let there =
                            runtime.block_on(of_sqlite(&mut reader, table, Schema::Production));
                        let expected = of_mirror(&seen.borrow().0, table, Schema::Production);
                        assert_eq!(there, expected);
                    }
                }
                true
            },
        )
        .unwrap();
    assert!(pauses > 40, "{pauses}");
    assert!(seen.borrow().0.rows.len() > 15);
}

#[derive(Default)]
struct Kept(Mirror);

/// Shows a mirror what the tables were shown.
struct KeptFace<'a>(&'a std::cell::RefCell<Kept>);

impl Face for KeptFace<'_> {
    fn show(&mut self, moment: &Moment) -> std::io::Result<()> {
        if let Happened::Written(op) = &moment.what {
            self.0.borrow_mut().0.apply(op);
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_database_that_has_the_tables_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let database = shared().database().await;
    database
        .run("CREATE TABLE auth_sessions (session_id uuid)")
        .await;
    drop(Tables::create(&sqlite_url(&path), Schema::Migration).unwrap());
    for url in [sqlite_url(&path), Secret::new(database.url())] {
        let refused = Tables::create(&url, Schema::Production).unwrap_err();
        assert!(matches!(refused, TablesError::Taken { .. }), "{refused}");
        let told = refused.to_string();
        assert!(told.contains("a database of its own"), "{told}");
        assert!(!told.contains(crate::postgres::PASSWORD), "{told}");
    }
}

/// The rows of a table with this status.
async fn count(connection: &mut PgConnection, table: &str, status: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table} WHERE status = '{status}'");
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_tables_of_an_earlier_run_are_taken_over_and_what_it_left_open_ends() {
    let schema = Schema::Production;
    let (all, _) = moments(scenario("healthy"), &order(11, Version::Oct, 6));
    // It dies in the middle of boots.
    let cut = &all[..all.len() / 2];
    let after = cut.last().unwrap().at.plus_ms(60_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let database = shared().database().await;
    for url in [sqlite_url(&path), Secret::new(database.url())] {
        let mut first = Tables::open(&url, schema, cut[0].at).unwrap();
        assert_eq!(first.earlier(), 0);
        write_all(&mut first, cut);
        drop(first);
        let refused = Tables::create(&url, schema).unwrap_err();
        assert!(matches!(refused, TablesError::Taken { .. }), "{refused}");
        let other = Tables::open(&url, Schema::Migration, after).unwrap_err();
        let told = other.to_string();
        assert!(told.contains("another --schema"), "{told}");
        let mut again = Tables::open(&url, schema, after).unwrap();
        assert!(again.earlier() > 12, "{}", again.earlier());
        let (next, _) = moments(scenario("healthy"), &order(12, Version::Oct, 2));
        write_all(&mut again, &next);
    }
    let mut postgres = database.connect().await;
    let mut sqlite = open(&path).await;
    for table in [Table::Vms, Table::AuthSessions] {
        let real = of_postgres(&mut postgres, table, schema).await;
        assert_eq!(real, of_sqlite(&mut sqlite, table, schema).await);
        let before = of_mirror(&mirror(cut), table, schema);
        for (key, row) in before {
            let now = &real[&key];
            match table {
                Table::Vms => assert_eq!(now["status"], "destroyed"),
                Table::AuthSessions => {
                    let ended = row["status"] == "completed";
                    let status = if ended { "completed" } else { "timeout" };
                    assert_eq!(now["status"], status);
                }
            }
        }
    }
    // The second run's own CLI VMs.
    assert_eq!(count(&mut postgres, "vms", "running").await, 12);
    assert!(count(&mut postgres, "auth_sessions", "timeout").await > 0);
}

#[tokio::test]
async fn tables_without_the_simulators_mark_are_never_taken_over() {
    let at = order(1, Version::Oct, 1).start;
    let url = |database: &Database| Secret::new(database.url());
    let database = shared().database().await;
    drop(Tables::open(&url(&database), Schema::Production, at).unwrap());
    // Somebody restored a real table in the place of the simulator's: its mark went with it.
    database
        .run("DROP TABLE vms; CREATE TABLE vms (vm_id text, status text, destroyed_at timestamptz)")
        .await;
    database
        .run("INSERT INTO vms VALUES ('vm-real', 'running', NULL)")
        .await;
    let refused = Tables::open(&url(&database), Schema::Production, at).unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("already has a table vms; give"), "{told}");
    assert_eq!(
        count(&mut database.connect().await, "vms", "running").await,
        1
    );
    // Half of them is as foreign as none.
    let half = shared().database().await;
    drop(Tables::open(&url(&half), Schema::Production, at).unwrap());
    half.run("DROP TABLE vms").await;
    let refused = Tables::open(&url(&half), Schema::Production, at).unwrap_err();
    assert!(refused.to_string().contains("auth_sessions"), "{refused}");
}

/// A simulator that is stopped with the test.
struct Playing(std::process::Child);

impl Drop for Playing {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the stack's controller does: round after round, and on from where it was after each start on the same database.
#[tokio::test]
async fn simulate_repeats_for_ever_and_starts_again_on_its_own_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = shared().database().await;
    let log = folder.path().join("controller.log");
    let start = || {
        Playing(
            Command::new(env!("CARGO_BIN_EXE_bootwatch"))
                .args(["simulate", "--scenario", "mass-incident", "--repeat"])
                .args(["--duration", "3m", "--rate", "120", "--speed", "600"])
                .arg("--database")
                .arg(database.url())
                .arg("--log")
                .arg(&log)
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        )
    };
    let mut reader = database.connect().await;
    let asked = async |reader: &mut PgConnection, sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(reader).await.unwrap()
    };
    const SESSIONS: &str = "SELECT CASE WHEN to_regclass('auth_sessions') IS NULL THEN 0
        ELSE (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM auth_sessions', false, true, '')))[1]::text::bigint END";
    let mut seen = 0;
    for _ in 0..3 {
        let mut playing = start();
        // Some six boots are a round.
        let wanted = seen + 20;
        let clock = bootwatch::clock::Stopwatch::start();
        while seen < wanted {
            assert!(
                playing.0.try_wait().unwrap().is_none(),
                "it ended by itself"
            );
            assert!(clock.elapsed().as_secs() < 60, "{seen} of {wanted}");
            std::thread::sleep(std::time::Duration::from_millis(20));
            seen = asked(&mut reader, SESSIONS).await;
        }
    }
    let ghosts = "SELECT count(*) FROM vms WHERE destroyed_at IS NULL";
    let open = asked(&mut reader, ghosts).await;
    assert!(open < 40, "{open}: each start would leave its VMs behind");
    let twice = "SELECT count(*) - count(DISTINCT ip_address) FROM vms WHERE destroyed_at IS NULL";
    assert_eq!(asked(&mut reader, twice).await, 0, "two VMs on one address");
}

#[test]
fn a_round_without_end_or_pause_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["simulate", "--repeat"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--speed"), "{told}");
}

#[tokio::test]
async fn others_see_no_row_and_no_error() {
    let (moments, _) = moments(scenario("healthy"), &order(11, Version::Oct, 1));
    let database = shared().database().await;
    let mut tables = Tables::create(&Secret::new(database.url()), Schema::Production).unwrap();
    write_all(&mut tables, &moments);
    let role = database.role("plain");
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'plain'; GRANT SELECT ON vms, auth_sessions TO {role}"
        ))
        .await;
    let url = database.url_of(&role, "plain");
    let mut plain = <PgConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM vms")
        .fetch_one(&mut plain)
        .await
        .unwrap();
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn a_database_that_goes_away_ends_the_play_with_an_error() {
    let (moments, _) = moments(scenario("healthy"), &order(11, Version::Oct, 2));
    let database = shared().database().await;
    let mut tables = Tables::create(&Secret::new(database.url()), Schema::Production).unwrap();
    database.run("DROP TABLE vms CASCADE").await;
    let ended = moments
        .iter()
        .try_for_each(|moment| tables.show(moment))
        .and_then(|()| tables.flush())
        .unwrap_err();
    assert_eq!(ended.to_string(), "write a row of vms");
}

#[test]
fn a_place_that_is_no_database_is_refused_without_showing_it() {
    for url in ["", "sqlite:", "mysql://user:hidden@host/db", "/var/x.db"] {
        let refused = Tables::create(&Secret::new(url), Schema::Production).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "write the database as sqlite:PATH or postgres://USER@HOST/DATABASE"
        );
    }
}

#[tokio::test]
async fn simulate_writes_the_tables_beside_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.db");
    let simulate = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["simulate", "--scenario", "healthy", "--boots", "4"])
            .arg("--database")
            .arg(format!("sqlite:{}", path.display()))
            .arg("--log")
            .arg(folder.path().join("controller.log"))
            .args(more)
            .output()
            .unwrap()
    };
    let output = simulate(&["--schema", "migration"]);
    assert!(output.status.success(), "{output:?}");
    let content = of_sqlite(
        &mut open(&path).await,
        Table::AuthSessions,
        Schema::Migration,
    )
    .await;
    assert_eq!(content.len(), 4);
    assert!(content.values().all(|row| row["status"] == "completed"));
    let again = simulate(&[]);
    assert_eq!(again.status.code(), Some(2));
    let told = String::from_utf8(again.stderr).unwrap();
    assert!(told.contains("already has a table vms"), "{told}");
}
