//! From `[[inbound]]` and `[[outbound]]` to listeners: what must be there, what must be unlike, and what must not leave the machine.

mod headers;
mod plaintext;
mod routes;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::DnsName;

use super::fault::{Faults, Spot};
use super::field::{Field, List, Many, Placed, Word};
use super::file::{InboundTable, OutboundTable, RouteTable};
use super::read::{RouteSpots, Spots};
use super::word::{AlpnName, Name, PlainTarget, ProtocolName};
use super::{
    AccessLog, Direction, Http, HttpVersions, IdentityHeaders, ListenAddress, Listener, Protocol, Route, Target,
    XfccMode,
};
use crate::policy::{Pattern, Policy, Rule};

const MAX_LISTENERS: usize = 1000;
const MAX_TARGETS: usize = 64;
const MAX_ALPN: usize = 16;

const TARGET_HINT: &str = "say where connections go to, such as `target = \"localhost:8080\"`";

/// Turns all tables into listeners; one that has a fault may be left out.
pub(super) fn listeners(
    inbound: Vec<Placed<InboundTable>>,
    outbound: Vec<Placed<OutboundTable>>,
    access_log: AccessLog,
    faults: &mut Faults<'_>,
) -> Vec<(Listener, Spots)> {
    let too_many = inbound.iter().map(|table| table.at).chain(outbound.iter().map(|table| table.at));
    if let Some(at) = too_many.clone().nth(MAX_LISTENERS) {
        faults.add(at, format!("there are {} listeners; {MAX_LISTENERS} are read at most", too_many.count()));
        return Vec::new();
    }
    let mut reader = Reader { faults, names: HashMap::new(), addresses: Vec::new(), rules: 0, access_log };
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
    access_log: AccessLog,
}

/// Where an outbound listener's connections or requests go to, and who must be there.
#[derive(Default)]
struct Onward {
    targets: Vec<Placed<Target>>,
    policy: Policy,
    server_name: Option<DnsName<'static>>,
    routes: Vec<(Route, RouteSpots)>,
}

/// How a listener's table says where to.
struct OnwardKeys {
    target: Many<Target>,
    expect: Many<Pattern>,
    server_name: Field<DnsName<'static>>,
    route: Vec<Placed<RouteTable>>,
}

