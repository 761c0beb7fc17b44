//! Rotations and reloads while requests go from an application through both proxies to another: not one may fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use svidgate::app::Drained;
use svidgate::metrics::{Outcome, RequestOutcome};
use svidgate::mint::{Generation, Writer, WriterStyle};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::harness::http::{Client, full, inbound_http};
use crate::harness::{Gate, ORDERS, WEB, World, generation, leaf_of, until};
use crate::scene::{Pen, piece, served, written};
use crate::upstream::{EGRESS, ended, soon, to_orders};

/// An application that says a body back, and streams at `/stream`.
async fn application() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Pen>) {
    let (pens, begun) = mpsc::unbounded_channel();
    let address = served(move |request: Request<Incoming>| {
        let pens = pens.clone();
        async move {
            if request.uri().path() == "/stream" {
                let (pen, body) = written();
                pens.send(pen).unwrap();
                return Response::new(body);
            }
            match request.into_body().collect().await {
                Ok(body) => Response::new(full(body.to_bytes())),
                Err(_) => Response::builder().status(400).body(full("")).unwrap(),
            }
        }
    });
    (address.await, begun)
}

/// Two proxies with credentials of their own, one behind the other.
struct Way {
    world: World,
    writers: [Writer; 2],
    inbound: Gate,
    outbound: Gate,
    target: String,
    pens: mpsc::UnboundedReceiver<Pen>,
}

impl Way {
    async fn start() -> Self {
        let world = World::new();
        let writer = |name: &str| Writer::new(world.path(name).join("workload-spiffe-credentials"), WriterStyle::Gce);
        let writers = [writer("orders"), writer("web")];
        writers[0].write(&generation(&world.prod, ORDERS)).unwrap();
        writers[1].write(&generation(&world.prod, WEB)).unwrap();
        let (address, pens) = application().await;
        let target = format!("\"{address}\"");
        let inbound = Gate::start(&inbound_http(writers[0].path(), &target, "", "", "")).await;
        let outbound = Gate::start(&outbound_toml(writers[1].path(), inbound.address(0), "")).await;
        Self { world, writers, inbound, outbound, target, pens }
    }

    async fn rotate(&self) {
        let next = [generation(&self.world.prod, ORDERS), generation(&self.world.prod, WEB)];
        let gates = [&self.inbound, &self.outbound];
        for ((writer, gate), next) in self.writers.iter().zip(gates).zip(&next) {
            writer.write(next).unwrap();
            until("the new credentials are in use", || uses(gate, next)).await;
        }
    }

    /// Answers that have begun, one in each version.
    async fn streams(&mut self) -> Vec<(Client, Incoming, Pen)> {
        let tcp = async || TcpStream::connect(self.outbound.address(0)).await.unwrap();
        let mut streams = Vec::new();
        for mut client in [Client::http1(tcp().await).await, Client::http2(tcp().await).await] {
            let body = client.send(client.request("GET", "/stream")).await.unwrap().into_body();
            streams.push((client, body, soon(self.pens.recv()).await.unwrap()));
        }
        streams
    }
}

fn outbound_toml(identity: &Path, target: std::net::SocketAddr, limits: &str) -> String {
    format!(
        "[identity]\ndir = \"{}\"\n[[outbound]]\nname = \"{EGRESS}\"\nlisten = \"127.0.0.1:0\"\nprotocol = \"http\"\n{}",
        identity.display(),
        to_orders(target, limits)
    )
}

fn uses(gate: &Gate, generation: &Generation) -> bool {
    gate.handle.credentials().current().is_some_and(|current| current.svid.chain()[0] == leaf_of(generation))
}

/// Clients that ask all the time, each on a connection of its own that it keeps.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Four of HTTP/1.1, and four that share a connection of HTTP/2.
    async fn start(gate: &Gate) -> Self {
        let tcp = async || TcpStream::connect(gate.address(0)).await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Client::http1(tcp().await).await);
        }
        let Client::Http2(shared) = Client::http2(tcp().await).await else { unreachable!() };
        clients.extend((0..4).map(|_| Client::Http2(shared.clone())));
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = clients.into_iter().map(|client| {
            let (stop, answered) = (stop.clone(), answered.clone());
            tokio::spawn(async move { ask_on(client, &stop, &answered).await })
        });
        Self { clients: clients.collect(), stop, answered }
    }

    /// Waits until so many more were answered.
    async fn goes_on(&self, more: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        let failed = || self.clients.iter().any(JoinHandle::is_finished);
        until("requests are answered", || self.answered.load(Ordering::Relaxed) >= before + more || failed()).await;
    }

    /// Ends it. Not one request may have failed.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            soon(client).await.expect("a request failed");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

