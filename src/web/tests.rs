//! A real server on loopback, spoken to in bytes.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc as blocking;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

mod operators;
mod pages;
mod tls;

pub(super) use operators::operators;

/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    ready: Option<watch::Sender<Readiness>>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn start(limits: Limits, metrics: Render) -> Server {
    let (sender, ready) = watch::channel(Readiness::unless(vec!["starting".to_owned()]));
    let mut server = start_with(limits, faces(metrics, ready, operators(None).0)).await;
    server.ready = Some(sender);
    server
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server has no supervisor"
)]
async fn start_with(limits: Limits, faces: Faces) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, faces, limits, stop.clone()));
    Server {
        address,
        ready: None,
        stop,
        serving,
    }
}

/// A web with nothing behind it.
pub(super) fn faces(
    metrics: Render,
    ready: watch::Receiver<Readiness>,
    operators: Operators,
) -> Faces {
    Faces {
        version: "1.2.3",
        host: "controller<1>".to_owned(),
        metrics,
        ready,
        operators,
        live: watch::channel(Arc::default()).1,
        past: Arc::new(NoPast),
        zone: TimeZone::UTC,
        causes: Some("https://wiki.example/causes".to_owned()),
        tell: Arc::new(|incident, digest| Words {
            title: match digest {
                Some(digest) => format!("{} at once", digest.firing),
                None => format!("the words of {}", incident.key),
            },
            ..Words::default()
        }),
        settings: Vec::new(),
        guard: Arc::new(Guard::open_to_all()),
        reached_at: None,
        public: false,
    }
}

fn two_lines() -> Render {
    Arc::new(|| b"a 1\nb 2\n".to_vec())
}

async fn connect(address: SocketAddr) -> TcpStream {
    soon(TcpStream::connect(address)).await.unwrap()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("in time")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// All that comes until the server closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One answer of a connection that stays open; every body here ends in a newline.
async fn read_one(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = soon(stream.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .expect("a length");
            if body.len() == length.parse::<usize>().unwrap() {
                return text;
            }
        }
    }
}

async fn ask(server: &Server, method: &str, path: &str) -> String {
    let mut stream = connect(server.address).await;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    send(&mut stream, &request).await;
    read_all(&mut stream).await
}

const KEPT: &str = "GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn metrics_come_in_the_text_format_and_every_answer_is_guarded() {
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(answer.ends_with("\r\n\r\na 1\nb 2\n"));
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/nothing"] {
        let answer = ask(&server, "GET", path).await;
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff\r\n",
            "x-frame-options: DENY\r\n",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
    }
}

#[tokio::test]
async fn metrics_are_packed_for_whom_asks_for_it() {
    let server = start(Limits::default(), two_lines()).await;
    let scrape = async |accepts: &str| -> Vec<u8> {
        let mut stream = connect(server.address).await;
        let head = format!("connection: close\r\naccept-encoding: {accepts}\r\n");
        send(
            &mut stream,
            &format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{head}\r\n"),
        )
        .await;
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        answer
    };
    for accepts in ["gzip", "deflate, GZIP;q=0.5", "br;q=1.0, gzip; q=1"] {
        let answer = scrape(accepts).await;
        let at = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let head = String::from_utf8_lossy(&answer[..at]);
        assert!(
            head.contains("content-encoding: gzip\r\n"),
            "{accepts}: {head}"
        );
        assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
        let mut text = String::new();
        let mut packed = flate2::read::GzDecoder::new(&answer[at..]);
        std::io::Read::read_to_string(&mut packed, &mut text).unwrap();
        assert_eq!(text, "a 1\nb 2\n");
    }
    for accepts in ["identity", "gzip;q=0", "br", "gzipped"] {
        let answer = scrape(accepts).await;
        assert!(answer.ends_with(b"\r\n\r\na 1\nb 2\n"), "{accepts}");
    }
}

