//! The words of the file that are one of a few.

use schemars::{Schema, json_schema};

use super::field::{Word, Wrong, nearest};
use super::raw::Raw;
use super::word::ProtocolName;
use super::{IdentityHeader, LogFormat, OnExpiry, PeerFact, TlsVersion, XfccMode};
use crate::policy::Action;

/// Yes or no.
impl Word for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Err(Raw::Text(text.into()).instead_of(Self::EXPECTED))
    }

    fn read(value: &Raw) -> Result<Self, Wrong> {
        match value {
            Raw::Truth(truth) => Ok(*truth),
            other => Err(other.instead_of(Self::EXPECTED)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

impl Word for Action {
    const EXPECTED: &'static str = "\"allow\" or \"deny\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &[("allow", Self::Allow), ("deny", Self::Deny)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["allow", "deny"] })
    }
}

impl Word for ProtocolName {
    const EXPECTED: &'static str = "\"tcp\" or \"http\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &[("tcp", Self::Tcp), ("http", Self::Http)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["tcp", "http"] })
    }
}

impl Word for TlsVersion {
    const EXPECTED: &'static str = "\"1.2\" or \"1.3\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &[("1.2", Self::Tls12), ("1.3", Self::Tls13)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["1.2", "1.3"] })
    }
}

impl Word for OnExpiry {
    const EXPECTED: &'static str = "\"close\" or \"keep\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &[("close", Self::Close), ("keep", Self::Keep)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["close", "keep"] })
    }
}

impl Word for LogFormat {
    const EXPECTED: &'static str = "\"text\" or \"json\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &[("text", Self::Text), ("json", Self::Json)])
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["text", "json"] })
    }
}

impl Word for IdentityHeader {
    const EXPECTED: &'static str =
        "\"x-forwarded-client-cert\", \"client-cert\", \"client-cert-chain\" or \"x-spiffe-id\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &Self::ALL.map(|header| (header.as_str(), header)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

impl Word for XfccMode {
    const EXPECTED: &'static str = "\"sanitize\", \"forward_only\", \"append_forward\" or \"sanitize_set\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &Self::ALL.map(|mode| (mode.as_str(), mode)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

impl Word for PeerFact {
    const EXPECTED: &'static str = "\"spiffe_id\", \"trust_domain\", \"path\", \"subject\", \"issuer\", \"serial\", \"hash\", \
         \"not_after\", \"certificate\", \"verified\" or \"rule\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        choose::<Self>(text, &Self::ALL.map(|fact| (fact.as_str(), fact)))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

fn choose<T: Word + Copy>(text: &str, values: &[(&'static str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = values.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let wrong = Raw::Text(text.into()).instead_of(T::EXPECTED);
    // A number is chosen, not misspelt.
    let near =
        nearest(text, values.iter().map(|(name, _)| *name)).filter(|_| !text.starts_with(|c: char| c.is_ascii_digit()));
    Err(match near {
        Some(near) => wrong.hint(format!("did you mean {near:?}?")),
        None => wrong,
    })
}
