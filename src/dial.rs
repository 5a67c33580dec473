//! A connection to a place that has a name: to whichever of its addresses takes one first.
//!
//! An address behind which packets are dropped says nothing for minutes, so none is waited for alone. The next one is
//! begun as soon as one has failed, or after a moment, as in RFC 8305; all go on side by side until one takes the
//! connection or the time is over, and each has its turn before that. Their order is the system's, which knows which of
//! IPv6 and IPv4 works here (RFC 6724).

pub mod postgres;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// For so long one address is the only one that is tried (RFC 8305, 5).
const ALONE: Duration = Duration::from_millis(250);

/// `limit` is for all of it: the name, and all its addresses.
///
/// # Errors
/// The name has no address, or none of them takes a connection in time; of several failures the last.
pub async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let tried = async {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        let turns = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let alone = ALONE.min(limit / turns);
        first(addresses, alone, TcpStream::connect).await
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "connection timed out");
    let tried = tokio::time::timeout(limit, tried).await;
    tried.unwrap_or_else(|_| Err(late()))
}

async fn first<T, F>(
    addresses: Vec<SocketAddr>,
    alone: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let mut waiting = addresses.into_iter();
    let mut begun = FuturesUnordered::new();
    loop {
        begun.extend(waiting.next().map(&connect));
        tokio::select! {
            tried = begun.next() => match tried {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failed = error,
                // Whatever was begun has failed, and nothing is waiting.
                None => return Err(failed),
            },
            () = tokio::time::sleep(alone), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, ready};

    use super::*;
    use crate::clock;

    fn places(ends: &[u8]) -> Vec<SocketAddr> {
        let place = |end: &u8| match end % 2 {
            0 => format!("[2001:db8::{end}]:25").parse().unwrap(),
            _ => format!("192.0.2.{end}:25").parse().unwrap(),
        };
        ends.iter().map(place).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn dead_addresses_cost_a_moment_each() {
        let addresses = places(&[2, 1, 3, 4]);
        let (three, began) = (addresses[2], clock::monotonic());
        let asked = RefCell::new(Vec::new());
        let found = first(addresses.clone(), ALONE, async |address| {
            asked.borrow_mut().push(address);
            match address == three {
                true => Ok(address),
                false => pending().await,
            }
        });
        assert_eq!(found.await.unwrap(), three);
        assert_eq!(*asked.borrow(), addresses[..3]);
        assert_eq!(began.elapsed(), 2 * ALONE);
    }

    /// A way that is only slow is not given up for those that are begun after it.
    #[tokio::test(start_paused = true)]
    async fn a_slow_address_is_waited_for_beside_the_dead_ones() {
        let addresses = places(&[1, 3, 5]);
        let slow = addresses[0];
        let found = first(addresses, ALONE, async |address| {
            if address != slow {
                return pending().await;
            }
            tokio::time::sleep(20 * ALONE).await;
            Ok(address)
        });
        assert_eq!(found.await.unwrap(), slow);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_nothing_and_the_last_failure_is_told() {
        let began = clock::monotonic();
        let refuse =
            |address: SocketAddr| ready(Err::<(), _>(io::Error::other(address.to_string())));
        let error = first(places(&[1, 2, 3]), ALONE, refuse).await.unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.3:25");
        assert_eq!(began.elapsed(), Duration::ZERO);
        let error = first(Vec::new(), ALONE, refuse).await.unwrap_err();
        assert_eq!(error.to_string(), "it has no address");
    }

    #[tokio::test]
    async fn a_listener_of_either_family_is_found_by_its_name() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(place) else {
                assert!(place.starts_with('['), "this machine has no IPv6");
                continue;
            };
            let address = listener.local_addr().unwrap();
            let host = address.ip().to_string();
            let limit = Duration::from_secs(20);
            let stream = connect(&host, address.port(), limit).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
        }
    }
}
