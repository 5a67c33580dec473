//! The database hangs, breaks, refuses, lies about who it is, or is only a replica.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bootwatch::config::Tls;
use bootwatch::core::query::Table;
use bootwatch::core::row::Row;
use bootwatch::source::database::DatabaseEvent;
use sqlx::{ConnectOptions, Connection as _};

use super::watched::{Watched, database, options};
use crate::postgres::{Cluster, PASSWORD, SUPERUSER, run, shared};

fn is_up(event: &DatabaseEvent) -> Option<()> {
    (*event == DatabaseEvent::Up).then_some(())
}

#[tokio::test]
async fn a_server_that_stops_is_told_once_and_nothing_is_lost_when_it_is_back() {
    let cluster = Arc::new(Cluster::start());
    let database = cluster.database().await;
    database.restore_controller_run().await;
    let mut watched = Watched::start(&database.url());
    watched.until(is_up).await;
    watched.polled().await;
    let running = "SELECT vm_id FROM vms WHERE status = 'running' LIMIT 1";
    let mut connection = database.connect().await;
    let (vm,): (String,) = sqlx::query_as(running)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    drop(connection);
    cluster.stop();
    let (kind, error) = watched.down().await;
    assert!(
        ["broken", "failed", "unreachable"].contains(&kind),
        "{kind}: {error}"
    );
    cluster.start_again();
    // Changed while the watch was blind, or as good as.
    database
        .run(&format!(
            "UPDATE vms SET status = 'destroyed' WHERE vm_id = '{vm}'"
        ))
        .await;
    let mut changed = false;
    watched
        .until(|event| {
            changed |= *event == DatabaseEvent::ServerChanged;
            is_up(event)
        })
        .await;
    assert!(
        changed,
        "another start of the server: everything is read again"
    );
    watched.fresh_look().await;
    let rows = watched.rows.values();
    let destroyed = rows.filter(
        |row| matches!(row, Row::Vm(row) if row.vm.to_string() == vm && row.status.is_final()),
    );
    assert_eq!(destroyed.count(), 1);
    assert_eq!(
        (watched.count(Table::Vms), watched.count(Table::Sessions)),
        (97, 83)
    );
}

#[tokio::test]
async fn a_connection_that_is_ended_between_two_looks_is_no_outage() {
    let postgres = shared().database().await;
    postgres.restore_controller_run().await;
    let mut watched = Watched::start(&postgres.url());
    watched.until(is_up).await;
    let mut other = postgres.connect().await;
    let mut ended = 0;
    while ended < 3 {
        let (now,): (i64,) = sqlx::query_as(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'bootwatch' AND state = 'idle'",
        )
        .fetch_one(&mut other)
        .await
        .unwrap();
        ended += now;
        for _ in 0..10 {
            let event = watched.next().await;
            assert!(matches!(event, DatabaseEvent::Polled(_)), "{event:?}");
        }
    }
    // One that cannot be had again is.
    let refuse = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", postgres.name);
    let mut elsewhere = sqlx::PgConnection::connect(&postgres.cluster.url("postgres"))
        .await
        .unwrap();
    run(&mut elsewhere, &refuse).await;
    run(
        &mut elsewhere,
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            postgres.name
        ),
    )
    .await;
    let (kind, error) = watched.down().await;
    assert_eq!(kind, "failed", "{error}");
    assert!(
        error.contains("not currently accepting connections"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_once() {
    let database = shared().database().await;
    let mut watched = Watched::start(&database.url_of(SUPERUSER, "hunter2"));
    let (kind, error) = watched.down().await;
    assert_eq!(kind, "refused");
    assert!(!error.contains("hunter2"), "{error}");
    let own_words = format!("password authentication failed for user \"{SUPERUSER}\"");
    assert!(error.ends_with(&own_words), "{error}");
    // Ten further tries say nothing: the next event is that the watch is still silent.
    let silent = tokio::time::timeout(Duration::from_millis(500), watched.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn whoever_takes_connections_and_never_answers_is_noticed_by_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut options = options(&database(
        &format!("postgres://a:b@127.0.0.1:{port}/c"),
        "public",
    ));
    options.connect_deadline = Duration::from_millis(100);
    let mut watched = Watched::of(options, "public", None);
    let (kind, error) = watched.down().await;
    assert_eq!(kind, "silent", "{error}");
    drop(listener);
    let (kind, _) = watched.down().await;
    assert_eq!(kind, "unreachable");
}

/// The other end is gone without a word, as behind a router that forgot the connection: a proxy that stops passing on.
#[tokio::test]
async fn a_connection_whose_other_end_is_gone_is_given_up_by_the_deadline() {
    use tokio::io::copy_bidirectional;
    let postgres = shared().database().await;
    postgres.restore_controller_run().await;
    let target = postgres.cluster.address();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (pass, mut passing) = tokio::sync::watch::channel(true);
    let mut proxy = tokio::task::JoinSet::new();
    proxy.spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = async { drop(passing.wait_for(|pass| !pass).await) } => {
                    // Held open, and passed on no more, until it is let go.
                    drop(passing.wait_for(|pass| *pass).await);
                }
            }
        }
    });
    let url = format!(
        "postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{port}/{}",
        postgres.name
    );
    let mut options = options(&database(&url, "public"));
    options.query_deadline = Duration::from_millis(500);
    options.connect_deadline = Duration::from_millis(500);
    let mut watched = Watched::of(options, "public", None);
    watched.until(is_up).await;
    pass.send_replace(false);
    let (kind, error) = watched.down().await;
    assert_eq!(kind, "silent", "{error}");
    pass.send_replace(true);
    watched.until(is_up).await;
}

