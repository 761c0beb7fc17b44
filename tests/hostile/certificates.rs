//! Chains in every order and size, and keys that are not the certificate's: the same verdict in both directions as the rules of SPIFFE give, and
//! never a name in the log or in a count that was not proven.

use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use svidgate::metrics::{Outcome, Shadowed};
use svidgate::mint::{Validity, svid_params};

use crate::harness::{BATCH, Gate, HOUR, ORDERS, Peer, WEB, World, authority, until};
use crate::outbound::{answer_through, outbound};
use crate::{LISTENER, Logged, before_echo, closed, ends, is_unharmed, soon};

/// A leaf of `prod.example` with its key, and what else a chain may be made of.
struct Material {
    leaf: CertificateDer<'static>,
    subordinate: CertificateDer<'static>,
    root: CertificateDer<'static>,
    unrelated: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Material {
    fn new(world: &World, id: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = svid_params(&crate::harness::id(id), Validity::from_now(HOUR)).unwrap();
        change(&mut params);
        Self {
            leaf: world.prod.sign(&params, &key).unwrap(),
            subordinate: world.prod.subordinate_der().clone(),
            root: world.prod.root_der().clone(),
            unrelated: authority("other.example").subordinate_der().clone(),
            key: private(&key),
        }
    }

    fn peer(&self, chain: &[&CertificateDer<'static>]) -> Peer {
        Peer::presenting(chain.iter().map(|der| (*der).clone()).collect(), &self.key)
    }
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap()
}

/// Which certificates are presented, and in which order.
type Order = fn(&Material) -> Vec<&CertificateDer<'static>>;

/// Whether the inbound side lets in a client with this chain: `let in`, or the alert.
async fn verdict_on(peer: &Peer, address: SocketAddr) -> String {
    match soon(peer.ask(address, b"hello")).await {
        Ok(_) => "let in".into(),
        Err(error) => {
            svidgate::tls::received_alert(&error).map_or_else(|| error.to_string(), svidgate::tls::alert_name)
        }
    }
}

#[tokio::test]
async fn chains_in_any_order_and_with_strangers_in_them_are_judged_alike_on_both_sides() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let material = [WEB, ORDERS].map(|id| Material::new(&world, id, |_| ()));
    let cases: [(&str, Order); 7] = [
        ("let in", |m| vec![&m.leaf, &m.subordinate]),
        ("let in", |m| vec![&m.leaf, &m.root, &m.subordinate]),
        ("let in", |m| vec![&m.leaf, &m.subordinate, &m.unrelated]),
        ("let in", |m| vec![&m.leaf, &m.unrelated, &m.unrelated, &m.subordinate]),
        ("bad_certificate", |m| vec![&m.subordinate, &m.leaf]),
        ("unknown_ca", |m| vec![&m.leaf]),
        ("unknown_ca", |m| vec![&m.leaf, &m.unrelated]),
    ];
    for (number, (expected, chain)) in cases.into_iter().enumerate() {
        let [client, server] = material.each_ref().map(|material| material.peer(&chain(material)));
        assert_eq!(verdict_on(&client, gate.address(0)).await, expected, "case {number}");
        let target = server.echo_server().await;
        let reached = answer_through(&outbound(&world, &target.to_string(), "").await, b"hello").await;
        assert_eq!(reached.is_ok(), expected == "let in", "case {number} as a server: {reached:?}");
    }
    is_unharmed(&world, &gate).await;
}

#[tokio::test]
async fn a_chain_of_twenty_is_not_looked_at() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let material = Material::new(&world, WEB, |_| ());
    let mut chain = vec![&material.leaf, &material.subordinate];
    chain.resize(20, &material.unrelated);
    assert_eq!(verdict_on(&material.peer(&chain), gate.address(0)).await, "bad_certificate");
    let material = Material::new(&world, ORDERS, |_| ());
    let mut chain = vec![&material.leaf, &material.subordinate];
    chain.resize(20, &material.unrelated);
    let gate = outbound(&world, &material.peer(&chain).echo_server().await.to_string(), "").await;
    answer_through(&gate, b"hello").await.unwrap_err();
    ends(&gate, Outcome::Refused, 1).await;
}

#[tokio::test]
async fn a_thousand_host_names_beside_the_id_do_no_harm() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let material = Material::new(&world, WEB, |params| {
        let names = (0..1000).map(|n| SanType::DnsName(format!("host-{n}.example").try_into().unwrap()));
        params.subject_alt_names.extend(names);
    });
    assert_eq!(verdict_on(&material.peer(&[&material.leaf, &material.subordinate]), gate.address(0)).await, "let in");
}

