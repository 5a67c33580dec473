//! The VMs' agents as real servers on loopback addresses, for probes that really knock.
//!
//! Each VM's agent is one thread on `127.x.y.z`, up and down with the simulation; where the ports of its display are told,
//! noVNC and VNC are one each beside it. What a loopback address cannot do is
//! be unreachable: a VM without a network refuses here.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::fate::Agent;
use super::player::Face;
use super::simulation::{Happened, Moment};
use super::vnc;
use crate::clock;

/// A client that says nothing for so long is left alone.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// All agents of a simulated host.
#[derive(Debug)]
pub struct Agents {
    port: u16,
    display: Option<Display>,
    running: HashMap<Ipv4Addr, Server>,
    /// What serves a VM's display, where it has one.
    displays: HashMap<Ipv4Addr, [Server; 2]>,
}

/// The ports of a VM's display. Port 0 gives each VM a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    pub web_port: u16,
    pub vnc_port: u16,
}

impl Default for Display {
    fn default() -> Display {
        Display {
            web_port: 6_080,
            vnc_port: 5_901,
        }
    }
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
            display: None,
            running: HashMap::new(),
            displays: HashMap::new(),
        }
    }

    /// VMs have displays that answer.
    #[must_use]
    pub fn with_displays(self, display: Display) -> Agents {
        Agents {
            display: Some(display),
            ..self
        }
    }

    /// Starts an agent; one that was on the address before is replaced.
    pub fn up(&mut self, ip: Ipv4Addr, agent: Agent) -> io::Result<SocketAddr> {
        self.down(ip);
        let server = Server::start(ip, self.port, "agent", move |listener, stopping| {
            serve(listener, agent, stopping);
        })?;
        let address = server.address;
        self.running.insert(ip, server);
        Ok(address)
    }

    /// Starts the display of the VM on that address, if VMs have one here.
    pub fn display_up(&mut self, ip: Ipv4Addr) -> io::Result<()> {
        let Some(display) = self.display else {
            return Ok(());
        };
        self.displays.remove(&ip);
        let web = Server::start(ip, display.web_port, "novnc", |listener, stopping| {
            each(listener, stopping, vnc::web);
        })?;
        let greets = Server::start(ip, display.vnc_port, "vnc", |listener, stopping| {
            each(listener, stopping, vnc::greet);
        })?;
        self.displays.insert(ip, [web, greets]);
        Ok(())
    }

    /// Where noVNC and VNC of that VM listen.
    #[must_use]
    pub fn display(&self, ip: Ipv4Addr) -> Option<[SocketAddr; 2]> {
        let servers = self.displays.get(&ip)?;
        Some(servers.each_ref().map(|server| server.address))
    }

    /// Stops the agent on that address, if there is one; from then on the address refuses.
    pub fn down(&mut self, ip: Ipv4Addr) {
        self.running.remove(&ip);
        self.displays.remove(&ip);
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
            Happened::AgentUp { ip, agent, display } if ip.is_loopback() => {
                self.up(ip, agent)?;
                match display {
                    true => self.display_up(ip),
                    false => Ok(()),
                }
            }
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

impl Server {
    fn start(
        ip: Ipv4Addr,
        port: u16,
        what: &str,
        serve: impl FnOnce(&TcpListener, &AtomicBool) + Send + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind((ip, port))?;
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopping);
        let thread = thread::Builder::new()
            .name(format!("{what} {ip}"))
            .spawn(move || serve(&listener, &seen))?;
        Ok(Server {
            address,
            stopping,
            thread: Some(thread),
        })
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

/// One client after the other: a display serves no crowd here.
fn each(
    listener: &TcpListener,
    stopping: &AtomicBool,
    serve: impl Fn(&mut TcpStream) -> io::Result<()>,
) {
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(mut stream) = stream {
            // A client that goes away early is its own affair.
            serve(&mut stream).ok();
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
        _ => healthy(stream, agent, &head),
    }
}

fn healthy(stream: &mut TcpStream, agent: Agent, head: &str) -> io::Result<After> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    match path.split('?').next().unwrap_or_default() {
        "/health" => respond(stream, 200, &agent.health_body(clock::now().0)),
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
pub(super) fn read_head(stream: &mut TcpStream) -> io::Result<String> {
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
