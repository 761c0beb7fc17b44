//! One request and its answer while they are under way: what is known of them, what may cut them short, and the one line and one count at their
//! end, however they end.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{StatusCode, Version};
use tokio::time::Instant;

use super::access;
use super::balance::Endpoint;
use super::client::Client;
use super::moment::Moment;
use super::server::Server;
use super::understood::Understood;
use crate::metrics::RequestOutcome;
use crate::proxy::stream::Stream;

/// A request and its answer under way.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What it is served by.
    pub(super) moment: Arc<Moment>,
    /// As the policy sees it, and as it is forwarded.
    pub(super) asked: Understood,
    pub(super) version: Version,
    pub(super) began: Instant,
    /// Milliseconds after it began.
    moved: AtomicU64,
    /// The client has said all of its request.
    is_said: AtomicBool,
    /// Some of its body was asked for: it cannot be sent again.
    is_body_asked_for: AtomicBool,
    /// More of its body was asked for, and has not come.
    waits_for_client: AtomicBool,
    /// The head of the answer has come.
    is_answered: AtomicBool,
    /// It carries other bytes than HTTP's, and its relay looks at the clocks.
    is_tunnel: AtomicBool,
    /// What the client's side of the body went wrong with, if it did.
    fault: OnceLock<BodyFault>,
    sent: AtomicU64,
    received: AtomicU64,
    cut: Mutex<CutShort>,
    /// The end of its grace, while it would be refused.
    refused_until: Mutex<Option<Instant>>,
    /// Who answers, where that is to be looked at again; another one where it is sent again.
    server: Mutex<Option<Arc<Server>>>,
    /// The client's stream that it is on, in HTTP/2.
    pub(super) stream: Option<Arc<Stream>>,
}

/// What went wrong with the client's side of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// Longer than we take.
    TooLarge,
    /// It broke off.
    Broken,
}

/// Whether an exchange is cut short, and who is to be woken when it is.
#[derive(Debug, Default)]
struct CutShort {
    why: Option<(Cut, Instant)>,
    /// The youngest first. Up to three may work on it, each only for as long as it is polled: who waits for the answer, hyper's sender to the
    /// target, which looks at the body first, and what sends the rest of the body.
    wakers: [Option<Waker>; 3],
}

/// Why an exchange is cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    /// The client does not send the rest of its request.
    #[error("the client did not send the rest of its request within `request_timeout`")]
    ClientTimeout,
    /// The upstream does not answer.
    #[error("the upstream did not answer within `request_timeout`")]
    UpstreamTimeout,
    /// Nothing moves in the answer.
    #[error("nothing moved for `idle_timeout`")]
    Idle,
    /// The policy would not let it through any more.
    #[error("it is no longer let through: {0}")]
    Revoked(String),
    /// The server is no longer whom we expect.
    #[error("the server is no longer trusted: {0}")]
    Distrusted(String),
}

impl Exchange {
    /// A request that came in `version`.
    pub(super) fn new(moment: &Arc<Moment>, asked: Understood, version: Version) -> Self {
        Self {
            moment: moment.clone(),
            asked,
            version,
            began: Instant::now(),
            moved: AtomicU64::new(0),
            is_said: AtomicBool::new(false),
            is_body_asked_for: AtomicBool::new(false),
            waits_for_client: AtomicBool::new(false),
            is_answered: AtomicBool::new(false),
            is_tunnel: AtomicBool::new(false),
            fault: OnceLock::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            cut: Mutex::default(),
            refused_until: Mutex::default(),
            server: Mutex::default(),
            stream: Stream::current(),
        }
    }

    /// It is sent to this server.
    pub(super) fn meet(&self, server: Arc<Server>) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// The server that it was sent to last.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A byte moved.
    pub(super) fn touch(&self) {
        let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(after, Ordering::Relaxed);
    }

