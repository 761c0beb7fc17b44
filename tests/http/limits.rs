//! Every bound of HTTP, reached: the client is told which kind it was, and what goes on for too long ends.

use hyper::Request;
use svidgate::metrics::{Outcome, RequestOutcome};

use super::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, PROTOCOL_ERROR, RST_STREAM, SETTINGS, block,
};
use super::scene::{Played, Scene, header, patiently, served, written};
use crate::harness::http::{Answer, Client, full};
use crate::harness::{BATCH, PATIENCE, until};

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The status and the class of an answer of ours.
fn problem(heard: &str) -> (&str, String) {
    let (head, body) = heard.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{heard:?}"));
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {heard}"));
    (head.split(' ').nth(1).unwrap(), problem["class"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_head_of_more_bytes_than_allowed_is_answered_431() {
    let (scene, application) = Scene::with("", "", "max_header_bytes = \"4KiB\"").await;
    for said in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(5000)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000)),
        // It need not be whole to be too long.
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", "a".repeat(5000)),
    ] {
        let heard = scene.say(said.as_bytes()).await;
        assert_eq!(problem(&heard), ("431", "headers_too_large".into()));
    }
    let heard = scene
        .say(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: {}\r\n\r\n", "a".repeat(3900)).as_bytes())
        .await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    assert_eq!((application.seen().len(), scene.requests(RequestOutcome::HeadersTooLarge)), (1, 3));
}

#[tokio::test]
async fn a_head_of_more_headers_than_allowed_is_answered_431() {
    let (scene, application) = Scene::with("", "", "max_headers = 5").await;
    for (more, status) in [(3, "200"), (4, "431")] {
        let headers: String = (0..more).map(|number| format!("X-{number}: a\r\n")).collect();
        let heard =
            scene.say(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n").as_bytes()).await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
    assert_eq!(application.seen().len(), 1);
}

#[tokio::test]
async fn over_http2_a_head_of_more_headers_than_allowed_is_answered_431() {
    let (scene, application) = Scene::with("", "", "max_headers = 5").await;
    let mut client = scene.http2().await;
    for (more, status) in [(5, 200), (6, 431)] {
        let mut request = client.request("GET", "/");
        for number in 0..more {
            let name = hyper::header::HeaderName::try_from(format!("x-{number}")).unwrap();
            request.headers_mut().insert(name, "a".parse().unwrap());
        }
        let answer = client.ask(request).await;
        assert_eq!(answer.status, status, "{more}");
        if status == 431 {
            assert_eq!(answer.class(), "headers_too_large");
        }
    }
    assert_eq!(application.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_of_more_headers_than_allowed_is_502_in_either_version() {
    let lines = |request: &Request<hyper::body::Incoming>| request.uri().path().len() - 1;
    let application = served(move |request| {
        let mut response = hyper::Response::new(full("hello"));
        for number in 0..lines(&request) {
            let name = hyper::header::HeaderName::try_from(format!("x-{number}")).unwrap();
            response.headers_mut().insert(name, "a".parse().unwrap());
        }
        async { response }
    })
    .await;
    for scheme in ["", "h2c://"] {
        // Beside what it adds itself: date and content-length.
        let scene = Scene::before(&format!("\"{scheme}{application}\""), "", "", "max_headers = 12").await;
        let mut client = scene.http2().await;
        let few = client.get("/12345678").await;
        assert_eq!(few.status, 200, "{scheme}");
        let many = client.get("/1234567890123").await;
        assert_eq!((many.status.as_u16(), many.class().as_str()), (502, "upstream_failed"), "{scheme}");
    }
}

#[tokio::test]
async fn over_http2_a_head_of_more_bytes_than_allowed_is_refused() {
    let (scene, application) = Scene::with("", "", "max_header_bytes = \"4KiB\"").await;
    let long = "a".repeat(10_000);
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &[GET[0], GET[1], GET[2], GET[3], ("x-a", &long)]).await;
    let end = frames.until(&[HEADERS, RST_STREAM, GOAWAY]).await;
    // h2 answers itself, without asking us: `:status` by its index, and 431 in three letters of Huffman's.
    assert!(end.kind != HEADERS || end.payload.starts_with(&[0x48, 0x83, 0x69, 0x90]), "{end:?}");
    assert!(application.seen().is_empty());
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection_of_http2() {
    let (scene, application) = Scene::with("", "", "max_header_bytes = \"4KiB\"").await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.say(HEADERS, END_STREAM, 1, &block(&GET)).await;
    let piece = block(&[("x-a", &"a".repeat(4000))]);
    let mut said = 0;
    while frames.say(CONTINUATION, 0, 1, &piece).await {
        said += 1;
        assert!(said < 10_000, "it listens for ever");
    }
    assert!(application.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_answered_413_before_it_comes() {
    let (scene, application) = Scene::with("", "", "max_body = \"10B\"").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n").await;
    let (head, body) = raw.answer().await;
    assert_eq!(problem(&format!("{head}{body}")), ("413", "too_large".into()));
    let mut client = scene.http2().await;
    let request = Request::post("https://a.example/").body(full("hello world")).unwrap();
    let answer = client.ask(request).await;
    assert_eq!((answer.status.as_u16(), answer.class().as_str()), (413, "too_large"));
    let request = Request::post("https://a.example/").body(full("hello worl")).unwrap();
    assert_eq!(client.ask(request).await.status, 200);
    assert_eq!((application.seen().len(), scene.requests(RequestOutcome::TooLarge)), (1, 2));
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_answered_413_and_never_ends_for_the_application() {
    let (scene, application) = Scene::played("max_body = \"10B\"").await;
    for is_http2 in [false, true] {
        let mut client = if is_http2 { scene.http2().await } else { scene.http1().await };
        let (pen, body) = written();
        let mut request = client.request("POST", "/");
        *request.body_mut() = body;
        let serve = async {
            let mut app = application.accept().await;
            assert_eq!(header(&app.head().await, "transfer-encoding"), Some("chunked"));
            pen.write("hello").await;
            assert_eq!(app.take(10).await, "5\r\nhello\r\n");
            pen.write("hello world").await;
            let (rest, _) = app.end().await;
            assert!(!rest.contains("0\r\n\r\n"), "it ended well: {rest:?}");
        };
        let (answer, ()) = tokio::join!(client.ask(request), serve);
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (413, "too_large"), "HTTP/2: {is_http2}");
    }
    assert_eq!(scene.requests(RequestOutcome::TooLarge), 2);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_answered_408() {
    let (scene, application) = Scene::with("", "", "header_timeout = \"200ms\"").await;
    let heard = scene.say(b"GET / HTTP/1.1\r\nHost: a\r\nX-A").await;
    assert_eq!(problem(&heard), ("408", "request_timeout".into()));
    // So is the second of a connection; between the two there is no hurry.
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.answer().await.1, "hello");
    raw.say("GET ").await;
    let (heard, _) = raw.end().await;
    assert_eq!(problem(&heard), ("408", "request_timeout".into()));
    assert_eq!((application.seen().len(), scene.requests(RequestOutcome::RequestTimeout)), (1, 2));
    until("both are counted", || scene.closed(Outcome::Idle) == 2).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_at_all_is_let_go() {
    let (scene, _application) = Scene::with("", "", "header_timeout = \"200ms\"").await;
    assert_eq!(scene.say(b"").await, "");
    assert_eq!(scene.say(b"PRI * HTTP/2.0\r\n").await, "", "nor one that may yet speak HTTP/2");
    until("it is counted", || scene.closed(Outcome::Probe) == 2).await;
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_is_told_of_with_504() {
    let (scene, application) = Scene::played("request_timeout = \"200ms\"").await;
    for mut client in scene.both().await {
        let (answer, mut app) = tokio::join!(client.get("/"), async {
            let mut app = application.accept().await;
            app.head().await;
            app
        });
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (504, "upstream_timeout"));
        assert_eq!(app.end().await.0, "", "the application's connection is given up");
    }
    assert_eq!(scene.requests(RequestOutcome::UpstreamTimeout), 2);
}

#[tokio::test]
async fn a_client_that_does_not_send_the_rest_of_its_body_is_told_so_with_408() {
    let (scene, application) = Scene::played("request_timeout = \"200ms\"").await;
    let mut raw = scene.raw().await;
    raw.say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await;
    let mut app = application.accept().await;
    app.head().await;
    let (head, body) = raw.answer().await;
    assert_eq!(problem(&format!("{head}{body}")), ("408", "request_timeout".into()));
    assert_eq!(app.end().await.0, "hello");
    let mut client = scene.http2().await;
    let (_pen, body) = written();
    let mut request = client.request("POST", "/");
    *request.body_mut() = body;
    assert_eq!(client.ask(request).await.class(), "request_timeout");
    assert_eq!(scene.requests(RequestOutcome::RequestTimeout), 2);
}

#[tokio::test]
async fn an_answer_in_which_nothing_moves_is_broken_off() {
    let limits = "[limits]\nidle_timeout = \"1s\"";
    let (scene, application) = Scene::played(limits).await;
    for mut client in scene.both().await {
        let request = client.request("GET", "/");
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            app
        };
        let (answer, _app) = tokio::join!(client.send(request), serve);
        let whole = patiently(Answer::of(answer.unwrap())).await;
        assert!(whole.is_err(), "{whole:?}");
    }
    assert_eq!(scene.requests(RequestOutcome::Cut), 2);
}

#[tokio::test]
async fn a_connection_without_a_request_is_ended_cleanly() {
    let (scene, _application) = Scene::with("", "", "keep_alive = \"1s\"").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.answer().await;
    let (rest, end) = raw.end().await;
    assert!(rest.is_empty() && end.is_ok(), "{rest} {end:?}");
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &GET).await;
    assert_eq!(frames.until(&[GOAWAY]).await.code(), 0);
    while frames.next().await.is_some() {}
    until("both are counted", || scene.closed(Outcome::Completed) == 2).await;
}

#[tokio::test]
async fn the_last_request_that_a_connection_may_bring_ends_it() {
    let (scene, application) = Scene::with("", "", "max_requests = 2").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(header(&raw.answer().await.0, "connection"), None);
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(header(&raw.answer().await.0, "connection"), Some("close"));
    assert_eq!(raw.end().await.0, "");
    assert_eq!(application.seen().len(), 2);
}

#[tokio::test]
async fn over_http2_the_last_request_that_a_connection_may_bring_is_followed_by_goaway() {
    let (scene, application) = Scene::with("", "", "max_requests = 2").await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &GET).await;
    frames.ask(3, &GET).await;
    let goaway = frames.until(&[GOAWAY]).await;
    assert_eq!(goaway.code(), 0);
    until("both are answered", || scene.requests(RequestOutcome::Answered) == 2).await;
    assert_eq!(application.seen().len(), 2);
}

#[tokio::test]
async fn a_connection_past_its_age_gets_no_further_requests() {
    let (scene, _application) = Scene::with("", "", "max_age = \"1s\"").await;
    let mut raw = scene.raw().await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &GET).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (head, body) = raw.answer().await;
        assert_eq!(body, "hello");
        if header(&head, "connection") == Some("close") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it grows older and older");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(raw.end().await.1.is_ok());
    assert_eq!(frames.until(&[GOAWAY]).await.code(), 0);
}

#[tokio::test]
async fn a_stream_more_than_allowed_is_refused_and_the_others_go_on() {
    let (scene, application) = Scene::played("max_streams = 2").await;
    let mut frames = Frames::open(&scene, &[]).await;
    let settings = frames.until(&[SETTINGS]).await;
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]), "{settings:?}");
    for stream in [1, 3, 5] {
        frames.ask(stream, &GET).await;
    }
    let refused = frames.until(&[RST_STREAM, GOAWAY]).await;
    assert!(refused.kind == RST_STREAM && refused.stream == 5, "{refused:?}");
    assert!([REFUSED_STREAM, PROTOCOL_ERROR].contains(&refused.code()), "{refused:?}");
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(frames.until(&[HEADERS]).await.stream & 1, 1);
}

#[tokio::test]
async fn streams_given_up_one_after_the_other_end_the_connection() {
    let (scene, _application) = Scene::played("max_resets = 10").await;
    let mut frames = Frames::open(&scene, &[]).await;
    let mut stream = 1;
    while frames.ask(stream, &GET).await && frames.say(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await {
        stream += 2;
        assert!(stream < 20_000, "it takes resets for ever");
        tokio::task::yield_now().await;
    }
    until("it is counted", || scene.closed(Outcome::Flooded) == 1).await;
}

#[tokio::test]
async fn a_burst_of_streams_given_up_before_they_were_looked_at_ends_the_connection() {
    let (scene, _application) = Scene::played("max_resets = 10").await;
    let mut frames = Frames::open(&scene, &[]).await;
    let mut burst = Vec::new();
    for stream in (1..2000_u32).step_by(2) {
        let head = block(&GET);
        burst.extend([0, 0, u8::try_from(head.len()).unwrap(), HEADERS, END_HEADERS | END_STREAM]);
        burst.extend(stream.to_be_bytes());
        burst.extend(head);
        burst.extend([0, 0, 4, RST_STREAM, 0]);
        burst.extend(stream.to_be_bytes());
        burst.extend(8_u32.to_be_bytes());
    }
    let _ = frames.say_raw(&burst).await;
    while let Some(frame) = frames.next().await {
        assert!(frame.kind != GOAWAY || frame.code() == ENHANCE_YOUR_CALM, "{frame:?}");
    }
    until("it is counted", || scene.closed(Outcome::Flooded) == 1).await;
}

#[tokio::test]
async fn a_few_streams_given_up_are_nobodys_business() {
    let (scene, _application) = Scene::with("", "", "max_resets = 10").await;
    let mut frames = Frames::open(&scene, &[]).await;
    for stream in [1, 3, 5, 7] {
        frames.ask(stream, &GET).await;
        frames.say(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    }
    frames.ask(9, &GET).await;
    while frames.until(&[HEADERS]).await.stream != 9 {}
}

#[tokio::test]
async fn a_client_that_lets_its_end_take_for_ever_is_cut() {
    let (scene, _application) = Scene::with("", "", "keep_alive = \"1s\"").await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.answers_pings = false;
    frames.ask(1, &GET).await;
    assert_eq!(frames.until(&[GOAWAY]).await.code(), 0);
    while frames.next().await.is_some() {}
    until("it is counted", || scene.closed(Outcome::Idle) == 1).await;
}

#[tokio::test]
async fn an_application_that_does_not_read_the_body_is_what_is_late_and_not_the_client() {
    let (scene, application) = Scene::played("request_timeout = \"1s\"").await;
    for mut client in scene.both().await {
        let mut request = client.request("POST", "/");
        *request.body_mut() = full(vec![b'a'; 64 << 20]);
        let (answer, _app) = tokio::join!(client.ask(request), async {
            let mut app = application.accept().await;
            app.head().await;
            app
        });
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (504, "upstream_timeout"));
    }
}

/// A client of HTTP/2 that asks for two things at a time.
async fn twice(scene: &Scene) -> [Client; 2] {
    let Client::Http2(sender) = scene.http2().await else { unreachable!() };
    [Client::Http2(sender.clone()), Client::Http2(sender)]
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn no_more_connections_to_targets_are_opened_than_may_be() {
    let (scene, application) = Scene::played("[limits]\nmax_connections = 1").await;
    let [mut first, mut second] = twice(&scene).await;
    let asked = tokio::spawn(async move { first.get("/").await });
    let mut app = application.accept().await;
    app.head().await;
    let answer = second.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.class().as_str()), (503, "overloaded"));
    app.say(OK).await;
    assert_eq!(asked.await.unwrap().text(), "ok");
    // The place of a connection that ends is free again.
    app.finish().await;
    drop(app);
    let (answer, ()) = tokio::join!(second.get("/"), async {
        let mut app = application.accept().await;
        app.head().await;
        app.say(OK).await;
    });
    assert_eq!(answer.text(), "ok");
    assert_eq!(scene.requests(RequestOutcome::Overloaded), 1);
}

#[tokio::test]
async fn an_idle_connection_gives_its_place_to_a_request_that_cannot_use_it() {
    let application = Played::start().await;
    let rules = format!("[[inbound.rule]]\npeers = [\"{BATCH}\"]");
    let scene = Scene::before(&application.target(), "", &rules, "[limits]\nmax_connections = 2").await;
    let asked = twice(&scene).await.map(|mut client| tokio::spawn(async move { client.get("/").await }));
    let mut apps = [application.accept().await, application.accept().await];
    for app in &mut apps {
        app.head().await;
        app.say(OK).await;
    }
    for one in asked {
        assert_eq!(one.await.unwrap().text(), "ok");
    }
    let mut other = Client::of_peer(&scene.world.peer(BATCH), scene.address()).await;
    let (answer, ()) = tokio::join!(other.get("/"), async {
        let mut app = application.accept().await;
        app.head().await;
        app.say(OK).await;
    });
    assert_eq!(answer.text(), "ok");
}
