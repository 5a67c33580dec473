//! `bootwatch db grants`, applied by the tables' owner, who is no superuser, under row-level security.

use bootwatch::cli::Cli;
use bootwatch::core::query::{Table, Tables};
use bootwatch::core::row::{Row, RowKey};
use bootwatch::source::database::{DatabaseEvent, examine};
use clap::Parser;
use sqlx::{Connection, PgConnection};

use super::watched::{Watched, database, options, tables};
use crate::postgres::{self, Database, shared};

pub(crate) fn printed(arguments: &[&str]) -> String {
    let mut out = Vec::new();
    let command = ["bootwatch", "db", "grants"].iter().chain(arguments);
    let cli = Cli::try_parse_from(command).unwrap();
    bootwatch::cli::run(cli, &mut out, &mut Vec::new()).unwrap();
    String::from_utf8(out).unwrap()
}

/// The sample's tables, owned by somebody who may make roles and schemas and is no superuser; row-level security is on.
async fn owned(database: &Database) -> PgConnection {
    database.restore_controller_run().await;
    let owner = database.role("owner");
    database
        .run(&format!(
            "CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'owner';
             GRANT CREATE ON DATABASE {} TO {owner};
             ALTER TABLE vms OWNER TO {owner}; ALTER TABLE auth_sessions OWNER TO {owner};",
            database.name
        ))
        .await;
    PgConnection::connect(&database.url_of(&owner, "owner"))
        .await
        .unwrap()
}

