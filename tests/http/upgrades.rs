//! Other bytes than HTTP's: WebSockets and other upgrades, on a whole connection or on one stream of HTTP/2, agreed to or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use svidgate::metrics::RequestOutcome;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;

use super::frames::{DATA, END_HEADERS, Frames, GET, HEADERS, RST_STREAM, block};
use super::scene::{Played, Raw, Scene, header, patiently, served};
use crate::harness::http::{Body, Client, full};
use crate::harness::{Gate, WEB, World, until};
use crate::upstream::{Server, egress_toml, ended, to_orders};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// Both ends of a connection that has become a WebSocket's.
async fn upgraded(scene: &Scene, application: &Played) -> (Raw<TlsStream<TcpStream>>, Raw<TcpStream>) {
    let mut raw = scene.raw().await;
    raw.say(ASK).await;
    let mut app = application.accept().await;
    let head = app.head().await;
    assert_eq!((header(&head, "connection"), header(&head, "upgrade")), (Some("upgrade"), Some("websocket")), "{head}");
    assert_eq!(header(&head, "sec-websocket-key"), Some("a2V5"));
    assert!(header(&head, "x-forwarded-client-cert").is_some(), "{head}");
    app.say(AGREE).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!((header(&head, "connection"), header(&head, "upgrade")), (Some("upgrade"), Some("websocket")), "{head}");
    assert_eq!(header(&head, "sec-websocket-accept"), Some("x"));
    (raw, app)
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_until_each_side_has_ended() {
    let (scene, application) = Scene::played("").await;
    let (mut raw, mut app) = upgraded(&scene, &application).await;
    for _ in 0..3 {
        raw.say("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(app.head().await, "GET / HTTP/1.1\r\n\r\n");
        app.say([0x81, 2, b'o', b'k'].map(|byte| byte & 0x7f)).await;
        assert_eq!(raw.take(4).await, "\x01\x02ok");
    }
    raw.finish().await;
    assert_eq!(app.end().await.0, "");
    app.say("last words").await;
    app.finish().await;
    let (rest, end) = raw.end().await;
    assert!(rest == "last words" && end.is_ok(), "{rest} {end:?}");
    until("it is counted", || scene.requests(RequestOutcome::Tunnelled) == 1).await;
}

#[tokio::test]
async fn an_application_that_ends_an_upgraded_connection_first_still_hears_the_client() {
    let (scene, application) = Scene::played("").await;
    let (mut raw, mut app) = upgraded(&scene, &application).await;
    app.say("bye").await;
    app.finish().await;
    assert_eq!(raw.end().await.0, "bye");
    raw.say("one more thing").await;
    raw.finish().await;
    assert_eq!(app.end().await.0, "one more thing");
}

#[tokio::test]
async fn what_either_side_says_right_behind_its_head_is_not_lost() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say(format!("{ASK}eager")).await;
    let mut app = application.accept().await;
    app.head().await;
    app.say(format!("{AGREE}me too")).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.take(6).await, "me too");
    assert_eq!(app.take(5).await, "eager");
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_an_answer_and_the_next_request_follows() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    // The next request is already there: were the answer a 101, it would be no request.
    raw.say(format!("{ASK}GET /next HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno").await;
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 426 ") && body == "no", "{head}");
    let next = app.head().await;
    assert!(next.starts_with("GET /next HTTP/1.1\r\n"), "{next}");
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(raw.answer().await.1, "ok");
}

#[tokio::test]
async fn an_upgrade_that_the_policy_refuses_is_answered_and_the_next_request_follows() {
    let (scene, application) = Scene::with("", "paths = [\"/next\"]", "").await;
    let mut raw = scene.raw().await;
    raw.say(format!("{ASK}GET /next HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(raw.answer().await.0.starts_with("HTTP/1.1 403 "));
    assert_eq!(raw.answer().await.1, "hello");
    assert_eq!(application.only().target, "/next");
}

#[tokio::test]
async fn nobody_is_taken_over_to_another_version_of_http() {
    let (scene, application) = Scene::with("", "", "").await;
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.3", "websocket, h2c"] {
        let before = application.seen().len();
        let mut raw = scene.raw().await;
        raw.say(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
        ))
        .await;
        let (head, body) = raw.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "hello", "{protocol}: {head}");
        let seen = application.seen().split_off(before);
        assert_eq!((seen[0].header("upgrade"), seen[0].header("http2-settings")), (None, None), "{protocol}");
        raw.say("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.answer().await.1, "hello", "{protocol}");
    }
}

#[tokio::test]
async fn http_1_0_knows_no_upgrade() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say(ASK.replace("HTTP/1.1", "HTTP/1.0")).await;
    assert!(raw.answer().await.0.starts_with("HTTP/1.0 200 "));
    let seen = application.only();
    assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None));
}