#[tokio::test]
async fn a_thousand_ids_are_none_and_fill_no_log() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let logged = Logged::watch();
    let material = Material::new(&world, WEB, |params| {
        let ids = (0..1000).map(|n| SanType::URI(format!("spiffe://prod.example/a/{n}").try_into().unwrap()));
        params.subject_alt_names.extend(ids);
    });
    let peer = material.peer(&[&material.leaf, &material.subordinate]);
    assert_eq!(verdict_on(&peer, gate.address(0)).await, "bad_certificate");
    ends(&gate, Outcome::Refused, 1).await;
    let lines = logged.connections();
    let [line] = &lines[..] else { panic!("not one line but {lines:#?}") };
    assert!(line.contains("1001 URI SANs"), "{line}");
    assert!(line.len() < 4096, "{} bytes", line.len());
}

/// The certificate of `id`, signed for with another key.
fn with_a_stolen_certificate(world: &World, id: &str) -> Peer {
    let material = Material::new(world, id, |_| ());
    let key = private(&KeyPair::generate().unwrap());
    Peer::presenting(vec![material.leaf, material.subordinate], &key)
}

#[tokio::test]
async fn who_has_a_certificate_without_its_key_is_refused_and_never_named_as_its_owner() {
    let world = World::new();
    let gate = before_echo(&world).await;
    let logged = Logged::watch();
    assert_eq!(with_a_stolen_certificate(&world, WEB).refusal(gate.address(0)).await, "decrypt_error");
    ends(&gate, Outcome::HandshakeFailed, 1).await;
    // The owner would be denied: the thief must neither learn that nor be noted as the owner.
    assert_eq!(with_a_stolen_certificate(&world, BATCH).refusal(gate.address(0)).await, "decrypt_error");
    ends(&gate, Outcome::HandshakeFailed, 2).await;
    assert_eq!(closed(&gate, Outcome::Refused), 0);
    for line in logged.connections() {
        assert!(!line.contains("spiffe.peer.id"), "{line}");
    }
    is_unharmed(&world, &gate).await;
}

#[tokio::test]
async fn the_same_holds_in_tls_1_2() {
    let world = World::new();
    let target = crate::echo_application().await.to_string();
    let gate = crate::inbound(&world, &target, "min_tls = \"1.2\"", "").await;
    let logged = Logged::watch();
    for id in [WEB, BATCH] {
        let mut thief = with_a_stolen_certificate(&world, id);
        thief.versions = vec![&rustls::version::TLS12];
        assert_eq!(thief.refusal(gate.address(0)).await, "decrypt_error");
    }
    ends(&gate, Outcome::HandshakeFailed, 2).await;
    for line in logged.connections() {
        assert!(!line.contains("spiffe.peer.id"), "{line}");
    }
}

#[tokio::test]
async fn a_thief_moves_no_shadow_count() {
    let world = World::new();
    let target = crate::echo_application().await.to_string();
    let shadow = format!("[[inbound.rule]]\nname = \"soon\"\npeers = [\"{BATCH}\"]\nenforce = false\n");
    let gate = crate::inbound(&world, &target, &shadow, "").await;
    let count = || {
        let label = Shadowed { listener: LISTENER.into(), decision: "allow" };
        gate.handle.metrics().shadow_decisions.get_or_create(&label).get()
    };
    assert_eq!(with_a_stolen_certificate(&world, BATCH).refusal(gate.address(0)).await, "decrypt_error");
    ends(&gate, Outcome::HandshakeFailed, 1).await;
    assert_eq!(count(), 0);
    // And the owner does.
    assert_eq!(world.peer(BATCH).refusal(gate.address(0)).await, "access_denied");
    until("the owner is counted", || count() == 1).await;
}

#[tokio::test]
async fn a_server_with_a_certificate_without_its_key_is_never_named_as_its_owner() {
    let world = World::new();
    for (id, versions) in [(ORDERS, "1.3"), (BATCH, "1.3"), (ORDERS, "1.2"), (BATCH, "1.2")] {
        let mut thief = with_a_stolen_certificate(&world, id);
        if versions == "1.2" {
            thief.versions = vec![&rustls::version::TLS12];
        }
        let server = thief.echo_server().await;
        let gate: Gate = outbound(&world, &server.to_string(), "min_tls = \"1.2\"").await;
        let logged = Logged::watch();
        answer_through(&gate, b"hello").await.unwrap_err();
        ends(&gate, Outcome::HandshakeFailed, 1).await;
        let lines = logged.connections();
        let [line] = &lines[..] else { panic!("not one line but {lines:#?}") };
        assert!(!line.contains("spiffe.peer.id"), "{line}");
    }
}
