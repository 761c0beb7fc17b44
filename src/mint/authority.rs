//! The certificate authority of one throwaway trust domain: a root that every peer trusts, and a subordinate that signs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::key::{KeyAlgorithm, KeyEncoding, pem_block};
use super::{COMMON_NAME, MintError};
use crate::spiffe::{SpiffeId, TrustDomain, UnixTime};

/// How long a certificate is already valid when it is made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(60);

/// How long an authority lasts.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// From when to when a certificate is valid, both included, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first instant.
    pub not_before: UnixTime,
    /// The last instant.
    pub not_after: UnixTime,
}

impl Validity {
    /// From a minute ago until `lifetime` from now.
    pub fn from_now(lifetime: Duration) -> Self {
        let now = Duration::from_secs(UnixTime::now().as_secs());
        Self {
            not_before: UnixTime::since_unix_epoch(now.saturating_sub(BACKDATED)),
            not_after: UnixTime::since_unix_epoch(now.saturating_add(lifetime)),
        }
    }

    fn apply(self, params: &mut CertificateParams) -> Result<(), MintError> {
        let instant = |at: UnixTime| {
            let since_epoch = Duration::from_secs(at.as_secs()).try_into().ok()?;
            rcgen::date_time_ymd(1970, 1, 1).checked_add(since_epoch)
        };
        params.not_before = instant(self.not_before).ok_or(MintError::Validity)?;
        params.not_after = instant(self.not_after).ok_or(MintError::Validity)?;
        Ok(())
    }
}

/// What an X.509-SVID shall be like.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    /// When it is valid.
    pub validity: Validity,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// How its key is written.
    pub encoding: KeyEncoding,
}

impl Issue {
    /// As the platform issues them: P-256, PKCS#8, valid from a minute ago for `lifetime` from now.
    pub fn lasting(lifetime: Duration) -> Self {
        Self { validity: Validity::from_now(lifetime), key: KeyAlgorithm::default(), encoding: KeyEncoding::default() }
    }
}

/// An X.509-SVID with its key, as text for files.
#[derive(Clone)]
pub struct Issued {
    /// The chain in PEM: the leaf, a blank line, the subordinate authority. The root is left out.
    pub certificates: String,
    /// The key in PEM.
    pub private_key: Zeroizing<String>,
}

/// The authority of one throwaway trust domain. The root signed the subordinate, the subordinate signs SVIDs, so that every chain has
/// an intermediate, as real ones do.
pub struct Authority {
    trust_domain: TrustDomain,
    validity: Validity,
    pub(super) root: Signer,
    pub(super) subordinate: Signer,
}

/// A signing certificate with its key.
pub(super) struct Signer {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority, valid for ten years.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(trust_domain: TrustDomain) -> Result<Self, MintError> {
        Self::valid(trust_domain, Validity::from_now(AUTHORITY_LIFETIME))
    }

    /// Makes a new authority whose two certificates are valid when the caller says.
    ///
    /// # Errors
    /// When no key can be made, or the validity fits no certificate.
    pub fn valid(trust_domain: TrustDomain, validity: Validity) -> Result<Self, MintError> {
        let root_key = KeyPair::generate()?;
        let root_params = authority_params(&trust_domain, "root", BasicConstraints::Constrained(1), validity)?;
        let root = Signer {
            certificate: root_params.self_signed(&root_key)?.der().clone(),
            issuer: Issuer::new(root_params, root_key),
        };
        let key = KeyPair::generate()?;
        let mut params = authority_params(&trust_domain, "subordinate", BasicConstraints::Constrained(0), validity)?;
        params.extended_key_usages = both_sides();
        let subordinate = Signer {
            certificate: params.signed_by(&key, &root.issuer)?.der().clone(),
            issuer: Issuer::new(params, key),
        };
        Ok(Self::of(trust_domain, validity, root, subordinate))
    }

    pub(super) fn of(trust_domain: TrustDomain, validity: Validity, root: Signer, subordinate: Signer) -> Self {
        Self { trust_domain, validity, root, subordinate }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When the authority's own certificates are valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The root, in PEM.
    pub fn root_pem(&self) -> String {
        pem_block("CERTIFICATE", &self.root.certificate).to_string()
    }

    /// The root.
    pub fn root_der(&self) -> &CertificateDer<'static> {
        &self.root.certificate
    }

    /// The subordinate authority that signs SVIDs.
    pub fn subordinate_der(&self) -> &CertificateDer<'static> {
        &self.subordinate.certificate
    }

    /// The coordinates of the root's public key, as a JSON Web Key writes them (RFC 7518 §6.2.1).
    pub(super) fn root_point(&self) -> (String, String) {
        // An uncompressed point: one byte of tag, then x and y of 32 bytes each.
        let point = self.root.issuer.key().der_bytes().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).unwrap_or_default();
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }

    /// Issues an X.509-SVID like those of the platform, valid from a minute ago for `lifetime` from now.
    ///
    /// # Errors
    /// When no key can be made, or the lifetime fits no certificate.
    pub fn issue(&self, id: &SpiffeId, lifetime: Duration) -> Result<Issued, MintError> {
        self.issue_as(id, Issue::lasting(lifetime))
    }

    /// Issues an X.509-SVID in every detail as asked. An ID of another trust domain is signed all the same: that is what an
    /// impostor's authority would do.
    ///
    /// # Errors
    /// When no key can be made, the validity fits no certificate, or the key has no such encoding.
    pub fn issue_as(&self, id: &SpiffeId, issue: Issue) -> Result<Issued, MintError> {
        let key = issue.key.generate()?;
        let leaf = self.sign(&svid_params(id, issue.validity)?, &key)?;
        let chain = [&leaf, &self.subordinate.certificate].map(|der| pem_block("CERTIFICATE", der).to_string());
        Ok(Issued { certificates: chain.join("\n"), private_key: issue.encoding.pem(&key, issue.key)? })
    }

    /// Signs any certificate with the subordinate authority: for certificates that break a rule.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<CertificateDer<'static>, MintError> {
        Ok(params.signed_by(key, &self.subordinate.issuer)?.der().clone())
    }
}

/// A leaf as the platform makes it: empty subject, a critical SAN of one URI, key usage digitalSignature and keyAgreement, extended key
/// usage for both sides of TLS.
///
/// # Errors
/// When the validity fits no certificate.
pub fn svid_params(id: &SpiffeId, validity: Validity) -> Result<CertificateParams, MintError> {
    let mut params = CertificateParams::default();
    validity.apply(&mut params)?;
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = both_sides();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A signing certificate: cA, keyCertSign, the trust domain as its SPIFFE ID without a path (X509-SVID §3.2). `role` goes into its name.
///
/// # Errors
/// When the validity fits no certificate.
pub fn authority_params(
    trust_domain: &TrustDomain,
    role: &str,
    path_length: BasicConstraints,
    validity: Validity,
) -> Result<CertificateParams, MintError> {
    let mut params = CertificateParams::default();
    validity.apply(&mut params)?;
    params.distinguished_name = DistinguishedName::new();
    let name = &mut params.distinguished_name;
    name.push(DnType::OrganizationName, trust_domain.as_str());
    name.push(DnType::OrganizationalUnitName, role);
    name.push(DnType::CommonName, COMMON_NAME);
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
    params.is_ca = IsCa::Ca(path_length);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn both_sides() -> Vec<ExtendedKeyUsagePurpose> {
    vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
}
