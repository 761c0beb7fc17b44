//! The proven peer at the other end of an upstream connection, and for how long it may be sent requests.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::proxy::live::Standing;
use crate::spiffe::{SpiffeId, UnixTime};
use crate::tls::{Refusal, Terms};

/// A connection gets no new request so shortly before our own certificate on it expires: the peer may end it at that instant.
const MARGIN: Duration = Duration::from_secs(30);

/// After a rotation, connections made with the old certificate are given up within this time, not all at once.
const SUPERSEDED: Duration = Duration::from_secs(60);

/// Who is at the other end of an upstream connection.
#[derive(Debug)]
pub(super) struct Server {
    id: SpiffeId,
    /// What we presented.
    made_with: Arc<Credentials>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    refused: Option<Box<Refusal>>,
    retires: Option<Instant>,
}

impl Server {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            id: standing.peer.id().clone(),
            made_with: standing.terms.credentials.clone(),
            state: Mutex::new(State { standing, refused: None, retires: None }),
        }
    }

    pub(super) fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Its standing, for a tunnel that nothing else will follow.
    pub(super) fn standing(&self) -> Standing {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing.clone()
    }

    /// Examines it again where the terms decide otherwise than before, or a certificate of its path has expired.
    ///
    /// # Errors
    /// When it would be refused now.
    pub(super) fn review(&self, terms: &Arc<Terms>) -> Result<(), Box<Refusal>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let reviewed = match (state.standing.review(Some(terms.clone()), &[]), &state.refused) {
            (Some(reviewed), _) => reviewed,
            (None, Some(refusal)) => Err(refusal.clone()),
            (None, None) if state.standing.has_expired() => state.standing.examine(&[]),
            (None, None) => Ok(()),
        };
        state.refused = reviewed.clone().err();
        reviewed
    }

    /// Whether a connection to it may be given a further request.
    pub(super) fn takes_requests(&self, terms: &Arc<Terms>, now: Instant) -> bool {
        if self.review(terms).is_err() || self.made_with.usable_at(UnixTime::since_unix_epoch(in_future())).is_err() {
            return false;
        }
        if Arc::ptr_eq(&self.made_with, &terms.credentials) {
            return true;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.retires.get_or_insert_with(|| now + some_of(SUPERSEDED)) > now
    }

    /// When to look at it again although no order comes.
    pub(super) fn expiry(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing.expiry()
    }
}

/// Some seconds after the epoch, a little later than now.
fn in_future() -> Duration {
    Duration::from_secs(UnixTime::now().as_secs()) + MARGIN
}

/// A part of `whole`, another one each time.
fn some_of(whole: Duration) -> Duration {
    let random = RandomState::new().hash_one(whole);
    whole.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
