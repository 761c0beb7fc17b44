//! Rules about requests: who may do what, where and to which host; how a refusal is told; and that a rule and the application never see two paths.

use hyper::Request;
use svidgate::metrics::{Outcome, RequestOutcome, Shadowed};

use super::scene::{Scene, header};
use crate::harness::http::{Client, full};
use crate::harness::{BATCH, WEB, until};

fn asking(client: &Client, method: &str, host: &str, path: &str) -> Request<crate::harness::http::Body> {
    let builder = Request::builder().method(method);
    let builder = match client {
        Client::Http1(_) => builder.uri(path).header("host", host),
        Client::Http2(_) => builder.uri(format!("https://{host}{path}")),
    };
    builder.body(full("")).unwrap()
}

#[tokio::test]
async fn one_rule_asks_for_method_path_and_host_together() {
    let rules = r#"
        methods = ["GET", "HEAD"]
        paths = ["/orders/*", "/public/**"]
        hosts = ["orders.example", "*.shop.example"]
    "#;
    let (scene, application) = Scene::with("", rules, "").await;
    let table = [
        ("GET", "orders.example", "/orders/5", 200),
        ("HEAD", "orders.example", "/orders/5", 200),
        ("GET", "ORDERS.example", "/public/a/b?c", 200),
        ("GET", "eu.shop.example", "/orders/5", 200),
        ("POST", "orders.example", "/orders/5", 403),
        ("GET", "orders.example", "/orders/5/items", 403),
        ("GET", "orders.example", "/orders", 403),
        ("GET", "orders.example", "/admin", 403),
        ("GET", "shop.example", "/orders/5", 403),
        ("GET", "orders.example.evil", "/orders/5", 403),
        ("OPTIONS", "orders.example", "/orders/5", 403),
    ];
    for mut client in scene.both().await {
        for (method, host, path, status) in table {
            let before = application.seen().len();
            let request = asking(&client, method, host, path);
            let answer = client.ask(request).await;
            assert_eq!(answer.status, status, "{method} {host} {path}");
            assert_eq!(application.seen().len() - before, usize::from(status == 200), "{method} {host} {path}");
        }
    }
    assert_eq!((scene.requests(RequestOutcome::Answered), scene.requests(RequestOutcome::Denied)), (8, 14));
}

#[tokio::test]
async fn a_deny_rule_wins_over_an_allow_rule() {
    let rules = format!(
        r#"
        paths = ["/**"]
        [[inbound.rule]]
        name = "no-secrets"
        action = "deny"
        peers = ["{WEB}"]
        paths = ["/secret/**"]
    "#
    );
    let (scene, application) = Scene::with("", &rules, "").await;
    for mut client in scene.both().await {
        assert_eq!(client.get("/public").await.status, 200);
        for path in ["/secret/a", "/secret/", "/x/../secret/a", "//secret/a", "/%73ecret/a", "/secret/a?b=/public"] {
            assert_eq!(client.get(path).await.status, 403, "{path}");
        }
    }
    assert!(application.seen().iter().all(|seen| seen.target == "/public"));
}

#[tokio::test]
async fn a_peer_that_no_rule_could_admit_is_refused_in_the_handshake() {
    let rules = format!(
        r#"
        [[inbound.rule]]
        action = "deny"
        peers = ["{BATCH}"]
        paths = ["/admin/**"]
    "#
    );
    let (scene, application) = Scene::with("", &rules, "").await;
    assert_eq!(scene.world.peer(BATCH).offering("http/1.1").refusal(scene.address()).await, "access_denied");
    assert_eq!(scene.world.peer(BATCH).offering("h2").refusal(scene.address()).await, "access_denied");
    until("both are counted", || scene.closed(Outcome::Refused) == 2).await;
    assert!(application.seen().is_empty());
}

#[tokio::test]
async fn a_refused_request_is_told_its_class_and_an_id_and_nothing_of_the_policy() {
    let (scene, application) = Scene::with("", "paths = [\"/orders/**\"]\nmethods = [\"GET\"]", "").await;
    let mut ids = Vec::new();
    for mut client in scene.both().await {
        let answer = client.get("/admin").await;
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (403, "denied"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let told = format!("{:?} {}", answer.headers, answer.text());
        for secret in ["callers", "orders", "GET", "prod.example", "admin"] {
            assert!(!told.contains(secret), "{secret} is in {told}");
        }
        ids.push(answer.header("svidgate-id").unwrap().to_owned());
        assert_eq!(client.get("/orders/1").await.status, 200, "the connection goes on");
    }
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 32), "{ids:?}");
    assert_eq!(application.seen().len(), 2);
}

