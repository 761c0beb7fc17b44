//! From `[[inbound]]` and `[[outbound]]` to listeners: what must be there, what must be unlike, and what must not leave the machine.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{is_localhost, is_loopback};
use super::fault::{Faults, Spot};
use super::field::{Field, List, Many, Placed};
use super::file::{InboundTable, OutboundTable, RuleTable};
use super::read::Spots;
use super::word::{AlpnName, Name, ProtocolName};
use super::{Direction, ListenAddress, Listener, Protocol, Target};
use crate::policy::{Action, Pattern, Policy, Requests, Rule};

const MAX_LISTENERS: usize = 1000;
/// In the whole file.
const MAX_RULES: usize = 10_000;
/// In one rule.
const MAX_PATTERNS: usize = 10_000;
const MAX_TARGETS: usize = 64;
const MAX_ALPN: usize = 16;

/// Turns all tables into listeners; one that has a fault may be left out.
pub(super) fn listeners(
    inbound: Vec<Placed<InboundTable>>,
    outbound: Vec<Placed<OutboundTable>>,
    faults: &mut Faults<'_>,
) -> Vec<(Listener, Spots)> {
    let too_many = inbound.iter().map(|table| table.at).chain(outbound.iter().map(|table| table.at));
    if let Some(at) = too_many.clone().nth(MAX_LISTENERS) {
        faults.add(at, format!("there are {} listeners; {MAX_LISTENERS} are read at most", too_many.count()));
        return Vec::new();
    }
    let mut reader = Reader { faults, names: HashMap::new(), addresses: Vec::new(), rules: 0 };
    let mut listeners = Vec::new();
    for (index, table) in inbound.into_iter().enumerate() {
        listeners.extend(reader.inbound(table, index + 1));
    }
    for (index, table) in outbound.into_iter().enumerate() {
        listeners.extend(reader.outbound(table, index + 1));
    }
    listeners
}

/// What was seen so far of all listeners.
struct Reader<'a, 'b> {
    faults: &'a mut Faults<'b>,
    names: HashMap<String, Spot>,
    addresses: Vec<Placed<ListenAddress>>,
    rules: usize,
}

impl Reader<'_, '_> {
    fn inbound(
        &mut self,
        Placed { at, value: table }: Placed<InboundTable>,
        number: usize,
    ) -> Option<(Listener, Spots)> {
        let name = self.name(at, table.name, format!("inbound-{number}"));
        let listen = self.listen(at, table.listen);
        let may_leave = table.allow_plaintext_network.value(self.faults).unwrap_or_default();
        let targets = self.targets(at, table.target).map(|targets| self.plaintext_targets(targets, may_leave));
        let policy = self.policy(at, table.rule);
        let alpn = self.alpn(table.alpn);
        let protocol = match table.protocol.value(self.faults).unwrap_or_default() {
            ProtocolName::Tcp => Protocol::Tcp,
            ProtocolName::Http => Protocol::Http(Arc::default()),
        };
        let min_tls = table.min_tls.value(self.faults).unwrap_or_default();
        let on_expiry = table.on_expiry.value(self.faults).unwrap_or_default();
        let (listen, targets) = (listen?, targets?);
        self.no_loop(&listen, &targets);
        let spots = Spots { listen: listen.at, targets: targets.iter().map(|target| target.at).collect() };
        let listener = Listener {
            name,
            direction: Direction::Inbound,
            listen: listen.value,
            targets: targets.into_iter().map(|target| target.value).collect(),
            protocol,
            policy: Arc::new(policy),
            alpn,
            min_tls,
            on_expiry,
        };
        Some((listener, spots))
    }

