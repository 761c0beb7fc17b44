//! A client's connection, from request to request: a head is read and judged, its body goes to whoever asks for it, the answer is written. One request
//! at a time: what a client sends ahead waits where it came.

mod stream;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode, Version};
use http_body::{Body as HttpBody, Frame};
use tokio::time::timeout;

use super::asked::Asked;
use super::held::Held;
use super::message::Body;
use super::outbox::{Framing, Outbox};
use super::request_head::{self, RequestHead, has_begun};
use super::{Fault, Limits, Unreadable};
use crate::proxy::error::ConnectionError;
use crate::proxy::http::body::{AnswerBody, Received};
use crate::proxy::http::head_clock::HeadClock;
use crate::proxy::http::leash::Leash;
use crate::proxy::http::parts::{AnswerParts, RequestParts};

pub(in crate::proxy::http) use stream::RequestStream;

/// For how long, and for how many bytes, the rest of a request's body is taken that nobody wanted, so that the connection can go on.
const DISCARD: Duration = Duration::from_secs(1);
const DISCARD_BYTES: u64 = 256 * 1024;

/// A client's end of a connection, shared with the body of the request that is being read.
pub(in crate::proxy::http) struct ClientEnd {
    inner: Mutex<Inner>,
    limits: Limits,
}

struct Inner {
    wire: Leash,
    held: Held,
    /// The rest of the current request's body.
    body: Body,
    /// Which request that is: a body that outlives its answer must not read the next one.
    number: u64,
    /// The client waits for leave to send it, or for as much of that as is not written yet.
    leave: Leave,
    fault: Option<Fault>,
    /// Our own answer to the fault is the next that the client expects.
    is_due: bool,
    /// No further request is waited for.
    is_ending: bool,
    /// Who waits for more of the body, and who for the client to leave: the body may be read by another task than the one that serves.
    reader: Option<Waker>,
    watcher: Option<Waker>,
}

enum Leave {
    Expected,
    Given(Outbox),
    No,
}

/// What a connection leaves behind.
pub(in crate::proxy::http) struct Remains {
    pub(in crate::proxy::http) wire: Leash,
    /// What was read and not used: after a granted upgrade, the first bytes of the other protocol.
    pub(in crate::proxy::http) leftover: Bytes,
    /// What is wrong with the client's bytes, if something is.
    pub(in crate::proxy::http) fault: Option<Fault>,
    /// Whether our own answer to it is the next that the client expects. Not so for a fault inside a body, whose request has its answer.
    pub(in crate::proxy::http) is_due: bool,
}

