//! The story of one request: what was asked, whether it may be, where it goes, and what comes back.

use std::sync::Arc;

use http::{HeaderValue, Method, Version, header};

use super::answer::{Answer, Asker, Class, SVIDGATE_ID};
use super::body::{AnswerBody, Received, RequestBody};
use super::client::Client;
use super::exchange::{BodyFault, Cut, Exchange, Guard};
use super::forward::Failure;
use super::headers::Headers;
use super::parts::{AnswerParts, RequestParts};
use super::route::{Destination, Found};
use super::send::{Lease, Outgoing};
use super::understood::{Understood, Wish};
use super::{Gateway, forwarded, hygiene};
use crate::policy::{Request as Asking, Verdict};
use crate::proxy::live::Orders;
use crate::tls::Terms;

/// A request that is refused: what the client is told, and what the operator.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) class: Class,
    pub(super) reason: String,
    /// The policy said no.
    pub(super) is_denied: bool,
}

impl Refused {
    pub(super) fn new(class: Class, reason: &impl ToString) -> Self {
        Self { class, reason: reason.to_string(), is_denied: false }
    }
}

/// What a request comes to.
pub(super) enum Answered {
    /// The upstream's answer.
    Relayed(AnswerParts, Lease),
    /// The head of an answer after which other bytes follow than HTTP's, and who takes them.
    Switched(AnswerParts, super::tunnel::End),
}

/// Serves one request.
pub(super) async fn serve(client: Arc<Client>, mut parts: RequestParts, body: Received) -> (AnswerParts, AnswerBody) {
    let moment = client.moment();
    let gateway = &moment.gateway;
    if moment.is_past {
        client.call_last();
    }
    let (asker, version) = (Asker::of(&parts.method, &parts.headers), parts.version);
    let on_upgrade = parts.on_upgrade.take();
    let (asked, refused) = match Understood::of(&parts, gateway.upgrades, &client.last_authority) {
        Ok(understood) => (understood, None),
        Err(refused) => (Understood::not(&parts), Some(refused)),
    };
    let mut guard = Guard::open(&client, Exchange::new(&moment, asked, version));
    let answered = match refused {
        None => gateway.answer(&moment.orders, parts, body, &mut guard).await,
        Some(refused) => Err(refused),
    };
    let answer = match answered {
        Ok(Answered::Switched(head, end)) => return gateway.switch(head, end, on_upgrade, guard),
        Ok(Answered::Relayed(answer, lease)) => gateway.relay(answer, lease, version, guard),
        Err(refused) => gateway.refuse(refused, &asker, guard),
    };
    if version == Version::HTTP_2 && client.answer_is_last() {
        client.nudge.notify_one();
    }
    answer
}

impl Gateway {
    /// Lets the request through or not, and finds its answer.
    async fn answer(
        &self,
        orders: &Orders,
        parts: RequestParts,
        body: Received,
        guard: &mut Guard,
    ) -> Result<Answered, Refused> {
        let exchange = guard.exchange.clone();
        let understood = &exchange.asked;
        self.take_method(understood)?;
        admit(orders, understood, guard)?;
        let destination = self.destination(understood, guard)?;
        let terms = self.terms(&destination, orders)?;
        self.fits(&parts)?;
        if let Wish::Connect = understood.wish {
            return self.connect(&destination, terms.as_ref(), guard).await;
        }
        let mut request = self.prepare(understood, parts, body, guard)?;
        let forwarded = self.forward(&destination, terms.as_ref(), &mut request, guard).await;
        let (answer, lease) = forwarded.map_err(|failure| refused(&failure))?;
        guard.exchange.answered();
        self.receive(&understood.wish, answer, lease).await
    }

