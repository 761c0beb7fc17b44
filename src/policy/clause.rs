//! What a rule asked for and did not find, in the words that an operator reads.

use std::fmt;

use crate::spiffe::TrustDomain;

/// The part of a pattern that an ID did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// The trust domain differs.
    TrustDomain {
        /// The pattern's.
        expected: TrustDomain,
        /// The ID's.
        presented: TrustDomain,
    },
    /// A segment differs, or the ID ended before it.
    Segment {
        /// Its number, from 1.
        number: usize,
        /// As the pattern writes it: a literal, `*` or `**`.
        expected: String,
        /// The ID's, if it has so many.
        presented: Option<String>,
    },
    /// The ID goes on where the pattern ends.
    TooManySegments {
        /// How many segments the pattern has.
        expected: usize,
    },
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustDomain { expected, presented } => {
                write!(f, "the trust domain is `{presented}`, not `{expected}`")
            }
            Self::Segment { number, expected, presented: Some(presented) } => {
                write!(f, "path segment {number} is `{presented}`, not `{expected}`")
            }
            Self::Segment { number, expected, presented: None } => {
                write!(f, "there is no path segment {number} for `{expected}`")
            }
            Self::TooManySegments { expected } => write!(f, "the path has more than {expected} segments"),
        }
    }
}
