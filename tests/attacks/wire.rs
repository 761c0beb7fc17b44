//! TLS on the wire, below what a TLS library lets one do: hellos as bytes, alerts as bytes, and records of any kind encrypted with the keys of
//! an established connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{AeadKey, MessageEncrypter, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::{
    CipherSuite, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Peer, provider};

pub(crate) const FATAL: u8 = 2;
pub(crate) const HANDSHAKE_FAILURE: u8 = 40;
pub(crate) const PROTOCOL_VERSION: u8 = 70;

pub(crate) fn gate_name() -> ServerName<'static> {
    ServerName::try_from("gate.example").unwrap()
}

/// The first flight of a client as a TLS library writes it: one record.
pub(crate) fn hello(peer: &Peer) -> Vec<u8> {
    let mut connection = ClientConnection::new(Arc::new(peer.client_config(provider())), gate_name()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A plaintext record.
pub(crate) fn record(content: u8, version: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[content, version[0], version[1], length[0], length[1]], payload].concat()
}

/// A hello of TLS 1.0 (RFC 2246 §7.4.1.2): no extensions, one old suite.
pub(crate) fn hello_of_1999() -> Vec<u8> {
    let mut hello = vec![3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    record(22, [3, 1], &[&[1, length[1], length[2], length[3]], &hello[..]].concat())
}

/// The level and description of the alert that the bytes end with.
pub(crate) fn alert_at_the_end_of(bytes: &[u8]) -> Option<(u8, u8)> {
    match bytes {
        [.., 21, 3, _, 0, 2, level, description] => Some((*level, *description)),
        _ => None,
    }
}

/// Everything until the end, however it ends.
pub(crate) async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    bytes
}

/// A provider with one cipher suite.
pub(crate) fn only(suite: SupportedCipherSuite) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![suite], ..rustls::crypto::aws_lc_rs::default_provider() })
}

/// A suite of TLS 1.3 that we do not have, by its number at least.
pub(crate) fn foreign_suite() -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(known) = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
        panic!("it is one of TLS 1.3");
    };
    let common = rustls::crypto::CipherSuiteCommon { suite: CipherSuite::TLS13_AES_128_CCM_SHA256, ..known.common };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(rustls::Tls13CipherSuite { common, ..*known })))
}

/// An established connection on which the test encrypts every record itself.
pub(crate) struct Forger {
    pub(crate) socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    pub(crate) async fn connect(peer: &Peer, address: SocketAddr) -> Self {
        let old = peer.versions == [&rustls::version::TLS12];
        let suite = match old {
            true => rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            false => rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        };
        let mut config = peer.client_config(only(suite));
        config.enable_secret_extraction = true;
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(gate_name(), tcp).await.unwrap();
        stream.write_all(b"first word").await.unwrap();
        stream.flush().await.unwrap();
        let (socket, connection) = stream.into_inner();
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else { panic!("another suite") };
        Self { socket, encrypter: encrypter(suite, key, iv.as_ref()), sequence }
    }

    /// The next record, sealed.
    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: payload.into() };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap().encode();
        self.sequence += 1;
        sealed
    }

    pub(crate) async fn send(&mut self, typ: ContentType, payload: &[u8]) -> io::Result<()> {
        let sealed = self.seal(typ, payload);
        self.socket.write_all(&sealed).await
    }
}

fn encrypter(suite: SupportedCipherSuite, key: AeadKey, iv: &[u8]) -> Box<dyn MessageEncrypter> {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv, &[]),
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, <[u8; 12]>::try_from(iv).unwrap().into()),
    }
}

/// A socket that takes one byte a write.
pub(crate) struct Trickling(pub(crate) TcpStream);

impl AsyncRead for Trickling {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Trickling {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
