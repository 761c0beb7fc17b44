//! In front of a service: what the application sees of a request, and what its client gets back.

use crate::harness::http::{Application, Client, inbound_http};
use crate::harness::{Gate, ORDERS, WEB, World};

/// An application behind a gate that lets the web frontend in.
async fn fronted(listener: &str, rules: &str, limits: &str) -> (World, Application, Gate) {
    let (world, application) = (World::new(), Application::start().await);
    let identity = world.identity("orders", ORDERS);
    let gate = Gate::start(&inbound_http(&identity, &application.target(), listener, rules, limits)).await;
    (world, application, gate)
}

#[tokio::test]
async fn a_request_reaches_the_application_with_its_callers_identity() {
    let (world, application, gate) = fronted("", "", "").await;
    let peer = world.peer(WEB);
    for mut client in
        [Client::of_peer(&peer, gate.address(0)).await, Client::of_peer_http2(&peer, gate.address(0)).await]
    {
        let answer = client.get("/orders/5?full=1").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    }
    for seen in application.seen() {
        assert_eq!((&*seen.method, &*seen.target), ("GET", "/orders/5?full=1"));
        assert_eq!(seen.header("host"), Some("orders.example"));
        let xfcc = seen.header("x-forwarded-client-cert").unwrap();
        assert!(xfcc.starts_with(&format!("By={ORDERS};Hash=")) && xfcc.ends_with(&format!(";URI={WEB}")), "{xfcc}");
    }
    assert_eq!(application.seen().len(), 2);
}
