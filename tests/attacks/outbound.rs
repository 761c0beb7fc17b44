//! The egress side before servers that are silent, something else, or do not want us: its application never takes that for an answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{BATCH, Gate, ORDERS, WEB, World, echo_application, until};
use crate::{Inbound, service, soon};
use svidgate::metrics::Outcome;

async fn outbound(world: &World, target: std::net::SocketAddr) -> Gate {
    let identity = world.identity("web", WEB);
    Gate::start(&format!(
        r#"
        [identity]
        dir = "{}"
        [[outbound]]
        name = "egress"
        listen = "127.0.0.1:0"
        target = "{target}"
        expect = ["{ORDERS}"]
        [limits]
        handshake_timeout = "300ms"
        "#,
        identity.display()
    ))
    .await
}

/// Says something through the gate; it must be cut, and end as `outcome`.
async fn is_cut(gate: &Gate, outcome: Outcome) {
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    // It may be cut before or after this is said.
    let _ = client.write_all(b"hello").await;
    soon(client.read_to_end(&mut Vec::new())).await.unwrap_err();
    let metrics = gate.handle.metrics();
    until("it is counted", || metrics.closed(&"egress".into(), outcome) == 1).await;
}

#[tokio::test]
async fn a_server_that_refuses_us_after_our_handshake_is_told_as_its_refusal() {
    let world = World::new();
    let inbound = Inbound::to(echo_application().await).letting_in(BATCH).start(&world).await;
    is_cut(&outbound(&world, inbound.address(0)).await, Outcome::RefusedByPeer).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_we_dial_costs_no_more_than_the_deadline() {
    let world = World::new();
    let (_listening, target) = service().await;
    let gate = outbound(&world, target).await;
    for _ in 0..50 {
        drop(TcpStream::connect(gate.address(0)).await.unwrap());
    }
    let metrics = gate.handle.metrics();
    until("all are over", || metrics.closed(&"egress".into(), Outcome::HandshakeTimeout) == 50).await;
}
