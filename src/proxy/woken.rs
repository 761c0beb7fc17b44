//! A part of a task that is looked at only when it was woken itself, not each time that the task is: what waits for clocks and orders beside a
//! connection's traffic costs that traffic one load.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes the task for the sake of one part of it.
#[derive(Debug, Default)]
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.inspect(Waker::wake_by_ref);
    }
}

/// Polls one future after the other, each only when it was woken.
#[derive(Debug)]
pub(super) struct WhenWoken {
    bell: Arc<Bell>,
    waker: Waker,
    /// The task that the bell wakes.
    task: Option<Waker>,
}

impl WhenWoken {
    pub(super) fn new() -> Self {
        let bell = Arc::<Bell>::default();
        Self { waker: bell.clone().into(), bell, task: None }
    }

    /// The next future is another one: it has not been polled yet.
    pub(super) fn begin(&mut self) {
        self.bell.has_rung.store(true, Ordering::Relaxed);
    }

    /// Polls `future` if it was woken since the last time.
    pub(super) fn poll<F: Future>(&mut self, cx: &Context<'_>, future: Pin<&mut F>) -> Poll<F::Output> {
        if self.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            self.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.task);
        }
        // Only this side takes it back: to look first costs no line of memory that another processor may hold.
        if !self.bell.has_rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.bell.has_rung.swap(false, Ordering::AcqRel);
        future.poll(&mut Context::from_waker(&self.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_future_is_polled_once_and_then_when_it_was_woken() {
        let (mut count, mut inner) = (0, None);
        let mut future = pin!(poll_fn(|cx| {
            count += 1;
            inner = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let woken = Arc::<Bell>::default();
        let (outer, mut when) = (woken.clone().into(), WhenWoken::new());
        let cx = Context::from_waker(&outer);
        when.begin();
        for _ in 0..3 {
            assert!(when.poll(&cx, future.as_mut()).is_pending());
        }
        let waker = when.waker.clone();
        assert!(!woken.has_rung.load(Ordering::Relaxed));
        waker.wake();
        assert!(woken.has_rung.load(Ordering::Relaxed), "the task is woken");
        for _ in 0..3 {
            assert!(when.poll(&cx, future.as_mut()).is_pending());
        }
        assert_eq!(count, 2);
        assert!(inner.is_some_and(|inner| inner.will_wake(&when.waker)));
    }
}
