//! Trust: the roots of each trust domain, kept apart, read from PEM or from a SPIFFE bundle map.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use super::svid::{Signer, check_signer, constrains_uris, path_length};
use super::{SvidError, TrustDomain};

/// The most roots one trust domain may have. webpki tries each; more would buy a peer our time.
const MAX_ROOTS: usize = 256;

/// One root of a trust domain.
///
/// Invariant: an authority that may sign (X509-SVID §3.2), inside its validity or not: that is asked at each use, since webpki
/// never asks it.
#[derive(Clone, Debug)]
pub struct Root {
    der: CertificateDer<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
    path_length: Option<usize>,
    constrains_uris: bool,
}

impl Root {
    /// The certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The first instant at which the root may vouch for anything.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last instant at which the root may vouch for anything.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Whether the root may vouch for anything at `now` (RFC 5280 §6.1.3 (a)(2), which webpki skips for trust anchors).
    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The most intermediates that may stand between the root and a leaf (RFC 5280 §4.2.1.9), which webpki does not ask of trust
    /// anchors.
    pub(super) fn path_length(&self) -> Option<usize> {
        self.path_length
    }

    /// Whether the root has name constraints on URIs. RFC 5280 and SPIFFE allow them, our path validation (rustls-webpki)
    /// refuses every SVID below such a root: it fails closed.
    pub fn constrains_uris(&self) -> bool {
        self.constrains_uris
    }
}

/// The roots of one trust domain. Empty means that the domain's SVIDs are all refused (SPIFFE Trust Domain and Bundle §4.2).
///
/// Invariant: roots are ordered by their bytes and distinct, so that equal sets are equal values, whatever their order on disk;
/// `anchors[i]` is the trust anchor of `roots[i]`.
#[derive(Clone, Debug, Default)]
pub struct TrustBundle {
    roots: Vec<Root>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.roots.iter().map(Root::der).eq(other.roots.iter().map(Root::der))
    }
}

impl TrustBundle {
    /// Keeps the certificates that may act as a root, and tells which may not and why. A certificate that is no authority must
    /// never become one by lying in a bundle: webpki would let it sign for anyone.
    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<(Self, Vec<DroppedRoot>), BundleError> {
        if certificates.len() > MAX_ROOTS {
            return Err(BundleError::TooManyRoots(certificates.len()));
        }
        let mut certificates = certificates;
        certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        certificates.dedup();
        let (mut bundle, mut dropped) = (Self::default(), Vec::new());
        for der in certificates {
            let anchor = webpki::anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned());
            match (check_signer(&der, Signer::Root), anchor) {
                (Ok((not_before, not_after)), Ok(anchor)) => {
                    bundle.roots.push(Root {
                        path_length: path_length(&der),
                        constrains_uris: constrains_uris(&der),
                        der,
                        not_before,
                        not_after,
                    });
                    bundle.anchors.push(anchor);
                }
                (Err(reason), _) => dropped.push(DroppedRoot { der, reason }),
                (Ok(_), Err(_)) => dropped.push(DroppedRoot { der, reason: SvidError::Unparsable }),
            }
        }
        Ok((bundle, dropped))
    }

    /// Reads concatenated PEM certificates, in any order.
    ///
    /// # Errors
    /// When the text is no PEM, or holds no certificate that may act as a root: an unusable file never removes trust.
    pub fn from_pem(pem: &[u8]) -> Result<(Self, Vec<DroppedRoot>), BundleError> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| BundleError::Pem(error.to_string()))?;
        let (bundle, dropped) = Self::new(certificates)?;
        match (bundle.roots.is_empty(), dropped.first()) {
            (false, _) => Ok((bundle, dropped)),
            (true, Some(first)) => Err(BundleError::NoUsableRoot(first.reason)),
            (true, None) => Err(BundleError::NoCertificate),
        }
    }

    /// The roots.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The roots as webpki wants them, in the order of [`TrustBundle::roots`].
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

/// A certificate in a bundle that may not act as a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRoot {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The rule that it breaks.
    pub reason: SvidError,
}

/// The roots of every trust domain we know. A domain that is not in here is not trusted at all, and no domain's roots ever speak
/// for another (SPIFFE Trust Domain and Bundle §3, SPIFFE Federation §4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustBundles(BTreeMap<TrustDomain, Arc<TrustBundle>>);

