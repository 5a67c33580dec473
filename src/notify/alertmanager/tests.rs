use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::config::Endpoint;
use crate::core::alert::{Kind as Happened, Notification};
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{OK, receiver, requests};
use crate::notify::tests::{alertmanager, context, notifier};
use crate::notify::{Fault, fixture};

const PATIENCE: Duration = Duration::from_secs(30);

/// Rounds of half a second, so that an alert without news lives for two seconds.
const QUICK: Rhythm = Rhythm {
    resend: Duration::from_millis(500),
    hold: Duration::from_secs(2),
    resolved: Duration::from_secs(60),
};

/// An incident that began just now, as the engine makes them.
fn incident(of: Happened, failure: Failure) -> Incident {
    let told = fixture::incident(VmType::Browser, failure);
    let is = |notification: &&Notification| notification.kind == of;
    let mut incident = told.iter().rfind(is).unwrap().incident.clone();
    let now = clock::now();
    incident.fired_at = now.plus_ms(-100);
    incident.resolved_at = incident.resolved_at.map(|_| now);
    for member in &mut incident.members {
        member.fired_at = now.plus_ms(-100);
        member.resolved_at = member.resolved_at.map(|_| now);
    }
    incident
}

fn showing(incidents: Vec<Incident>) -> Arc<State> {
    Arc::new(State { incidents })
}

fn instance(address: SocketAddr) -> Instance {
    let publisher = Publisher::new(&notifier(alertmanager("http", address)), context()).unwrap();
    let mut instance = publisher.into_instances().remove(0);
    instance.rhythm = QUICK;
    instance
}

/// A real Alertmanager on a free port, with one receiver: a webhook.
struct Server {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

impl Server {
    fn start(webhook: SocketAddr) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let address = free();
        let child = Server::spawn(directory.path(), address, webhook);
        Server {
            child,
            address,
            _directory: directory,
        }
    }

    fn spawn(directory: &Path, address: SocketAddr, webhook: SocketAddr) -> Child {
        let config = directory.join("alertmanager.yml");
        let text = format!(
            "route:\n  receiver: pager\n  group_by: [host, vm_type]\n  group_wait: 1s\n  group_interval: 1s\n  \
             repeat_interval: 1h\nreceivers:\n- name: pager\n  webhook_configs:\n  - url: http://{webhook}/\n    \
             send_resolved: true\n"
        );
        std::fs::write(&config, text).unwrap();
        Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager is installed (scripts/test installs it)")
    }

    async fn ready(&self) {
        eventually("it serves", || async {
            let answer = reqwest_get(&format!("http://{}/-/ready", self.address)).await;
            answer.is_some()
        })
        .await;
    }

    /// What it calls active now, by name.
    async fn active(&self) -> Vec<Value> {
        let url = format!("http://{}/api/v2/alerts?active=true", self.address);
        let body = reqwest_get(&url).await.unwrap_or_default();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .active()
            .await
            .iter()
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

async fn reqwest_get(url: &str) -> Option<Vec<u8>> {
    super::super::install_tls();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let answer = client.get(url).send().await.ok()?;
    (answer.status() == 200).then_some(())?;
    answer.bytes().await.ok().map(|bytes| bytes.to_vec())
}

/// Waits until a condition holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = clock::monotonic() + PATIENCE;
    while !holds().await {
        assert!(clock::monotonic() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A pager that keeps what Alertmanager sends it, until the test ends.
fn pager() -> (SocketAddr, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &kept).is_some() {});
        }
    });
    (address, got)
}

fn serve(mut stream: &TcpStream, kept: &Mutex<Vec<Value>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.split_once("content-length: ")?.1.lines().next()?;
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    kept.lock()
        .unwrap()
        .push(serde_json::from_slice(&body).ok()?);
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()
}

fn status_told(got: &Mutex<Vec<Value>>, status: &str) -> bool {
    got.lock()
        .unwrap()
        .iter()
        .any(|payload| payload["status"] == status)
}

