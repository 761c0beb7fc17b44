//! Sending one request on one connection: what HTTP/1.1 and HTTP/2 want of its head, the wait for the head of the answer, and what may be done
//! with a request that got none.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::ext::Protocol;

use super::balance::Claim;
use super::body::RequestBody;
use super::connect::{Http1, Http2, Stream};
use super::exchange::{Cut, Guard};
use super::forward::Failure;
use super::identity::joined;
use super::pool::For;
use super::{Gateway, Place, told};

/// What an answer comes over, until it is all there.
#[derive(Debug)]
pub(super) enum Lease {
    Http1 {
        connection: Http1,
        claim: Claim,
        whom: For,
    },
    Http2 {
        _stream: Stream,
        _claim: Claim,
    },
    /// A connection that carries other bytes than HTTP's.
    Given {
        _claim: Claim,
        _place: Place,
    },
}

impl Lease {
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
pub(super) struct Line {
    pub(super) speaks: Speaks,
    /// Requests were on it before: it may have ended without our knowing.
    pub(super) is_reused: bool,
}

pub(super) enum Speaks {
    Http1(Http1),
    Http2(Http2),
}

/// A request that got no answer.
pub(super) struct Unanswered {
    pub(super) error: Failure,
    /// The request, where it can be sent again without loss.
    pub(super) again: Option<Request<RequestBody>>,
}

impl From<Failure> for Unanswered {
    fn from(error: Failure) -> Self {
        Self { error, again: None }
    }
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
        request: Request<RequestBody>,
        (claim, whom): (&Claim, &For),
        guard: &Guard,
    ) -> Result<(Response<Incoming>, Lease), Unanswered> {
        let server = match &line.speaks {
            Speaks::Http1(connection) => connection.server.clone(),
            Speaks::Http2(connection) => connection.server.clone(),
        };
        if let Some(server) = server {
            guard.exchange.meet(server.clone());
            guard.client.nudge_before(server.expiry()); // the keeper may not look again so soon
        }
        let touched = request.body().touched();
        let may_be_lost = line.is_reused || matches!(line.speaks, Speaks::Http2(_));
        let spare = (may_be_lost && can_be_copied(&request)).then(|| copy(&request));
        let (error, unsent, fate) = match line.speaks {
            Speaks::Http1(mut connection) => match send_http1(&mut connection, for_http1(request), guard).await {
                Ok(answer) => {
                    return Ok((answer, Lease::Http1 { connection, claim: claim.again(), whom: whom.clone() }));
                }
                Err((error, unsent)) => (error, unsent, if connection.heard() { Fate::Heard } else { Fate::Unknown }),
            },
            Speaks::Http2(connection) => {
                let scheme = if self.is_outbound() { "https" } else { "http" };
                let stream = connection.stream();
                match send_http2(connection, request, scheme, guard).await {
                    Ok(answer) => return Ok((answer, Lease::Http2 { _stream: stream, _claim: claim.again() })),
                    Err(unanswered) => unanswered,
                }
            }
        };
        let may_again = match fate {
            Fate::Unprocessed => true,
            // Without a sign either way only what means the same twice is sent twice (RFC 9110 §9.2.2).
            Fate::Unknown => line.is_reused && spare.as_ref().is_some_and(|spare| is_idempotent(spare.method())),
            Fate::Heard => false,
        };
        let is_whole = !touched.load(Ordering::Relaxed);
        let may_again = may_again && is_whole && matches!(error, Failure::Broken(_));
        let spare = spare
            .filter(|_| may_again)
            .map(|spare| spare.map(|()| RequestBody::none(guard.exchange.clone(), self.names.clone())));
        Err(Unanswered { error, again: unsent.or(spare) })
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
            let unsent = error.take_message();
            Err((failure(guard, &error.into_error()), unsent))
        }
        Err(cut) => Err((Failure::Cut(cut), None)),
    }
}

/// Sends on an HTTP/2 connection, and waits for the head of the answer.
async fn send_http2(
    mut connection: Http2,
    request: Request<RequestBody>,
    scheme: &'static str,
    guard: &Guard,
) -> Result<Response<Incoming>, (Failure, Option<Request<RequestBody>>, Fate)> {
    if request.extensions().get::<Protocol>().is_some() {
        match until_cut(connection.takes_extended_connect(), guard).await {
            Ok(true) => {}
            Ok(false) => {
                return Err((Failure::NoWebSocket, None, Fate::Heard));
            }
            Err(cut) => return Err((Failure::Cut(cut), None, Fate::Heard)),
        }
    }
    let request = for_http2(request, scheme);
    let request = request.map_err(|error| (Failure::Broken(error.to_string()), None, Fate::Heard))?;
    let sent = connection.sender.try_send_request(request);
    match until_cut(sent, guard).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(mut error)) => {
            // A WebSocket has lost its key on the way.
            let unsent = error.take_message().filter(|request| request.extensions().get::<Protocol>().is_none());
            let unsent = unsent.map(of_http2);
            let error = error.into_error();
            Err((failure(guard, &error), unsent, fate(&error)))
        }
        Err(cut) => Err((Failure::Cut(cut), None, Fate::Heard)),
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

/// What an error of hyper's means: the client's side of the body may be at fault.
fn failure(guard: &Guard, error: &hyper::Error) -> Failure {
    match guard.exchange.fault() {
        Some(fault) => Failure::Body(fault),
        None => Failure::Broken(told(error)),
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// Whether a copy is as good as the request: it has no body, and asks for nothing but an answer.
fn can_be_copied(request: &Request<RequestBody>) -> bool {
    let asks_for_more =
        request.headers().contains_key(header::UPGRADE) || request.extensions().get::<Protocol>().is_some();
    request.body().is_end_stream() && !asks_for_more
}

fn copy(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = Request::new(());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// In HTTP/1.1 a body of unknown length is chunked (RFC 9112 §6.3), cookies stand in one line (RFC 9113 §8.2.3), and a WebSocket is an upgrade
/// of a GET (RFC 6455 §4.1).
fn for_http1(mut request: Request<RequestBody>) -> Request<RequestBody> {
    *request.version_mut() = Version::HTTP_11;
    // hyper takes GET and HEAD to have no body where no header speaks of one.
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let cookies = request.headers().get_all(header::COOKIE);
    if cookies.iter().nth(1).is_some()
        && let Some(cookies) = joined(cookies, "; ")
    {
        request.headers_mut().insert(header::COOKIE, cookies);
    }
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
    headers.remove(header::TRANSFER_ENCODING);
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

/// A request that was made for HTTP/2 and never sent, as it was before: the next connection may speak HTTP/1.1.
fn of_http2(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    if let Some(host) = uri.authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    *request.uri_mut() = uri.path_and_query.map(Uri::from).unwrap_or_default();
    request
}
