//! The floor: a relay of tokio and rustls and nothing else, so that what svidgate adds to its stack is a figure too. The bench starts itself again
//! to be one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::credentials::NAME;

/// The first argument of a bench that is to be the floor.
pub(crate) const VERB: &str = "floor";

const BUFFER: usize = 64 * 1024;

#[derive(Clone)]
enum End {
    Inbound(TlsAcceptor),
    Outbound(TlsConnector),
}

/// `inbound|outbound LISTEN TARGET DIRECTORY WORKERS`: relays until it is killed.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [side, listen, target, directory, workers] = arguments else {
        bail!("the floor wants a side, two addresses, a directory and a number of workers");
    };
    let (listen, target): (SocketAddr, SocketAddr) = (listen.parse()?, target.parse()?);
    let end = match side.as_str() {
        "inbound" => End::Inbound(Arc::new(server_config(Path::new(directory))?).into()),
        _ => End::Outbound(Arc::new(client_config(Path::new(directory))?).into()),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers.parse()?).enable_all().build()?;
    // Spawned: what `block_on` itself runs is outside of the workers.
    runtime.block_on(runtime.spawn(serve(end, listen, target)))?
}

async fn serve(end: End, listen: SocketAddr, target: SocketAddr) -> anyhow::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener: TcpListener = socket.listen(4096)?;
    loop {
        let (accepted, _) = listener.accept().await?;
        let end = end.clone();
        tokio::spawn(async move { relay(end, accepted, target).await });
    }
}

async fn relay(end: End, accepted: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    accepted.set_nodelay(true)?;
    let dial = async {
        let dialed = TcpStream::connect(target).await?;
        dialed.set_nodelay(true)?;
        std::io::Result::Ok(dialed)
    };
    match end {
        End::Inbound(acceptor) => {
            let mut tls = acceptor.accept(accepted).await?;
            tokio::io::copy_bidirectional_with_sizes(&mut tls, &mut dial.await?, BUFFER, BUFFER).await?;
        }
        End::Outbound(connector) => {
            let name = ServerName::try_from(NAME).map_err(std::io::Error::other)?;
            let mut tls = connector.connect(name, dial.await?).await?;
            let mut accepted = accepted;
            tokio::io::copy_bidirectional_with_sizes(&mut accepted, &mut tls, BUFFER, BUFFER).await?;
        }
    }
    Ok(())
}

/// Chain, key and roots of a directory of plain files.
struct Files {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Files {
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let all = |name: &str| {
            let certificates = CertificateDer::pem_file_iter(directory.join(name)).and_then(Iterator::collect);
            certificates.with_context(|| format!("`{name}` in `{}` cannot be read", directory.display()))
        };
        let chain: Vec<_> = all("certificates.pem")?;
        let mut roots = RootCertStore::empty();
        let given: Vec<CertificateDer<'static>> = all("roots.pem")?;
        roots.add_parsable_certificates(given);
        Ok(Self { chain, key: PrivateKeyDer::from_pem_file(directory.join("key.pem"))?, roots: Arc::new(roots) })
    }
}

/// One cipher, as all others have it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// TLS 1.3 with a certificate of ours, the server's checked against the roots and the name; no resumption.
pub(crate) fn client_config(directory: &Path) -> anyhow::Result<ClientConfig> {
    let Files { chain, key, roots } = Files::read(directory)?;
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn server_config(directory: &Path) -> anyhow::Result<ServerConfig> {
    let Files { chain, key, roots } = Files::read(directory)?;
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
