//! Plaintext in, mutual TLS out: the story of one connection from an application, the mirror of the inbound one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::pki_types::{DnsName, ServerName};

use super::Connection;
use super::error::ConnectionError;
use super::http;
use super::live::Standing;
use super::relay::Relay;
use super::service::{Service, Way};
use super::socket::Socket;
use super::upstream::Upstream;
use super::wire::Wire;
use crate::config::Target;
use crate::spiffe::Usage;
use crate::tls::{Connector, HandshakeError};

/// Serves one connection from its first byte to its last.
pub(super) async fn serve(
    service: &Arc<Service>,
    connector: &Connector,
    server_name: Option<&DnsName<'static>>,
    client: Socket,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    let upstream = match &service.way {
        Way::Bytes(upstream) => upstream,
        Way::Requests(_) => {
            // Each request finds its own way out; until then there is nothing to prove.
            connection.handshake = None;
            return Box::pin(http::serve(service, Wire::Plain(client), None, connection)).await;
        }
    };
    // Boxed: what is large and soon over takes no room in the future of a connection that may last for days.
    let secured = Box::pin(secure(service, upstream, connector, server_name, connection)).await;
    // The application must not take a refusal for an empty answer.
    let (server, standing) = secured.inspect_err(|_| client.abort())?;
    connection.carry(service, standing, Box::new(Relay::new(server, Wire::Plain(client)))).await
}

/// Reaches the next hop and proves who it is.
async fn secure(
    service: &Service,
    upstream: &Upstream,
    connector: &Connector,
    server_name: Option<&DnsName<'static>>,
    connection: &mut Connection,
) -> Result<(Wire, Standing), ConnectionError> {
    let terms = connection.terms()?;
    let (server, target) = connection.following.unless_forced(upstream.connect()).await?;
    connection.record.target(target);
    let name = sni(server_name, target);
    let handshake = async { connector.connect(server, name, &terms).await.map_err(parting) };
    let (server, peer) = connection.following.unless_forced(handshake).await?;
    connection.proven(&peer, server.agreed());
    let standing = Standing { terms, peer, usage: Usage::Server, on_expiry: service.config.on_expiry, chain: None };
    Ok((Wire::tls(server), standing))
}

/// Why a handshake gave no connection. A server that was told why it is refused shall hear it, and nobody here waits for that.
pub(super) fn parting((error, socket): (HandshakeError, Option<Socket>)) -> HandshakeError {
    if let Some(socket) = socket.filter(|_| error.was_told()) {
        tokio::spawn(socket.part());
    }
    error
}

/// What is sent as SNI: the name that was configured, else the target's, and nothing (which is what an address means to rustls) where it has
/// none.
pub(super) fn sni(configured: Option<&DnsName<'static>>, target: &Target) -> ServerName<'static> {
    let named = match (configured, target) {
        (Some(name), _) => Some(ServerName::DnsName(name.clone())),
        (None, Target::Name { host, .. }) => ServerName::try_from(host.clone()).ok(),
        (None, Target::Address(_) | Target::Unix(_)) => None,
    };
    named.unwrap_or_else(|| ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()))
}
