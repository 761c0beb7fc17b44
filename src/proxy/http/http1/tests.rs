//! Heads and bodies alone: what is taken, what is refused, and that neither depends on how the bytes come in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

mod answer_head;
mod outbox;
mod served;
mod waiting;

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};

use super::held::Held;
use super::request_head::{RequestHead, examine};
use super::samples::{GOOD, LIMITS, a_stream, broken_bodies, refusals};
use super::{Fault, Protocol, Unreadable, sniff};

/// A stream that gives prepared pieces, and then ends or waits.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
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

/// What a stream of requests came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Method, target, body and trailers of each, as far as they are good.
    seen: Vec<String>,
    fault: Option<Fault>,
}

fn outcome(pieces: impl IntoIterator<Item = Vec<u8>>, ends: bool) -> Outcome {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    let (mut script, mut held, mut outcome) = (Script { pieces, ends }, Held::default(), Outcome::default());
    let cx = &mut Context::from_waker(Waker::noop());
    loop {
        let head = match head(cx, &mut held, &mut script) {
            Poll::Ready(Ok(Some(head))) => head,
            Poll::Ready(Ok(None)) | Poll::Pending => return outcome,
            Poll::Ready(Err(fault)) => {
                outcome.fault = Some(fault);
                return outcome;
            }
        };
        let (mut body, mut line) = (head.body, format!("{} {} ", head.parts.method, head.parts.uri));
        loop {
            match body.poll_frame(cx, &mut held, &mut script, LIMITS) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => line += &String::from_utf8_lossy(&data),
                    Err(frame) => line += &format!(" {:?}", frame.into_trailers().unwrap()),
                },
                Poll::Ready(None) => break,
                Poll::Ready(Some(Err(Unreadable::Fault(fault)))) => {
                    outcome.seen.push(line + " broken");
                    outcome.fault = Some(fault);
                    return outcome;
                }
                Poll::Ready(Some(Err(Unreadable::Io(_)))) => unreachable!("a script does not break"),
                Poll::Pending => {
                    outcome.seen.push(line + " unfinished");
                    return outcome;
                }
            }
        }
        outcome.seen.push(line);
    }
}

