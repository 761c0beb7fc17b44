//! What is logged on the thread of a test: all of it by the gates of that test, whose runtime has no other thread.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use crate::harness::until;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is logged from the time of its making on. Made before the first line of any gate: what a call site once learnt of who listens it believes.
pub(crate) struct Logged(usize);

impl Logged {
    pub(crate) fn begin() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let level = tracing::Level::INFO;
            tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| OfThisThread).init();
        });
        Self(LINES.with_borrow(Vec::len))
    }

    /// The lines about requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        let text = LINES.with_borrow(|lines| String::from_utf8(lines[self.0..].to_vec()).unwrap());
        text.lines().filter(|line| line.contains(": request ")).map(ToOwned::to_owned).collect()
    }

    /// The one line about a request, once it is there.
    pub(crate) async fn only(&self) -> String {
        until("the request is written down", || !self.requests().is_empty()).await;
        let lines = self.requests();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines[0].clone()
    }
}

struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
