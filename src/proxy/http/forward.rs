//! A request's way to an upstream that answers: a waiting connection or a new one, once more where nothing can be lost, and the answer's head.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::ext::Protocol;
use tokio::time::Instant;

use super::balance::{Claim, Endpoint};
use super::body::RequestBody;
use super::connect::{ConnectError, Http1, Http2, Stream};
use super::exchange::{BodyFault, Cut, Guard};
use super::pool::For;
use super::route::Destination;
use super::{Gateway, told};
use crate::credentials::Unusable;
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

/// What an answer comes over, until it is all there.
#[derive(Debug)]
pub(super) enum Lease {
    Http1 { connection: Http1, claim: Claim, whom: For },
    Http2 { _stream: Stream, _claim: Claim },
}

impl Lease {
    pub(super) fn into_claim(self) -> Option<Claim> {
        match self {
            Self::Http1 { claim, .. } | Self::Http2 { _claim: claim, .. } => Some(claim),
        }
    }

    /// Does what can be done now to bring the answer on.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Self::Http1 { connection, .. } = self {
            let _ = connection.drive(cx);
        }
    }

    /// The answer is all there: the connection waits for the next request, if it can take one.
    pub(super) fn give_back(self) {
        if let Self::Http1 { mut connection, claim, whom } = self
            && connection.is_alive()
        {
            connection.rest();
            claim.pool.put_http1(whom, connection);
        }
    }
}

/// A connection that takes a request.
enum Line {
    Http1(Http1),
    Http2(Http2),
}

/// How sending once came out other than with an answer.
struct Unanswered {
    error: Failure,
    /// The request, where it was not sent, or can be sent again without loss.
    again: Option<Request<RequestBody>>,
}

