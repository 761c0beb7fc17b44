//! The gate alone: what it lets through, what it refuses, and that neither depends on how the bytes come in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::samples::{GOOD, LIMITS, a_stream, broken_bodies, refusals};
use super::*;

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
        assert_eq!(outcome([input.to_vec()], room, false), whole, "{name}: into {room}");
        let bytewise = outcome(input.iter().map(|byte| vec![*byte]), room, false);
        assert_eq!(bytewise, whole, "{name}: byte by byte into {room}");
    }
    for at in 0..=input.len() {
        let (first, second) = input.split_at(at);
        let split = outcome([first.to_vec(), second.to_vec()], 8192, false);
        assert_eq!(split, whole, "{name}: split at {at}");
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
        let drain = |gate: &mut Gate<Script>, passed: &mut Vec<u8>| {
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_no_verdict_depends_on_how_the_bytes_come(
        stream in a_stream(),
        cuts in prop::collection::vec(1..60usize, 0..40),
        room in prop_oneof![Just(1), 1..100usize, Just(8192)],
        ends in any::<bool>(),
    ) {
        // A line is looked at when it has come whole, or when nothing comes any more.
        let stream = if ends { stream } else { [&*stream, b"\n"].concat() };
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

#[test]
fn the_clock_of_a_refused_head_stands() {
    let mut gate = script([b"GET / HTTP/1.1\r\nHo".to_vec()], false);
    let watch = gate.watch();
    assert!(read(&mut gate, 8192).is_pending());
    assert_ne!(watch.head_since(), 0);
    watch.expire();
    let _ = read(&mut gate, 8192);
    assert_eq!((watch.head_since(), watch.fault()), (0, Some(Fault::Timeout)));
}
