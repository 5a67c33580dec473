//! What a probe does not do, whatever it meets.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use bootwatch::core::probe::{Answerer, Check, Phase, ProbeResult, Verdict};
use bootwatch::probe::{MOST_BODY, MOST_HEAD, Prober};

use super::server::{Server, request};
use super::{address, block_on, check, settings};

const IP: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_stall_is_told_by_the_phase_in_which_it_is() {
    let accepts = Server::stalling_after(b"");
    let begins = Server::stalling_after(b"HTTP/1.1 200 OK\r\nContent-");
    let body = Server::stalling_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"st");
    std::thread::scope(|scope| {
        for (server, phase) in [
            (&accepts, Phase::Processing),
            (&begins, Phase::Transfer),
            (&body, Phase::Transfer),
        ] {
            scope.spawn(move || {
                let mut settings = settings(server.port());
                // On a busy machine too, the server has written before it.
                settings.timeout = 15 * SHORT;
                let checked = check(settings, IP, Check::Health);
                assert_eq!(checked.result, ProbeResult::Timeout);
                assert_eq!(checked.failed_in, Some(phase));
                assert!(
                    checked.phases.of(phase) > Some(Duration::ZERO),
                    "the time it took is told"
                );
            });
        }
    });
}

/// A listener whose queue is full leaves the next connection unanswered.
#[test]
fn a_connection_that_is_never_made_has_its_own_deadline() {
    let (listener, _waiting) = block_on(async { full() });
    let at = listener.local_addr().expect("it has an address");
    let mut settings = settings(at.port());
    settings.connect_timeout = SHORT;
    for one in [Check::Connect, Check::Health] {
        let checked = check(settings.clone(), IP, one);
        assert_eq!(checked.result, ProbeResult::Timeout);
        assert_eq!(checked.failed_in, Some(Phase::Connect));
        assert_eq!(checked.course().count(), 1);
    }
}

/// A listener that takes no further connection, and what keeps it so.
pub(super) fn full() -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((IP, 0).into()).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let at = listener.local_addr().expect("it has an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, SHORT) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue has no end");
    }
    (listener, waiting)
}

#[test]
fn a_gigabyte_of_body_is_not_read() {
    const GIGABYTE: usize = 1 << 30;
    let told = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = b"HTTP/1.1 200 OK\r\n\r\n";
    for (head, framed) in [
        (&told[..], false),
        (&chunked[..], true),
        (&endless[..], false),
    ] {
        let (sent, received) = mpsc::channel();
        let server = Server::start(move |mut stream| {
            request(&mut stream);
            let part = [b'x'; 4096];
            let mut written = 0;
            let mut answer = || -> std::io::Result<()> {
                stream.write_all(head)?;
                while written < GIGABYTE {
                    if framed {
                        stream.write_all(b"1000\r\n")?;
                    }
                    stream.write_all(&part)?;
                    if framed {
                        stream.write_all(b"\r\n")?;
                    }
                    written += part.len();
                }
                Ok(())
            };
            let ended = answer();
            sent.send((written, ended.is_err()))
                .expect("the test waits");
            None
        });
        let checked = check(settings(server.port()), IP, Check::Health);
        assert_eq!(checked.result, ProbeResult::TooLarge);
        assert_eq!(checked.failed_in, Some(Phase::Transfer));
        let (written, cut) = received.recv().expect("the server ends");
        assert!(cut, "the connection was closed under it");
        assert!(written < 64 << 20, "{written} bytes left the server");
    }
}

#[test]
fn a_body_as_large_as_is_read_is_read() {
    for (size, result) in [
        (MOST_BODY, ProbeResult::Ok),
        (MOST_BODY + 1, ProbeResult::TooLarge),
    ] {
        let server = Server::start(move |mut stream| {
            request(&mut stream);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = format!("{head}{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size));
            drop(stream.write_all(answer.as_bytes()));
            None
        });
        let checked = check(settings(server.port()), IP, Check::Health);
        assert_eq!(checked.result, result, "{size}");
    }
}

#[test]
fn a_head_without_an_end_is_not_read() {
    let line = |mut stream: TcpStream| {
        request(&mut stream);
        let part = [b'x'; 4096];
        let mut written = 0;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: "));
        while stream.write_all(&part).is_ok() {
            written += part.len();
            assert!(
                written < 64 << 20,
                "beyond {MOST_HEAD} it should have stopped"
            );
        }
        None
    };
    let many = |mut stream: TcpStream| {
        request(&mut stream);
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n"));
        drop(stream.write_all(&b"X: y\r\n".repeat(1_000)));
        drop(stream.write_all(b"\r\n"));
        None
    };
    for server in [Server::start(line), Server::start(many)] {
        let checked = check(settings(server.port()), IP, Check::Health);
        assert_eq!(checked.result, ProbeResult::TooLarge);
    }
}

#[test]
fn what_is_packed_stays_packed() {
    // A gzip that would become a megabyte.
    let server = Server::start(|mut stream| {
        let head = request(&mut stream);
        assert!(
            head.to_lowercase()
                .contains("accept-encoding: identity\r\n"),
            "{head}"
        );
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![b'x'; 1 << 20]).expect("it packs");
        let packed = packed.finish().expect("it packs");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            packed.len()
        );
        drop(stream.write_all(head.as_bytes()));
        drop(stream.write_all(&packed));
        None
    });
    let checked = check(settings(server.port()), IP, Check::Health);
    assert_eq!(checked.result, ProbeResult::Ok);
    assert_eq!(checked.answerer, Some(Answerer::Unknown));
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Server::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let to = elsewhere.address;
    let server = Server::start(move |mut stream| {
        request(&mut stream);
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{to}/health\r\nContent-Length: 0\r\n\r\n"
        );
        drop(stream.write_all(answer.as_bytes()));
        None
    });
    let checked = check(settings(server.port()), IP, Check::Health);
    assert_eq!(checked.result, ProbeResult::Redirect);
    assert_eq!(checked.status, Some(302));
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn answers_that_end_early_or_are_none_are_told_apart() {
    for (text, result) in [
        (&b""[..], ProbeResult::Closed),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ProbeResult::Closed),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            ProbeResult::Closed,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ProbeResult::NotHttp,
        ),
        (b"HTTP/1.1 abc\r\n\r\n", ProbeResult::NotHttp),
        (b"RFB 003.008\n", ProbeResult::NotHttp),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            ProbeResult::NotHttp,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ProbeResult::OtherStatus),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            ProbeResult::OtherStatus,
        ),
    ] {
        let server = Server::saying(text);
        let checked = check(settings(server.port()), IP, Check::Health);
        let text = String::from_utf8_lossy(text);
        assert_eq!(checked.result, result, "{text:?}");
    }
}