fn head(cx: &mut Context<'_>, held: &mut Held, script: &mut Script) -> Poll<Result<Option<RequestHead>, Fault>> {
    loop {
        if held.is_worth_a_look(LIMITS.max_header_bytes) {
            match examine(held.bytes(), LIMITS)? {
                Some(head) => {
                    held.take(head.len);
                    return Poll::Ready(Ok(Some(head)));
                }
                None => held.was_looked_at(),
            }
        }
        match held.poll_read(cx, script) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
            Poll::Ready(_) => {}
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// The outcome of all at once, after it was found to be that of every other way in which the bytes can come.
fn outcome_however_split(name: &str, input: &[u8]) -> Outcome {
    let whole = outcome([input.to_vec()], false);
    assert_eq!(outcome(input.iter().map(|byte| vec![*byte]), false), whole, "{name}: byte by byte");
    for at in 0..=input.len() {
        let (first, second) = input.split_at(at);
        assert_eq!(outcome([first.to_vec(), second.to_vec()], false), whole, "{name}: split at {at}");
    }
    whole
}

#[test]
fn good_requests_are_understood_however_they_come() {
    let outcome = outcome_however_split("all", GOOD.concat().as_bytes());
    let expected = [
        "GET / ",
        "GET /a?b=%20&c ",
        "OPTIONS * ",
        "GET http://a.example:80/b ",
        "POST / hello",
        "POST / ",
        "POST / hello",
        "PUT / a\r\n0123456789 {\"x-sum\": \"1\", \"y\": \"\"}",
    ];
    assert_eq!((outcome.seen, outcome.fault), (expected.map(str::to_owned).to_vec(), None));
}

#[test]
fn a_refused_head_is_refused_however_it_comes() {
    for (name, input, fault) in refusals() {
        let outcome = outcome_however_split(name, &input);
        assert_eq!((outcome.seen.len(), outcome.fault), (0, Some(fault)), "{name}");
        let after = outcome_however_split(name, &[GOOD[6].as_bytes(), &input].concat());
        assert_eq!((after.seen, after.fault), (vec!["POST / hello".to_owned()], Some(fault)), "{name}");
    }
}

#[test]
fn a_broken_body_breaks_however_it_comes() {
    for (name, input, fault) in broken_bodies() {
        let outcome = outcome_however_split(name, &input);
        assert_eq!(outcome.fault, Some(fault), "{name}");
        assert!(outcome.seen[0].ends_with(" broken"), "{name}: {outcome:?}");
    }
}

#[test]
fn the_target_is_taken_as_a_uri_takes_it() {
    for byte in 0..=u8::MAX {
        for (before, after) in [("/", ""), ("/a", "b"), ("/?", ""), ("/a?b", "c?d"), ("http://a/", "b"), ("a", "b:1")] {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let head = Bytes::from([b"GET ", &*target, b" HTTP/1.1\r\n\r\n"].concat());
            let good = byte.is_ascii() && byte != b'#' && http::Uri::try_from(&*target).is_ok();
            assert_eq!(examine(&head, LIMITS).is_ok(), good, "{:?}", String::from_utf8_lossy(&target));
        }
    }
}

#[tokio::test]
async fn the_first_bytes_tell_which_http_a_client_speaks() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (sent, takes_http2, expected) in [
        (PREFACE.to_owned(), true, Some(Protocol::Http2)),
        (PREFACE.to_owned(), false, Some(Protocol::Http1)),
        (format!("{PREFACE}\0\0\0\x04\0\0\0\0\0"), true, Some(Protocol::Http2)),
        ("PRI * HTTP/2.0\r\n\r\nXM".into(), true, Some(Protocol::Http1)),
        ("PUT / HTTP/1.1\r\n\r\n".into(), true, Some(Protocol::Http1)),
        ("PR".into(), true, Some(Protocol::Http1)),
        (String::new(), true, None),
    ] {
        let pieces = sent.bytes().map(|byte| vec![byte]).collect();
        let mut script = Script { pieces, ends: true };
        let heard = sniff(&mut script, takes_http2).await.unwrap().map(|(protocol, mut first)| {
            first = [&*first, &*script.pieces.into_iter().flatten().collect::<Vec<_>>()].concat().into();
            (protocol, first)
        });
        assert_eq!(heard, expected.map(|protocol| (protocol, Bytes::from(sent))));
    }
}

#[test]
fn what_is_at_rest_holds_no_memory() {
    let mut script = Script {
        pieces: [GOOD.concat().into_bytes(), b"GET / HT".to_vec(), b"TP/1.1\r\n\r\n".to_vec()].into(),
        ends: false,
    };
    let (cx, mut held) = (&mut Context::from_waker(Waker::noop()), Held::default());
    let mut heads = 0;
    while let Poll::Ready(Ok(Some(mut head))) = head(cx, &mut held, &mut script) {
        while let Poll::Ready(Some(frame)) = head.body.poll_frame(cx, &mut held, &mut script, LIMITS) {
            frame.unwrap();
        }
        heads += 1;
    }
    assert_eq!((heads, held.len()), (GOOD.len() + 1, 0));
    let rest = held.take(usize::MAX).try_into_mut();
    assert_eq!(rest.map(|rest| rest.capacity()).unwrap_or_default(), 0);
}

#[test]
fn what_comes_bit_by_bit_is_looked_at_when_a_line_has_come() {
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut held, mut looks) = (Held::default(), 0);
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
        let mut script = Script { pieces: [vec![*byte]].into(), ends: false };
        assert!(held.poll_read(cx, &mut script).is_ready());
        if held.is_worth_a_look(1000) {
            held.was_looked_at();
            looks += 1;
        }
    }
    assert_eq!((looks, held.len()), (4, 27), "at the first byte, and at each line end");
    assert!(!held.is_worth_a_look(27) && held.take(5) == "GET /" && held.is_worth_a_look(1000));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_verdict_depends_on_how_the_bytes_come(
        stream in a_stream(),
        cuts in prop::collection::vec(1..60usize, 0..40),
        ends in any::<bool>(),
    ) {
        // A line is looked at when it has come whole.
        let stream = [&*stream, b"\n"].concat();
        let whole = outcome([stream.clone()], ends);
        let mut rest = &*stream;
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        prop_assert_eq!(&outcome(pieces, ends), &whole);
    }
}