    fn outbound(
        &mut self,
        Placed { at, value: table }: Placed<OutboundTable>,
        number: usize,
    ) -> Option<(Listener, Spots)> {
        let name = self.name(at, table.name, format!("outbound-{number}"));
        let may_leave = table.allow_plaintext_network.value(self.faults).unwrap_or_default();
        let listen = self.listen(at, table.listen);
        let listen = listen.inspect(|listen| self.plaintext_listener(listen, may_leave));
        let targets = self.targets(at, table.target);
        let expect = self.expect(at, table.expect);
        let server_name = table.server_name.value(self.faults);
        let alpn = self.alpn(table.alpn);
        let protocol = match table.protocol.value(self.faults).unwrap_or_default() {
            ProtocolName::Tcp => Protocol::Tcp,
            ProtocolName::Http => Protocol::Http(Arc::default()),
        };
        let min_tls = table.min_tls.value(self.faults).unwrap_or_default();
        let on_expiry = table.on_expiry.value(self.faults).unwrap_or_default();
        let (listen, targets) = (listen?, targets?);
        self.no_loop(&listen, &targets);
        let spots = Spots { listen: listen.at, targets: targets.iter().map(|target| target.at).collect() };
        let listener = Listener {
            name,
            direction: Direction::Outbound { server_name },
            listen: listen.value,
            targets: targets.into_iter().map(|target| target.value).collect(),
            protocol,
            policy: Arc::new(Policy::new(vec![Rule::allow("expect", expect)])),
            alpn,
            min_tls,
            on_expiry,
        };
        Some((listener, spots))
    }

    /// The name, which no other listener may have.
    fn name(&mut self, table: Spot, field: Field<Name>, default: String) -> Arc<str> {
        let (at, name) = match field.placed(self.faults) {
            Some(Placed { at, value }) => (at, value.0),
            None => (table, default),
        };
        if let Some(first) = self.names.get(&name) {
            let hint = format!("the other one is at {}", self.faults.place(*first));
            self.faults.add_with_hint(at, format!("two listeners are named `{name}`"), hint);
        }
        let shared = Arc::from(name.as_str());
        self.names.entry(name).or_insert(at);
        shared
    }

    /// The address, which must not clash with another listener's.
    fn listen(&mut self, table: Spot, field: Field<ListenAddress>) -> Option<Placed<ListenAddress>> {
        if !field.is_present() {
            self.missing(table, "listen", "say where connections come in, such as `listen = \":8443\"`");
        }
        let listen = field.placed(self.faults)?;
        if let Some(other) = self.addresses.iter().find(|other| other.value.clashes_with(&listen.value)) {
            let message = if other.value == listen.value {
                format!("two listeners listen on `{}`", listen.value)
            } else {
                format!("`{}` and `{}` cannot both be listened on", other.value, listen.value)
            };
            let hint = format!("the other one is at {}", self.faults.place(other.at));
            self.faults.add_with_hint(listen.at, message, hint);
        }
        self.addresses.push(listen.clone());
        Some(listen)
    }

    fn targets(&mut self, table: Spot, field: Many<Target>) -> Option<Vec<Placed<Target>>> {
        let hint = "say where connections go to, such as `target = \"localhost:8080\"`";
        let list = self.list(table, "target", hint, field)?;
        self.at_most(&list, MAX_TARGETS, "targets");
        Some(list.items)
    }

    fn alpn(&mut self, field: Many<AlpnName>) -> Vec<Vec<u8>> {
        let Some(list) = field.list(self.faults) else {
            return Vec::new();
        };
        self.at_most(&list, MAX_ALPN, "protocols");
        list.items.into_iter().map(|name| name.value.0).collect()
    }

    fn expect(&mut self, table: Spot, field: Many<Pattern>) -> Vec<Pattern> {
        let hint = "say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`";
        self.patterns(table, "expect", hint, field)
    }

    fn patterns(&mut self, table: Spot, key: &str, hint: &str, field: Many<Pattern>) -> Vec<Pattern> {
        let Some(list) = self.list(table, key, hint, field) else {
            return Vec::new();
        };
        self.at_most(&list, MAX_PATTERNS, "patterns");
        list.items.into_iter().map(|pattern| pattern.value).collect()
    }

