//! What an HTTP listener shall do beyond what every listener does: routes, the headers that tell the application who calls, and bounds.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::DnsName;

use super::{AddressError, Target};
use crate::policy::{HostPattern, Pattern, PatternError};

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
    /// The hosts it is for: any of these.
    pub hosts: Vec<HostPattern>,
    /// Where requests go to.
    pub targets: Vec<TargetTemplate>,
    /// Who must be at the other end: any of these.
    pub expect: Vec<ExpectTemplate>,
    /// The name sent as SNI; where not given, the target's name if it has one.
    pub server_name: Option<DnsName<'static>>,
}

/// A target that may take parts of the request's host: `{0}.{1}.svc:8443`, `{host}:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTemplate(pub(super) Template<Target>);

/// A pattern of SPIFFE IDs whose path may take labels of the request's host: `spiffe://prod.example/ns/{1}/sa/{0}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectTemplate(pub(super) Template<Pattern>);

/// A value that is fixed, or written with the labels of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Template<T> {
    /// Without placeholders.
    Fixed(T),
    /// With `{0}`, `{1}` … or `{host}`: text that was checked to give a valid value for every host that its route takes.
    With(String),
}

impl TargetTemplate {
    /// The target for requests to `host`, whose labels the route's pattern captured.
    ///
    /// # Errors
    /// When these labels make no address: too long together, say.
    pub fn fill(&self, host: &str, labels: &[&str]) -> Result<Target, AddressError> {
        match &self.0 {
            Template::Fixed(target) => Ok(target.clone()),
            Template::With(text) => fill(text, host, labels).parse(),
        }
    }

    /// The target, where it is the same for every host.
    pub fn fixed(&self) -> Option<&Target> {
        match &self.0 {
            Template::Fixed(target) => Some(target),
            Template::With(_) => None,
        }
    }
}

impl ExpectTemplate {
    /// The pattern for requests to a host with these captured labels.
    ///
    /// # Errors
    /// When these labels make no pattern: too long together, say.
    pub fn fill(&self, labels: &[&str]) -> Result<Pattern, PatternError> {
        match &self.0 {
            Template::Fixed(pattern) => Ok(pattern.clone()),
            Template::With(text) => Pattern::parse(&fill(text, "", labels)),
        }
    }

    /// The pattern, where it is the same for every host.
    pub fn fixed(&self) -> Option<&Pattern> {
        match &self.0 {
            Template::Fixed(pattern) => Some(pattern),
            Template::With(_) => None,
        }
    }
}

/// Puts the labels into a template that was checked before.
fn fill(text: &str, host: &str, labels: &[&str]) -> String {
    let mut filled = text.replace("{host}", host);
    for (number, label) in labels.iter().enumerate() {
        filled = filled.replace(&format!("{{{number}}}"), label);
    }
    filled
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
    /// Bytes that all streams of one HTTP/2 connection may hold for slow receivers.
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
            max_idle_upstream: 128,
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
