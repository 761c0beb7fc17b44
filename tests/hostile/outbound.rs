//! Servers that are not what they should be, met by the outbound side: its client sees a reset and never a clean end, and nothing lasts longer
//! than its deadline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use svidgate::metrics::Outcome;
use svidgate::mint::{Issue, Validity};
use svidgate::spiffe::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Gate, ORDERS, Peer, WEB, World, authority, id};
use crate::wire::{FATAL, record};
use crate::{LISTENER, Logged, ends, service, soon};

/// An outbound listener to `target` that expects orders.
pub(crate) async fn outbound(world: &World, target: &str, more: &str) -> Gate {
    outbound_within(world, target, more, "").await
}

async fn outbound_within(world: &World, target: &str, more: &str, limits: &str) -> Gate {
    Logged::begin();
    Gate::start(&format!(
        r#"
        [identity]
        dir = "{}"
        [[outbound]]
        name = "{LISTENER}"
        listen = "127.0.0.1:0"
        target = "{target}"
        expect = ["{ORDERS}"]
        {more}
        [limits]
        {limits}
        "#,
        world.identity("web", WEB).display()
    ))
    .await
}

/// Says something through an outbound listener and gives what comes back, up to as many bytes as were said.
pub(crate) async fn answer_through(gate: &Gate, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = TcpStream::connect(gate.address(0)).await?;
    client.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    soon(client.read_exact(&mut answer)).await?;
    Ok(answer)
}

/// The client of an outbound listener is reset, and that is counted.
async fn client_is_reset(gate: &Gate, outcome: Outcome) {
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    let error = soon(client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    ends(gate, outcome, 1).await;
}

#[tokio::test]
async fn servers_with_the_wrong_certificate_are_refused() {
    let world = World::new();
    let now = UnixTime::now().as_secs();
    let past = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(now - seconds));
    let mut expired = Issue::lasting(Duration::from_secs(1));
    expired.validity = Validity { not_before: past(30), not_after: past(10) };
    let wrong = [
        Peer::holding(&world.prod.issue_as(&id(ORDERS), expired).unwrap()),
        Peer::issued_by(&authority("other.example"), "spiffe://other.example/ns/shop/sa/orders"),
        Peer::issued_by(&authority("other.example"), ORDERS),
        world.peer(WEB),
    ];
    for server in wrong {
        let gate = outbound(&world, &server.echo_server().await.to_string(), "").await;
        client_is_reset(&gate, Outcome::Refused).await;
    }
}

#[tokio::test]
async fn a_server_without_any_certificate_fails_the_handshake() {
    let world = World::new();
    let gate = outbound(&world, &Peer::anonymous().echo_server().await.to_string(), "").await;
    client_is_reset(&gate, Outcome::RefusedByPeer).await;
}

/// A server that hands out tickets and tells how each handshake went.
async fn server_with_tickets(peer: Peer) -> (String, mpsc::UnboundedReceiver<HandshakeKind>) {
    let mut config = peer.server_config();
    config.send_tls13_tickets = 4;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = service().await;
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(tcp).await?;
                let _ = tell.send(tls.get_ref().1.handshake_kind().unwrap());
                let (mut reader, mut writer) = tokio::io::split(&mut tls);
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn tickets_of_a_server_are_never_used_in_either_version() {
    let world = World::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut peer = world.peer(ORDERS);
        peer.versions = vec![version];
        let (address, mut kinds) = server_with_tickets(peer).await;
        let gate = outbound(&world, &address, "min_tls = \"1.2\"").await;
        for _ in 0..5 {
            // The answer comes behind the tickets.
            assert_eq!(answer_through(&gate, b"hello").await.unwrap(), b"hello");
            assert_eq!(soon(kinds.recv()).await, Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

/// A server that does `act` with the first connection.
async fn server<F, W>(act: F) -> String
where
    F: FnOnce(TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let (listener, address) = service().await;
    tokio::spawn(async move { act(listener.accept().await.unwrap().0).await });
    address
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_no_server() {
    let world = World::new();
    for greeting in [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0; 2000], &[22; 2000]] {
        let address = server(async move |mut tcp| {
            let _ = tcp.write_all(greeting).await;
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        });
        client_is_reset(&outbound(&world, &address.await, "").await, Outcome::HandshakeFailed).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_in_the_handshake_meets_the_deadline() {
    let world = World::new();
    // One says nothing, one begins a record.
    for beginning in [&b""[..], &[22, 3, 3, 0x10, 0, 2, 0]] {
        let address = server(async move |mut tcp| {
            let _ = tcp.write_all(beginning).await;
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        });
        let gate = outbound_within(&world, &address.await, "", "handshake_timeout = \"200ms\"").await;
        client_is_reset(&gate, Outcome::HandshakeTimeout).await;
    }
}

#[tokio::test]
async fn a_server_that_leaves_or_resets_in_the_handshake_is_a_failed_handshake() {
    let world = World::new();
    let leaves = server(async |tcp| drop(tcp)).await;
    client_is_reset(&outbound(&world, &leaves, "").await, Outcome::HandshakeFailed).await;
    let resets = server(async |mut tcp| {
        let _ = tcp.read(&mut [0; 100]).await;
        crate::reset(tcp);
    });
    client_is_reset(&outbound(&world, &resets.await, "").await, Outcome::HandshakeFailed).await;
    let refuses = server(async |mut tcp| {
        let _ = tcp.read(&mut [0; 4096]).await;
        let _ = tcp.write_all(&record(21, [3, 3], &[FATAL, 112])).await;
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    client_is_reset(&outbound(&world, &refuses.await, "").await, Outcome::RefusedByPeer).await;
}

#[tokio::test]
async fn a_server_that_ends_without_close_notify_is_a_reset_for_the_application() {
    let world = World::new();
    let acceptor = TlsAcceptor::from(Arc::new(world.peer(ORDERS).server_config()));
    let address = server(async move |tcp| {
        let mut tls = acceptor.accept(tcp).await.unwrap();
        tls.write_all(b"half an ans").await.unwrap();
        tls.flush().await.unwrap();
        tls.get_mut().0.shutdown().await.unwrap();
        let _ = tls.read_to_end(&mut Vec::new()).await;
    });
    let gate = outbound(&world, &address.await, "").await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    soon(client.read_exact(&mut [0; 11])).await.unwrap();
    let error = soon(client.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    ends(&gate, Outcome::Truncated, 1).await;
}

#[tokio::test]
async fn a_server_of_tls_1_2_is_refused_unless_configured() {
    let world = World::new();
    let mut old = world.peer(ORDERS);
    old.versions = vec![&rustls::version::TLS12];
    let server = old.echo_server().await.to_string();
    client_is_reset(&outbound(&world, &server, "").await, Outcome::RefusedByPeer).await;
    let lenient = outbound(&world, &server, "min_tls = \"1.2\"").await;
    assert_eq!(answer_through(&lenient, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_target_that_swallows_packets_meets_the_connect_deadline() {
    let world = World::new();
    let (full, _held) = full_listener().await;
    let gate = outbound_within(&world, &full, "", "connect_timeout = \"200ms\"").await;
    client_is_reset(&gate, Outcome::Unreachable).await;
}

/// A listener whose queue is full, so that a further connect hangs; and what fills it.
pub(crate) async fn full_listener() -> (String, (TcpListener, Vec<TcpStream>)) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fill = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        fill.push(connected.unwrap());
        assert!(fill.len() < 100, "the queue never fills");
    }
    (address.to_string(), (listener, fill))
}
