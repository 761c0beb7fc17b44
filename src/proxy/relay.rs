//! Bytes both ways between the mutual-TLS side and the plaintext side, half-closes kept apart. No buffer belongs to an idle connection: one is
//! borrowed from the worker's few while bytes are in flight, and stays only as long as the receiver does not take them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::wire::Wire;
use crate::tls::{Buffer, alert_name, received_alert};

/// The relay of one connection. It can be stopped between any two polls and run again: nothing is lost.
pub(super) struct Relay {
    tls: Wire,
    plain: Wire,
    /// From the TLS side to the plaintext side.
    decrypting: Flow,
    /// From the plaintext side to the TLS side.
    encrypting: Flow,
    /// Which direction goes first: each in turn, so that one that never has to wait leaves the other its share of the task's time.
    encrypting_first: bool,
    last_moved: Instant,
}

impl Relay {
    pub(super) fn new(tls: Wire, plain: Wire) -> Self {
        Self::with_first(tls, Bytes::new(), plain, Bytes::new())
    }

    /// A relay between sides of which something was read already: that goes first.
    pub(super) fn with_first(tls: Wire, from_tls: Bytes, plain: Wire, from_plain: Bytes) -> Self {
        Self {
            tls,
            plain,
            decrypting: Flow::beginning_with(from_tls),
            encrypting: Flow::beginning_with(from_plain),
            encrypting_first: false,
            last_moved: Instant::now(),
        }
    }

    /// Moves bytes until a direction ends cleanly: the first, and then, run again, the second.
    pub(super) async fn run(&mut self) -> Result<End, Broken> {
        let was_half_closed = self.is_half_closed();
        poll_fn(|cx| {
            let before = self.moved();
            let ends = self.poll(cx);
            if self.moved() != before {
                self.last_moved = Instant::now();
            }
            match ends? {
                (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(End::Both)),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                _ if was_half_closed => Poll::Pending,
                _ => Poll::Ready(Ok(End::Half)),
            }
        })
        .await
    }

    /// Moves what can be moved now; tells of decrypting and of encrypting whether it has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(Poll<()>, Poll<()>), Broken> {
        let mut ends = (Poll::Pending, Poll::Pending);
        self.encrypting_first = !self.encrypting_first;
        for encrypts in [self.encrypting_first, !self.encrypting_first] {
            if encrypts {
                let end = self.encrypting.poll(cx, &mut self.plain, &mut self.tls);
                ends.1 = end.map_err(|fault| fault.between(Side::Plain, Side::Tls))?;
            } else {
                let end = self.decrypting.poll(cx, &mut self.tls, &mut self.plain);
                ends.0 = end.map_err(|fault| fault.between(Side::Tls, Side::Plain))?;
            }
        }
        Ok(ends)
    }

    /// Bytes decrypted and bytes encrypted so far.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.decrypting.moved, self.encrypting.moved)
    }

    /// When a byte last moved, in either direction.
    pub(super) fn last_moved(&self) -> Instant {
        self.last_moved
    }

    /// Whether exactly one direction has ended.
    pub(super) fn is_half_closed(&self) -> bool {
        (self.decrypting.state == State::Ended) != (self.encrypting.state == State::Ended)
    }

    /// The chain that the peer presented, leaf first.
    pub(super) fn peer_chain(&self) -> &[CertificateDer<'static>] {
        self.tls.peer_chain()
    }

    /// Ends both sides with a reset: neither may take what it has for the whole.
    pub(super) fn abort(&self) {
        self.tls.abort();
        self.plain.abort();
    }

    /// Ends both sides of a relay on which nothing moves: cleanly, as far as they let us without waiting for them, or with a reset where one of
    /// them has not taken all that was said to it, or may be in the middle of an answer.
    pub(super) async fn finish(&mut self) {
        if self.decrypting.is_undelivered() || self.encrypting.is_undelivered() || self.is_half_closed() {
            return self.abort();
        }
        poll_fn(|cx| {
            let _ = Pin::new(&mut self.tls).poll_shutdown(cx);
            let _ = Pin::new(&mut self.plain).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }
}

/// How far a relay has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// One direction has ended; the other goes on.
    Half,
    /// Both have.
    Both,
}

