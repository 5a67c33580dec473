//! The VMs' agents as real servers on loopback addresses, for probes that really knock.
//!
//! Each VM's agent is one thread on `127.x.y.z`, up and down with the simulation. What a loopback address cannot do is
//! be unreachable: a VM without a network refuses here.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::fate::Agent;
use super::line::iso;
use super::player::Face;
use super::simulation::{Happened, Moment};
use crate::clock;

/// A client that says nothing for so long is left alone.
const PATIENCE: Duration = Duration::from_secs(2);

/// All agents of a simulated host.
#[derive(Debug)]
pub struct Agents {
    port: u16,
    running: HashMap<Ipv4Addr, Server>,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agents {
    /// Port 0 gives each agent a free one.
    #[must_use]
    pub fn new(port: u16) -> Agents {
        Agents {
            port,
            running: HashMap::new(),
        }
    }

    /// Starts an agent; one that was on the address before is replaced.
    pub fn up(&mut self, ip: Ipv4Addr, agent: Agent) -> io::Result<SocketAddr> {
        self.down(ip);
        let listener = TcpListener::bind((ip, self.port))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopping);
        let thread = thread::Builder::new()
            .name(format!("agent {ip}"))
            .spawn(move || serve(&listener, agent, &seen))?;
        let server = Server {
            address,
            stopping,
            thread: Some(thread),
        };
        self.running.insert(ip, server);
        Ok(address)
    }

    /// Stops the agent on that address, if there is one; from then on the address refuses.
    pub fn down(&mut self, ip: Ipv4Addr) {
        self.running.remove(&ip);
    }

    /// Where the agent of that VM listens.
    #[must_use]
    pub fn address(&self, ip: Ipv4Addr) -> Option<SocketAddr> {
        self.running.get(&ip).map(|server| server.address)
    }
}

impl Face for Agents {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        match moment.what {
            Happened::AgentUp { ip, agent } if ip.is_loopback() => self.up(ip, agent).map(drop),
            Happened::AgentDown { ip } => {
                self.down(ip);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread out of `accept`; if even that fails, the thread is left to the process' end.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, agent: Agent, stopping: &AtomicBool) {
    let mut held = Vec::new();
    let mut requests = 0u32;
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        requests += 1;
        // A client that goes away early is its own affair.
        match answer(&mut stream, agent, requests) {
            Ok(After::Hold) => held.push(stream),
            Ok(After::Close) | Err(_) => {}
        }
    }
}

enum After {
    Close,
    /// Keeps the connection open and says nothing more.
    Hold,
}

fn answer(stream: &mut TcpStream, agent: Agent, requests: u32) -> io::Result<After> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match agent {
        Agent::Hangs => return Ok(After::Hold),
        Agent::HangsThenHealthy if requests == 1 => return Ok(After::Hold),
        Agent::Resets | Agent::CrashLoops => {
            // Closing with unread bytes makes the kernel send a reset.
            stream.peek(&mut [0])?;
            return Ok(After::Close);
        }
        Agent::Garbage => {
            stream.write_all(b"SSH-2.0-OpenSSH_8.9p1\r\n")?;
            read_head(stream)?;
            return Ok(After::Close);
        }
        _ => {}
    }
    let head = read_head(stream)?;
    match agent {
        Agent::HalfBody => {
            let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 80\r\n\r\n{\"status\":";
            stream.write_all(half)?;
            Ok(After::Hold)
        }
        Agent::Status(code) => {
            let body = "{\"error\":\"agent initialisation failed\"}";
            respond(stream, code, body)
        }
        Agent::StartsThenHealthy if requests <= 2 => {
            respond(stream, 503, "{\"error\":\"starting\"}")
        }
        _ => healthy(stream, &head),
    }
}

fn healthy(stream: &mut TcpStream, head: &str) -> io::Result<After> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let time = iso(clock::now().0);
    match path.split('?').next().unwrap_or_default() {
        "/health" => {
            let body =
                format!("{{\"status\":\"ok\",\"timestamp\":\"{time}\",\"activeSessions\":0}}");
            respond(stream, 200, &body)
        }
        "/credentials/status" => {
            let body = "{\"authenticated\":false,\"waiting\":true,\"elapsedMs\":0}";
            respond(stream, 200, body)
        }
        _ => respond(stream, 404, "{\"error\":\"Not Found\"}"),
    }
}

fn respond(stream: &mut TcpStream, code: u16, body: &str) -> io::Result<After> {
    let reason = match code {
        200 => "OK",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(response.as_bytes())?;
    Ok(After::Close)
}

/// The request's first bytes, up to the empty line.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        let n = stream.read(&mut part)?;
        if n == 0 {
            break;
        }
        head.extend_from_slice(&part[..n]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