#[tokio::test]
async fn a_real_alertmanager_shows_what_fires_groups_it_and_hears_of_its_end() {
    let (webhook, got) = pager();
    let server = Server::start(webhook);
    server.ready().await;
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Update,
        Failure::AgentRefused,
    )]));
    let rounds = AtomicU32::new(0);
    let first = Mutex::new(Vec::new());
    let count = |round: Round| {
        rounds.fetch_add(1, Ordering::SeqCst);
        first.lock().unwrap().extend(round.first);
    };
    let running = instance(server.address).run(shown, count, std::future::pending());
    let told = async {
        let both = ["BootFailureRate", "ConnectionRefusedSpike"];
        eventually("both alerts are active", || async {
            server.names().await == both
        })
        .await;
        let active = server.active().await;
        assert_eq!(active[0]["labels"]["host"], "controller-1");
        assert_eq!(active[0]["labels"]["severity"], "page");
        assert_eq!(active[0]["annotations"]["cause"], "agent_refused");
        let since = active[0]["startsAt"].as_str().unwrap().to_owned();
        eventually("one page for both", || async {
            status_told(&got, "firing")
        })
        .await;
        assert_eq!(
            got.lock().unwrap()[0]["alerts"].as_array().unwrap().len(),
            2
        );
        // It goes on for longer than an alert lives without news, and is still the same alert.
        eventually("six rounds of half a second", || async {
            rounds.load(Ordering::SeqCst) >= 6
        })
        .await;
        assert_eq!(server.names().await, both);
        assert_eq!(server.active().await[0]["startsAt"], since.as_str());
        assert!(!status_told(&got, "resolved"));
        show.send_replace(showing(vec![incident(
            Happened::Resolved,
            Failure::AgentRefused,
        )]));
        eventually("nothing is active", || async {
            server.names().await.is_empty()
        })
        .await;
        eventually("the end is told", || async {
            status_told(&got, "resolved")
        })
        .await;
        drop(show);
    };
    tokio::join!(running, told);
    // Of however many rounds.
    let one = incident(Happened::Firing, Failure::AgentRefused);
    let first = first.into_inner().unwrap();
    let keys: Vec<&String> = first.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [&one.key]);
}

#[tokio::test]
async fn when_we_go_away_the_alerts_end_by_themselves() {
    let (webhook, got) = pager();
    let server = Server::start(webhook);
    server.ready().await;
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Firing,
        Failure::AgentRefused,
    )]));
    let running = instance(server.address).run(shown, drop, std::future::pending());
    let told = async {
        eventually("it is active", || async {
            !server.names().await.is_empty()
        })
        .await;
        drop(show);
    };
    tokio::join!(running, told);
    eventually("it ends", || async { server.names().await.is_empty() }).await;
    eventually("its end is told", || async {
        status_told(&got, "resolved")
    })
    .await;
}

#[tokio::test]
async fn an_alertmanager_that_forgot_everything_learns_it_again() {
    let (webhook, _) = pager();
    let mut server = Server::start(webhook);
    server.ready().await;
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Firing,
        Failure::AgentRefused,
    )]));
    let running = instance(server.address).run(shown, drop, std::future::pending());
    let told = async {
        eventually("it is active", || async {
            !server.names().await.is_empty()
        })
        .await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let fresh = tempfile::tempdir().unwrap();
        server.child = Server::spawn(fresh.path(), server.address, webhook);
        server.ready().await;
        eventually("it is active again", || async {
            !server.names().await.is_empty()
        })
        .await;
        drop(show);
    };
    tokio::join!(running, told);
}

#[tokio::test]
async fn one_of_two_that_is_down_delays_nothing() {
    let (webhook, _) = pager();
    let server = Server::start(webhook);
    server.ready().await;
    let mut settings = alertmanager("http", server.address);
    let Channel::Alertmanager(of) = &mut settings else {
        panic!("an Alertmanager")
    };
    let down = Endpoint::parse(&format!("http://{}", free())).unwrap();
    of.urls.insert(0, down);
    let publisher = Publisher::new(&notifier(settings), context()).unwrap();
    let [first, second]: [Instance; 2] = publisher.into_instances().try_into().unwrap();
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Firing,
        Failure::AgentRefused,
    )]));
    let outcomes = Mutex::new(Vec::new());
    let report = |round: Round| {
        let outcome = round.report.outcome;
        assert_eq!(
            round.first.is_empty(),
            outcome != Outcome::Sent,
            "{outcome:?}"
        );
        outcomes.lock().unwrap().push(outcome.as_str());
    };
    let deadline = async { clock::monotonic() + PATIENCE };
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let first = async {
        // The one that is down is tried as long as there is something to tell.
        tokio::select! {
            () = first.run(shown.clone(), report, std::future::pending()) => {}
            _ = end => {}
        }
    };
    let told = async {
        eventually("the other one has it", || async {
            !server.names().await.is_empty()
        })
        .await;
        eventually("the first was tried twice", || async {
            outcomes.lock().unwrap().len() >= 2
        })
        .await;
        drop((show, ended));
    };
    tokio::join!(first, second.run(shown.clone(), drop, deadline), told);
    let tried = outcomes.into_inner().unwrap();
    assert!(
        tried.iter().all(|outcome| *outcome == "retrying_network"),
        "{tried:?}"
    );
}

