//! Why a connection stands after its handshake, and what ends it: what let the peer in is looked at again whenever the policy or the trust
//! changes, and when a certificate of its path expires.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::ConnectionError;
use super::relay::{End, Relay};
use super::service::Service;
use crate::config::{Limits, OnExpiry};
use crate::spiffe::{UnixTime, Usage};
use crate::tls::{PeerIdentity, Refusal, Terms};

/// The longest sleep until an expiry: the wall clock may be set while we sleep, and the sleep would not know.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// What all connections of a listener must know now.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// What the listener does with a new connection, or a new request.
    pub(super) service: Arc<Service>,
    /// On what terms peers are let in; `None` until the first credentials are read.
    pub(super) terms: Option<Arc<Terms>>,
    /// Nothing new comes in: whoever can end without loss, shall.
    pub(super) draining: bool,
    /// End at once: the drain timeout is over.
    pub(super) forced: bool,
}

/// One connection's view of the orders, taken when it is accepted so that no change slips between.
#[derive(Clone, Debug)]
pub(super) struct Following(watch::Receiver<Orders>);

impl Following {
    /// From the orders of now on, with the service and the terms that these name: both of one moment, so that no peer is let in by one
    /// configuration to the target of another.
    pub(super) fn from_now(orders: &watch::Sender<Orders>) -> (Self, Arc<Service>, Option<Arc<Terms>>) {
        let mut following = orders.subscribe();
        let Orders { service, terms, .. } = following.borrow_and_update().clone();
        (Self(following), service, terms)
    }

    /// Waits for the next orders; they count as seen. `None` where the listener is gone.
    pub(super) async fn changed(&mut self) -> Option<Orders> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Whether there are orders that were not seen yet.
    pub(super) fn has_changed(&self) -> bool {
        self.0.has_changed().unwrap_or(true) // the last ones, where nobody gives any more
    }

    /// The orders of this moment; they count as seen.
    pub(super) fn catch_up(&mut self) -> Orders {
        self.0.borrow_and_update().clone()
    }

    /// The orders of this moment, seen before or not.
    pub(super) fn now(&self) -> watch::Ref<'_, Orders> {
        self.0.borrow()
    }

    /// Does `work`, unless the connection is forced to end first.
    pub(super) async fn unless_forced<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ConnectionError>
    where
        ConnectionError: From<E>,
    {
        let mut orders = self.0.clone();
        tokio::select! {
            biased;
            _ = orders.wait_for(|orders| orders.forced) => Err(ConnectionError::Forced),
            done = work => done.map_err(ConnectionError::from),
        }
    }
}

/// Why an established connection stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) terms: Arc<Terms>,
    pub(super) peer: PeerIdentity,
    /// What the peer's certificate speaks for.
    pub(super) usage: Usage,
    pub(super) on_expiry: OnExpiry,
    /// The chain that the peer presented, leaf first, where the connection is not at hand to be asked for it.
    pub(super) chain: Option<Arc<[CertificateDer<'static>]>>,
}

