//! Path validation (RFC 5280 §6, X509-SVID §5): from a chain of certificates to a proven SPIFFE ID, against the roots of its own
//! trust domain and no other.

use std::cell::Cell;
use std::sync::LazyLock;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};

use super::facts::{bounded, rfc3339};
use super::svid::{Signer, check_signer};
use super::{Leaf, SpiffeId, SvidError, TrustBundle, TrustBundles, TrustDomain};

/// The most certificates in a chain that we look at. webpki has a budget of its own; this bounds what is parsed before it.
const MAX_CHAIN: usize = 10;

/// The signature algorithms of the one crypto provider.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms);

/// Which side of TLS the certificates speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The leaf authenticates a client: an extended key usage on the path must allow clientAuth.
    Client,
    /// The leaf authenticates a server: an extended key usage on the path must allow serverAuth.
    Server,
}

/// A chain that holds: whose it is, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The SPIFFE ID that the leaf proves.
    pub id: SpiffeId,
    /// The first instant at which the leaf, an intermediate or the root of this path expires.
    pub valid_until: UnixTime,
}

/// Verifies `chain`, leaf first, at `now`: the leaf's rules, then a path to a root of the leaf's own trust domain (SPIFFE Trust Domain
/// and Bundle §3), each signing certificate fit to sign (X509-SVID §3.2) and each certificate inside its validity. Certificates may
/// come in any order behind the leaf, and unrelated ones do no harm.
///
/// # Errors
/// The first stage that fails, with the detail for an operator. The detail is not for the peer.
pub fn verify(
    chain: &[CertificateDer<'_>],
    bundles: &TrustBundles,
    usage: Usage,
    now: UnixTime,
) -> Result<Verified, Rejection> {
    let [leaf_der, intermediates @ ..] = chain else {
        return Err(Rejection::NoCertificate);
    };
    if chain.len() > MAX_CHAIN {
        return Err(Rejection::TooManyCertificates(chain.len()));
    }
    let leaf = Leaf::check(leaf_der).map_err(Rejection::Leaf)?;
    let trust_domain = leaf.id.trust_domain();
    let bundle = bundles.get(trust_domain).ok_or_else(|| Rejection::UnknownTrustDomain(trust_domain.clone()))?;
    if bundle.roots().is_empty() {
        return Err(Rejection::NoRoots(trust_domain.clone()));
    }
    if now < leaf.not_before {
        return Err(Rejection::NotYetValid(leaf.not_before));
    }
    if now > leaf.not_after {
        return Err(Rejection::Expired(leaf.not_after));
    }
    let path_until = build_path(leaf_der, intermediates, bundle, usage, now)?;
    Ok(Verified { valid_until: leaf.not_after.min(path_until), id: leaf.id })
}

/// Finds a path from the leaf to a root and returns the first instant at which a signing certificate on it expires. webpki builds and
/// checks the path; what it leaves open is asked of each path it finds: whether the root is inside its validity, and whether the
/// intermediates may sign.
fn build_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    usage: Usage,
    now: UnixTime,
) -> Result<UnixTime, Rejection> {
    let entity = EndEntityCert::try_from(leaf).map_err(Rejection::Path)?;
    let until = Cell::new(None);
    let unfit = Cell::new(None);
    let verify_path = |path: &VerifiedPath<'_>| match check_path(path, bundle, now) {
        Ok(instant) => {
            until.set(Some(instant));
            Ok(())
        }
        Err(rejection) => {
            unfit.set(Some(rejection));
            Err(Error::UnknownIssuer)
        }
    };
    let key_usage = match usage {
        Usage::Client => KeyUsage::client_auth(),
        Usage::Server => KeyUsage::server_auth(),
    };
    let verified = entity.verify_for_usage(
        ALGORITHMS.all,
        bundle.anchors(),
        intermediates,
        now,
        key_usage,
        None,
        Some(&verify_path),
    );
    match verified {
        Ok(_) => until.into_inner().ok_or(Rejection::Path(Error::UnknownIssuer)),
        Err(error) => Err(unfit.into_inner().unwrap_or_else(|| Rejection::from(error))),
    }
}

/// What webpki does not ask of a path, and the first instant at which one of its signing certificates expires.
fn check_path(path: &VerifiedPath<'_>, bundle: &TrustBundle, now: UnixTime) -> Result<UnixTime, Rejection> {
    let root = bundle
        .anchors()
        .iter()
        .zip(bundle.roots())
        .find_map(|(anchor, root)| std::ptr::eq(anchor, path.anchor()).then_some(root))
        .ok_or(Rejection::Path(Error::UnknownIssuer))?;
    if !root.is_valid_at(now) {
        return Err(Rejection::RootOutsideValidity { expired: root.not_after() < now });
    }
    // webpki holds intermediates to their path length, anchors not.
    let intermediates = path.intermediate_certificates().count();
    if root.path_length().is_some_and(|most| intermediates > most) {
        return Err(Rejection::Path(Error::PathLenConstraintViolated));
    }
    path.intermediate_certificates().try_fold(root.not_after(), |until, intermediate| {
        let (_, not_after) =
            check_signer(&intermediate.der(), Signer::Intermediate).map_err(Rejection::Intermediate)?;
        Ok(until.min(not_after))
    })
}

