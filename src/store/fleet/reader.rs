//! The fleet's history, read back: what a week's report over all hosts needs, and nothing that writes.
//!
//! A week's boots come as the lines of one `COPY`, so that neither side keeps rows: what is kept is what `Figures` counts.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::{FleetError, remote, remote_options};
use crate::config::Secret;
use crate::core::event::Timestamp;
use crate::core::report::BootFact;
use crate::store::history::{Counted, Tally};
use crate::store::line::{self, Lines};
use crate::store::row::IncidentRow;

/// Text is read in pieces of this size.
const PIECE: usize = 256 * 1024;

/// An incident of some host, and when somebody heard of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetIncident {
    pub incident: IncidentRow,
    pub delivered_at: Option<Timestamp>,
    pub acknowledged_at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct FleetHistory {
    raw: PgConnection,
}

/// Times go into a statement as figures: `COPY` takes no parameters.
fn within(column: &str, range: &Range<Timestamp>) -> String {
    let (from, to) = (range.start.0, range.end.0);
    format!("{column} >= to_timestamp({from} / 1000.0) AND {column} < to_timestamp({to} / 1000.0)")
}

const MAINTAINED: &str = "(host, boot_id) IN
    (SELECT host, boot_id FROM bootwatch.boots WHERE detail ->> 'maintenance' = 'true')";

/// A lock is waited for as by a sidecar; a week of many hosts takes its time, less than a report is waited for.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '20min'; \
    SET LOCAL idle_in_transaction_session_timeout = '10min'";

/// All that is read, so that a lock of another session is found out, and told, before anything is.
const TAKE: &str = "LOCK TABLE bootwatch.boots, bootwatch.incidents, bootwatch.told, bootwatch.runs, bootwatch.seen,
    bootwatch.sight IN ACCESS SHARE MODE";

/// A connection that can change nothing: within one transaction, of one moment, until it is closed.
pub(super) async fn connect(url: &Secret) -> Result<PgConnection, FleetError> {
    let mut raw = remote::connect(&remote_options(url)?).await?;
    run(&mut raw, BEGIN).await?;
    Ok(raw)
}

/// An error that is about a lock, with what is held; the transaction is over.
pub(super) async fn named(raw: &mut PgConnection, error: FleetError) -> FleetError {
    match run(raw, "ROLLBACK").await {
        Ok(()) => remote::named(raw, error).await,
        Err(_) => error,
    }
}

async fn run(raw: &mut PgConnection, sql: &'static str) -> Result<(), FleetError> {
    let done = sqlx::raw_sql(sql).execute(raw).await;
    done.map(drop).map_err(FleetError::Read)
}

/// Tables that this program knows, and that nobody keeps to himself.
async fn take(raw: &mut PgConnection) -> Result<(), FleetError> {
    let found = remote::version(raw).await.map_err(FleetError::Read)?;
    if found != remote::VERSION {
        return Err(FleetError::version(found));
    }
    run(raw, TAKE).await
}

impl FleetHistory {
    /// Of tables that some sidecar has made; they are only read.
    pub async fn open(url: &Secret) -> Result<FleetHistory, FleetError> {
        let mut raw = connect(url).await?;
        match take(&mut raw).await {
            Ok(()) => Ok(FleetHistory { raw }),
            Err(error) => Err(named(&mut raw, error).await),
        }
    }

