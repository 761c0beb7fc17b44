//! Bodies that do not reach their end: whoever reads them sees that, and never takes a part for the whole.

use http_body_util::BodyExt as _;
use hyper::Response;
use svidgate::metrics::RequestOutcome;
use tokio::sync::mpsc;

use super::scene::{Scene, header, patiently, served, written};
use crate::harness::http::{Answer, Client, full};
use crate::harness::until;

/// Plays an application that says `said` to each request and hangs up. Never more than `connections` times.
async fn hang_up_after(application: &super::scene::Played, said: &str) -> ! {
    loop {
        let mut app = application.accept().await;
        app.head().await;
        app.say(said).await;
        app.finish().await;
    }
}

/// Sends a request to an application that hangs up after `said`.
async fn ask_hanging(
    client: &mut Client,
    application: &super::scene::Played,
    said: &str,
) -> Result<Answer, hyper::Error> {
    let request = client.request("POST", "/");
    let asked = async { Answer::of(client.send(request).await?).await };
    tokio::select! {
        answer = patiently(asked) => answer,
        never = hang_up_after(application, said) => never,
    }
}

#[tokio::test]
async fn an_application_that_hangs_up_before_or_inside_its_head_is_answered_for_with_502() {
    let (scene, application) = Scene::played("").await;
    for said in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\n\r",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
    ] {
        for mut client in scene.both().await {
            let answer = ask_hanging(&mut client, &application, said).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.class().as_str()), (502, "upstream_failed"), "{said:?}");
        }
    }
    assert_eq!(scene.requests(RequestOutcome::UpstreamFailed), 10);
}

#[tokio::test]
async fn an_answer_that_is_framed_in_two_ways_is_no_answer() {
    let (scene, application) = Scene::played("").await;
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
    ] {
        for mut client in scene.both().await {
            let answer = ask_hanging(&mut client, &application, said).await.unwrap();
            assert_eq!(answer.status, 502, "{said:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken_for_the_client_too() {
    let (scene, application) = Scene::played("").await;
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        for mut client in scene.both().await {
            let answer = ask_hanging(&mut client, &application, said).await;
            assert!(answer.is_err(), "{said:?}: {answer:?}");
        }
    }
    assert_eq!(scene.requests(RequestOutcome::UpstreamBroken), 12);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let answer = ask_hanging(&mut client, &application, "HTTP/1.0 200 OK\r\n\r\nhello").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_sees_a_reset_where_an_answer_breaks_off() {
    let (scene, application) = Scene::played("").await;
    for (said, is_whole) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
    ] {
        let mut raw = scene.raw().await;
        raw.say("GET / HTTP/1.0\r\n\r\n").await;
        let mut app = application.accept().await;
        app.head().await;
        app.say(said).await;
        let head = raw.head().await;
        assert_eq!(header(&head, "content-length"), None, "{head}");
        assert_eq!(raw.take(5).await, "hello");
        app.finish().await;
        let (rest, end) = raw.end().await;
        assert_eq!((rest.as_str(), end.is_ok()), ("", is_whole), "{end:?}");
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_the_last_for_a_client_of_http_1_0() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!(header(&head, "connection"), Some("close"), "{head}");
    let (rest, end) = raw.end().await;
    assert!(rest == "hello" && end.is_ok(), "{rest} {end:?}");
}

#[tokio::test]
async fn a_client_of_http_1_0_sees_a_reset_where_an_answer_is_cut() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.0\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    raw.until("hello").await;
    scene.apply("", "paths = [\"/other\"]", "").await;
    let (rest, end) = raw.end().await;
    assert!(rest.is_empty() && end.is_err(), "{rest} {end:?}");
}

#[tokio::test]
async fn an_application_may_answer_before_the_request_is_finished() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let (pen, body) = written();
        let mut request = client.request("POST", "/");
        *request.body_mut() = body;
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            pen.write("hello").await;
            app.until("hello\r\n").await;
            app.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await;
            app
        };
        let (answer, _app) = tokio::join!(client.ask(request), serve);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "early"));
    }
}

