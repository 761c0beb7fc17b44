//! What must not happen to bytes that no TLS protects: to leave this machine unasked, to go round in circles.

use super::super::address::{is_localhost, is_loopback};
use super::super::fault::Spot;
use super::super::field::Placed;
use super::super::{ListenAddress, Target};
use super::Reader;

impl Reader<'_, '_> {
    /// Plaintext stays on this machine unless the file says otherwise beside it. `localhost` is held to it at each connection.
    pub(super) fn plaintext_target(&mut self, target: &mut Placed<Target>, may_leave: bool) {
        let is_local = match &mut target.value {
            Target::Address(address) => is_loopback(address.ip()),
            Target::Name { host, loopback_only, .. } => {
                *loopback_only = !may_leave;
                is_localhost(host)
            }
            Target::Unix(_) => true,
        };
        if !is_local && !may_leave {
            let message = format!("plaintext to `{}` would leave this machine", target.value);
            self.leaves(target.at, message, "connect to `localhost:PORT` or `unix:/path`");
        }
    }

    pub(super) fn plaintext_listener(&mut self, listen: &Placed<ListenAddress>, may_leave: bool) {
        if !listen.value.is_local() && !may_leave {
            let message = format!("plaintext on `{}` would come in from other machines", listen.value);
            self.leaves(listen.at, message, "listen on `localhost:PORT` or `unix:/path`");
        }
    }

    fn leaves(&mut self, at: Spot, message: String, instead: &str) {
        let permit = match at {
            Spot::Byte(_) => "set `allow_plaintext_network = true` beside it",
            Spot::Flag(_) => "give `--allow-plaintext-network`",
        };
        self.faults.add_with_hint(at, message, format!("{instead}, or {permit} if the network is protected otherwise"));
    }

    /// A listener that connects to itself would do so until nothing is left.
    pub(super) fn no_loop(&mut self, listen: &Placed<ListenAddress>, at: Spot, target: &Target) {
        let reached = match target {
            Target::Address(address) if is_loopback(address.ip()) => ListenAddress::Tcp(*address),
            Target::Unix(path) => ListenAddress::Unix(path.clone()),
            Target::Address(_) | Target::Name { .. } => return,
        };
        if reached.clashes_with(&listen.value) {
            let message = format!("`{target}` is where this listener itself listens");
            self.faults.add_with_hint(at, message, "name the address of the service behind it");
        }
    }
}
