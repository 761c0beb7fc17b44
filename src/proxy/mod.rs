//! Listeners and the connections on them: permit, accept, record, spawn.

mod crew;
mod dial;
mod error;
mod http;
mod inbound;
mod listen;
mod live;
mod outbound;
mod record;
mod relay;
mod room;
mod service;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;
mod woken;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Limits, ListenAddress};
use crate::credentials::{Credentials, Unusable};
use crate::metrics::Metrics;
use crate::spiffe::UnixTime;
use crate::tls::{Agreed, PeerIdentity, Terms};
pub use error::ConnectionError;
#[doc(hidden)]
pub use http::measured::RequestHeaders;
use listen::{Backoff, ListenSocket, is_about_descriptors, is_about_the_peer};
use live::{Following, Orders, Standing};
use record::Record;
use relay::Relay;
pub use relay::{Broken, Side};
use room::{Permits, Room};
use service::Service;
use socket::Socket;
pub use upstream::UpstreamError;

/// A listener whose address is bound, before it runs. Binding all first lets a whole configuration fail before anything has changed.
#[derive(Debug)]
pub struct Bound {
    listener: Arc<Listener>,
    socket: ListenSocket,
}

impl Bound {
    /// The listener.
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Accepts connections until the listener is stopped; then the address is free again.
    pub async fn run(self) {
        let Self { listener, socket } = self;
        let _released = listener.released.clone().drop_guard();
        listener.accept_all(&socket).await;
        drop(socket);
        // Only now: a connection accepted just before the stop is one of those that are waited for.
        listener.connections.close();
    }
}

/// One address, what is done with the connections on it, and those connections.
#[derive(Debug)]
pub struct Listener {
    address: ListenAddress,
    orders: watch::Sender<Orders>,
    room: Room,
    connections: TaskTracker,
    stop: CancellationToken,
    released: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Binds the address; nothing is accepted before [`Bound::run`].
    ///
    /// # Errors
    /// When the address cannot be bound, or the TLS settings are at odds with each other.
    pub fn bind(config: &config::Listener, limits: &Limits, metrics: Arc<Metrics>) -> io::Result<Bound> {
        let service = Service::new(config, limits)?;
        let socket = ListenSocket::bind(&config.listen)?;
        let address = socket.address()?.unwrap_or_else(|| config.listen.clone());
        let listener = Self {
            address,
            orders: watch::Sender::new(Orders {
                service: Arc::new(service),
                terms: None,
                draining: false,
                forced: false,
            }),
            room: Room::new(limits),
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            released: CancellationToken::new(),
            metrics,
        };
        Ok(Bound { listener: Arc::new(listener), socket })
    }

    /// The address it is bound to, the port that the system chose included.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// What it was asked to do.
    pub fn config(&self) -> config::Listener {
        self.orders.borrow().service.config.clone()
    }

    /// Whether it listens where `wanted` shall. It keeps its socket, and so its name may change; listeners with a port of the system's choice are
    /// told apart by name.
    pub fn is_bound_for(&self, wanted: &config::Listener) -> bool {
        let current = &self.orders.borrow().service.config;
        let chosen_by_system = matches!(wanted.listen, ListenAddress::Tcp(address) if address.port() == 0);
        current.listen == wanted.listen && (!chosen_by_system || current.name == wanted.name)
    }

    /// Makes ready to do something else, without doing it yet.
    ///
    /// # Errors
    /// When the TLS settings are at odds with each other.
    pub fn plan(&self, config: &config::Listener, limits: &Limits) -> io::Result<Plan> {
        let mut config = config.clone();
        // A policy that says the same stays the same allocation: then no open connection needs another look.
        let current = self.orders.borrow().service.config.policy.clone();
        if config.policy == current {
            config.policy = current;
        }
        Service::new(&config, limits).map(|service| Plan(Arc::new(service)))
    }

    /// Follows the plan from now on with new connections; a changed policy also holds for the open ones.
    pub fn follow(&self, plan: Plan) {
        let limits = self.orders.borrow().service.limits.clone();
        self.room.resize(&limits, &plan.0.limits);
        self.orders.send_modify(|orders| {
            orders.terms = orders.terms.as_ref().map(|terms| plan.0.terms(terms.credentials.clone()));
            orders.service = plan.0;
        });
    }

    /// Uses these credentials from now on; changed trust also holds for the open connections.
    pub fn renew(&self, credentials: Arc<Credentials>) {
        self.orders.send_modify(|orders| orders.terms = Some(orders.service.terms(credentials)));
    }