impl Standing {
    /// Examines the peer again if the terms decide otherwise than those it was let in on. Those are let go of in any case: our old key lives
    /// no longer than it must. `presented` is the peer's chain as its connection has it.
    pub(super) fn review(
        &mut self,
        terms: Option<Arc<Terms>>,
        presented: &[CertificateDer<'_>],
    ) -> Option<Result<(), Box<Refusal>>> {
        let terms = terms?;
        let same = terms.same_as(&self.terms);
        self.terms = terms;
        (!same).then(|| self.examine(presented))
    }

    /// Examines the peer again, as in its handshake, on the terms and at the instant of now; an expiry that shall not count is looked at from
    /// the last instant before it.
    pub(super) fn examine(&mut self, presented: &[CertificateDer<'_>]) -> Result<(), Box<Refusal>> {
        let now = match self.on_expiry {
            OnExpiry::Close => UnixTime::now(),
            OnExpiry::Keep => UnixTime::now().min(self.peer.valid_until()),
        };
        self.peer = match &self.chain {
            Some(chain) => self.terms.authenticate(chain, self.usage, now)?,
            None => self.terms.authenticate(presented, self.usage, now)?,
        };
        Ok(())
    }

    /// Whether a certificate of the peer's path has expired, where that counts.
    pub(super) fn has_expired(&self) -> bool {
        self.on_expiry == OnExpiry::Close && UnixTime::now() > self.peer.valid_until()
    }

    /// When to look again although no order comes: at the expiry of the peer's path. `None` where an expiry does not count.
    pub(super) fn expiry(&self) -> Option<Instant> {
        let left = || {
            let left = self.peer.valid_until().as_secs().saturating_sub(UnixTime::now().as_secs());
            // A certificate is valid through its last second (RFC 5280 §4.1.2.5).
            Instant::now() + Duration::from_secs(left.saturating_add(1)).min(LONGEST_SLEEP)
        };
        (self.on_expiry == OnExpiry::Close).then(left)
    }
}

/// A refusal of an open connection, and the end of its grace.
pub(super) struct Closing(Option<(Instant, Box<Refusal>)>);

impl Closing {
    pub(super) fn not_yet() -> Self {
        Self(None)
    }

    /// Takes in what an examination said. What refused the peer may be taken back within the grace.
    ///
    /// # Errors
    /// When the peer is refused and there is no grace.
    pub(super) fn examined(
        &mut self,
        examined: Result<(), Box<Refusal>>,
        grace: Duration,
    ) -> Result<(), ConnectionError> {
        match examined {
            Ok(()) => self.0 = None,
            Err(refusal) if grace.is_zero() => return Err(ConnectionError::Revoked(refusal)),
            Err(refusal) if self.0.is_none() => self.0 = Some((Instant::now() + grace, refusal)),
            Err(_) => {}
        }
        Ok(())
    }

    /// The end of the grace.
    pub(super) fn at(&self) -> Option<Instant> {
        self.0.as_ref().map(|(at, _)| *at)
    }

    /// # Errors
    /// When the grace is over.
    pub(super) fn check(&mut self) -> Result<(), ConnectionError> {
        match self.0.take_if(|(at, _)| *at <= Instant::now()) {
            Some((_, refusal)) => Err(ConnectionError::Revoked(refusal)),
            None => Ok(()),
        }
    }
}

/// Runs the relay for as long as the connection stands, on the terms that `terms` reads off new orders.
///
/// # Errors
/// Why it ended other than cleanly; both sides then see a reset, except after an idle time in which nothing was left to deliver.
pub(super) async fn keep(
    relay: &mut Relay,
    mut standing: Standing,
    mut following: Following,
    limits: &Limits,
    terms: impl Fn(&Orders) -> Option<Arc<Terms>>,
) -> Result<(), ConnectionError> {
    let mut closing = Closing::not_yet();
    let error = loop {
        let wake = next_wake(relay, &standing, &closing, limits);
        // Orders and clocks before bytes: a relay that never has to wait uses up all that its task may do in one turn.
        let examined = tokio::select! {
            biased;
            orders = following.changed() => match orders {
                // No sender is left where the listener is gone: then so must we be.
                None | Some(Orders { forced: true, .. }) => break ConnectionError::Forced,
                Some(orders) => standing.review(terms(&orders), relay.peer_chain()),
            },
            () = sleep_until(wake) => {
                if let Some(limit) = idle_limit(relay, limits).filter(|limit| relay.last_moved().elapsed() >= *limit) {
                    relay.finish().await;
                    return Err(ConnectionError::Idle(humantime::format_duration(limit)));
                }
                if let Err(over) = closing.check() {
                    break over;
                }
                Some(standing.examine(relay.peer_chain()))
            }
            end = relay.run() => match end {
                Ok(End::Both) => return Ok(()),
                Ok(End::Half) => None, // from here on another timeout counts
                Err(broken) => break broken.into(),
            },
        };
        if let Some(Err(over)) = examined.map(|examined| closing.examined(examined, limits.close_grace)) {
            break over;
        }
    };
    relay.abort();
    Err(error)
}

/// When to look again although no byte moves and no order comes.
fn next_wake(relay: &Relay, standing: &Standing, closing: &Closing, limits: &Limits) -> Instant {
    let idle = idle_limit(relay, limits).map(|limit| relay.last_moved() + limit);
    let expiry = standing.expiry().filter(|_| closing.at().is_none());
    let wake = [closing.at(), idle, expiry].into_iter().flatten().min();
    wake.unwrap_or_else(|| Instant::now() + LONGEST_SLEEP)
}

fn idle_limit(relay: &Relay, limits: &Limits) -> Option<Duration> {
    let half_close = limits.half_close_timeout.filter(|_| relay.is_half_closed());
    [half_close, limits.idle_timeout].into_iter().flatten().min()
}
