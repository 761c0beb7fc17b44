//! A stream under mutual TLS. What it needs while bytes are in flight is on loan from the worker thread; at rest it holds keys, and the
//! beginning of a record where the peer has sent no more than that.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(test)]
use super::records::Records;
use super::session::{Fault, Plaintext, Received, Say, Session, Step, Work};
use super::{Agreed, Buffer, Unsent, copy_slices};

/// A stream under mutual TLS, over `IO`.
pub struct Stream<IO> {
    io: IO,
    session: Session,
    agreed: Agreed,
    alpn: Option<Box<[u8]>>,
    peer_chain: Box<[CertificateDer<'static>]>,
    /// Ciphertext that is yet to be made something of: a record that is not whole, or what follows on plaintext that was set aside.
    incoming: BytesMut,
    /// Plaintext that the reader had no room for.
    aside: BytesMut,
    outgoing: Unsent,
    /// Who waits for that to go out: a reader that lends a hand must not take its place with the socket, which has one for all who write.
    writer: Option<Waker>,
    /// The peer has said that nothing follows.
    has_ended: bool,
    /// So have we.
    is_closed: bool,
    /// Why nothing goes any more.
    failed: Option<Box<Fault>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Stream<IO> {
    /// Makes the handshake.
    ///
    /// # Errors
    /// Why there is none, and the stream below: the alert, where there is one, has been sent.
    pub(super) async fn establish(session: Session, io: IO) -> Result<Self, (io::Error, IO)> {
        let mut stream = Self {
            io,
            session,
            agreed: Agreed::default(),
            alpn: None,
            peer_chain: Box::default(),
            incoming: BytesMut::new(),
            aside: BytesMut::new(),
            outgoing: Unsent::default(),
            writer: None,
            has_ended: false,
            is_closed: false,
            failed: None,
        };
        if let Err(error) = poll_fn(|cx| stream.poll_handshake(cx)).await {
            return Err((error, stream.io));
        }
        if let Some(known) = stream.session.known() {
            stream.agreed = Agreed::of(known);
            stream.alpn = known.alpn_protocol().map(Box::from);
            stream.peer_chain = known.peer_certificates().map(Box::from).unwrap_or_default();
        }
        match stream.session.established() {
            Ok(session) => Ok(Self { session, ..stream }),
            Err(fault) => Err((fault.into(), stream.io)),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
            if self.has_ended && self.session.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_send(cx)
    }

    /// Sends what is encrypted, for who waits for that.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.outgoing.poll_send(cx, &mut self.io);
        self.writer = sent.is_pending().then(|| cx.waker().clone());
        sent
    }

    /// Sends what is encrypted on the way, for who waits for something else.
    fn poll_send_on_the_way(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writer) = &self.writer else { return self.outgoing.poll_send(cx, &mut self.io) };
        let sent = ready!(self.outgoing.poll_send(&mut Context::from_waker(writer), &mut self.io));
        self.writer.take().filter(|writer| !writer.will_wake(cx.waker())).inspect(Waker::wake_by_ref);
        Poll::Ready(sent)
    }

    /// Receives until there is plaintext, the peer has ended, or a handshake is done.
    fn poll_receive(&mut self, cx: &mut Context<'_>, reader: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffer = Buffer::take();
        let mut received = Received::again(&mut buffer, &self.incoming);
        let polled = self.poll_receive_into(cx, reader, &mut received);
        // Nothing that comes behind the end is looked at.
        self.incoming = if self.has_ended { BytesMut::new() } else { received.rest().into() };
        polled
    }

    fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut ReadBuf<'_>,
        received: &mut Received<'_>,
    ) -> Poll<io::Result<()>> {
        let was_handshaking = self.session.is_handshaking();
        loop {
            let before = reader.filled().len();
            let worked = self.work(reader, received);
            if reader.filled().len() > before || !self.aside.is_empty() {
                // What followed on it and was no good is told of when it is asked for; the peer is told at once.
                return Poll::Ready(worked.or_else(|fault| self.fail(cx, fault, received)).or(Ok(())));
            }
            if let Err(fault) = worked {
                return Poll::Ready(self.fail(cx, fault, received));
            }
            if self.has_ended || self.session.is_handshaking() != was_handshaking {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(Err(error)) = self.poll_send_on_the_way(cx)
                && was_handshaking
            {
                return Poll::Ready(Err(error));
            }
            ready!(received.poll_more(cx, &mut self.io, reader.remaining()))?;
        }
    }

    /// Works on what was received, for as long as the reader has room.
    fn work(&mut self, reader: &mut ReadBuf<'_>, received: &mut Received<'_>) -> Result<(), Fault> {
        let is_handshaking = self.session.is_handshaking();
        if received.rest().is_empty() && !is_handshaking {
            return Ok(());
        }
        // What a handshake has left to be said comes before what is received behind it.
        while !self.has_ended && self.aside.is_empty() && (is_handshaking || reader.remaining() > 0) {
            match self.step(reader, received, Say::Nothing)? {
                Step::Some => {}
                Step::Ended => self.has_ended = true,
                Step::Blocked | Step::Said => break,
            }
        }
        Ok(())
    }

    fn step(&mut self, reader: &mut ReadBuf<'_>, received: &mut Received<'_>, say: Say<'_>) -> Result<Step, Fault> {
        let plaintext = Plaintext { reader, aside: &mut self.aside };
        self.session.step(received, Work { plaintext, outgoing: &mut self.outgoing, say })
    }

    /// Encrypts what is to be said.
    fn say(&mut self, cx: &mut Context<'_>, say: Say<'_>) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut received = Received::all(&mut incoming);
        let said = loop {
            match self.step(&mut ReadBuf::new(&mut []), &mut received, say) {
                Ok(Step::Some) => {}
                Ok(Step::Ended) if !self.has_ended => self.has_ended = true,
                Ok(Step::Said) => break Ok(()),
                Ok(Step::Ended | Step::Blocked) => break Err(io::ErrorKind::BrokenPipe.into()),
                Err(fault) => break self.fail(cx, fault, &mut received),
            }
        };
        let done = received.done();
        incoming.advance(done);
        self.incoming = incoming;
        said
    }

