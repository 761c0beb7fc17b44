//! A connection whose bytes never pause, so that the task that carries it is always busy: it is held to orders and clocks all the same.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{BATCH, Gate, Peer, WEB, World, id, until};
use crate::{Inbound, service, soon};
use svidgate::app::Drained;
use svidgate::mint::Issue;

/// An application that sends as fast as it can, and a peer that takes ciphertext as fast as it can and leaves it undeciphered: whatever the
/// gate does, it is the slowest of the three.
struct Flood {
    peer: std::thread::JoinHandle<std::io::Result<usize>>,
    arrived: Arc<AtomicU64>,
}

impl Flood {
    async fn start(gate: &Gate, peer: &Peer, service: &TcpListener) -> Self {
        let (client, application) = soon(async { tokio::join!(peer.connect(gate.address(0)), service.accept()) }).await;
        let (mut client, mut application) =
            (blocking(client.unwrap().into_inner().0), blocking(application.unwrap().0));
        let arrived = Arc::new(AtomicU64::new(0));
        std::thread::spawn(move || {
            let block = vec![7; 1 << 20];
            while application.write_all(&block).is_ok() {}
        });
        let count = arrived.clone();
        let peer = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            loop {
                match client.read(&mut buffer)? {
                    0 => return Ok(0),
                    length => count.fetch_add(length as u64, Ordering::Relaxed),
                };
            }
        });
        let flood = Self { peer, arrived };
        until("the flood runs", || flood.arrived.load(Ordering::Relaxed) > 16 << 20).await;
        flood
    }

    /// Waits for the reset.
    async fn until_cut(self) {
        until("the flood is cut", || self.peer.is_finished()).await;
        self.peer.join().unwrap().unwrap_err();
    }
}

fn blocking(stream: TcpStream) -> std::net::TcpStream {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_outlive_the_rule_that_let_it_in() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = Inbound::to(target).start(&world).await;
    let flood = Flood::start(&gate, &world.peer(WEB), &service).await;
    gate.apply(&Inbound::to(target).letting_in(BATCH).toml(&world)).await;
    flood.until_cut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_outlive_its_certificate() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = Inbound::to(target).start(&world).await;
    let brief = Peer::holding(&world.prod.issue_as(&id(WEB), Issue::lasting(Duration::from_secs(3))).unwrap());
    Flood::start(&gate, &brief, &service).await.until_cut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_outlive_the_drain_timeout() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = Inbound::to(target).limited("drain_timeout = \"100ms\"").start(&world).await;
    let flood = Flood::start(&gate, &world.peer(WEB), &service).await;
    assert_eq!(gate.stop().await, Drained::Forced(1));
    flood.until_cut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_one_way_does_not_hold_up_the_other_way() {
    let world = World::new();
    let (service, target) = service().await;
    let gate = Inbound::to(target).start(&world).await;
    let peer = world.peer(WEB);
    let (client, application) = soon(async { tokio::join!(peer.connect(gate.address(0)), service.accept()) }).await;
    let (mut reader, mut writer) = tokio::io::split(client.unwrap());
    let (mut from, mut to) = application.unwrap().0.into_split();
    let flood = tokio::spawn(async move {
        let block = vec![7; 256 * 1024];
        while writer.write_all(&block).await.is_ok() {}
    });
    let drain = tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    for word in 0..200_u32 {
        to.write_all(&word.to_be_bytes()).await.unwrap();
        assert_eq!(soon(reader.read_u32()).await.unwrap(), word);
    }
    flood.abort();
    drain.abort();
}
