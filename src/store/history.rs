//! What happened, for reports and pages: read through a connection of its own that can write nothing, a page at a time,
//! so that neither memory nor the log grows with the answer.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::connection::options;
use super::error::StoreError;
use super::operation::OperationRow;
use super::outbox::StoredMessage;
use super::row::{BOOT_COLUMNS, BootRow, IncidentRow};
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};

/// Rows in memory at a time.
const PAGE: i64 = 1_000;

static BOOTS: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
    format!(
        "SELECT {}, detail FROM boot JOIN boot_detail USING (boot_id)
         WHERE (started_at, boot_id) > (?, ?) AND started_at < ? ORDER BY started_at, boot_id LIMIT ?",
        names.join(", ")
    )
});

/// Each condition holds where it is not asked for. The table is ordered by its time, so a page reads no more than it
/// shows where nothing rare is asked for.
static NEWEST: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
    format!(
        "SELECT {}, detail FROM boot JOIN boot_detail USING (boot_id)
         WHERE started_at >= coalesce(?1, -9223372036854775808) AND started_at < coalesce(?2, 9223372036854775807)
         AND (?3 IS NULL OR vm_type = ?3) AND (?4 IS NULL OR outcome = ?4) AND (?5 IS NULL OR failure = ?5)
         AND (?6 IS NULL OR origin = ?6) AND (?7 IS NULL OR image = ?7)
         AND (?8 IS NULL OR (started_at, boot_id) < (?8, ?9))
         ORDER BY started_at DESC, boot_id DESC LIMIT ?10",
        names.join(", ")
    )
});

/// Which boots are wanted, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFilter {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub vm_type: Option<VmType>,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub origin: Option<Origin>,
    pub image: Option<String>,
    /// Behind this boot of an earlier page.
    pub after: Option<(Timestamp, String)>,
    pub limit: u16,
}

/// Boots that ended alike, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub vm_type: VmType,
    pub origin: Origin,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub boots: u64,
}

#[derive(Debug)]
pub struct History {
    path: PathBuf,
    raw: SqliteConnection,
}

impl History {
    /// Of a store that exists; any number may be open beside the one that writes.
    pub async fn open(path: &Path) -> Result<History, StoreError> {
        let raw = options(path).read_only(true).connect().await;
        Ok(History {
            path: path.to_owned(),
            raw: raw.map_err(|error| StoreError::new("read", path, error))?,
        })
    }

    /// Hands out the boots that began in `range`, in order; says how many.
    pub async fn boots(
        &mut self,
        range: Range<Timestamp>,
        mut each: impl FnMut(BootRow),
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        // Before every id that is a text.
        let mut after = (range.start.0, String::new());
        loop {
            let rows = sqlx::query(AssertSqlSafe(BOOTS.as_str()))
                .bind(after.0)
                .bind(&after.1)
                .bind(range.end.0)
                .bind(PAGE)
                .fetch_all(&mut self.raw)
                .await
                .map_err(|error| self.cannot(error))?;
            let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
            for row in &rows {
                let boot = BootRow::read(row).map_err(|error| self.cannot(error))?;
                after = (boot.started_at.0, boot.boot_id.clone());
                count += 1;
                each(boot);
            }
            if !full {
                return Ok(count);
            }
        }
    }

    pub async fn boot(&mut self, boot_id: &str) -> Result<Option<BootRow>, StoreError> {
        let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
        let statement = format!(
            "SELECT {}, detail FROM boot JOIN boot_detail USING (boot_id) WHERE boot_id = ?",
            names.join(", ")
        );
        let row = sqlx::query(AssertSqlSafe(statement))
            .bind(boot_id)
            .fetch_optional(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        row.map(|row| BootRow::read(&row))
            .transpose()
            .map_err(|error| self.cannot(error))
    }

    /// Counts the boots that began in `range`, without reading them.
    pub async fn tally(&mut self, range: Range<Timestamp>) -> Result<Vec<Tally>, StoreError> {
        type Counted = (String, String, Option<String>, Option<String>, i64);
        let rows: Vec<Counted> = sqlx::query_as(
            "SELECT vm_type, origin, outcome, failure, count(*) FROM boot
             WHERE started_at >= ? AND started_at < ? GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        )
        .bind(range.start.0)
        .bind(range.end.0)
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        Ok(rows
            .into_iter()
            .filter_map(|(vm_type, origin, outcome, failure, boots)| {
                Some(Tally {
                    vm_type: VmType::from_word(&vm_type)?,
                    origin: Origin::from_word(&origin)?,
                    outcome: outcome.as_deref().and_then(Outcome::from_word),
                    failure: failure.as_deref().and_then(Failure::from_word),
                    boots: u64::try_from(boots).unwrap_or(0),
                })
            })
            .collect())
    }

    /// The incidents that fired in `range`, in order.
    pub async fn incidents(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT value FROM incident WHERE fired_at >= ? AND fired_at < ? ORDER BY fired_at, key",
        )
        .bind(range.start.0)
        .bind(range.end.0)
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        let read: Result<Vec<IncidentRow>, sqlx::Error> =
            rows.iter().map(IncidentRow::read).collect();
        read.map_err(|error| self.cannot(error))
    }

