//! Whom an upstream connection leads to is asked for each request: by the configuration, the trust and the clock of that moment. What is under
//! way when its server is no longer trusted is cut, and no client takes it for whole.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use svidgate::metrics::RequestOutcome;
use svidgate::mint::{Authority, Issue, bundle_map};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::harness::http::Client;
use crate::harness::{BATCH, Gate, HOUR, ORDERS, Peer, WEB, World, authority, id, until};
use crate::scene::{Pen, piece, written};
use crate::upstream::{Service, both_versions, egress, egress_to, egress_toml, ended, soon, to_orders};

const PARTNER: &str = "spiffe://other.example/ns/shop/sa/orders";

/// A service that streams, and the pens of its answers as they begin.
async fn streaming(peer: Peer) -> (Service, mpsc::UnboundedReceiver<Pen>) {
    let (pens, ready) = mpsc::unbounded_channel();
    let service = Service::answering(both_versions(peer), move |_| {
        let pens = pens.clone();
        Box::pin(async move {
            let (pen, body) = written();
            pens.send(pen).unwrap();
            Response::new(body)
        })
    });
    (service.await, ready)
}

async fn both(gate: &Gate) -> [Client; 2] {
    [Client::plain(gate.address(0)).await, Client::http2(TcpStream::connect(gate.address(0)).await.unwrap()).await]
}

/// Answers that have begun, one for each version, and their pens.
async fn begun(gate: &Gate, pens: &mut mpsc::UnboundedReceiver<Pen>) -> Vec<(Client, Incoming, Pen)> {
    let mut begun = Vec::new();
    for mut client in both(gate).await {
        let mut body = client.send(client.request("GET", "/")).await.unwrap().into_body();
        let pen = soon(pens.recv()).await.unwrap();
        pen.write("begun").await;
        assert_eq!(piece(&mut body).await.as_deref(), Some("begun"));
        begun.push((client, body, pen));
    }
    begun
}

async fn is_broken(body: Incoming) -> bool {
    soon(body.collect()).await.is_err()
}

/// Writes our own credentials anew, which trust these.
fn trust(world: &World, trusted: &[&Authority]) {
    let issued = world.prod.issue(&id(WEB), HOUR).unwrap();
    world.write_identity("web", &issued, &bundle_map(trusted));
}

/// A gate that expects a service of a partner's, and trusts the partner.
async fn towards_partner(world: &World, partner: &Authority, service: &Service, limits: &str) -> Gate {
    let onward = format!("target = \"{}\"\nexpect = [\"{PARTNER}\"]\n{limits}", service.address);
    let gate = egress(world, &onward).await;
    trust(world, &[&world.prod, partner]);
    until("the partner is trusted", || trusts(&gate, 2)).await;
    gate
}

fn trusts(gate: &Gate, domains: usize) -> bool {
    gate.handle.credentials().current().unwrap().bundles.iter().count() == domains
}

#[tokio::test]
async fn the_next_request_on_the_same_connection_goes_by_the_new_expectation() {
    let world = World::new();
    let service = Service::orders(&world).await;
    let gate = egress_to(&world, service.address, "").await;
    let mut clients = both(&gate).await;
    for round in 0..3 {
        gate.apply(&egress_toml(&world, &to_orders(service.address, ""))).await;
        for client in &mut clients {
            assert_eq!(client.get("/").await.status, 200);
        }
        assert_eq!(service.seen().len(), 2 * (round + 1));
        gate.apply(&egress_toml(&world, &to_orders(service.address, "").replace(ORDERS, BATCH))).await;
        for client in &mut clients {
            let answer = client.get("/").await;
            assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
        }
    }
}

