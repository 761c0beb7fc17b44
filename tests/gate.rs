//! The gate in both directions: who is let in, who is refused and with which alert, and what passes through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod harness;

use std::time::Duration;

use harness::{BATCH, Gate, ORDERS, PATIENCE, Peer, WEB, World, authority, echo_application, id, outbound_toml, until};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use svidgate::metrics::Outcome;
use svidgate::mint::{Issue, Validity, bundle_map};
use svidgate::spiffe::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// An inbound listener before an echoing application that lets in the web frontend.
async fn inbound(world: &World, more: &str) -> Gate {
    let target = echo_application().await;
    let identity = world.identity("orders", ORDERS);
    Gate::start(&inbound_toml(&identity, &target.to_string(), more)).await
}

fn inbound_toml(identity: &std::path::Path, target: &str, more: &str) -> String {
    harness::inbound_toml(identity, &format!("\"{target}\""), &format!("\"{WEB}\""), more, "")
}

#[tokio::test]
async fn a_peer_that_a_rule_allows_reaches_the_application() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_peer_that_no_rule_allows_gets_access_denied() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    assert_eq!(world.peer(BATCH).refusal(gate.address(0)).await, "access_denied");
    let handle = &gate.handle;
    until("the refusal is counted", || handle.metrics().closed(&"orders".into(), Outcome::Refused) == 1).await;
}

#[tokio::test]
async fn a_peer_of_another_trust_domain_gets_unknown_ca() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let stranger = Peer::issued_by(&authority("other.example"), "spiffe://other.example/ns/web/sa/frontend");
    assert_eq!(stranger.refusal(gate.address(0)).await, "unknown_ca");
}

#[tokio::test]
async fn a_peer_signed_by_an_unknown_root_of_the_same_name_gets_unknown_ca() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let impostor = Peer::issued_by(&authority("prod.example"), WEB);
    assert_eq!(impostor.refusal(gate.address(0)).await, "unknown_ca");
}

#[tokio::test]
async fn an_expired_peer_gets_certificate_expired() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let now = UnixTime::now().as_secs();
    let past = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(now - seconds));
    let mut issue = Issue::lasting(Duration::from_secs(1));
    issue.validity = Validity { not_before: past(30), not_after: past(10) };
    let peer = Peer::holding(&world.prod.issue_as(&id(WEB), issue).unwrap());
    assert_eq!(peer.refusal(gate.address(0)).await, "certificate_expired");
}

#[tokio::test]
async fn a_leaf_that_is_no_svid_gets_bad_certificate() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["web.example".into()]).unwrap();
    let leaf = world.prod.sign(&params, &key).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let peer = Peer::presenting(vec![leaf, world.prod.subordinate_der().clone()], &key);
    assert_eq!(peer.refusal(gate.address(0)).await, "bad_certificate");
}

#[tokio::test]
async fn a_peer_without_a_certificate_gets_certificate_required() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    assert_eq!(Peer::anonymous().refusal(gate.address(0)).await, "certificate_required");
}

#[tokio::test]
async fn a_peer_with_too_many_bytes_of_certificates_gets_bad_certificate() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let issued = world.prod.issue(&id(WEB), Duration::from_secs(600)).unwrap();
    let mut chain = rustls::pki_types::CertificateDer::pem_slice_iter(issued.certificates.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    while chain.iter().map(|der| der.len()).sum::<usize>() < 40 * 1024 {
        chain.push(world.prod.subordinate_der().clone());
    }
    let key = PrivateKeyDer::from_pem_slice(issued.private_key.as_bytes()).unwrap();
    assert_eq!(Peer::presenting(chain, &key).refusal(gate.address(0)).await, "bad_certificate");
}

#[tokio::test]
async fn a_deny_rule_wins_over_an_allow_rule() {
    let world = World::new();
    let target = echo_application().await;
    let identity = world.identity("orders", ORDERS);
    let toml = inbound_toml(&identity, &target.to_string(), "")
        + &format!("[[inbound.rule]]\nname = \"not-web\"\naction = \"deny\"\npeers = [\"{WEB}\"]\n");
    let gate = Gate::start(&toml).await;
    assert_eq!(world.peer(WEB).refusal(gate.address(0)).await, "access_denied");
}

