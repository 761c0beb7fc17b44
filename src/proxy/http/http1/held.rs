//! What was read of a connection and is not taken yet. It holds no memory while there is nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use crate::tls::Buffer;

/// Bytes asked for at a time: two TLS records' worth.
const READ: usize = 32 * 1024;

/// Bytes that were read and not taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Bytes,
    /// How many of them are known to be no whole head.
    seen: usize,
}

impl Held {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, seen: 0 }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the first `count` of them, or all where there are fewer.
    pub(super) fn take(&mut self, count: usize) -> Bytes {
        self.seen = 0;
        if count >= self.bytes.len() { std::mem::take(&mut self.bytes) } else { self.bytes.split_to(count) }
    }

    /// Reads once, and tells how many bytes came: none at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        let mut buffer = Buffer::take();
        let mut room = ReadBuf::new(buffer.get_mut(..READ).unwrap_or_default());
        ready!(Pin::new(io).poll_read(cx, &mut room))?;
        self.add(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }

    fn add(&mut self, fresh: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes = Bytes::copy_from_slice(fresh);
        } else {
            let held = std::mem::take(&mut self.bytes);
            let mut all = held.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            all.extend_from_slice(fresh);
            self.bytes = all.freeze();
        }
    }

    /// Whether a further look at the beginning of a head can tell more than the last. To look again only at line ends keeps the work for a head
    /// that comes byte by byte within what its lines, of which there are few, cost.
    pub(super) fn is_worth_a_look(&self, max_header_bytes: usize) -> bool {
        let fresh = self.bytes.get(self.seen..).unwrap_or_default();
        !fresh.is_empty() && (self.seen == 0 || fresh.contains(&b'\n') || self.bytes.len() >= max_header_bytes)
    }

    /// There is no whole head yet.
    pub(super) fn was_looked_at(&mut self) {
        self.seen = self.bytes.len();
    }
}
