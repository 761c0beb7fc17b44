//! A wire that hyper holds, and that we can still cut and ask about: hyper gives nothing back before it is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::wire::Wire;

/// A wire on a leash.
#[derive(Debug)]
pub(super) struct Leash {
    /// Taken out only together with the leash.
    wire: Option<Wire>,
    state: Arc<LeashState>,
}

/// The other end of the leash.
#[derive(Debug, Default)]
pub(super) struct LeashState {
    cut: AtomicBool,
    heard: AtomicBool,
}

impl LeashState {
    /// Makes the end of the wire a reset, however hyper ends it.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Whether a byte came since [`Self::forget`].
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Listens for a byte anew.
    pub(super) fn forget(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }
}

impl Leash {
    pub(super) fn new(wire: Wire) -> (Self, Arc<LeashState>) {
        let state = Arc::<LeashState>::default();
        (Self { wire: Some(wire), state: state.clone() }, state)
    }

    /// The wire, off the leash.
    pub(super) fn into_wire(mut self) -> Option<Wire> {
        self.wire.take()
    }

    fn wire(self: Pin<&mut Self>) -> io::Result<Pin<&mut Wire>> {
        self.get_mut().wire.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
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
        let before = buffer.filled().len();
        ready!(self.as_mut().wire()?.poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.state.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Leash {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_shutdown(cx)
    }
}