#[tokio::test]
async fn of_a_mixed_batch_the_valid_ones_are_taken_and_the_lot_is_not_tried_again() {
    let (webhook, _) = pager();
    let server = Server::start(webhook);
    server.ready().await;
    let ends = jiff::Timestamp::from_millisecond(clock::now().plus_ms(60_000).0).unwrap();
    let batch = json!([
        {"labels": {"alertname": "Valid", "host": "controller-1"}, "endsAt": ends.to_string()},
        {"labels": {"alertname": ""}, "endsAt": ends.to_string()},
    ]);
    let error = instance(server.address)
        .tell(serde_json::to_vec(&batch).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Answered(400));
    assert!(matches!(error, NotifyError::Permanent { .. }));
    eventually("the valid one is active", || async {
        server.names().await == ["Valid"]
    })
    .await;
    let mut health = Health::default();
    let outcome = health.judge(&Err(error), "ops", "here");
    assert_eq!((outcome.as_str(), health.tries), ("failed_client", 0));
}

#[tokio::test]
async fn a_test_says_so_to_a_real_alertmanager() {
    let (webhook, _) = pager();
    let server = Server::start(webhook);
    server.ready().await;
    let publisher =
        Publisher::new(&notifier(alertmanager("http", server.address)), context()).unwrap();
    let told = publisher.test("controller-1", clock::now()).await;
    assert!(told.iter().all(|(_, result)| result.is_ok()), "{told:?}");
    assert_eq!(server.names().await, ["BootwatchTest"]);
    assert_eq!(server.active().await[0]["labels"]["test"], "true");
}

#[tokio::test]
async fn each_round_goes_to_the_api_with_its_authorization() {
    let (address, thread) = receiver(vec![OK]);
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Firing,
        Failure::AgentRefused,
    )]));
    let (done, stop) = tokio::sync::oneshot::channel();
    let mut done = Some(done);
    let report = move |round: Round| {
        assert_eq!(round.report.outcome, Outcome::Sent);
        if let Some(done) = done.take() {
            done.send(()).unwrap();
        }
    };
    let stop = async {
        stop.await.unwrap();
        clock::monotonic()
    };
    instance(address).run(shown, report, stop).await;
    drop(show);
    let got = requests(thread).await;
    assert!(
        got[0].head.starts_with("POST /api/v2/alerts HTTP/1.1\r\n"),
        "{}",
        got[0].head
    );
    assert_eq!(got[0].header("authorization"), Some("hunter2"));
}

#[tokio::test]
async fn a_round_that_is_refused_is_told_again_with_the_secret_that_the_file_holds_now() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter3").unwrap();
    let no = fixture::server::Reply::Answer("401 Unauthorized", "", "{}");
    let (address, thread) = receiver(vec![no, OK, OK]);
    let notifier = notifier(alertmanager("http", address)).with_secret_in(file.path());
    let publisher = Publisher::new(&notifier, context()).unwrap();
    let (show, shown) = watch::channel(showing(vec![incident(
        Happened::Firing,
        Failure::AgentRefused,
    )]));
    let mut instance = publisher.into_instances().remove(0);
    instance.rhythm = QUICK;
    let running = instance.run(shown, |_| (), std::future::pending());
    let got = async {
        let got = requests(thread).await;
        drop(show);
        got
    };
    let (_, got) = tokio::join!(tokio::time::timeout(PATIENCE, running), got);
    let sent: Vec<_> = got.iter().map(|got| got.header("authorization")).collect();
    assert_eq!(sent, [Some("hunter2"), Some("hunter3"), Some("hunter3")]);
}

