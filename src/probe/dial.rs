//! Names into addresses, addresses into connections, and what the kernel's refusals are called.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::Run;
use crate::core::probe::{Phase, ProbeResult, VmAddress};

/// More addresses than a VM's name has.
const MOST_ADDRESSES: usize = 16;

/// Asks the system for a name's addresses. A resolver that hangs keeps its place until it is done, so that hanging ones
/// cannot pile up; whoever asks meanwhile waits, and gives up after `timeout`.
pub(super) async fn resolve(
    name: &str,
    resolving: &Arc<Semaphore>,
    timeout: Duration,
) -> io::Result<Vec<IpAddr>> {
    let asked = async {
        let place = Arc::clone(resolving)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let name = name.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), 0)
                .to_socket_addrs()
                .map(|found| found.take(MOST_ADDRESSES).map(|one| one.ip()).collect());
            drop(place);
            found
        });
        asked.await.map_err(io::Error::other)?
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

pub(super) async fn connect(
    vm: VmAddress,
    port: u16,
    timeout: Duration,
    run: &mut Run,
) -> Result<TcpStream, (Phase, ProbeResult)> {
    let ends = run.ends.min(crate::clock::monotonic() + timeout);
    let address = SocketAddr::from((vm.ip(), port));
    let connected = tokio::time::timeout_at(ends, TcpStream::connect(address)).await;
    run.end(Phase::Connect);
    match connected {
        Ok(Ok(stream)) => {
            // A request is one small write, which must not wait for more.
            match stream.set_nodelay(true) {
                Ok(()) => Ok(stream),
                Err(error) => Err((Phase::Connect, of_io(&error))),
            }
        }
        Ok(Err(error)) => Err((Phase::Connect, of_io(&error))),
        Err(_) => Err((Phase::Connect, ProbeResult::Timeout)),
    }
}

/// What the VM did, as the kernel tells it; what it does not know of is our own fault.
pub(super) fn of_io(error: &io::Error) -> ProbeResult {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeResult::Refused,
        io::ErrorKind::HostUnreachable => ProbeResult::HostUnreachable,
        io::ErrorKind::NetworkUnreachable => ProbeResult::NetUnreachable,
        io::ErrorKind::TimedOut => ProbeResult::Timeout,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => ProbeResult::Reset,
        io::ErrorKind::UnexpectedEof => ProbeResult::Closed,
        _ => ProbeResult::Error,
    }
}

/// Runs a handful of futures side by side within this task; their results in the same order.
pub(super) async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        let mut every = Poll::Ready(());
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(ready) => *output = Some(ready),
                    Poll::Pending => every = Poll::Pending,
                }
            }
        }
        every
    })
    .await;
    outputs.into_iter().flatten().collect()
}