#[tokio::test]
async fn a_look_says_who_it_is_and_does_not_wait_long_for_a_lock() {
    let postgres = shared().database().await;
    postgres.restore_controller_run().await;
    // A look stands still within its transaction while somebody holds the table.
    let mut watched = Watched::start(&postgres.url());
    watched.polled().await;
    let mut locker = postgres.connect().await;
    run(
        &mut locker,
        "BEGIN; LOCK TABLE vms IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut other = postgres.connect().await;
    let query = loop {
        let waiting: Option<(String,)> = sqlx::query_as(
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bootwatch'
             AND wait_event_type = 'Lock'",
        )
        .fetch_optional(&mut other)
        .await
        .unwrap();
        if let Some((query,)) = waiting {
            break query;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never waited for the lock"
        );
        // It must go on to come to the lock.
        drop(tokio::time::timeout(Duration::from_millis(20), watched.next()).await);
    };
    assert!(query.starts_with("SELECT"), "{query}");
    // The lock's limit ends the look, long before the statement's.
    let (_, error) = watched.down().await;
    assert!(error.contains("lock timeout"), "{error}");
    run(&mut locker, "ROLLBACK").await;
    watched.until(is_up).await;
}

#[tokio::test]
async fn a_look_brings_its_own_limits_whatever_the_role_lacks() {
    let postgres = shared().database().await;
    postgres.restore_controller_run().await;
    // A role with no setting of its own; reading the table tells what holds meanwhile.
    let role = postgres.role("plain");
    postgres
        .run(&format!(
            "CREATE FUNCTION limits() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'limits: % % % % %', current_setting('statement_timeout'),
                     current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
                     current_setting('transaction_read_only'), current_setting('transaction_isolation');
             END $$;
             ALTER TABLE vms RENAME TO vms_kept;
             CREATE VIEW vms AS SELECT * FROM vms_kept WHERE limits();
             CREATE ROLE {role} LOGIN PASSWORD 'plain';
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await;
    let mut watched = Watched::start(&postgres.url_of(&role, "plain"));
    let (_, error) = watched.down().await;
    assert!(
        error.contains("limits: 5s 1s 10s on repeatable read"),
        "{error}"
    );
}

/// Files of a certificate authority and of a server on 127.0.0.1 that it vouches for.
fn authority(cluster: &Cluster, name: &str) {
    let openssl = |arguments: &[&str]| {
        let output = cluster
            .command("openssl")
            .args(arguments)
            .output()
            .expect("openssl is not installed: apt-get install openssl");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let file = |kind: &str| format!("{name}.{kind}");
    cluster.write(
        &file("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    );
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=authority",
        "-keyout",
        &file("ca.key"),
        "-out",
        &file("ca.pem"),
    ]);
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=server",
        "-keyout",
        &file("key"),
        "-out",
        &file("csr"),
    ]);
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &file("csr"),
        "-CA",
        &file("ca.pem"),
        "-CAkey",
        &file("ca.key"),
        "-CAcreateserial",
        "-extfile",
        &file("ext"),
        "-out",
        &file("pem"),
    ]);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_unless_that_is_what_was_asked_for() {
    let mut cluster = Cluster::start();
    authority(&cluster, "right");
    authority(&cluster, "wrong");
    let file = |name: &str| cluster.file(name).display().to_string();
    let settings = format!(
        "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'",
        file("right.pem"),
        file("right.key")
    );
    let (right, wrong) = (cluster.file("right.ca.pem"), cluster.file("wrong.ca.pem"));
    cluster.set(&settings);
    let cluster = Arc::new(cluster);
    let postgres = cluster.database().await;
    postgres.restore_controller_run().await;
    let watch = |tls: Tls, ca: Option<&std::path::PathBuf>| {
        let mut database = database(&postgres.url(), "public");
        database.tls = tls;
        database.ca_file = ca.cloned();
        Watched::of(options(&database), "public", None)
    };
    let (kind, error) = watch(Tls::Verify, Some(&wrong)).down().await;
    assert_eq!(kind, "untrusted", "{error}");
    assert!(error.contains("database.ca_file"), "{error}");
    for (tls, ca, encrypted) in [
        (Tls::Verify, Some(&right), true),
        (Tls::Unverified, None, true),
        // Loopback, without an authority of one's own: whatever the server offers.
        (Tls::Verify, None, true),
        (Tls::Off, None, false),
    ] {
        let mut watched = watch(tls, ca);
        watched.until(is_up).await;
        let mut connection = postgres.connect().await;
        let (ssl,): (bool,) = sqlx::query_as(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name = 'bootwatch' AND datname = current_database() ORDER BY backend_start DESC LIMIT 1",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(ssl, encrypted, "{tls:?} {ca:?}");
    }
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_may_stand_between() {
    let postgres = shared().database().await;
    postgres.restore_controller_run().await;
    let pooler = postgres.pooler(2);
    let url = pooler.url();
    // Two watches share the pool's servers, so that a statement or setting left behind would meet the other.
    let mut watches = [Watched::start(&url), Watched::start(&url)];
    for watched in &mut watches {
        watched.until(is_up).await;
        for _ in 0..20 {
            let event = watched.next().await;
            assert!(!matches!(event, DatabaseEvent::Down { .. }), "{event:?}");
        }
        assert_eq!(watched.rows.len(), 180);
    }
    let plain: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut session = plain.extra_float_digits(None).connect().await.unwrap();
    let (limit,): (String,) = sqlx::query_as("SELECT current_setting('lock_timeout')")
        .persistent(false)
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert_eq!(limit, "0", "no setting outlives its transaction");
}

#[tokio::test]
async fn a_replica_of_an_idle_primary_is_of_now_and_one_that_is_cut_off_is_not() {
    let primary = Arc::new(Cluster::with(&[
        "wal_level = replica",
        "max_wal_senders = 4",
        "autovacuum = off",
        "wal_receiver_timeout = '2s'",
    ]));
    let database = primary.database().await;
    database.restore_controller_run().await;
    let replica = primary.replica();
    let mut watched = Watched::start(&replica.url(&database.name));
    database.run("CREATE TABLE replayed ()").await;
    let hears = |event: &DatabaseEvent| match event {
        DatabaseEvent::Polled(polled) => {
            let lag = polled.replica.and_then(|found| found.lag);
            (lag == Some(Duration::ZERO)).then_some(polled.as_of)
        }
        _ => None,
    };
    watched.fresh_look().await;
    let first = watched.until(hears).await;
    // Nothing is written any more, and time goes on all the same.
    let later = |event: &DatabaseEvent| hears(event).filter(|as_of| as_of.since(first) > 500);
    watched.until(later).await;
    primary.stop();
    let lag = watched
        .until(|event| match event {
            DatabaseEvent::Polled(polled) => polled
                .replica
                .filter(|found| found.lag != Some(Duration::ZERO)),
            _ => None,
        })
        .await;
    assert!(lag.lag.is_some());
}

/// As Amazon Aurora does, on its primary too.
#[tokio::test]
async fn a_primary_is_not_asked_what_a_replica_has_received() {
    let database = shared().database().await;
    database.restore_controller_run().await;
    for (name, answer) in [
        ("pg_last_wal_receive_lsn", "pg_lsn"),
        ("pg_last_wal_replay_lsn", "pg_lsn"),
        ("pg_last_xact_replay_timestamp", "timestamptz"),
        ("pg_stat_get_wal_receiver", "TABLE (pid integer)"),
    ] {
        database
            .run(&format!(
                "ALTER FUNCTION pg_catalog.{name}() RENAME TO {name}_before;
                 CREATE FUNCTION pg_catalog.{name}() RETURNS {answer} LANGUAGE plpgsql AS
                 $$ BEGIN RAISE feature_not_supported USING MESSAGE = '{name} is currently not supported'; END $$"
            ))
            .await;
    }
    let mut watched = Watched::start(&database.url());
    assert_eq!(watched.polled().await.replica, None);
    assert_eq!(watched.rows.len(), 180);
}

#[tokio::test]
async fn a_replica_shows_its_lag_and_proves_no_absence_until_it_is_promoted() {
    let primary = Arc::new(Cluster::with(&[
        "wal_level = replica",
        "max_wal_senders = 4",
    ]));
    let database = primary.database().await;
    database.restore_controller_run().await;
    let replica = primary.replica();
    let mut watched = Watched::start(&replica.url(&database.name));
    // A standby that has replayed no transaction yet knows neither its lag nor what its rows are as of.
    database.run("CREATE TABLE replayed ()").await;
    let polled = watched
        .until(|event| match event {
            DatabaseEvent::Polled(polled) if polled.full_window.is_none() => Some(polled.clone()),
            _ => None,
        })
        .await;
    assert!(polled.replica.expect("a replica").lag.is_some());
    assert_eq!(watched.rows.len(), 180);

    replica
        .run(&database.name, "SELECT pg_wal_replay_pause()")
        .await;
    database
        .run("DELETE FROM vms WHERE status = 'running'")
        .await;
    let behind = watched
        .until(|event| match event {
            DatabaseEvent::Polled(polled) => polled
                .replica
                .filter(|found| found.lag > Some(Duration::ZERO)),
            _ => None,
        })
        .await;
    assert!(behind.lag.is_some());
    replica
        .run(&database.name, "SELECT pg_wal_replay_resume()")
        .await;
    let open = polled.open;
    for _ in 0..20 {
        let polled = watched.polled().await;
        assert!(
            polled.gone.is_empty() && polled.open == open,
            "absence is no evidence here"
        );
    }
    replica.run(&database.name, "SELECT pg_promote()").await;
    let mut changed = false;
    let gone = watched
        .until(|event| {
            changed |= *event == DatabaseEvent::ServerChanged;
            match event {
                DatabaseEvent::Polled(polled) if polled.replica.is_none() => Some(polled.clone()),
                _ => None,
            }
        })
        .await;
    assert!(
        changed && gone.full_window.is_some(),
        "everything is read again"
    );
    assert!(!gone.gone.is_empty(), "now absence is told");
}