fn told(incidents: Vec<Incident>, now: Timestamp) -> Vec<Vec<Value>> {
    payload::batches(&State { incidents }, &context(), RHYTHM, now)
        .iter()
        .map(|batch| serde_json::from_slice(batch).unwrap())
        .collect()
}

fn moment(value: &Value) -> i64 {
    let at: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    at.as_millisecond()
}

#[test]
fn a_firing_alert_ends_four_minutes_ahead_and_never_moves_its_start() {
    let incident = incident(Happened::Firing, Failure::AgentRefused);
    let fired_at = incident.members[0].fired_at;
    for minutes in [0, 1, 90] {
        let now = fired_at.plus_ms(minutes * 60_000);
        let alert = &told(vec![incident.clone()], now)[0][0];
        assert_eq!(moment(&alert["startsAt"]), fired_at.0);
        assert_eq!(moment(&alert["endsAt"]), now.0 + 240_000);
    }
}

#[test]
fn an_end_is_told_for_a_quarter_of_an_hour_and_never_lies_before_the_start() {
    let mut over = incident(Happened::Resolved, Failure::AgentRefused);
    let ended = over.members[0].resolved_at.unwrap();
    let alert = &told(vec![over.clone()], ended.plus_ms(15 * 60_000))[0][0];
    assert_eq!(moment(&alert["endsAt"]), ended.0);
    assert!(told(vec![over.clone()], ended.plus_ms(15 * 60_000 + 1)).is_empty());
    // The clock was set back between the two.
    let before = over.members[0].fired_at.plus_ms(-60_000);
    over.members[0].resolved_at = Some(before);
    let alert = &told(vec![over], ended)[0][0];
    assert_eq!(alert["endsAt"], alert["startsAt"]);
}

#[test]
fn a_clock_that_was_set_back_puts_neither_start_nor_end_ahead() {
    let firing = incident(Happened::Firing, Failure::AgentRefused);
    let over = incident(Happened::Resolved, Failure::AgentRefused);
    let now = firing.members[0].fired_at.plus_ms(-2 * 3_600_000);
    let alert = &told(vec![firing], now)[0][0];
    assert_eq!(moment(&alert["startsAt"]), now.0);
    assert_eq!(moment(&alert["endsAt"]), now.0 + 240_000);
    let alert = &told(vec![over], now)[0][0];
    assert_eq!(moment(&alert["startsAt"]), now.0);
    assert_eq!(moment(&alert["endsAt"]), now.0);
}

#[test]
fn of_an_alert_that_fires_again_only_the_newer_is_told() {
    let over = incident(Happened::Resolved, Failure::AgentRefused);
    let mut again = incident(Happened::Firing, Failure::AgentRefused);
    let now = again.members[0].fired_at.plus_ms(10_000);
    again.members[0].fired_at = now;
    for order in [vec![over.clone(), again.clone()], vec![again, over]] {
        let alerts = told(order, now).remove(0);
        let rate: Vec<&Value> = alerts
            .iter()
            .filter(|alert| alert["labels"]["alertname"] == "BootFailureRate")
            .collect();
        assert_eq!(rate.len(), 1);
        assert_eq!(moment(&rate[0]["startsAt"]), now.0);
    }
}

#[test]
fn no_label_is_empty_and_a_batch_has_at_most_64() {
    let mut incidents = Vec::new();
    for host in 0..65 {
        let mut one = incident(Happened::Firing, Failure::AgentRefused);
        one.host = if host == 0 {
            String::new()
        } else {
            format!("host-{host}")
        };
        incidents.push(one);
    }
    let now = clock::now();
    let batches = told(incidents, now);
    let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [64, 1]);
    for alert in batches.iter().flatten() {
        for (name, value) in alert["labels"].as_object().unwrap() {
            assert!(!value.as_str().unwrap().is_empty(), "{name}");
        }
    }
    assert!(
        told(Vec::new(), now).is_empty(),
        "nothing is sent when nothing fires"
    );
}

#[test]
fn a_publisher_takes_no_messages() {
    let notifier = notifier(alertmanager("http", free()));
    assert!(crate::notify::Sender::new(&notifier, context()).is_err());
    let opened = crate::notify::open(&notifier, context()).unwrap();
    assert!(matches!(opened, crate::notify::Opened::Publisher(_)));
}
