//! What a gate, the service behind it and the keeper of the connection know of each other while hyper holds the gate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::Fault;

/// The state of one connection, seen from outside its gate.
#[derive(Debug)]
pub(in crate::proxy) struct Watch {
    since: Instant,
    read: AtomicU64,
    written: AtomicU64,
    begun: AtomicU64,
    finished: AtomicU64,
    /// When the unfinished head began, on the clock of [`Self::now`]; 0 where there is none.
    head_since: AtomicU64,
    expired: AtomicBool,
    resumed: AtomicBool,
    fault: OnceLock<Fault>,
    /// Whether `waker` is to be woken: it is looked at, and its lock taken, only then.
    awaited: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            fault: OnceLock::new(),
            awaited: AtomicBool::new(false),
            waker: Mutex::new(None),
        })
    }

    /// Milliseconds since the connection began, never 0.
    pub(in crate::proxy) fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).map_or(u64::MAX, |elapsed| elapsed.max(1))
    }

    /// Bytes read from the client so far.
    pub(in crate::proxy) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written to the client so far.
    pub(in crate::proxy) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts a request until what is returned is dropped. The service calls it for each request that hyper gives it, and the answer's body
    /// keeps it to its end: the gate tells hyper of a refused head only when every request that it let through has ended so.
    pub(in crate::proxy) fn begin(self: &Arc<Self>) -> InFlight {
        self.begun.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// Requests that the service was called for.
    #[cfg(test)]
    pub(in crate::proxy) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    /// Requests that the service was called for and whose answers have not ended.
    pub(in crate::proxy) fn in_flight(&self) -> u64 {
        let finished = self.finished();
        self.begun().saturating_sub(finished)
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::SeqCst)
    }

    /// When the first byte of a head arrived that is not yet complete, on the clock of [`Self::now`]; 0 where there is none. It starts anew
    /// when an answer ends: before, nobody was waiting for that head.
    pub(in crate::proxy) fn head_since(&self) -> u64 {
        self.head_since.load(Ordering::Relaxed)
    }

    /// The header timeout is over: the head that has begun is refused. Where none has, nothing happens; an idle connection ends otherwise.
    pub(in crate::proxy) fn expire(&self) {
        if self.head_since() != 0 {
            self.expired.store(true, Ordering::SeqCst);
            self.wake();
        }
    }

    /// The answer to the request that asked for an upgrade, or to CONNECT, is an ordinary one: what follows is the next request. Without it
    /// the gate lets nothing pass after such a request.
    pub(in crate::proxy) fn resume(&self) {
        self.resumed.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// What is wrong with the client's bytes, once something is: no request follows it.
    pub(in crate::proxy) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    pub(super) fn note_fault(&self, fault: Fault) {
        let _ = self.fault.set(fault); // the first stands
    }

    /// Only the gate counts, and no task polls it twice at a time: no read-modify-write is needed.
    pub(super) fn count_read(&self, bytes: usize) {
        self.read.store(self.read().saturating_add(bytes as u64), Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.written.store(self.written().saturating_add(bytes as u64), Ordering::Relaxed);
    }

    pub(super) fn head_has_begun(&self) {
        if self.head_since() == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn head_is_over(&self) {
        if self.head_since() != 0 {
            self.head_since.store(0, Ordering::Relaxed);
            self.expired.store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn has_expired(&self) -> bool {
        self.expired.load(Ordering::SeqCst)
    }

    pub(super) fn forget_resume(&self) {
        self.resumed.store(false, Ordering::SeqCst);
    }

    pub(super) fn has_resumed(&self) -> bool {
        self.resumed.load(Ordering::SeqCst)
    }

    /// The task is woken by whatever changes next. Called before looking whether it has already: a change after the look then finds the waker.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        self.awaited.store(true, Ordering::SeqCst);
    }

    pub(super) fn wake(&self) {
        if self.awaited.load(Ordering::SeqCst) && self.awaited.swap(false, Ordering::SeqCst) {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn finish(&self) {
        if self.head_since() != 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }
}

/// A request whose answer has not ended.
#[derive(Debug)]
pub(in crate::proxy) struct InFlight(Arc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.finish();
    }
}
