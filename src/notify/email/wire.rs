//! The bytes between us and a mail server, with a bound for what one answer may hold.
//!
//! lettre takes in an answer whole, reads all of it again at each of its lines, and lets nothing else run meanwhile: a
//! server that never ends its answer, or whoever stands in its place before TLS, would keep this thread and the memory for
//! itself, and no time limit would fire. What is counted is text, from one command of ours to the next. TLS lies below, so
//! that handshakes and certificates do not count. Where the bound is broken the conversation is over: nothing more is read
//! or written.

#![expect(
    deprecated,
    reason = "lettre speaks by TLS over a stream of ours in no other way"
)]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead as _, AsyncWrite as _};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::{AsyncNetworkStream, AsyncTokioStream, TlsParameters};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A line has 512 bytes (RFC 5321, 4.5.3.1.5), and no server has more than some dozens to say.
const MOST_BYTES: usize = 64 * 1024;
const MOST_LINES: usize = 512;
const TOO_LONG: &str = "the mail server's answer is longer than 64 KiB";
const TOO_MANY: &str = "the mail server's answer has more than 512 lines";
/// lettre waits for a greeting on each stream, and servers say none after STARTTLS.
const GREETING: &[u8] = b"220 private\r\n";

#[derive(Debug)]
pub(super) struct Wire {
    stream: AsyncNetworkStream,
    /// What is read before all else.
    first: &'static [u8],
    bytes: usize,
    lines: usize,
}

impl Wire {
    pub(super) fn in_clear(stream: impl AsyncTokioStream + 'static) -> Wire {
        Wire {
            stream: AsyncNetworkStream::use_existing_tokio1(Box::new(stream)),
            first: &[],
            bytes: 0,
            lines: 0,
        }
    }

    pub(super) async fn private(
        stream: impl AsyncTokioStream + 'static,
        tls: &TlsParameters,
    ) -> Result<Wire, Error> {
        let mut wire = Wire::in_clear(stream);
        wire.stream.upgrade_tls(tls.clone()).await?;
        Ok(wire)
    }

    /// On which the server has greeted before.
    pub(super) fn greeted(self) -> Wire {
        Wire {
            first: GREETING,
            ..self
        }
    }

    fn count(&mut self, read: &[u8]) -> io::Result<()> {
        self.bytes += read.len();
        self.lines += memchr::memchr_iter(b'\n', read).count();
        self.whole()
    }

    fn whole(&self) -> io::Result<()> {
        match () {
            () if self.bytes > MOST_BYTES => Err(io::Error::other(TOO_LONG)),
            () if self.lines > MOST_LINES => Err(io::Error::other(TOO_MANY)),
            () => Ok(()),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.whole()?;
        if !self.first.is_empty() {
            let (now, later) = self.first.split_at(self.first.len().min(into.remaining()));
            into.put_slice(now);
            self.first = later;
            return Poll::Ready(Ok(()));
        }
        let room = into.initialize_unfilled();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, room))?;
        self.count(room.get(..read).unwrap_or_default())?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.whole()?;
        (self.bytes, self.lines) = (0, 0);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use lettre::transport::smtp::client::AsyncSmtpConnection;
    use lettre::transport::smtp::extension::ClientId;

    use super::*;

    /// Says the same again and again, whatever is said to it.
    #[derive(Debug)]
    struct Endless {
        part: &'static [u8],
        taken: Arc<AtomicUsize>,
    }

    impl AsyncTokioStream for Endless {
        fn peer_addr(&self) -> io::Result<SocketAddr> {
            Err(io::Error::other("nowhere"))
        }
    }

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            while into.remaining() >= self.part.len() {
                into.put_slice(self.part);
                self.taken.fetch_add(self.part.len(), Ordering::Relaxed);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Whether a conversation begins with it or was begun, no more is read than the bound and one helping of lettre's.
    #[tokio::test]
    async fn no_more_is_read_than_the_bound() {
        for part in [&b"220-x\r\n"[..], b"2"] {
            for greeted in [false, true] {
                let taken = Arc::<AtomicUsize>::default();
                let mut wire = Wire::in_clear(Endless {
                    part,
                    taken: Arc::clone(&taken),
                });
                if greeted {
                    wire = wire.greeted();
                }
                let hello = ClientId::Domain("example.org".to_owned());
                let begun = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &hello);
                let error = begun.await.err().unwrap().to_string();
                let lines = part.ends_with(b"\n");
                assert!(error.ends_with(if lines { TOO_MANY } else { TOO_LONG }));
                let most = if lines { 0 } else { MOST_BYTES } + 8 * 1024;
                let taken = taken.load(Ordering::Relaxed);
                assert!(taken <= most, "{taken}");
            }
        }
    }
}
