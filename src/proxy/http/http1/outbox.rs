//! What is to be written to a connection: heads, and bodies in the framing that their heads announce (RFC 9112 §6). It holds no memory while there
//! is nothing to write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite;

use crate::proxy::http::headers::Headers;

/// How much of a body is copied behind its head, so that both leave in one write; of more, the write takes several parts.
const COPIED: usize = 4 * 1024;

/// A body's framing on its way out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// None may come.
    Nothing,
    /// So many more bytes.
    Length(u64),
    Chunked,
    /// The end of the connection is its end.
    UntilEnd,
}

/// A body that is not as long as its head said it would be.
#[derive(Debug, thiserror::Error)]
#[error("the body has another length than its head says")]
pub(super) struct OtherLength;

/// Bytes to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    head: BytesMut,
    /// Behind them.
    data: Bytes,
    /// And behind that.
    tail: &'static [u8],
    /// Something was written that the writer may hold back: TLS takes more than its socket does.
    is_held_back: bool,
}

impl Outbox {
    /// Whether there is nothing to write, and nothing to flush.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_held_back && self.is_written()
    }

    fn is_written(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether more of a body may be put in before what is there is written.
    pub(super) fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.head.len() < COPIED
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.head.extend_from_slice(bytes);
    }

    /// Puts a request's head in, and tells how its body is to follow.
    pub(super) fn put_request(&mut self, method: &Method, uri: &Uri, headers: &Headers, body: &SizeHint) -> Framing {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        self.head.reserve(room(headers) + target.len());
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            self.put(part.as_bytes());
        }
        // A method that is usually sent with a body says so when there is none (RFC 9110 §8.6). A length that stayed behind from another body would
        // make one of the next request.
        let says_none =
            matches!(*method, Method::POST | Method::PUT | Method::PATCH) || headers.contains(&CONTENT_LENGTH);
        let framing = match body.exact() {
            Some(0) => Framing::Nothing,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        self.put_headers(headers, &framing, says_none);
        self.put(b"\r\n");
        framing
    }

    /// Puts an answer's head in.
    pub(super) fn put_answer(
        &mut self,
        version: Version,
        status: StatusCode,
        headers: &Headers,
        framing: &Framing,
        says_none: bool,
    ) {
        self.head.reserve(room(headers));
        self.put(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        self.put(status.as_str().as_bytes());
        self.put(b" ");
        self.put(status.canonical_reason().unwrap_or_default().as_bytes());
        self.put(b"\r\n");
        let has_date = self.put_headers(headers, framing, says_none);
        if !has_date && !status.is_informational() {
            // RFC 9110 §6.6.1.
            self.put(b"date: ");
            self.put(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
            self.put(b"\r\n");
        }
        self.put(b"\r\n");
    }

    /// One more line of a head.
    fn put_header(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.put(part);
        }
    }

    /// Puts the headers in; tells whether `Date` is among them.
    fn put_headers(&mut self, headers: &Headers, framing: &Framing, says_none: bool) -> bool {
        let mut has_date = false;
        for (name, value) in headers.iter() {
            has_date |= *name == DATE;
            let is_of_framing = *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
            // What a HEAD, a 304 say of the body that they do not have stands.
            if !is_of_framing || (*framing == Framing::Nothing && *name == CONTENT_LENGTH && !says_none) {
                self.put_header(name.as_str(), value.as_bytes());
            }
        }
        match framing {
            Framing::Length(length) => self.put_header("content-length", decimal(*length, &mut [0; 20])),
            Framing::Chunked => self.put(b"transfer-encoding: chunked\r\n"),
            Framing::Nothing if says_none => self.put(b"content-length: 0\r\n"),
            Framing::Nothing | Framing::UntilEnd => {}
        }
        has_date
    }

    /// Puts a part of a body in, data or trailers. There is [room](Self::has_room) for it.
    ///
    /// # Errors
    /// When it is more than there may be.
    pub(super) fn put_frame(&mut self, framing: &mut Framing, frame: Frame<Bytes>) -> Result<(), OtherLength> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.put_trailers(framing, &trailers);
                }
                return Ok(());
            }
        };
        if data.is_empty() {
            return Ok(()); // an empty chunk would be the end
        }
        match framing {
            Framing::Nothing => return Err(OtherLength),
            Framing::Length(left) => *left = left.checked_sub(data.len() as u64).ok_or(OtherLength)?,
            Framing::Chunked => {
                self.put(hexadecimal(data.len() as u64, &mut [0; 16]));
                self.put(b"\r\n");
                self.tail = b"\r\n";
            }
            Framing::UntilEnd => {}
        }
        if data.len() <= COPIED {
            let tail = std::mem::take(&mut self.tail);
            self.put(&data);
            self.put(tail);
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn put_trailers(&mut self, framing: &mut Framing, trailers: &HeaderMap) {
        if *framing == Framing::Chunked {
            self.put(b"0\r\n");
            for (name, value) in trailers {
                self.put_header(name.as_str(), value.as_bytes());
            }
            self.put(b"\r\n");
            *framing = Framing::Nothing;
        }
    }

    /// Puts the end of a body in.
    ///
    /// # Errors
    /// When there should be more of it.
    pub(super) fn put_end(&mut self, framing: &Framing) -> Result<(), OtherLength> {
        match framing {
            Framing::Length(left) if *left > 0 => return Err(OtherLength),
            Framing::Chunked if self.data.is_empty() => self.put(b"0\r\n\r\n"),
            Framing::Chunked => self.tail = b"\r\n0\r\n\r\n",
            Framing::Length(_) | Framing::Nothing | Framing::UntilEnd => {}
        }
        Ok(())
    }

    /// Writes all of it, as far as the other side's buffers.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let written = if self.data.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.head))?
            } else {
                let parts = [&self.head, &*self.data, self.tail].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &parts))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.was_written(written);
            self.is_held_back = true;
        }
        self.head = BytesMut::new();
        ready!(Pin::new(io).poll_flush(cx))?;
        self.is_held_back = false;
        Poll::Ready(Ok(()))
    }

    fn was_written(&mut self, mut count: usize) {
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        count -= of_head;
        let of_data = count.min(self.data.len());
        self.data.advance(of_data);
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
        self.tail = self.tail.get(count - of_data..).unwrap_or_default();
    }
}

/// How much room headers take, about.
fn room(headers: &Headers) -> usize {
    const LINE: usize = 4;
    const FIRST_LINE: usize = 64;
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
    // Most bodies are short, and follow at once.
    lines.sum::<usize>() + FIRST_LINE + COPIED / 4
}

fn decimal(number: u64, room: &mut [u8; 20]) -> &[u8] {
    digits(number, 10, room)
}

fn hexadecimal(number: u64, room: &mut [u8; 16]) -> &[u8] {
    digits(number, 16, room)
}

fn digits(mut number: u64, radix: u64, room: &mut [u8]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut first = room.len();
    for (at, place) in room.iter_mut().enumerate().rev() {
        let digit = usize::try_from(number % radix).unwrap_or_default();
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        (number, first) = (number / radix, at);
        if number == 0 {
            break;
        }
    }
    room.get(first..).unwrap_or_default()
}
