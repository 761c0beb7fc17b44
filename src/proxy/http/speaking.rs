//! One client's connection at work, in either version of HTTP.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::{AnswerBody, Received};
use super::client::Client;
use super::gather::Gathering;
use super::http1::{ClientEnd, Limits, Protocol};
use super::leash::Leash;
use super::parts::{AnswerParts, RequestParts};
use super::told;
use crate::config::HttpLimits;
use crate::proxy::crew::Crew;
use crate::proxy::error::ConnectionError;
use crate::proxy::stream::Streams;

/// What a stream may hold of an answer at the least: a frame's worth (RFC 9113 §4.2).
const LEAST_SEND_BUFFER: usize = 16 * 1024;

/// How often a peer of an HTTP/2 connection is asked whether it is still there, and for how long it may think.
const PING: Duration = Duration::from_secs(60);

type Serving = Pin<Box<dyn Future<Output = Result<(), ConnectionError>> + Send>>;

/// A connection that is being served.
pub(super) enum Speaking {
    Http1(Serving, Arc<ClientEnd>),
    Http2(Http2),
}

/// A connection of HTTP/2, and the work on its streams.
pub(super) struct Http2 {
    hyper: Pin<Box<dyn Hyper>>,
    wire: ClientWire,
    crew: Crew,
}

/// What HTTP/2 speaks on.
type ClientWire = Gathering<Leash>;

/// hyper's connection, whatever serves its requests.
trait Hyper: Future<Output = hyper::Result<()>> + Send {
    /// Lets no new stream in (RFC 9113 §6.8).
    fn end(self: Pin<&mut Self>);
}

impl<S> Hyper for http2::Connection<TokioIo<ClientWire>, S, Streams>
where
    S: hyper::service::HttpService<Incoming, ResBody = AnswerBody, Error = Infallible, Future: Send + 'static> + Send,
{
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Speaking {
    /// Serves the requests of `wire`, which begins with `first`.
    pub(super) fn begin<F>(
        (protocol, first): (Protocol, Bytes),
        wire: Leash,
        client: &Arc<Client>,
        answer: impl Fn(RequestParts, Received) -> F + Send + Sync + 'static,
        limits: &HttpLimits,
    ) -> Self
    where
        F: Future<Output = (AnswerParts, AnswerBody)> + Send + 'static,
    {
        let HttpLimits { max_header_bytes, max_headers, .. } = *limits;
        match protocol {
            Protocol::Http1 => {
                let end = ClientEnd::new(wire, first, Limits { max_header_bytes, max_headers });
                let (clock, client) = (client.head.clone(), client.clone());
                let is_last = move || client.answer_is_last();
                Self::Http1(Box::pin(end.clone().serve(clock, answer, is_last)), end)
            }
            Protocol::Http2 => {
                let answer = Arc::new(answer);
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    let answered = answer(parts.into(), Received::Http2(body));
                    // Boxed: hyper and the crew move it about, and it is large.
                    Box::pin(async move {
                        let (parts, body) = answered.await;
                        Ok::<_, Infallible>(parts.with_body(body))
                    })
                });
                let (wire, crew) = (Gathering::new(wire.rewound(first)), Crew::new());
                let builder = http2_builder(Streams::within(&crew), limits);
                let hyper = Box::pin(builder.serve_connection(TokioIo::new(wire.clone()), service));
                Self::Http2(Http2 { hyper, wire, crew })
            }
        }
    }

    /// Serves as far as can be done now.
    ///
    /// # Errors
    /// When it ended other than cleanly.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        match self {
            Self::Http1(serving, _) => serving.as_mut().poll(cx),
            Self::Http2(connection) => connection.poll(cx).map_err(|error| match is_flood(&error) {
                true => ConnectionError::Flooded,
                false => ConnectionError::Http(told(&error)),
            }),
        }
    }

    /// Lets go of the connection, also where somebody still reads the body of a request.
    pub(super) fn hang_up(self) {
        if let Self::Http1(serving, end) = self {
            drop(serving);
            drop(end.remains());
        }
    }

    /// Lets nothing new in: HTTP/2 says so at once (RFC 9113 §6.8), HTTP/1.1 with its next answer.
    pub(super) fn call_last(&mut self, client: &Client) {
        client.call_last();
        if let Self::Http2(connection) = self {
            connection.end();
        }
    }

    /// Ends a connection on which nothing is under way.
    pub(super) fn end_idle(&mut self) {
        match self {
            Self::Http1(_, end) => end.end_idle(),
            Self::Http2(connection) => connection.end(),
        }
    }
}

impl Http2 {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Self { hyper, wire, crew } = self;
        crew.poll(cx, |cx| {
            let done = hyper.as_mut().poll(cx);
            wire.write_out(cx);
            done
        })
    }

    fn end(&mut self) {
        self.hyper.as_mut().end();
        self.crew.rouse();
    }
}

/// Whether h2 ended the connection because of what it counts itself: streams given up before we saw them, frames that are nothing but work.
fn is_flood(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// What each stream may hold of an answer that the client does not take: all of them together hold no more than their connection may. hyper
/// has one size for all streams, and does not lend what others leave over.
fn send_buffer(limits: &HttpLimits) -> usize {
    let share = limits.connection_buffer / limits.max_streams.max(1);
    limits.stream_buffer.min(share.max(LEAST_SEND_BUFFER))
}

fn http2_builder(streams: Streams, limits: &HttpLimits) -> http2::Builder<Streams> {
    let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(small(limits.stream_buffer))
        .initial_connection_window_size(small(limits.connection_buffer))
        .max_send_buf_size(send_buffer(limits))
        .max_header_list_size(small(limits.max_header_bytes))
        .max_concurrent_streams(small(limits.max_streams))
        .max_pending_accept_reset_streams(limits.max_resets)
        .enable_connect_protocol();
    builder
}
