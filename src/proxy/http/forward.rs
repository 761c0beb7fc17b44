//! A request's way to an upstream that answers: a waiting connection or a new one, once more where nothing can be lost, and the answer's head.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Version;
use tokio::time::{Instant, timeout_at};

use super::balance::{Claim, Endpoint};
use super::connect::{ConnectError, Http2};
use super::exchange::{BodyFault, Cut, Exchange, Guard};
use super::http1::Http1;
use super::parts::AnswerParts;
use super::pool::For;
use super::route::Destination;
use super::send::{Lease, Line, Outgoing, Speaks, Unanswered};
use super::understood::Wish;
use super::{Gateway, Place};
use crate::credentials::Unusable;
use crate::proxy::dial::share;
use crate::proxy::listen::is_about_descriptors;
use crate::proxy::socket::Socket;
use crate::tls::Terms;

/// How often one request is sent at most.
const MAX_SENDS: usize = 4;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// We have nothing to present.
    #[error(transparent)]
    Identity(#[from] Unusable),
    /// No target has an address.
    #[error("no target can be reached: {0}")]
    NoAddress(#[source] io::Error),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It broke before the head of the answer was whole.
    #[error("the upstream broke off before it answered: {0}")]
    Broken(String),
    /// It does not take what it was asked for, which is no fault of its own.
    #[error("the upstream takes no WebSocket over HTTP/2 (RFC 8441)")]
    NoWebSocket,
    /// There may be no further connection.
    #[error("as many connections to targets as `max_connections` allows are open, and all are in use")]
    Full,
    /// The client's body is no good.
    #[error("the body of the request {}", match .0 {
        BodyFault::TooLarge => "is longer than `max_body`",
        BodyFault::Broken => "broke off",
    })]
    Body(BodyFault),
    /// It was cut short.
    #[error("{0}")]
    Cut(Cut),
}

impl Failure {
    /// Whether it tells against the endpoint.
    fn is_of_endpoint(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::Cut(Cut::UpstreamTimeout) => true,
            Self::Identity(_) | Self::NoAddress(_) | Self::NoWebSocket | Self::Full | Self::Body(_) | Self::Cut(_) => {
                false
            }
        }
    }
}

/// The way of one request to an endpoint that takes it, of those of its destination.
pub(super) struct Search<'a> {
    destination: &'a Destination,
    terms: Option<&'a Arc<Terms>>,
    /// By when there must be a connection.
    deadline: Instant,
    tried: Vec<Arc<Endpoint>>,
}

impl<'a> Search<'a> {
    /// The way of a request that began at `began`.
    pub(super) fn new(
        destination: &'a Destination,
        terms: Option<&'a Arc<Terms>>,
        gateway: &Gateway,
        began: Instant,
    ) -> Self {
        let deadline = began + gateway.limits.connect_timeout;
        Self { destination, terms, deadline, tried: Vec::new() }
    }

    /// Claims the next endpoint to try, and says until when: each has its share of what is left of the time, so that one that swallows packets
    /// does not use it up for the others.
    pub(super) async fn next(&self, guard: &mut Guard) -> Result<(Claim, Instant), Failure> {
        let balancer = &self.destination.balancer;
        let (claim, others) = balancer.claim(&self.tried, self.deadline).await.map_err(Failure::NoAddress)?;
        guard.told.target = Some(Arc::clone(&claim));
        let until = if others == 0 { self.deadline } else { Instant::now() + share(self.deadline, others + 1) };
        Ok((claim, until))
    }

    /// Notes what came of trying an endpoint.
    pub(super) fn failed(&mut self, claim: &Claim, error: &Failure) {
        if error.is_of_endpoint() {
            claim.failed();
        }
        self.tried.push(Arc::clone(claim));
    }

    /// Whether to try once more: there is somebody to try, time, and a budget. Notes it where there is.
    pub(super) fn goes_on(&self, gateway: &Gateway, guard: &mut Guard, error: &Failure) -> bool {
        let goes_on = guard.told.resends + 1 < MAX_SENDS
            && Instant::now() < self.deadline
            && (self.tried.is_empty() || self.destination.balancer.has_other_than(&self.tried))
            && gateway.budget.spend();
        if goes_on {
            guard.told.resends += 1;
            tracing::debug!(listener = &*guard.client.listener, %error, "sent once more");
        }
        goes_on
    }
}

