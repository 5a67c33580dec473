//! The fleet's side: its tables, and one batch into them.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Transaction};

use super::super::row::{BOOT_COLUMNS, INCIDENT_COLUMNS};
use super::{FleetError, Kind};
use crate::dial::postgres::reachable;

/// The tables of version 1.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// What each older version lacks to be the next.
pub(super) const UPGRADES: &[(i32, &str)] = &[
    (1, include_str!("schema_2.sql")),
    (2, include_str!("schema_3.sql")),
];

/// The version of the tables that this program copies into.
pub(super) const VERSION: i32 = UPGRADES[UPGRADES.len() - 1].0 + 1;

/// Whether there are any. Of the rows as they are now: a name that was looked up before is remembered as missing by
/// PostgreSQL's cache.
pub(super) const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS class
         JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
         WHERE nspname = 'bootwatch' AND relname = 'version')";

/// A number that only bootwatch locks: of many sidecars that start at once, one creates the tables.
pub(super) const LOCK: i64 = 0x626f_6f74_7761;

/// A server that takes longer to be connected to does not answer.
const CONNECT: Duration = Duration::from_secs(10);

/// A server that waits for a lock does not notice that nobody waits for it any more: without limits of its own, each try of
/// each sidecar leaves one more such connection there. These are shorter than a step's patience, and end with the
/// transaction, because behind a pooler the next one may be on another server.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '20s'; \
    SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// What others hold that may have been in the way of a statement of ours.
const HELD: &str = "SELECT string_agg(held, ', ') FROM (
        SELECT mode || ' on ' || coalesce('bootwatch.' || relname, 'their making') || ' of '
            || coalesce('process ' || pid, 'a prepared transaction') AS held
        FROM pg_catalog.pg_locks AS locks
        LEFT JOIN pg_catalog.pg_class AS class ON locktype = 'relation' AND class.oid = relation
        LEFT JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = relnamespace
        WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
            AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND (nspname = 'bootwatch' AND relkind = 'r' AND mode <> 'AccessShareLock'
                OR locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) + objid::bigint = $1)
        ORDER BY mode LIMIT 4) AS locks";

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, FleetError> {
    let connecting = async { reachable(options).await.connect().await };
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(raw) => raw.map_err(|source| FleetError::Connect {
            at: format!("{}:{}", options.get_host(), options.get_port()),
            source,
        }),
        Err(_) => Err(FleetError::Silent(CONNECT)),
    }
}

pub(super) async fn begin(
    remote: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    remote.begin_with(BEGIN).await
}

/// An error that is about a lock, with what is held; any other as it is. Outside of a transaction.
pub(super) async fn named(remote: &mut PgConnection, error: FleetError) -> FleetError {
    if !error.is_about_a_lock() {
        return error;
    }
    error.locked(held(remote).await.ok().flatten())
}

