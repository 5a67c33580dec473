//! The built program with its configuration, log and store in one folder: started, killed, ended, looked at.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bootwatch::clock::Stopwatch;

/// Nothing here takes this long unless it is broken, also on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(90);
const SIGKILL: i32 = 9;

pub(super) struct Program {
    folder: PathBuf,
    /// Where its pages go.
    pager: Option<SocketAddr>,
    child: Option<Child>,
    /// The process, for whoever kills it from elsewhere; 0: none.
    pub(super) process: Arc<AtomicU32>,
    pub(super) deaths: Arc<AtomicUsize>,
    pub(super) binary: PathBuf,
    /// What is put before the program's own command line.
    pub(super) under: Vec<String>,
    /// Nothing is once it has died.
    pub(super) under_once: bool,
}

impl Program {
    pub(super) fn new(folder: &Path) -> Program {
        Program {
            folder: folder.to_owned(),
            pager: None,
            child: None,
            process: Arc::default(),
            deaths: Arc::default(),
            binary: env!("CARGO_BIN_EXE_bootwatch").into(),
            under: Vec::new(),
            under_once: false,
        }
    }

    pub(super) fn configure(&mut self, pager: SocketAddr) {
        self.pager = Some(pager);
    }

    /// Updates wait for an hour, so that an incident is two messages; it resolves a second after it may. How often the
    /// program had died before stands in the address that it pages: what it sent before it died may be looked at later.
    fn write_configuration(&self) {
        let pager = self.pager.expect("it is configured before it starts");
        let deaths = self.deaths.load(Ordering::SeqCst);
        let text = format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = {:?}\ntimezone = \"UTC\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = {:?}\n[notify.oncall]\ntype = \"webhook\"\nurl = \"http://{pager}/page/{deaths}\"\n\
             [alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1h\"\n[shutdown]\ndeadline = \"20s\"\n",
            self.log(),
            self.store(),
        );
        fs::write(self.folder.join("bootwatch.toml"), text).unwrap();
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("master-controller.log")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("store/bootwatch.db")
    }

    pub(super) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.write_configuration();
        let arguments = ["run", "--config", "bootwatch.toml"];
        let under = self.under.iter().map(OsStr::new);
        let mut line = under
            .chain([self.binary.as_os_str()])
            .chain(arguments.map(OsStr::new));
        let mut command = Command::new(line.next().unwrap());
        let errors = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("errors"))
            .unwrap();
        let child = command
            .args(line)
            .current_dir(&self.folder)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(File::create(self.folder.join("said")).unwrap())
            .stderr(errors)
            .spawn()
            .unwrap();
        self.process.store(child.id(), Ordering::SeqCst);
        self.child = Some(child);
    }

    /// Whether it runs. One that was killed is noted; one that ended by itself is a failure.
    pub(super) fn runs(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return false;
        };
        let Some(status) = child.try_wait().unwrap() else {
            return true;
        };
        self.died(status);
        false
    }

    fn died(&mut self, status: ExitStatus) {
        self.child = None;
        self.process.store(0, Ordering::SeqCst);
        self.deaths.fetch_add(1, Ordering::SeqCst);
        if self.under_once {
            self.under.clear();
        }
        // A wrapper tells a shell's way that its program was killed.
        let killed = status.signal() == Some(SIGKILL) || status.code() == Some(128 + SIGKILL);
        assert!(
            killed,
            "the program ended by itself, {status}: {}",
            self.errors()
        );
    }

    pub(super) fn ensure_running(&mut self) {
        if !self.runs() {
            self.start();
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            self.died(status);
        }
    }

    /// Asks it to end, and waits until it has; true if it was killed over it.
    pub(super) fn end_or_die(&mut self) -> bool {
        let killed = Some(128 + SIGKILL);
        let status = self.end();
        let died = status.is_none() || status == killed;
        assert!(died || status == Some(0), "{status:?}: {}", self.errors());
        if died {
            self.deaths.fetch_add(1, Ordering::SeqCst);
            self.under.clear();
        }
        died
    }

    /// Asks it to end, and waits until it has; the status that it ended with.
    pub(super) fn end(&mut self) -> Option<i32> {
        // Before it says where it listens a signal would not be an orderly end.
        self.address();
        let mut child = self.child.take().unwrap();
        let process = Program::own_process(&child).unwrap_or_else(|| child.id());
        signal("TERM", process);
        let began = Stopwatch::start();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if began.elapsed() < DEADLINE => pause(),
                None => {
                    child.kill().ok();
                    panic!("the program does not end: {}", self.errors());
                }
            }
        };
        self.process.store(0, Ordering::SeqCst);
        status.code()
    }

    /// The program's own process, where it is the child of what it runs under.
    fn own_process(child: &Child) -> Option<u32> {
        let id = child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Where its web listens.
    pub(super) fn address(&mut self) -> SocketAddr {
        let mut found = None;
        self.until("it says where its web is", |program| {
            let said = fs::read_to_string(program.folder.join("said")).unwrap();
            found = said
                .trim()
                .rsplit_once("http://")
                .and_then(|(_, address)| address.parse().ok());
            found.is_some()
        });
        found.unwrap()
    }

    /// The sum of the samples of a metric whose labels contain `with`.
    pub(super) fn metric(&mut self, name: &str, with: &str) -> f64 {
        let address = self.address();
        let (_, text) = crate::sidecar::get(address, "/metrics").unwrap();
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && line.contains(with))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The last of what it said on standard error.
    pub(super) fn errors(&self) -> String {
        let text = fs::read(self.folder.join("errors")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits for something that the program does; if it is killed meanwhile, from wherever, it is started again.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Program) -> bool) {
        let waited = self.wait_for(|program| holds(program).then_some(()).ok_or(()));
        assert!(waited.is_ok(), "not in time: {what}: {}", self.errors());
    }

    /// The same; what was there instead, if it does not come in time.
    pub(super) fn wait_for<E>(
        &mut self,
        mut looks: impl FnMut(&mut Program) -> Result<(), E>,
    ) -> Result<(), E> {
        let began = Stopwatch::start();
        loop {
            self.ensure_running();
            match looks(self) {
                Err(_) if began.elapsed() < DEADLINE => pause(),
                ended => return ended,
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(own) = Program::own_process(&child) {
                signal("KILL", own);
            }
            child.kill().ok();
            child.wait().ok();
        }
    }
}

pub(super) fn signal(name: &str, process: u32) {
    // It may have ended just now.
    Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

pub(super) fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}
