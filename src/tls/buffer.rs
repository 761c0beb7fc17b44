//! Buffers that belong to the worker thread: taken while bytes are in flight, given back by being dropped, so that no connection at rest holds one.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::record::{MAX_CONTENT, OVERHEAD};

/// A buffer on loan from its worker thread.
pub struct Buffer(Box<[u8]>);

/// What is in it is of other connections too, and never shown.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

impl Buffer {
    /// How much plaintext is moved at once: full TLS records, and few system calls, on bulk transfers.
    pub const PLAINTEXT: usize = 4 * MAX_CONTENT;

    /// The ciphertext of as much plaintext: whoever sends in such amounts is received in whole records.
    pub(super) const CIPHERTEXT: usize = 4 * (MAX_CONTENT + OVERHEAD);

    /// Room for the ciphertext in either version, and for an alert and a key update beside it.
    const SIZE: usize = Self::CIPHERTEXT + 1024;

    /// How many a worker keeps for the next taker: more are in use only while receivers lag behind.
    const KEPT: usize = 16;

    /// Takes one; what is in it is of no meaning.
    pub fn take() -> Self {
        let kept = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        Self(kept.unwrap_or_else(|| vec![0; Self::SIZE].into_boxed_slice()))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A worker that is ending has no spare buffers any more; then this one is freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < Self::KEPT {
                spare.push(buffer);
            }
        });
    }
}

/// Bytes that a socket has yet to take. No buffer is on loan for nothing.
#[derive(Debug, Default)]
pub struct Unsent {
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Unsent {
    /// How many they are, with those that were taken since there were none.
    pub fn filled(&self) -> usize {
        self.end
    }

    /// Whether it holds a buffer.
    pub fn is_on_loan(&self) -> bool {
        self.buffer.is_some()
    }

    /// Room for more, behind those that are there.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.get_or_insert_with(Buffer::take).get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were put into the room.
    pub fn add(&mut self, count: usize) {
        self.end += count;
    }

    /// Gives the socket all of it.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, io: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while let Some(rest) =
            self.buffer.as_ref().and_then(|buffer| buffer.get(self.start..self.end)).filter(|rest| !rest.is_empty())
        {
            match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.start += sent,
            }
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}

/// Copies as much of `slices`, one behind the other, as there is room for; tells how much that is.
pub fn copy_slices(slices: &[io::IoSlice<'_>], room: &mut [u8]) -> usize {
    let mut copied = 0;
    for slice in slices {
        let rest = room.get_mut(copied..).unwrap_or_default();
        let amount = rest.len().min(slice.len());
        if let (Some(to), Some(from)) = (rest.get_mut(..amount), slice.get(..amount)) {
            to.copy_from_slice(from);
        }
        copied += amount;
    }
    copied
}

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}
