//! What a VNC server says first: its version, in 12 bytes. No more is read, and nothing is ever said to it.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::dial::of_io;
use super::{Found, Good, Run};
use crate::core::probe::{Phase, ProbeResult};

const GREETING: usize = 12;

pub(super) async fn greet(mut stream: TcpStream, run: &mut Run) -> Found {
    let mut greeting = [0; GREETING];
    let mut filled = 0;
    let mut phase = Phase::Processing;
    while filled < GREETING {
        let read = timeout_at(run.ends, stream.read(&mut greeting[filled..])).await;
        run.end(phase);
        let result = match read {
            Ok(Ok(0)) => ProbeResult::Closed,
            Ok(Ok(read)) => {
                filled += read;
                phase = Phase::Transfer;
                continue;
            }
            Ok(Err(error)) => of_io(&error),
            Err(_) => ProbeResult::Timeout,
        };
        // Something shorter that is no beginning of a greeting is no VNC, whatever follows.
        let is_vnc = b"RFB ".starts_with(&greeting[..filled.min(4)]);
        return Err(match is_vnc {
            true => (phase, result),
            false => (phase, ProbeResult::NotVnc),
        });
    }
    run.end(Phase::Transfer);
    match is_greeting(&greeting) {
        true => Ok(Good::default()),
        false => Err((Phase::Transfer, ProbeResult::NotVnc)),
    }
}

/// `RFB 003.008` and a line's end.
fn is_greeting(bytes: &[u8; GREETING]) -> bool {
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    bytes.starts_with(b"RFB ")
        && digits(&bytes[4..7])
        && bytes[7] == b'.'
        && digits(&bytes[8..11])
        && bytes[11] == b'\n'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_a_version_and_nothing_else() {
        for (bytes, is) in [
            (b"RFB 003.008\n", true),
            (b"RFB 005.000\n", true),
            (b"RFB 003.008\r", false),
            (b"RFB 003-008\n", false),
            (b"SSH-2.0-Open", false),
            (b"HTTP/1.1 400", false),
        ] {
            assert_eq!(is_greeting(bytes), is, "{bytes:?}");
        }
    }
}
