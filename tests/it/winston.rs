//! The real library that writes the controller's log, against the follower: everything that reached a file is delivered
//! once, whatever rotation does meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use bootwatch::source::tail::{Checkpoint, TailEvent, TailOptions, TailStats, run};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RECORDS: u32 = 200_000;
/// About 190 bytes a record, so more than a hundred pieces.
const PIECE: u32 = 250_000;
const DEADLINE: Duration = Duration::from_secs(120);

fn writer_folder() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/winston");
        if !folder.join("node_modules/winston").exists() {
            let done = std::process::Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(&folder)
                .stdout(Stdio::null())
                .status()
                .expect("npm is installed");
            assert!(done.success(), "npm ci in {}", folder.display());
        }
        folder
    })
}

/// A process that logs through winston.
struct Writer {
    folder: tempfile::TempDir,
    process: Child,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Clone, Copy)]
enum Pieces {
    /// Kept by hard links, to compare with. Their inodes do not come back.
    Kept,
    Gone,
}

impl Writer {
    fn start(pieces: Pieces) -> Writer {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("kept")).unwrap();
        let kept = match pieces {
            Pieces::Kept => folder.path().join("kept"),
            Pieces::Gone => PathBuf::new(),
        };
        let mut process = Command::new("node")
            .arg(writer_folder().join("writer.js"))
            .args([folder.path(), &kept])
            .arg(PIECE.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        Writer {
            commands: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()).lines(),
            folder,
            process,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("x.log")
    }

