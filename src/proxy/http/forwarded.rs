//! The headers by which a request is followed through hops: where it came from, by whom it passed, and under which names it is logged.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{FORWARDED, VIA};
use http::{HeaderName, HeaderValue, Version};

use super::headers::Headers;
use super::identity::{closes_its_quotes, folds_to, joined, visible};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The name of one request in everybody's logs.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The place of a request in a trace (W3C Trace Context §3.2).
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How many proxies of our name a request may have passed; more, and it goes round in a circle. Between two services there are two of us.
const MAX_PASSES: usize = 8;

/// The longest request ID that is passed on, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// The hop on which a connection's requests reach us: what does not change between them is made once.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    /// The client's address; none on a unix socket.
    client: Option<IpAddr>,
    node: HeaderValue,
    /// `https`, or `http` where no TLS was on that hop.
    scheme: &'static str,
    proto: HeaderValue,
    /// Ours.
    port: HeaderValue,
}

impl Hop {
    /// From `client`, to our `port`.
    pub(super) fn new(client: Option<IpAddr>, scheme: &'static str, port: u16) -> Self {
        let client = client.map(|client| client.to_canonical());
        // A client without an address is told too: an application that trusts the last element must not find an older one there.
        let node = client.map_or(const { HeaderValue::from_static("unknown") }, |client| visible(&client.to_string()));
        Self { client, node, scheme, proto: HeaderValue::from_static(scheme), port: HeaderValue::from(port) }
    }
}

/// Marks the way that a request has come, with us as its last hop.
pub(super) fn follow(
    headers: &mut Headers,
    hop: &Hop,
    host: &HeaderValue,
    port: Option<u16>,
    version: Version,
    ids: &Ids,
) {
    forwarded(headers, hop, host, port);
    via(headers, version);
    request_id(headers, ids);
    trace_context(headers, ids);
}

/// Adds the hop to `x-forwarded-for`, and to `forwarded` (RFC 7239) where the request has one: an application that reads the newer header
/// finds the same hops in both, others get no second truth. `x-forwarded-proto`, `-host` and `-port` are set where they are absent: they
/// speak of the first hop, which a gateway before us may know, and an authenticated peer that lies in them could as well lie in `host`.
/// Only what we append is our word. Other spellings of these names are removed, lest they be taken for it.
///
/// `host` is the host as it was asked for, with its port, which is also in `port`; empty where none was.
fn forwarded(headers: &mut Headers, hop: &Hop, host: &HeaderValue, port: Option<u16>) {
    remove_other_spellings(headers);
    append(headers, X_FORWARDED_FOR, hop.node.clone(), |_| true);
    if headers.contains(&FORWARDED) {
        append(headers, FORWARDED, visible(&element(hop, host)), |value| closes_its_quotes(value.as_bytes()));
    }
    headers.insert_absent(X_FORWARDED_PROTO, || hop.proto.clone());
    headers.insert_absent(X_FORWARDED_PORT, || port.map_or_else(|| hop.port.clone(), HeaderValue::from));
    if !host.is_empty() {
        headers.insert_absent(X_FORWARDED_HOST, || host.clone());
    }
}

/// RFC 7239 §4: one hop. A host with quotes of its own is no host, and left out.
fn element(hop: &Hop, host: &HeaderValue) -> String {
    let node = match hop.client {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(client)) => client.to_string(),
        Some(IpAddr::V6(client)) => format!("\"[{client}]\""),
    };
    let element = format!("for={node};proto={}", hop.scheme);
    match host.to_str() {
        Ok(host) if !host.is_empty() && !host.contains(['"', '\\']) => format!("{element};host=\"{host}\""),
        _ => element,
    }
}

/// Makes one line of those lines of a list that are `sound`, and `last`: many applications read the first line only.
fn append(headers: &mut Headers, name: HeaderName, last: HeaderValue, sound: impl Fn(&HeaderValue) -> bool) {
    if !headers.contains(&name) {
        return headers.append(name, last);
    }
    let before = headers.get_all(&name).filter(|value| sound(value));
    let all = joined(before.chain([&last]), ", ").unwrap_or(last);
    headers.insert(name, all);
}

fn remove_other_spellings(headers: &mut Headers) {
    static NAMES: [HeaderName; 4] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PORT];
    let is_near = |name: &HeaderName| {
        (X_FORWARDED_FOR.as_str().len()..=X_FORWARDED_PROTO.as_str().len()).contains(&name.as_str().len())
    };
    // Nearly always they are the names themselves: those are told by comparing bytes.
    let is_other = |name: &HeaderName| {
        is_near(name) && !NAMES.contains(name) && NAMES.iter().any(|known| folds_to(name.as_str(), known.as_str()))
    };
    headers.retain(|name| !is_other(name));
}

