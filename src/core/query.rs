//! What can be asked of the controller's tables: the words between the source that asks (and knows connections) and
//! `controller/tables` (which knows columns). Values only; every cell is text, so that no type of a column can surprise.

use super::row::{Row, RowKey};

/// The tables that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Vms,
    Sessions,
}

impl Table {
    pub const ALL: [Table; 2] = [Table::Vms, Table::Sessions];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Table::Vms => "vms",
            Table::Sessions => "auth_sessions",
        }
    }
}

impl RowKey {
    #[must_use]
    pub fn table(self) -> Table {
        match self {
            RowKey::Vm(_) => Table::Vms,
            RowKey::Session(_) => Table::Sessions,
        }
    }
}

impl Row {
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Row::Vm(row) => row.version,
            Row::Session(row) => row.version,
        }
    }

    /// Whether its status says that it is over.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Row::Vm(row) => row.status.is_final(),
            Row::Session(row) => row.status.is_final(),
        }
    }
}

/// Where a row stands among the others: by time, and by key where times are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Microseconds since the epoch.
    pub created_us: i64,
    /// The key as the table holds it.
    pub key: String,
}

/// One question to a table. Answers are ordered by [`Place`], except those by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// Rows created at `since_us` or later, behind `after`.
    Created {
        since_us: i64,
        after: Option<&'a Place>,
        limit: u32,
    },
    /// Rows created at `since_us` or later whose status is not final, behind `after`.
    Open {
        since_us: i64,
        after: Option<&'a Place>,
        limit: u32,
    },
    /// Rows by their keys, as the table holds them.
    Keys(&'a [String]),
}

/// Text for the database, with the values of its `$1`, `$2` and so on, all of them text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub sql: String,
    pub values: Vec<String>,
}

/// One row's columns as text.
pub type Cells = Vec<Option<String>>;

/// A row that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub row: Row,
    /// Values that are of no known word or form, and were taken as `other` or as nothing.
    pub odd: u32,
}

/// A row without an id or a time: nothing can be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row without a readable {0}")]
pub struct Unreadable(pub &'static str);

/// The columns are not those of a master-controller; the text names what is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoLayout(pub String);

/// Knows how the controller's tables may look.
pub trait Tables: Send + Sync {
    /// Asks for the columns that there are.
    fn probe(&self) -> Statement;

    /// Learns from the probe's answer how these tables look.
    fn layout(&self, columns: &[Cells]) -> Result<Box<dyn Layout>, NoLayout>;
}

/// Knows how one database's tables look. The first two cells of every answer are the row's key and its time in
/// microseconds: its [`Place`].
pub trait Layout: Send + Sync {
    /// The table's quoted name, to be used in a text.
    fn relation(&self, table: Table) -> String;

    /// Tables of the controller's of which nothing may be seen, as patterns for `LIKE`; in whatever schema they are.
    fn forbidden(&self) -> &'static [&'static str];

    /// A row's key as the table writes it, where its column's type leaves no choice.
    fn spelled(&self, key: RowKey) -> Option<String>;

    fn read(&self, table: Table, read: &Read<'_>) -> Statement;

    /// Asks for the versions of rows by their keys: key and version in each row of the answer. `None`: only their
    /// content tells one version from another.
    fn versions(&self, table: Table, keys: &[String]) -> Option<Statement>;

    /// # Errors
    /// The row has no readable id or time.
    fn decode(&self, table: Table, cells: &[Option<String>]) -> Result<Decoded, Unreadable>;
}

/// The place that the first two cells tell.
#[must_use]
pub fn place(cells: &[Option<String>]) -> Option<Place> {
    let key = cells.first()?.clone()?;
    let created_us = cells.get(1)?.as_ref()?.parse().ok()?;
    Some(Place { created_us, key })
}
