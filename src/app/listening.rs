//! Taking the web's address, also where a predecessor that is still going down has it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::listen_remedy;
use crate::clock;

/// A run that ends has its web for as long as its deadline lets it, which is mostly a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

pub(super) fn at_once(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(wanted).map_err(|error| refused(wanted, error))
}

/// Says at once that it waits. Only an address in use may become free by waiting.
pub(super) async fn once_free(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    let until = clock::monotonic() + PATIENCE;
    let mut waits = false;
    loop {
        match TcpListener::bind(wanted) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && clock::monotonic() < until =>
            {
                if !std::mem::replace(&mut waits, true) {
                    tracing::warn!(address = %wanted, patience = ?PATIENCE, "web.listen is in use; waiting for it");
                }
                tokio::time::sleep(AGAIN).await;
            }
            bound => return bound.map_err(|error| refused(wanted, error)),
        }
    }
}

fn refused(wanted: SocketAddr, error: io::Error) -> anyhow::Error {
    let remedy = listen_remedy(&error);
    anyhow::Error::new(error).context(format!("listen on {wanted} (web.listen); {remedy}"))
}
