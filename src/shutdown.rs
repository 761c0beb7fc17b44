//! What the process is told from outside: the signals, each with one meaning.

use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop; the second one at once.
    Stop,
    /// SIGHUP: read configuration and credentials again.
    Reload,
    /// SIGUSR1: read the credentials again.
    Look,
    /// SIGUSR2: log how things stand.
    Status,
}

/// The signals of this process, from the moment this is made: none that arrives later is lost, and none has its default effect.
#[derive(Debug)]
pub struct Signals {
    terminate: Source,
    interrupt: Source,
    hangup: Source,
    user1: Source,
    user2: Source,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Signals of one kind that arrive together count once.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user1.recv() => Signal::Look,
            _ = self.user2.recv() => Signal::Status,
        }
    }
}
