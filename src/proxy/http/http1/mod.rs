//! HTTP/1.1 as we speak it, to clients and to targets. Heads are parsed by httparse, once, and judged more strictly than it does; bodies are
//! followed to their end. There is no task but that of the client's connection, no channel and no copy of a head in between: what one side said
//! is looked at, and written to the other, within one turn of that task.

mod answer_head;
mod asked;
mod chunks;
mod fault;
mod held;
mod message;
mod outbox;
mod request_head;
#[cfg(test)]
mod samples;
mod server;
mod sniff;
#[cfg(test)]
mod tests;
mod upstream;

pub(super) use fault::Fault;
pub(super) use server::{ClientEnd, Remains, RequestStream};
pub(super) use sniff::{Protocol, sniff};
pub(super) use upstream::Http1;

/// Bounds of a head, and of the trailers of a chunked body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// With the first line and every line end.
    pub(super) max_header_bytes: usize,
    /// Header lines. Up to 128 cost no allocation.
    pub(super) max_headers: usize,
}

/// Something is not as HTTP/1.1 has it, or the connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The other side's fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Not HTTP's fault.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