async fn ask_on(mut client: Client, stop: &AtomicBool, answered: &AtomicU64) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut request = client.request(if number % 3 == 0 { "GET" } else { "POST" }, "/");
        let body = "x".repeat(if number % 3 == 0 { 0 } else { number % 7 * 1000 });
        *request.body_mut() = full(body.clone());
        let answer = client.ask(request).await;
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
        assert_eq!(answer.body, body, "request {number}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

async fn nothing_failed(way: &Way, requests: u64) {
    until("all are counted", || ended(&way.outbound, RequestOutcome::Answered) >= requests).await;
    for outcome in RequestOutcome::ALL.into_iter().filter(|outcome| *outcome != RequestOutcome::Answered) {
        assert_eq!(ended(&way.outbound, outcome), 0, "{outcome:?}");
    }
    for outcome in [Outcome::Refused, Outcome::RefusedByPeer, Outcome::Revoked, Outcome::NoIdentity, Outcome::Aborted] {
        assert_eq!(way.inbound.handle.metrics().closed(&"orders".into(), outcome), 0, "{outcome:?}");
    }
}

/// How many rotations of both sides: `SVIDGATE_ROTATIONS`, 40 where it is not set.
fn rotations() -> usize {
    std::env::var("SVIDGATE_ROTATIONS").map_or(40, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_of_both_sides_cost_no_request_and_no_answer_under_way() {
    let mut way = Way::start().await;
    let mut streams = way.streams().await;
    let traffic = Traffic::start(&way.outbound).await;
    for _ in 0..rotations() {
        way.rotate().await;
        for (_client, body, pen) in &mut streams {
            pen.write("on").await;
            assert_eq!(piece(body).await.as_deref(), Some("on"));
        }
        traffic.goes_on(16).await;
    }
    let answered = traffic.end().await;
    for (_client, body, pen) in streams {
        drop(pen);
        assert_eq!(soon(body.collect()).await.unwrap().to_bytes(), "");
    }
    nothing_failed(&way, answered + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_configurations_of_both_sides_cost_no_request_and_no_answer_under_way() {
    let mut way = Way::start().await;
    let mut streams = way.streams().await;
    let traffic = Traffic::start(&way.outbound).await;
    for round in 0..60 {
        let limits = format!("max_streams = {}\nmax_idle_upstream = {}", 50 + round % 7, round % 3);
        way.inbound.apply(&inbound_http(way.writers[0].path(), &way.target, "", "", &limits)).await;
        let limits = format!("[limits.http]\n{limits}");
        let toml = outbound_toml(way.writers[1].path(), way.inbound.address(0), &limits);
        way.outbound.apply(&toml).await;
        for (_client, body, pen) in &mut streams {
            pen.write("on").await;
            assert_eq!(piece(body).await.as_deref(), Some("on"));
        }
        traffic.goes_on(8).await;
    }
    let answered = traffic.end().await;
    for (_client, body, pen) in streams {
        drop(pen);
        assert_eq!(soon(body.collect()).await.unwrap().to_bytes(), "");
    }
    nothing_failed(&way, answered + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_drains_costs_no_request_where_another_stands() {
    let way = Way::start().await;
    let toml = inbound_http(way.writers[0].path(), &way.target, "", "", "");
    let leaving = Gate::start(&toml).await;
    let both = outbound_toml(way.writers[1].path(), way.inbound.address(0), "");
    let both =
        both.replace("target = ", &format!("target = [\"{}\", ", leaving.address(0))).replace("\nexpect", "]\nexpect");
    way.outbound.apply(&both).await;
    let traffic = Traffic::start(&way.outbound).await;
    traffic.goes_on(50).await;
    assert_eq!(leaving.stop().await, Drained::Clean);
    traffic.goes_on(50).await;
    let answered = traffic.end().await;
    nothing_failed(&way, answered).await;
}
