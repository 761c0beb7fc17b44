//! Rotations and reloads while connections are made and bytes flow: not one connection fails over them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(clippy::print_stdout, reason = "the figures of a run by hand")]

mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::{BATCH, Gate, ORDERS, PATIENCE, WEB, World, echo_application, generation, leaf_of, until};
use rustls::pki_types::CertificateDer;
use svidgate::config::Config;
use svidgate::mint::{Writer, WriterStyle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many rotations of both sides: a few in every run, a thousand and more by hand.
fn rotations() -> usize {
    std::env::var("SVIDGATE_ROTATIONS").map_or(60, |count| count.parse().expect("SVIDGATE_ROTATIONS is a number"))
}

/// Clients that connect, talk and part without a pause, one connection after the other.
struct Clients {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    tasks: JoinSet<Result<(), String>>,
}

impl Clients {
    fn start(entrance: SocketAddr, count: usize) -> Self {
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let (stop, connections) = (stop.clone(), connections.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    timeout(PATIENCE, talk(entrance))
                        .await
                        .map_err(|_| "it hangs")?
                        .map_err(|error| error.to_string())?;
                    connections.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { stop, connections, tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops them; every one of their connections was good.
    async fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(result) = self.tasks.join_next().await {
            assert_eq!(result.unwrap(), Ok(()), "after {} good connections", self.connections());
        }
        self.connections()
    }
}

async fn talk(entrance: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(entrance).await?;
    for _ in 0..3 {
        stream.write_all(b"question").await?;
        stream.read_exact(&mut [0; 8]).await?;
    }
    stream.shutdown().await?;
    let rest = stream.read(&mut [0; 1]).await?;
    if rest == 0 { Ok(()) } else { Err(std::io::Error::other("more than was said")) }
}

fn toml(kind: &str, identity: &std::path::Path, target: SocketAddr, peers: &str) -> String {
    let policy = match kind {
        "inbound" => format!("[[inbound.rule]]\nname = \"callers\"\npeers = [{peers}]"),
        _ => format!("expect = [{peers}]"),
    };
    format!(
        "[identity]\ndir = \"{}\"\npoll_interval = \"30s\"\n[[{kind}]]\nname = \"{kind}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n{policy}\n",
        identity.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_connection_fails_over_rotations_of_both_sides() {
    let world = World::new();
    let sides = [("orders", ORDERS), ("web", WEB)].map(|(name, id)| {
        let home = world.path(name);
        std::fs::create_dir(&home).unwrap();
        let writer = Writer::new(home.join("workload-spiffe-credentials"), WriterStyle::Gce);
        writer.write(&generation(&world.prod, id)).unwrap();
        (writer, id)
    });
    let application = echo_application().await;
    let inbound = Gate::start(&toml("inbound", sides[0].0.path(), application, &format!("\"{WEB}\""))).await;
    let outbound =
        Gate::start(&toml("outbound", sides[1].0.path(), inbound.address(0), &format!("\"{ORDERS}\""))).await;
    // One connection stays open over all of it.
    let mut lasting = TcpStream::connect(outbound.address(0)).await.unwrap();
    let clients = Clients::start(outbound.address(0), 4);
    let observer = world.peer(WEB);
    let mut times = Vec::new();
    for _ in 0..rotations() {
        let [orders, web] = [0, 1].map(|side| generation(&world.prod, sides[side].1));
        sides[1].0.write(&web).unwrap();
        sides[0].0.write(&orders).unwrap();
        let (swapped, next) = (Instant::now(), leaf_of(&orders));
        let follow = async {
            loop {
                let stream = observer.connect(inbound.address(0)).await.unwrap();
                let served: CertificateDer<'_> = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                if served == next {
                    return;
                }
            }
        };
        timeout(PATIENCE, follow).await.expect("the new certificate is not served");
        times.push(swapped.elapsed());
        lasting.write_all(b"still here").await.unwrap();
        lasting.read_exact(&mut [0; 10]).await.unwrap();
        let web = leaf_of(&web);
        until("the other side follows", || outbound.handle.credentials().current().unwrap().svid.chain()[0] == web)
            .await;
    }
    let connections = clients.stop().await;
    times.sort();
    println!(
        "{} rotations of both sides, {connections} connections, none failed; from the swap to the first handshake with the new \
         certificate: median {:?}, 99 of 100 within {:?}, all within {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1]
    );
    assert!(connections > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_connection_fails_over_hundreds_of_reloads() {
    let world = World::new();
    let application = echo_application().await;
    let identity = world.identity("orders", ORDERS);
    let narrow = toml("inbound", &identity, application, &format!("\"{WEB}\""));
    let wide = toml("inbound", &identity, application, &format!("\"{WEB}\", \"{BATCH}\""))
        + &format!(
            "[[inbound]]\nname = \"more\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{application}\"\n[[inbound.rule]]\nname = \"all\"\npeers = [\"spiffe://prod.example/**\"]\n"
        );
    let inbound = Gate::start(&narrow).await;
    let server = inbound.address(0);
    let outbound = Gate::start(&toml("outbound", &world.identity("web", WEB), server, &format!("\"{ORDERS}\""))).await;
    let clients = Clients::start(outbound.address(0), 4);
    for turn in 0..300 {
        inbound.apply(if turn % 2 == 0 { &wide } else { &narrow }).await;
    }
    let so_far = clients.connections();
    until("connections are made still", || clients.connections() > so_far + 4).await;
    clients.stop().await;
    // And the last one is in place.
    assert_eq!(
        inbound.handle.apply(Config::parse("same", &narrow).unwrap()).await.unwrap(),
        svidgate::app::Applied::Unchanged
    );
    assert_eq!(world.peer(BATCH).refusal(server).await, "access_denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_everything_ends_in_time() {
    let world = World::new();
    let application = echo_application().await;
    let identity = world.identity("orders", ORDERS);
    let toml = toml("inbound", &identity, application, &format!("\"{WEB}\"")) + "[limits]\ndrain_timeout = \"300ms\"\n";
    let gate = Gate::start(&toml).await;
    let address = gate.address(0);
    let (peer, stop) = (world.peer(WEB), Arc::new(AtomicBool::new(false)));
    let mut noise = JoinSet::new();
    for kind in 0..4 {
        let (peer, stop) = (peer.clone(), stop.clone());
        noise.spawn(async move {
            let mut kept = Vec::new();
            while !stop.load(Ordering::Relaxed) && kept.len() < 200 {
                match kind {
                    0 => kept.extend(TcpStream::connect(address).await.ok()),
                    1 => drop(TcpStream::connect(address).await),
                    _ => drop(peer.ask(address, b"word").await),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    for _ in 0..20 {
        world.identity("orders", ORDERS);
        gate.handle.look().await;
    }
    let ended = timeout(PATIENCE, gate.stop()).await.expect("it does not end");
    stop.store(true, Ordering::Relaxed);
    noise.join_all().await;
    // Silent connections never finish a handshake: they are cut.
    assert!(matches!(ended, svidgate::app::Drained::Forced(_) | svidgate::app::Drained::Clean));
}
