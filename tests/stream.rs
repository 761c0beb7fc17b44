//! The TLS stream by itself: whatever portions bytes come and go in, they stay the same, and so do ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod harness;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use harness::{Gate, ORDERS, PATIENCE, WEB, World, echo_application, inbound_toml};
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use svidgate::config::{Config, TlsVersion};
use svidgate::tls::{Acceptor, Stream, Terms};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// A pipe that holds `capacity` bytes, with rustls' own buffers at one end and our stream at the other.
async fn ends(
    version: &'static SupportedProtocolVersion,
    capacity: usize,
) -> (client::TlsStream<DuplexStream>, Stream<DuplexStream>) {
    let world = World::new();
    let toml = inbound_toml(&world.identity("orders", ORDERS), "\"127.0.0.1:1\"", &format!("\"{WEB}\""), "", "");
    let gate = Gate::start(&toml).await;
    let credentials = gate.handle.credentials().current().unwrap();
    let policy = Config::parse("test.toml", &toml).unwrap().listeners[0].policy.clone();
    let terms = Arc::new(Terms { credentials, policy, max_peer_certificates: 32 * 1024 });
    let acceptor = Acceptor::new(Vec::new(), TlsVersion::Tls12, PATIENCE).unwrap();
    let connector = TlsConnector::from(Arc::new(world.peer(WEB).speaking(version).config()));
    let (near, far) = duplex(capacity);
    let name = ServerName::try_from("gate.example").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, far), acceptor.accept(near, &terms));
    let (server, peer) = server.unwrap_or_else(|(error, _)| panic!("{error}"));
    assert_eq!(peer.id().to_string(), WEB);
    (client.unwrap(), server)
}

