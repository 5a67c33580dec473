//! The tables, as steps from one version to the next. Forward only: a step that was released is never changed.
//!
//! What is filtered and counted by is a column of `boot`, whose rows are small and lie in the order of time; the rest of a
//! boot is JSON in `boot_detail`. What a report reads of a boot is a text in `boot_fact`, which triggers keep.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;

use super::error::{OpenError, StoreError};
use super::file;
use crate::core::event::Timestamp;

/// The version of a store is how many steps it has taken; SQLite keeps it as `user_version`.
const STEPS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
];

/// The version that this program writes.
#[must_use]
pub fn version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Brings the tables to the present version; names the copy that was kept where there was something to keep.
pub(super) async fn migrate(
    raw: &mut SqliteConnection,
    path: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Option<PathBuf>, OpenError> {
    let cannot = |error| StoreError::new("open", path, error);
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *raw)
        .await
        .map_err(cannot)?;
    if found > version() {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: version(),
        });
    }
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE name = 'outbox') FROM sqlite_schema WHERE type = 'table'",
    )
    .fetch_one(&mut *raw)
    .await
    .map_err(cannot)?;
    if tables > 0 && ours == 0 {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
        });
    }
    if found == version() {
        return Ok(None);
    }
    let copy = match found {
        0 => None,
        _ => Some(keep_copy(raw, path, found, now).await?),
    };
    let done = take_steps(raw, found, host, now).await;
    if let Err(error) = done {
        sqlx::query("ROLLBACK").execute(raw).await.ok();
        return Err(StoreError::new("migrate", path, error).into());
    }
    Ok(copy)
}

/// The log is carried over into the database first, so that the copy is whole.
async fn keep_copy(
    raw: &mut SqliteConnection,
    path: &Path,
    version: i64,
    now: Timestamp,
) -> Result<PathBuf, StoreError> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(raw)
        .await
        .map_err(|error| StoreError::new("migrate", path, error))?;
    file::keep_copy(path, version, now).map_err(|error| StoreError::new("copy", path, error))
}

/// All steps in one transaction: a store is of its old version or of the new one.
async fn take_steps(
    raw: &mut SqliteConnection,
    found: i64,
    host: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA synchronous = FULL")
        .execute(&mut *raw)
        .await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *raw).await?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *raw).await?;
    }
    if found == 0 {
        sqlx::query(
            "INSERT INTO meta (one, store_id, host, created_at, sequence)
             VALUES (1, lower(hex(randomblob(16))), ?, ?, 0)",
        )
        .bind(host)
        .bind(now.0)
        .execute(&mut *raw)
        .await?;
    }
    let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", version()));
    sqlx::query(version).execute(&mut *raw).await?;
    sqlx::query("COMMIT").execute(&mut *raw).await?;
    sqlx::query("PRAGMA synchronous = NORMAL")
        .execute(raw)
        .await?;
    Ok(())
}