/// Where in the examination a peer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// No certificate, or more than we look at.
    Certificate,
    /// The leaf is no X.509-SVID.
    Profile,
    /// The leaf's trust domain is not one of ours.
    TrustDomain,
    /// A certificate is outside its validity.
    Validity,
    /// No path to a root of its own trust domain.
    Chain,
    /// Proven, and not allowed.
    Policy,
}

impl Stage {
    /// The stage as logs and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Profile => "profile",
            Self::TrustDomain => "trust_domain",
            Self::Validity => "validity",
            Self::Chain => "chain",
            Self::Policy => "policy",
        }
    }
}

/// Why a chain proves nothing. Written for the operator: the peer learns the TLS alert only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The peer presented none.
    #[error("no certificate was presented")]
    NoCertificate,
    /// More certificates than are looked at.
    #[error("{0} certificates were presented; {MAX_CHAIN} are read at most")]
    TooManyCertificates(usize),
    /// The leaf breaks a rule of X509-SVID.
    #[error("{} ({})", .0, .0.rule())]
    Leaf(#[source] SvidError),
    /// The leaf's trust domain is in no bundle.
    #[error("no trust bundle for trust domain `{0}`")]
    UnknownTrustDomain(TrustDomain),
    /// The leaf's trust domain is known and has no roots: revoked.
    #[error("the trust bundle of trust domain `{0}` has no roots: its SVIDs are all revoked")]
    NoRoots(TrustDomain),
    /// The leaf is not valid yet.
    #[error("the certificate is not valid before {}", rfc3339(*.0))]
    NotYetValid(UnixTime),
    /// The leaf has expired.
    #[error("the certificate expired at {}", rfc3339(*.0))]
    Expired(UnixTime),
    /// The only root that fits is outside its validity.
    #[error("the root that the chain leads to {}", if *expired { "has expired" } else { "is not valid yet" })]
    RootOutsideValidity {
        /// Expired, or not valid yet.
        expired: bool,
    },
    /// An intermediate on the way to a root is outside its validity.
    #[error("an intermediate certificate {}", if *expired { "has expired" } else { "is not valid yet" })]
    IntermediateOutsideValidity {
        /// Expired, or not valid yet.
        expired: bool,
    },
    /// A signing certificate on the path breaks a rule of X509-SVID.
    #[error("{} ({})", .0, .0.rule())]
    Intermediate(#[source] SvidError),
    /// A signing certificate has name constraints that the leaf does not meet, or any on URIs.
    #[error("the chain violates name constraints; URI name constraints are refused whether or not they match")]
    NameConstraints,
    /// RFC 5280 path validation failed.
    #[error("no path to a root of its own trust domain: {}", explain(.0))]
    Path(#[source] Error),
}

impl Rejection {
    /// Where in the examination it was refused.
    pub fn stage(&self) -> Stage {
        match self {
            Self::NoCertificate | Self::TooManyCertificates(_) => Stage::Certificate,
            Self::Leaf(_) => Stage::Profile,
            Self::UnknownTrustDomain(_) | Self::NoRoots(_) => Stage::TrustDomain,
            Self::NotYetValid(_)
            | Self::Expired(_)
            | Self::RootOutsideValidity { .. }
            | Self::IntermediateOutsideValidity { .. } => Stage::Validity,
            Self::Intermediate(_) | Self::NameConstraints | Self::Path(_) => Stage::Chain,
        }
    }
}

/// The leaf's own validity was examined before: webpki can only mean an intermediate.
impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        match error {
            Error::CertExpired { .. } => Self::IntermediateOutsideValidity { expired: true },
            Error::CertNotValidYet { .. } => Self::IntermediateOutsideValidity { expired: false },
            Error::NameConstraintViolation => Self::NameConstraints,
            error => Self::Path(error),
        }
    }
}

/// webpki's errors in words. The others are printed as they are, within bounds: some carry bytes of the peer's certificates.
fn explain(error: &Error) -> String {
    let text = match error {
        Error::UnknownIssuer => "none of its roots signed the chain, or an intermediate certificate is missing",
        Error::InvalidSignatureForPublicKey => "a signature on the chain was not made by its issuer's key",
        Error::UnsupportedSignatureAlgorithmContext(_) => "a signature on the chain is of a kind that is not accepted",
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "a signature on the chain is of a kind that does not fit its issuer's key"
        }
        Error::EndEntityUsedAsCa => "a certificate that is no authority stands on it as an issuer",
        Error::PathLenConstraintViolated => {
            "more intermediate certificates stand on it than an authority's path length allows"
        }
        Error::MaximumPathDepthExceeded => "more intermediate certificates stand on it than are followed",
        Error::RequiredEkuNotFoundContext(_) => "an authority's extended key usage does not allow this side of TLS",
        Error::UnsupportedCriticalExtension => "a certificate has a critical extension that is not understood",
        error => return bounded(&format!("{error:?}")),
    };
    text.to_owned()
}
