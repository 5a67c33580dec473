//! Which of a database's addresses is connected to, where its name has several.
//!
//! The library that connects tries a name's addresses one after another, each for as long as the system does: minutes,
//! where packets vanish, so that whoever waits seconds never comes to the second one. It takes neither a connection nor an
//! address beside the name. So the address is put in the name's place where an earlier one is silent, but not where the
//! name is what the server's certificate is verified by: there the remedy is a name with one address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::net::TcpStream;

/// A try of an address: with more that are silent than half a deadline has room for, the name stays.
const TRY: Duration = Duration::from_secs(1);
const MOST: usize = 5;

/// The options, with the first address that takes connections if one before it is silent.
pub async fn reachable(server: &PgConnectOptions) -> PgConnectOptions {
    let server = server.clone();
    let host = server.get_host();
    let verified = matches!(server.get_ssl_mode(), PgSslMode::VerifyFull);
    if verified || server.get_socket().is_some() || host.starts_with('/') {
        return server;
    }
    let Ok(found) = tokio::net::lookup_host((host, server.get_port())).await else {
        return server;
    };
    let found: Vec<SocketAddr> = found.take(MOST).collect();
    match found.len() > 1 {
        true => match behind_silent(&found).await {
            Some(address) => server.host(&address.to_string()),
            None => server,
        },
        false => server,
    }
}

/// The first that takes a connection, unless none before it is silent: that one is come to by its name, which a greeting
/// of TLS should tell.
async fn behind_silent(addresses: &[SocketAddr]) -> Option<IpAddr> {
    let mut silent = false;
    for address in addresses {
        match tokio::time::timeout(TRY, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return silent.then(|| address.ip()),
            Ok(Err(_)) => {}
            Err(_) => silent = true,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// One whose places are all taken, so that the kernel drops what more comes.
    async fn silent() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut taken = Vec::new();
        let at = listener.local_addr().unwrap();
        while let Ok(stream) = tokio::time::timeout(TRY / 4, TcpStream::connect(at)).await {
            taken.push(stream.unwrap());
        }
        (listener, taken)
    }

    #[tokio::test]
    async fn an_address_is_taken_for_a_name_s_where_one_before_it_is_silent() {
        let (full, _taken) = silent().await;
        let alive = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let silent = full.local_addr().unwrap();
        let alive = (alive.local_addr().unwrap(), alive);
        let refusing = SocketAddr::from(([127, 0, 0, 3], alive.0.port()));
        for (addresses, taken) in [
            (vec![silent, alive.0], Some(alive.0.ip())),
            (vec![refusing, silent, alive.0], Some(alive.0.ip())),
            (vec![alive.0, silent], None),
            (vec![refusing, alive.0], None),
            (vec![silent, refusing], None),
        ] {
            assert_eq!(behind_silent(&addresses).await, taken, "{addresses:?}");
        }
    }
}
