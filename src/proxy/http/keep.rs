//! One client's connection from its first request to its last: requests are served while the connection stands, its clocks run, and its end is
//! told to the client as its protocol has it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use humantime::format_duration;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Answer, Class};
use super::client::{Client, ENDING, Peer};
use super::exchange::Cut;
use super::gate::{Fault, Gate, Limits as GateLimits, Parts as GateParts, Protocol};
use super::leash::Leash;
use super::speaking::{Requests, Speaking, is_flood};
use super::tunnel::Tunnel;
use super::{Gateway, access, request, takes_http2, told};
use crate::config::HttpLimits;
use crate::proxy::Connection;
use crate::proxy::error::ConnectionError;
use crate::proxy::live::{Closing, LONGEST_SLEEP, Orders, Standing};
use crate::proxy::service::{Service, Way};
use crate::proxy::wire::Wire;
use crate::tls::Refusal;

/// How long an HTTP/1.1 connection that shall end waits for one more request, whose answer says so: a request that is on its way when a
/// connection without one is closed would be lost.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Between two looks at clocks, at the least.
const MOMENT: Duration = Duration::from_millis(10);

/// For how long, and for how many bytes, a client that was told why its request is no good may go on talking: a close on unread bytes would be a
/// reset, and a reset can overtake the last that we said.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 256 * 1024;

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
    let takes_http2 = takes_http2(&wire, &service.config);
    let (leash, state) = Leash::new(wire);
    let HttpLimits { max_header_bytes, max_headers, header_timeout, .. } = limits.http;
    let sniff = Gate::sniff(leash, GateLimits { max_header_bytes, max_headers }, takes_http2);
    let sniffed = Box::pin(timeout(header_timeout, sniff));
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

impl Keeper {
    async fn keep(
        mut self,
        protocol: Protocol,
        gate: Gate<Leash>,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let requests = {
            let (client, gateway) = (self.client.clone(), self.gateway.clone());
            service_fn(move |request: Request<Incoming>| {
                // Boxed: hyper and tokio move it about, and it is large.
                Box::pin(request::serve(client.clone(), gateway.clone(), request))
            })
        };
        let mut speaking = Speaking::begin(protocol, gate, requests, &self.gateway.limits.http);
        let end = self.run(&mut speaking).await;
        let client = self.client.clone();
        let end = match (end, speaking) {
            // What broke by itself is told by how it breaks; what we end must not look like an end.
            (Err(error @ ConnectionError::Http(_)), _) => Err(error),
            (Err(error), _) => {
                client.leash.cut();
                Err(error)
            }
            (Ok(()), Speaking::Http1(hyper)) => self.part(hyper.into_parts().io, connection).await,
            (Ok(()), Speaking::Http2(..)) => Ok(()),
        };
        let (read, written) = (client.watch.read(), client.watch.written());
        connection.record.requests(client.requests());
        connection.record.moved(if client.peer.is_some() { (read, written) } else { (written, read) });
        end
    }

