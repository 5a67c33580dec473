//! The SQL that gives bootwatch its eyes and nothing else: a role that cannot write, and two views of what it may see.
//!
//! Not the tables themselves: their row-level policies read `users`, which refers to itself, and their columns hold
//! tokens and public hosts. Views run with their owner's rights, past the policies. The script looks the columns up when
//! it is applied, as the statements of the watch do, because no two installations have the same.

use super::dialect::quoted;

/// Whom to grant what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// Where the controller's tables are.
    pub schema: String,
    pub role: String,
    /// The schema that is made for the views.
    pub views: String,
}

/// A name that needs no care in a text of SQL.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.len() <= 63 && name.chars().all(plain)
}

/// The script, for psql or any other client. Applying it twice changes nothing.
#[must_use]
pub fn script(grants: &Grants) -> String {
    let Grants {
        schema,
        role,
        views,
    } = grants;
    SCRIPT
        .replace("{schema}", &quoted(schema))
        .replace("{role}", &quoted(role))
        .replace("{views}", &quoted(views))
        .replace("{schema_text}", schema)
        .replace("{role_text}", role)
        .replace("{views_text}", views)
}

const SCRIPT: &str = r#"-- What bootwatch may see of the master-controller's database: two views, through a role that cannot write.
--
-- Apply it as the owner of the tables (who may create roles and schemas), then give the role a password:
--   psql --single-transaction --set ON_ERROR_STOP=1 --file grants.sql DATABASE
--   \password {role_text}
-- Write the URL, postgres://{role_text}:PASSWORD@HOST/DATABASE, into a file that the service can read and others cannot:
--   install -m 640 -g bootwatch /dev/null /etc/bootwatch/database.url
-- and in bootwatch's configuration:
--   [database]
--   url_file = "/etc/bootwatch/database.url"
--   schema = "{views_text}"
--
-- It may be applied again, after the tables changed or bootwatch asks for it.

DO $bootwatch$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{role_text}') THEN
        CREATE ROLE {role};
    END IF;
END
$bootwatch$;
ALTER ROLE {role} LOGIN NOINHERIT CONNECTION LIMIT 3;
ALTER ROLE {role} SET default_transaction_read_only = on;
ALTER ROLE {role} SET statement_timeout = '5s';
ALTER ROLE {role} SET lock_timeout = '1s';
ALTER ROLE {role} SET idle_in_transaction_session_timeout = '10s';
-- A session whose other end is gone holds one of the three places for two minutes at most, not two hours.
ALTER ROLE {role} SET tcp_keepalives_idle = '60s';
ALTER ROLE {role} SET tcp_keepalives_interval = '20s';
ALTER ROLE {role} SET tcp_keepalives_count = 3;

CREATE SCHEMA IF NOT EXISTS {views};
REVOKE ALL ON SCHEMA {views} FROM PUBLIC;

-- The views have those of these columns that the tables have here; of several forms of one, the first that can be.
-- No column with a token, a public host or an unbounded text is among them.
DO $bootwatch$
DECLARE
    present text[];
    chosen text;
