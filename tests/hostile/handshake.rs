//! Handshakes that are slow, broken, old, torn apart, or never meant: each ends by itself, is counted as what it was, and harms nobody else.

use std::sync::Arc;
use std::time::Duration;

use svidgate::metrics::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{WEB, World, echo_application, provider};
use crate::wire::{gate_name, hello, record, rest};
use crate::{before_echo, closed, ends, inbound, is_unharmed, soon};

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
