//! Old rows go, a few at a time, so that no commit waits long behind them.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use crate::core::event::Timestamp;

/// Rows of one table that go in one step: a few milliseconds.
const ROWS: i64 = 500;
/// Sent messages are kept for so long, dead and dropped ones for longer: somebody may ask why.
const KEEP_SENT: Duration = Duration::from_secs(90 * 86_400);
const KEEP_DEAD: Duration = Duration::from_secs(180 * 86_400);
const KEEP_SYNTHETIC: Duration = KEEP_SENT;
/// Free pages are used again; beyond this many, and an eighth of the file, they are given back to the disk.
const FREE_PAGES: i64 = 1_024;

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    pub pruned: u64,
    /// There is more to prune: the next step may follow at once, after whoever waits.
    pub more: bool,
}

/// How long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) boots: Duration,
    pub(super) incidents: Duration,
}

/// One step, within a transaction.
pub(super) async fn prune(
    raw: &mut SqliteConnection,
    keep: Keep,
    now: Timestamp,
) -> Result<Upkeep, sqlx::Error> {
    let before = |age: Duration| {
        now.plus_ms(i64::try_from(age.as_millis()).map_or(i64::MIN, |ms| -ms))
            .0
    };
    let mut done = Upkeep::default();
    for (statement, before) in [
        (
            "DELETE FROM boot WHERE boot_id IN (SELECT boot_id FROM boot WHERE started_at < ?
             ORDER BY started_at LIMIT ?)",
            before(keep.boots),
        ),
        (
            "DELETE FROM incident WHERE key IN (SELECT key FROM incident
             WHERE fired_at < ?1 AND resolved_at < ?1 ORDER BY fired_at LIMIT ?2)",
            before(keep.incidents),
        ),
        (
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox
             WHERE ended_at < ? AND state = 'sent' LIMIT ?)",
            before(KEEP_SENT),
        ),
        (
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox
             WHERE ended_at < ? AND state <> 'sent' LIMIT ?)",
            before(KEEP_DEAD),
        ),
        (
            "DELETE FROM synthetic WHERE id IN (SELECT id FROM synthetic WHERE ended_at < ? LIMIT ?)",
            before(KEEP_SYNTHETIC),
        ),
        (
            "DELETE FROM operation WHERE id IN (SELECT id FROM operation WHERE at < ? ORDER BY id LIMIT ?)",
            before(keep.incidents),
        ),
    ] {
        let pruned = sqlx::query(statement)
            .bind(before)
            .bind(ROWS)
            .execute(&mut *raw)
            .await?
            .rows_affected();
        done.pruned += pruned;
        done.more |= i64::try_from(pruned).is_ok_and(|pruned| pruned >= ROWS);
    }
    Ok(done)
}

/// Carries the log over into the database, as far as nobody reads it, and gives free pages back. Outside of any
/// transaction.
pub(super) async fn tidy(raw: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count")
        .fetch_one(&mut *raw)
        .await?;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut *raw)
        .await?;
    if free > FREE_PAGES && free > pages / 8 {
        sqlx::raw_sql("PRAGMA incremental_vacuum(256)")
            .execute(&mut *raw)
            .await?;
    }
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(raw)
        .await?;
    Ok(())
}
