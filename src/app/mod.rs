//! The whole process: bind everything, then serve, take a new configuration whole or not at all, and drain at the end.

mod handle;
mod serving;

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, ListenAddress};
use crate::credentials::{CredentialStore, CredentialWatcher};
use crate::metrics::Metrics;
use crate::proxy::{Bound, Listener};
use handle::Command;
pub use handle::{Applied, Handle};
use serving::Serving;

/// A process whose addresses are all bound and which serves nobody yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    bound: Vec<Bound>,
    credentials: Arc<CredentialStore>,
    watcher: CredentialWatcher,
    metrics: Arc<Metrics>,
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
}

impl App {
    /// Binds every listener and begins to read the credentials. They need not be there yet.
    ///
    /// # Errors
    /// Names the listener whose address cannot be bound; then none is.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let metrics = Arc::new(Metrics::default());
        let bound =
            config.listeners.iter().map(|listener| bind(listener, &config, &metrics)).collect::<Result<Vec<_>, _>>()?;
        let credentials = Arc::new(CredentialStore::default());
        let watcher = CredentialWatcher::start(config.identity.clone(), credentials.clone(), &CancellationToken::new());
        Ok(Self { config, bound, credentials, watcher, metrics, commands: mpsc::channel(16) })
    }

    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.bound.iter().map(|bound| bound.listener().address().clone()).collect()
    }

    /// What the process is told while it serves.
    pub fn handle(&self) -> Handle {
        Handle {
            commands: self.commands.0.clone(),
            credentials: self.credentials.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Serves until it is told to stop and every connection has ended, or the drain timeout is over, or it is told again.
    pub async fn serve(self) -> Drained {
        let (_kept, commands) = self.commands;
        let mut serving = Serving::new(self.config, &self.credentials, self.watcher, self.metrics);
        self.bound.into_iter().for_each(|bound| serving.start(bound));
        serving.run(commands).await
    }
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection had ended.
    Clean,
    /// So many had to be cut.
    Forced(usize),
}

/// A listener's address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener `{name}` cannot be bound to {address}: {error}")]
pub struct BindError {
    name: Arc<str>,
    address: ListenAddress,
    #[source]
    error: io::Error,
}

fn bind(listener: &config::Listener, config: &Config, metrics: &Arc<Metrics>) -> Result<Bound, BindError> {
    Listener::bind(listener, &config.limits, metrics.clone()).map_err(|error| bind_error(listener, error))
}

fn bind_error(listener: &config::Listener, error: io::Error) -> BindError {
    BindError { name: listener.name.clone(), address: listener.listen.clone(), error }
}
