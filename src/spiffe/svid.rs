//! The rules for one certificate: what makes a leaf an X.509-SVID, and what makes a certificate fit to sign one.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
};
use x509_parser::prelude::{FromDer, X509Extension};

use super::id::lower_authority;
use super::{SpiffeId, SpiffeIdError};

/// The context tag of a `uniformResourceIdentifier` in a GeneralName (RFC 5280 §4.2.1.6).
const URI_TAG: u32 = 6;

/// What a leaf says once it has passed every rule of an X.509-SVID. Nothing here is proven yet: no signature was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The one SPIFFE ID, with a non-empty path.
    pub id: SpiffeId,
    /// The first instant of validity.
    pub not_before: UnixTime,
    /// The last instant of validity.
    pub not_after: UnixTime,
}

impl Leaf {
    /// Reads the leaf certificate `der` and applies each rule of X509-SVID that speaks of a leaf alone.
    ///
    /// # Errors
    /// The first rule that the certificate breaks.
    pub fn check(der: &[u8]) -> Result<Self, SvidError> {
        let certificate = parse(der)?;
        let id = spiffe_id(&certificate)?;
        if certificate.basic_constraints().map_err(unparsable)?.is_some_and(|bc| bc.value.ca) {
            return Err(SvidError::IsAuthority);
        }
        check_key_usage(&certificate)?;
        if let Some(usage) = certificate.extended_key_usage().map_err(unparsable)?
            && !(usage.value.server_auth && usage.value.client_auth)
        {
            return Err(SvidError::ExtendedKeyUsage);
        }
        let (not_before, not_after) = validity(&certificate);
        Ok(Self { id, not_before, not_after })
    }
}

/// X509-SVID §2: exactly one URI SAN, a SPIFFE ID; §3.1: with a path; §3.1 and RFC 5280 §4.2.1.6: critical where the
/// subject is empty.
fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, SvidError> {
    let names = certificate.subject_alternative_name().map_err(unparsable)?;
    let mut uris = names.iter().flat_map(|san| &san.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        GeneralName::Invalid(tag, _) if tag.0 == URI_TAG => Some("\u{fffd}"),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        let count = names.iter().flat_map(|san| &san.value.general_names).filter(|name| is_uri(name)).count();
        return Err(SvidError::UriSanCount(count));
    };
    let id = SpiffeId::parse(uri).map_err(SvidError::NoSpiffeId)?;
    if id.path().is_empty() {
        return Err(SvidError::NoPath);
    }
    let san_is_critical = certificate
        .iter_extensions()
        .any(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME && extension.critical);
    if certificate.subject().iter().next().is_none() && !san_is_critical {
        return Err(SvidError::SanNotCritical);
    }
    Ok(id)
}

/// X509-SVID §4.3: key usage present and critical, with digitalSignature, without keyCertSign and cRLSign.
fn check_key_usage(certificate: &X509Certificate<'_>) -> Result<(), SvidError> {
    let usage = certificate.key_usage().map_err(unparsable)?.ok_or(SvidError::NoKeyUsage)?;
    let critical =
        certificate.iter_extensions().any(|extension| extension.oid == OID_X509_EXT_KEY_USAGE && extension.critical);
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        Err(SvidError::MaySign)
    } else if !usage.value.digital_signature() {
        Err(SvidError::NoDigitalSignature)
    } else if !critical {
        Err(SvidError::KeyUsageNotCritical)
    } else {
        Ok(())
    }
}

/// Where a signing certificate comes from decides how much its key usage must say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    /// Sent by the peer: X509-SVID §3.2 and §4.3 in full, key usage with keyCertSign must be there.
    Intermediate,
    /// Placed in a bundle by the operator: key usage may be absent (as in old roots), but must not forbid signing.
    Root,
}

/// X509-SVID §3.2, §4.1, §4.3: a signing certificate is an authority with keyCertSign, and an ID in it has no path.
/// Returns its validity. The ID is read leniently: the standard's own example, `spiffe://example.com/`, would not parse.
pub(super) fn check_signer(der: &[u8], signer: Signer) -> Result<(UnixTime, UnixTime), SvidError> {
    let certificate = parse(der)?;
    if !certificate.basic_constraints().map_err(unparsable)?.is_some_and(|bc| bc.value.ca) {
        return Err(SvidError::NoAuthority);
    }
    let may_sign = certificate.key_usage().map_err(unparsable)?.map(|usage| usage.value.key_cert_sign());
    if !may_sign.unwrap_or(signer == Signer::Root) {
        return Err(SvidError::MayNotSign);
    }
    let names = certificate.subject_alternative_name().map_err(unparsable)?;
    let has_path = names.iter().flat_map(|san| &san.value.general_names).any(|name| match name {
        GeneralName::URI(uri) => lower_authority(uri)
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, path)| !path.is_empty()),
        _ => false,
    });
    if has_path { Err(SvidError::AuthorityWithPath) } else { Ok(validity(&certificate)) }
}

