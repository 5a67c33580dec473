//! From the columns that there are to the statements that ask them.

use std::collections::BTreeMap;

use super::decode;
use super::dialect::{Dialect, TimeKind, quoted};
use crate::core::query::{Cells, Decoded, Layout, NoLayout, Read, Statement, Table, Unreadable};
use crate::core::row::RowKey;

/// VMs that may still change. Statuses that no version writes are left out, so that the index on `status` serves; a row
/// with one is seen while it is young.
const OPEN_VMS: &[&str] = &[
    "created",
    "creating",
    "running",
    "hibernated",
    "stopping",
    "stopped",
    "failed",
];
/// Sessions that may still change, by any version.
const OPEN_SESSIONS: &[&str] = &[
    "started",
    "pending",
    "initializing",
    "vm_creating",
    "vm_started",
    "vm_created",
    "ready",
    "waiting",
    "url_captured",
    "user_authenticating",
    "authenticating",
    "awaiting_user_auth",
    "in_progress",
];
/// Error texts are cut here by the database, and by [`decode`] once more after redaction.
pub(super) const ERROR_CUT: usize = 1_200;

/// The columns of one table that can be read, by name, with their types.
type Columns = BTreeMap<String, String>;

/// How the tables of one database look.
#[derive(Clone, Debug)]
pub(super) struct Found {
    vms: Shape,
    sessions: Shape,
}

/// One table's statements, up to what each question adds.
#[derive(Clone, Debug)]
struct Shape {
    dialect: Dialect,
    relation: String,
    /// What is selected, as text, in the order that [`decode`] takes.
    select: String,
    key: String,
    key_type: String,
    /// What tells one version of a row from another, as text, where anything but its content does.
    version: Option<String>,
    created: String,
    created_kind: TimeKind,
    /// Whether a row is open, apart from its age.
    open: String,
}

impl Found {
    pub(super) fn new(
        dialect: Dialect,
        schema: &str,
        columns: &[Cells],
    ) -> Result<Found, NoLayout> {
        let mut tables: BTreeMap<&str, Columns> = BTreeMap::new();
        for row in columns {
            if let [Some(table), Some(column), kind] = &row[..] {
                let kind = kind.clone().unwrap_or_default();
                tables
                    .entry(table)
                    .or_default()
                    .insert(column.clone(), kind);
            }
        }
        let named = |table: Table| {
            let name = table.as_str();
            let columns = tables.remove(name).ok_or_else(|| {
                NoLayout(format!(
                    "there is no table or view {name} in schema {schema} that this role may read; \
                     correct database.schema, or apply what `bootwatch db grants` prints"
                ))
            })?;
            let relation = dialect.relation(schema, name);
            Ok(Asked {
                dialect,
                relation,
                name,
                columns,
            })
        };
        let [vms, sessions] = Table::ALL.map(named);
        Ok(Found {
            vms: vms?.vms()?,
            sessions: sessions?.sessions()?,
        })
    }

    fn shape(&self, table: Table) -> &Shape {
        match table {
            Table::Vms => &self.vms,
            Table::Sessions => &self.sessions,
        }
    }
}

impl Layout for Found {
    fn relation(&self, table: Table) -> String {
        self.shape(table).relation.clone()
    }

    fn forbidden(&self) -> &'static [&'static str] {
        &[
            "provider_credentials",
            "cli_credentials",
            "prompts",
            "users",
            "profiles",
            "mcp_user_tokens",
            "user_api_keys",
            "user_proxy_ports",
            r"chat\_%",
        ]
    }

    fn spelled(&self, key: RowKey) -> Option<String> {
        let Shape {
            dialect, key_type, ..
        } = self.shape(key.table());
        let text = match key {
            RowKey::Vm(vm) => vm.to_string().replacen("vm-", "", 1),
            RowKey::Session(session) => session.to_string(),
        };
        (*dialect == Dialect::Postgres && key_type == "uuid").then_some(text)
    }

    fn read(&self, table: Table, read: &Read<'_>) -> Statement {
        self.shape(table).read(read)
    }

    fn versions(&self, table: Table, keys: &[String]) -> Option<Statement> {
        let Shape {
            dialect,
            relation,
            key,
            key_type,
            version,
            ..
        } = self.shape(table);
        let (key_text, version) = (dialect.text(key), version.as_ref()?);
        let among = dialect.among(key, "$1", key_type);
        Some(Statement {
            sql: format!("SELECT {key_text}, {version} FROM {relation} WHERE {among}"),
            values: vec![dialect.list(keys)],
        })
    }

    fn decode(&self, table: Table, cells: &[Option<String>]) -> Result<Decoded, Unreadable> {
        match table {
            Table::Vms => decode::vm(cells),
            Table::Sessions => decode::session(cells),
        }
    }
}

