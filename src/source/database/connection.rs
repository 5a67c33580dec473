//! One connection, and every wait on it bounded.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};

use super::error::DatabaseError;
use super::options::{DatabaseOptions, Server};
use crate::core::query::{Cells, Statement};

/// Read-only, one snapshot, and limits that never let us stand in the controller's way. All of it ends with the
/// transaction, because behind a pooler the next one may be on another server.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'; \
    SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL application_name = 'bootwatch'";

pub(super) struct Connection {
    link: Link,
    deadline: Duration,
}

enum Link {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Connection {
    pub(super) async fn open(options: &DatabaseOptions) -> Result<Connection, DatabaseError> {
        let open = async {
            match &options.server {
                Server::Postgres(server) => server.connect().await.map(Link::Postgres),
                Server::Sqlite(file) => file.connect().await.map(Link::Sqlite),
            }
        };
        match tokio::time::timeout(options.connect_deadline, open).await {
            Ok(Ok(link)) => Ok(Connection {
                link,
                deadline: options.query_deadline,
            }),
            Ok(Err(error)) => Err(DatabaseError::connecting(error)),
            Err(_) => Err(DatabaseError::Silent { action: "connect" }),
        }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.link, Link::Sqlite(_))
    }

    pub(super) async fn begin(&mut self) -> Result<(), DatabaseError> {
        let sql = if self.is_sqlite() { "BEGIN" } else { BEGIN };
        self.run("begin a transaction", sql).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), DatabaseError> {
        self.run("end a transaction", "COMMIT").await
    }

    async fn run(&mut self, action: &'static str, sql: &'static str) -> Result<(), DatabaseError> {
        let sql = sqlx::raw_sql(sql);
        match &mut self.link {
            Link::Postgres(link) => {
                let done = bounded(self.deadline, action, sql.execute(link)).await;
                done.map(drop)
            }
            Link::Sqlite(link) => {
                let done = bounded(self.deadline, action, sql.execute(link)).await;
                done.map(drop)
            }
        }
    }

    /// Asks; `action` names it in errors.
    pub(super) async fn rows(
        &mut self,
        action: &'static str,
        statement: &Statement,
    ) -> Result<Vec<Cells>, DatabaseError> {
        let sql = AssertSqlSafe(statement.sql.clone());
        match &mut self.link {
            Link::Postgres(link) => {
                // Not persistent: the statement has no name, so that nothing of it outlives the transaction.
                let mut query: Query<'_, Postgres, _> = sqlx::query(sql).persistent(false);
                for value in &statement.values {
                    query = query.bind(value);
                }
                let rows = bounded(self.deadline, action, query.fetch_all(link)).await?;
                rows.iter()
                    .map(|row| (0..row.len()).map(|at| row.try_get(at)).collect())
                    .collect::<Result<_, _>>()
                    .map_err(|error| DatabaseError::asking(action, error))
            }
            Link::Sqlite(link) => {
                let mut query: Query<'_, Sqlite, _> = sqlx::query(sql).persistent(false);
                for value in &statement.values {
                    query = query.bind(value);
                }
                let rows = bounded(self.deadline, action, query.fetch_all(link)).await?;
                rows.iter()
                    .map(|row| (0..row.len()).map(|at| row.try_get(at)).collect())
                    .collect::<Result<_, _>>()
                    .map_err(|error| DatabaseError::asking(action, error))
            }
        }
    }
}

async fn bounded<T>(
    deadline: Duration,
    action: &'static str,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, DatabaseError> {
    match tokio::time::timeout(deadline, asked).await {
        Ok(answer) => answer.map_err(|error| DatabaseError::asking(action, error)),
        Err(_) => Err(DatabaseError::Silent { action }),
    }
}
