//! Those who shall not get in, and what they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::world::{CALLER, SERVICE, World, generation};
use crate::config::TlsVersion;
use crate::credentials::{self, Identity, Source};
use crate::mint::{Authority, Writer, WriterStyle, bundle_map};
use crate::policy::{Pattern, Policy, Rule};
use crate::spiffe::{SpiffeId, TrustDomain, UnixTime};
use crate::tls::{Connector, HandshakeError, Terms, alert_name, received_alert};

const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a forbidden peer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Refused, with this TLS alert.
    Refused(String),
    /// Something else ended it: no refusal that it could understand.
    Unclear(String),
    /// Let in.
    LetIn,
}

/// One certificate, and the will to get in with it.
pub(super) struct Knocker {
    connector: Connector,
    terms: Arc<Terms>,
}

/// Right trust domain, not on the policy.
pub(super) fn intruder(world: &World) -> anyhow::Result<Knocker> {
    let Some(authority) = world.issuer() else { anyhow::bail!("no authority is left") };
    Knocker::new(world, "intruder", authority, "spiffe://demo.example/ns/shop/sa/batch")
}

/// Another trust domain.
pub(super) fn stranger(world: &World) -> anyhow::Result<Knocker> {
    let elsewhere = Authority::new(TrustDomain::parse("elsewhere.example")?)?;
    Knocker::new(world, "stranger", &elsewhere, "spiffe://elsewhere.example/ns/shop/sa/web")
}

/// The allowed caller's ID, from the root that is about to go.
pub(super) fn leftover(world: &World) -> anyhow::Result<Knocker> {
    let Some(old) = world.oldest() else { anyhow::bail!("no authority is left") };
    Knocker::new(world, "leftover", old, CALLER)
}

impl Knocker {
    /// Whoever knocks trusts the service, so that it gets as far as showing its own certificate.
    fn new(world: &World, name: &str, authority: &Authority, id: &str) -> anyhow::Result<Self> {
        let bundle = bundle_map(&world.authorities().chain([authority]).collect::<Vec<_>>());
        let directory = world.directory().join(name);
        let writer = Writer::new(&directory, WriterStyle::Gce);
        writer.write(&generation(authority, &SpiffeId::parse(id)?, bundle)?)?;
        let identity = Identity { source: Source::Directory(directory), ..Identity::default() };
        let credentials = credentials::load(&identity, UnixTime::now())?.credentials;
        let terms = Terms {
            credentials: Arc::new(credentials),
            policy: Arc::new(Policy::new(vec![Rule::allow("service", vec![Pattern::parse(SERVICE)?])])),
            max_peer_certificates: 64 * 1024,
        };
        let connector = Connector::new(Vec::new(), TlsVersion::Tls13, PATIENCE)?;
        Ok(Self { connector, terms: Arc::new(terms) })
    }

    /// Tries to get in. In TLS 1.3 a client learns of its refusal with its first read.
    pub(super) async fn knock(&self, door: SocketAddr) -> Answer {
        let name = ServerName::IpAddress(door.ip().into());
        let attempt = async {
            let socket = TcpStream::connect(door).await.map_err(HandshakeError::from)?;
            let shaken = self.connector.connect(socket, name, &self.terms).await;
            let (mut stream, _) = shaken.map_err(|(error, _)| error)?;
            Ok(stream.read(&mut [0; 1]).await)
        };
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(Ok(_))) | Err(_) => Answer::LetIn, // an end without an alert, or patience on the other side, is no refusal
            Ok(Ok(Err(error))) => match received_alert(&error) {
                Some(alert) => Answer::Refused(alert_name(alert)),
                None => Answer::Unclear(error.to_string()),
            },
            Ok(Err(HandshakeError::Alert(alert))) => Answer::Refused(alert_name(alert)),
            Ok(Err(error)) => Answer::Unclear(error.to_string()),
        }
    }
}