    /// The messages that were queued in `range`, in order.
    pub async fn messages(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        sqlx::query_as("SELECT * FROM outbox WHERE created_at >= ? AND created_at < ? ORDER BY id")
            .bind(range.start.0)
            .bind(range.end.0)
            .fetch_all(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))
    }

    /// What operators did in `range`, in order.
    pub async fn operations(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<Vec<OperationRow>, StoreError> {
        sqlx::query_as("SELECT * FROM operation WHERE at >= ? AND at < ? ORDER BY id")
            .bind(range.start.0)
            .bind(range.end.0)
            .fetch_all(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))
    }

    /// The newest boots that fit, newest first.
    pub async fn newest(&mut self, wanted: &BootFilter) -> Result<Vec<BootRow>, StoreError> {
        let word = |word: Option<&'static str>| word;
        let rows = sqlx::query(AssertSqlSafe(NEWEST.as_str()))
            .bind(wanted.from.map(|at| at.0))
            .bind(wanted.to.map(|at| at.0))
            .bind(word(wanted.vm_type.map(VmType::as_str)))
            .bind(word(wanted.outcome.map(Outcome::as_str)))
            .bind(word(wanted.failure.map(Failure::as_str)))
            .bind(word(wanted.origin.map(Origin::as_str)))
            .bind(wanted.image.as_deref())
            .bind(wanted.after.as_ref().map(|(at, _)| at.0))
            .bind(wanted.after.as_ref().map(|(_, id)| id.as_str()))
            .bind(i64::from(wanted.limit))
            .fetch_all(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        let read: Result<Vec<BootRow>, sqlx::Error> = rows.iter().map(BootRow::read).collect();
        read.map_err(|error| self.cannot(error))
    }

    /// Counts the boots that began in `range` by stretches of `width_ms` from its start, without reading them.
    pub async fn cells(
        &mut self,
        range: Range<Timestamp>,
        width_ms: i64,
    ) -> Result<Vec<(Timestamp, Tally)>, StoreError> {
        type Counted = (i64, String, String, Option<String>, Option<String>, i64);
        let width = width_ms.max(1);
        let rows: Vec<Counted> = sqlx::query_as(
            "SELECT (started_at - ?1) / ?3, vm_type, origin, outcome, failure, count(*) FROM boot
             WHERE started_at >= ?1 AND started_at < ?2 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5",
        )
        .bind(range.start.0)
        .bind(range.end.0)
        .bind(width)
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        let cells =
            rows.into_iter()
                .filter_map(|(number, vm_type, origin, outcome, failure, boots)| {
                    let tally = Tally {
                        vm_type: VmType::from_word(&vm_type)?,
                        origin: Origin::from_word(&origin)?,
                        outcome: outcome.as_deref().and_then(Outcome::from_word),
                        failure: failure.as_deref().and_then(Failure::from_word),
                        boots: u64::try_from(boots).unwrap_or(0),
                    };
                    Some((range.start.plus_ms(number * width), tally))
                });
        Ok(cells.collect())
    }

    /// The times to ready of the newest boots of `range`, at most so many.
    pub async fn ready_times(
        &mut self,
        range: Range<Timestamp>,
        vm_type: VmType,
        most: u32,
    ) -> Result<Vec<u32>, StoreError> {
        sqlx::query_scalar(
            "SELECT ready_ms FROM boot WHERE started_at >= ? AND started_at < ? AND vm_type = ? AND outcome = 'ready'
             AND ready_ms IS NOT NULL ORDER BY started_at DESC LIMIT ?",
        )
        .bind(range.start.0)
        .bind(range.end.0)
        .bind(vm_type.as_str())
        .bind(i64::from(most))
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))
    }

    /// The newest incidents that fired before that one, newest first.
    pub async fn newest_incidents(
        &mut self,
        before: Option<(Timestamp, &str)>,
        limit: u16,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT value FROM incident WHERE ?1 IS NULL OR (fired_at, key) < (?1, ?2)
             ORDER BY fired_at DESC, key DESC LIMIT ?3",
        )
        .bind(before.map(|(at, _)| at.0))
        .bind(before.map(|(_, key)| key))
        .bind(i64::from(limit))
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        let read: Result<Vec<IncidentRow>, sqlx::Error> =
            rows.iter().map(IncidentRow::read).collect();
        read.map_err(|error| self.cannot(error))
    }

    pub async fn incident(&mut self, key: &str) -> Result<Option<IncidentRow>, StoreError> {
        let row = sqlx::query("SELECT value FROM incident WHERE key = ?")
            .bind(key)
            .fetch_optional(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        row.map(|row| IncidentRow::read(&row))
            .transpose()
            .map_err(|error| self.cannot(error))
    }

    /// The newest messages, newest first: of one incident or all, with ids below `before`.
    pub async fn newest_messages(
        &mut self,
        incident: Option<&str>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        sqlx::query_as(
            "SELECT * FROM outbox WHERE (?1 IS NULL OR incident = ?1) AND (?2 IS NULL OR id < ?2)
             ORDER BY id DESC LIMIT ?3",
        )
        .bind(incident)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))
    }

    /// What operators did last, newest first: about one subject or all.
    pub async fn newest_operations(
        &mut self,
        subject: Option<&str>,
        limit: u16,
    ) -> Result<Vec<OperationRow>, StoreError> {
        sqlx::query_as(
            "SELECT * FROM operation WHERE ?1 IS NULL OR subject = ?1 ORDER BY id DESC LIMIT ?2",
        )
        .bind(subject)
        .bind(i64::from(limit))
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))
    }

    /// Reads every page of the file. A minute's work on a large one, and so no part of a start.
    pub async fn check(&mut self) -> Result<(), StoreError> {
        let said: String = sqlx::query_scalar("PRAGMA quick_check(1)")
            .fetch_one(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        match said.as_str() {
            "ok" => Ok(()),
            _ => Err(self.cannot(sqlx::Error::Protocol(said)).found_corrupt()),
        }
    }

    fn cannot(&self, error: sqlx::Error) -> StoreError {
        StoreError::new("read", &self.path, error)
    }
}
