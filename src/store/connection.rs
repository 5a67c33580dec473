//! The one connection that writes: opened anew when it may have gone bad, and never left inside a transaction.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor as _};

use super::commit::{self, Written};
use super::error::{Kind, StoreError};
use super::outbox::Mark;

/// Whoever else holds the file (a backup, somebody with a shell) is waited for so long: a page waits with it.
const BUSY: Duration = Duration::from_millis(200);

/// Of the file, once: it stays so. To say it again would write.
const BEGINNING: &str = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;";

/// Of the connection. The log is carried over by `Store::upkeep`, when nobody waits; the automatic limit (16 MiB) is for
/// a day when that cannot run. Pages of the file are the kernel's to cache: here are the few that every commit needs,
/// and for as long as a transaction lasts what it has changed, up to 4 MiB.
const SETTINGS: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -256; PRAGMA cache_spill = 1024; \
     PRAGMA wal_autocheckpoint = 4096; \
     PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
     PRAGMA cell_size_check = ON;";

/// What a commit outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// The process's end, by kill -9 or otherwise: the kernel has it.
    Process,
    /// The machine's: the disk has it.
    Power,
}

/// As a connection is left, so that a page's commit has nothing to set.
const AT_REST: Durability = Durability::Power;

impl Durability {
    fn setting(self) -> &'static str {
        match self {
            Durability::Process => "PRAGMA synchronous = NORMAL",
            Durability::Power => "PRAGMA synchronous = FULL",
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    path: PathBuf,
    /// Which file it is, by device and inode. Another one that takes its name lacks what was committed to it.
    file: Option<(u64, u64)>,
    /// Absent after a failure that may have left it bad, until it is asked for again.
    raw: Option<SqliteConnection>,
    /// As it is set; unknown while it is being set.
    durability: Option<Durability>,
    /// It has the view that batches are put into.
    has_view: bool,
    /// A batch may lie ahead of the tables: an earlier connection may have left one.
    has_ahead: bool,
    /// A transaction may be open: its future was dropped, or its end failed.
    in_doubt: bool,
}

impl Connection {
    pub(super) async fn open(path: &Path) -> Result<Connection, StoreError> {
        let mut connection = Connection {
            path: path.to_owned(),
            file: None,
            raw: None,
            durability: None,
            has_view: false,
            has_ahead: true,
            in_doubt: false,
        };
        connection.raw("open").await?;
        Ok(connection)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection itself, for reading; opened anew where need be.
    pub(super) async fn raw(
        &mut self,
        action: &'static str,
    ) -> Result<&mut SqliteConnection, StoreError> {
        let raw = match self.raw.take() {
            Some(raw) => raw,
            None => {
                // First: to open another file would carry the log that lies beside it over into that one.
                if self.file.is_some() {
                    self.find().await?;
                }
                let raw = establish(&self.path)
                    .await
                    .map_err(|error| StoreError::new(action, &self.path, error))?;
                // Not before: a layered file system copies a file when it is first opened to be written.
                self.find().await?;
                self.durability = None;
                self.has_view = false;
                self.has_ahead = true;
                self.in_doubt = false;
                raw
            }
        };
        Ok(self.raw.insert(raw))
    }

    /// The file that is written still has its name. SQLite does not ask: it would go on in a file that was removed, and all
    /// that is committed to it would be gone with the process.
    pub(super) async fn is_in_place(&mut self) -> Result<(), StoreError> {
        let found = self.find().await;
        if found.is_err() {
            self.close().await;
        }
        found
    }

    async fn find(&mut self) -> Result<(), StoreError> {
        match tokio::fs::metadata(&self.path).await {
            Ok(facts) => {
                let found = (facts.dev(), facts.ino());
                match *self.file.get_or_insert(found) == found {
                    true => Ok(()),
                    false => Err(StoreError::replaced(&self.path)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::gone(&self.path))
            }
            // Where it is cannot be looked at; what is open can be written all the same.
            Err(_) => Ok(()),
        }
    }

    /// The connection, outside of any transaction: one that may be open is undone.
    async fn free(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.raw("write").await?;
        if let Some(raw) = self.raw.as_mut().filter(|_| self.in_doubt) {
            roll_back(raw).await;
            self.in_doubt = false;
        }
        self.raw("write").await
    }

    pub(super) async fn begin(
        &mut self,
        durability: Durability,
    ) -> Result<&mut SqliteConnection, StoreError> {
        self.free().await?;
        if let Err(error) = self.try_begin(durability).await {
            return Err(self.failed(error).await);
        }
        self.raw("write").await
    }

    async fn try_begin(&mut self, durability: Durability) -> Result<(), sqlx::Error> {
        let Some(raw) = &mut self.raw else {
            return Ok(());
        };
        if self.durability != Some(durability) {
            self.durability = None;
            sqlx::query(durability.setting()).execute(&mut *raw).await?;
            self.durability = Some(durability);
        }
        self.in_doubt = true;
        sqlx::query("BEGIN IMMEDIATE").execute(raw).await?;
        Ok(())
    }

    /// A whole transaction: what is written, then the marks. Of a small batch without marks it is one statement, in one
    /// trip to the connection's thread. What lies ahead goes before it.
    pub(super) async fn write(
        &mut self,
        durability: Durability,
        written: &Written<'_>,
        marks: &[Mark],
    ) -> Result<(), StoreError> {
        self.settle().await?;
        let mut ahead = written.ahead().peekable();
        let (statement, arguments) = written.last();
        if !marks.is_empty() || ahead.peek().is_some() {
            let raw = self.begin(durability).await?;
            let done = async {
                for (statements, arguments) in ahead {
                    sqlx::query_with(statements, arguments)
                        .execute(&mut *raw)
                        .await?;
                }
                sqlx::query_with(statement, arguments)
                    .execute(&mut *raw)
                    .await?;
                for mark in marks {
                    mark.write(raw).await?;
                }
                Ok(())
            };
            let done = done.await;
            return self.end(done).await;
        }
        // Said first: who gives up waiting does not know what comes about.
        self.has_ahead = written.may_lie_ahead();
        self.alone(durability, statement, arguments).await
    }

    /// Writes a batch that lies ahead to the tables. One that was laid there outlives a power failure; so does what it
    /// becomes, for the log keeps both in their order.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        self.give_view().await?;
        if self.has_ahead {
            let nothing = SqliteArguments::default();
            self.alone(Durability::Process, commit::SETTLE, nothing)
                .await?;
            self.has_ahead = false;
        }
        Ok(())
    }

    /// A statement without a transaction around it is one.
    async fn alone(
        &mut self,
        durability: Durability,
        statement: &str,
        arguments: SqliteArguments,
    ) -> Result<(), StoreError> {
        self.free().await?;
        let set = durability.setting();
        let as_it_rests = durability == AT_REST && self.durability == Some(AT_REST);
        let statements = match durability {
            _ if as_it_rests => statement.to_owned(),
            AT_REST => format!("{set};\n{statement}"),
            Durability::Process => format!("{set};\n{statement};\n{}", AT_REST.setting()),
        };
        self.durability = None;
        let raw = self.raw("write").await?;
        let query = sqlx::query_with(AssertSqlSafe(statements), arguments);
        let done = match as_it_rests {
            // What it did is known; that nothing follows is told by another wake, which is not waited for.
            true => raw.execute_many(query).try_next().await.map(|_| ()),
            false => query.execute(raw).await.map(|_| ()),
        };
        match done {
            Ok(()) => {
                self.durability = Some(AT_REST);
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// The same at a start, where mostly nothing lies ahead.
    pub(super) async fn settle_found(&mut self) -> Result<(), StoreError> {
        let raw = self.raw("open").await?;
        let found = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM ahead)")
            .fetch_one(raw)
            .await;
        self.has_ahead = found.map_err(|error| StoreError::new("open", &self.path, error))?;
        match self.has_ahead {
            true => self.settle().await,
            false => Ok(()),
        }
    }

    /// Makes the view that batches are put into, once a connection.
    async fn give_view(&mut self) -> Result<(), StoreError> {
        // Opened anew, it has none.
        self.raw("write").await?;
        if self.has_view {
            return Ok(());
        }
        // What is made within a transaction that is undone later would be gone with it.
        let raw = self.free().await?;
        match sqlx::raw_sql(AssertSqlSafe(commit::view()))
            .execute(raw)
            .await
        {
            Ok(_) => {
                self.has_view = true;
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Commits what was done since [`Connection::begin`], or undoes it.
    pub(super) async fn end<T>(&mut self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        let done = match (done, &mut self.raw) {
            (Ok(value), Some(raw)) => {
                let statements = format!("COMMIT;\n{}", AT_REST.setting());
                let ended = sqlx::query(AssertSqlSafe(statements)).execute(raw).await;
                ended.map(|_| value)
            }
            (done, _) => done,
        };
        match done {
            Ok(value) => {
                self.in_doubt = false;
                self.durability = Some(AT_REST);
                Ok(value)
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// After a full disk or a held lock the connection is as good as before; after anything else it is opened anew.
    async fn failed(&mut self, error: sqlx::Error) -> StoreError {
        if let Some(raw) = &mut self.raw {
            roll_back(raw).await;
        }
        self.in_doubt = false;
        let error = StoreError::new("write", &self.path, error);
        if !matches!(error.kind(), Kind::Full | Kind::Locked) {
            self.close().await;
        }
        error
    }

    /// What lies beside the file is carried over to it first where it has lost its name: SQLite leaves the log there, and
    /// whoever opens what has the name by then would take the log for that one's.
    pub(super) async fn close(&mut self) {
        if self.raw.is_some()
            && self.find().await.is_err()
            && let Some(raw) = &mut self.raw
            && let Err(error) = sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(raw)
                .await
        {
            tracing::warn!(%error, "the log beside the store's path is of a file that has lost its name");
        }
        if let Some(raw) = self.raw.take()
            && let Err(error) = raw.close().await
        {
            tracing::debug!(%error, "the store's connection did not close cleanly");
        }
    }
}

/// SQLite undoes some failed transactions by itself; then there is nothing left to undo.
async fn roll_back(raw: &mut SqliteConnection) {
    if let Err(error) = sqlx::query("ROLLBACK").execute(raw).await {
        tracing::trace!(%error, "no transaction was open");
    }
}

async fn establish(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut raw = options(path).connect().await?;
    match set_up(&mut raw).await {
        Ok(()) => Ok(raw),
        Err(error) => {
            // Its file may be renamed next, and a connection that closes later would follow the old name.
            raw.close().await.ok();
            Err(error)
        }
    }
}

async fn set_up(raw: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SETTINGS).execute(&mut *raw).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *raw)
        .await?;
    if mode != "wal" {
        sqlx::raw_sql(BEGINNING).execute(raw).await?;
    }
    Ok(())
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .thread_name(|_| "store".to_owned())
        .disable_statement_logging()
}
