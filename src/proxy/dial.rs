//! Reaching one target: its name resolved now, its addresses dialled in order.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::socket::Socket;
use crate::config::{Target, is_loopback};

/// Names of one listener that are looked up at a time. Each holds a thread until the resolver answers, however soon we lose patience: without a
/// bound, a resolver that does not answer would take every thread there is, also those that read our credentials.
const LOOKUPS: usize = 16;

/// Where one connection can go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Resolves names and dials addresses for one listener.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    keepalive: Option<Duration>,
    lookups: Arc<Semaphore>,
}

impl Dialler {
    pub(super) fn new(keepalive: Option<Duration>) -> Self {
        Self { keepalive, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// The addresses of a target as of now. A name that must mean this machine is held to it: whoever answers DNS does not decide where plaintext
    /// goes.
    pub(super) async fn addresses(&self, target: &Target) -> io::Result<Vec<Address>> {
        let (host, port, loopback_only) = match target {
            Target::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
            Target::Address(address) => return Ok(vec![Address::Tcp(*address)]),
            Target::Name { host, port, loopback_only } => (host.clone(), *port, *loopback_only),
        };
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = spawn_blocking(move || {
            let _until_answered = permit;
            (host.as_str(), port).to_socket_addrs()
        });
        let found = lookup.await.map_err(io::Error::other)??;
        let addresses = found.filter(|address| !loopback_only || is_loopback(address.ip())).map(Address::Tcp);
        let addresses = addresses.collect::<Vec<_>>();
        match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address that may be used")),
            false => Ok(addresses),
        }
    }

    /// Connects to one address.
    pub(super) async fn dial(&self, address: &Address) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => Socket::dial_tcp(*address, self.keepalive).await,
            Address::Unix(path) => Socket::dial_unix(path).await,
        }
    }

    /// Connects to the first address of a target that answers. Every address gets its share of what is left of the patience, so that one that
    /// swallows packets does not use it up for the others.
    pub(super) async fn reach(&self, target: &Target, patience: Duration) -> io::Result<Socket> {
        let deadline = Instant::now() + patience;
        let addresses = within(patience, self.addresses(target)).await?;
        let mut last = io::ErrorKind::NotFound.into();
        for (index, address) in addresses.iter().enumerate() {
            match within(share(deadline, addresses.len() - index), self.dial(address)).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What is left until `deadline`, for each of `waiting`.
pub(super) fn share(deadline: Instant, waiting: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left / u32::try_from(waiting).unwrap_or(u32::MAX).max(1)
}

/// Does `work` within its patience.
pub(super) async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}
