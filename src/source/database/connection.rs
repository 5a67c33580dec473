//! One connection, and every wait on it bounded.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::error::DatabaseError;
use super::options::{DatabaseOptions, Server};
use super::written::written;
use crate::core::query::{Cells, Statement};
use crate::dial::postgres::reachable;

/// Read-only, one snapshot, and limits that never let us stand in the controller's way. All of it ends with the
/// transaction, because behind a pooler the next one may be on another server.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'; \
    SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL application_name = 'bootwatch'";

/// Whoever has read a table holds it against changes of its form until the transaction ends: a migration that has changed
/// another one waits for that. Two that wait for each other are a deadlock, of which PostgreSQL ends the one that has
/// waited a second. That is to be us: from the second question on we give up long before.
const HOLDING: &str = "SET LOCAL lock_timeout = '200ms'";

pub(super) struct Connection {
    link: Link,
    deadline: Duration,
    /// Questions about tables since the transaction began.
    asked: u32,
}

enum Link {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// The authority's file is read for each connection, so that it can be replaced.
async fn trusting(
    server: &PgConnectOptions,
    ca: Option<&Path>,
) -> Result<PgConnectOptions, DatabaseError> {
    let server = server.clone();
    match ca.filter(|_| matches!(server.get_ssl_mode(), PgSslMode::VerifyFull)) {
        Some(path) => match tokio::fs::read(path).await {
            Ok(pem) => Ok(server.ssl_root_cert_from_pem(pem)),
            Err(source) => Err(DatabaseError::Authority {
                path: path.to_owned(),
                source,
            }),
        },
        None => Ok(server),
    }
}

impl Connection {
    pub(super) async fn open(options: &DatabaseOptions) -> Result<Connection, DatabaseError> {
        let open = async {
            let link = match &options.server {
                Server::Postgres(server, ca) => {
                    let server = trusting(server, ca.as_deref()).await?;
                    let server = reachable(&server).await;
                    server.connect().await.map(Link::Postgres)
                }
                Server::Sqlite(file) => file.connect().await.map(Link::Sqlite),
            };
            link.map_err(DatabaseError::connecting)
        };
        match tokio::time::timeout(options.connect_deadline, open).await {
            Ok(link) => Ok(Connection {
                link: link?,
                deadline: options.query_deadline,
                asked: 0,
            }),
            Err(_) => Err(DatabaseError::Silent { action: "connect" }),
        }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.link, Link::Sqlite(_))
    }

    pub(super) async fn begin(&mut self) -> Result<(), DatabaseError> {
        self.asked = 0;
        let sql = if self.is_sqlite() { "BEGIN" } else { BEGIN };
        self.run("begin a transaction", sql).await
    }

    /// Begins a transaction and asks its first question, which is about no table of the controller, in one turn where the
    /// database takes both at once.
    pub(super) async fn begin_with(
        &mut self,
        action: &'static str,
        statement: &Statement,
    ) -> Result<Vec<Cells>, DatabaseError> {
        self.asked = 0;
        match &mut self.link {
            // The limits hold from the statement behind them on (of the server's own from version 11 on; ours always).
            Link::Postgres(link) => {
                let sql = format!("{BEGIN}; {}", written(statement));
                read(link, self.deadline, action, sql).await
            }
            Link::Sqlite(_) => {
                self.begin().await?;
                self.rows(action, statement).await
            }
        }
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
        self.asked += 1;
        match &mut self.link {
            Link::Postgres(link) => {
                let mut sql = written(statement);
                if self.asked == 2 {
                    sql = format!("{HOLDING}; {sql}");
                }
                read(link, self.deadline, action, sql).await
            }
            Link::Sqlite(link) => {
                let sql = AssertSqlSafe(statement.sql.clone());
                let mut query: Query<'_, Sqlite, _> = sqlx::query(sql).persistent(false);
                for value in &statement.values {
                    query = query.bind(value);
                }
                let rows = bounded(self.deadline, action, query.fetch_all(link)).await?;
                texts(action, &rows)
            }
        }
    }
}

/// What statements without values answer, all of it.
async fn read(
    link: &mut PgConnection,
    deadline: Duration,
    action: &'static str,
    sql: String,
) -> Result<Vec<Cells>, DatabaseError> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql));
    let rows = bounded(deadline, action, sql.fetch_all(link)).await?;
    texts(action, &rows)
}

fn texts<R>(action: &'static str, rows: &[R]) -> Result<Vec<Cells>, DatabaseError>
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    for<'r> Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    rows.iter()
        .map(|row| (0..row.len()).map(|at| row.try_get(at)).collect())
        .collect::<Result<_, _>>()
        .map_err(|error| DatabaseError::asking(action, error))
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Database, Secret, Tls};

    #[tokio::test]
    async fn an_authority_that_cannot_be_read_is_named() {
        let options = DatabaseOptions::new(&Database {
            url: Secret::new("postgres://me:hunter2@127.0.0.1:1/app"),
            schema: "public".to_owned(),
            poll: Duration::from_secs(5),
            tls: Tls::Verify,
            ca_file: Some(PathBuf::from("/nowhere/ca.pem")),
        });
        let Err(error) = Connection::open(&options.unwrap()).await else {
            panic!("there is nothing to connect to");
        };
        assert_eq!(error.kind(), "untrusted");
        let said = error.shown();
        assert!(said.starts_with("/nowhere/ca.pem"), "{said}");
        assert!(
            said.contains("correct database.ca_file: No such file"),
            "{said}"
        );
    }
}
