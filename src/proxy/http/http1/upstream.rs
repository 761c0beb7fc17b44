//! A connection to a target that carries one request after the other. It has no task: whoever waits for the answer moves it on.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::answer_head::{self, AnswerHead};
use super::held::Held;
use super::message::Body;
use super::outbox::{Framing, Outbox};
use super::{Limits, Unreadable};
use crate::config::HttpLimits;
use crate::proxy::http::Place;
use crate::proxy::http::body::RequestBody;
use crate::proxy::http::parts::{AnswerParts, RequestParts};
use crate::proxy::http::server::Server;
use crate::proxy::wire::Wire;

/// A connection of HTTP/1.1 to a target.
pub(in crate::proxy::http) struct Http1 {
    wire: Wire,
    limits: Limits,
    held: Held,
    out: Outbox,
    /// The rest of the request's body, and how it is framed.
    sending: Option<(RequestBody, Framing)>,
    /// Of the request.
    method: Method,
    /// The rest of the answer's body.
    answer: Body,
    /// Another request may follow.
    goes_on: bool,
    /// Something came since the request was put on it.
    heard: bool,
    /// Why the request could not be written to its end: an answer may have come before.
    unsent: Option<String>,
    pub(in crate::proxy::http) server: Option<Arc<Server>>,
    waiting_since: Instant,
    place: Place,
}

impl Http1 {
    /// A connection on a fresh wire.
    pub(in crate::proxy::http) fn new(
        wire: Wire,
        server: Option<Arc<Server>>,
        limits: &HttpLimits,
        place: Place,
    ) -> Box<Self> {
        let HttpLimits { max_header_bytes, max_headers, .. } = *limits;
        Box::new(Self {
            wire,
            limits: Limits { max_header_bytes, max_headers },
            held: Held::default(),
            out: Outbox::default(),
            sending: None,
            method: Method::GET,
            answer: Body::Ended,
            goes_on: true,
            heard: false,
            unsent: None,
            server,
            waiting_since: Instant::now(),
            place,
        })
    }

    /// Puts a request on it, to be sent while its answer is waited for.
    pub(in crate::proxy::http) fn ask(&mut self, request: &RequestParts, body: Option<RequestBody>) {
        let body = body.filter(|body| !body.is_end_stream());
        let size = body.as_ref().map_or_else(|| SizeHint::with_exact(0), RequestBody::size_hint);
        let framing = self.out.put_request(&request.method, &request.uri, &request.headers, &size);
        self.method.clone_from(&request.method);
        self.heard = false;
        self.sending = body.map(|body| (body, framing));
    }

    /// Waits for the head of the answer, and sends the request meanwhile. Interim answers are passed over (RFC 9110 §15.2), but for the leave to
    /// send the body.
    ///
    /// # Errors
    /// Why there will be no answer.
    pub(in crate::proxy::http) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerParts, String>> {
        loop {
            self.send(cx)?;
            if self.held.is_worth_a_look(self.limits.max_header_bytes) {
                match answer_head::examine(self.held.bytes(), &self.method, self.limits) {
                    Ok(Some(head)) => match self.take_head(head) {
                        Some(answer) => return Poll::Ready(Ok(answer)),
                        None => continue,
                    },
                    Ok(None) => self.held.was_looked_at(),
                    Err(error) => return Poll::Ready(Err(error.to_string())),
                }
            }
            match ready!(self.held.poll_read(cx, &mut self.wire)) {
                Ok(0) => return Poll::Ready(Err(self.broke_off("it ended the connection"))),
                Ok(_) => self.heard = true,
                Err(error) => return Poll::Ready(Err(self.broke_off(&error.to_string()))),
            }
        }
    }

    fn broke_off(&mut self, how: &str) -> String {
        self.unsent.take().unwrap_or_else(|| how.to_owned())
    }