    /// Takes note of what ends the connection, and tells the peer as far as that goes without waiting.
    fn fail(&mut self, cx: &mut Context<'_>, fault: Fault, received: &mut Received<'_>) -> io::Result<()> {
        // No further: what is no good is not to be looked at again.
        while self.session.wants_write()
            && self.step(&mut ReadBuf::new(&mut []), received, Say::Nothing).is_ok_and(|step| step == Step::Some)
        {
        }
        let _ = self.poll_send_on_the_way(cx);
        self.failed = Some(Box::new(fault));
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |fault| Err(fault.as_ref().clone().into()))
    }
}

impl<IO> Stream<IO> {
    /// The stream below.
    pub fn io(&self) -> &IO {
        &self.io
    }

    /// What is below the stream, and its records.
    #[cfg(test)]
    pub(super) fn parts(&mut self) -> (&mut IO, &mut Records) {
        match &mut self.session {
            Session::Records(records) => (&mut self.io, records),
            Session::Rustls(_) => panic!("no records of TLS 1.3"),
        }
    }

    /// What was agreed on in the handshake.
    pub fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// The protocol that was agreed on with ALPN (RFC 7301), if one was.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The chain that the peer presented, leaf first.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        &self.peer_chain
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, reader: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.aside.is_empty() && reader.remaining() > 0 {
            this.check()?;
            if !this.has_ended {
                return this.poll_receive(cx, reader);
            }
        }
        let amount = this.aside.len().min(reader.remaining());
        reader.put_slice(&this.aside.split_to(amount));
        if this.aside.is_empty() {
            this.aside = BytesMut::new(); // gives back its memory
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        ready!(this.poll_send(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = bytes.get(..Buffer::PLAINTEXT).unwrap_or(bytes);
        this.say(cx, Say::Bytes(bytes))?;
        match this.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => self.poll_write(cx, &[]),
            (Some(only), None) => self.poll_write(cx, only),
            (Some(_), Some(_)) => {
                // One record for all of it is cheaper, for both sides, than one for each slice.
                let mut buffer = Buffer::take();
                let gathered = copy_slices(slices, buffer.get_mut(..Buffer::PLAINTEXT).unwrap_or_default());
                self.poll_write(cx, buffer.get(..gathered).unwrap_or_default())
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if !this.is_closed {
            this.is_closed = true;
            if this.failed.is_none() {
                this.say(cx, Say::End)?;
                ready!(this.poll_send(cx))?;
            }
        }
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<IO> fmt::Debug for Stream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
