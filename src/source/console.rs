//! The VMs' consoles, as they are written: evidence that the controller deletes with the VM's directory.
//!
//! The folder of VM directories is watched, and in each new one `console.log` and `firecracker-error.log` are opened as
//! soon as they are there. An open file outlives its name, so whatever was written can be read after the directory has
//! vanished, however fast that was. inotify only cuts waits short; without it, or where an event is lost, a look every
//! 50 ms finds the same. What later controllers put into their archive is read where nothing was read live.
//!
//! These are bytes: what they mean is told by whoever listens. Bounded: so many VMs at once, so much of a console at
//! once; what is skipped is told as a gap. Names that are no VM's, links and things that are no plain files are left
//! alone. It blocks, and so runs on a thread of its own; nothing waits for it. Where there is no folder no thread waits for
//! one: whoever runs it tries again later.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::core::event::{Timestamp, VmId};

/// VMs followed at once; further ones are not, and counted.
pub const MAX_VMS: usize = 256;
/// Of one file in one look; a guest that writes faster has a gap.
const MAX_READ: u64 = 256 << 10;
/// Of an archived console, its end.
const MAX_ARCHIVED: u64 = 256 << 10;
/// A directory that was there before us is of interest if it is so young.
const YOUNG_MS: i64 = 10 * 60_000;
/// However a boot ends, nobody asks for its console after so long.
const KEEP_MS: i64 = 30 * 60_000;
/// A failed boot's directory goes within the controller's grace time; what is written until then is evidence, too.
const LINGER_MS: i64 = 60_000;
/// A guest that writes without end is read so often and not oftener.
const PAUSE: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(50);
/// With nothing to follow.
const IDLE: Duration = Duration::from_millis(500);
/// A folder that cannot be read is looked for so often.
pub const ABSENT: Duration = Duration::from_secs(5);

/// Where the directories are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleOptions {
    pub users: PathBuf,
    /// Where later controllers keep consoles.
    pub archive: PathBuf,
    pub inotify: bool,
}

/// Which of a VM's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    Console,
    Errors,
}

impl Stream {
    const ALL: [Stream; 2] = [Stream::Console, Stream::Errors];

    fn file(self) -> &'static str {
        match self {
            Stream::Console => "console.log",
            Stream::Errors => "firecracker-error.log",
        }
    }
}

/// What the follower is told of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It has ended; only a failed boot's console is wanted.
    Ended { vm: VmId, failed: bool },
    /// The controller kept the console under this name.
    Archived { vm: VmId, name: String },
}

/// What the follower tells.
pub trait Listener {
    /// Bytes of a console; `gap`: some before them were not read.
    fn heard(&mut self, vm: VmId, stream: Stream, bytes: &[u8], gap: bool);
    /// A failed boot's console as far as it was written; more may come. `whole`: read from the first byte on.
    fn wanted(&mut self, vm: VmId, whole: bool);
    /// Nothing more comes of it.
    fn closed(&mut self, vm: VmId);
    /// The end of a console that the controller kept, of a boot that was not followed.
    fn archived(&mut self, vm: VmId, bytes: &[u8]);
    /// All that was heard in this look is told.
    fn told(&mut self);
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleStats {
    pub followed: usize,
    /// VMs that were too many.
    pub left_out: u64,
}

#[derive(Debug, Default)]
struct Followed {
    files: BTreeMap<Stream, Open>,
    first_seen: i64,
    /// Its boot has failed, then.
    failed_at: Option<i64>,
    /// Something was written since the console was last handed over as wanted.
    grown: bool,
    directory_gone: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    read: u64,
    gap: bool,
}

/// Follows consoles.
pub struct Follower {
    options: ConsoleOptions,
    inotify: Option<OwnedFd>,
    vms: BTreeMap<VmId, Followed>,
    /// Those that are over: their directories may be there for long.
    over: BTreeMap<VmId, i64>,
    stats: ConsoleStats,
    readable: Option<bool>,
}

impl Follower {
    #[must_use]
    pub fn new(options: ConsoleOptions) -> Follower {
        let inotify = options
            .inotify
            .then(|| init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok())
            .flatten();
        Follower {
            options,
            inotify,
            vms: BTreeMap::new(),
            over: BTreeMap::new(),
            stats: ConsoleStats::default(),
            readable: None,
        }
    }

