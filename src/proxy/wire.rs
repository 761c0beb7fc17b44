//! What bytes pass over once a connection is made, whatever it is made of: one type, so that what carries them is written once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;
use super::stream::GivenOver;
use crate::tls::Stream;

/// A stream of bytes to one side.
#[derive(Debug)]
pub(super) enum Wire {
    /// Mutual TLS. Boxed: rustls' state is a kilobyte, and wires are moved about.
    Tls(Box<Stream<Socket>>),
    /// Plaintext.
    Plain(Socket),
    /// A stream within an HTTP/2 connection.
    Stream(Box<GivenOver>),
}

impl Wire {
    pub(super) fn tls(stream: Stream<Socket>) -> Self {
        Self::Tls(Box::new(stream))
    }

    /// The chain that the peer presented, leaf first; nothing where there is no TLS.
    pub(super) fn peer_chain(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Tls(stream) => stream.peer_chain(),
            Self::Plain(_) | Self::Stream(_) => &[],
        }
    }

    /// Ready when something new may have come: to read is dearer. What was read of the transport before, and not taken, does not count.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tls(stream) => stream.io().poll_heard(cx),
            Self::Plain(socket) => socket.poll_heard(cx),
            Self::Stream(_) => Poll::Ready(()),
        }
    }

    /// Makes the coming close a reset where there is one: the other side must not take what it has for the whole.
    pub(super) fn abort(&self) {
        match self {
            Self::Tls(stream) => stream.io().abort(),
            Self::Plain(socket) => socket.abort(),
            Self::Stream(stream) => stream.abort(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Stream(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Stream(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Stream(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Stream(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Stream(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