#[tokio::test]
async fn an_application_that_changes_the_protocol_unasked_is_answered_for_with_502() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say(AGREE).await;
            app
        };
        let (answer, mut app) = tokio::join!(client.get("/"), serve);
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (502, "upstream_failed"));
        assert_eq!(app.end().await.0, "", "it is let go of");
    }
}

#[tokio::test]
async fn an_application_that_changes_the_protocol_before_it_has_the_whole_request_is_answered_for_with_502() {
    let (scene, application) = Scene::played("").await;
    for framing in ["Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n"] {
        let mut raw = scene.raw().await;
        raw.say(format!("POST /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{framing}"))
            .await;
        let mut app = application.accept().await;
        app.until("he").await;
        app.say(AGREE).await;
        let (head, _) = raw.answer().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let (rest, _) = app.end().await;
        assert!(!rest.contains('0'), "the body does not seem whole: {rest:?}");
    }
}

#[tokio::test]
async fn an_application_that_changes_the_protocol_for_a_client_that_never_takes_it_over_is_let_go_of() {
    let world = World::new();
    let service = Server::orders(&world).await;
    let path = world.path("egress.sock");
    let toml = egress_toml(&world, &to_orders(service.address, "[limits.http]\nmax_header_bytes = \"1MiB\""));
    world.identity("web", WEB);
    let gate = Gate::start(&toml.replace("127.0.0.1:0", &format!("unix://{}", path.display()))).await;
    let mut raw = Raw::of(UnixStream::connect(&path).await.unwrap());
    raw.say(ASK).await;
    let mut app = Raw::of(service.accept().await);
    app.head().await;
    // A head that no unix socket takes at once: its client leaves before it has it.
    let long = format!("X-Long: {}\r\n\r\n", "x".repeat(900_000));
    app.say(AGREE.replace("\r\n\r\n", "\r\n") + &long).await;
    raw.until("HTTP/1.1 101 ").await;
    drop(raw);
    assert_eq!(app.end().await.0, "");
    until("it is counted", || ended(&gate, RequestOutcome::Cancelled) == 1).await;
}

/// Asks for a WebSocket on a stream of HTTP/2.
fn extended_connect(protocol: &'static str) -> Request<Body> {
    let request = Request::connect("https://orders.example/chat?a=b").header("sec-websocket-version", "13");
    let mut request = request.body(full("")).unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

async fn stream_of(response: Response<hyper::body::Incoming>) -> Raw<TokioIo<hyper::upgrade::Upgraded>> {
    assert_eq!(response.status(), StatusCode::OK);
    Raw::of(TokioIo::new(patiently(hyper::upgrade::on(response)).await.unwrap()))
}

/// A client that has heard that extended CONNECT is taken.
async fn client_of(scene: &Scene) -> Client {
    let mut client = scene.http2().await;
    assert_eq!(client.get("/hello").await.status, 200);
    client
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_application_that_speaks_http1() {
    let (scene, application) = Scene::played("").await;
    let greet = async {
        let mut app = application.accept().await;
        app.head().await;
        app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        app
    };
    let (mut client, mut app) = tokio::join!(client_of(&scene), greet);
    let agree = async {
        let head = app.head().await;
        assert!(head.starts_with("GET /chat?a=b HTTP/1.1\r\n"), "{head}");
        assert_eq!((header(&head, "connection"), header(&head, "upgrade")), (Some("upgrade"), Some("websocket")));
        assert_eq!(header(&head, "sec-websocket-key").map(str::len), Some(24));
        assert_eq!(header(&head, "host"), Some("orders.example"));
        assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (None, None));
        app.say(AGREE).await;
    };
    let (response, ()) = tokio::join!(client.send(extended_connect("websocket")), agree);
    let response = response.unwrap();
    assert_eq!(response.headers().get("sec-websocket-accept"), None);
    assert_eq!(response.headers().get("upgrade"), None);
    let mut stream = stream_of(response).await;
    for _ in 0..3 {
        stream.say("ping").await;
        assert_eq!(app.take(4).await, "ping");
        app.say("pong").await;
        assert_eq!(stream.take(4).await, "pong");
    }
    stream.finish().await;
    assert_eq!(app.end().await.0, "");
    app.say("bye").await;
    app.finish().await;
    let (rest, end) = stream.end().await;
    assert!(rest == "bye" && end.is_ok(), "{rest} {end:?}");
    until("it is counted", || scene.requests(RequestOutcome::Tunnelled) == 1).await;
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_application_that_speaks_http2() {
    let application = served(|request| async move {
        if request.method() != Method::CONNECT {
            return Response::new(full("hello"));
        }
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri().path_and_query().unwrap(), "/chat?a=b");
        assert!(request.headers().get("sec-websocket-key").is_none());
        assert!(request.headers().contains_key("x-forwarded-client-cert"));
        tokio::spawn(async move {
            let stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut writer).await.unwrap();
        });
        Response::new(full(""))
    })
    .await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    let mut client = client_of(&scene).await;
    let response = client.send(extended_connect("websocket")).await.unwrap();
    let mut stream = stream_of(response).await;
    for word in ["one", "two", "three"] {
        stream.say(word).await;
        assert_eq!(stream.take(word.len()).await, word);
    }
    stream.finish().await;
    let (rest, end) = stream.end().await;
    assert!(rest.is_empty() && end.is_ok(), "{rest} {end:?}");
    assert_eq!(client.get("/again").await.status, 200, "the other streams go on");
}

