//! What a connection, or a stream of one, becomes once both sides have agreed to other bytes than HTTP: WebSocket and other upgrades, and CONNECT.

use std::sync::Arc;

use bytes::Bytes;

use super::exchange::Guard;
use super::send::Lease;
use crate::config::Limits;
use crate::metrics::RequestOutcome;
use crate::proxy::error::ConnectionError;
use crate::proxy::live::{Following, Orders, Standing, keep};
use crate::proxy::relay::{Relay, Side};
use crate::proxy::service::Way;
use crate::proxy::wire::Wire;
use crate::tls::Terms;

/// The upstream's end of a tunnel.
#[derive(Debug)]
pub(super) struct End {
    pub(super) wire: Wire,
    /// What the upstream said already.
    pub(super) first: Bytes,
    /// What the tunnel occupies of the upstream while it stands.
    pub(super) _lease: Lease,
}

/// A tunnel that waits for the client's end to be given over.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) end: End,
    /// Why the tunnel stands: the caller's standing inbound, the server's outbound.
    pub(super) standing: Standing,
    pub(super) guard: Guard,
}

impl Tunnel {
    /// Carries bytes between the client's end and the upstream's until they end or may not go on.
    ///
    /// # Errors
    /// Why it ended other than cleanly.
    pub(super) async fn carry(
        self,
        client: Wire,
        said: Bytes,
        following: Following,
        limits: &Limits,
    ) -> (Result<(), ConnectionError>, (u64, u64)) {
        let Self { end: End { wire, first, _lease }, standing, mut guard } = self;
        let mut relay = Box::new(match guard.client.peer {
            Some(_) => Relay::with_first(client, said, wire, first),
            None => Relay::with_first(wire, first, client, said),
        });
        guard.exchange.answered();
        let exchange = guard.exchange.clone();
        let carried = tokio::select! {
            biased;
            why = exchange.when_cut() => {
                relay.abort();
                guard.told.reason = Some(why.to_string());
                Err(ConnectionError::Cut(why.to_string()))
            }
            kept = keep(&mut relay, standing, following, limits, |orders| terms(orders, &guard)) => kept,
        };
        let moved = relay.moved();
        let client_side = if guard.client.peer.is_some() { Side::Tls } else { Side::Plain };
        guard.told.outcome = match &carried {
            Ok(()) | Err(ConnectionError::Idle(_)) => RequestOutcome::Tunnelled,
            // A client that has what it wanted may well leave with a reset: that is no fault of anybody's.
            Err(ConnectionError::Broken(broken)) if broken.side == client_side => RequestOutcome::Cancelled,
            Err(ConnectionError::Broken(_)) => RequestOutcome::UpstreamBroken,
            Err(_) => RequestOutcome::Cut,
        };
        let (from_client, to_client) = if guard.client.peer.is_some() { moved } else { (moved.1, moved.0) };
        guard.exchange.count_sent(from_client);
        guard.exchange.count_received(to_client);
        if let Err(error) = &carried {
            guard.told.reason.get_or_insert_with(|| error.to_string());
        }
        (carried, moved)
    }
}

/// On what terms a tunnel stands now: inbound the caller's, outbound those of the route that leads to its host.
fn terms(orders: &Orders, guard: &Guard) -> Option<Arc<Terms>> {
    match &orders.service.way {
        Way::Requests(gateway) if guard.client.peer.is_none() => {
            let credentials = &orders.terms.as_ref()?.credentials;
            Some(gateway.routes.terms(&guard.exchange.asked.authority.host, credentials))
        }
        Way::Requests(_) | Way::Bytes(_) => orders.terms.clone(),
    }
}
