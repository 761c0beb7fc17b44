//! Mutual TLS in, plaintext out: the story of one connection to a service.

use std::sync::Arc;

use super::Connection;
use super::error::ConnectionError;
use super::http;
use super::live::Standing;
use super::relay::Relay;
use super::service::{Service, Way};
use super::socket::Socket;
use super::upstream::Upstream;
use super::wire::Wire;
use crate::spiffe::Usage;
use crate::tls::{Acceptor, Agreed, HandshakeError, PeerIdentity, Terms};

/// Serves one connection from its first byte to its last.
pub(super) async fn serve(
    service: &Arc<Service>,
    acceptor: &Acceptor,
    client: Socket,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    // Boxed, here and below: what is large and soon over takes no room in the future of a connection that may last for days.
    let (client, standing) = Box::pin(admit(service, acceptor, client, connection)).await?;
    match &service.way {
        Way::Bytes(upstream) => {
            let relay = Box::pin(join(upstream, client, connection)).await?;
            connection.carry(service, standing, relay).await
        }
        Way::Requests(_) => {
            let caller = Standing { chain: Some(client.peer_chain().into()), ..standing };
            Box::pin(http::serve(service, client, Some(caller), connection)).await
        }
    }
}

/// Lets the peer in, if it may.
async fn admit(
    service: &Service,
    acceptor: &Acceptor,
    client: Socket,
    connection: &mut Connection,
) -> Result<(Wire, Standing), ConnectionError> {
    let terms = connection.terms().inspect_err(|_| client.abort())?;
    let handshake = secure(acceptor, client, &terms);
    let (client, peer, agreed) = connection.following.unless_forced(handshake).await?;
    connection.proven(&peer, agreed);
    let standing = Standing { terms, peer, usage: Usage::Client, on_expiry: service.config.on_expiry, chain: None };
    Ok((client, standing))
}

/// Reaches the application, and joins the peer to it.
async fn join(upstream: &Upstream, client: Wire, connection: &mut Connection) -> Result<Box<Relay>, ConnectionError> {
    let dialled = connection.following.unless_forced(upstream.connect()).await;
    let (application, target) = dialled.inspect_err(|_| client.abort())?;
    connection.record.target(target);
    Ok(Box::new(Relay::new(client, Wire::Plain(application))))
}

/// Makes the handshake. A client that left without a byte is a health check, not a failed handshake; one that was told why it is turned away
/// shall hear it.
async fn secure(
    acceptor: &Acceptor,
    client: Socket,
    terms: &Arc<Terms>,
) -> Result<(Wire, PeerIdentity, Agreed), ConnectionError> {
    let (error, socket) = match acceptor.accept(client, terms).await {
        Ok((stream, peer)) => {
            let agreed = stream.agreed();
            return Ok((Wire::tls(stream), peer, agreed));
        }
        Err(failed) => failed,
    };
    match (&error, socket) {
        (HandshakeError::Io(_), Some(socket)) if !socket.heard() => return Err(ConnectionError::Probe),
        (error, Some(socket)) if error.was_told() => socket.part().await,
        _ => {}
    }
    Err(error.into())
}
