//! A peer that has finished its handshake honestly and then says what no TLS library would: any record, under the right keys.

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::soon;

pub(crate) struct Forger {
    tcp: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    pub(crate) fn of(stream: TlsStream<TcpStream>) -> Self {
        let (tcp, connection) = stream.into_inner();
        let suite = connection.negotiated_cipher_suite().unwrap();
        let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("an unknown cipher");
        };
        let mut encrypter = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let (salt, explicit) = iv.as_ref().split_at(4);
                suite.aead_alg.encrypter(key, salt, explicit)
            }
        };
        if sequence > 0 {
            // The cipher takes the first nonce for that of record 0, and then wants each above the last.
            encrypter.encrypt(plain(ContentType::ApplicationData, b""), 0).unwrap();
        }
        Self { tcp, encrypter, sequence }
    }

    /// One record.
    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let sealed = self.encrypter.encrypt(plain(typ, payload), self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }

    pub(crate) async fn send(&mut self, typ: ContentType, payload: &[u8]) -> std::io::Result<()> {
        let record = self.seal(typ, payload);
        self.tcp.write_all(&record).await
    }

    /// The same record `count` times in one go, or until the gate has had enough of it.
    pub(crate) async fn flood(&mut self, typ: ContentType, payload: &[u8], count: usize) -> std::io::Result<()> {
        for _ in 0..count / 100 {
            let records: Vec<u8> = (0..100).flat_map(|_| self.seal(typ, payload)).collect();
            soon(self.tcp.write_all(&records)).await?;
        }
        Ok(())
    }

    /// Takes what comes until the gate ends the connection, cleanly or not.
    pub(crate) async fn until_ended(mut self) {
        let _ = soon(self.tcp.read_to_end(&mut Vec::new())).await;
    }
}

fn plain(typ: ContentType, payload: &[u8]) -> OutboundPlainMessage<'_> {
    OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload: OutboundChunks::Single(payload) }
}
