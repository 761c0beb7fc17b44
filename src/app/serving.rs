//! The process while it serves: new credentials reach every listener, new configurations are put in place, and at the end connections drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::handle::Command;
use super::{Applied, BindError, Drained, bind, bind_error};
use crate::config::{Config, Protocol};
use crate::credentials::{CredentialStore, CredentialWatcher, Credentials};
use crate::metrics::{Metrics, Outcome, RequestOutcome};
use crate::proxy::{Bound, Listener};

/// The process while it serves.
pub(super) struct Serving {
    config: Config,
    /// Why the newest configuration is not the one in place.
    config_error: Option<String>,
    listeners: Vec<Arc<Listener>>,
    /// Listeners taken out by a new configuration, as long as connections of theirs are open.
    retiring: Vec<Arc<Listener>>,
    credentials: watch::Receiver<Option<Arc<Credentials>>>,
    watcher: CredentialWatcher,
    metrics: Arc<Metrics>,
    /// How many connections of retired listeners had to be cut.
    cut: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Serving {
    pub(super) fn new(
        config: Config,
        credentials: &CredentialStore,
        watcher: CredentialWatcher,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            config,
            config_error: None,
            listeners: Vec::new(),
            retiring: Vec::new(),
            credentials: credentials.subscribe(),
            watcher,
            metrics,
            cut: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Lets a bound listener accept.
    pub(super) fn start(&mut self, bound: Bound) {
        let listener = bound.listener().clone();
        let config = listener.config();
        let targets = config.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let targets = if targets.is_empty() { "by routes".into() } else { targets };
        tracing::info!(listener = &*config.name, address = %listener.address(), targets, "listening");
        if let Some(credentials) = self.credentials.borrow().clone() {
            listener.renew(credentials);
        }
        self.listeners.push(listener);
        self.tasks.spawn(bound.run());
    }

    /// Serves until it is told to stop, and drains.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Drained {
        loop {
            tokio::select! {
                biased; // new credentials go before any command: whoever asks to settle knows them in use
                Ok(()) = self.credentials.changed() => self.renew(),
                Some(_) = self.tasks.join_next() => {}
                command = commands.recv() => match command {
                    Some(Command::Apply(config, answer)) => {
                        let applied = self.apply(*config).await;
                        self.config_error = applied.as_ref().err().map(ToString::to_string);
                        let _ = answer.send(applied);
                    }
                    Some(Command::ConfigRefused(error)) => self.config_error = Some(error),
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
            match self.listeners.iter().find(|listener| listener.is_bound_for(wanted)) {
                Some(listener) => {
                    let plan = listener.plan(wanted, &next.limits).map_err(|error| bind_error(wanted, error))?;
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
        if (next.limits.worker_threads, &next.log) != (self.config.limits.worker_threads, &self.config.log) {
            tracing::warn!("`worker_threads` and `[log]` take effect at the next start");
        }
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
        let patience = self.config.limits.drain_timeout;
        listener.release().await;
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.fetch_add(listener.drain(patience).await, Ordering::Relaxed);
        });
    }

    /// How things stand, for an operator who asks by signal.
    fn status(&self) {
        for listener in self.all() {
            let config = listener.config();
            let closed = Outcome::ALL.map(|outcome| (outcome.as_str(), self.metrics.closed(&config.name, outcome)));
            let requests =
                RequestOutcome::ALL.map(|outcome| (outcome.as_str(), self.metrics.requested(&config.name, outcome)));
            tracing::info!(
                listener = &*config.name,
                address = %listener.address(),
                connections = listener.open_connections(),
                closed = counted(&closed),
                requests = matches!(config.protocol, Protocol::Http(_)).then(|| counted(&requests)),
                "status"
            );
        }
        let identity = self.watcher.status();
        tracing::info!(
            spiffe.local.id = identity.spiffe_id.map(|id| id.to_string()),
            credentials.layout = identity.layout.map(|layout| layout.as_str()),
            credentials.directory = identity.directory.map(|directory| directory.display().to_string()),
            credentials.valid_until = identity.valid_until,
            credentials.accepted = identity.accepted,
            credentials.refused = identity.refused,
            credentials.unchanged = identity.unchanged,
            credentials.error = identity.error,
            config.error = self.config_error,
            "status"
        );
    }

    /// Stops accepting; waits for the connections for the drain timeout at most, or until the next stop; then ends the rest. Trust that is
    /// removed meanwhile still counts.
    async fn drain(mut self, mut commands: mpsc::Receiver<Command>) -> Drained {
        let deadline = Instant::now() + self.config.limits.drain_timeout;
        self.cut.store(0, Ordering::Relaxed);
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
                biased;
                _ = &mut drained => break,
                Ok(()) = self.credentials.changed() => self.renew(),
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    // A process on its way out reads no new configuration: there is nobody left to use it.
                    Some(_) => {}
                },
            }
        }
        for listener in &listeners {
            self.cut.fetch_add(listener.force().await, Ordering::Relaxed);
        }
        // Those that accept hold the sockets, whose files go with them.
        while self.tasks.join_next().await.is_some() {}
        match self.cut.load(Ordering::Relaxed) {
            0 => Drained::Clean,
            cut => Drained::Forced(cut),
        }
    }
}

/// Those of the counts that are not zero, as `word=count`.
fn counted(counts: &[(&str, u64)]) -> String {
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{word}={count}"));
    counts.collect::<Vec<_>>().join(" ")
}
