//! Requests that the tests send: good ones, and one for each way to be refused.
#![allow(clippy::indexing_slicing, reason = "a test may fail")]

use proptest::prelude::*;

use super::{Fault, Limits};

pub(super) const LIMITS: Limits = Limits { max_header_bytes: 512, max_headers: 8 };

/// Every refusal of a head, by name.
pub(super) fn refusals() -> Vec<(&'static str, Vec<u8>, Fault)> {
    let mut table: Vec<(&str, Vec<u8>, Fault)> = [
        ("a TLS record", "\x16\x03\x01\x02\x00", Fault::Tls),
        ("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::Http2Preface),
        ("five empty lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Fault::EmptyLines),
        ("an empty line ended by LF", "\nGET / HTTP/1.1\r\n\r\n", Fault::LineEnd),
        ("an empty line ended by CR", "\rGET / HTTP/1.1\r\n\r\n", Fault::LineEnd),
        ("a space before the method", " GET / HTTP/1.1\r\n\r\n", Fault::RequestLine),
        ("two spaces", "GET  / HTTP/1.1\r\n\r\n", Fault::RequestLine),
        ("a control character in the method", "G\x01T / HTTP/1.1\r\n\r\n", Fault::RequestLine),
        ("no version", "GET /\r\n\r\n", Fault::RequestLine),
        ("HTTP/1.2", "GET / HTTP/1.2\r\n\r\n", Fault::Version),
        ("HTTP/2.0", "GET / HTTP/2.0\r\n\r\n", Fault::Version),
        ("HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", Fault::Version),
        ("http/1.1", "GET / http/1.1\r\n\r\n", Fault::Version),
        ("a space behind the version", "GET / HTTP/1.1 \r\n\r\n", Fault::LineEnd),
        ("a fragment", "GET /a#b HTTP/1.1\r\n\r\n", Fault::Target),
        ("a fragment in a query", "GET /?a#b HTTP/1.1\r\n\r\n", Fault::Target),
        ("a fragment in an absolute target", "GET http://a/#b HTTP/1.1\r\n\r\n", Fault::Target),
        ("a target beyond ASCII", "GET /\u{e9} HTTP/1.1\r\n\r\n", Fault::Target),
        ("a target that is no URI", "GET /<a> HTTP/1.1\r\n\r\n", Fault::Target),
        ("a target without its slash", "GET a/b HTTP/1.1\r\n\r\n", Fault::Target),
        ("a request line ended by LF", "GET / HTTP/1.1\nA: b\r\n\r\n", Fault::LineEnd),
        ("a header ended by LF", "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", Fault::LineEnd),
        ("an empty header ended by LF", "GET / HTTP/1.1\r\nA:\nC: d\r\n\r\n", Fault::LineEnd),
        ("a head ended by LF", "GET / HTTP/1.1\r\nA: b\r\n\n", Fault::LineEnd),
        ("a head with LF only", "GET / HTTP/1.1\nA: b\n\n", Fault::LineEnd),
        ("a request line ended by CR", "GET / HTTP/1.1\rA: b\r\n\r\n", Fault::LineEnd),
        ("a CR in a value", "GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", Fault::HeaderValue),
        ("a CR that ends the head", "GET / HTTP/1.1\r\nA: b\r\n\rX\r\n", Fault::LineEnd),
        ("a folded line", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Fault::HeaderName),
        ("a line folded by a tab", "GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", Fault::HeaderName),
        ("a space before the first header", "GET / HTTP/1.1\r\n A: b\r\n\r\n", Fault::HeaderName),
        ("a space before the colon", "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", Fault::HeaderName),
        ("a line without a colon", "GET / HTTP/1.1\r\nA\r\n\r\n", Fault::HeaderName),
        ("a header without a name", "GET / HTTP/1.1\r\n: b\r\n\r\n", Fault::HeaderName),
        ("a NUL in a name", "GET / HTTP/1.1\r\nA\0: b\r\n\r\n", Fault::HeaderName),
        ("a NUL in a value", "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", Fault::HeaderValue),
        ("a DEL in a value", "GET / HTTP/1.1\r\nA: b\x7fc\r\n\r\n", Fault::HeaderValue),
        ("an escape in a value", "GET / HTTP/1.1\r\nA: \x1b[2J\r\n\r\n", Fault::HeaderValue),
        (
            "length before encoding",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::LengthAndEncoding,
        ),
        (
            "encoding before length",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            Fault::LengthAndEncoding,
        ),
        (
            "lengths that differ",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            Fault::RepeatedLength,
        ),
        (
            "lengths that agree",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n",
            Fault::RepeatedLength,
        ),
        ("a list of lengths", "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", Fault::Length),
        ("a signed length", "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", Fault::Length),
        ("a negative length", "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", Fault::Length),
        ("a hexadecimal length", "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n", Fault::Length),
        ("an empty length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Fault::Length),
        (
            "a length above half of 64 bits",
            "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
            Fault::Length,
        ),
        ("a length above 64 bits", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551619\r\n\r\n", Fault::Length),
        ("an encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::EncodingInHttp10),
        ("chunked, twice", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Fault::Encoding),
        (
            "chunked in two headers",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::Encoding,
        ),
        ("gzip before chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fault::Encoding),
        ("identity", "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", Fault::Encoding),
        ("an empty encoding", "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", Fault::Encoding),
        ("an encoding that looks like it", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", Fault::Encoding),
        (
            "an encoding in a control character",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            Fault::HeaderValue,
        ),
        ("CONNECT with a length", "CONNECT a:1 HTTP/1.1\r\nContent-Length: 3\r\n\r\n", Fault::ConnectWithBody),
        ("CONNECT with chunks", "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::ConnectWithBody),
    ]
    .map(|(name, bytes, fault)| (name, bytes.as_bytes().to_vec(), fault))
    .to_vec();
    let long = "a".repeat(LIMITS.max_header_bytes);
    let many = "A: b\r\n".repeat(LIMITS.max_headers + 1);
    table.push(("too many headers", format!("GET / HTTP/1.1\r\n{many}\r\n").into(), Fault::TooManyHeaders));
    table.push(("a header too long", format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n").into(), Fault::HeadTooLarge));
    table.push(("a request line too long", format!("GET /{long} HTTP/1.1\r\n\r\n").into(), Fault::TargetTooLong));
    table
}

pub(super) const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\n\r\nGET /a?b=%20&c HTTP/1.1\r\nhost:a\r\nEmpty:\r\nTab: \ta\tb \r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET http://a.example:80/b HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0;last\r\n\r\n",
    "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 ; a=\"b\"\r\na\r\n\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
];

const BROKEN_BODIES: &[(&str, &str, Fault)] = &[
    ("no size", "\r\n", Fault::ChunkSize),
    ("a size that is no number", "x\r\n", Fault::ChunkSize),
    ("a size with a prefix", "0x5\r\n", Fault::ChunkSize),
    ("a size of 17 digits", "00000000000000005\r\n", Fault::ChunkSize),
    ("a size ended by LF", "5\nhello", Fault::ChunkSize),
    ("a space behind the size", "5 \r\nhello", Fault::ChunkSize),
    ("an extension with LF", "5;a\nhello", Fault::ChunkSize),
    ("data longer than its size", "3\r\nhello\r\n", Fault::ChunkEnd),
    ("data ended by LF", "5\r\nhello\n0\r\n\r\n", Fault::ChunkEnd),
    ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Fault::Trailer),
    ("a trailer ended by LF", "0\r\nA: b\n\r\n", Fault::Trailer),
    ("a trailer without a colon", "0\r\nA\r\n\r\n", Fault::Trailer),
    ("a NUL in a trailer", "0\r\nA: \0\r\n\r\n", Fault::Trailer),
    ("a message ended by LF", "0\r\n\n", Fault::Trailer),
    ("nine trailers", "0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", Fault::TrailersTooLarge),
];

/// The bodies that break the chunked coding, with the head before them.
pub(super) fn broken_bodies() -> Vec<(&'static str, Vec<u8>, Fault)> {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
    let mut table: Vec<_> =
        BROKEN_BODIES.iter().map(|(name, body, fault)| (*name, format!("{head}{body}").into(), *fault)).collect();
    let extensions = format!("{head}{}", format!("1;{}\r\na\r\n", "e".repeat(1500)).repeat(3));
    table.push(("extensions of 4.5 KiB in three chunks", extensions.into(), Fault::ChunkExtensions));
    let trailer = format!("{head}0\r\nA: {}\r\n\r\n", "t".repeat(LIMITS.max_header_bytes));
    table.push(("a trailer too long", trailer.into(), Fault::TrailersTooLarge));
    table
}

/// Streams of good, bad and slightly changed messages.
pub(super) fn a_stream() -> impl Strategy<Value = Vec<u8>> {
    let bad = refusals().into_iter().chain(broken_bodies()).map(|(_, bytes, _)| bytes);
    let pool: Vec<Vec<u8>> = GOOD.iter().map(|good| good.as_bytes().to_vec()).chain(bad).collect();
    let good = prop::sample::select(GOOD.iter().map(|good| good.as_bytes().to_vec()).collect::<Vec<_>>());
    let message = prop_oneof![6 => good, 1 => prop::sample::select(pool)];
    let byte = prop_oneof![prop::sample::select(b"\r\n \t:;,0a/#\0".to_vec()), any::<u8>()];
    let change = prop::option::weighted(0.5, (any::<prop::sample::Index>(), byte, 0..3));
    (prop::collection::vec(message, 1..5), change).prop_map(|(messages, change)| {
        let mut stream = messages.concat();
        if let Some((index, byte, kind)) = change {
            let at = index.index(stream.len());
            match kind {
                0 => stream[at] = byte,
                1 => stream.insert(at, byte),
                _ => drop(stream.remove(at)),
            }
        }
        stream
    })
}
