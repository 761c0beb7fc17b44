//! The words of HTTP in the file: what rules and routes ask of a request, and the names of headers.

use http::{HeaderName, Method};
use schemars::{Schema, json_schema};

use super::AccessLog;
use super::field::{Word, Wrong, nearest};
use super::http::IdentityHeader;
use crate::policy::{HostPattern, PathPattern};

/// The longest method, in bytes; the longest registered one has 17.
const MAX_METHOD: usize = 64;
/// The longest name of a header, in bytes.
const MAX_HEADER: usize = 128;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// A method as it is sent (RFC 9110 §9.1). Case matters there, and who writes `get` means `GET`.
impl Word for Method {
    const EXPECTED: &'static str = "a method such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new(format!("{text:?} is no method"));
        if text == "*" {
            return Err(wrong().hint("leave `methods` out for every method"));
        }
        let upper = text.to_ascii_uppercase();
        if upper != text {
            return Err(wrong().hint(format!("methods are written as they are sent, in upper case: {upper:?}")));
        }
        match Self::from_bytes(text.as_bytes()) {
            Ok(method) if text.len() <= MAX_METHOD => Ok(method),
            _ => Err(match nearest(text, METHODS.into_iter()) {
                Some(near) => wrong().hint(format!("did you mean {near:?}?")),
                None => wrong().hint("write one word, such as \"GET\""),
            }),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^[A-Z0-9!#$%&'*+.^_`|~-]{{1,{MAX_METHOD}}}$"), "examples": METHODS })
    }
}

impl Word for PathPattern {
    const EXPECTED: &'static str = "a path such as \"/orders/**\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Self::parse(text)
            .map_err(|error| Wrong::new(format!("{text:?} is no pattern of paths")).hint(error.to_string()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^/", "examples": ["/health", "/orders/*", "/orders/**"] })
    }
}

/// A pattern of hosts in a route.
impl Word for HostPattern {
    const EXPECTED: &'static str = "a host such as \"orders.example\", \"*.example\" or \"{0}.{1}.svc\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Self::parse(text)
            .map_err(|error| Wrong::new(format!("{text:?} is no pattern of hosts")).hint(error.to_string()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["orders.example", "*.orders.example", "{0}.{1}.svc", "*"] })
    }
}

/// A pattern of hosts in a rule, where nothing is there to take what placeholders capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleHost(pub(super) HostPattern);

impl Word for RuleHost {
    const EXPECTED: &'static str = "a host such as \"orders.example\" or \"*.orders.example\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.contains(['{', '}']) {
            return Err(Wrong::new(format!("{text:?} captures labels; a rule has no use for them"))
                .hint("write `*.example` for every name below a name"));
        }
        <HostPattern as Word>::parse(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^{}]+$", "examples": ["orders.example", "*.orders.example"] })
    }
}

/// Headers that are about the connection or the message's framing (RFC 9110 §7.6.1, RFC 9112 §6, RFC 9113 §8.2.2), or that the proxy
/// itself writes. Whoever could set one of them by a certificate's text could make two requests of one.
const NOT_ONES_OWN: [&str; 22] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Reads the name of a header of the operator's own naming.
pub(super) fn own_header(text: &str) -> Result<HeaderName, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is no name of a header"));
    let lower = text.to_ascii_lowercase();
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text.len() <= MAX_HEADER);
    let Some(name) = name else {
        return Err(wrong().hint("write letters, digits and `-`, such as \"x-caller\""));
    };
    if lower != text {
        return Err(wrong().hint(format!("write it in lower case: {lower:?}")));
    }
    let folded = folded(text);
    if NOT_ONES_OWN.contains(&&*folded) {
        return Err(Wrong::new(format!(
            "`{text}` is not to be set: it is about the connection, the message or its way"
        ))
        .hint("write a name of your own, such as \"x-caller\""));
    }
    if IdentityHeader::ALL.iter().any(|header| header.as_str() == folded) {
        return Err(Wrong::new(format!("`{text}` has its own contents"))
            .hint(format!("name it in `identity_headers`: {folded:?}")));
    }
    Ok(name)
}

/// A name as applications may read it: many take `_` for `-`.
pub(super) fn folded(name: &str) -> String {
    name.replace('_', "-")
}

/// Which requests are logged.
impl Word for AccessLog {
    const EXPECTED: &'static str = "\"off\", \"errors\", \"all\" or a share such as \"10%\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::Share(1.0)),
            _ => share(text).map(Self::Share),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(off|errors|all|[0-9]+(\.[0-9]+)?%)$", "examples": ["off", "errors", "all", "10%"] })
    }
}

fn share(text: &str) -> Result<f64, Wrong> {
    let wrong = || Wrong::new(format!("expected {}, found the text {text:?}", AccessLog::EXPECTED));
    let Some(number) = text.strip_suffix('%') else {
        return Err(match nearest(text, ["off", "errors", "all"].into_iter()) {
            Some(near) => wrong().hint(format!("did you mean {near:?}?")),
            None => wrong(),
        });
    };
    // `f64::from_str` alone would take `inf`, `1e-3` and `+1`.
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if is_plain && percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(wrong().hint("a share is above 0% and at most 100%")),
    }
}