#[tokio::test]
async fn a_websocket_over_http2_that_the_application_refuses_is_an_answer() {
    let (scene, application) = Scene::played("").await;
    let greet = async {
        let mut app = application.accept().await;
        app.head().await;
        app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        app
    };
    let (mut client, mut app) = tokio::join!(client_of(&scene), greet);
    for (said, status) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404),
        ("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno", 426),
        // A 200 would mean that the WebSocket is open.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", 502),
    ] {
        let refuse = async {
            app.head().await;
            app.say(said).await;
        };
        let (answer, ()) = tokio::join!(client.ask(extended_connect("websocket")), refuse);
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn over_http2_too_nobody_is_taken_over_to_another_version_of_http() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut client = client_of(&scene).await;
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.3", "websocket, h2c", "tls ", ""] {
        let answer = client.ask(extended_connect(protocol)).await;
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (400, "bad_request"), "{protocol:?}");
    }
    assert_eq!(application.only().target, "/hello");
}

#[tokio::test]
async fn a_websocket_over_http2_lives_for_as_long_as_bytes_move() {
    let (scene, application) = Scene::played("[limits]\nidle_timeout = \"2s\"").await;
    let greet = async {
        let mut app = application.accept().await;
        app.head().await;
        app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        app
    };
    let (mut client, mut app) = tokio::join!(client_of(&scene), greet);
    let agree = async {
        app.head().await;
        app.say(AGREE).await;
    };
    let (response, ()) = tokio::join!(client.send(extended_connect("websocket")), agree);
    let mut stream = stream_of(response.unwrap()).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        stream.say("ping").await;
        assert_eq!(app.take(4).await, "ping");
        app.say("pong").await;
        assert_eq!(stream.take(4).await, "pong");
        sleep(Duration::from_millis(50)).await;
    }
    let (rest, _) = stream.end().await;
    assert_eq!(rest, "");
    until("it is counted", || scene.requests(RequestOutcome::Tunnelled) == 1).await;
}

#[tokio::test]
async fn rules_see_a_websocket_over_http2_as_the_get_that_it_is() {
    for (rules, status) in
        [("methods = [\"CONNECT\"]", 403), ("methods = [\"GET\"]\npaths = [\"/other\", \"/hello\"]", 403)]
    {
        let (scene, application) = Scene::with("", rules, "").await;
        let mut client = scene.http2().await;
        client.get("/hello").await;
        let before = application.seen().len();
        let answer = client.ask(extended_connect("websocket")).await;
        assert_eq!(answer.status, status, "{rules}");
        assert_eq!(application.seen().len(), before);
    }
}

#[tokio::test]
async fn a_websocket_may_be_the_first_that_an_application_which_speaks_http2_is_asked_for() {
    let application = served(|request| async move {
        assert_eq!(request.method(), Method::CONNECT);
        tokio::spawn(async move {
            let mut stream = Raw::of(TokioIo::new(hyper::upgrade::on(request).await.unwrap()));
            stream.say("welcome").await;
            stream.finish().await;
        });
        Response::new(full(""))
    })
    .await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    let mut client = scene.http2().await;
    // The gate answers this itself, after it has said that it takes extended CONNECT.
    let request = client.request("TRACE", "/");
    assert_eq!(client.ask(request).await.status, 405);
    let response = client.send(extended_connect("websocket")).await.unwrap();
    assert_eq!(stream_of(response).await.take(7).await, "welcome");
}

