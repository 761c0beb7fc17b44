//! Bodies on their way: a request's to the upstream, an answer's to the client. Nothing is held back; what the receiver does not take, the sender
//! is not asked for.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::exchange::{BodyFault, Cut, Exchange, Guard};
use super::hygiene;
use super::identity::IdentityNames;
use super::send::Lease;
use crate::metrics::RequestOutcome;

/// How long a client that waits for leave to send its body (`Expect: 100-continue`) is made to wait for the application's word (RFC 9110 §10.1.1:
/// not for ever).
const LEAVE: Duration = Duration::from_secs(1);

/// Why a body did not reach its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Whoever sent it broke off.
    #[error("the body broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// It is longer than we take.
    #[error("the body is longer than `max_body`")]
    TooLarge,
    /// The exchange was cut short.
    #[error("the exchange was cut short: {0:?}")]
    Cut(Cut),
}

/// A request's body on its way to the upstream.
pub(super) struct RequestBody {
    /// `None` for a request that has none, or that is sent again.
    inner: Option<Incoming>,
    exchange: Arc<Exchange>,
    names: Arc<IdentityNames>,
    /// What may still come.
    left: Option<u64>,
    leave: Option<Leave>,
    touched: Arc<AtomicBool>,
}

/// The application's leave to send the body.
struct Leave {
    given: Arc<Given>,
    patience: Pin<Box<Sleep>>,
}

/// Whether the application gave its leave.
#[derive(Default)]
pub(super) struct Given {
    is: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Given {
    pub(super) fn give(&self) {
        self.is.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, exchange: Arc<Exchange>, names: Arc<IdentityNames>, max: Option<usize>) -> Self {
        let left = max.map(|max| max as u64);
        if inner.is_end_stream() {
            exchange.said();
        }
        Self { inner: Some(inner), exchange, names, left, leave: None, touched: Arc::default() }
    }

    /// No body at all.
    pub(super) fn none(exchange: Arc<Exchange>, names: Arc<IdentityNames>) -> Self {
        exchange.said();
        Self { inner: None, exchange, names, left: None, leave: None, touched: Arc::default() }
    }

    /// Whether anybody asked for a part of it: then it cannot be sent again.
    pub(super) fn touched(&self) -> Arc<AtomicBool> {
        self.touched.clone()
    }

    /// Holds it back until the application gives leave, or for a moment.
    pub(super) fn wait_for_leave(&mut self) -> Arc<Given> {
        let given = Arc::<Given>::default();
        self.leave = Some(Leave { given: given.clone(), patience: Box::pin(sleep(LEAVE)) });
        given
    }

    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(leave) = &mut self.leave else { return Poll::Ready(()) };
        *leave.given.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if !leave.given.is.load(Ordering::Acquire) && leave.patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.leave = None;
        Poll::Ready(())
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        self.exchange.touch();
        match frame.into_data() {
            Ok(data) => {
                let length = data.len() as u64;
                self.exchange.count_sent(length);
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(length).ok_or(BodyError::TooLarge)?;
                }
                Ok(Frame::data(data))
            }
            Err(frame) => Ok(clean(frame, &self.names)),
        }
    }
}

/// Takes out of trailers what may not stand in them.
fn clean(frame: Frame<Bytes>, names: &IdentityNames) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            hygiene::trailers(&mut trailers, names);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(cut) = self.exchange.why_cut(cx) {
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        if self.poll_leave(cx).is_pending() {
            return Poll::Pending;
        }
        self.touched.store(true, Ordering::Relaxed);
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = Pin::new(inner).poll_frame(cx);
        self.exchange.asked_for_more(frame.is_ready());
        Poll::Ready(match std::task::ready!(frame) {
            Some(Ok(frame)) => {
                let taken = self.take(frame);
                match &taken {
                    Err(BodyError::TooLarge) => self.exchange.faulted(BodyFault::TooLarge),
                    // Nobody asks for more after trailers.
                    Ok(frame) if frame.is_trailers() || self.is_end_stream() => self.exchange.said(),
                    _ => {}
                }
                Some(taken)
            }
            Some(Err(error)) => {
                self.exchange.faulted(BodyFault::Broken);
                Some(Err(BodyError::Broken(error)))
            }
            None => {
                self.exchange.said();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// An answer's body on its way to the client.
pub(super) enum AnswerBody {
    /// Of our own making.
    Own(Full<Bytes>, #[expect(dead_code, reason = "held until the answer is said")] Option<Guard>),
    /// The upstream's.
    Relayed(Box<Relayed>),
}

/// An upstream's answer under way.
pub(super) struct Relayed {
    inner: Incoming,
    names: Arc<IdentityNames>,
    /// What the answer comes over; given back at its end.
    lease: Option<Lease>,
    guard: Option<Guard>,
}

impl AnswerBody {
    /// The upstream's answer; what it comes over is given back at once where there is no body.
    pub(super) fn relayed(inner: Incoming, names: Arc<IdentityNames>, lease: Lease, guard: Guard) -> Self {
        let mut relayed = Relayed { inner, names, lease: Some(lease), guard: Some(guard) };
        if relayed.inner.is_end_stream() {
            relayed.end(RequestOutcome::Answered);
        }
        Self::Relayed(Box::new(relayed))
    }
}

impl Relayed {
    /// All of it was handed on, or it broke.
    fn end(&mut self, outcome: RequestOutcome) {
        if let Some(lease) = self.lease.take().filter(|_| outcome == RequestOutcome::Answered) {
            lease.give_back();
        }
        if let Some(mut guard) = self.guard.take() {
            guard.told.outcome = outcome;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(cut) = self.guard.as_ref().and_then(|guard| guard.exchange.why_cut(cx)) {
            if let Some(guard) = &mut self.guard {
                guard.told.reason = Some(cut.to_string());
                guard.client.answer_broke(guard.exchange.version);
            }
            self.end(RequestOutcome::Cut);
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if frame.is_pending()
            && let Some(lease) = &mut self.lease
        {
            lease.drive(cx);
            frame = Pin::new(&mut self.inner).poll_frame(cx);
        }
        match std::task::ready!(frame) {
            Some(Ok(frame)) => {
                if let Some(guard) = &self.guard {
                    guard.exchange.touch();
                    let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                    guard.exchange.count_received(length);
                }
                let frame = clean(frame, &self.names);
                // Nobody asks for more after trailers.
                if frame.is_trailers() || self.inner.is_end_stream() {
                    self.end(RequestOutcome::Answered);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                if let Some(guard) = &mut self.guard {
                    guard.told.reason = Some(super::told(&error));
                    guard.client.answer_broke(guard.exchange.version);
                }
                self.end(RequestOutcome::UpstreamBroken);
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            None => {
                self.end(RequestOutcome::Answered);
                Poll::Ready(None)
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(own, _) => Pin::new(own).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(relayed) => relayed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own, _) => own.is_end_stream(),
            Self::Relayed(relayed) => relayed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(own, _) => own.size_hint(),
            Self::Relayed(relayed) => relayed.inner.size_hint(),
        }
    }
}
