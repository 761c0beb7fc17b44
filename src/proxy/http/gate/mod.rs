//! The gate between a client's byte stream and hyper. It looks at each HTTP/1 request head before hyper sees a byte of it, and follows bodies to
//! know where the next head starts: what must be refused never reaches hyper, and is answered by us.

mod chunks;
mod fault;
mod head;
mod io;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod served;
mod sniff;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use chunks::Chunks;
pub(in crate::proxy) use fault::Fault;
use head::Framing;
pub(in crate::proxy) use sniff::Protocol;
pub(in crate::proxy) use watch::{InFlight, Watch};

/// A client's byte stream that lets good requests through, whole head by whole head.
///
/// hyper reads from it straight out of the stream into its own buffer: a head that comes in one read is looked at there, without a copy or an
/// allocation. What hyper may not see (yet) is taken back. The contract with the service behind it is on [`Watch`].
pub(in crate::proxy) struct Gate<IO> {
    io: IO,
    watch: Arc<Watch>,
    limits: Limits,
    state: State,
    /// Read and not let through. Allocated only while it holds something.
    held: BytesMut,
    /// How much of `held` is known to be no whole head.
    seen: usize,
    /// Whether what follows the current message may be no HTTP.
    upgrade: bool,
    /// Heads let through.
    admitted: u64,
    /// Answers that had ended when hyper last wrote out all that it had.
    flushed: u64,
    /// Whether hyper was told the end because of a refused head.
    is_due: bool,
}

/// Bounds of a head, and of the trailers of a chunked body.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Limits {
    /// With the request line and every line end.
    pub(in crate::proxy) max_header_bytes: usize,
    /// Header lines. Up to 128 cost no allocation.
    pub(in crate::proxy) max_headers: usize,
}

/// What a gate leaves behind.
pub(in crate::proxy) struct Parts<IO> {
    /// The stream.
    pub(in crate::proxy) io: IO,
    /// What was read from it and not let through: after a granted upgrade, the first bytes of the other protocol.
    pub(in crate::proxy) leftover: Bytes,
    /// What is wrong with the client's bytes, if something is.
    pub(in crate::proxy) fault: Option<Fault>,
    /// Whether our own answer to the fault is the next thing that the client expects to read: each request before it has had its answer, and
    /// hyper ended because of it. Not so for a fault inside a body, whose request hyper has.
    pub(in crate::proxy) is_due: bool,
}

enum State {
    /// Collects a head.
    Head,
    /// The next bytes pass: a head that was found good, and the body of known length behind it. A chunked body is then still to come.
    Pass { left: u64, then_chunks: bool },
    /// A chunked body passes.
    Chunks(Chunks),
    /// The message that asked for an upgrade has passed; nobody knows yet what the bytes after it are.
    Upgrading,
    /// A head was refused: nothing passes any more, and hyper is told the end when it has nothing left to say.
    Refused,
    /// The framing of a body is broken: hyper may not take it for complete.
    Broken(Fault),
    /// Everything passes.
    Open,
}

/// Bytes asked for at a time where some of them may have to be taken back: a TLS record's worth.
const READ: u64 = 16 * 1024;

impl<IO: AsyncRead + Unpin> Gate<IO> {
    /// A gate for HTTP/1 requests, of which `leftover` was already read.
    pub(in crate::proxy) fn new(io: IO, leftover: Bytes, limits: Limits) -> Self {
        Self::with(io, leftover, limits, State::Head)
    }

    /// A gate that looks at nothing and only counts: for HTTP/2, and for tunnels.
    pub(in crate::proxy) fn open(io: IO, leftover: Bytes) -> Self {
        Self::with(io, leftover, Limits { max_header_bytes: 0, max_headers: 0 }, State::Open)
    }

    fn with(io: IO, leftover: Bytes, limits: Limits, state: State) -> Self {
        Self {
            io,
            watch: Watch::new(),
            limits,
            state,
            held: BytesMut::from(leftover),
            seen: 0,
            upgrade: false,
            admitted: 0,
            flushed: 0,
            is_due: false,
        }
    }

    /// The state of the connection, for those who do not hold the gate.
    pub(in crate::proxy) fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    /// Takes the gate apart, once hyper gave it back.
    pub(in crate::proxy) fn into_parts(self) -> Parts<IO> {
        Parts { io: self.io, leftover: self.held.freeze(), fault: self.watch.fault(), is_due: self.is_due }
    }

    /// Looks at what there is of a head, and lets it through if it is whole and good.
    fn judge(&mut self, bytes: &[u8]) {
        match head::examine(bytes, self.limits) {
            Ok(None) => self.seen = bytes.len(),
            Ok(Some(head)) => {
                let (body, then_chunks) = match head.body {
                    Framing::Length(length) => (length, false),
                    Framing::Chunked => (0, true),
                };
                self.state = State::Pass { left: body.saturating_add(head.len as u64), then_chunks };
                self.seen = 0;
                self.upgrade = head.upgrade;
                self.admitted += 1;
                self.watch.head_is_over();
                if head.upgrade {
                    self.watch.forget_resume();
                }
            }
            Err(fault) => self.refuse(fault),
        }
    }

