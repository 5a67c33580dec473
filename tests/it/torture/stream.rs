//! The controller's log as records, what happens to the file they go to, and the follower's place in it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bootwatch::core::event::Timestamp;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::simulation::{Happened, Moment};
use bootwatch::simulator::{Figures, Happening, Injection, Phase, Plan, Player, Simulation, Speed};
use serde_json::Value;
use sqlx::{ConnectOptions, Connection};

use crate::simulator::scenario;

const MINUTE: i64 = 60_000;

/// One record as it is written.
pub(super) struct Record {
    /// Milliseconds from the stream's start.
    pub(super) at: i64,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    pub(super) fn lines(&self) -> usize {
        self.bytes.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Records, and where they must be waited for.
pub(super) struct Stream {
    pub(super) records: Vec<Record>,
    /// How many boots it tells of.
    pub(super) boots: usize,
    /// The first record that is not there before the first start.
    pub(super) live: usize,
    /// The first record of a boot that fails.
    pub(super) bad: usize,
    /// Before these records the incidents so far must be over, as the receiver knows it: when an incident ends is the
    /// wall clock's matter, and the next one's figures begin there.
    pub(super) over: Vec<usize>,
}

struct Records(i64, Vec<Record>);

impl Face for Records {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        if let Happened::Line(record) = &moment.what {
            let at = jiff::Timestamp::from_millisecond(moment.at.0).unwrap();
            let stamp = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            let mut bytes = Vec::new();
            record.write_plain(&mut bytes, stamp.as_bytes());
            self.1.push(Record {
                at: moment.at.0 - self.0,
                bytes,
            });
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two days ago: no window that ends now holds any of it. The same for all streams, which are compared.
static START: LazyLock<Timestamp> =
    LazyLock::new(|| Timestamp(bootwatch::clock::now().0 / 1_000 * 1_000 - 48 * 60 * MINUTE));

impl Stream {
    fn of(plan: Plan, start: Timestamp, [live, bad]: [i64; 2], over: &[i64]) -> Stream {
        let mut face = Records(start.0, Vec::new());
        let mut boots = 0;
        Player::new(Speed::Max)
            .play(&mut Simulation::new(plan), &mut [&mut face], &mut |_| {
                boots += 1;
                Ok(())
            })
            .unwrap();
        let records = face.1;
        let at = |moment: i64| records.partition_point(|record| record.at < moment);
        Stream {
            boots,
            live: at(live),
            bad: at(bad),
            over: over.iter().map(|moment| at(*moment)).collect(),
            records,
        }
    }

    /// Two incidents between healthy boots, a crash of the controller, and 20,000 lines in all.
    pub(super) fn long(seed: u64) -> Stream {
        let start = *START;
        let phase = |from: i64, until: i64, mix: &[(u32, &'static str)]| Phase {
            from: from * MINUTE,
            rate: 240,
            boots: None,
            lasts: Some((until - from) * MINUTE),
            mix: mix
                .iter()
                .map(|(weight, name)| (*weight, scenario(name)))
                .collect(),
        };
        let healthy: &[(u32, &'static str)] = &[(6, "healthy"), (1, "cli-fresh"), (1, "cancel")];
        let plan = Plan::new(seed, start)
            .figures(Figures::sample())
            .injection(Injection::Never)
            .phase(phase(0, 70, healthy))
            .phase(phase(72, 80, &[(1, "clone-fails")]))
            .phase(phase(82, 120, healthy))
            // A boot's row is written for the last time a quarter of an hour after its end. By the log's own time that
            // is so for all boots but these last ones; what is left to the wall clock's would not be the same twice.
            .phase(phase(138, 139, healthy))
            .at(30 * MINUTE, Happening::ImageRebuilt { with_agent: false })
            .at(42 * MINUTE, Happening::ImageRebuilt { with_agent: true })
            .at(100 * MINUTE, Happening::Killed { down: 3_000 });
        let over = [71 * MINUTE, 99 * MINUTE];
        Stream::of(plan, start, [20 * MINUTE, 30 * MINUTE], &over)
    }

    /// A few healthy boots, a few without an agent, and healthy ones again; the latter from `over` on.
    pub(super) fn short() -> Stream {
        let start = *START;
        let phase = |from: i64, boots: u32, name: &'static str| Phase {
            from: from * MINUTE,
            rate: 600,
            boots: Some(boots),
            lasts: None,
            mix: vec![(1, scenario(name))],
        };
        let mut plan = Plan::new(11, start)
            .figures(Figures::sample())
            .phase(phase(0, 5, "healthy"))
            .phase(phase(5, 8, "healthy"))
            .phase(phase(10, 4, "agent-missing"))
            .phase(phase(15, 12, "healthy"));
        plan.noise = false;
        let parts = [5 * MINUTE, 10 * MINUTE];
        Stream::of(plan, start, parts, &[15 * MINUTE])
    }

    pub(super) fn lines(&self) -> usize {
        self.records.iter().map(Record::lines).sum()
    }
}

/// The file that the records go to, as winston keeps it.
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    /// As the follower counts the files: one more with each rotation and each truncation.
    generation: u32,
    offset: u64,
    /// The generations in the family, newest first.
    family: VecDeque<u32>,
}

/// winston's own.
const FILES: usize = 5;

impl Writer {
    pub(super) fn new(path: &Path) -> Writer {
        Writer {
            path: path.to_owned(),
            file: open(path),
            generation: 1,
            offset: 0,
            family: VecDeque::from([1]),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        self.offset += bytes.len() as u64;
    }

    /// The generation that the next rotation removes.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.family.get(FILES - 1).copied()
    }

    pub(super) fn rotate(&mut self) {
        for number in (1..FILES - 1).rev() {
            let from = self.member(number);
            if from.exists() {
                fs::rename(from, self.member(number + 1)).unwrap();
            }
        }
        fs::rename(&self.path, self.member(1)).unwrap();
        self.file = open(&self.path);
        self.next_generation();
        self.family.push_front(self.generation);
        self.family.truncate(FILES);
    }

    pub(super) fn truncate(&mut self) {
        self.file.set_len(0).unwrap();
        self.next_generation();
        self.family[0] = self.generation;
    }

    fn next_generation(&mut self) {
        self.generation += 1;
        self.offset = 0;
    }

    fn member(&self, number: usize) -> PathBuf {
        let stem = self.path.file_stem().unwrap().to_str().unwrap();
        self.path.with_file_name(format!("{stem}{number}.log"))
    }

    pub(super) fn place(&self) -> (u32, u64) {
        (self.generation, self.offset)
    }
}

fn open(path: &Path) -> File {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

/// How far the log was read, as the store has it: generation and offset. To be asked while the program runs: whoever
/// is the last to close a database carries its log over.
pub(super) fn place(store: &Path) -> Option<(u32, u64)> {
    if !store.exists() {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(store)
            .read_only(true);
        let mut raw = options.connect().await.ok()?;
        let text: Result<String, _> =
            sqlx::query_scalar("SELECT value FROM state WHERE kind = 'source' AND key = 'place'")
                .fetch_one(&mut raw)
                .await;
        raw.close().await.ok();
        let value: Value = serde_json::from_str(&text.ok()?).unwrap();
        let mark = value["file"]["files"].as_array()?.last()?.clone();
        let number = |name: &str| mark[name].as_u64();
        Some((
            u32::try_from(number("generation")?).ok()?,
            number("offset")?,
        ))
    })
}
