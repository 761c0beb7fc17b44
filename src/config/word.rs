//! The words of the file, each read from one value, and what an editor is told of them.

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::DnsName;
use schemars::{Schema, json_schema};

use super::address::{AddressError, ListenAddress, Target};
use super::field::{Word, Wrong, nearest};
use crate::policy::Pattern;
use crate::spiffe::{SpiffeId, TrustDomain};

/// The longest name of a listener, rule or route, in bytes: it stands in every log line.
const MAX_NAME: usize = 64;

impl From<AddressError> for Wrong {
    fn from(error: AddressError) -> Self {
        Self::new(error.to_string()).hint(error.hint())
    }
}

impl Word for ListenAddress {
    const EXPECTED: &'static str = "an address such as \":8443\" or \"unix:/run/app/app.sock\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Ok(text.parse()?)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": [":8443", "127.0.0.1:9000", "[::1]:9000", "unix:/run/app/app.sock"] })
    }
}

/// A target of mutual TLS, where HTTP/2 is a matter of ALPN.
impl Word for Target {
    const EXPECTED: &'static str = "an address such as \"localhost:8080\" or \"unix:/run/app/app.sock\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match after_h2c(text) {
            Some(address) => Err(Wrong::new(format!("{text:?} is HTTP/2 in plaintext; what goes out is mutual TLS"))
                .hint(format!("write {address:?}, and `alpn = [\"h2\"]` for HTTP/2"))),
            None => Ok(text.parse()?),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["localhost:8080", "db.internal:5432", "[::1]:9000", "unix:/run/app/app.sock"] })
    }
}

/// A plaintext target, and whether HTTP/2 is spoken to it without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlainTarget {
    pub(super) target: Target,
    pub(super) prior_knowledge: bool,
}

/// `h2c://HOST:PORT` and `h2c:unix:/path` are HTTP/2 with prior knowledge (RFC 9113 §3.3).
impl Word for PlainTarget {
    const EXPECTED: &'static str = "an address such as \"localhost:8080\" or \"unix:/run/app/app.sock\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let prior_knowledge = after_h2c(text);
        let address = prior_knowledge.unwrap_or(text);
        if prior_knowledge.is_some() && text.starts_with("h2c://") == address.starts_with("unix:") {
            let scheme = if address.starts_with("unix:") { "h2c:" } else { "h2c://" };
            return Err(Wrong::new(format!("{text:?} is no address")).hint(format!("write `{scheme}{address}`")));
        }
        let bare = address.split(['/', '?', '#']).next().unwrap_or_default();
        if prior_knowledge.is_some() && bare != address && !bare.is_empty() && !address.starts_with("unix:") {
            return Err(Wrong::new(format!("{text:?} has a path; a target is a machine and a port"))
                .hint(format!("write `h2c://{bare}`")));
        }
        Ok(Self { target: address.parse()?, prior_knowledge: prior_knowledge.is_some() })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["localhost:8080", "h2c://localhost:8080", "[::1]:9000", "unix:/run/app/app.sock", "h2c:unix:/run/app/app.sock"] })
    }
}

/// What stands behind the scheme of HTTP/2 in plaintext.
fn after_h2c(text: &str) -> Option<&str> {
    text.strip_prefix("h2c://").or_else(|| text.strip_prefix("h2c:"))
}

/// A name of a listener, a rule or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl Word for Name {
    const EXPECTED: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_good) {
            return Ok(Self(text.to_owned()));
        }
        let hint = format!("write 1 to {MAX_NAME} letters, digits, `.`, `-` or `_`");
        Err(Wrong::new(format!("{text:?} is no name")).hint(hint))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{MAX_NAME}}}$") })
    }
}

/// What the bytes of a listener are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ProtocolName {
    #[default]
    Tcp,
    Http,
}

/// The path of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

impl Word for FilePath {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text.is_empty() || text.contains('\0') {
            true => Err(Wrong::new("a path is not empty and has no zero byte")),
            false => Ok(Self(text.into())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// The name of a protocol in ALPN (RFC 7301 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AlpnName(pub(super) Vec<u8>);

impl Word for AlpnName {
    const EXPECTED: &'static str = "the name of a protocol, such as \"h2\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text.len() {
            1..=255 => Ok(Self(text.into())),
            length => {
                let message = format!("the name of a protocol has 1 to 255 bytes; this one has {length}");
                Err(Wrong::new(message).hint("write a registered name such as \"h2\" or \"http/1.1\""))
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 255, "examples": ["h2", "http/1.1"] })
    }
}

/// A name for SNI: a DNS name, never an address (RFC 6066 §3).
impl Word for DnsName<'static> {
    const EXPECTED: &'static str = "a DNS name";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(
                Wrong::new(format!("`{text}` is an IP address; SNI carries DNS names only")).hint("leave it out")
            );
        }
        DnsName::try_from(text.to_owned()).map_err(|_| Wrong::new(format!("{text:?} is no DNS name")))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "hostname" })
    }
}

impl Word for Pattern {
    const EXPECTED: &'static str = "a pattern such as \"spiffe://prod.example/ns/web/sa/*\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Self::parse(text)
            .map_err(|error| Wrong::new(format!("{text:?} is no pattern of SPIFFE IDs")).hint(error.to_string()))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[sS][pP][iI][fF][fF][eE]://[A-Za-z0-9._-]+/",
            "examples": ["spiffe://prod.example/ns/web/sa/frontend", "spiffe://prod.example/ns/web/sa/*", "spiffe://prod.example/**"],
        })
    }
}

impl Word for SpiffeId {
    const EXPECTED: &'static str = "a SPIFFE ID such as \"spiffe://prod.example/ns/web/sa/frontend\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let id = Self::parse_lenient(text).map_err(|error| Wrong::new(format!("{text:?} is no SPIFFE ID: {error}")))?;
        match id.path() {
            "" => Err(Wrong::new("no workload's ID is the bare trust domain").hint(format!("write `{id}/PATH`"))),
            _ => Ok(id),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[sS][pP][iI][fF][fF][eE]://[A-Za-z0-9._-]+/", "examples": ["spiffe://prod.example/ns/web/sa/frontend"] })
    }
}

impl Word for TrustDomain {
    const EXPECTED: &'static str = "a trust domain such as \"prod.example\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Self::parse(text).map_err(|error| {
            let wrong = Wrong::new(format!("{text:?} is no trust domain: {error}"));
            match text.strip_prefix("spiffe://") {
                Some(bare) => wrong.hint(format!("write {:?}", bare.split('/').next().unwrap_or_default())),
                None => wrong,
            }
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9._-]{1,255}$", "examples": ["prod.example"] })
    }
}

/// A filter for log lines in the syntax of `RUST_LOG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogFilter(pub(super) String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Word for LogFilter {
    const EXPECTED: &'static str = "a log filter such as \"info\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        for word in text.split(',').map(str::trim) {
            // A bare word that is no level names a module, at its most talkative: a misspelt level would be just that.
            let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
            let is_word = word.bytes().all(|byte| byte.is_ascii_alphabetic());
            if let Some(level) = nearest(word, LEVELS.into_iter()).filter(|_| is_word && !is_level) {
                return Err(Wrong::new(format!("{word:?} is no log level")).hint(format!("did you mean {level:?}?")));
            }
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            _ => Err(Wrong::new(format!("{text:?} is no log filter"))
                .hint("write off, error, warn, info, debug or trace, or a filter such as \"info,svidgate=debug\"")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["info", "info,svidgate=debug"] })
    }
}
