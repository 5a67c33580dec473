//! The connection behind the tables face.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::op::{Cell, Table, TableOp};
use super::schema::{Flavour, Schema};
use super::statement::{Statement, statement};
use super::{Earlier, Place, TablesError};
use crate::core::event::Timestamp;

/// How long a statement waits for a reader's lock on an SQLite file.
const BUSY: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Session {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What is there by a table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    /// The simulator made it, with other columns.
    OtherSchema,
    Foreign,
}

#[derive(Debug)]
pub(super) struct Writer {
    session: Session,
    schema: Schema,
    transaction: u64,
}

impl Writer {
    /// The writer, and how many VMs' rows are there from earlier runs.
    pub(super) async fn open(
        place: &Place,
        schema: Schema,
        earlier: Earlier,
    ) -> Result<(Writer, u64), TablesError> {
        let (shown, session) = connect(place).await?;
        let mut writer = Writer {
            session,
            schema,
            transaction: 1,
        };
        let unreachable = |source| TablesError::Connect {
            place: shown.clone(),
            source,
        };
        let mut found = Vec::new();
        for table in [Table::Vms, Table::AuthSessions] {
            found.push((table, writer.look(table).await.map_err(unreachable)?));
        }
        if found.iter().all(|(_, found)| *found == Found::Nothing) {
            writer.make().await.map_err(|source| TablesError::Create {
                place: shown,
                source,
            })?;
            return Ok((writer, 0));
        }
        let ours = found.iter().all(|(_, found)| *found == Found::Ours);
        match earlier {
            Earlier::TakenOver(at) if ours => match writer.take_over(at).await {
                Ok(rows) => Ok((writer, rows)),
                Err(source) => Err(TablesError::TakeOver {
                    place: shown,
                    source,
                }),
            },
            Earlier::TakenOver(_) | Earlier::Refused => {
                // A foreign table says more than one of ours beside it.
                let foreign = found.iter().find(|(_, found)| *found == Found::Foreign);
                let there = found.iter().find(|(_, found)| *found != Found::Nothing);
                let (table, found) = foreign.or(there).expect("not all of them are absent");
                let whose = match found {
                    Found::OtherSchema => " of an earlier run with another --schema",
                    Found::Nothing | Found::Foreign | Found::Ours => "",
                };
                Err(TablesError::Taken {
                    place: shown,
                    table: table.name(),
                    whose,
                })
            }
        }
    }

    fn flavour(&self) -> Flavour {
        match self.session {
            Session::Sqlite(_) => Flavour::Sqlite,
            Session::Postgres(_) => Flavour::Postgres,
        }
    }

    /// What is there by a table's name, and whose it is by its mark.
    async fn look(&mut self, table: Table) -> Result<Found, sqlx::Error> {
        // The second column: what is there says of itself.
        let said: Option<(String, Option<String>)> = match &mut self.session {
            Session::Sqlite(session) => {
                sqlx::query_as("SELECT type, sql FROM sqlite_master WHERE name = ?1")
                    .bind(table.name())
                    .fetch_optional(session)
                    .await?
            }
            Session::Postgres(session) => {
                sqlx::query_as(
                    "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass($1)",
                )
                .bind(table.name())
                .fetch_optional(session)
                .await?
            }
        };
        let Some((_, said)) = said else {
            return Ok(Found::Nothing);
        };
        let said = said.unwrap_or_default();
        let bears = |schema: Schema| match self.flavour() {
            Flavour::Sqlite => said.contains(&format!("(/* {} */ ", schema.mark())),
            Flavour::Postgres => said == schema.mark(),
        };
        Ok(if bears(self.schema) {
            Found::Ours
        } else if bears(Schema::Migration) || bears(Schema::Production) {
            Found::OtherSchema
        } else {
            Found::Foreign
        })
    }

