//! What a healthy VM's display says to whoever knocks: VNC's greeting, and noVNC's page, or a WebSocket on request.
//!
//! Nobody logs in here: after the greeting a client is listened to until it goes, or says nothing for a while.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use super::agent::{PATIENCE, read_head};

const GREETING: &[u8; 12] = b"RFB 003.008\n";
/// RFC 6455 has it so.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A whole binary message of the greeting's length, unmasked, as servers send.
const FRAME: [u8; 2] = [0x82, 12];

pub(super) fn greet(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(GREETING)?;
    linger(stream)
}

/// The page, or the way to VNC.
pub(super) fn web(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = read_head(stream)?;
    let Some(key) = header(&head, "sec-websocket-key") else {
        let page = "<!DOCTYPE html><title>noVNC</title>";
        let length = page.len();
        return stream.write_all(
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
                .as_bytes(),
        );
    };
    let proof = digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{WEBSOCKET}").as_bytes(),
    );
    let accept = STANDARD.encode(proof);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    stream.write_all(&FRAME)?;
    stream.write_all(GREETING)?;
    linger(stream)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

fn linger(stream: &mut TcpStream) -> io::Result<()> {
    let mut part = [0; 64];
    while stream.read(&mut part)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_in_any_case() {
        let head = "GET / HTTP/1.1\r\nHost: x\r\nSEC-WebSocket-key:  abc== \r\n\r\n";
        assert_eq!(header(head, "sec-websocket-key"), Some("abc=="));
        assert_eq!(header(head, "upgrade"), None);
    }
}
