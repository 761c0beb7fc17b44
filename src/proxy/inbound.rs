//! Mutual TLS in, plaintext out: the story of one connection to a service.

use std::sync::Arc;

use tokio_rustls::server::TlsStream;

use super::error::ConnectionError;
use super::relay::Relay;
use super::socket::Socket;
use super::{Connection, Service};
use crate::spiffe::Usage;
use crate::tls::{Acceptor, Agreed, HandshakeError, PeerIdentity, Terms};

/// Serves one connection from its first byte to its last.
pub(super) async fn serve(
    service: &Service,
    acceptor: &Acceptor,
    client: Socket,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    let terms = connection.terms().inspect_err(|_| client.abort())?;
    // Boxed, here and below: what is large and soon over takes no room in the future of a connection that may last for days.
    let handshake = Box::pin(secure(acceptor, client, &terms));
    let (client, peer) = connection.following.unless_forced(handshake).await?;
    connection.proven(&peer, Agreed::of(client.get_ref().1));
    let dialled = connection.following.unless_forced(Box::pin(service.upstream.connect())).await;
    let (application, target) = dialled.inspect_err(|_| client.get_ref().0.abort())?;
    connection.record.target(target);
    let standing = connection.standing(service, terms, peer, Usage::Client);
    connection.carry(standing, Box::new(Relay::new(client.into(), application))).await
}

/// Makes the handshake. A client that left without a byte is a health check, not a failed handshake; one that was told why it is turned away
/// shall hear it.
async fn secure(
    acceptor: &Acceptor,
    client: Socket,
    terms: &Arc<Terms>,
) -> Result<(TlsStream<Socket>, PeerIdentity), ConnectionError> {
    let (error, socket) = match acceptor.accept(client, terms).await {
        Ok(secured) => return Ok(secured),
        Err(failed) => failed,
    };
    match (&error, socket) {
        (HandshakeError::Io(_), Some(socket)) if !socket.heard() => return Err(ConnectionError::Probe),
        (HandshakeError::Refused(_) | HandshakeError::NotTls | HandshakeError::Tls(_), Some(socket)) => {
            socket.part().await;
        }
        _ => {}
    }
    Err(error.into())
}
