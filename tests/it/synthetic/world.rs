//! A simulated controller with all its faces, and the program that makes boots with it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bootwatch::clock::{self, Stopwatch};
use bootwatch::config::Secret;
use bootwatch::core::event::parse_uuid;
use bootwatch::simulator::{
    Agents, Api, ApiPlan, Display, Figures, Habit, LogFiles, Plan, Player, Schema, Simulation,
    Speed, Tables, Version,
};
use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;

use crate::simulator::scenario;

pub(super) const ACCOUNT: &str = "5e1f0000-0000-4000-8000-000000000001";
/// Somebody else.
pub(super) const OTHER: &str = "5e1f0000-0000-4000-8000-0000000000ff";
pub(super) const TOKEN: &str = "token-of-sixteen-or-more";
/// So many times faster than a real controller.
const SPEED: f64 = 20.0;
/// Nothing here takes this long unless it is broken, also on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(90);

pub(super) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_every(Duration::from_millis(20), what, holds);
}

/// The same of what is over sooner than that.
pub(super) fn eventually_every(pause: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !holds() {
        assert!(watch.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(pause);
    }
}

/// An account of the number.
pub(super) fn account(number: u32) -> String {
    format!("5e1f0000-0000-4000-8000-00000001{number:04x}")
}

pub(super) struct World {
    folder: TempDir,
    api: SocketAddr,
    third: u8,
    agents: u16,
    display: Display,
    /// With so many VMs running none is added.
    busy: u32,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// `oauth_limit` is how long the controller keeps a VM whose user does not log in, in its milliseconds.
    pub(super) fn start(version: Version, habit: Habit, name: &str, oauth_limit: i64) -> World {
        World::start_with(
            version,
            habit,
            name,
            oauth_limit,
            vec![ACCOUNT.to_owned(), OTHER.to_owned()],
        )
    }

    pub(super) fn start_with(
        version: Version,
        habit: Habit,
        name: &str,
        oauth_limit: i64,
        accounts: Vec<String>,
    ) -> World {
        static NEXT: AtomicU8 = AtomicU8::new(130);
        let third = NEXT.fetch_add(1, Ordering::SeqCst);
        let folder = tempfile::tempdir().unwrap();
        let crowded = accounts.len() > 2;
        // Ports that are free on every loopback address, as far as one can tell.
        let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [agents, web_port, vnc_port] =
            free.map(|listener| listener.local_addr().unwrap().port());
        let display = Display { web_port, vnc_port };
        let (api, address) = Api::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let figures = Figures {
            pool_first: Ipv4Addr::new(127, 0, third, 2),
            pool_size: 240,
            oauth_limit,
            ..Figures::sample()
        };
        let mut plan = Plan::new(11, clock::now())
            .version(version)
            .figures(figures)
            .api(ApiPlan {
                accounts: accounts
                    .iter()
                    .map(|id| parse_uuid(id.as_bytes()).unwrap())
                    .collect(),
                scenario: scenario(name),
                habit,
            });
        plan.noise = false;
        let log = folder.path().join("master-controller.log");
        let url = format!("sqlite:{}", folder.path().join("controller.db").display());
        let mut tables = Tables::create(&Secret::new(url), Schema::Production).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut files = LogFiles::open(&log, 100 << 20, TimeZone::UTC).unwrap();
            let mut agents = Agents::new(agents).with_displays(display);
            let (mut face, inbox) = api.split();
            let mut simulation = Simulation::new(plan);
            Player::new(Speed::Times(SPEED))
                .play_live(
                    &mut simulation,
                    &mut [&mut tables, &mut files, &mut agents, &mut face],
                    &mut |_| Ok(()),
                    &inbox,
                    &mut || !stopped.load(Ordering::SeqCst),
                )
                .unwrap();
        });
        let world = World {
            folder,
            api: address,
            third,
            agents,
            display,
            busy: if crowded { 250 } else { 2 },
            stop,
            thread: Some(thread),
        };
        eventually("the controller runs", || {
            world.log().contains("IP pool initialized from database")
        });
        world
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        exchange(self.api, method, path, "", body).unwrap()
    }

    /// The controller's time, as a line of its log has it that is written for us now.
    fn time(&self) -> jiff::civil::DateTime {
        let known = self.log().len();
        let mut time = None;
        eventually("the controller says what time it is", || {
            self.ask("GET", "/health", "");
            let log = self.log();
            let new = log.get(known..).unwrap_or_default();
            let mut newest = new.lines().rev();
            time = newest.find_map(|line| line.get(..19)?.parse().ok());
            time.is_some()
        });
        time.unwrap()
    }

    /// Waits until the controller's clock has gone on by more than that, and the log tells of something: a stranger who is
    /// refused.
    pub(super) fn passes(&self, seconds: i64) {
        let began = self.time();
        eventually("the controller's time passes", || {
            let passed = self.time().duration_since(began);
            passed.as_secs() > seconds
        });
        let stranger =
            "{\"userId\":\"5e1f0000-0000-4000-8000-00000000dead\",\"provider\":\"codex\"}";
        let (status, _) = self.ask("POST", "/api/auth/start", stranger);
        assert_eq!(status, 500);
    }

    pub(super) fn log(&self) -> String {
        let path = self.folder.path().join("master-controller.log");
        fs::read(path).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Boots a VM of that account, as anybody may: its session.
    pub(super) fn boots(&self, account: &str) -> String {
        let body = format!("{{\"userId\":\"{account}\",\"provider\":\"codex\"}}");
        let (status, answer) = self.ask("POST", "/api/auth/start", &body);
        assert_eq!(status, 200, "{answer}");
        answer["sessionId"].as_str().unwrap().to_owned()
    }

    /// Somebody ends their own session, and makes room.
    pub(super) fn cancel(&self, session: &str) {
        let (status, _) = self.ask("POST", &format!("/api/auth/session/{session}/cancel"), "{}");
        assert_eq!(status, 200);
    }

    /// Every session that was opened for the account.
    pub(super) fn sessions(&self, account: &str) -> Vec<String> {
        let wanted = format!("\"userId\":\"{account}\"");
        self.log()
            .lines()
            .filter(|line| line.contains("Creating browser VM for OAuth") && line.contains(&wanted))
            .filter_map(|line| Some(line.split_once("\"sessionId\":\"")?.1.get(..36)?.to_owned()))
            .collect()
    }

    /// Every session that anybody asked to cancel: the only way in which bootwatch can destroy a VM.
    pub(super) fn cancelled(&self) -> Vec<String> {
        let asked = "\"method\":\"POST\",\"url\":\"/api/auth/session/";
        self.log()
            .lines()
            .filter_map(|line| line.split_once(asked)?.1.get(..36).map(str::to_owned))
            .collect()
    }

    /// Undestroyed browser VMs of the account, but for those of these sessions.
    pub(super) fn standing(&self, account: &str, but_of: &[String]) -> Vec<String> {
        let log = self.log();
        let spared: Vec<&str> = log
            .lines()
            .filter(|line| but_of.iter().any(|session| line.contains(session.as_str())))
            .filter_map(|line| line.split_once("\"browserVMId\":\"")?.1.get(..39))
            .collect();
        let (_, answer) = self.ask("GET", "/api/vms?excludeDestroyed=true", "");
        let vms = answer["vms"].as_array().unwrap();
        vms.iter()
            .filter(|vm| vm["user_id"] == account && vm["vm_type"] == "browser")
            .map(|vm| vm["vm_id"].as_str().unwrap().to_owned())
            .filter(|vm| !spared.contains(&vm.as_str()))
            .collect()
    }

    /// The program with a store of its own, started and ready.
    pub(super) fn program(&self, name: &str, account: &str) -> Program {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let token = folder.join("token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "[host]\nname = \"host-1\"\n[log]\nfile = {:?}\ntimezone = \"UTC\"\n\
             [web]\nlisten = \"127.0.0.1:0\"\ntoken_file = {token:?}\n[store]\npath = {:?}\n\
             [database]\npoll = \"1s\"\n[shutdown]\ndeadline = \"10s\"\n\
             [probe]\nnetworks = [\"127.0.{}.0/24\"]\nagent_port = {}\nvnc_web_port = {}\nvnc_port = {}\n\
             [synthetic]\nuser_id = \"{account}\"\ncontroller = \"http://{}\"\nvnc = \"required\"\nbudget = 96\nbusy = {}\n",
            self.folder.path().join("master-controller.log"),
            folder.join("bootwatch.db"),
            self.third,
            self.agents,
            self.display.web_port,
            self.display.vnc_port,
            self.api,
            self.busy,
        );
        let config = folder.join("bootwatch.toml");
        fs::write(&config, text).unwrap();
        let mut program = Program {
            folder,
            database: format!(
                "sqlite://{}",
                self.folder.path().join("controller.db").display()
            ),
            child: RefCell::new(None),
            address: None,
        };
        program.start();
        program
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub(super) struct Program {
    folder: PathBuf,
    database: String,
    child: RefCell<Option<Child>>,
    address: Option<SocketAddr>,
}

impl Program {
    pub(super) fn start(&mut self) {
        let errors = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("errors"))
            .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["run", "--config", "bootwatch.toml"])
            .current_dir(&self.folder)
            .env("BOOTWATCH_DATABASE__URL", &self.database)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .rsplit_once("http://")
            .and_then(|(_, at)| at.parse().ok());
        self.child.replace(Some(child));
        self.address = Some(address.unwrap_or_else(|| panic!("{line}: {}", self.errors())));
        self.eventually("the log and the rows are read", |view| {
            let blind = view["blocked_by"] == "blind"
                || view["blocked_by"].is_null() && view["runs"].is_null();
            (!blind).then_some(())
        });
    }

    pub(super) fn kill(&mut self) {
        let mut child = self.child.borrow_mut().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The orderly way: what is in memory goes into the store's file.
    pub(super) fn end(&mut self) {
        let mut child = self.child.borrow_mut().take().unwrap();
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        child.wait().unwrap();
    }

    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("bootwatch.db")
    }

    pub(super) fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("errors")).unwrap_or_default()
    }

    /// Whether it runs, and what it said, for a test that fails.
    pub(super) fn fate(&self) -> String {
        let mut child = self.child.borrow_mut();
        let ended = child.as_mut().map(|child| child.try_wait().unwrap());
        format!("ended: {ended:?}\n{}", self.errors())
    }

    pub(super) fn ask_with(&self, token: &str) -> (u16, Value) {
        let header = format!("Authorization: Bearer {token}\r\n");
        self.answers("POST", "/api/v1/synthetic/runs", &header)
    }

    /// What the program says where it does not answer.
    fn answers(&self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        let address = self.address.unwrap();
        exchange(address, method, path, headers, "")
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; {}", self.fate()))
    }

    /// Asks for a run, until the guards let it.
    pub(super) fn wants_a_run(&mut self) {
        self.eventually("a run begins", |_| {
            let (status, answer) = self.ask_with(TOKEN);
            assert!(matches!(status, 202 | 409), "{status} {answer}");
            (status == 202).then_some(())
        });
    }

    /// What `bootwatch synthetic run` does once the guards let it.
    pub(super) fn runs_by_hand(&mut self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.address.unwrap());
        let folder = self.folder.clone();
        self.eventually("a run by hand begins", |_| {
            let done = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
                .args([
                    "synthetic",
                    "run",
                    "--config",
                    "bootwatch.toml",
                    "--url",
                    &url,
                ])
                .args(arguments)
                .current_dir(&folder)
                .output()
                .unwrap();
            let refused = String::from_utf8_lossy(&done.stderr).contains("refused (409)");
            (!refused).then_some(done)
        })
    }

    pub(super) fn view(&self) -> Value {
        self.view_of("")
    }

    pub(super) fn view_of(&self, query: &str) -> Value {
        let path = format!("/api/v1/synthetic{query}");
        self.answers("GET", &path, "").1
    }

    pub(super) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.address.unwrap()).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(super) fn eventually<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        let watch = Stopwatch::start();
        loop {
            let view = self.view();
            if let Some(found) = found(&view) {
                return found;
            }
            if watch.elapsed() > DEADLINE {
                panic!("not in time: {what}: {view:#}\n{}", self.fate());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn exchange(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(at)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or((answer.as_str(), ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    let start = body.find('{').unwrap_or(body.len());
    let end = body.rfind('}').map_or(start, |at| at + 1);
    let value = serde_json::from_str(body.get(start..end).unwrap_or_default());
    Ok((status, value.unwrap_or(Value::Null)))
}
