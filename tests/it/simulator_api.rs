//! The simulated controller's API: what is asked over HTTP happens in the same world as everything else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::{
    Api, ApiPlan, Habit, Happened, Moment, Plan, Player, Simulation, Speed, Version,
};
use serde_json::Value;

use crate::sidecar::eventually;
use crate::simulator::{START, scenario};

const PATIENCE: Duration = Duration::from_secs(20);
const ACCOUNT: &str = "5e1f0000-0000-4000-8000-000000000001";

/// A controller that plays on a thread, sixty times faster than real ones.
struct Controller {
    at: SocketAddr,
    lines: Arc<std::sync::Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Shown(Arc<std::sync::Mutex<Vec<String>>>);

impl Face for Shown {
    fn show(&mut self, moment: &Moment) -> std::io::Result<()> {
        if let Happened::Line(record) = &moment.what {
            self.0.lock().unwrap().push(
                record
                    .text
                    .clone()
                    .unwrap_or_else(|| record.shape.message.to_owned()),
            );
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Controller {
    fn start(version: Version, habit: Habit) -> Controller {
        let (api, at) = Api::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let plan = Plan::new(7, START).version(version).api(ApiPlan {
            accounts: vec![bootwatch::core::event::parse_uuid(ACCOUNT.as_bytes()).unwrap()],
            scenario: scenario("healthy"),
            habit,
        });
        let lines = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (shown, stopped) = (Arc::clone(&lines), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let (mut face, inbox) = api.split();
            let mut simulation = Simulation::new(plan);
            Player::new(Speed::Times(60.0))
                .play_live(
                    &mut simulation,
                    &mut [&mut Shown(shown), &mut face],
                    &mut |_| Ok(()),
                    &inbox,
                    &mut || !stopped.load(Ordering::SeqCst),
                )
                .unwrap();
        });
        let controller = Controller {
            at,
            lines,
            stop,
            thread: Some(thread),
        };
        eventually("the controller answers", || {
            controller.try_ask("GET", "/health", "").is_some()
        });
        controller
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String, Value) {
        self.try_ask(method, path, body).unwrap()
    }

    /// Whoever asks before the controller has opened is left without an answer.
    fn try_ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String, Value)> {
        let mut stream = TcpStream::connect(self.at).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: controller\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head.to_owned(), serde_json::from_str(body).unwrap()))
    }

    fn start_boot(&self) -> (u16, Value) {
        let body = format!("{{\"userId\":\"{ACCOUNT}\",\"provider\":\"codex\"}}");
        let (status, _, answer) = self.ask("POST", "/api/auth/start", &body);
        (status, answer)
    }

    fn session(&self, id: &str) -> (u16, Value) {
        let (status, _, answer) = self.ask("GET", &format!("/api/auth/session/{id}"), "");
        (status, answer)
    }

    /// Asks until the session is as wanted.
    fn wait_for(&self, id: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let watch = Stopwatch::start();
        loop {
            let (status, answer) = self.session(id);
            if wanted(status, &answer) {
                return answer;
            }
            assert!(watch.elapsed() < PATIENCE, "{status} {answer}");
            std::thread::yield_now();
        }
    }

