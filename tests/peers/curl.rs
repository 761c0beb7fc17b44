//! curl at an inbound listener with a client certificate, and at an outbound one as if that were the service, its proxy, or a tunnel.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::http::{Application, Seen};
use crate::harness::{BATCH, Gate, ORDERS, WEB, World, outbound_toml};
use crate::sides::{Files, Sides};
use crate::tools::{noise, run, succeeds, text, tool};

/// curl, with a certificate or without, to whatever is at the other end.
pub(crate) fn curl(files: Option<&Files>) -> Option<Command> {
    let mut command = tool("curl", "curl")?;
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "no_proxy", "NO_PROXY"] {
        command.env_remove(proxy);
    }
    command.args(["--silent", "--show-error", "--max-time", "20", "-k"]);
    if let Some(files) = files {
        command.arg("--cert").arg(&files.chain).arg("--key").arg(&files.key);
    }
    Some(command)
}

/// What it prints at the end: the version spoken, and the status.
const TOLD: [&str; 2] = ["--write-out", " %{http_version} %{http_code}"];

async fn fronted() -> (Application, Sides) {
    let application = Application::start().await;
    let sides = Sides::of(&application.address.to_string()).await;
    (application, sides)
}

/// Nothing that the client said of its identity is left, and ours is there.
fn is_told_of_the_frontend(seen: &Seen) {
    let told = seen.headers.iter().filter(|(_, value)| value.as_bytes().windows(4).any(|part| part == b"evil"));
    assert_eq!(told.count(), 0, "{seen:#?}");
    assert_eq!(seen.header("x-spiffe-id"), Some(WEB));
    assert!(seen.header("x-forwarded-client-cert").unwrap().ends_with(&format!("URI={WEB}")), "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_either_version_with_a_client_certificate() {
    let (application, sides) = fronted().await;
    let url = format!("https://{}/orders/5?full=1", sides.outside());
    // The name that HTTP/1.0 has in ALPN is not agreed to.
    let versions: [(&[&str], &str); 3] = [
        (&["--http1.0", "--no-alpn"], "hello 1 200"),
        (&["--http1.1"], "hello 1.1 200"),
        (&["--http2"], "hello 2 200"),
    ];
    for (version, told) in versions {
        let Some(mut curl) = curl(Some(&sides.web())) else { return };
        curl.args(["-H", "X-Spiffe-Id: evil", "-H", "X_Forwarded_Client-Cert: evil", "-H", "Client-Cert: evil"]);
        assert_eq!(succeeds(curl.args(TOLD).args(version).arg(&url)), told, "{version:?}");
    }
    for seen in application.seen() {
        is_told_of_the_frontend(&seen);
        assert_eq!(seen.target, "/orders/5?full=1");
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("host").unwrap(), sides.outside().to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_framing_arrive_whole() {
    let (application, sides) = fronted().await;
    let content = noise(3 << 20);
    let file = sides.world.path("content");
    fs::write(&file, &content).unwrap();
    // Past a megabyte curl asks for leave first (`Expect: 100-continue`) in HTTP/1.1.
    let framings: [&[&str]; 3] = [&["--http1.1"], &["--http1.1", "-H", "Transfer-Encoding: chunked"], &["--http2"]];
    for framing in framings {
        let Some(mut curl) = curl(Some(&sides.web())) else { return };
        curl.args(framing).arg("--upload-file").arg(&file).arg(format!("https://{}/orders", sides.outside()));
        assert_eq!(succeeds(&mut curl), "hello");
    }
    let seen = application.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.method == "PUT" && seen.body == content));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_problem_that_curl_can_read() {
    let (application, sides) = fronted().await;
    // Whatever a path is written like, it is one.
    for path in
        ["/admin", "/admin/users", "/orders/../admin/users", "//admin//users", "/%61dmin/users", "/admin;x=1/users"]
    {
        for version in ["--http1.1", "--http2"] {
            let Some(mut curl) = curl(Some(&sides.web())) else { return };
            let url = format!("https://{}{path}", sides.outside());
            let told = succeeds(curl.args(["--path-as-is", "--include", version, &url]));
            let (head, body) = told.split_once("\r\n\r\n").unwrap();
            let problem: Value = serde_json::from_str(body).unwrap();
            assert_eq!((&problem["status"], &problem["class"]), (&Value::from(403), &Value::from("denied")), "{path}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert!(head.contains(&format!("svidgate-id: {}", problem["id"].as_str().unwrap())), "{head}");
            assert!(!told.contains("no-admin"), "the rule is told: {told}");
        }
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_can_be_read_in_two_ways_is_a_bad_request() {
    let (application, sides) = fronted().await;
    for path in ["/orders%2F..%2Fadmin", "/%00", "/../admin", "/%zz", "/%C0%AFadmin", "/orders/..;/admin"] {
        for version in ["--http1.1", "--http2"] {
            let Some(mut curl) = curl(Some(&sides.web())) else { return };
            let url = format!("https://{}{path}", sides.outside());
            let told = succeeds(curl.args(TOLD).args(["--path-as-is", "--output", "/dev/null", version, &url]));
            assert!(told.ends_with(" 400"), "{path} {version}: {told}");
        }
    }
    assert!(application.seen().is_empty(), "{:#?}", application.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_no_rule_admits_is_refused_in_the_handshake() {
    let (_application, sides) = fronted().await;
    let Some(mut curl) = curl(Some(&Files::of(&sides.world, "batch", BATCH))) else { return };
    let answer = run(curl.arg(format!("https://{}/", sides.outside())));
    assert!(text(&answer.stderr).contains("alert access denied"), "{}", text(&answer.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_for_the_next_request() {
    let (application, sides) = fronted().await;
    for version in ["--http1.1", "--http2"] {
        let Some(mut curl) = curl(Some(&sides.web())) else { return };
        curl.args([version, "--write-out", " %{num_connects}\n"]);
        let told = succeeds(curl.args(vec![format!("https://{}/orders", sides.outside()); 5]));
        assert_eq!(told, "hello 1\nhello 0\nhello 0\nhello 0\nhello 0\n", "{version}");
    }
    let last = application.seen().iter().map(|seen| seen.connection).max();
    assert!(last < Some(4), "the ten requests went on {last:?} connections more than one to the application");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reaches_the_service_by_every_way_out() {
    let (application, sides) = fronted().await;
    let proxy = format!("http://{}", sides.inside());
    let direct = format!("{proxy}/orders");
    let by_name = "http://orders.example/orders";
    let templated = "http://orders.shop.svc:8080/orders";
    let ways: [(&str, Vec<&str>); 7] = [
        ("as the service itself", vec![&direct]),
        ("in HTTP/2", vec!["--http2-prior-knowledge", &direct]),
        ("with its name", vec!["-H", "Host: orders.example", &direct]),
        ("as a proxy", vec!["--proxy", &proxy, by_name]),
        ("as a proxy, by template", vec!["--proxy", &proxy, templated]),
        ("as a proxy that speaks HTTP/1.0", vec!["--http1.0", "--proxy", &proxy, by_name]),
        ("through a tunnel", vec!["--proxytunnel", "--proxy", &proxy, by_name]),
    ];
    for (way, arguments) in &ways {
        let Some(mut curl) = curl(None) else { return };
        assert_eq!(succeeds(curl.args(arguments)), "hello", "{way}");
    }
    let Some(mut curl) = curl(None) else { return };
    assert_eq!(succeeds(curl.env("http_proxy", &proxy).arg(by_name)), "hello");
    let seen = application.seen();
    assert_eq!(seen.len(), ways.len() + 1);
    for seen in seen {
        is_told_of_the_frontend(&seen);
        assert_eq!(seen.target, "/orders", "the application never sees the absolute form");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_route_goes_nowhere() {
    let (application, sides) = fronted().await;
    let proxy = format!("http://{}", sides.inside());
    let Some(mut absolute) = curl(None) else { return };
    let told = succeeds(absolute.args(TOLD).args(["--proxy", &proxy, "http://elsewhere.example/"]));
    assert!(told.contains(r#""class":"no_route""#) && told.ends_with(" 1.1 403"), "{told}");
    let Some(mut tunnel) = curl(None) else { return };
    let refused = run(tunnel.args(["--proxy", &proxy, "https://elsewhere.example/"]));
    assert!(text(&refused.stderr).contains("CONNECT tunnel failed, response 403"), "{}", text(&refused.stderr));
    assert!(application.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_identity_gets_no_request() {
    let (application, sides) = fronted().await;
    let proxy = format!("http://{}", sides.inside());
    // The route's template makes `.../sa/stock` of it; it is the orders service that answers.
    let Some(mut curl) = curl(None) else { return };
    let told = succeeds(curl.args(TOLD).args(["--proxy", &proxy, "http://stock.shop.svc/"]));
    assert!(told.contains(r#""class":"upstream_failed""#) && told.ends_with(" 502"), "{told}");
    assert!(application.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_needs_no_route() {
    let (application, sides) = fronted().await;
    let world: &World = &sides.world;
    let target = sides.outside().to_string();
    let gate = Gate::start(&outbound_toml(&world.identity("web", WEB), &target, r#"protocol = "http""#)).await;
    let Some(mut curl) = curl(None) else { return };
    assert_eq!(succeeds(curl.arg(format!("http://{}/orders", gate.address(0)))), "hello");
    is_told_of_the_frontend(&application.only());
    assert!(application.only().header("x-forwarded-client-cert").unwrap().starts_with(&format!("By={ORDERS};")));
}
