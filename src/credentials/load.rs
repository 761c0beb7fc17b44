//! From the bytes of a set to credentials: parsed, checked as a whole, all or nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::error::Malformed;
use super::finding::{Finding, of_leaf, of_roots};
use super::read::FileRead;
use super::set::{FileSet, Reading, well_known_places};
use super::{Credentials, CredentialsError, Identity, Layout, Role, X509Svid};
use crate::spiffe::{
    BundleError, DroppedRoot, Leaf, Rejection, TrustBundle, TrustBundles, TrustDomain, UnixTime, Usage, verify,
};

/// How often a set that is just being swapped is looked at before its state counts, and the pause between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Credentials that passed every check, and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The credentials.
    pub credentials: Credentials,
    /// Which files they were read from.
    pub layout: Layout,
    /// The directory as it was given, or the place where they were found.
    pub place: PathBuf,
    /// What that led to.
    pub directory: PathBuf,
    /// What an operator should know though the set is good.
    pub findings: Vec<Finding>,
}

/// Reads and checks the credentials of `identity` once. A swap that happens just then is waited out for a tenth of a second; this
/// blocks.
///
/// # Errors
/// When the files are not there, or are no whole set that holds at `now`.
pub fn load(identity: &Identity, now: UnixTime) -> Result<Loaded, CredentialsError> {
    load_from(identity, &well_known_places(), now)
}

