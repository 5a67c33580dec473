//! The fleet's history: boots and incidents, copied to one PostgreSQL, after the fact and in nobody's way.
//!
//! Every changed row has a number, counted upwards. A step copies the next few hundred rows behind the cursor, and moves
//! the cursor in the same transaction, so that the cursor is in PostgreSQL with the rows it stands for: whichever of the
//! two databases is restored from a backup, the copy is right again by itself. Rows are upserted by host and id, so that
//! a repetition changes nothing. A cursor belongs to one file (`store_id`); a new file is copied from its beginning.
//!
//! An outage of days is caught up batch by batch. A row that PostgreSQL refuses for what it holds is skipped, logged and
//! counted: it must not hold up the others. Rows that the local retention pruned stay in the fleet's history.
//!
//! What a week's report needs besides (what was seen, who was told, how synthetic runs ended) is little, and is copied
//! whole whenever it changed ([`aside`]).

mod aside;
mod error;
mod grants;
mod reader;
mod remote;
mod trial;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::connection::options;
use super::error::StoreError;
use super::row::{BOOT_COLUMNS, INCIDENT_COLUMNS};
use crate::config::{Secret, is_near, says_mode};

pub use error::FleetError;
pub use grants::script as fleet_grants;
pub use reader::{FleetHistory, FleetIncident};
pub use trial::{FleetFound, try_fleet};

/// Rows of one step.
const ROWS: i64 = 500;
/// New rows are looked for so often once all are copied.
const PAUSE: Duration = Duration::from_secs(15);
/// A step that takes longer has lost its database.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How the copying goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetFigures {
    /// Whether the last step went well.
    pub up: bool,
    /// Changed rows that are not copied yet; counted no further than to 100,000 of a kind.
    pub behind: u64,
    pub copied: u64,
    /// Rows that PostgreSQL refused for what they hold.
    pub skipped: u64,
}

/// One kind of row on its way.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Boots,
    Incidents,
}

#[derive(Debug)]
struct Rows {
    /// A JSON array.
    text: String,
    count: u64,
    last: i64,
}

/// A reader of the store's file, and which file that is: another one stands in its place once it was set aside.
#[derive(Debug)]
struct Local {
    raw: SqliteConnection,
    file: (u64, u64),
}

/// The copier of one store.
#[derive(Debug)]
pub struct Fleet {
    path: PathBuf,
    host: String,
    options: PgConnectOptions,
    local: Option<Local>,
    remote: Option<PgConnection>,
    /// The rows of the next step; one by one while the bad one of a batch is looked for.
    rows: i64,
    figures: FleetFigures,
    aside: aside::Asides,
    /// Where each kind's cursor was left.
    left: [i64; 2],
}

impl Fleet {
    /// `path` is the store's file, `host` this sidecar's.
    pub fn new(url: &Secret, path: &Path, host: &str) -> Result<Fleet, FleetError> {
        Ok(Fleet {
            path: path.to_owned(),
            host: host.to_owned(),
            options: remote_options(url)?,
            local: None,
            remote: None,
            rows: ROWS,
            figures: FleetFigures::default(),
            aside: aside::Asides::default(),
            left: [0; 2],
        })
    }

    #[must_use]
    pub fn figures(&self) -> FleetFigures {
        self.figures
    }

    /// Copies until it is stopped. A failure is waited out, longer each time and never quite as long as another
    /// sidecar waits.
    pub async fn run(mut self, figures: watch::Sender<FleetFigures>, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                step = self.step() => match step {
                    Ok(true) => Duration::ZERO,
                    Ok(false) => PAUSE,
                    Err(error) => {
                        failures += 1;
                        log(&error, failures);
                        wait_after(failures, chance())
                    }
                },
            };
            if self.figures.up && failures > 0 {
                failures = 0;
                tracing::info!("history is copied to the fleet's database again");
            }
            figures.send_replace(self.figures);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Copies one batch of each kind; says whether there is more.
    pub async fn step(&mut self) -> Result<bool, FleetError> {
        let step = async {
            match (self.try_step().await, &mut self.remote) {
                (Err(error), Some(remote)) => Err(remote::named(remote, error).await),
                (done, _) => done,
            }
        };
        let done = match tokio::time::timeout(PATIENCE, step).await {
            Ok(done) => done,
            Err(_) => Err(FleetError::Silent(PATIENCE)),
        };
        self.figures.up = done.is_ok();
        if done.is_err() {
            // What is in doubt is begun anew: both ends close with their connection.
            self.remote = None;
            self.local = None;
            self.aside = aside::Asides::default();
        }
        done
    }

