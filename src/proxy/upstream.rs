//! The next hop: names resolved for each connection, targets tried in order, all of it within one patience.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::socket::Socket;
use crate::config::{Target, is_loopback};

/// Where a listener's connections go to.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) targets: Vec<Target>,
    pub(super) patience: Duration,
    pub(super) keepalive: Option<Duration>,
}

impl Upstream {
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
            Target::Name { host, port, loopback_only } => within(share, resolve(host, *port, *loopback_only)).await?,
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
}

/// The name's addresses of now. A name that must mean this machine is held to it: whoever answers DNS does not decide where plaintext goes.
async fn resolve(host: &str, port: u16, loopback_only: bool) -> io::Result<Vec<SocketAddr>> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    Ok(addresses.filter(|address| !loopback_only || is_loopback(address.ip())).collect())
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
