//! A store that cannot be written, in every way: the alerts of the log go on, their pages say that they are not kept,
//! the metrics say why, and once it can be written again nothing is missing and no hand was needed.

use std::fs::{self, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::desk::Desk;
use super::program::Program;
use super::stream::{Record, Stream, Writer, place};
use super::told::{Told, told};
use crate::store_survives::{ballast, program, succeed, with_small_disk};

/// Where the test below works when it is called within a small disk.
const SMALL: &str = "BOOTWATCH_TEST_SMALL_DISK";
const NOBODY: u32 = 65_534;
const PAGE: u64 = 4_096;
/// Of a page that left before it was kept.
const SAYS_SO: &str = "could not store this message";

/// A program on the history of a short stream, and the rest of the stream.
struct Scene {
    stream: Stream,
    program: Program,
    writer: Writer,
    desk: Desk,
}

impl Scene {
    fn new(folder: &Path) -> Scene {
        let stream = Stream::short();
        let mut program = Program::new(folder);
        let desk = Desk::start(|_, _| {});
        program.configure(desk.address);
        let mut writer = Writer::new(&program.log());
        for record in &stream.records[..stream.live] {
            writer.write(&record.bytes);
        }
        Scene {
            stream,
            program,
            writer,
            desk,
        }
    }

    fn started(folder: &Path) -> Scene {
        let mut scene = Scene::new(folder);
        scene.program.start();
        scene.is_stored();
        scene
    }

    fn write(&mut self, records: impl Fn(&Stream) -> &[Record]) {
        for record in records(&self.stream) {
            self.writer.write(&record.bytes);
        }
    }

    /// Everything that was written is read, and the store has it.
    fn is_stored(&mut self) {
        let wanted = self.writer.place();
        self.program
            .until(&format!("the store is at {wanted:?}"), |program| {
                place(&program.store()) == Some(wanted)
            });
    }

    fn store_is(&mut self, up: bool) {
        self.program
            .until(&format!("the metric says {up}"), |program| {
                let said = program.metric("bootwatch_source_up", "source=\"store\"");
                said == f64::from(u8::from(up))
            });
    }

    /// The healthy boots before the trouble: too much for whatever room is left in the files that are there.
    fn until_it_fails(&mut self) {
        let (from, until) = (self.stream.live, self.bad());
        let half = from.midpoint(until);
        self.write(|stream| &stream.records[from..half]);
        self.store_is(false);
        self.write(|stream| &stream.records[half..until]);
    }

    /// The first record of the boots that fail.
    fn bad(&self) -> usize {
        self.stream.bad
    }

    /// The incident, of which the receiver hears although nothing can be kept.
    fn incident(&mut self) {
        let (bad, over) = (self.bad(), self.stream.over[0]);
        self.write(|stream| &stream.records[bad..over]);
        let desk = &self.desk;
        self.program
            .until("the incident fires", |_| desk.firing() == 1);
    }

    fn recovery(&mut self) {
        let over = self.stream.over[0];
        self.write(|stream| &stream.records[over..]);
        let desk = &self.desk;
        self.program
            .until("the incident is over", |_| desk.resolved() == 1);
    }

    /// The store is whole, as if there had never been a trouble.
    fn ends_like_a_clean_run(mut self, what: &str) {
        self.store_is(true);
        self.is_stored();
        assert_eq!(self.program.end(), Some(0), "{}", self.program.errors());
        let found = told(&self.program.store());
        assert_eq!(found.incidents(), 1, "{what}");
        self.desk.assert_exactly_once(&found.keys, what);
        found.assert_same(&clean(), what);
    }

    fn said_so(&self) -> bool {
        let posts = self.desk.posts();
        posts
            .first()
            .is_some_and(|post| post.text.contains(SAYS_SO))
    }
}

/// The same without any trouble.
fn clean() -> Told {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::started(folder.path());
    let (from, until) = (scene.stream.live, scene.bad());
    scene.write(|stream| &stream.records[from..until]);
    scene.incident();
    assert!(!scene.said_so());
    scene.recovery();
    scene.is_stored();
    assert_eq!(scene.program.end(), Some(0));
    let found = told(&scene.program.store());
    scene.desk.assert_exactly_once(&found.keys, "clean");
    found
}

#[test]
fn a_full_disk_stops_no_page_and_loses_nothing() {
    if let Some(folder) = std::env::var_os(SMALL) {
        on_a_small_disk(Path::new(&folder));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("store");
    fs::create_dir(&disk).unwrap();
    let mut command = with_small_disk(&disk);
    command
        .arg(program())
        .args(["--exact", "--nocapture"])
        .arg("torture::trouble::a_full_disk_stops_no_page_and_loses_nothing")
        .env(SMALL, folder.path());
    succeed(&mut command);
}

fn on_a_small_disk(folder: &Path) {
    let mut scene = Scene::started(folder);
    let ballast = ballast(&folder.join("store"));
    scene.until_it_fails();
    scene.incident();
    assert!(scene.said_so());
    scene.recovery();
    assert!(
        scene.program.metric(
            "bootwatch_store_write_duration_seconds_count",
            "result=\"full\""
        ) >= 1.0
    );
    fs::remove_file(ballast).unwrap();
    scene.ends_like_a_clean_run("a full disk");
}

#[test]
fn a_store_that_another_program_holds_stops_no_page_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::started(folder.path());
    let held = Held::take(&scene.program.store());
    scene.until_it_fails();
    scene.incident();
    assert!(scene.said_so());
    scene.recovery();
    assert!(
        scene.program.metric(
            "bootwatch_store_write_duration_seconds_count",
            "result=\"locked\""
        ) >= 1.0
    );
    // It would begin just as well.
    scene.program.kill();
    scene.program.start();
    scene.program.address();
    drop(held);
    scene.ends_like_a_clean_run("a held lock");
}

/// Somebody else's transaction.
struct Held(tokio::runtime::Runtime, Option<SqliteConnection>);

impl Held {
    fn take(store: &Path) -> Held {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let raw = runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(store);
            let mut raw = options.connect().await.unwrap();
            sqlx::query("BEGIN IMMEDIATE")
                .execute(&mut raw)
                .await
                .unwrap();
            raw
        });
        Held(runtime, Some(raw))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(raw) = self.1.take() {
            self.0.block_on(raw.close()).unwrap();
        }
    }
}

