//! Mutual TLS: a connection and the terms of that moment go in; a stream comes out together with the proof of who is at its other end.

mod buffer;
mod error;
mod record;
mod records;
mod session;
mod stream;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::{CipherSuite, ClientConfig, CommonState, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::config::TlsVersion;
pub use buffer::{Buffer, Unsent, copy_slices};
pub use error::{HandshakeError, alert_name, received_alert};
use session::Session;
pub use stream::Stream;
use verify::{HANDSHAKE, Handshake, OwnCertificate, PeerVerifier};
pub use verify::{PeerIdentity, Reason, Refusal, Terms};

/// Terminates mutual TLS for one listener. Built once; a rotation changes the terms, not this.
#[derive(Clone)]
pub struct Acceptor {
    tls: Arc<ServerConfig>,
    patience: Duration,
}

impl Acceptor {
    /// An acceptor that speaks `min_tls` and later, and one of `alpn` where the peer asks for any.
    ///
    /// # Errors
    /// When rustls finds the settings at odds with each other.
    pub fn new(alpn: Vec<Vec<u8>>, min_tls: TlsVersion, patience: Duration) -> Result<Self, rustls::Error> {
        let provider = provider();
        let verifier = PeerVerifier { algorithms: provider.signature_verification_algorithms };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(min_tls))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(OwnCertificate));
        config.alpn_protocols = alpn;
        // rustls never asks the verifier about a resumed session, so that a ticket would outlive an expired certificate, a removed root or
        // a removed rule: there are no tickets, no session store, and so no early data.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true; // for `records.rs`
        Ok(Self { tls: Arc::new(config), patience })
    }

    /// Makes the handshake of one connection, on `terms` and within the patience.
    ///
    /// # Errors
    /// How it ended otherwise, and the socket if it is still there: the alert, where there is one, has been sent.
    pub async fn accept<IO>(
        &self,
        io: IO,
        terms: &Arc<Terms>,
    ) -> Result<(Stream<IO>, PeerIdentity), (HandshakeError, Option<IO>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let session = UnbufferedServerConnection::new(self.tls.clone()).map(Session::server);
        under_terms(session, io, terms, self.patience).await
    }
}

/// Originates mutual TLS for one listener. Built once; a rotation changes the terms, not this.
#[derive(Clone)]
pub struct Connector {
    tls: Arc<ClientConfig>,
    patience: Duration,
}

impl Connector {
    /// A connector that speaks `min_tls` and later and offers `alpn`.
    ///
    /// # Errors
    /// When rustls finds the settings at odds with each other.
    pub fn new(alpn: Vec<Vec<u8>>, min_tls: TlsVersion, patience: Duration) -> Result<Self, rustls::Error> {
        let provider = provider();
        let verifier = PeerVerifier { algorithms: provider.signature_verification_algorithms };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(min_tls))?
            .dangerous() // rustls' word for a verifier that is not its own: ours knows SPIFFE IDs, not host names
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(OwnCertificate));
        config.alpn_protocols = alpn;
        config.resumption = Resumption::disabled(); // as on the accepting side
        config.enable_secret_extraction = true;
        Ok(Self { tls: Arc::new(config), patience })
    }

    /// Makes the handshake of one connection, on `terms` and within the patience. `server_name` is what is sent as SNI (nothing where it is
    /// an address); whom we talk to is decided by SPIFFE ID alone.
    ///
    /// # Errors
    /// As [`Acceptor::accept`].
    pub async fn connect<IO>(
        &self,
        io: IO,
        server_name: ServerName<'static>,
        terms: &Arc<Terms>,
    ) -> Result<(Stream<IO>, PeerIdentity), (HandshakeError, Option<IO>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let session = UnbufferedClientConnection::new(self.tls.clone(), server_name).map(Session::client);
        under_terms(session, io, terms, self.patience).await
    }
}

/// Runs one handshake with its terms beside it, and takes out what came of the examination.
async fn under_terms<IO>(
    session: Result<Session, rustls::Error>,
    io: IO,
    terms: &Arc<Terms>,
    patience: Duration,
) -> Result<(Stream<IO>, PeerIdentity), (HandshakeError, Option<IO>)>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let session = match session {
        Ok(session) => session,
        Err(error) => return Err((HandshakeError::Tls(error), Some(io))),
    };
    let context = Handshake::new(terms.clone());
    // Boxed: a handshake is short and its future large; the connection's future keeps a pointer's room for it.
    let examined = Box::pin(HANDSHAKE.scope(context, async {
        let stream = timeout(patience, Stream::establish(session, io)).await;
        let outcome = HANDSHAKE.try_with(|handshake| handshake.outcome.take()).ok().flatten();
        (stream, outcome)
    }));
    match examined.await {
        (Ok(Ok(stream)), Some(Ok(peer))) => Ok((stream, peer)),
        (Ok(Err((_, io))), Some(Err(refusal))) => Err((HandshakeError::Refused(refusal), Some(io))),
        (Ok(Err((error, io))), _) => Err((HandshakeError::from(error), Some(io))),
        (Err(_elapsed), _) => Err((HandshakeError::Timeout, None)),
        // A handshake without a yes of the examination, such as a resumed one, had we allowed any.
        (Ok(Ok(_)), _) => Err((HandshakeError::Refused(Box::new(Refusal::no_certificate())), None)),
    }
}

/// What was agreed on in a handshake, in the words of the IANA registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// `1.3` or `1.2`.
    pub version: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`.
    pub group: &'static str,
    /// The cipher suite, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
}

impl Agreed {
    /// Reads it off a finished handshake.
    fn of(connection: &CommonState) -> Self {
        Self {
            version: match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
                _ => "",
            },
            group: connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or(""),
            cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or(""),
        }
    }
}

/// The one crypto provider, passed explicitly: a process-wide default would panic the day a dependency brings a second one.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Ten rounds in place of fourteen: a quarter less of what the cipher costs, and what every TLS 1.3 peer must have (RFC 8446 §9.1).
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    Arc::new(provider)
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    static TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    match min {
        TlsVersion::Tls13 => TLS13,
        TlsVersion::Tls12 => TLS12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_cipher_is_offered_first_and_every_other_one_behind_it() {
        let ours: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        let default = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
        assert_eq!(ours.first(), Some(&CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert!(ours.len() == default.len() && default.iter().all(|suite| ours.contains(&suite.suite())));
    }
}
