//! The examples of HTTP, each run with the peers that it is for; only its directory, addresses and targets are this machine's.

use std::fs;
use std::path::Path;

use crate::curl::curl;
use crate::grpc;
use crate::harness::http::Application;
use crate::harness::{Gate, ORDERS, WEB, World};
use crate::sides::{Files, named_identity};
use crate::tools::{python, succeeds};

const DIRECTORY: &str = "/run/secrets/workload-spiffe-credentials";
const CHECKOUT: &str = "spiffe://prod.example/ns/web/sa/checkout";
const STOCK: &str = "spiffe://prod.example/ns/shop/sa/stock";

/// An example with `changes` made, each of which it must have a place for.
fn example(name: &str, changes: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    changed(fs::read_to_string(path).unwrap(), changes)
}

/// The first configuration in a section of the README, likewise.
fn readme(section: &str, changes: &[(&str, String)]) -> String {
    let readme = include_str!("../../README.md");
    let section = readme.split_once(&format!("\n## {section}\n")).unwrap().1;
    let block = section.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    changed(block.to_owned(), changes)
}

fn changed(mut text: String, changes: &[(&str, String)]) -> String {
    for (from, to) in changes {
        assert!(text.contains(from), "it has no {from}");
        text = text.replace(from, to);
    }
    text
}

fn directory(world: &World, name: &str, id: &str) -> (&'static str, String) {
    (DIRECTORY, world.identity(name, id).display().to_string())
}

/// A listener's address that the system chooses.
fn free(quoted: &str) -> (&str, String) {
    (quoted, "\"127.0.0.1:0\"".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_a_legacy_service_decides_as_it_says() {
    let (world, application) = (World::new(), Application::start().await);
    let target = application.address.to_string();
    let changes = [directory(&world, "orders", ORDERS), free("\":8443\""), ("localhost:8080", target)];
    let gate = Gate::start(&example("legacy-http.toml", &changes)).await;
    let (web, checkout) = (Files::of(&world, "web", WEB), Files::of(&world, "checkout", CHECKOUT));
    for (files, method, path, status) in [
        (&web, "GET", "/orders", "200"),
        (&web, "GET", "/orders/5/lines", "200"),
        (&web, "HEAD", "/health", "200"),
        (&web, "GET", "/metrics", "403"),
        (&web, "POST", "/orders", "403"),
        (&checkout, "POST", "/orders", "200"),
        (&checkout, "PUT", "/orders/5", "200"),
        (&checkout, "PUT", "/orders/5/lines", "403"),
        (&checkout, "GET", "/orders/export/all", "403"),
        (&checkout, "GET", "/orders/./export;x/all", "403"),
    ] {
        let Some(mut curl) = curl(Some(files)) else { return };
        curl.args(["--path-as-is", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        match method {
            "HEAD" => curl.arg("--head"),
            _ => curl.args(["--request", method]),
        };
        assert_eq!(succeeds(curl.arg(format!("https://{}{path}", gate.address(0)))), status, "{method} {path}");
    }
    let seen = application.seen();
    let last = seen.last().unwrap();
    assert_eq!(last.header("x-spiffe-id"), Some(CHECKOUT));
    assert_eq!(last.header("x-caller-account"), Some("/ns/web/sa/checkout"));
    assert_eq!(last.header("x-admitted-by"), Some("checkout-writes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_an_egress_proxy_reaches_whom_a_host_stands_for() {
    let (world, application) = (World::new(), Application::start().await);
    let target = application.address.to_string();
    let inside = [directory(&world, "orders", ORDERS), free("\":8443\""), ("localhost:8080", target)];
    let orders = Gate::start(&example("legacy-http.toml", &inside)).await;
    let at_orders = orders.address(0).to_string();
    let gate = Gate::start(&example(
        "egress-http.toml",
        &[
            directory(&world, "web", WEB),
            free("\"localhost:9000\""),
            ("orders-a.internal:8443", at_orders.clone()),
            ("orders-b.internal:8443", at_orders.clone()),
            ("{0}.{1}.svc.cluster.local:8443", at_orders),
        ],
    ))
    .await;
    let proxy = format!("http://{}", gate.address(0));
    let here = format!("{proxy}/orders");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    for (arguments, told) in [
        (vec!["http://orders.example/orders"], "200"),
        (vec!["http://eu.orders.example/orders"], "200"),
        (vec!["--proxytunnel", "http://orders.shop.svc/orders"], "200"),
        (vec!["--noproxy", "*", "-H", "Host: orders.example", &here], "200"),
        // Whoever answers at its address, it is not the stock service.
        (vec!["http://stock.shop.svc/"], "502"),
        (vec!["http://elsewhere.example/"], "403"),
    ] {
        let Some(mut curl) = curl(None) else { return };
        assert_eq!(succeeds(curl.args(status).env("http_proxy", &proxy).args(&arguments)), told, "{arguments:?}");
    }
    assert_eq!(application.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_grpc_carries_calls_both_ways() {
    let Some((_server, target)) = grpc::server() else { return };
    let world = World::new();
    // The stock service and the web frontend, each behind the whole example: of one the way in is used, of the other the way out.
    let both = [free("\":8443\""), free("\"localhost:50052\"")];
    let stock = [directory(&world, "stock", STOCK), ("h2c://localhost:50051", target)];
    let stock = Gate::start(&example("grpc.toml", &[&both[..], &stock].concat())).await;
    let web = [directory(&world, "web", WEB), ("stock.internal:8443", stock.address(0).to_string())];
    let web = Gate::start(&example("grpc.toml", &[&both[..], &web].concat())).await;
    let mut client = python("grpc_client.py").unwrap();
    grpc::calls(client.arg(web.address(1).to_string()), &["unary", "bidirectional", "deadline", "denied"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grpc_service_of_the_readme_takes_calls() {
    let Some((_server, target)) = grpc::server() else { return };
    let world = World::new();
    let orders = named_identity(&world).display().to_string();
    let changes = [(DIRECTORY, orders), free("\":8443\""), ("h2c://localhost:50051", target)];
    let gate = Gate::start(&readme("gRPC and WebSocket", &changes)).await;
    let mut client = python("grpc_client.py").unwrap();
    client.arg(gate.address(0).to_string());
    grpc::with_certificate(&mut client, &Files::of(&world, "web", WEB));
    grpc::calls(&mut client, &["unary", "server_streaming", "status", "denied"]);
}
