//! What is counted. Labels are closed enums and the listeners' own names, never what a peer says of itself.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a connection ended. The words are part of our surface: logs and metrics carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both sides ended cleanly.
    Completed,
    /// Connected and left without a byte.
    Probe,
    /// We refused the peer.
    Refused,
    /// The peer refused us.
    RefusedByPeer,
    /// The handshake failed otherwise.
    HandshakeFailed,
    /// The handshake took too long.
    HandshakeTimeout,
    /// We had no certificate to present.
    NoIdentity,
    /// No target answered.
    Unreachable,
    /// One side broke.
    Broken,
    /// The TLS side ended without close_notify: what it sent may not be all.
    Truncated,
    /// Nothing moved for too long.
    Idle,
    /// Closed by us: the policy, the trust or the peer's certificate is no longer what let it in.
    Revoked,
    /// Cut at the end of the drain timeout.
    Forced,
    /// The client's bytes are no good HTTP.
    Malformed,
    /// The client gave up too many streams in too short a time.
    Flooded,
    /// The connection's task ended without a result: a defect of ours.
    Aborted,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Completed,
        Self::Probe,
        Self::Refused,
        Self::RefusedByPeer,
        Self::HandshakeFailed,
        Self::HandshakeTimeout,
        Self::NoIdentity,
        Self::Unreachable,
        Self::Broken,
        Self::Truncated,
        Self::Idle,
        Self::Revoked,
        Self::Forced,
        Self::Malformed,
        Self::Flooded,
        Self::Aborted,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Probe => "probe",
            Self::Refused => "refused",
            Self::RefusedByPeer => "refused_by_peer",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::NoIdentity => "no_identity",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Truncated => "truncated",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::Forced => "forced",
            Self::Malformed => "malformed",
            Self::Flooded => "flooded",
            Self::Aborted => "aborted",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// How a request ended. The words are part of our surface: logs and metrics carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// The upstream's answer was passed on whole.
    Answered,
    /// It became a tunnel, which ended.
    Tunnelled,
    /// The client left before the answer was whole.
    Cancelled,
    /// Cut by us in its middle: no longer let through, or nothing moved for too long.
    Cut,
    /// The upstream broke off in the middle of its answer.
    UpstreamBroken,
    /// 400: no good HTTP.
    BadRequest,
    /// 403: the policy does not let it through.
    Denied,
    /// 403: no route is for its host.
    NoRoute,
    /// 405: a method that is not taken.
    MethodNotAllowed,
    /// 408: the client did not send the rest of it.
    RequestTimeout,
    /// 413: its body is too long.
    TooLarge,
    /// 431: its head is too long.
    HeadersTooLarge,
    /// 502: no upstream, or none that may be trusted, or it broke off before it answered.
    UpstreamFailed,
    /// 503: we have nothing to present.
    Overloaded,
    /// 504: the upstream did not answer in time.
    UpstreamTimeout,
    /// 508: it goes in circles.
    Loop,
}

impl RequestOutcome {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Answered,
        Self::Tunnelled,
        Self::Cancelled,
        Self::Cut,
        Self::UpstreamBroken,
        Self::BadRequest,
        Self::Denied,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TooLarge,
        Self::HeadersTooLarge,
        Self::UpstreamFailed,
        Self::Overloaded,
        Self::UpstreamTimeout,
        Self::Loop,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Tunnelled => "tunnelled",
            Self::Cancelled => "cancelled",
            Self::Cut => "cut",
            Self::UpstreamBroken => "upstream_broken",
            Self::BadRequest => "bad_request",
            Self::Denied => "denied",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge => "too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::UpstreamFailed => "upstream_failed",
            Self::Overloaded => "overloaded",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Loop => "loop",
        }
    }
}

impl EncodeLabelValue for RequestOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// Which listener, and how the request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestEnded {
    /// The listener's name.
    pub listener: Arc<str>,
    /// How the request ended.
    pub outcome: RequestOutcome,
}

/// Which listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfListener {
    /// Its name.
    pub listener: Arc<str>,
}

/// Which listener, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// The listener's name.
    pub listener: Arc<str>,
    /// How the connection ended.
    pub outcome: Outcome,
}

/// Which listener, and which way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Moved {
    /// The listener's name.
    pub listener: Arc<str>,
    /// `decrypted` or `encrypted`.
    pub direction: &'static str,
}

/// Which listener, and at which stage of the examination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedAt {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The stage, as `Stage::as_str` says it.
    pub stage: &'static str,
}

/// Which listener, and what the shadow rules would have done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Shadowed {
    /// The listener's name.
    pub listener: Arc<str>,
    /// `allow` or `deny`: the opposite of what was done.
    pub decision: &'static str,
}

/// Whether a reading was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadingTaken {
    /// `accepted`, `refused` or `unchanged`.
    pub result: &'static str,
}

/// The metric families of one process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections accepted.
    pub connections_opened: Family<OfListener, Counter>,
    /// Connections ended, by outcome.
    pub connections_closed: Family<Ended, Counter>,
    /// Connections open now.
    pub connections_active: Family<OfListener, Gauge>,
    /// HTTP requests ended, by outcome.
    pub requests: Family<RequestEnded, Counter>,
    /// Application bytes moved.
    pub bytes: Family<Moved, Counter>,
    /// Peers refused, by stage.
    pub refusals: Family<RefusedAt, Counter>,
    /// Peers that the shadow rules would have treated otherwise.
    pub shadow_decisions: Family<Shadowed, Counter>,
    /// Readings of the configuration file.
    pub config_readings: Family<ReadingTaken, Counter>,
}

impl Metrics {
    /// All families under their public names.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("svidgate");
        registry.register("connections_opened", "Connections accepted", self.connections_opened.clone());
        registry.register("connections_closed", "Connections ended, by outcome", self.connections_closed.clone());
        registry.register("connections_active", "Connections open now", self.connections_active.clone());
        registry.register("requests", "HTTP requests ended, by outcome", self.requests.clone());
        registry.register("bytes", "Application bytes moved", self.bytes.clone());
        registry.register("refusals", "Peers refused, by stage of the examination", self.refusals.clone());
        let shadow = "Peers that the shadow rules would have treated otherwise";
        registry.register("shadow_decisions", shadow, self.shadow_decisions.clone());
        registry.register("config_readings", "Readings of the configuration", self.config_readings.clone());
        registry
    }

    /// How many requests of `listener` ended in `outcome`.
    pub fn requested(&self, listener: &Arc<str>, outcome: RequestOutcome) -> u64 {
        self.requests.get(&RequestEnded { listener: listener.clone(), outcome }).map_or(0, |count| count.get())
    }

    /// How many connections of `listener` ended in `outcome`.
    pub fn closed(&self, listener: &Arc<str>, outcome: Outcome) -> u64 {
        self.connections_closed.get(&Ended { listener: listener.clone(), outcome }).map_or(0, |count| count.get())
    }
}
