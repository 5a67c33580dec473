//! What a week's report needs besides boots and incidents, copied whole whenever it changed: a few hundred rows, upserted,
//! so that a repetition changes nothing.

use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::{FleetError, remote};
use crate::store::error::StoreError;
use crate::store::trial;

/// One kind: how it is read as a JSON array, and how it is written.
struct Aside {
    read: &'static str,
    write: &'static str,
}

const ASIDES: [Aside; 4] = [
    Aside {
        read: "SELECT json_group_array(json_object('since', CAST(key AS INTEGER), 'until', CAST(value AS INTEGER)))
               FROM (SELECT key, value FROM state WHERE kind = 'seen' ORDER BY key)",
        write: "INSERT INTO bootwatch.seen (host, since, until)
                SELECT $1, to_timestamp(since / 1000.0), to_timestamp(until / 1000.0)
                FROM json_to_recordset($2::json) AS given (since bigint, until bigint)
                ON CONFLICT (host, since) DO UPDATE SET until = excluded.until
                WHERE seen.until IS DISTINCT FROM excluded.until",
    },
    Aside {
        read: "SELECT json_group_array(json_object('kind', kind, 'since', CAST(key AS INTEGER), 'until', CAST(value AS INTEGER)))
               FROM (SELECT kind, key, value FROM state WHERE kind IN ('history', 'silent') ORDER BY kind, key)",
        write: "INSERT INTO bootwatch.sight (host, kind, since, until)
                SELECT $1, kind, to_timestamp(since / 1000.0), to_timestamp(until / 1000.0)
                FROM json_to_recordset($2::json) AS given (kind text, since bigint, until bigint)
                ON CONFLICT (host, kind, since) DO UPDATE SET until = excluded.until
                WHERE sight.until IS DISTINCT FROM excluded.until",
    },
    Aside {
        // Of the last five weeks: what came before was copied then. Whoever was away when it fired was paged by its next state.
        read: "SELECT json_group_array(json_object('incident', incident, 'delivered_at', delivered_at,
                   'acknowledged_at', acknowledged_at))
               FROM (SELECT incident, max(delivered_at) AS delivered_at, max(acknowledged_at) AS acknowledged_at FROM (
                   SELECT incident, min(ended_at) AS delivered_at, NULL AS acknowledged_at FROM outbox
                   WHERE state = 'sent' AND transition <> 'resolved'
                       AND created_at >= (SELECT max(created_at) - 3024000000 FROM outbox)
                   GROUP BY incident
                   UNION ALL
                   SELECT subject, NULL, min(at) FROM operation WHERE action = 'acknowledge'
                       AND at >= (SELECT max(at) - 3024000000 FROM operation)
                   GROUP BY subject)
               GROUP BY incident ORDER BY incident)",
        write: "INSERT INTO bootwatch.told (host, incident, delivered_at, acknowledged_at)
                SELECT $1, incident, to_timestamp(delivered_at / 1000.0), to_timestamp(acknowledged_at / 1000.0)
                FROM json_to_recordset($2::json) AS given (incident text, delivered_at bigint, acknowledged_at bigint)
                ON CONFLICT (host, incident) DO UPDATE
                    SET delivered_at = least(told.delivered_at, excluded.delivered_at),
                        acknowledged_at = least(told.acknowledged_at, excluded.acknowledged_at)
                WHERE (told.delivered_at, told.acknowledged_at)
                    IS DISTINCT FROM (excluded.delivered_at, excluded.acknowledged_at)",
    },
    Aside {
        read: trial::NEWEST,
        write: "INSERT INTO bootwatch.runs (host, id, started_at, word)
                SELECT $1, id, to_timestamp(started_at / 1000.0), word
                FROM json_to_recordset($2::json) AS given (id bigint, started_at bigint, word text)
                ON CONFLICT (host, id) DO UPDATE SET started_at = excluded.started_at, word = excluded.word
                WHERE (runs.started_at, runs.word) IS DISTINCT FROM (excluded.started_at, excluded.word)",
    },
];

/// What this connection has copied last, by kind.
#[derive(Debug, Default)]
pub(super) struct Asides {
    copied: [String; 4],
}

impl Asides {
    pub(super) async fn copy(
        &mut self,
        local: &mut SqliteConnection,
        remote: &mut PgConnection,
        host: &str,
        path: &Path,
    ) -> Result<(), FleetError> {
        for (aside, copied) in ASIDES.iter().zip(&mut self.copied) {
            let rows: String = sqlx::query_scalar(aside.read)
                .fetch_one(&mut *local)
                .await
                .map_err(|error| StoreError::new("read", path, error))?;
            if rows == *copied {
                continue;
            }
            write(remote, aside, host, &rows)
                .await
                .map_err(FleetError::Copy)?;
            *copied = rows;
        }
        Ok(())
    }
}

async fn write(
    remote: &mut PgConnection,
    aside: &Aside,
    host: &str,
    rows: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = remote::begin(remote).await?;
    sqlx::query(aside.write)
        .persistent(false)
        .bind(host)
        .bind(rows)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
