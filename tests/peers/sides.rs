//! The gate on one side or both: a service behind an inbound listener, and an application that reaches it through an outbound one.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use svidgate::mint::{Issued, KeyAlgorithm, Validity, bundle_map, svid_params};

use crate::harness::{self, Gate, HOUR, ORDERS, WEB, World};

/// Rules that let the web frontend do everything but what is below `/admin`, and its like in gRPC.
const RULES: &str = r#"
    paths = ["/**"]
    [[inbound.rule]]
    name = "no-admin"
    action = "deny"
    peers = ["spiffe://prod.example/**"]
    paths = ["/admin/**", "/shop.Admin/**"]
"#;

/// A service behind an inbound listener, which requests may also reach through an outbound one.
pub(crate) struct Sides {
    pub(crate) world: World,
    pub(crate) inbound: Gate,
    pub(crate) outbound: Gate,
}

impl Sides {
    /// `target` is the service as `target` of an inbound listener has it.
    pub(crate) async fn of(target: &str) -> Self {
        let world = World::new();
        let identity = named_identity(&world);
        let target = format!("{target:?}");
        let headers = r#"identity_headers = ["x-forwarded-client-cert", "x-spiffe-id"]"#;
        let inbound = Gate::start(&harness::http::inbound_http(&identity, &target, headers, RULES, "")).await;
        let identity = world.identity("web", WEB);
        let outbound = Gate::start(&format!(
            r#"
            [identity]
            dir = {identity:?}
            [[outbound]]
            name = "egress"
            listen = "127.0.0.1:0"
            protocol = "http"
            [[outbound.route]]
            name = "orders"
            hosts = ["orders.example", "127.0.0.1"]
            target = "{inbound}"
            expect = ["{ORDERS}"]
            [[outbound.route]]
            name = "services"
            hosts = ["{{0}}.{{1}}.svc"]
            target = "{inbound}"
            expect = ["spiffe://prod.example/ns/{{1}}/sa/{{0}}"]
            "#,
            inbound = inbound.address(0)
        ))
        .await;
        Self { world, inbound, outbound }
    }

    /// Where peers with a certificate knock.
    pub(crate) fn outside(&self) -> SocketAddr {
        self.inbound.address(0)
    }

    /// Where applications connect to in plaintext.
    pub(crate) fn inside(&self) -> SocketAddr {
        self.outbound.address(0)
    }

    /// The certificate of the web frontend.
    pub(crate) fn web(&self) -> Files {
        Files::of(&self.world, "web-files", WEB)
    }
}

/// The identity of the orders service with a DNS name beside its ID, for clients that insist on one.
pub(crate) fn named_identity(world: &World) -> PathBuf {
    let key = KeyAlgorithm::P256.generate().unwrap();
    let mut params = svid_params(&harness::id(ORDERS), Validity::from_now(HOUR)).unwrap();
    params.subject_alt_names.push(rcgen::SanType::DnsName("orders.example".try_into().unwrap()));
    let chain = [&world.prod.sign(&params, &key).unwrap(), world.prod.subordinate_der()].map(|der| pem(der)).concat();
    let issued = Issued { certificates: chain, private_key: key.serialize_pem().into() };
    world.write_identity("orders", &issued, &bundle_map(&[&world.prod]))
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Certificate chain and key of a peer and the root of its trust domain, in files.
pub(crate) struct Files {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) root: PathBuf,
}

impl Files {
    pub(crate) fn of(world: &World, name: &str, id: &str) -> Self {
        let issued = world.prod.issue(&harness::id(id), HOUR).unwrap();
        let file = |end: &str, content: &str| {
            let path = world.path(&format!("{name}.{end}"));
            fs::write(&path, content).unwrap();
            path
        };
        Self {
            chain: file("pem", &issued.certificates),
            key: file("key", &issued.private_key),
            root: file("root", &world.prod.root_pem()),
        }
    }
}