    /// The boots of all hosts that began in `range`, in no order; says how many.
    pub async fn facts(
        &mut self,
        range: Range<Timestamp>,
        mut each: impl FnMut(&BootFact<'_>),
    ) -> Result<u64, FleetError> {
        let within = within("started_at", &range);
        let any: bool = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT EXISTS (SELECT FROM bootwatch.boots WHERE detail ->> 'maintenance' = 'true' AND {within})"
        )))
        .persistent(false)
        .fetch_one(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        if !any {
            return self.copy(&within, false, &mut each).await;
        }
        let others = format!("{within} AND NOT {MAINTAINED}");
        let count = self.copy(&others, false, &mut each).await?;
        let maintained = format!("{within} AND {MAINTAINED}");
        Ok(count + self.copy(&maintained, true, &mut each).await?)
    }

    async fn copy(
        &mut self,
        condition: &str,
        maintenance: bool,
        each: &mut impl FnMut(&BootFact<'_>),
    ) -> Result<u64, FleetError> {
        let statement = format!(
            "COPY (SELECT {} FROM bootwatch.boots WHERE {condition}) TO STDOUT (DELIMITER '|', NULL '')",
            line::columns().join(", ")
        );
        let mut pieces = self
            .raw
            .copy_out_raw(&statement)
            .await
            .map_err(FleetError::Read)?;
        let (mut lines, mut count) = (Lines::default(), 0);
        let mut piece: Vec<u8> = Vec::with_capacity(PIECE + 4_096);
        let mut take = |piece: &mut Vec<u8>, whole: usize| -> Result<(), sqlx::Error> {
            let text = std::str::from_utf8(piece.get(..whole).unwrap_or_default())
                .map_err(|error| sqlx::Error::Decode(error.into()))?;
            count += lines.read(text, maintenance, each)?;
            piece.drain(..whole);
            Ok(())
        };
        while let Some(more) = pieces.try_next().await.map_err(FleetError::Read)? {
            piece.extend_from_slice(&more);
            if piece.len() >= PIECE
                && let Some(end) = piece.iter().rposition(|byte| *byte == b'\n')
            {
                take(&mut piece, end + 1).map_err(FleetError::Read)?;
            }
        }
        let end = piece.len();
        take(&mut piece, end).map_err(FleetError::Read)?;
        Ok(count)
    }

    /// Counts the boots of all hosts that began in `range`.
    pub async fn tally(&mut self, range: Range<Timestamp>) -> Result<Vec<Tally>, FleetError> {
        let rows: Vec<Counted> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT vm_type, origin, outcome, failure, count(*) FROM bootwatch.boots WHERE {} AND NOT {MAINTAINED}
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            within("started_at", &range)
        )))
        .persistent(false)
        .fetch_all(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        Ok(rows.into_iter().filter_map(Tally::of).collect())
    }

    /// The incidents of all hosts that fired in `range`, in order.
    pub async fn incidents(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<Vec<FleetIncident>, FleetError> {
        type Row = (String, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT value::text, (date_part('epoch', delivered_at) * 1000)::bigint,
                    (date_part('epoch', acknowledged_at) * 1000)::bigint
             FROM bootwatch.incidents
             LEFT JOIN bootwatch.told ON told.host = incidents.host AND told.incident = incidents.key
             WHERE {} ORDER BY fired_at, incidents.host, key",
            within("fired_at", &range)
        )))
        .persistent(false)
        .fetch_all(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        rows.into_iter()
            .map(|(value, delivered_at, acknowledged_at)| {
                let incident = serde_json::from_str(&value)
                    .map_err(|error| FleetError::Read(sqlx::Error::Decode(error.into())))?;
                Ok(FleetIncident {
                    incident: IncidentRow(incident),
                    delivered_at: delivered_at.map(Timestamp),
                    acknowledged_at: acknowledged_at.map(Timestamp),
                })
            })
            .collect()
    }

    /// How all hosts' synthetic runs that began in `range` ended, by word.
    pub async fn synthetic_runs(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<BTreeMap<String, u64>, FleetError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT word, count(*) FROM bootwatch.runs WHERE {} GROUP BY word",
            within("started_at", &range)
        )))
        .persistent(false)
        .fetch_all(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        let counted = |(word, runs): (String, i64)| (word, u64::try_from(runs).unwrap_or(0));
        Ok(rows.into_iter().map(counted).collect())
    }

    /// The stretches that overlap `range` in which each host's log was read whole. A host that has a boot in `range` and
    /// no stretch is there, too: nothing of it was seen.
    pub async fn seen(
        &mut self,
        range: Range<Timestamp>,
    ) -> Result<BTreeMap<String, Vec<Range<Timestamp>>>, FleetError> {
        let (from, to) = (range.start.0, range.end.0);
        let rows: Vec<(String, Option<i64>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT host, (date_part('epoch', since) * 1000)::bigint, (date_part('epoch', until) * 1000)::bigint
             FROM bootwatch.seen
             WHERE until > to_timestamp({from} / 1000.0) AND since < to_timestamp({to} / 1000.0)
             UNION ALL
             SELECT DISTINCT host, NULL::bigint, NULL::bigint FROM bootwatch.boots WHERE {}",
            within("started_at", &range)
        )))
        .persistent(false)
        .fetch_all(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        let mut hosts: BTreeMap<String, Vec<Range<Timestamp>>> = BTreeMap::new();
        for (host, since, until) in rows {
            let stretches = hosts.entry(host).or_default();
            if let (Some(since), Some(until)) = (since, until) {
                stretches.push(Timestamp(since)..Timestamp(until));
            }
        }
        Ok(hosts)
    }

    /// Each host's stretches of another kind that overlap `range`: `history`, or `silent`.
    pub async fn stretches(
        &mut self,
        range: Range<Timestamp>,
        kind: &str,
    ) -> Result<BTreeMap<String, Vec<Range<Timestamp>>>, FleetError> {
        let (from, to) = (range.start.0, range.end.0);
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT host, (date_part('epoch', since) * 1000)::bigint, (date_part('epoch', until) * 1000)::bigint
             FROM bootwatch.sight
             WHERE kind = $1 AND until > to_timestamp({from} / 1000.0) AND since < to_timestamp({to} / 1000.0)"
        )))
        .persistent(false)
        .bind(kind)
        .fetch_all(&mut self.raw)
        .await
        .map_err(FleetError::Read)?;
        let mut hosts: BTreeMap<String, Vec<Range<Timestamp>>> = BTreeMap::new();
        for (host, since, until) in rows {
            let stretch = Timestamp(since)..Timestamp(until);
            hosts.entry(host).or_default().push(stretch);
        }
        Ok(hosts)
    }

    pub async fn close(self) {
        self.raw.close().await.ok();
    }
}
