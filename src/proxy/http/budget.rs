//! How many requests may be sent once more: a share of those that were sent, so that a failing upstream is not buried under them.

use std::sync::atomic::{AtomicI64, Ordering};

/// What one request adds, and one resend takes, in hundredths of a resend.
const REQUEST: i64 = 20;
const RESEND: i64 = 100;

/// What is saved up at most: a hundred resends at once.
const MOST: i64 = 100 * RESEND;

/// The budget of one listener: a fifth of its requests, and some to begin with.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(10 * RESEND))
    }
}

impl Budget {
    /// A request is sent for the first time.
    pub(super) fn earn(&self) {
        if self.0.load(Ordering::Relaxed) < MOST {
            self.0.fetch_add(REQUEST, Ordering::Relaxed);
        }
    }

    /// Whether one may be sent once more.
    pub(super) fn spend(&self) -> bool {
        let take = |saved: i64| (saved >= RESEND).then(|| saved - RESEND);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn resends_are_a_fifth_of_the_requests_once_the_first_ten_are_spent() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
        (0..50).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn a_quiet_time_saves_no_more_than_a_hundred_resends() {
        let budget = Budget::default();
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..1_000).filter(|_| budget.spend()).count(), 100);
    }
}
