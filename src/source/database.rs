//! The controller's database as a source: what exists, looked at every few seconds, by a role that can only read.
//!
//! Rows have no time of change and no trigger, and a row's default time is its transaction's start: a cursor over it loses
//! what is committed late. So every look reads again what was created since shortly before the last look (by 15 minutes,
//! or twice the longest transaction that can be seen), and by its key every row that may still change; every hour the
//! whole window of 48 hours, whatever else is open, which columns there are by now, and whether this role sees anything at
//! all. A row's version tells what is new of it: what has not changed is not delivered.
//!
//! # What is promised
//!
//! - **Delivery**: a state that lasts longer than the time between two looks is delivered, at least once, in the order of
//!   (time of creation, key) within a look. What was shorter is never seen: rows tell states, the log tells transitions.
//! - **Absence**: a row that was known and is not there any more is told as gone, but never by a replica, and never by a
//!   role that suddenly sees nothing.
//! - **Harmless**: one connection; read-only transactions with limits of their own, set inside of each, so that a pooler
//!   in transaction mode may stand between; no statement has a name; nothing is listened to.
//! - **Back-pressure**: a full channel stops the looking, and no transaction is open while it does.
//! - **Deadlines**: connecting and every question end on this side, too. A look that gets no answer within ten seconds
//!   gives the connection up, which finds a connection whose other end is gone sooner than a keepalive would. One that is
//!   ended while nothing is asked is opened again before anything is told.

mod connection;
mod error;
mod examine;
mod known;
mod options;
mod round;
mod state;
mod written;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::core::event::Timestamp;
use crate::core::query::{Cells, Layout, Table, Tables};
use crate::core::row::{Row, RowKey};
use connection::Connection;
use known::{Known, Unreadable};
use round::Round;
use state::State;

pub use error::{DatabaseError, KINDS};
pub use examine::{Examination, Visible, examine};
pub use options::{DatabaseOptions, OptionsError};

/// What the watch delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseEvent {
    /// Rows that are new or have changed.
    Rows {
        rows: Vec<Row>,
        /// Part of the first look of a first start that sees their table: history.
        first: bool,
    },
    /// A look is complete: its rows were delivered before.
    Polled(Box<Polled>),
    /// The database answers; sent when that begins.
    Up,
    /// It does not; sent once for each kind of trouble. It is tried again.
    Down {
        /// One of [`KINDS`].
        kind: &'static str,
        /// A database that works says so.
        answered: bool,
        /// Safe to show.
        error: String,
    },
    /// This role sees nothing of a table, or much less than there is: row-level security hides rows without an error.
    Blind { table: Table, estimate: u64 },
    /// It sees the table's rows again.
    Sighted { table: Table },
    /// Another server answers, or the same one after a restart: everything is read again.
    ServerChanged,
}

/// A look that is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// The moment, by the database's clock, whose state was read; of a replica, what it has replayed.
    pub as_of: Timestamp,
    /// All rows created since then were read, not only those that could have changed.
    pub full_window: Option<Timestamp>,
    /// Rows that were known and are not there any more.
    pub gone: Vec<RowKey>,
    /// Rows that are read at every look because they may still change.
    pub open: usize,
    /// By how much the database's clock is ahead of this machine's.
    pub ahead_ms: i64,
    /// A replica answered: what it does not show may exist.
    pub replica: Option<Replica>,
    /// Rows without an id or a time, of all that were read since the whole window last was.
    pub unreadable: usize,
    /// Values of no known word, since the watch began.
    pub odd: u64,
    /// What was asked, and how long each took.
    pub took: Vec<(Query, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// How far it is behind, as far as it can know.
    pub lag: Option<Duration>,
}

/// What is asked at a look; the label `query`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// The clock, the server's identity, the longest transaction.
    State,
    /// Rows that may still change, by key.
    Open,
    /// What was created lately.
    Recent,
    /// The whole window.
    Window,
    /// Whether rows can be seen.
    Visibility,
}

impl Query {
    pub const ALL: [Query; 5] = [
        Query::State,
        Query::Open,
        Query::Recent,
        Query::Window,
        Query::Visibility,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Query::State => "state",
            Query::Open => "open",
            Query::Recent => "recent",
            Query::Window => "window",
            Query::Visibility => "visibility",
        }
    }
}

/// What an earlier run knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Rows that may have changed or vanished meanwhile.
    pub open: Vec<RowKey>,
}

/// Why looking stopped for now.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Failed(DatabaseError),
}

impl From<DatabaseError> for Ended {
    fn from(error: DatabaseError) -> Ended {
        Ended::Failed(error)
    }
}

/// Watches until `stop` is cancelled or the receiver is gone. Without `resume` this is a first start, whose first look is
/// history.
pub async fn run(
    options: DatabaseOptions,
    tables: Arc<dyn Tables>,
    resume: Option<Resume>,
    events: mpsc::Sender<DatabaseEvent>,
    stop: CancellationToken,
) {
    let watch = Watch {
        chance: Chance::new(),
        memory: Memory::new(resume),
        events,
        trouble: None,
        up: false,
        failures: 0,
        again: false,
        options,
        tables,
    };
    // Dropping the future closes the connection.
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = watch.run() => {}
    }
}

/// What the looks have in common.
struct Memory {
    known: Known,
    /// The last look's state.
    last: Option<State>,
    /// When the whole window is due.
    full_due: Option<Instant>,
    /// Tables whose rows no complete look has seen yet, and none of an earlier run.
    first: [bool; 2],
    blind: [bool; 2],
    /// The tables' columns as they were learnt last.
    columns: Vec<Cells>,
    unreadable: Unreadable,
    odd: u64,
}

