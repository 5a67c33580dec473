//! A throwaway PostgreSQL for tests: a cluster in a temporary directory, on a free port of loopback, without a socket
//! file, stopped when dropped. It refuses to run as root, so a test that does hands it to an ordinary user.
//!
//! [`shared`] gives the tests that run at the same time one cluster, and each of them a database of its own; a test
//! that stops the server or needs settings of its own starts one with [`Cluster::start`].

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::tree;

/// Every cluster's superuser and its password.
pub(crate) const SUPERUSER: &str = "postgres";
pub(crate) const PASSWORD: &str = "superuser";

pub(crate) struct Cluster {
    directory: TempDir,
    programs: PathBuf,
    /// Whom the server runs as, where the test runs as root.
    user: Option<(u32, u32)>,
    settings: String,
    port: u16,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        Cluster::with(&[])
    }

    /// With lines of `postgresql.conf` of one's own.
    pub(crate) fn with(settings: &[&str]) -> Cluster {
        let mut cluster = Cluster::empty(&settings.join("\n"));
        cluster.write("password", PASSWORD);
        let password = cluster.file("password");
        cluster.succeed(
            cluster
                .program("initdb")
                .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
                .args(["--no-sync", "--no-instructions", "--username", SUPERUSER])
                .arg(format!("--pwfile={}", password.display()))
                .arg("--pgdata")
                .arg(cluster.data()),
        );
        cluster.serve();
        cluster
    }

    /// A directory without a cluster in it.
    fn empty(settings: &str) -> Cluster {
        let directory = tempfile::Builder::new()
            .prefix("bootwatch-postgres-")
            .tempdir()
            .unwrap();
        let user = ordinary_user(directory.path());
        let cluster = Cluster {
            directory,
            programs: programs(),
            user,
            settings: settings.to_owned(),
            port: 0,
        };
        cluster.own(cluster.directory.path());
        cluster
    }

    /// Starts the server on a free port; another process may take the port first, so this is tried again.
    fn serve(&mut self) {
        for _ in 0..10 {
            self.port = free_port();
            if self.try_start().is_ok() {
                return;
            }
        }
        self.try_start().unwrap();
    }

    fn try_start(&self) -> Result<(), String> {
        self.write(
            "data/postgresql.auto.conf",
            &format!(
                "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = off\n\
                 max_connections = 40\nshared_buffers = 16MB\n{}\n",
                self.port, self.settings
            ),
        );
        let log = self.file("log");
        let started = self
            .program("pg_ctl")
            .args(["start", "--wait", "--timeout=60", "--silent", "--pgdata"])
            .arg(self.data())
            .arg("--log")
            .arg(&log)
            .output()
            .unwrap();
        if started.status.success() {
            return Ok(());
        }
        Err(std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Starts the server anew with further settings.
    pub(crate) fn set(&mut self, settings: &str) {
        self.settings = format!("{}\n{settings}", self.settings);
        self.stop();
        self.start_again();
    }

    /// A standby that follows this cluster by streaming.
    pub(crate) fn replica(&self) -> Cluster {
        let mut replica = Cluster::empty(&self.settings);
        self.succeed(
            replica
                .program("pg_basebackup")
                .args([
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "--dbname",
                ])
                .arg(self.url("postgres"))
                .arg("--pgdata")
                .arg(replica.data()),
        );
        // How to reach the primary stands in the file that `try_start` writes.
        let recovery = std::fs::read_to_string(replica.file("data/postgresql.auto.conf")).unwrap();
        let primary = recovery
            .lines()
            .find(|line| line.starts_with("primary_conninfo"))
            .unwrap();
        replica.settings = format!("{}\n{primary}", self.settings);
        replica.serve();
        replica
    }

    /// Runs statements in one of its databases, as the superuser.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        run(&mut connection, sql).await;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Stops the server as a failing machine would: connections break, and what was committed is there afterwards.
    pub(crate) fn stop(&self) {
        self.succeed(
            self.program("pg_ctl")
                .args(["stop", "--mode=immediate", "--wait", "--silent", "--pgdata"])
                .arg(self.data()),
        );
    }

    /// Starts it again, on the same port.
    pub(crate) fn start_again(&self) {
        self.try_start().unwrap();
    }

    /// A file of the cluster's directory, given to the server's user.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        self.own(&path);
        path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.file("data")
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// One of PostgreSQL's programs, as the user whom the server runs as.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = self.command(self.programs.join(name));
        command.env("PGPASSWORD", PASSWORD);
        command
    }

    /// Any program, as the user whom the server runs as.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("LC_ALL", "C");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn succeed(&self, command: &mut Command) {
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(
            output.status.success(),
            "{command:?}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            std::fs::read_to_string(self.file("log")).unwrap_or_default()
        );
    }

    /// A new, empty database.
    pub(crate) async fn database(self: &Arc<Cluster>) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let database = Database {
            cluster: Arc::clone(self),
            name,
        };
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        run(
            &mut connection,
            &format!("CREATE DATABASE {}", database.name),
        )
        .await;
        database
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may be stopped already, and a test that failed has said why.
        drop(
            self.program("pg_ctl")
                .args(["stop", "--mode=immediate", "--wait", "--silent", "--pgdata"])
                .arg(self.data())
                .output(),
        );
    }
}

/// The cluster that tests share while any of them holds it.
pub(crate) fn shared() -> Arc<Cluster> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Cluster::start());
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

/// One test's database. Roles belong to the whole cluster: [`Database::role`] makes their names one's own.
pub(crate) struct Database {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) name: String,
}