    #[must_use]
    pub fn stats(&self) -> ConsoleStats {
        ConsoleStats {
            followed: self.vms.len(),
            ..self.stats
        }
    }

    /// Looks again and again, until `stop` or a look that finds no folder and has nothing to follow. What is asked is
    /// answered in the next look, within 50 ms.
    pub fn run(
        &mut self,
        asks: &mut mpsc::Receiver<Ask>,
        stop: &CancellationToken,
        listener: &mut dyn Listener,
    ) {
        while !stop.is_cancelled() {
            self.look(clock::now(), listener);
            while let Ok(ask) = asks.try_recv() {
                self.asked(ask, clock::now(), listener);
            }
            listener.told();
            if self.readable == Some(false) && self.vms.is_empty() {
                return;
            }
            self.wait();
            std::thread::sleep(PAUSE);
        }
    }

    /// Until something is written, or a moment has passed.
    fn wait(&mut self) {
        let timeout = match (&self.inotify, self.vms.is_empty()) {
            (_, false) => LOOK,
            (_, true) => IDLE,
        };
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(timeout);
            return;
        };
        let until = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = [PollFd::new(inotify, PollFlags::IN)];
        // An interrupted wait is a short one.
        if poll(&mut fds, Some(&until)).is_ok_and(|ready| ready > 0) {
            let mut buffer = [0; 16 << 10];
            while rustix::io::read(inotify.as_fd(), &mut buffer).is_ok_and(|taken| taken > 0) {}
        }
    }

    /// One look: new directories, and what was written.
    pub fn look(&mut self, now: Timestamp, listener: &mut dyn Listener) {
        self.find(now);
        let vms: Vec<VmId> = self.vms.keys().copied().collect();
        for vm in vms {
            self.read(vm, listener);
            let Some(followed) = self.vms.get_mut(&vm) else {
                continue;
            };
            let age = now.0.saturating_sub(followed.first_seen);
            let lingered = followed
                .failed_at
                .is_some_and(|at| followed.directory_gone || now.0 - at >= LINGER_MS);
            if lingered && followed.grown {
                followed.grown = false;
                let whole = followed.is_whole();
                listener.wanted(vm, whole);
            }
            // A directory that is gone may be a boot whose end is not read yet.
            if lingered || age >= KEEP_MS {
                self.forget(vm, now, listener);
            }
        }
        self.over.retain(|_, at| now.0 - *at < 2 * KEEP_MS);
    }

    /// Takes what is asked.
    pub fn asked(&mut self, ask: Ask, now: Timestamp, listener: &mut dyn Listener) {
        match ask {
            Ask::Ended { vm, failed: true } => {
                self.read(vm, listener);
                if let Some(followed) = self.vms.get_mut(&vm) {
                    followed.failed_at.get_or_insert(now.0);
                    followed.grown = false;
                    let whole = followed.is_whole();
                    listener.wanted(vm, whole);
                }
            }
            Ask::Ended { vm, failed: false } => self.forget(vm, now, listener),
            Ask::Archived { vm, name } => {
                let was_read = self
                    .vms
                    .get(&vm)
                    .is_some_and(|followed| followed.files.contains_key(&Stream::Console));
                // The name comes from a log: it may name nothing but a file in that folder.
                if was_read || self.over.contains_key(&vm) || name.contains('/') {
                    return;
                }
                if let Some(bytes) = end_of(&self.options.archive.join(name)) {
                    listener.archived(vm, &bytes);
                }
            }
        }
    }