impl Gateway {
    /// Sends a request to one of the destination's endpoints, and waits for the head of the answer.
    pub(super) async fn forward(
        &self,
        destination: &Destination,
        terms: Option<&Arc<Terms>>,
        mut request: Request<RequestBody>,
        guard: &mut Guard,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let whom = guard.client.whom();
        let deadline = Instant::now() + self.limits.connect_timeout;
        let wants_http2 = self.wants_http2(guard.exchange.version, request.headers());
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut waiting_is_good = true;
        self.budget.earn();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let claim = destination.balancer.claim(&tried, left).await.map_err(Failure::NoAddress)?;
            guard.told.target = Some(claim.address.to_string());
            let wants_http2 = wants_http2 && !claim.pool.declined_http2.load(Ordering::Relaxed);
            let waiting = waiting_is_good.then(|| waiting(&claim, &whom, terms, wants_http2)).flatten();
            let was_waiting = waiting.is_some();
            let line = match waiting {
                Some(line) => Ok(line),
                None => self.open(destination, &claim, terms, &whom, wants_http2, deadline).await,
            };
            let error = match line {
                Ok(line) => match self.send(line, request, was_waiting, guard, &claim, &whom).await {
                    Ok(answered) => {
                        claim.succeeded();
                        return Ok(answered);
                    }
                    Err(Unanswered { error, again: Some(back) }) => {
                        request = back;
                        if was_waiting {
                            // It may have ended while it waited; its endpoint is none the worse for it.
                            waiting_is_good = false;
                        } else {
                            claim.failed();
                            tried.push(claim.clone());
                        }
                        error
                    }
                    Err(Unanswered { error, .. }) => {
                        if matches!(error, Failure::Broken(_)) {
                            claim.failed();
                        }
                        return Err(error);
                    }
                },
                Err(error) => {
                    claim.failed();
                    tried.push(claim.clone());
                    error
                }
            };
            guard.told.resends += 1;
            let may_again = guard.told.resends < MAX_SENDS && Instant::now() < deadline && self.budget.spend();
            let is_another = tried.is_empty() || destination.balancer.has_other_than(&tried);
            if !may_again || !is_another {
                guard.told.resends -= 1;
                return Err(error);
            }
            tracing::debug!(listener = &*guard.client.listener, %error, "sent once more");
        }
    }

    /// Whether a request goes on as HTTP/2. What asks to be given over to another protocol does not: HTTP/2 has no `Upgrade` (RFC 9113 §8.6).
    pub(super) fn wants_http2(&self, version: Version, headers: &HeaderMap) -> bool {
        let asked = self.always_http2() || (self.is_outbound() && version == Version::HTTP_2);
        asked && !headers.contains_key(header::UPGRADE)
    }

    async fn open(
        &self,
        destination: &Destination,
        claim: &Claim,
        terms: Option<&Arc<Terms>>,
        whom: &For,
        wants_http2: bool,
        deadline: Instant,
    ) -> Result<Line, Failure> {
        // Many requests that come at once shall share one connection, not open one each.
        let _one_at_a_time = if wants_http2 { Some(claim.pool.opening.lock().await) } else { None };
        if wants_http2 && let Some(shared) = claim.pool.share_http2(whom, terms) {
            return Ok(Line::Http2(shared));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let (wire, server, speaks_http2) = self.reach(destination, claim, terms, wants_http2, left).await?;
        if speaks_http2 {
            let begun = Http2::begin(wire, server, &self.limits.http, left.max(Duration::from_secs(1))).await;
            let connection = begun.map_err(|error| ConnectError::unreachable(claim, error))?;
            claim.pool.put_http2(whom.clone(), connection.clone());
            return Ok(Line::Http2(connection));
        }
        claim.pool.declined_http2.fetch_or(wants_http2, Ordering::Relaxed);
        let begun = Http1::begin(wire, server, &self.limits.http).await;
        let connection = begun.map_err(|error| ConnectError::unreachable(claim, io::Error::other(error)))?;
        Ok(Line::Http1(connection))
    }

    async fn send(
        &self,
        line: Line,
        request: Request<RequestBody>,
        was_waiting: bool,
        guard: &Guard,
        claim: &Claim,
        whom: &For,
    ) -> Result<(Response<Incoming>, Lease), Unanswered> {
        let exchange = &guard.exchange;
        let server = match &line {
            Line::Http1(connection) => connection.server.clone(),
            Line::Http2(connection) => connection.server.clone(),
        };
        if let Some(server) = server {
            let _ = exchange.server.set(server);
            guard.client.nudge.notify_one(); // its certificate may expire before the keeper looks again
        }
        let touched = request.body().touched();
        let spare = (was_waiting && is_repeatable(&request)).then(|| copy(&request));
        let unanswered = |error: Failure, back: Option<Request<RequestBody>>, heard: bool| {
            let unharmed = !heard && !touched.load(Ordering::Relaxed) && matches!(error, Failure::Broken(_));
            let spare = || {
                let (parts, ()) = spare?.into_parts();
                let body = RequestBody::none(exchange.clone(), self.names.clone());
                Some(Request::from_parts(parts, body))
            };
            Unanswered { error, again: back.or_else(|| if unharmed { spare() } else { None }) }
        };
        match line {
            Line::Http1(mut connection) => match send_http1(&mut connection, for_http1(request), guard).await {
                Ok(answer) => Ok((answer, Lease::Http1 { connection, claim: claim.again(), whom: whom.clone() })),
                Err((error, back)) => Err(unanswered(error, back, connection.heard())),
            },
            Line::Http2(mut connection) => {
                if request.extensions().get::<Protocol>().is_some() && !connection.takes_extended_connect().await {
                    let error = Failure::Broken("it takes no extended CONNECT (RFC 8441)".into());
                    return Err(unanswered(error, None, true));
                }
                let stream = connection.stream();
                let scheme = if self.is_outbound() { "https" } else { "http" };
                let request = match for_http2(request, scheme) {
                    Ok(request) => request,
                    Err(error) => return Err(unanswered(Failure::Broken(error.to_string()), None, true)),
                };
                let sent = connection.sender.try_send_request(request);
                match until_cut(sent, guard).await {
                    Ok(Ok(answer)) => Ok((answer, Lease::Http2 { _stream: stream, _claim: claim.again() })),
                    Ok(Err(mut error)) => {
                        let back = error.take_message();
                        let error = failure(guard, &error.into_error());
                        // Without a sign of it being processed only GOAWAY and REFUSED_STREAM hand a request back: hyper does.
                        Err(unanswered(error, back, true))
                    }
                    Err(cut) => Err(unanswered(Failure::Cut(cut), None, true)),
                }
            }
        }
    }
}

