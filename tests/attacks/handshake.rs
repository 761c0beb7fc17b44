//! Handshakes that are slow, broken, old, torn apart, or never meant: each ends by itself, is counted as what it was, and harms nobody else.

use std::sync::Arc;
use std::time::Duration;

use rustls::ContentType;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group::MLKEM768;
use svidgate::metrics::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Gate, WEB, World, echo_application, provider};
use crate::wire::{
    FATAL, Forger, HANDSHAKE_FAILURE, PROTOCOL_VERSION, Trickling, alert_at_the_end_of, foreign_suite, gate_name,
    hello, hello_of_1999, only, record, rest,
};
use crate::{Logged, before_echo, closed, ends, inbound, is_unharmed, reset, service, soon};

#[tokio::test]
async fn a_hello_that_drips_meets_the_deadline_although_bytes_keep_coming() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "", "handshake_timeout = \"300ms\"").await;
    let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in hello(&world.peer(WEB)) {
        if socket.write_all(&[byte]).await.is_err() || closed(&gate, Outcome::HandshakeTimeout) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ends(&gate, Outcome::HandshakeTimeout, 1).await;
}

#[tokio::test]
async fn a_certificate_that_drips_meets_the_deadline_too() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "", "handshake_timeout = \"300ms\"").await;
    let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
    socket.write_all(&hello(&world.peer(WEB))).await.unwrap();
    assert!(soon(socket.read(&mut [0; 4096])).await.unwrap() > 0, "the server answers the hello");
    // The client's flight never comes whole: the head of a record, and then a byte now and then.
    let _ = socket.write_all(&[23, 3, 3, 0x40, 0]).await;
    for _ in 0..1000 {
        if socket.write_all(&[0]).await.is_err() || closed(&gate, Outcome::HandshakeTimeout) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ends(&gate, Outcome::HandshakeTimeout, 1).await;
}

#[tokio::test]
async fn a_hello_of_tls_1_0_gets_a_fatal_alert() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
    socket.write_all(&hello_of_1999()).await.unwrap();
    // rustls misses the signature algorithms, which such a hello cannot name, before it looks at the version.
    let alert = alert_at_the_end_of(&soon(rest(&mut socket)).await);
    assert!(matches!(alert, Some((FATAL, HANDSHAKE_FAILURE | PROTOCOL_VERSION))), "{alert:?}");
    ends(&gate, Outcome::HandshakeFailed, 1).await;
}

async fn refusal_with(provider: Arc<CryptoProvider>, world: &World, gate: &Gate) -> String {
    let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(world.peer(WEB).client_config(provider)));
    let error = soon(connector.connect(gate_name(), tcp)).await.unwrap_err();
    svidgate::tls::alert_name(svidgate::tls::received_alert(&error).unwrap_or_else(|| panic!("no alert but {error}")))
}

#[tokio::test]
async fn a_client_without_a_common_group_or_suite_gets_handshake_failure() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let groups = CryptoProvider { kx_groups: vec![MLKEM768], ..rustls::crypto::aws_lc_rs::default_provider() };
    assert_eq!(refusal_with(Arc::new(groups), &world, &gate).await, "handshake_failure");
    assert_eq!(refusal_with(only(foreign_suite()), &world, &gate).await, "handshake_failure");
    ends(&gate, Outcome::HandshakeFailed, 2).await;
}

#[tokio::test]
async fn a_hello_in_a_hundred_records_and_thousands_of_writes_is_read() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let mut peer = world.peer(WEB);
    // Nobody speaks these here; they make the hello long.
    peer.alpn = (0..40).map(|number| format!("protocol-{number:060}").into_bytes()).collect();
    let mut config = peer.client_config(provider());
    config.max_fragment_size = Some(32);
    let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let connect = TlsConnector::from(Arc::new(config)).connect(gate_name(), Trickling(tcp));
    let mut stream = soon(connect).await.unwrap();
    stream.write_all(b"in pieces").await.unwrap();
    let mut answer = [0; 9];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"in pieces");
}

