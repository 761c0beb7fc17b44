//! A client's connection on which requests come: who calls, what is under way, and when its clocks run out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::Version;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Gateway;
use super::exchange::{Cut, Exchange};
use super::forwarded::Hop;
use super::head_clock::HeadClock;
use super::identity::PeerHeaders;
use super::leash::LeashState;
use super::moment::{Moment, Moments};
use super::target::LastAuthority;
use super::tunnel::Tunnel;
use crate::config::{AccessLog, Limits};
use crate::metrics::{Metrics, RequestEnded, RequestOutcome, Shadowed};
use crate::policy::{Request, Verdict};
use crate::proxy::Connection;
use crate::proxy::live::{Following, Orders, Standing};
use crate::proxy::service::Service;
use crate::spiffe::SpiffeId;
use crate::tls::Terms;

/// Within what time the resets of [`HttpLimits::max_resets`] are counted.
const RESETS_WITHIN: Duration = Duration::from_secs(10);

/// For how long what was ended may take no byte of what is still to be said to it, before it is cut.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// Who calls: that does not change while the connection lasts.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: Arc<SpiffeId>,
    /// As of the handshake; for what leaves the connection's keeping.
    pub(super) standing: Standing,
}

impl Peer {
    pub(super) fn new(standing: &Standing) -> Self {
        Self { id: Arc::new(standing.peer.id().clone()), standing: standing.clone() }
    }

    /// The headers that tell of it, as `gateway` is configured.
    pub(super) fn headers(&self, gateway: &Gateway) -> PeerHeaders {
        let ours = &self.standing.terms.credentials.svid.id;
        let chain = self.standing.chain.as_deref().unwrap_or_default();
        PeerHeaders::new(gateway.names.clone(), &gateway.http.identity_headers, chain, self.standing.peer.id(), ours)
    }
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) listener: Arc<str>,
    pub(super) direction: &'static str,
    pub(super) address: Option<SocketAddr>,
    pub(super) hop: Hop,
    pub(super) peer: Option<Peer>,
    pub(super) following: Following,
    moments: Moments,
    pub(super) last_authority: LastAuthority,
    pub(super) leash: Arc<LeashState>,
    pub(super) metrics: Arc<Metrics>,
    /// Counts what nearly every request comes to: to find the counter is dearer than to count.
    answered: OnceLock<Counter>,
    pub(super) began: Instant,
    /// What an upgraded connection goes on with.
    pub(super) tunnel: Mutex<Option<Tunnel>>,
    /// The keeper shall look at its clocks again.
    pub(super) nudge: Notify,
    /// When it will by itself, in milliseconds after it began.
    wakes_at: AtomicU64,
    ongoing: Mutex<Vec<Arc<Exchange>>>,
    /// Since when nothing is under way, in milliseconds after it began.
    idle_since: AtomicU64,
    requests: AtomicUsize,
    pub(super) head: Arc<HeadClock>,
    /// Since when every answer is the last, in milliseconds after it began; 0 where it is not.
    last_call: AtomicU64,
    /// Streams given up by the client: how many, and since when they are counted.
    resets: Mutex<(usize, Instant)>,
    is_flooded: AtomicBool,
    max_resets: usize,
    /// The peer would not be let in any more, and has its grace.
    is_refused: AtomicBool,
    pub(super) access_log: AccessLog,
}

impl Client {
    /// The client at the other end of `connection`, whose wire `leash` looks at.
    pub(super) fn new(
        connection: &Connection,
        service: &Service,
        gateway: &Arc<Gateway>,
        peer: Option<Peer>,
        leash: Arc<LeashState>,
    ) -> Self {
        let (began, address) = (Instant::now(), connection.record.client());
        let scheme = if peer.is_some() { "https" } else { "http" };
        Self {
            listener: service.config.name.clone(),
            direction: service.direction(),
            address,
            hop: Hop::new(address.map(|address| address.ip()), scheme, connection.port),
            moments: Moments::new(connection.following.clone(), gateway, peer.as_ref()),
            peer,
            last_authority: LastAuthority::default(),
            following: connection.following.clone(),
            leash,
            metrics: connection.record.metrics().clone(),
            answered: OnceLock::new(),
            began,
            tunnel: Mutex::default(),
            nudge: Notify::new(),
            wakes_at: AtomicU64::new(0),
            ongoing: Mutex::default(),
            idle_since: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            head: Arc::new(HeadClock::new(began)),
            last_call: AtomicU64::new(0),
            resets: Mutex::new((0, began)),
            is_flooded: AtomicBool::new(false),
            max_resets: gateway.limits.http.max_resets,
            is_refused: AtomicBool::new(false),
            access_log: gateway.http.access_log,
        }
    }

