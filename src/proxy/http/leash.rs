//! A wire that somebody else holds, and that we can still cut and ask about: hyper gives nothing back before it is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::wire::Wire;

/// A wire on a leash.
#[derive(Debug, Default)]
pub(super) struct Leash {
    /// Taken out only together with the leash.
    wire: Option<Wire>,
    /// What was read of it before, and is to be read again.
    again: Bytes,
    state: Arc<LeashState>,
}

/// The other end of the leash.
#[derive(Debug, Default)]
pub(super) struct LeashState {
    cut: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
}

impl LeashState {
    /// Makes the end of the wire a reset, however it is ended.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// Only who holds the wire counts, and no two tasks poll it at a time: no read-modify-write is needed.
fn count(counter: &AtomicU64, bytes: usize) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(bytes as u64), Ordering::Relaxed);
}

impl Leash {
    pub(super) fn new(wire: Wire) -> (Self, Arc<LeashState>) {
        let state = Arc::<LeashState>::default();
        (Self { wire: Some(wire), again: Bytes::new(), state: state.clone() }, state)
    }

    /// Lets `first`, which was read of it, be read once more.
    pub(super) fn rewound(mut self, first: Bytes) -> Self {
        self.again = first;
        self
    }

    /// The wire, off the leash.
    pub(super) fn into_wire(mut self) -> Option<Wire> {
        self.wire.take()
    }

    /// Ready when something new may have come.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.as_ref().map_or(Poll::Ready(()), |wire| wire.poll_heard(cx))
    }

    fn wire(&mut self) -> io::Result<Pin<&mut Wire>> {
        self.wire.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.as_ref().filter(|_| self.state.cut.load(Ordering::Relaxed)) {
            wire.abort();
        }
    }
}

impl AsyncRead for Leash {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let fits = self.again.len().min(buffer.remaining());
            let again = self.again.split_to(fits);
            buffer.put_slice(again.chunk());
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(self.wire()?.poll_read(cx, buffer))?;
        count(&self.state.read, buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Leash {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.wire()?.poll_write(cx, bytes))?;
        count(&self.state.written, written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.wire()?.poll_write_vectored(cx, slices))?;
        count(&self.state.written, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_shutdown(cx)
    }
}
