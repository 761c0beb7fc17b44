//! Buffers that belong to the worker thread: taken while bytes are in flight, given back by being dropped, so that no connection at rest holds one.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

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
    pub const PLAINTEXT: usize = 4 * Self::RECORD;

    /// The most plaintext that fits into one record (RFC 8446 §5.1).
    const RECORD: usize = 16 * 1024;

    /// The ciphertext of as much plaintext: whoever sends in such amounts is received in whole records.
    pub(super) const CIPHERTEXT: usize = 4 * (5 + Self::RECORD + 1 + 16);

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

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}
