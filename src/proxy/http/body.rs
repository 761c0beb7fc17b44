//! Bodies on their way: a request's to the upstream, an answer's to the client. Nothing is held back; what the receiver does not take, the sender
//! is not asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::exchange::{BodyFault, Cut, Exchange, Guard};
use super::http1::RequestStream;
use super::hygiene;
use super::send::Lease;
use super::told;
use crate::metrics::RequestOutcome;

/// How long a client that waits for leave to send its body (`Expect: 100-continue`) is made to wait for the application's word (RFC 9110 §10.1.1:
/// not for ever).
const LEAVE: Duration = Duration::from_secs(1);

/// Why a body did not reach its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Whoever sent it broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// It is longer than we take.
    #[error("the body is longer than `max_body`")]
    TooLarge,
    /// The exchange was cut short.
    #[error("the exchange was cut short: {0:?}")]
    Cut(Cut),
}

/// A request's body as it comes from the client.
pub(super) enum Received {
    /// There is none.
    Nothing,
    Http1(RequestStream),
    Http2(Incoming),
}

impl Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        match self {
            Self::Nothing => Poll::Ready(None),
            Self::Http1(stream) => stream.poll_frame(cx).map_err(|error| error.to_string()),
            Self::Http2(incoming) => match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                // hyper takes a stream that is reset without an error for one that has ended, wherever that is.
                None if !incoming.is_end_stream() => Poll::Ready(Some(Err("its stream was reset".into()))),
                frame => Poll::Ready(frame.map(|frame| frame.map_err(|error| told(&error)))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http1(stream) => stream.is_end_stream(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Http1(stream) => stream.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}

/// A request's body on its way to the upstream.
pub(super) struct RequestBody {
    inner: Received,
    exchange: Arc<Exchange>,
    /// What may still come.
    left: Option<u64>,
    /// It waits for the application's leave, for a moment.
    patience: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(inner: Received, exchange: Arc<Exchange>, max: Option<usize>) -> Self {
        let left = max.map(|max| max as u64);
        if inner.is_end_stream() {
            exchange.said();
        }
        Self { inner, exchange, left, patience: None }
    }

    /// No body at all.
    pub(super) fn none(exchange: Arc<Exchange>) -> Self {
        Self::new(Received::Nothing, exchange, None)
    }

    /// Holds it back until the application gives leave, or for a moment.
    pub(super) fn wait_for_leave(&mut self) {
        self.patience = Some(Box::pin(sleep(LEAVE)));
    }

    /// The application gave leave.
    pub(super) fn has_leave(&mut self) {
        self.patience = None;
    }

    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(patience) = &mut self.patience {
            std::task::ready!(patience.as_mut().poll(cx));
            self.patience = None;
        }
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
            Err(frame) => Ok(clean(frame, &self.exchange)),
        }
    }
}

/// Takes out of trailers what may not stand in them.
fn clean(frame: Frame<Bytes>, exchange: &Exchange) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            hygiene::trailers(&mut trailers, &exchange.moment.gateway.names);
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
        self.exchange.asked_for_body();
        let frame = self.inner.poll_frame(cx);
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
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body on its way to the client.
pub(super) enum AnswerBody {
    /// Of our own making, and the guard that is held until it is said. Boxed: it is rare, and bodies are moved about.
    Own(Box<(Full<Bytes>, Option<Guard>)>),
    /// The upstream's.
    Relayed(Box<Relayed>),
}

/// An upstream's answer under way.
pub(super) struct Relayed {
    /// What the answer comes over; given back at its end.
    lease: Option<Lease>,
    guard: Option<Guard>,
}

impl AnswerBody {
    /// One of our own making.
    pub(super) fn own(body: Full<Bytes>, guard: Option<Guard>) -> Self {
        Self::Own(Box::new((body, guard)))
    }

    /// The upstream's answer; what it comes over is given back at once where there is no body.
    pub(super) fn relayed(lease: Lease, guard: Guard) -> Self {
        let is_all = lease.is_end_stream();
        let mut relayed = Relayed { lease: Some(lease), guard: Some(guard) };
        if is_all {
            relayed.end(RequestOutcome::Answered);
        }
        Self::Relayed(Box::new(relayed))
    }
}

impl Relayed {
    fn is_end_stream(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_end_stream)
    }

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
        let (Some(lease), Some(guard)) = (&mut self.lease, &mut self.guard) else { return Poll::Ready(None) };
        if let Some(cut) = guard.exchange.why_cut(cx) {
            guard.told.reason = Some(cut.to_string());
            guard.client.answer_broke(guard.exchange.version);
            self.end(RequestOutcome::Cut);
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        match std::task::ready!(lease.poll_frame(cx)) {
            Some(Ok(frame)) => {
                guard.exchange.touch();
                guard.exchange.count_received(frame.data_ref().map_or(0, Bytes::len) as u64);
                let frame = clean(frame, &guard.exchange);
                // Nobody asks for more after trailers.
                if frame.is_trailers() || lease.is_end_stream() {
                    self.end(RequestOutcome::Answered);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                guard.told.reason = Some(error.clone());
                guard.client.answer_broke(guard.exchange.version);
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
            Self::Own(own) => Pin::new(&mut own.0).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(relayed) => relayed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own) => own.0.is_end_stream(),
            Self::Relayed(relayed) => relayed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(own) => own.0.size_hint(),
            Self::Relayed(relayed) => relayed.lease.as_ref().map_or_else(|| SizeHint::with_exact(0), Lease::size_hint),
        }
    }
}
