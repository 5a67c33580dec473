//! The connection behind the tables face.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::op::{Table, TableOp};
use super::schema::{Flavour, Schema};
use super::statement::{Statement, statement};
use super::{Place, TablesError};

/// How long a statement waits for a reader's lock on an SQLite file.
const BUSY: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Session {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

#[derive(Debug)]
pub(super) struct Writer {
    session: Session,
    schema: Schema,
    transaction: u64,
}

impl Writer {
    pub(super) async fn create(place: &Place, schema: Schema) -> Result<Writer, TablesError> {
        let (shown, session) = connect(place).await?;
        let mut writer = Writer {
            session,
            schema,
            transaction: 1,
        };
        for table in [Table::Vms, Table::AuthSessions] {
            let there = writer.has(table).await.map_err(|source| {
                let place = shown.clone();
                TablesError::Connect { place, source }
            })?;
            if there {
                let table = table.name();
                return Err(TablesError::Taken {
                    place: shown,
                    table,
                });
            }
        }
        writer.make().await.map_err(|source| TablesError::Create {
            place: shown,
            source,
        })?;
        Ok(writer)
    }

    fn flavour(&self) -> Flavour {
        match self.session {
            Session::Sqlite(_) => Flavour::Sqlite,
            Session::Postgres(_) => Flavour::Postgres,
        }
    }

    async fn has(&mut self, table: Table) -> Result<bool, sqlx::Error> {
        match &mut self.session {
            Session::Sqlite(session) => {
                sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = ?1")
                    .bind(table.name())
                    .fetch_one(session)
                    .await
            }
            Session::Postgres(session) => {
                sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                    .bind(table.name())
                    .fetch_one(session)
                    .await
            }
        }
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