#[tokio::test]
async fn the_first_page_leads_to_the_others_and_escapes_the_host() {
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/").await;
    assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"));
    assert!(answer.contains("controller&lt;1&gt;"), "{answer}");
    for path in [
        "/boots",
        "/incidents",
        "/alerts",
        "/reports",
        "/system",
        "/metrics",
    ] {
        assert!(answer.contains(&format!("<a href=\"{path}\"")), "{path}");
    }
}

#[tokio::test]
async fn readiness_says_why_not_and_health_does_not_ask_it() {
    let mut server = start(Limits::default(), two_lines()).await;
    let sender = server.ready.take().unwrap();
    let answer = ask(&server, "GET", "/-/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("not ready\n- starting\n"), "{answer}");
    sender.send_replace(Readiness::ready());
    let answer = ask(&server, "GET", "/-/ready").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    sender.send_replace(Readiness::unless(vec![
        "the log cannot be read: \u{1b}[2J".to_owned(),
        "the store is full".to_owned(),
    ]));
    let answer = ask(&server, "GET", "/-/ready").await;
    assert!(
        answer.ends_with("not ready\n- the log cannot be read: \u{fffd}[2J\n- the store is full\n"),
        "{answer}"
    );
    // Whoever tells readiness is gone: that it was ready once says nothing.
    sender.send_replace(Readiness::ready());
    drop(sender);
    let answer = ask(&server, "GET", "/-/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = ask(&server, "GET", "/-/healthy").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/favicon.ico").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    for path in ["/", "/metrics", "/-/healthy", "/-/ready"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = ask(&server, method, path).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {answer}");
        }
        let answer = ask(&server, "HEAD", path).await;
        assert!(answer.ends_with("\r\n\r\n"), "HEAD has no body: {answer}");
    }
}

#[tokio::test]
async fn who_reads_html_is_refused_with_a_page_that_keeps_the_head() {
    let mut faces = faces(
        two_lines(),
        watch::channel(Readiness::ready()).1,
        operators(None).0,
    );
    faces.public = true;
    let server = start_with(Limits::default(), faces).await;
    let ask_as = async |method: &str, path: &str, accept: &str| {
        let mut stream = connect(server.address).await;
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\n\r\n"
        );
        send(&mut stream, &text).await;
        read_all(&mut stream).await
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/alerts/silence", 405),
        ("PUT", "/metrics", 405),
    ] {
        let answer = ask_as(method, path, browser).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")));
        for part in ["<title>", "name=\"viewport\"", "text/html; charset=utf-8"] {
            assert!(answer.contains(part), "{path} lacks {part}: {answer}");
        }
        assert_eq!(answer.matches("content-type: ").count(), 1, "{answer}");
        assert_eq!(answer.contains("allow: "), status == 405, "{answer}");
        let answer = ask_as(method, path, "*/*").await;
        assert!(!answer.contains("<html"), "{answer}");
    }
    // A page names the host and the state; who may see the page for everybody alone must not get it by asking oddly.
    let answer = ask_as("PUT", "/public", browser).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && !answer.contains("controller"));
    let answer = ask_as("GET", "/api/v1/nope", browser).await;
    assert!(answer.contains("application/json"), "{answer}");
}