    fn forget(&mut self, vm: VmId, now: Timestamp, listener: &mut dyn Listener) {
        if self.vms.remove(&vm).is_some() {
            self.over.insert(vm, now.0);
            listener.closed(vm);
        }
    }

    fn find(&mut self, now: Timestamp) {
        if let Some(inotify) = &self.inotify {
            // Set again each time: the folder may have been replaced, and setting the same watch twice is one.
            watch(inotify, &self.options.users);
        }
        let listed = fs::read_dir(&self.options.users);
        let readable = listed.is_ok();
        if self.readable != Some(readable) {
            self.readable = Some(readable);
            let users = self.options.users.display();
            match listed.as_ref().err() {
                None => tracing::info!(%users, "consoles are followed"),
                Some(error) => {
                    tracing::warn!(%users, %error, "consoles cannot be read: boots have no console evidence");
                }
            }
        }
        let Ok(listed) = listed else { return };
        let mut there = Vec::new();
        for entry in listed.flatten() {
            let name = entry.file_name();
            let Some(vm) = name.to_str().and_then(|name| VmId::parse(name.as_bytes())) else {
                continue;
            };
            there.push(vm);
            if self.vms.contains_key(&vm) || self.over.contains_key(&vm) {
                continue;
            }
            let path = entry.path();
            let young = entry.metadata().ok().is_some_and(|about| {
                about.is_dir() && now.0 - about.mtime().saturating_mul(1_000) < YOUNG_MS
            });
            if !young {
                // An orphan of long ago, looked at no more.
                self.over.insert(vm, now.0);
                continue;
            }
            if self.vms.len() >= MAX_VMS {
                self.stats.left_out += 1;
                self.over.insert(vm, now.0);
                continue;
            }
            if let Some(inotify) = &self.inotify {
                watch(inotify, &path);
            }
            let followed = Followed {
                first_seen: now.0,
                ..Followed::default()
            };
            self.vms.insert(vm, followed);
        }
        there.sort_unstable();
        for (vm, followed) in &mut self.vms {
            followed.directory_gone = there.binary_search(vm).is_err();
        }
    }

    /// Opens what is there now and reads what was written.
    fn read(&mut self, vm: VmId, listener: &mut dyn Listener) {
        let Some(followed) = self.vms.get_mut(&vm) else {
            return;
        };
        for stream in Stream::ALL {
            let opened = match followed.files.entry(stream) {
                Entry::Occupied(opened) => opened.into_mut(),
                Entry::Vacant(place) => {
                    let path = self.options.users.join(vm.to_string()).join(stream.file());
                    let Some(file) = open(&path) else { continue };
                    place.insert(Open {
                        file,
                        read: 0,
                        gap: false,
                    })
                }
            };
            let (bytes, gap) = opened.more();
            if !bytes.is_empty() {
                followed.grown = true;
                listener.heard(vm, stream, &bytes, gap);
            }
        }
    }
}

impl Followed {
    fn is_whole(&self) -> bool {
        self.files
            .get(&Stream::Console)
            .is_some_and(|console| !console.gap)
    }
}

impl Open {
    /// What was written since the last time, and whether something before it was skipped.
    fn more(&mut self) -> (Vec<u8>, bool) {
        let size = self.file.metadata().map_or(self.read, |about| about.size());
        let mut gap = false;
        if size < self.read {
            // It began anew.
            self.read = 0;
            gap = true;
        }
        if size - self.read > MAX_READ {
            self.read = size - MAX_READ;
            gap = true;
        }
        let mut bytes = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(self.read))
            .and_then(|_| (&self.file).take(MAX_READ).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!(%error, "a console could not be read");
        }
        self.read += bytes.len() as u64;
        self.gap |= gap;
        (bytes, gap)
    }
}

fn watch(inotify: &OwnedFd, path: &Path) {
    let flags = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MODIFY
        | WatchFlags::DELETE
        | WatchFlags::ONLYDIR
        | WatchFlags::DONT_FOLLOW;
    // Without a watch the next look finds the same, a little later.
    if let Err(error) = add_watch(inotify, path, flags)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "no watch; looking every 50 ms");
    }
}

