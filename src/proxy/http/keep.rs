//! One client's connection from its first request to its last: requests are served while the connection stands, its clocks run, and its end is
//! told to the client as its protocol has it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use humantime::format_duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{Answer, Class};
use super::client::{Client, ENDING, Peer};
use super::exchange::Cut;
use super::http1::{ClientEnd, Fault, Protocol, Remains, sniff};
use super::leash::Leash;
use super::speaking::Speaking;
use super::tunnel::Tunnel;
use super::{Gateway, access, request, takes_http2};
use crate::proxy::Connection;
use crate::proxy::error::ConnectionError;
use crate::proxy::live::{Closing, Following, LONGEST_SLEEP, Orders, Standing};
use crate::proxy::service::{Service, Way};
use crate::proxy::wire::Wire;
use crate::proxy::woken::WhenWoken;
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
    let (mut leash, state) = Leash::new(wire);
    let sniffed = Box::pin(timeout(limits.http.header_timeout, sniff(&mut leash, takes_http2)));
    let sniffed = connection.following.unless_forced(async { Ok::<_, ConnectionError>(sniffed.await) }).await?;
    // Whoever says nothing, or leaves before it has, asks for nothing.
    let Ok(Ok(Some(first))) = sniffed else { return Err(ConnectionError::Probe) };
    let peer = caller.as_ref().map(Peer::new);
    let client = Client::new(connection, service, gateway, peer, state);
    let keeper = Keeper {
        client: Arc::new(client),
        gateway: gateway.clone(),
        caller,
        closing: Closing::not_yet(),
        ending: None,
    };
    keeper.keep(first, leash, connection).await
}

/// What there is to do for a connection's keeper.
enum Event {
    /// New orders; `None` where the listener is gone.
    Orders(Option<Orders>),
    /// A request has changed what the clocks should say.
    Nudge,
    Clock,
    Done(Result<(), ConnectionError>),
}