#[test]
fn a_store_that_may_not_be_written_stops_no_page_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(folder.path());
    let within = folder.path().join("store");
    fs::create_dir(&within).unwrap();
    if fs::metadata(folder.path()).unwrap().uid() == 0 {
        as_ordinary_user(folder.path(), &mut scene.program);
    }
    scene.program.start();
    scene.is_stored();
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());

    allow(&within, 0o400, 0o500);
    scene.program.start();
    scene.store_is(false);
    let (from, until) = (scene.stream.live, scene.bad());
    scene.write(|stream| &stream.records[from..until]);
    scene.incident();
    assert!(scene.said_so());
    scene.recovery();
    allow(&within, 0o600, 0o700);
    scene.ends_like_a_clean_run("a store that may not be written");
}

/// A superuser may write everything. The build's folder may be closed to others.
fn as_ordinary_user(folder: &Path, program: &mut Program) {
    let copied = folder.join("bootwatch");
    fs::copy(env!("CARGO_BIN_EXE_bootwatch"), &copied).unwrap();
    program.binary = copied;
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    chown(folder.join("store"), Some(NOBODY), Some(NOBODY)).unwrap();
    program.under = [
        "setpriv".to_owned(),
        format!("--reuid={NOBODY}"),
        format!("--regid={NOBODY}"),
        "--clear-groups".to_owned(),
        "--".to_owned(),
    ]
    .into();
}

fn allow(folder: &Path, file: u32, within: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(file)).unwrap();
    }
    fs::set_permissions(folder, Permissions::from_mode(within)).unwrap();
}