/// A plain file, opened for reading; a link is not followed, and nothing else is waited for.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata()
        .is_ok_and(|about| about.is_file())
        .then_some(file)
}

fn end_of(path: &Path) -> Option<Vec<u8>> {
    let mut file = open(path)?;
    let size = file.metadata().ok()?.size();
    file.seek(SeekFrom::Start(size.saturating_sub(MAX_ARCHIVED)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_ARCHIVED).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Listener for Notes {
        fn heard(&mut self, vm: VmId, stream: Stream, bytes: &[u8], gap: bool) {
            let text = String::from_utf8_lossy(bytes);
            let text = if text.len() > 20 { "much" } else { &text };
            self.0.push(format!(
                "{} {stream:?} {text}{}",
                vm.0,
                if gap { " gap" } else { "" }
            ));
        }
        fn wanted(&mut self, vm: VmId, whole: bool) {
            self.0.push(format!("{} wanted whole={whole}", vm.0));
        }
        fn closed(&mut self, vm: VmId) {
            self.0.push(format!("{} closed", vm.0));
        }
        fn archived(&mut self, vm: VmId, bytes: &[u8]) {
            self.0.push(format!(
                "{} archived {}",
                vm.0,
                String::from_utf8_lossy(bytes)
            ));
        }
        fn told(&mut self) {}
    }

    struct Scene {
        _folder: tempfile::TempDir,
        users: PathBuf,
        archive: PathBuf,
        follower: Follower,
        notes: Notes,
    }

    impl Scene {
        fn new() -> Scene {
            let folder = tempfile::tempdir().unwrap();
            let (users, archive) = (folder.path().join("users"), folder.path().join("archive"));
            fs::create_dir(&users).unwrap();
            fs::create_dir(&archive).unwrap();
            let follower = Follower::new(ConsoleOptions {
                users: users.clone(),
                archive: archive.clone(),
                inotify: false,
            });
            Scene {
                _folder: folder,
                users,
                archive,
                follower,
                notes: Notes::default(),
            }
        }

        fn directory(&self, number: u128) -> PathBuf {
            self.users.join(VmId(number).to_string())
        }

        fn write(&self, number: u128, stream: Stream, text: &[u8]) {
            fs::create_dir_all(self.directory(number)).unwrap();
            let path = self.directory(number).join(stream.file());
            let mut file = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            file.write_all(text).unwrap();
        }

        fn look(&mut self) -> Vec<String> {
            self.look_at(clock::now())
        }

        fn look_at(&mut self, now: Timestamp) -> Vec<String> {
            self.follower.look(now, &mut self.notes);
            std::mem::take(&mut self.notes.0)
        }

        fn ask(&mut self, ask: Ask) -> Vec<String> {
            self.follower.asked(ask, clock::now(), &mut self.notes);
            std::mem::take(&mut self.notes.0)
        }
    }

    #[test]
    fn what_was_written_is_read_after_the_directory_has_vanished() {
        let mut scene = Scene::new();
        scene.write(1, Stream::Console, b"one\n");
        assert_eq!(scene.look(), ["1 Console one\n"]);
        scene.write(1, Stream::Console, b"two\n");
        scene.write(1, Stream::Errors, b"bad\n");
        // The error file's name was there for no look at all, and is lost with it; the open console is not.
        fs::remove_dir_all(scene.directory(1)).unwrap();
        assert_eq!(scene.look(), ["1 Console two\n"]);
        let failed = Ask::Ended {
            vm: VmId(1),
            failed: true,
        };
        assert_eq!(scene.ask(failed), ["1 wanted whole=true"]);
        assert_eq!(scene.look(), ["1 closed"]);
    }

    #[test]
    fn a_failed_boots_last_words_come_until_its_directory_goes() {
        let mut scene = Scene::new();
        scene.write(1, Stream::Console, b"a");
        scene.look();
        let failed = Ask::Ended {
            vm: VmId(1),
            failed: true,
        };
        assert_eq!(scene.ask(failed), ["1 wanted whole=true"]);
        scene.write(1, Stream::Console, b"b");
        assert_eq!(scene.look(), ["1 Console b"]);
        fs::remove_dir_all(scene.directory(1)).unwrap();
        assert_eq!(scene.look(), ["1 wanted whole=true", "1 closed"]);
    }

    #[test]
    fn a_boot_that_went_well_is_let_go_and_not_taken_up_again() {
        let mut scene = Scene::new();
        scene.write(1, Stream::Console, b"a");
        scene.look();
        let ended = Ask::Ended {
            vm: VmId(1),
            failed: false,
        };
        assert_eq!(scene.ask(ended), ["1 closed"]);
        scene.write(1, Stream::Console, b"b");
        assert!(scene.look().is_empty());
        assert_eq!(scene.follower.stats().followed, 0);
    }

    #[test]
    fn a_guest_that_writes_without_end_has_a_gap_and_takes_no_memory() {
        let mut scene = Scene::new();
        let flood = vec![b'x'; 1 << 20];
        scene.write(1, Stream::Console, &flood);
        assert_eq!(scene.look(), ["1 Console much gap"]);
        let failed = Ask::Ended {
            vm: VmId(1),
            failed: true,
        };
        assert_eq!(scene.ask(failed), ["1 wanted whole=false"]);
    }

    #[test]
    fn strangers_links_and_orphans_are_left_alone() {
        let mut scene = Scene::new();
        fs::create_dir(scene.users.join("lost+found")).unwrap();
        fs::create_dir_all(scene.directory(1)).unwrap();
        let secret = scene.archive.join("secret");
        fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, scene.directory(1).join("console.log")).unwrap();
        assert!(scene.look().is_empty());
        // A directory of long ago.
        scene.write(2, Stream::Console, b"old");
        let later = clock::now().plus_ms(YOUNG_MS + 60_000);
        assert!(
            scene
                .look_at(later)
                .iter()
                .all(|note| !note.contains("old"))
        );
    }

    #[test]
    fn without_a_folder_it_answers_and_comes_back() {
        let mut scene = Scene::new();
        fs::remove_dir(&scene.users).unwrap();
        fs::write(scene.archive.join("kept.log"), "kept").unwrap();
        let (asks, mut asked) = mpsc::channel(1);
        let (vm, name) = (VmId(1), "kept.log".to_owned());
        asks.try_send(Ask::Archived { vm, name }).unwrap();
        let stop = CancellationToken::new();
        scene.follower.run(&mut asked, &stop, &mut scene.notes);
        assert_eq!(scene.notes.0, ["1 archived kept"]);
    }

    #[test]
    fn the_archive_tells_only_what_nobody_heard_and_nothing_outside_of_it() {
        let mut scene = Scene::new();
        fs::write(scene.archive.join("kept.log"), "kept").unwrap();
        let archived = |number, name: &str| Ask::Archived {
            vm: VmId(number),
            name: name.to_owned(),
        };
        assert_eq!(scene.ask(archived(1, "kept.log")), ["1 archived kept"]);
        for name in ["../users/x", "/etc/hostname", "..", "nothing.log"] {
            assert!(scene.ask(archived(1, name)).is_empty(), "{name}");
        }
        scene.write(2, Stream::Console, b"live");
        scene.look();
        assert!(scene.ask(archived(2, "kept.log")).is_empty());
    }

    #[test]
    fn vms_beyond_the_bound_are_counted() {
        let mut scene = Scene::new();
        for number in 0..=u128::try_from(MAX_VMS).unwrap() {
            fs::create_dir(scene.directory(number)).unwrap();
        }
        scene.look();
        let stats = scene.follower.stats();
        assert_eq!((stats.followed, stats.left_out), (MAX_VMS, 1));
    }
}
