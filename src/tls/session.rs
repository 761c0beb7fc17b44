//! One connection's side of TLS. It works on ciphertext in whatever buffer that lies, and keeps none: who decrypts in bulk reads as much at once as it
//! likes, and a connection at rest holds no buffer. rustls makes the handshake (through its unbuffered interface) and is all there is to TLS 1.2; the
//! records of TLS 1.3 are `records.rs`.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, ProtocolVersion};
use tokio::io::{AsyncRead, ReadBuf};

use super::record::{self, HEADER, MAX_CONTENT};
use super::records::Records;
use super::{Buffer, Unsent};

/// One connection.
pub(super) enum Session {
    /// As rustls knows it.
    Rustls(Box<Rustls>),
    /// Established, in TLS 1.3.
    Records(Box<Records>),
}

/// One connection as rustls knows it.
pub(super) struct Rustls {
    side: Side,
    /// How much of what is received is whole records that it was shown and is not done with, while the handshake lasts.
    held: usize,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What there is to work on, apart from the ciphertext that came, and where what is made of it goes.
pub(super) struct Work<'a, 'b> {
    pub(super) plaintext: Plaintext<'a, 'b>,
    pub(super) outgoing: &'a mut Unsent,
    pub(super) say: Say<'a>,
}

/// Where plaintext goes: to the reader as far as its room goes, and the rest aside.
pub(super) struct Plaintext<'a, 'b> {
    pub(super) reader: &'a mut ReadBuf<'b>,
    pub(super) aside: &'a mut BytesMut,
}

/// What is to be said to the peer once there is nothing else to do.
#[derive(Clone, Copy)]
pub(super) enum Say<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// That nothing follows.
    End,
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something; there may be more.
    Some,
    /// Nothing: more ciphertext is needed.
    Blocked,
    /// What was to be said is encrypted.
    Said,
    /// The peer has said that nothing follows.
    Ended,
}

impl Session {
    /// A handshake to be made as a server.
    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self::Rustls(Box::new(Rustls { side: Side::Server(connection), held: 0 }))
    }

    /// A handshake to be made as a client.
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self::Rustls(Box::new(Rustls { side: Side::Client(connection), held: 0 }))
    }

    /// What rustls knows of the connection, for as long as that is its matter.
    pub(super) fn known(&self) -> Option<&CommonState> {
        match self {
            Self::Rustls(rustls) => Some(&rustls.side),
            Self::Records(_) => None,
        }
    }

    /// Whether the handshake is yet to be finished.
    pub(super) fn is_handshaking(&self) -> bool {
        self.known().is_some_and(CommonState::is_handshaking)
    }

    /// Whether there is something to be said that does not come from us.
    pub(super) fn wants_write(&self) -> bool {
        self.known().is_some_and(CommonState::wants_write)
    }

    /// The same connection with records of ours, where its handshake is done and has agreed on TLS 1.3.
    ///
    /// # Errors
    /// When rustls does not let go of it.
    pub(super) fn established(self) -> Result<Self, Fault> {
        match self {
            Self::Rustls(rustls) if rustls.side.protocol_version() == Some(ProtocolVersion::TLSv1_3) => {
                let records = match rustls.side {
                    Side::Server(connection) => Records::of_server(connection)?,
                    Side::Client(connection) => Records::of_client(connection)?,
                };
                Ok(Self::Records(Box::new(records)))
            }
            other => Ok(other),
        }
    }

    /// Takes one step on what was received, which is discarded as far as it is done with.
    pub(super) fn step(&mut self, received: &mut Received<'_>, work: Work<'_, '_>) -> Result<Step, Fault> {
        match self {
            Self::Rustls(rustls) => rustls.step(received, work),
            Self::Records(records) => records.step(received, work),
        }
    }
}

impl Rustls {
    fn step(&mut self, received: &mut Received<'_>, work: Work<'_, '_>) -> Result<Step, Fault> {
        let rest = received.rest();
        // One record more than those that it holds on to; none behind the end of a handshake of TLS 1.3; all there is once TLS 1.2 is established.
        let (upto, is_whole) = match (self.side.is_handshaking(), self.side.protocol_version()) {
            (true, _) => {
                let end = self.held + record::extent(rest.get(self.held..).unwrap_or_default());
                (end.min(rest.len()), rest.len() >= end)
            }
            (false, Some(ProtocolVersion::TLSv1_3)) => (self.held, false),
            (false, _) => (rest.len(), false),
        };
        let shown = received.rest_mut().get_mut(..upto).unwrap_or_default();
        let (done, step) = match &mut self.side {
            Side::Server(connection) => settle(connection.process_tls_records(shown), work),
            Side::Client(connection) => settle(connection.process_tls_records(shown), work),
        };
        received.done_with(done);
        self.held = self.held.saturating_sub(done);
        if is_whole && matches!(step, Ok(Step::Blocked)) && self.side.is_handshaking() {
            self.held = upto.saturating_sub(done);
            if received.rest().len() > self.held {
                return Ok(Step::Some);
            }
        }
        step
    }
}

