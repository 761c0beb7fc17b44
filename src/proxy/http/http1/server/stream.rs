//! The body of a request under way, as whoever sends it on reads it: in the task that serves the client, or in another.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::ClientEnd;
use crate::proxy::http::http1::Unreadable;

/// The body of a request under way.
pub(in crate::proxy::http) struct RequestStream {
    end: Arc<ClientEnd>,
    /// Of the request.
    number: u64,
    left: Option<u64>,
    has_ended: bool,
}

impl RequestStream {
    pub(super) fn new(end: Arc<ClientEnd>, number: u64, left: Option<u64>) -> Self {
        Self { end, number, left, has_ended: false }
    }

    /// The next part of it; `None` at its end.
    ///
    /// # Errors
    /// When it is broken, or its request is over.
    pub(in crate::proxy::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let mut inner = self.end.inner();
        if inner.number != self.number {
            // An end would make a whole body of what came so far.
            return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted).into())));
        }
        let Poll::Ready(frame) = inner.poll_frame(cx, self.end.limits) else {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        self.left = inner.body.left();
        self.has_ended = inner.body.has_ended();
        if self.has_ended
            && let Some(watcher) = inner.watcher.take()
            && !watcher.will_wake(cx.waker())
        {
            watcher.wake(); // from now on it has to look itself whether the client leaves
        }
        Poll::Ready(frame)
    }

    pub(in crate::proxy::http) fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    pub(in crate::proxy::http) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
