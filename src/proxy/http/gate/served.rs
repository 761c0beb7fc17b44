//! The gate before real hyper: good requests are served, refused ones never reach the service, and what was said before is said to its end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::convert::Infallible;
use std::sync::Mutex;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;

use super::samples::{LIMITS, a_stream, broken_bodies, refusals};
use super::*;

/// A body that keeps its request in flight.
struct Counted(Full<Bytes>, #[expect(dead_code, reason = "counts until it is dropped")] InFlight);

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// What a connection came to.
struct Served {
    /// Each request that the service saw: method, target, body and trailers.
    seen: Vec<String>,
    /// What the client read.
    answers: String,
    watch: Arc<Watch>,
    /// The gate, where hyper gave it back.
    gate: Option<Gate<DuplexStream>>,
    /// A head that the gate let through ahead of its turn, and that hyper, ending the connection, had no use for.
    unused: Bytes,
}

impl Served {
    fn is_due(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_due)
    }
}

/// Answers each request with its own body; `101` and `connected` to those who ask for it at `/yes`, CONNECT included.
async fn answer(request: Request<Incoming>, watch: Arc<Watch>, seen: &Mutex<Vec<String>>) -> Response<Counted> {
    let in_flight = watch.begin();
    let mut line = format!("{} {}", request.method(), request.uri());
    let upgraded = request.uri().path() == "/yes" || request.uri().host() == Some("yes");
    let connect = request.method() == http::Method::CONNECT;
    let body = match request.into_body().collect().await {
        Ok(body) => {
            let trailers = body.trailers().map(|trailers| format!(" {trailers:?}")).unwrap_or_default();
            let body = body.to_bytes();
            line += &format!(" {}{trailers}", String::from_utf8_lossy(&body));
            body
        }
        Err(_) => {
            line += " broken";
            Bytes::from("broken")
        }
    };
    seen.lock().unwrap().push(line);
    if !upgraded {
        watch.resume();
    }
    let mut response = Response::new(Counted(Full::new(body), in_flight));
    if upgraded && !connect {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
    response
}

/// Serves one client, which writes `input`, ends its side if `ends`, and reads until we end.
async fn serve(input: &[u8], ends: bool) -> Served {
    serve_within(LIMITS, input, ends).await
}

async fn serve_within(limits: Limits, input: &[u8], ends: bool) -> Served {
    let (mut client, server) = duplex(1 << 24);
    client.write_all(input).await.unwrap();
    if ends {
        client.shutdown().await.unwrap();
    }
    let gate = Gate::new(server, Bytes::new(), limits);
    let watch = gate.watch();
    let seen = Mutex::new(Vec::new());
    let service = service_fn(|request| {
        let answered = answer(request, watch.clone(), &seen);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let served =
        http1::Builder::new().header_read_timeout(None).serve_connection(gate, service).without_shutdown().await;
    let (mut gate, unused) = served.map_or((None, Bytes::new()), |parts| (Some(parts.io), parts.read_buf));
    if let Some(gate) = &mut gate {
        gate.io.shutdown().await.unwrap();
    }
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    // A body that is no text is echoed as it is.
    let answers = String::from_utf8_lossy(&answers).into_owned();
    Served { seen: seen.into_inner().unwrap(), answers, watch, gate, unused }
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
    assert_eq!(
        served.seen,
        ["GET /1 ", "POST /2 hello", "POST /3 hello! {\"sum\": \"1\"}", "GET /4 ", "GET /5 ", "GET /6 ", "GET /7 ",]
    );
    assert_eq!(served.answers.matches("200 OK").count(), 7);
    assert_eq!((served.watch.fault(), served.watch.in_flight(), served.is_due()), (None, 0, false));
    assert_eq!((served.watch.read(), served.watch.written()), (input.len() as u64, served.answers.len() as u64));
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
    let seen: Vec<_> = served.seen.iter().map(|line| (line.get(..7).unwrap(), line.len())).collect();
    assert_eq!(seen, [("POST /1", 1_000_008), ("POST /2", 2_010_008), ("GET /3 ", 7)]);
    assert_eq!(served.watch.fault(), None);
}

#[tokio::test]
async fn a_refused_head_never_reaches_the_service() {
    for (name, input, fault) in refusals() {
        let served = serve(&input, false).await;
        assert_eq!((served.seen.len(), served.answers.as_str()), (0, ""), "{name}");
        assert_eq!((served.watch.fault(), served.is_due()), (Some(fault), true), "{name}");
        let parts = served.gate.unwrap().into_parts();
        assert!(parts.is_due && parts.leftover == input && fault.status().is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_request_before_a_refused_head_is_answered_first() {
    for (name, input, fault) in refusals() {
        let first = b"POST /first HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let served = serve(&[first, &*input].concat(), false).await;
        assert_eq!(served.seen, ["POST /first hello"], "{name}");
        assert!(served.answers.starts_with("HTTP/1.1 200 OK") && served.answers.ends_with("hello"), "{name}");
        assert_eq!((served.watch.fault(), served.is_due()), (Some(fault), true), "{name}");
    }
}

#[tokio::test]
async fn our_own_answer_is_not_due_where_the_connection_was_to_end() {
    let served = serve(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n\x16\x03\x01", false).await;
    assert_eq!((served.seen.len(), served.is_due()), (1, false));
}

#[tokio::test]
async fn a_broken_body_is_never_seen_as_a_whole_one() {
    for (name, input, fault) in broken_bodies() {
        let served = serve(&input, false).await;
        assert_eq!(served.seen, ["POST / broken"], "{name}");
        assert_eq!((served.watch.fault(), served.is_due()), (Some(fault), false), "{name}");
    }
    let cut = b"GET";
    let served = serve(cut, true).await;
    assert_eq!((served.watch.fault(), served.is_due(), served.answers.as_str()), (Some(Fault::Truncated), false, ""));
    let cut = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhell";
    let served = serve(cut, true).await;
    assert_eq!((served.seen, served.watch.fault()), (vec!["POST / broken".to_owned()], Some(Fault::Truncated)));
}

#[tokio::test]
async fn what_follows_a_granted_upgrade_is_left_over() {
    for asks in [
        "GET /yes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST /yes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n\r\nab",
        "CONNECT yes:1 HTTP/1.1\r\nHost: yes:1\r\n\r\n",
    ] {
        let served = serve(&[asks.as_bytes(), b"\x16\x03\x01tunnel"].concat(), false).await;
        assert_eq!((served.seen.len(), served.watch.fault(), &*served.unused), (1, None, &b""[..]), "{asks}");
        let parts = served.gate.unwrap().into_parts();
        let mut rest = parts.leftover.to_vec();
        if rest.is_empty() {
            let mut io = parts.io;
            rest.resize(9, 0);
            io.read_exact(&mut rest).await.unwrap();
        }
        assert_eq!(rest, b"\x16\x03\x01tunnel", "{asks}");
    }
}

/// A connection whose service answers when it is told to, with `size` bytes.
async fn served_late(
    io: DuplexStream,
    size: usize,
    asked: &Notify,
    answer: &Notify,
    dropped: &Notify,
) -> (bool, Arc<Watch>) {
    struct Dropped<'a>(&'a Notify);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let gate = Gate::new(io, Bytes::new(), LIMITS);
    let watch = gate.watch();
    let service = service_fn(|_| {
        let (in_flight, gone) = (watch.begin(), Dropped(dropped));
        async move {
            asked.notify_one();
            answer.notified().await;
            drop(gone);
            Ok::<_, Infallible>(Response::new(Counted(Full::new(vec![b'x'; size].into()), in_flight)))
        }
    });
    let served =
        http1::Builder::new().header_read_timeout(None).serve_connection(gate, service).without_shutdown().await;
    let due = served.is_ok_and(|parts| parts.io.is_due);
    (due, watch)
}

#[tokio::test]
async fn a_long_answer_leaves_whole_before_the_refusal_behind_it() {
    const SIZE: usize = 1 << 20;
    let (mut client, server) = duplex(1024);
    let (asked, answer, dropped) = (Notify::new(), Notify::new(), Notify::new());
    let talk = async {
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/3.0\r\n\r\n").await.unwrap();
        asked.notified().await;
        answer.notify_one();
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.unwrap();
        answers
    };
    let ((due, watch), answers) = tokio::join!(served_late(server, SIZE, &asked, &answer, &dropped), talk);
    assert!(due);
    assert_eq!((watch.fault(), watch.in_flight(), watch.begun()), (Some(Fault::Version), 0, 1));
    assert!(answers.ends_with(&[b'x'; SIZE]));
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_request_is_served() {
    for behind in ["", "GET", "GET / HTTP/3.0\r\n\r\n"] {
        for asks in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\n\r\n"] {
            let (mut client, server) = duplex(1024);
            let (asked, answer, dropped) = (Notify::new(), Notify::new(), Notify::new());
            let talk = async {
                client.write_all(format!("{asks}{behind}").as_bytes()).await.unwrap();
                asked.notified().await;
                drop(client);
                dropped.notified().await;
            };
            let ((due, _), ()) = tokio::join!(served_late(server, 1, &asked, &answer, &dropped), talk);
            assert!(!due, "{asks}{behind}");
        }
    }
}

#[tokio::test]
async fn a_body_is_asked_for_where_the_client_waits_to_be_asked() {
    let (mut client, server) = duplex(1024);
    let gate = Gate::new(server, Bytes::new(), LIMITS);
    let (watch, seen) = (gate.watch(), Mutex::new(Vec::new()));
    let service = service_fn(|request| {
        let answered = answer(request, watch.clone(), &seen);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let talk = async {
        client
            .write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
            .await
            .unwrap();
        let mut asked = [0; 25];
        client.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(gate, service);
    let (served, answer) = tokio::join!(connection, talk);
    served.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok"), "{answer}");
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
        let (mut client, server) = duplex(1);
        let talk = async {
            client.write_all(sent.as_bytes()).await.unwrap();
            drop(client);
        };
        let hear = async {
            let (protocol, gate) = Gate::sniff(server, LIMITS, takes_http2).await.unwrap()?;
            let read = gate.watch().read();
            let mut parts = gate.into_parts();
            assert_eq!(read, parts.leftover.len() as u64);
            let mut rest = parts.leftover.to_vec();
            parts.io.read_to_end(&mut rest).await.unwrap();
            Some((protocol, String::from_utf8(rest).unwrap()))
        };
        let ((), heard) = tokio::join!(talk, hear);
        assert_eq!(heard, expected.map(|protocol| (protocol, sent)));
    }
}

#[tokio::test]
async fn an_open_gate_lets_everything_pass_and_counts() {
    let (mut client, server) = duplex(1024);
    let mut gate = Gate::open(server, Bytes::from("\x16\x03"));
    let watch = gate.watch();
    client.write_all(b"\n\nany").await.unwrap();
    drop(client);
    let mut heard = Vec::new();
    gate.read_to_end(&mut heard).await.unwrap();
    assert_eq!((&*heard, watch.read(), watch.fault()), (&b"\x16\x03\n\nany"[..], 5, None));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// Where the two disagreed, hyper would answer by itself, or take a byte of one message for one of another.
    #[test]
    fn hyper_takes_every_head_that_the_gate_lets_through(stream in a_stream()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let served = runtime.block_on(serve(&stream, true));
        let answered = served.answers.matches("HTTP/1.").count();
        prop_assert_eq!(served.answers.matches(" 200 OK").count(), answered);
        if let Some(gate) = &served.gate {
            prop_assert_eq!(served.watch.begun() + u64::from(!served.unused.is_empty()), gate.admitted);
            prop_assert!(!gate.is_due || served.unused.is_empty());
        }
    }
}