fn bytes(amount: usize) -> Vec<u8> {
    (0..amount as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Reads to the end, in portions of ever other sizes.
async fn read_in_portions(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for size in [1, 7, 300, 5_000, 16_384, 70_000, 200_000].iter().cycle() {
        let mut portion = vec![0; *size];
        match from.read(&mut portion).await? {
            0 => break,
            read => all.extend_from_slice(&portion[..read]),
        }
    }
    Ok(all)
}

async fn in_any_portions(version: &'static SupportedProtocolVersion, capacity: usize) {
    let (client, server) = ends(version, capacity).await;
    let (mut from_client, mut to_client) = tokio::io::split(server);
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let said = bytes(300_000);
    let asks = async {
        for portion in said.chunks(11_111) {
            to_server.write_all(portion).await.unwrap();
        }
        to_server.shutdown().await.unwrap();
    };
    let answers = async {
        for (index, portion) in said.chunks(33_333).enumerate() {
            if index % 2 == 0 {
                to_client.write_all(portion).await.unwrap();
            } else {
                let (first, second) = portion.split_at(portion.len() / 3);
                let written = to_client.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await.unwrap();
                to_client.write_all(&portion[written..]).await.unwrap();
            }
        }
        to_client.shutdown().await.unwrap();
    };
    let all =
        async { tokio::join!(asks, answers, read_in_portions(&mut from_client), read_in_portions(&mut from_server)) };
    let ((), (), asked, answered) = timeout(PATIENCE, all).await.expect("it waits for ever");
    assert!(asked.unwrap() == said, "what was asked is something else");
    assert!(answered.unwrap() == said, "what was answered is something else");
}

#[tokio::test]
async fn bytes_pass_unchanged_in_any_portions_through_the_narrowest_pipe() {
    in_any_portions(&TLS13, 100).await;
    in_any_portions(&TLS12, 100).await;
}

#[tokio::test]
async fn bytes_pass_unchanged_in_any_portions_through_a_wide_pipe() {
    in_any_portions(&TLS13, 1024 * 1024).await;
    in_any_portions(&TLS12, 1024 * 1024).await;
}

#[tokio::test]
async fn a_task_that_reads_does_not_take_the_place_of_one_that_waits_to_write() {
    let (client, server) = ends(&TLS13, 4096).await;
    let (mut from_client, mut to_client) = tokio::io::split(server);
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let said = bytes(300_000);
    let (answer, asked) = (said.clone(), said.clone());
    let answers = tokio::spawn(async move {
        to_client.write_all(&answer).await.unwrap();
        to_client.flush().await.unwrap();
        to_client
    });
    let reads = tokio::spawn(async move { read_in_portions(&mut from_client).await.unwrap() });
    let asks = tokio::spawn(async move {
        for portion in asked.chunks(1_000) {
            to_server.write_all(portion).await.unwrap();
            to_server.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        to_server
    });
    let mut asks = timeout(PATIENCE, asks).await.expect("it waits for ever").unwrap();
    // The writer has waited since; only now its peer takes what it said.
    let mut answered = vec![0; said.len()];
    timeout(PATIENCE, from_server.read_exact(&mut answered)).await.expect("it waits for ever").unwrap();
    timeout(PATIENCE, answers).await.expect("it waits for ever").unwrap();
    asks.shutdown().await.unwrap();
    assert!(answered == said, "what was answered is something else");
    assert!(timeout(PATIENCE, reads).await.expect("it waits for ever").unwrap() == said);
}

#[tokio::test]
async fn keys_that_change_in_the_middle_change_no_byte() {
    let (mut client, mut server) = ends(&TLS13, 4096).await;
    let said = bytes(50_000);
    let asks = async {
        for portion in said.chunks(5_000) {
            client.write_all(portion).await.unwrap();
            client.get_mut().1.refresh_traffic_keys().unwrap();
        }
        client.shutdown().await.unwrap();
        // The answers come under new keys too: each of those requests asks for it.
        read_in_portions(&mut client).await
    };
    let answers = async {
        let asked = read_in_portions(&mut server).await.unwrap();
        server.write_all(&asked).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let (answered, ()) = timeout(PATIENCE, async { tokio::join!(asks, answers) }).await.expect("it waits for ever");
    assert!(answered.unwrap() == said, "what was answered is something else");
}

#[tokio::test]
async fn an_answer_goes_out_while_a_record_has_come_in_by_half() {
    let (mut client, mut server) = ends(&TLS13, 64 * 1024).await;
    // A record whose first bytes have come and whose last ones have not.
    let mut record = Vec::new();
    client.get_mut().1.refresh_traffic_keys().unwrap();
    std::io::Write::write_all(&mut client.get_mut().1.writer(), b"question").unwrap();
    while client.get_ref().1.wants_write() {
        client.get_mut().1.write_tls(&mut record).unwrap();
    }
    for byte in &record {
        client.get_mut().0.write_all(&[*byte]).await.unwrap();
        let nothing = timeout(Duration::ZERO, server.read(&mut [0; 1])).await;
        if nothing.is_ok() {
            break;
        }
        server.write_all(b"meanwhile").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut [0; 9]).await.unwrap();
    }
    server.read_exact(&mut [0; 7]).await.unwrap();
}

#[tokio::test]
async fn an_end_of_the_pipe_without_close_notify_is_no_end_of_the_stream() {
    let (mut client, mut server) = ends(&TLS13, 4096).await;
    client.write_all(b"half a mess").await.unwrap();
    client.flush().await.unwrap();
    drop(client);
    let error = read_in_portions(&mut server).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn bytes_behind_a_forged_record_are_not_read_and_those_before_it_are() {
    let (mut client, mut server) = ends(&TLS13, 4096).await;
    client.write_all(b"genuine").await.unwrap();
    client.flush().await.unwrap();
    let forged = [0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];
    client.get_mut().0.write_all(&forged).await.unwrap();
    let mut said = [0; 100];
    assert_eq!(server.read(&mut said).await.unwrap(), 7);
    for _ in 0..2 {
        let error = server.read(&mut said).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    assert!(server.write_all(b"never").await.is_err());
    let alert = client.read(&mut said).await.unwrap_err();
    assert_eq!(svidgate::tls::received_alert(&alert), Some(rustls::AlertDescription::BadRecordMac));
}

/// A client's last flight must not wait for its first words.
#[tokio::test]
async fn a_server_that_speaks_first_is_heard_through_an_outbound_gate() {
    for version in [&TLS13, &TLS12] {
        let world = World::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Gate::start(&format!(
            "[identity]\ndir = {:?}\n[[outbound]]\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\nexpect = [\"{ORDERS}\"]\nmin_tls = \"1.2\"\n",
            world.identity("web", WEB),
            listener.local_addr().unwrap()
        ))
        .await;
        let acceptor = TlsAcceptor::from(Arc::new(world.peer(ORDERS).speaking(version).server_config()));
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut tls = acceptor.accept(tcp).await.unwrap();
            tls.write_all(b"220 ready").await.unwrap();
            tls.flush().await.unwrap();
            tls
        };
        let client = async {
            let mut tcp = TcpStream::connect(gate.address(0)).await.unwrap();
            let mut greeting = [0; 9];
            tcp.read_exact(&mut greeting).await.unwrap();
            greeting
        };
        let (_open, greeting) =
            timeout(PATIENCE, async { tokio::join!(server, client) }).await.expect("it waits for ever");
        assert_eq!(&greeting, b"220 ready");
    }
}

#[tokio::test]
async fn the_application_hears_the_first_words_that_come_with_the_last_flight() {
    let world = World::new();
    let toml = inbound_toml(
        &world.identity("orders", ORDERS),
        &format!("\"{}\"", echo_application().await),
        &format!("\"{WEB}\""),
        "",
        "",
    );
    let gate = Gate::start(&toml).await;
    assert_eq!(world.peer(WEB).ask(gate.address(0), b"at once").await.unwrap(), b"at once");
}