    /// Ends what an earlier run left open, and says how many VMs' rows there are.
    async fn take_over(&mut self, at: Timestamp) -> Result<u64, sqlx::Error> {
        let at = Cell::Time(at.0.saturating_mul(1_000)).text();
        let newest = "SELECT coalesce(max(xmin), 0) FROM (SELECT xmin FROM vms UNION ALL SELECT xmin FROM auth_sessions)";
        let versions = match &mut self.session {
            Session::Sqlite(session) => {
                let newest: i64 = sqlx::query_scalar(newest).fetch_one(session).await?;
                self.transaction = u64::try_from(newest).unwrap_or_default() + 1;
                format!(", xmin = {}", self.transaction)
            }
            Session::Postgres(_) => String::new(),
        };
        let sql = AssertSqlSafe(format!(
            "BEGIN; \
             UPDATE vms SET status = 'destroyed', destroyed_at = '{at}'{versions} WHERE destroyed_at IS NULL; \
             UPDATE auth_sessions SET status = 'timeout'{versions} \
             WHERE status NOT IN ('completed', 'failed', 'timeout', 'cancelled'); \
             COMMIT"
        ));
        let count = "SELECT count(*) FROM vms";
        let rows: i64 = match &mut self.session {
            Session::Sqlite(session) => {
                sqlx::raw_sql(sql).execute(&mut *session).await?;
                sqlx::query_scalar(count).fetch_one(session).await?
            }
            Session::Postgres(session) => {
                sqlx::raw_sql(sql).execute(&mut *session).await?;
                sqlx::query_scalar(count).fetch_one(session).await?
            }
        };
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// All or nothing: a database with half of the tables would be refused for ever after.
    async fn make(&mut self) -> Result<(), sqlx::Error> {
        let ddl = self.schema.ddl(self.flavour()).join(";\n");
        let sql = AssertSqlSafe(format!("BEGIN;\n{ddl};\nCOMMIT"));
        match &mut self.session {
            Session::Sqlite(session) => sqlx::raw_sql(sql).execute(session).await.map(drop),
            Session::Postgres(session) => sqlx::raw_sql(sql).execute(session).await.map(drop),
        }
    }

    /// One statement, one transaction.
    pub(super) async fn write(&mut self, op: &TableOp) -> Result<(), TablesError> {
        self.transaction += 1;
        let Some(made) = statement(op, self.schema, self.flavour(), self.transaction) else {
            return Ok(());
        };
        let table = op.key.table().name();
        let rows = self
            .execute(made)
            .await
            .map_err(|source| TablesError::Write { table, source })?;
        if rows == 1 {
            Ok(())
        } else {
            Err(TablesError::NoRow { key: op.key })
        }
    }

    async fn execute(&mut self, made: Statement) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(made.sql);
        match &mut self.session {
            Session::Sqlite(session) => {
                let query = made
                    .values
                    .into_iter()
                    .fold(sqlx::query(sql), sqlx::query::Query::bind);
                Ok(query.execute(session).await?.rows_affected())
            }
            Session::Postgres(session) => {
                let query = made
                    .values
                    .into_iter()
                    .fold(sqlx::query(sql), sqlx::query::Query::bind);
                Ok(query.execute(session).await?.rows_affected())
            }
        }
    }

    /// What is not closed is closed by the process' end; every statement is committed already.
    pub(super) async fn close(self) {
        drop(match self.session {
            Session::Sqlite(session) => session.close().await,
            Session::Postgres(session) => session.close().await,
        });
    }
}

async fn connect(place: &Place) -> Result<(String, Session), TablesError> {
    match place {
        Place::Sqlite(path) => {
            let shown = path.display().to_string();
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .busy_timeout(BUSY)
                .disable_statement_logging();
            match options.connect().await {
                Ok(session) => Ok((shown, Session::Sqlite(session))),
                Err(source) => Err(TablesError::Connect {
                    place: shown,
                    source,
                }),
            }
        }
        Place::Postgres(url) => {
            let options = PgConnectOptions::from_str(url.expose())
                .map_err(|_| TablesError::Url)?
                .application_name("bootwatch-simulator")
                // A simulated row need not outlive a crash of the server's machine.
                .options([("synchronous_commit", "off")])
                .disable_statement_logging();
            let database = options.get_database().unwrap_or(options.get_username());
            let shown = format!("{database} on {}", options.get_host());
            match options.connect().await {
                Ok(session) => Ok((shown, Session::Postgres(session))),
                Err(source) => Err(TablesError::Connect {
                    place: shown,
                    source,
                }),
            }
        }
    }
}