BEGIN
    SELECT array_agg(column_name::text) INTO present FROM information_schema.columns
    WHERE table_schema = '{schema_text}' AND table_name = 'vms';
    SELECT string_agg(expression || ' AS ' || name, ', ' ORDER BY name) INTO chosen FROM (
        SELECT DISTINCT ON (name) name, expression FROM (VALUES
            ('vm_id',          1, 'vm_id',                             '{vm_id}'::text[]),
            ('vm_id',          2, 'id',                                '{id}'),
            ('user_id',        1, 'user_id',                           '{user_id}'),
            ('vm_type',        1, 'COALESCE(vm_type::text, "type"::text)', '{vm_type,type}'),
            ('vm_type',        2, 'vm_type::text',                     '{vm_type}'),
            ('vm_type',        3, '"type"::text',                      '{type}'),
            ('status',         1, 'status',                            '{status}'),
            ('memory_mb',      1, 'memory_mb',                         '{memory_mb}'),
            ('vcpu_count',     1, 'vcpu_count',                        '{vcpu_count}'),
            ('ip_address',     1, 'ip_address::text',                  '{ip_address}'),
            ('tap_device',     1, 'tap_device',                        '{tap_device}'),
            ('has_process',    1, 'firecracker_pid IS NOT NULL',       '{firecracker_pid}'),
            ('created_at',     1, 'created_at',                        '{created_at}'),
            ('created_at',     2, 'started_at',                        '{started_at}'),
            ('destroyed_at',   1, 'destroyed_at',                      '{destroyed_at}'),
            ('last_heartbeat', 1, 'last_heartbeat',                    '{last_heartbeat}'),
            ('row_version',    1, 'xmin::text::bigint',                '{}')
        ) AS wanted (name, rank, expression, needs)
        WHERE needs <@ present ORDER BY name, rank
    ) AS view_columns;
    DROP VIEW IF EXISTS {views}.vms;
    EXECUTE 'CREATE VIEW {views}.vms AS SELECT ' || chosen || ' FROM {schema}.vms';

    SELECT array_agg(column_name::text) INTO present FROM information_schema.columns
    WHERE table_schema = '{schema_text}' AND table_name = 'auth_sessions';
    SELECT string_agg(expression || ' AS ' || name, ', ' ORDER BY name) INTO chosen FROM (
        SELECT DISTINCT ON (name) name, expression FROM (VALUES
            ('session_id',     1, 'session_id',                        '{session_id}'::text[]),
            ('session_id',     2, 'id',                                '{id}'),
            ('user_id',        1, 'user_id',                           '{user_id}'),
            ('provider',       1, 'provider',                          '{provider}'),
            ('status',         1, 'status',                            '{status}'),
            ('browser_vm_id',  1, 'browser_vm_id',                     '{browser_vm_id}'),
            ('browser_vm_id',  2, 'vm_id',                             '{vm_id}'),
            ('vm_ip',          1, 'vm_ip::text',                       '{vm_ip}'),
            ('has_auth_url',   1, 'auth_url IS NOT NULL',              '{auth_url}'),
            ('error_message',  1, 'left(error_message, 300)',          '{error_message}'),
            ('created_at',     1, 'COALESCE(created_at, started_at)',  '{created_at,started_at}'),
            ('created_at',     2, 'created_at',                        '{created_at}'),
            ('created_at',     3, 'started_at',                        '{started_at}'),
            ('timeout_at',     1, 'timeout_at',                        '{timeout_at}'),
            ('row_version',    1, 'xmin::text::bigint',                '{}')
        ) AS wanted (name, rank, expression, needs)
        WHERE needs <@ present ORDER BY name, rank
    ) AS view_columns;
    DROP VIEW IF EXISTS {views}.auth_sessions;
    EXECUTE 'CREATE VIEW {views}.auth_sessions AS SELECT ' || chosen || ' FROM {schema}.auth_sessions';
END
$bootwatch$;

GRANT USAGE ON SCHEMA {views} TO {role};
GRANT SELECT ON {views}.vms, {views}.auth_sessions TO {role};

-- Not applied: the controller's tables have no index on the time of creation, so each look at the newest rows reads the
-- whole table. With a hundred thousand rows or more, these make it cheap (outside of a transaction, at a quiet time; of
-- the second, name only the column that there is):
--   CREATE INDEX CONCURRENTLY vms_created_at ON {schema}.vms (created_at, vm_id);
--   CREATE INDEX CONCURRENTLY auth_sessions_created_at
--       ON {schema}.auth_sessions ((COALESCE(created_at, started_at)), session_id);
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_what_it_was_told_and_leaves_no_blank() {
        let text = script(&Grants {
            schema: "public".to_owned(),
            role: "watcher".to_owned(),
            views: "eyes".to_owned(),
        });
        assert!(
            text.contains("GRANT SELECT ON \"eyes\".vms, \"eyes\".auth_sessions TO \"watcher\";")
        );
        assert!(text.contains("FROM \"public\".vms'"));
        for blank in ["{schema", "{role", "{views"] {
            assert!(!text.contains(blank), "{blank}");
        }
        let applied: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("--"))
            .collect();
        assert!(
            !applied.iter().any(|line| line.contains("INDEX")),
            "it suggests, and makes none"
        );
        for token in ["vnc_url", "redirect_url", "credentials"] {
            assert!(!applied.iter().any(|line| line.contains(token)), "{token}");
        }
    }

    #[test]
    fn only_names_without_quotes_and_blanks_are_plain() {
        for (name, plain) in [
            ("public", true),
            ("boot-watch_2", true),
            ("", false),
            ("a b", false),
            ("x'; DROP", false),
            ("a$b", false),
            ("ä", false),
        ] {
            assert_eq!(is_plain_name(name), plain, "{name}");
        }
    }
}
