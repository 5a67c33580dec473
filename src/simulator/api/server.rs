//! The sockets: a listener, a thread a connection, and who waits for which answer.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Asked, Request, Response};

/// Requests on their way into the world; beyond it, clients wait.
const WAITING: usize = 64;
/// A request's head and body together.
const MOST_BYTES: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

type Waiting = Arc<Mutex<HashMap<u64, Sender<Response>>>>;

#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    waiting: Waiting,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(address: SocketAddr) -> io::Result<(Server, Receiver<Asked>)> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (asked, inbox) = sync_channel(WAITING);
        let waiting = Waiting::default();
        let stopping = Arc::new(AtomicBool::new(false));
        let (waits, stops) = (Arc::clone(&waiting), Arc::clone(&stopping));
        let thread = thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || accept(&listener, &asked, &waits, &stops))?;
        let server = Server {
            address,
            waiting,
            stopping,
            thread: Some(thread),
        };
        Ok((server, inbox))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who has gone away wants no answer.
    pub(super) fn answer(&self, ticket: u64, response: Option<Response>) {
        let waits = lock(&self.waiting).remove(&ticket);
        if let (Some(waits), Some(response)) = (waits, response) {
            waits.send(response).ok();
        }
    }

    pub(super) fn drop_all(&self) {
        lock(&self.waiting).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.drop_all();
        // Wakes the thread out of `accept`; if even that fails, the thread is left to the process' end.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

fn lock(
    waiting: &Mutex<HashMap<u64, Sender<Response>>>,
) -> MutexGuard<'_, HashMap<u64, Sender<Response>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(
    listener: &TcpListener,
    asked: &SyncSender<Asked>,
    waiting: &Waiting,
    stopping: &AtomicBool,
) {
    let tickets = Arc::new(AtomicU64::new(1));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let (asked, waiting) = (asked.clone(), Arc::clone(waiting));
        let tickets = Arc::clone(&tickets);
        let served = thread::Builder::new()
            .name("api client".to_owned())
            .spawn(move || {
                // A client that goes away early is its own affair.
                serve(stream, &asked, &waiting, &tickets).ok();
            });
        drop(served);
    }
}

fn serve(
    mut stream: TcpStream,
    asked: &SyncSender<Asked>,
    waiting: &Waiting,
    tickets: &AtomicU64,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let Some((method, url, body)) = read_request(&mut stream)? else {
        return Ok(());
    };
    let ticket = tickets.fetch_add(1, Ordering::Relaxed);
    let (answer, answered) = channel();
    lock(waiting).insert(ticket, answer);
    let request = understood(method, &url, &body);
    let asked_for = Asked {
        ticket,
        method,
        url,
        request,
    };
    if asked.send(asked_for).is_err() {
        return Ok(());
    }
    // The sender goes when the controller does.
    match answered.recv() {
        Ok(response) => write_response(&mut stream, &response),
        Err(_) => Ok(()),
    }
}

fn read_request(stream: &mut TcpStream) -> io::Result<Option<(&'static str, String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break at;
        }
        let n = stream.read(&mut part)?;
        if n == 0 || bytes.len() > MOST_BYTES {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let method = match words.next() {
        Some("GET") => "GET",
        Some("POST") => "POST",
        _ => return Ok(None),
    };
    let url = words.next().unwrap_or("/").to_owned();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0)
        .min(MOST_BYTES);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        let n = stream.read(&mut part)?;
        if n == 0 {
            return Ok(None);
        }
        body.extend_from_slice(&part[..n]);
    }
    body.truncate(length);
    Ok(Some((method, url, body)))
}

fn understood(method: &str, url: &str, body: &[u8]) -> Request {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, segments.as_slice()) {
        ("POST", ["api", "auth", "start"]) => {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            Request::Start {
                user: word("userId"),
                provider: word("provider"),
            }
        }
        ("GET", ["api", "auth", "session", session]) => Request::Session((*session).to_owned()),
        ("POST", ["api", "auth", "session", session, "cancel"]) => {
            Request::Cancel((*session).to_owned())
        }
        ("GET", ["api", "vms"]) => Request::Vms {
            undestroyed: query.contains("excludeDestroyed=true"),
        },
        ("GET", ["health"]) => Request::Health,
        ("GET", ["api", "debug", "ping"]) => Request::Ping,
        _ => Request::Unknown,
    }
}

fn write_response(stream: &mut TcpStream, response: &Response) -> io::Result<()> {
    let Response {
        status,
        headers,
        body,
    } = response;
    let reason = match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        429 => "Too Many Requests",
        _ => "Internal Server Error",
    };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nX-Powered-By: Express\r\nContent-Type: application/json; charset=utf-8\r\n"
    );
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ));
    stream.write_all(text.as_bytes())
}
