//! Our own credentials: read from disk as one coherent set, handed out as one value, replaced whole.

mod error;
mod finding;
mod inspect;
mod layout;
mod load;
mod read;
mod role;
mod set;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::watch as channel;

use crate::spiffe::{SpiffeId, TrustBundles, TrustDomain, UnixTime};
pub use error::{CredentialsError, Malformed, Ownership, Unreadable};
pub use finding::Finding;
pub use inspect::{FileFacts, Inspection, RootFacts, TrustDomainFacts, inspect};
pub use layout::Layout;
pub use load::{Loaded, load, load_from};
pub use role::Role;
pub use set::well_known_places;
pub use watch::{Age, CredentialStatus, CredentialWatcher, Surroundings};

/// Where our own credentials come from, and what they must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Where the files are.
    pub source: Source,
    /// The trust domain that a PEM trust bundle speaks for; the own SVID's where not given.
    pub trust_domain: Option<TrustDomain>,
    /// The only ID that we accept as our own; any where not given.
    pub expected_id: Option<SpiffeId>,
    /// How often the files are looked at even when nothing reports a change.
    pub poll_interval: Duration,
}

/// Where the credential files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The well-known places, tried in order.
    WellKnown,
    /// A directory whose layout its file names tell.
    Directory(PathBuf),
    /// Files named one by one.
    Files {
        /// PEM certificates, leaf first; may be the same file as `private_key`.
        certificates: PathBuf,
        /// The PEM key.
        private_key: PathBuf,
        /// A SPIFFE bundle map (`.json`) or PEM roots.
        trust_bundle: PathBuf,
    },
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            source: Source::WellKnown,
            trust_domain: None,
            expected_id: None,
            poll_interval: Duration::from_secs(10),
        }
    }
}

/// Our own X.509-SVID.
///
/// Invariant: the key matches the leaf, and the leaf obeys every rule of an X.509-SVID.
#[derive(Clone)]
pub struct X509Svid {
    /// The ID that the leaf proves.
    pub id: SpiffeId,
    /// The chain, leaf first, and its key, as rustls wants them.
    pub key: Arc<CertifiedKey>,
    /// The first instant at which a certificate of its path expires.
    pub valid_until: UnixTime,
}

impl X509Svid {
    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}

/// Shows whose it is, never the key.
impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid").field("id", &self.id).field("valid_until", &self.valid_until).finish_non_exhaustive()
    }
}

/// One coherent reading: our SVID, and whom we trust. Never half of one generation and half of another.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Our own SVID.
    pub svid: X509Svid,
    /// The roots of each trust domain. The same allocation as in the generation before where no root changed.
    pub bundles: Arc<TrustBundles>,
}

impl Credentials {
    /// Whether they may be used at `now`.
    ///
    /// # Errors
    /// When the own leaf has expired: an expired leaf is never presented.
    pub fn usable_at(&self, now: UnixTime) -> Result<(), Unusable> {
        if now > self.svid.valid_until { Err(Unusable::Expired) } else { Ok(()) }
    }

    /// Whether both would prove and trust the same: a rewrite that changes no certificate is no rotation. The key need not be
    /// compared: it matches the leaf.
    pub fn same_as(&self, other: &Self) -> bool {
        self.svid.chain() == other.svid.chain() && self.bundles == other.bundles
    }
}

/// Why there are no credentials to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// None were read yet.
    #[error("there are no credentials yet")]
    Missing,
    /// The last good ones have expired.
    #[error("the own certificate has expired and no newer one could be read")]
    Expired,
}

/// Hands out the current credentials; one writer replaces them whole.
#[derive(Debug)]
pub struct CredentialStore {
    current: channel::Sender<Option<Arc<Credentials>>>,
}

impl Default for CredentialStore {
    fn default() -> Self {
        Self { current: channel::Sender::new(None) }
    }
}

impl CredentialStore {
    /// The last good credentials, expired or not.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.borrow().clone()
    }

    /// The credentials to use at `now`.
    ///
    /// # Errors
    /// When there are none, or the own leaf has expired: an expired leaf is never presented.
    pub fn usable(&self, now: UnixTime) -> Result<Arc<Credentials>, Unusable> {
        let current = self.current().ok_or(Unusable::Missing)?;
        current.usable_at(now).map(|()| current)
    }

    /// Follows the credentials: `changed` wakes at every new generation, and not for a rewrite of the same.
    pub fn subscribe(&self) -> channel::Receiver<Option<Arc<Credentials>>> {
        self.current.subscribe()
    }

    /// Puts `next` in place of the current credentials; `false` and no change where they are the same. Trust that did not change
    /// keeps its allocation, so that a holder sees by pointer that it need not look again.
    pub fn replace(&self, mut next: Credentials) -> bool {
        self.current.send_if_modified(|current| {
            if let Some(current) = current {
                if current.same_as(&next) {
                    return false;
                }
                if current.bundles == next.bundles {
                    next.bundles = current.bundles.clone();
                }
            }
            *current = Some(Arc::new(next));
            true
        })
    }
}
