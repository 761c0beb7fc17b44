//! A connection's life after its handshake: bytes move until it ends, sits idle too long, or would no longer be let in. What let the peer in is
//! looked at again whenever the policy or the trust changes, and when a certificate of its path expires.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Service;
use super::error::ConnectionError;
use super::relay::{End, Relay};
use crate::config::{Limits, OnExpiry};
use crate::spiffe::{UnixTime, Usage};
use crate::tls::{PeerIdentity, Refusal, Terms};

/// The longest sleep until an expiry: the wall clock may be set while we sleep, and the sleep would not know.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// What all connections of a listener must know now.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// What the listener does with a new connection.
    pub(super) service: Arc<Service>,
    /// On what terms peers are let in; `None` until the first credentials are read.
    pub(super) terms: Option<Arc<Terms>>,
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

/// Why an established connection stands, and what would end it.
pub(super) struct Standing<'a> {
    pub(super) following: Following,
    pub(super) terms: Arc<Terms>,
    pub(super) peer: PeerIdentity,
    /// What the peer's certificate speaks for.
    pub(super) usage: Usage,
    pub(super) on_expiry: OnExpiry,
    pub(super) limits: &'a Limits,
}

impl Standing<'_> {
    /// Runs the relay for as long as the connection stands.
    ///
    /// # Errors
    /// Why it ended other than cleanly; both sides then see a reset, except after an idle time in which nothing was left to deliver.
    pub(super) async fn keep(mut self, relay: &mut Relay) -> Result<(), ConnectionError> {
        let mut closing: Option<(Instant, Box<Refusal>)> = None;
        let error = loop {
            let wake = self.next_wake(relay, closing.as_ref().map(|(at, _)| *at));
            // Orders and clocks before bytes: a relay that never has to wait uses up all that its task may do in one turn.
            let examined = tokio::select! {
                biased;
                changed = self.following.0.changed() => {
                    // No sender is left where the listener is gone: then so must we be.
                    if changed.is_err() || self.following.0.borrow().forced {
                        break ConnectionError::Forced;
                    }
                    self.review(relay)
                }
                () = sleep_until(wake) => {
                    if let Some(limit) = self.idle_limit(relay).filter(|limit| relay.last_moved().elapsed() >= *limit) {
                        relay.finish().await;
                        return Err(ConnectionError::Idle(humantime::format_duration(limit)));
                    }
                    if let Some((_, refusal)) = closing.take_if(|(at, _)| *at <= Instant::now()) {
                        break ConnectionError::Revoked(refusal);
                    }
                    Some(self.examine(relay))
                }
                end = relay.run() => match end {
                    Ok(End::Both) => return Ok(()),
                    Ok(End::Half) => None, // from here on another timeout counts
                    Err(broken) => break broken.into(),
                },
            };
            match examined {
                Some(Ok(())) => closing = None, // what refused it was taken back within the grace
                Some(Err(refusal)) if self.limits.close_grace.is_zero() => break ConnectionError::Revoked(refusal),
                Some(Err(refusal)) if closing.is_none() => {
                    closing = Some((Instant::now() + self.limits.close_grace, refusal));
                }
                Some(Err(_)) | None => {}
            }
        };
        relay.abort();
        Err(error)
    }

    /// When to look again although no byte moves and no order comes.
    fn next_wake(&self, relay: &Relay, closing: Option<Instant>) -> Instant {
        let idle = self.idle_limit(relay).map(|limit| relay.last_moved() + limit);
        let expiry = || {
            let left = self.peer.valid_until().as_secs().saturating_sub(UnixTime::now().as_secs());
            // A certificate is valid through its last second (RFC 5280 §4.1.2.5).
            Instant::now() + Duration::from_secs(left.saturating_add(1)).min(LONGEST_SLEEP)
        };
        let expiry = (closing.is_none() && self.on_expiry == OnExpiry::Close).then(expiry);
        let wake = [closing, idle, expiry].into_iter().flatten().min();
        wake.unwrap_or_else(|| Instant::now() + LONGEST_SLEEP)
    }

    fn idle_limit(&self, relay: &Relay) -> Option<Duration> {
        let half_close = self.limits.half_close_timeout.filter(|_| relay.is_half_closed());
        [half_close, self.limits.idle_timeout].into_iter().flatten().min()
    }

    /// Examines the peer again if the terms decide otherwise than those it was let in on. Those are let go of in any case: our old key lives
    /// no longer than it must.
    fn review(&mut self, relay: &Relay) -> Option<Result<(), Box<Refusal>>> {
        let terms = self.following.0.borrow_and_update().terms.clone()?;
        let same = terms.same_as(&self.terms);
        self.terms = terms;
        (!same).then(|| self.examine(relay))
    }

    /// Examines the peer again, as in its handshake, on the terms and at the instant of now; an expiry that shall not count is looked at from
    /// the last instant before it.
    fn examine(&mut self, relay: &Relay) -> Result<(), Box<Refusal>> {
        let now = match self.on_expiry {
            OnExpiry::Close => UnixTime::now(),
            OnExpiry::Keep => UnixTime::now().min(self.peer.valid_until()),
        };
        self.peer = self.terms.authenticate(relay.peer_chain(), self.usage, now)?;
        Ok(())
    }
}