#[test]
fn damage_that_a_start_meets_forgets_neither_the_incident_nor_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::started(folder.path());
    let (from, until) = (scene.stream.live, scene.bad());
    scene.write(|stream| &stream.records[from..until]);
    scene.incident();
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());

    damage(&scene.program.store(), "boot");
    scene.program.start();
    scene.is_stored();
    // Not a line was written since: the new file knows the place of the old one.
    scene.program.kill();
    scene.program.start();
    scene.recovery();
    scene.store_is(true);
    scene.is_stored();
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());
    let found = told(&scene.program.store());
    assert_eq!(found.incidents(), 1);
    scene
        .desk
        .assert_exactly_once(&found.keys, "damaged at rest");
    assert!(found.boots() >= 10, "{}", found.boots());
    assert_eq!(set_aside(&folder.path().join("store")).len(), 1);
}

#[test]
fn damage_that_only_a_check_finds_is_set_aside_and_what_is_owed_stays_owed() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::started(folder.path());
    let (from, until) = (scene.stream.live, scene.bad());
    scene.write(|stream| &stream.records[from..until]);
    scene.is_stored();
    // What is in the log of the store goes into its file.
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());

    // Somebody who takes a connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    scene.program.configure(silent.local_addr().unwrap());
    scene.program.start();
    let owed =
        |program: &mut Program| program.metric("bootwatch_outbox_messages", "state=\"saved\"");
    let (bad, over) = (scene.bad(), scene.stream.over[0]);
    scene.write(|stream| &stream.records[bad..over]);
    scene
        .program
        .until("the page is owed", |program| owed(program) == 1.0);
    damage(&scene.program.store(), "synthetic_open");
    scene.program.until("the damage is found", |program| {
        program.metric("bootwatch_store_checks_total", "result=\"corrupt\"") == 1.0
    });
    scene.store_is(true);
    scene.is_stored();
    scene
        .program
        .until("the page is owed", |program| owed(program) == 1.0);
    assert_eq!(set_aside(&folder.path().join("store")).len(), 1);
    scene.program.kill();

    scene.program.configure(scene.desk.address);
    scene.program.start();
    let desk = &scene.desk;
    scene
        .program
        .until("the page arrives", |_| desk.firing() == 1);
    assert!(!scene.said_so());
    scene.recovery();
    scene.is_stored();
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());
    let found = told(&scene.program.store());
    assert_eq!(found.incidents(), 1);
    scene
        .desk
        .assert_exactly_once(&found.keys, "found by a check");
}

#[test]
fn damage_that_upkeep_meets_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::started(folder.path());
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());
    scene.program.start();
    scene.is_stored();
    damage(&scene.program.store(), "synthetic");
    let within = folder.path().join("store");
    scene
        .program
        .until("the damaged file has another name", |_| {
            set_aside(&within).len() == 1
        });
    scene.store_is(true);
    scene.is_stored();
    assert_eq!(scene.program.end(), Some(0), "{}", scene.program.errors());
    assert_eq!(told(&scene.program.store()).incidents(), 0);
}

/// Overwrites the first page of a table or an index.
pub(crate) fn damage(store: &Path, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let root: i64 = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(store).read_only(true);
        let mut raw = options.connect().await.unwrap();
        let root = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = ?")
            .bind(name)
            .fetch_one(&mut raw)
            .await
            .unwrap();
        raw.close().await.unwrap();
        root
    });
    let mut file = fs::File::options().write(true).open(store).unwrap();
    let place = (u64::try_from(root).unwrap() - 1) * PAGE;
    assert!(place < file.metadata().unwrap().len());
    file.seek(SeekFrom::Start(place)).unwrap();
    file.write_all(&vec![0xaa; usize::try_from(PAGE).unwrap()])
        .unwrap();
}

/// The damaged databases beside the store.
fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".corrupt-") && name.ends_with('Z')
    };
    paths.filter(ours).collect()
}
