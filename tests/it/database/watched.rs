//! A watch whose events a test waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bootwatch::config::{Database, Secret, Tls};
use bootwatch::controller::tables::{ControllerTables, Dialect};
use bootwatch::core::query::Table;
use bootwatch::core::row::{Row, RowKey};
use bootwatch::source::database::{DatabaseEvent, DatabaseOptions, Polled, Resume, run};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Generous, because the machine may be busy; what is waited for comes long before.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn database(url: &str, schema: &str) -> Database {
    Database {
        url: Secret::new(url),
        schema: schema.to_owned(),
        poll: Duration::from_secs(5),
        tls: Tls::Verify,
        ca_file: None,
    }
}

/// Options of an impatient watch.
pub(super) fn options(database: &Database) -> DatabaseOptions {
    let mut options = DatabaseOptions::new(database).unwrap();
    options.poll = Duration::from_millis(20);
    options.retry = (Duration::from_millis(20), Duration::from_millis(50));
    options.retry_refused = options.retry;
    options
}

pub(super) fn tables(options: &DatabaseOptions, schema: &str) -> ControllerTables {
    let dialect = if options.is_sqlite() {
        Dialect::Sqlite
    } else {
        Dialect::Postgres
    };
    ControllerTables::new(dialect, schema)
}

/// A running watch, and everything that it has told.
pub(super) struct Watched {
    events: mpsc::Receiver<DatabaseEvent>,
    _task: JoinSet<()>,
    /// Rows as last told.
    pub(super) rows: BTreeMap<RowKey, Row>,
    /// How often a row was told.
    pub(super) told: BTreeMap<RowKey, usize>,
    /// Rows that were told as history.
    pub(super) history: usize,
    /// What the watch last complained of.
    trouble: String,
}

impl Watched {
    pub(super) fn start(url: &str) -> Watched {
        Watched::of(options(&database(url, "public")), "public", None)
    }

    pub(super) fn of(options: DatabaseOptions, schema: &str, resume: Option<Resume>) -> Watched {
        let (events_tx, events) = mpsc::channel(4);
        let tables = Arc::new(tables(&options, schema));
        let mut task = JoinSet::new();
        task.spawn(run(
            options,
            tables,
            resume,
            events_tx,
            CancellationToken::new(),
        ));
        Watched {
            events,
            _task: task,
            rows: BTreeMap::new(),
            told: BTreeMap::new(),
            history: 0,
            trouble: String::new(),
        }
    }

    /// The next event, its rows taken in.
    pub(super) async fn next(&mut self) -> DatabaseEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.recv())
            .await
            .unwrap_or_else(|_| panic!("no event in time; last trouble: {}", self.trouble))
            .expect("the watch goes on");
        match &event {
            DatabaseEvent::Rows { rows, first } => {
                for row in rows {
                    self.rows.insert(row.key(), row.clone());
                    *self.told.entry(row.key()).or_default() += 1;
                    self.history += usize::from(*first);
                }
            }
            DatabaseEvent::Polled(polled) => {
                for key in &polled.gone {
                    self.rows.remove(key);
                }
            }
            DatabaseEvent::Down { kind, error, .. } => self.trouble = format!("{kind}: {error}"),
            _ => {}
        }
        event
    }

    /// Waits for an event that this says something about.
    pub(super) async fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&DatabaseEvent) -> Option<T>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(&event) {
                return found;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "it did not come in time"
            );
        }
    }

    pub(super) async fn polled(&mut self) -> Polled {
        self.until(|event| match event {
            DatabaseEvent::Polled(polled) => Some((**polled).clone()),
            _ => None,
        })
        .await
    }

    /// A look that began after this call: the one under way may have read before.
    pub(super) async fn fresh_look(&mut self) -> Polled {
        // Up to the channel's four and one in the making may be older.
        let mut polled = self.polled().await;
        for _ in 0..5 {
            polled = self.polled().await;
        }
        polled
    }

    pub(super) async fn down(&mut self) -> (&'static str, String) {
        self.until(|event| match event {
            DatabaseEvent::Down { kind, error, .. } => Some((*kind, error.clone())),
            _ => None,
        })
        .await
    }

    pub(super) fn count(&self, table: Table) -> usize {
        self.rows.keys().filter(|key| key.table() == table).count()
    }
}
