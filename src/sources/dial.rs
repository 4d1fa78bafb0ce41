//! `dial`: a TCP connection to a host, by whichever of its addresses answers first (RFC 8305). It speaks no protocol.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long one address may take before the next is tried as well.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Connects to a host. It sets no deadline.
///
/// # Errors
/// That of the address that failed last; the name has no address.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    first(lookup_host((host, port)).await?.collect(), TcpStream::connect).await
}

async fn first<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut trying = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut addresses = addresses.into_iter();
    loop {
        match addresses.next() {
            Some(address) => trying.push(connect(address)),
            None if trying.is_empty() => return Err(failed),
            None => {}
        }
        match timeout(NEXT_ADDRESS_AFTER, trying.next()).await {
            Ok(Some(Ok(connected))) => return Ok(connected),
            Ok(Some(Err(error))) => failed = error,
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Connects to addresses that behave as their ports say: 1 is silent, 2 refuses, others answer after so many milliseconds.
    async fn connected(ports: &[u16]) -> (io::Result<u16>, Duration) {
        let began = Instant::now();
        let addresses = ports.iter().map(|&port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        let result = first(addresses, |address| async move {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                port => {
                    sleep(Duration::from_millis(port.into())).await;
                    Ok(port)
                }
            }
        })
        .await;
        (result, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_delays_the_next_a_little_and_one_that_refuses_not_at_all() {
        for (ports, port, milliseconds) in [
            ([10, 20, 30], 10, 10),
            ([1, 10, 20], 10, 260),
            ([1, 1, 10], 10, 510),
            ([2, 2, 10], 10, 10),
            ([400, 300, 10], 400, 400),
        ] {
            let (result, took) = connected(&ports).await;
            assert_eq!((result.ok(), took.as_millis()), (Some(port), milliseconds), "{ports:?}");
        }
        assert_eq!(connected(&[2, 2]).await.0.expect_err("both refuse").kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connected(&[]).await.0.expect_err("there is none").kind(), io::ErrorKind::NotFound);
    }
}
