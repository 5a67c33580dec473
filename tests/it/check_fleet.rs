//! `check` and `check --live` on a fleet's database: what a start would find, and that nothing is made.

use std::net::TcpListener;
use std::process::Command;

use sqlx::Connection as _;

use crate::database::grants::printed;
use crate::postgres::{self, Database, shared};

const SECRET: &str = "hunter2";

/// What is said of it, which never tells the password.
fn checked(url: &str, live: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bootwatch.toml");
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = \"/nowhere/x.log\"\n[web]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {:?}\n",
        folder.path().join("bootwatch.db")
    );
    std::fs::write(&config, text).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_bootwatch"));
    program.args(["check", "--config"]).arg(&config);
    program.env("BOOTWATCH_STORE__FLEET__URL", url);
    if live {
        program.arg("--live");
    }
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(SECRET), "{said}");
    let lines = said
        .lines()
        .find(|line| line.starts_with("  store.fleet: ") && line.contains(" work") == live);
    lines
        .unwrap_or_else(|| panic!("of the fleet nothing: {said}"))
        .to_owned()
}

fn says(url: &str, works: bool, what: &[&str]) {
    let said = checked(url, true);
    let verdict = match works {
        true => "  store.fleet: works: ",
        false => "  store.fleet: does not work: ",
    };
    assert!(said.starts_with(verdict), "{said}");
    for what in what {
        assert!(said.contains(what), "{what}: {said}");
    }
}

async fn are_there(database: &Database) -> bool {
    sqlx::query_scalar("SELECT to_regnamespace('bootwatch') IS NOT NULL")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap()
}

async fn made_role(database: &Database, name: &str) -> String {
    let role = database.role(name);
    let sql = format!("CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'");
    database.run(&sql).await;
    role
}

#[tokio::test]
async fn a_fleet_s_database_is_looked_at_as_a_start_would_and_nothing_is_made() {
    let database = shared().database().await;
    let role = made_role(&database, "copier").await;
    let url = database.url_of(&role, SECRET);
    assert_eq!(
        checked(&url, false),
        "  store.fleet: boots and incidents are copied to a fleet's PostgreSQL"
    );
    says(
        &url,
        false,
        &[
            "may not make the fleet's tables",
            "bootwatch db grants --fleet --role ROLE",
        ],
    );
    says(&database.url(), true, &["a start makes them"]);
    assert!(!are_there(&database).await);

    let sql = printed(&["--fleet", "--role", &role]);
    postgres::run(&mut database.connect().await, &sql).await;
    says(&url, true, &["this role may fill the fleet's tables"]);

    // What it may not do is named.
    let run = |sql: String| {
        let database = &database;
        async move { database.run(&sql).await }
    };
    run(format!(
        "REVOKE INSERT, UPDATE ON bootwatch.sight FROM {role}"
    ))
    .await;
    let lacks = "lacks INSERT, UPDATE on bootwatch.sight;";
    says(&url, false, &[lacks, "bootwatch db grants --fleet"]);
    run(format!("REVOKE USAGE ON SCHEMA bootwatch FROM {role}")).await;
    says(&url, false, &["lacks USAGE on the schema bootwatch"]);
    postgres::run(&mut database.connect().await, &sql).await;

    // Older and newer tables.
    run("DROP TABLE bootwatch.sight; UPDATE bootwatch.version SET version = 2".to_owned()).await;
    says(
        &url,
        false,
        &["may not bring the fleet's tables from version 2 to 3"],
    );
    says(
        &database.url(),
        true,
        &["of version 2, and a start brings them"],
    );
    run("UPDATE bootwatch.version SET version = 4".to_owned()).await;
    let newer = "of version 4, and this bootwatch knows 3; bring it to the version of the others";
    says(&url, false, &[newer]);
    let mut raw = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    let version: i32 = sqlx::query_scalar("SELECT version FROM bootwatch.version")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(version, 4);
}

#[tokio::test]
async fn a_fleet_s_database_that_cannot_be_reached_is_told_with_what_mends_it() {
    let database = shared().database().await;
    let role = made_role(&database, "copier").await;
    let right = database.url_of(&role, SECRET);
    let wrong = database.url_of(&role, "hunter2x");
    says(
        &wrong,
        false,
        &["password authentication failed", "correct the password in"],
    );
    let (server, _) = right.rsplit_once('/').unwrap();
    says(
        &format!("{server}/nowhere"),
        false,
        &["\"nowhere\" does not exist", "database's name"],
    );
    let nobody = "postgres://b:hunter2@no-such-host.invalid/fleet?sslmode=disable";
    says(
        nobody,
        false,
        &["no-such-host.invalid:5432", "correct the host in"],
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let url = format!("postgres://b:hunter2@{at}/fleet");
    // One that takes connections and never answers.
    says(&url, false, &["did not answer within 5s"]);
    drop(taken);
    says(&url, false, &["refused", "does PostgreSQL run there"]);
}