impl Gateway {
    /// Sends a request to one of the destination's endpoints, and waits for the head of the answer.
    pub(super) async fn forward(
        &self,
        destination: &Destination,
        terms: Option<&Arc<Terms>>,
        request: &mut Outgoing,
        guard: &mut Guard,
    ) -> Result<(AnswerParts, Lease), Failure> {
        let whom = guard.client.whom();
        let wants_http2 = self.wants_http2(&guard.exchange);
        let mut search = Search::new(destination, terms, self, guard.exchange.began);
        let mut may_reuse = true;
        self.budget.earn();
        loop {
            let (claim, until) = search.next(guard).await?;
            let line = self.line(&search, (&claim, &whom), (wants_http2, may_reuse), until).await;
            let is_reused = line.as_ref().is_ok_and(|line| line.is_reused);
            let sent = match line {
                Ok(line) => self.send(line, request, guard).await,
                // No target can help it that we have nothing to present, or no room.
                Err(error @ (Failure::Identity(_) | Failure::Full)) => Err(Unanswered { error, may_again: false }),
                Err(error) => Err(Unanswered { error, may_again: true }),
            };
            let Unanswered { error, may_again } = match sent {
                Ok((answer, over)) => {
                    claim.succeeded();
                    return Ok((answer, Lease { over, claim, whom }));
                }
                Err(unanswered) => unanswered,
            };
            if is_reused && !matches!(error, Failure::Cut(_)) {
                // It may have ended while it waited; its endpoint is none the worse for it, and has its time to connect.
                may_reuse = false;
                search.deadline = Instant::now() + self.limits.connect_timeout;
            } else {
                search.failed(&claim, &error);
            }
            if !may_again || !search.goes_on(self, guard, &error) {
                return Err(error);
            }
        }
    }

    /// Whether a request goes on as HTTP/2. What asks to be given over to another protocol does not: HTTP/2 has no `Upgrade` (RFC 9113 §8.6).
    pub(super) fn wants_http2(&self, exchange: &Exchange) -> bool {
        let asked = self.prefers_http2 || (self.is_outbound() && exchange.version == Version::HTTP_2);
        asked && !matches!(exchange.asked.wish, Wish::Upgrade(_))
    }

    /// A connection to an endpoint: one that waits, where that is good enough, or a new one.
    async fn line(
        &self,
        search: &Search<'_>,
        to: (&Claim, &For),
        (wants_http2, may_reuse): (bool, bool),
        until: Instant,
    ) -> Result<Line, Failure> {
        let (claim, whom) = to;
        let still_wants_http2 = || wants_http2 && !claim.pool.declined_http2.load(Ordering::Relaxed);
        if may_reuse && let Some(line) = waiting(to, search.terms, still_wants_http2()) {
            return Ok(line);
        }
        // Many requests that come at once share one connection of HTTP/2, not open one each; or learn together that there is none.
        let opening = if still_wants_http2() {
            let opening = timeout_at(until, claim.pool.opening.lock()).await;
            Some(opening.map_err(|_| ConnectError::unreachable(claim, io::ErrorKind::TimedOut.into()))?)
        } else {
            None
        };
        if opening.is_some()
            && let Some(line) = waiting(to, search.terms, still_wants_http2())
        {
            return Ok(line);
        }
        let wants_http2 = still_wants_http2();
        let _opening = opening.filter(|_| wants_http2);
        let place = self.place(until).await?;
        let reached = self.reach(search.destination, claim, search.terms, wants_http2, until);
        let (wire, server, speaks_http2) = reached.await?;
        let fresh = |speaks: Speaks| Line { speaks, is_reused: false };
        if speaks_http2 {
            let begun = Http2::begin(wire, server, &self.limits.http, place).await;
            let connection = begun.map_err(|error| ConnectError::unreachable(claim, io::Error::other(error)))?;
            claim.pool.put_http2(whom.clone(), connection.clone());
            return Ok(fresh(Speaks::Http2(connection)));
        }
        claim.pool.declined_http2.fetch_or(wants_http2, Ordering::Relaxed);
        Ok(fresh(Speaks::Http1(Http1::new(wire, server, &self.limits.http, place))))
    }

    /// A place for one more connection to a target. Where all are taken, an idle connection gives its own up.
    pub(super) async fn place(&self, until: Instant) -> Result<Place, Failure> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        if !self.evict() {
            return Err(Failure::Full);
        }
        // One of HTTP/2 takes a moment to end.
        match timeout_at(until, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Failure::Full),
        }
    }

    /// Closes a connection to a target that has no request; tells whether there was one.
    pub(in crate::proxy) fn evict(&self) -> bool {
        let destinations = self.routes.known();
        let mut endpoints = destinations.iter().flat_map(|destination| destination.balancer.known());
        endpoints.any(|endpoint| endpoint.pool.evict())
    }

    /// Dials a claimed endpoint. Where the system has no descriptor left, an idle connection gives its own up.
    pub(super) async fn dial(
        &self,
        destination: &Destination,
        claim: &Claim,
        until: Instant,
    ) -> Result<Socket, Failure> {
        let mut dialled = destination.balancer.dial(claim, until).await;
        if dialled.as_ref().is_err_and(is_about_descriptors) && self.evict() {
            dialled = destination.balancer.dial(claim, until).await;
        }
        dialled.map_err(|error| ConnectError::unreachable(claim, error).into())
    }
}

/// A connection of the endpoint's that waits for a request.
fn waiting((claim, whom): (&Claim, &For), terms: Option<&Arc<Terms>>, wants_http2: bool) -> Option<Line> {
    let speaks = match wants_http2 {
        true => claim.pool.share_http2(whom, terms).map(Speaks::Http2),
        false => claim.pool.take_http1(whom, terms).map(Speaks::Http1),
    };
    speaks.map(|speaks| Line { speaks, is_reused: true })
}
