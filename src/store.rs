//! What outlives the process: one SQLite file on the local disk.
//!
//! It holds where to go on (checkpoint, tracker, alerts: opaque texts by kind and key), the history of boots and
//! incidents, and the outbox. [`Store`] is the one writer and belongs to one task. What follows from a stretch of log is
//! one [`Batch`] and one transaction: after a crash either all of it happened or none, so that a log read from the saved
//! place leads to the same history, no second page and no lost one.
//!
//! What is promised:
//! - A commit that was answered with `Ok` outlives kill -9. One that queues messages outlives a power failure, too
//!   (`synchronous = FULL`, one fsync); the others may lose their last moments to one, together and in order, and the
//!   log has them still.
//! - A failed commit changed nothing, and the next one needs no hand: [`StoreError::kind`] says why.
//! - A damaged file is renamed, never overwritten: at a start, or by [`Store::renew`] when a commit or
//!   [`History::check`] finds it. A start reads what it needs and the newest rows, not the whole file.
//! - One process at a time, by a lock beside the file. Readers ([`History`], [`Fleet`]) have connections of their own.
//!
//! A commit waits for the disk, and for at most 200 ms for another program that holds the file, twice that where a batch
//! lies ahead of it; it never waits for the network.

mod archive;
mod commit;
mod connection;
mod error;
mod file;
mod fleet;
mod history;
mod line;
mod operation;
mod outbox;
mod row;
mod saved;
mod schema;
mod trial;
mod upkeep;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use commit::Written;
use connection::{Connection, Durability};
use file::Lock;

use crate::core::event::Timestamp;

pub use archive::{Archive, ListedReport, StoredReport};
pub use error::{Cause, Kind, OpenError, StoreError};
pub use file::{Kept, try_place};
pub use fleet::{
    Fleet, FleetError, FleetFigures, FleetFound, FleetHistory, FleetIncident, fleet_grants,
    try_fleet,
};
pub use history::{BootFilter, CellRow, History, Tally};
pub use operation::OperationRow;
pub use outbox::{Mark, MessageId, MessageState, NewMessage, Receipt, SHOWN, StoredMessage, Tried};
pub use row::{BootDetail, BootRow, IncidentRow};
pub use saved::Saved;
pub use schema::version;
pub use trial::{SKIPPED, TrialPlace, TrialRow};
pub use upkeep::Upkeep;

/// Where the store is and how long it remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub path: PathBuf,
    pub host: String,
    pub keep_boots: Duration,
    pub keep_incidents: Duration,
}

impl Settings {
    #[must_use]
    pub fn of(config: &crate::config::Store, host: &str) -> Settings {
        Settings {
            path: config.path.clone(),
            host: host.to_owned(),
            keep_boots: config.keep_boots,
            keep_incidents: config.keep_incidents,
        }
    }
}

/// What is committed together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Of these kinds of state nothing remains but what `state` sets.
    pub forgotten: Vec<&'static str>,
    pub state: Vec<StateChange>,
    pub boots: Vec<BootRow>,
    pub incidents: Vec<IncidentRow>,
    pub outbox: Vec<NewMessage>,
    pub marks: Vec<Mark>,
    pub operations: Vec<OperationRow>,
    pub trials: Vec<TrialRow>,
}

/// One value of the state, by kind and key: a new value, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub kind: &'static str,
    pub key: String,
    pub value: Option<String>,
}

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forgotten.is_empty()
            && self.state.is_empty()
            && self.boots.is_empty()
            && self.incidents.is_empty()
            && self.outbox.is_empty()
            && self.marks.is_empty()
            && self.operations.is_empty()
            && self.trials.is_empty()
    }

    /// A page's row is on the disk before the page leaves, what an operator did before it is answered, and what a
    /// synthetic boot sets out to do before it is done.
    fn durability(&self) -> Durability {
        match self.outbox.is_empty() && self.operations.is_empty() && self.trials.is_empty() {
            true => Durability::Process,
            false => Durability::Power,
        }
    }
}

/// What a commit gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The ids of the batch's messages, in their order.
    pub messages: Vec<MessageId>,
}

