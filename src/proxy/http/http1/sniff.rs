//! Which HTTP a client speaks: the first bytes tell, as far as it may be HTTP/2.

use std::future::poll_fn;
use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// The two ways in which HTTP is put on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::http) enum Protocol {
    Http1,
    Http2,
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the first bytes, until they are the preface of HTTP/2 or are not; where that is not taken, it is a bad head of HTTP/1. `None`: the
/// connection ended before there was a byte.
///
/// # Errors
/// When the connection breaks.
pub(in crate::proxy::http) async fn sniff(
    io: &mut (impl AsyncRead + Unpin),
    takes_http2: bool,
) -> Result<Option<(Protocol, Bytes)>> {
    let mut first = BytesMut::new();
    let protocol = loop {
        let read = poll_fn(|cx| poll_some(io, cx, &mut first)).await?;
        match told_by(&first) {
            Some(Protocol::Http2) if takes_http2 => break Protocol::Http2,
            Some(_) => break Protocol::Http1,
            None if read > 0 => {}
            None if first.is_empty() => return Ok(None),
            None => break Protocol::Http1,
        }
    };
    Ok(Some((protocol, first.freeze())))
}

/// Reads once, so little that it needs no buffer while it waits.
fn poll_some(io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<Result<usize>> {
    let mut room = [0; 2048];
    let mut room = ReadBuf::new(&mut room);
    ready!(Pin::new(io).poll_read(cx, &mut room))?;
    to.extend_from_slice(room.filled());
    Poll::Ready(Ok(room.filled().len()))
}

fn told_by(first: &[u8]) -> Option<Protocol> {
    if first.starts_with(PREFACE) {
        Some(Protocol::Http2)
    } else if PREFACE.starts_with(first) {
        None
    } else {
        Some(Protocol::Http1)
    }
}
