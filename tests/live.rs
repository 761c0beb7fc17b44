//! Open connections are looked at again: a changed policy, changed trust and the expiry of the peer's certificate end those that would now be
//! refused, and no others. And the configuration changes whole or not at all, without touching what it does not speak of.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod harness;

use std::path::Path;
use std::time::Duration;

use harness::{BATCH, Gate, ORDERS, PATIENCE, Peer, WEB, World, authority, echo_application, id, inbound_toml, until};
use svidgate::app::Applied;
use svidgate::config::{Config, ListenAddress};
use svidgate::metrics::Outcome;
use svidgate::mint::{Issue, bundle_map};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

struct Setting<'a> {
    identity: &'a Path,
    target: String,
    peers: &'a str,
    more: &'a str,
    limits: &'a str,
}

impl Setting<'_> {
    fn toml(&self) -> String {
        let Self { identity, target, peers, more, limits } = self;
        inbound_toml(identity, &format!("\"{target}\""), &format!("[{peers}]"), more, limits)
    }
}

/// Says a word and hears it back.
async fn talks(stream: &mut TlsStream<TcpStream>) -> bool {
    let talk = async {
        stream.write_all(b"word").await?;
        stream.read_exact(&mut [0; 4]).await
    };
    timeout(PATIENCE, talk).await.expect("neither an answer nor an end").is_ok()
}

/// Waits for the end of a connection that is cut.
async fn is_cut(stream: &mut TlsStream<TcpStream>) -> bool {
    timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("it is not cut").is_err()
}

fn revoked(gate: &Gate) -> u64 {
    gate.handle.metrics().closed(&"orders".into(), Outcome::Revoked)
}

#[tokio::test]
async fn a_rule_that_is_removed_cuts_the_connections_it_let_in_and_no_others() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let (both, one) = (format!("\"{WEB}\", \"{BATCH}\""), format!("\"{WEB}\""));
    let target = echo_application().await.to_string();
    let setting = Setting { identity: &identity, target, peers: &both, more: "", limits: "" };
    let gate = Gate::start(&setting.toml()).await;
    let mut web = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let mut batch = world.peer(BATCH).connect(gate.address(0)).await.unwrap();
    assert!(talks(&mut web).await && talks(&mut batch).await);
    gate.apply(&Setting { peers: &one, ..setting }.toml()).await;
    assert!(is_cut(&mut batch).await);
    assert!(talks(&mut web).await);
    assert_eq!(revoked(&gate), 1);
    assert_eq!(world.peer(BATCH).refusal(gate.address(0)).await, "access_denied");
}

#[tokio::test]
async fn a_grace_period_lets_a_refused_connection_go_on_for_so_long() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let (web, batch) = (format!("\"{WEB}\""), format!("\"{BATCH}\""));
    let target = echo_application().await.to_string();
    let setting = Setting { identity: &identity, target, peers: &web, more: "", limits: "close_grace = \"1s\"" };
    let gate = Gate::start(&setting.toml()).await;
    let mut open = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    assert!(talks(&mut open).await);
    gate.apply(&Setting { peers: &batch, ..setting }.toml()).await;
    assert!(talks(&mut open).await, "it is cut at once");
    assert!(is_cut(&mut open).await);
    assert_eq!(revoked(&gate), 1);
}

#[tokio::test]
async fn a_root_that_is_removed_cuts_the_connections_it_vouched_for_and_no_others() {
    let world = World::new();
    let partner = authority("partner.example");
    let caller = "spiffe://partner.example/caller";
    let issued = world.prod.issue(&id(ORDERS), harness::HOUR).unwrap();
    let identity = world.write_identity("orders", &issued, &bundle_map(&[&world.prod, &partner]));
    let peers = format!("\"{WEB}\", \"{caller}\"");
    let target = echo_application().await.to_string();
    let gate = Gate::start(&Setting { identity: &identity, target, peers: &peers, more: "", limits: "" }.toml()).await;
    let mut web = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let mut foreign = Peer::issued_by(&partner, caller).connect(gate.address(0)).await.unwrap();
    assert!(talks(&mut web).await && talks(&mut foreign).await);
    world.write_identity("orders", &issued, &bundle_map(&[&world.prod]));
    assert!(is_cut(&mut foreign).await);
    assert!(talks(&mut web).await);
    assert_eq!(revoked(&gate), 1);
    assert_eq!(Peer::issued_by(&partner, caller).refusal(gate.address(0)).await, "unknown_ca");
}

#[tokio::test]
async fn a_rotation_of_our_own_certificate_cuts_nobody() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let peers = format!("\"{WEB}\"");
    let target = echo_application().await.to_string();
    let gate = Gate::start(&Setting { identity: &identity, target, peers: &peers, more: "", limits: "" }.toml()).await;
    let before = gate.handle.credentials().current().unwrap();
    let mut open = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    world.identity("orders", ORDERS);
    let handle = gate.handle.clone();
    until("it rotates", || !handle.credentials().current().unwrap().same_as(&before)).await;
    gate.handle.ready().await;
    assert!(talks(&mut open).await);
    let fresh = world.peer(WEB).connect(gate.address(0)).await.unwrap();
    let served = fresh.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(served, gate.handle.credentials().current().unwrap().svid.chain()[0]);
    assert_ne!(served, before.svid.chain()[0]);
}

