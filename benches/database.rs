//! What a look at a large database costs: 1,000,000 rows of `vms`, 200 of them open, beside the bare questions of the
//! same client; with an index on the time of creation, and with only those that the controller's migration makes.
//!
//! And what the whole program holds in memory that watches it.
//!
//! It fills a database of its own, so it is told which: `BOOTWATCH_BENCH_DATABASE=postgres://... cargo bench --bench
//! database`. The tables are made in the schema `bootwatch_bench`, and dropped at the end.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures with a clock, prints, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootwatch::config::{Database, Secret, Tls};
use bootwatch::controller::tables::{ControllerTables, Dialect};
use bootwatch::source::database::{DatabaseEvent, DatabaseOptions, run};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const SCHEMA: &str = "bootwatch_bench";
/// Turns of each, and looks of a turn: they alternate, so that a busy machine does not fall on one of them.
const TURNS: usize = 5;
const LOOKS: usize = 20;
/// Between two looks, and between two times that the bare questions are asked.
const PAUSE: Duration = Duration::from_millis(1);

const FILL: &str = "
    DROP SCHEMA IF EXISTS bootwatch_bench CASCADE; CREATE SCHEMA bootwatch_bench; SET search_path = bootwatch_bench;
    CREATE TABLE vms (vm_id text PRIMARY KEY, user_id uuid, vm_type text, status text, ip_address text,
        firecracker_pid int, created_at timestamptz DEFAULT now(), destroyed_at timestamptz, last_heartbeat timestamptz);
    CREATE TABLE auth_sessions (session_id uuid PRIMARY KEY, user_id uuid, provider text, status text,
        browser_vm_id text, vm_ip text, auth_url text, error_message text, created_at timestamptz DEFAULT now(),
        timeout_at timestamptz);
    INSERT INTO vms SELECT 'vm-' || gen_random_uuid(), gen_random_uuid(), 'browser',
        CASE WHEN n <= 200 THEN 'running' ELSE 'destroyed' END, '192.168.100.2', n, now() - n * interval '30 seconds',
        CASE WHEN n > 200 THEN now() END FROM generate_series(1, 1000000) n;
    CREATE INDEX ON vms (user_id); CREATE INDEX ON vms (status); CREATE INDEX ON vms (vm_type);
    CREATE INDEX ON vms (last_heartbeat); CREATE INDEX ON vms (firecracker_pid) WHERE firecracker_pid IS NOT NULL;
    ANALYZE vms; ANALYZE auth_sessions";

fn main() {
    let Ok(url) = std::env::var("BOOTWATCH_BENCH_DATABASE") else {
        println!("BOOTWATCH_BENCH_DATABASE names no database to fill; nothing was measured");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(FILL).execute(&mut connection).await.unwrap();
        let keys = "SELECT vm_id FROM vms WHERE status = 'running'";
        let open: Vec<(String,)> = sqlx::query_as(keys)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let open: Vec<String> = open.into_iter().map(|(key,)| key).collect();
        assert_eq!(open.len(), 200);
        compare("only the migration's indexes", &url, &mut connection, &open).await;
        for sql in ["CREATE INDEX ON vms (created_at, vm_id)", "ANALYZE vms"] {
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
        compare("an index on created_at", &url, &mut connection, &open).await;
        resident(&url);
        let drop = format!("DROP SCHEMA {SCHEMA} CASCADE");
        sqlx::raw_sql(AssertSqlSafe(drop))
            .execute(&mut connection)
            .await
            .unwrap();
    });
}

/// Neither side counts what ends the transaction; both count what begins it, and both begin after the same pause: a
/// processor that slept a moment finds its caches colder than one that went on.
async fn compare(name: &str, url: &str, connection: &mut PgConnection, open: &[String]) {
    let (mut bare, mut texts) = (Vec::new(), Vec::new());
    let (mut looks, mut firsts) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for _ in 0..LOOKS {
            bare.push(ask(connection, open, Asked::Values).await);
        }
        for _ in 0..LOOKS {
            texts.push(ask(connection, open, Asked::Texts).await);
        }
        let mut turn = watched(url).await;
        firsts.push(turn.remove(0));
        looks.append(&mut turn);
    }
    let (bare, texts) = (median(bare), median(texts));
    let (look, first) = (median(looks), median(firsts));
    println!(
        "{name}: one look {:.2} ms, the bare questions {:.2} ms ({:.2} times); the first look, of everything, {:.0} ms",
        milliseconds(look),
        milliseconds(bare),
        look.as_secs_f64() / bare.as_secs_f64(),
        milliseconds(first)
    );
    println!(
        "  the bare questions as texts, in one turn each, {:.2} ms ({:.2} times)",
        milliseconds(texts),
        look.as_secs_f64() / texts.as_secs_f64()
    );
}

