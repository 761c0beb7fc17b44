//! Patterns over SPIFFE IDs: a literal trust domain, then whole segments. `*` is exactly one segment, a trailing `/**` one or more.

use std::fmt;
use std::str::FromStr;

use super::Clause;
use super::trie::{Key, Node, Parts, Step, Tail};
use crate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

/// A pattern that a SPIFFE ID matches or not, such as `spiffe://prod.example/ns/web/sa/*`.
///
/// The trust domain is always literal, since a root may vouch for many tenants and then the name alone keeps them apart: a pattern
/// without one cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    trust_domain: TrustDomain,
    segments: Vec<Segment>,
    any_tail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl Pattern {
    /// Reads a pattern as a person wrote it; scheme and trust domain may be in upper case (SPIFFE-ID §2.4).
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = crate::spiffe::lower_authority(text);
        let rest = text.strip_prefix("spiffe://").ok_or(PatternError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        if trust_domain.contains('*') {
            return Err(PatternError::TrustDomainWildcard);
        }
        let trust_domain = TrustDomain::parse(trust_domain)?;
        if path.is_empty() {
            return Err(PatternError::NoPath(trust_domain));
        }
        let mut segments: Vec<&str> = path.split('/').collect();
        let any_tail = segments.pop_if(|last| *last == "**").is_some();
        let segments = segments.into_iter().map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, segments, any_tail })
    }

    /// The exact pattern of one ID. An ID without a path gives a pattern that no SVID matches.
    pub fn exact(id: &SpiffeId) -> Self {
        let segments = id.segments().map(|segment| Segment::Literal(segment.into())).collect();
        Self { trust_domain: id.trust_domain().clone(), segments, any_tail: false }
    }

    /// Whether `id` matches.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        self.compare(id).is_ok()
    }

    /// The one trust domain whose IDs can match.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Compares from the left, without allocating: every request asks. On a mismatch: how many parts matched before it, which is 0 for
    /// another trust domain, 1 for a mismatch in the first segment, and so on.
    pub(super) fn compare(&self, id: &SpiffeId) -> Result<(), usize> {
        if self.trust_domain != *id.trust_domain() {
            return Err(0);
        }
        let mut presented = id.segments();
        for (index, segment) in self.segments.iter().enumerate() {
            match (segment, presented.next()) {
                (Segment::Any, Some(_)) => {}
                (Segment::Literal(expected), Some(presented)) if **expected == *presented => {}
                _ => return Err(index + 1),
            }
        }
        if self.any_tail == presented.next().is_some() { Ok(()) } else { Err(self.segments.len() + 1) }
    }

    /// As the index holds it: the trust domain and the segments, which [`parts`] gives of an ID.
    pub(super) fn key(&self) -> Key<'_> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Step::Literal(text),
            Segment::Any => Step::Any,
        });
        let tail = if self.any_tail { Tail::Some } else { Tail::None };
        Key { steps: std::iter::once(Step::Literal(self.trust_domain.as_str())).chain(segments).collect(), tail }
    }

    /// The part at `depth` that `id` does not match, where [`Self::compare`] said so.
    pub(super) fn clause(&self, id: &SpiffeId, depth: usize) -> Clause {
        let Some(index) = depth.checked_sub(1) else {
            return Clause::TrustDomain { expected: self.trust_domain.clone(), presented: id.trust_domain().clone() };
        };
        match self.segments.get(index) {
            Some(segment) => Clause::Segment {
                number: depth,
                expected: segment.to_string(),
                presented: id.segments().nth(index).map(Into::into),
            },
            None if self.any_tail => Clause::Segment { number: depth, expected: "**".into(), presented: None },
            None => Clause::TooManySegments { expected: self.segments.len() },
        }
    }
}

/// An ID as the index looks it up. Equals [`Pattern::compare`].
pub(super) fn parts(id: &SpiffeId) -> Parts<impl Iterator<Item = &str> + Clone> {
    let next = |node: &Node, part: &str| [node.literal(part), None, node.any()];
    Parts { parts: std::iter::once(id.trust_domain().as_str()).chain(id.segments()), next }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "*" => Ok(Self::Any),
            "**" => Err(PatternError::InnerDoubleWildcard),
            _ if text.contains('*') => Err(PatternError::PartialWildcard),
            _ => {
                crate::spiffe::check_segment(text)?;
                Ok(Self::Literal(text.into()))
            }
        }
    }
}

/// Why a text is no pattern, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No `spiffe://` at the front.
    #[error("a pattern starts with `spiffe://` and a literal trust domain, as in `spiffe://prod.example/ns/web/sa/*`")]
    Scheme,
    /// A wildcard in the trust domain.
    #[error("the trust domain of a pattern is always literal: write one pattern for each trust domain")]
    TrustDomainWildcard,
    /// No path: such a pattern could never match.
    #[error("no workload's ID is the bare trust domain: write `spiffe://{0}/**` for every workload in it")]
    NoPath(TrustDomain),
    /// A `*` that is only part of a segment.
    #[error("`*` stands for one whole segment; a part of a segment cannot be matched")]
    PartialWildcard,
    /// A `**` that is not at the end.
    #[error("`**` may stand at the end only; `*` stands for exactly one segment anywhere")]
    InnerDoubleWildcard,
    /// A part that no SPIFFE ID can have.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        if self.any_tail { f.write_str("/**") } else { Ok(()) }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Any => f.write_str("*"),
        }
    }
}
