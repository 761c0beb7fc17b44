//! The shape of the configuration file: what may stand where. The JSON Schema, and with it the check for unknown keys, comes from
//! these types and their docstrings.

use rustls::pki_types::DnsName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::address::{ListenAddress, Target};
use super::field::{Field, Many, Placed};
use super::map::Map;
use super::quantity::{Count, OrOff, Size, Time};
use super::request::RuleHost;
use super::word::{AlpnName, FilePath, LogFilter, Name, PlainTarget, ProtocolName};
use super::{
    AccessLog, ExpectTemplate, HttpLimits, IdentityHeader, Limits, LogFormat, OnExpiry, PeerFact, TargetTemplate,
    TlsVersion, XfccMode,
};
use crate::credentials::Identity;
use crate::policy::{Action, HostPattern, PathPattern, Pattern};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Configuration of svidgate, an mTLS reverse proxy for workload-to-workload traffic.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, title = "svidgate")]
pub(super) struct File {
    /// Where our own credentials come from. Without this table the well-known places are tried in order.
    #[schemars(with = "IdentityTable")]
    pub(super) identity: Option<Placed<IdentityTable>>,
    /// A listener in front of a service: mutual TLS comes in, plaintext goes to the service.
    pub(super) inbound: Vec<Placed<InboundTable>>,
    /// A listener for an application that calls others: plaintext comes in, mutual TLS goes out.
    pub(super) outbound: Vec<Placed<OutboundTable>>,
    /// Bounds, the same for every listener.
    #[schemars(with = "LimitsTable")]
    pub(super) limits: Option<Placed<LimitsTable>>,
    /// What is logged, and how.
    #[schemars(with = "LogTable")]
    pub(super) log: Option<Placed<LogTable>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct IdentityTable {
    /// The directory that the platform writes the credentials to; the names of the files tell its layout. Instead of the three files.
    pub(super) dir: Field<FilePath>,
    /// The PEM file of our certificate chain, leaf first.
    pub(super) certificates: Field<FilePath>,
    /// The PEM file of our private key; it may be the same file as `certificates`.
    pub(super) private_key: Field<FilePath>,
    /// The file of the roots that peers are verified against: a SPIFFE bundle map (`.json`), or PEM.
    pub(super) trust_bundle: Field<FilePath>,
    /// The trust domain that a PEM trust bundle speaks for; our own SVID's where not given.
    pub(super) trust_domain: Field<TrustDomain>,
    /// The only SPIFFE ID that we accept as our own; any where not given.
    pub(super) expected_id: Field<SpiffeId>,
    /// How often the files are looked at even when nothing reports a change: 100ms to 30s.
    #[schemars(extend("default" = shown(Time(Identity::default().poll_interval))))]
    pub(super) poll_interval: Field<Time>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["listen", "target", "rule"]))]
