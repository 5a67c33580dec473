//! The columns of the two tables, as the shipped migration has them and as production is described.
//!
//! Neither is the other, and the controller's code fits neither; a reader must ask the database. One table of columns
//! a schema gives both the DDL and the casts of the statements. The status checks are the widened ones: those of the
//! migration forbid what the code writes.

use super::op::Table;

/// Whose columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Text addresses, no `type`, and `started_at` alone for sessions.
    Migration,
    /// INET addresses, `type` beside `vm_type`, `created_at` and `started_at` for sessions.
    Production,
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Uuid,
    Inet,
    Integer,
    /// PostgreSQL's name of the numeric type.
    Numeric(&'static str),
    Time,
}

impl Kind {
    /// The type's name. SQLite gets names whose affinity keeps the text as it is.
    pub(super) fn name(self, flavour: Flavour) -> &'static str {
        match (flavour, self) {
            (_, Kind::Integer) => "integer",
            (Flavour::Postgres, Kind::Text) => "text",
            (Flavour::Postgres, Kind::Uuid) => "uuid",
            (Flavour::Postgres, Kind::Inet) => "inet",
            (Flavour::Postgres, Kind::Numeric(name)) => name,
            (Flavour::Postgres, Kind::Time) => "timestamptz",
            (Flavour::Sqlite, _) => "text",
        }
    }
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What follows the type in the DDL.
    pub(super) rule: &'static str,
    /// The name by which the code's statements fill it; nothing fills the others.
    pub(super) filled_by: &'static str,
}

/// A column that the code writes by this name.
const fn filled(name: &'static str, kind: Kind, rule: &'static str) -> Column {
    Column {
        name,
        kind,
        rule,
        filled_by: name,
    }
}

/// A column that no statement ever fills.
const fn never(name: &'static str, kind: Kind, rule: &'static str) -> Column {
    Column {
        name,
        kind,
        rule,
        filled_by: "",
    }
}

/// A column that holds what another name is written with.
const fn also(
    name: &'static str,
    kind: Kind,
    rule: &'static str,
    filled_by: &'static str,
) -> Column {
    Column {
        name,
        kind,
        rule,
        filled_by,
    }
}

use Kind::{Inet, Integer, Numeric, Text, Time, Uuid};

const VM_STATUS: &str = "NOT NULL CHECK (status IN ('creating','running','hibernated','stopping','stopped','failed','destroyed'))";
const SESSION_STATUS: &str = "NOT NULL CHECK (status IN ('started','url_captured','user_authenticating','vm_created','ready','awaiting_user_auth','completed','failed','timeout','cancelled'))";

static VMS_MIGRATION: &[Column] = &[
    filled("vm_id", Text, "PRIMARY KEY"),
    filled("user_id", Uuid, ""),
    filled(
        "vm_type",
        Text,
        "NOT NULL CHECK (vm_type IN ('browser','cli'))",
    ),
    filled("vcpu_count", Numeric("numeric(3,1)"), ""),
    filled("memory_mb", Integer, ""),
    filled("ip_address", Text, ""),
    filled("tap_device", Text, ""),
    filled("status", Text, VM_STATUS),
    filled("firecracker_pid", Integer, ""),
    filled("socket_path", Text, ""),
    filled("cpu_usage_percent", Numeric("numeric(5,2)"), ""),
    filled("memory_usage_mb", Integer, ""),
    filled("last_heartbeat", Time, ""),
    filled("created_at", Time, ""),
    never("started_at", Time, ""),
    never("stopped_at", Time, ""),
    filled("destroyed_at", Time, ""),
];

static VMS_PRODUCTION: &[Column] = &[
    filled("vm_id", Text, "PRIMARY KEY"),
    filled("user_id", Uuid, ""),
    also("type", Text, "NOT NULL", "vm_type"),
    filled("vm_type", Text, ""),
    filled("status", Text, ""),
    filled("vcpu_count", Numeric("numeric"), ""),
    filled("memory_mb", Integer, ""),
    filled("ip_address", Inet, ""),
    filled("tap_device", Text, ""),
    filled("firecracker_pid", Integer, ""),
    filled("socket_path", Text, ""),
    filled("cpu_usage_percent", Numeric("numeric"), ""),
    filled("memory_usage_mb", Integer, ""),
    filled("last_heartbeat", Time, ""),
    never("provider", Text, ""),
    never("snapshot_path", Text, ""),
    never("memory_path", Text, ""),
    filled("created_at", Time, ""),
    filled("destroyed_at", Time, ""),
];