async fn held(remote: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let mut transaction = begin(remote).await?;
    let held = sqlx::query_scalar(HELD)
        .persistent(false)
        .bind(LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(held)
}

/// Creates the tables where there are none, and refuses others than it knows.
pub(super) async fn prepare(remote: &mut PgConnection) -> Result<(), FleetError> {
    match try_prepare(remote).await {
        Err(error) => Err(named(remote, error).await),
        done => done,
    }
}

async fn try_prepare(remote: &mut PgConnection) -> Result<(), FleetError> {
    if !exists(remote).await.map_err(FleetError::Copy)? {
        create(remote).await.map_err(FleetError::Create)?;
    }
    let found = committed_version(remote).await.map_err(FleetError::Copy)?;
    let found = match found {
        1..VERSION => upgrade(remote).await.map_err(FleetError::Create)?,
        found => found,
    };
    if found != VERSION {
        return Err(FleetError::version(found));
    }
    Ok(())
}

async fn exists(remote: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut transaction = begin(remote).await?;
    let known = sqlx::query_scalar(EXISTS)
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(known)
}

async fn committed_version(remote: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let mut transaction = begin(remote).await?;
    let found = version(&mut transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

/// Within the caller's transaction.
pub(super) async fn version(remote: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT version FROM bootwatch.version")
        .persistent(false)
        .fetch_one(remote)
        .await
}

/// From an older version, unless another sidecar was quicker.
async fn upgrade(remote: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let mut transaction = begin(remote).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .persistent(false)
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    for (older, more) in UPGRADES {
        if version(&mut transaction).await? == *older {
            sqlx::raw_sql(*more).execute(&mut *transaction).await?;
        }
    }
    let found = version(&mut transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn create(remote: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = begin(remote).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .persistent(false)
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    let known: bool = sqlx::query_scalar(EXISTS)
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await?;
    if !known {
        let upgrades = UPGRADES.iter().map(|(_, more)| *more);
        for tables in [SCHEMA].into_iter().chain(upgrades) {
            sqlx::raw_sql(tables).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) host: &'a str,
    pub(super) store_id: &'a str,
    pub(super) at: i64,
}

/// The last number of this store's that was copied.
pub(super) async fn cursor(
    remote: &mut PgConnection,
    kind: Kind,
    host: &str,
    store_id: &str,
) -> Result<i64, sqlx::Error> {
    let mut transaction = begin(remote).await?;
    let at: Option<i64> = sqlx::query_scalar(
        "SELECT at FROM bootwatch.cursors WHERE host = $1 AND store_id = $2 AND kind = $3",
    )
    .persistent(false)
    .bind(host)
    .bind(store_id)
    .bind(name(kind))
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(at.unwrap_or(0))
}

/// Upserts rows and moves the cursor, both or neither.
pub(super) async fn copy(
    remote: &mut PgConnection,
    kind: Kind,
    rows: &str,
    cursor: Cursor<'_>,
) -> Result<(), sqlx::Error> {
    let mut transaction = begin(remote).await?;
    sqlx::query(AssertSqlSafe(upsert(kind)))
        .persistent(false)
        .bind(rows)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO bootwatch.cursors (host, store_id, kind, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (host, store_id, kind) DO UPDATE SET at = excluded.at, moved_at = now()",
    )
    .persistent(false)
    .bind(cursor.host)
    .bind(cursor.store_id)
    .bind(name(kind))
    .bind(cursor.at)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Boots => "boots",
        Kind::Incidents => "incidents",
    }
}

/// Times come as milliseconds.
fn upsert(kind: Kind) -> String {
    let columns: Vec<(&str, &str)> = match kind {
        Kind::Boots => BOOT_COLUMNS
            .iter()
            .map(|(name, kind)| (name.as_str(), *kind))
            .collect(),
        Kind::Incidents => INCIDENT_COLUMNS.to_vec(),
    };
    let (key, whole) = match kind {
        Kind::Boots => ("boot_id", "detail"),
        Kind::Incidents => ("key", "value"),
    };
    let each = |take: &dyn Fn(&(&str, &str)) -> String| {
        columns.iter().map(take).collect::<Vec<_>>().join(", ")
    };
    let given = each(&|(name, kind)| match *kind {
        "timestamptz" => format!("{name} bigint"),
        kind => format!("{name} {kind}"),
    });
    let taken = each(&|(name, kind)| match *kind {
        "timestamptz" => format!("to_timestamp({name} / 1000.0)"),
        _ => (*name).to_owned(),
    });
    let names = each(&|(name, _)| (*name).to_owned());
    let set = each(&|(name, _)| format!("{name} = excluded.{name}"));
    format!(
        "INSERT INTO bootwatch.{table} ({names}, {whole})
         SELECT {taken}, whole FROM json_to_recordset($1::json) AS given ({given}, whole jsonb)
         ON CONFLICT (host, {key}) DO UPDATE SET {set}, {whole} = excluded.{whole}, copied_at = now()",
        table = name(kind)
    )
}
