//! One look at a database from outside of the watch: can it be reached, and does this role see what it needs and no more?

use super::connection::Connection;
use super::error::DatabaseError;
use super::options::DatabaseOptions;
use super::state;
use crate::core::query::{Layout, Table, Tables};

/// What a database and a role are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    pub tables: Vec<Visible>,
    /// The role may change tables of the controller's.
    pub can_write: bool,
    /// Tables of which it should see nothing, and sees something; in order.
    pub exposed: Vec<String>,
    /// The role may do anything.
    pub superuser: bool,
    /// A replica answered.
    pub replica: bool,
}

/// What is seen of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visible {
    pub table: Table,
    /// Rows seen, counted up to a thousand.
    pub seen: u64,
    /// Rows that the server's statistics tell of.
    pub estimate: u64,
    /// Row-level security hides them.
    pub blind: bool,
}

/// Connects, finds the tables and looks once.
///
/// # Errors
/// The database cannot be reached or asked, or has no such tables.
pub async fn examine(
    options: &DatabaseOptions,
    tables: &dyn Tables,
) -> Result<Examination, DatabaseError> {
    let mut connection = Connection::open(options).await?;
    let (_, layout) = super::learn(&mut connection, tables).await?;
    let mut found = Examination {
        replica: state::begin(&mut connection).await?.replica,
        ..Examination::default()
    };
    for table in Table::ALL {
        let sight = state::sight(&mut connection, &*layout, table).await?;
        found.tables.push(Visible {
            table,
            seen: sight.seen,
            estimate: sight.estimate,
            blind: sight.is_blind(),
        });
    }
    if !connection.is_sqlite() {
        rights(&mut connection, &*layout, &mut found).await?;
    }
    connection.commit().await?;
    Ok(found)
}

async fn rights(
    connection: &mut Connection,
    layout: &dyn Layout,
    found: &mut Examination,
) -> Result<(), DatabaseError> {
    let texts = |texts: &[&str]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("'{text}'")).collect();
        quoted.join(", ")
    };
    // The tables and views of these names that can be reached: what lies behind the views counts as well, wherever it is. A
    // right is none without one to its schema.
    let reached = |patterns: &[&str], right: &str| {
        format!(
            "FROM pg_catalog.pg_class AS c
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname LIKE ANY (ARRAY[{}])
                 AND has_schema_privilege(c.relnamespace, 'USAGE') AND {right}",
            texts(patterns)
        )
    };
    let all = [&Table::ALL.map(Table::as_str), layout.forbidden()].concat();
    let sql = format!(
        "SELECT (EXISTS (SELECT {}))::text,
             (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)::text,
             (SELECT string_agg(name, ', ') FROM (SELECT DISTINCT c.relname::text AS name {} ORDER BY 1) AS exposed)",
        reached(
            &all,
            "(has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(c.oid, 'INSERT, UPDATE'))"
        ),
        reached(layout.forbidden(), "has_any_column_privilege(c.oid, 'SELECT')"),
    );
    let cells = state::one(connection, "look what this role may do", &sql).await?;
    let cell = |at: usize| cells.get(at).and_then(Option::as_deref);
    found.can_write = cell(0) == Some("true");
    found.superuser = cell(1) == Some("true");
    let exposed = cell(2).unwrap_or_default().split(", ");
    found.exposed = exposed
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    Ok(())
}
