//! The headers that tell the application who calls: incoming copies are removed in every spelling, then ours are set.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use super::headers::Headers;
use crate::config::{IdentityHeader, IdentityHeaders, PeerFact, XfccMode};
use crate::spiffe::{LeafFacts, SpiffeId};

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const X_SPIFFE_ID: HeaderName = HeaderName::from_static("x-spiffe-id");

/// The headers in which proxies tell a peer's identity, ours and other products': an application may have been written for any of them.
const KNOWN: [&str; 8] = [
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-spiffe-id",
    "l5d-client-id",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-ssl-issuer",
];

/// What the names of larger families begin with: `-verify`, `-s-dn`, `-i-dn`, `-cert`, `-san`, `-serial` and more.
const FAMILIES: [&str; 2] = ["x-ssl-client-", "ssl-client-"];

/// The name of every identity header of one listener, switched on or not.
#[derive(Debug)]
pub(super) struct IdentityNames {
    names: Vec<Box<str>>,
    /// The lengths that occur, as bits: most headers are told apart by theirs.
    lengths: u64,
}

impl IdentityNames {
    /// The names that products use, and the listener's own.
    pub(super) fn new(config: &IdentityHeaders) -> Self {
        let own = config.own.iter().map(|own| own.name.as_str());
        let names: Vec<Box<str>> = KNOWN.into_iter().chain(own).map(Box::from).collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | length(name));
        Self { names, lengths }
    }

    /// Whether an application could take `name` for one of them.
    pub(super) fn hold(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        let known = self.lengths & length(name) != 0 && self.names.iter().any(|known| folds_to(name, known));
        known || FAMILIES.iter().any(|family| folds_to_begin_with(name, family))
    }

    /// Removes every copy in every spelling.
    pub(super) fn strip(&self, headers: &mut Headers) {
        headers.retain(|name| !self.hold(name));
    }
}

fn length(name: &str) -> u64 {
    1 << name.len().min(63)
}

/// Whether an application could take `name` for `known` (RFC 3875 §4.1.18). CGI and WSGI fold `-` and `_`, PHP also `.`, some servers
/// every character that is no letter or digit: so do we.
pub(super) fn folds_to(name: &str, known: &str) -> bool {
    name.len() == known.len() && folds_to_begin_with(name, known)
}

/// Whether an application could take the beginning of `name` for `prefix`.
pub(super) fn folds_to_begin_with(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(|(one, other)| fold(one) == fold(other))
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// What the application is told of one peer: made once for a connection and a configuration, set on each request.
#[derive(Debug)]
pub(super) struct PeerHeaders {
    names: Arc<IdentityNames>,
    xfcc: XfccMode,
    /// The peer's own element of `x-forwarded-client-cert`.
    element: HeaderValue,
    ready: Vec<(HeaderName, HeaderValue)>,
    /// The headers that tell the rule, which each request may have another of.
    rule: Vec<HeaderName>,
}

impl PeerHeaders {
    /// The headers for the peer with `id` that presented `chain`, leaf first, to us with the ID `ours`.
    pub(super) fn new(
        names: Arc<IdentityNames>,
        config: &IdentityHeaders,
        chain: &[CertificateDer<'_>],
        id: &SpiffeId,
        ours: &SpiffeId,
    ) -> Self {
        let peer = Peer { id, chain, facts: chain.first().and_then(|leaf| LeafFacts::of(leaf)) };
        let sent = config.send.iter().filter_map(|header| peer.header(*header));
        let own = config.own.iter().filter_map(|own| Some((own.name.clone(), peer.fact(own.fact)?)));
        let told = config.own.iter().filter(|own| own.fact == PeerFact::Rule);
        let xfcc =
            if config.send.contains(&IdentityHeader::XForwardedClientCert) { config.xfcc } else { XfccMode::Sanitize };
        Self {
            names,
            xfcc,
            element: visible(&peer.xfcc(ours)),
            ready: sent.chain(own).collect(),
            rule: told.map(|own| own.name.clone()).collect(),
        }
    }

    /// Removes what the peer says of itself and sets what we know; `rule` is the one that let this request in.
    pub(super) fn apply(&self, headers: &mut Headers, rule: &str) {
        let name = XFCC;
        let xfcc = match self.xfcc {
            XfccMode::Sanitize => None,
            XfccMode::SanitizeSet => Some(self.element.clone()),
            XfccMode::ForwardOnly => joined(headers.get_all(&name), ","),
            XfccMode::AppendForward => {
                let theirs = headers.get_all(&name).filter(|value| closes_its_quotes(value.as_bytes()));
                joined(theirs.chain([&self.element]), ",")
            }
        };
        self.names.strip(headers);
        if let Some(xfcc) = xfcc {
            headers.insert(name, xfcc);
        }
        for (name, value) in &self.ready {
            headers.insert(name.clone(), value.clone());
        }
        for name in &self.rule {
            headers.insert(name.clone(), visible(rule));
        }
    }
}

/// One peer, and what its leaf says.
struct Peer<'a> {
    id: &'a SpiffeId,
    chain: &'a [CertificateDer<'a>],
    facts: Option<LeafFacts>,
}