/// The one writer.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    connection: Connection,
    _lock: Lock,
    /// The last number given to a changed boot or incident.
    sequence: i64,
    last_message: MessageId,
    /// What these two become if a commit came about whose answer nobody waited for.
    given_up: Option<(i64, MessageId)>,
}

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub saved: Saved,
    /// Where a damaged file went that stood in its place. What is `saved` was read of that one, as far as it could be,
    /// and must be committed anew.
    pub set_aside: Option<PathBuf>,
    /// The copy that was kept of a store of an older version.
    pub copy: Option<PathBuf>,
}

/// A connection to a store that is of this version and can be read.
#[derive(Debug)]
struct Ready {
    connection: Connection,
    saved: Saved,
    sequence: i64,
    last_message: MessageId,
    copy: Option<PathBuf>,
}

impl Store {
    /// Opens the store, begins a new one where there is none, brings an older one up to date, and sets a damaged one
    /// aside.
    pub async fn open(settings: Settings, now: Timestamp) -> Result<Opened, OpenError> {
        let lock = match Lock::take(&settings.path) {
            Ok(lock) => lock,
            Err(error) => return Err(with_saved(error, &settings.path).await),
        };
        let (ready, set_aside) = open_or_set_aside(&settings, now).await?;
        Ok(Opened {
            store: Store {
                settings,
                connection: ready.connection,
                _lock: lock,
                sequence: ready.sequence,
                last_message: ready.last_message,
                given_up: None,
            },
            saved: ready.saved,
            set_aside,
            copy: ready.copy,
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.connection.path()
    }

    /// Writes all of a batch or, if it fails, nothing of it.
    ///
    /// Dropping the future is such a failure, except that what was handed to SQLite may still come about.
    pub async fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        if batch.is_empty() {
            return Ok(Committed::default());
        }
        // No number is given twice.
        if let Some(given) = self.given_up.take() {
            (self.sequence, self.last_message) = given;
        }
        let written = Written::of(batch, self.sequence, self.last_message);
        let first = self.last_message + 1;
        let last = self.last_message + i64::try_from(batch.outbox.len()).unwrap_or(0);
        let given = (written.sequence(), last);
        self.given_up = Some(given);
        let done = self
            .connection
            .write(batch.durability(), &written, &batch.marks)
            .await;
        self.given_up = None;
        done?;
        (self.sequence, self.last_message) = given;
        Ok(Committed {
            messages: (first..=self.last_message).collect(),
        })
    }

    /// Notes what became of a message. One that has ended is left as it is.
    pub async fn mark(&mut self, mark: Mark) -> Result<(), StoreError> {
        let batch = Batch {
            marks: vec![mark],
            ..Batch::default()
        };
        self.commit(&batch).await.map(|_| ())
    }

    /// Writes a batch to the tables that was only laid ahead of them: one with messages, when [`Store::commit`] has
    /// answered. It is as safe there, but seen by nobody. To be called when the messages have left; whatever is committed
    /// next does it, too.
    pub async fn settle(&mut self) -> Result<(), StoreError> {
        self.connection.settle().await
    }

    /// Messages that are queued, or of which a try has begun, in the order in which they were queued.
    pub async fn unsent(&mut self) -> Result<Vec<StoredMessage>, StoreError> {
        self.connection.settle().await?;
        let raw = self.connection.raw("read").await?;
        let unsent = outbox::unsent(raw).await;
        unsent.map_err(|error| StoreError::new("read", self.connection.path(), error))
    }

    /// One small step of keeping the file small: a few old rows go, and the log is carried over into the database. To
    /// be called when nothing waits, every minute or so, and again soon while it says that there is more.
    pub async fn upkeep(&mut self, now: Timestamp) -> Result<Upkeep, StoreError> {
        let keep = upkeep::Keep {
            boots: self.settings.keep_boots,
            incidents: self.settings.keep_incidents,
        };
        self.connection.is_in_place().await?;
        self.connection.settle().await?;
        let raw = self.connection.begin(Durability::Process).await?;
        let done = upkeep::prune(raw, keep, now).await;
        let done = self.connection.end(done).await?;
        let raw = self.connection.raw("write").await?;
        let tidied = upkeep::tidy(raw).await;
        tidied.map_err(|error| StoreError::new("write", self.connection.path(), error))?;
        Ok(done)
    }

    /// Sets the file aside, which was found to be damaged, and begins a new one: everything must be committed anew.
    /// Says where the old one is. If it fails, the next commit fails, too, and this may be tried again.
    pub async fn renew(&mut self, now: Timestamp) -> Result<PathBuf, OpenError> {
        let path = self.settings.path.clone();
        self.connection.close().await;
        let aside = set_aside(&path, now)?;
        let ready = open_at(&self.settings, now).await?;
        self.connection = ready.connection;
        self.sequence = 0;
        // Ids go on: whoever holds one of the old file must not mark another message with it.
        Ok(aside)
    }

    /// Carries the log over into the database and closes it. Dropping the store loses nothing either.
    pub async fn close(mut self) {
        if let Err(error) = self.connection.settle().await {
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::new(error)),
                "what was committed last is written to its tables by the next start"
            );
        }
        self.connection.close().await;
    }
}

