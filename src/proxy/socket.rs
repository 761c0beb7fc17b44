//! A connected socket, TCP or unix, accepted or dialled: tuned the same way everywhere, and able to end with a reset.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// For how long, and for how many bytes, a peer that was told why it is turned away may go on talking.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 256 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    heard: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Dials a TCP address.
    pub(super) async fn dial_tcp(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Self> {
        let socket = Self::tcp(TcpStream::connect(address).await?, keepalive);
        if socket.is_its_own_peer(address) {
            socket.abort(); // at once, so that the port is free for who should listen there
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(socket)
    }

    /// Where nobody listens on a port of this machine, the system may choose that very port as the source of the connection: then the two
    /// ends meet (RFC 9293 §3.5, simultaneous open), and what is sent comes back as the answer.
    fn is_its_own_peer(&self, peer: SocketAddr) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().is_ok_and(|own| own == peer),
            Stream::Unix(_) => false,
        }
    }

    /// Dials a unix socket.
    pub(super) async fn dial_unix(path: &Path) -> io::Result<Self> {
        Ok(Self::unix(UnixStream::connect(path).await?))
    }

    /// A connected TCP stream. Small writes leave at once (two proxies in a row would otherwise wait 40 ms for each other), and a peer that
    /// vanished is noticed. What the system refuses to set it goes without.
    pub(super) fn tcp(stream: TcpStream, keepalive: Option<Duration>) -> Self {
        let _ = stream.set_nodelay(true);
        if let Some(interval) = keepalive {
            let probes = TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(3);
            // No TCP_USER_TIMEOUT beside it: Linux counts a closed window too, and would end a peer that is there and takes its time to read.
            // One that is gone with bytes unacknowledged is given up by the system (tcp(7), `tcp_retries2`).
            let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
        }
        Self { stream: Stream::Tcp(stream), heard: false }
    }

    /// A connected unix stream.
    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), heard: false }
    }

    /// Whether the other side ever sent a byte: a health check connects, says nothing and leaves.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Ready when there may be something to read, at the price of a look at what the system told last.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let heard = match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
        };
        heard.map(|_| ())
    }

    /// Ends our half, and takes for a moment what still comes: a close on unread bytes would be a reset, and a reset can overtake the last that
    /// we said.
    pub(super) async fn part(mut self) {
        let _ = timeout(PARTING, async {
            self.shutdown().await?;
            tokio::io::copy(&mut self.take(PARTING_BYTES), &mut tokio::io::sink()).await
        })
        .await;
    }

    /// Makes the coming close a reset where the transport has one (TCP): the other side must not take what it has for the whole.
    pub(super) fn abort(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        self.heard |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket holds nothing back
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_on_which_nobody_listens_never_answers() {
        // Linux takes the sources of connections from the even ports first, one after the other: as many attempts come by each of them.
        let mut ports = (40_000..60_000).step_by(2);
        let nobody = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
        for attempt in 0..30_000 {
            let dialled = Socket::dial_tcp(([127, 0, 0, 1], nobody).into(), None).await;
            assert!(dialled.is_err(), "attempt {attempt} was answered");
        }
    }
}