#[tokio::test]
async fn an_answer_under_way_is_cut_when_its_server_is_no_longer_expected() {
    let world = World::new();
    let (service, mut pens) = streaming(world.peer(ORDERS)).await;
    let gate = egress_to(&world, service.address, "").await;
    let begun = begun(&gate, &mut pens).await;
    // One that says the same cuts nothing.
    gate.apply(&egress_toml(&world, &to_orders(service.address, "[limits]\nmax_connections = 77"))).await;
    let mut ongoing = Vec::new();
    for (client, mut body, pen) in begun {
        pen.write("on").await;
        assert_eq!(piece(&mut body).await.as_deref(), Some("on"));
        ongoing.push((client, body, pen));
    }
    gate.apply(&egress_toml(&world, &to_orders(service.address, "").replace(ORDERS, BATCH))).await;
    for (_client, body, _pen) in ongoing {
        assert!(is_broken(body).await);
    }
    until("both are counted", || ended(&gate, RequestOutcome::Cut) == 2).await;
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_refused_when_its_server_is_no_longer_expected() {
    let world = World::new();
    let service = Service::answering(both_versions(world.peer(ORDERS)), |_| Box::pin(std::future::pending())).await;
    let gate = egress_to(&world, service.address, "").await;
    let asked = both(&gate).await.map(|mut client| tokio::spawn(async move { client.get("/").await }));
    until("both are there", || service.seen().len() == 2).await;
    gate.apply(&egress_toml(&world, &to_orders(service.address, "").replace(ORDERS, BATCH))).await;
    for one in asked {
        let answer = soon(one).await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    }
}

#[tokio::test]
async fn a_bundle_that_loses_the_root_ends_pooled_connections_and_answers_under_way() {
    let (world, partner) = (World::new(), authority("other.example"));
    let (service, mut pens) = streaming(Peer::issued_by(&partner, PARTNER)).await;
    let gate = towards_partner(&world, &partner, &service, "").await;
    let begun = begun(&gate, &mut pens).await;
    for mut client in both(&gate).await {
        let body = client.send(client.request("GET", "/")).await.unwrap().into_body();
        drop(soon(pens.recv()).await.unwrap());
        assert!(!is_broken(body).await);
    }
    let opened = service.opened();
    trust(&world, &[&world.prod]);
    for (_client, body, _pen) in begun {
        assert!(is_broken(body).await);
    }
    let seen = service.seen().len();
    for mut client in both(&gate).await {
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), &*answer.class()), (502, "upstream_failed"));
    }
    assert_eq!(service.seen().len(), seen, "no request went out on a connection of before");
    until("others were tried", || service.opened() >= opened + 2).await;
    trust(&world, &[&world.prod, &partner]);
    until("the partner is trusted again", || trusts(&gate, 2)).await;
    for mut client in both(&gate).await {
        assert_eq!(client.send(client.request("GET", "/")).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn within_the_grace_answers_go_on_and_after_it_they_are_cut() {
    const GRACE: Duration = Duration::from_secs(2);
    let (world, partner) = (World::new(), authority("other.example"));
    let (service, mut pens) = streaming(Peer::issued_by(&partner, PARTNER)).await;
    let gate = towards_partner(&world, &partner, &service, "[limits]\nclose_grace = \"2s\"").await;
    let begun = begun(&gate, &mut pens).await;
    let before = Instant::now();
    trust(&world, &[&world.prod]);
    until("the partner is not trusted", || trusts(&gate, 1)).await;
    for (_client, body, _pen) in begun {
        assert!(is_broken(body).await);
        assert!(before.elapsed() >= GRACE, "cut after {:?}", before.elapsed());
        assert!(before.elapsed() < 5 * GRACE, "cut after {:?}", before.elapsed());
    }
}

#[tokio::test]
async fn what_refused_a_server_may_be_taken_back_within_the_grace() {
    let (world, partner) = (World::new(), authority("other.example"));
    let (service, mut pens) = streaming(Peer::issued_by(&partner, PARTNER)).await;
    let gate = towards_partner(&world, &partner, &service, "[limits]\nclose_grace = \"1h\"").await;
    let begun = begun(&gate, &mut pens).await;
    trust(&world, &[&world.prod]);
    until("the partner is not trusted", || trusts(&gate, 1)).await;
    for mut client in both(&gate).await {
        assert_eq!(client.get("/").await.status, 502);
    }
    trust(&world, &[&world.prod, &partner]);
    until("the partner is trusted again", || trusts(&gate, 2)).await;
    for (_client, mut body, pen) in begun {
        pen.write("on").await;
        assert_eq!(piece(&mut body).await.as_deref(), Some("on"));
        drop(pen);
        assert!(!is_broken(body).await);
    }
}

#[tokio::test]
async fn a_server_certificate_that_expires_in_the_middle_of_an_answer_cuts_it_unless_expiry_does_not_count() {
    let world = World::new();
    let short = Issue::lasting(Duration::from_secs(2));
    let (service, mut pens) = streaming(Peer::holding(&world.prod.issue_as(&id(ORDERS), short).unwrap())).await;
    let strict = egress_to(&world, service.address, "").await;
    let lenient = Gate::start(&egress_toml(&world, &to_orders(service.address, "on_expiry = \"keep\""))).await;
    let kept = begun(&lenient, &mut pens).await;
    let begun = begun(&strict, &mut pens).await;
    for (_client, body, _pen) in begun {
        assert!(is_broken(body).await);
    }
    until("both are counted", || ended(&strict, RequestOutcome::Cut) == 2).await;
    assert_eq!(Client::plain(strict.address(0)).await.get("/").await.status, 502);
    for (_client, mut body, pen) in kept {
        pen.write("on").await;
        assert_eq!(piece(&mut body).await.as_deref(), Some("on"));
    }
}
