//! What HTTP/2 says on a connection, gathered until its task has nothing more to add, and written at once: h2 writes after each frame of data,
//! which would be a record of TLS and a system call for each small answer.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::{Unsent, copy_slices};

/// The most that is gathered: what a TLS record holds (RFC 8446 §5.1).
const MOST: usize = 16 * 1024;

/// A wire that h2 writes to, and whoever polls h2 writes out.
#[derive(Debug)]
pub(super) struct Gathering<IO>(Arc<Mutex<Gathered<IO>>>);

impl<IO> Clone for Gathering<IO> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Gathered<IO> {
    io: IO,
    /// Not written yet.
    held: Unsent,
    /// Why it could not be written, until h2 hears of it.
    failure: Option<io::Error>,
}

impl<IO> Gathering<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self(Arc::new(Mutex::new(Gathered { io, held: Unsent::default(), failure: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Gathered<IO>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<IO: AsyncWrite + Unpin> Gathering<IO> {
    /// Writes out what was gathered, as far as the other side takes it. Owed after each poll of h2, by the task that polled.
    pub(super) fn write_out(&self, cx: &mut Context<'_>) {
        let mut gathered = self.lock();
        if let Poll::Ready(Err(error)) = gathered.poll_out(cx) {
            gathered.failure = Some(error);
            cx.waker().wake_by_ref(); // h2 is to hear of it
        }
    }
}

impl<IO: AsyncWrite + Unpin> Gathered<IO> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.held.poll_send(cx, &mut self.io))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Takes what there is room for.
    fn gather(&mut self, slices: &[io::IoSlice<'_>]) -> usize {
        let before = self.held.filled();
        let room = self.held.room().get_mut(..MOST.saturating_sub(before)).unwrap_or_default();
        let taken = copy_slices(slices, room);
        self.held.add(taken);
        taken
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if self.held.filled() >= MOST {
            ready!(self.poll_out(cx))?;
        }
        // What fills a record by itself need not be copied.
        if !self.held.is_on_loan() && slices.iter().map(|slice| slice.len()).sum::<usize>() >= MOST {
            return Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        }
        Poll::Ready(Ok(self.gather(slices)))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gathering<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.lock();
        match gathered.failure.take() {
            Some(failure) => Poll::Ready(Err(failure)),
            None => Pin::new(&mut gathered.io).poll_read(cx, buffer),
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gathering<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 does so after each frame of data; what it wrote goes out when it has said all.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.lock();
        ready!(gathered.poll_out(cx))?;
        Pin::new(&mut gathered.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
