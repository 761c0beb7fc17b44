//! One client's connection from its first request to its last: requests are served while the connection stands, its clocks run, and its end is
//! told to the client as its protocol has it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, StatusCode};
use humantime::format_duration;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Answer, Class};
use super::body::AnswerBody;
use super::client::{Client, Peer};
use super::gate::{Fault, Gate, Limits as GateLimits, Parts as GateParts, Protocol};
use super::leash::Leash;
use super::{Gateway, access, request, told};
use crate::config::HttpLimits;
use crate::proxy::Connection;
use crate::proxy::error::ConnectionError;
use crate::proxy::live::{Closing, LONGEST_SLEEP, Orders, Standing};
use crate::proxy::service::{Service, Way};
use crate::proxy::wire::Wire;

/// How long an HTTP/1.1 connection that shall end waits for one more request, whose answer says so: a request that is on its way when a
/// connection without one is closed would be lost.
const LAST_CALL: Duration = Duration::from_secs(1);

/// For how long, and for how many bytes, a client that was told why its request is no good may go on talking: a close on unread bytes would be a
/// reset, and a reset can overtake the last that we said.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 256 * 1024;

/// For how long a connection that was ended may take no byte of what is still to be said to it, before it is cut.
const ENDING: Duration = Duration::from_secs(5);

/// How often a peer of an HTTP/2 connection is asked whether it is still there, and for how long it may think.
const PING: Duration = Duration::from_secs(60);

/// Serves requests on one connection.
///
/// # Errors
/// Why it ended other than cleanly.
pub(in crate::proxy) async fn serve(
    service: &Arc<Service>,
    wire: Wire,
    caller: Option<Standing>,
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    let Way::Requests(gateway) = &service.way else { return Ok(()) };
    let limits = &gateway.limits;
    let (leash, state) = Leash::new(wire);
    let HttpLimits { max_header_bytes, max_headers, header_timeout, .. } = limits.http;
    let sniffed = Box::pin(timeout(header_timeout, Gate::sniff(leash, GateLimits { max_header_bytes, max_headers })));
    let sniffed = connection.following.unless_forced(async { Ok::<_, ConnectionError>(sniffed.await) }).await?;
    // Whoever says nothing, or leaves before it has, asks for nothing.
    let Ok(Ok(Some((protocol, gate)))) = sniffed else { return Err(ConnectionError::Probe) };
    let peer = caller.as_ref().map(|caller| Peer::new(caller, &gateway.names, &gateway.http.identity_headers));
    let client = Client::new(connection, service, gateway, peer, (gate.watch(), state));
    let keeper = Keeper {
        client: Arc::new(client),
        gateway: gateway.clone(),
        caller,
        closing: Closing::not_yet(),
        ending: None,
    };
    keeper.keep(protocol, gate, connection).await
}

/// Keeps one connection.
struct Keeper {
    client: Arc<Client>,
    gateway: Arc<Gateway>,
    caller: Option<Standing>,
    closing: Closing,
    /// Since when a connection without a request is being ended and the client takes no byte, and how many it had taken then.
    ending: Option<(Instant, u64)>,
}

/// What hyper reads from and writes to.
type ClientStream = TokioIo<Gate<Leash>>;

/// hyper at work on a connection.
enum Speaking<S: HttpService<Incoming>> {
    Http1(Box<http1::Connection<ClientStream, S>>),
    Http2(Pin<Box<http2::Connection<ClientStream, S, TokioExecutor>>>),
}

impl Keeper {
    async fn keep(
        mut self,
        protocol: Protocol,
        gate: Gate<Leash>,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let requests = {
            let (client, gateway) = (self.client.clone(), self.gateway.clone());
            service_fn(move |request: Request<Incoming>| request::serve(client.clone(), gateway.clone(), request))
        };
        let stream = TokioIo::new(gate);
        let mut speaking = match protocol {
            Protocol::Http1 => {
                // What the limits say of heads the gate has seen to.
                let mut builder = http1::Builder::new();
                builder.max_headers(self.gateway.limits.http.max_headers.saturating_add(1));
                Speaking::Http1(Box::new(builder.serve_connection(stream, requests)))
            }
            Protocol::Http2 => {
                let connection = http2_builder(&self.gateway.limits.http).serve_connection(stream, requests);
                Speaking::Http2(Box::pin(connection))
            }
        };
        let end = self.run(&mut speaking).await;
        let client = self.client.clone();
        let end = match (end, speaking) {
            (Err(error), _) => {
                client.leash.cut();
                Err(error)
            }
            (Ok(()), Speaking::Http1(hyper)) => self.part(hyper.into_parts().io.into_inner(), connection).await,
            (Ok(()), Speaking::Http2(_)) => Ok(()),
        };
        let (read, written) = (client.watch.read(), client.watch.written());
        connection.record.requests(client.requests());
        connection.record.moved(if client.peer.is_some() { (read, written) } else { (written, read) });
        end
    }

