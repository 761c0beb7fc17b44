//! What a serving process is told from outside, and what it tells.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::BindError;
use crate::config::Config;
use crate::credentials::CredentialStore;
use crate::metrics::{Metrics, ReadingTaken};

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in place.
    Changed,
    /// It is what was in place already.
    Unchanged,
}

/// Speaks to a serving process.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) credentials: Arc<CredentialStore>,
    pub(super) metrics: Arc<Metrics>,
}

/// What is said to the process.
#[derive(Debug)]
pub(super) enum Command {
    Apply(Box<Config>, oneshot::Sender<Result<Applied, BindError>>),
    ConfigRefused(String),
    Settle(oneshot::Sender<()>),
    Look,
    Status,
    Stop,
}

impl Handle {
    /// Puts a new configuration in place: listeners are added, removed and changed without touching the connections of the others.
    ///
    /// # Errors
    /// When an address cannot be bound; then nothing has changed.
    pub async fn apply(&self, config: Config) -> Result<Applied, BindError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Apply(Box::new(config), answer)).await;
        // A process that has ended has nothing to put in place.
        let applied = answered.await.unwrap_or(Ok(Applied::Unchanged));
        let result = match applied {
            Ok(Applied::Changed) => "accepted",
            Ok(Applied::Unchanged) => "unchanged",
            Err(_) => "refused",
        };
        self.metrics.config_readings.get_or_create(&ReadingTaken { result }).inc();
        applied
    }

    /// Notes a configuration that was too faulty to be put in place at all.
    pub async fn config_refused(&self, error: String) {
        self.metrics.config_readings.get_or_create(&ReadingTaken { result: "refused" }).inc();
        let _ = self.commands.send(Command::ConfigRefused(error)).await;
    }

    /// Waits until there are credentials, and every listener uses them.
    pub async fn ready(&self) {
        let mut credentials = self.credentials.subscribe();
        if credentials.wait_for(Option::is_some).await.is_ok() {
            let (answer, answered) = oneshot::channel();
            let _ = self.commands.send(Command::Settle(answer)).await;
            let _ = answered.await;
        }
    }

    /// Looks at the credentials now.
    pub async fn look(&self) {
        let _ = self.commands.send(Command::Look).await;
    }

    /// Logs how things stand.
    pub async fn status(&self) {
        let _ = self.commands.send(Command::Status).await;
    }

    /// Stops accepting and lets connections finish; a second time, ends them.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
    }

    /// Our own credentials.
    pub fn credentials(&self) -> &CredentialStore {
        &self.credentials
    }

    /// What has been counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}
