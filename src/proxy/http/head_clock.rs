//! How long the head of a request has been on its way. Whoever reads it starts and stops this clock, the keeper of the connection looks at it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The clock of the head that is being read on a connection.
#[derive(Debug)]
pub(super) struct HeadClock {
    /// When the connection began.
    began: Instant,
    /// When the head did, in milliseconds after that; 0 where none is being read.
    since: AtomicU64,
    is_late: AtomicBool,
}

impl HeadClock {
    /// The clock of a connection that began at `began`.
    pub(super) fn new(began: Instant) -> Self {
        Self { began, since: AtomicU64::new(0), is_late: AtomicBool::new(false) }
    }

    /// A part of a head is there. Its clock starts when it is its turn: before, nobody waits for it.
    pub(super) fn start(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.since.store(millis.max(1), Ordering::Relaxed);
        }
    }

    /// It is whole, or refused.
    pub(super) fn stop(&self) {
        if self.since.load(Ordering::Relaxed) > 0 {
            self.since.store(0, Ordering::Relaxed);
            self.is_late.store(false, Ordering::Relaxed);
        }
    }

    /// When it began; `None` where none is being read.
    pub(super) fn since(&self) -> Option<Instant> {
        let since = self.since.load(Ordering::Relaxed);
        (since > 0).then(|| self.began + Duration::from_millis(since))
    }

    /// It took too long: it is refused when it is looked at next.
    pub(super) fn expire(&self) {
        self.is_late.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_expired(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }
}