/// The side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The mutual-TLS side.
    Tls,
    /// The plaintext side.
    Plain,
}

/// A relay that did not end cleanly: which side broke, and how.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.told())]
pub struct Broken {
    /// The side.
    pub side: Side,
    /// What the transport reported.
    #[source]
    pub error: io::Error,
}

impl Broken {
    /// The alert with which the peer ended the connection. In TLS 1.3 a server's refusal comes this way.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        received_alert(&self.error).filter(|_| self.side == Side::Tls)
    }

    fn told(&self) -> String {
        match (self.alert(), self.side) {
            (Some(alert), _) => format!("the peer ended the connection with the alert {}", alert_name(alert)),
            (None, Side::Tls) => format!("the TLS side broke: {}", self.error),
            (None, Side::Plain) => format!("the plaintext side broke: {}", self.error),
        }
    }
}

/// One direction.
#[derive(Default)]
struct Flow {
    held: Option<Held>,
    state: State,
    moved: u64,
    unflushed: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The sender may send more.
    #[default]
    Open,
    /// The sender has ended; the receiver is yet to be told.
    Ending,
    /// Both know.
    Ended,
}

/// Ready once a direction has ended.
type Progress = Poll<Result<(), Fault>>;

enum Fault {
    Read(io::Error),
    Write(io::Error),
}

impl Fault {
    fn between(self, from: Side, to: Side) -> Broken {
        match self {
            Self::Read(error) => Broken { side: from, error },
            Self::Write(error) => Broken { side: to, error },
        }
    }
}

impl Flow {
    fn beginning_with(first: Bytes) -> Self {
        Self { held: (!first.is_empty()).then_some(Held::Given(first)), ..Self::default() }
    }

    /// Whether the receiver has yet to take bytes, or the end, that the sender gave us.
    fn is_undelivered(&self) -> bool {
        self.held.is_some() || self.unflushed || self.state == State::Ending
    }

    /// Moves what can be moved now; ready when the direction has ended.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Progress
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if let Some(held) = &mut self.held {
                while !held.rest().is_empty() {
                    match ready!(Pin::new(&mut *to).poll_write(cx, held.rest())) {
                        Ok(0) => return Poll::Ready(Err(Fault::Write(io::ErrorKind::WriteZero.into()))),
                        Ok(written) => {
                            held.advance(written);
                            self.moved += written as u64;
                        }
                        Err(error) => return Poll::Ready(Err(Fault::Write(error))),
                    }
                }
                self.held = None;
                self.unflushed = true;
            }
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Fault::Write)?;
                    self.state = State::Ended;
                }
                State::Open => match Held::read(cx, from) {
                    Poll::Ready(Ok(Some(held))) => self.held = Some(held),
                    Poll::Ready(Ok(None)) => self.state = State::Ending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::Read(error))),
                    Poll::Pending => {
                        // rustls may hold ciphertext that the socket did not take: without a flush the last bytes would wait for the next.
                        if self.unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Fault::Write)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

/// Bytes that were read and not yet written.
enum Held {
    /// By this relay.
    Read { buffer: Buffer, start: usize, end: usize },
    /// By whoever had the connection before.
    Given(Bytes),
}

impl Held {
    /// Reads once; `None` at the end of the stream.
    fn read<R: AsyncRead + Unpin>(cx: &mut Context<'_>, from: &mut R) -> Poll<io::Result<Option<Self>>> {
        let mut buffer = Buffer::take();
        let mut unfilled = ReadBuf::new(buffer.get_mut(..Buffer::PLAINTEXT).unwrap_or_default());
        ready!(Pin::new(from).poll_read(cx, &mut unfilled))?;
        let end = unfilled.filled().len();
        Poll::Ready(Ok((end > 0).then_some(Self::Read { buffer, start: 0, end })))
    }

    fn rest(&self) -> &[u8] {
        match self {
            Self::Read { buffer, start, end } => buffer.get(*start..*end).unwrap_or_default(),
            Self::Given(bytes) => bytes,
        }
    }

    fn advance(&mut self, written: usize) {
        match self {
            Self::Read { start, .. } => *start += written,
            Self::Given(bytes) => bytes.advance(written.min(bytes.len())),
        }
    }
}
