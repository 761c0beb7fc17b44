//! One line for a request, at its end: with every input of the decision, so that a policy can be tried on it later. What we refuse or answer
//! ourselves always has its line; the others as the configuration says.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use http::Version;

use super::answer::Class;
use super::client::Client;
use super::exchange::{Exchange, Told};
use crate::config::AccessLog;
use crate::metrics::RequestOutcome;

/// The most bytes of a path, a host or a reason that stand in a line: whatever rules are asked about is no longer, and stands whole, so that a
/// policy that is tried on the line sees what was decided on.
const SHOWN: usize = 8 * 1024;
/// The most bytes of a method: the longest that is registered has 16.
const METHOD_SHOWN: usize = 64;

/// Writes an exchange down, if it shall be.
pub(super) fn write(client: &Client, exchange: &Exchange, told: &Told) {
    let level = match told.outcome {
        RequestOutcome::Answered | RequestOutcome::Tunnelled => {
            let failed = told.status.is_some_and(|status| status.is_server_error());
            if !is_chosen(client.access_log, failed) {
                return;
            }
            Level::Info
        }
        // Whoever leaves early does so for reasons of their own.
        RequestOutcome::Cancelled if is_chosen(client.access_log, true) => Level::Info,
        RequestOutcome::Cancelled => return,
        RequestOutcome::Loop
        | RequestOutcome::BadRequest
        | RequestOutcome::MethodNotAllowed
        | RequestOutcome::RequestTimeout
        | RequestOutcome::TooLarge
        | RequestOutcome::HeadersTooLarge => Level::Info,
        RequestOutcome::Denied
        | RequestOutcome::NoRoute
        | RequestOutcome::Cut
        | RequestOutcome::UpstreamBroken
        | RequestOutcome::UpstreamFailed
        | RequestOutcome::Overloaded
        | RequestOutcome::UpstreamTimeout => Level::Warn,
    };
    let reason = told.reason.as_deref().map(|reason| shown(reason, SHOWN));
    // The level is part of a tracing call site, so the one line is written in two places, from one list of fields.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                listener = &*client.listener,
                direction = client.direction,
                client.address = client.address.map(|address| address.ip().to_canonical().to_string()),
                client.port = client.address.map(|address| address.port()),
                spiffe.peer.id = peer(client, exchange),
                http.request.method = shown(exchange.asked.method.as_str(), METHOD_SHOWN),
                url.path = shown(exchange.asked.uri.path(), SHOWN),
                server.address = shown(&exchange.asked.authority.host, SHOWN),
                network.protocol.name = "http",
                network.protocol.version = version(exchange.version),
                http.response.status_code = told.status.map(|status| status.as_u16()),
                http.request.body.size = exchange.sent(),
                http.response.body.size = exchange.received(),
                http.request.resend_count = (told.resends > 0).then_some(told.resends),
                http.route = told.route.as_deref(),
                network.peer.address = told.target.as_ref().map(|target| target.address.to_string()),
                policy.rule = told.rule.as_deref(),
                policy.decision = decision(told),
                policy.reason = reason.filter(|_| told.is_denied),
                error = reason.filter(|_| !told.is_denied),
                svidgate.id = told.id.as_deref(),
                duration = exchange.began.elapsed().as_secs_f64(),
                outcome = told.outcome.as_str(),
                "request"
            )
        };
    }
    match level {
        Level::Info => line!(info),
        Level::Warn => line!(warn),
    }
}

enum Level {
    Info,
    Warn,
}

/// Writes down a request whose head was never understood.
pub(super) fn turned_away(client: &Client, class: Class, id: &str, why: &str) {
    client.count(class.outcome());
    tracing::info!(
        listener = &*client.listener,
        direction = client.direction,
        client.address = client.address.map(|address| address.ip().to_canonical().to_string()),
        client.port = client.address.map(|address| address.port()),
        spiffe.peer.id = client.peer.as_ref().map(|peer| peer.id.to_string()),
        http.response.status_code = class.status().as_u16(),
        svidgate.id = id,
        error = why,
        outcome = class.outcome().as_str(),
        "request"
    );
}

/// Whether one that was answered gets a line.
fn is_chosen(log: AccessLog, failed: bool) -> bool {
    match log {
        AccessLog::Off => false,
        AccessLog::Errors => failed,
        AccessLog::Share(share) => failed || random() < share,
    }
}

/// A number from 0 to below 1.
fn random() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u64) | 1);
    }
    // Marsaglia's xorshift64: what is drawn decides about log lines alone.
    let next = STATE.try_with(|state| {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next
    });
    (next.unwrap_or_default() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The peer at the mutual-TLS side: who calls inbound, who answers outbound.
fn peer(client: &Client, exchange: &Exchange) -> Option<String> {
    let server = || exchange.server().map(|server| server.id().to_string());
    client.peer.as_ref().map(|peer| peer.id.to_string()).or_else(server)
}

fn decision(told: &Told) -> Option<&'static str> {
    match (told.is_denied, &told.rule) {
        (true, _) => Some("deny"),
        (false, Some(_)) => Some("allow"),
        (false, None) => None,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// At most so many bytes of `text`, and no part of a character: what was not understood need not be ASCII.
fn shown(text: &str, most: usize) -> &str {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=most.min(text.len())).rev().find(is_end).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_text_is_cut_at_the_end_of_a_character() {
        for (text, cut) in
            [("", ""), ("abc", "abc"), ("abcd", "abc"), ("ab\u{fc}", "ab"), ("\u{1f980}", ""), ("a\u{fc}b", "a\u{fc}")]
        {
            assert_eq!(shown(text, 3), cut);
        }
    }
}
