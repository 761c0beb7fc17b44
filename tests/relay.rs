//! What happens to bytes, and to ends: half-closes, resets, truncation, silence, floods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod harness;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use harness::{Gate, ORDERS, PATIENCE, WEB, World, echo_application, inbound_toml, until};
use svidgate::app::Drained;
use svidgate::metrics::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// An inbound listener before `target`, with limits.
async fn inbound(world: &World, target: &str, limits: &str) -> Gate {
    let identity = world.identity("orders", ORDERS);
    Gate::start(&inbound_toml(&identity, target, &format!("\"{WEB}\""), "", limits)).await
}

/// A service that the test plays itself: its address, and the connections that arrive.
async fn service() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("\"{}\"", listener.local_addr().unwrap());
    (listener, address)
}

async fn pair(world: &World, gate: &Gate, service: &TcpListener) -> (TlsStream<TcpStream>, TcpStream) {
    let peer = world.peer(WEB);
    let (client, application) = tokio::join!(peer.connect(gate.address(0)), service.accept());
    (client.unwrap(), application.unwrap().0)
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it waits for ever")
}

fn closed(gate: &Gate, outcome: Outcome) -> u64 {
    gate.handle.metrics().closed(&"orders".into(), outcome)
}

#[tokio::test]
async fn a_client_that_ends_its_half_still_gets_the_answer() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    soon(application.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    application.write_all(b"answer").await.unwrap();
    drop(application);
    let mut answer = Vec::new();
    soon(client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, b"answer");
    until("it is a clean end", || closed(&gate, Outcome::Completed) == 1).await;
}

#[tokio::test]
async fn an_application_that_ends_its_half_still_gets_what_follows() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    application.write_all(b"greeting").await.unwrap();
    application.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    soon(client.read_to_end(&mut greeting)).await.unwrap();
    assert_eq!(greeting, b"greeting");
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut words = Vec::new();
    soon(application.read_to_end(&mut words)).await.unwrap();
    assert_eq!(words, b"last words");
}

#[tokio::test]
async fn a_tls_stream_without_close_notify_is_passed_on_as_a_reset() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(b"half a mess").await.unwrap();
    let mut words = [0; 11];
    soon(application.read_exact(&mut words)).await.unwrap();
    // The TCP end without the TLS one, as an attacker on the path would make it.
    client.get_mut().0.shutdown().await.unwrap();
    let error = soon(application.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    until("it is told apart", || closed(&gate, Outcome::Truncated) == 1).await;
}

#[tokio::test]
async fn a_reset_of_the_application_is_no_clean_end_for_the_client() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    application.write_all(b"half").await.unwrap();
    soon(client.read_exact(&mut [0; 4])).await.unwrap();
    socket2::SockRef::from(&application).set_linger(Some(Duration::ZERO)).unwrap();
    drop(application);
    soon(client.read(&mut [0; 1])).await.unwrap_err();
    until("it is counted", || closed(&gate, Outcome::Broken) == 1).await;
}

#[tokio::test]
async fn a_target_that_refuses_is_no_clean_end_for_the_client() {
    let world = World::new();
    let (listener, target) = service().await;
    drop(listener);
    let gate = inbound(&world, &target, "").await;
    let mut client = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    soon(client.read(&mut [0; 1])).await.unwrap_err();
    until("it is counted", || closed(&gate, Outcome::Unreachable) == 1).await;
}

#[tokio::test]
async fn a_target_that_refuses_is_passed_over_for_the_next() {
    let world = World::new();
    let (listener, dead) = service().await;
    drop(listener);
    let alive = echo_application().await;
    let gate = inbound(&world, &format!("[{dead}, \"{alive}\"]"), "").await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"anyone").await.unwrap(), b"anyone");
}

#[tokio::test]
async fn a_target_by_the_name_localhost_is_resolved() {
    let world = World::new();
    let application = echo_application().await;
    let gate = inbound(&world, &format!("\"localhost:{}\"", application.port()), "").await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"by name").await.unwrap(), b"by name");
}

#[tokio::test]
async fn many_megabytes_pass_unchanged_both_ways_at_once() {
    let world = World::new();
    let application = echo_application().await;
    let gate = inbound(&world, &format!("\"{application}\""), "").await;
    let client = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(client);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    soon(reader.read_to_end(&mut received)).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} bytes came back", received.len());
}

#[tokio::test]
async fn a_reader_that_stops_reading_stops_its_sender_and_nobody_else() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    // The application writes until nothing more goes: then the proxy holds a bounded amount, and the rest waits in the application.
    let block = vec![7; 65_536];
    let mut written = 0;
    while let Ok(result) = timeout(Duration::from_millis(300), application.write(&block)).await {
        written += result.unwrap();
        assert!(written < 100 << 20, "a stopped reader does not stop its sender");
    }
    let (mut other, mut other_application) = pair(&world, &gate, &service).await;
    other.write_all(b"alive").await.unwrap();
    soon(other_application.read_exact(&mut [0; 5])).await.unwrap();
    // And all of it arrives once it is read.
    drop(application);
    let mut received = Vec::new();
    soon(client.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received.len(), written);
}

