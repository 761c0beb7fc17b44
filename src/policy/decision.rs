//! Decisions, and the reasons that they carry.

use std::fmt;
use std::sync::Arc;

use super::{Clause, Pattern};

/// What the policy says of one peer, or of one request of it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// What would happen were the shadow rules enforced; only where that is the opposite.
    pub shadow: Option<Verdict>,
}

/// Yes or no, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in, or let through, by a rule.
    Allowed {
        /// Its name.
        rule: Arc<str>,
    },
    /// Kept out.
    Denied(Denial),
}

impl Verdict {
    /// Whether the peer gets in, or its request through.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Why a peer, or its request, is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A deny rule matched.
    ByRule {
        /// The rule's name.
        rule: Arc<str>,
        /// The pattern of it that the peer matches.
        pattern: Pattern,
    },
    /// No allow rule matched.
    NoRule {
        /// The allow rule that came closest; `None` where there is none.
        nearest: Option<Box<Nearest>>,
    },
}

/// The rule that came closest to letting a peer in, or its request through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Its pattern that the peer matches furthest.
    pub pattern: Pattern,
    /// The first part of the pattern that did not match, or, where all of it did, the first that the rule asks of the request.
    pub clause: Clause,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByRule { rule, pattern } => write!(f, "rule `{rule}` denies `{pattern}`"),
            Self::NoRule { nearest: None } => f.write_str("no rule allows anyone"),
            Self::NoRule { nearest: Some(nearest) } => {
                let Nearest { rule, pattern, clause } = &**nearest;
                write!(f, "no rule allows it; the nearest is `{rule}` with `{pattern}`, but {clause}")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { rule } => write!(f, "rule `{rule}` allows it"),
            Self::Denied(denial) => denial.fmt(f),
        }
    }
}
