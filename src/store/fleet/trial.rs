//! Whether a sidecar could copy its history: looked at as one would at its start, and nothing is made or changed.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{FleetError, reader, remote};
use crate::config::Secret;

/// What a sidecar would find at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetFound {
    /// Tables that it may fill.
    Tables,
    /// Tables of an older version, which it would bring to the present one.
    Older { found: i32 },
    /// None, and it would make them.
    Nothing,
}

/// The tables of which the role lacks a right, and which; it need not write what only an upgrade writes.
const LACKING: &str = "SELECT string_agg(lacks || ' on bootwatch.' || name, ', ' ORDER BY name) FROM (
        SELECT relname::text AS name, string_agg(privilege, ', ' ORDER BY privilege) AS lacks
        FROM pg_catalog.pg_class AS class
        JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace
        CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS needed (privilege)
        WHERE nspname = 'bootwatch' AND relkind = 'r' AND NOT has_table_privilege(class.oid, privilege)
            AND (relname <> 'version' OR privilege = 'SELECT')
        GROUP BY relname) AS tables";

/// Connects and looks; `patience` is what all of it may take.
pub async fn try_fleet(url: &Secret, patience: Duration) -> Result<FleetFound, FleetError> {
    match tokio::time::timeout(patience, look(url)).await {
        Ok(found) => found,
        Err(_) => Err(FleetError::Silent(patience)),
    }
}

async fn look(url: &Secret) -> Result<FleetFound, FleetError> {
    let mut raw = reader::connect(url).await?;
    let found = match judge(&mut raw).await {
        Err(error) => Err(reader::named(&mut raw, error).await),
        found => found,
    };
    raw.close().await.ok();
    found
}

async fn judge(raw: &mut PgConnection) -> Result<FleetFound, FleetError> {
    if ask(raw, "SELECT pg_is_in_recovery()").await? {
        return Err(FleetError::Replica);
    }
    if !ask(raw, remote::EXISTS).await? {
        // Where the schema is there already, it is the schema in which they are made.
        let may = "SELECT coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace
                       WHERE nspname = 'bootwatch'), has_database_privilege(current_database(), 'CREATE'))";
        return match ask(raw, may).await? {
            true => Ok(FleetFound::Nothing),
            false => lacks("may not make the fleet's tables, which are not there"),
        };
    }
    if !ask(raw, "SELECT has_schema_privilege('bootwatch', 'USAGE')").await? {
        return lacks("lacks USAGE on the schema bootwatch");
    }
    if !ask(
        raw,
        "SELECT has_table_privilege('bootwatch.version', 'SELECT')",
    )
    .await?
    {
        return lacks("lacks SELECT on bootwatch.version");
    }
    let found = remote::version(raw).await.map_err(FleetError::Read)?;
    if found > remote::VERSION {
        return Err(FleetError::version(found));
    }
    let lacking: Option<String> = sqlx::query_scalar(LACKING)
        .persistent(false)
        .fetch_one(&mut *raw)
        .await
        .map_err(FleetError::Read)?;
    if let Some(lacking) = lacking {
        return lacks(&format!("lacks {lacking}"));
    }
    if found == remote::VERSION {
        return Ok(FleetFound::Tables);
    }
    // An index is made by a table's owner alone.
    let may = "SELECT has_schema_privilege('bootwatch', 'CREATE') AND has_table_privilege('bootwatch.version', 'UPDATE')
                   AND ((SELECT min(version) FROM bootwatch.version) > 1 OR pg_has_role((SELECT relowner
                       FROM pg_catalog.pg_class WHERE oid = 'bootwatch.boots'::regclass), 'USAGE'))";
    match ask(raw, may).await? {
        true => Ok(FleetFound::Older { found }),
        false => lacks(&format!(
            "may not bring the fleet's tables from version {found} to {}",
            remote::VERSION
        )),
    }
}

async fn ask(raw: &mut PgConnection, question: &'static str) -> Result<bool, FleetError> {
    let asked = sqlx::query_scalar(question).persistent(false);
    asked.fetch_one(raw).await.map_err(FleetError::Read)
}

fn lacks(what: &str) -> Result<FleetFound, FleetError> {
    Err(FleetError::Rights(what.to_owned()))
}
