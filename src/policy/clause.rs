//! What a rule asked for and did not find, in the words that an operator reads.

use std::fmt;

use crate::spiffe::TrustDomain;

/// The first thing that a rule asks for and that a peer, or its request, is not.
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
    /// None of the rule's hosts matches the request's.
    Host {
        /// The rule's, in words.
        expected: String,
        /// The request's, cut to what a line can carry.
        asked: String,
    },
    /// None of the rule's paths matches the request's.
    Path {
        /// The rule's, in words.
        expected: String,
        /// The request's, cut to what a line can carry; `None` where its target has none.
        asked: Option<String>,
    },
    /// None of the rule's methods is the request's.
    Method {
        /// The rule's, in words.
        expected: String,
        /// The request's, cut to what a line can carry.
        asked: String,
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
            Self::Host { expected, asked } => write!(f, "the host is `{asked}`, not {expected}"),
            Self::Path { expected, asked: Some(asked) } => write!(f, "the path is `{asked}`, not {expected}"),
            Self::Path { expected, asked: None } => write!(f, "the request has no path for {expected}"),
            Self::Method { expected, asked } => write!(f, "the method is `{asked}`, not {expected}"),
        }
    }
}

/// The most characters of one text from a request, or from a rule about it, that a message carries.
const MAX_TEXT: usize = 128;
/// The most alternatives that a message names.
const MAX_NAMED: usize = 4;

/// A text that a request brought, for people.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some(_) => text.chars().take(MAX_TEXT - 1).chain(['…']).collect(),
    }
}

/// The alternatives that a rule gives: one, `one or two`, `one, two, three, four or 5 others`.
pub(super) fn any_of<T: fmt::Display>(alternatives: &[T]) -> String {
    let named = alternatives.iter().take(MAX_NAMED).map(|text| format!("`{}`", cut(&text.to_string())));
    let mut named: Vec<String> = named.collect();
    match alternatives.len().saturating_sub(MAX_NAMED) {
        0 => {}
        1 => named.push("another".to_owned()),
        others => named.push(format!("{others} others")),
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}
