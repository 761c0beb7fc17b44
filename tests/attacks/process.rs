//! The process while much happens at once: reloads, signals, rotations and a log that nobody reads cost no connection.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::{BATCH, Gate, ORDERS, Peer, WEB, World, echo_application, generation, leaf_of, until};
use crate::{Inbound, active, closed, soon};
use svidgate::metrics::Outcome;
use svidgate::mint::{Generation, Writer, WriterStyle};

/// Clients that connect anew all the time, each time say a word, hear it, and end as they should.
struct Traffic {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Traffic {
    /// Four of them: of `peer` by mutual TLS, or in plaintext.
    fn start(address: SocketAddr, peer: Option<&Peer>) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, served, peer) = (stop.clone(), served.clone(), peer.cloned());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match &peer {
                        Some(peer) => soon(talk(peer.connect(address).await?)).await?,
                        None => soon(talk(TcpStream::connect(address).await?)).await?,
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let clients = (0..4).map(client).collect();
        Self { stop, served, clients }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends it. Not one connection may have failed.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            soon(client).await.unwrap().expect("a connection failed");
        }
        self.served.load(Ordering::Relaxed)
    }
}

async fn talk(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> std::io::Result<()> {
    stream.write_all(b"word").await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 4]).await?;
    stream.shutdown().await?;
    match stream.read_to_end(&mut Vec::new()).await? {
        0 => Ok(()),
        _ => Err(std::io::Error::other("more came back than was said")),
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_new_configurations_cost_no_connection() {
    let world = World::new();
    let target = echo_application().await;
    let gate = Inbound::to(target).start(&world).await;
    let traffic = Traffic::start(gate.address(0), Some(&world.peer(WEB)));
    let another = format!(
        "[[inbound]]\nname = \"another\"\nlisten = \"127.0.0.1:{}\"\ntarget = \"{target}\"\n[[inbound.rule]]\npeers = [\"{BATCH}\"]\n",
        free_port()
    );
    for round in 0..500 {
        let limits = format!("max_handshakes = {}\nmax_connections = {}", 100 + round % 7, 100 + round % 11);
        gate.apply(&(Inbound::to(target).limited(&limits).toml(&world) + &another)).await;
        gate.apply(&Inbound::to(target).toml(&world)).await;
    }
    until("there was traffic", || traffic.served() > 20).await;
    println!("{} connections during 1,000 new configurations", traffic.end().await);
    until("all are over", || active(&gate) == 0).await;
    for outcome in [Outcome::Broken, Outcome::Truncated, Outcome::Revoked, Outcome::Aborted, Outcome::Forced] {
        assert_eq!(closed(&gate, outcome), 0, "{outcome:?}");
    }
}

/// The binary, with its configuration file and an inbound listener on a port of its own.
struct Binary {
    process: Child,
    address: SocketAddr,
    config: PathBuf,
}

impl Binary {
    fn start(world: &World, inbound: &Inbound<'_>, stderr: Stdio) -> Self {
        world.identity("orders", ORDERS);
        let port = free_port();
        let config = world.path("svidgate.toml");
        std::fs::write(&config, inbound.toml(world).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { process: spawn(&config, stderr), address, config }
    }

    /// Waits until `peer` is served.
    async fn until_serves(&self, peer: &Peer) {
        let serves = async {
            while peer.ask(self.address, b"hello").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(serves).await;
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, with patience.
    async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(config: &Path, stderr: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svidgate"));
    command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hangups_cost_no_connection() {
    let world = World::new();
    let peer = world.peer(WEB);
    let mut binary = Binary::start(&world, &Inbound::to(echo_application().await), Stdio::null());
    binary.until_serves(&peer).await;
    let traffic = Traffic::start(binary.address, Some(&peer));
    let pid = binary.process.id().to_string();
    let script = "for n in $(seq 1000); do kill -HUP $0; done";
    let storm = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", script, &pid]).status().unwrap());
    // With a change of the file in it now and then.
    let text = std::fs::read_to_string(&binary.config).unwrap();
    for round in 0..20 {
        std::fs::write(&binary.config, format!("{text}\nmax_handshakes = {}\n", 1000 + round)).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(soon(storm).await.unwrap().success());
    until("there was traffic", || traffic.served() > 20).await;
    println!("{} connections during 1,000 hangups", traffic.end().await);
    binary.signal("TERM");
    assert_eq!(binary.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_amid_handshakes_relays_and_reloads_ends_in_time_and_cuts_only_what_does_not_end() {
    let world = World::new();
    let peer = world.peer(WEB);
    let inbound = Inbound::to(echo_application().await).limited("drain_timeout = \"5s\"");
    for forced in [false, true] {
        let mut binary = Binary::start(&world, &inbound, Stdio::null());
        binary.until_serves(&peer).await;
        let mut open = Vec::new();
        for _ in 0..20 {
            let mut stream = peer.connect(binary.address).await.unwrap();
            stream.write_all(b"word").await.unwrap();
            soon(stream.read_exact(&mut [0; 4])).await.unwrap();
            open.push(stream);
        }
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(binary.address).await.unwrap());
        }
        for _ in 0..20 {
            binary.signal("HUP");
        }
        binary.signal("TERM");
        let refused = async { while TcpStream::connect(binary.address).await.is_ok() {} };
        soon(refused).await;
        // What is open goes on, and its end is waited for.
        for stream in &mut open {
            stream.write_all(b"word").await.unwrap();
            soon(stream.read_exact(&mut [0; 4])).await.unwrap();
        }
        if forced {
            binary.signal("INT");
            assert_eq!(binary.ended().await.code(), Some(1));
            for stream in &mut open {
                assert!(soon(stream.read(&mut [0; 1])).await.is_err());
            }
        } else {
            drop(silent);
            for mut stream in open {
                stream.shutdown().await.unwrap();
                assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0);
            }
            assert_eq!(binary.ended().await.code(), Some(0));
        }
    }
}

#[tokio::test]
async fn a_killed_process_starts_again_on_the_same_port() {
    let world = World::new();
    let peer = world.peer(WEB);
    let mut binary = Binary::start(&world, &Inbound::to(echo_application().await), Stdio::null());
    binary.until_serves(&peer).await;
    let _open = peer.connect(binary.address).await.unwrap();
    binary.signal("KILL");
    binary.ended().await;
    binary.process = spawn(&binary.config, Stdio::null());
    binary.until_serves(&peer).await;
    binary.signal("TERM");
    assert_eq!(binary.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_log_that_nobody_reads_and_one_that_nobody_can_read_stop_no_traffic() {
    let world = World::new();
    let peer = world.peer(WEB);
    let mut binary = Binary::start(&world, &Inbound::to(echo_application().await), Stdio::piped());
    let mut log = BufReader::new(binary.process.stderr.take().unwrap());
    log.read_line(&mut String::new()).unwrap();
    binary.until_serves(&peer).await;
    // A line each, of some hundred bytes: more than a pipe holds.
    for _ in 0..400 {
        soon(peer.ask(binary.address, b"hello")).await.unwrap();
    }
    drop(log);
    for _ in 0..20 {
        soon(peer.ask(binary.address, b"hello")).await.unwrap();
    }
    binary.signal("TERM");
    assert_eq!(binary.ended().await.code(), Some(0));
}

#[tokio::test]
async fn descriptors_that_run_out_and_come_back_cost_waiting_and_no_hot_loop() {
    let world = World::new();
    let peer = world.peer(WEB);
    let log = world.path("log");
    let stderr = std::fs::File::create(&log).unwrap();
    let mut binary = Binary::start(&world, &Inbound::to(echo_application().await), Stdio::null());
    binary.signal("KILL");
    binary.ended().await;
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$0\" run --config \"$1\"", env!("CARGO_BIN_EXE_svidgate")]);
    binary.process = limited.arg(&binary.config).stdin(Stdio::null()).stderr(stderr).spawn().unwrap();
    binary.until_serves(&peer).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(binary.address).await.unwrap());
    }
    let complaints = || std::fs::read_to_string(&log).unwrap().matches("cannot accept").count();
    until("it has none left", || complaints() >= 5).await;
    let before = complaints();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(complaints() - before < 10, "it spins");
    drop(silent);
    binary.until_serves(&peer).await;
    binary.signal("TERM");
    assert_eq!(binary.ended().await.code(), Some(0));
}

/// How many rotations of both sides: `SVIDGATE_ROTATIONS`, 200 where it is not set.
fn rotations() -> usize {
    std::env::var("SVIDGATE_ROTATIONS").map_or(200, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_rotations_of_both_sides_cost_no_connection() {
    let world = World::new();
    let writer = |name: &str| Writer::new(world.path(name).join("workload-spiffe-credentials"), WriterStyle::Gce);
    let (orders, web) = (writer("orders"), writer("web"));
    let next = |id| generation(&world.prod, id);
    orders.write(&next(ORDERS)).unwrap();
    web.write(&next(WEB)).unwrap();
    let inbound_toml = Inbound::to(echo_application().await).toml(&world);
    let place = |writer: &Writer| writer.path().display().to_string();
    let inbound =
        Gate::start(&inbound_toml.replace(&world.path("orders").display().to_string(), &place(&orders))).await;
    let outbound = Gate::start(&format!(
        "[identity]\ndir = \"{}\"\n[[outbound]]\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\nexpect = [\"{ORDERS}\"]\n",
        place(&web),
        inbound.address(0)
    ))
    .await;
    let traffic = Traffic::start(outbound.address(0), None);
    let mut waits = Vec::new();
    for _ in 0..rotations() {
        let (ours, theirs) = (next(ORDERS), next(WEB));
        let written = Instant::now();
        orders.write(&ours).unwrap();
        soon(until_served(&world, inbound.address(0), &ours)).await;
        waits.push(written.elapsed());
        web.write(&theirs).unwrap();
        until("the other side follows", || uses(&outbound, &theirs)).await;
    }
    let served = traffic.end().await;
    waits.sort();
    let at = |percent: usize| waits[(waits.len() * percent / 100).min(waits.len() - 1)];
    println!(
        "{served} connections, none failed, in {} rotations of each side; from the first write to the first handshake with it: p50 {:?}, p99 {:?}, max {:?}",
        waits.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(served > 50);
    for outcome in [Outcome::Refused, Outcome::RefusedByPeer, Outcome::HandshakeFailed, Outcome::NoIdentity] {
        assert_eq!(closed(&inbound, outcome), 0, "{outcome:?}");
    }
}

/// Connects until the served certificate is that of `generation`.
async fn until_served(world: &World, address: SocketAddr, generation: &Generation) {
    let (peer, leaf): (_, CertificateDer<'_>) = (world.peer(WEB), leaf_of(generation));
    loop {
        let mut stream = peer.connect(address).await.unwrap();
        let is_served = stream.get_ref().1.peer_certificates().unwrap()[0] == leaf;
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        if is_served {
            return;
        }
    }
}

fn uses(gate: &Gate, generation: &Generation) -> bool {
    gate.handle.credentials().current().is_some_and(|current| current.svid.chain()[0] == leaf_of(generation))
}
