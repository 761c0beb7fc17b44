//! What the whole-application tests share: trust domains minted afresh, the application in process on ports of the system's choice, and peers
//! that hold any certificate they like.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

pub(crate) mod http;
pub(crate) mod process;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use svidgate::app::{App, Drained, Handle};
use svidgate::config::{Config, ListenAddress};
use svidgate::credentials::{Identity, Source};
use svidgate::mint::{Authority, Generation, Issue, Issued, bundle_map};
use svidgate::spiffe::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How long a test waits for what must happen, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) const WEB: &str = "spiffe://prod.example/ns/web/sa/frontend";
pub(crate) const ORDERS: &str = "spiffe://prod.example/ns/shop/sa/orders";
pub(crate) const BATCH: &str = "spiffe://prod.example/ns/shop/sa/batch";

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(crate) fn authority(trust_domain: &str) -> Authority {
    Authority::new(TrustDomain::parse(trust_domain).unwrap()).unwrap()
}

/// A fresh generation of the SVID `id`, which trusts its own trust domain.
pub(crate) fn generation(authority: &Authority, id: &str) -> Generation {
    generation_lasting(authority, id, HOUR)
}

pub(crate) fn generation_lasting(authority: &Authority, id: &str, lifetime: Duration) -> Generation {
    let issued = authority.issue(&self::id(id), lifetime).unwrap();
    Generation::new(issued, authority.root_pem(), bundle_map(&[authority]))
}

/// The leaf of a generation.
pub(crate) fn leaf_of(generation: &Generation) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(generation.certificates.as_bytes()).unwrap()
}

/// The credentials in `directory`, followed by events alone as far as a test can tell.
pub(crate) fn identity(directory: &Path) -> Identity {
    Identity { source: Source::Directory(directory.to_owned()), poll_interval: HOUR, ..Identity::default() }
}

/// A directory of its own, with a trust domain `prod.example`.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) prod: Authority,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), prod: authority("prod.example") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes an identity in the Compute Engine layout, a day long and trusting `prod.example` alone.
    pub(crate) fn identity(&self, name: &str, id: &str) -> PathBuf {
        let issued = self.prod.issue(&self::id(id), Duration::from_secs(86_400)).unwrap();
        self.write_identity(name, &issued, &bundle_map(&[&self.prod]))
    }

    /// Writes an identity file by file, each put in place by a rename.
    pub(crate) fn write_identity(&self, name: &str, issued: &Issued, trust_bundles: &str) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        replace(&dir.join("private_key.pem"), issued.private_key.as_bytes());
        replace(&dir.join("certificates.pem"), issued.certificates.as_bytes());
        replace(&dir.join("trust_bundles.json"), trust_bundles.as_bytes());
        dir
    }

    /// A peer of `prod.example` with this ID.
    pub(crate) fn peer(&self, id: &str) -> Peer {
        Peer::issued_by(&self.prod, id)
    }
}

/// One inbound listener named `orders`. `target` and `peers` are TOML values, `listener` and `limits` more lines of their tables.
pub(crate) fn inbound_toml(identity: &Path, target: &str, peers: &str, listener: &str, limits: &str) -> String {
    format!(
        r#"
        [identity]
        dir = "{}"
        [[inbound]]
        name = "orders"
        listen = "127.0.0.1:0"
        target = {target}
        {listener}
        [[inbound.rule]]
        name = "callers"
        peers = {peers}
        [limits]
        {limits}
        "#,
        identity.display()
    )
}

/// One outbound listener named `to-orders` that expects the orders service. `more` are lines of its table.
pub(crate) fn outbound_toml(identity: &Path, target: &str, more: &str) -> String {
    format!(
        r#"
        [identity]
        dir = "{}"
        [[outbound]]
        name = "to-orders"
        listen = "127.0.0.1:0"
        target = "{target}"
        expect = ["{ORDERS}"]
        {more}
        "#,
        identity.display()
    )
}

