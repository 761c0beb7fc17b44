//! A client's end of a connection at work: good requests are served in turn, refused ones never reach the service, what was said before is said to its
//! end, and what belongs to one request never becomes part of another.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::*;
use crate::proxy::error::ConnectionError;
use crate::proxy::http::body::{AnswerBody, Received};
use crate::proxy::http::head_clock::HeadClock;
use crate::proxy::http::http1::{ClientEnd, Limits, Remains, RequestStream};
use crate::proxy::http::leash::Leash;
use crate::proxy::http::parts::{AnswerParts, RequestParts};
use crate::proxy::socket::Socket;
use crate::proxy::wire::Wire;

/// A client, and the end that we serve.
pub(super) fn pair(limits: Limits) -> (UnixStream, Arc<ClientEnd>) {
    let (client, ours) = UnixStream::pair().unwrap();
    let leash = Leash::new(Wire::Plain(Socket::unix(ours))).0;
    (client, ClientEnd::new(leash, Bytes::new(), limits))
}

pub(super) fn clock() -> Arc<HeadClock> {
    Arc::new(HeadClock::new(Instant::now()))
}

pub(super) fn own(body: impl Into<Bytes>) -> (AnswerParts, AnswerBody) {
    (AnswerParts::default(), AnswerBody::own(Full::new(body.into()), None))
}

/// The next part of a body: its data, or its trailers as text; `None` at its end.
pub(super) async fn part(stream: &mut RequestStream) -> Option<Result<Bytes, Unreadable>> {
    let frame = poll_fn(|cx| stream.poll_frame(cx)).await?;
    Some(frame.map(|frame| match frame.into_data() {
        Ok(data) => data,
        Err(frame) => format!(" {:?}", frame.into_trailers().unwrap()).into(),
    }))
}

/// All of a body, and whether it is whole.
async fn all(body: Received) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    if let Received::Http1(mut stream) = body {
        while let Some(part) = part(&mut stream).await {
            let Ok(part) = part else { return (read, false) };
            read.extend(part);
        }
    }
    (read, true)
}

/// Answers each request with its own body; `101` and `200` to those who ask for it at `/yes`, CONNECT included.
async fn echo(parts: RequestParts, body: Received, seen: &Mutex<Vec<String>>) -> (AnswerParts, AnswerBody) {
    let (read, is_whole) = all(body).await;
    let text = if is_whole { String::from_utf8_lossy(&read) } else { "broken".into() };
    seen.lock().unwrap().push(format!("{} {} {text}", parts.method, parts.uri));
    if parts.method == Method::CONNECT {
        return own("");
    }
    if parts.uri.path() == "/yes" {
        let mut answer = own("");
        answer.0.status = StatusCode::SWITCHING_PROTOCOLS;
        return answer;
    }
    own(read)
}

/// What a connection came to.
struct Served {
    /// Each request that the service saw: method, target, body and trailers.
    seen: Vec<String>,
    /// What the client read.
    answers: String,
    end: Result<(), ConnectionError>,
    fault: Option<Fault>,
    is_due: bool,
    /// What was not used.
    rest: Vec<u8>,
    clock: Arc<HeadClock>,
}

/// Serves one client, which writes `input`, ends its side if `ends`, and reads until we end.
async fn serve(input: &[u8], ends: bool) -> Served {
    serve_within(LIMITS, input, ends).await
}