pub(super) struct InboundTable {
    /// The name that logs and metrics carry; `inbound-1`, `inbound-2` and so on where not given.
    pub(super) name: Field<Name>,
    /// Where peers connect to with mutual TLS: `HOST:PORT`, `:PORT` for every address, or `unix:/path`.
    pub(super) listen: Field<ListenAddress>,
    /// The service, or several in the order they are tried: `HOST:PORT` or `unix:/path`, on this machine. With `protocol = "http"`, `h2c://HOST:PORT` or
    /// `h2c:unix:/path` is one that speaks HTTP/2 in plaintext.
    pub(super) target: Many<PlainTarget>,
    /// What the bytes are: `"tcp"` passes them on, `"http"` understands requests.
    #[schemars(extend("default" = "tcp"))]
    pub(super) protocol: Field<ProtocolName>,
    /// The protocols accepted by ALPN, most wanted first. Without it none is negotiated, which a gRPC client refuses; with `protocol = "http"`, `h2` and
    /// `http/1.1` are.
    pub(super) alpn: Many<AlpnName>,
    /// The lowest version of TLS spoken.
    #[schemars(extend("default" = "1.3"))]
    pub(super) min_tls: Field<TlsVersion>,
    /// What happens to open connections when the peer's certificate expires.
    #[schemars(extend("default" = "close"))]
    pub(super) on_expiry: Field<OnExpiry>,
    /// Allows a target that is not on this machine: its bytes cross the network unprotected.
    #[schemars(extend("default" = false))]
    pub(super) allow_plaintext_network: Field<bool>,
    /// The headers that tell the application who calls; `[]` for none. Incoming copies of all of them are removed in any case.
    #[schemars(extend("default" = [IdentityHeader::XForwardedClientCert.as_str()]))]
    pub(super) identity_headers: Many<IdentityHeader>,
    /// What is done with `x-forwarded-client-cert`, in Envoy's words.
    #[schemars(extend("default" = XfccMode::default().as_str()))]
    pub(super) xfcc: Field<XfccMode>,
    /// Headers of your own naming, in lower case, and what each says of the peer.
    pub(super) own_headers: Map<PeerFact>,
    /// Whether TRACE requests are passed on; they are refused otherwise.
    #[schemars(extend("default" = false))]
    pub(super) trace: Field<bool>,
    /// Who may connect. Default deny: a peer gets in if an allow rule matches and no deny rule does.
    pub(super) rule: Vec<Placed<RuleTable>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["peers"]))]
pub(super) struct RuleTable {
    /// The name that logs and metrics carry; `rule-1`, `rule-2` and so on where not given.
    pub(super) name: Field<Name>,
    /// What the rule does with a peer that matches. Deny wins over allow.
    #[schemars(extend("default" = "allow"))]
    pub(super) action: Field<Action>,
    /// SPIFFE ID patterns, any of which matches: `*` is exactly one segment, a trailing `/**` one or more. The trust domain is literal.
    pub(super) peers: Many<Pattern>,
    /// The methods it speaks of, in upper case; all where not given. `protocol = "http"` only.
    pub(super) methods: Many<http::Method>,
    /// The paths it speaks of: exact, `*` for one segment, a trailing `/**` for anything below; all where not given. `protocol = "http"` only.
    pub(super) paths: Many<PathPattern>,
    /// The hosts it speaks of: exact, or `*.example` for every name below; all where not given. `protocol = "http"` only.
    pub(super) hosts: Many<RuleHost>,
    /// `false` makes it a shadow rule: decided, logged and counted, not acted upon.
    #[schemars(extend("default" = true))]
    pub(super) enforce: Field<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend(
    "required" = ["listen"],
    "oneOf" = [{ "required": ["target", "expect"] }, { "required": ["protocol", "route"] }]
))]
pub(super) struct OutboundTable {
    /// The name that logs and metrics carry; `outbound-1`, `outbound-2` and so on where not given.
    pub(super) name: Field<Name>,
    /// Where the application connects to in plaintext, on this machine: `localhost:PORT` or `unix:/path`.
    pub(super) listen: Field<ListenAddress>,
    /// The peer, or several in the order they are tried: `HOST:PORT` or `unix:/path`.
    pub(super) target: Many<Target>,
    /// Who must be at the other end: SPIFFE ID patterns, any of which matches. Host names never decide.
    pub(super) expect: Many<Pattern>,
    /// The name sent as SNI; the target's name where not given. It does not take part in verification.
    pub(super) server_name: Field<DnsName<'static>>,
    /// What the bytes are: `"tcp"` passes them on, `"http"` understands requests.
    #[schemars(extend("default" = "tcp"))]
    pub(super) protocol: Field<ProtocolName>,
    /// The protocols offered by ALPN, most wanted first. With `protocol = "http"` each request goes on in the version it came in where the peer agrees;
    /// `["h2"]` alone makes all of them HTTP/2.
    pub(super) alpn: Many<AlpnName>,
    /// The lowest version of TLS spoken.
    #[schemars(extend("default" = "1.3"))]
    pub(super) min_tls: Field<TlsVersion>,
    /// What happens to open connections when the peer's certificate expires.
    #[schemars(extend("default" = "close"))]
    pub(super) on_expiry: Field<OnExpiry>,
    /// Allows others than this machine to connect: their bytes cross the network unprotected, and we lend them our identity.
    #[schemars(extend("default" = false))]
    pub(super) allow_plaintext_network: Field<bool>,
    /// Whether TRACE requests are passed on; they are refused otherwise. `protocol = "http"` only.
    #[schemars(extend("default" = false))]
    pub(super) trace: Field<bool>,
    /// Where requests go by their host, instead of `target`, `expect` and `server_name`. A host without a route is refused. `protocol = "http"` only.
    pub(super) route: Vec<Placed<RouteTable>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["hosts", "target", "expect"]))]