    /// Runs until hyper is done, or the connection may not go on.
    async fn run<S>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError>
    where
        S: HttpService<Incoming, ResBody = AnswerBody> + Unpin,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        let mut following = self.client.following.clone();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                orders = following.changed() => match orders {
                    None | Some(Orders { forced: true, .. }) => return Err(ConnectionError::Forced),
                    Some(orders) => self.obey(&orders, speaking)?,
                },
                () = self.client.nudge.notified() => {
                    if self.client.answer_is_last(&self.gateway.limits.http) && !self.client.is_last_call() {
                        speaking.call_last(&self.client);
                    }
                }
                () = sleep_until(wake) => self.look_at_clocks(speaking)?,
                done = poll_fn(|cx| speaking.poll(cx)) => return self.over(done),
            }
            if self.client.is_flooded() {
                return Err(ConnectionError::Flooded);
            }
        }
    }

    /// What hyper's end means. A fault of the client's is told of later, with an answer to it.
    fn over(&self, done: hyper::Result<()>) -> Result<(), ConnectionError> {
        match done {
            Ok(()) => Ok(()),
            Err(_) if self.client.watch.fault().is_some() => Ok(()),
            Err(error) if is_flood(&error) => Err(ConnectionError::Flooded),
            Err(error) => Err(ConnectionError::Http(told(&error))),
        }
    }

    /// New orders: what let the peer in is looked at again, and so is every request under way.
    fn obey<S>(&mut self, orders: &Orders, speaking: &mut Speaking<S>) -> Result<(), ConnectionError>
    where
        S: HttpService<Incoming, ResBody = AnswerBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        if orders.draining {
            speaking.call_last(&self.client);
        }
        let grace = self.gateway.limits.close_grace;
        if let Some(caller) = &mut self.caller
            && let Some(examined) = caller.review(orders.terms.clone(), &[])
        {
            self.take_in(examined, speaking)?;
        }
        if grace.is_zero() {
            self.review_requests();
        }
        Ok(())
    }

    /// A peer that is refused gets no further request through, and is cut after its grace.
    fn take_in<S>(
        &mut self,
        examined: Result<(), Box<crate::tls::Refusal>>,
        speaking: &mut Speaking<S>,
    ) -> Result<(), ConnectionError>
    where
        S: HttpService<Incoming, ResBody = AnswerBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        if examined.is_err() {
            speaking.call_last(&self.client);
        }
        self.closing.examined(examined, self.gateway.limits.close_grace)
    }

    /// Requests under way that would now be refused, or whose server would be, are cut.
    fn review_requests(&self) {
        let orders = self.client.following.now().clone();
        let terms = orders.terms.as_ref().map(|terms| terms.credentials.clone());
        let gateway = match &orders.service.way {
            Way::Requests(gateway) => gateway.clone(),
            Way::Bytes(_) => self.gateway.clone(),
        };
        self.client.review(&orders, |exchange| {
            let destination = gateway.routes.find(&exchange.host)?;
            Some(destination.terms(terms.as_ref()?))
        });
    }

    fn look_at_clocks<S>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError>
    where
        S: HttpService<Incoming, ResBody = AnswerBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        let (now, limits) = (Instant::now(), &self.gateway.limits);
        self.closing.check()?;
        if self.client.head_since().is_some_and(|since| since + limits.http.header_timeout <= now) {
            self.client.watch.expire();
        }
        self.client.cut_overdue(limits);
        if limits.http.max_age.is_some_and(|age| self.client.began + age <= now) {
            speaking.call_last(&self.client);
        }
        let is_idle = |since, limit| since + limit <= now;
        match self.client.idle_since().zip(self.idle_limit()).filter(|(since, limit)| is_idle(*since, *limit)) {
            Some(_) => self.end_idle(speaking)?,
            None => self.ending = None,
        }
        if let Some(caller) = &mut self.caller
            && (caller.expiry().is_some_and(|expiry| expiry <= now) || self.closing.at().is_some())
        {
            let examined = caller.examine(&[]);
            self.take_in(examined, speaking)?;
        }
        self.review_requests();
        Ok(())
    }

    /// Ends a connection without a request: cleanly, unless the client lets that take for ever.
    fn end_idle<S>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError>
    where
        S: HttpService<Incoming, ResBody = AnswerBody>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        let written = self.client.watch.written();
        match self.ending {
            Some((since, before)) if before == written => {
                let is_over = since.elapsed() >= ENDING;
                return if is_over { Err(ConnectionError::Idle(format_duration(ENDING))) } else { Ok(()) };
            }
            Some(_) => {}
            None => speaking.end_idle(),
        }
        self.ending = Some((Instant::now(), written));
        Ok(())
    }

    /// How long the connection may be without a request.
    fn idle_limit(&self) -> Option<Duration> {
        if self.client.is_last_call() { Some(LAST_CALL) } else { self.gateway.limits.http.keep_alive }
    }

    /// When to look at the clocks again. A request that begins later than now runs out no sooner than the shortest of all limits from now on.
    fn next_wake(&self) -> Instant {
        let (now, limits) = (Instant::now(), &self.gateway.limits);
        let http = &limits.http;
        let later = [Some(http.header_timeout), http.request_timeout, limits.idle_timeout, self.idle_limit()];
        let later = later.into_iter().flatten().min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let idle = self.client.idle_since().zip(self.idle_limit()).map(|(since, limit)| since + limit);
        let idle = self.ending.map(|(since, _)| since + ENDING).or(idle);
        let head = self.client.head_since().map(|since| since + http.header_timeout);
        let age = http.max_age.filter(|_| !self.client.is_last_call()).map(|age| self.client.began + age);
        let expiry = self.caller.as_ref().and_then(|caller| caller.expiry());
        let expiry = expiry.filter(|_| self.closing.at().is_none());
        let ongoing = self.client.next_deadline(limits);
        let due = [idle, head, age, expiry, ongoing, self.closing.at()].into_iter().flatten().min();
        // What is due and cannot be helped now must not keep the task busy.
        due.unwrap_or(now + later).min(now + later).max(now + Duration::from_millis(10))
    }

    /// After hyper: the connection goes on as a tunnel, or the client is told what was wrong with its last request.
    async fn part(&mut self, gate: Gate<Leash>, connection: &mut Connection) -> Result<(), ConnectionError> {
        let tunnel = self.client.tunnel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let GateParts { io, leftover: said, fault, is_due } = gate.into_parts();
        let Some(wire) = io.into_wire() else { return Ok(()) };
        if let Some(tunnel) = tunnel {
            let following = self.client.following.clone();
            let (end, moved) = tunnel.carry(wire, said, following, &self.gateway.limits).await;
            connection.record.moved(moved);
            return end;
        }
        match fault {
            Some(fault) if is_due => self.turn_away(wire, fault).await,
            Some(fault) => Err(ConnectionError::Malformed(fault.to_string())),
            None => Ok(()),
        }
    }

    /// Answers a request whose head was never understood.
    async fn turn_away(&self, mut wire: Wire, fault: Fault) -> Result<(), ConnectionError> {
        let Some(status) = fault.status() else { return Err(ConnectionError::Malformed(fault.to_string())) };
        let class = match status {
            StatusCode::REQUEST_TIMEOUT => Class::RequestTimeout,
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Class::HeadersTooLarge,
            _ => Class::BadRequest,
        };
        let id = self.gateway.ids.make();
        access::turned_away(&self.client, class, &id.to_string(), &fault.to_string());
        let _ = timeout(PARTING, async {
            wire.write_all(&Answer { class, id }.http1_bytes()).await?;
            wire.shutdown().await?;
            tokio::io::copy(&mut wire.take(PARTING_BYTES), &mut tokio::io::sink()).await
        })
        .await;
        Err(match class {
            Class::RequestTimeout => ConnectionError::Slow,
            _ => ConnectionError::Malformed(fault.to_string()),
        })
    }
}

