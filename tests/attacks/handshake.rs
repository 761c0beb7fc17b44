//! Handshakes that never end, never begin, or are not what they seem: each ends with the right alert and outcome, and nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{BATCH, Gate, ORDERS, Peer, WEB, World, echo_application, until};
use crate::{Inbound, active, closed, soon};
use svidgate::metrics::Outcome;
use svidgate::mint::Validity;

async fn gate(world: &World) -> Gate {
    Inbound::to(echo_application().await).start(world).await
}

/// A ClientHello without anything to choose from but what is given; `TLS 1.3` where there are groups.
fn hello(version: u16, suites: &[u16], groups: &[u16]) -> Vec<u8> {
    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }
    fn list(values: &[u16]) -> Vec<u8> {
        sized(&values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>())
    }
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &sized(content)].concat();
    let shares: Vec<u8> =
        groups.iter().flat_map(|group| [&group.to_be_bytes()[..], &sized(&[4; 133])].concat()).collect();
    let mut extensions = extension(13, &list(&[0x0403, 0x0804]));
    if !groups.is_empty() {
        extensions.extend(extension(10, &list(groups)));
        extensions.extend(extension(43, &[2, 3, 4]));
        extensions.extend(extension(51, &sized(&shares)));
    }
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &list(suites), &[1, 0], &sized(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

/// Sends raw bytes and takes the answer until the end.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(tcp.read_to_end(&mut answer)).await;
    answer
}

fn is_alert(answer: &[u8], code: u8) -> bool {
    matches!(answer, [21, 3, _, 0, 2, 2, alert] if *alert == code)
}

#[tokio::test]
async fn a_hello_of_tls_1_0_gets_protocol_version() {
    let world = World::new();
    for lenient in ["", "min_tls = \"1.2\""] {
        let gate = Inbound::to(echo_application().await).with(lenient).start(&world).await;
        let answer = answer(gate.address(0), &hello(0x0301, &[0xc013, 0x002f], &[])).await;
        assert!(is_alert(&answer, 70), "{answer:?}");
        until("it is counted", || closed(&gate, Outcome::HandshakeFailed) == 1).await;
    }
}

#[tokio::test]
async fn a_hello_without_a_common_group_or_suite_gets_handshake_failure() {
    let world = World::new();
    let gate = gate(&world).await;
    let secp521r1 = 0x0019;
    let answered = answer(gate.address(0), &hello(0x0303, &[0x1301], &[secp521r1])).await;
    assert!(is_alert(&answered, 40), "{answered:?}");
    let aes_128_ccm = 0x1304;
    let answered = answer(gate.address(0), &hello(0x0303, &[aes_128_ccm], &[0x001d])).await;
    assert!(is_alert(&answered, 40), "{answered:?}");
}