impl TrustBundles {
    /// Reads a SPIFFE bundle map, `{"trust_domains": {"prod.example": {"keys": [...]}}}` (SPIFFE Trust Domain and Bundle §5). The
    /// second value are the entries left out, each with its trust domain.
    ///
    /// Read as the standard asks: unknown members are allowed, a key of another `use` or without `x5c` is passed over (X509-SVID §6),
    /// only the first certificate of `x5c` counts (its lines may be wrapped), a domain without keys is known and revoked, a domain named twice is an error.
    ///
    /// # Errors
    /// When the text is no bundle map: then none of it counts, never a part.
    pub fn from_json(json: &[u8]) -> Result<(Self, Vec<(TrustDomain, DroppedRoot)>), BundleError> {
        let map: BundleMap = serde_json::from_slice(json).map_err(|error| BundleError::Json(error.to_string()))?;
        let (mut bundles, mut dropped) = (Self::default(), Vec::new());
        for (trust_domain, document) in map.trust_domains.0 {
            let mut certificates = Vec::new();
            for key in document.keys.into_iter().filter(Jwk::is_x509_svid) {
                let Some(first) = key.x5c.and_then(|x5c| x5c.into_iter().next()) else {
                    continue;
                };
                let der = STANDARD
                    .decode(first.split_ascii_whitespace().collect::<String>())
                    .map_err(|_| BundleError::X5c(trust_domain.clone()))?;
                certificates.push(CertificateDer::from(der));
            }
            let (bundle, left_out) = TrustBundle::new(certificates)?;
            dropped.extend(left_out.into_iter().map(|root| (trust_domain.clone(), root)));
            bundles.insert(trust_domain, bundle);
        }
        Ok((bundles, dropped))
    }

    /// Sets the roots of one trust domain.
    pub fn insert(&mut self, trust_domain: TrustDomain, bundle: TrustBundle) {
        self.0.insert(trust_domain, Arc::new(bundle));
    }

    /// The roots of `trust_domain`; `None` where the domain is unknown.
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Arc<TrustBundle>> {
        self.0.get(trust_domain)
    }

    /// Every trust domain with its roots, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&TrustDomain, &TrustBundle)> {
        self.0.iter().map(|(name, bundle)| (name, &**bundle))
    }
}

/// Why a trust bundle counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not PEM.
    #[error("it is no readable PEM: {0}")]
    Pem(String),
    /// PEM without a certificate, or an empty file.
    #[error("it holds no certificate")]
    NoCertificate,
    /// Certificates, but none that may sign.
    #[error("none of its certificates may act as a root: {0}")]
    NoUsableRoot(SvidError),
    /// Not a bundle map.
    #[error("it is no SPIFFE bundle map: {0}")]
    Json(String),
    /// An `x5c` member that is not standard base64.
    #[error("an `x5c` of trust domain `{0}` is not standard base64")]
    X5c(TrustDomain),
    /// More roots than we will try.
    #[error("a trust domain has {0} certificates; {MAX_ROOTS} are read at most")]
    TooManyRoots(usize),
}

#[derive(Deserialize)]
struct BundleMap {
    trust_domains: Domains,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// A JSON Web Key as far as we read it. A member of an unexpected type makes the key one of another kind, which is passed over.
#[derive(Deserialize)]
struct Jwk {
    #[serde(default, rename = "use", deserialize_with = "lenient")]
    usage: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    x5c: Option<Vec<String>>,
}

impl Jwk {
    /// `use` is compared case-sensitively (SPIFFE Trust Domain and Bundle §4.2.2).
    fn is_x509_svid(&self) -> bool {
        self.usage.as_deref() == Some("x509-svid")
    }
}

fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The domains of a map, each once: serde's maps would silently keep the last of two.
struct Domains(BTreeMap<TrustDomain, Document>);

impl<'de> Deserialize<'de> for Domains {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Domains;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from trust domain name to bundle")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Domains, A::Error> {
                let mut domains = BTreeMap::new();
                while let Some((name, document)) = map.next_entry::<TrustDomain, Document>()? {
                    if let Some(twice) = domains.insert(name.clone(), document).map(|_| name) {
                        return Err(A::Error::custom(format_args!("trust domain `{twice}` stands twice")));
                    }
                }
                Ok(Domains(domains))
            }
        }
        deserializer.deserialize_map(Each)
    }
}
