//! Upstream connections: made, proven where they are mutual TLS, and driven by whoever sends requests on them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};

use super::Place;
use super::balance::Endpoint;
use super::body::RequestBody;
use super::gather::Gathering;
use super::server::Server;
use crate::config::HttpLimits;
use crate::proxy::crew::{Crew, Recruiting};
use crate::proxy::wire::Wire;
use crate::tls::{HandshakeError, Terms};

/// How often a peer of an HTTP/2 connection with requests under way is asked whether it is still there, and for how long it may think.
const PING: Duration = Duration::from_secs(30);

/// The largest window there is (RFC 9113 §6.9.1).
const MAX_WINDOW: usize = (1 << 31) - 1;

/// How long a WebSocket waits for the settings of a new HTTP/2 connection, and how often it looks for them.
const SETTINGS: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(2);

/// Why an upstream gave no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Nobody answers there.
    #[error("{address} cannot be reached: {error}")]
    Unreachable { address: String, error: io::Error },
    /// It is not whom we expect, or does not want us.
    #[error("no mutual TLS with {address}: {error}")]
    Handshake { address: String, error: HandshakeError },
}

impl ConnectError {
    pub(super) fn unreachable(endpoint: &Endpoint, error: io::Error) -> Self {
        Self::Unreachable { address: endpoint.address.to_string(), error }
    }

    /// Whether it was a matter of time.
    pub(super) fn is_timeout(&self) -> bool {
        match self {
            Self::Unreachable { error, .. } => error.kind() == io::ErrorKind::TimedOut,
            Self::Handshake { error, .. } => matches!(error, HandshakeError::Timeout),
        }
    }
}

/// Whether the server may be sent a further request on these terms. Plaintext has nobody to prove; mutual TLS without terms proves nobody.
pub(super) fn is_trusted(server: Option<&Arc<Server>>, terms: Option<&Arc<Terms>>) -> bool {
    match (server, terms) {
        (Some(server), Some(terms)) => server.takes_requests(terms, Instant::now()),
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// An HTTP/2 connection, shared by many requests and driven by a task of its own.
#[derive(Clone)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) server: Option<Arc<Server>>,
    use_of: Arc<Use>,
}

/// How much an HTTP/2 connection is used.
struct Use {
    streams: AtomicUsize,
    /// How many streams we open at a time.
    max_streams: usize,
    /// How many there may be, as the peer had its say when it was last heard. Beside the driver, which is locked while it is at work.
    room: AtomicUsize,
    /// What knows the peer's settings, until it is over: requests that wait in it end with it. It is locked only for as long as it is asked
    /// something.
    driver: Mutex<Option<Driver>>,
    began: Instant,
    /// Milliseconds after it began.
    waiting_since: AtomicUsize,
}

type Driver = http2::Connection<TokioIo<Gathering<Wire>>, RequestBody, Tasks>;

/// Runs what hyper makes of an HTTP/2 connection to a target, in one task: first what speaks on its wire, then what waits for each answer.
#[derive(Clone)]
struct Tasks {
    crew: Recruiting,
    wire: Arc<Mutex<Option<Gathering<Wire>>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let Some(wire) = self.wire.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return self.crew.recruit(future);
        };
        let mut speaking = Box::pin(future);
        self.crew.recruit(poll_fn(move |cx| {
            let done = speaking.as_mut().poll(cx);
            wire.write_out(cx);
            done
        }));
    }
}

impl Use {
    fn driver(&self) -> MutexGuard<'_, Option<Driver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut driver = self.driver();
        if let Some(at_work) = driver.as_mut()
            && Pin::new(&mut *at_work).poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let over = driver.take();
        drop(driver);
        drop(over); // unlocked: what it drops may ask us
        Poll::Ready(())
    }

    /// Takes note of how many requests it can take at once; none once it is over.
    fn note_room(&self) {
        let room = self.driver().as_ref().map_or(0, Driver::current_max_send_streams);
        self.room.store(room.min(self.max_streams), Ordering::Relaxed);
    }
}

/// One request's place on an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Stream(Http2);

impl Drop for Stream {
    fn drop(&mut self) {
        let usage = &self.0.use_of;
        let since = usize::try_from(usage.began.elapsed().as_millis()).unwrap_or(usize::MAX);
        usage.waiting_since.store(since, Ordering::Relaxed);
        usage.streams.fetch_sub(1, Ordering::Release); // last: who sees it idle sees since when
    }
}