impl Peer<'_> {
    fn header(&self, header: IdentityHeader) -> Option<(HeaderName, HeaderValue)> {
        match header {
            IdentityHeader::XForwardedClientCert => None, // depends on what the request brings
            IdentityHeader::ClientCert => Some((CLIENT_CERT, certificates(self.chain.get(..1)?)?)),
            IdentityHeader::ClientCertChain => Some((CLIENT_CERT_CHAIN, certificates(self.chain.get(1..)?)?)),
            IdentityHeader::XSpiffeId => Some((X_SPIFFE_ID, visible(&self.id.to_string()))),
        }
    }

    /// Envoy's text form. Neither an ID nor hexadecimal has a character that would need quotes; the subject stands in them always, and
    /// has no `"` or `\"` of its own ([`LeafFacts::subject`]).
    fn xfcc(&self, ours: &SpiffeId) -> String {
        let (hash, subject) = self.facts.as_ref().map_or(("", ""), |facts| (&facts.sha256, &facts.subject));
        format!("By={ours};Hash={hash};Subject=\"{subject}\";URI={}", self.id)
    }

    /// Nothing for what the leaf does not have, an empty subject say: no header rather than an empty one.
    fn fact(&self, fact: PeerFact) -> Option<HeaderValue> {
        let facts = self.facts.as_ref();
        let text = match fact {
            PeerFact::SpiffeId => self.id.to_string(),
            PeerFact::TrustDomain => self.id.trust_domain().to_string(),
            PeerFact::Path => self.id.path().to_owned(),
            PeerFact::Subject => facts?.subject.clone(),
            PeerFact::Issuer => facts?.issuer.clone(),
            PeerFact::Serial => facts?.serial.clone(),
            PeerFact::Hash => facts?.sha256.clone(),
            PeerFact::NotAfter => facts?.not_after.clone(),
            PeerFact::Verified => "SUCCESS".to_owned(),
            PeerFact::Certificate => return self.chain.first().map(|leaf| sensitive(&escaped_pem(leaf))),
            PeerFact::Rule => return None, // known with the request only
        };
        (!text.is_empty()).then(|| visible(&text))
    }
}

/// RFC 9440 §2.1: each certificate as a byte sequence of Structured Fields; §2.3: several as a list. Nothing for none.
fn certificates(chain: &[CertificateDer<'_>]) -> Option<HeaderValue> {
    let sequences: Vec<String> = chain.iter().map(|der| format!(":{}:", STANDARD.encode(der))).collect();
    (!sequences.is_empty()).then(|| sensitive(&sequences.join(", ")))
}

/// The certificate in PEM, with everything but unreserved characters percent-encoded (RFC 3986 §2.3), as nginx's `$ssl_client_escaped_cert`.
fn escaped_pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for (place, character) in STANDARD.encode(der).chars().enumerate() {
        if place > 0 && place.is_multiple_of(64) {
            text.push_str("%0A");
        }
        match character {
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            _ => text.push(character),
        }
    }
    text.push_str("%0A-----END%20CERTIFICATE-----%0A");
    text
}

/// A value that is neither shown by `Debug` nor kept in HTTP/2's tables: a certificate is long, and names people.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = visible(text);
    value.set_sensitive(true);
    value
}

/// A header value of `text`, which can never end its line: what is no visible ASCII character or space is percent-encoded.
pub(super) fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()).unwrap_or_else(|| {
        let encoded: String = text.bytes().map(percent_encoded).collect();
        HeaderValue::try_from(encoded).unwrap_or(const { HeaderValue::from_static("") })
    })
}

fn percent_encoded(byte: u8) -> String {
    if byte == b' ' || byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// The values of one header as one, nothing for none (RFC 9110 §5.3).
pub(super) fn joined<'a>(values: impl IntoIterator<Item = &'a HeaderValue>, separator: &str) -> Option<HeaderValue> {
    let values: Vec<&[u8]> = values.into_iter().map(HeaderValue::as_bytes).filter(|value| !value.is_empty()).collect();
    if values.is_empty() { None } else { HeaderValue::from_bytes(&values.join(separator.as_bytes())).ok() }
}

/// Whether every reader finds the end of every quoted string in `value`, so that what is appended behind it stands outside of quotes.
/// Readers differ in what `\` does: before a quote it may escape it, whatever stands before, or be escaped itself; outside of quotes it
/// may mean nothing. What they could read differently is not taken for closed.
pub(super) fn closes_its_quotes(value: &[u8]) -> bool {
    let mut quoted = false;
    let mut backslashes = 0_usize;
    for byte in value {
        match byte {
            b'\\' if !quoted => return false,
            b'\\' => backslashes += 1,
            b'"' if backslashes == 0 => quoted = !quoted,
            b'"' if backslashes.is_multiple_of(2) => return false,
            _ => backslashes = 0,
        }
    }
    !quoted
}

#[cfg(test)]
mod tests;