impl Memory {
    fn new(resume: Option<Resume>) -> Memory {
        Memory {
            first: [resume.is_none(); 2],
            known: Known::new(&resume.unwrap_or_default().open),
            last: None,
            full_due: None,
            columns: Vec::new(),
            blind: [false; 2],
            unreadable: Unreadable::default(),
            odd: 0,
        }
    }

    fn is_window_due(&self) -> bool {
        self.full_due.is_none_or(|due| clock::monotonic() >= due)
    }

    /// Columns that are others than before, or come in another form: everything is read again.
    fn learnt(&mut self, mut columns: Vec<Cells>, layout: &dyn Layout) {
        columns.sort_unstable();
        if columns == self.columns {
            return;
        }
        self.columns = columns;
        self.full_due = None;
        self.known.forget_versions();
        self.known.spell(layout);
    }
}

struct Watch {
    options: DatabaseOptions,
    tables: Arc<dyn Tables>,
    events: mpsc::Sender<DatabaseEvent>,
    memory: Memory,
    chance: Chance,
    /// The trouble that was told.
    trouble: Option<(&'static str, String)>,
    up: bool,
    /// Tries in a row that failed.
    failures: u32,
    /// A connection broke, and the next one has brought no look yet.
    again: bool,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let Ended::Failed(error) = self.connected().await else {
                return;
            };
            // Whoever ends connections that rest (a server's limit, a pooler, a restart that is over) ends them between
            // two looks: that is no outage if the next connection serves.
            let broke = matches!(error, DatabaseError::Broken { .. });
            if broke && self.up && !std::mem::replace(&mut self.again, true) {
                continue;
            }
            let pause = self.pause(&error);
            if self.down(&error).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.events.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Connects and looks, again and again, until something fails.
    async fn connected(&mut self) -> Ended {
        match self.look_on().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn look_on(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut connection = Connection::open(&self.options).await?;
        let mut layout = self.learn(&mut connection).await?;
        loop {
            let started = clock::monotonic();
            let round = Round {
                connection: &mut connection,
                layout: &*layout,
                options: &self.options,
                memory: &mut self.memory,
                events: &self.events,
            };
            let polled = round.look().await?;
            self.again = false;
            self.failures = 0;
            self.trouble = None;
            if !std::mem::replace(&mut self.up, true) {
                self.send(DatabaseEvent::Up).await?;
            }
            self.send(DatabaseEvent::Polled(Box::new(polled))).await?;
            let next = self.next_look(started);
            tokio::select! {
                () = self.events.closed() => return Err(Ended::Unheard),
                () = tokio::time::sleep_until(next) => {}
            }
            // A connection may outlive a migration.
            if self.memory.is_window_due() {
                layout = self.learn(&mut connection).await?;
            }
        }
    }

    async fn learn(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Box<dyn Layout>, DatabaseError> {
        let (columns, layout) = learn(connection, &*self.tables).await?;
        self.memory.learnt(columns, &*layout);
        Ok(layout)
    }

    /// A look that took longer than the time between two is followed by a pause, not by the next at once.
    fn next_look(&mut self, started: Instant) -> Instant {
        let now = clock::monotonic();
        let mut next = started;
        while next <= now {
            next += self.options.poll.mul_f64(1.0 + self.chance.draw());
        }
        next
    }

    async fn down(&mut self, error: &DatabaseError) -> Result<(), Ended> {
        self.up = false;
        let told = (error.kind(), error.shown());
        // A login that is refused is told once, however its words change.
        let same = self.trouble.as_ref().is_some_and(|last| {
            last == &told || (last.0 == told.0 && matches!(error, DatabaseError::Refused { .. }))
        });
        if same {
            return Ok(());
        }
        self.trouble = Some(told.clone());
        let answered = error.is_answered();
        let (kind, error) = told;
        self.send(DatabaseEvent::Down {
            kind,
            answered,
            error,
        })
        .await
    }

    /// Full jitter, so that many sidecars do not come back at once: anywhere up to a bound that doubles.
    fn pause(&mut self, error: &DatabaseError) -> Duration {
        let (first, last) = match error {
            DatabaseError::Refused { .. } => self.options.retry_refused,
            _ => self.options.retry,
        };
        let bound = first.saturating_mul(1 << self.failures.min(16)).min(last);
        self.failures += 1;
        bound.mul_f64(self.chance.draw()).max(SHORTEST_PAUSE)
    }

    async fn send(&self, event: DatabaseEvent) -> Result<(), Ended> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Ended::Unheard)
    }
}

/// Chance may say zero, and a server that fails at once must not be called in a loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

async fn learn(
    connection: &mut Connection,
    tables: &dyn Tables,
) -> Result<(Vec<Cells>, Box<dyn Layout>), DatabaseError> {
    connection.begin().await?;
    let columns = connection.rows("read the columns", &tables.probe()).await?;
    connection.commit().await?;
    let layout = tables.layout(&columns).map_err(DatabaseError::Layout)?;
    Ok((columns, layout))
}

/// Chance for pauses: `SplitMix64` with a seed of the process. Nothing secret depends on it.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        use std::hash::{BuildHasher, RandomState};
        Chance(RandomState::new().hash_one(0u8))
    }

    /// A number of [0, 1).
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 32 bits fit a double exactly.
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests;