    /// TRACE shows a client what others added to its request, our identity headers too; and only an egress proxy leads on by CONNECT.
    fn take_method(&self, understood: &Understood) -> Result<(), Refused> {
        let is_taken = match understood.wish {
            Wish::Connect => self.is_outbound() && self.routes.by_host(),
            _ => understood.method != Method::TRACE || self.http.trace,
        };
        match is_taken {
            true => Ok(()),
            false => {
                let reason = format!("the method {} is not taken here", understood.method);
                Err(Refused::new(Class::MethodNotAllowed, &reason))
            }
        }
    }

    fn destination(&self, understood: &Understood, guard: &mut Guard) -> Result<Found<'_>, Refused> {
        let destination = self.routes.find(&understood.authority.host);
        let destination = destination.ok_or_else(|| {
            Refused::new(Class::NoRoute, &format!("no route is for the host {:?}", understood.authority.host))
        })?;
        guard.told.route.clone_from(&destination.route);
        Ok(destination)
    }

    /// On what terms the server is believed; `None` where it is plaintext.
    fn terms(&self, destination: &Destination, orders: &Orders) -> Result<Option<Arc<Terms>>, Refused> {
        if !self.is_outbound() {
            return Ok(None);
        }
        let missing = || Refused::new(Class::Overloaded, &crate::credentials::Unusable::Missing);
        let current = orders.terms.as_ref().ok_or_else(missing)?;
        Ok(Some(destination.terms(&current.credentials)))
    }

    /// A body that says beforehand that it is too long is not waited for. Headers of HTTP/1.1 were counted as they were read.
    fn fits(&self, parts: &RequestParts) -> Result<(), Refused> {
        let (headers, max) = (parts.headers.len(), self.limits.http.max_headers);
        if headers > max {
            let reason = format!("{headers} headers are more than `max_headers`, {max}");
            return Err(Refused::new(Class::HeadersTooLarge, &reason));
        }
        let declared = || -> Option<u64> { parts.headers.get(&header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok() };
        match self.limits.http.max_body.map(|max| (max, declared())) {
            Some((max, Some(length))) if length > max as u64 => {
                let reason = format!("the body of {length} bytes is longer than `max_body`, {max} bytes");
                Err(Refused::new(Class::TooLarge, &reason))
            }
            _ => Ok(()),
        }
    }

    /// The request as it goes on.
    fn prepare(
        &self,
        understood: &Understood,
        mut parts: RequestParts,
        body: Received,
        guard: &Guard,
    ) -> Result<Outgoing, Refused> {
        let headers = &mut parts.headers;
        hygiene::hop_by_hop(headers);
        match &guard.exchange.moment.headers {
            Some(told) => told.apply(headers, guard.told.rule.as_deref().unwrap_or_default()),
            None => self.names.strip(headers),
        }
        self.follow(headers, understood, parts.version, guard)?;
        let exchange = guard.exchange.clone();
        let mut body = match understood.wish {
            Wish::WebSocket => RequestBody::none(exchange),
            _ => RequestBody::new(body, exchange, self.limits.http.max_body),
        };
        if let Some(expected) = headers.get(&header::EXPECT) {
            let asks_leave = expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
            if asks_leave && !self.wants_http2(&guard.exchange) {
                body.wait_for_leave();
            } else {
                headers.remove(&header::EXPECT);
            }
        }
        understood.wish.write(headers, &self.ids);
        parts.uri.clone_from(&understood.uri);
        Ok(Outgoing { parts, body: Some(body) })
    }

    /// Marks the way that the request has come.
    fn follow(
        &self,
        headers: &mut Headers,
        understood: &Understood,
        version: Version,
        guard: &Guard,
    ) -> Result<(), Refused> {
        if forwarded::goes_round(headers) {
            return Err(Refused::new(
                Class::Loop,
                &"the request has passed too many proxies of our name: it goes in circles",
            ));
        }
        // One host, as it was understood: rules, application and whoever comes next see the same.
        let host =
            match headers.get(&header::HOST).filter(|written| understood.authority.is_written(written.as_bytes())) {
                Some(written) => written.clone(),
                None => {
                    let host = HeaderValue::try_from(understood.authority.to_string());
                    let host = host.map_err(|error| Refused::new(Class::BadRequest, &error))?;
                    headers.insert(header::HOST, host.clone());
                    host
                }
            };
        forwarded::follow(headers, &guard.client.hop, &host, understood.authority.port, version, &self.ids);
        Ok(())
    }

    /// The upstream's answer as it goes back.
    fn relay(
        &self,
        mut parts: AnswerParts,
        lease: Lease,
        version: Version,
        mut guard: Guard,
    ) -> (AnswerParts, AnswerBody) {
        hygiene::hop_by_hop(&mut parts.headers);
        if !self.is_outbound() {
            // Outbound it is the word of another of us, and the way to its log.
            parts.headers.remove(&SVIDGATE_ID);
        }
        forwarded::via(&mut parts.headers, parts.version);
        guard.told.status = Some(parts.status);
        parts.version = version.min(Version::HTTP_2);
        (parts, AnswerBody::relayed(lease, guard))
    }

    /// An answer of our own.
    pub(super) fn refuse(&self, refused: Refused, asker: &Asker, mut guard: Guard) -> (AnswerParts, AnswerBody) {
        let id = self.ids.make();
        let (parts, body) = Answer { class: refused.class, id }.to(*asker);
        let told = &mut guard.told;
        told.status = Some(refused.class.status());
        told.outcome = refused.class.outcome();
        told.reason = Some(refused.reason);
        told.is_denied = refused.is_denied;
        told.id = Some(id.to_string());
        (parts, AnswerBody::own(body, Some(guard)))
    }
}