/// An application that speaks HTTP/2 alone, takes two streams at a time, and sends back what comes on WebSockets where it takes any; and the count
/// of its other requests.
async fn of_two_streams(takes_websockets: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |request: Request<hyper::body::Incoming>| {
        let body = match request.method() {
            &Method::CONNECT => {
                tokio::spawn(async move {
                    let stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
                ""
            }
            _ => {
                counted.fetch_add(1, Ordering::SeqCst);
                "hello"
            }
        };
        async move { Ok::<_, hyper::Error>(Response::new(full(body))) }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(2);
            if takes_websockets {
                builder.enable_connect_protocol();
            }
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(answer.clone())));
        }
    });
    (address, count)
}

#[tokio::test]
async fn a_websocket_takes_a_stream_of_the_upstreams_for_as_long_as_it_lasts() {
    let (application, _) = of_two_streams(true).await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    let mut client = client_of(&scene).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(stream_of(client.send(extended_connect("websocket")).await.unwrap()).await);
    }
    assert_eq!(client.get("/").await.status, 200, "the next request has a connection that takes it");
    for stream in &mut open {
        stream.say("still here").await;
        assert_eq!(stream.take(10).await, "still here");
    }
}

#[tokio::test]
async fn a_target_that_takes_no_websocket_is_not_left_alone_for_it() {
    let ((with, _), (without, others)) = (of_two_streams(true).await, of_two_streams(false).await);
    let scene = Scene::before(&format!("[\"h2c://{without}\", \"h2c://{with}\"]"), "", "", "").await;
    let mut client = client_of(&scene).await;
    let mut failed = 0;
    while failed < 3 {
        let response = client.send(extended_connect("websocket")).await.unwrap();
        failed += usize::from(response.status() == StatusCode::BAD_GATEWAY);
    }
    let before = others.load(Ordering::SeqCst);
    for _ in 0..6 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert!(others.load(Ordering::SeqCst) > before, "none of six requests went there");
}

const CANCEL: u32 = 8;

/// A WebSocket on a stream of HTTP/2 on which the application has said something.
async fn half_said(scene: &Scene, application: &Played) -> (Frames, Raw<TcpStream>) {
    let mut frames = Frames::open(scene, &[]).await;
    let head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "orders.example"),
        (":path", "/chat"),
    ];
    frames.say(HEADERS, END_HEADERS, 1, &block(&head)).await;
    let mut app = application.accept().await;
    app.head().await;
    app.say(AGREE).await;
    app.say("half").await;
    assert_eq!(frames.until(&[DATA]).await.payload, b"half");
    (frames, app)
}

#[tokio::test]
async fn a_websocket_over_http2_whose_application_breaks_off_is_reset() {
    let (scene, application) = Scene::played("").await;
    let (mut frames, app) = half_said(&scene, &application).await;
    let stream = app.into_inner();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let end = frames.until(&[DATA, RST_STREAM]).await;
    assert!(end.kind == RST_STREAM && end.code() == CANCEL, "{end:?}");
    frames.ask(3, &GET).await;
    application.accept().await.head().await;
}

#[tokio::test]
async fn a_websocket_over_http2_that_is_no_longer_let_through_is_reset() {
    let (scene, application) = Scene::played("").await;
    let (mut frames, mut app) = half_said(&scene, &application).await;
    scene.apply("", "paths = [\"/other\"]", "").await;
    let end = frames.until(&[DATA, RST_STREAM]).await;
    assert!(end.kind == RST_STREAM && end.code() == CANCEL, "{end:?}");
    assert!(app.end().await.1.is_err(), "the application takes it for an end");
}

#[tokio::test]
async fn a_websocket_over_http2_that_the_client_gives_up_is_no_clean_end() {
    for code in [CANCEL, 0] {
        let (scene, application) = Scene::played("").await;
        let (mut frames, mut app) = half_said(&scene, &application).await;
        frames.say(DATA, 0, 1, b"half a mess").await;
        assert_eq!(app.take(11).await, "half a mess");
        frames.say(RST_STREAM, 0, 1, &code.to_be_bytes()).await;
        let (rest, end) = app.end().await;
        assert!(rest.is_empty() && end.is_err(), "{code}: {rest:?} {end:?}");
    }
}