    async fn try_step(&mut self) -> Result<bool, FleetError> {
        self.connect().await?;
        let (Some(Local { raw: local, .. }), Some(remote)) = (&mut self.local, &mut self.remote)
        else {
            return Ok(false);
        };
        let cannot = |error| StoreError::new("read", &self.path, error);
        let (store_id, sequence): (String, i64) =
            sqlx::query_as("SELECT store_id, sequence FROM meta")
                .fetch_one(&mut *local)
                .await
                .map_err(cannot)?;
        let mut more = false;
        let mut behind = 0;
        for kind in [Kind::Boots, Kind::Incidents] {
            let cursor = remote::cursor(remote, kind, &self.host, &store_id)
                .await
                .map_err(FleetError::Copy)?;
            // Behind a pooler that holds the connection, the database was put back, or one that lagged took its place.
            if cursor < self.left[kind as usize] {
                self.aside = aside::Asides::default();
            }
            self.left[kind as usize] = cursor;
            // A cursor beyond the last number is that of a later state of this file, which was put back since.
            let cursor = if cursor > sequence { 0 } else { cursor };
            let Some(rows) = changed(local, kind, cursor, self.rows)
                .await
                .map_err(cannot)?
            else {
                continue;
            };
            let cursor = remote::Cursor {
                host: &self.host,
                store_id: &store_id,
                at: rows.last,
            };
            match remote::copy(remote, kind, &rows.text, cursor).await {
                Ok(()) => self.figures.copied += rows.count,
                Err(error) if is_about_a_row(&error) && rows.count > 1 => {
                    self.rows = 1;
                    more = true;
                    continue;
                }
                Err(error) if is_about_a_row(&error) => {
                    tracing::error!(%error, ?kind, "the fleet's database refuses a row; it is skipped");
                    remote::copy(remote, kind, "[]", cursor)
                        .await
                        .map_err(FleetError::Copy)?;
                    self.figures.skipped += 1;
                    self.rows = ROWS;
                }
                Err(error) => return Err(FleetError::Copy(error)),
            }
            self.left[kind as usize] = rows.last;
            let left = waiting(local, kind, rows.last).await.map_err(cannot)?;
            if left == 0 {
                self.rows = ROWS;
            }
            more |= left > 0;
            behind += left;
        }
        if !more {
            self.aside
                .copy(local, remote, &self.host, &self.path)
                .await?;
        }
        self.figures.behind = behind;
        Ok(more)
    }

    async fn connect(&mut self) -> Result<(), FleetError> {
        let cannot = |error| StoreError::new("read", &self.path, error);
        let facts = std::fs::metadata(&self.path)
            .map_err(|error| StoreError::new("read", &self.path, error))?;
        let file = (facts.dev(), facts.ino());
        if let Some(old) = self.local.take_if(|local| local.file != file) {
            old.raw.close().await.ok();
            self.aside = aside::Asides::default();
        }
        if self.local.is_none() {
            let raw = options(&self.path).read_only(true).connect().await;
            let raw = raw.map_err(cannot)?;
            self.local = Some(Local { raw, file });
        }
        if self.remote.is_none() {
            let mut remote = remote::connect(&self.options).await?;
            remote::prepare(&mut remote).await?;
            self.remote = Some(remote);
        }
        Ok(())
    }

    /// Ends both connections in order.
    pub async fn close(self) {
        if let Some(local) = self.local {
            local.raw.close().await.ok();
        }
        if let Some(remote) = self.remote {
            remote.close().await.ok();
        }
    }
}