    /// What a request that comes now is served by.
    pub(super) fn moment(&self) -> Arc<Moment> {
        self.moments.now(self.peer.as_ref())
    }

    /// For whom upstream connections are kept apart.
    pub(super) fn whom(&self) -> super::pool::For {
        self.peer.as_ref().map(|peer| peer.id.clone())
    }

    /// A request is under way.
    pub(super) fn began(&self, exchange: &Arc<Exchange>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.ongoing().push(exchange.clone());
    }

    /// It no longer is.
    pub(super) fn ended(&self, exchange: &Arc<Exchange>, outcome: RequestOutcome) {
        {
            let mut ongoing = self.ongoing();
            if let Some(position) = ongoing.iter().position(|one| Arc::ptr_eq(one, exchange)) {
                ongoing.swap_remove(position);
            }
            if ongoing.is_empty() {
                self.idle_since.store(self.millis(), Ordering::Relaxed);
            }
        }
        if self.is_last_call() {
            self.nudge.notify_one();
        }
        if outcome == RequestOutcome::Cancelled && exchange.version == Version::HTTP_2 {
            self.was_reset();
        }
        self.count(outcome);
    }

    /// Counts a request.
    pub(super) fn count(&self, outcome: RequestOutcome) {
        let counter = || {
            let label = RequestEnded { listener: self.listener.clone(), outcome };
            self.metrics.requests.get_or_create(&label).clone()
        };
        match outcome {
            RequestOutcome::Answered => self.answered.get_or_init(counter).inc(),
            _ => counter().inc(),
        };
    }

    /// What the shadow rules would have done otherwise.
    pub(super) fn shadow(&self, verdict: &Verdict) {
        let decision = if verdict.is_allowed() { "allow" } else { "deny" };
        self.metrics.shadow_decisions.get_or_create(&Shadowed { listener: self.listener.clone(), decision }).inc();
        tracing::info!(
            listener = &*self.listener,
            spiffe.peer.id = self.peer.as_ref().map(|peer| peer.id.to_string()),
            policy.decision = decision,
            policy.reason = %verdict,
            "shadow rules would have decided otherwise"
        );
    }