#[tokio::test]
async fn a_silent_connection_ends_after_the_idle_timeout_with_a_clean_end() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "idle_timeout = \"1s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(b"word").await.unwrap();
    soon(application.read_exact(&mut [0; 4])).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(soon(application.read(&mut [0; 1])).await.unwrap(), 0);
    until("it is counted", || closed(&gate, Outcome::Idle) == 1).await;
}

#[tokio::test]
async fn a_half_closed_connection_without_bytes_ends_after_its_own_timeout() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "half_close_timeout = \"1s\"").await;
    let (mut client, application) = pair(&world, &gate, &service).await;
    client.shutdown().await.unwrap();
    soon(client.read(&mut [0; 1])).await.ok();
    until("it is counted", || closed(&gate, Outcome::Idle) == 1).await;
    drop(application);
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_open_and_the_next_waits_its_turn() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "max_connections = 1").await;
    let (mut first, _application) = pair(&world, &gate, &service).await;
    let address: SocketAddr = gate.address(0);
    let peer = world.peer(WEB);
    let second = tokio::spawn(async move { peer.connect(address).await });
    assert!(timeout(Duration::from_millis(200), service.accept()).await.is_err(), "the second came through");
    first.shutdown().await.unwrap();
    drop((first, _application));
    soon(service.accept()).await.unwrap();
    soon(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_lets_connections_finish() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    gate.handle.stop().await;
    let address = gate.address(0);
    until("the address is free", || std::net::TcpStream::connect(address).is_err()).await;
    client.write_all(b"still here").await.unwrap();
    soon(application.read_exact(&mut [0; 10])).await.unwrap();
    client.shutdown().await.unwrap();
    drop(application);
    assert_eq!(soon(gate.serving).await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn a_stop_cuts_what_is_open_at_the_end_of_the_drain_timeout() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "drain_timeout = \"200ms\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    gate.handle.stop().await;
    assert_eq!(soon(gate.serving).await.unwrap(), Drained::Forced(1));
    // Cut, and not ended as if all had been said.
    soon(client.read(&mut [0; 1])).await.unwrap_err();
    soon(application.read(&mut [0; 1])).await.unwrap_err();
}

#[tokio::test]
async fn a_second_stop_ends_at_once() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "drain_timeout = \"1h\"").await;
    let (_client, _application) = pair(&world, &gate, &service).await;
    gate.handle.stop().await;
    gate.handle.stop().await;
    assert_eq!(soon(gate.serving).await.unwrap(), Drained::Forced(1));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_handshake_that_never_comes() {
    let world = World::new();
    let (_service, target) = service().await;
    let gate = inbound(&world, &target, "drain_timeout = \"200ms\"").await;
    let silent = TcpStream::connect(gate.address(0)).await.unwrap();
    let active = svidgate::metrics::OfListener { listener: "orders".into() };
    let metrics = gate.handle.metrics().clone();
    until("it is accepted", || metrics.connections_active.get_or_create(&active).get() == 1).await;
    gate.handle.stop().await;
    assert_eq!(soon(gate.serving).await.unwrap(), Drained::Forced(1));
    drop(silent);
}

#[tokio::test]
async fn an_idle_end_with_bytes_in_flight_is_a_reset_and_no_clean_end() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "idle_timeout = \"1s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    let sending = tokio::spawn(async move {
        let sent = client.write_all(&vec![7; 64 << 20]).await;
        (client, sent)
    });
    // The application reads nothing: what fits into the buffers on the way waits there, and no byte moves.
    until("it is ended", || closed(&gate, Outcome::Idle) == 1).await;
    let mut received = Vec::new();
    let error = soon(application.read_to_end(&mut received)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "after {} bytes", received.len());
    soon(sending).await.unwrap().1.unwrap_err();
}

#[tokio::test]
async fn a_half_closed_connection_that_is_ended_for_its_silence_is_reset() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "half_close_timeout = \"1s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    application.write_all(b"half an ans").await.unwrap();
    soon(client.read_exact(&mut [0; 11])).await.unwrap();
    soon(client.read(&mut [0; 1])).await.unwrap_err();
}

#[tokio::test]
async fn a_client_of_a_gate_without_credentials_sees_a_reset() {
    let world = World::new();
    let gate =
        Gate::start_waiting(&inbound_toml(&world.path("nowhere"), "\"127.0.0.1:1\"", &format!("\"{WEB}\""), "", ""));
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
