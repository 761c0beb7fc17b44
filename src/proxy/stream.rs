//! A client's streams of HTTP/2, each the future that hyper makes of it: what resets one and leaves its connection alone, and what tells one that
//! ended from one that was given up. hyper itself gives no hold on a stream.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hyper::rt::Executor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::crew::{Crew, Recruiting};

tokio::task_local! {
    /// The stream that is worked on.
    static CURRENT: Arc<Stream>;
}

/// Runs the streams of a client's connection, in the connection's own task.
#[derive(Clone, Debug)]
pub(super) struct Streams(Recruiting);

impl Streams {
    pub(super) fn within(crew: &Crew) -> Self {
        Self(crew.recruiting())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    /// The connection has one executed for each request. What a request itself has executed sends the bytes of its stream once that was given over
    /// to other bytes.
    fn execute(&self, future: F) {
        let current = CURRENT.try_with(Arc::clone);
        let stream = current.clone().unwrap_or_default();
        if current.is_ok() {
            let sender = Arc::new(Sender(Mutex::new((Some(Box::pin(future)), None))));
            let _ = stream.sender.set(sender.clone());
            tokio::spawn(poll_fn(move |cx| sender.poll(cx)));
            if stream.is_reset() {
                stream.reset();
            }
        } else {
            self.0.recruit(CURRENT.scope(stream.clone(), async move {
                let mut future = pin!(future);
                poll_fn(|cx| stream.work(future.as_mut(), cx)).await;
            }));
        }
    }
}

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Wakes whoever works on it.
    worker: OnceLock<Waker>,
    sender: OnceLock<Arc<Sender>>,
    is_reset: AtomicBool,
}

impl Stream {
    /// The stream whose request is being served; `None` in HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Gives up what is still to be said on it: it is reset as soon as nobody holds its receiving side either.
    pub(super) fn reset(&self) {
        self.is_reset.store(true, Ordering::SeqCst);
        self.worker.get().inspect(|worker| worker.wake_by_ref());
        self.sender.get().inspect(|sender| sender.stop());
    }

    pub(super) fn is_reset(&self) -> bool {
        self.is_reset.load(Ordering::SeqCst)
    }

    /// Works on it, until that is done or it is reset.
    fn work(&self, future: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
        self.worker.get_or_init(|| cx.waker().clone());
        if self.is_reset() { Poll::Ready(()) } else { future.poll(cx) }
    }
}

/// What sends the bytes of a stream that was given over. hyper ends the stream where its bytes end, also where they were cut off; only without this
/// the stream is reset.
struct Sender(Mutex<(Option<Sending>, Option<Waker>)>);

type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Sender {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.1 = Some(cx.waker().clone());
        Self::send(&mut sender)
    }

    /// Lets it see what has come, which is else its own task's to do in its time.
    fn look(&self) {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Self::send(&mut sender).is_ready() {
            sender.1.take().inspect(Waker::wake_by_ref);
        }
    }

    fn send((sending, waker): &mut (Option<Sending>, Option<Waker>)) -> Poll<()> {
        let (Some(running), Some(waker)) = (sending.as_mut(), waker) else { return Poll::Ready(()) };
        ready!(running.as_mut().poll(&mut Context::from_waker(waker)));
        *sending = None;
        Poll::Ready(())
    }

    fn stop(&self) {
        let stopped = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        stopped.1.inspect(Waker::wake_by_ref);
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// A stream that was given over to other bytes (RFC 9113 §8.5, RFC 8441).
#[derive(Debug)]
pub(super) struct GivenOver {
    io: TokioIo<Upgraded>,
    /// `None` towards an upstream, where hyper leaves no way to tell whose stream a task sends on.
    stream: Option<Arc<Stream>>,
}

impl GivenOver {
    pub(super) fn new(upgraded: Upgraded, stream: Option<Arc<Stream>>) -> Self {
        Self { io: TokioIo::new(upgraded), stream }
    }

    /// Makes its end a reset.
    pub(super) fn abort(&self) {
        self.stream.as_ref().inspect(|stream| stream.reset());
    }

    /// What the sending side knows of a reset, which hyper takes for an end of the receiving side where its code is CANCEL or NO_ERROR. With the
    /// latter a server says, after its end, that it needs no more of ours (RFC 9113 §8.1).
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.stream.as_ref().and_then(|stream| stream.sender.get()).inspect(|sender| sender.look());
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(error)) if self.stream.is_none() && has_said_all(&error) => Ok(()),
            Poll::Ready(Err(error)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, error)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

/// Whether a stream was reset with NO_ERROR.
fn has_said_all(error: &io::Error) -> bool {
    let mut cause = error.get_ref().map(|error| error as &(dyn Error + 'static));
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::NO_ERROR);
        }
        cause = error.source();
    }
    false
}

impl AsyncRead for GivenOver {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let has_ended = buffer.remaining() == before && before > 0;
        Poll::Ready(if has_ended { self.poll_broken(cx) } else { Ok(()) })
    }
}

impl AsyncWrite for GivenOver {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
