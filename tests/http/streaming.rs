//! What comes piece by piece goes on piece by piece: leave to send a body, events, calls in both directions, trailers; and answers without a body.

use std::future::poll_fn;
use std::task::Poll;

use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Response};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::mpsc;

use super::scene::{Scene, header, patiently, piece, served, written};
use crate::harness::http::{Answer, full};

#[tokio::test]
async fn a_client_that_asks_for_leave_gets_the_applications() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    let mut app = application.accept().await;
    assert_eq!(header(&app.head().await, "expect"), Some("100-continue"));
    let mut stream = raw.into_inner();
    let is_silent = poll_fn(|cx| {
        let mut room = [0; 16];
        Poll::Ready(std::pin::Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending())
    });
    assert!(is_silent.await, "leave was given before the application gave it");
    let mut raw = super::scene::Raw::of(stream);
    app.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 100 "));
    raw.say("hello").await;
    assert_eq!(app.take(5).await, "hello");
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok", "{head}");
}

#[tokio::test]
async fn an_application_that_refuses_at_once_gets_no_body_and_its_answer_is_the_first() {
    let (scene, application) = Scene::played("").await;
    for status in ["417 Expectation Failed", "413 Payload Too Large", "401 Unauthorized"] {
        let mut raw = scene.raw().await;
        raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
        let mut app = application.accept().await;
        app.head().await;
        app.say(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")).await;
        let (head, body) = raw.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")) && body == "no", "{head}");
        assert_eq!(header(&head, "connection"), Some("close"), "{head}");
        // Nobody can tell whether the body still comes: the connection to the application is not used again.
        assert_eq!(app.end().await.0, "", "of {status}");
    }
}

#[tokio::test]
async fn no_leave_is_given_once_the_answer_has_begun() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    // It sends the body all the same; that goes on when the application has had its while to give leave.
    raw.say("hello").await;
    assert_eq!(app.take(5).await, "hello");
    app.say("3\r\ntwo\r\n0\r\n\r\n").await;
    let (body, end) = raw.end().await;
    assert!(body == "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" && end.is_ok(), "{body} {end:?}");
}

#[tokio::test]
async fn an_application_that_says_nothing_of_leave_gets_the_body_after_a_while() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    assert!(raw.head().await.starts_with("HTTP/1.1 100 "));
    raw.say("5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(app.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_sends_its_body_without_waiting_for_leave_is_served() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").await;
    let mut head = raw.head().await;
    if head.starts_with("HTTP/1.1 100 ") {
        head = raw.head().await;
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(&*application.only().body, b"hello");
}

#[tokio::test]
async fn a_body_of_unknown_length_reaches_the_application_whatever_the_method() {
    let (scene, application) = Scene::with("", "", "").await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "POST", "QUERY"] {
        for mut client in scene.both().await {
            let (pen, body) = written();
            let mut request = client.request(method, "/search");
            request.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
            *request.body_mut() = body;
            let write = async {
                pen.write("query").await;
                drop(pen);
            };
            let (answer, ()) = tokio::join!(client.ask(request), write);
            assert_eq!(answer.status, 200, "{method}");
            let seen = application.seen().pop().unwrap();
            assert_eq!((&*seen.method, &*seen.body), (method, &b"query"[..]));
        }
    }
}

#[tokio::test]
async fn a_request_without_a_body_has_none_in_http1_either() {
    let (scene, application) = Scene::with("", "", "").await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        for mut client in scene.both().await {
            let request = client.request(method, "/");
            assert_eq!(client.ask(request).await.status, 200, "{method}");
            let seen = application.seen().pop().unwrap();
            // A client may say that it has none.
            let length = seen.header("content-length").filter(|length| *length != "0");
            assert_eq!((seen.header("transfer-encoding"), length), (None, None), "{method}");
        }
    }
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let request = client.request("GET", "/events");
        let begin = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            app
        };
        let (answer, mut app) = tokio::join!(client.send(request), begin);
        let mut body = answer.unwrap().into_body();
        // The next is said only after the one before it has arrived.
        for number in 10..20 {
            app.say(format!("a\r\ndata: {number}\n\n\r\n")).await;
            assert_eq!(piece(&mut body).await, Some(format!("data: {number}\n\n")));
        }
        app.say("0\r\n\r\n").await;
        assert_eq!(piece(&mut body).await, None);
    }
}

