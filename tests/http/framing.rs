//! HTTP that could be understood in two ways is not passed on: ambiguous framing, hosts that disagree, headers of one hop, methods that are not
//! taken.

use hyper::{Request, Version};
use svidgate::metrics::{Outcome, RequestOutcome};

use super::frames::{END_HEADERS, END_STREAM, Frames, GET, GOAWAY, HEADERS, PROTOCOL_ERROR, RST_STREAM, block};
use super::scene::{Scene, header};
use crate::harness::http::{Application, full};
use crate::harness::until;

/// Each could end elsewhere for the next reader, or begin another request.
const AMBIGUOUS: [(&str, &str); 28] = [
    (
        "length and coding",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello"),
    ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a disguised coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a coding in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    ("a folded line with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tTransfer-Encoding: chunked\r\n\r\n"),
    ("a bare LF after a header", "GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    ("a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("a bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-C: d\r\n\r\n"),
    ("a bare CR in the request line", "GET /\rHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    ("a tab before the colon", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("a space before a name", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("a coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n"),
    ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("another version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
];

fn is_refused(name: &str, heard: &str) {
    let (head, body) = heard.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{name}: {heard:?}"));
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{name}: {head}");
    assert_eq!(header(head, "content-type"), Some("application/problem+json"), "{name}");
    assert_eq!(header(head, "connection"), Some("close"), "{name}");
    let problem: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"));
    assert_eq!((problem["class"].as_str(), problem["id"].as_str()), (Some("bad_request"), header(head, "svidgate-id")));
}

#[tokio::test]
async fn ambiguous_framing_is_answered_400_and_ends_the_connection() {
    let (scene, application) = Scene::with("", "", "").await;
    for (name, said) in AMBIGUOUS {
        let heard = scene.say(format!("{said}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
        is_refused(name, &heard);
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
    until("all are counted", || scene.closed(Outcome::Malformed) == AMBIGUOUS.len() as u64).await;
    assert_eq!(scene.requests(RequestOutcome::BadRequest), AMBIGUOUS.len() as u64);
}

#[tokio::test]
async fn a_good_request_before_an_ambiguous_one_is_answered_first() {
    let (scene, application) = Scene::with("", "", "").await;
    for (name, said) in AMBIGUOUS {
        let heard = scene.say(format!("GET /good HTTP/1.1\r\nHost: a\r\n\r\n{said}").as_bytes()).await;
        let (first, rest) = heard.split_once("hello").unwrap_or_else(|| panic!("{name}: {heard}"));
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {first}");
        is_refused(name, rest);
    }
    let seen = application.seen();
    assert_eq!(seen.len(), AMBIGUOUS.len());
    assert!(seen.iter().all(|seen| seen.target == "/good"), "{seen:#?}");
}

#[tokio::test]
async fn a_request_names_one_host_or_is_refused() {
    let (scene, application) = Scene::with("", "", "").await;
    for (name, said) in [
        ("none", "GET / HTTP/1.1\r\n\r\n"),
        ("two", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("the same twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
        ("a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("another in the target", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("another port in the target", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("user information", "GET / HTTP/1.1\r\nHost: b@a\r\n\r\n"),
        ("a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let mut raw = scene.raw().await;
        raw.say(said).await;
        let (head, body) = raw.answer().await;
        assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("\"class\":\"bad_request\""), "{name}: {head}");
    }
    assert!(application.seen().is_empty());
    for (said, host) in [
        ("GET / HTTP/1.1\r\nHost: A.Example:80\r\n\r\n", "a.example:80"),
        ("GET http://A.example/ HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", "a.example"),
        ("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "[::1]:8443"),
    ] {
        let mut raw = scene.raw().await;
        raw.say(said).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(application.seen().pop().unwrap().header("host"), Some(host));
    }
}

#[tokio::test]
async fn an_http_1_0_client_without_a_host_is_served() {
    let (scene, application) = Scene::with("", "", "").await;
    let heard = scene.say(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.0 200 ") && heard.ends_with("hello"), "{heard}");
    let seen = application.only();
    assert_eq!((seen.header("via"), seen.header("x-forwarded-host")), (Some("1.0 svidgate"), None));
}

#[tokio::test]
async fn over_http2_authority_and_host_must_agree() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut client = scene.http2().await;
    for (host, status) in
        [("orders.example", 200), ("ORDERS.example:443", 200), ("other.example", 400), ("orders.example:444", 400)]
    {
        let request = Request::builder().version(Version::HTTP_2).uri("https://orders.example/").header("host", host);
        let answer = client.ask(request.body(full("")).unwrap()).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let seen = application.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.header("host") == Some("orders.example")), "{seen:#?}");
}

#[tokio::test]
async fn over_http2_a_host_header_stands_in_for_a_missing_authority() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &[GET[0], GET[1], GET[3], ("host", "b.example")]).await;
    assert_eq!(frames.until(&[HEADERS, RST_STREAM, GOAWAY]).await.kind, HEADERS);
    assert_eq!(application.only().header("host"), Some("b.example"));
}

#[tokio::test]
async fn over_http2_nothing_becomes_another_header_or_request() {
    let (scene, application) = Scene::with("", "", "").await;
    let bad: [(&str, Vec<(&str, &str)>); 14] = [
        ("a line end in a value", [GET.as_slice(), &[("x-a", "b\r\nx-spiffe-id: admin")]].concat()),
        ("a bare LF in a value", [GET.as_slice(), &[("x-a", "b\nc: d")]].concat()),
        ("a NUL in a value", [GET.as_slice(), &[("x-a", "b\0c")]].concat()),
        ("a line end in a name", [GET.as_slice(), &[("x-a: b\r\nx-c", "d")]].concat()),
        ("a colon in a name", [GET.as_slice(), &[("x-a:b", "d")]].concat()),
        ("capitals in a name", [GET.as_slice(), &[("X-A", "d")]].concat()),
        ("a header of one connection", [GET.as_slice(), &[("connection", "close")]].concat()),
        ("a coding", [GET.as_slice(), &[("transfer-encoding", "chunked")]].concat()),
        ("an upgrade", [GET.as_slice(), &[("upgrade", "websocket")]].concat()),
        ("te other than trailers", [GET.as_slice(), &[("te", "gzip")]].concat()),
        ("a line end in the path", vec![GET[0], GET[1], GET[2], (":path", "/ HTTP/1.1\r\nx-a: b")]),
        ("a space in the path", vec![GET[0], GET[1], GET[2], (":path", "/a b")]),
        ("a line end in the method", vec![(":method", "GET / HTTP/1.1\r\nx"), GET[1], GET[2], GET[3]]),
        ("a line end in the authority", vec![GET[0], GET[1], (":authority", "a\r\nx: y"), GET[3]]),
    ];
    for (name, headers) in bad {
        let mut frames = Frames::open(&scene, &[]).await;
        frames.ask(1, &headers).await;
        let end = frames.until(&[HEADERS, RST_STREAM, GOAWAY]).await;
        let is_400 = end.kind == HEADERS && end.payload.windows(2).any(|window| window[0] == 0x8c);
        assert!(is_400 || (end.kind != HEADERS && end.code() == PROTOCOL_ERROR), "{name}: {end:?}");
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
}

#[tokio::test]
async fn over_http2_a_body_of_another_length_than_declared_is_refused() {
    let (scene, application) = Scene::with("", "", "").await;
    for (declared, sent) in [("3", "hello"), ("8", "hello")] {
        let mut frames = Frames::open(&scene, &[]).await;
        let head = [(":method", "POST"), GET[1], GET[2], GET[3], ("content-length", declared)];
        frames.say(HEADERS, END_HEADERS, 1, &block(&head)).await;
        frames.say(super::frames::DATA, END_STREAM, 1, sent.as_bytes()).await;
        let end = frames.until(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert!(end.kind != HEADERS || end.payload.first() == Some(&0x8c), "{declared}: {end:?}");
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
}

#[tokio::test]
async fn trace_is_answered_405_unless_it_is_switched_on() {
    for (listener, status) in [("", 405), ("trace = true", 200)] {
        let (scene, application) = Scene::with(listener, "", "").await;
        for mut client in scene.both().await {
            let request = client.request("TRACE", "/");
            let answer = client.ask(request).await;
            assert_eq!(answer.status, status);
            if status == 405 {
                assert_eq!(answer.class(), "method_not_allowed");
            }
        }
        assert_eq!(application.seen().len(), if status == 200 { 2 } else { 0 });
    }
}

#[tokio::test]
async fn nobody_gets_a_tunnel_by_connect() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say("CONNECT orders.example:443 HTTP/1.1\r\nHost: orders.example:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 405 ") && body.contains("method_not_allowed"), "{head}");
    let mut frames = Frames::open(&scene, &[]).await;
    frames.say(HEADERS, END_HEADERS, 1, &block(&[(":method", "CONNECT"), (":authority", "orders.example:443")])).await;
    let answer = frames.until(&[HEADERS, RST_STREAM, GOAWAY]).await;
    assert_eq!((answer.kind, answer.flags & END_STREAM), (HEADERS, 0), "a whole answer of ours: {answer:?}");
    assert_eq!(scene.requests(RequestOutcome::MethodNotAllowed), 2);
    assert!(application.seen().iter().all(|seen| seen.method == "GET"), "{:#?}", application.seen());
}

#[tokio::test]
async fn options_of_the_whole_server_go_on_as_such() {
    let (scene, application) = Scene::played("").await;
    let head = "OPTIONS * HTTP/1.1\r\n";
    let mut raw = scene.raw().await;
    raw.say(format!("{head}Host: orders.example\r\n\r\n")).await;
    let mut frames = Frames::open(&scene, &[]).await;
    let mut asked = GET;
    (asked[0].1, asked[3].1) = ("OPTIONS", "*");
    frames.ask(1, &asked).await;
    for _ in 0..2 {
        let seen = application.accept().await.head().await;
        assert!(seen.starts_with(head) && header(&seen, "host") == Some("orders.example"), "{seen}");
    }
}

#[tokio::test]
async fn headers_of_one_hop_are_removed_from_requests() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, authorization, x-forwarded-for\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
         X-Hop: 1\r\nX-End: 2\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    )
    .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    let seen = application.only();
    for gone in ["keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings", "x-hop"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!((seen.header("te"), seen.header("connection")), (Some("trailers"), Some("te")));
    assert_eq!((seen.header("x-end"), seen.header("authorization")), (Some("2"), Some("Bearer x")));
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
}

#[tokio::test]
async fn headers_of_one_hop_are_removed_from_answers() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        let serve = async {
            let mut app = application.accept().await;
            app.head().await;
            app.say(
                "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Hop: 1\r\n\
                 X-End: 2\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
            )
            .await;
            app
        };
        let (answer, _app) = tokio::join!(client.get("/"), serve);
        assert_eq!((answer.status.as_u16(), answer.text(), answer.header("x-end")), (200, "hello", Some("2")));
        for gone in ["connection", "keep-alive", "proxy-authenticate", "x-hop", "upgrade"] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        assert_eq!(client.request("GET", "/").method(), "GET");
    }
}

#[tokio::test]
async fn the_crumbs_of_a_cookie_over_http2_are_one_line_in_http1() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut client = scene.http2().await;
    for crumbs in [&["a=1"][..], &["a=1", "b=2"], &["a=1; b=2", "c=3", "d=4"]] {
        let mut request = client.request("GET", "/");
        for crumb in crumbs {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        assert_eq!(client.ask(request).await.status, 200);
        let seen = application.seen().pop().unwrap();
        let lines: Vec<_> = seen.headers.get_all("cookie").iter().collect();
        assert_eq!(lines, [&crumbs.join("; ")]);
    }
}

#[tokio::test]
async fn a_chunked_body_that_is_no_good_never_ends_for_the_application() {
    let bad = [
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size in two parts", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("more data than the size says", "3\r\nhello\r\n0\r\n\r\n"),
        ("less data than the size says", "7\r\nhello\r\n0\r\n\r\n"),
        ("a size that overflows", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nx-a\r\n\r\n"),
    ];
    let (scene, application) = Scene::with("", "", "").await;
    for (name, body) in bad {
        let said = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let heard = scene.say(said.as_bytes()).await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{name}: {heard}");
        assert!(!heard.contains("HTTP/1.1 200"), "{name}: {heard}");
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
}

#[tokio::test]
async fn bytes_behind_a_body_are_the_next_head() {
    let (scene, application) = Scene::with("", "", "").await;
    let heard = scene.say(b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhello world\r\n\r\n").await;
    let (first, rest) = heard.split_once("hello").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 "), "{heard}");
    is_refused("lo world", rest);
    assert_eq!((&*application.only().target, &*application.only().body), ("/first", b"hel".as_slice()));
}

#[tokio::test]
async fn application_that_speaks_http2_gets_the_same_hygiene() {
    let application = Application::start().await;
    let scene = Scene::before(&format!("\"h2c://{}\"", application.address), "", "", "").await;
    let mut raw = scene.raw().await;
    raw.say("GET /a/../b HTTP/1.1\r\nHost: A.example\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nX_Spiffe_Id: admin\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    let seen = application.only();
    assert_eq!((seen.header("x-hop"), seen.header("x_spiffe_id"), seen.header("connection")), (None, None, None));
    assert_eq!(seen.target, "http://a.example/b");
}