#[tokio::test]
async fn a_programs_interface_refuses_in_json() {
    let server = start(Limits::default(), two_lines()).await;
    for (method, path, status) in [
        ("GET", "/api/v1/nope", "404"),
        ("GET", "/api/v1/boots?outcome=a&outcome=b", "400"),
        ("GET", "/api/v1/messages?limit=abc", "400"),
        // A client that went on with a cursor that is none would be at the first page for ever.
        ("GET", "/api/v1/boots?cursor=zzzz", "400"),
        ("GET", "/api/v1/boots?limit=501", "400"),
        ("GET", "/api/v1/boots?outcom=failed", "400"),
        ("GET", "/api/v1/incidents/past?cursor=1.", "400"),
        ("GET", "/api/v1/incidents/past?incident=bw", "400"),
        ("GET", "/api/v1/messages?cursor=zzzz", "400"),
        ("GET", "/api/v1/messages?cursor=1&cursor=2", "400"),
        ("GET", "/api/v1/messages?limit=0", "400"),
        ("GET", "/api/v1/synthetic?cursor=zzzz", "400"),
        ("GET", "/api/v1/synthetic?limit=abc", "400"),
        ("GET", "/api/v1/boots/%ff", "400"),
        ("PUT", "/api/v1/state", "405"),
    ] {
        let answer = ask(&server, method, path).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {head}"
        );
        let said: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(
            said["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn a_panic_while_writing_metrics_is_an_answer_and_not_the_end() {
    let server = start(Limits::default(), Arc::new(|| panic!("a broken metric"))).await;
    let answer = ask(&server, "GET", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    let answer = ask(&server, "GET", "/-/healthy").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_dribbles_its_request_is_cut_off() {
    let limits = Limits {
        read_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = start(limits, two_lines()).await;
    let mut silent = connect(server.address).await;
    let mut slow = connect(server.address).await;
    send(&mut slow, "GET /metrics HTTP/1.1\r\nhost: x\r\nx-a: ").await;
    let answer = read_all(&mut slow).await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(read_all(&mut silent).await, "");
    // And one that keeps its connection but asks nothing more.
    let mut idle = connect(server.address).await;
    send(&mut idle, KEPT).await;
    let answer = read_all(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off_too() {
    let limits = Limits {
        read_timeout: Duration::from_millis(20),
        lifetime: Duration::from_millis(50),
        connections: 1,
        ..Limits::default()
    };
    let server = start(limits, Arc::new(|| vec![b'a'; 64 << 20])).await;
    let mut stuck = connect(server.address).await;
    send(&mut stuck, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // The only place is taken until then.
    let answer = ask(&server, "GET", "/-/healthy").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_head_beyond_its_size_is_refused() {
    let server = start(Limits::default(), two_lines()).await;
    let fits = "a".repeat(15 << 10);
    let mut stream = connect(server.address).await;
    let head = "GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: ";
    send(&mut stream, &format!("{head}{fits}\r\n\r\n")).await;
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut stream = connect(server.address).await;
    send(&mut stream, &format!("{head}{}", "a".repeat(16 << 10))).await;
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn the_hundred_and_first_client_waits_for_a_place() {
    let limits = Limits {
        read_timeout: PATIENCE,
        ..Limits::default()
    };
    assert_eq!(limits.connections, 100);
    let server = start(limits, two_lines()).await;
    let mut clients = Vec::new();
    for _ in 0..limits.connections {
        let mut client = connect(server.address).await;
        send(&mut client, KEPT).await;
        read_one(&mut client).await;
        clients.push(client);
    }
    let mut late = connect(server.address).await;
    send(&mut late, KEPT).await;
    // The server goes round, for those it has, and does not turn to the late one.
    for client in &mut clients {
        send(client, KEPT).await;
        read_one(client).await;
    }
    let mut byte = [0; 1];
    let nothing = late.try_read(&mut byte).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    drop(clients.pop());
    assert!(read_one(&mut late).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stopping_answers_what_is_in_flight_and_takes_nothing_new() {
    let (entered, entering) = blocking::channel();
    let (release, released) = blocking::channel::<()>();
    let released = Mutex::new(released);
    let metrics: Render = Arc::new(move || {
        entered.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        b"whole 1\n".to_vec()
    });
    let server = start(Limits::default(), metrics).await;
    let mut idle = connect(server.address).await;
    send(&mut idle, KEPT).await;
    read_one(&mut idle).await;
    let mut stream = connect(server.address).await;
    send(&mut stream, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::task::spawn_blocking(move || entering.recv().unwrap())
        .await
        .unwrap();
    server.stop.cancel();
    // A connection at rest is closed at once.
    assert_eq!(read_all(&mut idle).await, "");
    assert!(!server.serving.is_finished());
    release.send(()).unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("whole 1\n"), "{answer}");
    soon(server.serving).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