impl Shape {
    fn read(&self, read: &Read<'_>) -> Statement {
        let Shape {
            relation, select, ..
        } = self;
        let mut values = Vec::new();
        let (condition, limit) = match read {
            Read::Keys(keys) => {
                values.push(self.dialect.list(keys));
                (self.dialect.among(&self.key, "$1", &self.key_type), None)
            }
            Read::Created {
                since_us,
                after,
                limit,
            }
            | Read::Open {
                since_us,
                after,
                limit,
            } => {
                let created = self.dialect.instant(&self.created, self.created_kind);
                let bound = |value| self.dialect.bound(value, self.created_kind);
                values.push(since_us.to_string());
                let mut condition = format!("{created} >= {}", bound("$1"));
                if matches!(read, Read::Open { .. }) {
                    condition = format!("{condition} AND {}", self.open);
                }
                if let Some(place) = after {
                    values.push(place.created_us.to_string());
                    values.push(place.key.clone());
                    let key = self.dialect.key("$3", &self.key_type);
                    condition = format!(
                        "{condition} AND ({created}, {}) > ({}, {key})",
                        self.key,
                        bound("$2")
                    );
                }
                (condition, Some((created, *limit)))
            }
        };
        let mut sql = format!("SELECT {select} FROM {relation} WHERE {condition}");
        if let Some((created, limit)) = limit {
            sql = format!("{sql} ORDER BY {created}, {} LIMIT {limit}", self.key);
        }
        Statement { sql, values }
    }
}

/// A table whose columns are being looked for.
struct Asked {
    dialect: Dialect,
    relation: String,
    name: &'static str,
    columns: Columns,
}

impl Asked {
    fn vms(&self) -> Result<Shape, NoLayout> {
        let key = self.key(&["vm_id", "id"])?;
        let (created, created_kind) = self.time(&["created_at", "started_at"], 1)?;
        let select = [
            self.dialect.text(&key),
            self.dialect
                .text(&self.dialect.micros(&created, created_kind)),
            self.version(),
            self.either(&["user_id"]),
            self.either(&["vm_type", "type"]),
            self.either(&["status"]),
            self.either(&["ip_address"]),
            self.filled("has_process", "firecracker_pid"),
            self.moment("destroyed_at"),
            self.moment("last_heartbeat"),
            self.either(&["memory_mb"]),
        ];
        let undestroyed = if self.has("destroyed_at") {
            " AND destroyed_at IS NULL"
        } else {
            ""
        };
        let open = format!("{}{undestroyed}", self.status_among(OPEN_VMS)?);
        Ok(self.shape(select.join(", "), key, (created, created_kind), open))
    }

    fn sessions(&self) -> Result<Shape, NoLayout> {
        let key = self.key(&["session_id", "id"])?;
        // Where there are both, either may be null.
        let (created, created_kind) = self.time(&["created_at", "started_at"], 2)?;
        let vm = if self.has("browser_vm_id") {
            "browser_vm_id"
        } else {
            "vm_id"
        };
        let error = match self.has("error_message") {
            true => self.dialect.left("error_message", ERROR_CUT),
            false => "NULL".to_owned(),
        };
        let select = [
            self.dialect.text(&key),
            self.dialect
                .text(&self.dialect.micros(&created, created_kind)),
            self.version(),
            self.either(&["user_id"]),
            self.either(&["provider"]),
            self.either(&["status"]),
            self.either(&[vm]),
            self.either(&["vm_ip"]),
            self.filled("has_auth_url", "auth_url"),
            error,
            self.moment("timeout_at"),
        ];
        let open = self.status_among(OPEN_SESSIONS)?;
        Ok(self.shape(select.join(", "), key, (created, created_kind), open))
    }

