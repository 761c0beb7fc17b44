//! What one listener would do, for people and for programs.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::config::{Direction, Http, HttpVersions, IdentityHeader, IdentityHeaders, Listener, Protocol, Route};
use crate::policy::{Action, Rule};

pub(super) fn write(listener: &Listener, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{} {}: {}", side(listener), listener.name, listener.listen)?;
    match http(listener) {
        None => writeln!(out, " to {}", targets(listener).join(", "))?,
        Some(http) if http.routes.is_empty() => writeln!(out, " to {} (http)", targets(listener).join(", "))?,
        Some(_) => writeln!(out, " by routes (http)")?,
    }
    if let Some(http) = http(listener) {
        write_headers(&http.identity_headers, out)?;
        http.routes.iter().try_for_each(|route| write_route(route, out))?;
    }
    listener.policy.rules().iter().try_for_each(|rule| write_rule(rule, out))
}

fn write_headers(headers: &IdentityHeaders, out: &mut impl Write) -> io::Result<()> {
    let own = headers.own.iter().map(|own| format!("{} = {}", own.name, own.fact.as_str()));
    let all = headers.send.iter().map(|header| named(*header, headers)).chain(own).collect::<Vec<_>>();
    if all.is_empty() { Ok(()) } else { writeln!(out, "  headers {}", all.join(", ")) }
}

fn named(header: IdentityHeader, headers: &IdentityHeaders) -> String {
    match header {
        IdentityHeader::XForwardedClientCert => format!("{} ({})", header.as_str(), headers.xfcc.as_str()),
        IdentityHeader::ClientCert | IdentityHeader::ClientCertChain | IdentityHeader::XSpiffeId => {
            header.as_str().to_owned()
        }
    }
}

fn write_route(route: &Route, out: &mut impl Write) -> io::Result<()> {
    let (hosts, targets) = (texts(&route.hosts).join(", "), texts(&route.targets).join(", "));
    writeln!(out, "  route {}: {hosts} to {targets}", route.name)?;
    route.expect.iter().try_for_each(|pattern| writeln!(out, "    {pattern}"))
}

fn write_rule(rule: &Rule, out: &mut impl Write) -> io::Result<()> {
    let shadow = if rule.enforce { "" } else { " (shadow: not enforced)" };
    writeln!(out, "  {} by {}{shadow}", action(rule), rule.name)?;
    rule.peers.iter().try_for_each(|pattern| writeln!(out, "    {pattern}"))?;
    let requests = &rule.requests;
    let conditions =
        [("methods", texts(&requests.methods)), ("paths", texts(&requests.paths)), ("hosts", texts(&requests.hosts))];
    let mut written = conditions.iter().filter(|(_, texts)| !texts.is_empty());
    written.try_for_each(|(what, texts)| writeln!(out, "    {what} {}", texts.join(", ")))
}

pub(super) fn to_json(listener: &Listener) -> Value {
    let mut object = json!({
        "name": &*listener.name,
        "side": side(listener),
        "protocol": if http(listener).is_some() { "http" } else { "tcp" },
        "listen": listener.listen.to_string(),
        "targets": targets(listener),
        "rules": listener.policy.rules().iter().map(rule_json).collect::<Vec<_>>(),
    });
    if let (Some(http), Some(object)) = (http(listener), object.as_object_mut()) {
        let (headers, key) = (&http.identity_headers, "identity_headers");
        object.insert("routes".into(), http.routes.iter().map(route_json).collect());
        object.insert(key.into(), headers.send.iter().map(|header| header.as_str()).collect());
        object.insert("xfcc".into(), headers.xfcc.as_str().into());
        let own = headers.own.iter().map(|own| (own.name.as_str().to_owned(), own.fact.as_str().into()));
        object.insert("own_headers".into(), Value::Object(own.collect()));
        object.insert("trace".into(), http.trace.into());
    }
    object
}

fn rule_json(rule: &Rule) -> Value {
    json!({
        "name": &*rule.name, "action": action(rule), "peers": texts(&rule.peers), "enforce": rule.enforce,
        "methods": texts(&rule.requests.methods), "paths": texts(&rule.requests.paths), "hosts": texts(&rule.requests.hosts),
    })
}

fn route_json(route: &Route) -> Value {
    json!({
        "name": &*route.name, "hosts": texts(&route.hosts), "targets": texts(&route.targets), "expect": texts(&route.expect),
        "server_name": route.server_name.as_ref().map(|name| name.as_ref()),
    })
}

fn texts<T: Display>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// The targets as the file writes them.
fn targets(listener: &Listener) -> Vec<String> {
    let is_h2c = listener.direction == Direction::Inbound
        && http(listener).is_some_and(|http| http.upstream == HttpVersions::Http2);
    let written = |target: String| match is_h2c {
        true if target.starts_with("unix:") => format!("h2c:{target}"),
        true => format!("h2c://{target}"),
        false => target,
    };
    texts(&listener.targets).into_iter().map(written).collect()
}

fn http(listener: &Listener) -> Option<&Http> {
    match &listener.protocol {
        Protocol::Http(http) => Some(http),
        Protocol::Tcp => None,
    }
}

fn side(listener: &Listener) -> &'static str {
    match listener.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound { .. } => "outbound",
    }
}

fn action(rule: &Rule) -> &'static str {
    match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}
