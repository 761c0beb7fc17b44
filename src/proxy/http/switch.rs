//! How a request comes to a tunnel: the upstream agrees to other bytes, or is reached for them alone, and then the client's side is given over.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, Version, header};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::answer::Class;
use super::body::AnswerBody;
use super::exchange::Guard;
use super::forward::{Failure, Search};
use super::headers::Headers;
use super::parts::AnswerParts;
use super::request::{Answered, Refused, refused};
use super::route::Destination;
use super::send::{Lease, Over};
use super::tunnel::{End, Tunnel};
use super::understood::Wish;
use super::{Gateway, forwarded, hygiene};
use crate::proxy::stream::GivenOver;
use crate::proxy::wire::Wire;
use crate::tls::Terms;

impl Gateway {
    /// Reaches a destination for a tunnel (RFC 9110 §9.3.6).
    pub(super) async fn connect(
        &self,
        destination: &Destination,
        terms: Option<&Arc<Terms>>,
        guard: &mut Guard,
    ) -> Result<Answered, Refused> {
        let Some(connectors) = &self.connectors else {
            return Err(Refused::new(Class::MethodNotAllowed, &"there is no way out of here"));
        };
        let mut search = Search::new(destination, terms, self, guard.exchange.began);
        self.budget.earn();
        let by = Instant::now() + self.limits.connect_timeout;
        let place = self.place(by).await.map_err(|failure| refused(&failure))?;
        let (wire, server, claim) = loop {
            let (claim, until) = search.next(guard).await.map_err(|failure| refused(&failure))?;
            let error = match self.secure(&connectors.tunnel, destination, &claim, terms, until).await {
                Ok((wire, server)) => break (wire, server, claim),
                Err(error) => error,
            };
            search.failed(&claim, &error);
            if matches!(error, Failure::Identity(_)) || !search.goes_on(self, guard, &error) {
                return Err(refused(&error));
            }
        };
        claim.succeeded();
        guard.exchange.meet(Arc::new(server));
        let lease = Lease { over: Over::Given(place), claim, whom: guard.client.whom() };
        Ok(Answered::Switched(AnswerParts::default(), End { wire, first: bytes::Bytes::new(), _lease: lease }))
    }

    /// What comes of the upstream's answer to a request that may have asked for other bytes.
    pub(super) async fn receive(&self, wish: &Wish, answer: AnswerParts, lease: Lease) -> Result<Answered, Refused> {
        if answer.headers.len() > self.limits.http.max_headers {
            let reason = "its answer has more headers than `max_headers`";
            return Err(Refused::new(Class::UpstreamFailed, &reason));
        }
        let agreed = match (wish, answer.version, answer.status) {
            (Wish::Upgrade(_) | Wish::WebSocket, Version::HTTP_11, StatusCode::SWITCHING_PROTOCOLS) => true,
            (Wish::WebSocket, Version::HTTP_2, status) => status.is_success(),
            // An application that answers a request for a WebSocket without one has no word for it in HTTP/2 (RFC 8441 §5).
            (Wish::WebSocket, _, status) if status.is_success() => {
                return Err(Refused::new(
                    Class::UpstreamFailed,
                    &format!("the upstream opened no WebSocket but answered {status}"),
                ));
            }
            (_, _, StatusCode::SWITCHING_PROTOCOLS) => {
                return Err(Refused::new(
                    Class::UpstreamFailed,
                    &"the upstream changed the protocol, which nobody asked for",
                ));
            }
            _ => false,
        };
        if !agreed {
            return Ok(Answered::Relayed(answer, lease));
        }
        if let Over::Http1(connection) = &lease.over
            && !connection.has_asked()
        {
            // What is left of the body would be the first bytes of the other protocol (RFC 9110 §7.8).
            let reason = "the upstream changed the protocol before it had the whole request";
            return Err(Refused::new(Class::UpstreamFailed, &reason));
        }
        let end = match lease {
            Lease { over: Over::Http1(connection), claim, whom } => {
                let (wire, first, place) = connection.into_wire();
                Some(End { wire, first, _lease: Lease { over: Over::Given(place), claim, whom } })
            }
            lease => {
                let upgraded = match answer.on_upgrade {
                    Some(on_upgrade) => on_upgrade.await.ok(),
                    None => None,
                };
                let wire = upgraded.map(|stream| Wire::Stream(Box::new(GivenOver::new(stream, None))));
                wire.map(|wire| End { wire, first: bytes::Bytes::new(), _lease: lease })
            }
        };
        let end = end
            .ok_or_else(|| Refused::new(Class::UpstreamFailed, &"the upstream broke off as it changed the protocol"))?;
        let head = AnswerParts { status: answer.status, headers: answer.headers, ..AnswerParts::default() };
        Ok(Answered::Switched(head, end))
    }

    /// Gives the client's side over: a whole connection of HTTP/1.1, or one stream of HTTP/2.
    pub(super) fn switch(
        &self,
        mut parts: AnswerParts,
        end: End,
        on_upgrade: Option<OnUpgrade>,
        mut guard: Guard,
    ) -> (AnswerParts, AnswerBody) {
        let protocol = hygiene::upgrade(&parts.headers);
        hygiene::hop_by_hop(&mut parts.headers);
        forwarded::via(&mut parts.headers, Version::HTTP_11);
        let client = guard.client.clone();
        guard.told.status = Some(parts.status);
        let standing = match (&client.peer, guard.exchange.server()) {
            (Some(peer), _) => Some(peer.standing.clone()),
            (None, server) => server.map(|server| server.standing()),
        };
        let Some(standing) = standing else {
            let broken = Refused::new(Class::UpstreamFailed, &"a tunnel without a proven end");
            return self.refuse(broken, &super::answer::Asker::default(), guard);
        };
        let is_stream = guard.exchange.version == Version::HTTP_2;
        let tunnel = Tunnel { end, standing, guard };
        if is_stream {
            parts.status = StatusCode::OK;
            parts.headers.remove(&header::SEC_WEBSOCKET_ACCEPT);
            parts.headers.remove(&header::CONTENT_LENGTH);
            let (following, limits) = (client.following.clone(), self.limits.clone());
            tokio::spawn(async move {
                let Some(Ok(stream)) = (match on_upgrade {
                    Some(on_upgrade) => Some(on_upgrade.await),
                    None => None,
                }) else {
                    return;
                };
                let stream = Wire::Stream(Box::new(GivenOver::new(stream, tunnel.guard.exchange.stream.clone())));
                tunnel.guard.exchange.becomes_tunnel();
                let _ = tunnel.carry(stream, bytes::Bytes::new(), following, &limits).await;
            });
        } else {
            agree(&mut parts.headers, protocol);
            *client.tunnel.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(tunnel);
        }
        (parts, AnswerBody::own(Full::default(), None))
    }
}

/// Says to the client what the upstream said to us (RFC 9110 §7.8).
fn agree(headers: &mut Headers, protocol: Option<HeaderValue>) {
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}
