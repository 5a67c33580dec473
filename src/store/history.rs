//! What happened, for reports and pages: read through a connection of its own that can write nothing, a page at a time,
//! so that neither memory nor the log grows with the answer.

mod recent;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Row};

use super::archive::{ListedReport, StoredReport};
use super::connection::options;
use super::error::StoreError;
use super::line::Lines;
use super::operation::OperationRow;
use super::outbox::StoredMessage;
use super::row::{BOOT_COLUMNS, BootRow, IncidentRow};
use super::trial;
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};
use crate::core::report::BootFact;

pub use recent::{BootFilter, CellRow};

/// Rows in memory at a time.
const PAGE: i64 = 1_000;
/// A part of a range that is one text: this bounds what is in memory.
const SLICE_MS: i64 = 900_000;
/// Texts that wait to be counted.
const SLICES: usize = 2;

static BOOTS: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<&str> = BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect();
    format!(
        "SELECT {}, detail FROM boot JOIN boot_detail USING (boot_id)
         WHERE (started_at, boot_id) > (?, ?) AND started_at < ? ORDER BY started_at, boot_id LIMIT ?",
        names.join(", ")
    )
});

/// A range's lines, a slice of it as one text. Rows by themselves would each be handed over from the connection's thread.
const FACTS: &str = "WITH RECURSIVE slice (since) AS (VALUES (?1) UNION ALL SELECT since + ?3 FROM slice WHERE since + ?3 < ?2)
    SELECT (SELECT group_concat(fact, char(10)) FROM boot_fact
            WHERE started_at >= since AND started_at < min(since + ?3, ?2){others})
    FROM slice";
const MAINTAINED: &str =
    "boot_id IN (SELECT boot_id FROM boot_detail WHERE detail ->> 'maintenance')";

/// Boots that ended alike, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub vm_type: VmType,
    pub origin: Origin,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub boots: u64,
}

/// A row of `vm_type, origin, outcome, failure, count(*)`.
pub(super) type Counted = (String, String, Option<String>, Option<String>, i64);

impl Tally {
    /// `None`: its words are not known to this version.
    pub(super) fn of((vm_type, origin, outcome, failure, boots): Counted) -> Option<Tally> {
        Some(Tally {
            vm_type: VmType::from_word(&vm_type)?,
            origin: Origin::from_word(&origin)?,
            outcome: outcome.as_deref().and_then(Outcome::from_word),
            failure: failure.as_deref().and_then(Failure::from_word),
            boots: u64::try_from(boots).unwrap_or(0),
        })
    }
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

    /// Counts the boots that began in `range` and touched no maintenance, without reading them.
    pub async fn tally(&mut self, range: Range<Timestamp>) -> Result<Vec<Tally>, StoreError> {
        let rows: Vec<Counted> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT vm_type, origin, outcome, failure, count(*) FROM boot
             WHERE started_at >= ? AND started_at < ? AND NOT {MAINTAINED} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        )))
        .bind(range.start.0)
        .bind(range.end.0)
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        Ok(rows.into_iter().filter_map(Tally::of).collect())
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

    /// How bootwatch's own runs that began in `range` ended, or why they were skipped, by word.
    pub async fn synthetic_runs(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(trial::TALLY)
            .bind(range.start.0)
            .bind(range.end.0)
            .fetch_all(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        let counted = |(word, runs): (String, i64)| (word, u64::try_from(runs).unwrap_or(0));
        Ok(rows.into_iter().map(counted).collect())
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

    /// The boots that began in `range`, with what a report counts and nothing else: a fraction of what
    /// [`History::boots`] reads. In order, but that those of a maintenance come last.
    ///
    /// A connection of their own reads them, a quarter of an hour as one text, and goes on while those before are counted.
    pub async fn facts(
        &mut self,
        range: Range<Timestamp>,
        mut each: impl FnMut(&BootFact<'_>),
    ) -> Result<u64, StoreError> {
        let maintained: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT group_concat(fact, char(10)) FROM boot WHERE started_at >= ? AND started_at < ? AND {MAINTAINED}"
        )))
        .bind(range.start.0)
        .bind(range.end.0)
        .fetch_one(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        let others = match maintained {
            Some(_) => format!(" AND NOT {MAINTAINED}"),
            None => String::new(),
        };
        let options = options(&self.path).row_buffer_size(SLICES).read_only(true);
        let reader = options.connect().await;
        let mut reader = reader.map_err(|error| self.cannot(error))?;
        let mut lines = Lines::default();
        let counted = async {
            let mut count = 0;
            let mut slices = sqlx::query(AssertSqlSafe(FACTS.replace("{others}", &others)))
                .bind(range.start.0)
                .bind(range.end.0)
                .bind(SLICE_MS)
                .fetch(&mut reader);
            while let Some(slice) = slices.try_next().await? {
                if let Some(text) = slice.try_get(0)? {
                    count += lines.read(text, false, &mut each)?;
                }
            }
            Ok(count)
        };
        let counted = counted.await;
        reader.close().await.ok();
        let count: u64 = counted.map_err(|error| self.cannot(error))?;
        let maintained = maintained.unwrap_or_default();
        match lines.read(&maintained, true, &mut each) {
            Ok(more) => Ok(count + more),
            Err(error) => Err(self.cannot(error.into())),
        }
    }

    /// The stretches in which the log was read whole.
    pub async fn seen(&mut self) -> Result<Vec<Range<Timestamp>>, StoreError> {
        self.stretches("seen").await
    }

    /// Those of another kind: `history`, which the sidecar did not watch, or `silent`, in which the controller wrote
    /// nothing.
    pub async fn stretches(&mut self, kind: &str) -> Result<Vec<Range<Timestamp>>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT key, value FROM state WHERE kind = ?")
                .bind(kind)
                .fetch_all(&mut self.raw)
                .await
                .map_err(|error| self.cannot(error))?;
        let moment = |text: &str| text.parse().ok().map(Timestamp);
        Ok(rows
            .iter()
            .filter_map(|(since, until)| Some(moment(since)?..moment(until)?))
            .collect())
    }

    /// The reports that were made, the newest week first.
    pub async fn reports(&mut self) -> Result<Vec<ListedReport>, StoreError> {
        sqlx::query_as(
            "SELECT zone, week, revision, made_at, headline FROM report ORDER BY week DESC, zone",
        )
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))
    }

    /// One week's report of one zone, or of all the one made last.
    pub async fn report(
        &mut self,
        week: &str,
        zone: Option<&str>,
    ) -> Result<Option<StoredReport>, StoreError> {
        sqlx::query_as(
            "SELECT * FROM report WHERE week = ? AND zone = coalesce(?, zone) ORDER BY made_at DESC LIMIT 1",
        )
            .bind(week)
            .bind(zone)
            .fetch_optional(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))
    }

    /// Reads every page of the file. A minute's work on a large one, and so no part of a start.
    pub async fn check(&mut self) -> Result<(), StoreError> {
        // What is read is too much to keep, and the kernel has what is asked for again.
        sqlx::raw_sql("PRAGMA cache_size = -64")
            .execute(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
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
