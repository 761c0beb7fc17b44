//! Heads of answers: which are taken, where their bodies end, and whether their connection can be used again.

use http::{Method, Version};

use super::*;
use crate::proxy::http::http1::answer_head::{AnswerHead, NoAnswer, examine};
use crate::proxy::http::http1::message::Body;

/// The verdict on all of a head, after it was found to be `None` on each of its beginnings, or a fault.
fn verdict(method: &Method, text: &str) -> Result<Option<AnswerHead>, NoAnswer> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let whole = examine(&bytes, method, LIMITS);
    for end in 0..bytes.len() {
        match (examine(&bytes.slice(..end), method, LIMITS), &whole) {
            (Ok(None), _) => {}
            (Err(early), Err(fault)) => assert_eq!(early, *fault, "{text:?} up to {end}"),
            (Ok(Some(head)), Ok(Some(later))) => assert_eq!(head.len, later.len, "{text:?} up to {end}"),
            (early, late) => panic!("{text:?} up to {end}: {early:?}, and then {late:?}"),
        }
    }
    whole
}

/// How a body is framed, in a word.
fn framing(body: &Body) -> String {
    match body {
        Body::Length(length) => length.to_string(),
        Body::Chunked(_) => "chunked".into(),
        Body::UntilEnd => "until the end".into(),
        Body::Ended => "none".into(),
        Body::Broken(fault) => fault.to_string(),
    }
}

#[test]
fn the_end_of_a_body_is_where_rfc_9112_has_it() {
    const GET: Method = Method::GET;
    for (method, head, expected, keeps_alive) in [
        // §6.3, rule 1: none, whatever is said of it.
        (Method::HEAD, "1.1 200 OK\r\nContent-Length: 5", "none", true),
        (Method::HEAD, "1.1 200 OK\r\nTransfer-Encoding: chunked", "none", true),
        (Method::HEAD, "1.1 200 OK", "none", true),
        (GET, "1.1 304 Not Modified\r\nContent-Length: 5", "none", true),
        (GET, "1.1 204 No Content", "none", true),
        (GET, "1.1 204 No Content\r\nContent-Length: 0", "none", true),
        (GET, "1.1 101 Switching Protocols", "none", true),
        (GET, "1.1 100 Continue", "none", true),
        // Who says so may send it.
        (GET, "1.1 204 No Content\r\nContent-Length: 5", "none", false),
        (GET, "1.1 204 No Content\r\nTransfer-Encoding: chunked", "none", false),
        // Rule 4.
        (GET, "1.1 200 OK\r\nTransfer-Encoding: chunked", "chunked", true),
        (GET, "1.1 200 OK\r\ntransfer-encoding:CHUNKED ", "chunked", true),
        (GET, "1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close", "chunked", false),
        // Rule 6.
        (GET, "1.1 200 OK\r\nContent-Length: 5", "5", true),
        (GET, "1.1 200 OK\r\nContent-Length: 0", "none", true),
        (GET, "1.1 205 Reset Content\r\nContent-Length: 5", "5", true),
        (GET, "1.1 200 OK\r\nConnection: a, Close\r\nContent-Length: 5", "5", false),
        (GET, "1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 5", "5", false),
        (GET, "1.0 200 OK\r\nContent-Length: 5", "5", false),
        (GET, "1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5", "5", true),
        // Rule 8.
        (GET, "1.1 200 OK", "until the end", false),
        (GET, "1.1 200 OK\r\nConnection: keep-alive", "until the end", false),
        (GET, "1.0 200 OK\r\nConnection: keep-alive", "until the end", false),
    ] {
        let head = verdict(&method, &format!("HTTP/{head}\r\n\r\n")).unwrap().unwrap();
        assert_eq!((&*framing(&head.body), head.keeps_alive), (expected, keeps_alive), "{method} {head:?}");
    }
}

#[test]
fn what_targets_say_in_their_own_way_is_taken() {
    for (said, version, status, lines) in [
        ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Version::HTTP_11, 200, 1),
        ("HTTP/1.1 200\r\n\r\n", Version::HTTP_11, 200, 0),
        ("HTTP/1.1 200 \r\n\r\n", Version::HTTP_11, 200, 0),
        ("HTTP/1.0 599 \u{e4}\u{f6}\r\nA: \r\na: \u{fc}\r\n\r\n", Version::HTTP_10, 599, 2),
        ("HTTP/1.1 200 OK\nA: b\n\n", Version::HTTP_11, 200, 1),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Version::HTTP_11, 200, 0),
    ] {
        let head = verdict(&Method::GET, said).unwrap().unwrap();
        assert_eq!(
            (head.parts.version, head.parts.status.as_u16(), head.parts.headers.len(), head.len),
            (version, status, lines, said.len())
        );
    }
}

#[test]
fn what_could_be_framed_in_two_ways_is_no_answer() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(LIMITS.max_header_bytes));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(LIMITS.max_headers + 1));
    let unparsable = NoAnswer::Unparsable;
    for (said, fault) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", NoAnswer::FramedTwice),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", NoAnswer::FramedTwice),
        ("HTTP/1.1 304 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", NoAnswer::FramedTwice),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", NoAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", NoAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", NoAnswer::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", NoAnswer::Length),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", NoAnswer::Encoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", NoAnswer::Encoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", NoAnswer::Encoding),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", unparsable(httparse::Error::HeaderName)),
        ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", unparsable(httparse::Error::HeaderName)),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", unparsable(httparse::Error::HeaderValue)),
        ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", unparsable(httparse::Error::HeaderValue)),
        ("HTTP/2.0 200 OK\r\n\r\n", unparsable(httparse::Error::Version)),
        ("HTTP/1.1 2000 OK\r\n\r\n", unparsable(httparse::Error::Status)),
        ("HTTP/1.1 099 OK\r\n\r\n", unparsable(httparse::Error::Status)),
        ("SSH-2.0-a\r\n\r\n", unparsable(httparse::Error::Version)),
        (&long, NoAnswer::TooLong),
        (&many, NoAnswer::TooManyHeaders),
    ] {
        assert_eq!(verdict(&Method::GET, said).map(|_| ()), Err(fault), "{said:?}");
    }
}

#[test]
fn a_head_may_be_as_long_as_the_limits_and_no_longer() {
    let fixed = "HTTP/1.1 200 OK\r\nA: \r\n\r\n";
    let head = |length: usize| fixed.replace("A: ", &format!("A: {}", "a".repeat(length - fixed.len())));
    let max = LIMITS.max_header_bytes;
    assert_eq!(verdict(&Method::GET, &head(max)).unwrap().unwrap().len, max);
    assert_eq!(verdict(&Method::GET, &head(max + 1)).unwrap_err(), NoAnswer::TooLong);
    let lines = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(verdict(&Method::GET, &lines(LIMITS.max_headers)).is_ok());
}