/// As [`load`], with other well-known places.
///
/// # Errors
/// As [`load`].
pub fn load_from(identity: &Identity, places: &[PathBuf], now: UnixTime) -> Result<Loaded, CredentialsError> {
    let mut tries = 1;
    loop {
        let reading = FileSet::open(&identity.source, places).and_then(|set| set.read());
        match reading.and_then(|reading| check(&reading, identity, now)) {
            Err(error) if tries < TRIES && may_be_a_swap(&error) => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Whether this is how a rotation looks to someone who reads in its middle.
fn may_be_a_swap(error: &CredentialsError) -> bool {
    matches!(error, CredentialsError::NotThere(_) | CredentialsError::Nowhere(_) | CredentialsError::KeyMismatch { .. })
}

/// Checks a whole set: the key is the leaf's, the leaf is an X.509-SVID inside its validity, and its chain reaches the bundle of its own
/// trust domain, as a client's and as a server's.
pub(super) fn check(reading: &Reading, identity: &Identity, now: UnixTime) -> Result<Loaded, CredentialsError> {
    let key = private_key(reading)?;
    let chain = certificates(reading)?;
    let certificates = reading.path_of(|role| matches!(role, Role::Certificates | Role::KeyAndCertificates));
    let rejected = |rejection| CredentialsError::Rejected { certificates: certificates.clone(), rejection };
    let leaf_der = chain.first().ok_or_else(|| rejected(Rejection::NoCertificate))?;
    let leaf = Leaf::check(leaf_der).map_err(|error| rejected(Rejection::Leaf(error)))?;
    let mut findings = of_leaf(leaf_der);
    let own = identity.trust_domain.as_ref();
    let Trust { bundles, dropped } = trust(reading, own.unwrap_or_else(|| leaf.id.trust_domain()))?;
    let key = certified(&key, chain, reading)?;
    let valid_until = match prove(&key.cert, &bundles, now) {
        Err(Rejection::NoRoots(domain)) if is_revocation(&domain, &dropped, reading) && leaf_holds(&leaf, now) => {
            findings.push(Finding::OwnTrustRevoked(domain));
            leaf.not_after
        }
        proven => proven.map_err(rejected)?,
    };
    if let Some(expected) = identity.expected_id.as_ref().filter(|expected| **expected != leaf.id) {
        return Err(CredentialsError::UnexpectedId { found: leaf.id, expected: expected.clone() });
    }
    findings.extend(reading.findings());
    let roots = of_roots(&bundles, dropped, now);
    findings.extend(roots.into_iter().filter(|finding| *finding != Finding::NoRoots(leaf.id.trust_domain().clone())));
    Ok(Loaded {
        credentials: Credentials {
            svid: X509Svid { id: leaf.id, key: Arc::new(key), valid_until },
            bundles: Arc::new(bundles),
        },
        layout: reading.layout,
        place: reading.place.clone(),
        directory: reading.resolved.clone(),
        findings,
    })
}

/// Our chain as a peer will see it, on either side of TLS.
fn prove(chain: &[CertificateDer<'_>], bundles: &TrustBundles, now: UnixTime) -> Result<UnixTime, Rejection> {
    let as_client = verify(chain, bundles, Usage::Client, now)?;
    let as_server = verify(chain, bundles, Usage::Server, now)?;
    Ok(as_client.valid_until.min(as_server.valid_until))
}

/// SPIFFE Trust Domain and Bundle §4.2.2: a domain whose bundle is empty trusts none of its SVIDs. A map that says so of our own domain
/// is taken, so that the revocation reaches our peers' connections; roots that are there but of no use are a broken file instead.
fn is_revocation(domain: &TrustDomain, dropped: &[(TrustDomain, DroppedRoot)], reading: &Reading) -> bool {
    let by_map = reading.find(|role| matches!(role, Role::BundleMap | Role::AnyTrust)).is_some();
    by_map && !dropped.iter().any(|(of, _)| of == domain)
}

fn leaf_holds(leaf: &Leaf, now: UnixTime) -> bool {
    leaf.not_before <= now && now <= leaf.not_after
}

/// The one private key.
pub(super) fn private_key(reading: &Reading) -> Result<Zeroizing<PrivateKeyDer<'static>>, CredentialsError> {
    let file = reading.file(Role::holds_key)?;
    let malformed = |reason| file.malformed(reason);
    let sections = PrivateKeyDer::pem_slice_iter(&file.bytes).map(|key| key.map(Zeroizing::new));
    let mut keys = sections.collect::<Result<Vec<_>, _>>().map_err(|_| malformed(Malformed::Pem))?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(malformed(Malformed::SeveralKeys(others + 1))),
        (None, _) if file.bytes.is_empty() => Err(malformed(Malformed::Empty)),
        (None, _) if contains(&file.bytes, b"ENCRYPTED") => Err(malformed(Malformed::EncryptedKey)),
        (None, _) => Err(malformed(Malformed::NoKey)),
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The chain, leaf first.
pub(super) fn certificates(reading: &Reading) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let file = reading.file(|role| matches!(role, Role::Certificates | Role::KeyAndCertificates))?;
    let chain = CertificateDer::pem_slice_iter(&file.bytes).collect::<Result<Vec<_>, _>>();
    match chain.map_err(|_| file.malformed(Malformed::Pem))? {
        chain if !chain.is_empty() => Ok(chain),
        _ if file.bytes.is_empty() => Err(file.malformed(Malformed::Empty)),
        _ => Err(file.malformed(Malformed::NoCertificate)),
    }
}

/// The roots of every trust domain in the set, and what was left out.
pub(super) struct Trust {
    pub(super) bundles: TrustBundles,
    pub(super) dropped: Vec<(TrustDomain, DroppedRoot)>,
}

/// Reads every trust file. PEM roots that name no trust domain speak for `own`, never for any.
pub(super) fn trust(reading: &Reading, own: &TrustDomain) -> Result<Trust, CredentialsError> {
    let mut trust = Trust { bundles: TrustBundles::default(), dropped: Vec::new() };
    for file in &reading.files {
        let read = match &file.role {
            Role::PrivateKey | Role::Certificates | Role::KeyAndCertificates => Ok(()),
            Role::BundleMap => trust.add_map(&file.bytes),
            Role::Roots => trust.add_roots(own, &file.bytes),
            Role::RootsOf(domain) => trust.add_roots(domain, &file.bytes),
            Role::AnyTrust if looks_like_json(file) => trust.add_map(&file.bytes),
            Role::AnyTrust => trust.add_roots(own, &file.bytes),
        };
        read.map_err(|reason| match reason {
            _ if file.bytes.is_empty() => file.malformed(Malformed::Empty),
            reason => CredentialsError::TrustBundle { path: file.path.clone(), reason },
        })?;
    }
    Ok(trust)
}

/// A file named `.json`, or any whose first character opens an object.
fn looks_like_json(file: &FileRead) -> bool {
    file.path.extension().is_some_and(|extension| extension == "json")
        || file.bytes.trim_ascii_start().starts_with(b"{")
}

impl Trust {
    fn add_map(&mut self, json: &[u8]) -> Result<(), BundleError> {
        let (bundles, dropped) = TrustBundles::from_json(json)?;
        self.bundles = bundles;
        self.dropped.extend(dropped);
        Ok(())
    }

    fn add_roots(&mut self, domain: &TrustDomain, pem: &[u8]) -> Result<(), BundleError> {
        let (bundle, dropped) = TrustBundle::from_pem(pem)?;
        self.bundles.insert(domain.clone(), bundle);
        self.dropped.extend(dropped.into_iter().map(|root| (domain.clone(), root)));
        Ok(())
    }
}

/// The key with its chain, once it is known to be the leaf's.
fn certified(
    key: &PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    reading: &Reading,
) -> Result<CertifiedKey, CredentialsError> {
    let file = reading.file(Role::holds_key)?;
    let key = any_supported_type(key).map_err(|_| file.malformed(Malformed::UnsupportedKey))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(_) => Err(CredentialsError::KeyMismatch {
            private_key: file.path.clone(),
            certificates: reading.path_of(|role| matches!(role, Role::Certificates | Role::KeyAndCertificates)),
        }),
    }
}

impl Reading {
    fn file(&self, wanted: impl Fn(&Role) -> bool) -> Result<&FileRead, CredentialsError> {
        self.find(wanted).ok_or_else(|| CredentialsError::Nothing(self.place.clone()))
    }

    fn path_of(&self, wanted: impl Fn(&Role) -> bool) -> PathBuf {
        self.find(wanted).map(|file| file.path.clone()).unwrap_or_default()
    }
}

impl FileRead {
    fn malformed(&self, reason: Malformed) -> CredentialsError {
        CredentialsError::Malformed { path: self.path.clone(), reason }
    }
}