    /// The rules. Without an enforced allow rule everyone would be refused: that is never meant.
    fn policy(&mut self, listener: Spot, tables: Vec<Placed<RuleTable>>) -> Policy {
        self.rules += tables.len();
        if self.rules > MAX_RULES {
            self.faults.add(listener, format!("with this listener there are more than {MAX_RULES} rules"));
            return Policy::default();
        }
        let mut names = HashMap::new();
        let mut rules = Vec::new();
        // A rule whose action is not known may have been meant to allow.
        let mut may_allow = false;
        for (index, Placed { at, value: table }) in tables.into_iter().enumerate() {
            let named = table.name.placed(self.faults);
            let (name_at, name) =
                named.map_or_else(|| (at, format!("rule-{}", index + 1)), |name| (name.at, name.value.0));
            if let Some(first) = names.get(&name) {
                let hint = format!("the other one is at {}", self.faults.place(*first));
                self.faults.add_with_hint(name_at, format!("two rules of this listener are named `{name}`"), hint);
            }
            let rule = Rule {
                name: name.as_str().into(),
                peers: self.patterns(
                    at,
                    "peers",
                    "say whom the rule speaks of, such as `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`",
                    table.peers,
                ),
                requests: Requests::default(),
                enforce: table.enforce.value(self.faults).unwrap_or(true),
                action: {
                    let written = table.action.is_present();
                    let action = table.action.value(self.faults);
                    may_allow |= written && action.is_none();
                    action.unwrap_or_default()
                },
            };
            may_allow |= rule.enforce && rule.action == Action::Allow;
            names.entry(name).or_insert(name_at);
            rules.push(rule);
        }
        if !may_allow {
            let hint = "add a `[[inbound.rule]]` with `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`";
            self.faults.add_with_hint(listener, "no enforced rule allows anyone: every peer would be refused", hint);
        }
        Policy::new(rules)
    }

    /// Plaintext stays on this machine unless the file says otherwise beside it. `localhost` is held to it at each connection.
    fn plaintext_targets(&mut self, targets: Vec<Placed<Target>>, may_leave: bool) -> Vec<Placed<Target>> {
        let keep_local = |mut target: Placed<Target>| {
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
            target
        };
        targets.into_iter().map(keep_local).collect()
    }

    fn plaintext_listener(&mut self, listen: &Placed<ListenAddress>, may_leave: bool) {
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
    fn no_loop(&mut self, listen: &Placed<ListenAddress>, targets: &[Placed<Target>]) {
        for target in targets {
            let reached = match &target.value {
                Target::Address(address) if is_loopback(address.ip()) => ListenAddress::Tcp(*address),
                Target::Unix(path) => ListenAddress::Unix(path.clone()),
                Target::Address(_) | Target::Name { .. } => continue,
            };
            if reached.clashes_with(&listen.value) {
                let message = format!("`{}` is where this listener itself listens", target.value);
                self.faults.add_with_hint(target.at, message, "name the address of the service behind it");
            }
        }
    }

    /// A list that must be there and hold something.
    fn list<T: super::field::Word>(&mut self, table: Spot, key: &str, hint: &str, field: Many<T>) -> Option<List<T>> {
        let Some(list) = field.list(self.faults) else {
            self.missing(table, key, hint);
            return None;
        };
        if list.written == 0 {
            self.faults.add_with_hint(list.at, format!("`{key}` is empty"), hint);
        }
        Some(list)
    }

    fn missing(&mut self, table: Spot, key: &str, hint: &str) {
        self.faults.add_with_hint(table, format!("`{key}` is missing"), hint);
    }

    fn at_most<T>(&mut self, list: &List<T>, most: usize, what: &str) {
        if list.written > most {
            self.faults.add(list.at, format!("there are {} {what}; {most} are read at most", list.written));
        }
    }
}