    fn vm(&self, id: &Value) -> Value {
        let (_, _, answer) = self.ask("GET", "/api/vms", "");
        let mut vms = answer["vms"].as_array().unwrap().iter();
        vms.find(|vm| vm["vm_id"] == *id).unwrap().clone()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[test]
fn octobers_answer_comes_with_the_vm_and_the_session_is_camel_case_in_memory() {
    let controller = Controller::start(Version::Oct, Habit::Usual);
    let (status, answer) = controller.start_boot();
    assert_eq!(status, 200);
    assert!(
        answer["browserIP"]
            .as_str()
            .unwrap()
            .starts_with("127.0.100.")
    );
    let id = answer["sessionId"].as_str().unwrap();
    let ready = controller.wait_for(id, |_, answer| answer["session"]["status"] == "ready");
    assert_eq!(ready["session"]["browserIP"], answer["browserIP"]);
    assert_eq!(
        ready["session"]["proxyConfig"]["password"],
        "simulated-secret"
    );
    let vm = ready["session"]["browserVMId"].clone();
    assert_eq!(controller.vm(&vm)["status"], "running");
    let (status, _, _) = controller.ask("POST", &format!("/api/auth/session/{id}/cancel"), "");
    assert_eq!(status, 200);
    assert_eq!(controller.vm(&vm)["status"], "destroyed");
    let (status, row) = controller.session(id);
    assert_eq!(status, 200);
    // The flow that nobody stopped may have written over it already.
    let said = row["session"]["status"].as_str().unwrap();
    assert!(matches!(said, "cancelled" | "awaiting_user_auth"), "{said}");
    assert_eq!(row["session"]["browser_vm_id"], vm);
    // The flow goes on: five minutes later it ends by itself and destroys the VM once more.
    controller.wait_for(id, |_, answer| answer["session"]["status"] == "timeout");
    let destroyed = || {
        let lines = controller.lines.lock().unwrap();
        lines.iter().filter(|line| *line == "Destroying VM").count()
    };
    let watch = Stopwatch::start();
    while destroyed() < 2 {
        assert!(watch.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn decembers_answer_comes_at_once_and_the_session_is_unknown_before_and_after() {
    let controller = Controller::start(Version::Dec, Habit::Usual);
    let (status, answer) = controller.start_boot();
    assert_eq!((status, &answer["browserIP"]), (200, &Value::Null));
    let id = answer["sessionId"].as_str().unwrap();
    let seen = controller.wait_for(id, |status, _| status == 200);
    assert!(seen["session"]["browserVMId"].is_string());
    let lines = controller.lines.lock().unwrap().join("\n");
    assert!(lines.contains(&format!("GET /session/{id} 404")), "{lines}");
    let (status, _, _) = controller.ask("POST", &format!("/api/auth/session/{id}/cancel"), "");
    assert_eq!(status, 200);
    assert_eq!(controller.session(id).0, 404);
}

#[test]
fn the_limiter_says_how_many_are_left_and_when_to_come_again() {
    let controller = Controller::start(Version::Oct, Habit::Limited(2, 600_000));
    let (status, head, _) = controller.ask("GET", "/api/debug/ping", "");
    assert_eq!(status, 200);
    assert!(head.contains("X-RateLimit-Remaining: 1"), "{head}");
    controller.ask("GET", "/api/debug/ping", "");
    let (status, answer) = controller.start_boot();
    assert_eq!(status, 429);
    assert_eq!(answer["error"], "Too many requests, please try again later");
    let (status, head, _) = controller.ask("GET", "/api/vms", "");
    assert_eq!(status, 429);
    assert!(head.contains("Retry-After: "), "{head}");
    assert_eq!(controller.ask("GET", "/health", "").0, 200);
}

#[test]
fn an_unknown_user_and_a_broken_controller_are_answered_with_its_own_texts() {
    let controller = Controller::start(Version::Oct, Habit::Usual);
    let body = "{\"userId\":\"nobody\",\"provider\":\"codex\"}";
    let (status, _, answer) = controller.ask("POST", "/api/auth/start", body);
    assert_eq!(status, 500);
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .starts_with("invalid input syntax for type uuid")
    );
    let body = format!("{{\"userId\":\"{ACCOUNT}\",\"provider\":\"codex_cli\"}}");
    assert_eq!(controller.ask("POST", "/api/auth/start", &body).0, 400);
    let broken = Controller::start(Version::Oct, Habit::Broken);
    assert_eq!(broken.start_boot().0, 500);
}

#[test]
fn a_cancellation_may_be_granted_and_destroy_nothing() {
    let controller = Controller::start(Version::Oct, Habit::CancelsNothing);
    let (_, answer) = controller.start_boot();
    let id = answer["sessionId"].as_str().unwrap();
    let (_, seen) = controller.session(id);
    let (status, _, _) = controller.ask("POST", &format!("/api/auth/session/{id}/cancel"), "");
    assert_eq!(status, 200);
    let vm = &seen["session"]["browserVMId"];
    assert_eq!(controller.vm(vm)["status"], "running");
}