/// How the bare questions are asked.
#[derive(Clone, Copy)]
enum Asked {
    /// As one asks this client: parsed and described, then run with the values, two turns each.
    Values,
    /// As the watch asks: the values in the text, one turn each.
    Texts,
}

/// What any client must ask: the open rows by key, and what is new of both tables.
async fn ask(connection: &mut PgConnection, open: &[String], asked: Asked) -> Duration {
    tokio::time::sleep(PAUSE).await;
    let started = Instant::now();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut *connection)
        .await
        .unwrap();
    let columns = "vm_id, user_id, vm_type, status, ip_address, firecracker_pid, created_at::text, destroyed_at::text, \
                   last_heartbeat::text, xmin::text";
    let by_key = format!("SELECT {columns} FROM vms WHERE vm_id = ANY");
    let recent = "created_at >= now() - interval '15 minutes'";
    let of_vms =
        format!("SELECT {columns} FROM vms WHERE {recent} ORDER BY created_at, vm_id LIMIT 500");
    let of_sessions = format!(
        "SELECT session_id, status, created_at::text, xmin::text FROM auth_sessions WHERE {recent} \
         ORDER BY created_at, session_id LIMIT 500"
    );
    match asked {
        Asked::Values => {
            let by_key = AssertSqlSafe(format!("{by_key}($1)"));
            let [of_vms, of_sessions] = [of_vms, of_sessions].map(AssertSqlSafe);
            for query in [
                sqlx::query(by_key).bind(open),
                sqlx::query(of_vms),
                sqlx::query(of_sessions),
            ] {
                let query = query.persistent(false);
                query.fetch_all(&mut *connection).await.unwrap();
            }
        }
        Asked::Texts => {
            let by_key = format!("{by_key}('{{{}}}')", open.join(","));
            for sql in [by_key, of_vms, of_sessions] {
                let query = sqlx::raw_sql(AssertSqlSafe(sql));
                query.fetch_all(&mut *connection).await.unwrap();
            }
        }
    }
    let took = started.elapsed();
    sqlx::raw_sql("COMMIT")
        .execute(&mut *connection)
        .await
        .unwrap();
    took
}

/// The times of a watch's first look and of those behind it: all that it asks.
async fn watched(url: &str) -> Vec<Duration> {
    let database = Database {
        url: Secret::new(url),
        schema: SCHEMA.to_owned(),
        poll: PAUSE,
        tls: Tls::Verify,
        ca_file: None,
    };
    let options = DatabaseOptions::new(&database).unwrap();
    let tables = Arc::new(ControllerTables::new(Dialect::Postgres, SCHEMA));
    let (events_tx, mut events) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let mut took = Vec::new();
    let looking = async {
        while took.len() <= LOOKS {
            match events.recv().await {
                Some(DatabaseEvent::Polled(polled)) => {
                    took.push(polled.took.iter().map(|(_, took)| *took).sum());
                }
                Some(DatabaseEvent::Down { error, .. }) => panic!("{error}"),
                _ => {}
            }
        }
        stop.cancel();
    };
    tokio::join!(run(options, tables, None, events_tx, stop.clone()), looking);
    took
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

/// The program's memory once it has looked twenty times.
fn resident(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("log"), "").unwrap();
    fs::write(place("url"), url).unwrap();
    let mut owners = fs::metadata(place("url")).unwrap().permissions();
    owners.set_mode(0o600);
    fs::set_permissions(place("url"), owners).unwrap();
    let config = format!(
        "log.file = {:?}\nstore.path = {:?}\nweb.listen = \"127.0.0.1:0\"\n\
         [database]\nurl_file = {:?}\nschema = {SCHEMA:?}\npoll = \"1s\"\n",
        place("log"),
        place("store.db"),
        place("url")
    );
    fs::write(place("config.toml"), config).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["run", "--config"])
        .arg(place("config.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let address = line.trim().rsplit("http://").next().unwrap().to_owned();
    let began = Instant::now();
    let looks = || {
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let name = "bootwatch_database_poll_duration_seconds_count{query=\"open\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.parse::<f64>().ok()
    };
    while looks().is_none_or(|looks| looks < 20.0) {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "it does not look"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    for figure in ["VmRSS", "VmHWM"] {
        let line = status.lines().find(|line| line.starts_with(figure));
        println!("the whole program after 20 looks: {}", line.unwrap_or("?"));
    }
    program.kill().unwrap();
    program.wait().unwrap();
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
