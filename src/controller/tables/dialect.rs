//! How PostgreSQL and SQLite say the same thing.

use crate::core::query::Statement;

/// Which database holds the tables. SQLite is the demo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// Times outside of these are no times: `infinity`, and years that overflow microseconds.
const FIRST_YEAR: &str = "'0001-01-01'";
const LAST_YEAR: &str = "'9999-12-31'";

impl Dialect {
    /// Rows of (table, column, type). Only columns that the role may read are listed; so is `xmin`, where there is one.
    pub(super) fn probe(self, schema: &str) -> Statement {
        match self {
            Dialect::Postgres => Statement {
                sql: "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
                      WHERE table_schema = $1::text AND table_name IN ('vms', 'auth_sessions') \
                      UNION ALL \
                      SELECT c.relname::text, 'xmin', 'xid' FROM pg_catalog.pg_class c \
                      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                      WHERE n.nspname = $1::text AND c.relname IN ('vms', 'auth_sessions') \
                      AND CASE WHEN c.relkind = 'r' THEN pg_catalog.has_column_privilege(c.oid, 'xmin', 'SELECT') END"
                    .to_owned(),
                values: vec![schema.to_owned()],
            },
            Dialect::Sqlite => Statement {
                sql: "SELECT m.name, p.name, lower(p.type) FROM sqlite_schema m JOIN pragma_table_info(m.name) p \
                      WHERE m.name IN ('vms', 'auth_sessions')"
                    .to_owned(),
                values: Vec::new(),
            },
        }
    }

    pub(super) fn relation(self, schema: &str, table: &str) -> String {
        match self {
            Dialect::Postgres => format!("{}.{}", quoted(schema), quoted(table)),
            Dialect::Sqlite => quoted(table),
        }
    }

    pub(super) fn text(self, expression: &str) -> String {
        match self {
            Dialect::Postgres => format!("({expression})::text"),
            Dialect::Sqlite => format!("CAST({expression} AS TEXT)"),
        }
    }

    /// A time as microseconds; null where it is none.
    pub(super) fn micros(self, expression: &str, kind: TimeKind) -> String {
        match (self, kind) {
            (Dialect::Postgres, _) => {
                let zone = if kind == TimeKind::Local {
                    " AT TIME ZONE 'UTC'"
                } else {
                    ""
                };
                format!(
                    "(CASE WHEN {expression} >= {FIRST_YEAR} AND {expression} < {LAST_YEAR} \
                     THEN (extract(epoch FROM ({expression}){zone}) * 1000000)::bigint END)"
                )
            }
            (Dialect::Sqlite, TimeKind::Number) => {
                format!("(CAST({expression} AS INTEGER) * 1000)")
            }
            (Dialect::Sqlite, _) => format!(
                "(CAST(round((julianday({expression}) - 2440587.5) * 86400000.0) AS INTEGER) * 1000)"
            ),
        }
    }

    /// The time that a value in microseconds means, to be compared with a column (or with [`Self::instant`] of one).
    pub(super) fn bound(self, value: &str, kind: TimeKind) -> String {
        match self {
            Dialect::Postgres => {
                let zone = if kind == TimeKind::Local {
                    " AT TIME ZONE 'UTC'"
                } else {
                    ""
                };
                format!(
                    "((timestamptz 'epoch' + {value}::text::bigint * interval '1 microsecond'){zone})"
                )
            }
            Dialect::Sqlite => format!("CAST({value} AS INTEGER)"),
        }
    }

    /// A time as it is ordered and compared: the column itself, so that its index serves.
    pub(super) fn instant(self, expression: &str, kind: TimeKind) -> String {
        match self {
            Dialect::Postgres => expression.to_owned(),
            Dialect::Sqlite => self.micros(expression, kind),
        }
    }

    /// A value as a key's column has it.
    pub(super) fn key(self, value: &str, column: &str) -> String {
        match (self, column) {
            (Dialect::Postgres, "uuid" | "bigint" | "integer") => {
                format!("{value}::text::{column}")
            }
            (Dialect::Postgres, _) => format!("{value}::text"),
            (Dialect::Sqlite, _) => value.to_owned(),
        }
    }

    /// Whether a key is among those of one value (see [`Self::list`]).
    pub(super) fn among(self, expression: &str, value: &str, column: &str) -> String {
        match self {
            Dialect::Postgres => {
                let kind = if matches!(column, "uuid" | "bigint" | "integer") {
                    column
                } else {
                    "text"
                };
                format!("{expression} = ANY({value}::text::{kind}[])")
            }
            Dialect::Sqlite => format!("{expression} IN (SELECT value FROM json_each({value}))"),
        }
    }

    /// Keys as one value.
    pub(super) fn list(self, keys: &[String]) -> String {
        let quoted: Vec<String> = keys
            .iter()
            .map(|key| format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")))
            .collect();
        let inner = quoted.join(",");
        match self {
            Dialect::Postgres => format!("{{{inner}}}"),
            Dialect::Sqlite => format!("[{inner}]"),
        }
    }

    /// At most so many characters.
    pub(super) fn left(self, expression: &str, characters: usize) -> String {
        match self {
            Dialect::Postgres => format!("left(({expression})::text, {characters})"),
            Dialect::Sqlite => format!("substr({expression}, 1, {characters})"),
        }
    }
}

/// How a column holds times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeKind {
    /// With its zone.
    Zoned,
    /// Without one: UTC, as the platform sets it.
    Local,
    /// Milliseconds since the epoch (SQLite).
    Number,
}

impl TimeKind {
    /// By the column's type; `None` if that holds no time.
    pub(super) fn of(dialect: Dialect, column: &str) -> Option<TimeKind> {
        match (dialect, column) {
            (Dialect::Postgres, "timestamp with time zone") => Some(TimeKind::Zoned),
            (Dialect::Postgres, "timestamp without time zone") => Some(TimeKind::Local),
            (Dialect::Postgres, _) => None,
            (Dialect::Sqlite, kind) if kind.contains("int") => Some(TimeKind::Number),
            (Dialect::Sqlite, _) => Some(TimeKind::Zoned),
        }
    }
}

/// A name as an identifier, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
