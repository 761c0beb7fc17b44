//! Requests one by one: the application learns who calls, each is let through by the policy of its moment, and goes to a connection of its own
//! choice. `http1` and hyper, for HTTP/2, speak the protocol on both sides; this decides.

mod access;
mod answer;
mod balance;
mod body;
mod budget;
mod client;
mod connect;
mod exchange;
mod forward;
mod forwarded;
mod gather;
mod head_clock;
mod headers;
mod http1;
mod hygiene;
mod identity;
mod keep;
mod leash;
pub(super) mod measured;
mod moment;
mod parts;
mod pool;
mod request;
mod route;
mod send;
mod server;
mod speaking;
mod switch;
mod target;
mod tunnel;
mod understood;
mod waiting;

use std::error::Error;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

pub(super) use keep::serve;

use self::balance::Claim;
use self::budget::Budget;
use self::connect::ConnectError;
use self::forward::Failure;
use self::forwarded::Ids;
use self::identity::IdentityNames;
use self::route::{Destination, Routes};
use self::server::Server;
use super::live::Standing;
use super::outbound::{parting, sni};
use super::wire::Wire;
use crate::config::{self, Direction, Http, HttpVersions, Limits, OnExpiry};
use crate::credentials::Unusable;
use crate::spiffe::{UnixTime, Usage};
use crate::tls::{Connector, Terms};

/// The right of a connection to a target to exist.
type Place = OwnedSemaphorePermit;

/// The names of the versions of HTTP in ALPN (RFC 7301; RFC 9113 §3.2).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a listener does with requests.
pub(super) struct Gateway {
    http: Arc<Http>,
    limits: Limits,
    /// How to make mutual TLS towards a target; plaintext where there is none of these.
    connectors: Option<Connectors>,
    /// Whether requests go on as HTTP/2 whatever they came in.
    prefers_http2: bool,
    /// Whether a target may be spoken to in HTTP/1.1, which alone has `Upgrade`.
    upgrades: bool,
    routes: Routes,
    /// How many more connections to targets may be opened.
    places: Arc<Semaphore>,
    on_expiry: OnExpiry,
    names: Arc<IdentityNames>,
    budget: Budget,
    ids: Ids,
}

/// Mutual TLS towards a target, by what is to be spoken in it.
struct Connectors {
    http1: Connector,
    http2: Connector,
    tunnel: Connector,
}

impl Connectors {
    /// What is offered in ALPN, as far as the configuration leaves it open, is what the request came in.
    fn new(listener: &config::Listener, limits: &Limits) -> Result<Self, rustls::Error> {
        let is_spoken = |protocol: &[u8]| listener.alpn.is_empty() || listener.alpn.iter().any(|name| name == protocol);
        let connector = |offered: &[&[u8]]| {
            let offered = offered.iter().filter(|protocol| is_spoken(protocol)).map(|protocol| protocol.to_vec());
            Connector::new(offered.collect(), listener.min_tls, limits.handshake_timeout)
        };
        let either: &[&[u8]] = &[HTTP2, HTTP1];
        let http1 = if is_spoken(HTTP1) { &[HTTP1] } else { either };
        Ok(Self { http1: connector(http1)?, http2: connector(either)?, tunnel: connector(&[])? })
    }
}