async fn serve_within(limits: Limits, input: &[u8], ends: bool) -> Served {
    let (mut client, end) = pair(limits);
    let (clock, seen) = (clock(), Mutex::new(Vec::new()));
    let (mut reads, mut writes) = client.split();
    let talk = async {
        writes.write_all(input).await.unwrap();
        if ends {
            writes.shutdown().await.unwrap();
        }
    };
    let ours = async {
        let served = end.clone().serve(clock.clone(), |parts, body| echo(parts, body, &seen), || false).await;
        let Remains { mut wire, leftover, fault, is_due } = end.remains();
        wire.shutdown().await.unwrap();
        (served, wire, leftover, fault, is_due)
    };
    let mut answers = Vec::new();
    let ((), (served, mut wire, leftover, fault, is_due), read) =
        tokio::join!(talk, ours, reads.read_to_end(&mut answers));
    read.unwrap();
    drop(client);
    let mut rest = leftover.to_vec();
    wire.read_to_end(&mut rest).await.unwrap();
    // A body that is no text is echoed as it is.
    let answers = String::from_utf8_lossy(&answers).into_owned();
    Served { seen: seen.into_inner().unwrap(), answers, end: served, fault, is_due, rest, clock }
}

#[tokio::test]
async fn pipelined_requests_of_every_framing_are_served_in_turn() {
    let input = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         \r\nPOST /2 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
         POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nSum: 1\r\n\r\n\
         GET /4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
         GET /5 HTTP/1.1\r\nUpgrade: h2c\r\n\r\n\
         GET /6 HTTP/1.1\r\n\r\n\
         GET /7 HTTP/1.1\r\nConnection: close\r\n\r\n";
    let served = serve(input.as_bytes(), false).await;
    served.end.unwrap();
    assert_eq!(
        served.seen,
        ["GET /1 ", "POST /2 hello", "POST /3 hello! {\"sum\": \"1\"}", "GET /4 ", "GET /5 ", "GET /6 ", "GET /7 "]
    );
    assert_eq!(served.answers.matches("200 OK").count(), 7);
    assert_eq!(served.answers.matches("connection: ").count(), 2, "{}", served.answers);
    assert_eq!((served.fault, served.is_due, &*served.rest), (None, false, &b""[..]));
}

#[tokio::test]
async fn heads_and_bodies_larger_than_any_buffer_pass() {
    let limits = Limits { max_header_bytes: 100_000, max_headers: 200 };
    let (header, body) = ("h".repeat(70_000), "b".repeat(1_000_000));
    let many = "A: b\r\n".repeat(98);
    let chunks = format!("{:x}\r\n{body}\r\n", body.len()).repeat(2) + &"1\r\nb\r\n".repeat(10_000);
    let input = format!(
        "POST /1 HTTP/1.1\r\nA: {header}\r\n{many}Content-Length: {}\r\n\r\n{body}\
         POST /2 HTTP/1.1\r\nA: {header}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n\
         GET /3 HTTP/1.1\r\nConnection: close\r\n\r\n",
        body.len(),
    );
    let served = serve_within(limits, input.as_bytes(), false).await;
    let seen: Vec<_> = served.seen.iter().map(|line| (line.split_at(7).0, line.len())).collect();
    assert_eq!(seen, [("POST /1", 1_000_008), ("POST /2", 2_010_008), ("GET /3 ", 7)]);
    assert_eq!(served.fault, None);
}

#[tokio::test]
async fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
    let head = |length: usize| {
        let fixed = "GET / HTTP/1.1\r\nConnection: close\r\nA: \r\n\r\n";
        fixed.replace("A: ", &format!("A: {}", "a".repeat(length - fixed.len())))
    };
    let served = serve(head(LIMITS.max_header_bytes).as_bytes(), false).await;
    assert_eq!((served.seen.len(), served.fault), (1, None));
    let served = serve(head(LIMITS.max_header_bytes + 1).as_bytes(), false).await;
    assert_eq!((served.seen.len(), served.fault), (0, Some(Fault::HeadTooLarge)));
}

#[tokio::test]
async fn a_refused_head_never_reaches_the_service() {
    for (name, input, fault) in refusals() {
        let served = serve(&input, false).await;
        assert_eq!((served.seen.len(), served.answers.as_str()), (0, ""), "{name}");
        assert_eq!((served.fault, served.is_due), (Some(fault), true), "{name}");
        assert!(served.rest == input && fault.status().is_some(), "{name}");
        assert_eq!(served.clock.since(), None, "{name}: nobody waits for the rest");
    }
}

