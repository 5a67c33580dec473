//! What a start finds: where to go on, and what was not sent.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _};

use super::commit;
use super::connection::options;
use super::outbox::{self, Receipt, StoredMessage};
use super::trial::{self, TrialRow};
use crate::core::event::Timestamp;

/// What a store held when it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// By kind and key, as they were committed.
    pub state: BTreeMap<String, BTreeMap<String, String>>,
    /// Queued, or begun to be sent and not known to have arrived; in the order in which they were queued.
    pub unsent: Vec<StoredMessage>,
    /// What receivers said of the incidents of the latest messages, the newest last.
    pub receipts: Vec<Receipt>,
    /// Synthetic boots, oldest first: all that are open, and the newest that are not.
    pub trials: Vec<TrialRow>,
    /// When the store was begun, and as which host.
    pub created_at: Timestamp,
    pub host: String,
}

impl Saved {
    /// Whether this is a first start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    #[must_use]
    pub fn value(&self, kind: &str, key: &str) -> Option<&str> {
        self.state.get(kind)?.get(key).map(String::as_str)
    }

    /// Every key of a kind with its value.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let of_kind = self.state.get(kind).into_iter().flatten();
        of_kind.map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

pub(super) async fn read(raw: &mut SqliteConnection) -> Result<Saved, sqlx::Error> {
    let (created_at, host): (i64, String) = sqlx::query_as("SELECT created_at, host FROM meta")
        .fetch_one(&mut *raw)
        .await?;
    let mut state: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    // Not all of it beside what is made of it.
    let mut rows = sqlx::query("SELECT kind, key, value FROM state").fetch(&mut *raw);
    while let Some(row) = rows.try_next().await? {
        let kind: &str = row.try_get(0)?;
        if !state.contains_key(kind) {
            state.insert(kind.to_owned(), BTreeMap::new());
        }
        if let Some(of_kind) = state.get_mut(kind) {
            of_kind.insert(row.try_get(1)?, row.try_get(2)?);
        }
    }
    drop(rows);
    Ok(Saved {
        state,
        unsent: outbox::unsent(raw).await?,
        receipts: outbox::receipts(raw).await?,
        trials: trial::read(raw).await?,
        created_at: Timestamp(created_at),
        host,
    })
}

/// The same where nothing may be written: a batch that lies ahead is worked into copies of the tables, in memory. One that
/// fits in no table is left out: a page that is told again is better than a start that knows nothing.
async fn read_only(raw: &mut SqliteConnection) -> Result<Saved, sqlx::Error> {
    sqlx::raw_sql("PRAGMA temp_store = MEMORY")
        .execute(&mut *raw)
        .await?;
    if lies_ahead(raw).await? {
        sqlx::raw_sql("BEGIN").execute(&mut *raw).await?;
        let settled = settle_copies(raw).await;
        let end = match &settled {
            Ok(()) => "COMMIT",
            Err(error) => {
                tracing::warn!(%error, "what was committed last cannot be read");
                "ROLLBACK"
            }
        };
        sqlx::raw_sql(end).execute(&mut *raw).await?;
    }
    read(raw).await
}

async fn settle_copies(raw: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    copy_tables(raw).await?;
    sqlx::raw_sql(AssertSqlSafe(commit::view()))
        .execute(&mut *raw)
        .await?;
    sqlx::raw_sql(commit::SETTLE).execute(raw).await?;
    Ok(())
}

/// A store of an older version has no place for it.
async fn lies_ahead(raw: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ahead')",
    )
    .fetch_one(&mut *raw)
    .await?;
    match known {
        true => {
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM ahead)")
                .fetch_one(raw)
                .await
        }
        false => Ok(false),
    }
}

/// A temporary table hides the file's of the same name. History is not read here, so that of it there is only the shape.
async fn copy_tables(raw: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // Of each table, which rows.
    const COPIED: [(&str, Option<&str>); 9] = [
        ("ahead", Some("true")),
        ("meta", Some("true")),
        ("state", Some("true")),
        ("outbox", Some("state IN ('queued', 'sending')")),
        ("synthetic", Some("true")),
        ("operation", None),
        ("incident", None),
        ("boot", None),
        ("boot_detail", None),
    ];
    let shape = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?";
    for (table, rows) in COPIED {
        let made: String = sqlx::query_scalar(shape)
            .bind(table)
            .fetch_one(&mut *raw)
            .await?;
        let made = made.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1);
        let copied = match rows {
            None => String::new(),
            Some(rows) => {
                format!("INSERT INTO temp.{table} SELECT * FROM main.{table} WHERE {rows}")
            }
        };
        sqlx::raw_sql(AssertSqlSafe(format!("{made};\n{copied}")))
            .execute(&mut *raw)
            .await?;
    }
    Ok(())
}

/// Reads what it can of a damaged file, all of it or nothing, and leaves the file as it is: where to go on may be whole
/// where history is not.
pub(super) async fn salvage(path: &Path) -> Option<Saved> {
    let alone = !super::file::beside(path, "-wal").exists();
    let options = options(path).read_only(true).immutable(alone);
    let mut raw = options.connect().await.ok()?;
    let saved = read_only(&mut raw).await;
    raw.close().await.ok();
    saved
        .inspect_err(|error| tracing::debug!(%error, "nothing can be read of the damaged store"))
        .ok()
}

/// Reads what it can of a store that cannot be opened for writing: a start on a full or read-only disk goes on where
/// the last run ended.
///
/// In turn: with the log's index in memory, since the file for it may not fit on the disk; as a reader of files that
/// are all there; and of the database alone, where no log lies beside it.
pub(super) async fn read_in_distress(path: &Path) -> Option<Saved> {
    let alone = !super::file::beside(path, "-wal").exists();
    for tried in [
        Some(options(path).pragma("locking_mode", "EXCLUSIVE")),
        Some(options(path).read_only(true)),
        alone.then(|| options(path).read_only(true).immutable(true)),
    ] {
        let Some(Ok(mut raw)) = (match tried {
            Some(options) => Some(options.connect().await),
            None => None,
        }) else {
            continue;
        };
        let saved = read_only(&mut raw).await;
        raw.close().await.ok();
        match saved {
            Ok(saved) => return Some(saved),
            Err(error) => tracing::debug!(%error, "the store cannot be read this way"),
        }
    }
    None
}