/// What comes next from outside the connection.
async fn next(following: &mut Following, client: &Client, wake: Instant) -> Event {
    tokio::select! {
        biased;
        orders = following.changed() => Event::Orders(orders),
        () = client.nudge.notified() => Event::Nudge,
        () = sleep_until(wake) => Event::Clock,
    }
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
        first: (Protocol, Bytes),
        wire: Leash,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let client = self.client.clone();
        let answer = move |parts, body| request::serve(client.clone(), parts, body);
        let mut speaking = Speaking::begin(first, wire, &self.client, answer, &self.gateway.limits.http);
        let end = self.run(&mut speaking).await;
        let client = self.client.clone();
        let end = match (end, speaking) {
            // What broke by itself is told by how it breaks; what we end must not look like an end.
            (Err(error), speaking) => {
                if !matches!(error, ConnectionError::Http(_)) {
                    client.leash.cut();
                }
                speaking.hang_up();
                // One that nobody took over holds on to the client, and so to itself.
                drop(client.take_tunnel());
                Err(error)
            }
            (Ok(()), Speaking::Http1(serving, end)) => {
                drop(serving);
                self.part(end, connection).await
            }
            (Ok(()), Speaking::Http2(..)) => Ok(()),
        };
        let (read, written) = (client.leash.read(), client.leash.written());
        connection.record.requests(client.requests());
        connection.record.moved(if client.peer.is_some() { (read, written) } else { (written, read) });
        end
    }

    /// Runs until there are no more requests, or the connection may not go on.
    async fn run(&mut self, speaking: &mut Speaking) -> Result<(), ConnectionError> {
        let (mut following, client) = (self.client.following.clone(), self.client.clone());
        let mut when_woken = WhenWoken::new();
        loop {
            let wake = self.next_wake();
            self.client.wakes_at(wake);
            let event = {
                let mut event = pin!(next(&mut following, &client, wake));
                when_woken.begin();
                poll_fn(|cx| match when_woken.poll(cx, event.as_mut()) {
                    Poll::Ready(event) => Poll::Ready(event),
                    Poll::Pending => speaking.poll(cx).map(Event::Done),
                })
                .await
            };
            match event {
                Event::Orders(None | Some(Orders { forced: true, .. })) => return Err(ConnectionError::Forced),
                Event::Orders(Some(orders)) => self.obey(orders, speaking)?,
                Event::Nudge if client.answer_is_last() && !client.is_last_call() => {
                    speaking.call_last(&client);
                }
                Event::Nudge => {}
                Event::Clock => self.look_at_clocks(speaking)?,
                Event::Done(done) => return done,
            }
            if self.client.is_flooded() {
                return Err(ConnectionError::Flooded);
            }
        }
    }

    /// New orders: what let the peer in is looked at again, and after the grace so is every request under way.
    fn obey(&mut self, orders: Orders, speaking: &mut Speaking) -> Result<(), ConnectionError> {
        if orders.draining || self.client.moment().is_past {
            speaking.call_last(&self.client);
        }
        if let Some(examined) = self.caller.as_mut().and_then(|caller| caller.review(orders.terms, &[])) {
            self.take_in(examined, speaking)?;
        }
        self.review_requests();
        Ok(())
    }

    /// A peer that is refused gets no further request through, and is cut after its grace.
    fn take_in(&mut self, examined: Result<(), Box<Refusal>>, speaking: &mut Speaking) -> Result<(), ConnectionError> {
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
            let destination = gateway.routes.find(&exchange.asked.authority.host)?;
            Some(destination.terms(&orders.terms.as_ref()?.credentials))
        });
    }

    fn look_at_clocks(&mut self, speaking: &mut Speaking) -> Result<(), ConnectionError> {
        let (now, http) = (Instant::now(), &self.gateway.limits.http);
        self.closing.check()?;
        if self.client.head.since().is_some_and(|since| since + http.header_timeout <= now) {
            self.client.head.expire();
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
    fn end_idle(&mut self, speaking: &mut Speaking) -> Result<(), ConnectionError> {
        let written = self.client.leash.written();
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
        let head = self.client.head.since().map(|since| since + http.header_timeout);
        let age = http.max_age.filter(|_| last_call.is_none()).map(|age| self.client.began + age);
        let expiry = self.caller.as_ref().filter(|_| self.closing.at().is_none()).and_then(Standing::expiry);
        let due = [self.idle_until(), head, age, expiry, self.client.next_deadline(limits), self.closing.at()];
        // What is due and cannot be helped now must not keep the task busy.
        due.into_iter().flatten().min().unwrap_or(now + later).min(now + later).max(now + MOMENT)
    }

    /// After the last request of HTTP/1.1: the connection goes on as a tunnel, or the client is told what was wrong with what it said.
    async fn part(&mut self, end: Arc<ClientEnd>, connection: &mut Connection) -> Result<(), ConnectionError> {
        let tunnel = self.client.take_tunnel();
        let Remains { wire, leftover: said, fault, is_due } = end.remains();
        let Some(mut wire) = wire.into_wire() else { return Ok(()) };
        if let Some(tunnel) = tunnel {
            let (end, moved) = self.carry(tunnel, wire, said).await;
            connection.record.moved(moved);
            return end;
        }
        match fault {
            Some(fault) if is_due => self.turn_away(wire, fault).await,
            Some(fault) => Err(ConnectionError::Malformed(fault.to_string())),
            None => {
                let _ = timeout(PARTING, wire.shutdown()).await;
                Ok(())
            }
        }
    }

    /// Carries a tunnel's bytes. The tunnel looks at its peer itself; whether the request that opened it would still be let through, we do.
    async fn carry(&self, tunnel: Tunnel, wire: Wire, said: Bytes) -> (Result<(), ConnectionError>, (u64, u64)) {
        let (mut following, gateway) = (self.client.following.clone(), self.gateway.clone());
        let mut carried = Box::pin(tunnel.carry(wire, said, following.clone(), &gateway.limits));
        self.review_requests(); // orders may have come while the connection was given over
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