async fn open_or_set_aside(
    settings: &Settings,
    now: Timestamp,
) -> Result<(Ready, Option<PathBuf>), OpenError> {
    let path = &settings.path;
    let mut aside = None;
    if file::is_torn_apart(path) {
        aside = Some(set_aside(path, now)?);
    }
    match open_at(settings, now).await {
        Ok(ready) => Ok((ready, aside)),
        Err(error) if error.is_passing() && error.kind() == Kind::Corrupt => {
            let saved = saved::salvage(path).await;
            let aside = set_aside(path, now)?;
            let mut ready = open_at(settings, now).await?;
            if let Some(saved) = saved {
                tracing::info!("where to go on could be read of the damaged store");
                // No id of the old file is used again.
                let last = saved.unsent.iter().map(|message| message.id).max();
                ready.last_message = ready.last_message.max(last.unwrap_or(0));
                ready.saved = saved;
            }
            Ok((ready, Some(aside)))
        }
        Err(error) => Err(with_saved(error, path).await),
    }
}

async fn open_at(settings: &Settings, now: Timestamp) -> Result<Ready, OpenError> {
    let path = &settings.path;
    file::prepare(path).map_err(|error| StoreError::new("open", path, error))?;
    let mut connection = Connection::open(path).await?;
    let opened = start(&mut connection, settings, now).await;
    match opened {
        Ok((saved, sequence, last_message, copy)) => Ok(Ready {
            connection,
            saved,
            sequence,
            last_message,
            copy,
        }),
        Err(error) => {
            connection.close().await;
            Err(error)
        }
    }
}

async fn start(
    connection: &mut Connection,
    settings: &Settings,
    now: Timestamp,
) -> Result<(Saved, i64, MessageId, Option<PathBuf>), OpenError> {
    let path = &settings.path;
    let raw = connection.raw("open").await?;
    let copy = schema::migrate(raw, path, &settings.host, now).await?;
    if let Err(error) = connection.settle_found().await {
        return Err(no_tables_of_ours(error).into());
    }
    let raw = connection.raw("open").await?;
    let read = async {
        let saved = saved::read(raw).await?;
        let sequence: i64 = sqlx::query_scalar("SELECT sequence FROM meta")
            .fetch_one(&mut *raw)
            .await?;
        let last_message = outbox::last_id(raw).await?;
        // The places where the next rows go can be read.
        for newest in [
            "SELECT max(changed) FROM boot",
            "SELECT max(started_at) FROM boot",
            "SELECT max(rowid) FROM boot_detail",
            "SELECT max(changed) FROM incident",
        ] {
            let _newest: Option<i64> = sqlx::query_scalar(newest).fetch_one(&mut *raw).await?;
        }
        Ok::<_, sqlx::Error>((saved, sequence, last_message))
    };
    match read.await {
        Ok((saved, sequence, last_message)) => Ok((saved, sequence, last_message, copy)),
        Err(error) => Err(no_tables_of_ours(StoreError::new("open", path, error)).into()),
    }
}

/// Tables of this version that do not answer are no tables of ours.
fn no_tables_of_ours(error: StoreError) -> StoreError {
    match error.kind() {
        Kind::Other => error.found_corrupt(),
        _ => error,
    }
}

fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let aside = file::set_aside(path, now);
    let aside = aside.map_err(|error| StoreError::new("set aside", path, error))?;
    tracing::error!(
        store = %path.display(),
        aside = %aside.display(),
        "the store is damaged; it was set aside and a new one begun"
    );
    Ok(aside)
}

/// A store that cannot be written now may still say where to go on.
async fn with_saved(error: OpenError, path: &Path) -> OpenError {
    match error {
        OpenError::Unusable { error, .. } => OpenError::Unusable {
            error,
            saved: saved::read_in_distress(path).await.map(Box::new),
        },
        refused => refused,
    }
}