#[tokio::test]
async fn the_request_before_a_refused_head_is_answered_first() {
    for (name, input, fault) in refusals() {
        let first = b"POST /first HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let served = serve(&[first, &*input].concat(), false).await;
        assert_eq!(served.seen, ["POST /first hello"], "{name}");
        assert!(served.answers.starts_with("HTTP/1.1 200 OK") && served.answers.ends_with("hello"), "{name}");
        assert_eq!((served.fault, served.is_due), (Some(fault), true), "{name}");
    }
}

#[tokio::test]
async fn our_own_answer_is_not_due_where_the_connection_was_to_end() {
    let served = serve(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n\x16\x03\x01", false).await;
    assert_eq!((served.seen.len(), served.is_due, served.fault), (1, false, None));
}

#[tokio::test]
async fn a_broken_body_is_never_seen_as_a_whole_one_and_nothing_behind_it_as_a_request() {
    // Read again from where it broke, each of these could be a body that ends well.
    let behind = "X\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    for (name, input, fault) in broken_bodies() {
        for after in ["", behind] {
            let served = serve(&[&*input, after.as_bytes()].concat(), false).await;
            assert_eq!(served.seen, ["POST / broken"], "{name}");
            assert_eq!((served.fault, served.is_due), (Some(fault), false), "{name}");
        }
    }
    let smuggled = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n5;a\n{behind}");
    assert_eq!(serve(smuggled.as_bytes(), false).await.seen, ["POST / broken"]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_told_from_one_that_leaves_between() {
    for (sent, fault) in [
        ("", None),
        ("\r\n", None),
        ("GET", Some(Fault::Truncated)),
        ("GET / HTTP/1.1\r\nA:", Some(Fault::Truncated)),
        ("GET / HTTP/1.1\r\nA b", Some(Fault::HeaderName)),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", Some(Fault::Truncated)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Some(Fault::Truncated)),
    ] {
        let served = serve(sent.as_bytes(), true).await;
        assert_eq!(served.fault, fault, "{sent:?}");
        assert!(served.seen.iter().all(|seen| seen == "POST / broken"), "{sent:?}: {:?}", served.seen);
    }
}

#[tokio::test]
async fn what_follows_a_granted_upgrade_is_left_over() {
    for asks in [
        "GET /yes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST /yes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n\r\nab",
        "CONNECT yes:1 HTTP/1.1\r\nHost: yes:1\r\n\r\n",
    ] {
        let served = serve(&[asks.as_bytes(), b"\x16\x03\x01tunnel"].concat(), false).await;
        assert_eq!((served.seen.len(), served.fault), (1, None), "{asks}");
        assert_eq!(served.rest, b"\x16\x03\x01tunnel", "{asks}");
        assert!(!served.answers.contains("close") && served.answers.ends_with("\r\n\r\n"), "{}", served.answers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_says_each_request_is_answered_once_and_in_turn(stream in a_stream(), ends in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // One that neither says all nor leaves is waited for.
        let stream = if ends { stream } else { [&*stream, b"\r\nGET / HTTP/3.0\r\n\r\n"].concat() };
        let served = runtime.block_on(serve(&stream, true));
        let mut expected = outcome([stream], true).seen;
        let broken = expected.last().is_some_and(|last| last.ends_with(" broken"));
        if broken && let Some(last) = expected.last_mut() {
            last.clear();
        }
        prop_assert!(served.seen.len() <= expected.len());
        for (seen, expected) in served.seen.iter().zip(&expected).filter(|(_, expected)| !expected.is_empty()) {
            prop_assert_eq!(seen, expected);
        }
        let answers = served.answers.matches("HTTP/1.1 200 OK\r\n").count() + served.answers.matches("HTTP/1.0 200 OK\r\n").count();
        prop_assert!(answers <= served.seen.len(), "{}", served.answers);
    }
}