#[tokio::test]
async fn a_shadow_rule_is_counted_and_changes_nothing() {
    let world = World::new();
    let target = echo_application().await;
    let identity = world.identity("orders", ORDERS);
    let toml = inbound_toml(&identity, &target.to_string(), "")
        + &format!("[[inbound.rule]]\nname = \"soon\"\naction = \"deny\"\npeers = [\"{WEB}\"]\nenforce = false\n");
    let gate = Gate::start(&toml).await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"still in").await.unwrap(), b"still in");
    let label = svidgate::metrics::Shadowed { listener: "orders".into(), decision: "deny" };
    assert_eq!(gate.handle.metrics().shadow_decisions.get_or_create(&label).get(), 1);
}

#[tokio::test]
async fn tls_1_2_is_refused_unless_configured() {
    let world = World::new();
    let mut old = world.peer(WEB);
    old.versions = vec![&rustls::version::TLS12];
    let strict = inbound(&world, "").await;
    assert_eq!(old.refusal(strict.address(0)).await, "protocol_version");
    let lenient = inbound(&world, "min_tls = \"1.2\"").await;
    assert_eq!(old.ask(lenient.address(0), b"hello").await.unwrap(), b"hello");
    assert_eq!(world.peer(BATCH).refusal(lenient.address(0)).await, "access_denied");
}

#[tokio::test]
async fn the_post_quantum_group_is_preferred() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let stream = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn no_peer_comes_back_by_a_ticket_in_either_version() {
    let world = World::new();
    let gate = inbound(&world, "min_tls = \"1.2\"").await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut peer = world.peer(WEB);
        peer.versions = vec![version];
        for _ in 0..3 {
            let mut stream = peer.connect(gate.address(0)).await.unwrap();
            // An answer read to the end of a round trip: a ticket would have come before it.
            stream.write_all(b"hello").await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full), "{version:?}");
            assert_eq!(connection.tls13_tickets_received(), 0);
        }
    }
}

#[tokio::test]
async fn alpn_is_negotiated_for_a_byte_relay_too() {
    let world = World::new();
    let gate = inbound(&world, "alpn = [\"h2\", \"http/1.1\"]").await;
    let mut peer = world.peer(WEB);
    peer.alpn = vec![b"h2".to_vec()];
    let stream = peer.connect(gate.address(0)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    peer.alpn = vec![b"smtp".to_vec()];
    assert_eq!(peer.refusal(gate.address(0)).await, "no_application_protocol");
}

#[tokio::test]
async fn the_outbound_side_reaches_a_server_with_the_expected_id() {
    let world = World::new();
    let server = world.peer(ORDERS).echo_server().await;
    let gate = Gate::start(&outbound_toml(&world.identity("web", WEB), &server.to_string(), "")).await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn the_outbound_side_refuses_a_server_with_another_id_and_resets_its_client() {
    let world = World::new();
    let server = world.peer(BATCH).echo_server().await;
    let gate = Gate::start(&outbound_toml(&world.identity("web", WEB), &server.to_string(), "")).await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let handle = &gate.handle;
    until("the refusal is counted", || handle.metrics().closed(&"to-orders".into(), Outcome::Refused) == 1).await;
}

#[tokio::test]
async fn the_outbound_side_refuses_a_server_of_an_unknown_root() {
    let world = World::new();
    let server = Peer::issued_by(&authority("prod.example"), ORDERS).echo_server().await;
    let gate = Gate::start(&outbound_toml(&world.identity("web", WEB), &server.to_string(), "")).await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    assert!(client.read(&mut [0; 1]).await.is_err());
    let handle = &gate.handle;
    until("the refusal is counted", || handle.metrics().closed(&"to-orders".into(), Outcome::Refused) == 1).await;
}

#[tokio::test]
async fn outbound_to_inbound_end_to_end_over_unix_sockets() {
    let world = World::new();
    let application = world.path("app.sock");
    let listener = tokio::net::UnixListener::bind(&application).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        }
    });
    let target = format!("unix:{}", application.display());
    let inbound = Gate::start(&inbound_toml(&world.identity("orders", ORDERS), &target, "")).await;
    let door = world.path("door.sock");
    let toml = outbound_toml(&world.identity("web", WEB), &inbound.address(0).to_string(), "");
    let outbound = Gate::start(&toml.replace("127.0.0.1:0", &format!("unix:{}", door.display()))).await;
    let mut client = UnixStream::connect(&door).await.unwrap();
    client.write_all(b"through both").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"through both");
    outbound.stop().await;
    assert!(!door.exists(), "the socket's file stays behind");
}

