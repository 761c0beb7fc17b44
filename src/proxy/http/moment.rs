//! What a request is served by: the orders and the configuration of the moment at which it comes. Each connection keeps its own copy, so that requests
//! on different workers touch nothing in common to find it.

use std::sync::{Arc, Mutex, PoisonError};

use super::Gateway;
use super::client::Peer;
use super::identity::PeerHeaders;
use crate::proxy::live::{Following, Orders};
use crate::proxy::service::Way;

/// What requests of one connection are served by, from one change to the next.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) orders: Orders,
    pub(super) gateway: Arc<Gateway>,
    /// What the application is told of the peer.
    pub(super) headers: Option<PeerHeaders>,
    /// The rule that lets in every request of the peer, where that does not depend on the request.
    pub(super) rule: Option<Arc<str>>,
    /// The listener does something else by now: what it did before is finished politely.
    pub(super) is_past: bool,
}

/// The moment that a connection knows, and whether there is a newer one.
#[derive(Debug)]
pub(super) struct Moments(Mutex<(Following, Arc<Moment>)>);

impl Moments {
    /// From now on. `first` is the gateway that the connection began with.
    pub(super) fn new(mut following: Following, first: &Arc<Gateway>, peer: Option<&Peer>) -> Self {
        let moment = Moment::of(following.catch_up(), first, peer);
        Self(Mutex::new((following, Arc::new(moment))))
    }

    /// That of now.
    pub(super) fn now(&self, peer: Option<&Peer>) -> Arc<Moment> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0.has_changed() {
            let orders = known.0.catch_up();
            known.1 = Arc::new(Moment::of(orders, &known.1.gateway, peer));
        }
        known.1.clone()
    }
}

impl Moment {
    fn of(orders: Orders, before: &Arc<Gateway>, peer: Option<&Peer>) -> Self {
        let (gateway, is_past) = match &orders.service.way {
            Way::Requests(gateway) if gateway.is_outbound() == before.is_outbound() => (gateway.clone(), false),
            Way::Requests(_) | Way::Bytes(_) => (before.clone(), true),
        };
        let headers = peer.map(|peer| peer.headers(&gateway));
        let rule = peer.and_then(|peer| orders.service.config.policy.lets_all_in(&peer.id));
        Self { orders, gateway, headers, rule, is_past }
    }
}
