//! What messages of both sides have in common: how a body comes and where it ends (RFC 9112 §6.3), and what `Connection` says.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::AsyncRead;

use super::chunks::Chunks;
use super::held::Held;
use super::{Fault, Limits, Unreadable};

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Box<Chunks>),
    /// Whatever comes until the connection ends.
    UntilEnd,
    /// Nothing.
    Ended,
}

impl Body {
    pub(super) fn of_length(length: u64) -> Self {
        if length == 0 { Self::Ended } else { Self::Length(length) }
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked(Box::default())
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// How much is still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Ended => Some(0),
            Self::Chunked(_) | Self::UntilEnd => None,
        }
    }

    /// The next part of it; `None` at its end.
    ///
    /// # Errors
    /// When it is not as it should be, breaks off, or the connection does.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        held: &mut Held,
        io: &mut (impl AsyncRead + Unpin),
        limits: Limits,
    ) -> Poll<Option<Result<Frame<Bytes>, Unreadable>>> {
        loop {
            if self.has_ended() {
                return Poll::Ready(None);
            }
            if !held.is_empty() {
                match self.take(held, limits) {
                    Ok(None) if self.has_ended() => return Poll::Ready(None),
                    Ok(None) => {}
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
                }
            }
            match ready!(held.poll_read(cx, io)) {
                Ok(0) if matches!(self, Self::UntilEnd) => *self = Self::Ended,
                Ok(0) => return Poll::Ready(Some(Err(Fault::Truncated.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// The next part, as far as it is held.
    fn take(&mut self, held: &mut Held, limits: Limits) -> Result<Option<Frame<Bytes>>, Fault> {
        match self {
            Self::Length(left) => {
                let data = held.take(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(Frame::data(data)))
            }
            Self::Chunked(chunks) => {
                let (passed, data) = chunks.follow(held.bytes(), limits)?;
                held.take(passed);
                if data > 0 {
                    return Ok(Some(Frame::data(held.take(data))));
                }
                if !chunks.has_ended() {
                    return Ok(None);
                }
                let trailers = chunks.trailers()?;
                *self = Self::Ended;
                Ok(trailers.map(Frame::trailers))
            }
            Self::UntilEnd => Ok(Some(Frame::data(held.take(usize::MAX)))),
            Self::Ended => Ok(None),
        }
    }
}

/// The elements of a list (RFC 9110 §5.6.1).
pub(super) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// What one more `Connection` header says of whether the connection goes on after the answer: an end, said once, stands (RFC 9112 §9.3).
pub(super) fn said_of_connection(before: Option<bool>, value: &[u8]) -> Option<bool> {
    tokens(value).fold(before, |said, option| match said {
        Some(false) => said,
        _ if option.eq_ignore_ascii_case(b"close") => Some(false),
        _ if option.eq_ignore_ascii_case(b"keep-alive") => Some(true),
        _ => said,
    })
}
