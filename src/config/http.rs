//! What an HTTP listener shall do beyond what every listener does: routes, the headers that tell the application who calls, and bounds.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::DnsName;

use super::{ExpectTemplate, TargetTemplate};
use crate::policy::HostPattern;

/// An HTTP listener's own part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// Where requests go by their host, outbound only. Without routes every request goes to the listener's own targets.
    pub routes: Vec<Route>,
    /// What the application is told about the peer, inbound only.
    pub identity_headers: IdentityHeaders,
    /// Whether TRACE requests are passed on.
    pub trace: bool,
    /// Which requests get a line of their own in the log, as `[log]` has it for all listeners.
    pub access_log: AccessLog,
    /// The versions spoken to the target without asking (h2c), or agreed by ALPN where it is mutual TLS.
    pub upstream: HttpVersions,
}

/// The versions of HTTP spoken to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersions {
    /// To plaintext targets HTTP/1.1. To mutual-TLS ones what the request came in: HTTP/2 goes on as HTTP/2 where the peer agrees to it.
    #[default]
    AsAsked,
    /// HTTP/2 for every request: with prior knowledge to plaintext targets (`h2c://`).
    Http2,
}

/// Requests for some hosts, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The name that logs carry.
    pub name: Arc<str>,
    /// The hosts it is for: any of these, no two routes of a listener having the same. Each captures as many labels as the templates take.
    pub hosts: Vec<HostPattern>,
    /// Where requests go to.
    pub targets: Vec<TargetTemplate>,
    /// Who must be at the other end: any of these.
    pub expect: Vec<ExpectTemplate>,
    /// The name sent as SNI; where not given, the target's name if it has one.
    pub server_name: Option<DnsName<'static>>,
}

/// Which identity headers the application gets. Incoming copies of all of them are removed in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// Those that are switched on.
    pub send: Vec<IdentityHeader>,
    /// What is done with `x-forwarded-client-cert`.
    pub xfcc: XfccMode,
    /// Headers of the operator's own naming.
    pub own: Vec<OwnHeader>,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self { send: vec![IdentityHeader::XForwardedClientCert], xfcc: XfccMode::default(), own: Vec::new() }
    }
}

/// A header that tells who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityHeader {
    /// `x-forwarded-client-cert`, in Envoy's text form.
    XForwardedClientCert,
    /// `Client-Cert` (RFC 9440 §2.2).
    ClientCert,
    /// `Client-Cert-Chain` (RFC 9440 §2.3).
    ClientCertChain,
    /// `x-spiffe-id`, the bare ID.
    XSpiffeId,
}

impl IdentityHeader {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::XForwardedClientCert, Self::ClientCert, Self::ClientCertChain, Self::XSpiffeId];

    /// Its name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedClientCert => "x-forwarded-client-cert",
            Self::ClientCert => "client-cert",
            Self::ClientCertChain => "client-cert-chain",
            Self::XSpiffeId => "x-spiffe-id",
        }
    }
}

/// What happens to `x-forwarded-client-cert`, in Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XfccMode {
    /// Removed, and nothing is sent.
    Sanitize,
    /// What the peer sent is passed on as it is.
    ForwardOnly,
    /// The peer's own element is appended to what it sent.
    AppendForward,
    /// What the peer sent is removed, and the peer's own element sent.
    #[default]
    SanitizeSet,
}

impl XfccMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sanitize, Self::ForwardOnly, Self::AppendForward, Self::SanitizeSet];

    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sanitize => "sanitize",
            Self::ForwardOnly => "forward_only",
            Self::AppendForward => "append_forward",
            Self::SanitizeSet => "sanitize_set",
        }
    }
}

/// A header of the operator's own naming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHeader {
    /// Its name, in lower case.
    pub name: http::HeaderName,
    /// What it says.
    pub fact: PeerFact,
}

