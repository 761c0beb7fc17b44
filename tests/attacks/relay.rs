//! Established connections whose ends break, stall, flood or lie: no end looks cleaner than it was, and nobody else pays for it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::ContentType;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::forger::Forger;
use crate::harness::{BATCH, Gate, ORDERS, WEB, World, echo_application, until};
use crate::{Inbound, active, closed, pair, service, soon};
use svidgate::app::Drained;
use svidgate::metrics::Outcome;

async fn gate(world: &World, limits: &str) -> (Gate, TcpListener) {
    let (service, target) = service().await;
    (Inbound::to(target).limited(limits).start(world).await, service)
}

fn reset(tcp: TcpStream) {
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
}

/// Reads to the end; whether that was a clean one.
async fn ends_cleanly(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    soon(stream.read_to_end(&mut Vec::new())).await.is_ok()
}

/// Writes until nothing more is taken; how much was.
async fn fill(stream: &mut (impl AsyncWriteExt + Unpin)) -> usize {
    let mut written = 0;
    while let Ok(result) = timeout(Duration::from_millis(300), stream.write(&[7; 65_536])).await {
        written += result.unwrap();
    }
    written
}

#[tokio::test]
async fn a_reset_of_the_client_is_no_clean_end_for_an_application_with_unread_bytes() {
    let world = World::new();
    let (gate, service) = gate(&world, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(&[7; 100_000]).await.unwrap();
    application.write_all(b"unread").await.unwrap();
    soon(application.read_exact(&mut [0; 10])).await.unwrap();
    reset(client.into_inner().0);
    assert!(!ends_cleanly(&mut application).await);
    until("it is counted", || closed(&gate, Outcome::Broken) == 1).await;
}

#[tokio::test]
async fn a_fatal_alert_after_the_last_flight_is_passed_on_as_a_reset() {
    let world = World::new();
    let (gate, service) = gate(&world, "").await;
    let (client, mut application) = pair(&world, &gate, &service).await;
    let mut forger = Forger::of(client);
    forger.send(ContentType::ApplicationData, b"half a mess").await.unwrap();
    soon(application.read_exact(&mut [0; 11])).await.unwrap();
    forger.send(ContentType::Alert, &[2, 48]).await.unwrap();
    assert!(!ends_cleanly(&mut application).await);
    until("it is counted", || closed(&gate, Outcome::RefusedByPeer) == 1).await;
}

#[tokio::test]
async fn an_answer_given_before_the_question_was_read_arrives() {
    let world = World::new();
    let (gate, service) = gate(&world, "").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    client.write_all(&[7; 100_000]).await.unwrap();
    application.write_all(b"too large").await.unwrap();
    until("the question has arrived", || !matches!(application.try_read(&mut [0; 1]), Ok(0) | Err(_))).await;
    drop(application); // with unread bytes: a reset
    let mut answer = [0; 9];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"too large");
    until("it is over", || active(&gate) == 0).await;
}

#[tokio::test]
async fn a_target_that_resets_after_it_accepted_is_no_clean_end() {
    let world = World::new();
    let (gate, service) = gate(&world, "").await;
    let (mut client, application) = pair(&world, &gate, &service).await;
    reset(application);
    assert!(!ends_cleanly(&mut client).await);
    // It may come so soon that the connection never was one.
    until("it is counted", || closed(&gate, Outcome::Broken) + closed(&gate, Outcome::Unreachable) == 1).await;
}

/// A listener that lets nobody finish connecting: its queue is full and it accepts none.
async fn black_hole() -> (Socket, SocketAddr, Vec<TcpStream>) {
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    (hole, address, queued)
}

#[tokio::test]
async fn a_target_that_hangs_in_connect_is_given_up_within_the_patience_and_the_next_one_tried() {
    let world = World::new();
    let (_hole, target, _queued) = black_hole().await;
    let gate = Inbound::to(target).limited("connect_timeout = \"300ms\"").start(&world).await;
    let mut client = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    assert!(!ends_cleanly(&mut client).await);
    until("it is counted", || closed(&gate, Outcome::Unreachable) == 1).await;

    let alive = echo_application().await;
    let inbound = Inbound::to(target).limited("connect_timeout = \"1s\"");
    let toml = inbound.toml(&world).replace(&format!("\"{target}\""), &format!("[\"{target}\", \"{alive}\"]"));
    let gate = Gate::start(&toml).await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"next").await.unwrap(), b"next");
}