    fn judge_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.judge(&held);
        self.held = held;
    }

    /// Whether a second look at the held part of a head can tell more than the first. Looking again only at line ends keeps the work for a
    /// head that comes byte by byte within what its lines, of which there are few, cost.
    fn is_worth_a_look(&self) -> bool {
        let fresh = self.held.get(self.seen..).unwrap_or_default();
        self.seen == 0 || fresh.contains(&b'\n') || self.held.len() >= self.limits.max_header_bytes
    }

    fn refuse(&mut self, fault: Fault) {
        self.watch.note_fault(fault);
        self.watch.head_is_over(); // nobody waits for the rest of it
        self.state = State::Refused;
    }

    /// How many of the bytes that come next may pass: up to the end of the message, or to a fault.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        if let State::Pass { left, then_chunks } = &mut self.state {
            passed = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            *left -= passed as u64;
            if *left == 0 {
                self.state = if *then_chunks { State::Chunks(Chunks::default()) } else { self.after_message() };
            }
        }
        if let State::Chunks(chunks) = &mut self.state {
            let (good, fault) = chunks.follow(bytes.get(passed..).unwrap_or_default(), self.limits);
            passed += good;
            if let Err(fault) = fault {
                self.watch.note_fault(fault);
                self.state = State::Broken(fault);
            } else if chunks.has_ended() {
                self.state = self.after_message();
            }
        } else if matches!(self.state, State::Open) {
            passed = bytes.len();
        }
        passed
    }

    fn after_message(&self) -> State {
        if self.upgrade { State::Upgrading } else { State::Head }
    }

    /// Lets pass what is held and may pass.
    fn pass_held(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        if matches!(self.state, State::Head) && self.is_worth_a_look() {
            self.judge_held();
        }
        let held = std::mem::take(&mut self.held);
        let room = held.get(..buf.remaining()).unwrap_or(&held);
        let passed = self.admit(room);
        buf.put_slice(room.get(..passed).unwrap_or_default());
        self.held = held;
        self.held.advance(passed);
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        passed
    }

    /// Lets pass what may pass of the bytes in `buf` from `before` on, which just came, and takes back the others.
    fn pass_fresh(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> usize {
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let mut passed = 0;
        if self.held.is_empty() {
            if matches!(self.state, State::Head) {
                self.judge(fresh);
            }
            passed = self.admit(fresh);
        }
        self.held.extend_from_slice(fresh.get(passed..).unwrap_or_default());
        buf.set_filled(before + passed);
        passed
    }

    /// Reads once from the stream, at most `limit` bytes.
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, limit: u64) -> Poll<Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut (&mut self.io).take(limit)).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.watch.count_read(read);
        Poll::Ready(Ok(read))
    }

    /// Ready once the client has ended its side, or broke off. What it sends meanwhile is held, within bounds.
    fn poll_end(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        while self.held.len() <= self.limits.max_header_bytes {
            if ready!(self.poll_stream(cx, buf, READ))? == 0 {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(buf.filled().get(before..).unwrap_or_default());
            buf.set_filled(before);
        }
        Poll::Pending
    }

    /// Ready with the end once hyper has nothing left to say: told before, it would drop what it has not written.
    fn poll_refused(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.watch.wait(cx);
        if self.watch.finished() == self.admitted && self.flushed == self.admitted {
            self.is_due = self.watch.fault().is_some_and(|fault| fault.status().is_some());
            return Poll::Ready(Ok(()));
        }
        self.poll_end(cx, buf)
    }

    /// Ready with the end of the client's side; `None` once it is known that the next head follows.
    fn poll_upgrading(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Option<Result<()>>> {
        self.watch.wait(cx);
        if self.watch.has_resumed() {
            self.state = State::Head;
            return Poll::Ready(None);
        }
        self.poll_end(cx, buf).map(Some)
    }

    /// No more comes for now. Whether a head that has begun is too late.
    fn is_late(&mut self, cx: &Context<'_>) -> bool {
        if !matches!(self.state, State::Head) || !head::has_begun(&self.held) {
            return false;
        }
        self.watch.head_has_begun();
        self.watch.wait(cx);
        self.watch.has_expired()
    }

    /// Nothing is added to the head any more: refused for what it is, if it can be, and else for being cut off.
    fn cut_off(&mut self, fault: Fault) {
        self.judge_held();
        if matches!(self.state, State::Head) {
            self.refuse(fault);
        }
    }

    /// The client ended its side.
    fn end(&mut self) {
        match self.state {
            State::Head if head::has_begun(&self.held) => self.cut_off(Fault::Truncated),
            State::Pass { .. } | State::Chunks(_) => self.watch.note_fault(Fault::Truncated),
            State::Head | State::Upgrading | State::Refused | State::Broken(_) | State::Open => {}
        }
    }
}

/// What hyper reads. One call gives bytes of one message at most.
impl<IO: AsyncRead + Unpin> AsyncRead for Gate<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !this.held.is_empty() && this.pass_held(buf) > 0 {
                return Poll::Ready(Ok(()));
            }
            let limit = match &this.state {
                State::Broken(fault) => return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, *fault))),
                State::Refused => return this.poll_refused(cx, buf),
                State::Upgrading => match ready!(this.poll_upgrading(cx, buf)) {
                    Some(end) => return Poll::Ready(end),
                    None => continue,
                },
                State::Pass { left, then_chunks: false } => *left,
                State::Open => u64::MAX,
                State::Head | State::Chunks(_) | State::Pass { then_chunks: true, .. } => READ,
            };
            match this.poll_stream(cx, buf, limit) {
                Poll::Ready(Ok(0)) => {
                    this.end();
                    if !matches!(this.state, State::Refused) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Ok(_)) => {
                    if this.pass_fresh(buf, before) > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if this.is_late(cx) => this.cut_off(Fault::Timeout),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
