//! The VMs' agents as real servers: each behaves to a real client as its fate says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bootwatch::simulator::fate::Agent;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::{Agents, Display, Happened, Simulation, Version};

use crate::simulator::{order, scenario};

/// Asks for `/health`: what came back, or how it failed.
fn ask(address: SocketAddr, patience: Duration) -> Result<String, ErrorKind> {
    let kind = |error: std::io::Error| error.kind();
    let mut stream = TcpStream::connect(address).map_err(kind)?;
    stream.set_read_timeout(Some(patience)).map_err(kind)?;
    let request = b"GET /health HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n";
    stream.write_all(request).map_err(kind)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(kind)?;
    Ok(answer)
}

fn patiently(address: SocketAddr) -> Result<String, ErrorKind> {
    ask(address, Duration::from_secs(10))
}

fn is_no_answer_in_time(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn a_healthy_agent_answers_and_refuses_once_it_is_down() {
    let ip = Ipv4Addr::new(127, 77, 1, 2);
    let mut agents = Agents::new(0);
    let address = agents.up(ip, Agent::Healthy).unwrap();
    let answer = patiently(address).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("{\"status\":\"ok\",\"timestamp\":\"20"));
    assert!(answer.ends_with("\"activeSessions\":0}"));
    agents.down(ip);
    assert_eq!(patiently(address), Err(ErrorKind::ConnectionRefused));
}

/// As one that knows nothing of this simulator asks: the greeting by itself, the page, and the proof of RFC 6455's own
/// example.
#[test]
fn a_display_greets_and_is_gone_with_its_vm() {
    let ip = Ipv4Addr::new(127, 77, 4, 2);
    let mut agents = Agents::new(0).with_displays(Display {
        web_port: 0,
        vnc_port: 0,
    });
    agents.up(ip, Agent::Healthy).unwrap();
    assert_eq!(agents.display(ip), None, "none yet");
    agents.display_up(ip).unwrap();
    let [web, vnc] = agents.display(ip).unwrap();

    let mut greeting = [0; 12];
    let mut stream = TcpStream::connect(vnc).unwrap();
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    drop(stream);

    let page = patiently(web).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");

    let mut stream = TcpStream::connect(web).unwrap();
    stream
        .write_all(
            b"GET /websockify HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while !answer.ends_with(b"RFB 003.008\n") {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    drop(stream);

    agents.down(ip);
    for address in [web, vnc] {
        assert_eq!(patiently(address), Err(ErrorKind::ConnectionRefused));
    }
}

#[test]
fn each_fate_shows_on_the_wire() {
    let mut agents = Agents::new(0);
    let mut up = |last, agent| agents.up(Ipv4Addr::new(127, 77, 2, last), agent).unwrap();

    let sick = up(2, Agent::Status(500));
    let answer = patiently(sick).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");

    let starting = up(3, Agent::StartsThenHealthy);
    let codes = [(); 3].map(|()| {
        patiently(starting)
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned()
    });
    assert_eq!(codes, ["503", "503", "200"]);

    let garbage = up(4, Agent::Garbage);
    assert!(patiently(garbage).unwrap().starts_with("SSH-"));

    for (last, agent) in [(5, Agent::Resets), (6, Agent::CrashLoops)] {
        assert_eq!(patiently(up(last, agent)), Err(ErrorKind::ConnectionReset));
    }
    for (last, agent) in [(7, Agent::Hangs), (8, Agent::HalfBody)] {
        let silence = ask(up(last, agent), Duration::from_millis(50)).unwrap_err();
        assert!(is_no_answer_in_time(silence), "{agent:?}: {silence}");
    }
}

#[test]
fn agents_come_and_go_with_the_simulation() {
    let mut plan = scenario("healthy").plan(&order(8, Version::Oct, 2));
    plan.figures.pool_first = Ipv4Addr::new(127, 77, 3, 2);
    let mut agents = Agents::new(0);
    let mut answered = 0;
    let mut gone = 0;
    for moment in Simulation::new(plan) {
        let before = match moment.what {
            Happened::AgentDown { ip } => agents.address(ip),
            _ => None,
        };
        agents.show(&moment).unwrap();
        match moment.what {
            Happened::AgentUp { ip, .. } => {
                let answer = patiently(agents.address(ip).unwrap()).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK"));
                answered += 1;
            }
            Happened::AgentDown { .. } => {
                let refused = patiently(before.unwrap());
                assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
                gone += 1;
            }
            _ => {}
        }
    }
    assert_eq!((answered, gone), (2, 2));
}