#[tokio::test]
async fn the_expiry_of_the_peers_certificate_cuts_its_connection() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let peers = format!("\"{WEB}\"");
    let target = echo_application().await.to_string();
    let gate = Gate::start(&Setting { identity: &identity, target, peers: &peers, more: "", limits: "" }.toml()).await;
    let brief = Peer::holding(&world.prod.issue_as(&id(WEB), Issue::lasting(Duration::from_secs(2))).unwrap());
    let mut open = brief.connect(gate.address(0)).await.unwrap();
    assert!(talks(&mut open).await);
    assert!(is_cut(&mut open).await);
    assert_eq!(revoked(&gate), 1);
}

#[tokio::test]
async fn on_expiry_keep_leaves_the_connection_and_still_obeys_the_policy() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let (web, batch) = (format!("\"{WEB}\""), format!("\"{BATCH}\""));
    let target = echo_application().await.to_string();
    let setting = Setting { identity: &identity, target, peers: &web, more: "on_expiry = \"keep\"", limits: "" };
    let gate = Gate::start(&setting.toml()).await;
    let brief = Peer::holding(&world.prod.issue_as(&id(WEB), Issue::lasting(Duration::from_secs(1))).unwrap());
    let mut open = brief.connect(gate.address(0)).await.unwrap();
    let address = gate.address(0);
    // Once a new handshake with it is refused, it has expired.
    let expired = async {
        while brief.ask(address, b"word").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, expired).await.expect("it does not expire");
    assert!(talks(&mut open).await, "it is cut");
    gate.apply(&Setting { peers: &batch, ..setting }.toml()).await;
    assert!(is_cut(&mut open).await);
}

#[tokio::test]
async fn an_outbound_connection_is_looked_at_again_too() {
    let world = World::new();
    let server = world.peer(ORDERS).echo_server().await;
    let toml = |expect: &str| {
        format!(
            "[identity]\ndir = \"{}\"\n[[outbound]]\nname = \"out\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{server}\"\nexpect = [\"{expect}\"]\n",
            world.path("web").display()
        )
    };
    world.identity("web", WEB);
    let gate = Gate::start(&toml(ORDERS)).await;
    let mut open = TcpStream::connect(gate.address(0)).await.unwrap();
    open.write_all(b"word").await.unwrap();
    open.read_exact(&mut [0; 4]).await.unwrap();
    gate.apply(&toml(BATCH)).await;
    timeout(PATIENCE, open.read(&mut [0; 1])).await.expect("it is not cut").unwrap_err();
}

/// A listener on a fixed port of loopback that nobody uses at this moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listeners(identity: &Path, target: &str, ports: &[(u16, &str)]) -> String {
    let mut toml = format!("[identity]\ndir = \"{}\"\n", identity.display());
    for (port, peer) in ports {
        toml += &format!(
            "[[inbound]]\nname = \"on-{port}\"\nlisten = \"127.0.0.1:{port}\"\ntarget = \"{target}\"\n[[inbound.rule]]\nname = \"callers\"\npeers = [\"{peer}\"]\n"
        );
    }
    toml
}

#[tokio::test]
async fn a_new_configuration_adds_removes_and_changes_listeners_without_touching_the_others() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let target = echo_application().await.to_string();
    let (kept, removed, added) = (free_port(), free_port(), free_port());
    let gate = Gate::start(&listeners(&identity, &target, &[(kept, WEB), (removed, WEB)])).await;
    let peer = world.peer(WEB);
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut on_kept = peer.connect(at(kept)).await.unwrap();
    let mut on_removed = peer.connect(at(removed)).await.unwrap();
    gate.apply(&listeners(&identity, &target, &[(added, WEB), (kept, WEB)])).await;
    assert_eq!(peer.ask(at(added), b"new").await.unwrap(), b"new");
    assert!(talks(&mut on_kept).await);
    assert!(talks(&mut on_removed).await, "a removed listener lets its connections finish");
    std::net::TcpListener::bind(at(removed)).expect("the removed address is not free");
}

#[tokio::test]
async fn a_configuration_with_a_port_in_use_changes_nothing() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let target = echo_application().await.to_string();
    let port = free_port();
    let gate = Gate::start(&listeners(&identity, &target, &[(port, WEB)])).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let next = listeners(&identity, &target, &[(port, BATCH), (taken_port, WEB)]);
    let error = gate.handle.apply(Config::parse("next.toml", &next).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("`on-{taken_port}`")) && error.contains("in use"), "{error}");
    let address = gate.address(0);
    assert_eq!(world.peer(WEB).ask(address, b"as before").await.unwrap(), b"as before");
    assert_eq!(world.peer(BATCH).refusal(address).await, "access_denied");
}

#[tokio::test]
async fn the_same_configuration_again_is_no_change() {
    let world = World::new();
    let identity = world.identity("orders", ORDERS);
    let toml = listeners(&identity, "127.0.0.1:1", &[(free_port(), WEB)]);
    let gate = Gate::start(&toml).await;
    assert_eq!(gate.handle.apply(Config::parse("same.toml", &toml).unwrap()).await.unwrap(), Applied::Unchanged);
    assert!(matches!(gate.addresses[0], ListenAddress::Tcp(_)));
}

#[tokio::test]
async fn another_identity_in_the_configuration_is_followed() {
    let world = World::new();
    let (first, second) = (world.identity("first", ORDERS), world.identity("second", BATCH));
    let target = echo_application().await.to_string();
    let port = free_port();
    let gate = Gate::start(&listeners(&first, &target, &[(port, WEB)])).await;
    gate.apply(&listeners(&second, &target, &[(port, WEB)])).await;
    let handle = gate.handle.clone();
    until("the other is in use", || handle.credentials().current().unwrap().svid.id == id(BATCH)).await;
}
