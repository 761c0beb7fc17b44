//! The whole process: bind everything, then serve, take a new configuration whole or not at all, and drain at the end.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, ListenAddress};
use crate::credentials::{CredentialStore, CredentialWatcher, Credentials};
use crate::metrics::{Metrics, ReadingTaken};
use crate::proxy::{Bound, Listener};

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
        let mut serving = Serving {
            credentials: self.credentials.subscribe(),
            watcher: self.watcher,
            metrics: self.metrics,
            config: self.config,
            listeners: Vec::new(),
            retiring: Vec::new(),
            tasks: JoinSet::new(),
        };
        for bound in self.bound {
            serving.start(bound);
        }
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
    commands: mpsc::Sender<Command>,
    credentials: Arc<CredentialStore>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Command {
    Apply(Box<Config>, oneshot::Sender<Result<Applied, BindError>>),
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

    /// Counts a configuration that was too faulty to be put in place at all.
    pub fn config_refused(&self) {
        self.metrics.config_readings.get_or_create(&ReadingTaken { result: "refused" }).inc();
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

/// The process while it serves.
struct Serving {
    config: Config,
    listeners: Vec<Arc<Listener>>,
    /// Listeners taken out by a new configuration, as long as connections of theirs are open.
    retiring: Vec<Arc<Listener>>,
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
    watcher: CredentialWatcher,
    metrics: Arc<Metrics>,
    tasks: JoinSet<()>,
}

impl Serving {
    fn start(&mut self, bound: Bound) {
        let listener = bound.listener().clone();
        let config = listener.config();
        let targets = config.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(listener = &*config.name, address = %listener.address(), targets, "listening");
        if let Some(credentials) = self.credentials.borrow().clone() {
            listener.renew(credentials);
        }
        self.listeners.push(listener);
        self.tasks.spawn(bound.run());
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Drained {
        loop {
            tokio::select! {
                biased; // new credentials go before any command: whoever asks to settle knows them in use
                Ok(()) = self.credentials.changed() => self.renew(),
                Some(_) = self.tasks.join_next() => {}
                command = commands.recv() => match command {
                    Some(Command::Apply(config, answer)) => {
                        let _ = answer.send(self.apply(*config).await);
                    }
                    Some(Command::Settle(answer)) => {
                        let _ = answer.send(());
                    }
                    Some(Command::Look) => self.watcher.look_now(),
                    Some(Command::Status) => self.status(),
                    Some(Command::Stop) | None => return self.drain(commands).await,
                }
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().chain(&self.retiring)
    }

    fn renew(&mut self) {
        self.retiring.retain(|listener| listener.open_connections() > 0);
        let credentials = self.credentials.borrow_and_update().clone();
        if let Some(credentials) = credentials {
            self.all().for_each(|listener| listener.renew(credentials.clone()));
        }
    }

    /// Whole or not at all: every new address is bound before anything else changes. The addresses that are given up are free at the end.
    async fn apply(&mut self, next: Config) -> Result<Applied, BindError> {
        if next == self.config {
            return Ok(Applied::Unchanged);
        }
        let mut plans = Vec::new();
        let mut added = Vec::new();
        for wanted in &next.listeners {
            match self.listeners.iter().find(|listener| same_address(&listener.config(), wanted)) {
                Some(listener) => {
                    let plan = Listener::plan(wanted, &next.limits).map_err(|error| bind_error(wanted, error))?;
                    plans.push((listener.clone(), plan));
                }
                None => added.push(bind(wanted, &next, &self.metrics)?),
            }
        }
        let kept = plans.iter().map(|(listener, _)| listener.clone()).collect::<Vec<_>>();
        plans.into_iter().for_each(|(listener, plan)| listener.follow(plan));
        for listener in std::mem::replace(&mut self.listeners, kept) {
            if !self.listeners.iter().any(|kept| Arc::ptr_eq(kept, &listener)) {
                self.retire(listener).await;
            }
        }
        added.into_iter().for_each(|bound| self.start(bound));
        if next.identity != self.config.identity {
            self.watcher.follow(next.identity.clone());
        }
        self.config = next;
        Ok(Applied::Changed)
    }

    /// Lets a removed listener's connections finish within the drain timeout.
    async fn retire(&mut self, listener: Arc<Listener>) {
        tracing::info!(listener = &*listener.config().name, "listener removed");
        self.retiring.retain(|listener| listener.open_connections() > 0);
        self.retiring.push(listener.clone());
        listener.release().await;
        let patience = self.config.limits.drain_timeout;
        self.tasks.spawn(async move {
            listener.drain(patience).await;
        });
    }

    fn status(&self) {
        for listener in self.all() {
            let config = listener.config();
            let open = listener.open_connections();
            tracing::info!(listener = &*config.name, address = %listener.address(), connections = open, "status");
        }
        let identity = self.watcher.status();
        tracing::info!(
            spiffe.local.id = identity.spiffe_id.map(|id| id.to_string()),
            identity.layout = identity.layout.map(|layout| layout.as_str()),
            identity.directory = identity.directory.map(|directory| directory.display().to_string()),
            identity.valid_until = identity.valid_until,
            identity.accepted = identity.accepted,
            identity.refused = identity.refused,
            identity.unchanged = identity.unchanged,
            error = identity.error,
            "status"
        );
    }

    /// Stops accepting; waits for the connections for the drain timeout at most, or until the next stop; then ends the rest. Trust that is
    /// removed meanwhile still counts.
    async fn drain(mut self, mut commands: mpsc::Receiver<Command>) -> Drained {
        let deadline = Instant::now() + self.config.limits.drain_timeout;
        self.all().for_each(|listener| listener.stop());
        let open = self.all().map(|listener| listener.open_connections()).sum::<usize>();
        tracing::info!(connections = open, timeout = self.config.limits.drain_timeout.as_secs_f64(), "draining");
        let listeners = self.all().cloned().collect::<Vec<_>>();
        let mut drained = std::pin::pin!(timeout_at(deadline, async {
            for listener in &listeners {
                listener.ended().await;
            }
        }));
        loop {
            tokio::select! {
                done = &mut drained => match done {
                    Ok(()) => return Drained::Clean,
                    Err(_elapsed) => break,
                },
                Ok(()) = self.credentials.changed() => self.renew(),
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    // A process on its way out reads no new configuration: there is nobody left to use it.
                    Some(Command::Apply(..) | Command::Settle(_) | Command::Look | Command::Status) => {}
                },
            }
        }
        let mut cut = 0;
        for listener in &listeners {
            cut += listener.force().await;
        }
        Drained::Forced(cut)
    }
}

/// A listener keeps its socket, and so its name may change; those with a port of the system's choice are told apart by name.
fn same_address(current: &config::Listener, wanted: &config::Listener) -> bool {
    let chosen_by_system = matches!(wanted.listen, ListenAddress::Tcp(address) if address.port() == 0);
    current.listen == wanted.listen && (!chosen_by_system || current.name == wanted.name)
}

fn bind(listener: &config::Listener, config: &Config, metrics: &Arc<Metrics>) -> Result<Bound, BindError> {
    Listener::bind(listener, &config.limits, metrics.clone()).map_err(|error| bind_error(listener, error))
}

fn bind_error(listener: &config::Listener, error: io::Error) -> BindError {
    BindError { name: listener.name.clone(), address: listener.listen.clone(), error }
}
