//! The next hop of a connection: targets tried in order, all of it within one patience.

use std::time::Duration;

use tokio::time::Instant;

use super::dial::{Dialler, share};
use super::socket::Socket;
use crate::config::Target;

/// Where a listener's connections go to.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    targets: Vec<Target>,
    patience: Duration,
    dialler: Dialler,
}

impl Upstream {
    pub(super) fn new(targets: Vec<Target>, patience: Duration, keepalive: Option<Duration>) -> Self {
        Self { targets, patience, dialler: Dialler::new(keepalive) }
    }

    /// Connects to the first target that answers, and tells which. Every target gets its share of what is left of the patience.
    ///
    /// # Errors
    /// What each attempt met with.
    pub(super) async fn connect(&self) -> Result<(Socket, &Target), UpstreamError> {
        let deadline = Instant::now() + self.patience;
        let mut failures = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            match self.dialler.reach(target, share(deadline, self.targets.len() - index)).await {
                Ok(socket) => return Ok((socket, target)),
                Err(error) => failures.push(format!("{target}: {error}")),
            }
        }
        Err(UpstreamError { failures: failures.join("; ") })
    }
}

/// No target could be reached.
#[derive(Debug, thiserror::Error)]
#[error("no target could be reached: {failures}")]
pub struct UpstreamError {
    failures: String,
}
