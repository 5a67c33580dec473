//! Weekly reports that were made, and who got them.
//!
//! A connection of its own beside the writer's, opened for a moment: a report is made once a week, and waits for its
//! turn at the file like a writer does. A recipient gets a week once, whatever restarts and retries happen; a revision
//! is sent again only to those who got an earlier one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection as _, FromRow, Row};

use super::connection::options;
use super::error::StoreError;
use crate::core::event::Timestamp;

/// How long it waits for the writer: longer than any commit takes.
const BUSY: Duration = Duration::from_secs(10);

/// A report as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReport {
    pub zone: String,
    pub week: String,
    /// 1, and one more whenever it changed.
    pub revision: i64,
    pub made_at: Timestamp,
    /// What it says in a sentence, for lists.
    pub headline: String,
    pub html: String,
    pub markdown: String,
    pub json: String,
}

/// A report in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedReport {
    pub zone: String,
    pub week: String,
    pub revision: i64,
    pub made_at: Timestamp,
    pub headline: String,
}

impl<'r> FromRow<'r, SqliteRow> for ListedReport {
    fn from_row(row: &'r SqliteRow) -> Result<ListedReport, sqlx::Error> {
        Ok(ListedReport {
            zone: row.try_get("zone")?,
            week: row.try_get("week")?,
            revision: row.try_get("revision")?,
            made_at: Timestamp(row.try_get("made_at")?),
            headline: row.try_get("headline")?,
        })
    }
}

impl<'r> FromRow<'r, SqliteRow> for StoredReport {
    fn from_row(row: &'r SqliteRow) -> Result<StoredReport, sqlx::Error> {
        let ListedReport {
            zone,
            week,
            revision,
            made_at,
            headline,
        } = ListedReport::from_row(row)?;
        Ok(StoredReport {
            zone,
            week,
            revision,
            made_at,
            headline,
            html: row.try_get("html")?,
            markdown: row.try_get("markdown")?,
            json: row.try_get("json")?,
        })
    }
}

#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    raw: SqliteConnection,
}

impl Archive {
    /// Of a store that exists and is of this version.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub async fn open(path: &Path) -> Result<Archive, StoreError> {
        let raw = options(path).busy_timeout(BUSY).connect().await;
        Ok(Archive {
            path: path.to_owned(),
            raw: raw.map_err(|error| StoreError::new("open", path, error))?,
        })
    }

    /// What a kept report says, as JSON.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn kept(&mut self, zone: &str, week: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT json FROM report WHERE zone = ? AND week = ?")
            .bind(zone)
            .bind(week)
            .fetch_optional(&mut self.raw)
            .await
            .map_err(|error| StoreError::new("read", &self.path, error))
    }

    /// Keeps a report: a new one, or the next revision of one that says something else. Says which revision it is.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn keep(&mut self, report: &StoredReport) -> Result<i64, StoreError> {
        let kept = async {
            let known: Option<(i64, String)> =
                sqlx::query_as("SELECT revision, json FROM report WHERE zone = ? AND week = ?")
                    .bind(&report.zone)
                    .bind(&report.week)
                    .fetch_optional(&mut self.raw)
                    .await?;
            let revision = match known {
                Some((revision, json)) if json == report.json => return Ok(revision),
                Some((revision, _)) => revision + 1,
                None => 1,
            };
            sqlx::query(
                "INSERT INTO report (zone, week, revision, made_at, headline, html, markdown, json)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (zone, week) DO UPDATE SET revision = excluded.revision, made_at = excluded.made_at,
                     headline = excluded.headline, html = excluded.html, markdown = excluded.markdown, json = excluded.json",
            )
            .bind(&report.zone)
            .bind(&report.week)
            .bind(revision)
            .bind(report.made_at.0)
            .bind(&report.headline)
            .bind(&report.html)
            .bind(&report.markdown)
            .bind(&report.json)
            .execute(&mut self.raw)
            .await?;
            Ok::<i64, sqlx::Error>(revision)
        };
        kept.await
            .map_err(|error| StoreError::new("write", &self.path, error))
    }

    /// The revision that somebody got of a week.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn sent(
        &mut self,
        zone: &str,
        week: &str,
        recipient: &str,
    ) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(
            "SELECT revision FROM report_sent WHERE zone = ? AND week = ? AND recipient = ?",
        )
        .bind(zone)
        .bind(week)
        .bind(recipient)
        .fetch_optional(&mut self.raw)
        .await
        .map_err(|error| StoreError::new("read", &self.path, error))
    }

    /// Notes that somebody got it; on the disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn note_sent(
        &mut self,
        (zone, week): (&str, &str),
        recipient: &str,
        revision: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let noted = async {
            sqlx::query("PRAGMA synchronous = FULL")
                .execute(&mut self.raw)
                .await?;
            sqlx::query(
                "INSERT INTO report_sent (zone, week, recipient, revision, sent_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (zone, week, recipient) DO UPDATE SET revision = excluded.revision, sent_at = excluded.sent_at",
            )
            .bind(zone)
            .bind(week)
            .bind(recipient)
            .bind(revision)
            .bind(now.0)
            .execute(&mut self.raw)
            .await
        };
        noted
            .await
            .map(drop)
            .map_err(|error| StoreError::new("write", &self.path, error))
    }

    /// Closes the connection: what was written is in the file in any case.
    pub async fn close(self) {
        if let Err(error) = self.raw.close().await {
            tracing::debug!(%error, "a connection to the store did not close");
        }
    }
}