/// What can be said of a peer in a header of the operator's own naming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFact {
    /// The SPIFFE ID.
    SpiffeId,
    /// The trust domain.
    TrustDomain,
    /// The ID's path, from its first `/` on.
    Path,
    /// The leaf's subject, as RFC 2253 text.
    Subject,
    /// The leaf's issuer, as RFC 2253 text.
    Issuer,
    /// The leaf's serial number, in hexadecimal.
    Serial,
    /// The SHA-256 of the leaf, in lower-case hexadecimal.
    Hash,
    /// When the leaf expires, in RFC 3339.
    NotAfter,
    /// The leaf in PEM, percent-encoded.
    Certificate,
    /// `SUCCESS`, as nginx's `$ssl_client_verify` says it.
    Verified,
    /// The rule that let the request in.
    Rule,
}

impl PeerFact {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SpiffeId,
        Self::TrustDomain,
        Self::Path,
        Self::Subject,
        Self::Issuer,
        Self::Serial,
        Self::Hash,
        Self::NotAfter,
        Self::Certificate,
        Self::Verified,
        Self::Rule,
    ];

    /// Its word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpiffeId => "spiffe_id",
            Self::TrustDomain => "trust_domain",
            Self::Path => "path",
            Self::Subject => "subject",
            Self::Issuer => "issuer",
            Self::Serial => "serial",
            Self::Hash => "hash",
            Self::NotAfter => "not_after",
            Self::Certificate => "certificate",
            Self::Verified => "verified",
            Self::Rule => "rule",
        }
    }
}

/// Bounds of HTTP. `None` is off.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpLimits {
    /// The head of a request: its line and its headers, in bytes. It also bounds the CONTINUATION frames of one head.
    pub max_header_bytes: usize,
    /// Headers of a request.
    pub max_headers: usize,
    /// The body of a request, in bytes.
    pub max_body: Option<usize>,
    /// From the first byte of a head to its last; of the first head, from the handshake on.
    pub header_timeout: Duration,
    /// From the last byte of a request that moved to the head of its answer.
    pub request_timeout: Option<Duration>,
    /// A client's connection without a request.
    pub keep_alive: Option<Duration>,
    /// Requests on one connection; the last is answered with the end of the connection.
    pub max_requests: Option<usize>,
    /// The age of a connection after which it gets no further requests.
    pub max_age: Option<Duration>,
    /// HTTP/2 streams at a time on one connection.
    pub max_streams: usize,
    /// HTTP/2 streams that a peer may open and give up within ten seconds.
    pub max_resets: usize,
    /// Bytes that one HTTP/2 stream may hold for a slow receiver, in each direction.
    pub stream_buffer: usize,
    /// Bytes that all streams of one HTTP/2 connection may hold for slow receivers. Of answers each stream holds its share of this by
    /// `max_streams`, 16 KiB at the least, however few there are. On an upstream connection that many clients share, each stream may hold
    /// `stream_buffer` instead: else one client's could stop all others'.
    pub connection_buffer: usize,
    /// An upstream connection without a request.
    pub upstream_keep_alive: Duration,
    /// Upstream connections without a request that are kept for one target, by each worker thread.
    pub max_idle_upstream: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_body: None,
            header_timeout: Duration::from_secs(30),
            request_timeout: Some(Duration::from_secs(5 * 60)),
            keep_alive: Some(Duration::from_secs(5 * 60)),
            max_requests: None,
            max_age: None,
            max_streams: 100,
            max_resets: 100,
            stream_buffer: 1024 * 1024,
            connection_buffer: 8 * 1024 * 1024,
            upstream_keep_alive: Duration::from_secs(30),
            max_idle_upstream: 10_000,
        }
    }
}

/// Which requests get a line of their own in the log. What we refuse or answer ourselves always does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// Those that failed: answered with 5xx, or broken off.
    Errors,
    /// Those that failed, and this share of the others: above 0, 1 at most.
    Share(f64),
}