    fn shape(
        &self,
        select: String,
        key: String,
        (created, created_kind): (String, TimeKind),
        open: String,
    ) -> Shape {
        let key_type = self.kind(key.trim_matches('"')).to_owned();
        Shape {
            dialect: self.dialect,
            relation: self.relation.clone(),
            select,
            key,
            key_type,
            version: self.version_column().map(|name| self.dialect.text(name)),
            created,
            created_kind,
            open,
        }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    fn kind(&self, column: &str) -> &str {
        self.columns.get(column).map_or("", String::as_str)
    }

    fn missing(&self, wanted: &str) -> NoLayout {
        NoLayout(format!(
            "{} has no column {wanted} that this role may read; is it the master-controller's?",
            self.name
        ))
    }

    fn key(&self, names: &[&str]) -> Result<String, NoLayout> {
        let found = names.iter().find(|name| self.has(name));
        found
            .map(|name| quoted(name))
            .ok_or_else(|| self.missing(&names.join(" or ")))
    }

    /// The first `most` of the time columns that there are, the later ones standing in for nulls.
    fn time(&self, names: &[&str], most: usize) -> Result<(String, TimeKind), NoLayout> {
        let kinds: Vec<(&str, TimeKind)> = names
            .iter()
            .filter(|name| self.has(name))
            .filter_map(|name| Some((*name, TimeKind::of(self.dialect, self.kind(name))?)))
            .take(most)
            .collect();
        match kinds[..] {
            [] => Err(self.missing(&format!("{} with a time", names.join(" or ")))),
            [(first, kind), (second, other)] if kind == other => Ok((
                format!("COALESCE({}, {})", quoted(first), quoted(second)),
                kind,
            )),
            [(first, kind), ..] => Ok((quoted(first), kind)),
        }
    }

    /// The first of these columns that is not null, as text.
    fn either(&self, names: &[&str]) -> String {
        let texts: Vec<String> = names
            .iter()
            .filter(|name| self.has(name))
            .map(|name| self.dialect.text(&quoted(name)))
            .collect();
        match &texts[..] {
            [] => "NULL".to_owned(),
            [text] => text.clone(),
            texts => format!("COALESCE({})", texts.join(", ")),
        }
    }

    /// A column that says whether another is filled, or that other one.
    fn filled(&self, flag: &str, column: &str) -> String {
        match (self.has(flag), self.has(column)) {
            (true, _) => self.dialect.text(&quoted(flag)),
            (false, true) => self
                .dialect
                .text(&format!("{} IS NOT NULL", quoted(column))),
            (false, false) => "NULL".to_owned(),
        }
    }

    fn moment(&self, column: &str) -> String {
        match TimeKind::of(self.dialect, self.kind(column)) {
            Some(kind) if self.has(column) => self
                .dialect
                .text(&self.dialect.micros(&quoted(column), kind)),
            _ => "NULL".to_owned(),
        }
    }

    fn version_column(&self) -> Option<&'static str> {
        ["row_version", "xmin"]
            .into_iter()
            .find(|name| self.has(name))
    }

    /// Null where nothing tells one version of a row from another; the row's content then does.
    fn version(&self) -> String {
        let column = self.version_column();
        column.map_or("NULL".to_owned(), |name| self.dialect.text(name))
    }

    fn status_among(&self, words: &[&str]) -> Result<String, NoLayout> {
        if !self.has("status") {
            return Err(self.missing("status"));
        }
        // A bare column keeps its index; an enum must not be compared with a word that it does not have.
        let status = match (self.dialect, self.kind("status")) {
            (Dialect::Postgres, "text" | "character varying") | (Dialect::Sqlite, _) => "status",
            (Dialect::Postgres, _) => "status::text",
        };
        Ok(format!("{status} IN ('{}')", words.join("', '")))
    }
}