    /// When a byte last moved.
    pub(super) fn moved_at(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// The client has said all of it.
    pub(super) fn said(&self) {
        self.is_said.store(true, Ordering::Relaxed);
    }

    /// Somebody asked for a part of its body.
    pub(super) fn asked_for_body(&self) {
        self.is_body_asked_for.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_body_asked_for(&self) -> bool {
        self.is_body_asked_for.load(Ordering::Relaxed)
    }

    /// The upstream takes more of the client's body, which is there or not.
    pub(super) fn asked_for_more(&self, is_there: bool) {
        self.waits_for_client.store(!is_there, Ordering::Relaxed);
    }

    /// Whether it is the client who keeps the upstream from answering: what nobody asks the client for it need not send.
    pub(super) fn waits_for_client(&self) -> bool {
        !self.is_said.load(Ordering::Relaxed) && self.waits_for_client.load(Ordering::Relaxed)
    }

    /// The head of the answer has come.
    pub(super) fn answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
        self.touch();
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Relaxed)
    }

    /// Both sides of it carry other bytes from now on.
    pub(super) fn becomes_tunnel(&self) {
        self.is_tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn faulted(&self, fault: BodyFault) {
        let _ = self.fault.set(fault);
    }

    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get().copied()
    }

    /// Cuts it short; whoever works on it is woken and finds out why.
    pub(super) fn cut(&self, why: Cut) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.why.get_or_insert_with(|| (why, Instant::now()));
        cut.wakers.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }

    /// Takes in what an examination said. What would be refused now is cut after its grace, unless that is taken back before.
    pub(super) fn examined(&self, refused: Option<Cut>, grace: Duration) {
        let mut until = self.refused_until.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            None => *until = None,
            Some(why) => {
                let now = Instant::now();
                if *until.get_or_insert(now + grace) <= now {
                    self.cut(why);
                }
            }
        }
    }

    /// The end of its grace, while it would be refused.
    pub(super) fn refused_until(&self) -> Option<Instant> {
        *self.refused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the request's body that went on.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of the answer's body that came back.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until it is cut short.
    pub(super) async fn when_cut(&self) -> Cut {
        poll_fn(|cx| self.why_cut(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Why it was cut short, if it was; otherwise the task is woken when it is.
    pub(super) fn why_cut(&self, cx: &Context<'_>) -> Option<Cut> {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if cut.why.is_none() && !cut.wakers.iter().flatten().any(|waker| waker.will_wake(cx.waker())) {
            cut.wakers.rotate_right(1);
            let [youngest, ..] = &mut cut.wakers;
            *youngest = Some(cx.waker().clone());
        }
        cut.why.as_ref().map(|(why, _)| why.clone())
    }

    /// Why and when it was cut short, if it was.
    pub(super) fn cut_since(&self) -> Option<(Cut, Instant)> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).why.clone()
    }
}

/// Holds an exchange open; dropping it ends the exchange and writes it down.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) client: Arc<Client>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) told: Told,
}

/// What there is to tell of an exchange besides what the exchange itself knows.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outcome: RequestOutcome,
    pub(super) status: Option<StatusCode>,
    pub(super) rule: Option<Arc<str>>,
    pub(super) route: Option<Arc<str>>,
    pub(super) target: Option<Arc<Endpoint>>,
    /// What the client was told to ask the operator with.
    pub(super) id: Option<String>,
    /// Why it was refused or went wrong.
    pub(super) reason: Option<String>,
    pub(super) is_denied: bool,
    pub(super) resends: usize,
}

impl Guard {
    /// Opens an exchange.
    pub(super) fn open(client: &Arc<Client>, exchange: Exchange) -> Self {
        let exchange = Arc::new(exchange);
        client.began(&exchange);
        let told = Told {
            // Until something better is known: whoever asked has gone.
            outcome: RequestOutcome::Cancelled,
            status: None,
            rule: None,
            route: None,
            target: None,
            id: None,
            reason: None,
            is_denied: false,
            resends: 0,
        };
        Self { client: client.clone(), exchange, told }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody may have come to notice the cut: the client took no byte any more.
        if self.told.outcome == RequestOutcome::Cancelled
            && let Some((why, _)) = self.exchange.cut_since()
        {
            self.told.outcome = RequestOutcome::Cut;
            self.told.reason.get_or_insert_with(|| why.to_string());
        }
        self.client.ended(&self.exchange, self.told.outcome);
        access::write(&self.client, &self.exchange, &self.told);
    }
}
