//! What an operator is told about a certificate, above all of one that was refused; and what an application is told about its peer's.

use std::fmt::Write as _;
use std::time::Duration;

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::UnixTime;
use serde::Serialize;
use x509_parser::asn1_rs::{Any, BmpString, Tag, ToDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

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

/// What an application can be told of its peer's leaf. Every text is printable ASCII, whatever the certificate says, and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// The subject, RFC 2253 text: empty for an empty subject, and for one longer than [`LeafFacts::MAX_TEXT`].
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number: lower-case hexadecimal, two digits for each byte, without the zero byte that keeps DER positive.
    pub serial: String,
    /// The last instant of validity, RFC 3339.
    pub not_after: String,
    /// The SHA-256 of the whole certificate, lower-case hexadecimal.
    pub sha256: String,
}

impl LeafFacts {
    /// The longest text, in bytes. A name cut short would be another name, so a longer one is left out whole.
    pub const MAX_TEXT: usize = 2048;

    /// Reads a certificate; nothing of what is no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (_, not_after) = validity(&certificate);
        let serial = certificate.raw_serial();
        Some(Self {
            subject: fitting(rfc2253(certificate.subject())),
            issuer: fitting(rfc2253(certificate.issuer())),
            serial: fitting(hex(serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial))),
            not_after: rfc3339(not_after),
            sha256: sha256(der),
        })
    }
}

fn fitting(text: String) -> String {
    if text.len() > LeafFacts::MAX_TEXT { String::new() } else { text }
}

/// A name as RFC 2253 text: the last RDN first (§2.1), in ASCII.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut rdns: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(rfc2253_attribute).collect::<Vec<_>>().join("+")).collect();
    rdns.reverse();
    rdns.join(",")
}

/// RFC 2253 §2.3 and §2.4: an attribute without a name, or whose value is no string, is the hexadecimal of its DER.
fn rfc2253_attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let keyword = KEYWORDS.iter().find(|(known, _)| *known == oid).map(|(_, keyword)| *keyword);
    match (keyword, text(attribute.attr_value())) {
        (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(&text)),
        (keyword, _) => {
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            format!("{}=#{}", keyword.unwrap_or(&oid), hex(&der))
        }
    }
}

/// The attribute types with a keyword: those of RFC 2253 §2.3, and what else authorities put into names, as OpenSSL calls it.
const KEYWORDS: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
        }
        Tag::BmpString => BmpString::try_from(value.clone()).ok().map(|text| text.string()),
        _ => None,
    }
}

/// RFC 2253 §2.4, always with the two hexadecimal digits that it allows for any byte: then no `"` or `\` of a name stands in the text,
/// which readers of quoted strings take in more than one way, no comma or semicolon for those who split without reading quotes, no
/// control character and nothing beyond ASCII.
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, byte) in value.bytes().enumerate() {
        let outer = (place == 0 && matches!(byte, b'#' | b' ')) || (place == last && byte == b' ');
        let special = matches!(byte, b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';');
        if outer || special || !(byte == b' ' || byte.is_ascii_graphic()) {
            _ = write!(text, "\\{byte:02X}");
        } else {
            text.push(char::from(byte));
        }
    }
    text
}

/// The hash comes from the cipher suite that rustls brings: one cryptographic library for all.
fn sha256(data: &[u8]) -> String {
    let hash = match &TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    };
    hex(hash.hash(data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SerialNumber};

    use super::*;

    fn facts(names: &[(DnType, DnValue)], serial: &[u8]) -> LeafFacts {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.serial_number = Some(SerialNumber::from(serial.to_vec()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        LeafFacts::of(certificate.der()).unwrap()
    }

    fn utf8(text: &str) -> DnValue {
        DnValue::Utf8String(text.to_owned())
    }

    #[test]
    fn a_subject_stands_with_its_last_part_first() {
        let names = [
            (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
            (DnType::OrganizationName, utf8("Orders and More")),
            (DnType::CommonName, DnValue::BmpString("w".try_into().unwrap())),
        ];
        let facts = facts(&names, &[0x0a, 0xff]);
        assert_eq!(facts.subject, "CN=w,O=Orders and More,C=DE");
        assert_eq!(facts.issuer, facts.subject);
        assert_eq!(facts.serial, "0aff");
        assert_eq!(facts.not_after, "4096-01-01T00:00:00Z");
    }

    #[test]
    fn a_hostile_subject_stays_one_attribute_of_printable_ascii() {
        let table = [
            ("a\",By=x;URI=y", "CN=a\\22\\2CBy=x\\3BURI=y"),
            ("a\\", "CN=a\\5C"),
            ("a\r\nx-spiffe-id: b\0", "CN=a\\0D\\0Ax-spiffe-id: b\\00"),
            ("é", "CN=\\C3\\A9"),
            ("# a ", "CN=\\23 a\\20"),
            (" ", "CN=\\20"),
            ("", "CN="),
        ];
        for (name, subject) in table {
            assert_eq!(facts(&[(DnType::CommonName, utf8(name))], &[1]).subject, subject, "{name:?}");
        }
    }

    #[test]
    fn what_has_no_keyword_or_is_no_text_is_hexadecimal() {
        let custom = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999]);
        assert_eq!(facts(&[(custom, utf8("URI=x"))], &[1]).subject, "1.3.6.1.4.1.99999=#0c055552493d78");
        let teletex = DnValue::TeletexString("t".try_into().unwrap());
        assert_eq!(facts(&[(DnType::CommonName, teletex)], &[1]).subject, "CN=#140174");
    }

    #[test]
    fn a_name_that_is_too_long_is_left_out_whole() {
        let long = "a".repeat(LeafFacts::MAX_TEXT);
        assert_eq!(facts(&[(DnType::CommonName, utf8(&long))], &[1]).subject, "");
    }

    #[test]
    fn a_serial_number_has_no_padding() {
        assert_eq!(facts(&[], &[0x80, 0x01]).serial, "8001");
        assert_eq!(facts(&[], &[0]).serial, "00");
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        assert_eq!(LeafFacts::of(b"\x30\x03abc"), None);
    }
}