pub(super) struct RouteTable {
    /// The name that logs carry; `route-1`, `route-2` and so on where not given.
    pub(super) name: Field<Name>,
    /// The hosts it is for, any of which matches: exact, `*.suffix`, labels to capture such as `{0}.{1}.svc`, or `*`.
    pub(super) hosts: Many<HostPattern>,
    /// Where requests go to: `HOST:PORT` or `unix:/path`. `{0}`, `{1}` and so on stand for captured labels, `{host}` for the whole host.
    pub(super) target: Many<TargetTemplate>,
    /// Who must be at the other end: SPIFFE ID patterns, any of which matches. The path may have `{0}`, `{1}` and so on for captured labels.
    pub(super) expect: Many<ExpectTemplate>,
    /// The name sent as SNI; the target's name where not given. It does not take part in verification.
    pub(super) server_name: Field<DnsName<'static>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct LimitsTable {
    /// Open connections of one listener: 1 to 1000000.
    #[schemars(extend("default" = Limits::default().max_connections))]
    pub(super) max_connections: Field<Count>,
    /// Handshakes in flight on one listener: 1 to 1000000.
    #[schemars(extend("default" = Limits::default().max_handshakes))]
    pub(super) max_handshakes: Field<Count>,
    /// From accepting or connecting to the end of the handshake: 100ms to 5m.
    #[schemars(extend("default" = shown(Time(Limits::default().handshake_timeout))))]
    pub(super) handshake_timeout: Field<Time>,
    /// The certificates that a peer presents, together: 2KiB to 64KiB.
    #[schemars(extend("default" = shown(Size(Limits::default().max_peer_certificates))))]
    pub(super) max_peer_certificates: Field<Size>,
    /// Reaching a target (its name, all of its addresses, all targets): 100ms to 5m.
    #[schemars(extend("default" = shown(Time(Limits::default().connect_timeout))))]
    pub(super) connect_timeout: Field<Time>,
    /// Without a byte in either direction: 1s to 30days, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(Limits::default().idle_timeout.map(Time)))))]
    pub(super) idle_timeout: Field<OrOff<Time>>,
    /// Without a byte, once one side has ended its half: 1s to 1day, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(Limits::default().half_close_timeout.map(Time)))))]
    pub(super) half_close_timeout: Field<OrOff<Time>>,
    /// Between TCP keepalive probes: 1s to 9h, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(Limits::default().keepalive.map(Time)))))]
    pub(super) keepalive: Field<OrOff<Time>>,
    /// From a refusal of an open connection (policy, trust, expiry) to its close: 0s to 1h.
    #[schemars(extend("default" = shown(Time(Limits::default().close_grace))))]
    pub(super) close_grace: Field<Time>,
    /// How long connections may go on after a stop signal: 0s to 1day.
    #[schemars(extend("default" = shown(Time(Limits::default().drain_timeout))))]
    pub(super) drain_timeout: Field<Time>,
    /// Threads that move bytes, 1 to 1024; one for each core of the machine where not given.
    pub(super) worker_threads: Field<Count>,
    /// Bounds of `protocol = "http"`.
    #[schemars(with = "HttpLimitsTable")]
    pub(super) http: Option<Placed<HttpLimitsTable>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct HttpLimitsTable {
    /// The head of a request, its line and its headers: 4KiB to 1MiB.
    #[schemars(extend("default" = shown(Size(HttpLimits::default().max_header_bytes))))]
    pub(super) max_header_bytes: Field<Size>,
    /// Headers of a request: 1 to 1000.
    #[schemars(extend("default" = HttpLimits::default().max_headers))]
    pub(super) max_headers: Field<Count>,
    /// The body of a request: 0B to 1024GiB, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(HttpLimits::default().max_body.map(Size)))))]
    pub(super) max_body: Field<OrOff<Size>>,
    /// From the first byte of a head to its last; of the first head, from the handshake on: 100ms to 5m.
    #[schemars(extend("default" = shown(Time(HttpLimits::default().header_timeout))))]
    pub(super) header_timeout: Field<Time>,
    /// From the last byte of a request that moved to the head of its answer: 100ms to 1day, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(HttpLimits::default().request_timeout.map(Time)))))]
    pub(super) request_timeout: Field<OrOff<Time>>,
    /// A client's connection without a request: 1s to 1day, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(HttpLimits::default().keep_alive.map(Time)))))]
    pub(super) keep_alive: Field<OrOff<Time>>,
    /// Requests on one connection: 1 to 1000000, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(HttpLimits::default().max_requests.map(Count)))))]
    pub(super) max_requests: Field<OrOff<Count>>,
    /// The age of a connection after which it gets no further requests: 1s to 30days, or `"off"`.
    #[schemars(extend("default" = shown(OrOff(HttpLimits::default().max_age.map(Time)))))]
    pub(super) max_age: Field<OrOff<Time>>,
    /// HTTP/2 streams at a time on one connection: 1 to 10000.
    #[schemars(extend("default" = HttpLimits::default().max_streams))]
    pub(super) max_streams: Field<Count>,
    /// HTTP/2 streams that a peer may open and give up within ten seconds: 1 to 10000.
    #[schemars(extend("default" = HttpLimits::default().max_resets))]
    pub(super) max_resets: Field<Count>,
    /// Bytes that one HTTP/2 stream may hold for a slow receiver, in each direction: 16KiB to 64MiB.
    #[schemars(extend("default" = shown(Size(HttpLimits::default().stream_buffer))))]
    pub(super) stream_buffer: Field<Size>,
    /// Bytes that all streams of one HTTP/2 connection may hold for slow receivers, `stream_buffer` at least: 64KiB to 512MiB.
    #[schemars(extend("default" = shown(Size(HttpLimits::default().connection_buffer))))]
    pub(super) connection_buffer: Field<Size>,
    /// An upstream connection without a request: 1s to 1h.
    #[schemars(extend("default" = shown(Time(HttpLimits::default().upstream_keep_alive))))]
    pub(super) upstream_keep_alive: Field<Time>,
    /// Upstream connections without a request that are kept for one target, by each worker thread: 0 to 10000.
    #[schemars(extend("default" = HttpLimits::default().max_idle_upstream))]
    pub(super) max_idle_upstream: Field<Count>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct LogTable {
    /// The shape of a line. `--log-format` wins over it.
    #[schemars(extend("default" = "text"))]
    pub(super) format: Field<LogFormat>,
    /// A level or a filter in the syntax of `RUST_LOG`, which wins over it, as `--log-level` does.
    #[schemars(extend("default" = "info"))]
    pub(super) level: Field<LogFilter>,
    /// Which HTTP requests get a line of their own: `"off"`, `"errors"`, `"all"`, or a share such as `"10%"` beside the errors. What svidgate refuses or
    /// answers itself always does.
    #[schemars(extend("default" = "off"))]
    pub(super) requests: Field<AccessLog>,
}

/// A default as the file would write it.
fn shown(value: impl std::fmt::Display) -> String {
    value.to_string()
}
