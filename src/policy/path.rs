//! The path of a request, normalised as it is forwarded, and patterns over it.

use std::borrow::Cow;
use std::fmt;

/// The path of a request as it is matched and as it is forwarded: there is no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a>(Cow<'a, str>);

impl<'a> RequestPath<'a> {
    /// Normalises the path of a request target (RFC 3986 §6.2.2, without the query).
    ///
    /// # Errors
    /// Where an application could see another path than the policy.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        Ok(Self(Cow::Borrowed(path)))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not start with `/`.
    #[error("the path does not start with `/`")]
    NotAbsolute,
}

/// A pattern that a path matches or not: exact, `*` for one segment, a trailing `/**` for anything below.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
}

/// Why a text is no path pattern, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// Does not start with `/`.
    #[error("a path starts with `/`")]
    NotAbsolute,
}

impl PathPattern {
    /// Reads a pattern as a person wrote it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if text.starts_with('/') { Ok(Self { text: text.into() }) } else { Err(PathPatternError::NotAbsolute) }
    }

    /// Whether `path` matches.
    pub fn matches(&self, path: &RequestPath<'_>) -> bool {
        *self.text == *path.as_str()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