    /// Takes the head of an answer; `None` for an interim one.
    fn take_head(&mut self, head: AnswerHead) -> Option<AnswerParts> {
        self.held.take(head.len);
        let status = head.parts.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            if status == StatusCode::CONTINUE
                && let Some((body, _)) = &mut self.sending
            {
                body.has_leave();
            }
            return None;
        }
        self.answer = head.body;
        self.goes_on = head.keeps_alive;
        Some(head.parts)
    }

    /// Sends as much of the request as can be sent now. Where the target takes no more, what it answers still counts.
    ///
    /// # Errors
    /// What is wrong with the client's body.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        loop {
            let waits = self.gather(cx)?;
            if self.out.is_empty() {
                return Ok(());
            }
            match self.out.poll_write(cx, &mut self.wire) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if waits => return Ok(()),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    (self.out, self.sending) = (Outbox::default(), None);
                    self.unsent = Some(error.to_string());
                    return Ok(());
                }
            }
        }
    }

    /// Takes what there is of the request's body; tells whether nothing more will come without a wake.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        while let Some((body, framing)) = &mut self.sending {
            if !self.out.has_room() {
                return Ok(false);
            }
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { return Ok(true) };
            let has_ended = match frame {
                Some(Ok(frame)) => {
                    self.out.put_frame(framing, frame).map_err(|error| error.to_string())?;
                    body.is_end_stream()
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => true,
            };
            if has_ended {
                self.out.put_end(framing).map_err(|error| error.to_string())?;
                self.sending = None;
            }
        }
        Ok(true)
    }

    /// The next part of the answer's body; what is left of the request is sent meanwhile.
    ///
    /// # Errors
    /// Why there is no more.
    pub(in crate::proxy::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Err(error) = self.send(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(self.answer.poll_frame(cx, &mut self.held, &mut self.wire, self.limits));
        Poll::Ready(frame.map(|frame| frame.map_err(|error| self.told(&error))))
    }

    fn told(&mut self, error: &Unreadable) -> String {
        match error {
            Unreadable::Fault(super::Fault::Truncated) => {
                self.broke_off("it ended the connection in the middle of its answer")
            }
            Unreadable::Fault(fault) => fault.to_string(),
            Unreadable::Io(error) => self.broke_off(&error.to_string()),
        }
    }

    /// Whether all of the answer was taken.
    pub(in crate::proxy::http) fn has_answered(&self) -> bool {
        self.answer.has_ended()
    }

    /// How much of the answer's body is still to come, where that is known.
    pub(in crate::proxy::http) fn left(&self) -> Option<u64> {
        self.answer.left()
    }

    /// Whether anything came since the last request was put on it.
    pub(in crate::proxy::http) fn heard(&self) -> bool {
        self.heard
    }

    /// Whether the request was sent to its end.
    pub(in crate::proxy::http) fn has_asked(&self) -> bool {
        self.sending.is_none() && self.out.is_empty() && self.unsent.is_none()
    }

    /// Whether the request and its answer are all through, and another may follow.
    pub(in crate::proxy::http) fn is_free(&self) -> bool {
        // What it says beyond its answer is the answer to nothing (RFC 9112 §9.2).
        self.goes_on && self.has_asked() && self.answer.has_ended() && self.held.is_empty()
    }

    /// Whether it still stands, and has said nothing unasked, as far as we have been told.
    pub(in crate::proxy::http) fn is_alive(&mut self) -> bool {
        let look = poll_fn(|cx| {
            let is_alive = self.is_free()
                && (self.wire.poll_heard(cx).is_pending() || self.held.poll_read(cx, &mut self.wire).is_pending());
            Poll::Ready(is_alive)
        });
        // A task that has had its share would be told that there is nothing to hear.
        let looked = pin!(unconstrained(look)).poll(&mut Context::from_waker(Waker::noop()));
        looked == Poll::Ready(true)
    }

    /// It waits from now on.
    pub(in crate::proxy::http) fn rest(&mut self) {
        self.waiting_since = Instant::now();
    }

    /// How long it has waited.
    pub(in crate::proxy::http) fn idle(&self) -> Duration {
        self.waiting_since.elapsed()
    }

    /// The wire, what was read of it beyond the answer, and its place: the connection was given over to another protocol.
    pub(in crate::proxy::http) fn into_wire(mut self) -> (Wire, Bytes, Place) {
        (self.wire, self.held.take(usize::MAX), self.place)
    }
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").field("server", &self.server).finish_non_exhaustive()
    }
}