impl<S> Speaking<S>
where
    S: HttpService<Incoming, ResBody = AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>
    where
        S: Unpin,
    {
        match self {
            Self::Http1(connection) => Pin::new(&mut **connection).poll(cx),
            Self::Http2(connection) => connection.as_mut().poll(cx),
        }
    }

    /// Lets nothing new in: HTTP/2 says so at once (RFC 9113 §6.8), HTTP/1.1 with its next answer.
    fn call_last(&mut self, client: &Client) {
        client.call_last();
        if let Self::Http2(connection) = self {
            connection.as_mut().graceful_shutdown();
        }
    }

    /// Ends a connection on which nothing is under way.
    fn end_idle(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(&mut **connection).graceful_shutdown(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// Whether h2 ended the connection because of what it counts itself: streams given up before we saw them, frames that are nothing but work.
fn is_flood(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

fn http2_builder(limits: &HttpLimits) -> http2::Builder<TokioExecutor> {
    let small = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX >> 1);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(small(limits.stream_buffer))
        .initial_connection_window_size(small(limits.connection_buffer))
        .max_send_buf_size(limits.stream_buffer)
        .max_header_list_size(small(limits.max_header_bytes))
        .max_concurrent_streams(small(limits.max_streams))
        .max_pending_accept_reset_streams(limits.max_resets)
        .enable_connect_protocol();
    builder
}