#[tokio::test]
async fn a_record_longer_than_any_may_be_is_refused_before_it_has_come() {
    let world = World::new();
    let gate = before_echo(&world).await;
    for length in [[0x48, 0x01], [0xff, 0xff]] {
        let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
        socket.write_all(&[22, 3, 1, length[0], length[1], 1, 0]).await.unwrap();
        soon(rest(&mut socket)).await;
    }
    ends(&gate, Outcome::HandshakeFailed, 2).await;
}

#[tokio::test]
async fn a_hello_longer_than_any_may_be_is_refused_before_it_has_come() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
    // A ClientHello of 16 MiB less one.
    socket.write_all(&record(22, [3, 1], &[1, 0xff, 0xff, 0xff, 3, 3])).await.unwrap();
    soon(rest(&mut socket)).await;
    ends(&gate, Outcome::HandshakeFailed, 1).await;
}

#[tokio::test]
async fn garbage_ends_each_connection_and_nothing_else() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..length).map(next).collect()
    };
    let good = hello(&world.peer(WEB));
    for turn in 0..200_usize {
        let mut bytes = match turn % 3 {
            0 => noise(1 + turn * 7),
            // The head of a handshake record, and nonsense in it.
            1 => record(22, [3, 1], &noise(1 + turn * 7)),
            // A good hello with bytes of it changed.
            _ => {
                let mut hello = good.clone();
                for change in noise(8) {
                    hello[5 + usize::from(change) * 4 % (good.len() - 5)] ^= change | 1;
                }
                hello
            }
        };
        bytes.extend(noise(3));
        let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        soon(rest(&mut socket)).await;
    }
    is_unharmed(&world, &gate).await;
    ends(&gate, Outcome::HandshakeFailed, 200).await;
}

#[tokio::test]
async fn an_alert_in_the_middle_of_the_handshake_is_the_peers_refusal_and_the_application_never_hears_of_it() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "", "").await;
    let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
    socket.write_all(&hello(&world.peer(WEB))).await.unwrap();
    assert!(soon(socket.read(&mut [0; 4096])).await.unwrap() > 0);
    socket.write_all(&record(21, [3, 3], &[FATAL, HANDSHAKE_FAILURE])).await.unwrap();
    soon(rest(&mut socket)).await;
    ends(&gate, Outcome::RefusedByPeer, 1).await;
    assert!(at_once(service.accept()).await.is_none(), "the application was dialled");
}

/// What the future gives at once.
async fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = tokio::task::yield_now() => None,
    }
}

#[tokio::test]
async fn a_fatal_alert_after_the_last_flight_is_the_peers_refusal_and_a_reset_for_the_application() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "", "").await;
    let mut forger = Forger::connect(&world.peer(WEB), gate.address(0)).await;
    let (mut application, _) = soon(service.accept()).await.unwrap();
    soon(application.read_exact(&mut [0; 10])).await.unwrap();
    forger.send(ContentType::Alert, &[FATAL, 46]).await.unwrap();
    let error = soon(application.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    ends(&gate, Outcome::RefusedByPeer, 1).await;
}