/// A connection of the endpoint's that waits for a request.
fn waiting(claim: &Claim, whom: &For, terms: Option<&Arc<Terms>>, wants_http2: bool) -> Option<Line> {
    match wants_http2 {
        true => claim.pool.share_http2(whom, terms).map(Line::Http2),
        false => claim.pool.take_http1(whom, terms).map(Line::Http1),
    }
}

/// Sends on an HTTP/1.1 connection, and drives it until the head of the answer is there.
async fn send_http1(
    connection: &mut Http1,
    request: Request<RequestBody>,
    guard: &Guard,
) -> Result<Response<Incoming>, (Failure, Option<Request<RequestBody>>)> {
    let mut sent = pin!(connection.sender.try_send_request(request));
    let answered = poll_fn(|cx| {
        if let Some(cut) = guard.exchange.why_cut(cx) {
            return Poll::Ready(Err(cut));
        }
        if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        // hyper tells the sender of every end, so that what is asked after it is ready.
        let _ = connection.drive(cx);
        sent.as_mut().poll(cx).map(Ok)
    });
    match answered.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(mut error)) => {
            let back = error.take_message();
            Err((failure(guard, &error.into_error()), back))
        }
        Err(cut) => Err((Failure::Cut(cut), None)),
    }
}

async fn until_cut<T>(work: impl Future<Output = T>, guard: &Guard) -> Result<T, Cut> {
    let mut work = pin!(work);
    poll_fn(|cx| match guard.exchange.why_cut(cx) {
        Some(cut) => Poll::Ready(Err(cut)),
        None => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// What an error of hyper's means: the client's side of the body may be at fault.
fn failure(guard: &Guard, error: &hyper::Error) -> Failure {
    match guard.exchange.fault() {
        Some(fault) => Failure::Body(fault),
        None => Failure::Broken(told(error)),
    }
}

/// Whether a request whose fate is unknown may be sent again (RFC 9110 §9.2.2): it means the same twice, and no byte of its body is gone.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    );
    is_idempotent && request.body().is_end_stream() && !request.headers().contains_key(header::UPGRADE)
}

fn copy(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = Request::new(());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// In HTTP/1.1 a WebSocket is an upgrade of a GET (RFC 6455 §4.1).
fn for_http1(mut request: Request<RequestBody>) -> Request<RequestBody> {
    *request.version_mut() = Version::HTTP_11;
    if let Some(protocol) = request.extensions_mut().remove::<Protocol>() {
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
            headers.insert(header::UPGRADE, protocol);
        }
    }
    request
}

/// In HTTP/2 scheme and host stand beside the path (RFC 9113 §8.3.1), and a WebSocket has no key (RFC 8441 §5).
fn for_http2(mut request: Request<RequestBody>, scheme: &'static str) -> Result<Request<RequestBody>, http::Error> {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(header::CONNECTION);
    let authority = headers.remove(header::HOST);
    let mut uri = Uri::builder().scheme(scheme);
    if let Some(authority) = &authority {
        uri = uri.authority(authority.as_bytes());
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = uri.path_and_query(path.unwrap_or(PathAndQuery::from_static("/"))).build()?;
    if request.extensions().get::<Protocol>().is_some() {
        request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
    Ok(request)
}
