//! The whole intent of one process, typed and already valid. What is in here can be acted upon without asking again.

mod address;
mod choice;
mod fault;
mod field;
mod file;
mod flags;
mod http;
mod listeners;
mod map;
mod quantity;
mod raw;
mod read;
mod request;
mod schema;
mod settings;
mod structure;
mod template;
mod word;

use std::sync::Arc;
use std::time::Duration;

use crate::credentials::Identity;
use crate::policy::Policy;
pub use address::{AddressError, ListenAddress, Target, is_loopback};
pub use fault::{ConfigError, Fault, Place};
pub use flags::{Flags, Side};
pub use http::{
    AccessLog, Http, HttpLimits, HttpVersions, IdentityHeader, IdentityHeaders, OwnHeader, PeerFact, Route, XfccMode,
};
pub use read::{Origin, RouteOrigin};
pub use schema::schema;
pub use template::{ExpectTemplate, TargetTemplate};

/// Everything that one process shall do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Where our own credentials come from.
    pub identity: Identity,
    /// The listeners, names and addresses distinct.
    pub listeners: Vec<Listener>,
    /// Bounds, the same for every listener.
    pub limits: Limits,
    /// What is logged, and how.
    pub log: Log,
}

/// One listener: plaintext on one side, mutual TLS on the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The name that logs and metrics carry.
    pub name: Arc<str>,
    /// Which side is mutual TLS.
    pub direction: Direction,
    /// Where connections come in.
    pub listen: ListenAddress,
    /// Where they go to, tried in order (TCP) or shared among (HTTP); none where HTTP routes say it.
    pub targets: Vec<Target>,
    /// What the bytes are.
    pub protocol: Protocol,
    /// Who may be at the other end of the mutual TLS; nobody where HTTP routes say it.
    pub policy: Arc<Policy>,
    /// The protocols offered or accepted by ALPN, most wanted first; none negotiates none.
    pub alpn: Vec<Vec<u8>>,
    /// The lowest TLS version spoken.
    pub min_tls: TlsVersion,
    /// What happens to open connections at the expiry of the peer's certificate.
    pub on_expiry: OnExpiry,
}

/// Which side of a listener is mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Mutual TLS in, plaintext out: in front of a service.
    Inbound,
    /// Plaintext in, mutual TLS out: for an application that calls others.
    Outbound {
        /// The name sent as SNI; where not given, the target's name if it has one.
        server_name: Option<rustls::pki_types::DnsName<'static>>,
    },
}

/// What is understood of the bytes that pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Protocol {
    /// Nothing: bytes.
    #[default]
    Tcp,
    /// Requests and answers, HTTP/1.1 and HTTP/2.
    Http(Arc<Http>),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[default]
    Tls13,
}

/// What happens to an open connection when the peer's certificate expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExpiry {
    /// It is closed, after the grace period.
    #[default]
    Close,
    /// It stays.
    Keep,
}

/// Bounds. Every one has a default; `None` is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open connections of one listener; and as many again to the targets of one that understands HTTP.
    pub max_connections: usize,
    /// Handshakes in flight on one listener.
    pub max_handshakes: usize,
    /// From accepting or connecting to the end of the handshake.
    pub handshake_timeout: Duration,
    /// The certificates that a peer presents, together, in bytes.
    pub max_peer_certificates: usize,
    /// Reaching a target: name, connection, all of its addresses and all targets.
    pub connect_timeout: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Option<Duration>,
    /// Without a byte, once one side has ended its half.
    pub half_close_timeout: Option<Duration>,
    /// Between TCP keepalive probes.
    pub keepalive: Option<Duration>,
    /// From a refusal of an open connection (policy, trust, expiry) to its close.
    pub close_grace: Duration,
    /// How long connections may go on after a stop signal.
    pub drain_timeout: Duration,
    /// Threads that move bytes; the machine's cores where not given.
    pub worker_threads: Option<usize>,
    /// Of HTTP alone.
    pub http: HttpLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 50_000,
            max_handshakes: 20_000,
            handshake_timeout: Duration::from_secs(10),
            max_peer_certificates: 32 * 1024,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(60 * 60)),
            half_close_timeout: Some(Duration::from_secs(5 * 60)),
            keepalive: Some(Duration::from_secs(60)),
            close_grace: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            worker_threads: None,
            http: HttpLimits::default(),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The shape of a line; text where neither the file nor the command line says.
    pub format: Option<LogFormat>,
    /// A filter in the syntax of `RUST_LOG`; `info` where nobody says.
    pub level: Option<String>,
    /// Which HTTP requests get a line of their own.
    pub requests: AccessLog,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
