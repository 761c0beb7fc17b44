//! Values that take parts of the request's host: targets such as `{0}.{1}.svc:8443`, patterns such as
//! `spiffe://prod.example/ns/{1}/sa/{0}`. What is filled in comes from whoever sends the request, so it is held to what one label may be.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::{Schema, json_schema};

use super::address::{AddressError, Target, check_name, is_label};
use super::field::{Word, Wrong};
use crate::policy::{Pattern, PatternError};
use crate::spiffe::{TrustDomain, check_segment};

/// A target that may take parts of the request's host: `{0}.{1}.svc:8443`, `{host}:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTemplate(Template<Target>);

/// A pattern of SPIFFE IDs whose path may take labels of the request's host: `spiffe://prod.example/ns/{1}/sa/{0}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectTemplate(Template<Pattern>);

/// A value that is fixed, or made for each host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Template<T> {
    /// Without placeholders.
    Fixed(T),
    /// With placeholders, and what it gives where each of them is `x`.
    With { pieces: Vec<Piece>, sample: T },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// `{0}` and so on: a label that the route's host pattern captured.
    Label(usize),
    /// `{host}`: the whole host.
    Host,
}

/// What stands for every label where a template is tried out at reading.
const SAMPLE: &str = "x";

impl TargetTemplate {
    /// The target for requests to `host`, whose labels the route's pattern captured.
    ///
    /// # Errors
    /// When these make no address: too long together, say, or with a character that no name has.
    pub fn fill(&self, host: &str, labels: &[&str]) -> Result<Target, AddressError> {
        let pieces = match &self.0 {
            Template::Fixed(target) => return Ok(target.clone()),
            Template::With { pieces, .. } => pieces,
        };
        let mut filled = String::new();
        for piece in pieces {
            filled.push_str(match piece {
                Piece::Text(text) => text,
                // Held to being one label: it must not change the port, nor climb out of a directory.
                Piece::Label(number) => {
                    let label = labels.get(*number).copied().unwrap_or_default();
                    if !is_label(label) {
                        return Err(AddressError::Host(label.into()));
                    }
                    label
                }
                Piece::Host => check_host(host)?,
            });
        }
        filled.parse()
    }

    /// The target, where it is the same for every host.
    pub fn fixed(&self) -> Option<&Target> {
        self.0.fixed()
    }

    /// How many labels of the host it needs: one more than the highest placeholder.
    pub(super) fn needs(&self) -> usize {
        self.0.needs()
    }
}

impl ExpectTemplate {
    /// The pattern for requests to a host with these captured labels.
    ///
    /// # Errors
    /// When these make no pattern: where one of them is no part of a SPIFFE ID's segment, a wildcard above all.
    pub fn fill(&self, labels: &[&str]) -> Result<Pattern, PatternError> {
        let pieces = match &self.0 {
            Template::Fixed(pattern) => return Ok(pattern.clone()),
            Template::With { pieces, .. } => pieces,
        };
        let mut filled = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                // A host `*.svc` must not become the pattern of everybody.
                Piece::Label(number) => {
                    let label = labels.get(*number).copied().unwrap_or_default();
                    check_segment(label)?;
                    filled.push_str(label);
                }
                // Refused at reading.
                Piece::Host => {}
            }
        }
        Pattern::parse(&filled)
    }

    /// The pattern, where it is the same for every host.
    pub fn fixed(&self) -> Option<&Pattern> {
        self.0.fixed()
    }

    /// The one trust domain whose IDs can match, whatever the host.
    pub fn trust_domain(&self) -> &TrustDomain {
        match &self.0 {
            Template::Fixed(pattern) | Template::With { sample: pattern, .. } => pattern.trust_domain(),
        }
    }

    /// How many labels of the host it needs: one more than the highest placeholder.
    pub(super) fn needs(&self) -> usize {
        self.0.needs()
    }
}

impl<T> Template<T> {
    fn fixed(&self) -> Option<&T> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::With { .. } => None,
        }
    }

    fn needs(&self) -> usize {
        let pieces = match self {
            Self::Fixed(_) => [].iter(),
            Self::With { pieces, .. } => pieces.iter(),
        };
        let numbers = pieces.filter_map(|piece| match piece {
            Piece::Label(number) => Some(number + 1),
            Piece::Text(_) | Piece::Host => None,
        });
        numbers.max().unwrap_or_default()
    }
}

impl<T: Word> Template<T> {
    /// Reads a template, and tries it out: every label that is a plain name gives a valid value then.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let pieces = pieces(text)?;
        if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            return T::parse(text).map(Self::Fixed);
        }
        let tried = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Label(_) | Piece::Host => SAMPLE,
        });
        let tried = tried.collect::<String>();
        match T::parse(&tried) {
            Ok(sample) => Ok(Self::With { pieces, sample }),
            Err(wrong) => Err(wrong.in_context("with `x` for each placeholder")),
        }
    }
}

/// Splits a text at its placeholders.
fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        pieces.push(match name {
            "host" => Piece::Host,
            _ => Piece::Label(number(name).ok_or_else(|| {
                Wrong::new(format!("`{{{name}}}` in {text:?} is no placeholder"))
                    .hint("write `{0}`, `{1}` and so on for the labels that the host pattern captures")
            })?),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

/// A host has at most 127 labels (RFC 1035 §2.3.4), so two digits and a little are plenty.
fn number(name: &str) -> Option<usize> {
    let number = name.parse::<u8>().ok()?;
    (number.to_string() == name).then(|| number.into())
}

/// A host as a request has it: a name, an IPv4 address, or an IPv6 one in brackets.
fn check_host(host: &str) -> Result<&str, AddressError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok()) || host.parse::<Ipv4Addr>().is_ok() {
        return Ok(host);
    }
    check_name(host)
}

impl fmt::Display for TargetTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ExpectTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Template<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => value.fmt(f),
            Self::With { pieces, .. } => pieces.iter().try_for_each(|piece| match piece {
                Piece::Text(text) => f.write_str(text),
                Piece::Label(number) => write!(f, "{{{number}}}"),
                Piece::Host => f.write_str("{host}"),
            }),
        }
    }
}

impl Word for TargetTemplate {
    const EXPECTED: &'static str = "an address such as \"orders.internal:8443\" or \"{0}.{1}.svc:8443\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Template::parse(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["orders.internal:8443", "{0}.{1}.svc:8443", "{host}:8443", "unix:/run/app/app.sock"] })
    }
}

impl Word for ExpectTemplate {
    const EXPECTED: &'static str = "a pattern such as \"spiffe://prod.example/ns/{1}/sa/{0}\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
        if authority.is_some_and(|authority| authority.contains('{')) {
            return Err(Wrong::new(format!("{text:?} has a placeholder in the trust domain"))
                .hint("the trust domain is always literal: placeholders stand in the path, as in `spiffe://prod.example/ns/{1}/sa/{0}`"));
        }
        if text.contains("{host}") {
            return Err(Wrong::new(format!("{text:?} has `{{host}}`, which is for targets"))
                .hint("write `{0}`, `{1}` and so on for the labels that the host pattern captures"));
        }
        Template::parse(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[sS][pP][iI][fF][fF][eE]://[A-Za-z0-9._-]+/",
            "examples": ["spiffe://prod.example/ns/billing/sa/*", "spiffe://prod.example/ns/{1}/sa/{0}"],
        })
    }
}