#[tokio::test]
async fn without_credentials_nobody_is_served_and_nobody_waits() {
    let world = World::new();
    let target = echo_application().await;
    let gate = Gate::start_waiting(&inbound_toml(&world.path("nowhere"), &target.to_string(), ""));
    assert!(world.peer(WEB).connect(gate.address(0)).await.is_err());
    let handle = &gate.handle;
    until("it is counted", || handle.metrics().closed(&"orders".into(), Outcome::NoIdentity) == 1).await;
    // They come, and it serves without a restart.
    world.identity("nowhere", ORDERS);
    tokio::time::timeout(PATIENCE, gate.handle.ready()).await.unwrap();
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_expired_own_certificate_is_never_presented() {
    let world = World::new();
    let target = echo_application().await;
    let issued = world.prod.issue(&id(ORDERS), Duration::from_secs(2)).unwrap();
    let identity = world.write_identity("orders", &issued, &bundle_map(&[&world.prod]));
    let gate = Gate::start(&inbound_toml(&identity, &target.to_string(), "")).await;
    let handle = gate.handle.clone();
    until("the own certificate expires", || handle.credentials().usable(UnixTime::now()).is_err()).await;
    assert!(world.peer(WEB).connect(gate.address(0)).await.is_err());
    until("it is counted", || handle.metrics().closed(&"orders".into(), Outcome::NoIdentity) == 1).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_and_leaves_is_a_probe_and_no_failure() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    drop(TcpStream::connect(gate.address(0)).await.unwrap());
    let metrics = gate.handle.metrics();
    until("the probe is counted", || metrics.closed(&"orders".into(), Outcome::Probe) == 1).await;
    assert_eq!(metrics.closed(&"orders".into(), Outcome::HandshakeFailed), 0);
}

#[tokio::test]
async fn plaintext_on_the_tls_port_is_named_as_such() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    let mut client = TcpStream::connect(gate.address(0)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let metrics = gate.handle.metrics();
    until("it is counted", || metrics.closed(&"orders".into(), Outcome::HandshakeFailed) == 1).await;
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let world = World::new();
    let target = echo_application().await;
    let toml =
        inbound_toml(&world.identity("orders", ORDERS), &target.to_string(), "") + "handshake_timeout = \"100ms\"\n";
    let gate = Gate::start(&toml).await;
    let mut silent = TcpStream::connect(gate.address(0)).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await.expect("it waits for ever");
    assert!(matches!(ended, Ok(0) | Err(_)));
    let metrics = gate.handle.metrics();
    until("it is counted", || metrics.closed(&"orders".into(), Outcome::HandshakeTimeout) == 1).await;
}

#[tokio::test]
async fn ten_thousand_half_open_handshakes_do_not_keep_a_good_peer_out() {
    let world = World::new();
    let gate = inbound(&world, "").await;
    // Descriptors of both ends count against this process: as many as it may have, ten thousand at most.
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = usize::try_from(hard.saturating_sub(500) / 2).unwrap().min(10_000);
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(gate.address(0)).await.unwrap());
    }
    let answer = tokio::time::timeout(PATIENCE, world.peer(WEB).ask(gate.address(0), b"hello")).await.unwrap();
    assert_eq!(answer.unwrap(), b"hello");
}