async fn refusal(connection: &mut PgConnection, sql: &str) -> String {
    match sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
    {
        Ok(_) => panic!("{sql} was allowed"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn the_role_reads_its_views_and_nothing_else() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("bootwatch");
    let sql = printed(&["--schema", "public", "--role", &role]);
    postgres::run(&mut owner, &sql).await;
    postgres::run(&mut owner, &sql).await;
    postgres::run(&mut owner, &format!("ALTER ROLE {role} PASSWORD 'reader'")).await;

    // It sees every row, though row-level security hides them all from it in the tables.
    let url = database.url_of(&role, "reader");
    let mut watched = Watched::of(
        options(&super::watched::database(&url, "bootwatch")),
        "bootwatch",
        None,
    );
    let polled = watched.polled().await;
    assert_eq!(
        (watched.count(Table::Vms), watched.count(Table::Sessions)),
        (97, 83)
    );
    assert_eq!((polled.odd, polled.unreadable), (0, 0));
    let mut of_owner = Watched::start(&database.url());
    of_owner.polled().await;
    // Versions included; the views cut long error texts sooner.
    let comparable = |rows: &std::collections::BTreeMap<RowKey, Row>| -> Vec<Row> {
        let mut rows: Vec<Row> = rows.values().cloned().collect();
        for row in &mut rows {
            if let Row::Session(row) = row {
                row.error = row
                    .error
                    .take()
                    .map(|text| text.chars().take(200).collect());
            }
        }
        rows
    };
    assert_eq!(comparable(&watched.rows), comparable(&of_owner.rows));
    drop((watched, of_owner));

    let mut reader = PgConnection::connect(&url).await.unwrap();
    for (sql, why) in [
        (
            "SELECT vm_id FROM public.vms",
            "permission denied for table vms",
        ),
        (
            "SELECT status FROM public.auth_sessions",
            "permission denied for table auth_sessions",
        ),
        (
            "SELECT email FROM public.users",
            "permission denied for table users",
        ),
        (
            "SELECT encrypted_credentials FROM public.provider_credentials",
            "permission denied",
        ),
        (
            "SELECT auth_url FROM bootwatch.auth_sessions",
            "column \"auth_url\" does not exist",
        ),
        (
            "SELECT vnc_url FROM bootwatch.auth_sessions",
            "column \"vnc_url\" does not exist",
        ),
        (
            "SELECT socket_path FROM bootwatch.vms",
            "column \"socket_path\" does not exist",
        ),
        ("CREATE TABLE bootwatch.mine ()", "read-only transaction"),
        ("CREATE TEMPORARY TABLE mine ()", "read-only transaction"),
    ] {
        let said = refusal(&mut reader, sql).await;
        // Policies are looked at before rights, and the one on users refers to itself.
        let recursion = said.contains("infinite recursion detected in policy");
        assert!(said.contains(why) || recursion, "{sql}: {said}");
    }
    // What keeps it from writing is not the default alone.
    postgres::run(&mut reader, "SET default_transaction_read_only = off").await;
    for sql in [
        "DELETE FROM bootwatch.vms",
        "UPDATE bootwatch.auth_sessions SET status = 'completed'",
        "INSERT INTO public.vms (vm_id) VALUES ('vm-1')",
        "CREATE TABLE bootwatch.mine ()",
        "CREATE SCHEMA mine",
    ] {
        let said = refusal(&mut reader, sql).await;
        assert!(said.contains("permission denied"), "{sql}: {said}");
    }
    let settings: (String, String, String, String, bool, i32) = sqlx::query_as(
        "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
                current_setting('idle_in_transaction_session_timeout'),
                concat_ws('/', current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'),
                    current_setting('tcp_keepalives_count')),
                rolinherit, rolconnlimit
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut reader)
    .await
    .unwrap();
    let [statement, lock, idle, keepalives] = ["5s", "1s", "10s", "60/20/3"].map(str::to_owned);
    assert_eq!(settings, (statement, lock, idle, keepalives, false, 3));
}

#[tokio::test]
async fn what_check_says_of_a_role_fits_what_it_may_do() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("bootwatch");
    postgres::run(&mut owner, &printed(&["--role", &role])).await;
    postgres::run(&mut owner, &format!("ALTER ROLE {role} PASSWORD 'reader'")).await;
    let look = async |url: String, schema: &str| {
        let options = options(&super::watched::database(&url, schema));
        examine(&options, &tables(&options, schema)).await.unwrap()
    };
    let reader = look(database.url_of(&role, "reader"), "bootwatch").await;
    assert_eq!((reader.superuser, reader.can_write), (false, false));
    assert_eq!(reader.exposed, [] as [&str; 0]);
    assert_eq!(reader.tables[0].seen, 97);
    assert!(reader.tables.iter().all(|table| !table.blind));
    let owner = look(database.url_of(&database.role("owner"), "owner"), "public").await;
    assert_eq!((owner.superuser, owner.can_write), (false, true));
    let superuser = look(database.url(), "public").await;
    assert!(superuser.superuser);
    // What it may do behind the views counts, too.
    for (right, can_write, exposed) in [
        ("INSERT ON public.vms", true, &[] as &[&str]),
        ("UPDATE (status) ON public.vms", true, &[]),
        (
            "SELECT ON public.provider_credentials",
            false,
            &["provider_credentials"],
        ),
    ] {
        let change = |verb: &str, word: &str| {
            format!("GRANT USAGE ON SCHEMA public TO {role}; {verb} {right} {word} {role}")
        };
        database.run(&change("GRANT", "TO")).await;
        let reader = look(database.url_of(&role, "reader"), "bootwatch").await;
        assert_eq!(
            (reader.can_write, reader.exposed.as_slice()),
            (
                can_write,
                &exposed
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()[..]
            ),
            "{right}"
        );
        database.run(&change("REVOKE", "FROM")).await;
    }
}

/// The forms that the migration and production have, not only the sample's.
#[tokio::test]
async fn the_views_fit_tables_with_other_columns() {
    let database = shared().database().await;
    database
        .run(
            "CREATE SCHEMA plain;
             CREATE TABLE plain.vms (vm_id text, vm_type text, status text, ip_address inet, created_at timestamptz);
             CREATE TABLE plain.auth_sessions (session_id uuid, provider text, status text, started_at timestamptz);
             INSERT INTO plain.vms VALUES ('vm-00000000-0000-4000-8000-000000000001', 'cli', 'running', '192.168.100.9', now());
             INSERT INTO plain.auth_sessions VALUES (gen_random_uuid(), 'codex', 'started', now());",
        )
        .await;
    let role = database.role("bootwatch");
    database
        .run(&printed(&[
            "--schema", "plain", "--role", &role, "--views", "eyes",
        ]))
        .await;
    database
        .run(&format!("ALTER ROLE {role} PASSWORD 'reader'"))
        .await;
    let url = database.url_of(&role, "reader");
    let mut watched = Watched::of(
        options(&super::watched::database(&url, "eyes")),
        "eyes",
        None,
    );
    let polled = watched.polled().await;
    assert_eq!((watched.rows.len(), polled.odd), (2, 0));
}

#[tokio::test]
async fn a_role_from_which_policies_hide_everything_is_blind_until_it_is_let_in() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("naive");
    let to_all = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'naive'; GRANT SELECT ON vms, auth_sessions TO {role};"
    );
    postgres::run(&mut owner, &to_all).await;
    database
        .run(&format!(
            "GRANT SELECT ON users TO {role}; DROP POLICY users_select_own ON users; \
                       GRANT USAGE ON SCHEMA auth TO {role}"
        ))
        .await;
    let url = database.url_of(&role, "naive");
    let mut watched = Watched::start(&url);
    for table in Table::ALL {
        let hidden = watched
            .until(|event| match event {
                DatabaseEvent::Blind { table, estimate } => Some((*table, *estimate)),
                _ => None,
            })
            .await;
        assert_eq!(hidden, (table, if table == Table::Vms { 97 } else { 83 }));
    }
    watched.polled().await;
    assert_eq!(watched.rows.len(), 0);
    postgres::run(
        &mut owner,
        &format!("CREATE POLICY see ON vms TO {role} USING (true)"),
    )
    .await;
    watched
        .until(|event| (*event == DatabaseEvent::Sighted { table: Table::Vms }).then_some(()))
        .await;
    watched.polled().await;
    assert_eq!(watched.count(Table::Vms), 97);
    assert_eq!(watched.history, 97, "nothing was seen before");
    // Blind again: rows that are hidden are not rows that are gone.
    postgres::run(&mut owner, "DROP POLICY see ON vms").await;
    let gone = watched
        .until(|event| match event {
            DatabaseEvent::Blind {
                table: Table::Vms, ..
            } => Some(0),
            DatabaseEvent::Polled(polled) if !polled.gone.is_empty() => Some(polled.gone.len()),
            _ => None,
        })
        .await;
    assert_eq!(gone, 0);
    assert!(watched.fresh_look().await.gone.is_empty());
}