impl Http2 {
    /// A connection on a fresh wire.
    pub(super) async fn begin(
        wire: Wire,
        server: Option<Arc<Server>>,
        limits: &HttpLimits,
        place: Place,
    ) -> hyper::Result<Self> {
        let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
        let (max_streams, window) = room(limits, server.is_some());
        let (wire, mut crew) = (Gathering::new(wire), Crew::new());
        let tasks = Tasks { crew: crew.recruiting(), wire: Arc::new(Mutex::new(Some(wire.clone()))) };
        let mut builder = http2::Builder::new(tasks);
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .initial_stream_window_size(small(limits.stream_buffer))
            .initial_connection_window_size(small(window))
            .max_send_buf_size(limits.stream_buffer)
            .max_header_list_size(small(limits.max_header_bytes));
        // It says its part, and does not wait for the peer's.
        let (sender, driver) = builder.handshake(TokioIo::new(wire)).await?;
        let use_of = Arc::new(Use {
            streams: AtomicUsize::new(0),
            max_streams,
            room: AtomicUsize::new(driver.current_max_send_streams().min(max_streams)),
            driver: Mutex::new(Some(driver)),
            began: Instant::now(),
            waiting_since: AtomicUsize::new(0),
        });
        let driven = use_of.clone();
        tokio::spawn(async move {
            poll_fn(|cx| {
                let done = crew.poll(cx, |cx| driven.drive(cx));
                driven.note_room(); // the peer's word on it comes by one of the crew
                done
            })
            .await;
            drop(place);
            // It takes no more requests; those that are on it go on.
            poll_fn(|cx| match crew.poll(cx, |_| Poll::<()>::Pending) {
                Poll::Pending if !crew.is_alone() => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
        });
        Ok(Self { sender, server, use_of })
    }

    /// A place for one request.
    pub(super) fn stream(&self) -> Stream {
        self.use_of.streams.fetch_add(1, Ordering::Relaxed);
        Stream(self.clone())
    }

    /// Whether the peer says that it takes WebSockets (RFC 8441 §3). A new connection may still wait for its word, and nobody tells when that
    /// comes.
    pub(super) async fn takes_extended_connect(&self) -> bool {
        while !self.use_of.driver().as_ref().is_some_and(Driver::is_extended_connect_protocol_enabled) {
            if self.is_over() || self.use_of.began.elapsed() > SETTINGS {
                return false;
            }
            sleep(GLANCE).await;
        }
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn takes_requests(&self, terms: Option<&Arc<Terms>>) -> bool {
        let has_room = self.use_of.streams.load(Ordering::Relaxed) < self.use_of.room.load(Ordering::Relaxed);
        is_trusted(self.server.as_ref(), terms) && has_room && self.sender.is_ready()
    }

    /// How long it has had no request; `None` where it has one.
    pub(super) fn idle(&self) -> Option<Duration> {
        if self.use_of.streams.load(Ordering::Acquire) > 0 {
            return None;
        }
        let since = Duration::from_millis(self.use_of.waiting_since.load(Ordering::Relaxed) as u64);
        Some(self.use_of.began.elapsed().saturating_sub(since))
    }
}

/// How many streams a connection may have of ours, and what the peer may send on all of them before it is taken.
///
/// Towards a proven server the requests of all clients share one, and a client that does not read may stop its own streams alone: the window holds
/// what every stream may hold, so that none can use it up for the others. (To keep a window as large as `connection_buffer` for all, and look which
/// streams stall, would only keep new requests away, and not help those that are there.) An inbound caller has connections of its own, and
/// stops itself.
fn room(limits: &HttpLimits, is_shared: bool) -> (usize, usize) {
    if !is_shared {
        return (limits.max_streams, limits.connection_buffer);
    }
    let max_streams = limits.max_streams.min(MAX_WINDOW / limits.stream_buffer.max(1)).max(1);
    (max_streams, max_streams.saturating_mul(limits.stream_buffer).max(limits.connection_buffer).min(MAX_WINDOW))
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").field("server", &self.server).finish_non_exhaustive()
    }
}
