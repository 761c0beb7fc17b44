//! Sending one request on one connection: what HTTP/1.1 and HTTP/2 want of its head, the wait for the head of the answer, and what may be done
//! with a request that got none.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, Version, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use super::balance::Claim;
use super::body::RequestBody;
use super::connect::{Http2, Stream};
use super::exchange::{Cut, Guard};
use super::forward::Failure;
use super::http1::Http1;
use super::identity::joined;
use super::parts::{AnswerParts, RequestParts};
use super::pool::For;
use super::understood::Wish;
use super::{Gateway, Place, told};

/// What an answer comes over, until it is all there.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) over: Over,
    /// Of the endpoint that it comes from.
    pub(super) claim: Claim,
    pub(super) whom: For,
}

/// What carries an answer.
#[derive(Debug)]
pub(super) enum Over {
    Http1(Box<Http1>),
    Http2(Incoming, #[expect(dead_code, reason = "counts until it is dropped")] Stream),
    /// A connection that carries other bytes than HTTP's.
    Given(#[expect(dead_code, reason = "is occupied until it is dropped")] Place),
}

impl Lease {
    /// The next part of the answer's body.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match &mut self.over {
            Over::Http1(connection) => connection.poll_frame(cx),
            Over::Http2(body, _) => Pin::new(body).poll_frame(cx).map_err(|error| told(&error)),
            Over::Given(_) => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.over {
            Over::Http1(connection) => connection.has_answered(),
            Over::Http2(body, _) => body.is_end_stream(),
            Over::Given(_) => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.over {
            Over::Http1(connection) => connection.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Over::Http2(body, _) => body.size_hint(),
            Over::Given(_) => SizeHint::with_exact(0),
        }
    }

    /// The answer is all there: the connection waits for the next request, if it can take one.
    pub(super) fn give_back(self) {
        if let Over::Http1(mut connection) = self.over
            && connection.is_free()
        {
            connection.rest();
            self.claim.pool.put_http1(self.whom, connection);
        }
    }
}

/// A connection that takes a request.
pub(super) struct Line {
    pub(super) speaks: Speaks,
    /// Requests were on it before: it may have ended without our knowing.
    pub(super) is_reused: bool,
}

pub(super) enum Speaks {
    Http1(Box<Http1>),
    Http2(Http2),
}

/// A request as it goes on.
pub(super) struct Outgoing {
    pub(super) parts: RequestParts,
    /// `None` once it was sent, and where there is none.
    pub(super) body: Option<RequestBody>,
}

impl Outgoing {
    /// Whether a copy is as good as the request: it has no body, and asks for nothing but an answer.
    fn can_be_copied(&self, guard: &Guard) -> bool {
        let asks_for_more = matches!(guard.exchange.asked.wish, Wish::Upgrade(_) | Wish::WebSocket);
        self.body.as_ref().is_none_or(RequestBody::is_end_stream) && !asks_for_more
    }
}

/// A request that got no answer.
pub(super) struct Unanswered {
    pub(super) error: Failure,
    /// Whether it can be sent again without loss.
    pub(super) may_again: bool,
}

/// What we know of a request after its connection, or its stream, failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The server did nothing with it, by its own word.
    Unprocessed,
    /// The connection ended without a word on it.
    Unknown,
    /// The server had something to say, which was no answer.
    Heard,
}

impl Gateway {
    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        line: Line,
        request: &mut Outgoing,
        guard: &Guard,
    ) -> Result<(AnswerParts, Over), Unanswered> {
        let server = match &line.speaks {
            Speaks::Http1(connection) => connection.server.clone(),
            Speaks::Http2(connection) => connection.server.clone(),
        };
        if let Some(server) = server {
            guard.exchange.meet(server.clone());
            guard.client.nudge_before(server.expiry()); // the keeper may not look again so soon
        }
        let is_copy_left = request.can_be_copied(guard);
        let (error, is_unsent, fate) = match line.speaks {
            Speaks::Http1(mut connection) => match send_http1(&mut connection, request, guard).await {
                Ok(answer) => return Ok((answer, Over::Http1(connection))),
                Err(error) => (error, false, if connection.heard() { Fate::Heard } else { Fate::Unknown }),
            },
            Speaks::Http2(connection) => {
                let scheme = if self.is_outbound() { "https" } else { "http" };
                let stream = connection.stream();
                match send_http2(connection, request, is_copy_left, scheme, guard).await {
                    Ok((answer, body)) => return Ok((answer, Over::Http2(body, stream))),
                    Err(unanswered) => unanswered,
                }
            }
        };
        let is_safe = match fate {
            Fate::Unprocessed => true,
            // Without a sign either way only what means the same twice is sent twice (RFC 9110 §9.2.2).
            Fate::Unknown => line.is_reused && is_idempotent(&request.parts.method),
            Fate::Heard => false,
        };
        let is_whole = is_copy_left && !guard.exchange.is_body_asked_for();
        let may_again = is_unsent || (is_safe && is_whole && matches!(error, Failure::Broken(_)));
        Err(Unanswered { error, may_again })
    }
}

/// Sends on an HTTP/1.1 connection, and waits for the head of the answer.
async fn send_http1(connection: &mut Http1, request: &mut Outgoing, guard: &Guard) -> Result<AnswerParts, Failure> {
    for_http1(&mut request.parts);
    connection.ask(&request.parts, request.body.take());
    let answered = poll_fn(|cx| match guard.exchange.why_cut(cx) {
        Some(cut) => Poll::Ready(Err(Failure::Cut(cut))),
        None => connection.poll_answer(cx).map_err(|error| failure(guard, error)),
    });
    answered.await
}