impl Reader<'_, '_> {
    fn inbound(
        &mut self,
        Placed { at, value: table }: Placed<InboundTable>,
        number: usize,
    ) -> Option<(Listener, Spots)> {
        let name =
            unique_name(self.faults, &mut self.names, "two listeners", at, table.name, format!("inbound-{number}"));
        let listen = self.listen(at, table.listen);
        let protocol = self.protocol(table.protocol);
        self.only_http(
            protocol,
            &[
                ("identity_headers", table.identity_headers.at()),
                ("xfcc", table.xfcc.at()),
                ("own_headers", table.own_headers.at()),
                ("trace", table.trace.at()),
            ],
        );
        let may_leave = table.allow_plaintext_network.value(self.faults).unwrap_or_default();
        let targets = self.plain_targets(at, protocol, table.target, may_leave);
        let policy = self.policy(at, protocol, table.rule);
        let alpn = self.alpn(protocol, table.alpn);
        let http = Http {
            routes: Vec::new(),
            identity_headers: self.identity_headers(table.identity_headers, table.xfcc, table.own_headers),
            trace: table.trace.value(self.faults).unwrap_or_default(),
            access_log: self.access_log,
            upstream: targets.as_ref().map(|(_, versions)| *versions).unwrap_or_default(),
        };
        let min_tls = table.min_tls.value(self.faults).unwrap_or_default();
        let on_expiry = table.on_expiry.value(self.faults).unwrap_or_default();
        let (listen, (targets, _)) = (listen?, targets?);
        targets.iter().for_each(|target| self.no_loop(&listen, target.at, &target.value));
        let is_http = protocol == Some(ProtocolName::Http);
        let spots =
            Spots { listen: listen.at, targets: targets.iter().map(|target| target.at).collect(), routes: Vec::new() };
        let listener = Listener {
            name,
            direction: Direction::Inbound,
            listen: listen.value,
            targets: targets.into_iter().map(|target| target.value).collect(),
            protocol: if is_http { Protocol::Http(Arc::new(http)) } else { Protocol::Tcp },
            policy: Arc::new(policy),
            // A client that offers HTTP gets it; without ALPN there would be no HTTP/2.
            alpn: alpn.unwrap_or_else(|| if is_http { HTTP_ALPN.map(Into::into).into() } else { Vec::new() }),
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
        let name =
            unique_name(self.faults, &mut self.names, "two listeners", at, table.name, format!("outbound-{number}"));
        let may_leave = table.allow_plaintext_network.value(self.faults).unwrap_or_default();
        let listen = self.listen(at, table.listen);
        let listen = listen.inspect(|listen| self.plaintext_listener(listen, may_leave));
        let protocol = self.protocol(table.protocol);
        self.only_http(protocol, &[("trace", table.trace.at()), ("route", table.route.first().map(|route| route.at))]);
        let keys = OnwardKeys {
            target: table.target,
            expect: table.expect,
            server_name: table.server_name,
            route: table.route,
        };
        let onward = self.onward(at, protocol, listen.as_ref(), keys);
        let alpn = self.alpn(protocol, table.alpn).unwrap_or_default();
        let trace = table.trace.value(self.faults).unwrap_or_default();
        let min_tls = table.min_tls.value(self.faults).unwrap_or_default();
        let on_expiry = table.on_expiry.value(self.faults).unwrap_or_default();
        let (listen, onward) = (listen?, onward?);
        onward.targets.iter().for_each(|target| self.no_loop(&listen, target.at, &target.value));
        let (routes, route_spots) = onward.routes.into_iter().unzip();
        let spots = Spots {
            listen: listen.at,
            targets: onward.targets.iter().map(|target| target.at).collect(),
            routes: route_spots,
        };
        let http = || Http {
            routes,
            // The application is the caller here, and knows who it is.
            identity_headers: IdentityHeaders { send: Vec::new(), xfcc: XfccMode::Sanitize, own: Vec::new() },
            trace,
            access_log: self.access_log,
            upstream: match alpn.is_empty() || alpn.iter().any(|name| name != b"h2") {
                true => HttpVersions::AsAsked,
                false => HttpVersions::Http2,
            },
        };
        let listener = Listener {
            name,
            direction: Direction::Outbound { server_name: onward.server_name },
            listen: listen.value,
            targets: onward.targets.into_iter().map(|target| target.value).collect(),
            protocol: match protocol {
                Some(ProtocolName::Http) => Protocol::Http(Arc::new(http())),
                Some(ProtocolName::Tcp) | None => Protocol::Tcp,
            },
            policy: Arc::new(onward.policy),
            alpn,
            min_tls,
            on_expiry,
        };
        Some((listener, spots))
    }

    /// The listener's own targets, or its routes: one of them.
    fn onward(
        &mut self,
        table: Spot,
        protocol: Option<ProtocolName>,
        listen: Option<&Placed<ListenAddress>>,
        keys: OnwardKeys,
    ) -> Option<Onward> {
        let is_http = protocol != Some(ProtocolName::Tcp);
        if keys.route.is_empty() {
            if is_http && keys.target.at().is_none() && keys.expect.at().is_none() {
                let hint = "add an `[[outbound.route]]` for each service, or `target` and `expect` for every request";
                self.faults.add_with_hint(table, "there is neither a route nor a target", hint);
                return None;
            }
            let targets = self.targets(table, TARGET_HINT, keys.target);
            let expect = self.expect(table, keys.expect);
            return Some(Onward {
                server_name: keys.server_name.value(self.faults),
                policy: Policy::new(vec![Rule::allow("expect", expect)]),
                targets: targets?,
                routes: Vec::new(),
            });
        }
        let (target, expect, server_name) = (keys.target.at(), keys.expect.at(), keys.server_name.at());
        for (key, at) in [("target", target), ("expect", expect), ("server_name", server_name)] {
            if let Some(at) = at {
                let hint = format!("say `{key}` in each `[[outbound.route]]`, or leave the routes out");
                self.faults.add_with_hint(at, format!("`{key}` is not for a listener with routes"), hint);
            }
        }
        Some(Onward { routes: self.routes(listen, keys.route), ..Onward::default() })
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

    /// What the bytes are; `None` where the file says something that is neither.
    fn protocol(&mut self, field: Field<ProtocolName>) -> Option<ProtocolName> {
        if field.is_present() { field.value(self.faults) } else { Some(ProtocolName::default()) }
    }

    /// Keys that ask for requests have no meaning where bytes are passed on.
    fn only_http(&mut self, protocol: Option<ProtocolName>, keys: &[(&str, Option<Spot>)]) {
        if protocol != Some(ProtocolName::Tcp) {
            return;
        }
        for (key, at) in keys {
            let Some(at) = *at else { continue };
            let hint = match at {
                Spot::Byte(_) => "set `protocol = \"http\"` on the listener",
                Spot::Flag(_) => "give `--protocol http`",
            };
            self.faults.add_with_hint(at, format!("`{key}` is about HTTP; this listener passes on bytes"), hint);
        }
    }

    fn targets<T: Word>(&mut self, table: Spot, hint: &str, field: Many<T>) -> Option<Vec<Placed<T>>> {
        let list = self.list(table, "target", hint, field)?;
        self.at_most(&list, MAX_TARGETS, "targets");
        Some(list.items)
    }

    /// Plaintext targets, all of which speak HTTP/2 without being asked, or none.
    fn plain_targets(
        &mut self,
        table: Spot,
        protocol: Option<ProtocolName>,
        field: Many<PlainTarget>,
        may_leave: bool,
    ) -> Option<(Vec<Placed<Target>>, HttpVersions)> {
        let written = self.targets(table, TARGET_HINT, field)?;
        let h2c = written.iter().find(|target| target.value.prior_knowledge).map(|target| target.at);
        self.only_http(protocol, &[("h2c", h2c)]);
        let plain = written.iter().find(|target| !target.value.prior_knowledge).map(|target| target.at);
        if let (Some(h2c), Some(plain)) = (h2c, plain) {
            let hint = "write `h2c://` before all targets of a listener, or before none";
            self.faults.add_with_hint(h2c.max(plain), "some targets are to be spoken to in HTTP/2, others not", hint);
        }
        let mut targets = Vec::new();
        for Placed { at, value } in written {
            let mut target = Placed { at, value: value.target };
            self.plaintext_target(&mut target, may_leave);
            targets.push(target);
        }
        Some((targets, if h2c.is_some() { HttpVersions::Http2 } else { HttpVersions::AsAsked }))
    }

    /// What is negotiated; `None` where the file does not say.
    fn alpn(&mut self, protocol: Option<ProtocolName>, field: Many<AlpnName>) -> Option<Vec<Vec<u8>>> {
        let list = field.list(self.faults)?;
        self.at_most(&list, MAX_ALPN, "protocols");
        for Placed { at, value: AlpnName(name) } in &list.items {
            if protocol == Some(ProtocolName::Http) && !HTTP_ALPN.contains(&&**name) {
                let message = format!("`{}` is no version of HTTP that is spoken here", String::from_utf8_lossy(name));
                self.faults.add_with_hint(*at, message, "write \"h2\" or \"http/1.1\"");
            }
        }
        Some(list.items.into_iter().map(|name| name.value.0).collect())
    }

    /// A list that must be there and hold something.
    fn list<T: Word>(&mut self, table: Spot, key: &str, hint: &str, field: Many<T>) -> Option<List<T>> {
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

/// The versions of HTTP that are spoken, by their names in ALPN (RFC 9113 §3.1, RFC 7301 §6), most wanted first.
const HTTP_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The name, which no other of its kind may have.
fn unique_name(
    faults: &mut Faults<'_>,
    names: &mut HashMap<String, Spot>,
    two: &str,
    table: Spot,
    field: Field<Name>,
    default: String,
) -> Arc<str> {
    let (at, name) = match field.placed(faults) {
        Some(Placed { at, value }) => (at, value.0),
        None => (table, default),
    };
    if let Some(first) = names.get(&name) {
        let hint = format!("the other one is at {}", faults.place(*first));
        faults.add_with_hint(at, format!("{two} are named `{name}`"), hint);
    }
    let shared = Arc::from(name.as_str());
    names.entry(name).or_insert(at);
    shared
}