#[tokio::test]
async fn a_call_in_both_directions_goes_through_with_its_trailers() {
    let application = served(|request| async move {
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        let (pen, body) = written();
        tokio::spawn(async move {
            let mut asked = request.into_body();
            while let Some(word) = piece(&mut asked).await {
                pen.write(format!("re: {word}")).await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("grpc-message", "fine".parse().unwrap());
            trailers.insert("set-cookie", "no".parse().unwrap());
            pen.end_with(trailers).await;
        });
        let mut response = Response::new(body);
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response
    })
    .await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    let mut client = scene.http2().await;
    let (pen, body) = written();
    let mut request = client.request("POST", "/shop.Orders/Watch");
    *request.body_mut() = body;
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.headers().get("content-type").unwrap(), "application/grpc");
    let mut body = answer.into_body();
    for word in ["one", "two", "three"] {
        pen.write(word).await;
        assert_eq!(piece(&mut body).await, Some(format!("re: {word}")));
    }
    drop(pen);
    let trailers = patiently(body.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert!(trailers["grpc-status"] == "0" && trailers["grpc-message"] == "fine", "{trailers:?}");
    assert_eq!(trailers.get("set-cookie"), None);
    assert!(patiently(body.frame()).await.is_none());
}

#[tokio::test]
async fn a_long_answer_goes_on_when_the_client_reads_it_whatever_it_said_meanwhile() {
    const SIZE: usize = 16 << 20;
    const PIECES: usize = 400;
    let (tell, mut told) = mpsc::unbounded_channel();
    let application = served(move |request| {
        let (tell, mut body) = (tell.clone(), request.into_body());
        async move {
            tokio::spawn(async move { while piece(&mut body).await.is_some_and(|piece| tell.send(piece).is_ok()) {} });
            Response::new(full(vec![b'x'; SIZE]))
        }
    })
    .await;
    // No clock helps out: none runs out before the test does.
    let limits =
        "header_timeout = \"2m\"\nrequest_timeout = \"2m\"\nkeep_alive = \"2m\"\n[limits]\nidle_timeout = \"2m\"";
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", limits).await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // By the last of them the answer waits for the client to read.
    for _ in 0..PIECES {
        raw.say("1\r\na\r\n").await;
        assert_eq!(patiently(told.recv()).await.as_deref(), Some("a"));
    }
    raw.head().await;
    let (rest, end) = raw.end().await;
    assert!(rest.len() == SIZE && end.is_ok(), "{} {end:?}", rest.len());
}

#[tokio::test]
async fn a_call_that_is_answered_with_trailers_alone_is_passed_on() {
    let application = served(|_| async {
        let mut response = Response::new(full(""));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.headers_mut().insert("grpc-status", "5".parse().unwrap());
        response
    })
    .await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    let answer = scene.http2().await.get("/shop.Orders/Get").await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, Some("5")));
}

const TRAILED: &str = "5\r\nhello\r\n0\r\nX-Sum: 5\r\nX-Spiffe-Id: forged\r\n\r\n";

#[tokio::test]
async fn trailers_of_an_answer_reach_whoever_takes_them_announced_or_not() {
    let (scene, application) = Scene::played("").await;
    let announcements = ["Trailer: x-sum, x-spiffe-id\r\n", ""];
    let serve = async {
        let mut app = application.accept().await;
        for announced in announcements.iter().cycle().take(4) {
            app.head().await;
            app.say(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{announced}\r\n{TRAILED}")).await;
        }
        app
    };
    let ask = async {
        let mut answers = Vec::new();
        for mut client in scene.both().await {
            for _ in announcements {
                let mut request = client.request("GET", "/");
                request.headers_mut().insert("te", "trailers".parse().unwrap());
                if matches!(client, crate::harness::http::Client::Http1(_)) {
                    request.headers_mut().insert("connection", "te".parse().unwrap());
                }
                answers.push(client.ask(request).await);
            }
        }
        answers
    };
    let (_app, answers) = tokio::join!(serve, ask);
    for answer in answers {
        assert_eq!(answer.text(), "hello");
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["x-sum"], "5");
        assert_eq!(trailers.get("x-spiffe-id"), None);
    }
}

#[tokio::test]
async fn trailers_of_an_answer_are_kept_from_a_client_of_http1_that_does_not_ask_for_them() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n{TRAILED}")).await;
    raw.head().await;
    assert_eq!(raw.end().await.0, "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn answers_without_a_body_say_what_they_say_and_the_connection_goes_on() {
    let (scene, application) = Scene::played("").await;
    let answers = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"a\"\r\n\r\n", Some("1000")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("DELETE", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some("2")),
    ];
    let serve = async {
        // One connection serves them all: none of these leaves anything behind.
        let mut app = application.accept().await;
        for _ in 0..2 {
            for (method, said, _) in answers {
                let head = app.head().await;
                assert!(head.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{head}");
                app.say(said).await;
            }
        }
        app
    };
    let ask = async {
        for mut client in scene.both().await {
            for (method, said, length) in answers {
                let request = client.request(method, "/");
                let answer: Answer = client.ask(request).await;
                assert_eq!(answer.status.as_str(), said.split(' ').nth(1).unwrap());
                assert_eq!(answer.header("content-length"), length, "{said}");
                assert_eq!(answer.text(), if length == Some("2") { "ok" } else { "" });
            }
        }
    };
    tokio::join!(serve, ask);
}
