//! What pages ask for: the newest of each kind, a page at a time, and boots counted by stretches of time.

use std::ops::Range;
use std::sync::LazyLock;

use sqlx::AssertSqlSafe;

use super::{History, MAINTAINED, Tally};
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};
use crate::store::error::StoreError;
use crate::store::operation::OperationRow;
use crate::store::outbox::StoredMessage;
use crate::store::row::{BOOT_COLUMNS, BootRow, IncidentRow};
use crate::store::trial::{self, TrialPlace, TrialRow};

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

/// Boots of one stretch of time that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRow {
    /// When the stretch begins.
    pub from: Timestamp,
    /// They touched a maintenance.
    pub maintained: bool,
    pub tally: Tally,
}

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

impl History {
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
    ) -> Result<Vec<CellRow>, StoreError> {
        type Row = (
            i64,
            bool,
            String,
            String,
            Option<String>,
            Option<String>,
            i64,
        );
        let width = width_ms.max(1);
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT (started_at - ?1) / ?3, {MAINTAINED}, vm_type, origin, outcome, failure, count(*) FROM boot
             WHERE started_at >= ?1 AND started_at < ?2 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
        )))
        .bind(range.start.0)
        .bind(range.end.0)
        .bind(width)
        .fetch_all(&mut self.raw)
        .await
        .map_err(|error| self.cannot(error))?;
        let cells = rows.into_iter().filter_map(
            |(number, maintained, vm_type, origin, outcome, failure, boots)| {
                Some(CellRow {
                    from: range.start.plus_ms(number * width),
                    maintained,
                    tally: Tally::of((vm_type, origin, outcome, failure, boots))?,
                })
            },
        );
        Ok(cells.collect())
    }

    /// The times to ready of users' newest boots of `range`, at most so many.
    pub async fn ready_times(
        &mut self,
        range: Range<Timestamp>,
        vm_type: VmType,
        most: u32,
    ) -> Result<Vec<u32>, StoreError> {
        sqlx::query_scalar(
            "SELECT ready_ms FROM boot WHERE started_at >= ? AND started_at < ? AND vm_type = ? AND outcome = 'ready'
             AND origin = 'user' AND ready_ms IS NOT NULL ORDER BY started_at DESC LIMIT ?",
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

    /// How bootwatch's own runs went, newest first.
    pub async fn newest_trials(
        &mut self,
        place: Option<TrialPlace>,
        limit: u16,
    ) -> Result<Vec<TrialRow>, StoreError> {
        let rows: Vec<trial::Columns> = sqlx::query_as(trial::BEHIND)
            .bind(place.map_or(i64::MAX, |place| place.at.0))
            .bind(i64::from(limit))
            .bind(place.map_or(0, |place| i64::from(place.behind)))
            .fetch_all(&mut self.raw)
            .await
            .map_err(|error| self.cannot(error))?;
        Ok(rows.into_iter().map(trial::row).collect())
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
}
