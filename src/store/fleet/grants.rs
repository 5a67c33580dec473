//! The SQL that sets a fleet's database up by hand: the tables, and a role that fills them and may create nothing.

use super::remote::{EXISTS, LOCK, SCHEMA, UPGRADES};

/// The script, for psql or any other client. Applying it twice changes nothing; `role` needs no care in a text of SQL.
#[must_use]
pub fn script(role: &str) -> String {
    let upgrade = |(older, more): &(i32, &str)| {
        format!(
            "    IF (SELECT version FROM bootwatch.version) = {older} THEN\n{more}\n    END IF;\n"
        )
    };
    let upgrades: String = UPGRADES.iter().map(upgrade).collect();
    SCRIPT
        .replace("{role}", role)
        .replace("{lock}", &LOCK.to_string())
        .replace("{exists}", EXISTS)
        .replace("{schema}", SCHEMA)
        .replace("{upgrades}", &upgrades)
}

const SCRIPT: &str = r#"-- The history of a fleet of bootwatch: its tables, and the role through which the sidecars copy and read it.
--
-- Apply it as the database's owner (who may create roles and schemas), then give the role a password:
--   psql --single-transaction --set ON_ERROR_STOP=1 --file fleet.sql DATABASE
--   \password {role}
-- On each sidecar write the URL, postgres://{role}:PASSWORD@HOST/DATABASE, into a file that the service can read:
--   install -m 640 -g bootwatch /dev/null /etc/bootwatch/store.fleet.url
-- and in bootwatch's configuration:
--   [store.fleet]
--   url_file = "/etc/bootwatch/store.fleet.url"
--
-- It may be applied again, for another role or with a newer bootwatch.

DO $bootwatch$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE "{role}" LOGIN;
    END IF;
END
$bootwatch$;

-- A session whose other end is gone is over in two minutes, not in two hours.
DO $bootwatch$
BEGIN
    ALTER ROLE "{role}" SET tcp_keepalives_idle = '60s';
    ALTER ROLE "{role}" SET tcp_keepalives_interval = '20s';
    ALTER ROLE "{role}" SET tcp_keepalives_count = 3;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the settings of role {role} are not yours to change';
END
$bootwatch$;

DO $bootwatch$
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
    IF NOT ({exists}) THEN
{schema}
    END IF;
{upgrades}END
$bootwatch$;

GRANT USAGE ON SCHEMA bootwatch TO "{role}";
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bootwatch TO "{role}";
"#;
