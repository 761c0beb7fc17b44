//! ghostunnel: bytes only. As a client with files it checks the name beside the SPIFFE ID.

use std::process::Command;

use super::{Hop, Side};
use crate::credentials::NAME;

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) {
    let own = hop.own();
    let other = hop.other().id.to_string();
    let (listen, target) = (hop.listen.to_string(), hop.target.to_string());
    match hop.side {
        Side::Inbound => command.args(["server", "--allow-uri", &other]),
        Side::Outbound => command.args(["client", "--verify-uri", &other, "--override-server-name", NAME]),
    };
    command.args(["--listen", &listen, "--target", &target, "--quiet", "all", "--disable-landlock"]);
    command.arg("--cert").arg(own.certificates()).arg("--key").arg(own.key()).arg("--cacert").arg(own.roots());
    command.env("GOMAXPROCS", hop.workers.to_string());
}