/// Puts a file in place by a rename.
pub(crate) fn replace(path: &Path, content: &[u8]) {
    let next = path.with_extension("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(&next, path).unwrap();
}

/// The application in process.
pub(crate) struct Gate {
    pub(crate) addresses: Vec<ListenAddress>,
    pub(crate) handle: Handle,
    pub(crate) serving: JoinHandle<Drained>,
}

impl Gate {
    /// Starts it and waits until its credentials are in use.
    pub(crate) async fn start(toml: &str) -> Self {
        let gate = Self::start_waiting(toml);
        tokio::time::timeout(PATIENCE, gate.handle.ready()).await.expect("the credentials are not read");
        gate
    }

    /// Starts it, credentials or not.
    pub(crate) fn start_waiting(toml: &str) -> Self {
        let config = Config::parse("test.toml", toml).unwrap_or_else(|faults| panic!("{faults}"));
        let app = App::bind(config).unwrap();
        let (addresses, handle) = (app.addresses(), app.handle());
        Self { addresses, handle, serving: tokio::spawn(app.serve()) }
    }

    pub(crate) async fn apply(&self, toml: &str) {
        self.handle.apply(Config::parse("test.toml", toml).unwrap_or_else(|faults| panic!("{faults}"))).await.unwrap();
    }

    /// The TCP address of one listener.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        match &self.addresses[index] {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(self) -> Drained {
        self.handle.stop().await;
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it does not end").unwrap()
    }
}

/// Someone at the other end of TLS, who presents whatever they hold and believes everything.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    key: Option<Arc<CertifiedKey>>,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) versions: Vec<&'static rustls::SupportedProtocolVersion>,
    /// Kept over connections, so that a server that hands out tickets is taken up on them.
    resumption: rustls::client::Resumption,
}

impl Peer {
    pub(crate) fn anonymous() -> Self {
        Self {
            key: None,
            alpn: Vec::new(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            resumption: rustls::client::Resumption::in_memory_sessions(16),
        }
    }

    pub(crate) fn issued_by(authority: &Authority, id: &str) -> Self {
        let issued = authority.issue_as(&self::id(id), Issue::lasting(Duration::from_secs(3600))).unwrap();
        Self::holding(&issued)
    }

    pub(crate) fn holding(issued: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(issued.certificates.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(issued.private_key.as_bytes()).unwrap();
        Self::presenting(chain.unwrap(), &key)
    }

    pub(crate) fn presenting(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Self {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).unwrap();
        Self { key: Some(Arc::new(CertifiedKey::new(chain, key))), ..Self::anonymous() }
    }

    /// The same peer, offering one protocol in ALPN.
    pub(crate) fn offering(self, protocol: &str) -> Self {
        Self { alpn: vec![protocol.as_bytes().to_vec()], ..self }
    }

    /// The same peer, with one version of TLS.
    pub(crate) fn speaking(self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        self.handshake(TcpStream::connect(address).await?).await
    }

    pub(crate) async fn handshake(&self, tcp: TcpStream) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from("gate.example").unwrap();
        TlsConnector::from(Arc::new(self.config())).connect(name, tcp).await
    }

    pub(crate) fn config(&self) -> ClientConfig {
        self.client_config(provider())
    }

    /// What this peer is as a client that can do what `provider` can.
    pub(crate) fn client_config(&self, provider: Arc<rustls::crypto::CryptoProvider>) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_client_cert_resolver(Arc::new(Presents(self.key.clone())));
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = self.resumption.clone();
        config.enable_secret_extraction = true;
        config
    }

    /// As a server, one that hands out tickets and remembers sessions.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(Credulous))
            .with_cert_resolver(Arc::new(Presents(self.key.clone())));
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// Connects, says something and reads what comes back until the end: a refusal in TLS 1.3 reaches a client with its first read.
    pub(crate) async fn ask(&self, address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(address).await?;
        stream.write_all(question).await?;
        let mut answer = vec![0; 1024];
        let length = stream.read(&mut answer).await?;
        answer.truncate(length);
        Ok(answer)
    }

    /// The alert with which a connection attempt is refused.
    pub(crate) async fn refusal(&self, address: SocketAddr) -> String {
        match tokio::time::timeout(PATIENCE, self.ask(address, b"hello")).await.expect("no answer at all") {
            Ok(answer) => panic!("let in, and answered {:?}", String::from_utf8_lossy(&answer)),
            Err(error) => match svidgate::tls::received_alert(&error) {
                Some(alert) => svidgate::tls::alert_name(alert),
                None => format!("no alert but {error}"),
            },
        }
    }

    /// Serves TLS on one connection after the other, and echoes.
    pub(crate) async fn echo_server(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(self.server_config()));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let tls = acceptor.accept(tcp).await?;
                    let (mut reader, mut writer) = tokio::io::split(tls);
                    tokio::io::copy(&mut reader, &mut writer).await?;
                    writer.shutdown().await
                });
            }
        });
        address
    }
}

/// An application that sends back what it gets, and ends when its client has.
pub(crate) async fn echo_application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tcp.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await
            });
        }
    });
    address
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Presents(Option<Arc<CertifiedKey>>);

impl rustls::client::ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl rustls::server::ResolvesServerCert for Presents {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Believes every certificate, and checks only that its key signs.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
