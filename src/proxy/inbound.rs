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
    let terms = connection.terms().inspect_err(|_| client.abort())?;
    // Boxed, here and below: what is large and soon over takes no room in the future of a connection that may last for days.
    let handshake = Box::pin(async {
        match acceptor.accept(client, &terms).await {
            Ok(secured) => Ok(secured),
            Err((error, socket)) => Err(turned_away(error, socket).await),
        }
    });
    let (client, peer) = connection.following.unless_forced(handshake).await?;
    connection.proven(&peer, Agreed::of(client.get_ref().1));
    let dialled = connection.following.unless_forced(Box::pin(service.upstream.connect())).await;
    let (application, target) = dialled.inspect_err(|_| client.get_ref().0.abort())?;
    connection.record.target(target);
    let standing = connection.standing(service, terms, peer, Usage::Client);
    connection.carry(standing, Box::new(Relay::new(client.into(), application))).await
}

/// A client that left without a byte is a health check, not a failed handshake; one that was told why shall hear it.
async fn turned_away(error: HandshakeError, socket: Option<Socket>) -> ConnectionError {
    match (&error, socket) {
        (HandshakeError::Io(_), Some(socket)) if !socket.heard() => return ConnectionError::Probe,
        (HandshakeError::Refused(_) | HandshakeError::NotTls | HandshakeError::Tls(_), Some(socket)) => {
            socket.part().await;
        }
        _ => {}
    }
    error.into()
}