#[test]
fn each_look_connects_anew() {
    let server = Server::start(|mut stream| {
        request(&mut stream);
        let kept = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
        drop(stream.write_all(kept));
        Some(stream)
    });
    let prober = Prober::new(settings(server.port()));
    let vm = address(&prober, IP);
    for count in 1..=3 {
        let checked = block_on(prober.check(vm, Check::Health));
        assert_eq!(checked.result, ProbeResult::Ok);
        assert_eq!(server.connections(), count);
    }
    drop(server);
    let checked = block_on(prober.check(vm, Check::Health));
    assert_eq!(checked.result, ProbeResult::Refused);
}

#[test]
fn vnc_is_known_by_its_first_twelve_bytes_and_never_spoken_to() {
    let (sent, received) = mpsc::channel();
    let server = Server::start(move |mut stream| {
        use std::io::Read;
        stream
            .write_all(b"RFB 003.008\nand more than that")
            .expect("the client waits");
        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard));
        sent.send(heard).expect("the test waits");
        None
    });
    let of = |port| {
        let mut settings = settings(1);
        (settings.vnc_port, settings.timeout) = (port, Duration::from_secs(20));
        settings
    };
    let checked = check(of(server.port()), IP, Check::Vnc);
    assert_eq!(checked.result, ProbeResult::Ok);
    assert_eq!(received.recv(), Ok(Vec::new()), "nothing was said");
    let other = Server::start(|mut stream| {
        drop(stream.write_all(b"SSH-2.0-OpenSSH_8.9p1\r\n"));
        None
    });
    let checked = check(of(other.port()), IP, Check::Vnc);
    assert_eq!(checked.result, ProbeResult::NotVnc);
    let silent = Server::stalling_after(b"");
    let mut settings = of(silent.port());
    settings.timeout = SHORT;
    let checked = check(settings, IP, Check::Vnc);
    assert_eq!(checked.result, ProbeResult::Timeout);
    assert_eq!(checked.failed_in, Some(Phase::Processing));
}

#[test]
fn novncs_port_passes_by_any_answer_of_a_web_server_but_its_own_failure() {
    for (text, result) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"[..],
            ProbeResult::Ok,
        ),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", ProbeResult::Ok),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n\r\n",
            ProbeResult::Ok,
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
            ProbeResult::ServerError,
        ),
        (b"RFB 003.008\n", ProbeResult::NotHttp),
    ] {
        let server = Server::saying(text);
        let mut settings = settings(1);
        settings.vnc_web_port = server.port();
        let checked = check(settings, IP, Check::VncWeb);
        assert_eq!(checked.result, result, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_port_that_must_be_closed_and_is_open_discredits_the_prober() {
    let open = Server::saying(b"");
    let mut settings = settings(1);
    settings.negative_port = open.port();
    let checked = check(settings.clone(), IP, Check::Negative);
    assert_eq!(checked.result, ProbeResult::Open);
    assert_eq!(checked.result.verdict(), Verdict::Errored);
    drop(open);
    let checked = check(settings, IP, Check::Negative);
    assert_eq!((checked.result, checked.failed_in), (ProbeResult::Ok, None));
}

#[test]
fn a_look_that_is_dropped_closes_its_connections_at_once() {
    let (sent, received) = mpsc::channel();
    let server = Server::start(move |mut stream| {
        use std::io::Read;
        let mut heard = Vec::new();
        // Ends when the other side closes, or is reset.
        drop(stream.read_to_end(&mut heard));
        sent.send(()).expect("the test waits");
        None
    });
    let prober = Prober::new(settings(server.port()));
    let vm = address(&prober, IP);
    block_on(async {
        let look = prober.look(vm, &[Check::Health]);
        tokio::select! {
            look = look => panic!("nobody answered: {look:?}"),
            () = connected(&server) => {}
        }
        // The look is gone here, within a runtime that lives on.
        let patience = Duration::from_secs(20);
        received
            .recv_timeout(patience)
            .expect("the server saw its end");
    });
}

/// Waits until somebody is connected.
async fn connected(server: &Server) {
    while server.connections() == 0 {
        tokio::task::yield_now().await;
    }
}
