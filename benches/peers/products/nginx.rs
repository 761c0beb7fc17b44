//! nginx: its http module for requests, its stream module for bytes. Directives as its documentation of the modules advises for kept upstream
//! connections and many clients.

use std::path::PathBuf;
use std::process::Command;

use super::{CIPHER, Hop, Mode, Side};
use crate::credentials::NAME;

/// What every nginx of the bench opens with: in the foreground, all of its files in its own directory.
pub(crate) const PREAMBLE: &str = "daemon off; pid nginx.pid; error_log stderr error; worker_rlimit_nofile 65536;\n";

/// Whatever is not in the mood of the http module's defaults: no log, files of its own, connections that last.
pub(crate) const HTTP: &str = "access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 1h; client_header_timeout 1h;\n\
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n";

/// The stream module: `Some` with the line that loads it, which is empty where it is built in.
pub(super) fn stream_module() -> Option<String> {
    let places = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    let files = places.iter().map(|place| PathBuf::from(place).join("ngx_stream_module.so"));
    if let Some(file) = files.into_iter().find(|file| file.is_file()) {
        return Some(format!("load_module {file:?};\n"));
    }
    let program = crate::process::find("nginx")?;
    let built = Command::new(program).arg("-V").output().ok()?;
    let built = String::from_utf8_lossy(&built.stderr).into_owned();
    built.split_whitespace().any(|flag| flag == "--with-stream").then(String::new)
}

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) -> anyhow::Result<()> {
    let body = match hop.mode {
        Mode::Tcp => stream(hop),
        Mode::Http | Mode::Http2 => http(hop),
    };
    let module = if hop.mode == Mode::Tcp { stream_module().unwrap_or_default() } else { String::new() };
    let workers = hop.workers;
    let text = format!("{module}{PREAMBLE}worker_processes {workers};\nevents {{ worker_connections 32768; }}\n{body}");
    let path = hop.write("nginx.conf", &text)?;
    command.arg("-p").arg(hop.home).arg("-c").arg(path).args(["-e", "stderr"]);
    Ok(())
}

fn stream(hop: &Hop<'_>) -> String {
    let tls = match hop.side {
        Side::Inbound => server_side(hop),
        Side::Outbound => format!("proxy_ssl on; {}", client_side("proxy", hop)),
    };
    let ssl = if hop.side == Side::Inbound { "ssl" } else { "" };
    let (listen, target) = (hop.listen, hop.target);
    format!(
        "stream {{ access_log off; proxy_timeout 1h;\nserver {{ listen {listen} {ssl} backlog=4096 reuseport;\n{tls}proxy_pass {target}; }} }}\n"
    )
}

fn http(hop: &Hop<'_>) -> String {
    let second = hop.mode == Mode::Http2;
    // HTTP/2 to the next hop is in its gRPC module alone, which does not mind what the messages are.
    let (module, scheme) = match (second, hop.side) {
        (false, Side::Inbound) => ("proxy", "http"),
        (false, Side::Outbound) => ("proxy", "https"),
        (true, Side::Inbound) => ("grpc", "grpc"),
        (true, Side::Outbound) => ("grpc", "grpcs"),
    };
    let tls = match hop.side {
        Side::Inbound => server_side(hop),
        Side::Outbound => client_side(module, hop),
    };
    let ssl = if hop.side == Side::Inbound { "ssl" } else { "" };
    let http2 = if second { "http2" } else { "" };
    let kept = if second { "" } else { "proxy_http_version 1.1; proxy_set_header Connection \"\";" };
    let (listen, target) = (hop.listen, hop.target);
    format!(
        "http {{ {HTTP}\nupstream next {{ server {target}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }}\n\
         server {{ listen {listen} {ssl} {http2} backlog=4096 reuseport;\n{tls}\
         location / {{ {module}_pass {scheme}://next; {kept} }} }} }}\n"
    )
}

fn server_side(hop: &Hop<'_>) -> String {
    let own = hop.own();
    format!(
        "ssl_certificate {:?}; ssl_certificate_key {:?}; ssl_client_certificate {:?}; ssl_verify_client on; ssl_verify_depth 3;\n\
         ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER}; ssl_session_tickets off; ssl_session_cache off;\n",
        own.certificates(),
        own.key(),
        own.roots(),
    )
}

fn client_side(module: &str, hop: &Hop<'_>) -> String {
    let own = hop.own();
    format!(
        "{module}_ssl_certificate {:?}; {module}_ssl_certificate_key {:?}; {module}_ssl_trusted_certificate {:?};\n\
         {module}_ssl_verify on; {module}_ssl_verify_depth 3; {module}_ssl_protocols TLSv1.3; {module}_ssl_conf_command Ciphersuites {CIPHER}; {module}_ssl_name {NAME};\n\
         {module}_ssl_server_name on; {module}_ssl_session_reuse off;\n",
        own.certificates(),
        own.key(),
        own.roots(),
    )
}