#[tokio::test]
async fn a_body_goes_on_after_an_early_head_and_both_reach_their_end() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let (pen, body) = written();
        let mut request = client.request("POST", "/");
        *request.body_mut() = body;
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
            for word in ["five1", "five2"] {
                pen.write(word).await;
                assert_eq!(app.take(10).await, format!("5\r\n{word}\r\n"));
            }
            drop(pen);
            assert_eq!(app.take(5).await, "0\r\n\r\n");
            app.say("3\r\ntwo\r\n0\r\n\r\n").await;
            app
        };
        let (answer, _app) = tokio::join!(client.ask(request), serve);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "onetwo"));
    }
}

#[tokio::test]
async fn a_body_that_an_early_answer_leaves_behind_never_ends_well_for_an_application_of_http2() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let application = served(move |request| {
        let tell = tell.clone();
        async move {
            // The answer is whole while the request is still taken.
            tokio::spawn(async move { tell.send(request.into_body().collect().await.is_ok()) });
            Response::new(full("early"))
        }
    })
    .await;
    let scene = Scene::before(&format!("\"h2c://{application}\""), "", "", "").await;
    for ends in [true, false] {
        let mut raw = scene.raw().await;
        let connection = if ends { "close" } else { "keep-alive" };
        raw.say(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        ))
        .await;
        assert_eq!(raw.answer().await.1, "early");
        assert_eq!(patiently(told.recv()).await, Some(false), "it took a part for the whole");
        if !ends {
            raw.say("5\r\nworld\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_eq!(raw.answer().await.1, "early", "the next request is served");
            assert_eq!(patiently(told.recv()).await, Some(true));
        }
    }
}

#[tokio::test]
async fn an_application_that_refuses_a_long_body_and_hangs_up_is_heard() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let (pen, body) = written();
        let mut request = client.request("POST", "/");
        *request.body_mut() = body;
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong").await;
            app.finish().await;
            while pen.try_write("a".repeat(1 << 16)).await {}
            drop(app);
        };
        let answered = async {
            let answer = client.ask(request).await;
            drop(client);
            answer
        };
        let (answer, ()) = tokio::join!(answered, patiently(serve));
        assert_eq!((answer.status.as_u16(), answer.text()), (413, "long"));
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_never_ends_well_for_the_application() {
    let (scene, application) = Scene::played("").await;
    for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        for ends_cleanly in [true, false] {
            let mut raw = scene.raw().await;
            raw.say(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
            let mut app = application.accept().await;
            let head = app.head().await;
            app.until("hello").await;
            if ends_cleanly {
                raw.finish().await;
            }
            drop(raw);
            let (rest, _) = app.end().await;
            assert!(!rest.contains('0'), "{framing}: {rest:?} after {head}");
        }
    }
    let mut client = scene.http2().await;
    let (pen, body) = written();
    let mut request = client.request("POST", "/");
    *request.body_mut() = body;
    let asked = tokio::spawn(async move { client.send(request).await.map(|_| ()) });
    let mut app = application.accept().await;
    app.head().await;
    pen.write("hello").await;
    app.until("hello").await;
    asked.abort();
    let _ = asked.await;
    let (rest, _) = app.end().await;
    assert!(!rest.contains('0'), "{rest:?}");
    until("all are counted", || {
        scene.requests(RequestOutcome::Cancelled) + scene.requests(RequestOutcome::BadRequest) == 5
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_application() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let request = client.request("GET", "/");
        let asked = tokio::spawn(async move { client.send(request).await.map(|_| ()) });
        let mut app = application.accept().await;
        app.head().await;
        asked.abort();
        let _ = asked.await;
        assert_eq!(app.end().await.0, "");
    }
    until("both are counted", || scene.requests(RequestOutcome::Cancelled) == 2).await;
}