/// As the URL says. Where it says nothing of TLS, a server that is not on this machine must prove who it is.
fn remote_options(url: &Secret) -> Result<PgConnectOptions, FleetError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(FleetError::Url)?;
    let says = says_mode(url.expose());
    let options = match (says, is_near(&options)) {
        (false, false) => options.ssl_mode(PgSslMode::VerifyFull),
        _ => options,
    };
    // A pooler may give each transaction another server, and refuses settings that it does not know. So all is asked
    // within transactions, and by statements without a name, which without a cache would pile up at the server, too.
    Ok(options
        .application_name("bootwatch")
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging())
}

/// Whether one row's content is at fault: data exceptions and broken constraints. Another try would not help.
fn is_about_a_row(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// The next rows behind the cursor, as the JSON objects that `remote::copy` takes.
async fn changed(
    local: &mut SqliteConnection,
    kind: Kind,
    cursor: i64,
    rows: i64,
) -> Result<Option<Rows>, sqlx::Error> {
    let names: Vec<&str> = match kind {
        Kind::Boots => BOOT_COLUMNS.iter().map(|(name, _)| name.as_str()).collect(),
        Kind::Incidents => INCIDENT_COLUMNS.iter().map(|(name, _)| *name).collect(),
    };
    let (from, whole) = match kind {
        Kind::Boots => ("boot JOIN boot_detail USING (boot_id)", "detail"),
        Kind::Incidents => ("incident", "value"),
    };
    let pairs: Vec<String> = names
        .iter()
        .map(|name| format!("'{name}', {name}"))
        .collect();
    let statement = format!(
        "SELECT json_group_array(json_object({}, 'whole', json({whole}))), count(*), max(changed)
         FROM (SELECT * FROM {from} WHERE changed > ? ORDER BY changed LIMIT ?)",
        pairs.join(", ")
    );
    let (text, count, last): (String, i64, Option<i64>) = sqlx::query_as(AssertSqlSafe(statement))
        .bind(cursor)
        .bind(rows)
        .fetch_one(local)
        .await?;
    Ok(last.map(|last| Rows {
        text,
        count: u64::try_from(count).unwrap_or(0),
        last,
    }))
}

async fn waiting(
    local: &mut SqliteConnection,
    kind: Kind,
    cursor: i64,
) -> Result<u64, sqlx::Error> {
    let statement = match kind {
        Kind::Boots => "SELECT count(*) FROM (SELECT 1 FROM boot WHERE changed > ? LIMIT 100000)",
        Kind::Incidents => {
            "SELECT count(*) FROM (SELECT 1 FROM incident WHERE changed > ? LIMIT 100000)"
        }
    };
    let count: i64 = sqlx::query_scalar(statement)
        .bind(cursor)
        .fetch_one(local)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Said at the first failure and then more and more rarely.
fn log(error: &FleetError, failures: u32) {
    if failures.is_power_of_two() {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(%error, cause, failures, "history is not copied to the fleet's database; retrying");
    }
}

/// Full jitter below a bound that doubles, so that a fleet whose database came back does not call all at once.
fn wait_after(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    bound.mul_f64(chance.clamp(0.1, 1.0))
}

/// A number of [0, 1).
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(0u8) >> 32).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_must_prove_who_it_is_unless_told_otherwise() {
        for (url, verified) in [
            ("postgres://b@history.example/fleet", true),
            (
                "postgres://b:p@192.0.2.7:5433/fleet?application_name=x",
                true,
            ),
            ("postgres://b@history.example/fleet?sslmode=require", false),
            ("postgres://b@127.0.0.1/fleet", false),
            ("postgres://b@[::1]/fleet", false),
            ("postgres://b@localhost/fleet", false),
        ] {
            let options = remote_options(&Secret::new(url)).unwrap();
            let mode = options.get_ssl_mode();
            assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{url}");
        }
        let refused = remote_options(&Secret::new("postgres://me:hunter2@:x/")).unwrap_err();
        assert!(!format!("{refused}").contains("hunter2"));
    }

    #[test]
    fn waits_grow_to_five_minutes() {
        assert_eq!(wait_after(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait_after(4, 0.5), Duration::from_secs(4));
        assert_eq!(wait_after(u32::MAX, 1.0), LONGEST_WAIT);
        assert!(wait_after(1, 0.0) >= Duration::from_millis(100));
    }
}