    /// What the connection goes on with, if it does so with other bytes than HTTP's.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn ongoing(&self) -> MutexGuard<'_, Vec<Arc<Exchange>>> {
        self.ongoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many requests came on it.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Since when nothing is under way; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.ongoing().is_empty();
        is_idle.then(|| self.began + Duration::from_millis(self.idle_since.load(Ordering::Relaxed)))
    }

    /// From now on every answer of HTTP/1.1 says that it is the last.
    pub(super) fn call_last(&self) {
        let _ = self.last_call.compare_exchange(0, self.millis().max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Since when every answer is the last.
    pub(super) fn last_call_since(&self) -> Option<Instant> {
        let since = self.last_call.load(Ordering::Relaxed);
        (since > 0).then(|| self.began + Duration::from_millis(since))
    }

    pub(super) fn is_last_call(&self) -> bool {
        self.last_call.load(Ordering::Relaxed) > 0
    }

    /// Whether the answer to the request that is being served ends the connection (RFC 9112 §9.6).
    pub(super) fn answer_is_last(&self) -> bool {
        let max_requests = self.moment().gateway.limits.http.max_requests;
        self.is_last_call() || max_requests.is_some_and(|max| self.requests() >= max)
    }

    /// The client gave a stream up before its answer was whole. Too many of these are an attack (CVE-2023-44487).
    fn was_reset(&self) {
        let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        if resets.1.elapsed() > RESETS_WITHIN {
            *resets = (0, Instant::now());
        }
        resets.0 += 1;
        if resets.0 > self.max_resets {
            self.is_flooded.store(true, Ordering::Relaxed);
            self.nudge.notify_one();
        }
    }

    /// Takes in whether the peer would be let in now.
    pub(super) fn examined(&self, is_let_in: bool) {
        self.is_refused.store(!is_let_in, Ordering::Relaxed);
    }

    /// Whether the peer would not be let in any more: its grace is for what is under way.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded.load(Ordering::Relaxed)
    }

    /// An answer broke off in its middle: where its end is told by the end of the connection alone (RFC 9112 §6.3), that must be no clean one.
    pub(super) fn answer_broke(&self, version: Version) {
        if version < Version::HTTP_11 {
            self.leash.cut();
        }
    }

    /// Looks at what is under way, on new orders or after a while: what would not be let through any more is cut after its grace.
    pub(super) fn review(&self, orders: &Orders, grace: Duration, servers: impl Fn(&Exchange) -> Option<Arc<Terms>>) {
        for exchange in self.ongoing().iter() {
            exchange.examined(self.refusal(orders, exchange, &servers), grace);
        }
    }

    /// Why a request under way would be refused now.
    fn refusal(
        &self,
        orders: &Orders,
        exchange: &Exchange,
        servers: &impl Fn(&Exchange) -> Option<Arc<Terms>>,
    ) -> Option<Cut> {
        if let Some(peer) = &self.peer {
            let policy = &orders.service.config.policy;
            let (asked, path) = (&exchange.asked, exchange.asked.path());
            let request = Request { method: &asked.method, host: &asked.authority.host, path: path.as_ref() };
            let verdict = policy.decide_request(&peer.id, &request).verdict;
            return (!verdict.is_allowed()).then(|| Cut::Revoked(verdict.to_string()));
        }
        let server = exchange.server()?;
        let why = match servers(exchange) {
            Some(terms) => server.review(&terms).err()?.to_string(),
            None => "no route leads there any more".into(),
        };
        Some(Cut::Distrusted(why))
    }

    /// The keeper looks at its clocks again at `wake`.
    pub(super) fn wakes_at(&self, wake: Instant) {
        let wake = u64::try_from(wake.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        self.wakes_at.store(wake, Ordering::Relaxed);
    }

    /// Makes the keeper look at its clocks now, if something is due before it would.
    pub(super) fn nudge_before(&self, due: Option<Instant>) {
        let wakes_at = self.began + Duration::from_millis(self.wakes_at.load(Ordering::Relaxed));
        if due.is_some_and(|due| due < wakes_at) {
            self.nudge.notify_one();
        }
    }

    /// Cuts what took too long.
    ///
    /// # Errors
    /// Why something was cut that is still there [`ENDING`] later, where only the end of the connection can help that: an answer is looked at
    /// again when more of it can be said, and the client takes nothing.
    pub(super) fn cut_overdue(&self, limits: &Limits) -> Result<(), Cut> {
        let now = Instant::now();
        for exchange in self.ongoing().iter() {
            if deadline(exchange, limits).is_none_or(|deadline| deadline > now) {
                continue;
            }
            match (exchange.cut_since(), &exchange.stream) {
                (None, _) => exchange.cut(overdue(exchange)),
                (Some(_), Some(stream)) => stream.reset(),
                (Some((why, _)), None) => return Err(why),
            }
        }
        Ok(())
    }

    /// When something under way that would be refused is at the end of its grace.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        self.ongoing().iter().filter_map(|exchange| exchange.refused_until()).min()
    }

    /// The first instant at which something under way is to be looked at.
    pub(super) fn next_deadline(&self, limits: &Limits) -> Option<Instant> {
        let ongoing = self.ongoing();
        let due = ongoing.iter().filter_map(|exchange| {
            let refused_until = exchange.refused_until();
            if exchange.cut_since().is_some() {
                return deadline(exchange, limits);
            }
            // One that is refused has nothing to fear of an expiry any more.
            let expiry = || exchange.server()?.expiry();
            [deadline(exchange, limits), refused_until.or_else(expiry)].into_iter().flatten().min()
        });
        due.min()
    }
}

/// Who is late where nothing moves.
fn overdue(exchange: &Exchange) -> Cut {
    match (exchange.is_answered(), exchange.waits_for_client()) {
        (true, _) => Cut::Idle,
        (false, true) => Cut::ClientTimeout,
        (false, false) => Cut::UpstreamTimeout,
    }
}

/// When an exchange on which nothing moves is cut, and one that was cut is ended by force; `None` once nothing more can be done. What moves in a
/// tunnel only its relay knows.
fn deadline(exchange: &Exchange, limits: &Limits) -> Option<Instant> {
    if let Some((_, since)) = exchange.cut_since() {
        let is_reset = exchange.stream.as_ref().is_some_and(|stream| stream.is_reset());
        return (!is_reset).then(|| since + ENDING);
    }
    if exchange.is_tunnel() {
        return None;
    }
    let limit = if exchange.is_answered() { limits.idle_timeout } else { limits.http.request_timeout };
    limit.map(|limit| exchange.moved_at() + limit)
}
