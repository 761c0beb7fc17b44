//! In front of a service: what the application sees of a request, and what its client gets back.

use super::frames::{Frames, GET, HEADERS};
use super::scene::{Raw, Scene};
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

#[tokio::test]
async fn http2_is_taken_where_it_was_agreed_to_or_nothing_was_and_the_listener_speaks_it() {
    for (listener, offered, is_taken) in [
        ("", Some("h2"), true),
        ("", Some("http/1.1"), false),
        ("", None, true),
        ("alpn = [\"h2\"]", None, true),
        ("alpn = [\"http/1.1\"]", Some("http/1.1"), false),
        ("alpn = [\"http/1.1\"]", None, false),
    ] {
        let (scene, application) = Scene::with(listener, "", "").await;
        let peer = scene.peer.clone();
        let peer = match offered {
            Some(protocol) => peer.offering(protocol),
            None => peer,
        };
        let stream = peer.connect(scene.address()).await.unwrap();
        if is_taken {
            let mut frames = Frames::on(stream).await;
            frames.ask(1, &GET).await;
            frames.until(&[HEADERS]).await;
        } else {
            let mut raw = Raw::of(stream);
            raw.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            let (head, _) = raw.answer().await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{listener} {offered:?}: {head}");
        }
        assert_eq!(application.seen().len(), usize::from(is_taken), "{listener} {offered:?}");
    }
}
