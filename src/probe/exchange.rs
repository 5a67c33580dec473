//! One GET over one connection, which is then dropped.
//!
//! The socket is watched for its first byte: with it the guest has begun to answer, whatever the answer is. Head and
//! body have a cap each; what is larger is an answer that no agent gives, and is not read.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::dial::of_io;
use super::{Found, Good, Run};
use crate::clock::{self, Stopwatch};
use crate::core::probe::{Phase, ProbeResult};

/// So much of a body is read.
pub const MOST_BODY: usize = 64 * 1024;
/// So much of a head.
pub const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// Asks for `path`; reads the body of a 200 if it is `wanted`.
pub(super) async fn get(
    stream: TcpStream,
    host: &str,
    path: &'static str,
    wanted: bool,
    run: &mut Run,
) -> Found {
    let first = Arc::new(OnceLock::new());
    let watched = Watched {
        stream,
        watch: run.watch,
        first: Arc::clone(&first),
    };
    let sent = clock::now();
    let whole = tokio::time::timeout_at(run.ends, exchange(watched, host, path, wanted));
    let answered = whole.await.unwrap_or(Err(Trouble::Timeout));
    let now = run.watch.elapsed();
    let phase = match first.get() {
        Some(first) => {
            run.laps.end(Phase::Processing, *first);
            run.laps.end(Phase::Transfer, now);
            Phase::Transfer
        }
        None => {
            run.laps.end(Phase::Processing, now);
            Phase::Processing
        }
    };
    match answered {
        Ok((status, body)) => Ok(Good {
            status: Some(status),
            body,
            sent,
        }),
        Err(trouble) => Err((phase, trouble.result(first.get().is_some()))),
    }
}

/// What went wrong with an exchange.
enum Trouble {
    Timeout,
    TooLarge,
    /// The request could not even be written down.
    Ours,
    Http(hyper::Error),
}

impl From<hyper::Error> for Trouble {
    fn from(error: hyper::Error) -> Trouble {
        Trouble::Http(error)
    }
}

impl Trouble {
    fn result(&self, answered: bool) -> ProbeResult {
        let error = match self {
            Trouble::Timeout => return ProbeResult::Timeout,
            Trouble::TooLarge => return ProbeResult::TooLarge,
            Trouble::Ours => return ProbeResult::Error,
            Trouble::Http(error) => error,
        };
        if error.is_parse_too_large() {
            return ProbeResult::TooLarge;
        }
        if error.is_parse() {
            return ProbeResult::NotHttp;
        }
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return match io.kind() {
                    // Said by the reader of chunks, not by the kernel.
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                        ProbeResult::NotHttp
                    }
                    _ => of_io(io),
                };
            }
            cause = error.source();
        }
        match error.is_incomplete_message() || !answered {
            true => ProbeResult::Closed,
            // It spoke before it was asked, as servers of other protocols do.
            false => ProbeResult::NotHttp,
        }
    }
}

async fn exchange(
    watched: Watched,
    host: &str,
    path: &'static str,
    wanted: bool,
) -> Result<(u16, Option<Vec<u8>>), Trouble> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD).max_headers(MOST_HEADERS);
    let (mut sender, connection) = builder
        .handshake::<_, Nothing>(TokioIo::new(watched))
        .await?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .body(Nothing)
        .map_err(|_| Trouble::Ours)?;
    let asked = async {
        let response = sender.send_request(request).await?;
        read(response, wanted).await
    };
    // The connection does the work. What fails in it is told to whoever waits for the answer; if nobody does, here.
    let driven = async {
        match connection.await {
            Ok(()) => pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        biased;
        answered = asked => answered,
        error = driven => Err(error.into()),
    }
}

async fn read(
    response: Response<Incoming>,
    wanted: bool,
) -> Result<(u16, Option<Vec<u8>>), Trouble> {
    let status = response.status().as_u16();
    if !wanted || status != 200 {
        return Ok((status, None));
    }
    let mut body = response.into_body();
    let most = u64::try_from(MOST_BODY).unwrap_or(u64::MAX);
    if body.size_hint().lower() > most {
        return Err(Trouble::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(part) = frame?.into_data() {
            if bytes.len() + part.len() > MOST_BODY {
                return Err(Trouble::TooLarge);
            }
            bytes.extend_from_slice(&part);
        }
    }
    Ok((status, Some(bytes)))
}

/// A request's body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// A socket that remembers when its first byte came.
struct Watched {
    stream: TcpStream,
    watch: Stopwatch,
    first: Arc<OnceLock<Duration>>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let watch = self.watch;
            self.first.get_or_init(|| watch.elapsed());
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