impl Database {
    /// Of the superuser.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    pub(crate) fn url_of(&self, role: &str, password: &str) -> String {
        let (port, name) = (self.cluster.port, &self.name);
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{name}")
    }

    /// A role's name that no other test uses.
    pub(crate) fn role(&self, name: &str) -> String {
        format!("{name}_{}", self.name)
    }

    /// A connection of the superuser.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Runs statements as the superuser, on a connection of their own.
    pub(crate) async fn run(&self, sql: &str) {
        run(&mut self.connect().await, sql).await;
    }

    /// A pooler before this database that gives each transaction one of so many servers.
    pub(crate) fn pooler(&self, servers: u32) -> Pooler {
        let (cluster, name, port) = (&self.cluster, &self.name, free_port());
        let users = cluster.write(
            &format!("{name}.users"),
            &format!("\"{SUPERUSER}\" \"{PASSWORD}\"\n"),
        );
        let settings = cluster.write(
            &format!("{name}.ini"),
            &format!(
                "[databases]\n{name} = host=127.0.0.1 port={} dbname={name}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = {servers}\n",
                cluster.port,
                users.display(),
            ),
        );
        let process = cluster
            .command(found("pgbouncer"))
            .arg("--quiet")
            .arg(settings)
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is not installed: apt-get install pgbouncer");
        Pooler {
            process,
            url: format!("postgres://{SUPERUSER}:{PASSWORD}@127.0.0.1:{port}/{name}"),
        }
    }

    /// Gives a script to psql, which also takes `COPY ... FROM stdin`; what fails is passed over.
    pub(crate) fn restore(&self, file: &str) {
        let script = self
            .cluster
            .write(&format!("{}.sql", self.name), &tree::read(file));
        self.cluster.succeed(
            self.cluster
                .program("psql")
                .args(["--quiet", "--no-psqlrc", "--host=127.0.0.1"])
                .args([
                    "--port",
                    &self.cluster.port.to_string(),
                    "--username",
                    SUPERUSER,
                ])
                .args(["--dbname", &self.name])
                .arg("--file")
                .arg(script),
        );
    }

    /// The tables of a real run of the controller, with their policies and what stands around them in production; as
    /// young as if the run had just ended.
    pub(crate) async fn restore_controller_run(&self) {
        self.restore("tests/fixtures/database/surroundings.sql");
        self.restore("tests/fixtures/database/controller-run.sql");
        self.run(
            "INSERT INTO users (user_id) SELECT user_id FROM vms UNION SELECT user_id FROM auth_sessions;
             ALTER TABLE vms ADD FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE;
             ALTER TABLE auth_sessions ADD FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE;
             CREATE TEMPORARY TABLE age AS SELECT now() - max(created_at) AS age FROM vms;
             UPDATE vms SET created_at = created_at + age, last_heartbeat = last_heartbeat + age,
                 destroyed_at = destroyed_at + age FROM age;
             UPDATE auth_sessions SET created_at = created_at + age, started_at = started_at + age,
                 timeout_at = timeout_at + age FROM age;",
        )
        .await;
    }
}

/// A pgbouncer that ends with its test.
pub(crate) struct Pooler {
    process: Child,
    url: String,
}

impl Pooler {
    /// Of the superuser.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs statements, all or none of them.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A program that Debian keeps out of an ordinary user's PATH.
pub(crate) fn found(name: &str) -> PathBuf {
    let place = Path::new("/usr/sbin").join(name);
    if place.is_file() { place } else { name.into() }
}

/// Where the server's own programs are: Debian keeps them out of PATH, a directory a version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = found
        .into_iter()
        .rev()
        .map(|(_, path)| path)
        .chain(std::env::split_paths(&in_path));
    places
        .find(|path| {
            ["initdb", "pg_ctl", "psql"]
                .iter()
                .all(|name| path.join(name).is_file())
        })
        .expect("PostgreSQL 15 or later is not installed: apt-get install postgresql")
}

/// Who runs the server where the test runs as root: the package's own user, else nobody.
fn ordinary_user(made: &Path) -> Option<(u32, u32)> {
    if std::fs::metadata(made).unwrap().uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let user = ids("postgres").or_else(|| ids("nobody"));
    assert!(user.is_some(), "neither a user postgres nor a user nobody");
    user
}

#[tokio::test]
async fn a_cluster_starts_holds_the_sample_and_comes_back_after_a_crash() {
    let cluster = Arc::new(Cluster::start());
    let database = cluster.database().await;
    database.restore_controller_run().await;
    let count = async || {
        let mut connection = database.connect().await;
        sqlx::query_as::<_, (i64, i64)>(
            "SELECT (SELECT count(*) FROM vms), (SELECT count(*) FROM auth_sessions)",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap()
    };
    let before = count().await;
    assert_eq!(before, (97, 83));
    cluster.stop();
    cluster.start_again();
    assert_eq!(count().await, before);
}

#[tokio::test]
async fn tests_share_a_cluster_and_each_has_its_own_database_and_roles() {
    let cluster = shared();
    assert!(Arc::ptr_eq(&cluster, &shared()));
    let [one, two] = [cluster.database().await, cluster.database().await];
    one.run("CREATE TABLE only_here ()").await;
    two.run("CREATE TABLE only_here ()").await;
    let role = one.role("reader");
    assert_ne!(role, two.role("reader"));
    one.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"))
        .await;
    PgConnection::connect(&one.url_of(&role, "right"))
        .await
        .unwrap();
    let refused = PgConnection::connect(&one.url_of(&role, "wrong")).await;
    assert!(refused.is_err(), "passwords count");
}