impl Deref for Side {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }
}

/// What ends a connection from within.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error("the keys have encrypted all that they may")]
    Exhausted,
    #[error("what must not be: {0}")]
    Unforeseen(&'static str),
}

impl From<EncryptError> for Fault {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::EncryptExhausted => Self::Exhausted,
            EncryptError::InsufficientSize(_) => Self::Unforeseen("more room for ciphertext"),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Tls(error) => Self::new(io::ErrorKind::InvalidData, error), // found again by who asks for an alert
            fault => Self::other(fault),
        }
    }
}

fn settle<Data>(status: UnbufferedStatus<'_, '_, Data>, mut work: Work<'_, '_>) -> (usize, Result<Step, Fault>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = state.map_err(Fault::from).and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                work.plaintext.take(record.payload);
            }
            Ok(Step::Some)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = data.encode(work.outgoing.room());
            work.outgoing.add(encoded.map_err(|_| Fault::Unforeseen("more room for a message"))?);
            Ok(Step::Some)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done(); // it is on our list, and nothing overtakes it
            Ok(Step::Some)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let said = match work.say {
                Say::Nothing => return Ok(Step::Blocked),
                Say::Bytes(bytes) => traffic.encrypt(bytes, work.outgoing.room())?,
                Say::End => traffic.queue_close_notify(work.outgoing.room())?,
            };
            work.outgoing.add(said);
            Ok(Step::Said)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Ended),
        ConnectionState::ReadEarlyData(_) => Err(Fault::Unforeseen("early data to be read")),
        _ => Err(Fault::Unforeseen("a state that we do not know")),
    });
    (discard, step)
}

impl Plaintext<'_, '_> {
    /// The reader's room for so many bytes, where it has as much and what is read may go there.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let fits = self.aside.is_empty() && self.reader.remaining() >= wanted;
        if fits { self.reader.initialize_unfilled_to(wanted) } else { &mut [] }
    }

    /// So much plaintext was put into the room.
    pub(super) fn add(&mut self, count: usize) {
        self.reader.advance(count.min(self.reader.remaining()));
    }

    /// Takes plaintext from elsewhere.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = if self.aside.is_empty() { self.reader.remaining() } else { 0 };
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        self.reader.put_slice(now);
        self.aside.put_slice(later);
    }
}

/// Ciphertext that was received. rustls remembers places in what it is not done with: it gets all of that, from its first byte on, each time.
pub(super) struct Received<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Received<'a> {
    /// The longest record (RFC 5246 §6.2.3; RFC 8446 §5.2 allows less).
    const RECORD: usize = HEADER + MAX_CONTENT + 2048;

    /// What was left of earlier, at the front of a buffer that has room for more.
    pub(super) fn again(buffer: &'a mut [u8], left: &[u8]) -> Self {
        if let Some(front) = buffer.get_mut(..left.len()) {
            front.copy_from_slice(left);
        }
        Self { buffer, start: 0, end: left.len() }
    }

    /// All that is in a buffer, which has no room for more.
    pub(super) fn all(buffer: &'a mut [u8]) -> Self {
        let end = buffer.len();
        Self { buffer, start: 0, end }
    }

    /// What is of use.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn rest_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// So many more bytes from the front are of no use any more.
    pub(super) fn done_with(&mut self, count: usize) {
        self.start += count;
    }

    /// How much is of no use any more.
    pub(super) fn done(&self) -> usize {
        self.start
    }

    /// Receives what has come, about as much as makes up to `wanted` bytes of plaintext.
    pub(super) fn poll_more<IO>(&mut self, cx: &mut Context<'_>, io: &mut IO, wanted: usize) -> Poll<io::Result<()>>
    where
        IO: AsyncRead + Unpin,
    {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let enough = if wanted < Buffer::PLAINTEXT { wanted.max(Self::RECORD) } else { Buffer::CIPHERTEXT };
        // A message of a handshake may be longer than a record.
        let enough = if self.end < enough { enough } else { Buffer::CIPHERTEXT };
        let room = self.buffer.get_mut(self.end..enough).unwrap_or_default();
        if room.is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the peer is too long")));
        }
        let mut unfilled = ReadBuf::new(room);
        ready!(Pin::new(io).poll_read(cx, &mut unfilled))?;
        match unfilled.filled().len() {
            0 => Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed without close_notify"))),
            more => {
                self.end += more;
                Poll::Ready(Ok(()))
            }
        }
    }
}
