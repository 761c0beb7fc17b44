//! The bench's own client of HTTP/1.1, over plaintext and over mutual TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::credentials::NAME;
use crate::floor;

/// Bytes of an answer's body.
pub(crate) const ANSWER: usize = 512;

/// A request on a connection that stays.
pub(crate) const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A request that ends its connection.
pub(crate) const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Opens mutual TLS with the bench's certificate; no session is ever resumed.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn new(plain: &Path) -> anyhow::Result<Self> {
        Ok(Self(TlsConnector::from(Arc::new(floor::client_config(plain)?))))
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.0.connect(ServerName::try_from(NAME)?, tcp).await?)
    }

    /// A new connection, one request and its answer, and the end.
    pub(crate) async fn visit(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut stream = self.connect(address).await?;
        ask(&mut stream, LAST).await?;
        // Whoever ends first without a word does no harm here: the answer is there.
        let _ = stream.shutdown().await;
        Ok(())
    }
}

/// One request in plaintext, on a connection of its own. Returns the body.
pub(crate) async fn get(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    ask(&mut stream, LAST).await
}

/// Sends `request` and reads its answer to the end of the body. Anything but 200 is an error.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> anyhow::Result<String> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut received = Vec::with_capacity(1024);
    loop {
        if let Some(answer) = complete(&received)? {
            return Ok(answer);
        }
        if stream.read_buf(&mut received).await? == 0 {
            return ended(&received);
        }
    }
}

/// The body, once it is there in full.
pub(crate) fn complete(received: &[u8]) -> anyhow::Result<Option<String>> {
    let text = std::str::from_utf8(received)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("answered {:?}", head.lines().next().unwrap_or_default());
    }
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let whole = length.is_some_and(|length| body.len() >= length) || body.ends_with("0\r\n\r\n");
    Ok(whole.then(|| body.to_owned()))
}

/// The body of an answer that ends with its connection.
fn ended(received: &[u8]) -> anyhow::Result<String> {
    let text = std::str::from_utf8(received)?;
    let (head, body) = text.split_once("\r\n\r\n").context("the connection ended before an answer")?;
    if head.to_ascii_lowercase().contains("content-length") {
        bail!("the connection ended in the middle of an answer");
    }
    Ok(body.to_owned())
}
