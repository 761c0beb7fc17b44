//! The next hop: names resolved for each connection, targets tried in order, all of it within one patience.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
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

/// Where a listener's connections go to.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    targets: Vec<Target>,
    patience: Duration,
    keepalive: Option<Duration>,
    lookups: Arc<Semaphore>,
}

impl Upstream {
    pub(super) fn new(targets: Vec<Target>, patience: Duration, keepalive: Option<Duration>) -> Self {
        Self { targets, patience, keepalive, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// Connects to the first target that answers, and tells which. Every target gets its share of what is left of the patience, so that one
    /// that swallows packets does not use it up for the others.
    ///
    /// # Errors
    /// What each attempt met with.
    pub(super) async fn connect(&self) -> Result<(Socket, &Target), UpstreamError> {
        let deadline = Instant::now() + self.patience;
        let mut failures = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.targets.len() - index).unwrap_or(u32::MAX);
            match self.try_target(target, share).await {
                Ok(socket) => return Ok((socket, target)),
                Err(error) => failures.push(format!("{target}: {error}")),
            }
        }
        Err(UpstreamError { failures: failures.join("; ") })
    }

    async fn try_target(&self, target: &Target, share: Duration) -> io::Result<Socket> {
        let deadline = Instant::now() + share;
        let addresses = match target {
            Target::Unix(path) => return within(share, Socket::dial_unix(path)).await,
            Target::Address(address) => vec![*address],
            Target::Name { host, port, loopback_only } => {
                within(share, self.resolve(host, *port, *loopback_only)).await?
            }
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address that may be used");
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            match within(share, Socket::dial_tcp(*address, self.keepalive)).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The name's addresses of now. A name that must mean this machine is held to it: whoever answers DNS does not decide where plaintext goes.
    async fn resolve(&self, host: &str, port: u16, loopback_only: bool) -> io::Result<Vec<SocketAddr>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = spawn_blocking(move || {
            let _until_answered = permit;
            (host.as_str(), port).to_socket_addrs()
        });
        let addresses = lookup.await.map_err(io::Error::other)??;
        Ok(addresses.filter(|address| !loopback_only || is_loopback(address.ip())).collect())
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

/// No target could be reached.
#[derive(Debug, thiserror::Error)]
#[error("no target could be reached: {failures}")]
pub struct UpstreamError {
    failures: String,
}