    /// Runs until hyper is done, or the connection may not go on.
    async fn run<S: Requests>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError> {
        let mut following = self.client.following.clone();
        loop {
            let wake = self.next_wake();
            self.client.wakes_at(wake);
            tokio::select! {
                biased;
                orders = following.changed() => match orders {
                    None | Some(Orders { forced: true, .. }) => return Err(ConnectionError::Forced),
                    Some(orders) => self.obey(orders, speaking)?,
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

    /// New orders: what let the peer in is looked at again, and after the grace so is every request under way.
    fn obey<S: Requests>(&mut self, orders: Orders, speaking: &mut Speaking<S>) -> Result<(), ConnectionError> {
        if orders.draining {
            speaking.call_last(&self.client);
        }
        if let Some(examined) = self.caller.as_mut().and_then(|caller| caller.review(orders.terms, &[])) {
            self.take_in(examined, speaking)?;
        }
        self.review_requests();
        Ok(())
    }

    /// A peer that is refused gets no further request through, and is cut after its grace.
    fn take_in<S: Requests>(
        &mut self,
        examined: Result<(), Box<Refusal>>,
        speaking: &mut Speaking<S>,
    ) -> Result<(), ConnectionError> {
        self.client.examined(examined.is_ok());
        if examined.is_err() {
            speaking.call_last(&self.client);
        }
        self.closing.examined(examined, self.gateway.limits.close_grace)
    }

    /// Requests under way that would now be refused, or whose server would be, are cut after their grace.
    fn review_requests(&self) {
        let orders = self.client.following.now().clone();
        let gateway = match &orders.service.way {
            Way::Requests(gateway) => gateway.clone(),
            Way::Bytes(_) => self.gateway.clone(),
        };
        self.client.review(&orders, self.gateway.limits.close_grace, |exchange| {
            let destination = gateway.routes.find(&exchange.host)?;
            Some(destination.terms(&orders.terms.as_ref()?.credentials))
        });
    }

    fn look_at_clocks<S: Requests>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError> {
        let (now, http) = (Instant::now(), &self.gateway.limits.http);
        self.closing.check()?;
        if self.client.head_since().is_some_and(|since| since + http.header_timeout <= now) {
            self.client.watch.expire();
        }
        if http.max_age.is_some_and(|age| self.client.began + age <= now) {
            speaking.call_last(&self.client);
        }
        if self.client.idle_since().is_none() {
            self.ending = None;
        } else if self.idle_until().is_some_and(|until| until <= now) {
            self.end_idle(speaking)?;
        }
        self.client.cut_overdue(&self.gateway.limits).map_err(|why| match why {
            Cut::Revoked(_) | Cut::Distrusted(_) => ConnectionError::Cut(why.to_string()),
            Cut::ClientTimeout | Cut::UpstreamTimeout | Cut::Idle => ConnectionError::Idle(format_duration(ENDING)),
        })?;
        // Once more also within the grace: what refused the peer may have been taken back.
        if let Some(caller) = self.caller.as_mut().filter(|caller| caller.has_expired() || self.closing.at().is_some())
        {
            let examined = caller.examine(&[]);
            self.take_in(examined, speaking)?;
        }
        self.review_requests();
        Ok(())
    }

    /// Ends a connection without a request: cleanly, unless the client lets that take for ever.
    fn end_idle<S: Requests>(&mut self, speaking: &mut Speaking<S>) -> Result<(), ConnectionError> {
        let written = self.client.watch.written();
        match self.ending {
            Some((_, before)) if before == written => return Err(ConnectionError::Idle(format_duration(ENDING))),
            Some(_) => {}
            None => speaking.end_idle(),
        }
        self.ending = Some((Instant::now(), written));
        Ok(())
    }

    /// Until when the connection may go on without a request; `None` while there is one.
    fn idle_until(&self) -> Option<Instant> {
        let since = self.client.idle_since()?;
        match (self.ending, self.client.last_call_since()) {
            (Some((began, _)), _) => Some(began + ENDING),
            (None, Some(called)) => Some(since.max(called) + LAST_CALL),
            (None, None) => Some(since + self.gateway.limits.http.keep_alive?),
        }
    }

    /// When to look at the clocks again. A request that begins later than now runs out no sooner than the shortest of all limits from now on.
    fn next_wake(&self) -> Instant {
        let (now, limits) = (Instant::now(), &self.gateway.limits);
        let http = &limits.http;
        let later = [Some(http.header_timeout), http.request_timeout, limits.idle_timeout, http.keep_alive];
        let later = later.into_iter().flatten().min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        let last_call = self.client.last_call_since();
        let head = self.client.head_since().map(|since| since + http.header_timeout);
        let age = http.max_age.filter(|_| last_call.is_none()).map(|age| self.client.began + age);
        let expiry = self.caller.as_ref().filter(|_| self.closing.at().is_none()).and_then(Standing::expiry);
        let due = [self.idle_until(), head, age, expiry, self.client.next_deadline(limits), self.closing.at()];
        // What is due and cannot be helped now must not keep the task busy.
        due.into_iter().flatten().min().unwrap_or(now + later).min(now + later).max(now + MOMENT)
    }

    /// After hyper: the connection goes on as a tunnel, or the client is told what was wrong with its last request.
    async fn part(&mut self, gate: Gate<Leash>, connection: &mut Connection) -> Result<(), ConnectionError> {
        let tunnel = self.client.tunnel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let GateParts { io, leftover: said, fault, is_due } = gate.into_parts();
        let Some(mut wire) = io.into_wire() else { return Ok(()) };
        if let Some(tunnel) = tunnel {
            let (end, moved) = self.carry(tunnel, wire, said).await;
            connection.record.moved(moved);
            return end;
        }
        match fault {
            Some(fault) if is_due => self.turn_away(wire, fault).await,
            Some(fault) => Err(ConnectionError::Malformed(fault.to_string())),
            None => {
                // hyper does so itself, but not where a request once asked for an upgrade, also one that was refused.
                let _ = timeout(PARTING, wire.shutdown()).await;
                Ok(())
            }
        }
    }

    /// Carries a tunnel's bytes. The tunnel looks at its peer itself; whether the request that opened it would still be let through, we do.
    async fn carry(&self, tunnel: Tunnel, wire: Wire, said: Bytes) -> (Result<(), ConnectionError>, (u64, u64)) {
        let (mut following, gateway) = (self.client.following.clone(), self.gateway.clone());
        let mut carried = Box::pin(tunnel.carry(wire, said, following.clone(), &gateway.limits));
        self.review_requests(); // orders may have come while hyper gave the connection over
        loop {
            let wake = self.client.grace_ends().unwrap_or_else(|| Instant::now() + LONGEST_SLEEP);
            tokio::select! {
                biased;
                orders = following.changed() => match orders {
                    Some(_) => self.review_requests(),
                    None => return carried.await,
                },
                () = sleep_until(wake) => self.review_requests(),
                carried = &mut carried => return carried,
            }
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
