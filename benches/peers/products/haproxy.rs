//! HAProxy: one process, threads, connections to the next hop shared as far as it allows, as many clients as there are descriptors for.

use std::process::Command;

use super::{CIPHER, Hop, Mode, Side};
use crate::credentials::NAME;

/// By default HAProxy keeps no connection to the next hop for later once it has a fifth of its descriptors in use, and closes those it has kept at a
/// quarter (`tune.pool-low-fd-ratio`, `tune.pool-high-fd-ratio` in its manual): 10,000 clients would make it a new handshake for each request.
const POOL: &str = " tune.pool-low-fd-ratio 100\n tune.pool-high-fd-ratio 100\n";

/// Covers the handshake: where 10,000 connections begin at once, the last has all others ahead of it.
const CONNECT: &str = "90s";

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) -> anyhow::Result<()> {
    let own = hop.own();
    let credentials = format!("ssl crt {} ca-file {} verify required", own.combined().display(), own.roots().display());
    let (mode, reuse, alpn, plain) = match hop.mode {
        Mode::Tcp => ("tcp", "", "", ""),
        Mode::Http => ("http", "http-reuse always", "alpn http/1.1", ""),
        Mode::Http2 => ("http", "http-reuse always", "alpn h2", "proto h2"),
    };
    let (bind, server) = match hop.side {
        Side::Inbound => (format!("{credentials} {alpn} no-tls-tickets"), plain.to_owned()),
        Side::Outbound => {
            let reuse = "no-ssl-reuse";
            (plain.to_owned(), format!("{credentials} {alpn} verifyhost {NAME} sni str({NAME}) {reuse}"))
        }
    };
    let text = format!(
        "global\n nbthread {workers}\n{POOL} ssl-default-bind-options ssl-min-ver TLSv1.3\n ssl-default-server-options ssl-min-ver TLSv1.3\n \
         ssl-default-bind-ciphersuites {CIPHER}\n ssl-default-server-ciphersuites {CIPHER}\n\
         defaults\n mode {mode}\n timeout connect {CONNECT}\n timeout client 1h\n timeout server 1h\n timeout tunnel 1h\n\
         frontend bench\n bind {listen} backlog 4096 {bind}\n default_backend next\n\
         backend next\n {reuse}\n server next {target} {server}\n",
        workers = hop.workers,
        listen = hop.listen,
        target = hop.target,
    );
    let path = hop.write("haproxy.cfg", &text)?;
    command.args(["-db", "-f"]).arg(path);
    Ok(())
}
