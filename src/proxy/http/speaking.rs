//! hyper at work on one client's connection, in either version of HTTP.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::AnswerBody;
use super::client::Client;
use super::gate::{Gate, Protocol};
use super::gather::Gathering;
use super::leash::Leash;
use crate::config::HttpLimits;
use crate::proxy::crew::Crew;
use crate::proxy::stream::Streams;

/// What hyper may hold of a client's bytes, and of the answers to it, on an HTTP/1.1 connection, besides a head.
const HTTP1_BUFFER: usize = 256 * 1024;

/// Headers that hyper takes by itself: then their places lie on the stack, otherwise they are allocated for each head.
pub(super) const HTTP1_HEADERS: usize = 100;

/// What a stream may hold of an answer at the least: a frame's worth (RFC 9113 §4.2).
const LEAST_SEND_BUFFER: usize = 16 * 1024;

/// How often a peer of an HTTP/2 connection is asked whether it is still there, and for how long it may think.
const PING: Duration = Duration::from_secs(60);

/// What serves requests, in the words that hyper wants.
pub(super) trait Requests:
    HttpService<Incoming, ResBody = AnswerBody, Error: Into<Box<dyn Error + Send + Sync>>, Future: Send + 'static> + Unpin
{
}

impl<S> Requests for S where
    S: HttpService<Incoming, ResBody = AnswerBody, Error: Into<Box<dyn Error + Send + Sync>>, Future: Send + 'static>
        + Unpin
{
}

/// A connection in hyper's hands.
pub(super) enum Speaking<S: HttpService<Incoming>> {
    Http1(Box<http1::Connection<Gate<Leash>, S>>),
    Http2(Box<Http2<S>>),
}

/// A connection of HTTP/2, and the work on its streams.
pub(super) struct Http2<S: HttpService<Incoming>> {
    hyper: Pin<Box<http2::Connection<TokioIo<ClientWire>, S, Streams>>>,
    wire: ClientWire,
    crew: Crew,
}

type ClientWire = Gathering<Gate<Leash>>;

impl<S: Requests> Speaking<S> {
    /// Gives a connection into hyper's hands.
    pub(super) fn begin(protocol: Protocol, gate: Gate<Leash>, requests: S, limits: &HttpLimits) -> Self {
        match protocol {
            Protocol::Http1 => {
                // What the limits say of heads, and of how long they take, the gate has seen to: hyper must take all that it lets through.
                let mut builder = http1::Builder::new();
                if limits.max_headers > HTTP1_HEADERS {
                    builder.max_headers(limits.max_headers);
                }
                builder.max_buf_size(limits.max_header_bytes.saturating_add(HTTP1_BUFFER));
                builder.header_read_timeout(None);
                Self::Http1(Box::new(builder.serve_connection(gate, requests)))
            }
            Protocol::Http2 => {
                let (wire, crew) = (Gathering::new(gate), Crew::new());
                let builder = http2_builder(Streams::within(&crew), limits);
                let hyper = Box::pin(builder.serve_connection(TokioIo::new(wire.clone()), requests));
                Self::Http2(Box::new(Http2 { hyper, wire, crew }))
            }
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Http1(connection) => Pin::new(&mut **connection).poll(cx),
            Self::Http2(connection) => connection.poll(cx),
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
            Self::Http1(connection) => Pin::new(&mut **connection).graceful_shutdown(),
            Self::Http2(connection) => connection.end(),
        }
    }
}

impl<S: Requests> Http2<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Self { hyper, wire, crew } = self;
        crew.poll(cx, |cx| {
            let done = hyper.as_mut().poll(cx);
            wire.write_out(cx);
            done
        })
    }

    fn end(&mut self) {
        self.hyper.as_mut().graceful_shutdown();
        self.crew.rouse();
    }
}

/// Whether h2 ended the connection because of what it counts itself: streams given up before we saw them, frames that are nothing but work.
pub(super) fn is_flood(error: &hyper::Error) -> bool {
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
