//! A statement of the controller as SQL for one schema in one database.

use super::op::{TableOp, Verb};
use super::schema::{Column, Flavour, Schema};

/// SQL with numbered places, and the texts that go there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<String>,
}

/// What the schema has no column for is left out; an update of which nothing remains is none.
/// `transaction` is the row version that an SQLite row gets, as PostgreSQL's rows get theirs by themselves.
pub(super) fn statement(
    op: &TableOp,
    schema: Schema,
    flavour: Flavour,
    transaction: u64,
) -> Option<Statement> {
    let table = op.key.table();
    let given = |column: &Column| {
        if column.name == table.key() {
            return Some(op.key.text());
        }
        let cell = op
            .columns
            .iter()
            .find(|(name, _)| *name == column.filled_by);
        cell.map(|(_, cell)| cell.text())
    };
    let mut places: Vec<(&str, &str, String)> = schema
        .columns(table)
        .iter()
        .filter_map(|column| Some((column.name, column.kind.name(flavour), given(column)?)))
        .collect();
    if op.verb == Verb::Update && places.len() == 1 {
        return None;
    }
    if flavour == Flavour::Sqlite {
        places.push(("xmin", "integer", transaction.to_string()));
    }
    let place = |n: usize, kind: &str| match flavour {
        Flavour::Sqlite => format!("?{}", n + 1),
        Flavour::Postgres => format!("${}::{kind}", n + 1),
    };
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut set = Vec::new();
    let mut row = String::new();
    for (n, (name, kind, _)) in places.iter().enumerate() {
        let value = place(n, kind);
        if *name == table.key() {
            row = format!("{name} = {value}");
        } else {
            set.push(format!("{name} = {value}"));
        }
        names.push(*name);
        values.push(value);
    }
    let (into, names, values, set) = (
        table.name(),
        names.join(", "),
        values.join(", "),
        set.join(", "),
    );
    let sql = match op.verb {
        Verb::Insert => format!("INSERT INTO {into} ({names}) VALUES ({values})"),
        Verb::Update => format!("UPDATE {into} SET {set} WHERE {row}"),
    };
    let values = places.into_iter().map(|(_, _, value)| value).collect();
    Some(Statement { sql, values })
}

#[cfg(test)]
mod tests {
    use super::super::op::{Cell, Key};
    use super::*;
    use crate::core::event::{SessionId, VmId};

    fn insert() -> TableOp {
        let columns = vec![
            ("vm_type", Cell::Word("browser")),
            ("ip_address", Cell::Ip([127, 0, 0, 2].into())),
        ];
        TableOp::insert(Key::Vm(VmId(1)), columns)
    }

    #[test]
    fn production_gets_both_types_and_an_inet() {
        let made = statement(&insert(), Schema::Production, Flavour::Postgres, 7).unwrap();
        assert_eq!(
            made.sql,
            "INSERT INTO vms (vm_id, type, vm_type, ip_address) VALUES ($1::text, $2::text, $3::text, $4::inet)"
        );
        let vm = VmId(1).to_string();
        assert_eq!(
            made.values,
            [vm.as_str(), "browser", "browser", "127.0.0.2"]
        );
    }

    #[test]
    fn sqlite_rows_carry_their_version() {
        let made = statement(&insert(), Schema::Migration, Flavour::Sqlite, 7).unwrap();
        assert_eq!(
            made.sql,
            "INSERT INTO vms (vm_id, vm_type, ip_address, xmin) VALUES (?1, ?2, ?3, ?4)"
        );
        assert_eq!(made.values.last().unwrap(), "7");
    }

    #[test]
    fn what_a_schema_has_no_column_for_is_left_out() {
        let key = Key::Session(SessionId(2));
        let beat = TableOp::update(key, vec![("last_heartbeat", Cell::Time(0))]);
        assert_eq!(
            statement(&beat, Schema::Migration, Flavour::Postgres, 1),
            None
        );
        let made = statement(&beat, Schema::Production, Flavour::Postgres, 1).unwrap();
        assert_eq!(
            made.sql,
            "UPDATE auth_sessions SET last_heartbeat = $2::timestamptz WHERE session_id = $1::uuid"
        );
    }
}