/// The path length constraint of an authority (RFC 5280 §4.2.1.9).
pub(super) fn path_length(der: &[u8]) -> Option<usize> {
    let certificate = parse(der).ok()?;
    let length = certificate.basic_constraints().ok()??.value.path_len_constraint?;
    usize::try_from(length).ok()
}

/// Whether RFC 5280 §4.2.1.10 name constraints on URIs stand in this certificate, which our path validation refuses.
pub(super) fn constrains_uris(der: &[u8]) -> bool {
    let Ok(certificate) = parse(der) else { return false };
    let Ok(Some(constraints)) = certificate.name_constraints() else {
        return false;
    };
    let subtrees = [&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees];
    subtrees.into_iter().flatten().flatten().any(|subtree| is_uri(&subtree.base))
}

fn is_uri(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::URI(_) => true,
        GeneralName::Invalid(tag, _) => tag.0 == URI_TAG,
        _ => false,
    }
}

/// One whole certificate, and in it every extension that we judge by readable to its last byte: the parser would take one that it
/// cannot read for one that is not there, and would not look behind the end of a list of names.
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) if certificate.extensions().iter().all(is_readable) => Ok(certificate),
        _ => Err(SvidError::Unparsable),
    }
}

fn is_readable(extension: &X509Extension<'_>) -> bool {
    let judged_by = [
        OID_X509_EXT_SUBJECT_ALT_NAME,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_NAME_CONSTRAINTS,
    ];
    let is_whole = || matches!(Any::from_der(extension.value), Ok(([], _)));
    let is_parsed = || !matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. });
    !judged_by.contains(&extension.oid) || (is_whole() && is_parsed())
}

fn unparsable<E>(_: E) -> SvidError {
    SvidError::Unparsable
}

/// From when to when a certificate is valid; instants before 1970 count as its start.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (UnixTime, UnixTime) {
    let instant = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let validity = certificate.validity();
    (instant(validity.not_before.timestamp()), instant(validity.not_after.timestamp()))
}

/// Which rule of X509-SVID a certificate breaks; [`SvidError::rule`] is the paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// Not one whole DER certificate, or an extension that cannot be read or stands twice.
    #[error("the certificate cannot be read")]
    Unparsable,
    /// Not exactly one URI SAN.
    #[error("the certificate has {0} URI SANs; an X.509-SVID has exactly one")]
    UriSanCount(usize),
    /// The one URI SAN is no SPIFFE ID.
    #[error("the certificate's URI SAN is no SPIFFE ID: {0}")]
    NoSpiffeId(#[source] SpiffeIdError),
    /// The ID names a trust domain, not a workload.
    #[error("the certificate's SPIFFE ID has no path: it names a trust domain, not a workload")]
    NoPath,
    /// An empty subject beside a SAN that is not critical.
    #[error("the certificate has an empty subject, and its SAN is not critical")]
    SanNotCritical,
    /// A leaf with cA true.
    #[error("the leaf is a certificate authority (basic constraints cA)")]
    IsAuthority,
    /// A leaf without key usage.
    #[error("the leaf has no key usage")]
    NoKeyUsage,
    /// A leaf whose key usage is not critical.
    #[error("the leaf's key usage is not critical")]
    KeyUsageNotCritical,
    /// A leaf that may not sign a handshake.
    #[error("the leaf's key usage has no digitalSignature")]
    NoDigitalSignature,
    /// A leaf that may sign certificates or revocation lists.
    #[error("the leaf's key usage has keyCertSign or cRLSign")]
    MaySign,
    /// An extended key usage without both sides of TLS.
    #[error("the leaf's extended key usage does not hold both serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// A signing certificate that is no authority.
    #[error("a signing certificate is no certificate authority (basic constraints cA)")]
    NoAuthority,
    /// A signing certificate without keyCertSign.
    #[error("a signing certificate's key usage has no keyCertSign")]
    MayNotSign,
    /// A signing certificate whose SPIFFE ID has a path.
    #[error("a signing certificate's SPIFFE ID has a path")]
    AuthorityWithPath,
}

impl SvidError {
    /// The paragraph of the standard that is broken.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Unparsable => "RFC 5280 §4",
            Self::UriSanCount(_) => "X509-SVID §2",
            Self::NoSpiffeId(error) => error.rule(),
            Self::NoPath | Self::SanNotCritical => "X509-SVID §3.1",
            Self::IsAuthority | Self::NoAuthority => "X509-SVID §4.1",
            Self::NoKeyUsage
            | Self::KeyUsageNotCritical
            | Self::NoDigitalSignature
            | Self::MaySign
            | Self::MayNotSign => "X509-SVID §4.3",
            Self::ExtendedKeyUsage => "X509-SVID §4.4",
            Self::AuthorityWithPath => "X509-SVID §3.2",
        }
    }
}