    async fn accept_all(&self, socket: &ListenSocket) {
        let mut orders = self.orders.subscribe();
        let mut backoff = Backoff::default();
        loop {
            let service = orders.borrow_and_update().service.clone();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = orders.changed() => {} // the limits of a new service hold from the next connection on
                accepted = self.accept(socket, &service, &mut backoff) => {
                    if let Some((socket, client, permits)) = accepted {
                        self.spawn(socket, client, permits);
                    }
                }
            }
        }
    }

    /// Takes the permits first, then a connection; `None` where that one could not be accepted. Out of descriptors it waits before the next
    /// try, since an accept that fails leaves the connection in the queue and would fail again at once.
    async fn accept(
        &self,
        socket: &ListenSocket,
        service: &Service,
        backoff: &mut Backoff,
    ) -> Option<(Socket, Option<std::net::SocketAddr>, Permits)> {
        let permits = self.room.permits().await?;
        match socket.accept(service.limits.keepalive).await {
            Ok((socket, client)) => {
                backoff.reset();
                Some((socket, client, permits))
            }
            Err(error) if is_about_the_peer(&error) => None,
            Err(error) => {
                let wait = backoff.next();
                // Where one is given up there is a descriptor soon: a connection of HTTP/2 takes a moment to end.
                if !(is_about_descriptors(&error) && service.evict()) {
                    tracing::warn!(listener = &*service.config.name, %error, wait = wait.as_secs_f64(), "cannot accept");
                }
                tokio::time::sleep(wait).await;
                None
            }
        }
    }

    fn spawn(&self, socket: Socket, client: Option<std::net::SocketAddr>, permits: Permits) {
        let (following, service, terms) = Following::from_now(&self.orders);
        let name = service.config.name.clone();
        let record = Record::open(self.metrics.clone(), name, service.direction(), client);
        let port = match &self.address {
            ListenAddress::Tcp(address) => address.port(),
            ListenAddress::Unix(_) => 0,
        };
        let mut connection = Connection { following, port, terms, record, handshake: Some(permits.handshake) };
        self.connections.spawn(async move {
            let end = service.serve(socket, &mut connection).await;
            connection.record.close(end);
            drop(permits.connection);
        });
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// Accepts no more; the connections go on, as long as requests are under way on those that carry requests.
    pub fn stop(&self) {
        self.stop.cancel();
        self.orders.send_if_modified(|orders| !std::mem::replace(&mut orders.draining, true));
    }

    /// Stops, and waits until the address is free.
    pub async fn release(&self) {
        self.stop();
        self.released.cancelled().await;
    }

    /// Waits until nothing is accepted any more and every connection has ended. Comes back only once the listener is stopped.
    pub async fn ended(&self) {
        self.connections.wait().await;
    }

    /// Stops, and gives the connections `patience` to end before it ends the rest. Returns how many had to be ended.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.stop();
        match timeout(patience, self.ended()).await {
            Ok(()) => 0,
            Err(_elapsed) => self.force().await,
        }
    }

    /// Ends every connection now. Returns how many there were.
    pub async fn force(&self) -> usize {
        self.stop();
        let open = self.connections.len();
        self.orders.send_modify(|orders| orders.forced = true);
        self.ended().await;
        open
    }
}

/// What a listener is to do, ready to be followed.
#[derive(Debug)]
pub struct Plan(Arc<Service>);

/// One connection, apart from its two streams.
struct Connection {
    following: Following,
    /// The listener's; 0 for a unix socket.
    port: u16,
    /// Those of the instant at which it was accepted; `None` where there were no credentials yet.
    terms: Option<Arc<Terms>>,
    record: Record,
    handshake: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The terms for its handshake.
    fn terms(&mut self) -> Result<Arc<Terms>, Unusable> {
        let terms = self.terms.take().ok_or(Unusable::Missing)?;
        terms.credentials.usable_at(UnixTime::now())?;
        self.record.own_id(&terms.credentials.svid.id);
        Ok(terms)
    }

    /// The handshake is over and the peer known.
    fn proven(&mut self, peer: &PeerIdentity, agreed: Agreed) {
        self.handshake = None;
        self.record.peer(peer, agreed);
    }

    /// Carries bytes for as long as the connection stands.
    async fn carry(
        &mut self,
        service: &Service,
        standing: Standing,
        mut relay: Box<Relay>,
    ) -> Result<(), ConnectionError> {
        let terms = |orders: &Orders| orders.terms.clone();
        let end = live::keep(&mut relay, standing, self.following.clone(), &service.limits, terms).await;
        self.record.moved(relay.moved());
        end
    }
}