impl ClientEnd {
    /// The end of a client that said `first` already.
    pub(in crate::proxy::http) fn new(wire: Leash, first: Bytes, limits: Limits) -> Arc<Self> {
        let inner = Inner {
            wire,
            held: Held::new(first),
            body: Body::Ended,
            number: 0,
            leave: Leave::No,
            fault: None,
            is_due: false,
            is_ending: false,
            reader: None,
            watcher: None,
        };
        Arc::new(Self { inner: Mutex::new(inner), limits })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves request after request as `answer` says, until an answer `is_last`, the client wants no more, or the connection goes on with other
    /// bytes.
    ///
    /// # Errors
    /// Why the client has not all that it asked for.
    pub(in crate::proxy::http) async fn serve<F>(
        self: Arc<Self>,
        clock: Arc<HeadClock>,
        answer: impl Fn(RequestParts, Received) -> F,
        is_last: impl Fn() -> bool,
    ) -> Result<(), ConnectionError>
    where
        F: Future<Output = (AnswerParts, AnswerBody)>,
    {
        while let Some(head) = poll_fn(|cx| self.poll_head(cx, &clock)).await? {
            let (asked, keeps_alive) = (Asked::of(&head), head.keeps_alive);
            let body = self.body();
            let (parts, body) = {
                let mut answer = pin!(answer(head.parts, body)); // made where it stays: it is large
                poll_fn(|cx| self.poll_unless_left(cx, answer.as_mut())).await?
            };
            let gives_over = asked.gives_over(parts.status);
            let goes_on = self.say(parts, body, &asked, keeps_alive && !is_last()).await?;
            if !goes_on || gives_over || !self.is_through().await {
                break;
            }
        }
        Ok(())
    }

    /// The next head; `None` at the end, or where what comes is none.
    fn poll_head(&self, cx: &mut Context<'_>, clock: &HeadClock) -> Poll<Result<Option<RequestHead>, ConnectionError>> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        loop {
            if inner.held.is_worth_a_look(self.limits.max_header_bytes)
                && let Some(head) = inner.judge(self.limits)
            {
                clock.stop();
                return Poll::Ready(Ok(head));
            }
            let has_begun = has_begun(inner.held.bytes());
            if inner.is_ending && !has_begun {
                return Poll::Ready(Ok(None));
            }
            match inner.held.poll_read(cx, &mut inner.wire) {
                Poll::Ready(Ok(0)) if !has_begun => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(inner.cut_off(Fault::Truncated, self.limits, clock))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
                Poll::Pending if has_begun => {
                    if clock.has_expired() {
                        return Poll::Ready(Ok(inner.cut_off(Fault::Timeout, self.limits, clock)));
                    }
                    clock.start();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The body of a request, for whoever wants it.
    fn body(self: &Arc<Self>) -> Received {
        let inner = self.inner();
        if inner.body.has_ended() {
            return Received::Nothing;
        }
        Received::Http1(RequestStream::new(self.clone(), inner.number, inner.body.left()))
    }

    /// Waits for an answer, unless the client leaves before: then nobody does any longer.
    fn poll_unless_left<F: Future>(
        &self,
        cx: &mut Context<'_>,
        answer: Pin<&mut F>,
    ) -> Poll<Result<F::Output, ConnectionError>> {
        match answer.poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => self.poll_left(cx).map(Err),
        }
    }

    /// Ready when the client has left. While the request's body is still to come whoever reads that notices.
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if !inner.body.has_ended() {
            inner.watcher = Some(cx.waker().clone());
        }
        while inner.body.has_ended() && inner.held.len() <= self.limits.max_header_bytes {
            ready!(inner.wire.poll_heard(cx));
            match ready!(inner.held.poll_read(cx, &mut inner.wire)) {
                Ok(0) => return Poll::Ready(ConnectionError::Http("the client left before it had its answer".into())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(broken(&error)),
            }
        }
        Poll::Pending
    }

    /// Writes an answer, as fast as it comes and the client takes it. Tells whether another may follow it.
    async fn say(
        &self,
        mut parts: AnswerParts,
        mut body: AnswerBody,
        asked: &Asked,
        goes_on: bool,
    ) -> Result<bool, ConnectionError> {
        let (mut framing, says_none) = asked.framing(parts.status, &body);
        let (mut out, goes_on) = self.inner().begin_answer(goes_on && framing != Framing::UntilEnd);
        if asked.version == Version::HTTP_10 && goes_on {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        } else if !goes_on && !asked.gives_over(parts.status) {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if framing == Framing::Nothing && (parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT) {
            parts.headers.remove(&CONTENT_LENGTH); // RFC 9110 §8.6
        }
        out.put_answer(asked.version, parts.status, &parts.headers, &framing, says_none);
        drop(parts);
        let mut has_ended = false;
        poll_fn(|cx| {
            loop {
                while !has_ended && out.has_room() {
                    let frame =
                        if body.is_end_stream() { Poll::Ready(None) } else { Pin::new(&mut body).poll_frame(cx) };
                    let Poll::Ready(frame) = frame else { break };
                    match frame {
                        Some(Ok(frame)) if !asked.takes(&frame) => {}
                        Some(Ok(frame)) => out.put_frame(&mut framing, frame).map_err(|error| told(&error))?,
                        Some(Err(error)) => return Poll::Ready(Err(told(&error))),
                        None => {
                            out.put_end(&framing).map_err(|error| told(&error))?;
                            has_ended = true;
                        }
                    }
                }
                if out.is_empty() {
                    return if has_ended { Poll::Ready(Ok(goes_on)) } else { self.poll_left(cx).map(Err) };
                }
                let written = out.poll_write(cx, &mut self.inner().wire);
                ready!(written).map_err(|error| broken(&error))?;
            }
        })
        .await
    }

    /// Whether the request is all through, and another may follow. What is left of its body, unwanted, is passed over within bounds.
    async fn is_through(&self) -> bool {
        if self.inner().body.has_ended() {
            return true;
        }
        self.inner().abandon();
        let mut left = DISCARD_BYTES;
        let discarded = poll_fn(|cx| {
            loop {
                let frame = ready!(self.inner().poll_frame(cx, self.limits));
                match frame {
                    None => return Poll::Ready(true),
                    Some(Err(_)) => return Poll::Ready(false),
                    Some(Ok(frame)) => {
                        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                        let Some(rest) = left.checked_sub(length) else { return Poll::Ready(false) };
                        left = rest;
                    }
                }
            }
        });
        timeout(DISCARD, discarded).await.unwrap_or(false)
    }

    /// Waits for no further request.
    pub(in crate::proxy::http) fn end_idle(&self) {
        self.inner().is_ending = true;
    }

    /// What is left, once nobody serves it any more.
    pub(in crate::proxy::http) fn remains(&self) -> Remains {
        let mut inner = self.inner();
        inner.abandon();
        Remains {
            wire: std::mem::take(&mut inner.wire),
            leftover: inner.held.take(usize::MAX),
            fault: inner.fault,
            is_due: inner.is_due,
        }
    }
}

impl Inner {
    /// Looks at the head that is held: `Some(None)` where it is none.
    fn judge(&mut self, limits: Limits) -> Option<Option<RequestHead>> {
        match request_head::examine(self.held.bytes(), limits) {
            Ok(None) => {
                self.held.was_looked_at();
                None
            }
            Ok(Some(mut head)) => {
                self.held.take(head.len);
                self.number += 1;
                (self.reader, self.watcher) = (None, None);
                self.leave = if head.expects_leave { Leave::Expected } else { Leave::No };
                self.body = std::mem::replace(&mut head.body, Body::Ended);
                Some(Some(head))
            }
            Err(fault) => {
                (self.fault, self.is_due) = (Some(fault), fault.status().is_some());
                Some(None)
            }
        }
    }

    /// Nothing is added to the head any more: refused for what it is, if it can be, and else for being cut off.
    fn cut_off(&mut self, why: Fault, limits: Limits, clock: &HeadClock) -> Option<RequestHead> {
        clock.stop();
        self.judge(limits).unwrap_or_else(|| {
            (self.fault, self.is_due) = (Some(why), why.status().is_some());
            None
        })
    }

    /// An answer begins. What of a leave was begun stands before it, and none is given any more; who waits for it may send the body or not, and
    /// what comes then may look like a request: nothing may follow this answer.
    fn begin_answer(&mut self, goes_on: bool) -> (Outbox, bool) {
        let waits = matches!(self.leave, Leave::Expected);
        let begun = match std::mem::replace(&mut self.leave, Leave::No) {
            Leave::Given(begun) => {
                // Whoever waited to write it waits for the body itself from now on.
                self.reader.take().inspect(Waker::wake_by_ref);
                begun
            }
            Leave::Expected | Leave::No => Outbox::default(),
        };
        (begun, goes_on && !waits && !self.is_ending)
    }

    /// Nobody's is what is left of the body: who still waits for it is told that it breaks off.
    fn abandon(&mut self) {
        self.number += 1;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The next part of the request's body. The client is told that it is wanted, if it waits for that.
    fn poll_frame(&mut self, cx: &mut Context<'_>, limits: Limits) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        if let Leave::Expected = self.leave {
            let mut out = Outbox::default();
            // One that did not wait gets no word: it needs none (RFC 9110 §10.1.1).
            if self.held.is_empty() {
                out.put(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.leave = Leave::Given(out);
        }
        if let Leave::Given(out) = &mut self.leave {
            if let Err(error) = ready!(out.poll_write(cx, &mut self.wire)) {
                return Poll::Ready(Some(Err(error.into())));
            }
            self.leave = Leave::No;
        }
        let frame = ready!(self.body.poll_frame(cx, &mut self.held, &mut self.wire, limits));
        if let Some(Err(Unreadable::Fault(fault))) = &frame {
            self.fault.get_or_insert(*fault);
        }
        Poll::Ready(frame)
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEnd").finish_non_exhaustive()
    }
}

fn broken(error: &io::Error) -> ConnectionError {
    ConnectionError::Http(error.to_string())
}

fn told(error: &dyn std::error::Error) -> ConnectionError {
    ConnectionError::Http(crate::proxy::http::told(error))
}
