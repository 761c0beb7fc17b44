//! SPIFFE IDs and trust domain names: parsed once, valid ever after.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest SPIFFE ID read, in bytes. SPIFFE-ID §2.3: every implementation supports 2,048 and none should make a
/// longer one; refusing longer ones bounds what a certificate can make us hold.
pub(super) const MAX_ID_BYTES: usize = 2048;

/// The longest trust domain name, in bytes (SPIFFE-ID §2.3).
pub(super) const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The name of a trust domain, such as `prod.example` (SPIFFE-ID §2.1).
///
/// Invariant: 1 to 255 bytes of `a`–`z`, `0`–`9`, `.`, `-` and `_`. It is an opaque name, never an address or a DNS name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a bare name as it stands, `prod.example`; anything else, `spiffe://prod.example` included, is an error.
    ///
    /// # Errors
    /// Names the first rule of SPIFFE-ID §2.1 that `name` breaks.
    pub fn parse(name: &str) -> Result<Self, SpiffeIdError> {
        match name.bytes().find(|byte| !is_trust_domain_byte(*byte)) {
            Some(b'@') => return Err(SpiffeIdError::UserInfo),
            Some(b':') => return Err(SpiffeIdError::Port),
            Some(byte) if byte.is_ascii_uppercase() => return Err(SpiffeIdError::TrustDomainUpperCase),
            Some(_) => {
                return Err(SpiffeIdError::TrustDomainCharacter(first_char(name, is_trust_domain_byte)));
            }
            None => {}
        }
        match name.len() {
            0 => Err(SpiffeIdError::TrustDomainEmpty),
            1..=MAX_TRUST_DOMAIN_BYTES => Ok(Self(name.into())),
            _ => Err(SpiffeIdError::TrustDomainTooLong),
        }
    }

    /// The name, `prod.example`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE ID, `spiffe://trust-domain/path` (SPIFFE-ID §2).
///
/// Invariant: at most 2,048 bytes; a valid trust domain; a path that is empty or made of `/`-led segments, each non-empty,
/// neither `.` nor `..`, of ASCII letters, digits, `.`, `-` and `_`. Compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: Arc<str>,
}

impl SpiffeId {
    /// Reads an ID exactly as written, the way a certificate must carry it: an upper-case scheme or trust domain is
    /// refused (SPIFFE-ID §2.1: the host is set in lower case), nothing is normalised.
    ///
    /// # Errors
    /// Names the first rule of SPIFFE-ID §2 that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        if rest.contains('?') {
            return Err(SpiffeIdError::Query);
        }
        if rest.contains('#') {
            return Err(SpiffeIdError::Fragment);
        }
        let (trust_domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = TrustDomain::parse(trust_domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            segments.split('/').try_for_each(check_segment)?;
        }
        Ok(Self { trust_domain, path: path.into() })
    }

    /// Reads an ID that a person wrote: scheme and trust domain are compared case-insensitively (SPIFFE-ID §2.4), so they
    /// are lowered first; the path is not.
    ///
    /// # Errors
    /// As [`SpiffeId::parse`].
    pub fn parse_lenient(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(&lower_authority(text))
    }

    /// The trust domain that vouches for this ID.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path: empty, or starting with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path's segments, none for an empty path.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.path.split('/').skip(1)
    }
}

/// The text with its scheme and trust domain in lower case, the path untouched.
pub(crate) fn lower_authority(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{}://{}{path}", scheme.to_ascii_lowercase(), authority.to_ascii_lowercase())
}

/// One path segment (SPIFFE-ID §2.2).
pub(crate) fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    match segment {
        "" => Err(SpiffeIdError::EmptySegment),
        "." | ".." => Err(SpiffeIdError::DotSegment),
        _ if segment.bytes().all(is_path_byte) => Ok(()),
        _ => Err(SpiffeIdError::PathCharacter(first_char(segment, is_path_byte))),
    }
}

fn is_trust_domain_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}

/// The first character of `text` that holds a byte outside `allowed`.
fn first_char(text: &str, allowed: fn(u8) -> bool) -> char {
    text.chars().find(|c| !u8::try_from(*c).is_ok_and(allowed)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Why a text is no SPIFFE ID. Each message names the rule; [`SpiffeIdError::rule`] is its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// The text does not start with `spiffe://`.
    #[error("it does not start with `spiffe://`")]
    Scheme,
    /// Nothing stands between `spiffe://` and the path.
    #[error("the trust domain is empty")]
    TrustDomainEmpty,
    /// The trust domain has more than 255 bytes.
    #[error("the trust domain is longer than 255 bytes")]
    TrustDomainTooLong,
    /// The trust domain is not in lower case.
    #[error("the trust domain has an upper-case letter")]
    TrustDomainUpperCase,
    /// The trust domain has a character outside `a-z0-9.-_`.
    #[error("the trust domain has the character {0:?}; allowed are a-z, 0-9, `.`, `-` and `_`")]
    TrustDomainCharacter(char),
    /// There is an `@`.
    #[error("the trust domain has a user name (`@`)")]
    UserInfo,
    /// There is a `:` in the authority.
    #[error("the trust domain has a port (`:`)")]
    Port,
    /// There is a `?`.
    #[error("it has a query (`?`)")]
    Query,
    /// There is a `#`.
    #[error("it has a fragment (`#`)")]
    Fragment,
    /// Two slashes follow each other, or the last character is one.
    #[error("the path has an empty segment or ends with `/`")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// A segment has a character outside `A-Za-z0-9.-_`.
    #[error("the path has the character {0:?}; allowed are letters, digits, `.`, `-` and `_`")]
    PathCharacter(char),
    /// The text has more than 2,048 bytes.
    #[error("it is longer than 2048 bytes")]
    TooLong,
}

impl SpiffeIdError {
    /// The paragraph of SPIFFE-ID that is broken.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Scheme | Self::Query | Self::Fragment => "SPIFFE-ID §2",
            Self::TrustDomainEmpty
            | Self::TrustDomainUpperCase
            | Self::TrustDomainCharacter(_)
            | Self::UserInfo
            | Self::Port => "SPIFFE-ID §2.1",
            Self::EmptySegment | Self::DotSegment | Self::PathCharacter(_) => "SPIFFE-ID §2.2",
            Self::TrustDomainTooLong | Self::TooLong => "SPIFFE-ID §2.3",
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From bundle maps: exactly as written.
impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&name).map_err(|error| D::Error::custom(format_args!("{name:?} is no trust domain name: {error}")))
    }
}
