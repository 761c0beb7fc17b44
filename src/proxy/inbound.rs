//! Mutual TLS in, plaintext out: the story of one connection to a service.

use super::error::ConnectionError;
use super::relay::Relay;
use super::socket::Socket;
use super::{Connection, Service};
use crate::spiffe::Usage;
use crate::tls::{Acceptor, Agreed, HandshakeError};

/// Serves one connection from its first byte to its last.
pub(super) async fn serve(
    service: &Service,
    acceptor: &Acceptor,
    client: Socket,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    let terms = connection.terms()?;
    let handshake = connection.following.unless_forced(acceptor.accept(client, &terms)).await?;
    let (client, peer) = handshake.map_err(said_nothing)?;
    connection.proven(&peer, Agreed::of(client.get_ref().1));
    let dialled = connection.following.unless_forced(service.upstream.connect()).await?;
    let (application, target) = dialled.inspect_err(|_| client.get_ref().0.abort())?;
    connection.record.target(target);
    let standing = connection.standing(service, terms, peer, Usage::Client);
    connection.carry(standing, Relay::new(client.into(), application)).await
}

/// A client that left without a byte is a health check, not a failed handshake.
fn said_nothing((error, socket): (HandshakeError, Option<Socket>)) -> ConnectionError {
    match (error, socket) {
        (HandshakeError::Io(_), Some(socket)) if !socket.heard() => ConnectionError::Probe,
        (error, _) => error.into(),
    }
}