    async fn ask(&mut self, records: u32, pause: Duration) {
        let command = format!(
            "{{\"records\":{records},\"pause\":{}}}\n",
            pause.as_millis()
        );
        let commands = self.commands.as_mut().unwrap();
        commands.write_all(command.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> String {
        let answer = tokio::time::timeout(DEADLINE, self.answers.next_line()).await;
        answer
            .expect("the writer is done in time")
            .unwrap()
            .unwrap()
    }

    async fn write(&mut self, records: u32) -> String {
        self.ask(records, Duration::ZERO).await;
        self.answer().await
    }

    /// All that reached a file, in order.
    fn written(&self) -> Vec<u8> {
        let mut names: Vec<PathBuf> = fs::read_dir(self.folder.path().join("kept"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
            .iter()
            .flat_map(|name| fs::read(name).unwrap())
            .collect()
    }

    /// What is still there under the family's names, in order.
    fn on_disk(&self) -> Vec<u8> {
        let names = ["x4.log", "x3.log", "x2.log", "x1.log", "x.log"];
        let read = |name| fs::read(self.folder.path().join(name)).unwrap_or_default();
        names.into_iter().flat_map(read).collect()
    }

    async fn end(mut self) -> tempfile::TempDir {
        self.commands = None;
        self.process.wait().await.unwrap();
        self.folder
    }
}

struct Follower {
    events: mpsc::Receiver<TailEvent>,
    stats: watch::Receiver<TailStats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    bytes: Vec<u8>,
    losses: u32,
    checkpoint: Option<Checkpoint>,
}

#[expect(clippy::disallowed_methods, reason = "a test supervises its own task")]
fn follow(options: TailOptions, checkpoint: Option<Checkpoint>, places: usize) -> Follower {
    let (sender, events) = mpsc::channel(places);
    let (figures, stats) = watch::channel(TailStats::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(
        options,
        checkpoint.clone(),
        sender,
        figures,
        stop.clone(),
    ));
    Follower {
        events,
        stats,
        stop,
        task,
        bytes: Vec::new(),
        losses: 0,
        checkpoint,
    }
}

impl Follower {
    async fn receive(&mut self) {
        match self.events.recv().await.expect("the follower runs") {
            TailEvent::Chunk { bytes, after, .. } => {
                self.bytes.extend_from_slice(&bytes);
                self.checkpoint = Some(after);
            }
            TailEvent::Lost { .. } => self.losses += 1,
            TailEvent::Truncated { .. } => panic!("winston never truncates"),
            TailEvent::Trouble { error, .. } => panic!("trouble: {error}"),
            _ => {}
        }
    }

    /// Receives while the writer works on what it was asked.
    async fn receive_beside(&mut self, writer: &mut Writer) -> String {
        loop {
            tokio::select! {
                () = self.receive() => {}
                answer = writer.answer() => return answer,
            }
        }
    }

    async fn receive_all(&mut self, length: usize) {
        let all = async {
            while self.bytes.len() < length {
                self.receive().await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, all).await;
        assert!(
            in_time.is_ok(),
            "{} of {length} bytes came",
            self.bytes.len()
        );
    }

    async fn receive_to_the_end_of(&mut self, text: &[u8]) {
        let last = text.split_inclusive(|&byte| byte == b'\n').next_back();
        let last = last.expect("something was written");
        let all = async {
            while !self.bytes.ends_with(last) {
                self.receive().await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, all).await.is_ok());
    }

    async fn stop(self) -> Option<Checkpoint> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.checkpoint
    }
}

fn rotations(answer: &str) -> u32 {
    answer.split(' ').nth(2).unwrap().parse().unwrap()
}

/// Equal, without printing megabytes if not.
fn assert_same(came: &[u8], written: &[u8]) {
    let differs = came.iter().zip(written).position(|(a, b)| a != b);
    assert!(
        differs.is_none(),
        "the first difference is at {differs:?} of {}",
        written.len()
    );
    assert_eq!(came.len(), written.len());
}

fn lines(bytes: &[u8]) -> usize {
    bytes.split_inclusive(|&byte| byte == b'\n').count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_written_at_full_speed_through_a_hundred_rotations_comes_once() {
    let mut writer = Writer::start(Pieces::Kept);
    let mut tail = follow(TailOptions::new(writer.log()).unwrap(), None, 16);
    writer.ask(RECORDS, Duration::ZERO).await;
    let answer = tail.receive_beside(&mut writer).await;
    let written = writer.written();
    tail.receive_all(written.len()).await;
    assert!(rotations(&answer) >= 100, "{answer}");
    assert_eq!(tail.losses, 0);
    assert_same(&tail.bytes, &written);
    println!("{answer}; {} lines in files", lines(&written));
    tail.stats
        .wait_for(|stats| stats.lag_bytes == 0)
        .await
        .unwrap();
    writer.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_alone_keeps_up_with_a_writer_that_pauses_between_rotations() {
    let mut writer = Writer::start(Pieces::Kept);
    let mut options = TailOptions::new(writer.log()).unwrap();
    options.inotify = false;
    options.poll_active = Duration::from_millis(20);
    options.poll_idle = Duration::from_millis(20);
    let mut tail = follow(options, None, 16);
    writer.ask(RECORDS, Duration::from_millis(30)).await;
    let answer = tail.receive_beside(&mut writer).await;
    let written = writer.written();
    tail.receive_all(written.len()).await;
    assert!(rotations(&answer) >= 100, "{answer}");
    assert_eq!(tail.losses, 0);
    assert_same(&tail.bytes, &written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stands_still_until_the_end_loses_nothing() {
    let mut writer = Writer::start(Pieces::Kept);
    let mut options = TailOptions::new(writer.log()).unwrap();
    options.max_open_files = 512;
    let mut tail = follow(options, None, 1);
    let answer = writer.write(RECORDS).await;
    assert!(rotations(&answer) >= 100, "{answer}");
    let written = writer.written();
    assert!(tail.events.len() <= 1);
    tail.receive_all(written.len()).await;
    assert_eq!(tail.losses, 0);
    assert_same(&tail.bytes, &written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_across_three_rotations_loses_nothing() {
    let mut writer = Writer::start(Pieces::Kept);
    let log = writer.log();
    let mut tail = follow(TailOptions::new(&log).unwrap(), None, 16);
    writer.ask(20_000, Duration::ZERO).await;
    let before = rotations(&tail.receive_beside(&mut writer).await);
    tail.receive_all(writer.written().len()).await;
    let mut came = std::mem::take(&mut tail.bytes);
    let checkpoint = tail.stop().await;

    let mut after = before;
    while after < before + 3 {
        after = rotations(&writer.write(300).await);
    }
    let mut tail = follow(TailOptions::new(&log).unwrap(), checkpoint, 16);
    writer.ask(20_000, Duration::ZERO).await;
    tail.receive_beside(&mut writer).await;
    let written = writer.written();
    tail.receive_all(written.len() - came.len()).await;
    assert_eq!(tail.losses, 0);
    came.extend_from_slice(&tail.bytes);
    assert_same(&came, &written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_across_five_rotations_reads_every_surviving_line_once_though_inodes_came_back() {
    let mut writer = Writer::start(Pieces::Gone);
    let log = writer.log();
    let mut tail = follow(TailOptions::new(&log).unwrap(), None, 16);
    writer.ask(20_000, Duration::ZERO).await;
    let before = rotations(&tail.receive_beside(&mut writer).await);
    tail.receive_to_the_end_of(&writer.on_disk()).await;
    let checkpoint = tail.stop().await;

    let mut after = before;
    while after < before + 5 {
        after = rotations(&writer.write(300).await);
    }
    assert_eq!(after, before + 5);
    let on_disk = writer.on_disk();
    let mut tail = follow(TailOptions::new(&log).unwrap(), checkpoint, 16);
    tail.receive_all(on_disk.len()).await;
    assert_same(&tail.bytes, &on_disk);
    assert_eq!(
        tail.losses, 1,
        "what the piece read last still held is not known"
    );
    // And on it goes.
    writer.write(1_000).await;
    tail.receive_to_the_end_of(&writer.on_disk()).await;
    assert_eq!(lines(&tail.bytes), lines(&on_disk) + 1_000);
}