#[tokio::test]
async fn a_refused_head_request_gets_the_same_head_without_a_body() {
    let (scene, _application) = Scene::with("", "paths = [\"/orders\"]", "").await;
    let mut raw = scene.raw().await;
    raw.say("HEAD /admin HTTP/1.1\r\nhost: a.example\r\n\r\nGET /orders HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 403 ") && header(&head, "content-length").is_some_and(|it| it != "0"), "{head}");
    let next = raw.head().await;
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
}

#[tokio::test]
async fn a_refused_grpc_call_gets_a_status_in_trailers_alone() {
    let (scene, application) = Scene::with("", "paths = [\"/shop.Orders/Get\"]", "").await;
    let mut client = scene.http2().await;
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let mut request = asking(&client, "POST", "orders.example", "/shop.Orders/Delete");
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let answer = client.ask(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.header("grpc-status"), Some("7"));
        let id = answer.header("svidgate-id").unwrap();
        assert_eq!(answer.header("grpc-message"), Some(&*format!("denied, svidgate-id {id}")));
        assert!(answer.body.is_empty() && answer.trailers.is_none());
    }
    assert!(application.seen().is_empty());
    assert_eq!(scene.requests(RequestOutcome::Denied), 2);
}

#[tokio::test]
async fn a_shadow_rule_is_counted_and_changes_nothing() {
    let rules = format!(
        r#"
        [[inbound.rule]]
        name = "soon"
        action = "deny"
        enforce = false
        peers = ["{WEB}"]
        methods = ["DELETE"]
    "#
    );
    let (scene, application) = Scene::with("", &rules, "").await;
    for mut client in scene.both().await {
        for method in ["GET", "DELETE"] {
            let request = asking(&client, method, "orders.example", "/orders/5");
            assert_eq!(client.ask(request).await.status, 200);
        }
    }
    assert_eq!(application.seen().len(), 4);
    let counted = |decision| {
        let label = Shadowed { listener: "orders".into(), decision };
        scene.gate.handle.metrics().shadow_decisions.get(&label).map_or(0, |count| count.get())
    };
    assert_eq!((counted("deny"), counted("allow")), (2, 0));
}

