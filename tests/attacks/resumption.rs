//! No session is ever resumed and no early data taken, by us or from us: what let a peer in once says nothing about the next time.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::harness::{self, BATCH, Gate, ORDERS, Peer, WEB, World, authority, echo_application, id, until};
use crate::{Inbound, soon};
use svidgate::mint::{Issue, bundle_map};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// Connects, says something and hears it, so that every ticket that comes has come; leaves as a good peer does.
async fn is_let_in(peer: &Peer, gate: &Gate) {
    let mut stream = peer.connect(gate.address(0)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    soon(stream.read_exact(&mut [0; 5])).await.unwrap();
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    stream.shutdown().await.unwrap();
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test]
async fn a_peer_whose_rule_was_removed_does_not_come_back_by_its_session() {
    let world = World::new();
    let target = echo_application().await;
    for version in VERSIONS {
        let gate = Inbound::to(target).with("min_tls = \"1.2\"").start(&world).await;
        let peer = world.peer(WEB).speaking(version);
        is_let_in(&peer, &gate).await;
        is_let_in(&peer, &gate).await;
        gate.apply(&Inbound::to(target).with("min_tls = \"1.2\"").letting_in(BATCH).toml(&world)).await;
        assert_eq!(peer.refusal(gate.address(0)).await, "access_denied", "{version:?}");
    }
}

#[tokio::test]
async fn a_peer_whose_root_was_removed_does_not_come_back_by_its_session() {
    let caller = "spiffe://partner.example/caller";
    for version in VERSIONS {
        let (world, partner) = (World::new(), authority("partner.example"));
        let inbound = Inbound::to(echo_application().await).with("min_tls = \"1.2\"").letting_in(caller);
        let gate = inbound.start(&world).await;
        let peer = Peer::issued_by(&partner, caller).speaking(version);
        let issued = world.prod.issue(&id(ORDERS), harness::HOUR).unwrap();
        let trusts = |count: usize| {
            let current = gate.handle.credentials().current().unwrap();
            current.bundles.iter().count() == count
        };
        world.write_identity("orders", &issued, &bundle_map(&[&world.prod, &partner]));
        until("the partner is trusted", || trusts(2)).await;
        gate.handle.ready().await;
        is_let_in(&peer, &gate).await;
        world.write_identity("orders", &issued, &bundle_map(&[&world.prod]));
        until("the partner is not trusted", || trusts(1)).await;
        gate.handle.ready().await;
        assert_eq!(peer.refusal(gate.address(0)).await, "unknown_ca", "{version:?}");
    }
}

#[tokio::test]
async fn a_peer_whose_certificate_has_expired_does_not_come_back_by_its_session() {
    let world = World::new();
    let gate = Inbound::to(echo_application().await).with("min_tls = \"1.2\"").start(&world).await;
    let brief = Peer::holding(&world.prod.issue_as(&id(WEB), Issue::lasting(Duration::from_secs(4))).unwrap());
    let peers = VERSIONS.map(|version| brief.clone().speaking(version));
    for peer in &peers {
        is_let_in(peer, &gate).await;
    }
    for peer in &peers {
        let expired = async {
            while peer.ask(gate.address(0), b"hello").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        soon(expired).await;
        assert_eq!(peer.refusal(gate.address(0)).await, "certificate_expired", "{:?}", peer.versions);
    }
}

#[tokio::test]
async fn a_ticket_of_another_server_and_early_data_get_nobody_in_and_nothing_through() {
    let world = World::new();
    let gate = Inbound::to(echo_application().await).start(&world).await;
    // A server of the same name as the gate, to this client, that hands out tickets for early data.
    let mut server = world.peer(ORDERS).server_config();
    server.max_early_data_size = 16_384;
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        tls.write_all(b"hello").await.unwrap();
        tls.shutdown().await.unwrap();
    });
    let mut config = world.peer(WEB).config();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let connector = TlsConnector::from(config.clone());
    let name = || rustls::pki_types::ServerName::try_from("gate.example").unwrap();
    let mut stream = connector.connect(name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
    serving.await.unwrap();

    let address = gate.address(0);
    let asked = tokio::task::spawn_blocking(move || {
        let mut connection = rustls::ClientConnection::new(config, name()).unwrap();
        connection.early_data().expect("there is no ticket").write_all(b"early").unwrap();
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
        stream.write_all(b"later").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        (answer, connection.is_early_data_accepted(), connection.handshake_kind())
    });
    let (answer, accepted, kind) = soon(asked).await.unwrap();
    assert_eq!(&answer, b"later", "early data came through");
    assert!(!accepted);
    assert_eq!(kind, Some(HandshakeKind::Full));
}

fn outbound_toml(world: &World, target: std::net::SocketAddr) -> String {
    let more = "server_name = \"orders.example\"\nmin_tls = \"1.2\"";
    harness::outbound_toml(&world.identity("web", WEB), &target.to_string(), more)
}

#[tokio::test]
async fn the_outbound_side_makes_a_full_handshake_each_time_whatever_the_server_hands_out() {
    let world = World::new();
    for version in VERSIONS {
        let mut config = world.peer(ORDERS).speaking(version).server_config();
        config.max_early_data_size = 16_384;
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Gate::start(&outbound_toml(&world, listener.local_addr().unwrap())).await;
        for _ in 0..4 {
            let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
            let (tcp, _) = soon(listener.accept()).await.unwrap();
            let mut tls = soon(acceptor.accept(tcp)).await.unwrap();
            assert_eq!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
            client.write_all(b"hello").await.unwrap();
            soon(tls.read_exact(&mut [0; 5])).await.unwrap();
            tls.write_all(b"hello").await.unwrap();
            soon(client.read_exact(&mut [0; 5])).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_outbound_side_offers_no_ticket_and_no_early_data() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Gate::start(&outbound_toml(&world, listener.local_addr().unwrap())).await;
    let _client = TcpStream::connect(gate.address(0)).await.unwrap();
    let (mut tcp, _) = soon(listener.accept()).await.unwrap();
    let mut header = [0; 5];
    soon(tcp.read_exact(&mut header)).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    soon(tcp.read_exact(&mut hello)).await.unwrap();
    let offered = extensions(&hello);
    assert!(offered.contains(&0) && offered.contains(&51), "{offered:?}");
    let (session_ticket, pre_shared_key, early_data) = (35, 41, 42);
    assert!(!offered.iter().any(|kind| [session_ticket, pre_shared_key, early_data].contains(kind)), "{offered:?}");
}

/// The extension types of a ClientHello.
fn extensions(hello: &[u8]) -> Vec<u16> {
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    let session_id = 4 + 2 + 32;
    let suites = session_id + 1 + usize::from(hello[session_id]);
    let compressions = suites + 2 + usize::from(number(suites));
    let mut at = compressions + 1 + usize::from(hello[compressions]) + 2;
    let mut kinds = Vec::new();
    while at < hello.len() {
        kinds.push(number(at));
        at += 4 + usize::from(number(at + 2));
    }
    kinds
}
