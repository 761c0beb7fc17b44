//! What messages of both sides have in common: room for their headers, how a body comes and where it ends (RFC 9112 §6.3), and what `Connection` says.

use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use httparse::Header;
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
    /// Nobody knows: it was not as it should be, and its bytes are not looked at a second time.
    Broken(Fault),
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
            Self::Chunked(_) | Self::UntilEnd | Self::Broken(_) => None,
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
            match self {
                Self::Ended => return Poll::Ready(None),
                Self::Broken(fault) => return Poll::Ready(Some(Err((*fault).into()))),
                Self::Length(_) | Self::Chunked(_) | Self::UntilEnd => {}
            }
            if !held.is_empty() {
                match self.take(held, limits) {
                    Ok(None) if self.has_ended() => return Poll::Ready(None),
                    Ok(None) => {}
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Err(fault) => {
                        *self = Self::Broken(fault);
                        return Poll::Ready(Some(Err(fault.into())));
                    }
                }
            }
            match ready!(held.poll_read(cx, io)) {
                Ok(0) if matches!(self, Self::UntilEnd) => *self = Self::Ended,
                Ok(0) => *self = Self::Broken(Fault::Truncated),
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
            Self::Ended | Self::Broken(_) => Ok(None),
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

/// As many headers find room on the stack; more are let in at the price of an allocation per head.
const ON_STACK: usize = 128;

/// Parses a head with room for as many headers as it may have.
pub(super) fn with_room<'b, T>(limits: Limits, parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> T) -> T {
    if limits.max_headers <= ON_STACK {
        let mut room = [const { MaybeUninit::uninit() }; ON_STACK];
        parse(room.get_mut(..limits.max_headers).unwrap_or_default())
    } else {
        parse(&mut vec![MaybeUninit::uninit(); limits.max_headers])
    }
}