#[tokio::test]
async fn a_renegotiation_in_tls_1_2_is_declined_once_and_then_ends_the_connection() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "min_tls = \"1.2\"", "").await;
    let mut peer = world.peer(WEB);
    peer.versions = vec![&rustls::version::TLS12];
    let again = hello(&peer);
    let mut forger = Forger::connect(&peer, gate.address(0)).await;
    let (mut application, _) = soon(service.accept()).await.unwrap();
    forger.send(ContentType::Handshake, &again[5..]).await.unwrap();
    forger.send(ContentType::ApplicationData, b" and on").await.unwrap();
    let mut words = [0; 17];
    soon(application.read_exact(&mut words)).await.unwrap();
    assert_eq!(&words, b"first word and on");
    forger.send(ContentType::Handshake, &again[5..]).await.unwrap();
    assert!(soon(application.read(&mut [0; 1])).await.is_err());
    ends(&gate, Outcome::Broken, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_from_elsewhere_and_early_data_with_it_get_a_full_handshake_and_no_early_byte() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = inbound(&world, &target, "", "").await;
    let address = gate.address(0);
    let mut config = world.peer(WEB).client_config(provider());
    config.enable_early_data = true;
    let config = Arc::new(config);
    let elsewhere = ticketing_server(&world).await;
    let client = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || -> std::io::Result<_> {
            use std::io::{Read, Write};
            let mut first = rustls::ClientConnection::new(config.clone(), gate_name()).unwrap();
            let mut socket = std::net::TcpStream::connect(elsewhere)?;
            let mut stream = rustls::Stream::new(&mut first, &mut socket);
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0; 1])?;
            let mut second = rustls::ClientConnection::new(config, gate_name()).unwrap();
            let early = second.early_data().is_some_and(|mut early| early.write_all(b"early").is_ok());
            assert!(early, "the client has a ticket and sends early data");
            let mut socket = std::net::TcpStream::connect(address)?;
            let mut stream = rustls::Stream::new(&mut second, &mut socket);
            stream.write_all(b"late")?;
            stream.read_exact(&mut [0; 4])?;
            assert!(!second.is_early_data_accepted());
            Ok(second.handshake_kind())
        })
    };
    let (mut application, _) = soon(service.accept()).await.unwrap();
    let mut said = [0; 4];
    soon(application.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"late");
    application.write_all(b"seen").await.unwrap();
    assert_eq!(soon(client).await.unwrap().unwrap(), Some(rustls::HandshakeKind::Full));
}

/// A server that hands out tickets good for early data.
async fn ticketing_server(world: &World) -> std::net::SocketAddr {
    let mut config = world.peer(WEB).server_config();
    config.max_early_data_size = 1024;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        let mut tls = acceptor.accept(tcp).await?;
        let byte = tls.read_u8().await?;
        tls.write_u8(byte).await?;
        tls.shutdown().await
    });
    address
}

#[tokio::test]
async fn a_thousand_health_checks_are_probes_and_not_a_line_in_the_log() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let logged = Logged::watch();
    for turn in 0..1000 {
        let socket = TcpStream::connect(gate.address(0)).await.unwrap();
        // Half of them reset, as the health checks of some load balancers do.
        if turn % 2 == 0 { drop(socket) } else { reset(socket) }
    }
    ends(&gate, Outcome::Probe, 1000).await;
    assert_eq!(logged.connections(), Vec::<String>::new());
    is_unharmed(&world, &gate).await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_the_middle_of_its_handshake_leaves_nothing_behind() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let hello = hello(&world.peer(WEB));
    for turn in 0..100_usize {
        let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
        socket.write_all(&hello[..1 + turn * hello.len() / 100]).await.unwrap();
        if turn % 2 == 0 { drop(socket) } else { reset(socket) }
    }
    // And some after the server's flight, which waits unread in the socket.
    for _ in 0..20 {
        let mut socket = TcpStream::connect(gate.address(0)).await.unwrap();
        socket.write_all(&hello).await.unwrap();
        socket.readable().await.unwrap();
        drop(socket);
    }
    is_unharmed(&world, &gate).await;
    // A reset may overtake the bytes before it: then it looks like a probe.
    assert_eq!(closed(&gate, Outcome::HandshakeFailed) + closed(&gate, Outcome::Probe), 120);
}

#[tokio::test]
async fn a_refused_client_that_keeps_talking_still_hears_why() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let refused = world.peer(crate::harness::BATCH);
    for _ in 0..20 {
        let mut stream = refused.connect(gate.address(0)).await.unwrap();
        // In TLS 1.3 a client may talk before the server has looked at its certificate.
        let _ = stream.write_all(&[7; 300_000]).await;
        let error = soon(stream.read(&mut [0; 1])).await.unwrap_err();
        let alert = svidgate::tls::received_alert(&error).unwrap_or_else(|| panic!("no alert but {error}"));
        assert_eq!(svidgate::tls::alert_name(alert), "access_denied");
    }
}

#[tokio::test]
async fn a_client_that_believes_another_root_refuses_us_and_is_counted_so() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(crate::harness::authority("other.example").root_der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(gate.address(0)).await.unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(gate_name(), tcp)).await.unwrap_err();
    ends(&gate, Outcome::RefusedByPeer, 1).await;
}
