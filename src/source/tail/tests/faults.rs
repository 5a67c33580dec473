//! A file system that fails as told, and what the follower makes of it.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use super::*;
use crate::source::tail::FileId;
use crate::source::tail::disk::{Handle, Stat};
use crate::source::tail::family::Family;

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ESTALE: i32 = 116;

/// Error numbers to answer with.
#[derive(Default)]
pub(super) struct Faults {
    stat: Option<i32>,
    open: Option<i32>,
    read: Option<i32>,
    /// Only names that end so fail to open.
    open_ending: &'static str,
    /// Inodes belong to names, and nobody knows when a file was made.
    pub(super) inode_of_name: bool,
    pub(super) hide_births: bool,
}

pub(super) struct Faulty(Arc<Mutex<Faults>>);

struct FaultyHandle {
    inner: Box<dyn Handle>,
    path: PathBuf,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    pub(super) fn new() -> (Faulty, Arc<Mutex<Faults>>) {
        let faults = Arc::new(Mutex::new(Faults::default()));
        (Faulty(faults.clone()), faults)
    }
}

impl Faults {
    fn disguise(&self, path: &Path, stat: Stat) -> Stat {
        if !self.inode_of_name {
            let born = stat.born.filter(|_| !self.hide_births);
            return Stat { born, ..stat };
        }
        Stat {
            id: FileId {
                device: 1,
                inode: path.file_name().unwrap().len() as u64
                    + path.to_str().unwrap().bytes().map(u64::from).sum::<u64>(),
            },
            born: None,
            ..stat
        }
    }
}

fn fail(code: Option<i32>) -> io::Result<()> {
    code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

impl Files for Faulty {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let faults = self.0.lock().unwrap();
        fail(faults.stat)?;
        Ok(faults.disguise(path, Disk.stat(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let faults = self.0.lock().unwrap();
        if path.to_str().unwrap().ends_with(faults.open_ending) {
            fail(faults.open)?;
        }
        Ok(Box::new(FaultyHandle {
            inner: Disk.open(path)?,
            path: path.to_owned(),
            faults: self.0.clone(),
        }))
    }

    fn folder(&self, path: &Path) -> Option<FileId> {
        Disk.folder(path)
    }

    fn members(&self, family: &Family) -> io::Result<Vec<u32>> {
        Disk.members(family)
    }
}

impl Handle for FaultyHandle {
    fn stat(&self) -> io::Result<Stat> {
        Ok(self
            .faults
            .lock()
            .unwrap()
            .disguise(&self.path, self.inner.stat()?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        fail(self.faults.lock().unwrap().read)?;
        self.inner.read_at(buffer, offset)
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.inner.descriptor()
    }
}

fn faulty_tail(log: &Log) -> (Tail, Arc<Mutex<Faults>>) {
    let (faulty, faults) = Faulty::new();
    (Tail::with(log.options(), None, Box::new(faulty)), faults)
}

#[test]
fn a_failing_read_is_retried_with_back_off_from_the_same_place() {
    for code in [EIO, ESTALE, EACCES] {
        let log = Log::new();
        log.write("1\nha");
        let (mut tail, faults) = faulty_tail(&log);
        tail.forget();
        faults.lock().unwrap().read = Some(code);
        log.write("lf\n2\n");
        tail.wake();
        assert_eq!(tail.words(), ["trouble x.log"]);
        tail.pass(seconds(300));
        assert_eq!(
            tail.words(),
            Vec::<String>::new(),
            "unchanged trouble is said once"
        );
        faults.lock().unwrap().read = None;
        tail.pass(seconds(60));
        assert!(matches!(tail.events.first(), Some(TailEvent::Recovered)));
        assert_eq!(tail.text(), "half\n2\n");
        assert_eq!((tail.stats().losses, tail.stats().truncations), (0, 0));
    }
}

#[test]
fn an_unreadable_log_is_read_once_its_permission_is_fixed() {
    let log = Log::new();
    log.write("1\n");
    let (faulty, faults) = Faulty::new();
    faults.lock().unwrap().open = Some(EACCES);
    let mut tail = Tail::with(log.options(), None, Box::new(faulty));
    tail.pass(seconds(600));
    assert_eq!(tail.words(), ["trouble x.log"]);
    faults.lock().unwrap().open = None;
    tail.pass(seconds(1));
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn a_checkpoint_waits_for_an_unreadable_log_and_then_goes_on_exactly() {
    let log = Log::new();
    append(&log.path(1), "0\n");
    log.write("1\n");
    let kept = Tail::start(&log, None).kept();
    let (faulty, faults) = Faulty::new();
    faults.lock().unwrap().open = Some(EACCES);
    faults.lock().unwrap().open_ending = "x.log";
    let mut tail = Tail::with(log.options(), kept, Box::new(faulty));
    tail.pass(seconds(600));
    log.write("2\n");
    faults.lock().unwrap().open = None;
    tail.pass(seconds(1));
    assert_eq!(tail.text(), "2\n");
}

#[test]
fn a_rotated_file_that_stays_unreadable_is_passed_over_and_counted() {
    let log = Log::new();
    append(&log.path(1), "0\n");
    log.write("1\n");
    let (faulty, faults) = Faulty::new();
    faults.lock().unwrap().open = Some(EACCES);
    faults.lock().unwrap().open_ending = "x1.log";
    let mut tail = Tail::with(log.options(), None, Box::new(faulty));
    tail.pass(seconds(30));
    assert_eq!(tail.stats().lines, 0, "it may come back, and comes first");
    tail.pass(seconds(60));
    assert_eq!(tail.stats().losses, 1);
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn a_folder_that_cannot_be_looked_into_is_said_once_and_survived() {
    let log = Log::new();
    log.write("1\n");
    let (mut tail, faults) = faulty_tail(&log);
    tail.forget();
    faults.lock().unwrap().stat = Some(EACCES);
    tail.pass(seconds(60));
    assert_eq!(tail.words(), ["trouble x.log"]);
    faults.lock().unwrap().stat = None;
    log.write("2\n");
    tail.pass(seconds(1));
    assert_eq!(tail.words(), ["recovered", "caught up"]);
}

#[test]
fn a_file_that_fails_and_is_gone_afterwards_is_lost_and_the_next_one_read() {
    let log = Log::new();
    log.write("1\n");
    let (mut tail, faults) = faulty_tail(&log);
    faults.lock().unwrap().read = Some(ESTALE);
    tail.wake().forget();
    fs::remove_file(log.path(0)).unwrap();
    log.write("2\n");
    faults.lock().unwrap().read = None;
    tail.pass(seconds(60));
    assert_eq!(tail.stats().losses, 1);
    assert_eq!(tail.text(), "2\n");
}