#[tokio::test]
async fn what_is_let_out_is_read_although_the_look_that_noticed_failed() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("halfway");
    postgres::run(
        &mut owner,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'halfway'; GRANT SELECT ON vms, auth_sessions TO {role};
             DROP POLICY vms_select_own ON vms; DROP POLICY auth_sessions_select_own ON auth_sessions;
             CREATE POLICY see ON auth_sessions TO {role} USING (true)"
        ),
    )
    .await;
    postgres::run(
        &mut owner,
        "UPDATE vms SET created_at = created_at - interval '5 hours'",
    )
    .await;
    let mut watched = Watched::start(&database.url_of(&role, "halfway"));
    watched.polled().await;
    assert_eq!((watched.count(Table::Vms), watched.history), (0, 83));
    postgres::run(
        &mut owner,
        &format!(
            "BEGIN; CREATE POLICY see ON vms TO {role} USING (true);
             ALTER POLICY see ON auth_sessions USING (1 / (0 * random())::int = 1); COMMIT"
        ),
    )
    .await;
    watched.down().await;
    postgres::run(&mut owner, "ALTER POLICY see ON auth_sessions USING (true)").await;
    watched.polled().await;
    assert_eq!((watched.count(Table::Vms), watched.history), (97, 83 + 97));
}

#[tokio::test]
async fn a_table_that_is_hidden_makes_no_history_of_the_other_s_rows() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("half");
    postgres::run(
        &mut owner,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'half'; GRANT SELECT ON vms, auth_sessions TO {role};
             DROP POLICY vms_select_own ON vms; DROP POLICY auth_sessions_select_own ON auth_sessions;
             CREATE POLICY see ON vms TO {role} USING (true)"
        ),
    )
    .await;
    let mut watched = Watched::start(&database.url_of(&role, "half"));
    watched.polled().await;
    assert_eq!((watched.rows.len(), watched.history), (97, 97));
    postgres::run(
        &mut owner,
        "UPDATE vms SET status = 'destroyed' WHERE status = 'running'",
    )
    .await;
    watched.fresh_look().await;
    assert!(watched.told.values().any(|times| *times == 2));
    assert_eq!(watched.history, 97, "what changes is of now");
    postgres::run(
        &mut owner,
        &format!("CREATE POLICY see ON auth_sessions TO {role} USING (true)"),
    )
    .await;
    watched.fresh_look().await;
    assert_eq!(watched.count(Table::Sessions), 83);
    assert_eq!(watched.history, 97 + 83);
}

/// The watch's own statements ask for no more columns than these rights give.
#[tokio::test]
async fn rights_on_single_columns_suffice_where_a_policy_lets_the_role_in() {
    let database = shared().database().await;
    let mut owner = owned(&database).await;
    let role = database.role("columns");
    postgres::run(
        &mut owner,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'columns';
             GRANT SELECT (vm_id, vm_type, status, created_at, destroyed_at) ON vms TO {role};
             GRANT SELECT (session_id, status, started_at, xmin) ON auth_sessions TO {role};
             CREATE POLICY see ON vms TO {role} USING (true);
             CREATE POLICY see ON auth_sessions TO {role} USING (true);
             DROP POLICY vms_select_own ON vms; DROP POLICY auth_sessions_select_own ON auth_sessions;"
        ),
    )
    .await;
    let url = database.url_of(&role, "columns");
    let mut watched = Watched::start(&url);
    watched.polled().await;
    assert_eq!(watched.rows.len(), 180);
    watched.fresh_look().await;
    assert!(
        watched.told.values().all(|times| *times == 1),
        "known by content, or by xmin"
    );
}

#[test]
fn the_probe_lists_no_more_than_two_tables() {
    let options = options(&database("postgres://a:b@127.0.0.1/c", "public"));
    let probe = tables(&options, "public").probe();
    assert_eq!(probe.values, ["public"]);
    assert!(!probe.sql.contains("users"));
}