/// Every rule here lets `/public/**` through alone: what the application gets is what the rule saw.
#[tokio::test]
async fn the_application_gets_the_path_that_the_rule_saw_or_nothing() {
    let (scene, application) = Scene::with("", "paths = [\"/public/**\"]", "").await;
    let goes_on_as: [(&[u8], Result<&str, u16>); 41] = [
        (b"/public/a", Ok("/public/a")),
        (b"/public/%61", Ok("/public/a")),
        (b"/%70ublic/a", Ok("/public/a")),
        (b"//public///a", Ok("/public/a")),
        (b"/public/./a", Ok("/public/a")),
        (b"/public/%2e/a", Ok("/public/a")),
        (b"/x/../public/a", Ok("/public/a")),
        (b"/x/%2e%2e/public/a", Ok("/public/a")),
        (b"/x/.%2E/public/a", Ok("/public/a")),
        (b"/public/a?b=../../admin", Ok("/public/a?b=../../admin")),
        (b"/public/a?b=%2f%00", Ok("/public/a?b=%2f%00")),
        (b"/public/a;v=1", Ok("/public/a;v=1")),
        (b"/public/caf%c3%a9", Ok("/public/caf%C3%A9")),
        (b"http://orders.example/public/a", Ok("/public/a")),
        (b"HTTPS://orders.example/x/..//public/a?b", Ok("/public/a?b")),
        (b"/admin", Err(403)),
        (b"/public/../admin", Err(403)),
        (b"/public/%2e%2e/admin", Err(403)),
        (b"/public/%2E./admin", Err(403)),
        (b"/public/.%2e//admin", Err(403)),
        (b"/Public/a", Err(403)),
        (b"http://orders.example/admin", Err(403)),
        (b"http://orders.example/public/../admin", Err(403)),
        (b"/../admin", Err(400)),
        (b"/public/%2e%2e/%2e%2e/admin", Err(400)),
        (b"/public%2f..%2fadmin", Err(400)),
        (b"/public/%2F/admin", Err(400)),
        (b"/public%5c..%5cadmin", Err(400)),
        (b"/public\\..\\admin", Err(400)),
        (b"/public/..;/admin", Err(400)),
        (b"/public/..;x=1/admin", Err(400)),
        (b"/public/..%3b/admin", Err(400)),
        (b"/public/;/admin", Err(400)),
        (b"/public/%00", Err(400)),
        (b"/public/%0d%0aX:%20y", Err(400)),
        (b"/public/%c0%af", Err(400)),
        (b"/public/%ff", Err(400)),
        (b"/public/\xff", Err(400)),
        (b"/public/caf\xc3\xa9", Err(400)),
        (b"/public/%zz", Err(400)),
        (b"/public/a#/admin", Err(400)),
    ];
    for (target, expected) in goes_on_as {
        let shown = String::from_utf8_lossy(target);
        let said =
            [b"GET ".as_slice(), target, b" HTTP/1.1\r\nhost: orders.example\r\nconnection: close\r\n\r\n"].concat();
        let before = application.seen().len();
        let heard = scene.say(&said).await;
        let seen = application.seen();
        match expected {
            Ok(forwarded) => {
                assert!(heard.starts_with("HTTP/1.1 200 "), "{shown}: {heard}");
                assert_eq!(seen.len(), before + 1, "{shown}");
                assert_eq!(seen[before].target, forwarded, "{shown}");
                assert_eq!(seen[before].header("host"), Some("orders.example"), "{shown}");
            }
            Err(status) => {
                assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {heard}");
                assert_eq!(seen.len(), before, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn over_http2_too_the_application_gets_the_path_that_the_rule_saw() {
    let (scene, application) = Scene::with("", "paths = [\"/public/**\"]", "").await;
    let mut client = scene.http2().await;
    let table = [
        ("/public/%61?b", Ok("/public/a?b")),
        ("/x/%2e%2e//public/a", Ok("/public/a")),
        ("/public/%2e%2e/admin", Err(403)),
        ("//admin", Err(403)),
        ("/public/..;/admin", Err(400)),
        ("/public%2fadmin", Err(400)),
        ("/public/%00", Err(400)),
        ("/public/%c0%af", Err(400)),
    ];
    for (target, expected) in table {
        let before = application.seen().len();
        let answer = client.get(target).await;
        match expected {
            Ok(forwarded) => assert_eq!(application.seen()[before].target, forwarded, "{target}"),
            Err(status) => {
                assert_eq!(answer.status, status, "{target}");
                assert_eq!(application.seen().len(), before, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn options_asterisk_needs_a_rule_without_paths() {
    for (rules, status) in [("", "200"), ("paths = [\"/**\"]", "403")] {
        let (scene, application) = Scene::with("", rules, "").await;
        let heard = scene.say(b"OPTIONS * HTTP/1.1\r\nhost: orders.example\r\nconnection: close\r\n\r\n").await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{rules}: {heard}");
        if status == "200" {
            assert_eq!(application.only().target, "*");
        }
    }
}

#[tokio::test]
async fn a_rule_added_beside_one_that_asks_nothing_of_requests_holds_on_open_connections() {
    let (scene, application) = Scene::with("", "", "").await;
    let shadows = || {
        let label = Shadowed { listener: "orders".into(), decision: "deny" };
        scene.gate.handle.metrics().shadow_decisions.get(&label).map_or(0, |count| count.get())
    };
    let mut clients = scene.both().await;
    for (enforce, status, counted) in [(false, 200, 2), (true, 403, 2)] {
        for client in &mut clients {
            assert_eq!(client.get("/orders").await.status, 200);
        }
        let rule = format!(
            "[[inbound.rule]]\nname = \"none\"\naction = \"deny\"\nenforce = {enforce}\npeers = [\"{WEB}\"]\npaths = [\"/orders\"]"
        );
        scene.apply("", &rule, "").await;
        for client in &mut clients {
            assert_eq!(client.get("/orders").await.status, status, "enforced: {enforce}");
            assert_eq!(client.get("/other").await.status, 200, "enforced: {enforce}");
        }
        assert_eq!(shadows(), counted, "enforced: {enforce}");
        scene.apply("", "", "").await;
    }
    assert_eq!(application.seen().len(), 10);
}
