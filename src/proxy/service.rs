//! What a listener does with a connection: which side is mutual TLS, where the other side is, and how the two are joined.

use std::io;
use std::sync::Arc;

use rustls::pki_types::DnsName;

use super::Connection;
use super::error::ConnectionError;
use super::http::Gateway;
use super::socket::Socket;
use super::upstream::Upstream;
use super::{inbound, outbound};
use crate::config::{self, Direction, Limits, Protocol};
use crate::credentials::Credentials;
use crate::tls::{Acceptor, Connector, Terms};

/// What a listener does with a connection. Replaced whole by a changed configuration; a connection keeps the one that it began with, except for
/// the policy, and except that a request is served as things stand when it comes.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) config: config::Listener,
    pub(super) limits: Limits,
    side: TlsSide,
    pub(super) way: Way,
}

/// Which side of the listener is mutual TLS.
enum TlsSide {
    Inbound(Acceptor),
    Outbound(Connector, Option<DnsName<'static>>),
}

/// How what comes in gets to the other side.
#[derive(Debug)]
pub(super) enum Way {
    /// As bytes, to one connection for each.
    Bytes(Upstream),
    /// As requests, each to a connection of its own choice.
    Requests(Arc<Gateway>),
}

impl Service {
    pub(super) fn new(config: &config::Listener, limits: &Limits) -> io::Result<Self> {
        let (alpn, min_tls, patience) = (config.alpn.clone(), config.min_tls, limits.handshake_timeout);
        let side = match &config.direction {
            Direction::Inbound => Acceptor::new(alpn, min_tls, patience).map(TlsSide::Inbound),
            Direction::Outbound { server_name } => {
                let name = server_name.clone();
                Connector::new(alpn, min_tls, patience).map(|connector| TlsSide::Outbound(connector, name))
            }
        };
        let way = match &config.protocol {
            Protocol::Tcp => {
                Way::Bytes(Upstream::new(config.targets.clone(), limits.connect_timeout, limits.keepalive))
            }
            Protocol::Http(http) => Way::Requests(Gateway::new(config, http, limits).map_err(io::Error::other)?),
        };
        Ok(Self { side: side.map_err(io::Error::other)?, way, config: config.clone(), limits: limits.clone() })
    }

    pub(super) fn direction(&self) -> &'static str {
        match self.side {
            TlsSide::Inbound(_) => "inbound",
            TlsSide::Outbound(..) => "outbound",
        }
    }

    /// On what terms it lets peers in with these credentials.
    pub(super) fn terms(&self, credentials: Arc<Credentials>) -> Arc<Terms> {
        let (policy, max_peer_certificates) = (self.config.policy.clone(), self.limits.max_peer_certificates);
        Arc::new(Terms { credentials, policy, max_peer_certificates })
    }

    /// Closes a connection to a target that waits for a request; tells whether there was one.
    pub(super) fn evict(&self) -> bool {
        match &self.way {
            Way::Bytes(_) => false,
            Way::Requests(gateway) => gateway.evict(),
        }
    }

    /// Serves one connection from its first byte to its last.
    pub(super) async fn serve(
        self: &Arc<Self>,
        socket: Socket,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match &self.side {
            TlsSide::Inbound(acceptor) => inbound::serve(self, acceptor, socket, connection).await,
            TlsSide::Outbound(connector, name) => {
                outbound::serve(self, connector, name.as_ref(), socket, connection).await
            }
        }
    }
}

impl std::fmt::Debug for TlsSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inbound(_) => "Inbound",
            Self::Outbound(..) => "Outbound",
        })
    }
}
