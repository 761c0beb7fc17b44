//! Follows the credentials on disk: any event, and the clock, means "look again"; a look settles, loads, and replaces the current
//! credentials whole, or leaves them as they are and says why.

mod follow;
mod outcome;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{CredentialStore, Identity, well_known_places};
use crate::watch::Hints;
use follow::Follower;
pub use status::{Age, CredentialStatus};

/// What a follower takes from the machine it runs on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The places tried where the configuration names none.
    pub well_known_places: Vec<PathBuf>,
    /// Whether to ask the file system for events; without, changes are seen by polling alone.
    pub events: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { well_known_places: well_known_places(), events: true }
    }
}

/// A running follower of credentials. Dropping it ends the task and every watch; so does cancelling the token it was started with.
#[derive(Debug)]
pub struct CredentialWatcher {
    identity: watch::Sender<Identity>,
    status: watch::Receiver<CredentialStatus>,
    hints: Arc<Hints>,
    _stop: DropGuard,
}

impl CredentialWatcher {
    /// Starts to feed `store` with the credentials of `identity`, as long as `stop` is not cancelled. Returns at once: the credentials
    /// may come later, or never.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(identity: Identity, store: Arc<CredentialStore>, stop: &CancellationToken) -> Self {
        Self::start_in(Surroundings::default(), identity, store, stop)
    }

    /// As [`CredentialWatcher::start`], on a machine described by the caller.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_in(
        surroundings: Surroundings,
        identity: Identity,
        store: Arc<CredentialStore>,
        stop: &CancellationToken,
    ) -> Self {
        let stop = stop.child_token();
        let hints = Arc::new(Hints::default());
        let (identity, identities) = watch::channel(identity);
        let (sender, status) = watch::channel(CredentialStatus::default());
        let follower = Follower::new(surroundings, identities, store, hints.clone(), sender);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follower.run()));
        Self { identity, status, hints, _stop: stop.drop_guard() }
    }

    /// Looks at the files as soon as possible, whatever the file system says.
    pub fn look_now(&self) {
        self.hints.give();
    }

    /// Follows another identity from now on. The credentials in use stay until those of the new one are good.
    pub fn follow(&self, identity: Identity) {
        self.identity.send_if_modified(|current| {
            let differs = *current != identity;
            *current = identity;
            differs
        });
    }

    /// How the credentials stand.
    pub fn status(&self) -> CredentialStatus {
        self.status.borrow().clone()
    }

    /// Follows the status: wakes when the credentials change, when what is on disk turns good or bad, and when they age. Counts alone
    /// wake nobody.
    pub fn statuses(&self) -> watch::Receiver<CredentialStatus> {
        self.status.clone()
    }
}