impl Gateway {
    /// What `listener` shall do with requests.
    ///
    /// # Errors
    /// When the TLS settings are at odds with each other.
    pub(super) fn new(
        listener: &config::Listener,
        http: &Arc<Http>,
        limits: &Limits,
    ) -> Result<Arc<Self>, rustls::Error> {
        let connectors = match listener.direction {
            Direction::Inbound => None,
            Direction::Outbound { .. } => Some(Connectors::new(listener, limits)?),
        };
        let speaks = |protocol: &[u8]| listener.alpn.iter().any(|name| name == protocol);
        let (prefers_http2, upgrades) = match http.upstream {
            HttpVersions::Http2 => (true, false),
            HttpVersions::AsAsked => {
                let is_outbound_with = connectors.is_some() && !listener.alpn.is_empty();
                (is_outbound_with && speaks(HTTP2), !is_outbound_with || speaks(HTTP1))
            }
        };
        let gateway = Arc::new(Self {
            http: http.clone(),
            limits: limits.clone(),
            connectors,
            prefers_http2,
            upgrades,
            routes: Routes::new(listener, &http.routes, limits),
            places: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            on_expiry: listener.on_expiry,
            names: Arc::new(IdentityNames::new(&http.identity_headers)),
            budget: Budget::default(),
            ids: Ids::default(),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(sweep(Arc::downgrade(&gateway), limits.http.upstream_keep_alive));
        }
        Ok(gateway)
    }

    fn is_outbound(&self) -> bool {
        self.connectors.is_some()
    }

    /// Reaches a claimed endpoint, and proves who is there where that is mutual TLS. Tells whether HTTP/2 is spoken.
    async fn reach(
        &self,
        destination: &Destination,
        claim: &Claim,
        terms: Option<&Arc<Terms>>,
        wants_http2: bool,
        until: Instant,
    ) -> Result<(Wire, Option<Arc<Server>>, bool), Failure> {
        let Some(connectors) = &self.connectors else {
            let socket = self.dial(destination, claim, until).await?;
            return Ok((Wire::Plain(socket), None, wants_http2));
        };
        let connector = if wants_http2 { &connectors.http2 } else { &connectors.http1 };
        let (wire, server) = self.secure(connector, destination, claim, terms, until).await?;
        let speaks_http2 = match &wire {
            Wire::Tls(stream) => stream.alpn() == Some(HTTP2),
            Wire::Plain(_) | Wire::Stream(_) => false,
        };
        Ok((wire, Some(Arc::new(server)), speaks_http2))
    }

    /// Reaches a claimed endpoint with mutual TLS.
    async fn secure(
        &self,
        connector: &Connector,
        destination: &Destination,
        claim: &Claim,
        terms: Option<&Arc<Terms>>,
        until: Instant,
    ) -> Result<(Wire, Server), Failure> {
        let terms = terms.ok_or(Unusable::Missing)?;
        terms.credentials.usable_at(UnixTime::now())?;
        let socket = self.dial(destination, claim, until).await?;
        let name = sni(destination.server_name.as_ref(), &claim.target);
        let shaken = Box::pin(connector.connect(socket, name, terms)).await;
        let (stream, peer) = shaken
            .map_err(parting)
            .map_err(|error| ConnectError::Handshake { address: claim.address.to_string(), error })?;
        let wire = Wire::tls(stream);
        let standing = Standing {
            terms: terms.clone(),
            peer,
            usage: Usage::Server,
            on_expiry: self.on_expiry,
            chain: Some(wire.peer_chain().into()),
        };
        Ok((wire, Server::new(standing)))
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("http", &self.http).finish_non_exhaustive()
    }
}

/// Whether a client may speak HTTP/2. In TLS both sides agree on that with ALPN (RFC 9113 §3.2); one that asks for nothing there may know it
/// beforehand, where the listener speaks it.
fn takes_http2(wire: &Wire, listener: &config::Listener) -> bool {
    match wire {
        Wire::Tls(stream) => match stream.alpn() {
            Some(agreed) => agreed == HTTP2,
            None => listener.alpn.iter().any(|name| name == HTTP2),
        },
        Wire::Plain(_) | Wire::Stream(_) => true,
    }
}

/// Gives up upstream connections that wait too long, for as long as their gateway lives.
async fn sweep(gateway: Weak<Gateway>, longest: Duration) {
    loop {
        sleep(longest / 2).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let began = Instant::now();
        for destination in gateway.routes.known() {
            for endpoint in destination.balancer.known() {
                endpoint.pool.sweep(longest).await;
            }
        }
        tracing::trace!(took = began.elapsed().as_secs_f64(), "idle upstream connections swept");
    }
}

/// An error with its causes, on one line: hyper's own says only the first half.
fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told.push_str(": ");
            told.push_str(&cause_told);
        }
        source = cause.source();
    }
    told
}
