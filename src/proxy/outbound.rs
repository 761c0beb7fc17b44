//! Plaintext in, mutual TLS out: the story of one connection from an application, the mirror of the inbound one.

use std::net::{IpAddr, Ipv4Addr};

use rustls::pki_types::{DnsName, ServerName};

use super::error::ConnectionError;
use super::live::Standing;
use super::relay::Relay;
use super::socket::Socket;
use super::{Connection, Service};
use crate::config::Target;
use crate::spiffe::Usage;
use crate::tls::{Agreed, Connector};

/// Serves one connection from its first byte to its last.
pub(super) async fn serve(
    service: &Service,
    connector: &Connector,
    server_name: Option<&DnsName<'static>>,
    client: Socket,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    // Boxed: what is large and soon over takes no room in the future of a connection that may last for days.
    let secured = Box::pin(secure(service, connector, server_name, connection)).await;
    // The application must not take a refusal for an empty answer.
    let (server, standing) = secured.inspect_err(|_| client.abort())?;
    connection.carry(standing, Box::new(Relay::new(server, client))).await
}

/// Reaches the next hop and proves who it is.
async fn secure<'a>(
    service: &'a Service,
    connector: &Connector,
    server_name: Option<&DnsName<'static>>,
    connection: &mut Connection,
) -> Result<(tokio_rustls::TlsStream<Socket>, Standing<'a>), ConnectionError> {
    let terms = connection.terms()?;
    let (server, target) = connection.following.unless_forced(service.upstream.connect()).await?;
    connection.record.target(target);
    let name = server_name.map_or_else(|| name_of(target), |name| ServerName::DnsName(name.clone()));
    let handshake = connector.connect(server, name, &terms);
    let (server, peer) = connection.following.unless_forced(handshake).await?;
    connection.proven(&peer, Agreed::of(server.get_ref().1));
    let standing = connection.standing(service, terms, peer, Usage::Server);
    Ok((server.into(), standing))
}

/// What is sent as SNI: the target's name, and nothing (which is what an address means to rustls) where it has none.
fn name_of(target: &Target) -> ServerName<'static> {
    match target {
        Target::Name { host, .. } => ServerName::try_from(host.clone()).ok(),
        Target::Address(_) | Target::Unix(_) => None,
    }
    .unwrap_or_else(|| ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()))
}
