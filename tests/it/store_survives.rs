//! The store under a kill, a full disk, a read-only disk and a held lock: real ones, in processes of their own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::core::event::Timestamp;
use bootwatch::store::{Batch, History, Kind, OpenError, Saved, Store};
use sqlx::{ConnectOptions, Connection};

use crate::store::{NOW, batch, boot, open, settings};

/// What the child is to do, and in which folder.
const PART: &str = "BOOTWATCH_TEST_STORE_PART";
const FOLDER: &str = "BOOTWATCH_TEST_STORE_FOLDER";

/// The child's entry. By itself it is the plain story: three commits, and all of them are there.
#[tokio::test]
async fn a_writer_commits_until_it_is_stopped() {
    let part = std::env::var(PART).unwrap_or_default();
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    match (part.as_str(), folder) {
        ("write", Some(folder)) => write_for_ever(&folder).await,
        ("fill", Some(folder)) => fill_the_disk(&folder).await,
        ("read-only", Some(folder)) => lose_the_right_to_write(&folder).await,
        ("descriptors", Some(folder)) => use_up_the_descriptors(&folder).await,
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(folder.path()).await.store;
            for number in 1..=3 {
                store.commit(&batch(number)).await.unwrap();
            }
            store.close().await;
            assert_eq!(found(folder.path()).await, 3);
        }
    }
}