static SESSIONS_MIGRATION: &[Column] = &[
    filled("session_id", Uuid, "PRIMARY KEY"),
    filled("user_id", Uuid, ""),
    filled(
        "browser_vm_id",
        Text,
        "REFERENCES vms (vm_id) ON DELETE SET NULL",
    ),
    filled(
        "provider",
        Text,
        "NOT NULL CHECK (provider IN ('claude_code','codex','codex_cli','gemini_cli'))",
    ),
    filled("auth_url", Text, ""),
    never("redirect_url", Text, ""),
    filled("status", Text, SESSION_STATUS),
    also("started_at", Time, "", "created_at"),
    never("completed_at", Time, ""),
    filled("timeout_at", Time, ""),
    filled("error_message", Text, ""),
    never("retry_count", Integer, "DEFAULT 0"),
    never("vm_id", Text, ""),
    filled("vm_ip", Text, ""),
    filled("vnc_url", Text, ""),
];

static SESSIONS_PRODUCTION: &[Column] = &[
    filled("session_id", Uuid, "PRIMARY KEY"),
    filled("user_id", Uuid, ""),
    filled("provider", Text, "NOT NULL"),
    filled("status", Text, "NOT NULL"),
    filled("auth_url", Text, ""),
    never("redirect_url", Text, ""),
    filled("timeout_at", Time, ""),
    never("completed_at", Time, ""),
    filled("error_message", Text, ""),
    never("retry_count", Integer, "DEFAULT 0"),
    never("vm_id", Text, ""),
    filled("browser_vm_id", Text, ""),
    filled("vm_ip", Inet, ""),
    filled("vnc_url", Text, ""),
    filled("last_heartbeat", Time, ""),
    filled("created_at", Time, ""),
    also("started_at", Time, "", "created_at"),
];

/// Those of the contract; none on `created_at`.
static INDEXES: &[&str] = &[
    "CREATE INDEX idx_vms_user_id ON vms (user_id)",
    "CREATE INDEX idx_vms_status ON vms (status)",
    "CREATE INDEX idx_vms_type ON vms (vm_type)",
    "CREATE INDEX idx_vms_heartbeat ON vms (last_heartbeat)",
    "CREATE INDEX idx_vms_pid ON vms (firecracker_pid) WHERE firecracker_pid IS NOT NULL",
    "CREATE INDEX idx_auth_sessions_user ON auth_sessions (user_id)",
    "CREATE INDEX idx_auth_sessions_status ON auth_sessions (status)",
    "CREATE INDEX idx_auth_sessions_started ON auth_sessions (started_at)",
    "CREATE INDEX idx_auth_sessions_browser_vm ON auth_sessions (browser_vm_id) WHERE browser_vm_id IS NOT NULL",
];

impl Schema {
    pub(super) fn columns(self, table: Table) -> &'static [Column] {
        match (self, table) {
            (Schema::Migration, Table::Vms) => VMS_MIGRATION,
            (Schema::Production, Table::Vms) => VMS_PRODUCTION,
            (Schema::Migration, Table::AuthSessions) => SESSIONS_MIGRATION,
            (Schema::Production, Table::AuthSessions) => SESSIONS_PRODUCTION,
        }
    }

    /// What the simulator's own tables say of themselves.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Schema::Migration => "made by bootwatch simulate --schema migration",
            Schema::Production => "made by bootwatch simulate --schema production",
        }
    }

    /// The statements that make both tables, their indexes and, in PostgreSQL, their row-level security: the owner
    /// passes it, as the controller's service role does; everybody else sees nothing, without an error.
    pub(super) fn ddl(self, flavour: Flavour) -> Vec<String> {
        let mut ddl = Vec::new();
        for table in [Table::Vms, Table::AuthSessions] {
            let mut columns: Vec<String> = self
                .columns(table)
                .iter()
                .map(|column| {
                    let kind = column.kind.name(flavour);
                    let text = format!("{} {kind} {}", column.name, column.rule);
                    text.trim_end().to_owned()
                })
                .collect();
            if flavour == Flavour::Sqlite {
                // What PostgreSQL keeps by itself: the number of the transaction that wrote the row last.
                columns.push("xmin integer NOT NULL".to_owned());
            }
            let (name, mark, columns) = (table.name(), self.mark(), columns.join(", "));
            match flavour {
                Flavour::Sqlite => {
                    ddl.push(format!("CREATE TABLE {name} (/* {mark} */ {columns})"));
                }
                Flavour::Postgres => {
                    ddl.push(format!("CREATE TABLE {name} ({columns})"));
                    ddl.push(format!("COMMENT ON TABLE {name} IS '{mark}'"));
                }
            }
        }
        ddl.extend(INDEXES.iter().map(|index| (*index).to_owned()));
        if flavour == Flavour::Postgres {
            for table in [Table::Vms, Table::AuthSessions] {
                let name = table.name();
                ddl.push(format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"));
            }
        }
        ddl
    }
}