#[tokio::test]
async fn a_hello_of_one_byte_at_a_time_does_not_outlast_the_deadline() {
    let world = World::new();
    let target = echo_application().await;
    let gate = Inbound::to(target).limited("handshake_timeout = \"300ms\"").start(&world).await;
    let (mut reader, mut writer) = TcpStream::connect(gate.address(0)).await.unwrap().into_split();
    let drip = tokio::spawn(async move {
        for byte in hello(0x0303, &[0x1301; 5000], &[0x001d]) {
            writer.write_all(&[byte]).await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::io::Result::Ok(())
    });
    let _ = soon(reader.read(&mut [0; 1])).await;
    until("it is counted", || closed(&gate, Outcome::HandshakeTimeout) == 1).await;
    drip.abort();
}

#[tokio::test]
async fn a_hello_split_over_a_hundred_records_is_put_together() {
    let world = World::new();
    let gate = gate(&world).await;
    let (config, address) = (Arc::new(world.peer(WEB).config()), gate.address(0));
    let asked = tokio::task::spawn_blocking(move || {
        let name = ServerName::try_from("gate.example").unwrap();
        let mut connection = rustls::ClientConnection::new(config, name).unwrap();
        let mut record = Vec::new();
        connection.write_tls(&mut record).unwrap();
        let message = &record[5..];
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        for piece in message.chunks(message.len().div_ceil(100)) {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            tcp.write_all(&[&[22, 3, 1][..], &length, piece].concat()).unwrap();
        }
        let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
        stream.write_all(b"whole").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    assert_eq!(&soon(asked).await.unwrap(), b"whole");
}

#[tokio::test]
async fn records_that_are_too_long_or_out_of_place_end_a_handshake_at_once() {
    let world = World::new();
    let gate = gate(&world).await;
    let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat();
    let application_data = [23, 3, 3, 0, 4, 1, 2, 3, 4].to_vec();
    let empty_handshake = [22, 3, 1, 0, 0].to_vec();
    let change_cipher_spec = [20, 3, 3, 0, 1, 1].to_vec();
    let endless_hello = [&[22, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 0x3ffc]].concat();
    let attempts = [oversized, application_data, empty_handshake, change_cipher_spec, endless_hello];
    for (count, attempt) in (1..).zip(attempts) {
        answer(gate.address(0), &attempt).await;
        until(&format!("attempt {count} is counted"), || closed(&gate, Outcome::HandshakeFailed) == count).await;
    }
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_alert_instead_of_a_hello_is_told_as_the_peers_refusal() {
    let world = World::new();
    let gate = gate(&world).await;
    answer(gate.address(0), &[21, 3, 1, 0, 2, 2, 40]).await;
    until("it is counted", || closed(&gate, Outcome::RefusedByPeer) == 1).await;
}

#[tokio::test]
async fn an_alert_in_the_middle_of_a_handshake_ends_it() {
    let world = World::new();
    let gate = gate(&world).await;
    let mut connection = rustls::ClientConnection::new(
        Arc::new(world.peer(WEB).config()),
        ServerName::try_from("gate.example").unwrap(),
    )
    .unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let mut tcp = TcpStream::connect(gate.address(0)).await.unwrap();
    tcp.write_all(&hello).await.unwrap();
    soon(tcp.read_exact(&mut [0; 128])).await.unwrap();
    tcp.write_all(&[21, 3, 3, 0, 2, 2, 48]).await.unwrap();
    let ended = || closed(&gate, Outcome::RefusedByPeer) + closed(&gate, Outcome::HandshakeFailed);
    until("it is counted", || ended() == 1).await;
}

#[tokio::test]
async fn a_handshake_left_in_the_middle_is_a_failure_and_no_probe() {
    let world = World::new();
    let gate = gate(&world).await;
    let mut tcp = TcpStream::connect(gate.address(0)).await.unwrap();
    tcp.write_all(&hello(0x0303, &[0x1301], &[0x001d])[..20]).await.unwrap();
    drop(tcp);
    until("it is counted", || closed(&gate, Outcome::HandshakeFailed) == 1).await;
    assert_eq!(closed(&gate, Outcome::Probe), 0);
}

#[tokio::test]
async fn a_thousand_health_checks_are_probes_whether_they_end_or_reset() {
    let world = World::new();
    let gate = gate(&world).await;
    for reset in [false, true].repeat(500) {
        let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
        if reset {
            socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    // A reset that comes early enough takes the connection out of the queue.
    until("the ends are counted", || closed(&gate, Outcome::Probe) >= 500 && active(&gate) == 0).await;
    assert_eq!(closed(&gate, Outcome::HandshakeFailed), 0);
}

#[tokio::test]
async fn a_refused_peer_hears_why_although_it_goes_on_talking() {
    let world = World::new();
    let gate = gate(&world).await;
    // Who comes to a standstill for longer than it is listened to hears nothing, so that one try would not do.
    for _ in 0..5 {
        if goes_on_talking_and_hears(&world, &gate).await.is_some_and(|alert| alert == "access_denied") {
            return;
        }
    }
    panic!("its words met a reset");
}

async fn goes_on_talking_and_hears(world: &World, gate: &Gate) -> Option<String> {
    let mut stream = world.peer(BATCH).connect(gate.address(0)).await.unwrap();
    // Time enough for the gate to be gone, if it did not wait.
    let _ = tokio::time::timeout(Duration::from_millis(200), until("", || active(gate) == 0)).await;
    for _ in 0..3 {
        stream.write_all(b"and another thing").await.ok()?;
        stream.flush().await.ok()?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = soon(stream.read(&mut [0; 1])).await.err()?;
    svidgate::tls::received_alert(&error).map(svidgate::tls::alert_name)
}

#[tokio::test]
async fn a_refused_peer_that_never_leaves_is_parted_from() {
    let world = World::new();
    let gate = gate(&world).await;
    let stream = world.peer(BATCH).connect(gate.address(0)).await.unwrap();
    until("it is counted", || closed(&gate, Outcome::Refused) == 1 && active(&gate) == 0).await;
    drop(stream);
}

/// A peer with the chain of `of` behind a leaf of its own, signed by the subordinate authority.
fn with_names(world: &World, names: Vec<rcgen::SanType>) -> Peer {
    let key = rcgen::KeyPair::generate().unwrap();
    let validity = Validity::from_now(Duration::from_secs(600));
    let mut params = svidgate::mint::svid_params(&crate::harness::id(WEB), validity).unwrap();
    params.subject_alt_names = names;
    let leaf = world.prod.sign(&params, &key).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    Peer::presenting(vec![leaf, world.prod.subordinate_der().clone()], &key)
}

#[tokio::test]
async fn a_thousand_names_are_read_and_only_one_may_be_a_uri() {
    let world = World::new();
    let gate = gate(&world).await;
    let uri = || rcgen::SanType::URI(WEB.try_into().unwrap());
    let dns = |n: usize| rcgen::SanType::DnsName(format!("host-{n}.example").try_into().unwrap());
    let one_uri = std::iter::once(uri()).chain((0..1000).map(dns)).collect();
    assert_eq!(with_names(&world, one_uri).ask(gate.address(0), b"hello").await.unwrap(), b"hello");
    let uris = (0..1000).map(|_| rcgen::SanType::URI("spiffe://a/b".try_into().unwrap())).collect();
    assert_eq!(with_names(&world, uris).refusal(gate.address(0)).await, "bad_certificate");
}

#[tokio::test]
async fn a_chain_of_twenty_is_not_looked_at() {
    let world = World::new();
    let gate = gate(&world).await;
    let mut chain = chain_of(&world, WEB);
    chain.0.resize(20, world.prod.subordinate_der().clone());
    assert_eq!(Peer::presenting(chain.0, &chain.1).refusal(gate.address(0)).await, "bad_certificate");
}

#[tokio::test]
async fn a_mebibyte_of_certificates_ends_the_handshake() {
    let world = World::new();
    let gate = gate(&world).await;
    let mut chain = chain_of(&world, WEB);
    let count = (1 << 20) / chain.0[1].len();
    chain.0.resize(count, world.prod.subordinate_der().clone());
    assert!(Peer::presenting(chain.0, &chain.1).ask(gate.address(0), b"hello").await.is_err());
    until("it is counted", || closed(&gate, Outcome::HandshakeFailed) == 1).await;
}

#[tokio::test]
async fn a_signature_by_another_key_than_the_certificates_proves_nothing() {
    let world = World::new();
    let gate = Inbound::to(echo_application().await).with("min_tls = \"1.2\"").start(&world).await;
    let (chain, _) = chain_of(&world, WEB);
    let (_, other_key) = chain_of(&world, ORDERS);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let thief = Peer::presenting(chain.clone(), &other_key).speaking(version);
        assert_eq!(thief.refusal(gate.address(0)).await, "decrypt_error", "{version:?}");
    }
}

fn chain_of(world: &World, id: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let issued = world.prod.issue(&crate::harness::id(id), Duration::from_secs(600)).unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.certificates.as_bytes()).collect::<Result<_, _>>();
    (chain.unwrap(), PrivateKeyDer::from_pem_slice(issued.private_key.as_bytes()).unwrap())
}