/// This very program, told to run the one test above.
fn child(program: &Path, part: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            "store_survives::a_writer_commits_until_it_is_stopped",
        ])
        .args(["--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

pub(crate) fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub(crate) fn succeed(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many batches a store holds; whole ones, or this panics.
async fn found(folder: &Path) -> u32 {
    let opened = open(folder).await;
    assert_eq!(opened.set_aside, None);
    let number = whole(&opened.saved);
    let mut history = History::open(opened.store.path()).await.unwrap();
    history.check().await.unwrap();
    let ever = Timestamp(0)..Timestamp(i64::MAX);
    let boots = history.boots(ever.clone(), |_| {}).await.unwrap();
    let incidents = history.incidents(ever.clone()).await.unwrap().len();
    let messages = history.messages(ever).await.unwrap().len();
    let wanted = usize::try_from(number).unwrap();
    assert_eq!(
        (usize::try_from(boots).unwrap(), incidents, messages),
        (wanted, wanted, wanted)
    );
    opened.store.close().await;
    number
}

fn whole(saved: &Saved) -> u32 {
    let of = |key| {
        saved
            .value("test", key)
            .map_or(0, |text| text.parse().unwrap())
    };
    let number = of("place");
    assert_eq!((of("tracker"), of("engine")), (number, number));
    number
}

async fn write_for_ever(folder: &Path) {
    let opened = open(folder).await;
    let mut number = whole(&opened.saved);
    let mut store = opened.store;
    let mut out = std::io::stdout();
    loop {
        number += 1;
        store.commit(&batch(number)).await.unwrap();
        writeln!(out, "\ncommitted {number}").unwrap();
        if number.is_multiple_of(16) {
            store.upkeep(NOW).await.unwrap();
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn kill_minus_nine_at_any_moment_leaves_whole_batches() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = seed;
    let mut below = |limit: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..25 {
        let mut writer = Killed(child(&program(), "write", folder.path()).spawn().unwrap());
        let lines = BufReader::new(writer.0.stdout.take().unwrap()).lines();
        let mut committed = lines.map_while(Result::ok).filter_map(|line| {
            let number: u32 = line.strip_prefix("committed ")?.parse().ok()?;
            Some(number)
        });
        let mut last = before;
        for _ in 0..=below(20) {
            last = committed
                .next()
                .expect("the writer writes until it is killed");
        }
        // Anywhere within the next commits.
        let spin = Stopwatch::start();
        while spin.elapsed() < Duration::from_micros(below(4_000)) {
            std::hint::spin_loop();
        }
        writer.0.kill().unwrap();
        last = committed.last().unwrap_or(last);
        drop(writer);
        let found = found(folder.path()).await;
        assert!(
            found == last || found == last + 1,
            "SEED={seed}, round {round}: {found} found, {last} committed"
        );
        assert!(found > before);
        before = found;
    }
}

/// Something that can be done in a mount namespace of one's own: as root, or as a user who may have one.
pub(crate) fn with_small_disk(folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    if fs::metadata(folder).unwrap().uid() != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=3m,mode=0700 none \"$1\" && shift && exec \"$@\"";
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder);
    command
}

#[test]
fn a_full_disk_fails_commits_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let inner = child(&program(), "fill", folder.path());
    let mut command = with_small_disk(folder.path());
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    succeed(&mut command);
}

/// Writes until no byte fits any more.
pub(crate) fn ballast(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[7; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    path
}

async fn fill_the_disk(disk: &Path) {
    let folder = &disk.join("store");
    let mut store = open(folder).await.store;
    store.commit(&batch(1)).await.unwrap();
    store.settle().await.unwrap();
    let ballast_at = ballast(disk);
    let mut large = batch(2);
    large.boots = (2..500).map(|number| boot("host-1", number)).collect();
    for durable in [true, false] {
        if !durable {
            large.outbox.clear();
        }
        let error = store.commit(&large).await.unwrap_err();
        assert_eq!(
            error.kind(),
            Kind::Full,
            "{error}: {:?}",
            std::error::Error::source(&error)
        );
        assert!(error.to_string().contains("no room is left"), "{error}");
        assert_eq!(
            store.unsent().await.unwrap().len(),
            1,
            "what was there can be read"
        );
    }
    fs::remove_file(&ballast_at).unwrap();
    store.commit(&batch(2)).await.unwrap();
    // Its last batch lies ahead of the tables still.
    drop(store);

    // A start on the full disk knows where to go on, and the next one needs no hand.
    ballast(disk);
    match Store::open(settings(folder), NOW).await {
        Err(OpenError::Unusable {
            error,
            saved: Some(saved),
        }) => {
            assert_eq!(error.kind(), Kind::Full, "{error}");
            assert_eq!(whole(&saved), 2);
        }
        other => panic!("{other:?}"),
    }
    let fresh = disk.join("fresh");
    fs::create_dir(&fresh).ok();
    match Store::open(settings(&fresh), NOW).await {
        Err(OpenError::Unusable { error, saved: None }) => assert_eq!(error.kind(), Kind::Full),
        other => panic!("{other:?}"),
    }
    fs::remove_file(&ballast_at).unwrap();
    assert_eq!(found(folder).await, 2);
    assert_eq!(found(&fresh).await, 0);
}

#[test]
fn a_store_that_finds_no_descriptor_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let inner = child(&program(), "descriptors", folder.path());
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    succeed(&mut command);
}

async fn use_up_the_descriptors(folder: &Path) {
    let mut store = open(folder).await.store;
    store.commit(&batch(1)).await.unwrap();
    let fresh = folder.join("fresh");
    fs::create_dir(&fresh).unwrap();
    let held = || fs::File::open("/dev/null");
    let mut all: Vec<fs::File> = std::iter::from_fn(|| held().ok()).collect();
    assert!(held().is_err() && all.len() < 64);
    let told = "no file can be opened any more; raise the limit of open files";
    match Store::open(settings(&fresh), NOW).await {
        Err(OpenError::Unusable { error, .. }) => {
            assert!(error.to_string().contains(told), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // With one of them the file itself can be opened, and not the log beside it.
    for _ in 0..2 {
        let error = match History::open(store.path()).await {
            Ok(mut history) => history.check().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.kind(), Kind::Io);
        all.pop();
    }
    drop(all);
    History::open(store.path()).await.unwrap();
    store.commit(&batch(2)).await.unwrap();
    store.close().await;
    assert_eq!(found(folder).await, 2);
}

#[test]
fn a_store_that_may_not_be_written_says_so_and_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = 65_534;
    if fs::metadata(folder.path()).unwrap().uid() != 0 {
        succeed(&mut child(&program(), "read-only", folder.path()));
        return;
    }
    // The folder of the build may be closed to others.
    let copied = folder.path().join("program");
    fs::copy(program(), &copied).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(nobody), Some(nobody)).unwrap();
    let inner = child(&copied, "read-only", &own);
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={nobody}"), &format!("--regid={nobody}")])
        .args(["--clear-groups", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    succeed(command.current_dir(&own));
}

async fn lose_the_right_to_write(folder: &Path) {
    let path = settings(folder).path;
    let allow = |file: u32, within: u32| {
        for part in ["", "-wal", "-shm", ".lock"] {
            let part = folder.join(format!("bootwatch.db{part}"));
            if part.exists() {
                fs::set_permissions(part, fs::Permissions::from_mode(file)).unwrap();
            }
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(within)).unwrap();
    };
    let mut store = open(folder).await.store;
    store.commit(&batch(1)).await.unwrap();
    store.close().await;
    for (file, within) in [(0o400, 0o700), (0o400, 0o500), (0o600, 0o500)] {
        allow(file, within);
        let opened = Store::open(settings(folder), NOW).await;
        allow(0o600, 0o700);
        match opened {
            Err(OpenError::Unusable {
                error,
                saved: Some(saved),
            }) => {
                assert_eq!(
                    error.kind(),
                    Kind::ReadOnly,
                    "{error}: {:?}",
                    std::error::Error::source(&error)
                );
                assert_eq!(whole(&saved), 1);
            }
            other => panic!("{file:o} in {within:o}: {other:?}"),
        }
        // Whoever only read may have left them, empty.
        for part in ["-wal", "-shm"] {
            fs::remove_file(folder.join(format!("bootwatch.db{part}"))).ok();
        }
    }
    // A folder in which nothing can be made.
    allow(0o600, 0o500);
    let nowhere = Store::open(settings(&folder.join("deeper")), NOW).await;
    allow(0o600, 0o700);
    let refused = nowhere.unwrap_err();
    assert_eq!(refused.kind(), Kind::ReadOnly, "{refused}");
    assert!(refused.is_passing() && path.exists());
    assert_eq!(found(folder).await, 1);
}

#[tokio::test]
async fn a_file_that_another_program_holds_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(store.path());
    let mut other = other.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let begun = Stopwatch::start();
    let error = store.commit(&batch(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    other.close().await.unwrap();
    store.commit(&batch(1)).await.unwrap();
    store.close().await;
    assert_eq!(found(folder.path()).await, 1);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Killed(child(&program(), "write", folder.path()).spawn().unwrap());
    let mut out = BufReader::new(writer.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("committed") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the writer ended");
    }
    // Its pipe must not fill up.
    let drain = std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
    let refused = Store::open(settings(folder.path()), NOW).await.unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }));
    let holder = format!("(process {})", writer.0.id());
    assert!(refused.to_string().contains(&holder), "{refused}");
    drop(writer);
    drain.join().unwrap().unwrap();
    assert!(found(folder.path()).await >= 1);
}

#[tokio::test]
async fn an_empty_batch_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await.store;
    let length = || {
        fs::metadata(folder.path().join("bootwatch.db-wal"))
            .unwrap()
            .len()
    };
    let before = length();
    store.commit(&Batch::default()).await.unwrap();
    assert_eq!(length(), before);
}
