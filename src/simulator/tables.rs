//! The tables face: the controller's database, written in step with its log.
//!
//! The simulation yields each statement in the moment in which it is committed; this face gives them to a writer with
//! a connection of its own, one transaction each, as the controller's client does. At most [`WAITING`] statements are
//! on their way: then the player waits. Before each pause of the player all that was shown is committed, so that a
//! reader of the log never finds the tables behind.
//!
//! The simulator writes into no tables but those that it made: they bear its mark, in PostgreSQL as the tables' comment
//! and in SQLite within the text of their definition, so that it goes wherever a table goes and no further.
//!
//! PostgreSQL is the real thing; SQLite is for a demo without a server (WAL: readers do not disturb the writer), with
//! the row version in a column named as PostgreSQL's own.

mod op;
mod schema;
mod statement;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::player::Face;
use super::simulation::{Happened, Moment};
use crate::config::Secret;
use crate::core::event::Timestamp;

pub use op::{Cell, Key, Table, TableOp, Verb};
pub use schema::{Flavour, Schema};
use writer::Writer;

/// Statements on their way to the writer before the player has to wait.
pub const WAITING: usize = 256;

/// Why the tables cannot be written. No text shows the URL: a password may be in it.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    #[error("write the database as sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
    #[error("connect to the database {place}")]
    Connect { place: String, source: sqlx::Error },
    #[error("{place} already has a table {table}{whose}; give the simulator a database of its own")]
    Taken {
        place: String,
        table: &'static str,
        whose: &'static str,
    },
    #[error("take over the tables in {place}")]
    TakeOver { place: String, source: sqlx::Error },
    #[error("create the tables in {place}")]
    Create { place: String, source: sqlx::Error },
    #[error("write a row of {table}")]
    Write {
        table: &'static str,
        source: sqlx::Error,
    },
    #[error("update {key:?}: there is no such row")]
    NoRow { key: Key },
    #[error("start the tables' writer")]
    Thread(#[from] io::Error),
    #[error("the tables' writer ended")]
    Ended,
}

/// Where the tables are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(Secret),
}

impl Place {
    fn parse(url: &Secret) -> Result<Place, TablesError> {
        let text = url.expose();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return (!path.is_empty())
                .then(|| Place::Sqlite(PathBuf::from(path)))
                .ok_or(TablesError::Url);
        }
        let postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        postgres
            .then(|| Place::Postgres(url.clone()))
            .ok_or(TablesError::Url)
    }
}

/// What becomes of the tables of an earlier run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Earlier {
    Refused,
    /// What is open in them ends at that time.
    TakenOver(Timestamp),
}

/// The two tables in a database of the simulator's own.
#[derive(Debug)]
pub struct Tables {
    jobs: Option<SyncSender<Job>>,
    /// Rows of earlier runs.
    earlier: u64,
    writer: Option<JoinHandle<Result<(), TablesError>>>,
}

#[derive(Debug)]
enum Job {
    Write(TableOp),
    /// Everything before this is committed when the other end hears of it.
    Settle(SyncSender<()>),
}

impl Tables {
    /// Makes the tables, in an SQLite file (`sqlite:PATH`) or a PostgreSQL database (`postgres://…`).
    ///
    /// # Errors
    /// A database that cannot be reached, or that already has one of the tables: it may be somebody's real one.
    pub fn create(url: &Secret, schema: Schema) -> Result<Tables, TablesError> {
        Tables::begin(url, schema, Earlier::Refused)
    }

    /// Makes the tables, or takes over those that an earlier run of the simulator made: they bear its mark. What that
    /// run left open ends at `at`, as after a new start of the whole host: its VMs are destroyed, its sessions have
    /// timed out.
    ///
    /// # Errors
    /// A database that cannot be reached, or that has one of the tables without the mark, or with the columns of
    /// another schema.
    pub fn open(url: &Secret, schema: Schema, at: Timestamp) -> Result<Tables, TablesError> {
        Tables::begin(url, schema, Earlier::TakenOver(at))
    }

    fn begin(url: &Secret, schema: Schema, earlier: Earlier) -> Result<Tables, TablesError> {
        let place = Place::parse(url)?;
        let (jobs, waiting) = sync_channel(WAITING);
        let (made, ready) = sync_channel(1);
        let writer = thread::Builder::new()
            .name("tables".to_owned())
            .spawn(move || write(&place, schema, earlier, &waiting, &made))?;
        let mut tables = Tables {
            jobs: Some(jobs),
            earlier: 0,
            writer: Some(writer),
        };
        match ready.recv() {
            Ok(earlier) => {
                tables.earlier = earlier;
                Ok(tables)
            }
            Err(_) => Err(tables.ended()),
        }
    }

    /// How many VMs' rows earlier runs left: 0 in a new database, more with every run.
    #[must_use]
    pub fn earlier(&self) -> u64 {
        self.earlier
    }

    /// Gives the writer a statement, and waits while too many are on their way.
    ///
    /// # Errors
    /// Whatever ended the writer.
    pub fn write(&mut self, op: TableOp) -> Result<(), TablesError> {
        self.send(Job::Write(op))
    }

    /// Waits until every statement is committed.
    ///
    /// # Errors
    /// Whatever ended the writer.
    pub fn settle(&mut self) -> Result<(), TablesError> {
        let (done, heard) = sync_channel(1);
        self.send(Job::Settle(done))?;
        heard.recv().map_err(|_| self.ended())
    }

    fn send(&mut self, job: Job) -> Result<(), TablesError> {
        let sent = match &self.jobs {
            Some(jobs) => jobs.send(job).is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(self.ended()) }
    }

    fn ended(&mut self) -> TablesError {
        self.jobs = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            _ => TablesError::Ended,
        }
    }
}

impl Face for Tables {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        match &moment.what {
            Happened::Written(op) => self.write(op.clone()).map_err(io::Error::other),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.settle().map_err(io::Error::other)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // Whoever wanted to know of an error has asked by `flush`.
            drop(writer.join());
        }
    }
}

/// The writer's thread, with a runtime of its own: the player is no task and may block.
fn write(
    place: &Place,
    schema: Schema,
    earlier: Earlier,
    jobs: &Receiver<Job>,
    made: &SyncSender<u64>,
) -> Result<(), TablesError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut writer, rows) = runtime.block_on(Writer::open(place, schema, earlier))?;
    if made.send(rows).is_err() {
        return Ok(());
    }
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write(op) => runtime.block_on(writer.write(&op))?,
            // Whoever no longer listens needs no answer.
            Job::Settle(done) => drop(done.send(())),
        }
    }
    runtime.block_on(writer.close());
    Ok(())
}