/// Adds us to `via` (RFC 9110 §7.6.3), of a request or a response that was received in `version`.
pub(super) fn via(headers: &mut Headers, version: Version) {
    let entry = match version {
        Version::HTTP_10 => const { HeaderValue::from_static("1.0 svidgate") },
        Version::HTTP_2 => const { HeaderValue::from_static("2 svidgate") },
        _ => const { HeaderValue::from_static("1.1 svidgate") },
    };
    headers.append(VIA, entry);
}

/// Whether a request has passed so many proxies of our name, by its `via`, that it must be going round in a circle.
pub(super) fn goes_round(headers: &Headers) -> bool {
    passes(headers) > MAX_PASSES
}

fn passes(headers: &Headers) -> usize {
    let entries = headers.get_all(&VIA).flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = entries.filter_map(|entry| {
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1)
    });
    names.filter(|name| name.eq_ignore_ascii_case(b"svidgate")).count()
}

/// Passes on the `x-request-id` of a request where it has exactly one that may stand in a log line, and else makes one.
fn request_id(headers: &mut Headers, ids: &Ids) {
    let is_sane =
        |id: &HeaderValue| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    if !only(headers, &X_REQUEST_ID).is_some_and(is_sane) {
        headers.insert(X_REQUEST_ID, ids.make().to_value());
    }
    comes_once(headers, &X_REQUEST_ID);
}

/// Keeps a value that no other request has out of HTTP/2's tables (RFC 7541 §6.2.3), where it would push out those that all have.
fn comes_once(headers: &mut Headers, name: &HeaderName) {
    if let Some(value) = headers.get_mut(name) {
        value.set_sensitive(true);
    }
}

/// Passes on the trace context of a request as it is where `traceparent` is valid (W3C Trace Context §3.2, §4.3). Else a new trace begins,
/// not sampled, and the state of the old one is dropped.
fn trace_context(headers: &mut Headers, ids: &Ids) {
    if only(headers, &TRACEPARENT).is_some_and(|parent| is_traceparent(parent.as_bytes())) {
        return comes_once(headers, &TRACEPARENT);
    }
    headers.remove(&TRACESTATE);
    let mut fresh = *b"00-................................-................-00";
    if let Some(trace) = fresh.get_mut(3..35) {
        write_hex(&ids.make().to_bytes(), trace);
    }
    if let Some(parent) = fresh.get_mut(36..52) {
        write_hex(&ids.make_short().to_be_bytes(), parent);
    }
    headers.insert(TRACEPARENT, value_of(&fresh));
    comes_once(headers, &TRACEPARENT);
}

fn is_traceparent(value: &[u8]) -> bool {
    let mut rest = Some(value);
    let mut next = |length: usize| {
        let (field, behind) = rest?.split_at_checked(length)?;
        rest = match behind {
            [] => None,
            [b'-', more @ ..] => Some(more),
            _ => return None,
        };
        // All of it is looked at, several bytes at a time.
        field.iter().fold(true, |good, byte| good & is_lower_hex(*byte)).then_some(field)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (next(2), next(32), next(16), next(2)) else {
        return false;
    };
    let is_zero = |field: &[u8]| field.iter().all(|byte| *byte == b'0');
    // A later version may have more fields, this one has not.
    version != b"ff" && !is_zero(trace) && !is_zero(parent) && (version != b"00" || rest.is_none())
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() | matches!(byte, b'a'..=b'f')
}

fn only<'a>(headers: &'a Headers, name: &'a HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name);
    values.next().filter(|_| values.next().is_none())
}

fn value_of(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(const { HeaderValue::from_static("") })
}

/// Makes opaque IDs. They are hashes of a counter, keyed with what the system's random source gave the process: unique, and not to be
/// guessed from one another without breaking SipHash; but nothing may be secret by them.
#[derive(Debug, Default)]
pub(super) struct Ids {
    high: RandomState,
    low: RandomState,
    made: AtomicU64,
}

impl Ids {
    /// The next one.
    pub(super) fn make(&self) -> Id {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // Never zero: that is no trace ID (W3C Trace Context §3.2.2.3).
        Id { high: self.high.hash_one(number), low: self.low.hash_one(number).max(1) }
    }

    /// The next one of half the length. No zero either (§3.2.2.4).
    fn make_short(&self) -> u64 {
        self.low.hash_one(self.made.fetch_add(1, Ordering::Relaxed)).max(1)
    }
}

/// An opaque ID of 128 bits; as text, 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    high: u64,
    low: u64,
}

impl Id {
    /// Its bytes.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    /// Its text.
    pub(super) fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&self.to_bytes(), &mut text);
        text
    }

    /// Its text as a header.
    pub(super) fn to_value(self) -> HeaderValue {
        value_of(&self.to_hex())
    }
}

/// Writes two lower-case digits for each byte.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    let digit = |value: u8| value + b'0' + if value > 9 { b'a' - b'0' - 10 } else { 0 };
    for (place, byte) in text.chunks_exact_mut(2).zip(bytes) {
        place.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_hex().iter().try_for_each(|digit| f.write_char(char::from(*digit)))
    }
}

#[cfg(test)]
mod tests;
