//! The controller's statements as values: what is written to which row, in the words of its code.
//!
//! Pure. A statement names columns as the code does; which columns a schema really has is the schema's matter.

use std::net::Ipv4Addr;

use crate::core::event::{SessionId, VmId};

/// The tables that the controller writes while it boots VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Vms,
    AuthSessions,
}

impl Table {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Vms => "vms",
            Table::AuthSessions => "auth_sessions",
        }
    }

    /// The primary key's column.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Table::Vms => "vm_id",
            Table::AuthSessions => "session_id",
        }
    }
}

/// Which row, and with it which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Vm(VmId),
    Session(SessionId),
}

impl Key {
    #[must_use]
    pub fn table(self) -> Table {
        match self {
            Key::Vm(_) => Table::Vms,
            Key::Session(_) => Table::AuthSessions,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Key::Vm(vm) => vm.to_string(),
            Key::Session(session) => session.to_string(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
}

/// A column's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Word(&'static str),
    Text(String),
    Uuid(u128),
    Vm(VmId),
    Ip(Ipv4Addr),
    Int(i64),
    /// A number with two decimals, times a hundred.
    Hundredths(i64),
    /// Microseconds since the epoch: PostgreSQL's resolution.
    Time(i64),
}

impl Cell {
    /// The value as SQL text; times in UTC with six decimals.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Cell::Word(word) => (*word).to_owned(),
            Cell::Text(text) => text.clone(),
            Cell::Uuid(bits) => SessionId(*bits).to_string(),
            Cell::Vm(vm) => vm.to_string(),
            Cell::Ip(ip) => ip.to_string(),
            Cell::Int(n) => n.to_string(),
            Cell::Hundredths(n) => format!("{}.{:02}", n.div_euclid(100), n.rem_euclid(100)),
            Cell::Time(micros) => jiff::Timestamp::from_microsecond(*micros)
                .map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
                .unwrap_or_default(),
        }
    }
}

/// One statement of the controller, in the moment in which it is committed: each is a transaction of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOp {
    pub verb: Verb,
    pub key: Key,
    /// The columns beside the key, by the names that the controller's code uses.
    pub columns: Vec<(&'static str, Cell)>,
}

impl TableOp {
    pub(crate) fn insert(key: Key, columns: Vec<(&'static str, Cell)>) -> TableOp {
        TableOp {
            verb: Verb::Insert,
            key,
            columns,
        }
    }

    pub(crate) fn update(key: Key, columns: Vec<(&'static str, Cell)>) -> TableOp {
        TableOp {
            verb: Verb::Update,
            key,
            columns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_written_as_postgresql_reads_them() {
        let texts: Vec<String> = [
            Cell::Hundredths(210),
            Cell::Hundredths(5),
            Cell::Time(1_767_599_400_000_042),
            Cell::Uuid(0x4000_8000_0000_0000_0000),
        ]
        .iter()
        .map(Cell::text)
        .collect();
        assert_eq!(
            texts,
            [
                "2.10",
                "0.05",
                "2026-01-05T07:50:00.000042Z",
                "00000000-0000-4000-8000-000000000000"
            ]
        );
    }
}
