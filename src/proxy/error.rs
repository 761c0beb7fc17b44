//! Every way a connection ends other than cleanly, each with the one outcome that logs and metrics know it by.

use std::io;

use crate::credentials::Unusable;
use crate::metrics::Outcome;
use crate::tls::{HandshakeError, Refusal};

use super::relay::{Broken, Side};
use super::upstream::UpstreamError;

/// Why a connection did not end cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side connected and left without a byte, as health checks do.
    #[error("the client left without sending anything")]
    Probe,
    /// We have nothing to present.
    #[error(transparent)]
    Identity(#[from] Unusable),
    /// No mutual TLS with the peer.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// No target answered.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// One side broke.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// No byte moved for the idle timeout, or for the half-close timeout.
    #[error("no byte moved for {0}")]
    Idle(humantime::FormattedDuration),
    /// The peer would now be refused.
    #[error("the peer is no longer let in: {0}")]
    Revoked(#[source] Box<Refusal>),
    /// A tunnel was cut short.
    #[error("{0}")]
    Cut(String),
    /// The client broke off in the middle of a request, or broke the rules of its protocol.
    #[error("HTTP broke off: {0}")]
    Http(String),
    /// A request head that is no good HTTP.
    #[error("no good HTTP: {0}")]
    Malformed(String),
    /// A request head that did not come in time.
    #[error("a request did not come in time")]
    Slow,
    /// Too many streams were given up, or frames sent that are nothing but work.
    #[error(
        "the client floods us: it gave up more than `max_resets` streams within ten seconds, or sent frames to no purpose"
    )]
    Flooded,
    /// The drain timeout is over.
    #[error("the connection was still open at the end of the drain timeout")]
    Forced,
}

impl ConnectionError {
    /// The one outcome of this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Probe => Outcome::Probe,
            Self::Identity(_) => Outcome::NoIdentity,
            Self::Handshake(error) => match error {
                HandshakeError::Refused(_) => Outcome::Refused,
                HandshakeError::Alert(_) => Outcome::RefusedByPeer,
                HandshakeError::Timeout => Outcome::HandshakeTimeout,
                HandshakeError::NotTls | HandshakeError::Tls(_) | HandshakeError::Io(_) => Outcome::HandshakeFailed,
            },
            Self::Upstream(_) => Outcome::Unreachable,
            Self::Broken(broken) if broken.alert().is_some() => Outcome::RefusedByPeer,
            Self::Broken(Broken { side: Side::Tls, error }) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Outcome::Truncated
            }
            Self::Broken(_) => Outcome::Broken,
            Self::Idle(_) => Outcome::Idle,
            Self::Revoked(_) | Self::Cut(_) => Outcome::Revoked,
            Self::Http(_) => Outcome::Broken,
            Self::Malformed(_) => Outcome::Malformed,
            Self::Slow => Outcome::Idle,
            Self::Flooded => Outcome::Flooded,
            Self::Forced => Outcome::Forced,
        }
    }

    /// The refusal behind the error, if there is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Handshake(HandshakeError::Refused(refusal)) | Self::Revoked(refusal) => Some(refusal),
            _ => None,
        }
    }
}
