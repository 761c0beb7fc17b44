//! What ends at this hop: headers that speak of one connection only, and what may not stand in trailers.

use std::collections::HashSet;

use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::Headers;
use super::identity::{IdentityNames, folds_to, folds_to_begin_with};

/// Headers of one connection (RFC 9110 §7.6.1). The framing is made anew on the other side; proxy authentication (§11.7) would be with us,
/// who neither ask for it nor answer it.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// Headers that stay although `Connection` names them. RFC 9110 §7.6.1 forbids to name what is meant for every recipient; a peer that does
/// wants the next hop to see another request than the one decided upon. Identity headers need no place here: ours are set after this.
const END_TO_END: [&str; 14] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "authorization",
    "cookie",
    "set-cookie",
    "cache-control",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
];

/// Removes what was meant for this hop alone, of a request or of a response; `te: trailers` stays for gRPC. Where HTTP/1.1 follows, its
/// sender owes a `connection: te` to it (RFC 9110 §10.1.4). Ask for [`upgrade`] before.
pub(super) fn hop_by_hop(headers: &mut Headers) {
    if !headers.names().any(is_hop_by_hop) {
        return;
    }
    let trailers = tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    let named = named_by_connection(headers);
    headers.retain(|name| !is_hop_by_hop(name) && !named.contains(name));
    if trailers {
        headers.append(TE, HeaderValue::from_static("trailers"));
    }
}

/// Every header of every message is asked about, and few are any of these: they are told apart by their length first.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    LENGTHS & 1 << name.len().min(63) != 0 && HOP_BY_HOP.contains(&name)
}

/// The lengths that occur among the headers of one connection, as bits.
const LENGTHS: u64 = {
    let (mut lengths, mut index) = (0, 0);
    while index < HOP_BY_HOP.len() {
        #[expect(clippy::indexing_slicing, reason = "at compile time")]
        let name = HOP_BY_HOP[index];
        lengths |= 1 << name.len();
        index += 1;
    }
    lengths
};

/// A set, and of what is there alone: what `Connection` can name at the cost of two bytes each is not looked for once for each of them, and not kept.
fn named_by_connection(headers: &Headers) -> HashSet<HeaderName> {
    // What nearly every answer of HTTP/1.1 says names no header.
    let says_nothing = |token: &&[u8]| matches!(*token, b"keep-alive" | b"close");
    let mut tokens = tokens(headers, &CONNECTION).filter(|token| !says_nothing(token)).peekable();
    if tokens.peek().is_none() {
        return HashSet::new();
    }
    let present: HashSet<_> = headers.names().filter(|name| !END_TO_END.contains(&name.as_str())).collect();
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
    names.filter(|name| present.contains(name)).collect()
}

/// The elements of a list (RFC 9110 §5.6.1), over all lines of the header.
fn tokens<'a>(headers: &'a Headers, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The protocol that a request asks to change to, or a 101 agrees to (RFC 9110 §7.8), where it is [opaque](is_opaque).
pub(super) fn upgrade(headers: &Headers) -> Option<HeaderValue> {
    if !tokens(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        return None;
    }
    let mut values = headers.get_all(&UPGRADE);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    (value.to_str().is_ok() && is_opaque(value.as_bytes())).then(|| value.clone())
}

/// Whether none of a list of protocols is another version of HTTP, or TLS: behind a change to one of these would stand requests that we
/// never see.
pub(super) fn is_opaque(protocols: &[u8]) -> bool {
    protocols.split(|byte| *byte == b',').all(|protocol| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        !matches!(&*name, b"" | b"h2c" | b"h2" | b"http" | b"tls")
    })
}

/// What a recipient would read before it has the body, and so may not come after it (RFC 9110 §6.5.1): framing, routing, modifiers of the
/// request, authentication, the form of the content, control of the response; and what we set ourselves.
const NO_TRAILERS: [&str; 42] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "http2-settings",
    "host",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "authorization",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "www-authenticate",
    "authentication-info",
    "cookie",
    "set-cookie",
    "content-encoding",
    "content-type",
    "content-range",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "via",
    "forwarded",
    "x-request-id",
    "traceparent",
    "tracestate",
];

/// Removes from trailers what may not stand there, and every identity header, in every spelling.
pub(super) fn trailers(trailers: &mut HeaderMap, identity: &IdentityNames) {
    let may_not = |name: &&HeaderName| {
        let text = name.as_str();
        identity.hold(name)
            || folds_to_begin_with(text, "x-forwarded-")
            || NO_TRAILERS.iter().any(|known| folds_to(text, known))
    };
    let found: Vec<HeaderName> = trailers.keys().filter(may_not).cloned().collect();
    for name in found {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests;