/// Decides by the policy of this moment. Requests of an application on this machine have none.
fn admit(orders: &Orders, understood: &Understood, guard: &mut Guard) -> Result<(), Refused> {
    let Some(peer) = &guard.client.peer else { return Ok(()) };
    if guard.client.is_refused() {
        let reason = "the caller would not be let in any more: `close_grace` is for what is under way";
        return Err(Refused { class: Class::Denied, reason: reason.into(), is_denied: true });
    }
    if let Some(rule) = &guard.exchange.moment.rule {
        guard.told.rule = Some(rule.clone());
        return Ok(());
    }
    let path = understood.path();
    let asking = Asking { method: &understood.method, host: &understood.authority.host, path: path.as_ref() };
    let decision = orders.service.config.policy.decide_request(&peer.id, &asking);
    if let Some(shadow) = &decision.shadow {
        guard.client.shadow(shadow);
    }
    match decision.verdict {
        Verdict::Allowed { rule } => {
            guard.told.rule = Some(rule);
            Ok(())
        }
        Verdict::Denied(denial) => Err(Refused { class: Class::Denied, reason: denial.to_string(), is_denied: true }),
    }
}

/// What a client is told of an upstream's failure.
pub(super) fn refused(failure: &Failure) -> Refused {
    let class = match failure {
        Failure::Identity(_) | Failure::Full => Class::Overloaded,
        Failure::Connect(error) if error.is_timeout() => Class::UpstreamTimeout,
        Failure::NoAddress(error) if error.kind() == std::io::ErrorKind::TimedOut => Class::UpstreamTimeout,
        Failure::NoAddress(_) | Failure::Connect(_) | Failure::Broken(_) | Failure::NoWebSocket => {
            Class::UpstreamFailed
        }
        Failure::Body(BodyFault::TooLarge) => Class::TooLarge,
        Failure::Body(BodyFault::Broken) => Class::BadRequest,
        Failure::Cut(Cut::ClientTimeout) => Class::RequestTimeout,
        Failure::Cut(Cut::UpstreamTimeout | Cut::Idle) => Class::UpstreamTimeout,
        Failure::Cut(Cut::Revoked(_)) => Class::Denied,
        Failure::Cut(Cut::Distrusted(_)) => Class::UpstreamFailed,
    };
    Refused { is_denied: class == Class::Denied, class, reason: failure.to_string() }
}
