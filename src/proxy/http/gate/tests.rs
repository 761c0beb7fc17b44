//! The gate alone: what it lets through, what it refuses, and that neither depends on how the bytes come in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

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
        ("a CR that ends the head", "GET / HTTP/1.1\r\nA: b\r\n\rX", Fault::LineEnd),
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

const GOOD: &[&str] = &[
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

/// A stream that gives prepared pieces, and then ends or waits.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let Some(piece) = self.pieces.front_mut() else {
            return if self.ends { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(piece);
        *piece = rest;
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    passed: Vec<u8>,
    kept: Vec<u8>,
    fault: Option<Fault>,
    admitted: u64,
}

fn script(pieces: impl IntoIterator<Item = Vec<u8>>, ends: bool) -> Gate<Script> {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    Gate::new(Script { pieces, ends }, Bytes::new(), LIMITS)
}

/// One read of at most `room` bytes.
fn read(gate: &mut Gate<Script>, room: usize) -> Poll<Result<Vec<u8>>> {
    let mut room = vec![0; room];
    let mut buf = ReadBuf::new(&mut room);
    let poll = AsyncRead::poll_read(Pin::new(gate), &mut Context::from_waker(Waker::noop()), &mut buf);
    poll.map_ok(|()| buf.filled().to_vec())
}

fn outcome(pieces: impl IntoIterator<Item = Vec<u8>>, room: usize, ends: bool) -> Outcome {
    let mut gate = script(pieces, ends);
    let mut passed = Vec::new();
    while let Poll::Ready(Ok(bytes)) = read(&mut gate, room) {
        if bytes.is_empty() {
            break;
        }
        passed.extend(bytes);
    }
    let admitted = gate.admitted;
    let parts = gate.into_parts();
    let mut kept = parts.leftover.to_vec();
    parts.io.pieces.iter().for_each(|piece| kept.extend(piece));
    Outcome { passed, kept, fault: parts.fault, admitted }
}

/// The outcome of all at once, after it was found to be that of every other way in which the bytes can come.
fn outcome_however_split(name: &str, input: &[u8]) -> Outcome {
    let whole = outcome([input.to_vec()], 8192, false);
    for room in [1, 7, 8192] {
        let bytewise = outcome(input.iter().map(|byte| vec![*byte]), room, false);
        assert_eq!(bytewise, whole, "{name}: byte by byte into {room}");
        for at in 0..=input.len() {
            let (first, second) = input.split_at(at);
            let split = outcome([first.to_vec(), second.to_vec()], room, false);
            assert_eq!(split, whole, "{name}: split at {at}, into {room}");
        }
    }
    whole
}

#[test]
fn good_requests_pass_byte_for_byte_however_they_come() {
    for good in GOOD {
        let outcome = outcome_however_split(good, good.as_bytes());
        assert_eq!(outcome, Outcome { passed: good.as_bytes().into(), kept: vec![], fault: None, admitted: 1 });
    }
    let all = GOOD.concat();
    let outcome = outcome_however_split("all", all.as_bytes());
    assert_eq!(outcome, Outcome { passed: all.into(), kept: vec![], fault: None, admitted: GOOD.len() as u64 });
}

#[test]
fn no_byte_of_a_refused_head_passes_however_it_comes() {
    for (name, input, fault) in refusals() {
        let outcome = outcome_however_split(name, &input);
        assert_eq!(outcome, Outcome { passed: vec![], kept: input.clone(), fault: Some(fault), admitted: 0 }, "{name}");
        let before = GOOD[6].as_bytes();
        let after = outcome_however_split(name, &[before, &input].concat());
        assert_eq!(after, Outcome { passed: before.into(), kept: input, fault: Some(fault), admitted: 1 }, "{name}");
    }
}

#[test]
fn a_broken_body_passes_up_to_where_it_breaks_however_it_comes() {
    for (name, input, fault) in broken_bodies() {
        let outcome = outcome_however_split(name, &input);
        assert_eq!((outcome.fault, outcome.admitted), (Some(fault), 1), "{name}");
        assert_eq!([&*outcome.passed, &*outcome.kept].concat(), input, "{name}");
    }
}

#[test]
fn hyper_is_never_given_more_than_one_message_at_a_time() {
    let mut gate = script([GOOD.concat().into_bytes()], false);
    for good in GOOD {
        let mut passed = Vec::new();
        while passed.len() < good.len() {
            let Poll::Ready(Ok(bytes)) = read(&mut gate, 8192) else { unreachable!("{good}") };
            passed.extend(bytes);
        }
        assert_eq!(passed, good.as_bytes());
    }
}

#[test]
fn a_gate_at_rest_holds_no_buffer() {
    let pipelined = GOOD.concat().into_bytes();
    let mut gate = script([pipelined, b"GET / HT".to_vec(), b"TP/1.1\r\n\r\n".to_vec()], false);
    while read(&mut gate, 8192).is_ready() {}
    assert_eq!((gate.held.capacity(), gate.admitted), (0, GOOD.len() as u64 + 1));
}

#[test]
fn a_client_that_leaves_in_the_middle_is_told_from_one_that_leaves_between() {
    for (sent, fault) in [
        ("", None),
        ("\r\n", None),
        ("GET / HTTP/1.1\r\n\r\n\r\n", None),
        ("GET", Some(Fault::Truncated)),
        ("GET / HTTP/1.1\r\nA:", Some(Fault::Truncated)),
        ("GET / HTTP/1.1\r\nA b", Some(Fault::HeaderName)),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", Some(Fault::Truncated)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Some(Fault::Truncated)),
    ] {
        assert_eq!(outcome([sent.into()], 8192, true).fault, fault, "{sent:?}");
        assert_eq!(outcome(sent.bytes().map(|byte| vec![byte]), 8192, true).fault, fault, "{sent:?}");
    }
}

#[test]
fn what_follows_an_upgrade_waits_for_its_answer() {
    for asks in [
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ] {
        let input = [asks, GOOD[0]].concat();
        let held = outcome_however_split(asks, input.as_bytes());
        assert_eq!((held.passed, held.kept), (asks.as_bytes().to_vec(), GOOD[0].as_bytes().to_vec()));

        let mut gate = script([input.clone().into()], false);
        let mut passed = Vec::new();
        let mut drain = |gate: &mut Gate<Script>, passed: &mut Vec<u8>| {
            while let Poll::Ready(Ok(bytes)) = read(gate, 8192) {
                passed.extend(bytes);
            }
        };
        drain(&mut gate, &mut passed);
        assert_eq!(passed, asks.as_bytes());
        gate.watch.resume();
        drain(&mut gate, &mut passed);
        assert_eq!(passed, input.as_bytes());
    }
}

#[test]
fn an_upgrade_in_http_1_0_is_none() {
    let input = "GET / HTTP/1.0\r\nUpgrade: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    assert_eq!(outcome([input.into()], 8192, false).admitted, 2);
}

#[test]
fn the_end_of_the_client_is_noticed_while_an_upgrade_is_not_answered() {
    let mut gate = script(["CONNECT a:1 HTTP/1.1\r\n\r\n".into(), "early".into()], true);
    assert!(matches!(read(&mut gate, 8192), Poll::Ready(Ok(bytes)) if !bytes.is_empty()));
    assert!(matches!(read(&mut gate, 8192), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    assert_eq!(gate.into_parts().leftover, "early");
}

#[test]
fn only_so_much_is_held_while_nothing_may_pass() {
    let flood = std::iter::repeat_n(vec![b'x'; 4096], 100);
    let mut gate = script(std::iter::once(b"CONNECT a:1 HTTP/1.1\r\n\r\n".to_vec()).chain(flood), false);
    while read(&mut gate, 8192).is_ready() {}
    assert!(gate.held.len() <= LIMITS.max_header_bytes + 8192, "{}", gate.held.len());
}

#[test]
fn a_head_that_has_begun_can_expire_and_no_other() {
    let mut gate = script([b"\r\n".to_vec()], false);
    let watch = gate.watch();
    assert!(read(&mut gate, 8192).is_pending());
    watch.expire();
    assert!(read(&mut gate, 8192).is_pending());
    assert_eq!((watch.head_since(), watch.fault()), (0, None), "nothing has begun");

    gate.io.pieces.push_back(b"GET / HTTP/1.1\r\n".to_vec());
    assert!(read(&mut gate, 8192).is_pending());
    assert_ne!(watch.head_since(), 0);
    gate.io.pieces.push_back(b"\r\nGET".to_vec());
    watch.expire();
    assert!(matches!(read(&mut gate, 8192), Poll::Ready(Ok(head)) if head.ends_with(b"\r\n\r\n")), "just in time");
    assert_eq!(watch.head_since(), 0);

    assert!(read(&mut gate, 8192).is_pending());
    watch.expire();
    assert!(read(&mut gate, 8192).is_pending(), "the first request is not answered");
    assert_eq!(watch.fault(), Some(Fault::Timeout));
    assert_eq!(gate.into_parts().leftover, "GET");
}

#[test]
fn the_target_is_taken_as_hyper_takes_it() {
    for byte in 0..=u8::MAX {
        for (before, after) in [("/", ""), ("/a", "b"), ("/?", ""), ("/a?b", "c?d"), ("http://a/", "b"), ("a", "b:1")] {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let head = [b"GET ", &*target, b" HTTP/1.1\r\n\r\n"].concat();
            let good = byte.is_ascii() && byte != b'#' && http::Uri::try_from(&*target).is_ok();
            assert_eq!(head::examine(&head, LIMITS).is_ok(), good, "{:?}", String::from_utf8_lossy(&target));
        }
    }
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_no_verdict_depends_on_how_the_bytes_come(
        stream in a_stream(),
        cuts in prop::collection::vec(1..60usize, 0..40),
        room in prop_oneof![Just(1), 1..100usize, Just(8192)],
        ends in any::<bool>(),
    ) {
        let whole = outcome([stream.clone()], 8192, ends);
        let mut rest = &*stream;
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        prop_assert_eq!(&outcome(pieces, room, ends), &whole);
        prop_assert_eq!([&*whole.passed, &*whole.kept].concat(), stream);
    }
}
