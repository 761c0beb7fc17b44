//! What hostile, broken and unlucky peers do to a gate, and what the process around it goes through meanwhile: nobody gets in who may not,
//! nobody is kept out who may, and nothing grows without bound.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy knows tests by their attribute; the functions around them are tests too"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod forger;
mod handshake;
mod outbound;
mod process;
mod relay;
mod resumption;
mod saturation;

use std::net::SocketAddr;

use harness::{Gate, ORDERS, PATIENCE, WEB, World};
use svidgate::metrics::{OfListener, Outcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// What an inbound listener is to be like, apart from its identity `orders`.
struct Inbound<'a> {
    target: SocketAddr,
    peer: &'a str,
    more: &'a str,
    limits: &'a str,
}

impl<'a> Inbound<'a> {
    fn to(target: SocketAddr) -> Self {
        Self { target, peer: WEB, more: "", limits: "" }
    }

    fn with(self, more: &'a str) -> Self {
        Self { more, ..self }
    }

    fn limited(self, limits: &'a str) -> Self {
        Self { limits, ..self }
    }

    fn letting_in(self, peer: &'a str) -> Self {
        Self { peer, ..self }
    }

    fn toml(&self, world: &World) -> String {
        let Self { target, peer, more, limits } = self;
        let (target, peer) = (format!("\"{target}\""), format!("\"{peer}\""));
        harness::inbound_toml(&world.path("orders"), &target, &peer, more, limits)
    }

    async fn start(&self, world: &World) -> Gate {
        world.identity("orders", ORDERS);
        Gate::start(&self.toml(world)).await
    }
}

/// A service that the test plays itself.
async fn service() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection through the gate: its outer end and its inner one.
async fn pair(world: &World, gate: &Gate, service: &TcpListener) -> (TlsStream<TcpStream>, TcpStream) {
    let peer = world.peer(WEB);
    let (client, application) = soon(async { tokio::join!(peer.connect(gate.address(0)), service.accept()) }).await;
    (client.unwrap(), application.unwrap().0)
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it waits for ever")
}

/// How many connections of the listener `orders` ended so.
fn closed(gate: &Gate, outcome: Outcome) -> u64 {
    gate.handle.metrics().closed(&"orders".into(), outcome)
}

/// How many connections of the listener `orders` are open.
fn active(gate: &Gate) -> i64 {
    gate.handle.metrics().connections_active.get_or_create(&OfListener { listener: "orders".into() }).get()
}