/// Sends on an HTTP/2 connection, and waits for the head of the answer.
async fn send_http2(
    mut connection: Http2,
    request: &mut Outgoing,
    keeps_copy: bool,
    scheme: &'static str,
    guard: &Guard,
) -> Result<(AnswerParts, Incoming), (Failure, bool, Fate)> {
    let is_websocket = matches!(guard.exchange.asked.wish, Wish::WebSocket);
    if is_websocket {
        match until_cut(connection.takes_extended_connect(), guard).await {
            Ok(true) => {}
            Ok(false) => {
                return Err((Failure::NoWebSocket, false, Fate::Heard));
            }
            Err(cut) => return Err((Failure::Cut(cut), false, Fate::Heard)),
        }
    }
    let parts = if keeps_copy { copy(&request.parts) } else { std::mem::take(&mut request.parts) };
    let body = request.body.take().unwrap_or_else(|| RequestBody::none(guard.exchange.clone()));
    let sent = for_http2(parts, body, scheme);
    let sent = sent.map_err(|error| (Failure::Broken(error.to_string()), false, Fate::Heard))?;
    let sent = connection.sender.try_send_request(sent);
    match until_cut(sent, guard).await {
        Ok(Ok(answer)) => {
            let (head, body) = answer.into_parts();
            Ok((head.into(), body))
        }
        Ok(Err(mut error)) => {
            // A WebSocket has lost its key on the way.
            let unsent = error.take_message().filter(|_| !is_websocket);
            let is_unsent = unsent.is_some();
            if let Some(unsent) = unsent {
                *request = of_http2(unsent);
            }
            let error = error.into_error();
            Err((failure(guard, told(&error)), is_unsent, fate(&error)))
        }
        Err(cut) => Err((Failure::Cut(cut), false, Fate::Heard)),
    }
}

/// What an error on HTTP/2 says of its request: a stream that was refused, or that came after the last one of a connection that shall end, was
/// not looked at (RFC 9113 §8.7). hyper hands none of these back.
fn fate(error: &hyper::Error) -> Fate {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return Fate::Unknown;
    };
    let is_unprocessed = match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    };
    if is_unprocessed && error.is_remote() { Fate::Unprocessed } else { Fate::Heard }
}

async fn until_cut<T>(work: impl Future<Output = T>, guard: &Guard) -> Result<T, Cut> {
    let mut work = pin!(work);
    poll_fn(|cx| match guard.exchange.why_cut(cx) {
        Some(cut) => Poll::Ready(Err(cut)),
        None => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// What it means that there is no answer: the client's side of the body may be at fault.
fn failure(guard: &Guard, error: String) -> Failure {
    match guard.exchange.fault() {
        Some(fault) => Failure::Body(fault),
        None => Failure::Broken(error),
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// All that HTTP/2 sends of it where it asks for nothing but an answer.
fn copy(parts: &RequestParts) -> RequestParts {
    RequestParts {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: parts.headers.clone(),
        ..RequestParts::default()
    }
}

/// What came in HTTP/2 as HTTP/1.1 has it: cookies stand in one line (RFC 9113 §8.2.3), and a WebSocket is an upgrade of a GET (RFC 6455 §4.1).
fn for_http1(request: &mut RequestParts) {
    if request.version != Version::HTTP_2 {
        return;
    }
    let cookies = || request.headers.get_all(&header::COOKIE);
    if cookies().nth(1).is_some()
        && let Some(cookies) = joined(cookies(), "; ")
    {
        request.headers.insert(header::COOKIE, cookies);
    }
    if let Some(protocol) = request.protocol.take() {
        request.method = Method::GET;
        request.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(protocol) = HeaderValue::from_str(protocol.as_str()) {
            request.headers.insert(header::UPGRADE, protocol);
        }
    }
}

/// In HTTP/2 scheme and host stand beside the path (RFC 9113 §8.3.1), and a WebSocket has no key (RFC 8441 §5).
fn for_http2(
    mut parts: RequestParts,
    body: RequestBody,
    scheme: &'static str,
) -> Result<Request<RequestBody>, http::Error> {
    parts.version = Version::HTTP_2;
    let mut uri = Uri::builder().scheme(scheme);
    if let Some(authority) = parts.headers.get(&header::HOST) {
        uri = uri.authority(authority.as_bytes());
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = uri.path_and_query(path.unwrap_or(PathAndQuery::from_static("/"))).build()?;
    let is_websocket = parts.protocol.is_some();
    parts.headers.retain(|name| match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::HOST => false,
        header::SEC_WEBSOCKET_KEY => !is_websocket,
        _ => true,
    });
    Ok(parts.with_body(body))
}

/// A request that was made for HTTP/2 and never sent, as it was before: the next connection may speak HTTP/1.1.
fn of_http2(request: Request<RequestBody>) -> Outgoing {
    let (parts, body) = request.into_parts();
    let mut parts = RequestParts::from(parts);
    let uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(host) = uri.authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        parts.headers.append(header::HOST, host);
    }
    parts.uri = uri.path_and_query.map(Uri::from).unwrap_or_default();
    Outgoing { parts, body: Some(body) }
}