#[tokio::test]
async fn a_name_that_is_gone_is_an_unreachable_target_and_the_next_one_is_tried() {
    let world = World::new();
    let alive = echo_application().await;
    let inbound = Inbound::to(alive).with("allow_plaintext_network = true").limited("connect_timeout = \"2s\"");
    world.identity("orders", ORDERS);
    let gone = "\"gone.invalid:80\"";
    let gate = Gate::start(&inbound.toml(&world).replace(&format!("\"{alive}\""), gone)).await;
    let mut client = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    assert!(!ends_cleanly(&mut client).await);
    until("it is counted", || closed(&gate, Outcome::Unreachable) == 1).await;
    gate.apply(&inbound.toml(&world).replace(&format!("\"{alive}\""), &format!("[{gone}, \"{alive}\"]"))).await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"next").await.unwrap(), b"next");
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_a_bounded_amount_and_its_end_is_not_a_clean_one() {
    let world = World::new();
    let (gate, service) = gate(&world, "idle_timeout = \"1s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    assert!(fill(&mut client).await < 64 << 20);
    until("it is counted", || closed(&gate, Outcome::Idle) == 1).await;
    assert!(!ends_cleanly(&mut application).await, "what it missed looks like the end");

    let (mut client, mut application) = pair(&world, &gate, &service).await;
    assert!(fill(&mut application).await < 64 << 20);
    until("it is counted", || closed(&gate, Outcome::Idle) == 2).await;
    assert!(!ends_cleanly(&mut client).await, "what it missed looks like the end");
}

#[tokio::test]
async fn a_reader_that_pauses_for_longer_than_probes_go_unanswered_misses_nothing() {
    let world = World::new();
    let (gate, service) = gate(&world, "keepalive = \"1s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    let written = fill(&mut client).await;
    // A peer that was gone would be given up after one second and three probes.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let mut received = vec![0; written];
    let (flushed, read) = soon(async { tokio::join!(client.flush(), application.read_exact(&mut received)) }).await;
    flushed.unwrap();
    read.unwrap();
    assert_eq!(active(&gate), 1);
}

#[tokio::test]
async fn a_trickle_keeps_a_connection_and_records_without_bytes_do_not() {
    let world = World::new();
    let (gate, service) = gate(&world, "idle_timeout = \"2s\"").await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    for _ in 0..25 {
        client.write_all(&[7]).await.unwrap();
        soon(application.read_exact(&mut [0; 1])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut forger = Forger::of(client);
    let empty = async {
        while forger.send(ContentType::ApplicationData, b"").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon(empty).await;
    until("it is over", || active(&gate) == 0).await;
}

#[tokio::test]
async fn a_flood_of_empty_records_hurts_nobody_else() {
    let world = World::new();
    let gate = Inbound::to(echo_application().await).start(&world).await;
    let mut forger = Forger::of(world.peer(WEB).connect(gate.address(0)).await.unwrap());
    // Cut or carried, both are good.
    let _ = forger.flood(ContentType::ApplicationData, b"", 100_000).await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"alive").await.unwrap(), b"alive");
    drop(forger);
    until("it is over", || active(&gate) == 0).await;
}

#[tokio::test]
async fn a_flood_of_key_updates_hurts_nobody_else() {
    let world = World::new();
    let gate = Inbound::to(echo_application().await).start(&world).await;
    let mut client = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let flood = async {
        for _ in 0..20_000 {
            client.get_mut().1.refresh_traffic_keys().map_err(io::Error::other)?;
            client.flush().await?;
        }
        io::Result::Ok(())
    };
    let survived = soon(flood).await.is_ok();
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"alive").await.unwrap(), b"alive");
    if survived {
        client.write_all(b"still").await.unwrap();
        soon(client.read_exact(&mut [0; 5])).await.unwrap();
    }
}

#[tokio::test]
async fn handshake_messages_that_only_a_server_may_send_end_the_connection() {
    let world = World::new();
    let (gate, service) = gate(&world, "").await;
    let ticket = [&[4, 0, 0, 22, 0, 0, 14, 16, 0, 0, 0, 0, 1, 0, 0, 8][..], &[7; 8], &[0, 0]].concat();
    let certificate_request = [13, 0, 0, 11, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3].to_vec();
    let certificate = [11, 0, 0, 4, 0, 0, 0, 0].to_vec();
    let finished = [&[20, 0, 0, 32][..], &[7; 32]].concat();
    let hello_retry = [2, 0, 0, 0].to_vec();
    for message in [ticket, certificate_request, certificate, finished, hello_retry] {
        let (client, mut application) = pair(&world, &gate, &service).await;
        let mut forger = Forger::of(client);
        forger.send(ContentType::Handshake, &message).await.unwrap();
        assert!(!ends_cleanly(&mut application).await, "{message:?}");
        forger.until_ended().await;
    }
    until("they are counted", || closed(&gate, Outcome::Broken) == 5).await;
}

#[tokio::test]
async fn no_handshake_is_made_a_second_time_on_one_connection() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = Inbound::to(target).with("min_tls = \"1.2\"").start(&world).await;
    let peer = world.peer(WEB).speaking(&rustls::version::TLS12);
    let (client, application) = soon(async { tokio::join!(peer.connect(gate.address(0)), service.accept()) }).await;
    let (mut forger, mut application) = (Forger::of(client.unwrap()), application.unwrap().0);
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    let hello = [&[1, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    // The first is answered with the warning no_renegotiation; whoever insists is cut off.
    forger.send(ContentType::Handshake, &hello).await.unwrap();
    forger.send(ContentType::ApplicationData, b"as before").await.unwrap();
    soon(application.read_exact(&mut [0; 9])).await.unwrap();
    let _ = forger.flood(ContentType::Handshake, &hello, 1000).await;
    assert!(!ends_cleanly(&mut application).await);
    until("it is counted", || closed(&gate, Outcome::Broken) == 1).await;
}

#[tokio::test]
async fn a_refusal_that_is_taken_back_within_the_grace_ends_nobody() {
    let world = World::new();
    let (service, target) = service().await;
    let inbound = || Inbound::to(target).limited("close_grace = \"1s\"");
    let gate = inbound().start(&world).await;
    let (mut client, mut application) = pair(&world, &gate, &service).await;
    gate.apply(&inbound().letting_in(BATCH).toml(&world)).await;
    gate.apply(&inbound().toml(&world)).await;
    // A second connection, refused for good, shows when the grace is over.
    let (_other, mut other_application) = pair(&world, &gate, &service).await;
    gate.apply(&inbound().letting_in(BATCH).toml(&world)).await;
    gate.apply(&inbound().toml(&world)).await;
    assert!(timeout(Duration::from_millis(1500), other_application.read(&mut [0; 1])).await.is_err());
    client.write_all(b"still here").await.unwrap();
    soon(application.read_exact(&mut [0; 10])).await.unwrap();
    assert_eq!(closed(&gate, Outcome::Revoked), 0);
}

#[tokio::test]
async fn no_reload_makes_more_room_than_the_limit_says() {
    let world = World::new();
    let (service, target) = service().await;
    let limited = |count: usize| format!("max_connections = {count}");
    let apply = async |gate: &Gate, count: usize| {
        let limits = limited(count);
        // Another rule each time, or nothing would change.
        gate.apply(&Inbound::to(target).limited(&limits).with("on_expiry = \"keep\"").toml(&world)).await;
        gate.apply(&Inbound::to(target).limited(&limits).toml(&world)).await;
    };
    let gate = Inbound::to(target).limited(&limited(2)).start(&world).await;
    let first = pair(&world, &gate, &service).await;
    let second = pair(&world, &gate, &service).await;
    apply(&gate, 2).await;
    let address = gate.address(0);
    let waiting = |peer: crate::harness::Peer| tokio::spawn(async move { peer.connect(address).await });
    let third = waiting(world.peer(WEB));
    assert!(timeout(Duration::from_millis(300), service.accept()).await.is_err(), "a third came in");
    apply(&gate, 1).await;
    drop(first);
    assert!(timeout(Duration::from_millis(300), service.accept()).await.is_err(), "a second came in");
    drop(second);
    let third = (soon(third).await.unwrap().unwrap(), soon(service.accept()).await.unwrap().0);
    let fourth = waiting(world.peer(WEB));
    assert!(timeout(Duration::from_millis(300), service.accept()).await.is_err(), "a second came in");
    apply(&gate, 2).await;
    let fourth = (soon(fourth).await.unwrap().unwrap(), soon(service.accept()).await.unwrap().0);
    drop((third, fourth));
    assert_eq!(gate.stop().await, Drained::Clean);
}

#[tokio::test]
async fn a_unix_socket_leaves_a_file_alone_that_someone_else_has_put_in_its_place() {
    let world = World::new();
    let door = world.path("door.sock");
    let toml = format!(
        "[identity]\ndir = \"{}\"\n[[outbound]]\nlisten = \"unix:{}\"\ntarget = \"127.0.0.1:1\"\nexpect = [\"{ORDERS}\"]\n",
        world.identity("web", WEB).display(),
        door.display()
    );
    let gate = Gate::start(&toml).await;
    std::fs::remove_file(&door).unwrap();
    let successor = std::os::unix::net::UnixListener::bind(&door).unwrap();
    assert_eq!(gate.stop().await, Drained::Clean);
    std::os::unix::net::UnixStream::connect(&door).unwrap();
    drop(successor);
    // Nobody listens on that one: it is stale, and taken over.
    let gate = Gate::start(&toml).await;
    std::os::unix::net::UnixStream::connect(&door).unwrap();
    gate.stop().await;
    assert!(!door.exists());
}
