//! What an operator is told about a certificate, above all of one that was refused.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::svid::validity;

/// What an operator needs to see of a certificate, valid or not, to know whose it is and what is wrong with it.
/// Lengths are bounded: a hostile certificate cannot fill a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// Every subject alternative name, as `URI:…`, `DNS:…`, at most 16.
    pub sans: Vec<String>,
    /// The subject, RFC 4514 text.
    pub subject: String,
    /// The issuer, RFC 4514 text.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// Start of validity, RFC 3339.
    pub not_before: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
}

impl CertificateFacts {
    const MAX_SANS: usize = 16;
    const MAX_TEXT: usize = 256;

    /// Reads what can be read, of a certificate that breaks rules too; nothing of one that is no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let sans = certificate.subject_alternative_name().ok().flatten().map(|san| {
            let names = san.value.general_names.iter().take(Self::MAX_SANS);
            names.map(|name| bounded(&san_text(name))).collect()
        });
        let (not_before, not_after) = validity(&certificate);
        Some(Self {
            sans: sans.unwrap_or_default(),
            subject: bounded(&certificate.subject().to_string()),
            issuer: bounded(&certificate.issuer().to_string()),
            serial: bounded(&certificate.raw_serial_as_string()),
            not_before: rfc3339(not_before),
            not_after: rfc3339(not_after),
        })
    }
}

fn san_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::DNSName(dns) => format!("DNS:{dns}"),
        GeneralName::RFC822Name(mail) => format!("email:{mail}"),
        other => other.to_string(),
    }
}

/// Printable and at most [`CertificateFacts::MAX_TEXT`] characters: the text comes from an unverified certificate.
pub(super) fn bounded(text: &str) -> String {
    let mut kept: String = text
        .chars()
        .take(CertificateFacts::MAX_TEXT)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(CertificateFacts::MAX_TEXT).is_some() {
        kept.push('…');
    }
    kept
}

/// An instant as RFC 3339 text; instants past the year 9999 (legal in RFC 5280) print as the last of that year.
pub(super) fn rfc3339(instant: UnixTime) -> String {
    const LAST: u64 = 253_402_300_799;
    let since_epoch = Duration::from_secs(instant.as_secs().min(LAST));
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_epoch).to_string()
}
